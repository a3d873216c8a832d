"""Replay: a recording played on the core of this loadctl, and every answer compared.

Owns the order of it: which chunks there are, which of them lie within what was asked for, where the
recorded plant block is taken over, and what is said of gaps and damage. The same tables, the same
plant block and the same calls give the same bytes; so whatever differs was changed after it was
recorded, or is answered otherwise by this build. Commands only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadctl._core import Core
from loadctl.errors import LoadctlError, UsageError
from loadctl.flight.calls import Listener
from loadctl.flight.files import (
    GAP_WORDS,
    SUFFIX,
    Damaged,
    Frame,
    Gap,
    Head,
    Meta,
    chunk_of,
    flight_files,
    frames,
    meta_of,
    read_head,
)
from loadctl.flight.player import Player, header
from loadctl.flight.series import Series
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

SHOWN_FIELDS = 12
SAME_BOOT_ns = 60 * NS_PER_S  # a wall clock is not set by more, or it is another boot


@dataclass(frozen=True, slots=True)
class Item:
    """One chunk in a file; `meta` None: damaged."""

    path: Path
    at: int
    meta: Meta | None


@dataclass(frozen=True, slots=True)
class Note:
    """Something about the recording itself: a gap, or damage."""

    kind: str  # "gap", "damaged", "torn", "skipped"
    where: str
    words: str
    at_ns: int | None = None  # UTC
    mono_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One scan that did not go as recorded."""

    what: str  # "sum", "answer", "refused", "plant"
    scan_i: int
    at_ns: int  # UTC
    mono_ns: int
    path: Path
    detail: dict[str, Any]


@dataclass(slots=True)
class Recording:
    """All chunks of a file or folder, in order."""

    files: list[tuple[Path, Head]]
    items: list[Item]
    notes: list[Note]

    @property
    def metas(self) -> list[Meta]:
        return [item.meta for item in self.items if item.meta is not None]

    def require_scans(self) -> None:
        if not self.metas:
            why = [note.words for note in self.notes] or ["the recording ends behind its head"]
            raise UsageError(f"there is no scan to replay: {'; '.join(why)}")


@dataclass(slots=True)
class Played:
    """What came of it."""

    n_scans: int = 0
    n_unplayed: int = 0  # scans that nothing was known to begin from
    first: tuple[int, int] | None = None  # scan, UTC
    last: tuple[int, int] | None = None
    differences: list[Difference] = field(default_factory=list)
    fields: dict[int, list[str]] = field(default_factory=dict)  # by index of the difference
    notes: list[Note] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        return any(note.kind == "damaged" for note in self.notes)

    @property
    def is_equal(self) -> bool:
        """All that was recorded could be read, and was answered as recorded."""
        return not self.differences and not self.is_damaged


@dataclass(frozen=True, slots=True)
class Range:
    """From, to: both included; None is open. Scans, or UTC."""

    from_scan: int | None = None
    to_scan: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None

    def before(self, scan_i: int, at_ns: int) -> bool:
        """Whether that is before what is asked for."""
        by_scan = self.from_scan is not None and scan_i < self.from_scan
        return by_scan or (self.from_ns is not None and at_ns < self.from_ns)

    def behind(self, scan_i: int, at_ns: int) -> bool:
        by_scan = self.to_scan is not None and scan_i > self.to_scan
        return by_scan or (self.to_ns is not None and at_ns > self.to_ns)


# what there is


def find(path: Path) -> Recording:
    """Read every head and the head of every chunk, and see which are whole. In a folder a file that
    cannot be read is named and left out; one that was asked for is refused."""
    if path.is_dir():
        paths = flight_files(path)
        if not paths:
            raise UsageError(f"{path}: no {SUFFIX} file in it")
    elif path.exists():
        paths = [path]
    else:
        raise UsageError(f"{path}: no such file or folder")
    recording = Recording([], [], [])
    for one in paths:
        with one.open("rb") as file:
            try:
                head = read_head(file, one.name)
                require_tables(head, one.name)
            except LoadctlError as error:
                if one == path:
                    raise
                kind = "damaged" if isinstance(error, Damaged) else "skipped"
                recording.notes.append(Note(kind, one.name, f"{error}; left out"))
                continue
            recording.files.append((one, head))
            size = one.stat().st_size
            for frame in frames(file):
                recording.items += _item(one, frame, size, recording.notes)
    if not recording.files:
        why = recording.notes[0].words
        raise UsageError(f"{path}: nothing in it can be read; {why}")
    return recording


def require_tables(head: Head, name: str) -> None:
    try:
        _ = head.tables
    except LoadctlError as error:
        raise UsageError(f"{name}: {error}") from None


def _item(path: Path, frame: Frame, size: int, notes: list[Note]) -> Iterator[Item]:
    if frame.body is not None:
        yield Item(path, frame.at, meta_of(frame.body))
    elif frame.end >= size:
        notes.append(
            Note("torn", path.name, f"{path.name}: its last {size - frame.at} bytes are torn")
        )
    else:
        words = f"{path.name}: the file is damaged at byte {frame.at}; a chunk is left out"
        notes.append(Note("damaged", path.name, words))
        yield Item(path, frame.at, None)


# playing it


class Replay:
    """One pass over a recording. `series` and `listener` see every scan within the range."""

    def __init__(
        self,
        recording: Recording,
        span: Range | None = None,
        series: Series | None = None,
        listener: Listener | None = None,
    ) -> None:
        self.recording = recording
        self.span = span or Range()
        self.series = series
        self.offset_ns: int | None = None  # of the clocks, where the series counts from; None: any
        self.listener = listener
        self.played = Played(notes=list(recording.notes))
        self.heads = dict(recording.files)
        self.player: Player | None = None
        self.tables: Tables | None = None
        self.before: Meta | None = None  # the chunk that the player's block comes from
        self.open: list[int] = []  # differences whose fields are not known yet

    def run(self) -> Played:
        items = self.within()
        for path in dict.fromkeys(item.path for item in items):
            with path.open("rb") as file:
                for item in items:
                    if item.path == path:
                        self._play_item(item, file)
        return self.played

    def within(self) -> list[Item]:
        """The chunks that are asked for, and what is needed to come to the first of them."""
        items = self.recording.items
        known = [
            k
            for k, item in enumerate(items)
            if item.meta is not None
            and not self.span.before(item.meta.last_scan, item.meta.utc_ns(item.meta.last_at_ns))
            and not self.span.behind(item.meta.first_scan, item.meta.utc_ns(item.meta.first_at_ns))
        ]
        self.recording.require_scans()
        if not known:
            raise UsageError("nothing was recorded between --from and --to")
        first = known[0]
        while first > 0 and (meta := items[first].meta) is not None and not meta.has_plant:
            first -= 1
        return items[first : known[-1] + 1]

    def _play_item(self, item: Item, file: Any) -> None:
        if item.meta is None:
            self.before = None
            return
        file.seek(item.at)
        body = next(frames(file)).body
        assert body is not None, "it was whole a moment ago"
        self._note_gap(item.meta)
        try:
            chunk = chunk_of(body)
            self._enter(item, chunk.plant)
            if self.before is None:
                self.played.n_unplayed += item.meta.n_records
                return
            self._play(item, chunk.words)
        except LoadctlError as error:
            words = f"{item.path.name}: the file is damaged at byte {item.at}: {error}"
            self.played.notes.append(Note("damaged", item.path.name, words))
            self.before = None

    def _note_gap(self, meta: Meta) -> None:
        if meta.gap != Gap.NONE:
            words = GAP_WORDS.get(Gap(meta.gap) if meta.gap in set(Gap) else Gap.BEGAN, "a gap")
            at_ns = meta.utc_ns(meta.first_at_ns)
            kind = "began" if meta.gap == Gap.BEGAN else "gap"
            self.played.notes.append(
                Note(kind, f"scan {meta.first_scan}", words, at_ns, meta.first_at_ns)
            )

    def _enter(self, item: Item, plant: bytes | None) -> None:
        """Go on from the recorded block, which must be the one at hand where nothing is missing."""
        meta = item.meta
        assert meta is not None
        follows = self.before is not None and _follows(self.before, meta)
        if plant is None:
            if not follows:
                self.before = None
            return
        tables = self.heads[item.path].tables
        if self.player is None or tables != self.tables:
            self.player, self.tables = Player(Core(tables)), tables
        elif follows and self.open:
            self._tell_fields(meta, plant)
        self.open.clear()
        self.player.load(plant or bytes(len(self.player.plant)))
        self.before = meta
        if self.listener is not None:
            self.listener.enter(tables, bytes(self.player.plant), follows)

    def _tell_fields(self, meta: Meta, plant: bytes) -> None:
        assert self.player is not None
        assert self.tables is not None
        lines = differing_fields(self.tables, plant, bytes(self.player.plant))
        before = f"the plant block before scan {meta.first_scan}"
        for k in self.open:
            if lines:
                self.played.fields[k] = [f"{before} differs:", *lines]
            else:
                self.played.fields[k] = [f"{before} is as recorded again"]

    def _play(self, item: Item, words: memoryview) -> None:
        meta, player = item.meta, self.player
        assert meta is not None
        assert player is not None
        words = self._until(meta, words)
        series = self.series if self._is_of_this_boot(meta) else None
        at = 0
        while at < len(words):
            found = player.play(words, at, series, self.listener)
            if found is None:
                break
            at = found["next"]
            self._note_difference(item, meta, words, found)
            if found["what"] != "sum":  # everything from here on differs
                player.play(words, at, series, self.listener, compares=False)
                break
        self.before = meta

    def _until(self, meta: Meta, words: memoryview) -> memoryview:
        """The records up to the end of what is asked for, counted."""
        if self._is_inside(meta):
            self._count(meta.n_records, (meta.first_scan, meta.first_at_ns), meta)
            self._count(0, (meta.last_scan, meta.last_at_ns), meta)
            return words
        at = 0
        while at < len(words):
            head = header(words, at)
            at_ns = meta.utc_ns(head["ended_at_ns"])
            if self.span.behind(head["scan_i"], at_ns):
                break
            if not self.span.before(head["scan_i"], at_ns):
                self._count(1, (head["scan_i"], head["ended_at_ns"]), meta)
            at += head["n_words"]
        return words[:at]

    def _is_of_this_boot(self, meta: Meta) -> bool:
        """Monotonic times of another boot are other times."""
        offset_ns = meta.wall_ns - meta.mono_ns
        return self.offset_ns is None or abs(offset_ns - self.offset_ns) < SAME_BOOT_ns

    def _is_inside(self, meta: Meta) -> bool:
        ends = (
            (meta.first_scan, meta.utc_ns(meta.first_at_ns)),
            (meta.last_scan, meta.utc_ns(meta.last_at_ns)),
        )
        return not any(self.span.before(*end) or self.span.behind(*end) for end in ends)

    def _count(self, n: int, place: tuple[int, int], meta: Meta) -> None:
        """That many scans, the last of which is there (scan, monotonic)."""
        self.played.n_scans += n
        self.played.last = (place[0], meta.utc_ns(place[1]))
        self.played.first = self.played.first or self.played.last

    def _note_difference(
        self, item: Item, meta: Meta, words: memoryview, found: dict[str, Any]
    ) -> None:
        head = header(words, found["at"])
        detail = {key: value for key, value in found.items() if key not in ("at", "next")}
        at_ns = meta.utc_ns(head["ended_at_ns"])
        self.open.append(len(self.played.differences))
        self.played.differences.append(
            Difference(found["what"], head["scan_i"], at_ns, head["ended_at_ns"], item.path, detail)
        )


def _follows(before: Meta, meta: Meta) -> bool:
    return (before.born_pid, before.born_at_ns, before.last_sequence + 1) == (
        meta.born_pid,
        meta.born_at_ns,
        meta.first_sequence,
    )


def differing_fields(tables: Tables, recorded: bytes, answered: bytes) -> list[str]:
    """The fields in which two plant blocks differ, in words; at most SHOWN_FIELDS of them."""
    cores = []
    for block in (recorded, answered):
        core = Core(tables)
        core.attach(bytearray(block))
        cores.append(core)
    parts: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("site", cores[0].site(), cores[1].site())
    ]
    for kind, names in (
        ("circuit", [row.name for row in tables.circuits]),
        ("meter", [row.name for row in tables.meters]),
        ("charger", [row.name for row in tables.chargers]),
    ):
        for i, name in enumerate(names):
            one, other = (getattr(core, kind)(i) for core in cores)
            parts.append((f"{kind}.{name}", one, other))
    lines = [
        line
        for place, one, other in parts
        for name in one
        for line in _differing(f"{place}.{name}", one[name], other[name])
    ]
    more = len(lines) - SHOWN_FIELDS
    return lines[:SHOWN_FIELDS] + ([f"and {more} more"] if more > 0 else [])


def _differing(place: str, recorded: Any, answered: Any) -> Iterator[str]:
    if isinstance(recorded, dict):
        for name in recorded:
            yield from _differing(f"{place}.{name}", recorded[name], answered[name])
    elif isinstance(recorded, list):
        for k, (one, other) in enumerate(zip(recorded, answered, strict=True)):
            yield from _differing(f"{place}[{k}]", one, other)
    elif recorded != answered:
        yield f"{place}: recorded {recorded}, now {answered}"
