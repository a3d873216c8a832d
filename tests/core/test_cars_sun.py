"""Cars beside generation: what flows back counts where the circuit allows it, and nowhere else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.support.car_loop import CarLoop
from tests.support.car_stories import any_habits, disturb_building, disturb_car
from tests.support.core_sites import NS_PER_S
from tests.support.stories import story_site

SUN_mA = 25_000  # by phase, the most that a roof gives


def story(seed: int) -> CarLoop:
    """Meters with a sign on any circuit; some circuits count export."""
    rng = random.Random(f"sun {seed}")
    tables = story_site(rng)
    circuits = tuple(
        replace(row, counts_export=row.is_dynamic and rng.random() < 0.6) for row in tables.circuits
    )
    tables = replace(tables, circuits=circuits)
    loop = CarLoop(tables, rng, [any_habits(rng, False) for _ in tables.chargers])
    loop.has_power = True
    for car in loop.cars:
        if rng.random() < 0.7:
            car.plug(loop.now_ns)
    return loop


def shine(loop: CarLoop) -> None:
    """The sun comes out, goes, or flickers behind clouds, on any circuit that has a meter."""
    rng, building = loop.rng, loop.plant.building
    c = rng.choice([c for c, row in enumerate(loop.tables.circuits) if row.is_dynamic])
    at_ns = max(loop.now_ns, building.at_ns[c][-1]) + rng.randint(1, 999) * 1_000_000
    most_mA = loop.tables.circuits[c].background_mA[0] // 2
    load_mA = rng.randint(0, most_mA)
    sun_mA = rng.choice((SUN_mA, rng.randint(0, SUN_mA)))
    phases = rng.choice(((0, 1, 2), (rng.randrange(3),)))
    for k in range(rng.choice((1, 1, 6))):
        given_mA = sun_mA if k % 2 == 0 else sun_mA // 4
        a, b, d = (load_mA - (given_mA if p in phases else 0) for p in range(3))
        building.set(c, (a, b, d), at_ns)
        at_ns += rng.randint(1, 10) * NS_PER_S // 2


def play(seed: int, n_events: int) -> CarLoop:
    loop = story(seed)
    for _ in range(n_events):
        loop.run(loop.rng.choice((1, 5, 15, 30, 70)))
        what = loop.rng.random()
        if what < 0.4:
            disturb_car(loop, loop.rng.choice(loop.cars))
        elif what < 0.6:
            disturb_building(loop)
        else:
            shine(loop)
    return loop


def check(seed: int, n_events: int) -> CarLoop:
    loop = play(seed, n_events)
    assert loop.plant.violations == [], f"seed {seed}"
    assert loop.plant.over.found == [], f"seed {seed}"
    return loop


@pytest.mark.parametrize("first_seed", range(0, 60, 20))
def test_cars_beside_the_sun_pass_no_limit(first_seed: int) -> None:
    n_raises = 0
    for seed in range(first_seed, first_seed + 20):
        n_raises += check(seed, 25).plant.n_raises
    assert n_raises > 200


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_stories_beside_the_sun() -> None:
    for seed in range(10_000, 11_000):
        check(seed, 40)
