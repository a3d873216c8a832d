"""The simulated site of a measurement: it fits its plan, and each step asks for a decrease."""

from pathlib import Path

import pytest

from hw.devices import parse_map
from loadctl._core import Core
from loadctl.plan import make_plan
from loadctl.site.proof import prove
from loadctl.timing.garage import (
    CALM_ns,
    HIGH_mA,
    LOW_mA,
    STEP_mA,
    building,
    load_garage,
    step_every_ns,
    story,
    without_buses,
)
from tests.support.builders import maps_of

MS_ns = 1_000_000


def test_garage_holds_its_proof_and_fits_its_plan(tmp_path: Path) -> None:
    site = load_garage(tmp_path, None)
    assert site.tables.buses[0].port == str(tmp_path / "bus-garage")
    prove(site.tables, site.maps).require()
    assert make_plan(site.tables, maps_of(site.tables)).margin_ns > 0


def test_garage_building_leaves_all_chargers_between_their_bounds_and_competing(
    tmp_path: Path,
) -> None:
    tables = load_garage(tmp_path, None).tables
    limit_mA, n = tables.circuits[0].limit_mA[0], len(tables.chargers)
    at_most_mA, at_least_mA = (limit_mA - LOW_mA) // n, (limit_mA - HIGH_mA) // n
    assert at_most_mA < tables.chargers[0].max_mA
    assert at_least_mA > tables.chargers[0].min_mA
    assert STEP_mA // n > 600  # the pilot tolerance
    assert HIGH_mA <= tables.circuits[0].background_mA[0]
    assert {visit.charger for visit in story(tables).visits} == {c.name for c in tables.chargers}


@pytest.mark.parametrize("period_ms", [100, 500, 700, 2_000])
def test_garage_building_is_calm_and_then_climbs_at_ever_other_points_of_the_scan(
    period_ms: int,
) -> None:
    period_ns = period_ms * MS_ns
    load = building(period_ns)
    levels_mA = [step[0] for step in load.steps]
    n_calm = levels_mA.count(LOW_mA)
    assert n_calm * load.every_ns > CALM_ns - load.every_ns
    assert levels_mA[n_calm - 1 :] == list(range(LOW_mA, HIGH_mA + 1, STEP_mA))
    every_ns = step_every_ns(period_ns)
    assert load.every_ns == every_ns >= 2_000 * MS_ns
    assert every_ns >= 4 * period_ns
    assert len({k * every_ns % period_ns for k in range(10)}) == 10


def test_site_without_a_bus_is_one_fixed_circuit_that_core_and_plan_take(tmp_path: Path) -> None:
    tables = without_buses(load_garage(tmp_path, None).tables, 10 * MS_ns)
    assert (len(tables.circuits), tables.buses, tables.chargers, tables.meters) == (1, (), (), ())
    assert tables.site.period_ns == 10 * MS_ns
    core = Core(tables)
    core.attach(bytearray(core.plant_bytes))
    assert (core.step(1), core.takes(), core.gives()) == (0, [], [])
    plan = make_plan(tables, {name: parse_map(raw, name) for name, raw in tables.maps.items()})
    assert plan.worst_scan_ns == 10 * MS_ns
