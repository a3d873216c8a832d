"""What the flight recorder costs: bytes a day, seconds to replay a day, microseconds in a scan.

A garage of 32 chargers on two buses, twice a second, in virtual time, with what makes recordings
long: every reading jitters, every reply comes a little late, cars come and go, messages get lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.busrig import Rig, RigClock, START_ns
from bench.bussites import bus_site
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Losses, Scenario
from hw.sim.virtual import VirtualSite
from loadctl._core import Core
from loadctl.flight.files import chunk_of, frames, read_head
from loadctl.flight.player import Player
from loadctl.flight.replay import Replay, find
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.flight.writer import FlightWriter
from loadctl.runtime import SiteDir
from loadctl.tables import Tables, dump, signed_hash
from loadctl.units import NS_PER_S

N_BUSES, PER_BUS = 2, 16
PERIOD_ms = 500
DAY_s = 86_400
DRAIN_ns = NS_PER_S // 4
NOISE_mA = 60  # of every reading, either way
LATE_ns = 400_000  # a reply comes up to so much later than the plan has it
WAKE_ns = 150_000
WALL_ns = 1_764_000_000 * NS_PER_S
STRETCH_SCANS = 4_000  # of which the cost of the tape is measured


class Noisy:
    """Stands in front of a core: what it is told jitters as readings do, and comes late."""

    def __init__(self, core: Core, seed: int) -> None:
        self._core = core
        self._dice = random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def meter_read(self, meter_i, code, current_mA, power_W, voltage_mV, at_ns) -> None:
        current_mA = self._around(current_mA)
        self._core.meter_read(meter_i, code, current_mA, power_W, voltage_mV, self._late(at_ns))

    def charger_status(self, charger_i, code, state, current_mA, setpoint_mA, at_ns) -> None:
        current_mA = self._around(current_mA)
        self._core.charger_status(
            charger_i, code, state, current_mA, setpoint_mA, self._late(at_ns)
        )

    def _around(self, current_mA):
        if current_mA is None:
            return None
        return tuple(
            mA and max(0, mA + self._dice.randint(-NOISE_mA, NOISE_mA)) for mA in current_mA
        )

    def _late(self, at_ns: int) -> int:
        return at_ns + self._dice.randrange(LATE_ns)


class JitteryClock(RigClock):
    """Wakes a little late, as a real one."""

    def __init__(self, clock: Any, seed: int) -> None:
        super().__init__(clock)
        self._dice = random.Random(seed)

    def sleep_until(self, until_ns: int) -> int:
        return super().sleep_until(until_ns + self._dice.randrange(WAKE_ns))


def story(tables: Tables, span_s: int, seed: int) -> Scenario:
    """Two cars a day at every charger, an apartment house beside them, and a line with losses."""
    dice = random.Random(seed)
    visits = []
    for charger in tables.chargers:
        for half in range(max(1, 2 * span_s // DAY_s)):
            arrive_s = half * DAY_s // 2 + dice.randrange(min(span_s, DAY_s // 3))
            leave_s = arrive_s + dice.randrange(1_800, 4 * 3_600)
            terminals = (0, 1, 2) if dice.random() < 0.6 else (0,)
            take_mA = dice.choice((10_000, 13_000, 16_000))
            visits.append(
                Visit(charger.name, arrive_s * NS_PER_S, leave_s * NS_PER_S, take_mA, terminals)
            )
    house = Load("building", (4_000,) * 3, (19_000,) * 3, every_ns=3_600 * NS_PER_S)
    return Scenario(loads={"main": house}, visits=tuple(visits), losses=Losses(100, 100), seed=seed)


def record(directory: Path, span_s: int, seed: int = 1) -> Path:
    """The folder of the recording."""
    tables = bus_site(
        directory, n_chargers=PER_BUS, n_buses=N_BUSES, baud=115_200, period_ms=PERIOD_ms
    )
    site = VirtualSite(tables, story(tables, span_s, seed), START_ns)
    clock = JitteryClock(site.clock, seed)

    def front(core: Core) -> Any:
        period_ns = tables.site.period_ns
        ring = RingWriter(
            directory / "flight", ring_words(tables), signed_hash(tables), START_ns, period_ns
        )
        return Noisy(Tape(core, ring, most_words(tables)), seed)

    (directory / "tables.json").write_text(dump(tables))
    rig = Rig(tables, site.wires, site.runner, clock, directory, front=front)
    folder = directory / "recording"
    writer = FlightWriter(SiteDir(directory), folder, wall_ns=lambda: WALL_ns + clock.now_ns())
    until_ns, drain_at_ns = clock.now_ns() + span_s * NS_PER_S, 0
    while rig.pacer.grid_at_ns < until_ns:
        rig.scan.run_once()
        if clock.now_ns() >= drain_at_ns:
            drain_at_ns = clock.now_ns() + DRAIN_ns
            writer.drain(clock.now_ns())
    writer.close()
    return folder


def measure(directory: Path, span_s: int) -> dict[str, Any]:
    return figures(record(directory, span_s), directory)


def figures(folder: Path, directory: Path) -> dict[str, Any]:
    """{recorded: {...}, replayed: {...}, scan_us: {...}}; `a_day` is scaled to 24 h."""
    recording = find(folder)
    n_scans = sum(meta.n_records for meta in recording.metas)
    n_bytes = sum(path.stat().st_size for path, _ in recording.files)
    days = n_scans * PERIOD_ms / 1_000 / DAY_s
    began_s = time.process_time()
    played = Replay(recording).run()
    took_s = time.process_time() - began_s
    return {
        "recorded": {
            "scans": n_scans,
            "calls_a_scan": round(sum(calls_of(folder)) / n_scans, 1),
            "bytes_a_scan": round(n_bytes / n_scans, 1),
            "MB_a_day": round(n_bytes / days / 1e6, 2),
        },
        "replayed": {
            "equal": played.is_equal and played.n_scans == n_scans,
            "us_a_scan": round(took_s / n_scans * 1e6, 1),
            "s_a_day": round(took_s / days, 2),
        },
        "scan_us": tape_cost(folder, directory),
    }


def calls_of(folder: Path) -> list[int]:
    """Calls of each record."""
    found = []
    for words in words_of(folder):
        at = 0
        while at < len(words):
            found.append(words[at + 7])
            at += words[at]
    return found


def words_of(folder: Path) -> list[memoryview]:
    found = []
    for path, _ in find(folder).files:
        with path.open("rb") as file:
            read_head(file, path.name)
            found += [chunk_of(frame.body).words for frame in frames(file) if frame.body]
    return found


def tape_cost(folder: Path, directory: Path) -> dict[str, float]:
    """The same calls to a core alone and to one behind a tape, by turns; the least of five."""
    tables = find(folder).files[0][1].tables
    words, n_scans = [], 0
    for chunk in words_of(folder):
        if n_scans < STRETCH_SCANS:
            words.append(chunk)
            n_scans += sum(1 for _ in starts(chunk))

    def taped() -> Core:
        ring = RingWriter(directory / "cost", ring_words(tables), 0, 0, 1)
        return Tape(Core(tables), ring, most_words(tables))

    alone, behind = [], []
    for _ in range(5):
        alone.append(play_us(lambda: Core(tables), words, n_scans))
        behind.append(play_us(taped, words, n_scans, cuts=True))
    return {
        "core_alone": round(min(alone), 2),
        "core_behind_tape": round(min(behind), 2),
        "tape": round(min(behind) - min(alone), 2),
    }


def starts(words: memoryview):
    at = 0
    while at < len(words):
        yield at
        at += words[at]


class Cuts:
    """Ends a record of the tape where one ended."""

    def __init__(self, core: Any) -> None:
        self.cut = core.cut

    def call(self, name: str, arguments: tuple[Any, ...], said: Any, has_raised: bool) -> None:
        pass

    def scan(self, ended_at_ns: int, plant: bytearray) -> None:
        self.cut(ended_at_ns)


def play_us(make: Callable[[], Core], words: list[memoryview], n_scans: int, cuts=False) -> float:
    """Processor time of a scan."""
    player = Player(make())
    listener = Cuts(player.core) if cuts else None
    began_ns = time.thread_time_ns()
    for chunk in words:
        if player.play(chunk, 0, None, listener) is not None:
            raise RuntimeError("the recording is not what this core answers")
    return (time.thread_time_ns() - began_ns) / n_scans / 1_000
