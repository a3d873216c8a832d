"""Admit in the running scan: who keeps a place, who is paused, who returns and when."""

from __future__ import annotations

from typing import Any

from loadctl.tables import ChargerRow, Tables
from tests.support.core_bench import Bench
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

QUICK = {
    "soft_start_ns": 0,
    "raise_every_ns": 0,
    "raise_delay_ns": 0,
    "stagger_ns": 0,
    "ramp_mA_per_s": 1_000_000,
    "peak_hold_ns": NS_PER_S,
    "min_on_ns": 100 * NS_PER_S,
    "min_off_ns": 60 * NS_PER_S,
}


def garage(limit_mA: int, rows: list[ChargerRow], **changes: Any) -> Tables:
    main = circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=limit_mA)
    return site([main], rows, [meter("grid")], **{**QUICK, **changes})


def settled_bench(limit_mA: int, rows: list[ChargerRow], background_mA: int = 0) -> Bench:
    bench = Bench(garage(limit_mA, rows))
    bench.settle_in(background_mA, 60)
    return bench


def test_limit_that_forces_it_pauses_the_last_in_order_only() -> None:
    bench = settled_bench(20000, [charger(f"x{i}") for i in range(3)])
    assert bench.setpoints_mA == [6700, 6700, 6600]
    bench.settle_in(4000, 2)
    assert bench.setpoints_mA[2] == 0
    assert bench.charger(2)["was_paused"] == 1
    assert min(bench.setpoints_mA[:2]) >= 6000


def test_limit_that_forces_it_pauses_only_who_uses_the_full_phase() -> None:
    rows = [charger("a", phases=(0,)), charger("b", phases=(1,)), charger("c", phases=(0,))]
    bench = settled_bench(12000, rows)
    assert bench.setpoints_mA == [6000, 12000, 6000]
    bench.loads_mA = [(13000, 12000, 0)]
    assert bench.scan().takes == {2: 0}


def test_limit_that_forces_it_skips_to_a_smaller_minimum() -> None:
    """15 A hold 6 and 6 but not 6 and 10: the one with 10 is paused, not the last."""
    rows = [charger("a"), charger("b", min_mA=10000), charger("c")]
    bench = settled_bench(22000, rows)
    assert bench.setpoints_mA == [6000, 10000, 6000]
    bench.settle_in(7000, 2)
    assert bench.setpoints_mA[1] == 0
    assert min(bench.setpoints_mA[0], bench.setpoints_mA[2]) >= 6000


def test_paused_session_returns_after_min_off_when_there_is_room() -> None:
    bench = settled_bench(20000, [charger(f"x{i}") for i in range(3)])
    bench.settle_in(4000, 2)
    bench.settle_in(0, 56)
    assert bench.setpoints_mA[2] == 0
    bench.settle_in(0, 30)
    assert bench.setpoints_mA[2] >= 6000


def test_paused_session_needs_the_admit_margin_to_return() -> None:
    """18.5 A hold three minima, but not one ampere more."""
    bench = settled_bench(18500, [charger(f"x{i}") for i in range(3)])
    bench.settle_in(4000, 2)
    bench.settle_in(0, 150)
    assert bench.setpoints_mA[2] == 0
    bench.states[0] = "A"
    bench.settle_in(0, 75)
    assert bench.setpoints_mA[2] >= 6000


def test_paused_session_waits_until_its_room_has_lasted_30_s() -> None:
    bench = settled_bench(21000, [charger(f"x{i}") for i in range(3)])
    bench.settle_in(4000, 90)
    assert bench.setpoints_mA[2] == 0
    bench.settle_in(0, 25)
    assert bench.setpoints_mA[2] == 0
    bench.settle_in(4000, 5)
    bench.settle_in(0, 25)
    assert bench.setpoints_mA[2] == 0
    bench.settle_in(0, 30)
    assert bench.setpoints_mA[2] >= 6000


def test_paused_session_whose_car_left_is_a_new_one() -> None:
    bench = settled_bench(20000, [charger(f"x{i}") for i in range(3)])
    bench.settle_in(4000, 2)
    bench.states[2] = "A"
    bench.scan()
    assert bench.charger(2)["was_paused"] == 0


def test_running_sessions_keep_their_places_until_one_that_waits_is_due() -> None:
    """b has charged for longer than c, so its turn is over first."""
    rows = [charger("a"), charger("b"), charger("c")]
    bench = Bench(garage(13000, rows, rotate_ns=150 * NS_PER_S))
    bench.states = ["A", "C", "A"]
    bench.settle_in(0, 30)
    bench.states = ["A", "C", "C"]
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [0, 6500, 6500]
    bench.states[0] = "C"
    bench.settle_in(0, 145)
    assert bench.setpoints_mA == [0, 6500, 6500]
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [6500, 0, 6500]


def test_running_session_gives_way_to_a_higher_tier_at_once() -> None:
    rows = [charger("low"), charger("high", priority=1)]
    bench = Bench(garage(10000, rows))
    bench.states[1] = "A"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [10000, 0]
    bench.states[1] = "C"
    assert bench.scan().takes == {0: 0}


def test_never_pause_keeps_its_minimum_before_a_higher_tier() -> None:
    rows = [charger("high", priority=1), charger("base", never_pause=True)]
    bench = settled_bench(16000, rows)
    assert bench.setpoints_mA == [10000, 6000]
    bench.settle_in(9000, 2)
    assert bench.setpoints_mA[0] == 0
    assert bench.setpoints_mA[1] >= 6000


def test_never_pause_does_not_outrank_a_limit() -> None:
    bench = settled_bench(16000, [charger("base", never_pause=True)])
    bench.loads_mA = [11000 + 16000]
    assert bench.scan().takes == {0: 0}


def test_held_peak_keeps_a_new_car_out_but_pauses_nobody() -> None:
    tables = garage(16000, [charger("a"), charger("b")], peak_hold_ns=60 * NS_PER_S)
    bench = Bench(tables)
    bench.states[1] = "A"
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [16000, 0]
    bench.settle_in(9000, 1)
    bench.states[1] = "C"
    bench.settle_in(0, 40)
    assert bench.setpoints_mA == [7000, 0]
    bench.settle_in(0, 40)
    assert bench.setpoints_mA == [8000, 8000]


def test_room_is_made_for_a_new_car_when_others_hold_more_than_their_share() -> None:
    bench = Bench(garage(24000, [charger("a"), charger("b")]))
    bench.states[1] = "A"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [16000, 0]
    bench.states[1] = "C"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [12000, 12000]


def test_room_is_made_where_a_draw_is_not_measured_and_counts_as_background() -> None:
    """a draws 16 A that nobody sees: as background and as reserve they would fill 32 A for ever."""
    rows = [charger(name, has_measured_current=False) for name in "ab"]
    bench = Bench(garage(32000, rows))
    bench.states[1] = "A"
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [16000, 0]
    bench.states[1] = "C"
    bench.settle_in(0, 60)
    assert min(bench.setpoints_mA) >= 6000
