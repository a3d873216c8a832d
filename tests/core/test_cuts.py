"""Cuts: at once, for the whole excess, not twice, and not for a car that wakes."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason

from loadctl.tables import Tables
from tests.support.core_bench import Bench
from tests.support.core_sites import (
    FAILSAFE,
    NO_ANSWER,
    NS_PER_S,
    REFUSED,
    RUN,
    charger,
    circuit,
    meter,
    site,
)

QUICK = {
    "soft_start_ns": 0,
    "raise_every_ns": 0,
    "raise_delay_ns": 5 * NS_PER_S,
    "stagger_ns": 0,
    "ramp_mA_per_s": 1_000_000,
    "peak_hold_ns": 2 * NS_PER_S,
}


def garage(limit_mA: int, n: int = 4, **changes: Any) -> Tables:
    """One dynamic circuit of chargers that were given all they can take."""
    rows = [charger(f"x{i}", **changes) for i in range(n)]
    main = circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=40000)
    return site([main], rows, [meter("grid")], **QUICK)


def full_bench(limit_mA: int, background_mA: int, n: int = 4, **changes: Any) -> Bench:
    bench = Bench(garage(limit_mA, n, **changes))
    bench.settle_in(background_mA)
    return bench


def test_building_step_of_40_A_is_cut_whole_in_the_scan_that_reads_it() -> None:
    bench = full_bench(100000, 20000)
    assert bench.setpoints_mA == [16000] * 4
    bench.loads_mA = [60000 + 64000]
    assert bench.scan().takes == {0: 10000, 1: 10000, 2: 10000, 3: 10000}


def test_building_step_that_leaves_no_minimum_pauses_the_least_that_suffices() -> None:
    bench = full_bench(100000, 20000)
    bench.loads_mA = [81000 + 64000]
    assert bench.scan().takes == {3: 0, 0: 6400, 1: 6300, 2: 6300}


def test_building_step_above_the_limit_pauses_everyone() -> None:
    bench = full_bench(100000, 20000)
    bench.loads_mA = [101000 + 64000]
    assert bench.scan().takes == {0: 0, 1: 0, 2: 0, 3: 0}


def test_building_step_beside_cars_that_take_less_is_cut_from_what_they_take() -> None:
    """Setpoints that nobody draws are no relief: four cars at 16 A that take 10 A."""
    bench = full_bench(100000, 20000)
    bench.draws_mA = [10000] * 4
    bench.loads_mA = [20000 + 40000]
    bench.scan(10)
    bench.are_read = set()
    bench.loads_mA = [60000 + 40000 + 13000]
    takes = bench.scan().takes
    assert sum(takes.values()) == 40000 - 13000


def test_excess_that_cars_have_not_followed_yet_is_not_cut_again() -> None:
    bench = full_bench(100000, 20000)
    bench.loads_mA = [60000 + 64000]
    bench.scan()
    assert bench.scan().takes == {}
    assert bench.scan(20).takes == {}
    assert bench.setpoints_mA == [10000] * 4


def test_excess_of_one_that_does_not_follow_is_cut_from_the_others_at_once() -> None:
    bench = full_bench(100000, 20000)
    bench.loads_mA = [60000 + 64000]
    bench.scan()
    bench.draws_mA = [16000, 10000, 10000, 10000]
    bench.loads_mA = [60000 + 46000]
    bench.run(10)
    assert bench.setpoints_mA == [10000] * 4
    bench.run(2)
    assert bench.core.starving() == [0]
    assert bench.setpoints_mA == [10000, 8000, 8000, 8000]


def test_car_that_wakes_between_two_status_reads_causes_no_cut() -> None:
    bench = full_bench(64000, 0)
    bench.draws_mA = [0] * 4
    bench.loads_mA = [0]
    bench.scan(20)
    bench.are_read, bench.are_looked_at = set(), False
    bench.loads_mA = [64000]
    for _ in range(4):
        assert bench.scan().takes == {}


def test_background_that_stays_beside_sleeping_cars_is_believed_and_makes_room() -> None:
    """Both cars sleep; what the meter reads cannot be theirs, and they may wake."""
    bench = full_bench(50000, 10000, n=2)
    bench.draws_mA = [0, 0]
    bench.loads_mA = [30000]
    bench.are_read = {0}
    assert bench.scan(2).takes == {}
    for k in range(20):
        bench.are_read = {k % 2}
        bench.scan()
    assert bench.setpoints_mA == [10000, 10000]


def test_meter_within_the_margin_is_no_excess_but_the_cut_keeps_the_margin() -> None:
    main = circuit("main", 50000, is_dynamic=True, meter=0, margin_mA=2000, background_mA=40000)
    bench = Bench(site([main], [charger("a")], [meter("grid")], **QUICK))
    bench.settle_in(20000)
    assert bench.setpoints_mA == [16000]
    bench.loads_mA = [33000 + 16000]
    assert bench.scan().takes == {0: 15000}


def test_excess_beside_cars_that_take_less_keeps_the_margin_too() -> None:
    main = circuit("main", 100000, is_dynamic=True, meter=0, margin_mA=2000, background_mA=40000)
    bench = Bench(site([main], [charger(f"x{i}") for i in range(4)], [meter("grid")], **QUICK))
    bench.settle_in(20000)
    bench.draws_mA = [10000] * 4
    bench.loads_mA = [20000 + 40000]
    bench.scan(10)
    bench.are_read = set()
    bench.loads_mA = [60000 + 40000 + 3000]
    assert sum(bench.scan().takes.values()) == 40000 - 3000 - 2000


def test_power_limit_is_cut_by_the_sum_of_the_meter() -> None:
    main = circuit(
        "main", 100000, limit_W=27600, is_dynamic=True, meter=0, background_mA=40000
    )  # 120 A over the phases
    bench = Bench(site([main], [charger("a"), charger("b")], [meter("grid")], **QUICK))
    bench.settle_in(8000)
    assert bench.setpoints_mA == [16000, 16000]
    bench.loads_mA = [20000 + 32000]
    assert bench.scan().takes == {0: 10000, 1: 10000}


def test_unacknowledged_take_is_cut_from_the_others_in_the_next_scan() -> None:
    bench = full_bench(100000, 20000)
    bench.codes = {0: NO_ANSWER}
    bench.loads_mA = [60000 + 64000]
    bench.scan()
    bench.draws_mA = [16000] * 4
    assert bench.scan().takes == {1: 8000, 2: 8000, 3: 8000}


def test_refused_take_is_sent_again_and_keeps_its_reserve() -> None:
    bench = full_bench(100000, 20000)
    bench.codes = {0: REFUSED}
    bench.loads_mA = [60000 + 64000]
    bench.scan()
    assert bench.charger(0)["reserve_mA"] == 16000
    assert 0 in bench.scan().takes
    assert bench.charger(0)["reason"] == Reason.NOT_ACKNOWLEDGED


def test_meter_that_stays_silent_turns_its_circuit_to_the_declared_background() -> None:
    bench = full_bench(50000, 20000, n=1)
    assert bench.setpoints_mA == [16000]
    bench.loads_mA = [None]
    assert bench.scan(5).takes == {}
    bench.scan(2)
    assert bench.circuit(0)["background_mA"] == [40000] * 3
    assert bench.setpoints_mA == [10000]


def test_failsafe_mode_brings_everyone_to_the_lower_of_setpoint_and_failsafe() -> None:
    bench = full_bench(100000, 20000)
    bench.core.set_mode(FAILSAFE)
    bench.draws_mA = [16000] * 4
    assert bench.scan().takes == {0: 6000, 1: 6000, 2: 6000, 3: 6000}
    assert bench.run(60).gives == {}
    assert bench.setpoints_mA == [6000] * 4


def test_failsafe_mode_leaves_a_paused_charger_paused() -> None:
    bench = Bench(garage(100000), mode=FAILSAFE)
    bench.scan(4)
    assert bench.setpoints_mA == [0] * 4


def test_car_that_leaves_is_taken_to_zero() -> None:
    bench = full_bench(100000, 20000)
    bench.states[2] = "A"
    assert bench.scan().takes == {2: 0}


@pytest.mark.parametrize("state", ["E", "F"])
def test_charger_with_a_fault_is_taken_to_zero_and_keeps_its_reserve(state: str) -> None:
    bench = full_bench(100000, 20000)
    bench.states[2] = state
    assert bench.scan().takes == {2: 0}
    assert bench.charger(2)["reserve_mA"] == 16000


def test_new_car_on_a_full_circuit_gets_its_place_when_the_others_are_proven_lower() -> None:
    bench = full_bench(32000, 0, n=3)
    bench.states[2] = "A"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [16000, 16000, 0]
    bench.states[2] = "C"
    first = bench.scan()
    assert first.takes == {0: 10700, 1: 10700}
    assert first.gives == {}
    bench.settle_in(0, 30)
    assert sum(bench.setpoints_mA) == 32000
    assert min(bench.setpoints_mA) >= 10600


def test_largest_decrease_is_sent_first() -> None:
    bench = Bench(
        site(
            [circuit("main", 100000, is_dynamic=True, meter=0, background_mA=40000)],
            [charger("a"), charger("b", max_mA=32000, rated_mA=32000)],
            [meter("grid")],
            **QUICK,
        )
    )
    bench.settle_in(20000)
    bench.loads_mA = [200000]
    bench.read()
    assert bench.core.step(bench.now_ns) == 0
    assert bench.core.takes() == [(1, 0), (0, 0)]


def test_mode_run_is_what_raises() -> None:
    bench = Bench(garage(100000), mode=RUN)
    bench.settle_in(0, 5)
    assert bench.setpoints_mA == [16000] * 4


def test_what_is_raised_is_not_cut_again_when_shares_cross() -> None:
    """A peak held on L2 takes from the three-phase car: the other's share by the held background
    is larger than by the low one, and a raise to it would be cut in the next scan, for ever."""
    tables = site(
        [circuit("main", 40_000, is_dynamic=True, meter=0, background_mA=20_000)],
        [charger("a", max_mA=32_000), charger("b", phases=(0,), max_mA=32_000)],
        [meter("grid")],
    )
    bench = Bench(tables)
    gives_of_b = 0
    for scan_i in range(600):
        a, b = bench.setpoints_mA
        bench.draws_mA = [a, b]
        kettle_mA = 30_000 if scan_i > 60 and scan_i % 24 < 4 else 0
        bench.loads_mA = [(2_000 + a + b, 2_000 + a + kettle_mA, 2_000 + a)]
        done = bench.scan()
        gives_of_b += scan_i > 200 and 1 in done.gives
    assert gives_of_b <= 2
