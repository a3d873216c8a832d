"""Orders at their edges: what each state of a charger makes of its setpoint, and why."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason

from tests.support.core_sites import (
    FAILSAFE,
    NS_PER_S,
    START,
    STOP,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.still import STATE_C, NOW_ns, Still

NONE, TAKE, GIVE, PROBE = (int(action) for action in Action)
STATE_A, STATE_B, STATE_D, STATE_E = 1, 2, 4, 5
DONE_PART = 4
LONGEST_HOLD_ns = 8 * (NS_PER_S + 1)  # of a hold time of 7 s


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def one(limit_mA: int = 100_000, mode: int = 1, **row: Any) -> Still:
    return Still(site([circuit("main", limit_mA)], [charger("a", **row)], raise_every_ns=1), mode)


def decided(held: Still, setpoint_mA: int = 10_000, **state: Any) -> tuple[int, int, int]:
    row = held.set(0, setpoint_mA)
    row.raise_after_ns = NOW_ns + 1  # nothing is raised here
    set_fields(row, **state)
    assert held.step() == 0
    assert row.grant_mA == row.action_mA
    return row.action, row.action_mA, row.reason


@pytest.mark.parametrize(
    ("row", "state", "expected"),
    [
        ({}, {}, (NONE, 10_000, Reason.WAITS_FOR_TURN)),
        # Those that cannot be commanded keep what they have.
        ({"is_isolated": True}, {}, (NONE, 10_000, Reason.ISOLATED)),
        ({}, {"is_starving": True, "is_silent": True, "starve_until_ns": NOW_ns + 1},
         (NONE, 10_000, Reason.STARVED)),
        ({}, {"is_silent": True}, (PROBE, 6000, Reason.SILENT)),
        ({}, {"is_silent": True, "is_stubborn": True, "starve_until_ns": NOW_ns},
         (PROBE, 6000, Reason.DOES_NOT_FOLLOW)),
        ({}, {"is_armed": False}, (NONE, 10_000, Reason.NOT_ARMED)),
        # Its state was never read.
        ({}, {"has_status": False}, (TAKE, 6000, Reason.STATUS_UNKNOWN)),
        ({"failsafe_mA": 12_000}, {"has_status": False}, (NONE, 10_000, Reason.STATUS_UNKNOWN)),
        # No car, or none that asks.
        ({}, {"state": STATE_A}, (TAKE, 0, Reason.NO_CAR)),
        ({}, {"state": 0}, (TAKE, 0, Reason.NOT_READY)),
        ({}, {"state": STATE_E}, (TAKE, 0, Reason.NOT_READY)),
        ({}, {"state": STATE_D}, (NONE, 10_000, Reason.WAITS_FOR_TURN)),
        # It did not follow: its minimum at most.
        ({"watchdog_ns": None}, {"is_overdue": True, "is_unproven": True, "ceiling_mA": 12_000,
                                 "has_seen_above": True},
         (TAKE, 6000, Reason.DOES_NOT_FOLLOW)),
        ({"watchdog_ns": None}, {"is_overdue": True, "setpoint_mA": 6000, "is_unproven": True,
                                 "has_seen_above": True, "raise_after_ns": 0},
         (NONE, 6000, Reason.DOES_NOT_FOLLOW)),
        ({"watchdog_ns": None, "limit_mA": 6000},
         {"is_overdue": True, "setpoint_mA": 6000, "is_unproven": True, "has_seen_above": True},
         (NONE, 6000, Reason.DOES_NOT_FOLLOW)),
        # It was starved for that, and was not seen to obey since.
        ({}, {"is_stubborn": True, "starve_until_ns": NOW_ns},
         (NONE, 10_000, Reason.DOES_NOT_FOLLOW)),
        ({"max_mA": 10_000}, {"is_stubborn": True, "starve_until_ns": NOW_ns, "raise_after_ns": 0},
         (NONE, 10_000, Reason.DOES_NOT_FOLLOW)),
        ({}, {"is_stubborn": True, "starve_until_ns": NOW_ns, "raise_after_ns": 0},
         (GIVE, 16_000, Reason.DOES_NOT_FOLLOW)),
        # What became of the last write is not known: again.
        ({}, {"is_acknowledged": False}, (TAKE, 10_000, Reason.NOT_ACKNOWLEDGED)),
        ({}, {"is_acknowledged": False, "state": STATE_A}, (TAKE, 0, Reason.NOT_ACKNOWLEDGED)),
        # Below its minimum nothing can be left.
        ({}, {"setpoint_mA": 5900, "ceiling_mA": 5900}, (TAKE, 0, Reason.OWN_MAXIMUM)),
        ({}, {"setpoint_mA": 6000, "ceiling_mA": 6000}, (NONE, 6000, Reason.WAITS_FOR_TURN)),
        ({"max_mA": 8000}, {}, (TAKE, 8000, Reason.OWN_MAXIMUM)),
    ],
)  # fmt: skip
def test_what_a_state_makes_of_a_setpoint(
    row: dict[str, Any], state: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    assert decided(one(**row), **state) == expected


def test_one_that_rests_and_can_have_its_minimum_alone_is_said_to_rest() -> None:
    rests = {"was_paused": True, "off_since_ns": NOW_ns - NS_PER_S, "has_fitted": True}
    row = {"max_mA": 6000, "failsafe_mA": 6000}
    assert decided(one(**row), 0, **rests) == (NONE, 0, Reason.RESTS_AFTER_PAUSE)


def test_overdue_without_current_has_no_claim() -> None:
    held = one(watchdog_ns=None)
    state = {"is_overdue": True, "is_unproven": True, "ceiling_mA": 8000, "has_seen_above": True}
    assert decided(held, 0, **state) == (NONE, 0, Reason.DOES_NOT_FOLLOW)
    assert held.chargers[0].is_candidate == 0


@pytest.mark.parametrize(
    ("limit_mA", "expected", "binding"),
    [
        (10_000, (NONE, 10_000, Reason.FULL), (1, 0, 0)),
        (9999, (TAKE, 9900, Reason.FULL), (1, 0, 0)),
        (6000, (TAKE, 6000, Reason.FULL), (1, 0, 0)),
        (5999, (TAKE, 0, Reason.NO_ROOM_FOR_MINIMUM), (1, 0, 0)),
    ],
)
def test_limit_that_the_setpoint_passes(
    limit_mA: int, expected: tuple[int, int, int], binding: tuple[int, int, int]
) -> None:
    held = one(limit_mA)
    assert decided(held, raise_after_ns=0) == expected
    row = held.chargers[0]
    assert (row.has_binding, row.binding_circuit, row.binding_kind) == binding
    is_paused = expected[1] == 0
    assert (row.was_paused, row.pause, row.is_admitted) == (is_paused, is_paused, not is_paused)
    assert row.off_since_ns == NOW_ns * is_paused


@pytest.mark.parametrize("mode", [START, FAILSAFE, STOP])
@pytest.mark.parametrize(
    ("setpoint_mA", "failsafe_mA", "expected"),
    [
        (10_000, 8000, (TAKE, 8000, Reason.CONTROLLER_MODE)),
        (8000, 8000, (NONE, 8000, Reason.CONTROLLER_MODE)),
        (7000, 8000, (NONE, 7000, Reason.CONTROLLER_MODE)),
        (7000, 0, (TAKE, 0, Reason.CONTROLLER_MODE)),
    ],
)
def test_outside_run(
    mode: int, setpoint_mA: int, failsafe_mA: int, expected: tuple[int, int, int]
) -> None:
    held = one(100, mode, failsafe_mA=failsafe_mA)
    assert decided(held, setpoint_mA, raise_after_ns=0) == expected


@pytest.mark.parametrize(
    ("loads_mA", "phases", "expected"),
    [
        # What a meter shows above the limit takes more: 9 A are drawn and 1.5 A too much.
        ((31_500, 0, 0), (0, 1, 2), (TAKE, 7500, Reason.FULL)),
        ((30_000, 0, 0), (0, 1, 2), (TAKE, 8000, Reason.CONTROLLER_MODE)),
        ((0, 31_500, 0), (1,), (TAKE, 7500, Reason.FULL)),
        ((31_500, 0, 0), (1, 2), (TAKE, 8000, Reason.CONTROLLER_MODE)),
        ((0, 0, 30_500), (2,), (TAKE, 8000, Reason.OWN_MAXIMUM)),
    ],
)
@pytest.mark.parametrize("c", [0, 1])
def test_outside_run_only_a_meter_takes_more(
    c: int, loads_mA: tuple[int, int, int], phases: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    circuits = [circuit("main", 90_000), circuit("sub", 90_000, 0)]
    metered = {"is_dynamic": True, "meter": 0, "background_mA": 30_000}
    circuits[c] = circuit(f"c{c}", 30_000, c - 1, **metered)
    row = charger("a", 1, phases=phases, failsafe_mA=8000)
    held = Still(site(circuits, [row], [meter("m")]), mode=FAILSAFE)
    held.read(0, loads_mA)
    a = held.set(0, 10_000, 9000)
    held.step()
    assert (a.action, a.action_mA, a.reason) == expected


# Two sessions under 24 A: shares of 12 A each.
def pair(a_mA: int, b_mA: int, limit_mA: int = 24_000, **state: Any) -> Still:
    held = Still(site([circuit("main", limit_mA)], [charger("a"), charger("b")]))
    held.set(0, a_mA)
    b = held.set(1, b_mA)
    for row in held.chargers:
        row.raise_after_ns = NOW_ns + 1
    set_fields(b, **state)
    held.step()
    return held


@pytest.mark.parametrize(
    ("a_mA", "b_mA", "limit_mA", "state", "left_mA"),
    [
        # More than its share, where the other one could not rise beside it.
        (16_000, 6000, 24_000, {}, 12_000),
        (16_000, 0, 24_000, {}, 12_000),
        # A gap within the deadband keeps nobody out, unless it has lasted.
        (12_400, 11_600, 24_000, {}, 12_400),
        (12_500, 11_500, 24_000, {}, 12_000),
        (12_400, 11_600, 24_000, {"is_below": True, "below_since_ns": 0}, 12_000),
        # A car that asks for its start is let in whatever its share.
        (12_400, 0, 18_400, {}, 9200),
    ],
)
def test_more_than_a_share_is_left_unless_somebody_waits_for_it(
    a_mA: int, b_mA: int, limit_mA: int, state: dict[str, Any], left_mA: int
) -> None:
    held = pair(a_mA, b_mA, limit_mA, **state)
    row = held.chargers[0]
    assert row.action_mA == left_mA
    assert row.action == (TAKE if left_mA < a_mA else NONE)
    if left_mA < a_mA:
        assert (row.reason, row.has_binding, row.binding_kind) == (Reason.MAKES_ROOM, 1, 0)


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize(
    ("a_mA", "b_mA", "limit_mA", "after_ns", "left_mA"),
    [
        # While a cut settles crumbs stay where they are; more than crumbs is given over.
        (13_000, 11_000, 24_000, 1, 13_000),
        (13_100, 10_900, 24_000, 1, 12_000),
        (12_900, 11_100, 24_000, 0, 12_000),
        # One that starts gets them all the same.
        (6500, 0, 12_400, 1, 6200),
    ],
)
def test_crumbs_do_not_move_while_a_cut_settles(
    a_mA: int, b_mA: int, limit_mA: int, after_ns: int, left_mA: int, p: int
) -> None:
    """The cut was on one phase of another circuit of the site, which raises nothing for a time;
    once that is over, a peak that began in it is held no longer than peaks are."""
    circuits = [circuit("main", 100_000), circuit("wing", 50_000, 0), circuit("a", limit_mA, 0)]
    rows = [charger("a", 2), charger("b", 2)]
    held = Still(site(circuits, rows, peak_hold_ns=7 * NS_PER_S))
    held.set(0, a_mA)
    held.set(1, b_mA)
    for row in held.chargers:
        row.raise_after_ns = NOW_ns + 1
    held.circuits[1].raise_after_ns[p] = NOW_ns - LONGEST_HOLD_ns + after_ns
    held.step()
    assert held.chargers[0].action_mA == left_mA


def test_one_below_its_share_keeps_its_setpoint_where_others_must_come_down() -> None:
    held = pair(16_000, 6000, 20_000)
    assert [(row.action, row.grant_mA) for row in held.chargers] == [(TAKE, 10_000), (NONE, 6000)]


def test_start_is_let_in_also_where_its_share_is_within_a_wide_deadband() -> None:
    tables = site([circuit("main", 18_000)], [charger("a"), charger("b")], deadband_mA=10_000)
    held = Still(tables)
    held.set(0, 16_000)
    held.set(1, 0)
    for row in held.chargers:
        row.raise_after_ns = NOW_ns + 1
    held.step()
    assert held.chargers[0].action_mA == 9000


def test_one_that_is_done_and_has_no_current_is_not_paused_again() -> None:
    held = one()
    row = held.set(0, 0)
    set_fields(row, session=DONE_PART, offered_at_ns=NOW_ns - 1000 * NS_PER_S, off_since_ns=7)
    held.step()
    assert (row.reason, row.was_paused, row.off_since_ns) == (Reason.DONE, 0, 7)


def test_room_is_made_only_where_the_raise_that_waits_does_not_fit() -> None:
    """b of 10 A at most beside a: 24 A hold both, one step less does not."""
    for limit_mA, left_mA in ((24_000, 14_000), (23_900, 13_900)):
        rows = [charger("a"), charger("b", max_mA=10_000)]
        held = Still(site([circuit("main", limit_mA)], rows))
        held.set(0, 14_000)
        held.set(1, 6000)
        for row in held.chargers:
            row.raise_after_ns = NOW_ns + 1
        held.step()
        assert held.chargers[0].action_mA == left_mA


def test_room_is_made_only_by_those_who_share_the_limit() -> None:
    """a uses L1 and b and c share L2: that b and c are not even is nothing to a."""
    rows = [charger("a", phases=(0,)), charger("b", phases=(1,)), charger("c", phases=(1,))]
    held = Still(site([circuit("main", (10_000, 20_000, 0))], rows))
    for i, setpoint_mA in enumerate((10_000, 14_000, 6000)):
        held.set(i, setpoint_mA)
        held.chargers[i].raise_after_ns = NOW_ns + 1
    held.step()
    assert [row.action_mA for row in held.chargers] == [10_000, 10_000, 6000]
    assert (held.chargers[1].reason, held.chargers[1].binding_kind) == (Reason.MAKES_ROOM, 1)


@pytest.mark.parametrize(
    ("limit_mA", "reason"), [(22_000, Reason.MAKES_ROOM), (21_999, Reason.FULL)]
)
def test_share_below_the_setpoint_is_a_cut_only_where_setpoints_pass_a_limit(
    limit_mA: int, reason: int
) -> None:
    """16 A and 6 A fit 22 A: a comes down for b alone, and would not if b could not rise."""
    held = pair(16_000, 6000, limit_mA)
    row = held.chargers[0]
    assert row.share_low_mA == 11_000
    assert (row.action_mA, row.reason) == (row.share_low_mA, reason)


# At rest
@pytest.mark.parametrize(
    ("limit_mA", "row", "state", "wants", "grant_mA", "reason"),
    [
        (100_000, {}, STATE_C, True, 16_000, Reason.OWN_MAXIMUM),
        (10_000, {}, STATE_C, True, 10_000, Reason.FULL),
        (5999, {}, STATE_C, True, 0, Reason.NO_ROOM_FOR_MINIMUM),
        (100_000, {"is_isolated": True}, STATE_C, True, 0, Reason.ISOLATED),
        (100_000, {}, 0, False, 0, Reason.NO_CAR),
        (100_000, {}, STATE_A, False, 0, Reason.NO_CAR),
        (100_000, {}, STATE_B, False, 0, Reason.NOT_READY),
    ],
)
def test_allocation_at_rest(
    limit_mA: int, row: dict[str, Any], state: int, wants: bool, grant_mA: int, reason: int
) -> None:
    held = one(limit_mA, **row)
    a = held.chargers[0]
    set_fields(a, action=TAKE, state=state)
    assert held.core.settle([wants]) == 0
    assert (a.grant_mA, a.reason, a.action) == (grant_mA, reason, NONE)
    assert a.is_admitted == (grant_mA > 0)
    assert list(held.circuits[0].granted_mA) == [grant_mA] * 3
    is_bound = reason in (Reason.FULL, Reason.NO_ROOM_FOR_MINIMUM)
    assert a.has_binding == is_bound


def test_sums_of_every_circuit_phase() -> None:
    circuits = [circuit("main", 90_000), circuit("sub", 90_000, 0), circuit("leaf", 90_000, 1)]
    rows = [charger("a"), charger("b", 1, phases=(1, 2)), charger("c", 2, phases=(2,))]
    held = Still(site(circuits, rows))
    for i, setpoint_mA in enumerate((7000, 8000, 9000)):
        held.set(i, setpoint_mA)
        set_fields(held.chargers[i], ceiling_mA=setpoint_mA + 500, is_unproven=True)
        set_fields(held.chargers[i], acknowledged_at_ns=NOW_ns, raise_after_ns=NOW_ns + 1)
    held.step()
    granted = [list(row.granted_mA) for row in held.circuits]
    assert granted == [[7000, 15_000, 24_000], [0, 8000, 17_000], [0, 0, 9000]]
    reserved = [list(row.reserved_mA) for row in held.circuits]
    assert reserved == [[7500, 16_000, 25_500], [0, 8500, 18_000], [0, 0, 9500]]


# A fault of the law itself is a result that is not good.
@pytest.mark.parametrize(
    ("state", "result"),
    [
        ({"action": TAKE, "action_mA": 6000}, 0),
        ({"action": TAKE, "action_mA": 0}, 0),
        ({"action": TAKE, "action_mA": 10_000}, 0),
        ({"action": TAKE, "action_mA": 5900}, 2),
        ({"action": TAKE, "action_mA": 1}, 2),
        ({"action": TAKE, "action_mA": 6050}, 2),
        ({"action": TAKE, "action_mA": 10_100}, 2),
        ({"action": PROBE, "action_mA": 10_100}, 2),
        ({"action": PROBE, "action_mA": 16_100, "setpoint_mA": 16_100}, 2),
        ({"action": PROBE, "action_mA": 16_000, "setpoint_mA": 16_000}, 0),
        ({"action": NONE, "action_mA": 1}, 0),
    ],
)
def test_action_that_its_charger_cannot_take_is_a_fault(state: dict[str, Any], result: int) -> None:
    held = one()
    decided(held)
    set_fields(held.chargers[0], **state)
    assert held.confirm() == result
    assert held.site.is_confirmed == 1


def test_fault_of_one_charger_is_found_beside_others() -> None:
    held = Still(site([circuit("main", 90_000)], [charger("x")] * 3))
    held.step()
    set_fields(held.chargers[2], action=TAKE, action_mA=5000)
    assert held.confirm() == 2


def test_step_says_that_it_is_at_fault() -> None:
    held = one()
    a = held.set(0, 6050)
    a.is_acknowledged = False
    assert held.step() == 2


def test_time_may_stand_still_but_not_go_back() -> None:
    held = one()
    assert held.step(NOW_ns) == 0
    assert (held.site.scan_i, held.site.is_confirmed) == (1001, 0)
    assert held.confirm(NOW_ns) == 0
    assert held.step(NOW_ns) == 0
    assert held.site.scan_i == 1002
    assert held.confirm(NOW_ns - 1) == 1
    assert held.step(NOW_ns - 1) == 1
    assert (held.site.scan_i, held.site.now_ns) == (1002, NOW_ns)


def test_first_step_is_remembered_and_may_be_at_any_time() -> None:
    held = one()
    set_fields(held.site, has_stepped=False, first_step_at_ns=5, now_ns=NOW_ns + 1)
    assert held.step(NOW_ns) == 0
    assert (held.site.has_stepped, held.site.first_step_at_ns) == (1, NOW_ns)
    held.step(NOW_ns + NS_PER_S)
    assert held.site.first_step_at_ns == NOW_ns
