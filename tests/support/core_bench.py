"""A bench for the core: one scan at a time, by hand, everything acknowledged unless said otherwise.

The bench knows no plant: a test says what the meters read and what the cars draw, and sees what the
core orders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loadctl.tables import Phases, Tables
from tests.support.core_sites import GOOD, NS_PER_S, RUN, PERIOD_ns, attached, three

MS = 1_000_000


@dataclass
class Scan:
    """What one scan came to."""

    takes: dict[int, int] = field(default_factory=dict)
    probes: dict[int, int] = field(default_factory=dict)
    looks: list[int] = field(default_factory=list)
    gives: dict[int, int] = field(default_factory=dict)


class Bench:
    """Cars are in state C and measured; `draws_mA` holds what each takes on each phase it uses."""

    def __init__(self, tables: Tables, setpoint_mA: int | None = 0, mode: int = RUN) -> None:
        self.tables = tables
        self.core = attached(tables)
        self.core.set_mode(mode)
        self.n = len(tables.chargers)
        self.now_ns = 1000 * NS_PER_S
        self.loads_mA: list[int | Phases | None] = [0] * len(tables.meters)
        self.voltages_mV: list[Phases | None] = [None] * len(tables.meters)
        self.draws_mA = [0] * self.n
        self.reported_mA: list[int | None] = [None] * self.n  # setpoint in force, as the box says
        self.states = ["C"] * self.n
        self.are_read = set(range(self.n))  # whose status is read in each scan, after the meters
        self.are_looked_at = True
        self.probed: set[int] = set()  # who is probed while silent
        self.codes: dict[int, int] = {}  # how writes to a charger end, when not GOOD
        if setpoint_mA is not None:
            for i in range(self.n):
                self.core.charger_armed(i, True, setpoint_mA)

    def scan(self, n: int = 1) -> Scan:
        """Run scans; the answer is about the last one."""
        for _ in range(n):
            result = self._scan()
        return result

    def run(self, seconds: float) -> Scan:
        return self.scan(int(seconds * NS_PER_S / PERIOD_ns))

    def read(self) -> None:
        for m, load_mA in enumerate(self.loads_mA):
            if load_mA is not None:
                at_ns = self.now_ns + 10 * MS
                self.core.meter_read(m, GOOD, three(load_mA), None, self.voltages_mV[m], at_ns)
        for i in sorted(self.are_read - set(self.core.starving())):
            self.status(i, self.now_ns + 20 * MS)

    def status(self, i: int, at_ns: int) -> None:
        row = self.tables.chargers[i]
        current_mA = (self.draws_mA[i],) * len(row.phases) + (0,) * (3 - len(row.phases))
        measured_mA = current_mA if row.has_measured_current else None
        self.core.charger_status(i, GOOD, self.states[i], measured_mA, self.reported_mA[i], at_ns)

    def _scan(self) -> Scan:
        scan = Scan()
        self.read()
        assert self.core.step(self.now_ns + 50 * MS) == 0
        for i, setpoint_mA in self.core.takes():
            scan.takes[i] = setpoint_mA
            self.core.take_done(i, self.codes.get(i, GOOD), self.now_ns + 60 * MS)
        for i in self.probed:
            if self.core.charger(i)["is_silent"] and i not in self.core.starving():
                scan.probes[i] = self.core.probe_mA(i)
                self.core.probe_done(i, self.codes.get(i, GOOD), self.now_ns + 65 * MS)
        scan.looks = self.core.looks()
        for i in scan.looks if self.are_looked_at else []:
            self.status(i, self.now_ns + 70 * MS)
        assert self.core.confirm(self.now_ns + 80 * MS) == 0
        for i, setpoint_mA in self.core.gives():
            scan.gives[i] = setpoint_mA
            self.core.give_done(i, self.codes.get(i, GOOD), self.now_ns + 90 * MS)
        self.now_ns += PERIOD_ns
        return scan

    def settle_in(self, background_mA: int, seconds: float = 60) -> None:
        """Let cars that take all they are offered come to rest beside this background."""
        for _ in range(int(seconds * NS_PER_S / PERIOD_ns)):
            self.draws_mA = self.setpoints_mA
            for m in range(len(self.tables.meters)):
                self.loads_mA[m] = self._load_mA(m, background_mA)
            self._scan()

    def _load_mA(self, meter_i: int, background_mA: int) -> Phases:
        loads = [background_mA] * 3
        for i in self._below(meter_i):
            for p in self.tables.chargers[i].phases:
                loads[p] += self.draws_mA[i]
        return loads[0], loads[1], loads[2]

    def _below(self, meter_i: int) -> list[int]:
        """Chargers anywhere below the circuit of this meter."""
        below = []
        for i, row in enumerate(self.tables.chargers):
            c = row.circuit
            while c >= 0 and self.tables.circuits[c].meter != meter_i:
                c = self.tables.circuits[c].parent
            if c >= 0:
                below.append(i)
        return below

    @property
    def setpoints_mA(self) -> list[int]:
        return [self.core.charger(i)["setpoint_mA"] for i in range(self.n)]

    def charger(self, i: int) -> dict[str, Any]:
        return self.core.charger(i)

    def circuit(self, c: int) -> dict[str, Any]:
        return self.core.circuit(c)
