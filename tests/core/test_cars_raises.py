"""All kinds of cars in random stories: no raise without room, no load above a limit for long."""

from __future__ import annotations

import random

import pytest

from loadctl.tables import Tables
from tests.support.car_loop import CarLoop
from tests.support.car_stories import any_habits, disturb_building, disturb_car
from tests.support.closed_loop import Losses
from tests.support.stories import story_site


def story(seed: int, has_stubborn: bool) -> CarLoop:
    rng = random.Random(f"cars {seed} {has_stubborn}")
    tables = story_site(rng)
    habits = [any_habits(rng, has_stubborn and row.has_measured_current) for row in tables.chargers]
    losses = Losses()
    if has_stubborn:
        losses = Losses(
            request=rng.choice((0, 0, 0.02)), reply=rng.choice((0, 0, 0.02)),
            meter=rng.choice((0, 0.05)),
        )  # fmt: skip
    loop = CarLoop(tables, rng, habits, losses, is_power_back=rng.random() < 0.5)
    for car in loop.cars:
        if rng.random() < 0.7:
            car.plug(loop.now_ns)
    return loop


def play(seed: int, n_events: int, has_stubborn: bool) -> CarLoop:
    loop = story(seed, has_stubborn)
    for _ in range(n_events):
        loop.run(loop.rng.choice((1, 5, 15, 30, 70)))
        if loop.rng.random() < 0.6:
            disturb_car(loop, loop.rng.choice(loop.cars))
        else:
            disturb_building(loop)
    return loop


@pytest.mark.parametrize("first_seed", range(0, 60, 20))
def test_cars_of_all_kinds_no_raise_without_room(first_seed: int) -> None:
    n_raises = 0
    for seed in range(first_seed, first_seed + 20):
        loop = play(seed, 25, has_stubborn=True)
        assert loop.plant.violations == [], f"seed {seed}"
        n_raises += loop.plant.n_raises
    assert n_raises > 200


@pytest.mark.parametrize("first_seed", range(0, 60, 20))
def test_cars_that_follow_no_load_above_a_limit_for_longer_than_they_need(first_seed: int) -> None:
    worst_ns = 0
    for seed in range(first_seed, first_seed + 20):
        loop = play(seed, 25, has_stubborn=False)
        assert loop.plant.over.found == [], f"seed {seed}"
        assert loop.plant.violations == [], f"seed {seed}"
        worst_ns = max(worst_ns, loop.plant.over.worst_ns)
    assert worst_ns > 0


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_stories_of_cars_of_all_kinds() -> None:
    for seed in range(10_000, 12_000):
        has_stubborn = seed % 2 == 0
        loop = play(seed, 40, has_stubborn)
        assert loop.plant.violations == [], f"seed {seed}"
        if not has_stubborn:
            assert loop.plant.over.found == [], f"seed {seed}"


def test_watch_sees_a_load_that_stays_above_its_limit() -> None:
    """The watch's own test: raises written past the core, and the core no longer asked."""
    loop = story(0, has_stubborn=False)
    loop.run(60)
    assert loop.plant.over.found == []
    for i, car in enumerate(loop.cars):
        car.unplug(loop.now_ns)
        car.takes_mA = 63000
        car.plug(loop.now_ns)
        loop.plant.write(i, 63000, loop.now_ns)
    for k in range(240):
        loop.plant.over.look(loop.now_ns + k * 500_000_000)
    assert loop.plant.over.found != []


def watched_rows(tables: Tables) -> int:
    return sum(4 if row.limit_W is not None else 3 for row in tables.circuits)


def test_watch_looks_at_every_phase_and_power_limit() -> None:
    loop = story(3, has_stubborn=False)
    assert len(loop.plant.over.rows) == watched_rows(loop.tables)
