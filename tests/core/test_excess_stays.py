"""An excess that stays: takes from cars that are not measured explain it once, and no longer."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_bench import Bench
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

FOLLOW_s = 11  # the box may hold a setpoint back for 5 s, the car takes 6 s
PERIODS_s = 1
LIMIT_mA = 63_000


def garage(n: int, **row: Any) -> Bench:
    main = circuit("main", LIMIT_mA, is_dynamic=True, meter=0, background_mA=LIMIT_mA)
    rows = [charger(f"x{i}", **{"has_measured_current": False, **row}) for i in range(n)]
    return Bench(site([main], rows, [meter("grid")]))


def go_on(bench: Bench, seconds: float, building_mA: int, most_mA: int = 6000) -> list[int]:
    """Cars take what they are offered at once, up to `most_mA`; what the meter reads, by scan."""
    loads_mA = []
    for _ in range(int(seconds * 2)):
        bench.draws_mA = [min(mA, most_mA) for mA in bench.setpoints_mA]
        bench.loads_mA = [building_mA + sum(bench.draws_mA)]
        loads_mA += bench.loads_mA
        bench.scan()
    return loads_mA


@pytest.mark.parametrize("n", [1, 2, 4])
def test_cars_that_take_less_than_they_are_told_are_found_out_within_two_follow_times(
    n: int,
) -> None:
    """They are told 9 A or more and take 6 A: a first cut is no relief, and is not waited for
    twice."""
    bench = garage(n)
    go_on(bench, 120, max(0, LIMIT_mA - 22_000 * n))
    assert min(bench.setpoints_mA) >= 9_000
    loads_mA = go_on(bench, 60, LIMIT_mA - 6_000 * n + 4_000)
    assert sum(mA > LIMIT_mA for mA in loads_mA) <= 2 * (FOLLOW_s + PERIODS_s)
    assert loads_mA[-1] <= LIMIT_mA


def test_cars_that_do_what_they_are_told_are_cut_once() -> None:
    bench = garage(1)
    go_on(bench, 60, LIMIT_mA - 32_000, 16_000)
    assert bench.setpoints_mA == [16_000]
    go_on(bench, 60, LIMIT_mA - 11_000, 16_000)
    assert bench.setpoints_mA == [11_000]


def test_building_that_rises_without_end_is_followed() -> None:
    """An amp more every ten seconds, and further cuts in between."""
    bench = garage(4)
    go_on(bench, 120, 0)
    assert min(bench.setpoints_mA) >= 9_000
    loads_mA = [max(go_on(bench, 10, 30_000 + 1_000 * k)) for k in range(30)]
    assert max(loads_mA) <= LIMIT_mA + 3_000


def held(setpoint_mA: int, ceiling_mA: int, excess_ns: int | None, **row: Any) -> Any:
    """What charger a is cut to where the meter reads 4 A more than the limit; told 3 s ago."""
    main = circuit("main", LIMIT_mA, is_dynamic=True, meter=0, background_mA=LIMIT_mA)
    values = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}
    rows = [charger("a", **{**values, "has_measured_current": False, **row})]
    still = Still(site([main], rows, [meter("m")]))
    a = still.set(0, setpoint_mA)
    a.n_samples = 0
    a.ceiling_mA, a.is_unproven = ceiling_mA, ceiling_mA > setpoint_mA
    a.acknowledged_at_ns = NOW_ns - 3 * NS_PER_S
    a.raise_after_ns = NOW_ns + 1
    if excess_ns is not None:
        still.circuits[0].has_excess[:] = [1] * 4
        still.circuits[0].excess_since_ns[:] = [NOW_ns - excess_ns] * 4
    still.read(0, LIMIT_mA + 4000)
    return still


FOLLOW_ns = FOLLOW_s * NS_PER_S


@pytest.mark.parametrize(
    ("setpoint_mA", "ceiling_mA", "excess_ns", "share_mA"),
    [
        # Not cut before: from its setpoint, until the excess has stayed; then from 6 A.
        (12_000, 12_000, None, 8000),
        (12_000, 12_000, FOLLOW_ns - 1, 8000),
        (12_000, 12_000, FOLLOW_ns, 2000),
        (5000, 5000, FOLLOW_ns, 1000),
        # Cut by 3 A: that much is explained, and nothing of it once the excess has stayed.
        (12_000, 15_000, None, 11_000),
        (12_000, 15_000, FOLLOW_ns - 1, 11_000),
        (12_000, 15_000, FOLLOW_ns, 2000),
        # ... but what it was cut by below 6 A.
        (5000, 15_000, FOLLOW_ns, 2000),
    ],
)
def test_what_a_car_that_is_not_measured_is_cut_from(
    setpoint_mA: int, ceiling_mA: int, excess_ns: int | None, share_mA: int
) -> None:
    still = held(setpoint_mA, ceiling_mA, excess_ns)
    still.step()
    assert still.chargers[0].share_low_mA == share_mA


@pytest.mark.parametrize(("state", "share_mA"), [(2, 0), (3, 2000)])
def test_box_that_is_not_switched_on_is_no_relief_once_the_excess_has_stayed(
    state: int, share_mA: int
) -> None:
    still = held(12_000, 12_000, FOLLOW_ns)
    still.chargers[0].state = state
    still.step()
    assert still.chargers[0].share_low_mA == share_mA


def test_excess_has_stayed_since_it_was_first_read_and_is_over_when_it_is_not() -> None:
    still = held(12_000, 12_000, None)
    still.step()
    main = still.circuits[0]
    assert (list(main.has_excess), list(main.excess_since_ns)[:3]) == ([1, 1, 1, 0], [NOW_ns] * 3)
    later_ns = NOW_ns + NS_PER_S
    still.read(0, LIMIT_mA + 1, later_ns)
    still.step(later_ns)
    assert list(main.excess_since_ns)[:3] == [NOW_ns] * 3
    still.step(later_ns + 1)  # not read: as it was
    assert list(main.has_excess) == [1, 1, 1, 0]
    still.read(0, LIMIT_mA, later_ns + 2)
    still.step(later_ns + 2)
    assert list(main.has_excess) == [0, 0, 0, 0]


@pytest.mark.parametrize(("state", "explains"), [(1, False), (2, False), (3, True)])
@pytest.mark.parametrize("is_silent", [False, True])
def test_box_that_was_switched_off_explains_nothing_of_an_excess_that_stayed(
    state: int, explains: bool, is_silent: bool
) -> None:
    """Told 1 A instead of 5 A a moment ago. Of one that is silent nobody knows whether it still is
    switched off."""
    still = held(1000, 5000, FOLLOW_ns)
    a = still.chargers[0]
    a.state, a.is_silent = state, is_silent
    still.step()
    assert list(still.circuits[0].is_above) == [not (explains or is_silent)] * 3


def test_sums_of_one_scan_are_not_those_of_the_next() -> None:
    still = held(12_000, 15_000, None)
    for _ in range(3):
        still.read(0, LIMIT_mA + 4000)
        still.step()
        assert still.chargers[0].share_low_mA == 11_000


def test_excess_of_every_circuit_is_noted_and_cut_to_its_margin() -> None:
    """Five circuits in a row; the meter is on the last one."""
    circuits = [circuit("c0", 500_000)] + [circuit(f"c{k}", 500_000, k - 1) for k in range(1, 4)]
    values = {"is_dynamic": True, "meter": 0, "background_mA": LIMIT_mA, "margin_mA": 500}
    circuits.append(circuit("c4", LIMIT_mA, 3, **values))
    fine = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}
    for has_stayed, share_mA in ((False, 7500), (True, 1500)):
        row = charger("a", 4, **fine, has_measured_current=False)
        still = Still(site(circuits, [row], [meter("m")]))
        a = still.set(0, 12_000)
        a.n_samples, a.raise_after_ns = 0, NOW_ns + 1
        if has_stayed:
            still.circuits[4].has_excess[:] = [1, 1, 1, 0]
            still.circuits[4].excess_since_ns[:] = [NOW_ns - FOLLOW_ns] * 4
        still.read(0, LIMIT_mA + 4000)
        still.step()
        assert list(still.circuits[4].has_excess) == [1, 1, 1, 0]
        assert a.share_low_mA == share_mA


def test_excess_of_power_that_stayed_is_cut_from_the_phase_that_is_used_without_a_margin() -> None:
    """20 A over the phases are allowed, 21 A are read; 6 A of them are taken to be drawn."""
    values = {"is_dynamic": True, "meter": 0, "background_mA": LIMIT_mA, "margin_mA": 500}
    main = circuit("main", LIMIT_mA, limit_W=20 * 230, **values)
    fine = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}
    row = charger("a", phases=(1,), **fine, has_measured_current=False)
    still = Still(site([main], [row], [meter("m")]))
    a = still.set(0, 10_000)
    a.n_samples, a.raise_after_ns = 0, NOW_ns + 1
    still.circuits[0].has_excess[:] = [1] * 4
    still.circuits[0].excess_since_ns[:] = [NOW_ns - FOLLOW_ns] * 4
    still.read(0, (5000, 11_000, 5000))
    still.step()
    assert a.share_low_mA == 5000


def test_power_above_its_limit_takes_nothing_from_limits_of_unbalance() -> None:
    """20 A over the phases are allowed, 21 A are read; both draw 8 A."""
    values = {"is_dynamic": True, "meter": 0, "background_mA": LIMIT_mA, "unbalance_mA": 10_000}
    main = circuit("main", LIMIT_mA, limit_W=20 * 230, **values)
    fine = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}
    rows = [charger("a", phases=(0,), **fine), charger("b", phases=(1,), **fine)]
    still = Still(site([main], rows, [meter("m")]))
    for i in range(2):
        row = still.set(i, 8000)
        row.raise_after_ns, row.sample_at_ns[row.sample_i] = NOW_ns + 1, NOW_ns
    still.read(0, (8000, 8000, 5000))
    still.step()
    assert [row.share_low_mA for row in still.chargers] == [7500, 7500]


ENWG14A = {"takes_external": True, "guaranteed_W": 4200, "loss_mA": (16_000,) * 3}


def test_only_phases_and_power_have_an_excess() -> None:
    """Limits of unbalance and of the chargers' power are of chargers alone."""
    main = circuit("main", LIMIT_mA, unbalance_mA=5000, **ENWG14A)
    still = Still(site([main], [charger("a", phases=(0,)), charger("b", phases=(1,))]))
    fields = still.circuits[0]
    fields.over_mA[:] = [5, 6, 7]
    still.step()
    assert (list(fields.has_excess), list(fields.over_mA)) == ([0] * 4, [5, 6, 7])


def test_excess_of_one_phase_says_nothing_of_the_others() -> None:
    still = held(12_000, 15_000, None)
    main = still.circuits[0]
    main.has_excess[1], main.excess_since_ns[1] = 1, NOW_ns - FOLLOW_ns
    still.read(0, (LIMIT_mA + 4000, LIMIT_mA, LIMIT_mA))
    still.step()
    assert still.chargers[0].share_low_mA == 11_000


def test_car_that_followed_once_and_takes_more_again_explains_nothing() -> None:
    """Proven at 8 A, then it is seen at 16 A: the other one makes room in the scan that sees it."""
    main = circuit("main", 32_000, is_dynamic=True, meter=0, background_mA=32_000)
    bench = Bench(site([main], [charger("a"), charger("b")], [meter("grid")]))
    bench.settle_in(16_000)
    assert bench.setpoints_mA == [8000, 8000]
    bench.draws_mA = [16_000, 8000]
    bench.loads_mA = [16_000 + 24_000]
    bench.scan(2)
    assert bench.charger(0)["is_doubted"] == 1
    assert bench.setpoints_mA[1] == 0
