"""A plant of cars with habits below a building, and judges that know the truth.

Three judges, none of which knows the core: each raise that a box receives (is there room for all
that every box below may draw, beside the background that the meter has just seen), how long a load
stays above a limit, and how often setpoints change direction.
"""

from __future__ import annotations

import bisect
import random

from loadctl.tables import Phases, Tables
from tests.support.cars import Car, Habits
from tests.support.core_sites import NS_PER_S, PERIOD_ns
from tests.support.reference import PAIRS, chain

CAR_FOLLOW_ns = 6 * NS_PER_S


class Building:
    """What hangs on each circuit itself besides chargers, as steps in time."""

    def __init__(self, n_circuits: int) -> None:
        self.at_ns: list[list[int]] = [[0] for _ in range(n_circuits)]
        self.own_mA: list[list[Phases]] = [[(0, 0, 0)] for _ in range(n_circuits)]

    def set(self, c: int, own_mA: Phases, at_ns: int) -> None:
        """From `at_ns` on; steps of one circuit come in the order of time."""
        if at_ns <= self.at_ns[c][-1]:
            raise ValueError(f"step at {at_ns} ns, not after {self.at_ns[c][-1]} ns")
        self.at_ns[c].append(at_ns)
        self.own_mA[c].append(own_mA)

    def own_at_mA(self, c: int, at_ns: int) -> Phases:
        return self.own_mA[c][bisect.bisect_right(self.at_ns[c], at_ns) - 1]


class CarPlant:
    """Every box starts at its fallback, or at its rating, as after a power return."""

    def __init__(
        self, tables: Tables, rng: random.Random, habits: list[Habits], is_power_back: bool = False
    ) -> None:
        self.tables = tables
        n = len(tables.chargers)
        self.cars = [
            Car(row, rng, habit, row.rated_mA if is_power_back else row.fallback_mA)
            for row, habit in zip(tables.chargers, habits, strict=True)
        ]
        self.building = Building(len(tables.circuits))
        self.chains = [chain(tables, i) for i in range(n)]
        self.below = [
            [i for i in range(n) if c in self.chains[i]] for c in range(len(tables.circuits))
        ]
        self.parts = [
            [k for k in range(len(tables.circuits)) if self._is_below(k, c)]
            for c in range(len(tables.circuits))
        ]
        self.background_read_mA: list[Phases] = [(0, 0, 0)] * len(tables.circuits)
        self.violations: list[str] = []
        self.n_raises = 0
        self.writes: list[tuple[int, int, int, int]] = []  # (when, charger, before, after)
        self.over = OverWatch(self)

    @property
    def boxes(self) -> list[Car]:
        return self.cars

    def _is_below(self, k: int, c: int) -> bool:
        while k >= 0 and k != c:
            k = self.tables.circuits[k].parent
        return k == c

    def background_mA(self, c: int, at_ns: int) -> Phases:
        """Everything on a circuit and its sub-circuits that is no charger."""
        owns = [self.building.own_at_mA(k, at_ns) for k in self.parts[c]]
        return sum(o[0] for o in owns), sum(o[1] for o in owns), sum(o[2] for o in owns)

    def load_mA(self, c: int, at_ns: int) -> Phases:
        a, b, d = self.background_mA(c, at_ns)
        for i in self.below[c]:
            draw_mA = self.cars[i].draw_at_mA(at_ns)
            a, b, d = a + draw_mA[0], b + draw_mA[1], d + draw_mA[2]
        return a, b, d

    def read_meter(self, c: int, at_ns: int) -> Phases:
        self.background_read_mA[c] = self.background_mA(c, at_ns)
        return self.load_mA(c, at_ns)

    def write(self, i: int, setpoint_mA: int, at_ns: int) -> None:
        """A box receives a setpoint; a raise is judged before anything else happens."""
        car = self.cars[i]
        car.advance(at_ns)
        if setpoint_mA != car.setpoint_mA:
            self.writes.append((at_ns, i, car.setpoint_mA, setpoint_mA))
        if setpoint_mA > car.setpoint_mA:
            self.n_raises += 1
            self._judge(i, setpoint_mA, at_ns)
        car.receive(setpoint_mA, at_ns)

    def _judge(self, raised: int, setpoint_mA: int, at_ns: int) -> None:
        for car in self.cars:
            car.advance(at_ns)
        able_mA = [car.may_draw_mA() for car in self.cars]
        able_mA[raised] = max(able_mA[raised], setpoint_mA)
        mine = self.cars[raised].phases
        for c in self.chains[raised]:
            row = self.tables.circuits[c]
            background_mA = self.background_read_mA[c] if row.is_dynamic else row.background_mA
            if not row.counts_export:
                a, b, d = background_mA
                background_mA = (max(0, a), max(0, b), max(0, d))
            sums_mA = [
                sum(able_mA[i] for i in self.below[c] if p in self.cars[i].phases) for p in range(3)
            ]
            for p in mine:
                if sums_mA[p] + background_mA[p] > row.limit_mA[p]:
                    self._violated(at_ns, raised, setpoint_mA, f"{row.name} L{p + 1}", able_mA)
            most_mA = self.power_limit_mA(c)
            if most_mA is not None and sum(sums_mA) + sum(background_mA) > most_mA:
                self._violated(at_ns, raised, setpoint_mA, f"{row.name} kW", able_mA)
            if row.unbalance_mA is not None:
                for p, q in PAIRS:
                    those = [
                        i for i in self.below[c]
                        if p in self.cars[i].phases
                        and q not in self.tables.chargers[i].phases
                    ]  # fmt: skip
                    if raised in those and sum(able_mA[i] for i in those) > row.unbalance_mA:
                        self._violated(at_ns, raised, setpoint_mA, f"{row.name} {p}-{q}", able_mA)

    def power_limit_mA(self, c: int) -> int | None:
        limit_W = self.tables.circuits[c].limit_W
        return None if limit_W is None else limit_W * 1_000_000 // self.tables.site.voltage_mV

    def _violated(
        self, at_ns: int, raised: int, setpoint_mA: int, where: str, able_mA: list[int]
    ) -> None:
        self.violations.append(
            f"{at_ns / NS_PER_S:.2f} s: raise of {raised} to {setpoint_mA} mA passes {where}, "
            f"able {able_mA}, background {self.background_read_mA}"
        )

    def turns(self, from_ns: int = 0, to_ns: int = 10**18) -> list[int]:
        """How often the setpoint of each charger changed direction in that time."""
        turns = [0] * len(self.cars)
        last = [0] * len(self.cars)
        for at_ns, i, before_mA, after_mA in self.writes:
            if from_ns <= at_ns < to_ns:
                sign = 1 if after_mA > before_mA else -1
                turns[i] += last[i] == -sign
                last[i] = sign
        return turns


class OverWatch:
    """Finds a load that stays above a limit for longer than cars need to be cut for it.

    The time runs while the load is above and the building takes no more than at any moment of it: a
    new rise of the building is a new excess. Only what cars draw can be cut, and their pilot
    tolerances are allowed for.
    """

    def __init__(self, plant: CarPlant) -> None:
        self.plant = plant
        tables = plant.tables
        self.overs_mA = [
            sum(plant.cars[i].habits.over_mA for i in plant.below[c])
            for c in range(len(tables.circuits))
        ]
        self.rows = [
            (c, kind)
            for c, row in enumerate(tables.circuits)
            for kind in range(4)
            if kind < 3 or row.limit_W is not None
        ]
        self.above: dict[tuple[int, int], list[tuple[int, int]]] = {row: [] for row in self.rows}
        self.most_ns = [self._most_ns(c) for c in range(len(tables.circuits))]
        self.found: list[str] = []
        self.worst_ns = 0

    def _most_ns(self, c: int) -> int:
        """Meter lag, a scan to see it, and the follow time of the slowest box below; twice, where
        what is cut may not have been drawn: the excess that is left is cut after that."""
        tables, plant = self.plant.tables, self.plant
        times = 1 if all(tables.chargers[i].has_measured_current for i in plant.below[c]) else 2
        lag_ns = max((row.lag_ns for row in tables.meters), default=0)
        hold_ns = max((tables.chargers[i].hold_ns for i in plant.below[c]), default=0)
        return times * (hold_ns + CAR_FOLLOW_ns + lag_ns + 2 * PERIOD_ns)

    def look(self, at_ns: int) -> None:
        for c in range(len(self.plant.tables.circuits)):
            self._look_at(c, at_ns)

    def _look_at(self, c: int, at_ns: int) -> None:
        row = self.plant.tables.circuits[c]
        loads_mA = self.plant.load_mA(c, at_ns)
        own_mA = self.plant.background_mA(c, at_ns) if row.is_dynamic else (0, 0, 0)
        for p in range(3):
            over_mA = loads_mA[p] - row.limit_mA[p] - self.overs_mA[c]
            self._note(c, p, min(over_mA, loads_mA[p] - own_mA[p]), own_mA[p], at_ns)
        most_mA = self.plant.power_limit_mA(c)
        if most_mA is not None:
            over_mA = sum(loads_mA) - most_mA - 3 * self.overs_mA[c]
            self._note(c, 3, min(over_mA, sum(loads_mA) - sum(own_mA)), sum(own_mA), at_ns)

    def _note(self, c: int, kind: int, over_mA: int, own_mA: int, at_ns: int) -> None:
        above = self.above[c, kind]
        if over_mA <= 0:
            above.clear()
            return
        above.append((at_ns, own_mA))
        since_ns = self._since(above, own_mA)
        self.worst_ns = max(self.worst_ns, at_ns - since_ns)
        if at_ns - since_ns > self.most_ns[c]:
            name = self.plant.tables.circuits[c].name
            self.found.append(
                f"{at_ns / NS_PER_S:.2f} s: {name} {kind} above its limit by {over_mA} mA for "
                f"{(at_ns - since_ns) / NS_PER_S:.1f} s, building at {own_mA} mA"
            )

    def _since(self, above: list[tuple[int, int]], own_mA: int) -> int:
        """Since when the building has taken no less than now, without a break."""
        since_ns = above[-1][0]
        for at_ns, before_mA in reversed(above):
            if before_mA < own_mA:
                break
            since_ns = at_ns
        return since_ns
