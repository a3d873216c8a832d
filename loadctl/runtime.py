"""Where a running site keeps its files, and how a command finds it.

Owns the runtime directory: one subdirectory per site with `lock` (held as long as the site runs),
`tables.json` (the compiled site), `source.json` (the site file that it came from), `image` (the
process image), `link` (of guard and scan), `flight` (what the core was told) and `control` (the
socket of the scan).
Runs in commands and at start, never in the scan loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hw.lock import open_lock, own_like_parent
from hw.toml_text import parsed, read_text
from loadctl.errors import ConfigError, NotRunning, UsageError

SYSTEM_DIR = Path("/run/loadctl")
LOCK, TABLES, IMAGE, LINK = "lock", "tables.json", "image", "link"
CONTROL, SOURCE, FLIGHT = "control", "source.json", "flight"
SLUG_CHARS_MAX = 40
SITE_SUFFIX = ".toml"


def default_dir() -> Path:
    """$XDG_RUNTIME_DIR/loadctl, else /run/loadctl."""
    xdg = os.environ.get("XDG_RUNTIME_DIR")
    return Path(xdg) / "loadctl" if xdg else SYSTEM_DIR


def search_dirs(runtime_dir: Path | None) -> list[Path]:
    """Where a command looks: where it was told, else the user's directory and the system's."""
    if runtime_dir is not None:
        return [runtime_dir]
    return list(dict.fromkeys([default_dir(), SYSTEM_DIR]))


def lock_dir(top: Path) -> Path:
    """Where network ports are locked, by runtime directory: in one place for all sites.

    A user's own directory that nobody chose shares that of the service, where it may be written: a
    site that is run by hand must not take the bus of the service.
    """
    is_shared = top == default_dir() and os.access(SYSTEM_DIR, os.W_OK | os.X_OK)
    return SYSTEM_DIR if is_shared else top


def slug(site_name: str) -> str:
    """A directory name for a site: readable, and different for different names."""
    plain = re.sub(r"[^a-z0-9]+", "-", site_name.lower()).strip("-")[:SLUG_CHARS_MAX]
    if plain == site_name:
        return plain
    return f"{plain}-{hashlib.sha256(site_name.encode()).hexdigest()[:6]}".lstrip("-")


def name_in_file(path: Path) -> str | None:
    """The name of the site in a site file, also in one with mistakes; None where there is none."""
    try:
        name = parsed(path, read_text(path))["site"]["name"]
    except (ConfigError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


@dataclass(frozen=True, slots=True)
class SiteDir:
    """The subdirectory of one site."""

    path: Path

    @property
    def tables(self) -> Path:
        return self.path / TABLES

    @property
    def image(self) -> Path:
        return self.path / IMAGE

    @property
    def link(self) -> Path:
        return self.path / LINK

    @property
    def control(self) -> Path:
        return self.path / CONTROL

    @property
    def source(self) -> Path:
        return self.path / SOURCE

    @property
    def flight(self) -> Path:
        return self.path / FLIGHT

    @property
    def lock_dir(self) -> Path:
        return lock_dir(self.path.parent)

    def is_locked(self) -> bool:
        """Whether a site runs here: its lock lives exactly as long as its processes."""
        try:
            fd = os.open(self.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


def claim(runtime_dir: Path, site_name: str, others: Sequence[Path] = ()) -> tuple[SiteDir, int]:
    """Make the directory of a site and take its lock; the descriptor holds it.

    What an earlier run left behind is removed: a status must not take it for this one.
    """
    site_dir, fd = hold(runtime_dir, site_name, others)
    for name in (TABLES, IMAGE, LINK, CONTROL, SOURCE, FLIGHT):
        (site_dir.path / name).unlink(missing_ok=True)
    return site_dir, fd


def hold(runtime_dir: Path, site_name: str, others: Sequence[Path] = ()) -> tuple[SiteDir, int]:
    """Take the lock of a site and touch nothing else there.

    It must run in none of the `others` either; looked at with the lock held, so that of two who
    come at once at most one goes on. What this user may not see is not seen.
    """
    site_dir = SiteDir(runtime_dir / slug(site_name))
    try:
        make_dir(site_dir.path)
        fd = open_lock(site_dir.path / LOCK)
    except OSError as error:
        raise UsageError(
            f"runtime directory {site_dir.path}: {error.strerror}; choose one with --runtime-dir"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise runs_already(site_name, site_dir) from None
    for other in (SiteDir(top / slug(site_name)) for top in others if top != runtime_dir):
        with contextlib.suppress(PermissionError):
            if other.is_locked():
                os.close(fd)
                raise runs_already(site_name, other)
    return site_dir, fd


def runs_already(site_name: str, site_dir: SiteDir) -> UsageError:
    return UsageError(
        f"site {site_name!r} runs already (lock {site_dir.path / LOCK}); stop it first"
    )


def make_dir(path: Path) -> None:
    """With its parents. What root makes belongs to whom the directory above belongs to."""
    if path.exists():
        return
    make_dir(path.parent)
    path.mkdir(mode=0o755, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        own_like_parent(fd, path)
    finally:
        os.close(fd)


def where_last(dirs: Sequence[Path], site_name: str) -> Path:
    """The runtime directory in which a site was started last, else the first."""
    started: list[tuple[float, Path]] = []
    for top in dirs:
        with contextlib.suppress(OSError):
            started.append((os.stat(SiteDir(top / slug(site_name)).tables).st_mtime, top))
    return max(started)[1] if started else dirs[0]


def is_in_memory(path: Path) -> bool:
    """Whether files there live in memory alone. On a disk a write to a mapped page may wait for the
    disk, and guard and scan write to such pages all the time."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        if words[2] == wanted:
            return words[words.index("-") + 1] in ("tmpfs", "ramfs")
    return False


def running_sites(dirs: list[Path]) -> list[SiteDir]:
    return [site_dir for site_dir in known_sites(dirs) if site_dir.is_locked()]


def find_site(dirs: list[Path], site_name: str | None) -> SiteDir:
    """The site of that name, or the one that runs; NotRunning says what was found instead.

    The path of a site file stands for the site in it: who starts services knows no other name.
    """
    if site_name is not None and site_name.endswith(SITE_SUFFIX):
        named = name_in_file(Path(site_name))
        if named is None:
            raise UsageError(f"--site {site_name}: no site file, or one without a name")
        site_name = named
    where = " and ".join(str(path) for path in dirs)
    known = known_sites(dirs)
    if site_name is not None:
        wanted = [d for d in known if d.path.name in (slug(site_name), site_name)]
        if not wanted:
            names = ", ".join(d.path.name for d in known) or "none"
            raise NotRunning(f"site {site_name!r} is not known under {where}; there are: {names}")
        return wanted[0]
    running = [site_dir for site_dir in known if site_dir.is_locked()]
    if len(running) > 1:
        names = ", ".join(site_dir.path.name for site_dir in running)
        raise UsageError(f"several sites run under {where}: {names}; choose one with --site")
    if running:
        return running[0]
    left = [site_dir for site_dir in known if site_dir.image.exists()]
    if len(left) == 1:
        return left[0]
    raise NotRunning(f"no site runs under {where}")


def known_sites(dirs: list[Path]) -> list[SiteDir]:
    """Those that run, and those that ran once and left their directory."""
    found = [path for top in dirs if top.is_dir() for path in sorted(top.iterdir())]
    return [SiteDir(path) for path in found if (path / LOCK).exists()]
