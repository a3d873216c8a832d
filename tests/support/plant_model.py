"""A small plant in virtual time for closed loops around the core, and a judge that knows the truth.

Currents in mA, time in ns. Boxes obey a setpoint at once but their cars follow late; one may sleep
and wake whenever it likes. The judge is independent of the core: at each raise that a box receives
it sums what every box below a circuit may still draw and adds the true background at the moment the
meter was read.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from loadctl.tables import Tables
from tests.support.core_sites import NS_PER_S
from tests.support.reference import PAIRS, chain

Phases = tuple[int, int, int]


@dataclass
class Box:
    """One charger with its car: setpoints that the car has not reached yet wait in `due`."""

    phases: tuple[int, ...]
    rng: random.Random
    most_delay_ns: int
    fallback_mA: int
    watchdog_ns: int
    setpoint_mA: int
    obeyed_mA: int = 0  # what the car keeps to
    wanted_mA: int = 0  # what the car would take
    state: str = "A"
    due: list[tuple[int, int]] = field(default_factory=list)  # (from when, setpoint)
    fed_at_ns: int = 0
    is_dead: bool = False

    def receive(self, setpoint_mA: int, at_ns: int) -> None:
        self.advance(at_ns)
        self.fed_at_ns = at_ns
        self._set(setpoint_mA, at_ns)

    def advance(self, at_ns: int) -> None:
        """Let the watchdog and the car do what they do by themselves until now."""
        if at_ns - self.fed_at_ns >= self.watchdog_ns and self.setpoint_mA != self.fallback_mA:
            self._set(self.fallback_mA, self.fed_at_ns + self.watchdog_ns)
        while self.due and self.due[0][0] <= at_ns:
            self.obeyed_mA = self.due.pop(0)[1]

    def _set(self, setpoint_mA: int, at_ns: int) -> None:
        if setpoint_mA == self.setpoint_mA:
            return
        most_ns = self.most_delay_ns if setpoint_mA < self.setpoint_mA else 3 * NS_PER_S
        from_ns = at_ns + self.rng.randint(0, most_ns)
        if self.due:
            from_ns = max(from_ns, self.due[-1][0])
        self.due.append((from_ns, setpoint_mA))
        self.setpoint_mA = setpoint_mA

    def draw_mA(self, at_ns: int) -> int:
        self.advance(at_ns)
        return min(self.obeyed_mA, self.wanted_mA) if self.state == "C" else 0

    def may_draw_mA(self, at_ns: int) -> int:
        """The highest setpoint not obeyed yet, or the draw."""
        self.advance(at_ns)
        pending = [setpoint_mA for _, setpoint_mA in self.due]
        return max([self.setpoint_mA, self.obeyed_mA, *pending])


class Plant:
    """Loads of circuits and boxes; `own_mA` is what hangs on a circuit itself besides chargers."""

    def __init__(self, tables: Tables, rng: random.Random, most_delay_ns: int) -> None:
        self.tables = tables
        self.own_mA: list[Phases] = [(0, 0, 0)] * len(tables.circuits)
        self.boxes = [
            Box(
                row.phases, rng, most_delay_ns, row.fallback_mA, row.watchdog_ns or 10**18,
                setpoint_mA=row.rated_mA, obeyed_mA=row.rated_mA,
            )
            for row in tables.chargers
        ]  # fmt: skip
        self.chains = [chain(tables, i) for i in range(len(tables.chargers))]
        self.background_read_mA = [(0, 0, 0)] * len(tables.circuits)
        self.violations: list[str] = []
        self.n_raises = 0

    def background_mA(self, c: int) -> Phases:
        """Everything on a circuit and its sub-circuits that is no charger."""
        below = [k for k in range(len(self.own_mA)) if c in self._up(k)]
        a, b, d = (sum(self.own_mA[k][p] for k in below) for p in range(3))
        return a, b, d

    def _up(self, c: int) -> list[int]:
        up = []
        while c >= 0:
            up.append(c)
            c = self.tables.circuits[c].parent
        return up

    def load_mA(self, c: int, at_ns: int) -> Phases:
        loads = list(self.background_mA(c))
        for box, circuits in zip(self.boxes, self.chains, strict=True):
            if c in circuits:
                for p in box.phases:
                    loads[p] += box.draw_mA(at_ns)
        a, b, d = loads
        return a, b, d

    def read_meter(self, c: int, at_ns: int) -> Phases:
        self.background_read_mA[c] = self.background_mA(c)
        return self.load_mA(c, at_ns)

    def write(self, i: int, setpoint_mA: int, at_ns: int) -> None:
        """A box receives a setpoint; a raise is judged before anything else happens."""
        self.boxes[i].advance(at_ns)
        if setpoint_mA > self.boxes[i].setpoint_mA:
            self.n_raises += 1
            self._judge(i, setpoint_mA, at_ns)
        self.boxes[i].receive(setpoint_mA, at_ns)

    def _judge(self, raised: int, setpoint_mA: int, at_ns: int) -> None:
        able_mA = [box.may_draw_mA(at_ns) for box in self.boxes]
        able_mA[raised] = max(able_mA[raised], setpoint_mA)
        for c in self.chains[raised]:
            row = self.tables.circuits[c]
            background_mA = self.background_read_mA[c] if row.is_dynamic else row.background_mA
            below = [i for i, up in enumerate(self.chains) if c in up]
            sums = [sum(able_mA[i] for i in below if p in self.boxes[i].phases) for p in range(3)]
            for p in range(3):
                if sums[p] + background_mA[p] > row.limit_mA[p] and p in self.boxes[raised].phases:
                    self._violated(at_ns, raised, setpoint_mA, f"{row.name} L{p + 1}", able_mA)
            if row.limit_W is not None:
                most_mA = row.limit_W * 1_000_000 // self.tables.site.voltage_mV
                if sum(sums) + sum(background_mA) > most_mA:
                    self._violated(at_ns, raised, setpoint_mA, f"{row.name} kW", able_mA)
            if row.unbalance_mA is not None:
                self._judge_unbalance(row.unbalance_mA, below, raised, able_mA, at_ns)

    def _judge_unbalance(
        self, most_mA: int, below: list[int], raised: int, able_mA: list[int], at_ns: int
    ) -> None:
        for p, q in PAIRS:
            those = [
                i for i in below if p in self.boxes[i].phases and q not in self.boxes[i].phases
            ]
            if raised in those and sum(able_mA[i] for i in those) > most_mA:
                self._violated(at_ns, raised, able_mA[raised], f"unbalance {p}-{q}", able_mA)

    def _violated(
        self, at_ns: int, raised: int, setpoint_mA: int, where: str, able_mA: list[int]
    ) -> None:
        self.violations.append(
            f"{at_ns / NS_PER_S:.2f} s: raise of {raised} to {setpoint_mA} mA passes {where}, "
            f"able {able_mA}, background {self.background_read_mA}"
        )
