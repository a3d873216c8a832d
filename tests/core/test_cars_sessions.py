"""Sessions: cars that are done, sleep for good, rank higher or are never paused."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from loadctl.tables import Tables
from tests.support import reference
from tests.support.car_loop import CarLoop
from tests.support.car_service import n_contactor_moves, turns
from tests.support.car_stories import TUNING
from tests.support.cars import Habits, NEVER_ns, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

WAKE_s = 120
ROTATE_s = 600
RETRY_s = 900
MIN_ON_s = 120
MIN_OFF_s = 60
SWAP_s = 60
SCAN_ns = 3 * NS_PER_S
SESSIONS = {
    **TUNING,
    "wake_ns": WAKE_s * NS_PER_S,
    "rotate_ns": ROTATE_s * NS_PER_S,
    "retry_ns": RETRY_s * NS_PER_S,
    "min_on_ns": MIN_ON_s * NS_PER_S,
    "min_off_ns": MIN_OFF_s * NS_PER_S,
    "soft_start_ns": 0,
    "stagger_ns": 0,
}
PROMPT = Habits(follows_ns=span_s(0, 6), wakes_ns=span_s(0, 10))
ASLEEP = Habits(wakes_ns=(NEVER_ns, NEVER_ns))


def garage(n: int, limit_mA: int, rows: dict[int, dict[str, Any]] | None = None) -> Tables:
    """One static circuit, equal chargers but for the changes given."""
    chargers = [
        charger(f"x{k}", **{"failsafe_mA": 0, "fallback_mA": 0, **(rows or {}).get(k, {})})
        for k in range(n)
    ]
    return site([circuit("main", limit_mA)], chargers, **SESSIONS)


def begun(tables: Tables, habits: list[Habits], seed: int = 0) -> CarLoop:
    loop = CarLoop(tables, random.Random(f"sessions {seed}"), habits, period_ns=SCAN_ns)
    loop.run(60)
    return loop


def seconds_until_served(loop: CarLoop, i: int, most_s: int) -> float:
    return loop.run_until(lambda: loop.cars[i].setpoint_mA > 0, most_s)


def test_car_that_does_not_wake_gives_its_place_to_the_next() -> None:
    loop = begun(garage(2, 6500), [ASLEEP, PROMPT])
    loop.cars[0].plug(loop.now_ns)
    loop.run(30)
    assert loop.setpoints_mA() == [6500, 0]
    loop.cars[1].plug(loop.now_ns)
    assert seconds_until_served(loop, 1, WAKE_s + SWAP_s) >= WAKE_s - 40
    loop.run(3 * ROTATE_s)
    assert loop.setpoints_mA() == [0, 6500]  # nobody else waits: it stays
    assert [turn.charger_i for turn in turns(loop)] == [0, 1]


def test_full_car_gives_its_place_to_the_next_at_once() -> None:
    loop = begun(garage(2, 6500), [Habits(needs_As=1200), PROMPT])
    loop.plug_all()
    loop.run(150)
    assert loop.setpoints_mA() == [6500, 0]
    loop.run_until(lambda: loop.cars[0].is_full, 600)
    seconds_until_served(loop, 1, SWAP_s)
    loop.run(3 * ROTATE_s)
    assert [turn.charger_i for turn in turns(loop)] == [0, 1]


def test_pause_is_no_end_of_charging() -> None:
    """A car goes from C to B because it was paused: it is not done, and gets its turn again."""
    loop = begun(garage(2, 6500), [PROMPT, PROMPT])
    loop.plug_all()
    loop.run(5 * (ROTATE_s + SWAP_s))
    assert [turn.charger_i for turn in turns(loop)][:4] == [0, 1, 0, 1]
    assert min(car.charged_As(loop.now_ns) for car in loop.cars) > 6 * ROTATE_s


def test_full_car_leaves_its_current_to_others() -> None:
    loop = begun(garage(2, 20000), [Habits(needs_As=1500), PROMPT])
    loop.plug_all()
    loop.run(100)
    assert loop.setpoints_mA() == [10000, 10000]
    loop.run_until(lambda: loop.cars[0].is_full, 600)
    loop.run(120)
    assert loop.setpoints_mA()[0] <= 6000
    assert loop.setpoints_mA()[1] >= 14000
    assert loop.plant.violations == []


@pytest.mark.parametrize("seed", range(4))
def test_full_cars_at_midnight_give_their_places(seed: int) -> None:
    """Ten cars, five places; those that hold them are full, or become it in the night."""
    rng = random.Random(f"midnight {seed}")
    habits = [ASLEEP] * 3 + [Habits(needs_As=rng.randint(300, 900))] * 2 + [PROMPT] * 5
    order = rng.sample(range(10), 10)
    loop = begun(garage(10, 30500), [habits[k] for k in order], seed)
    hungry = [i for i, k in enumerate(order) if k >= 5]
    for i, k in enumerate(order):
        if k < 5:
            loop.cars[i].plug(loop.now_ns)
    loop.run(60)
    for i in hungry:
        loop.cars[i].plug(loop.now_ns)
    loop.run(WAKE_s + 2 * SWAP_s)
    assert [i for i in hungry if loop.setpoints_mA()[i] == 0] == []
    from_ns = loop.now_ns
    loop.run(2 * ROTATE_s)
    assert sum(n_contactor_moves(loop, from_ns)[i] for i in hungry) == 0
    assert loop.plant.violations == []


def test_done_car_is_tried_again_while_nobody_waits() -> None:
    """It wakes at last during a later try, and charges."""
    loop = begun(garage(1, 6500), [ASLEEP])
    car = loop.cars[0]
    car.plug(loop.now_ns)
    loop.run(WAKE_s + SWAP_s)
    loop.run_until(lambda: car.obeyed_mA > 0, RETRY_s + WAKE_s)
    loop.run(30)
    car.rouse(loop.now_ns)
    loop.run(2 * RETRY_s)
    assert max(car.draw_at_mA(loop.now_ns)) == 6500
    assert car.charged_As(loop.now_ns) >= 6 * 1700


def test_done_car_is_not_tried_while_somebody_waits() -> None:
    loop = begun(garage(3, 6500), [ASLEEP, PROMPT, PROMPT])
    loop.plug_all()
    loop.run(WAKE_s + SWAP_s)
    from_ns = loop.now_ns
    loop.run(3 * RETRY_s)
    assert {turn.charger_i for turn in turns(loop, from_ns)} <= {1, 2}
    assert len(turns(loop, from_ns)) >= 2


def test_new_car_is_not_done_because_the_last_one_was() -> None:
    loop = begun(garage(2, 6500), [Habits(needs_As=600), PROMPT])
    loop.plug_all()
    seconds_until_served(loop, 1, 600)
    loop.cars[0].unplug(loop.now_ns)
    loop.run(30)
    loop.cars[0].plug(loop.now_ns)
    seconds_until_served(loop, 0, ROTATE_s + SWAP_s)


def sleeper() -> CarLoop:
    """A car that was paused once by rotation and did not wake, now roused by hand; one place."""
    loop = begun(garage(2, 6500), [Habits(is_sleeper=True), PROMPT])
    loop.cars[0].plug(loop.now_ns)
    loop.run(30)
    loop.cars[1].plug(loop.now_ns)
    loop.run_until(lambda: loop.cars[0].is_lost, ROTATE_s + 2 * SWAP_s)
    loop.run(ROTATE_s + SWAP_s + WAKE_s + SWAP_s)  # its next turn passes unused
    loop.cars[1].unplug(loop.now_ns)
    loop.run_until(lambda: loop.cars[0].obeyed_mA > 0, RETRY_s + WAKE_s)
    loop.run(30)
    loop.cars[0].rouse(loop.now_ns)
    loop.run(60)
    assert max(loop.cars[0].draw_at_mA(loop.now_ns)) >= 6000
    return loop


def test_sleeper_passes_its_place_on_after_two_turns_of_waiting_and_not_before() -> None:
    """What the other one is told meanwhile is true; afterwards the sleeper may sleep again."""
    loop = sleeper()
    loop.cars[1].plug(loop.now_ns)
    from_ns = loop.now_ns
    loop.run(60)
    told_ns = loop.core.charger(1)["turn_at_ns"] - from_ns
    assert 2 * ROTATE_s <= told_ns / NS_PER_S <= 2 * ROTATE_s + 10
    loop.run(2 * ROTATE_s - 60)
    assert n_contactor_moves(loop, from_ns) == [0, 0]
    assert loop.setpoints_mA() == [6500, 0]
    seconds_until_served(loop, 1, SWAP_s)
    loop.run_until(lambda: loop.setpoints_mA()[0] > 0, ROTATE_s + SWAP_s)
    assert loop.cars[0].is_lost


def test_cars_that_wake_after_a_pause_are_no_sleepers() -> None:
    loop = begun(garage(2, 6500), [PROMPT, PROMPT])
    loop.plug_all()
    loop.run(6 * (ROTATE_s + SWAP_s))
    assert len(turns(loop)) >= 6


def test_higher_tier_gets_place_and_current_first() -> None:
    """It comes last, and takes a place from the lower one as soon as that has had its time."""
    loop = begun(garage(2, 11000, {1: {"priority": 1}}), [PROMPT, PROMPT])
    loop.cars[0].plug(loop.now_ns)
    loop.run(60)
    assert loop.setpoints_mA() == [11000, 0]
    loop.cars[1].plug(loop.now_ns)
    seconds_until_served(loop, 1, MIN_ON_s + SWAP_s)
    loop.run(3 * ROTATE_s)
    assert loop.setpoints_mA() == [0, 11000]
    assert [turn.charger_i for turn in turns(loop)] == [0, 1]


def test_session_gives_its_place_to_a_higher_tier_before_min_on_is_over() -> None:
    """Priority comes first: min_on_s holds a place against equals."""
    loop = begun(garage(2, 6500, {1: {"priority": 1}}), [PROMPT, PROMPT])
    loop.cars[0].plug(loop.now_ns)
    seconds_until_served(loop, 0, SWAP_s)
    loop.run(10)
    loop.cars[1].plug(loop.now_ns)
    loop.run(SWAP_s)
    assert loop.setpoints_mA() == [0, 6500]


def test_session_keeps_its_place_for_min_on_where_that_is_longer_than_a_turn() -> None:
    tables = garage(2, 6500)
    longer = replace(tables.tuning, min_on_ns=2 * ROTATE_s * NS_PER_S)
    loop = begun(replace(tables, tuning=longer), [PROMPT, PROMPT])
    loop.plug_all()
    loop.run(5 * ROTATE_s)
    over = [turn for turn in turns(loop) if turn.until_ns is not None]
    assert len(over) == 2
    assert min(turn.until_ns - turn.from_ns for turn in over) >= 2 * ROTATE_s * NS_PER_S


def test_lower_tier_keeps_its_minimum_where_both_fit_and_no_more() -> None:
    loop = begun(garage(3, 34000, {1: {"priority": 1}}), [PROMPT] * 3)
    loop.plug_all()
    loop.run(200)
    assert loop.setpoints_mA() == [9000, 16000, 9000]


@pytest.mark.parametrize("seed", range(6))
def test_rotation_is_within_a_tier(seed: int) -> None:
    """The higher tier all served; the lower ones share what places are left."""
    rng = random.Random(f"tiers {seed}")
    n_high, n_low, n_places = 2, rng.randint(2, 4), 3
    rows = {k: {"priority": 1} for k in rng.sample(range(n_high + n_low), n_high)}
    loop = begun(
        garage(n_high + n_low, 6000 * n_places + 500, rows), [PROMPT] * (n_high + n_low), seed
    )
    loop.plug_all()
    loop.run(60)
    from_ns = loop.now_ns
    loop.run((n_low + 1) * ROTATE_s)
    moves = n_contactor_moves(loop, from_ns)
    for i in range(n_high + n_low):
        if i in rows:
            assert moves[i] == 0, f"charger {i}"
            assert loop.setpoints_mA()[i] >= 6000
        else:
            assert loop.cars[i].charged_As(loop.now_ns) > 0, f"charger {i}"


def metered(n: int, limit_mA: int, rows: dict[int, dict[str, Any]], **tunings: int) -> Tables:
    chargers = [
        charger(
            f"x{k}", **{"failsafe_mA": 0, "fallback_mA": 0, "hold_ns": 6 * NS_PER_S}
            | rows.get(k, {}),
        )
        for k in range(n)
    ]  # fmt: skip
    main = circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=limit_mA - 6000)
    return site([main], chargers, [meter("grid", 300_000_000)], **{**SESSIONS, **tunings})


@pytest.mark.parametrize("seed", range(6))
def test_never_pause_keeps_its_minimum_whatever_the_building_does(seed: int) -> None:
    """In the lowest tier, last in the file; the building leaves at least its minimum."""
    rng = random.Random(f"never {seed}")
    n = rng.randint(2, 6)
    never = {"never_pause": True, "failsafe_mA": 6000, "fallback_mA": 6000}
    rows: dict[int, dict[str, Any]] = {k: {"priority": 1} for k in range(n - 1)}
    loop = CarLoop(metered(n, 32000, rows | {n - 1: never}), rng, [PROMPT] * n)
    loop.plug_all()
    loop.run(60)
    assert loop.cars[n - 1].setpoint_mA >= 6000
    from_ns = loop.now_ns
    for _ in range(12):
        a, b, d = (rng.choice((0, 13000, 20000, 26000)) for _ in range(3))
        loop.step_building(0, (a, b, d), 1)
        loop.run(rng.choice((5, 20, 60, 120)))
    assert n_contactor_moves(loop, from_ns)[n - 1] == 0
    assert loop.plant.over.found == []
    assert loop.plant.violations == []


def fewest_pauses(tables: Tables, own_mA: tuple[int, int, int]) -> int:
    """The least number of those that charge whose going leaves room for the minima of the rest."""
    limits = reference.limits_of(tables, [own_mA])
    n = len(tables.chargers)
    for n_paused in range(n + 1):
        for paused in itertools.combinations(range(n), n_paused):
            rest = {i: tables.chargers[i].min_mA for i in range(n) if i not in paused}
            if reference.fits(limits, rest):
                return n_paused
    raise AssertionError("the building alone is above the limit")


@pytest.mark.parametrize("seed", range(20))
def test_limit_pauses_the_fewest_and_they_return(seed: int) -> None:
    rng = random.Random(f"fewest {seed}")
    n = rng.randint(2, 7)
    maps = ((0, 1, 2), (0,), (1,), (2,), (1, 2))
    rows = {
        k: {"phases": rng.choice(maps), "min_mA": rng.choice((6000, 6000, 8000))} for k in range(n)
    }
    limit_mA = 8000 * n + rng.choice((0, 2000, 6000))
    tables = metered(n, limit_mA, rows, rotate_ns=7200 * NS_PER_S)
    loop = CarLoop(tables, rng, [PROMPT] * n)
    loop.plug_all()
    loop.run(MIN_ON_s + 60)
    assert min(loop.setpoints_mA()) >= 6000
    from_ns = loop.now_ns
    a, b, d = (rng.randint(0, limit_mA - 6000) for _ in range(3))
    loop.step_building(0, (a, b, d), 1)
    loop.run(MIN_OFF_s)
    n_paused = sum(setpoint_mA == 0 for setpoint_mA in loop.setpoints_mA())
    assert n_paused == fewest_pauses(tables, (a, b, d))
    assert sum(n_contactor_moves(loop, from_ns)) == n_paused
    loop.step_building(0, (0, 0, 0))
    loop.run(MIN_OFF_s + SWAP_s)
    assert min(loop.setpoints_mA()) >= 6000
    assert sum(n_contactor_moves(loop, from_ns)) == 2 * n_paused
    assert loop.plant.over.found == []


@pytest.mark.parametrize("seed", range(6))
def test_limit_pauses_one_that_stands_in_for_several(seed: int) -> None:
    """Room for one on each phase: a three-phase car goes, wherever it stands in the file."""
    rng = random.Random(f"stands in {seed}")
    maps: list[tuple[int, ...]] = [(0, 1, 2), (0,), (1,), (2,)]
    rng.shuffle(maps)
    rows = {k: {"phases": phases} for k, phases in enumerate(maps)}
    loop = CarLoop(metered(4, 24000, rows), rng, [PROMPT] * 4)
    loop.plug_all()
    loop.run(MIN_ON_s + 60)
    assert min(loop.setpoints_mA()) >= 6000
    loop.step_building(0, (16000, 16000, 16000), 1)
    loop.run(30)
    assert [k for k in range(4) if loop.setpoints_mA()[k] == 0] == [maps.index((0, 1, 2))]


@pytest.mark.parametrize("seed", range(4))
def test_never_pause_is_served_where_higher_tiers_would_take_all(seed: int) -> None:
    rng = random.Random(f"never first {seed}")
    n = rng.randint(2, 5)
    never = {"never_pause": True, "failsafe_mA": 6000, "fallback_mA": 6000}
    rows: dict[int, dict[str, Any]] = {k: {"priority": 1} for k in range(n - 1)}
    loop = begun(garage(n, 6500, rows | {n - 1: never}), [PROMPT] * n, seed)
    loop.plug_all()
    loop.run(60)
    from_ns = loop.now_ns
    loop.run(3 * ROTATE_s)
    assert loop.setpoints_mA() == [0] * (n - 1) + [6500]
    assert n_contactor_moves(loop, from_ns)[n - 1] == 0
