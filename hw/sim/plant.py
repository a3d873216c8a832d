"""The plant behind the simulated devices: building, outlets and cars, and the currents that result.

Owns the truth: what flows on each circuit and phase at a time. Integers only, the time is always an
argument. Several processes may share one plant: each moves the outlets it owns and reads the
others' from the board.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

from hw.sim.board import Board
from hw.sim.outlet import BoxFacts, Outlet, Visit
from hw.sim.scenario import Phases, Scenario

if TYPE_CHECKING:
    from loadctl.tables import Tables


# A car that has charged like this for so long has shown which phases it leaves alone.
SHOWS_mA = 5_000
SHOWS_AFTER_ns = 60_000_000_000


class Sample(NamedTuple):
    """Everything a meter could show, at one instant."""

    at_ns: int
    load_mA: list[Phases]  # per circuit: what flows
    background_mA: list[Phases]  # per circuit: the part of it that is no charger


class Plant:
    def __init__(
        self,
        tables: Tables,
        facts: list[BoxFacts],
        scenario: Scenario,
        board: Board,
        start_ns: int,
        owned: Collection[int],
    ) -> None:
        self.tables = tables
        self.board = board
        self.start_ns = start_ns
        self._loads = [scenario.loads.get(circuit.name) for circuit in tables.circuits]
        self.outlets: dict[int, Outlet] = {}
        self._shown: dict[int, tuple[Visit, int | None, int]] = {}  # car, charging since, unused
        for i in sorted(owned):
            visits = tuple(v for v in scenario.visits if v.charger == tables.chargers[i].name)
            self.outlets[i] = Outlet(facts[i], visits, start_ns)
            self.publish(i)
        self._longest_lag_ns = max((meter.lag_ns for meter in tables.meters), default=0)
        self._samples: deque[Sample] = deque()

    # outlets

    def publish(self, charger_i: int) -> None:
        """Write down what the other processes need to know of this outlet."""
        outlet, at, slots = self.outlets[charger_i], self.board.charger(charger_i), self.board.slots
        draw_mA = [0, 0, 0]
        terminal_mA = outlet.terminal_mA()
        for terminal, phase in enumerate(self.tables.chargers[charger_i].phases):
            draw_mA[phase] = terminal_mA[terminal]
        slots[at], slots[at + 1], slots[at + 2] = draw_mA
        slots[at + 3] = outlet.could_mA()
        slots[at + 4] = outlet.in_force_mA
        slots[at + 6] = outlet.believed_mA()
        slots[at + 7] = self._unused(charger_i)

    def _unused(self, charger_i: int) -> int:
        """Bit p: the car here has shown that it does not use grid phase p."""
        outlet = self.outlets[charger_i]
        if outlet.car is None:
            self._shown.pop(charger_i, None)
            return 0
        car, since_ns, unused = self._shown.get(charger_i, (outlet.car, None, 0))
        if car is not outlet.car:
            since_ns, unused = None, 0
        if outlet.draw_mA < SHOWS_mA:
            since_ns = None
        elif since_ns is None:
            since_ns = outlet.at_ns
        elif outlet.at_ns - since_ns >= SHOWS_AFTER_ns:
            wired = enumerate(self.tables.chargers[charger_i].phases)
            unused = sum(1 << p for t, p in wired if t not in outlet.car.terminals)
        self._shown[charger_i] = (outlet.car, since_ns, unused)
        return unused

    def advance(self, now_ns: int) -> None:
        """Move every outlet of this process to `now_ns`."""
        for charger_i, outlet in self.outlets.items():
            outlet.advance(now_ns)
            self.publish(charger_i)

    def draw_mA(self, charger_i: int) -> Phases:
        """Per grid phase, as last published."""
        at, slots = self.board.charger(charger_i), self.board.slots
        return (slots[at], slots[at + 1], slots[at + 2])

    def could_mA(self, charger_i: int) -> int:
        return self.board.slots[self.board.charger(charger_i) + 3]

    def used_phases(self, charger_i: int) -> tuple[int, ...]:
        """Grid phases that it is wired to, less those that its car has shown not to use."""
        unused = self.board.slots[self.board.charger(charger_i) + 7]
        return tuple(p for p in self.tables.chargers[charger_i].phases if not unused >> p & 1)

    def believed_mA(self, charger_i: int) -> int:
        """As `could_mA`, but of a charger that does not obey what it acknowledged."""
        return self.board.slots[self.board.charger(charger_i) + 6]

    # circuits

    def backgrounds_mA(self, now_ns: int) -> list[Phases]:
        """Per circuit: its own load and that of its sub-circuits, no chargers."""
        since_ns = now_ns - self.start_ns
        own = [load.at_mA(since_ns) if load is not None else (0, 0, 0) for load in self._loads]
        return self._summed_up(own)

    def sample(self, now_ns: int) -> Sample:
        """The truth at `now_ns`; remembered for meters whose values lag."""
        self.advance(now_ns)
        backgrounds_mA = self.backgrounds_mA(now_ns)
        own_draws = [(0, 0, 0)] * len(self.tables.circuits)
        for charger_i, charger in enumerate(self.tables.chargers):
            own_draws[charger.circuit] = _plus(own_draws[charger.circuit], self.draw_mA(charger_i))
        draws_mA = self._summed_up(own_draws)
        loads_mA = [_plus(b, d) for b, d in zip(backgrounds_mA, draws_mA, strict=True)]
        sample = Sample(now_ns, loads_mA, backgrounds_mA)
        if self._longest_lag_ns:
            self._remember(sample)
        return sample

    def sample_for(self, meter_i: int, now_ns: int) -> Sample:
        """What the meter answers with: the oldest that is no older than its lag."""
        newest = self.sample(now_ns)
        lag_ns = self.tables.meters[meter_i].lag_ns
        if lag_ns == 0:
            return newest
        return next(s for s in self._samples if now_ns - s.at_ns <= lag_ns)

    def _remember(self, sample: Sample) -> None:
        self._samples.append(sample)
        while sample.at_ns - self._samples[0].at_ns > self._longest_lag_ns:
            self._samples.popleft()

    def _summed_up(self, own: list[Phases]) -> list[Phases]:
        """Every circuit with all its sub-circuits; parents stand before their children."""
        total = list(own)
        for i in range(len(total) - 1, 0, -1):
            parent = self.tables.circuits[i].parent
            if parent >= 0:
                total[parent] = _plus(total[parent], total[i])
        return total


def _plus(a: Phases, b: Phases) -> Phases:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])
