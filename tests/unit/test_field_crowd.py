"""Twenty-four silent boxes and two dead meters: the period is kept, the rest is served."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.events import Event
from loadctl.tables import Tables
from tests.support.builders import (
    TUNING,
    make_bus,
    make_charger,
    make_circuit,
    make_meter,
    make_tables,
)
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig

PERIOD_ns = 1_000 * MS_ns
N_PER_BUS = 14
WELL = (5, 11, 20, 26)  # two on each bus
SILENT = [i for i in range(2 * N_PER_BUS) if i not in WELL]
DEAD_METERS = (1, 2)  # addresses on the first bus; the main meter is on the second


def crowded_site() -> Tables:
    """Two garages of fourteen 16 A boxes, each behind a meter of its own on the first bus."""
    return make_tables(
        name="crowd",
        period_ms=PERIOD_ns // MS_ns,
        buses=[make_bus("one", port="simulated"), make_bus("two", port="simulated two")],
        meters=[
            make_meter("left", address=1),
            make_meter("right", address=2),
            make_meter("grid", bus=1, address=1),
        ],
        circuits=[
            make_circuit("main", 600, is_dynamic=True, meter=2, background_mA=(40_000,) * 3),
            make_circuit(
                "left", 250, parent=0, is_dynamic=True, meter=0, background_mA=(10_000,) * 3
            ),
            make_circuit(
                "right", 250, parent=0, is_dynamic=True, meter=1, background_mA=(10_000,) * 3
            ),
        ],
        chargers=[
            make_charger(
                f"bay{i + 1}",
                bus=i // N_PER_BUS,
                address=11 + i,
                circuit=1 + i // N_PER_BUS,
                rated_mA=16_000,
            )
            for i in range(2 * N_PER_BUS)
        ],
        tuning=replace(TUNING, soft_start_ns=0),
    )


def crowd(path: Path) -> VirtualRig:
    visits = tuple(Visit(f"bay{i + 1}", 0, take_mA=16_000) for i in range(2 * N_PER_BUS))
    loads = {name: Load("constant", (5_000,) * 3) for name in ("main", "left", "right")}
    return VirtualRig(crowded_site(), Scenario(loads=loads, visits=visits), path)


def strike(rig: VirtualRig) -> None:
    rig.taps[0].dead.update(DEAD_METERS)
    for charger_i in SILENT:
        rig.taps[charger_i // N_PER_BUS].dead.add(11 + charger_i)


def run_until_served(rig: VirtualRig, at_least_mA: int, within_ns: int) -> int:
    """Until all that are well have this much; how long that took."""
    since_ns = rig.clock.now_ns()
    while min(rig.core.charger(i)["setpoint_mA"] for i in WELL) < at_least_mA:
        rig.pass_one()
        assert rig.clock.now_ns() - since_ns <= within_ns
    return rig.clock.now_ns() - since_ns


def assert_calm(rig: VirtualRig) -> None:
    seen = rig.snapshot()
    assert (seen["scan"]["missed"], seen["scan"]["skipped"]) == (0, 0)
    gaps_ns = {b - a for a, b in pairwise(rig.guarded.beats_at_ns)}
    assert max(gaps_ns) < 2 * PERIOD_ns  # less than any missed_limit
    assert rig.site.violations() == []


def test_crowd_that_is_silent_from_the_start_does_not_keep_the_well_ones_waiting(
    tmp_path: Path,
) -> None:
    rig = crowd(tmp_path)
    strike(rig)
    run_until_served(rig, 6_000, 25 * S_ns)  # ten healthy scans, then the stagger of ten seconds
    run_until_served(rig, 16_000, 15 * S_ns)
    rig.run_for(60 * S_ns)
    assert_calm(rig)
    assert [rig.core.charger(i)["setpoint_mA"] for i in WELL] == [16_000] * 4
    armed = {event["who"] for event in rig.events(Event.ARMED)}
    assert armed == set(WELL)


def test_crowd_that_falls_silent_leaves_the_well_ones_as_they_are(tmp_path: Path) -> None:
    rig = crowd(tmp_path)
    run_until_served(rig, 16_000, 60 * S_ns)
    rig.run_for(60 * S_ns)
    strike(rig)
    for _ in range(60):
        rig.pass_one()
        assert min(rig.core.charger(i)["setpoint_mA"] for i in WELL) >= 6_000
    assert_calm(rig)
    assert [bus["n_silent"] for bus in rig.snapshot()["buses"]] == [12, 12]
    assert [event["who"] for event in rig.events(Event.METER_SILENT)] == [0, 1]
    for charger_i in WELL:  # refreshed within a third of the watchdog time of 30 s
        tap = rig.taps[charger_i // N_PER_BUS]
        times_ns = [f.at_ns for f in tap.setpoints(rig.clock.now_ns() - 50 * S_ns, 11 + charger_i)]
        assert max(b - a for a, b in pairwise(times_ns)) <= 10 * S_ns


@pytest.mark.parametrize("charger_i", [SILENT[0], SILENT[-1]])
def test_crowd_one_that_is_back_is_found_within_a_round_of_probes(
    tmp_path: Path, charger_i: int
) -> None:
    rig = crowd(tmp_path)
    strike(rig)
    rig.run_for(30 * S_ns)
    back_ns = rig.clock.now_ns()
    rig.taps[charger_i // N_PER_BUS].dead.discard(11 + charger_i)
    rig.run_for(14 * S_ns)
    events = [e for e in rig.events(Event.ARMED) if e["who"] == charger_i]
    assert [event["at_ns"] - back_ns <= 13 * S_ns for event in events] == [True]
