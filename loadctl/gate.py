"""The last thing before the wire: the second judge of every frame to a charger's setpoint.

Owns a table of what each charger may be told and what each circuit carries, as the site file says
or as it was tuned since, and its own memory of what each was told. Denies by default. Shares no
code with the core and trusts no caller: whether a frame raises is decided here, and a caller that
forgets to report only makes it stricter. Runs on the scan's main thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadctl.tables import Phases, Tables
from loadctl.units import LEAST_CHARGING_mA

uW_PER_W = 1_000_000


class Gate:
    """Sums reserves and background above a raising frame and drops it where they do not fit."""

    def __init__(self, tables: Tables) -> None:
        self.voltage_mV = tables.site.voltage_mV
        self.circuits = tables.circuits
        self.chargers = tables.chargers
        self.told_mA: list[int | None] = [None] * len(self.chargers)
        self.before_mA = list(self.told_mA)  # before the last decrease that was let through
        self.above = [_path_to_root(tables, row.circuit) for row in self.chargers]
        # What counts from outside, amps and watts; until the first command what it is at loss.
        self.outside = [(row.loss_mA, row.loss_W) for row in self.circuits]
        # What counts of the site file's values: a raise keeps to these.
        self.own = [(row.limit_mA, row.margin_mA) for row in self.circuits]
        self.range = [(row.min_mA, row.max_mA, row.is_enabled) for row in self.chargers]
        # What each may be told at least where it is no raise: no minimum was ever lower here.
        self.least_mA = [row.min_mA for row in self.chargers]
        self.close()

    def close(self) -> None:
        """Let no raise through until this scan's reserves and backgrounds are known."""
        self.is_open = False

    def open(
        self,
        reserves_mA: Sequence[int],
        backgrounds_mA: Sequence[Phases | None],
        used_phases: Sequence[tuple[int, ...]] | None = None,
    ) -> None:
        """Sum what each circuit may have to carry; a background of None denies every raise.

        `used_phases` leaves out phases that a car does not use; what is not of the table, or
        leaves none, is not believed.
        """
        self.phases = [row.phases for row in self.chargers]
        for charger_i, phases in enumerate(used_phases or ()):
            if phases and set(phases) <= set(self.phases[charger_i]):
                self.phases[charger_i] = phases
        self.is_known = [background_mA is not None for background_mA in backgrounds_mA]
        self.load_mA = [list(background_mA or (0, 0, 0)) for background_mA in backgrounds_mA]
        # [circuit][p][q]: what the chargers carry that use phase p and not phase q
        self.only_mA = [[[0, 0, 0] for _ in range(3)] for _ in self.circuits]
        self.chargers_mA = [0] * len(self.circuits)  # over all phases, without any background
        self.reserves_mA = [0] * len(self.chargers)
        for charger_i, reserve_mA in enumerate(reserves_mA):
            self._count(charger_i, reserve_mA)
        self.is_open = True

    def limit(self, circuit_i: int, limit_mA: Phases | None, power_W: int | None) -> None:
        """This counts from outside now, beside the circuit's own limits; None is no limit."""
        self.outside[circuit_i] = (limit_mA, power_W)

    def tune_circuit(self, circuit_i: int, limit_mA: Phases, margin_mA: int) -> None:
        """These count instead of the site file's; a higher limit or a lower margin does not."""
        row = self.circuits[circuit_i]
        one, two, three = map(min, limit_mA, row.limit_mA)
        self.own[circuit_i] = ((one, two, three), max(margin_mA, row.margin_mA))

    def tune_charger(self, charger_i: int, min_mA: int, max_mA: int, is_enabled: bool) -> None:
        """These count instead of the site file's, whose maximum stays the most of all."""
        self.range[charger_i] = (min_mA, max_mA, is_enabled)
        self.least_mA[charger_i] = min(self.least_mA[charger_i], min_mA)

    def found(self, charger_i: int, setpoint_mA: int) -> None:
        """This is the setpoint that was read back from the charger's own register, or that it was
        told by an earlier scan, when its minimum may have been lower."""
        if setpoint_mA >= LEAST_CHARGING_mA:
            self.least_mA[charger_i] = min(self.least_mA[charger_i], setpoint_mA)
        self.told_mA[charger_i] = self.before_mA[charger_i] = setpoint_mA

    def allows(self, charger_i: int, setpoint_mA: int) -> bool:
        """Whether this frame may leave; a raise that may counts from here on in this scan."""
        if not self._is_in_table(charger_i, setpoint_mA):
            return False
        told_mA = self.told_mA[charger_i]
        if setpoint_mA == 0 or (told_mA is not None and setpoint_mA <= told_mA):
            self.before_mA[charger_i] = told_mA
            self.told_mA[charger_i] = setpoint_mA
            return True
        least_mA, most_mA, is_enabled = self.range[charger_i]
        if not self.is_open or not is_enabled or not least_mA <= setpoint_mA <= most_mA:
            return False
        rise_mA = max(0, setpoint_mA - self.reserves_mA[charger_i])
        if not all(
            self._fits(circuit_i, charger_i, rise_mA) for circuit_i in self.above[charger_i]
        ):
            return False
        self._count(charger_i, rise_mA)
        return True

    def left(self, charger_i: int, setpoint_mA: int) -> None:
        """This frame was on the wire, whatever became of it."""
        self.told_mA[charger_i] = self.before_mA[charger_i] = setpoint_mA

    def held_back(self, charger_i: int) -> None:
        """The frame that was let through never left: the charger has what it had before."""
        self.told_mA[charger_i] = self.before_mA[charger_i]

    def _is_in_table(self, charger_i: int, setpoint_mA: int) -> bool:
        if not 0 <= charger_i < len(self.chargers) or self.chargers[charger_i].is_isolated:
            return False
        row = self.chargers[charger_i]
        is_current = (
            self.least_mA[charger_i] <= setpoint_mA <= row.max_mA and setpoint_mA % row.step_mA == 0
        )
        return setpoint_mA == 0 or is_current

    def _count(self, charger_i: int, rise_mA: int) -> None:
        self.reserves_mA[charger_i] += rise_mA
        phases = self.phases[charger_i]
        for circuit_i in self.above[charger_i]:
            self.chargers_mA[circuit_i] += rise_mA * len(phases)
            for p in phases:
                self.load_mA[circuit_i][p] += rise_mA
                for q in {0, 1, 2}.difference(phases):
                    self.only_mA[circuit_i][p][q] += rise_mA

    def _fits(self, circuit_i: int, charger_i: int, rise_mA: int) -> bool:
        """The phases it uses, the total power, and unbalance against the phases it does not use."""
        circuit, phases = self.circuits[circuit_i], self.phases[charger_i]
        own_mA, margin_mA = self.own[circuit_i]
        load_mA = self.load_mA[circuit_i]
        power_uW = (sum(load_mA) + rise_mA * len(phases)) * self.voltage_mV
        return (
            self.is_known[circuit_i]
            and self._fits_outside(circuit_i, charger_i, rise_mA)
            and all(load_mA[p] + rise_mA + margin_mA <= own_mA[p] for p in phases)
            and (circuit.limit_W is None or power_uW <= circuit.limit_W * uW_PER_W)
            and (
                circuit.unbalance_mA is None
                or all(
                    self.only_mA[circuit_i][p][q] + rise_mA <= circuit.unbalance_mA
                    for p in phases
                    for q in {0, 1, 2}.difference(phases)
                )
            )
        )

    def _fits_outside(self, circuit_i: int, charger_i: int, rise_mA: int) -> bool:
        """The limits from outside; EnWG 14a leaves the background out of its power."""
        circuit, phases = self.circuits[circuit_i], self.phases[charger_i]
        limit_mA, limit_W = self.outside[circuit_i]
        margin_mA = self.own[circuit_i][1]
        load_mA, sum_mA = self.load_mA[circuit_i], sum(self.load_mA[circuit_i])
        if circuit.guaranteed_W is not None:
            sum_mA = self.chargers_mA[circuit_i]
        power_uW = (sum_mA + rise_mA * len(phases)) * self.voltage_mV
        return (limit_W is None or power_uW <= limit_W * uW_PER_W) and (
            limit_mA is None or all(load_mA[p] + rise_mA + margin_mA <= limit_mA[p] for p in phases)
        )


def _path_to_root(tables: Tables, circuit_i: int) -> list[int]:
    path = []
    while circuit_i >= 0:
        path.append(circuit_i)
        circuit_i = tables.circuits[circuit_i].parent
    return path
