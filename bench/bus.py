"""What the time of a bus goes into, on simulated devices, and whether the plan keeps its word.

All figures but `load` are in virtual time and the same in every run. `load` takes the time that it
says: real ports, real threads, bus processes as devices.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.busrig import Rig, TimedWire, virtual_rig
from bench.bussites import bus_site
from hw.sim.fault import Fault
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code, Exchange, Reply, exchange_ns
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S

SETTLED_ns = 40 * NS_PER_S
LOW_mA, HIGH_mA = (1_000,) * 3, (19_000,) * 3
HEIDELBERG = {"charger": "heidelberg-ec", "meter": "eastron-sdm630"}
CALM_STEP_ns = 5_089 * NS_PER_MS
CALM_THEN_RISE = (LOW_mA,) * 6 + (HIGH_mA,)
LOST = (Code.NO_ANSWER, Code.BAD_FRAME)
FAILS = ("silence", "crc", "foreign", "late")


def restless(tables: Tables, every_ns: int, turnaround_ns: int | None = None) -> Scenario:
    """A car everywhere, and a building that goes up and down so that setpoints do too."""
    return Scenario(
        loads={"main": Load("steps", LOW_mA, every_ns=every_ns, steps=(LOW_mA, HIGH_mA))},
        visits=tuple(Visit(charger.name, 0) for charger in tables.chargers),
        turnaround_ns=turnaround_ns,
    )


# how well the time of a bus is used


class Used(NamedTuple):
    mean: float
    worst: float  # of one scan
    n_exchanges: int
    n_scans: int


def efficiency(
    directory: Path, baud: int, turnaround_ms: int | None, n_scans: int = 300, **site: Any
) -> Used:
    """One meter and eight chargers, period 1 s; of all bus phases of the scans."""
    tables = bus_site(directory, n_chargers=8, baud=baud, **site)
    turnaround_ns = None if turnaround_ms is None else turnaround_ms * NS_PER_MS
    rig, _ = virtual_rig(tables, restless(tables, 3 * NS_PER_S, turnaround_ns), directory)
    rig.run_for(SETTLED_ns)
    return used_in(rig, n_scans)


def used_in(rig: Rig, n_scans: int) -> Used:
    """Of the first bus, from now on."""
    wire = rig.wires[0]
    parts = []
    wire.codes.clear()
    all_ns = wire.phase_ns, wire.useful_ns
    for _ in range(n_scans):
        before_ns = wire.phase_ns, wire.useful_ns
        rig.scan.run_once()
        parts.append((wire.useful_ns - before_ns[1]) / (wire.phase_ns - before_ns[0]))
    mean = (wire.useful_ns - all_ns[1]) / (wire.phase_ns - all_ns[0])
    n_exchanges = sum(n for code, n in wire.codes.items() if code is not Code.NOT_SENT)
    return Used(mean, min(parts), n_exchanges, n_scans)


def six_boxes(directory: Path, turnaround_ms: int | None) -> float:
    """Six Heidelbergs, status and setpoint each: time against that of the wire alone or of the box
    that takes longest, whichever is more."""
    turnaround_ns = None if turnaround_ms is None else turnaround_ms * NS_PER_MS
    tables = bus_site(directory, n_chargers=6, charger="heidelberg-ec", meter=None, period_ms=2_000)
    rig, site = virtual_rig(tables, restless(tables, NS_PER_S, turnaround_ns), directory)
    rig.run_for(SETTLED_ns)
    wire, talk = rig.wires[0], rig.field.buses[0]
    talk.n_status_per_scan = 6
    site.clock.sleep_until(rig.pacer.grid_at_ns)
    rig.field.begin(site.clock.now_ns())
    talk.deadline_ns = site.clock.now_ns() + 10 * NS_PER_S
    wire.keeps_sent = True
    begun_at_ns = wire.now_ns() - wire.line.silent_ns  # that silence is of the first exchange
    talk.read()
    for station in talk.chargers:
        station.is_written = False
        setpoint_mA = station.failsafe_mA
        assert setpoint_mA is not None
        rig.field._order(station.index, setpoint_mA)
    talk.take()
    took_ns = wire.now_ns() - begun_at_ns
    wire_ns, by_box_ns = pure_times(wire, turnaround_ns)
    assert len(wire.sent) == 12, wire.sent
    return took_ns / max(wire_ns, by_box_ns)


def pure_times(wire: TimedWire, turnaround_ns: int | None) -> tuple[int, int]:
    """Of what was sent: the wire alone, and the largest sum of one device with its gaps."""
    by_box_ns: dict[int, int] = {}
    wire_ns = 0
    gap_ns = 100 * NS_PER_MS
    for exchange, _ in wire.sent:
        took_ns = exchange_ns(wire.line, exchange, turnaround_ns or 20 * NS_PER_MS)
        wire_ns += took_ns
        before_ns = by_box_ns.get(exchange.address)
        if before_ns is not None:
            took_ns += before_ns + gap_ns - wire.line.silent_ns
        by_box_ns[exchange.address] = took_ns
    return wire_ns, max(by_box_ns.values())


# whether the plan keeps its word


class Kept(NamedTuple):
    n_scans: int
    n_with_timeout: int
    predicted_ms: float
    worst_ms: float
    worst_with_timeout_ms: float
    predicted_take_ms: float
    worst_take_ms: float  # end of takes and looks
    missed: int

    @property
    def ratio(self) -> float | None:
        """None where no scan met a timeout."""
        worst_ms = self.worst_with_timeout_ms
        return self.predicted_ms / worst_ms if worst_ms > 0 else None


def faults_within_plan(tables: Tables, seed: int, span_ns: int) -> Iterator[Fault]:
    """The meter whenever it likes; chargers one after the other, each out for a while, so that no
    scan meets two that fall silent in it."""
    dice = random.Random(seed)
    for meter in tables.meters:
        at_ns = SETTLED_ns
        while at_ns < span_ns:
            for_ns = dice.randrange(1, 8) * NS_PER_S // 2
            share = dice.choice((100, 50, 20))
            kind = dice.choice(FAILS)
            yield Fault(kind, f"meter.{meter.name}", for_ns, at_ns, share_percent=share)
            at_ns += for_ns + dice.randrange(1, 12) * NS_PER_S
    at_ns = SETTLED_ns
    while at_ns < span_ns:
        name = dice.choice(tables.chargers).name
        for_ns = dice.randrange(5, 20) * NS_PER_S
        yield Fault(dice.choice(FAILS), f"charger.{name}", for_ns, at_ns)
        at_ns += for_ns // 2 + 5 * NS_PER_S + dice.randrange(PERIOD_SPREAD_ns)


PERIOD_SPREAD_ns = 3 * NS_PER_S


def kept_plan(directory: Path, seed: int, span_ns: int, **site: Any) -> Kept:
    """Random faults; what each scan took against what was predicted."""
    tables = bus_site(directory, **site)
    faults = tuple(faults_within_plan(tables, seed, span_ns))
    story = restless(tables, 7 * NS_PER_S)
    rig, virtual = virtual_rig(
        tables,
        Scenario(loads=story.loads, visits=story.visits, faults=faults, seed=seed),
        directory,
    )
    rig.run_for(SETTLED_ns)
    ends = _note_ends(rig)
    worst_ns = with_timeout_ns = take_ns = n_scans = n_with_timeout = 0
    until_ns = virtual.clock.now_ns() + span_ns
    while rig.pacer.grid_at_ns < until_ns:
        before = _n_lost(rig)
        rig.scan.run_once()
        scan_ns = virtual.clock.now_ns() - rig.field.base_ns
        n_scans += 1
        worst_ns = max(worst_ns, scan_ns)
        take_ns = max(take_ns, ends[-1])
        if _n_lost(rig) > before:
            n_with_timeout += 1
            with_timeout_ns = max(with_timeout_ns, scan_ns)
    return Kept(
        n_scans,
        n_with_timeout,
        rig.plan.worst_scan_ns / NS_PER_MS,
        worst_ns / NS_PER_MS,
        with_timeout_ns / NS_PER_MS,
        rig.plan.take_end_ns / NS_PER_MS,
        take_ns / NS_PER_MS,
        rig.scan.missed,
    )


def _note_ends(rig: Rig) -> list[int]:
    """The end of the look phase of each scan, from its start."""
    ends: list[int] = []
    inner = rig.field.look

    def look(is_hurried: bool = False) -> None:
        inner(is_hurried)
        ends.append(rig.clock.now_ns() - rig.field.base_ns)

    rig.field.look = look  # type: ignore[method-assign]
    return ends


def _n_lost(rig: Rig) -> int:
    return sum(wire.codes[code] for wire in rig.wires for code in LOST)


# how soon the wire follows the meter


def reactions_ms(directory: Path, n_trials: int, **site: Any) -> tuple[list[float], Rig]:
    """From a change of the meter's register to the end of the last decrease that answers it.

    The meter shows the load of the moment. Each rise comes at another moment of the period, when
    the raises after the last fall are over and the cars have followed.
    """
    tables = bus_site(directory, **site)
    tables = replace(tables, meters=tuple(replace(row, lag_ns=0) for row in tables.meters))
    n_steps = len(CALM_THEN_RISE)
    load = Load("steps", LOW_mA, every_ns=CALM_STEP_ns, steps=CALM_THEN_RISE)
    story = replace(restless(tables, NS_PER_S), loads={"main": load})
    rig, virtual = virtual_rig(tables, story, directory)
    for wire in rig.wires:
        wire.keeps_sent = True
    found: list[float] = []
    for trial_i in range(1, n_trials + 1):
        rises_at_ns = virtual.plant.start_ns + (n_steps * (trial_i + 1) - 1) * CALM_STEP_ns
        for wire in rig.wires:
            wire.sent.clear()
        rig.run_for(rises_at_ns + CALM_STEP_ns * 9 // 10 - virtual.clock.now_ns())
        found.append((_last_decrease_ns(rig, rises_at_ns) - rises_at_ns) / NS_PER_MS)
    return found, rig


def _last_decrease_ns(rig: Rig, since_ns: int) -> int:
    told: dict[tuple[int, int], int] = {}
    ends = []
    for bus_i, wire in enumerate(rig.wires):
        for exchange, reply in wire.sent:
            if exchange.is_write:
                value = int.from_bytes(exchange.values, "big")
                before = told.get((bus_i, exchange.address))
                told[bus_i, exchange.address] = value
                if before is not None and value < before and reply.ended_at_ns > since_ns:
                    ends.append(reply.ended_at_ns)
    assert ends, "a rise of the load that took nothing"
    return max(ends)


# what the dead cost


def dead_device_ms(directory: Path, n_scans: int = 60) -> tuple[float, float, int]:
    """The most that a dead charger takes of one scan's bus time, one timeout of it, and the most
    often that it is asked in one scan."""
    tables = bus_site(directory, n_chargers=8)
    story = restless(tables, 3 * NS_PER_S)
    rig, virtual = virtual_rig(tables, story, directory)
    rig.run_for(SETTLED_ns)
    wire = rig.wires[0]
    wire.keeps_sent = True
    virtual.inject(Fault("silence", f"charger.{tables.chargers[3].name}"))
    address = tables.chargers[3].address
    worst_ns = most = 0
    for _ in range(n_scans):
        wire.sent.clear()
        rig.scan.run_once()
        to_it = [reply for exchange, reply in wire.sent if exchange.address == address]
        most = max(most, len(to_it))
        worst_ns = max(worst_ns, sum(r.ended_at_ns - r.begun_at_ns for r in to_it))
    patience = rig.field.chargers[3].patience
    one_ns = wire.line.bytes_ns(8) + patience.timeout_ns
    return worst_ns / NS_PER_MS, one_ns / NS_PER_MS, most


def dead_bus(directory: Path, n_scans: int = 60) -> tuple[list[Any], list[Any]]:
    """Everything said on the first of two buses, with the time in its scan: beside a second bus
    that is well, and beside one whose chargers are all dead for long."""
    said = []
    for is_dead in (False, True):
        tables = bus_site(directory, n_chargers=8, n_buses=2)
        rig, virtual = virtual_rig(tables, quiet(tables), directory)
        rig.run_for(SETTLED_ns)
        if is_dead:
            virtual.inject(Fault("silence", "bus.b1"))
        rig.run_for(SETTLED_ns)
        said.append(_said_on_first(rig, n_scans))
    return said[0], said[1]


def quiet(tables: Tables) -> Scenario:
    return Scenario(loads={"main": Load("constant", LOW_mA)})


def _said_on_first(rig: Rig, n_scans: int) -> list[Any]:
    wire = rig.wires[0]
    wire.keeps_sent = True
    said = []
    for _ in range(n_scans):
        wire.sent.clear()
        rig.scan.run_once()
        said.append([_in_scan(rig, exchange, reply) for exchange, reply in wire.sent])
    return said


def _in_scan(rig: Rig, exchange: Exchange, reply: Reply) -> tuple[Any, ...]:
    at_ns = reply.begun_at_ns - rig.field.base_ns
    return exchange.address, exchange.function, exchange.register, at_ns


# all of it


def measure(directory: Path, n_trials: int, fault_s: int) -> dict[str, Any]:
    """Every figure in virtual time, by name."""
    dead_ms, timeout_ms, most = dead_device_ms(directory)
    beside_well, beside_dead = dead_bus(directory)
    bus_site_1s = {"n_chargers": 8, "period_ms": 1_000}
    boxes = {"n_chargers": 8, "period_ms": 700, **HEIDELBERG}
    return {
        "efficiency": {
            "sdm630 and 8 heidelbergs, 19200": as_percent(
                efficiency(directory, 19_200, None, **HEIDELBERG)
            ),
            "the same, devices that answer in 2 ms": as_percent(
                efficiency(directory, 19_200, 2, **HEIDELBERG)
            ),
            "reference meter and 8 chargers, 115200": as_percent(
                efficiency(directory, 115_200, None)
            ),
        },
        "six_boxes": {"ratio": round(six_boxes(directory, None), 3), "at_most": 1.15},
        "plan": {
            "reference, 500 ms": as_dict(
                kept_plan(directory, 1, fault_s * NS_PER_S, n_chargers=8, period_ms=500)
            ),
            "heidelbergs, 700 ms": as_dict(kept_plan(directory, 1, fault_s * NS_PER_S, **boxes)),
        },
        "reaction": {
            "reference, 1000 ms": reaction(directory, n_trials, **bus_site_1s),
            "heidelbergs, 700 ms": reaction(directory, n_trials, **boxes),
        },
        "dead_device": {"worst_ms": dead_ms, "one_timeout_ms": timeout_ms, "most_a_scan": most},
        "dead_bus": {"costs_the_other_nothing": beside_well == beside_dead},
    }


def as_percent(used: Used) -> dict[str, Any]:
    return {
        "mean_percent": round(100 * used.mean, 2),
        "worst_scan_percent": round(100 * used.worst, 2),
        "scans": used.n_scans,
    }


def as_dict(kept: Kept) -> dict[str, Any]:
    return {**kept._asdict(), "ratio": round(kept.ratio, 3), "ratio_at_most": 1.25}


def reaction(directory: Path, n_trials: int, **site: Any) -> dict[str, Any]:
    found, rig = reactions_ms(directory, n_trials, **site)
    bound_ms = (rig.plan.period_ns + rig.plan.worst_scan_ns) / NS_PER_MS
    found.sort()
    return {
        "trials": len(found),
        "min_ms": round(found[0], 1),
        "p50_ms": round(found[len(found) // 2], 1),
        "max_ms": round(found[-1], 1),
        "period_and_scan_ms": round(bound_ms, 1),
        "within": sum(reaction_ms <= bound_ms for reaction_ms in found),
    }
