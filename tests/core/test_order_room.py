"""Room for others: who comes down for a raise, who is left alone, and what is said meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason

from loadctl.tables import ChargerRow
from tests.support.core_sites import FAILSAFE, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

NONE, TAKE, GIVE = Action.ACTION_NONE, Action.ACTION_TAKE, Action.ACTION_GIVE


def wide(name: str, circuit_i: int = 0, **changes: Any) -> ChargerRow:
    return charger(name, circuit_i, **{"max_mA": 32_000, "rated_mA": 32_000, **changes})


def later(row: Any) -> Any:
    """Nothing is raised here now."""
    row.raise_after_ns = NOW_ns + 1
    return row


def hold_peak(row: Any, background_mA: int) -> None:
    """The circuit has just had this background, and has it no more."""
    row.n_peaks, row.peak_at_ns = 1, NOW_ns
    for p in range(3):
        row.peak_mA[p] = background_mA


def test_setpoints_of_those_that_cannot_be_told_cut_nobody_twice() -> None:
    """b is silent at 10 A, which are taken off already; a and c fit beside, and c lacks less than
    the deadband."""
    held = Still(site([circuit("main", 30_000)], [wide("a"), wide("b"), wide("c")]))
    later(held.set(0, 10_400))
    held.set(1, 10_000).is_silent = True
    later(held.set(2, 9600))
    held.step()
    row = held.chargers[0]
    assert (row.share_low_mA, row.action, row.action_mA) == (10_000, NONE, 10_400)


def crowd(
    limit_mA: int,
    b: dict[str, Any] | None = None,
    a_mA: int = 10_000,
    c_mA: int = 6000,
    more: Sequence[ChargerRow] = (),
) -> Still:
    """a is above its share because of a peak in its own circuit; c waits for more in main."""
    sub = {"parent": 0, "is_dynamic": True, "meter": 0}
    rows = [charger("a", 1, max_mA=max(10_000, a_mA)), charger("b"), charger("c"), *more]
    circuits = [circuit("main", limit_mA), circuit("sub", 32_000, **sub)]
    held = Still(site(circuits, rows, [meter("m")]))
    later(held.set(0, a_mA))
    held.read(0, a_mA)
    hold_peak(held.circuits[1], 24_000)
    later(held.set(1, 10_000))
    for name, value in (b or {}).items():
        setattr(held.chargers[1], name, value)
    later(held.set(2, c_mA))
    return held


def test_one_above_its_share_keeps_what_it_has_where_the_raise_just_fits_beside() -> None:
    """10 A of a, 16 A for c, beside 10 A that b cannot be told to leave."""
    held = crowd(36_000, {"is_silent": True})
    held.step()
    a, _, c = held.chargers
    assert (a.share_high_mA, c.share_high_mA) == (8000, 16_000)
    assert (a.action, a.action_mA) == (NONE, 10_000)


@pytest.mark.parametrize(
    ("a_mA", "c_mA", "is_cut", "left_mA"),
    [
        (10_000, 6000, False, 8000),
        # A cut settles: nothing for c that the end of the peak would give back, all for one that
        # starts.
        (10_000, 6000, True, 10_000),
        (10_000, 0, True, 8000),
        # By more than a crumb above its share without the peak too: down to that.
        (11_000, 6000, True, 11_000),
        (11_100, 6000, True, 10_000),
        (11_100, 6000, False, 8000),
    ],
)
def test_peak_takes_nothing_for_a_raise_while_a_cut_settles(
    a_mA: int, c_mA: int, is_cut: bool, left_mA: int
) -> None:
    """a has 8 A beside the peak in its own circuit, 10 A without; c waits for more in main, where b
    is above its share."""
    held = crowd(30_000, {"setpoint_mA": 12_000}, a_mA, c_mA)
    held.circuits[0].raise_after_ns[0] = NOW_ns if is_cut else 0
    held.step()
    a = held.chargers[0]
    assert (a.share_low_mA, a.share_high_mA) == (10_000, 8000)
    assert a.action_mA == left_mA
    assert (a.reason == Reason.MAKES_ROOM) == (left_mA < a_mA)


def test_room_for_a_start_is_made_for_starts_alone() -> None:
    """d, of a later tier, has its minimum and all that it can take: nobody starts."""
    held = crowd(36_000, {"setpoint_mA": 12_000}, more=[charger("d", priority=1, max_mA=6000)])
    later(held.set(3, 6000))
    held.circuits[0].raise_after_ns[0] = NOW_ns
    held.step()
    assert (held.chargers[0].share_high_mA, held.chargers[0].action_mA) == (8000, 10_000)


def test_share_that_a_peak_makes_larger_is_left_while_a_cut_settles() -> None:
    """Beside the peak in the circuit of the others a has a share of 14 A, without it of 10.5 A: it
    is raised to no more than that, yet not cut for c before the peak has ended."""
    for is_cut, left_mA in ((True, 14_000), (False, 10_500)):
        sub = {"parent": 0, "is_dynamic": True, "meter": 0}
        rows = [wide("a"), wide("b", 1), wide("c", 1, max_mA=9000)]
        held = Still(
            site([circuit("main", 30_000), circuit("sub", 60_000, **sub)], rows, [meter("m")])
        )
        later(held.set(0, 14_000))
        later(held.set(1, 10_000))
        later(held.set(2, 6000))
        held.read(0, 16_000)
        hold_peak(held.circuits[1], 44_000)
        held.circuits[0].raise_after_ns[0] = NOW_ns if is_cut else 0
        held.step()
        assert held.chargers[0].action_mA == left_mA


def test_room_is_made_by_those_alone_who_can_be_told() -> None:
    held = crowd(32_000, {"is_armed": False})
    held.step()
    row = held.chargers[1]
    assert held.chargers[0].reason == Reason.MAKES_ROOM
    assert (row.action, row.action_mA, row.grant_mA) == (NONE, 10_000, 10_000)
    assert row.reason == Reason.NOT_ARMED


def test_share_that_is_its_setpoint_is_explained_by_what_keeps_it_from_more() -> None:
    """b has to come down, a has all that it can take; what keeps a's share of the held background
    down is the limit."""
    main = circuit("main", 30_000, is_dynamic=True, meter=0)
    rows = [charger("a", max_mA=10_000), wide("b")]
    held = Still(site([main], rows, [meter("m")]))
    later(held.set(0, 10_000))
    later(held.set(1, 26_000))
    held.read(0, 36_000)
    hold_peak(held.circuits[0], 14_000)
    held.step()
    row = held.chargers[0]
    assert (row.share_low_mA, row.share_high_mA, row.action_mA) == (10_000, 8000, 10_000)
    assert (row.reason, row.binding_circuit, row.binding_kind) == (Reason.FULL, 0, 0)


def test_start_is_one_in_the_scan_that_orders_it() -> None:
    held = Still(site([circuit("main", 90_000)], [charger("a")]))
    row = held.set(0, 0)
    held.step()
    assert (row.action, row.is_start) == (GIVE, 1)
    held.core.confirm(NOW_ns)
    held.core.give_done(0, 1, NOW_ns)
    held.step(NOW_ns + 1)
    assert (row.action, row.is_start) == (NONE, 0)


@pytest.mark.parametrize("is_below", [False, True])
def test_one_above_its_share_makes_room_whatever_its_gap_was_before(is_below: bool) -> None:
    """b waits for 1 A more; c has its share, and what keeps it from more is the limit."""
    held = Still(site([circuit("main", 30_000)], [wide(name) for name in "abc"]))
    for i, setpoint_mA in enumerate((10_400, 9000, 10_000)):
        later(held.set(i, setpoint_mA))
    held.chargers[0].is_below = is_below
    held.step()
    a, b, c = held.chargers
    assert [row.share_high_mA for row in (a, b, c)] == [10_000] * 3
    assert (a.action, a.action_mA, a.reason) == (TAKE, 10_000, Reason.MAKES_ROOM)
    assert (c.action, c.reason) == (NONE, Reason.FULL)


# Outside RUN
def failsafe(row: dict[str, Any], setpoint_mA: int = 10_000, **state: Any) -> Any:
    held = Still(site([circuit("main", 90_000)], [charger("a", **row)]), mode=FAILSAFE)
    charger_row = held.set(0, setpoint_mA)
    for name, value in state.items():
        setattr(charger_row, name, value)
    held.step()
    return charger_row


@pytest.mark.parametrize("state", [{"state": 1}, {"state": 5}, {"has_status": False}, {}])
def test_outside_run_everyone_has_min_of_last_and_failsafe(state: dict[str, Any]) -> None:
    """The proof has room for that: whether a car is there, or what it asks for, changes nothing."""
    row = failsafe({"failsafe_mA": 8000}, **state)
    assert (row.action, row.action_mA, row.reason) == (TAKE, 8000, Reason.CONTROLLER_MODE)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"is_silent": True}, Reason.SILENT),
        ({"is_armed": False}, Reason.NOT_ARMED),
        ({"is_silent": True, "is_starving": True, "starve_until_ns": NOW_ns + 1}, Reason.STARVED),
    ],
)
def test_outside_run_it_is_still_said_who_cannot_be_told(
    state: dict[str, Any], reason: int
) -> None:
    assert failsafe({}, **state).reason == reason


def test_outside_run_one_that_keeps_its_setpoint_below_a_limit_that_is_passed_says_the_mode() -> (
    None
):
    """The meter is 1 A above the limit: b goes, and a keeps what it has."""
    main = circuit("main", 20_000, is_dynamic=True, meter=0)
    rows = [charger("a"), charger("b")]
    held = Still(site([main], rows, [meter("m")]), mode=FAILSAFE)
    for i in range(2):
        held.set(i, 6000)
    held.read(0, 21_000)
    held.step()
    assert list(held.circuits[0].is_above) == [1, 1, 1]
    a, b = held.chargers
    assert (a.action, a.action_mA, a.reason) == (NONE, 6000, Reason.CONTROLLER_MODE)
    assert (b.action, b.action_mA) == (TAKE, 0)


# Sums by circuit
def test_sums_of_a_circuit_are_of_this_call_alone() -> None:
    circuits = [circuit("main", 90_000), circuit("b", 90_000, 0), circuit("c", 90_000, 1)]
    held = Still(site(circuits, [charger(f"x{c}", c) for c in range(3)]))
    for i, setpoint_mA in enumerate((6000, 7000, 8000)):
        later(held.set(i, setpoint_mA))
    for _ in range(2):
        held.step()
        held.confirm()
        for row, sum_mA in zip(held.circuits, (21_000, 15_000, 8000), strict=True):
            assert list(row.granted_mA) == [sum_mA] * 3
            assert list(row.reserved_mA) == [sum_mA] * 3
