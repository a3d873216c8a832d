"""The scan's conversation with the core over a plant of cars with habits, in virtual time.

Order of calls and losses are those of `closed_loop.Loop`; here meters and boxes have lag and read
what was true a moment ago, meters may say export, and each charger's status has its own time.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.car_plant import CarPlant
from tests.support.cars import PLAIN, Car, Habits
from tests.support.closed_loop import MS, Loop, Losses, READ_ns, STATUS_ns
from tests.support.core_sites import GOOD, NO_ANSWER, NS_PER_S, RUN, START, PERIOD_ns, attached

WATCH_ns = 450 * MS
STATUS_EVERY_ns = 2 * NS_PER_S  # every charger's status is read within this time


class CarLoop(Loop):
    plant: CarPlant

    def __init__(
        self,
        tables: Tables,
        rng: random.Random,
        habits: list[Habits] | None = None,
        losses: Losses | None = None,
        is_power_back: bool = False,
        period_ns: int = PERIOD_ns,
    ) -> None:
        """A longer period only where no meter is: what meters say must be young."""
        self.tables = tables
        self.rng = rng
        self.losses = losses or Losses()
        self.plant = CarPlant(tables, rng, habits or [PLAIN] * len(tables.chargers), is_power_back)
        self.core: Core = attached(tables)
        self.core.set_mode(START)
        self.now_ns = 100 * NS_PER_S
        for car in self.cars:
            car.fed_at_ns = self.now_ns
        self.period_ns = period_ns
        n_scans = max(1, STATUS_EVERY_ns // period_ns)
        self.n_per_scan = max(1, -(-len(tables.chargers) // n_scans))
        self.next_status = 0
        self.scan_i = 0
        self.has_power = False
        self.is_watched = True
        self.metered = [
            next(c for c, row in enumerate(tables.circuits) if row.meter == m)
            for m in range(len(tables.meters))
        ]

    @property
    def cars(self) -> list[Car]:
        return self.plant.cars

    def plug_all(self) -> None:
        for car in self.cars:
            car.plug(self.now_ns)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * NS_PER_S / self.period_ns)):
            self.scan()

    def run_until(self, is_so: Callable[[], bool], most_s: float) -> float:
        """Run until it is so; the answer is how many seconds that took."""
        from_ns = self.now_ns
        while not is_so():
            passed_s = (self.now_ns - from_ns) / NS_PER_S
            assert passed_s <= most_s, f"not so after {passed_s} s"
            self.scan()
        return (self.now_ns - from_ns) / NS_PER_S

    def step_building(self, c: int, own_mA: tuple[int, int, int], after_ns: int = 0) -> None:
        """A step of the building at that time after the begin of the next scan."""
        self.plant.building.set(c, own_mA, self.now_ns + after_ns)

    def draws_mA(self) -> list[int]:
        return [max(car.draw_at_mA(self.now_ns)) for car in self.cars]

    def scan(self) -> None:
        at_ns = self.now_ns
        if self.scan_i == self.tables.tuning.healthy_scans:
            self.core.set_mode(RUN)
        super().scan()
        self.now_ns = at_ns + self.period_ns
        if self.is_watched:
            self.plant.over.look(at_ns + WATCH_ns)

    def _read(self, t_ns: int) -> None:
        for m, c in enumerate(self.metered):
            lag_ns = self.rng.randint(0, self.tables.meters[m].lag_ns)
            at_ns = t_ns + READ_ns + m * MS
            if self.losses.meter > 0 and self.rng.random() < self.losses.meter:
                self.core.meter_read(m, NO_ANSWER, None, None, None, at_ns)
                continue
            a, b, d = self.plant.read_meter(c, at_ns - lag_ns)
            power_W = None
            if self.has_power:
                power_W = tuple(x * self.tables.site.voltage_mV // 1_000_000 for x in (a, b, d))
            self.core.meter_read(m, GOOD, (abs(a), abs(b), abs(d)), power_W, None, at_ns)
        for k in range(self.n_per_scan):
            self._status(self.next_status, t_ns + STATUS_ns + k * MS)
            self.next_status = (self.next_status + 1) % len(self.tables.chargers)

    def _status(self, i: int, at_ns: int) -> None:
        row, car = self.tables.chargers[i], self.cars[i]
        charger = self.core.charger(i)
        if row.is_isolated or charger["is_silent"]:
            return
        car.advance(at_ns)
        code = self._exchange(i)
        if code != NO_ANSWER:
            car.fed_at_ns = at_ns
        if code != GOOD:
            self.core.charger_status(i, code, None, None, None, at_ns)
            return
        lag_ns = self.rng.randint(0, row.draw_lag_ns) if row.draw_lag_ns > 0 else 0
        draw_mA = car.draw_at_mA(at_ns - lag_ns)
        on_terminals_mA = ([draw_mA[p] for p in row.phases] + [0, 0])[:3]
        self.core.charger_status(
            i, GOOD, car.state, tuple(on_terminals_mA) if row.has_measured_current else None,
            car.setpoint_mA, at_ns,
        )  # fmt: skip
        if not charger["is_armed"]:
            self.core.charger_armed(i, True, car.setpoint_mA)

    def _exchange(self, i: int) -> int:
        if self.cars[i].is_dead:
            return NO_ANSWER
        if self.losses.request == 0 and self.losses.refusal == 0:
            return GOOD
        return super()._exchange(i)

    def _is_probed(self, i: int, sent: set[int]) -> bool:
        return super()._is_probed(i, sent) and i not in self.core.starving()
