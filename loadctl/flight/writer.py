"""The flight writer: records from the ring of a running scan into files, a chunk a minute.

Owns the folder of flight files: their names, their rotation, and how many there are. Runs in the
recorder, never in the scan. A chunk begins with the plant block that the image shows, once the
record that ends in the same block was found by its hash. What could not be recorded is a gap, and
said. A writer that is started anew goes on where the last whole chunk ended, as long as the ring
still has what came since.
"""

from __future__ import annotations

import contextlib
import os
import time
from array import array
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import BinaryIO

from loadctl import runtime
from loadctl import tables as plain
from loadctl.disk import sync_folder
from loadctl.errors import LoadctlError, NotRunning
from loadctl.flight.files import (
    CHUNK_MOST_WORDS,
    SUFFIX,
    Gap,
    Meta,
    chunk_bytes,
    flight_files,
    frames,
    head_bytes,
    meta_of,
    read_head,
)
from loadctl.flight.ring import PLANT_LAYOUT_HASH, RingReader
from loadctl.flight.tape import hash_block
from loadctl.image import Reader
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

CHUNK_s = 60
ROTATE_s = 3_600
KEEP_s = 7 * 86_400
KEEP_BYTES = 500_000_000
FILES_AT_LEAST = 16  # a file is never more than this part of all bytes
# Fields of a record's head; `loadctl/flight/words.pxd` numbers them.
WORDS, SEQUENCE, SCAN, BASE, ENDED, HASH, FLAGS = range(7)
HEAD_WORDS = 9


class Source:
    """The ring of one start of a scan, and the image beside it."""

    def __init__(self, site_dir: runtime.SiteDir) -> None:
        self.inode = _inode(site_dir.flight)
        self.ring = RingReader(site_dir.flight)
        if self.ring.layout_hash != PLANT_LAYOUT_HASH:
            raise LoadctlError(f"{site_dir.flight}: of another version of loadctl")
        self.tables: Tables = plain.load_file(site_dir.tables)
        if plain.signed_hash(self.tables) != self.ring.site_hash:
            raise NotRunning(f"{site_dir.tables}: not the site that the scan runs")
        self.site_dir = site_dir
        self._image: Reader | None = None
        self._image_inode: tuple[int, int] | None = None

    def plant(self) -> bytes | None:
        """The plant block that the image shows now; None while there is none of this layout."""
        try:
            inode = _inode(self.site_dir.image)
            if self._image is None or inode != self._image_inode:
                self._image, self._image_inode = Reader(self.site_dir.image), inode
            return self._image.plant()
        except (FileNotFoundError, LoadctlError):
            self._image = None
            return None


class Pending:
    """The chunk that is being filled."""

    def __init__(self, plant: bytes | None, gap: Gap) -> None:
        self.plant = plant
        self.gap = gap
        self.words = array("q")
        self.heads: list[tuple[int, ...]] = []
        self.position = 0  # in the ring, behind the newest record here

    def add(self, record: memoryview, position: int) -> None:
        self.words.frombytes(record.cast("B"))
        self.heads.append(tuple(record[:FLAGS]))
        self.position = position

    @property
    def span_ns(self) -> int:
        return self.heads[-1][ENDED] - self.heads[0][ENDED] if self.heads else 0


class FlightWriter:
    """See the module. `wall_ns` is the clock of the names, and of what is too old."""

    def __init__(
        self,
        site_dir: runtime.SiteDir,
        folder: Path,
        *,
        chunk_s: float = CHUNK_s,
        rotate_s: float = ROTATE_s,
        keep_s: float = KEEP_s,
        keep_bytes: int = KEEP_BYTES,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.site_dir, self.folder = site_dir, folder
        self.chunk_ns, self.rotate_ns = round(chunk_s * NS_PER_S), round(rotate_s * NS_PER_S)
        self.keep_ns, self.keep_bytes = round(keep_s * NS_PER_S), keep_bytes
        self.wall_ns = wall_ns
        self.source: Source | None = None
        self.pending: Pending | None = None  # None: a plant block is waited for
        self.gap = Gap.BEGAN  # what the next chunk that begins with one has before it
        self.file: BinaryIO | None = None
        self.path: Path | None = None
        self.began_at_ns = 0  # of the first record in the file
        self.now_ns = 0
        self.n_bytes = 0  # whole chunks of the file
        self.has_chunk = False  # the file has one
        self.own: dict[Path, int] = {}  # files of this writer: when each was written to, monotonic
        self.hash: int | None = None  # of the plant block after the newest record read
        self.expected: int | None = None  # sequence of the record that comes next

    # the two calls of the recorder

    def drain(self, now_ns: int) -> None:
        """Take over what the ring has; write what is due. Errors of the disk are raised once the
        chunk was given up, and the next call goes on."""
        self.now_ns = now_ns
        try:
            self._follow()
            if self.source is not None:
                self._drain(self.source)
        except OSError:
            self._give_up(Gap.NOT_WRITTEN)
            with contextlib.suppress(OSError):  # what is too old may be what the disk is full of
                self._bound()
            raise

    def close(self) -> None:
        """Write what is at hand."""
        try:
            self._follow()
            if self.source is not None:
                self._drain(self.source)
            self._end_chunk()
        except OSError:
            self._give_up(Gap.NOT_WRITTEN)
            raise
        finally:
            self._close_file()
            self.source = None

    # where records come from

    def _follow(self) -> None:
        """Open the ring of the scan that runs; go on with the next one where it was replaced."""
        try:
            inode = _inode(self.site_dir.flight)
        except FileNotFoundError:
            return
        if self.source is not None:
            if inode == self.source.inode:
                return
            self._drain(self.source)
            self._break(Gap.RESTARTED)
            self._close_file()
        self.source = None
        try:
            source = Source(self.site_dir)
        except (FileNotFoundError, NotRunning):
            return  # it is being started
        self.source, self.hash, self.expected = source, None, None
        self._begin(source)

    def _begin(self, source: Source) -> None:
        """At the end of the last file, else at the first record, else at what the image shows."""
        left = self._left_by(source)
        if left is not None:
            source.ring.go_on_from(left.position)
            self.pending, self.expected = Pending(None, Gap.NONE), left.last_sequence + 1
        elif source.ring.from_first():
            self.pending, self.expected = Pending(b"", self.gap), 0
        else:
            source.ring.from_newest()

    def _left_by(self, source: Source) -> Meta | None:
        """Where an earlier writer ended in this ring; its file is open again then, torn tail cut
        off. Which file that is its records say: names and times are those of a wall clock."""
        found: list[tuple[int, Path]] = []
        for path in flight_files(self.folder) if self.folder.is_dir() else []:
            first = first_of(path, source.ring.site_hash)
            if first is not None and (first.born_pid, first.born_at_ns) == source.ring.born:
                found.append((first.first_sequence, path))
            elif first is not None:
                self.gap = Gap.RESTARTED
        if not found:
            return None
        _, path = max(found)
        first = newest = None
        with path.open("rb") as file:
            read_head(file, path.name)
            for frame in frames(file):
                if frame.body is None:
                    break
                n_bytes, newest = frame.end, meta_of(frame.body)
                first = first or newest
        assert first is not None, "its first chunk was whole a moment ago"
        assert newest is not None
        self._reopen(path, n_bytes, first.first_at_ns)
        return newest

    # records

    def _drain(self, source: Source) -> None:
        is_due = self.pending is None or self.pending.span_ns >= self.chunk_ns
        plant = source.plant() if is_due else None  # first: its record is in the ring by now
        key = None if plant is None else hash_block(plant)
        if plant is not None and key == self.hash:
            self._turn(plant)
            plant = None
        begin = source.ring.position
        read = source.ring.read()
        if read is None:
            self._break(Gap.OVERRUN)
            return
        words = memoryview(read).cast("q")
        at = 0
        while at < len(words):
            end = at + words[at + WORDS]
            is_record = HEAD_WORDS <= end - at <= len(words) - at
            if not is_record or self.expected not in (None, words[at + SEQUENCE]):
                self._break(Gap.OVERRUN)
            if not is_record:
                return
            self._take(words[at:end], (begin + end) % 2**32)
            if plant is not None and self.hash == key:
                self._turn(plant)
                plant = None
            at = end
        if self.pending is not None and (
            self.pending.span_ns >= 2 * self.chunk_ns
            or len(self.pending.words) >= CHUNK_MOST_WORDS // 2
        ):
            self._end_chunk()  # the image showed no block that a record ended in

    def _take(self, record: memoryview, position: int) -> None:
        self.hash, self.expected = record[HASH], record[SEQUENCE] + 1
        if record[FLAGS]:
            self._break(Gap.UNFIT)
        elif self.pending is not None:
            self.pending.add(record, position)

    def _break(self, gap: Gap) -> None:
        """What comes now does not go on from what is at hand."""
        self._end_chunk()
        self.pending, self.gap = None, gap

    def _turn(self, plant: bytes) -> None:
        """A chunk ends here, and the next begins with this block."""
        is_gap = self.pending is None
        self._end_chunk()
        self.pending = Pending(plant, self.gap if is_gap else Gap.NONE)

    # files

    def _end_chunk(self) -> None:
        pending, source = self.pending, self.source
        if pending is None or source is None or not pending.heads:
            return
        first, last = pending.heads[0], pending.heads[-1]
        born_pid, born_at_ns = source.ring.born
        meta = Meta(
            has_plant=0,
            gap=pending.gap,
            born_pid=born_pid,
            born_at_ns=born_at_ns,
            position=pending.position,
            n_records=len(pending.heads),
            first_sequence=first[SEQUENCE],
            last_sequence=last[SEQUENCE],
            first_scan=first[SCAN],
            last_scan=last[SCAN],
            first_at_ns=first[ENDED],
            last_at_ns=last[ENDED],
            wall_ns=self.wall_ns(),
            mono_ns=self.now_ns,
            n_words=0,
            n_plant_bytes=0,
        )
        data = chunk_bytes(meta, pending.plant, memoryview(pending.words))
        self._rotate(pending, source.tables)
        assert self.file is not None, "a chunk is written into an open file"
        self.file.write(data)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.n_bytes, self.has_chunk = self.n_bytes + len(data), True
        if self.path is not None:
            self.own[self.path] = self.now_ns
        self.pending = Pending(None, Gap.NONE)
        self.gap = Gap.NONE
        self._bound()

    def _rotate(self, pending: Pending, tables: Tables) -> None:
        """A file begins with a plant block; the first chunk that has one after its time is over
        begins the next."""
        at_ns = pending.heads[0][ENDED]
        is_full = (
            at_ns - self.began_at_ns >= self.rotate_ns
            or self.n_bytes >= self.keep_bytes // FILES_AT_LEAST
        )
        if self.file is not None and (pending.plant is None or not is_full):
            return
        self._close_file()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.path = self._new_name()
        head = head_bytes(tables, {"loadctl": _version()})
        self.file = self.path.open("xb")
        self.n_bytes, self.began_at_ns, self.has_chunk = len(head), at_ns, False
        self.file.write(head)
        self.file.flush()
        os.fsync(self.file.fileno())  # before its name is: else that may be of an empty file
        sync_folder(self.folder)

    def _new_name(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self.wall_ns() // NS_PER_S))
        path, n = self.folder / f"{stamp}{SUFFIX}", 2
        while path.exists():
            path, n = self.folder / f"{stamp}_{n:03d}{SUFFIX}", n + 1
        return path

    def _reopen(self, path: Path, n_bytes: int, began_at_ns: int) -> None:
        self.file = path.open("r+b")
        self.file.truncate(n_bytes)
        self.file.seek(n_bytes)
        self.path, self.n_bytes, self.began_at_ns = path, n_bytes, began_at_ns
        self.has_chunk = True

    def _bound(self) -> None:
        """Remove the oldest files beyond what is kept; never the one that is written. Files of this
        writer are as old as the monotonic clock says. Those before it have only the wall clock,
        which may be off: of them one goes by its age for each chunk, some sixty times as fast as
        files come, so that a clock that is ahead for a while takes few."""
        files = [(path, path.stat()) for path in flight_files(self.folder) if path != self.path]
        files.sort(key=lambda file: (file[0] in self.own, self._written_ns(*file)))
        total = sum(stat.st_size for _, stat in files) + (self.n_bytes if self.path else 0)
        may_age = True
        for path, stat in files:
            is_own = path in self.own
            now_ns = self.now_ns if is_own else self.wall_ns()
            is_old = now_ns - self._written_ns(path, stat) > self.keep_ns and (is_own or may_age)
            if is_old or total > self.keep_bytes:
                path.unlink(missing_ok=True)
                self.own.pop(path, None)
                total -= stat.st_size
                may_age = may_age and is_own

    def _written_ns(self, path: Path, stat: os.stat_result) -> int:
        """When a file was written to: monotonic for one of this writer, else UTC."""
        return self.own.get(path, stat.st_mtime_ns)

    def _give_up(self, gap: Gap) -> None:
        """What was at hand is lost; whole chunks stay, and a file that has none does not."""
        self.pending, self.gap, self.hash, self.expected = None, gap, None, None
        path = self.path
        if self.file is not None and path is not None:
            with contextlib.suppress(OSError):
                self._close_file()
            with contextlib.suppress(OSError):  # a torn tail is read as one
                if self.has_chunk:
                    os.truncate(path, self.n_bytes)
                else:
                    path.unlink(missing_ok=True)

    def _close_file(self) -> None:
        if self.file is not None:
            file, self.file, self.path = self.file, None, None
            file.close()


def first_of(path: Path, site_hash: int) -> Meta | None:
    """The head of a file's first chunk; None where it has none, or is of another site."""
    with path.open("rb") as file:
        try:
            head = read_head(file, path.name)
        except LoadctlError:
            return None
        body = next((frame.body for frame in frames(file)), None)
    return None if body is None or head.site_hash != site_hash else meta_of(body)


def _version() -> str:
    try:
        return metadata.version("loadctl")
    except metadata.PackageNotFoundError:
        return "unknown"


def _inode(path: Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
