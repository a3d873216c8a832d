"""One step of the building, and one car that wakes: no double cut, no hunting, nobody else pays."""

from __future__ import annotations

import random

import pytest

from tests.support.car_loop import CarLoop
from tests.support.car_stories import (
    OVER,
    STEADY,
    TUNING,
    WAKING,
    any_load,
    roomy_site,
    settled_mA,
)
from tests.support.cars import Habits, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

BUILDING_mA = 20000


def at_rest(rng: random.Random, habits: list[Habits], **tunings: int) -> CarLoop:
    """All cars charging at their shares beside a steady building."""
    tables = roomy_site(rng, len(habits), BUILDING_mA, **tunings)
    loop = CarLoop(tables, rng, habits)
    loop.plug_all()
    loop.step_building(0, any_load(rng, BUILDING_mA // 2))
    loop.step_building(2, any_load(rng, BUILDING_mA // 2))
    loop.run(240)
    return loop


def stepped(seed: int, kinds: tuple[Habits, ...], draw_lag_ns: int = 0) -> tuple[CarLoop, int]:
    """A loop at rest, one step of the building at any moment of a scan, and rest again."""
    rng = random.Random(f"step {seed}")
    habits = [rng.choice(kinds) for _ in range(rng.randint(1, 12))]
    loop = at_rest(rng, habits, draw_lag_ns=draw_lag_ns)
    c = rng.choice((0, 0, 2))
    loop.step_building(c, any_load(rng, BUILDING_mA // 2), rng.randint(1, 499) * 1_000_000)
    from_ns = loop.now_ns
    loop.run(240)
    return loop, from_ns


def check_step(seed: int, draw_lag_ns: int = 0) -> CarLoop:
    loop, from_ns = stepped(seed, STEADY, draw_lag_ns)
    assert max(loop.plant.turns(from_ns)) <= 1, f"seed {seed}"
    assert loop.setpoints_mA() == settled_mA(loop), f"seed {seed}"
    assert loop.plant.violations == [], f"seed {seed}"
    assert loop.plant.over.found == [], f"seed {seed}"
    return loop


@pytest.mark.parametrize("first_seed", range(0, 30, 10))
def test_one_step_of_the_building_turns_no_setpoint_twice(first_seed: int) -> None:
    n_writes = 0
    for seed in range(first_seed, first_seed + 10):
        n_writes += len(check_step(seed).plant.writes)
    assert n_writes > 100


@pytest.mark.parametrize("first_seed", range(0, 20, 10))
def test_one_step_turns_no_setpoint_twice_where_boxes_lag(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 10):
        check_step(seed, (300_000_000, NS_PER_S)[seed % 2])


@pytest.mark.parametrize("seed", [256, 261, 2256, 2912])
def test_peak_that_ends_elsewhere_takes_no_raise_back(seed: int) -> None:
    """A phase becomes free as another is cut: its held peak ends after the raise delay."""
    loop = check_step(seed)
    assert any(after_mA < before_mA for _, _, before_mA, after_mA in loop.plant.writes)


@pytest.mark.parametrize("seed", [1023, 1468, 1580])
def test_crumbs_of_coarse_and_fine_steps_turn_no_setpoint_twice(seed: int) -> None:
    """Beside steps of 1 A a share of 0.1 A more or less on one phase moves crumbs on another."""
    assert len({row.step_mA for row in check_step(seed).tables.chargers}) == 2


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_single_steps_of_the_building() -> None:
    for seed in range(1000, 1500):
        check_step(seed)


@pytest.mark.parametrize("first_seed", range(100, 120, 10))
def test_one_step_beside_cars_above_their_setpoint_turns_none_twice(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 10):
        loop, from_ns = stepped(seed, (*STEADY, OVER))
        assert max(loop.plant.turns(from_ns)) <= 1, f"seed {seed}"
        assert loop.plant.violations == [], f"seed {seed}"
        assert loop.plant.over.found == [], f"seed {seed}"


def woken(seed: int, draw_lag_ns: int = 0) -> tuple[CarLoop, int, int]:
    """Cars at their shares; one more is plugged in, and wakes some time after its offer."""
    rng = random.Random(f"wake {seed}")
    n = rng.randint(2, 10)
    late = rng.randrange(n)
    habits = [WAKING if i == late else rng.choice(STEADY) for i in range(n)]
    soft_start_ns = rng.choice((0, 40)) * NS_PER_S
    tables = roomy_site(rng, n, BUILDING_mA, draw_lag_ns, soft_start_ns=soft_start_ns)
    loop = CarLoop(tables, rng, habits)
    for i, car in enumerate(loop.cars):
        if i != late:
            car.plug(loop.now_ns)
    loop.step_building(0, any_load(rng, BUILDING_mA // 2))
    loop.step_building(2, any_load(rng, BUILDING_mA // 2))
    loop.run(240)
    loop.cars[late].plug(loop.now_ns)
    loop.run_until(lambda: loop.cars[late].is_awake, 120)
    from_ns = next(at_ns for at_ns, draw_mA in loop.cars[late].drawn[1:] if max(draw_mA) > 0)
    loop.run(60)
    return loop, late, from_ns


def check_wake(seed: int, draw_lag_ns: int = 0) -> None:
    loop, late, from_ns = woken(seed, draw_lag_ns)
    cuts = [
        (at_ns, i, before_mA, after_mA)
        for at_ns, i, before_mA, after_mA in loop.plant.writes
        if at_ns >= from_ns and after_mA < before_mA
    ]
    assert cuts == [], f"seed {seed}, car {late} wakes at {from_ns}"
    assert loop.plant.violations == [], f"seed {seed}"
    assert loop.draws_mA()[late] > 0


@pytest.mark.parametrize("first_seed", range(0, 30, 10))
def test_one_waking_car_cuts_nobody(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 10):
        check_wake(seed)


@pytest.mark.parametrize("first_seed", range(0, 20, 10))
def test_one_waking_car_cuts_nobody_where_boxes_lag(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 10):
        check_wake(seed, (300_000_000, NS_PER_S)[seed % 2])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_waking_cars_cut_nobody() -> None:
    for seed in range(1000, 1500):
        check_wake(seed)


@pytest.mark.parametrize("seed", range(8))
def test_load_above_its_limit_is_cut_in_the_scan_that_reads_it(seed: int) -> None:
    """Beside cars that sleep on their offers the meter alone tells: every car that draws is slow
    to follow, so that a later cut would be seen."""
    rng = random.Random(f"at once {seed}")
    n_asleep, n_awake = rng.randint(2, 4), rng.randint(2, 4)
    slow = Habits(follows_ns=span_s(12, 12))
    habits = [Habits(wakes_ns=span_s(600, 600))] * n_asleep + [slow] * n_awake
    n = n_asleep + n_awake
    chargers = [
        charger(f"x{k}", failsafe_mA=0, fallback_mA=0, hold_ns=6 * NS_PER_S) for k in range(n)
    ]
    main = circuit("main", 10000 * n, is_dynamic=True, meter=0, background_mA=10000 * n)
    tables = site([main], chargers, [meter("grid")], **{**TUNING, "soft_start_ns": 0})
    loop = CarLoop(tables, rng, habits)
    for car in loop.cars[n_asleep:]:
        car.plug(loop.now_ns)
    loop.run(60)
    for car in loop.cars[:n_asleep]:
        car.plug(loop.now_ns)
    loop.run(45 + seed % 4 / 2)  # not long enough to count as full; anyone's turn to be read
    assert loop.setpoints_mA() == [10000] * n
    own_mA = 10000 * n_asleep + rng.randint(1000, 4000 * n_awake)
    loop.step_building(0, (own_mA, own_mA, own_mA), 1)
    loop.run(13)
    assert max(loop.plant.load_mA(0, loop.now_ns)) <= 10000 * n
    loop.run(20)
    assert max(loop.plant.load_mA(0, loop.now_ns)) <= 10000 * n
