"""Random sites with random faults, and how long each circuit phase was above its limit.

Everything that is random stays within what the site file declares and the safety argument assumes:
the failsafe proof holds, the building keeps to its declared background, cars follow within six
seconds. The faults do not.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from dataclasses import dataclass

from hw.sim.fault import KINDS, Fault, names_of, who_kind
from hw.sim.meter import METER_ILLS
from hw.sim.outlet import Visit
from hw.sim.plant import Sample
from hw.sim.scenario import Load, Scenario
from hw.sim.virtual import VirtualSite
from loadctl.site.proof import prove
from loadctl.tables import ChargerRow, CircuitRow, Tables
from loadctl.units import NS_PER_MS, NS_PER_S, PHASE_NAMES
from tests.support.builders import (
    TUNING,
    make_bus,
    make_charger,
    make_circuit,
    make_meter,
    make_tables,
    maps_of,
)
from tests.support.scan_rig import START_ns, VirtualRig

PHASE_MAPS = ((0, 1, 2), (0, 1, 2), (1, 2, 0), (2, 0, 1), (0,), (1,), (2,))
LOOK_EVERY_ns = 100 * NS_PER_MS
FOLLOW_MAX_ms = 6_000  # of a car; longer is outside of the safety argument
QUIET_ns = 240 * NS_PER_S  # without faults at the end: to recover, and to charge again
AGAIN_ns = 120 * NS_PER_S  # before the end a car arrives at every charger

# The longest that one fault lasts, and the pause until the next begins: they do overlap.
LONGEST_s = 90
PAUSE_s = 25


def random_fault_site(dice: random.Random) -> Tables:
    """One or two metered circuits, perhaps an unmetered one, on one or two buses."""
    n_buses = dice.choice((1, 2))
    limit_A = dice.choice((40, 50, 63))
    background_mA = dice.choice((4_000, 8_000, 12_000))
    circuits = [
        make_circuit("main", limit_A, is_dynamic=True, meter=0, background_mA=(background_mA,) * 3)
    ]
    meters = [make_meter("grid", bus=0, address=1)]
    if dice.random() < 0.4:
        circuits.append(make_circuit("garage", 32, parent=0))
    if dice.random() < 0.4:
        wing_mA = (background_mA // 2,) * 3
        circuits.append(
            make_circuit("wing", 32, parent=0, is_dynamic=True, meter=1, background_mA=wing_mA)
        )
        meters.append(make_meter("wing", bus=n_buses - 1, address=2))
    chargers = [
        make_charger(
            f"bay{i + 1}",
            bus=dice.randrange(n_buses),
            address=10 + i,
            circuit=dice.randrange(len(circuits)),
            phases=dice.choice(PHASE_MAPS),
            max_mA=dice.choice((16_000, 32_000)),
            failsafe_mA=dice.choice((0, 6_000, 6_000)),
            fallback_mA=dice.choice((0, 6_000)),
        )
        for i in range(dice.randint(2, 6))
    ]
    tuning = dataclasses.replace(
        TUNING,
        raise_delay_ns=5 * NS_PER_S,
        raise_every_ns=dice.choice((0, 5)) * NS_PER_S,
        ramp_mA_per_s=dice.choice((2_000, 100_000)),
        soft_start_ns=0,
        stagger_ns=dice.choice((0, 10)) * NS_PER_S,
        min_on_ns=30 * NS_PER_S,
        min_off_ns=20 * NS_PER_S,
    )
    tables = make_tables(
        period_ms=1_000,
        buses=[make_bus(f"bus{i}", baud=38_400) for i in range(n_buses)],
        circuits=circuits,
        meters=meters,
        chargers=chargers,
        tuning=tuning,
    )
    return _proven(tables)


def _proven(tables: Tables) -> Tables:
    """The same with failsafe and fallback of one charger after the other at 0, until it holds."""
    rows: list[ChargerRow] = list(tables.chargers)
    for i in range(len(rows)):
        if prove(tables, maps_of(tables)).holds:
            break
        rows[i] = dataclasses.replace(rows[i], failsafe_mA=0, fallback_mA=0)
        tables = dataclasses.replace(tables, chargers=tuple(rows))
    prove(tables, maps_of(tables)).require()
    return tables


def random_fault_story(
    tables: Tables, seed: int, span_ns: int, kinds: tuple[str, ...] = tuple(KINDS)
) -> Scenario:
    dice = random.Random(seed)
    return Scenario(
        "faults",
        seed,
        loads=dict(_loads(tables, dice)),
        visits=tuple(_visits(tables, dice, span_ns)),
        faults=tuple(_faults(tables, dice, span_ns - QUIET_ns, kinds)),
    )


def _loads(tables: Tables, dice: random.Random) -> Iterator[tuple[str, Load]]:
    # All at the same moments, so that one rise is followed before the next comes.
    every_ns = dice.choice((20, 45)) * NS_PER_S
    for i, circuit in enumerate(tables.circuits):
        below = [c.background_mA for c in tables.circuits if c.parent == i]
        own_mA = [mA - sum(b[p] for b in below) for p, mA in enumerate(circuit.background_mA)]
        if any(own_mA):
            high = (own_mA[0], own_mA[1], own_mA[2])
            seed = dice.randrange(1 << 30)
            yield circuit.name, Load("random", (0, 0, 0), high, every_ns, seed=seed)


def _visits(tables: Tables, dice: random.Random, span_ns: int) -> Iterator[Visit]:
    for charger in tables.chargers:
        at_ns = dice.randint(0, 30) * NS_PER_S
        last_ns = span_ns - AGAIN_ns
        while at_ns < last_ns - 60 * NS_PER_S:
            leave_ns = min(at_ns + dice.randint(60, 900) * NS_PER_S, last_ns - 5 * NS_PER_S)
            yield _visit(charger, dice, at_ns, leave_ns)
            at_ns = leave_ns + dice.randint(1, 60) * NS_PER_S
        yield _visit(charger, dice, max(at_ns, last_ns), None)


def _visit(charger: ChargerRow, dice: random.Random, at_ns: int, leave_ns: int | None) -> Visit:
    return Visit(
        charger.name,
        at_ns,
        leave_ns,
        take_mA=dice.choice((10_000, 16_000, 20_000, 32_000)),
        terminals=tuple(range(len(charger.phases))),
        follow_ns=dice.randint(0, FOLLOW_MAX_ms) * NS_PER_MS,
        rise_ns=dice.randint(0, 3_000) * NS_PER_MS,
        wake_ns=dice.randint(0, 10_000) * NS_PER_MS,
    )


def _faults(
    tables: Tables, dice: random.Random, until_ns: int, kinds: tuple[str, ...]
) -> Iterator[Fault]:
    """Faults overlap, but a meter does not show two wrong things at once: one that freezes while
    its values are implausible brings, when that is over, old values that were never seen before.
    """
    at_s = 40
    wrong_until_ns: dict[str, int] = {}  # by meter
    while (at_s + LONGEST_s) * NS_PER_S < until_ns:
        fault = random_fault(tables, dice, at_s * NS_PER_S, dice.choice(kinds))
        is_wrong = fault.kind in METER_ILLS
        if not is_wrong or wrong_until_ns.get(fault.who, 0) < fault.at_ns:
            yield fault
            if is_wrong:
                wrong_until_ns[fault.who] = fault.at_ns + (fault.for_ns or 0)
        at_s += dice.randint(1, 2 * PAUSE_s)


def random_fault(tables: Tables, dice: random.Random, at_ns: int, kind: str) -> Fault:
    known = KINDS[kind]
    who = dice.choice([name for name in names_of(tables) if who_kind(name) in known.strikes])
    changes: dict[str, int | None] = {}
    if kind == "reboot":
        changes["setpoint_mA"] = dice.choice((None, 6_000, 16_000))
        changes["for_ns"] = dice.choice((None, 2, 10, 60))
        if changes["for_ns"] is not None:
            changes["for_ns"] *= NS_PER_S
    else:
        changes["for_ns"] = dice.choice((1, 5, 20, LONGEST_s)) * NS_PER_S
    if "share_percent" in known.values:
        changes["share_percent"] = dice.choice((10, 50, 100, 100))
    if kind == "late":
        changes["late_ns"] = dice.choice((60, 150, 700, 1_500)) * NS_PER_MS
    if kind == "voltage":
        changes["voltage_mV"] = dice.choice((0, 80_000, 400_000))
    if "phase" in known.values:
        changes["phase"] = dice.randrange(3)
    form = dice.choice(known.forms) if known.forms else ""
    return Fault(kind, who, at_ns=at_ns, form=form, **changes)


@dataclass(frozen=True, slots=True)
class Stretch:
    """One time above a limit without a break; times count from the start of the scenario."""

    circuit: str
    phase: int
    begin_ns: int
    end_ns: int
    worst_mA: int  # above the limit

    @property
    def span_ns(self) -> int:
        return self.end_ns - self.begin_ns

    def __str__(self) -> str:
        at = f"{self.begin_ns / NS_PER_S:.1f} s to {self.end_ns / NS_PER_S:.1f} s"
        where = f"{self.circuit} {PHASE_NAMES[self.phase]}"
        return f"{where}: {at}, {self.span_ns / NS_PER_S:.1f} s, up to {self.worst_mA / 1000:g} A"


class Overseer:
    """Looks at every circuit whenever the judge does, and notes each time above a limit."""

    def __init__(self, site: VirtualSite) -> None:
        self._circuits: tuple[CircuitRow, ...] = site.tables.circuits
        self._start_ns = site.plant.start_ns
        self._above: dict[tuple[int, int], tuple[int, int]] = {}  # since when, the worst
        self.stretches: list[Stretch] = []
        judge = site.lines[0].judge
        self._look = judge.look
        judge.look = self.look  # type: ignore[method-assign]

    def look(self, now_ns: int) -> Sample:
        sample = self._look(now_ns)
        for circuit_i, circuit in enumerate(self._circuits):
            for phase in range(3):
                excess_mA = sample.load_mA[circuit_i][phase] - circuit.limit_mA[phase]
                self._note(circuit_i, phase, excess_mA, now_ns - self._start_ns)
        return sample

    def _note(self, circuit_i: int, phase: int, excess_mA: int, at_ns: int) -> None:
        since_ns, worst_mA = self._above.get((circuit_i, phase), (at_ns, 0))
        if excess_mA > 0:
            self._above[circuit_i, phase] = (since_ns, max(worst_mA, excess_mA))
        elif (circuit_i, phase) in self._above:
            del self._above[circuit_i, phase]
            name = self._circuits[circuit_i].name
            self.stretches.append(Stretch(name, phase, since_ns, at_ns, worst_mA))

    def still_above(self) -> list[str]:
        return [f"{self._circuits[i].name} {PHASE_NAMES[phase]}" for i, phase in self._above]


def run_watched(rig: VirtualRig, span_ns: int) -> None:
    """Run the scan, and look at the circuits between its passes too."""
    until_ns = rig.clock.now_ns() + span_ns
    while rig.pacer.grid_at_ns < until_ns:
        rig.pass_one()
        for at_ns in range(rig.clock.now_ns(), rig.pacer.grid_at_ns, LOOK_EVERY_ns):
            rig.site.lines[0].tick(at_ns)


def since_start_s(at_ns: int) -> float:
    return (at_ns - START_ns) / NS_PER_S
