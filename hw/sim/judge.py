"""The outside judge: was there room for each raising frame, and how full were the circuits.

Sees frames and the plant, never the controller. A raising frame is a setpoint above the current in
force at its charger. There is room when all chargers at the highest setpoint they have not yet
obeyed, plus the background as it was at the last meter reply, fit every circuit above: each phase,
kilowatts, unbalance. A circuit without a meter, or whose meter has not been heard for
`meter_stale_ns`, is judged with its declared background. A charger counts on all phases it is
wired to, but for those that its car has shown for a minute that it does not use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hw.sim.plant import Plant, Sample

if TYPE_CHECKING:
    from loadctl.tables import Tables

PHASE_NAMES = ("L1", "L2", "L3")
MOST_KEPT = 1_000  # violations with their context; all are counted
LONGEST_STEP_ns = 2_000_000_000  # a longer pause between two looks is not counted as time above


class Judge:
    """`note` is told of every raising frame and every violation, as a dictionary."""

    def __init__(
        self,
        tables: Tables,
        plant: Plant,
        bus_i: int,
        note: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.tables = tables
        self._note_frame = note or (lambda entry: None)
        self.plant = plant
        self.board = plant.board
        self._bus_at = self.board.bus(bus_i)
        self.violations: list[dict[str, Any]] = []
        self._last_look_ns: int | None = None
        circuits = tables.circuits
        self._chain = [list(_upwards(tables, c.circuit)) for c in tables.chargers]
        self._below = [
            [k for k in range(len(tables.chargers)) if i in self._chain[k]]
            for i in range(len(circuits))
        ]

    # the meters: what the master may know

    def met(self, meter_i: int, sample: Sample, now_ns: int) -> None:
        """A reply of this meter with the values of `sample` goes out on the line."""
        slots = self.board.slots
        for circuit_i, circuit in enumerate(self.tables.circuits):
            if circuit.meter == meter_i:
                at = self.board.circuit(circuit_i)
                slots[at], slots[at + 1], slots[at + 2] = sample.background_mA[circuit_i]
                slots[at + 3] = now_ns
                slots[at + 4] += 1

    def background_mA(self, circuit_i: int, now_ns: int) -> tuple[int, int, int]:
        """At the last meter reply, or declared."""
        circuit = self.tables.circuits[circuit_i]
        at, slots = self.board.circuit(circuit_i), self.board.slots
        is_met = circuit.meter >= 0 and circuit.is_dynamic and slots[at + 4] > 0
        if not is_met or now_ns - slots[at + 3] > self.tables.tuning.meter_stale_ns:
            return circuit.background_mA
        return (slots[at], slots[at + 1], slots[at + 2])

    # the setpoints

    def not_obeyed(self, charger_i: int) -> None:
        """A setpoint frame that was acknowledged and changed nothing."""
        self.board.slots[self.board.charger(charger_i) + 5] += 1

    def setpoint(
        self,
        charger_i: int,
        before_mA: int,
        written_mA: int,
        setpoint_mA: int,
        now_ns: int,
        is_repeat: bool = False,
    ) -> bool:
        """Judge a setpoint frame that has just taken effect; True: it raised and had room.

        `before_mA` was in force until now, `written_mA` is the setpoint written before this one:
        after an expiry of the watchdog the two differ. `is_repeat`: for the master it is no raise,
        as that much was acknowledged before and not obeyed.
        """
        slots = self.board.slots
        slots[self.board.charger(charger_i) + 5] += 1
        if setpoint_mA <= before_mA:
            slots[self._bus_at + (5 if setpoint_mA < before_mA else 6)] += 1
            return False
        slots[self._bus_at + 4] += 1
        self.plant.advance(now_ns)
        found = self._found(charger_i, now_ns, believes=False)
        frame = {
            "at_ns": now_ns - self.plant.start_ns,
            "charger": self.tables.chargers[charger_i].name,
            "before_mA": before_mA,
            "written_mA": written_mA,
            "setpoint_mA": setpoint_mA,
        }
        if not found:
            self._note_frame({"kind": "raise", **frame})
            return True
        slots[self._bus_at + 7] += 1
        context = self._context(charger_i, now_ns)
        is_lie = is_repeat or not self._found(charger_i, now_ns, believes=True)
        violation = {**frame, "misfits": found, **context, "rests_on_lies": is_lie}
        self._note_frame({"kind": "violation", **violation})
        if len(self.violations) < MOST_KEPT:
            self.violations.append(violation)
        return False

    def _found(self, charger_i: int, now_ns: int, believes: bool) -> list[dict[str, Any]]:
        """Every bound that does not hold; `believes`: as if all obeyed their last setpoint."""
        able_mA = self.plant.believed_mA if believes else self.plant.could_mA
        circuits = self._chain[charger_i]
        return [f for i in circuits for f in self._misfits(i, charger_i, now_ns, able_mA)]

    def _misfits(
        self, circuit_i: int, charger_i: int, now_ns: int, able_mA: Callable[[int], int]
    ) -> Iterator[dict[str, Any]]:
        """Each bound of this circuit that does not hold on a phase that the charger uses."""
        circuit = self.tables.circuits[circuit_i]
        background_mA = self.background_mA(circuit_i, now_ns)
        raised = self.plant.used_phases(charger_i)
        total_mA = list(background_mA)
        for k in self._below[circuit_i]:
            for phase in self.plant.used_phases(k):
                total_mA[phase] += able_mA(k)
        for phase in raised:
            if total_mA[phase] > circuit.limit_mA[phase]:
                yield _misfit(
                    circuit.name, PHASE_NAMES[phase], total_mA[phase], circuit.limit_mA[phase], "mA"
                )
        total_uW = sum(total_mA) * self.tables.site.voltage_mV
        if circuit.limit_W is not None and total_uW > circuit.limit_W * 1_000_000:
            yield _misfit(circuit.name, "kW", -(-total_uW // 1_000_000), circuit.limit_W, "W")
        if circuit.unbalance_mA is not None:
            yield from self._unbalanced(circuit_i, raised, circuit.unbalance_mA, able_mA)

    def _unbalanced(
        self,
        circuit_i: int,
        raised: tuple[int, ...],
        limit_mA: int,
        able_mA: Callable[[int], int],
    ) -> Iterator[dict[str, Any]]:
        for p in raised:
            for q in {0, 1, 2} - set(raised):
                sum_mA = sum(able_mA(k) for k in self._below[circuit_i] if self._uses(k, p, q))
                if sum_mA > limit_mA:
                    name = f"unbalance {PHASE_NAMES[p]}-{PHASE_NAMES[q]}"
                    yield _misfit(
                        self.tables.circuits[circuit_i].name, name, sum_mA, limit_mA, "mA"
                    )

    def _uses(self, charger_i: int, p: int, q: int) -> bool:
        """When the master learns of a phase that is not used is its own affair: what it cannot
        know yet counts in no pair."""
        is_used = p in self.plant.used_phases(charger_i)
        return is_used and q not in self.tables.chargers[charger_i].phases

    def _context(self, charger_i: int, now_ns: int) -> dict[str, Any]:
        """What the judgement rested on: all backgrounds above, all chargers of the tree."""
        chain = self._chain[charger_i]
        below = [(k, self.tables.chargers[k].name) for k in self._below[chain[-1]]]
        return {
            "background_mA": {
                self.tables.circuits[i].name: list(self.background_mA(i, now_ns)) for i in chain
            },
            "could_mA": {name: self.plant.could_mA(k) for k, name in below},
            "draw_mA": {name: list(self.plant.draw_mA(k)) for k, name in below},
            "liars_mA": {
                name: self.plant.believed_mA(k)
                for k, name in below
                if self.plant.believed_mA(k) < self.plant.could_mA(k)
            },
        }

    # the circuits: what really flowed

    def look(self, now_ns: int) -> Sample:
        """Note how full every circuit is; the keeper does this often."""
        sample = self.plant.sample(now_ns)
        last_ns, self._last_look_ns = self._last_look_ns, now_ns
        step_ns = 0 if last_ns is None else min(max(now_ns - last_ns, 0), LONGEST_STEP_ns)
        for circuit_i, circuit in enumerate(self.tables.circuits):
            load_mA = sample.load_mA[circuit_i]
            excess_mA, phase = max((load_mA[p] - circuit.limit_mA[p], p) for p in range(3))
            self._note(circuit_i, excess_mA, phase, load_mA[phase], now_ns, step_ns)
        return sample

    def _note(
        self, circuit_i: int, excess_mA: int, phase: int, load_mA: int, now_ns: int, step_ns: int
    ) -> None:
        at, slots = self.board.load(circuit_i), self.board.slots
        limit_mA = self.tables.circuits[circuit_i].limit_mA[phase]
        is_first = slots[at + 1] == 0
        if is_first or excess_mA > slots[at] - slots[at + 1]:
            slots[at], slots[at + 1] = load_mA, limit_mA
            slots[at + 2], slots[at + 3] = phase, now_ns - self.plant.start_ns
        if excess_mA > 0:
            slots[at + 4] += step_ns


def _misfit(circuit: str, bound: str, total: int, limit: int, unit: str) -> dict[str, Any]:
    return {"circuit": circuit, "bound": bound, "total": total, "limit": limit, "unit": unit}


def _upwards(tables: Tables, circuit_i: int) -> Iterator[int]:
    while circuit_i >= 0:
        yield circuit_i
        circuit_i = tables.circuits[circuit_i].parent
