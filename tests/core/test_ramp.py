"""Ramp: how soon and how far a setpoint rises. Down is at once."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason

from loadctl.tables import Tables
from tests.support.core_bench import Bench
from tests.support.core_sites import FAILSAFE, NS_PER_S, RUN, charger, circuit, meter, site

SLOW = {
    "soft_start_ns": 0,
    "raise_every_ns": 0,
    "raise_delay_ns": 0,
    "stagger_ns": 0,
    "ramp_mA_per_s": 1_000_000,
    "peak_hold_ns": NS_PER_S,
}


def one(limit_mA: int = 63000, changes: dict[str, Any] | None = None, **tunings: int) -> Tables:
    main = circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=limit_mA // 2)
    row = charger("a", max_mA=32000, rated_mA=32000, **changes or {})
    return site([main], [row], [meter("grid")], **{**SLOW, **tunings})


def started(tables: Tables) -> Bench:
    """A bench in the scan after the first give."""
    bench = Bench(tables)
    for _ in range(100):
        if bench.scan().gives:
            return bench
    raise AssertionError("nothing was given in 100 scans")


def test_session_starts_at_its_minimum() -> None:
    assert started(one()).setpoints_mA == [6000]


def test_soft_start_holds_the_minimum_for_its_time() -> None:
    bench = started(one(soft_start_ns=40 * NS_PER_S))
    bench.settle_in(0, 39.5)
    assert bench.setpoints_mA == [6000]
    assert bench.charger(0)["reason"] == Reason.STARTS_SOFTLY
    bench.settle_in(0, 1)
    assert bench.setpoints_mA == [32000]


def test_ramp_budget_runs_since_the_last_raise() -> None:
    bench = started(one(ramp_mA_per_s=2000))
    bench.settle_in(0, 0.5)
    assert bench.setpoints_mA == [6900]  # written at 90 ms of a scan, judged at 50 ms of the next
    bench.settle_in(0, 1)
    assert bench.setpoints_mA == [8700]


def test_ramp_budget_is_saved_up_until_one_step_fits() -> None:
    bench = started(one(ramp_mA_per_s=400, changes={"step_mA": 1000}))
    bench.settle_in(0, 2.5)
    assert bench.setpoints_mA == [6000]
    assert bench.charger(0)["reason"] == Reason.RAMPS_UP
    bench.settle_in(0, 0.5)
    assert bench.setpoints_mA == [7000]


@pytest.mark.parametrize("which", ["raise_every", "min_change"])
def test_raises_keep_the_time_between_them(which: str) -> None:
    if which == "raise_every":
        tables = one(raise_every_ns=5 * NS_PER_S, ramp_mA_per_s=1000)
    else:
        tables = one(changes={"min_change_ns": 5 * NS_PER_S}, ramp_mA_per_s=1000)
    bench = started(tables)
    bench.settle_in(0, 5)
    assert bench.setpoints_mA == [6000]
    bench.settle_in(0, 0.5)
    assert bench.setpoints_mA == [11400]


def test_deadband_leaves_a_small_gap_until_trim_time() -> None:
    bench = started(one(limit_mA=20000, trim_ns=60 * NS_PER_S))
    bench.settle_in(400, 10)
    assert bench.setpoints_mA == [19600]
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [19600]
    assert bench.charger(0)["reason"] == Reason.CLOSE_ENOUGH
    bench.settle_in(0, 35)
    assert bench.setpoints_mA == [20000]


def test_trim_time_of_a_small_gap_runs_anew_after_a_failsafe() -> None:
    bench = started(one(limit_mA=20000, trim_ns=60 * NS_PER_S, changes={"failsafe_mA": 32000}))
    bench.settle_in(400, 10)
    bench.settle_in(0, 30)
    bench.core.set_mode(FAILSAFE)
    bench.settle_in(0, 40)
    bench.core.set_mode(RUN)
    bench.settle_in(0, 55)
    assert bench.setpoints_mA == [19600]
    assert bench.charger(0)["reason"] == Reason.CLOSE_ENOUGH
    bench.settle_in(0, 10)
    assert bench.setpoints_mA == [20000]


def test_deadband_passed_raises_without_trim_time() -> None:
    bench = started(one(limit_mA=20000, trim_ns=60 * NS_PER_S))
    bench.settle_in(500, 10)
    assert bench.setpoints_mA == [19500]
    bench.settle_in(0, 5)
    assert bench.setpoints_mA == [20000]


def test_raise_delay_runs_after_a_cut_for_background() -> None:
    bench = started(one(limit_mA=20000, raise_delay_ns=15 * NS_PER_S))
    bench.settle_in(0, 5)
    assert bench.setpoints_mA == [20000]
    bench.settle_in(8000, 0.5)
    assert bench.setpoints_mA == [12000]
    assert bench.circuit(0)["is_overloaded"] == [1, 1, 1]
    bench.settle_in(0, 14.5)
    assert bench.setpoints_mA == [12000]
    assert bench.charger(0)["reason"] == Reason.WAITS_AFTER_CUT
    bench.settle_in(0, 3)
    assert bench.setpoints_mA == [20000]


def test_raise_delay_holds_only_who_uses_the_phase() -> None:
    main = circuit("main", 12000, is_dynamic=True, meter=0, background_mA=6000)
    rows = [charger("a", phases=(0,)), charger("b", phases=(1,))]
    tables = site([main], rows, [meter("g")], **{**SLOW, "raise_delay_ns": 60 * NS_PER_S})
    bench = Bench(tables)
    bench.settle_in(0, 20)
    assert bench.setpoints_mA == [12000, 12000]
    bench.draws_mA = [12000, 0]
    bench.loads_mA = [(15000, 0, 0)]
    bench.states[1] = "A"
    bench.scan()
    assert bench.setpoints_mA == [9000, 0]
    bench.states[1] = "C"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [9000, 12000]


def test_raise_delay_does_not_run_after_a_cut_that_makes_room_for_a_car() -> None:
    main = circuit("main", 20000, is_dynamic=True, meter=0, background_mA=10000)
    rows = [charger("a", max_mA=20000), charger("b", max_mA=20000)]
    tables = site([main], rows, [meter("g")], **{**SLOW, "raise_delay_ns": 600 * NS_PER_S})
    bench = Bench(tables)
    bench.states[1] = "A"
    bench.settle_in(0, 20)
    bench.states[1] = "C"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [10000, 10000]


def test_stagger_gives_each_charger_its_own_offset() -> None:
    rows = [charger(f"x{i}", rated_mA=16000) for i in range(4)]
    tables = site([circuit("main", 100000)], rows, **{**SLOW, "stagger_ns": 20 * NS_PER_S})
    bench = Bench(tables)
    bench.scan(2)  # in the first one the first setpoints are written
    assert bench.charger(0)["reason"] != Reason.WAITS_FOR_TURN
    assert [bench.charger(i)["reason"] for i in range(1, 4)] == [Reason.WAITS_FOR_TURN] * 3
    bench.run(10)
    assert bench.charger(2)["reason"] != Reason.WAITS_FOR_TURN
    assert bench.charger(3)["reason"] == Reason.WAITS_FOR_TURN


def test_stagger_runs_again_after_failsafe() -> None:
    rows = [charger(f"x{i}", rated_mA=16000) for i in range(4)]
    tables = site([circuit("main", 100000)], rows, **{**SLOW, "stagger_ns": 20 * NS_PER_S})
    bench = Bench(tables)
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [16000] * 4
    bench.core.set_mode(FAILSAFE)
    bench.scan()
    assert bench.setpoints_mA == [6000] * 4
    bench.core.set_mode(RUN)
    bench.settle_in(0, 11)
    assert bench.setpoints_mA == [16000, 16000, 16000, 6000]
    bench.run(5)
    assert bench.setpoints_mA == [16000] * 4


def test_charger_that_was_silent_waits_for_its_turn() -> None:
    tables = one(stagger_ns=20 * NS_PER_S)
    bench = started(tables)
    bench.settle_in(0, 5)
    bench.core.charger_answered(0, 2, bench.now_ns)
    bench.scan()
    bench.core.probe_done(0, 1, bench.now_ns)
    bench.settle_in(0, 19)
    assert bench.setpoints_mA == [6000]
    bench.settle_in(0, 10)
    assert bench.setpoints_mA == [32000]
