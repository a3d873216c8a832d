"""Where that is kept which outlives a run: journal and flight files, one folder per site.

Owns the state directory. A folder has the same name as that of the site in the runtime directory.
Runs in commands and at start, never in the scan.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadctl.errors import NotRunning, UsageError
from loadctl.runtime import slug

SYSTEM_DIR = Path("/var/lib/loadctl")
JOURNAL, FLIGHT, LOCK = "journal.sqlite", "flight", "recorder.lock"


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of one site."""

    path: Path

    @property
    def journal(self) -> Path:
        return self.path / JOURNAL

    @property
    def flight(self) -> Path:
        return self.path / FLIGHT


def state_dir(option: Path | None) -> Path:
    """Where to write: as told, else $STATE_DIRECTORY of systemd, else the system's directory where
    we may write there, else the user's."""
    if option is not None:
        return option
    given = _from_systemd()
    if given is not None:
        return given
    nearest = SYSTEM_DIR if SYSTEM_DIR.exists() else SYSTEM_DIR.parent
    return SYSTEM_DIR if os.access(nearest, os.W_OK | os.X_OK) else _of_user()


def search_dirs(option: Path | None) -> list[Path]:
    """Where a command looks for what was written."""
    if option is not None:
        return [option]
    given = _from_systemd()
    return [*([given] if given else []), SYSTEM_DIR, _of_user()]


def _from_systemd() -> Path | None:
    first = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(first) if first else None


def _of_user() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "loadctl"


def require_writable(top: Path) -> None:
    """Known at the start, not when the site runs at last."""
    try:
        top.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.TemporaryFile(dir=top):
            pass
    except OSError as error:
        raise _not_writable(top, error) from error


def _not_writable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"state directory {path}: {error.strerror}; choose one with --state-dir")


def hold(place: Path) -> int:
    """Make the folder of a site and be its only recorder as long as the descriptor is open."""
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o750)
        fd = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _not_writable(place, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(
            f"{place}: another recorder writes here (lock {place / LOCK}); stop it first"
        ) from None
    return fd


def find_place(
    option: Path | None, site_name: str | None, running: str | None = None
) -> Place | None:
    """The folder with a journal: that of the site; else the only one, or that of the site that
    runs; None where there is none."""
    found: dict[str, Place] = {}
    for top in search_dirs(option):
        for path in sorted(top.glob(f"*/{JOURNAL}")) if top.is_dir() else ():
            found.setdefault(path.parent.name, Place(path.parent))
    if site_name is not None:
        return found.get(slug(site_name)) or found.get(site_name)
    if len(found) > 1 and running in found:
        return found[running]
    if len(found) > 1:
        raise UsageError(f"journals of several sites: {', '.join(found)}; choose with --site")
    return next(iter(found.values()), None)


def need_place(option: Path | None, site_name: str | None, running: str | None = None) -> Place:
    place = find_place(option, site_name, running)
    if place is None:
        where = " and ".join(str(path) for path in search_dirs(option))
        whose = f" of site {site_name!r}" if site_name else ""
        raise NotRunning(f"no journal{whose} under {where}; `loadctl recorder` writes one")
    return place
