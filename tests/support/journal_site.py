"""A site that only a recorder sees: its files, written by hand, on a clock that the test sets."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loadctl import image, runtime
from loadctl import tables as plain
from loadctl.image import Writer
from loadctl.journal.place import Place
from loadctl.journal.reading import Asked, JournalFile
from loadctl.journal.sql import EventRow
from loadctl.journal.writer import Journal
from loadctl.link import Link
from loadctl.runtime import SiteDir
from loadctl.tables import Tables
from tests.support.builders import make_charger, make_circuit, make_meter, make_tables

S_ns = 1_000_000_000
START_ns = 1_000 * S_ns
SELDOM_ns = 10**15  # stored at first and when asked to, for quick tests
UTC_ms = 1_790_000_000_000  # when the monotonic clock is 0
BOOT = "boot-1"
LETTERS = "?ABCDEF"


def small_tables(n_chargers: int = 2, **changes: Any) -> Tables:
    return make_tables(
        meters=[make_meter("grid")],
        circuits=[make_circuit("main", meter=0, is_dynamic=True)],
        chargers=[make_charger(f"bay{i}", address=10 + i) for i in range(1, n_chargers + 1)],
        **changes,
    )


class FakeWall:
    """A wall clock that goes with the monotonic one until it is set."""

    def __init__(self, boot: str = BOOT, offset_ms: int = UTC_ms) -> None:
        self.boot = boot
        self.now_offset_ms = offset_ms

    def offset_ms(self) -> int:
        return self.now_offset_ms


def places_of(name: str) -> dict[str, tuple[int, int, int]]:
    """Offset, width and count of each field of a struct of the plant block."""
    at, found = 0, {}
    for field, value in image.layout()[name].items():
        if isinstance(value, dict):
            at += 8 * len(value)  # tuning_t: only wide ones
            continue
        values = value if isinstance(value, list) else [value]
        width = 8 if values[0].bit_length() > 32 else 4
        found[field] = (at, width, len(values))
        at += width * len(values)
    assert at == image.SIZES[name], name
    return found


def place_of_meter_stale() -> int:
    """Its offset in the plant block, whose first struct is the site."""
    at = 0
    for value in image.layout()["site"].values():
        if isinstance(value, dict):
            return at + 8 * list(value).index("meter_stale_ns")
        values = value if isinstance(value, list) else [value]
        at += sum(8 if one.bit_length() > 32 else 4 for one in values)
    raise LookupError("tuning")


METER_STALE_AT = place_of_meter_stale()
PLACES = {name: places_of(name) for name in ("circuit", "meter", "charger")}


class FakeSite:
    """`publish` makes the image say what `set` put there."""

    def __init__(self, directory: Path, tables: Tables | None = None) -> None:
        self.tables = tables or small_tables()
        self.runtime_dir = directory / "rt"
        self.state_dir = directory / "state"
        slug = runtime.slug(self.tables.site.name)
        self.site_dir = SiteDir(self.runtime_dir / slug)
        self.place = Place(self.state_dir / slug)
        self.site_dir.path.mkdir(parents=True, exist_ok=True)
        self.place.path.mkdir(parents=True, exist_ok=True)
        (self.site_dir.path / runtime.LOCK).touch()
        self.wall = FakeWall()
        self.said: list[str] = []
        self.now_ns = START_ns
        self.n_told = 0

    def start(self) -> None:
        """A new scan, with a new image."""
        t = self.tables
        self.site_dir.tables.write_text(plain.dump(t))
        sizes = image.SIZES
        n_bytes = (
            sizes["site"]
            + len(t.circuits) * sizes["circuit"]
            + len(t.meters) * sizes["meter"]
            + len(t.chargers) * sizes["charger"]
        )
        counts = (len(t.buses), len(t.circuits), len(t.meters), len(t.chargers))
        self.image = Writer(
            self.site_dir.image, *counts, n_bytes, plain.signed_hash(t), t.site.period_ns
        )
        self.meter_stale(t.tuning.meter_stale_ns)
        self.publish()

    def meter_stale(self, stale_ns: int) -> None:
        """As it is in force: it can be tuned."""
        struct.pack_into("<q", self.image.plant, METER_STALE_AT, stale_ns)

    def start_guard(self, pid: int = 77) -> None:
        """A new guard, with a new link."""
        self.site_dir.tables.write_text(plain.dump(self.tables))
        counts = (len(self.tables.chargers), len(self.tables.circuits))
        self.link = Link.create(self.site_dir.link, *counts)
        self.link.state(1, 0, self.now_ns, 0, pid, 0)

    def set(self, struct_name: str, row_i: int, **values: int | Sequence[int]) -> None:
        t, sizes = self.tables, image.SIZES
        at = sizes["site"]
        for name, rows in (("circuit", t.circuits), ("meter", t.meters), ("charger", t.chargers)):
            if name == struct_name:
                break
            at += len(rows) * sizes[name]
        at += row_i * sizes[struct_name]
        for field, value in values.items():
            offset, width, count = PLACES[struct_name][field]
            found = [value] if isinstance(value, int) else list(value)
            assert len(found) == count, field
            code = "q" if width == 8 else "i"
            struct.pack_into(f"<{count}{code}", self.image.plant, at + offset, *found)

    def charger(
        self, charger_i: int, letter: str, setpoint_mA: int = 0, draw_mA: int | None = None
    ) -> None:
        """What a charger is seen to do; `draw_mA` on each phase, None where it is not measured."""
        self.set(
            "charger",
            charger_i,
            state=LETTERS.index(letter),
            has_status=int(letter != "?"),
            setpoint_mA=setpoint_mA,
            n_samples=int(draw_mA is not None),
            draw_mA=[draw_mA or 0] * 3,
        )

    def meter(self, meter_i: int, load_mA: Sequence[int]) -> None:
        at_ns = self.now_ns
        self.set("meter", meter_i, has_value=1, load_mA=load_mA, at_ns=at_ns, trusted_at_ns=at_ns)

    def event(self, kind: int, who: int = -1, first: int = 0, second: int = 0) -> None:
        self.image.event(kind, who, first, second, self.now_ns)

    def number(self) -> None:
        """An event that carries its own number."""
        self.event(30, 0, self.n_told)
        self.n_told += 1

    def publish(self) -> None:
        self.image.publish(self.now_ns)

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * S_ns)

    def journal(self, **options: Any) -> Journal:
        """A recorder's drain on this site; it stores whatever it sees at once."""
        options.setdefault("flush_ns", 0)
        options.setdefault("wall", self.wall)
        return Journal(self.site_dir, self.place, self.said.append, **options)

    def record(
        self, journal: Journal, seconds: int, each: Callable[[int], None] | None = None
    ) -> None:
        """So many seconds of a site that runs, each drained, all stored at the end."""
        for second in range(seconds):
            if each is not None:
                each(second)
            self.publish()
            journal.drain(self.now_ns)
            self.pass_s(1)
        journal.flush()

    # what is in the file

    def reading(self) -> JournalFile:
        return JournalFile(self.place.journal)

    def rows(self) -> list[EventRow]:
        journal = self.reading()
        try:
            return [row for _, row in journal.events(Asked())]
        finally:
            journal.close()

    def numbers(self) -> list[int]:
        """Those that `number` gave out."""
        return [row.first for row in self.rows() if row.kind == 30]

    def notes(self, kind: int) -> list[EventRow]:
        return [row for row in self.rows() if row.kind == kind]
