"""Fewer places than cars: everyone is served within a bounded time, and contactors are spared."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from dataclasses import replace
from math import ceil

import pytest

from loadctl.tables import Tables
from tests.support import reference
from tests.support.car_loop import CarLoop
from tests.support.car_service import Service, n_contactor_moves, pauses_ns, turns
from tests.support.car_stories import TUNING
from tests.support.cars import Habits, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, random_site, site
from tests.support.still import structs

ROTATE_s = 600
MIN_ON_s = 120
MIN_OFF_s = 60
SWAP_s = 60  # a cut, its proof, 30 s of room, and the scans between
SCAN_ns = 3 * NS_PER_S
PLACES = {
    **TUNING,
    "rotate_ns": ROTATE_s * NS_PER_S,
    "min_on_ns": MIN_ON_s * NS_PER_S,
    "min_off_ns": MIN_OFF_s * NS_PER_S,
    "soft_start_ns": 0,
    "stagger_ns": 0,
}
PROMPT = Habits(follows_ns=span_s(0, 6), wakes_ns=span_s(0, 10))


def garage(n_cars: int, n_places: int, spare_mA: int = 500) -> Tables:
    """Equal minima on one circuit: room for so many of them and a little more."""
    chargers = [charger(f"x{k}", failsafe_mA=0, fallback_mA=0) for k in range(n_cars)]
    return site([circuit("main", 6000 * n_places + spare_mA)], chargers, **PLACES)


def arrivals(loop: CarLoop, rng: random.Random, within_s: int) -> None:
    """Every car comes at its own time; some leave again, and come back."""
    for car in loop.cars:
        at_ns = loop.now_ns + rng.randint(0, within_s) * NS_PER_S
        car.will([(at_ns, "plug", 0)])
        if rng.random() < 0.3:
            leaves_ns = at_ns + rng.randint(100, 3 * ROTATE_s) * NS_PER_S
            back_ns = leaves_ns + rng.randint(30, ROTATE_s) * NS_PER_S
            car.will([(leaves_ns, "unplug", 0), (back_ns, "plug", 0)])


def check_gentle(loop: CarLoop) -> None:
    """Nobody who stays is paused before `min_on`, nor returns before `min_off`."""
    for turn in turns(loop):
        i, until_ns = turn.charger_i, turn.until_ns
        if until_ns is not None and stayed(loop, i, turn.from_ns, until_ns):
            assert until_ns - turn.from_ns >= MIN_ON_s * NS_PER_S, (i, turn)
    for i, from_ns, until_ns in pauses_ns(loop):
        if stayed(loop, i, from_ns, until_ns):
            assert until_ns - from_ns >= MIN_OFF_s * NS_PER_S, (i, from_ns, until_ns)


def stayed(loop: CarLoop, i: int, from_ns: int, until_ns: int) -> bool:
    """True when the car there was the same all the time, and a little longer."""
    margin_ns = 10 * NS_PER_S
    return any(
        came_ns <= from_ns and until_ns + margin_ns <= left_ns
        for came_ns, left_ns in loop.cars[i].visits
    )


def queued(seed: int) -> tuple[CarLoop, Service, int, int]:
    rng = random.Random(f"places {seed}")
    n_cars = rng.randint(2, 9)
    n_places = rng.randint(max(1, n_cars // 5), n_cars)
    loop = CarLoop(garage(n_cars, n_places), rng, [PROMPT] * n_cars, period_ns=SCAN_ns)
    loop.run(60)
    arrivals(loop, rng, rng.choice((0, ROTATE_s, 3 * ROTATE_s)))
    service = Service(loop)
    service.run((3 + 2 * ceil(n_cars / n_places)) * ROTATE_s)
    return loop, service, n_cars, n_places


@pytest.mark.parametrize("first_seed", range(0, 24, 8))
def test_equal_minima_everyone_is_served_within_its_share_of_quanta(first_seed: int) -> None:
    """From asking to current, M cars and K places: at most ceil(M / K) times `rotate_s`.

    In the worst case K others have just begun and M - K - 1 ask since longer: that is
    ceil(M / K) - 1 whole quanta; what is left of the last one covers the swaps.
    """
    n_waits = 0
    for seed in range(first_seed, first_seed + 8):
        loop, service, _, n_places = queued(seed)
        for i, wait_ns, n_asking in service.all_waits():
            most_s = ceil(n_asking / n_places) * ROTATE_s
            assert wait_ns <= most_s * NS_PER_S, f"seed {seed}, charger {i}"
            n_waits += wait_ns > ROTATE_s * NS_PER_S // 2
        assert loop.plant.violations == [], f"seed {seed}"
        check_gentle(loop)
    assert n_waits > 10


def mark_sleepers(loop: CarLoop, sleepers: list[int]) -> Callable[[], None]:
    """The core takes these for cars that did not wake once, whenever that is called."""
    block = bytearray(loop.core.plant_bytes)
    loop.core.attach(block)
    charger_t = structs()["charger_t"]
    n = len(loop.cars)
    rows = (charger_t * n).from_buffer(block, len(block) - n * ctypes.sizeof(charger_t))

    def mark() -> None:
        for i in sleepers:
            rows[i].is_sleeper = loop.cars[i].is_plugged

    return mark


@pytest.mark.parametrize("first_seed", range(0, 16, 4))
def test_sleepers_among_equals_everyone_is_served_within_as_many_quanta_as_cars(
    first_seed: int,
) -> None:
    """A sleeper gives its place only to one that has waited for two quanta: two are the least."""
    n_long = 0
    for seed in range(first_seed, first_seed + 4):
        rng = random.Random(f"sleepers {seed}")
        n_cars = rng.randint(2, 6)
        n_places = rng.randint(1, n_cars - 1)
        loop = CarLoop(garage(n_cars, n_places), rng, [PROMPT] * n_cars, period_ns=SCAN_ns)
        sleepers = rng.sample(range(n_cars), rng.randint(1, n_cars))
        mark = mark_sleepers(loop, sleepers)
        loop.run(60)
        arrivals(loop, rng, rng.choice((0, ROTATE_s)))
        service = Service(loop)
        for _ in range((3 + 3 * n_cars) * ROTATE_s * NS_PER_S // SCAN_ns):
            mark()
            service.run(SCAN_ns / NS_PER_S)
        for i, wait_ns, n_asking in service.all_waits():
            assert wait_ns <= (max(2, n_asking) * ROTATE_s + SWAP_s) * NS_PER_S, f"{seed}, {i}"
            n_long += wait_ns >= 2 * ROTATE_s * NS_PER_S
        assert loop.plant.violations == [], f"seed {seed}"
    assert n_long > 3


@pytest.mark.parametrize("seed", range(6))
def test_places_are_not_left_empty(seed: int) -> None:
    """All cars there from the start, more than places: a place stands empty only for swaps."""
    rng = random.Random(f"full {seed}")
    n_cars = rng.randint(3, 9)
    n_places = rng.randint(1, n_cars - 1)
    loop = CarLoop(garage(n_cars, n_places), rng, [PROMPT] * n_cars, period_ns=SCAN_ns)
    loop.plug_all()
    loop.run(60)
    from_ns = loop.now_ns
    service = Service(loop)
    service.run(8 * ROTATE_s)
    least = 1 - SWAP_s / ROTATE_s
    assert service.n_served_scans >= least * n_places * service.n_scans
    # One who goes and one who comes, per place and quantum, and once more at either end.
    n_moves = sum(n_contactor_moves(loop, from_ns))
    assert n_moves <= 2 * n_places * (8 + 1)
    print(f"{n_cars} cars, {n_places} places: {n_moves / (8 * ROTATE_s / 3600):.1f} moves an hour")


@pytest.mark.parametrize("seed", range(4))
def test_they_take_turns_in_the_order_of_asking(seed: int) -> None:
    rng = random.Random(f"order {seed}")
    n_cars = rng.randint(3, 7)
    loop = CarLoop(garage(n_cars, 1), rng, [PROMPT] * n_cars, period_ns=SCAN_ns)
    loop.run(60)
    order = rng.sample(range(n_cars), n_cars)
    for k, i in enumerate(order):
        loop.cars[i].will([(loop.now_ns + k * 20 * NS_PER_S, "plug", 0)])
    loop.run((2 * n_cars + 1) * (ROTATE_s + SWAP_s))
    served = [turn.charger_i for turn in turns(loop)]
    assert served[: 2 * n_cars] == order + order


def mixed(seed: int) -> tuple[CarLoop, Service]:
    """Any static tree and mix of minima and phases, one tier, all cars asking from early on."""
    rng = random.Random(f"mixed {seed}")
    tables = scarce_site(rng)
    n = len(tables.chargers)
    loop = CarLoop(tables, rng, [PROMPT] * n, period_ns=SCAN_ns)
    loop.run(60)
    for car in loop.cars:
        car.will([(loop.now_ns + rng.randint(0, ROTATE_s) * NS_PER_S, "plug", 0)])
    service = Service(loop)
    service.run((n + 3) * ROTATE_s)
    return loop, service


def scarce_site(rng: random.Random) -> Tables:
    """The next random tree where not everyone fits who would fit alone."""
    while True:
        tables = one_tier(random_site(rng, 5, 8))
        able = [i for i in range(len(tables.chargers)) if fits_alone(tables, i)]
        wants = [i in able for i in range(len(tables.chargers))]
        if len(reference.admit(tables, wants, reference.limits_of(tables))) < len(able):
            return tables


def one_tier(tables: Tables) -> Tables:
    rows = tuple(replace(row, priority=0, failsafe_mA=0, fallback_mA=0) for row in tables.chargers)
    return site(list(tables.circuits), list(rows), **PLACES)


def fits_alone(tables: Tables, i: int) -> bool:
    mine = [limit for limit in reference.limits_of(tables) if i in limit.counts]
    return reference.fits(mine, {i: tables.chargers[i].min_mA})


@pytest.mark.parametrize("first_seed", range(0, 24, 8))
def test_any_tree_and_mix_everyone_is_served_within_as_many_quanta_as_cars(
    first_seed: int,
) -> None:
    n_waits = 0
    for seed in range(first_seed, first_seed + 8):
        loop, service = mixed(seed)
        n = len(loop.cars)
        for i, wait_ns, n_asking in service.all_waits():
            if fits_alone(loop.tables, i):
                assert wait_ns <= n_asking * ROTATE_s * NS_PER_S, f"seed {seed}, charger {i} of {n}"
                n_waits += wait_ns > ROTATE_s * NS_PER_S // 2
        assert loop.plant.violations == [], f"seed {seed}"
    assert n_waits > 3


@pytest.mark.parametrize("seed", range(4))
def test_car_that_needs_several_places_at_once_is_served_in_time(seed: int) -> None:
    """Six single-phase cars, two to a phase, change places at times of their own; one three-phase
    car needs a place on each phase: those are kept for it once it has waited for long."""
    rng = random.Random(f"three at once {seed}")
    phases: list[tuple[int, ...]] = [(0,), (1,), (2,), (0,), (1,), (2,), (0, 1, 2)]
    chargers = [
        charger(f"x{k}", phases=p, failsafe_mA=0, fallback_mA=0) for k, p in enumerate(phases)
    ]
    tables = site([circuit("main", 6500)], chargers, **PLACES)
    loop = CarLoop(tables, rng, [PROMPT] * 7, period_ns=SCAN_ns)
    loop.run(60)
    for k, car in enumerate(loop.cars[:6]):
        at_ns = loop.now_ns + (k % 3) * ROTATE_s // 3 * NS_PER_S
        car.will([(at_ns + rng.randint(0, 60) * NS_PER_S, "plug", 0)])
    loop.run(ROTATE_s)
    loop.cars[6].plug(loop.now_ns)
    service = Service(loop)
    service.run(16 * ROTATE_s)
    assert max(wait_ns for _, wait_ns, _ in service.all_waits()) <= 7 * ROTATE_s * NS_PER_S
    n_turns = [sum(turn.charger_i == i for turn in turns(loop)) for i in range(7)]
    assert min(n_turns) >= 2
    assert loop.plant.violations == []
