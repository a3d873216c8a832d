"""The last word on gives: reserves, rigorous background, looks, and meters that were not read."""

from __future__ import annotations

from typing import Any

from loadctl.law.reason import Reason

from loadctl.tables import Tables
from tests.support.core_bench import MS, Bench
from tests.support.core_sites import (
    FAILSAFE,
    GOOD,
    NO_ANSWER,
    NS_PER_S,
    START,
    STOP,
    charger,
    circuit,
    meter,
    site,
)

QUICK = {
    "soft_start_ns": 0,
    "raise_every_ns": 0,
    "raise_delay_ns": 0,
    "stagger_ns": 0,
    "ramp_mA_per_s": 1_000_000,
    "peak_hold_ns": NS_PER_S,
}


def garage(limit_mA: int, n: int = 2, main: dict[str, Any] | None = None, **row: Any) -> Tables:
    changes = {"is_dynamic": True, "meter": 0, "background_mA": limit_mA // 2, **(main or {})}
    rows = [charger(f"x{i}", **row) for i in range(n)]
    return site([circuit("main", limit_mA, **changes)], rows, [meter("grid")], **QUICK)


def test_give_is_trimmed_to_what_another_has_not_proven_to_have_left() -> None:
    bench = Bench(garage(24000))
    bench.states[1] = "A"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [16000, 0]
    bench.states[1] = "C"
    first = bench.scan()
    assert (first.takes, first.gives) == ({0: 12000}, {1: 6000})
    bench.scan(10)
    assert bench.setpoints_mA == [12000, 8000]
    assert [bench.charger(i)["reserve_mA"] for i in range(2)] == [16000, 8000]
    assert bench.charger(1)["reason"] == Reason.WAITS_FOR_PROOF


def test_give_below_the_minimum_is_dropped() -> None:
    bench = Bench(garage(21000))
    bench.states[1] = "A"
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [16000, 0]
    bench.states[1] = "C"
    bench.scan(3)
    assert bench.setpoints_mA == [10500, 0]
    assert bench.charger(1)["reason"] == Reason.WAITS_FOR_PROOF


def test_gives_of_one_scan_do_not_share_the_same_room() -> None:
    """c may still draw 16 A of 24: of two starts at 6 A only the first fits."""
    bench = Bench(garage(24000, 3))
    bench.states = ["A", "A", "C"]
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [0, 0, 16000]
    bench.states = ["C", "C", "C"]
    scan = bench.scan()
    assert (scan.takes, scan.gives) == ({2: 8000}, {0: 6000})


def test_give_keeps_to_the_limit_less_the_margin() -> None:
    bench = Bench(garage(14000, 1, {"margin_mA": 1000}))
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [13000]


def test_give_keeps_to_the_power_limit() -> None:
    bench = Bench(garage(63000, 1, {"limit_W": 6900, "background_mA": 0}))
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [10000]


def test_give_keeps_to_the_unbalance_of_reserves() -> None:
    """Two on one phase and 20 A: what the first has not proven lower the second cannot have."""
    tables = garage(63000, 2, {"unbalance_mA": 20000}, phases=(0,))
    bench = Bench(tables)
    bench.states[1] = "A"
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [16000, 0]
    bench.states[1] = "C"
    bench.scan(3)
    assert bench.setpoints_mA == [10000, 0]
    bench.settle_in(0, 30)
    assert bench.setpoints_mA == [10000, 10000]


def test_no_give_under_a_meter_that_was_not_read_in_this_scan() -> None:
    bench = Bench(garage(40000, 1))
    while not bench.setpoints_mA[0]:
        bench.scan()
    bench.loads_mA = [None]
    assert bench.scan(3).gives == {}
    assert (bench.setpoints_mA, bench.charger(0)["reason"]) == ([6000], Reason.WAITS_FOR_METER)
    bench.loads_mA = [0]
    assert bench.scan().gives == {0: 16000}


def test_no_give_below_a_sub_circuit_whose_meter_was_not_read() -> None:
    circuits = [
        circuit("main", 63000, is_dynamic=True, meter=0, background_mA=30000),
        circuit("sub", 32000, 0, is_dynamic=True, meter=1, background_mA=5000),
    ]
    tables = site(circuits, [charger("a", 1), charger("b", 0)], [meter("g"), meter("s")], **QUICK)
    bench = Bench(tables)
    bench.loads_mA = [0, None]
    bench.scan(5)
    assert bench.setpoints_mA == [0, 16000]
    assert bench.charger(0)["reason"] == Reason.WAITS_FOR_METER
    assert bench.charger(0)["binding_circuit"] == 1


def test_give_after_a_lost_take_is_dropped_in_the_same_scan() -> None:
    """The step wants a lower and b higher; the take of a is lost, so b must wait."""
    bench = Bench(garage(24000))
    bench.states[1] = "A"
    bench.settle_in(0, 30)
    bench.states[1] = "C"
    bench.read()
    assert bench.core.step(bench.now_ns + 50 * MS) == 0
    assert bench.core.takes() == [(0, 12000)]
    bench.core.take_done(0, NO_ANSWER, bench.now_ns + 60 * MS)
    assert bench.core.confirm(bench.now_ns + 80 * MS) == 0
    assert bench.core.gives() == []


def test_gives_are_none_before_confirm() -> None:
    bench = Bench(garage(63000))
    bench.scan(36)
    bench.loads_mA = [0]
    bench.read()
    assert bench.core.step(bench.now_ns) == 0
    assert bench.core.gives() == []


def test_gives_are_none_outside_run() -> None:
    for mode in (START, FAILSAFE, STOP):
        bench = Bench(garage(63000), mode=mode)
        for _ in range(80):
            assert bench.scan().gives == {}
        assert bench.charger(0)["reason"] == Reason.CONTROLLER_MODE


def test_looks_name_the_stale_chargers_that_stand_in_the_way_of_a_give() -> None:
    """b draws 10 A of 26 A; unless that is seen now it is background and reserve both."""
    bench = Bench(garage(26000))
    bench.states[0] = "A"
    bench.settle_in(0, 60)
    assert bench.setpoints_mA == [0, 16000]
    bench.draws_mA = [0, 10000]
    bench.loads_mA = [10000]
    bench.scan(2)
    bench.states[0] = "C"
    bench.are_read = {0}
    scan = bench.scan()
    assert scan.looks == [1]
    assert scan.gives == {0: 6000}


def test_looks_without_being_read_leave_the_give_out() -> None:
    bench = Bench(garage(26000))
    bench.states[0] = "A"
    bench.settle_in(0, 60)
    bench.draws_mA = [0, 10000]
    bench.loads_mA = [10000]
    bench.scan(2)
    bench.states[0] = "C"
    bench.are_read, bench.are_looked_at = {0}, False
    scan = bench.scan()
    assert scan.looks == [1]
    assert scan.gives == {}


def test_looks_are_none_when_every_give_fits_anyway() -> None:
    bench = Bench(garage(63000))
    bench.states[0] = "A"
    bench.settle_in(0, 60)
    bench.states[0] = "C"
    bench.are_read = {0}
    assert bench.scan().looks == []


def test_looks_after_a_meter_above_its_limit_name_those_below() -> None:
    bench = Bench(garage(63000, 3))
    bench.settle_in(0, 60)
    bench.are_read = {1}
    bench.loads_mA = [70000]
    assert bench.scan().looks == [0, 2]


def test_binding_names_the_circuit_and_phase_that_is_full() -> None:
    circuits = [circuit("main", 63000), circuit("sub", (32000, 10000, 32000), 0)]
    bench = Bench(site(circuits, [charger("a", 1)], **QUICK))
    bench.run(60)
    row = bench.charger(0)
    assert (row["reason"], row["has_binding"]) == (Reason.FULL, 1)
    assert (row["binding_circuit"], row["binding_kind"]) == (1, 1)


def test_reserves_and_backgrounds_for_the_gate_are_those_of_the_judgement() -> None:
    bench = Bench(garage(63000))
    bench.settle_in(4000, 60)
    assert bench.core.reserves_mA() == [16000, 16000]
    assert bench.core.backgrounds_high_mA() == [(4000, 4000, 4000)]


def test_charger_neither_armed_nor_answering_is_never_given_anything() -> None:
    bench = Bench(garage(200000), setpoint_mA=None)
    bench.core.charger_armed(1, True, 0)
    bench.run(60)
    assert bench.setpoints_mA == [0, 16000]
    assert bench.charger(0)["reason"] == Reason.NOT_ARMED


def test_charger_whose_state_was_never_read_keeps_the_lower_of_setpoint_and_failsafe() -> None:
    bench = Bench(garage(63000), setpoint_mA=16000)
    bench.are_read, bench.are_looked_at = set(), False
    bench.run(30)
    assert bench.setpoints_mA == [6000, 6000]
    assert bench.charger(0)["reason"] == Reason.STATUS_UNKNOWN


def test_isolated_charger_is_never_ordered_anything() -> None:
    tables = site([circuit("main", 63000)], [charger("a", is_isolated=True)], **QUICK)
    bench = Bench(tables)
    bench.core.charger_status(0, GOOD, "C", (0, 0, 0), None, bench.now_ns)
    for _ in range(20):
        scan = bench.scan()
        assert (scan.takes, scan.gives) == ({}, {})
    assert bench.core.reserves_mA() == [0]
