"""A whole day of recording without a wire: simple cars, told straight to the core.

Owns a closed loop that makes as many calls in a scan as the scan itself does, so that a day takes a
minute or two instead of hours. Every reading jitters and every reply comes a little late.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from bench.bussites import bus_site
from bench.flight import N_BUSES, PER_BUS, DAY_s, DRAIN_ns, LATE_ns, NOISE_mA, PERIOD_ms, WALL_ns
from hw.sim.scenario import Load
from loadctl._core import Core
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.flight.writer import FlightWriter
from loadctl.image import Writer
from loadctl.runtime import SiteDir
from loadctl.tables import Tables, dump, signed_hash
from loadctl.units import NS_PER_S

START_ns = 50_000 * NS_PER_S
PERIOD_ns = PERIOD_ms * 1_000_000
MS = 1_000_000
RUN = 1
GOOD, NO_ANSWER = 1, 2
LOST_PPM = 100
FOLLOW_ns = 3 * NS_PER_S
REFRESH_ns = 10 * NS_PER_S


class Car:
    """Comes and goes; takes what it is told three seconds ago, at most what it wants."""

    def __init__(self, visits: list[tuple[int, int, int, int]]) -> None:
        self.visits = visits  # arrive_ns, leave_ns, wants_mA, n_phases
        self.told: list[tuple[int, int]] = [(0, 0)]  # since, setpoint
        self.wants_mA, self.n_phases = 0, 0

    def tell(self, at_ns: int, setpoint_mA: int) -> None:
        self.told = [*self.told[-2:], (at_ns + FOLLOW_ns, setpoint_mA)]

    def look(self, at_ns: int) -> tuple[str, int]:
        """State and draw."""
        while self.visits and self.visits[0][1] <= at_ns:
            self.visits.pop(0)
        if not self.visits or self.visits[0][0] > at_ns:
            return "A", 0
        _, _, wants_mA, self.n_phases = self.visits[0]
        setpoint_mA = next((mA for since_ns, mA in reversed(self.told) if since_ns <= at_ns), 0)
        draw_mA = min(setpoint_mA, wants_mA)
        return ("C", draw_mA) if draw_mA >= 6_000 else ("B", 0)


class Day:
    """The loop. `run` makes scans until the time is over."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.tables: Tables = bus_site(
            directory, n_chargers=PER_BUS, n_buses=N_BUSES, baud=115_200, period_ms=PERIOD_ms
        )
        tables = self.tables
        (directory / "tables.json").write_text(dump(tables))
        ring = RingWriter(
            directory / "flight", ring_words(tables), signed_hash(tables), START_ns, PERIOD_ns
        )
        self.core = Tape(Core(tables), ring, most_words(tables))
        counts = (N_BUSES, len(tables.circuits), len(tables.meters), len(tables.chargers))
        self.image = Writer(
            directory / "image", *counts, self.core.plant_bytes, signed_hash(tables), PERIOD_ns
        )
        self.core.attach(self.image.plant)
        self.core.set_mode(RUN)
        self.house = Load("building", (4_000,) * 3, (19_000,) * 3, every_ns=3_600 * NS_PER_S)
        self.cars = [Car(self._visits()) for _ in tables.chargers]
        self.written_at_ns = [START_ns - i * NS_PER_S // 4 for i in range(len(tables.chargers))]
        self.now_ns = START_ns
        for i in range(len(tables.chargers)):
            self.core.charger_armed(i, True, 0)
        self.folder = directory / "recording"
        self.writer = FlightWriter(
            SiteDir(directory), self.folder, wall_ns=lambda: WALL_ns + self.now_ns
        )

    def run(self, span_s: int) -> None:
        drain_at_ns = 0
        until_ns = self.now_ns + span_s * NS_PER_S
        while self.now_ns < until_ns:
            self._scan()
            if self.now_ns >= drain_at_ns:
                drain_at_ns = self.now_ns + DRAIN_ns
                self.writer.drain(self.now_ns)
        self.writer.close()

    def _visits(self) -> list[tuple[int, int, int, int]]:
        """One car over night, one or two by day."""
        visits, at_ns = [], START_ns
        for span_h in (9, 4, 5):
            at_ns += self.dice.randrange(3_600) * NS_PER_S
            leave_ns = at_ns + round(self.dice.uniform(0.4, 1) * span_h * 3_600) * NS_PER_S
            wants_mA = self.dice.choice((10_000, 13_000, 16_000))
            visits.append((at_ns, leave_ns, wants_mA, self.dice.choice((3, 3, 1))))
            at_ns = leave_ns
        return visits

    def _scan(self) -> None:
        core = self.core
        base_ns = self.now_ns + self.dice.randrange(150_000)
        self._read(base_ns)
        result = core.step(base_ns)
        for i, setpoint_mA in core.takes():
            self._told(i, setpoint_mA, base_ns)
            core.take_done(i, GOOD, self._at(base_ns + 120 * MS))
        for i in core.looks():
            self._status(i, self._at(base_ns + 150 * MS))
        result |= core.confirm(base_ns)
        for i, setpoint_mA in core.gives():
            self._told(i, setpoint_mA, base_ns)
            core.give_done(i, GOOD, self._at(base_ns + 250 * MS))
        for i, written_at_ns in enumerate(self.written_at_ns):
            if base_ns - written_at_ns >= REFRESH_ns:
                self.written_at_ns[i] = base_ns
                core.refreshed(i, GOOD, self._at(base_ns + 300 * MS))
        if result != 0:
            raise RuntimeError(f"core: result {result}")
        core.cut(base_ns + 400 * MS)
        self.image.publish(base_ns + 400 * MS)
        self.now_ns += PERIOD_ns

    def _read(self, base_ns: int) -> None:
        seen = [car.look(base_ns) for car in self.cars]
        loads = list(self.house.at_mA(base_ns - START_ns))
        for car, (_, draw_mA) in zip(self.cars, seen, strict=True):
            for p in range(car.n_phases):
                loads[p] += draw_mA
        one, two, three = (self._around(mA) for mA in loads)
        volts_mV = tuple(230_000 + 100 * self.dice.randrange(-9, 9) for _ in range(3))
        at_ns = self._at(base_ns + 10 * MS)
        self.core.meter_read(0, GOOD, (one, two, three), None, volts_mV, at_ns)
        for i, (state, draw_mA) in enumerate(seen):
            self._status(i, self._at(base_ns + (12 + 5 * (i % PER_BUS)) * MS), state, draw_mA)

    def _status(self, i: int, at_ns: int, state: str = "", draw_mA: int = 0) -> None:
        if not state:
            state, draw_mA = self.cars[i].look(at_ns)
        if self.dice.randrange(1_000_000) < LOST_PPM:
            self.core.charger_status(i, NO_ANSWER, None, None, None, at_ns)
            self.core.probe_done(i, GOOD, at_ns)
            return
        n_phases = self.cars[i].n_phases if draw_mA else 0
        current_mA: Any = tuple(self._around(draw_mA) if k < n_phases else 0 for k in range(3))
        self.core.charger_status(i, GOOD, state, current_mA, self.cars[i].told[-1][1], at_ns)

    def _told(self, i: int, setpoint_mA: int, at_ns: int) -> None:
        self.cars[i].tell(at_ns, setpoint_mA)
        self.written_at_ns[i] = at_ns

    def _around(self, value_mA: int) -> int:
        return max(0, value_mA + self.dice.randint(-NOISE_mA, NOISE_mA))

    def _at(self, at_ns: int) -> int:
        return at_ns + self.dice.randrange(LATE_ns)


def record_day(directory: Path, span_s: int = DAY_s, seed: int = 1) -> Path:
    """The folder of the recording."""
    day = Day(directory, seed)
    day.run(span_s)
    return day.folder
