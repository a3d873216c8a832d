"""Limits at their edges: what of a limit is left for whom, and when a meter above it cuts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import (
    FAILSAFE,
    NS_PER_S,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

FINE = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def metered(
    load_mA: Any, main: dict[str, Any] | None = None, n: int = 1, lag_ns: int = 0, **row: Any
) -> Still:
    """Chargers under 50 A; a takes 4 A of its 10 A, sampled a second ago."""
    values = {"is_dynamic": True, "meter": 0, "background_mA": 50_000, **(main or {})}
    rows = [charger(f"x{i}", **{**FINE, **row}) for i in range(n)]
    held = Still(site([circuit("main", 50_000, **values)], rows, [meter("m", lag_ns)]))
    a = held.set(0, 10_000, 4000)
    a.sample_at_ns[0] = NOW_ns - NS_PER_S
    held.read(0, load_mA)
    return held


@pytest.mark.parametrize(
    ("load_mA", "main", "share_mA", "is_above"),
    [
        (50_000, {}, 10_000, 0),
        # What the meter reads too much is taken from what is drawn, not from what is set.
        (50_001, {}, 3999, 1),
        (51_000, {}, 3000, 1),
        # Down to the margin.
        (50_000, {"margin_mA": 500}, 9500, 0),
        (51_000, {"margin_mA": 500}, 2500, 1),
    ],
)
def test_meter_above_its_limit_cuts_from_what_is_drawn(
    load_mA: int, main: dict[str, Any], share_mA: int, is_above: int
) -> None:
    held = metered(load_mA, main)
    held.step()
    assert held.chargers[0].share_low_mA == share_mA
    assert list(held.circuits[0].is_above) == [is_above] * 3
    assert list(held.circuits[0].is_overloaded) == [is_above or share_mA < 10_000] * 3


@pytest.mark.parametrize(
    ("age_ns", "state", "share_mA"),
    [
        (3 * NS_PER_S, {}, 3000),
        (3 * NS_PER_S + 1, {}, 9000),  # too old to say what is drawn: all that is set
        (NS_PER_S, {"n_samples": 0}, 9000),
        (NS_PER_S, {"setpoint_mA": 3000, "ceiling_mA": 3000}, 2000),
    ],
)
def test_draw_that_counts_is_recent_and_within_the_setpoint(
    age_ns: int, state: dict[str, Any], share_mA: int
) -> None:
    held = metered(51_000)
    row = held.chargers[0]
    row.sample_at_ns[0] = NOW_ns - age_ns
    row.on_since_ns = LONG_AGO_ns
    set_fields(row, **state)
    held.step()
    assert row.share_low_mA == share_mA


@pytest.mark.parametrize("p", range(3))
def test_phase_above_its_limit_is_cut_and_waits_alone(p: int) -> None:
    loads_mA = tuple(51_000 if q == p else 20_000 for q in range(3))
    for phases, share_mA in (((p,), 3000), (((p + 1) % 3,), 16_000)):
        held = metered(loads_mA, phases=phases)
        held.step()
        main = held.circuits[0]
        is_used = phases == (p,)
        assert held.chargers[0].share_low_mA == share_mA
        assert list(main.is_above) == [is_used and q == p for q in range(3)]
        assert list(main.is_overloaded) == list(main.is_above)
        delay_ns = NOW_ns + 15 * NS_PER_S
        assert list(main.raise_after_ns) == [delay_ns * above for above in main.is_above]


@pytest.mark.parametrize(
    ("peak_hold_ns", "raise_delay_ns", "waits_ns"),
    [
        # Eight parts of a peak hold that seven of them last for.
        (7000, 0, 8 * 1001),
        (7000, 8009, 8009),
        (10 * NS_PER_S, 15 * NS_PER_S, 15 * NS_PER_S),
        (14 * NS_PER_S, 15 * NS_PER_S, 16 * NS_PER_S + 8),
    ],
)
def test_after_a_cut_raises_wait_until_no_peak_of_before_is_held(
    peak_hold_ns: int, raise_delay_ns: int, waits_ns: int
) -> None:
    main = circuit("main", 50_000, is_dynamic=True, meter=0, background_mA=50_000)
    times_ns = {"peak_hold_ns": peak_hold_ns, "raise_delay_ns": raise_delay_ns}
    held = Still(site([main], [charger("a", **FINE)], [meter("m")], **times_ns))
    held.set(0, 10_000)
    held.read(0, 51_000)
    held.step()
    assert list(held.circuits[0].raise_after_ns) == [NOW_ns + waits_ns] * 3


@pytest.mark.parametrize(
    ("loads_mA", "share_mA", "is_above"),
    [
        # 20.7 kW are 90 A over the phases; 12 A of them are drawn.
        ((30_000, 30_000, 30_000), 10_000, 0),
        ((40_000, 25_000, 25_000), 10_000, 0),
        ((40_000, 25_000, 25_003), 3999, 1),
        ((25_000, 40_003, 25_000), 3999, 1),
        ((25_003, 25_000, 40_000), 3999, 1),
    ],
)
def test_power_above_its_limit(
    loads_mA: tuple[int, int, int], share_mA: int, is_above: int
) -> None:
    held = metered(loads_mA, {"limit_W": 20_700})
    held.step()
    assert held.chargers[0].share_low_mA == share_mA
    assert list(held.circuits[0].is_above) == [is_above] * 3
    assert [ns > 0 for ns in held.circuits[0].raise_after_ns] == [is_above] * 3


@pytest.mark.parametrize("draws_mA", [(4000, 2000, 1000), (1000, 4000, 2000), (2000, 1000, 4000)])
def test_power_above_its_limit_is_cut_from_the_draws_of_all_phases(
    draws_mA: tuple[int, int, int],
) -> None:
    """7 A over the phases are drawn, 3 A too much: 4 A are left for three phases."""
    held = metered(31_000, {"limit_W": 20_700})
    row = held.chargers[0]
    row.draw_mA[:] = draws_mA
    row.sample_mA[:3] = draws_mA
    held.step()
    assert row.share_low_mA == 1333


# What is still to follow: b was told 6 A of 16 A a second ago.
LATE = {
    "ceiling_mA": 16_000,
    "is_unproven": True,
    "n_samples": 0,
    "acknowledged_at_ns": NOW_ns - NS_PER_S,
}


def is_above(load_mA: int, lag_ns: int = 0, samples: Any = (), **state: Any) -> list[int]:
    held = metered(load_mA, n=2, lag_ns=lag_ns)
    row = held.set(1, 6000)
    set_fields(row, **{**LATE, **state})
    if samples:
        row.sample_i, row.n_samples = 0, len(samples)
    for k, (at_ns, draws_mA) in enumerate(samples):
        slot = -k % 8
        row.sample_at_ns[slot] = at_ns
        row.sample_mA[3 * slot : 3 * slot + 3] = draws_mA
        if k == 0:
            row.draw_mA[:] = draws_mA
    held.step()
    return list(held.circuits[0].is_above)


@pytest.mark.parametrize(
    ("state", "late_mA"),
    [
        ({}, 10_000),
        ({"is_unproven": False, "ceiling_mA": 6000}, 0),
        ({"is_acknowledged": False}, 0),
        ({"is_overdue": True}, 0),
        ({"acknowledged_at_ns": NOW_ns - 11 * NS_PER_S + 1}, 10_000),
        ({"acknowledged_at_ns": NOW_ns - 11 * NS_PER_S}, 0),
    ],
)
def test_take_that_may_still_be_followed_explains_a_reading(
    state: dict[str, Any], late_mA: int
) -> None:
    assert is_above(50_000 + late_mA, **state) == [0, 0, 0]
    assert is_above(50_001 + late_mA, **state) == [1, 1, 1]


ACK_ns = NOW_ns - NS_PER_S


@pytest.mark.parametrize(
    ("lag_ns", "samples", "late_mA"),
    [
        # Seen above: by how much.
        (0, [(ACK_ns, (9000, 9000, 9000))], (3000, 3000, 3000)),
        (0, [(ACK_ns, (6001, 9000, 6000))], (1, 3000, 10_000)),
        # Seen at or below since: it has followed.
        (0, [(ACK_ns + 1, (6000, 5000, 0))], (0, 0, 0)),
        (0, [(ACK_ns, (6000, 5000, 0))], (10_000, 10_000, 10_000)),
        # ... unless it is above on another phase, beyond the tolerance.
        (0, [(ACK_ns + 1, (6600, 5000, 0))], (600, 0, 0)),
        (0, [(ACK_ns + 1, (6601, 5000, 0))], (601, 10_000, 10_000)),
        # The meter may be late by its lag and two exchanges of 100 ms: the highest of that time.
        (0, [(NOW_ns, (0,) * 3), (NOW_ns - 200_000_000, (7000,) * 3), (ACK_ns, (9000,) * 3)],
         (1000, 1000, 1000)),
        (0, [(NOW_ns, (0,) * 3), (NOW_ns - 199_999_999, (7000,) * 3), (ACK_ns, (9000,) * 3)],
         (3000, 3000, 3000)),
        (100_000_000,
         [(NOW_ns, (0,) * 3), (NOW_ns - 300_000_000, (7000,) * 3), (ACK_ns, (9000,) * 3)],
         (1000, 1000, 1000)),
        (100_000_000,
         [(NOW_ns, (0,) * 3), (NOW_ns - 299_999_999, (7000,) * 3), (ACK_ns, (9000,) * 3)],
         (3000, 3000, 3000)),
    ],
)  # fmt: skip
def test_what_a_sample_says_of_a_take_that_is_followed(
    lag_ns: int, samples: Any, late_mA: tuple[int, int, int]
) -> None:
    loads_mA = tuple(50_000 + mA for mA in late_mA)
    assert is_above(loads_mA, lag_ns, samples) == [0, 0, 0]
    assert is_above(tuple(mA + 1 for mA in loads_mA), lag_ns, samples) == [1, 1, 1]


@pytest.mark.parametrize("p", range(3))
def test_what_one_that_came_down_drew_a_moment_before_explains_a_reading(p: int) -> None:
    """Proven, and at its setpoint on every phase by now; the meter may show what was before."""
    proven = {"is_unproven": False, "ceiling_mA": 6000}
    before_mA = tuple(16_000 if q == p else 6000 for q in range(3))
    samples = [
        (NOW_ns, (6000,) * 3), (NOW_ns - 150_000_000, before_mA), (ACK_ns, (6000,) * 3)
    ]  # fmt: skip
    late_mA = tuple(10_000 * (q == p) for q in range(3))
    loads_mA = tuple(50_000 + mA for mA in late_mA)
    assert is_above(loads_mA, 0, samples, **proven) == [0, 0, 0]
    assert is_above(tuple(mA + 1 for mA in loads_mA), 0, samples, **proven) == [1, 1, 1]
    still_mA = [(NOW_ns, before_mA), *samples[1:]]  # takes it still: nothing will go away
    assert is_above(loads_mA, 0, still_mA, **proven) == [q == p for q in range(3)]


def test_take_of_one_that_has_no_car_explains_a_reading_too() -> None:
    assert is_above(60_000, state=1) == [0, 0, 0]
    assert is_above(60_001, state=1) == [1, 1, 1]


@pytest.mark.parametrize("is_read", [True, False])
def test_only_a_meter_that_was_read_cuts(is_read: bool) -> None:
    held = metered(51_000)
    held.step()
    if is_read:
        held.read(0, 51_000)
    held.step()
    assert list(held.circuits[0].is_above) == [is_read] * 3


# Setpoints above a static limit.
@pytest.mark.parametrize(
    ("limit_mA", "changes", "is_overloaded"),
    [
        ((10_000, 10_000, 10_000), {}, [0, 0, 0]),
        ((10_000, 9999, 10_000), {}, [0, 1, 0]),
        ((10_000, 10_000, 9999), {}, [0, 0, 1]),
        ((90_000, 90_000, 90_000), {"limit_W": 6900}, [0, 0, 0]),
        ((90_000, 90_000, 90_000), {"limit_W": 6899}, [1, 1, 1]),
    ],
)
def test_setpoints_above_a_limit_let_raises_wait(
    limit_mA: tuple[int, int, int], changes: dict[str, Any], is_overloaded: list[int]
) -> None:
    held = Still(site([circuit("main", limit_mA, **changes)], [charger("a", **FINE)]))
    held.set(0, 10_000)
    held.step()
    main = held.circuits[0]
    assert list(main.is_overloaded) == is_overloaded
    assert list(main.is_above) == [0, 0, 0]
    assert [ns == NOW_ns + 15 * NS_PER_S for ns in main.raise_after_ns] == is_overloaded
    held.chargers[0].state = 1  # its car has left: its setpoint is no claim
    held.step(NOW_ns + 1)
    assert list(main.is_overloaded) == [0, 0, 0]


def test_limit_below_its_background_is_no_overload_while_nothing_is_set() -> None:
    held = Still(site([circuit("main", 5000, background_mA=9000)], [charger("a", **FINE)]))
    held.step()
    assert list(held.circuits[0].is_overloaded) == [0, 0, 0]
    held.set(0, 1000)
    held.step()
    assert list(held.circuits[0].is_overloaded) == [1, 1, 1]


def test_unbalance_cuts_and_lets_nothing_wait() -> None:
    main = circuit("main", 90_000, unbalance_mA=8000)
    held = Still(site([main], [charger("a", **FINE, phases=(0,))]))
    held.set(0, 10_000)
    held.step()
    assert held.chargers[0].share_low_mA == 8000
    assert list(held.circuits[0].is_overloaded) == [0, 0, 0]
    assert list(held.circuits[0].raise_after_ns) == [0, 0, 0]


# What cannot be given: b of 6 A, beside a that would take all of 30 A.
@pytest.mark.parametrize(
    ("state", "share_mA"),
    [
        ({}, 24_000),
        # One that cannot be commanded: all that is reserved.
        ({"state": 6, "ceiling_mA": 9000}, 21_000),
        ({"state": 6, "setpoint_mA": 0, "ceiling_mA": 0}, 30_000),
        ({"is_silent": True, "ceiling_mA": 9000}, 21_000),
        # One that did not follow keeps its minimum, and what it takes beyond.
        ({"is_overdue": True, "setpoint_mA": 7000, "ceiling_mA": 9000, "has_seen_above": True},
         21_000),
        # One that was not reached: beyond its setpoint.
        ({"is_acknowledged": False, "ceiling_mA": 9000}, 21_000),
        ({"is_acknowledged": False}, 24_000),
        # One that always takes a little more, while it takes anything.
        ({"over_mA": 500}, 23_500),
        ({"over_mA": 500, "setpoint_mA": 1, "ceiling_mA": 1}, 23_500),
        ({"over_mA": 500, "setpoint_mA": 0, "ceiling_mA": 0}, 24_000),
    ],
)  # fmt: skip
def test_what_of_a_limit_cannot_be_given(state: dict[str, Any], share_mA: int) -> None:
    rows = [
        charger("a", max_mA=32_000),
        charger("b", max_mA=6000, watchdog_ns=None, has_measured_current=False),
    ]
    held = Still(site([circuit("main", 30_000)], rows))
    held.set(0, 10_000)
    row = held.set(1, 6000)
    set_fields(row, acknowledged_at_ns=NOW_ns, is_unproven=True, **state)
    held.step()
    assert held.chargers[0].share_low_mA == share_mA
    assert held.chargers[0].share_high_mA == share_mA


def test_what_is_reserved_where_the_car_has_left_is_kept_from_raises_alone() -> None:
    rows = [charger("a", max_mA=32_000), charger("b", max_mA=6000)]
    held = Still(site([circuit("main", 30_000)], rows))
    held.set(0, 10_000)
    left = held.set(1, 6000)
    set_fields(left, acknowledged_at_ns=NOW_ns, is_unproven=True, state=1, ceiling_mA=9000)
    held.step()
    assert held.chargers[0].share_low_mA == 30_000
    assert held.chargers[0].share_high_mA == 21_000


@pytest.mark.parametrize(
    ("setpoint_mA", "failsafe_mA", "share_mA"), [(10_000, 8000, 8000), (7000, 8000, 7000)]
)
def test_outside_run_nobody_has_more_than_min_of_last_and_failsafe(
    setpoint_mA: int, failsafe_mA: int, share_mA: int
) -> None:
    """Whatever the limits: the proof has room for it."""
    row = charger("a", failsafe_mA=failsafe_mA)
    held = Still(site([circuit("main", 100)], [row]), mode=FAILSAFE)
    held.set(0, setpoint_mA)
    held.step()
    assert held.chargers[0].share_low_mA == share_mA
    assert held.chargers[0].share_high_mA == share_mA


def test_background_that_was_higher_leaves_those_who_charge_their_minima() -> None:
    """48 A a while ago and 20 A now: nobody is raised, nobody is paused."""
    held = metered(20_000, n=2, min_mA=6000)
    held.step()
    main = held.circuits[0]
    main.peak_mA[3 * main.peak_i : 3 * main.peak_i + 3] = [48_000] * 3
    held.set(0, 10_000)
    held.set(1, 10_000)
    held.read(0, 20_001)
    held.step()
    assert [row.share_high_mA for row in held.chargers] == [6000, 6000]
    assert [row.action for row in held.chargers] == [0, 0]


def test_what_one_cannot_be_given_is_taken_off_once() -> None:
    """a is silent at 16 A; b has no setpoint yet, and nothing of its own to take off."""
    held = Still(site([circuit("main", 30_000)], [charger("a"), charger("b")]))
    held.set(0, 16_000)
    held.chargers[0].is_silent = True
    held.set(1, 0)
    held.step()
    assert (held.chargers[1].is_admitted, held.chargers[1].share_high_mA) == (1, 14_000)


def test_raises_wait_below_a_meter_above_its_limit_also_when_nobody_charges() -> None:
    held = metered(51_000)
    held.set(0, 0)
    held.step()
    assert list(held.circuits[0].is_above) == [1] * 3
    assert list(held.circuits[0].raise_after_ns) == [NOW_ns + 15 * NS_PER_S] * 3
