"""Loads, circuits and the story of a scenario."""

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import (
    Load,
    Losses,
    Scenario,
    demo_scenario,
    load_scenario_json,
    random_scenario,
)
from hw.sim.virtual import VirtualSite
from loadctl.units import NS_PER_S as S
from tests.support.builders import make_charger, make_circuit, make_meter, make_tables
from tests.support.sim_sites import metered_site

FLAT = Load("constant", (1_000, 2_000, 3_000))


def test_load_constant_is_the_same_for_ever() -> None:
    assert [FLAT.at_mA(t * S) for t in (0, 1_000_000)] == [(1_000, 2_000, 3_000)] * 2


def test_load_steps_change_at_their_times_and_begin_again() -> None:
    steps = ((1, 1, 1), (2, 2, 2), (3, 3, 3))
    load = Load("steps", (0, 0, 0), every_ns=10, steps=steps)
    assert [load.at_mA(t)[0] for t in (0, 9, 10, 29, 30)] == [1, 1, 2, 3, 1]


def test_load_random_holds_within_a_step_and_stays_between_its_bounds() -> None:
    load = Load("random", (1_000, 0, -500), (9_000, 0, 500), every_ns=S, seed=7)
    values = [load.at_mA(t * S) for t in range(300)]
    assert load.at_mA(5 * S) == load.at_mA(6 * S - 1) != load.at_mA(6 * S)
    assert {v[1] for v in values} == {0}
    assert min(v[0] for v in values) in range(1_000, 1_200)
    assert max(v[0] for v in values) in range(8_800, 9_001)
    assert min(v[2] for v in values) in range(-500, -480)


def test_load_random_of_another_seed_is_another() -> None:
    one, two = (Load("random", (0, 0, 0), (9_000,) * 3, S, seed=seed) for seed in (1, 2))
    assert one.at_mA(0) == Load("random", (0, 0, 0), (9_000,) * 3, S, seed=1).at_mA(0)
    assert one.at_mA(0) != two.at_mA(0)


def test_load_building_is_low_at_night_and_high_in_the_evening() -> None:
    load = Load("building", (1_000,) * 3, (21_000,) * 3, every_ns=3_600 * S)
    night_mA = load.at_mA(4 * 3_600 * S)[0]
    evening_mA = load.at_mA(19 * 3_600 * S)[0]
    assert night_mA in range(1_000, 5_000)
    assert evening_mA in range(18_000, 21_001)


def test_circuits_add_up_from_the_leaves_to_the_root() -> None:
    circuits = [
        make_circuit(),
        make_circuit("house", parent=0),
        make_circuit("garage", parent=0),
        make_circuit("annex", parent=2),
    ]
    rows = [make_charger("bay", circuit=3, phases=(1,))]
    loads = {"main": FLAT, "house": FLAT, "garage": FLAT}
    car = Visit("bay", 0, terminals=(0,), follow_ns=0, rise_ns=0, wake_ns=0)
    tables = make_tables(circuits=circuits, chargers=rows)
    virtual = VirtualSite(tables, Scenario(loads=loads, visits=(car,)))
    virtual.plant.outlets[0].write_setpoint(10_000, 0)
    sample = virtual.plant.sample(S)
    assert sample.background_mA == [
        (3_000, 6_000, 9_000),
        (1_000, 2_000, 3_000),
        (1_000, 2_000, 3_000),
        (0, 0, 0),
    ]
    assert sample.load_mA == [
        (3_000, 16_000, 9_000),
        (1_000, 2_000, 3_000),
        (1_000, 12_000, 3_000),
        (0, 10_000, 0),
    ]


@pytest.mark.parametrize(("lag_ms", "shown_mA"), [(0, 4), (600, 3), (1_000, 2), (5_000, 0)])
def test_meter_that_lags_shows_the_oldest_it_may(lag_ms: int, shown_mA: int) -> None:
    steps = tuple((k, k, k) for k in range(10))
    load = Load("steps", (0, 0, 0), every_ns=S // 2, steps=steps)
    tables = make_tables(0, meters=[make_meter(lag_ns=lag_ms * 1_000_000)])
    plant = VirtualSite(tables, Scenario(loads={"main": load})).plant
    shown = [plant.sample_for(0, k * S // 2).load_mA[0][0] for k in range(5)]
    assert shown[-1] == shown_mA


def test_scenario_travels_as_json_unchanged() -> None:
    tables = metered_site(3)
    for scenario in (
        demo_scenario(tables),
        random_scenario(tables, 5, Losses(1, 2, 3, 4, 5)),
        Scenario(turnaround_ns=5, power_on_mA=6_000),
    ):
        assert load_scenario_json(scenario.dump()) == scenario


def test_scenarios_stay_within_the_declared_background() -> None:
    tables = metered_site(3)
    for scenario in (demo_scenario(tables), *(random_scenario(tables, k) for k in range(20))):
        for t in range(0, 400):
            assert max(scenario.loads["main"].at_mA(t * S)) <= 20_000


def test_demo_lets_the_cars_arrive_in_turn_and_the_building_step_both_ways() -> None:
    tables = metered_site(4)
    scenario = demo_scenario(tables)
    arrivals = [visit.arrive_ns for visit in scenario.visits]
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) == 4
    at_mA = [scenario.loads["main"].at_mA(t * 15 * S)[0] for t in range(4)]
    assert at_mA == [6_000, 9_000, 6_000, 18_000]
