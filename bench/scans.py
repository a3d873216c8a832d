"""Scans of a site without a wire: every car takes what it may, every write is acknowledged."""

from __future__ import annotations

import time

from loadctl._core import Core
from loadctl.tables import Tables

RUN = 1
GOOD = 1
MS = 1_000_000
PERIOD_ns = 500 * MS


class Scans:
    """Drives a core scan by scan, and notes how long `step` and `confirm` took."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.core = Core(tables)
        self.core.attach(bytearray(self.core.plant_bytes))
        self.core.set_mode(RUN)
        self.now_ns = 10**12
        self.draws_mA = [0] * len(tables.chargers)
        self.step_ns: list[int] = []
        self.confirm_ns: list[int] = []
        for i in range(len(tables.chargers)):
            self.core.charger_armed(i, True, 0)

    def run(self, n_scans: int, building_mA: int = 0) -> None:
        for _ in range(n_scans):
            self._scan(building_mA)

    def _scan(self, building_mA: int) -> None:
        core = self.core
        self._read(building_mA)
        began_at_ns = time.perf_counter_ns()
        result = core.step(self.now_ns + 50 * MS)
        self.step_ns.append(time.perf_counter_ns() - began_at_ns)
        for i, setpoint_mA in core.takes():
            core.take_done(i, GOOD, self.now_ns + 60 * MS)
            self.draws_mA[i] = setpoint_mA
        for i in core.looks():
            self._status(i, self.now_ns + 70 * MS)
        began_at_ns = time.perf_counter_ns()
        result |= core.confirm(self.now_ns + 80 * MS)
        self.confirm_ns.append(time.perf_counter_ns() - began_at_ns)
        for i, setpoint_mA in core.gives():
            core.give_done(i, GOOD, self.now_ns + 90 * MS)
            self.draws_mA[i] = setpoint_mA
        if result != 0:
            raise RuntimeError(f"core: result {result}")
        self.now_ns += PERIOD_ns

    def _read(self, building_mA: int) -> None:
        loads = [building_mA] * 3
        for i, row in enumerate(self.tables.chargers):
            for p in row.phases:
                loads[p] += self.draws_mA[i]
        loads_mA = (loads[0], loads[1], loads[2])
        for m in range(len(self.tables.meters)):
            self.core.meter_read(m, GOOD, loads_mA, None, None, self.now_ns + 10 * MS)
        for i in range(len(self.tables.chargers)):
            self._status(i, self.now_ns + 20 * MS)

    def _status(self, i: int, at_ns: int) -> None:
        current_mA = tuple(
            self.draws_mA[i] if k < len(self.tables.chargers[i].phases) else 0 for k in range(3)
        )
        self.core.charger_status(i, GOOD, "C", current_mA, None, at_ns)
