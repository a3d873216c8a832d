"""Estimate: background as an interval, held peaks, sub-meters, export, meters that fail."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_bench import MS, Bench
from tests.support.core_sites import (
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NS_PER_S,
    attached,
    charger,
    circuit,
    meter,
    site,
)

STATIC, METER, STALE, HELD, WAITING = range(5)


def one_car(lag_ns: int = 0, **changes: Any) -> Tables:
    main = circuit("main", 63000, is_dynamic=True, meter=0, background_mA=20000, **changes)
    return site([main], [charger("a")], [meter("grid", lag_ns)])


def bench_at_16_A(tables: Tables) -> Bench:
    bench = Bench(tables)
    bench.settle_in(4000, 120)
    assert bench.setpoints_mA == [16000]
    return bench


def test_background_with_samples_around_the_meter_is_exact() -> None:
    bench = bench_at_16_A(one_car())
    bench.draws_mA, bench.loads_mA = [9000], [13000]
    bench.scan(2)
    assert bench.circuit(0)["background_low_mA"] == [4000] * 3
    assert bench.circuit(0)["background_rigorous_mA"] == [4000] * 3


def test_background_with_stale_samples_reaches_from_reserve_to_nothing() -> None:
    bench = bench_at_16_A(one_car())
    bench.are_read, bench.are_looked_at = set(), False
    bench.scan()
    assert bench.circuit(0)["background_low_mA"] == [4000] * 3
    assert bench.circuit(0)["background_rigorous_mA"] == [20000] * 3
    bench.loads_mA = [13000]
    bench.scan()
    assert bench.circuit(0)["background_low_mA"] == [0] * 3
    assert bench.circuit(0)["background_rigorous_mA"] == [13000] * 3


def test_background_rigorous_takes_the_lower_of_the_samples_around_the_meter() -> None:
    bench = bench_at_16_A(one_car())
    bench.draws_mA = [10000]
    bench.scan()
    assert bench.circuit(0)["background_rigorous_mA"] == [10000] * 3
    assert bench.circuit(0)["background_low_mA"] == [4000] * 3


def test_background_rigorous_looks_back_over_the_meters_lag() -> None:
    """The meter's value may be a second old: a draw that fell within that second counts as low."""
    bench = bench_at_16_A(one_car(lag_ns=NS_PER_S))
    bench.draws_mA = [6000]
    bench.scan()
    bench.draws_mA = [16000]
    bench.scan(2)
    assert bench.circuit(0)["background_rigorous_mA"] == [14000] * 3
    bench.scan(2)
    assert bench.circuit(0)["background_rigorous_mA"] == [4000] * 3


def test_background_peak_is_held_for_the_hold_time_and_then_let_go() -> None:
    bench = bench_at_16_A(one_car())
    bench.loads_mA = [16000 + 9000]
    bench.scan()
    bench.loads_mA = [16000 + 4000]
    bench.run(10)
    assert bench.circuit(0)["background_mA"] == [9000] * 3
    assert bench.circuit(0)["headroom_mA"] == [54000] * 3
    bench.run(3)
    assert bench.circuit(0)["background_mA"] == [4000] * 3


def test_background_is_never_below_zero_without_export() -> None:
    bench = bench_at_16_A(one_car())
    bench.loads_mA = [10000]
    bench.scan()
    assert bench.circuit(0)["background_low_mA"] == [0] * 3


def export_core(**changes: Any) -> Core:
    tables = site(
        [circuit("main", 32000, is_dynamic=True, meter=0, background_mA=20000, **changes)],
        [charger("a", max_mA=63000)],
        [meter("grid")],
    )
    core = attached(tables)
    core.meter_read(0, GOOD, (5000, 5000, 5000), (-1150, 1150, 1150), None, NS_PER_S)
    assert core.step(NS_PER_S + 1) == 0
    return core


def test_export_without_permission_counts_as_load() -> None:
    assert export_core().circuit(0)["background_mA"] == [5000, 5000, 5000]


def test_export_with_signed_power_and_permission_counts_as_negative_load() -> None:
    assert export_core(counts_export=True).circuit(0)["background_mA"] == [-5000, 5000, 5000]


def test_export_without_signed_power_counts_as_load_even_where_allowed() -> None:
    core = attached(one_car(counts_export=True))
    core.meter_read(0, GOOD, (5000, 5000, 5000), None, None, NS_PER_S)
    assert core.step(NS_PER_S + 1) == 0
    assert core.circuit(0)["background_mA"] == [5000] * 3


def test_static_circuit_keeps_its_declared_background_whatever_its_meter_reads() -> None:
    main = circuit("main", 63000, meter=0, background_mA=20000)
    bench = Bench(site([main], [charger("a")], [meter("grid")]))
    bench.loads_mA = [1000]
    bench.scan()
    row = bench.circuit(0)
    assert (row["source"], row["background_mA"]) == (STATIC, [20000] * 3)
    assert row["background_low_mA"] == [20000] * 3


@pytest.mark.parametrize("code", [NO_ANSWER, IMPLAUSIBLE])
def test_meter_that_fails_holds_then_turns_stale_then_comes_back(code: int) -> None:
    bench = bench_at_16_A(one_car())
    bench.loads_mA = [None]
    bench.core.meter_read(0, code, None, None, None, bench.now_ns)
    bench.scan()
    row = bench.circuit(0)
    assert (row["source"], row["may_raise"], row["background_mA"]) == (HELD, 0, [4000] * 3)
    bench.run(3)
    row = bench.circuit(0)
    assert (row["source"], row["may_raise"], row["background_mA"]) == (STALE, 1, [20000] * 3)
    bench.loads_mA = [20000]
    bench.scan()
    row = bench.circuit(0)
    assert (row["source"], row["may_raise"], row["background_mA"]) == (METER, 1, [4000] * 3)


def test_meter_never_read_gives_nothing_until_it_is_stale() -> None:
    bench = Bench(one_car())
    bench.loads_mA = [None]
    bench.scan()
    row = bench.circuit(0)
    assert (row["source"], row["may_raise"]) == (WAITING, 0)
    bench.run(2)
    assert bench.setpoints_mA == [0]
    bench.run(20)
    assert bench.circuit(0)["source"] == STALE
    assert bench.setpoints_mA == [6000]


def test_meter_good_without_a_value_counts_as_implausible() -> None:
    core = attached(one_car())
    core.meter_read(0, GOOD, None, None, None, NS_PER_S)
    assert core.meter(0)["code"] == IMPLAUSIBLE
    assert core.meter(0)["has_value"] == 0


def test_meter_value_of_the_scan_before_is_not_fresh() -> None:
    bench = bench_at_16_A(one_car())
    bench.read()
    assert bench.core.step(bench.now_ns + 50 * MS) == 0
    assert bench.core.step(bench.now_ns + 60 * MS) == 0
    assert bench.circuit(0)["source"] == HELD


def two_levels(lag_sub_ns: int = 0, declared_mA: int = 5000, **changes: Any) -> Tables:
    return site(
        [
            circuit("main", 63000, is_dynamic=True, meter=0, background_mA=30000),
            circuit("sub", 40000, 0, is_dynamic=True, meter=1, background_mA=declared_mA),
        ],
        [charger("a", 1, has_measured_current=False, **changes)],
        [meter("grid"), meter("sub", lag_sub_ns)],
    )


def test_sub_meter_bounds_the_draw_of_unmeasured_chargers_below_it() -> None:
    """Main reads 25 A, sub 10 A of which it declares 5: the car draws 5 to 10 A, not 0 to 16."""
    bench = Bench(two_levels())
    bench.loads_mA = [25000, 10000]
    bench.scan(3)
    row = bench.circuit(0)
    assert row["background_low_mA"] == [15000] * 3
    assert row["background_rigorous_mA"] == [20000] * 3


def test_sub_meter_slower_than_the_one_above_bounds_nothing_from_above() -> None:
    bench = Bench(two_levels(lag_sub_ns=NS_PER_S))
    bench.loads_mA = [25000, 10000]
    bench.scan(3)
    assert bench.circuit(0)["background_low_mA"] == [25000 - 16000] * 3


def test_sub_meter_that_jumped_bounds_by_its_lower_and_higher_value() -> None:
    bench = Bench(two_levels())
    bench.loads_mA = [25000, 16000]
    bench.scan(3)
    bench.loads_mA = [25000, 6000]
    bench.scan()
    row = bench.circuit(0)
    assert row["background_low_mA"] == [9000] * 3
    assert row["background_rigorous_mA"] == [24000] * 3


def test_sub_meter_not_read_in_this_scan_bounds_nothing() -> None:
    bench = Bench(two_levels())
    bench.loads_mA = [25000, 16000]
    bench.scan(3)
    bench.loads_mA = [25000, None]
    bench.scan()
    assert bench.circuit(0)["background_rigorous_mA"] == [25000] * 3


def test_single_phase_draw_counts_on_its_grid_phase() -> None:
    main = circuit("main", 63000, is_dynamic=True, meter=0, background_mA=20000)
    core = attached(site([main], [charger("a", phases=(2,))], [meter("grid")]))
    core.meter_read(0, GOOD, (9000, 9000, 19000), None, None, NS_PER_S)
    core.charger_status(0, GOOD, "C", (10000, 0, 0), None, NS_PER_S)
    core.settle([True])
    assert core.circuit(0)["background_mA"] == [9000, 9000, 9000]


def test_rotated_draw_counts_by_the_phase_map() -> None:
    main = circuit("main", 63000, is_dynamic=True, meter=0, background_mA=20000)
    core = attached(site([main], [charger("a", phases=(1, 2, 0))], [meter("grid")]))
    core.charger_status(0, GOOD, "C", (1000, 2000, 3000), None, NS_PER_S)
    assert core.charger(0)["draw_mA"] == [3000, 1000, 2000]
