"""Backups: site files, own maps and journals of a gateway in one archive, and back from it.

Owns the format: a gzipped tar whose first member, `manifest.json`, names every other one with its
size and SHA-256. A journal is copied by SQLite itself, whole also while its recorder writes.
Restoring reads and checks everything, the journals included, before the first file is touched; what
it replaces is moved aside, and a failure on the way puts everything back. Runs in commands only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadctl.disk import sync_folder
from loadctl.errors import LoadctlError, UsageError
from loadctl.journal.whole import copy_whole, flaw_of

FORMAT = 1
MANIFEST = "manifest.json"
JOURNAL = "journal.sqlite"
JOURNAL_SIDES = ("-wal", "-shm")
MANIFEST_MOST_BYTES = 1_000_000
FILE_MODE = 0o640
READ_BYTES = 1 << 20
# What a name in an archive may be; the first word says where it belongs.
NAMES = {
    "sites": re.compile(r"sites/[\w][\w.@-]*\.(toml|env)"),
    "maps": re.compile(r"maps/[\w][\w.-]*\.toml"),
    "journals": re.compile(r"journals/[a-z0-9][a-z0-9-]*/journal\.sqlite"),
}


class BackupError(LoadctlError):
    """An archive that cannot be made, is damaged, or does not fit here; one line."""


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    format: int
    version: str  # of loadctl
    made_at: str  # UTC
    files: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a gateway lie."""

    config: Path
    maps: Path
    state: Path

    def of(self, name: str) -> Path:
        kind, _, rest = name.partition("/")
        return {"sites": self.config, "maps": self.maps, "journals": self.state}[kind] / rest


# making one


def found(places: Places) -> dict[str, Path]:
    """Everything that a backup of this gateway holds: archive name to file."""
    result = {f"sites/{path.name}": path for path in files(places.config, ".toml", ".env")}
    result |= {f"maps/{path.name}": path for path in files(places.maps, ".toml")}
    if places.state.is_dir():
        for path in sorted(places.state.glob(f"*/{JOURNAL}")):
            result[f"journals/{path.parent.name}/{JOURNAL}"] = path
    return result


def files(folder: Path, *suffixes: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())


def make(target: Path, places: Places, version: str) -> Manifest:
    """Write an archive; it gets its name once it is whole and on the disk."""
    sources = found(places)
    if not any(name.startswith("sites/") for name in sources):
        raise BackupError(f"{places.config}: no site file there, nothing to back up")
    refuse_odd_names(sources)
    unfinished = target.with_name(target.name + ".new")
    try:
        with tempfile.TemporaryDirectory(prefix="loadctl-backup-") as folder:
            taken = {}
            for number, (name, path) in enumerate(sources.items()):
                taken[name] = Path(folder) / str(number)
                take(name, path, taken[name])
            members = tuple(member_of(name, path) for name, path in taken.items())
            now = datetime.now(UTC).isoformat(timespec="seconds")
            manifest = Manifest(FORMAT, version, now, members)
            write_archive(unfinished, manifest, taken)
        os.replace(unfinished, target)
    except OSError as error:
        raise BackupError(f"{error.filename or target}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def take(name: str, path: Path, copy: Path) -> None:
    if not name.startswith("journals/"):
        shutil.copyfile(path, copy)
        return
    try:
        copy_whole(path, copy)
    except sqlite3.Error as error:
        raise BackupError(f"{path}: cannot be copied: {error}") from error


def member_of(name: str, path: Path) -> Member:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return Member(name, path.stat().st_size, digest.hexdigest())


def write_archive(path: Path, manifest: Manifest, taken: dict[str, Path]) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(fd, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            text = json.dumps(asdict(manifest), indent=1).encode()
            header = plain_header(MANIFEST, len(text))
            archive.addfile(header, io.BytesIO(text))
            for member in manifest.files:
                with taken[member.name].open("rb") as content:
                    archive.addfile(plain_header(member.name, member.n_bytes), content)
        file.flush()
        os.fsync(file.fileno())


def plain_header(name: str, n_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = n_bytes, FILE_MODE
    return header


# reading one


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[tuple[Manifest, dict[str, Path]]]:
    """The files of an archive in a directory of their own, every one checked; BackupError where
    anything is not as its manifest says."""
    with tempfile.TemporaryDirectory(prefix="loadctl-restore-") as folder:
        try:
            with tarfile.open(path, "r:gz") as archive:
                manifest = read_manifest(archive, path)
                copies = read_members(archive, manifest, Path(folder), path)
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise BackupError(f"{path}: no backup of loadctl, or damaged: {error}") from error
        for name, copy in copies.items():
            if name.startswith("journals/"):
                require_whole(copy, f"{path}: {name}")
        yield manifest, copies


def read_manifest(archive: tarfile.TarFile, path: Path) -> Manifest:
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > MANIFEST_MOST_BYTES:
        raise BackupError(f"{path}: does not begin with {MANIFEST}: no backup of loadctl")
    file = archive.extractfile(first)
    try:
        raw = json.loads(file.read() if file is not None else b"")
        members = tuple(
            Member(str(row["name"]), int(row["n_bytes"]), str(row["sha256"]))
            for row in raw["files"]
        )
        manifest = Manifest(int(raw["format"]), str(raw["version"]), str(raw["made_at"]), members)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BackupError(f"{path}: {MANIFEST} cannot be read, damaged: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(
            f"{path}: format {manifest.format}, made by loadctl {manifest.version}; this one reads"
            f" format {FORMAT}"
        )
    names = [member.name for member in members]
    refuse_odd_names(names)
    if len(set(names)) != len(names):
        raise BackupError(f"{path}: {MANIFEST} names a file twice")
    return manifest


def refuse_odd_names(names: Sequence[str] | dict[str, Path]) -> None:
    """Only what one of NAMES fits: no way up, no absolute path, no file that is not ours."""
    for name in names:
        pattern = NAMES.get(name.partition("/")[0])
        if pattern is None or not pattern.fullmatch(name):
            raise BackupError(f"{name!r}: not a name of a file in a backup")


def read_members(
    archive: tarfile.TarFile, manifest: Manifest, folder: Path, path: Path
) -> dict[str, Path]:
    """Written under numbers, never under a name from the archive."""
    copies: dict[str, Path] = {}
    for number, member in enumerate(manifest.files):
        header = archive.next()
        if header is None or header.name != member.name or not header.isreg():
            raise BackupError(f"{path}: {member.name} is missing or not in its place")
        file = archive.extractfile(header)
        copy = folder / str(number)
        if header.size == member.n_bytes and file is not None:
            with copy.open("wb") as target:
                shutil.copyfileobj(file, target, READ_BYTES)
        if not copy.exists() or member_of(member.name, copy) != member:
            raise BackupError(f"{path}: {member.name} is not what its manifest says: damaged")
        copies[member.name] = copy
    if archive.next() is not None:
        raise BackupError(f"{path}: holds more than its manifest names")
    return copies


def require_whole(journal: Path, words: str) -> None:
    try:
        flaw = flaw_of(journal)
    except sqlite3.Error as error:
        raise BackupError(f"{words}: no journal: {error}") from error
    if flaw:
        raise BackupError(f"{words}: damaged: {flaw}")


# putting it back


def put_back(copies: dict[str, Path], places: Places, stamp: str) -> dict[Path, Path | None]:
    """Every file to its place, or none; what stood there, by place: where it lies now.

    New files are written beside their places first, so that only renames are left to do.
    """
    steps = Steps()
    aside: dict[Path, Path | None] = {}
    try:
        for name, copy in copies.items():
            steps.write(copy, places.of(name))
        for place in steps.places:
            aside[place] = None
            for old in (place, *(place.with_name(place.name + side) for side in sides(place))):
                if old.exists():
                    kept = steps.own_folder(old.parent / f"replaced-{stamp}") / old.name
                    steps.rename(old, kept)
                    aside[place] = kept if old == place else aside[place]
            steps.rename(beside(place), place)
    except OSError as error:
        steps.undo()
        words = f"{error.filename}: {error.strerror}; nothing is changed"
        raise BackupError(words) from error
    except BaseException:
        steps.undo()
        raise
    for folder in {place.parent for place in aside}:
        sync_folder(folder)
    return aside


class Steps:
    """What was done so far, so that it can be undone in reverse."""

    def __init__(self) -> None:
        self.places: list[Path] = []
        self._renamed: list[tuple[Path, Path]] = []
        self._folders: list[Path] = []

    def write(self, copy: Path, place: Path) -> None:
        self.folder(place.parent)
        self.places.append(place)
        write_new(copy, beside(place))

    def rename(self, source: Path, target: Path) -> None:
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(source, target)
        self._renamed.append((source, target))

    def folder(self, folder: Path) -> Path:
        """Missing ones get owner and mode of the one that they stand in. The service owns some, and
        must not lead root elsewhere."""
        if folder.is_symlink():
            raise BackupError(f"{folder}: a symbolic link, expected a directory")
        if not folder.is_dir():
            like = self.folder(folder.parent).stat()
            folder.mkdir()
            self._folders.append(folder)
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(fd, like.st_mode & 0o777)
                own_like(fd, like)
            finally:
                os.close(fd)
        return folder

    def own_folder(self, folder: Path) -> Path:
        """One that was made here, for nobody else to have put anything there."""
        if folder not in self._folders and os.path.lexists(folder):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
        return self.folder(folder)

    def undo(self) -> None:
        for source, target in reversed(self._renamed):
            os.rename(target, source)
        for place in self.places:
            beside(place).unlink(missing_ok=True)
        for folder in reversed(self._folders):
            folder.rmdir()


def beside(place: Path) -> Path:
    return place.with_name(place.name + ".restored")


def sides(place: Path) -> tuple[str, ...]:
    """A journal's log must never stand beside another journal."""
    return JOURNAL_SIDES if place.name == JOURNAL else ()


def write_new(copy: Path, path: Path) -> None:
    """On the disk before anything is renamed; it belongs to whom its folder belongs to. What stands
    there is never written to: it may be a link."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, FILE_MODE)
    with os.fdopen(fd, "wb") as target, copy.open("rb") as source:
        shutil.copyfileobj(source, target, READ_BYTES)
        target.flush()
        own_like(target.fileno(), path.parent.stat())
        os.fsync(target.fileno())


def own_like(fd: int, like: os.stat_result) -> None:
    if os.geteuid() == 0:
        os.fchown(fd, like.st_uid, like.st_gid)


def users_of(path: Path) -> list[int]:
    """Processes that have a file open, as far as this user may see."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(os.readlink(entry) == str(path) for entry in folder.iterdir()):
                pids.append(int(folder.parent.name))
    return sorted(pids)


def require_unused(journals: Sequence[Path]) -> None:
    """A recorder would go on writing into the file that was moved aside."""
    for path in journals:
        pids = users_of(path.resolve())
        if pids:
            words = ", ".join(map(str, pids))
            raise UsageError(f"{path}: in use by process {words}; stop its recorder first")
