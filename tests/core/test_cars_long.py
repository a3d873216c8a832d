"""A garage over hours: a noisy building, cars that come and go; setpoints move seldom."""

from __future__ import annotations

import random

import pytest

from tests.support.car_loop import CarLoop
from tests.support.car_service import n_contactor_moves
from tests.support.car_stories import STEADY, TUNING
from tests.support.cars import Habits, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

HOUR_ns = 3600 * NS_PER_S
N_CARS = 8
HOURS = {**TUNING, "trim_ns": 60 * NS_PER_S}
# Per charger and hour. What they may be follows from what happens: a kettle is two moves of the
# building, each of which a charger may follow down and up again; see `a_day`.
KETTLES_PER_HOUR = 8
MOST_TURNS = 4 * KETTLES_PER_HOUR
CALM_s = 60  # trim and raise delay and hold: no turn sooner than that, on the average
MOST_WRITES = 2 * MOST_TURNS


def a_day(seed: int, hours: int) -> CarLoop:
    """Noise of 0.4 A every five seconds, kettles of 9 A, a base load that drifts, and cars of
    many kinds with needs of their own."""
    rng = random.Random(f"day {seed}")
    habits = [
        rng.choice(
            (
                *STEADY,
                Habits(follows_ns=span_s(0, 6), over_mA=600),
                Habits(follows_ns=span_s(0, 6), wakes_ns=span_s(10, 40), needs_As=30_000),
                Habits(follows_ns=span_s(0, 4), uses=1, needs_As=40_000),
                Habits(takes_mA=10_000, needs_As=40_000),
            )
        )
        for _ in range(N_CARS)
    ]
    chargers = [
        charger(
            f"x{k}", phases=rng.choice(((0, 1, 2), (1, 2, 0), (2, 0, 1), (0,))), failsafe_mA=0,
            fallback_mA=0, hold_ns=6 * NS_PER_S,
        )
        for k in range(N_CARS)
    ]  # fmt: skip
    main = circuit("main", 80000, is_dynamic=True, meter=0, background_mA=40000, margin_mA=1000)
    tables = site([main], chargers, [meter("grid", 300_000_000)], **HOURS)
    loop = CarLoop(tables, rng, habits)
    build(loop, rng, hours)
    for car in loop.cars:
        at_ns = loop.now_ns + rng.randint(0, 1800) * NS_PER_S
        while at_ns < loop.now_ns + hours * HOUR_ns:
            stays_ns = rng.randint(1800, 4 * 3600) * NS_PER_S
            car.will([(at_ns, "plug", 0), (at_ns + stays_ns, "unplug", 0)])
            at_ns += stays_ns + rng.randint(60, 3600) * NS_PER_S
    loop.run(hours * 3600)
    return loop


def build(loop: CarLoop, rng: random.Random, hours: int) -> None:
    base_mA = [rng.randint(3000, 15000) for _ in range(3)]
    kettle_until_ns = [0, 0, 0]
    for k in range(hours * 720):
        at_ns = loop.now_ns + k * 5 * NS_PER_S + 1
        own_mA = []
        for p in range(3):
            if k % 120 == 0:
                base_mA[p] = max(2000, min(20000, base_mA[p] + rng.randint(-3000, 3000)))
            if rng.random() < KETTLES_PER_HOUR / 3 / 720:
                kettle_until_ns[p] = at_ns + rng.randint(60, 240) * NS_PER_S
            kettle_mA = 9000 if at_ns < kettle_until_ns[p] else 0
            own_mA.append(base_mA[p] + kettle_mA + rng.randint(-200, 200))
        loop.plant.building.set(0, (own_mA[0], own_mA[1], own_mA[2]), at_ns)


def check_calm(loop: CarLoop, hours: int) -> None:
    n_turns, n_writes = sum(loop.plant.turns()), len(loop.plant.writes)
    n_moves = sum(n_contactor_moves(loop))
    per = N_CARS * hours
    print(
        f"{hours} h, {N_CARS} chargers: per charger-hour {n_turns / per:.1f} turns, "
        f"{n_writes / per:.1f} writes, {n_moves / per:.2f} contactor moves"
    )
    assert loop.plant.violations == []
    assert loop.plant.over.found == []
    assert 0 < n_turns <= MOST_TURNS * per
    assert n_writes <= MOST_WRITES * per


@pytest.mark.parametrize("noise_mA", [200, 1000])
def test_noise_alone_moves_setpoints_hardly(noise_mA: int) -> None:
    """All charging at their shares: what the noise's peaks ask for is left to them."""
    rng = random.Random(f"noise {noise_mA}")
    habits = [rng.choice(STEADY) for _ in range(N_CARS)]
    chargers = [
        charger(f"x{k}", failsafe_mA=0, fallback_mA=0, hold_ns=6 * NS_PER_S) for k in range(N_CARS)
    ]
    main = circuit("main", 100000, is_dynamic=True, meter=0, background_mA=40000)
    tables = site([main], chargers, [meter("grid", 300_000_000)], **HOURS)
    loop = CarLoop(tables, rng, habits)
    loop.plug_all()
    for k in range(900):
        a, b, d = (10000 + rng.randint(-noise_mA, noise_mA) for _ in range(3))
        loop.plant.building.set(0, (a, b, d), loop.now_ns + k * 5 * NS_PER_S + 1)
    loop.run(600)
    from_ns = loop.now_ns
    loop.run(3600)
    turns = loop.plant.turns(from_ns)
    print(f"noise of {noise_mA} mA: {sum(turns) / N_CARS:.1f} turns per charger-hour")
    assert max(turns) <= 3600 // CALM_s
    assert loop.plant.over.found == []


def test_two_hours_of_a_noisy_building_move_setpoints_seldom() -> None:
    check_calm(a_day(0, 2), 2)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_a_day_of_a_noisy_building_moves_setpoints_seldom(seed: int) -> None:
    check_calm(a_day(seed, 24), 24)
