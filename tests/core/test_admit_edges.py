"""Who is in at the edges: the order of claims, places that are told, pauses and returns."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason
from loadctl.law.session import Pause

from loadctl.tables import ChargerRow
from tests.support.claims import (
    IN_TURN,
    KEEPS,
    NEVER,
    OVER,
    MIN_mA,
    State,
    admitted,
    ago,
    charges,
    done,
    stepped,
    told,
    waits,
)
from tests.support.core_sites import FAILSAFE, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

OFF_ns = 300 * NS_PER_S
SLEEPER = charges(9000, 9000, is_sleeper=True)


def order(states: list[State], rows: list[dict[str, Any]] | None = None) -> list[int]:
    """In which order they would get the places, were there one more each time."""
    seen: list[int] = []
    for n in range(1, len(states) + 1):
        held = stepped(states, n * MIN_mA, rows)
        new = {i for i, row in enumerate(held.chargers) if row.is_admitted}
        assert set(seen) <= new
        seen += sorted(new - set(seen))
        assert len(seen) == n
    return seen


def test_order_of_claims() -> None:
    states = [done(), waits(60), OVER, waits(2000), IN_TURN, KEEPS, waits(1)]
    rows: list[dict[str, Any]] = [{}] * 6 + [NEVER]
    assert order(states, rows) == [6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        # Those that keep their places, and those whose turn it is: by file.
        ([KEEPS, charges(50, 50), charges(200, 200)], [0, 1, 2]),
        ([IN_TURN, charges(500, 500), charges(350, 350)], [0, 1, 2]),
        ([done(), done(offered_at_ns=ago(100)), done()], [0, 1, 2]),
        # Those that wait: the longest first; whose turn is over: the shortest first.
        ([waits(10), waits(30), waits(20)], [1, 2, 0]),
        ([waits(2000), waits(4000), waits(3000)], [1, 2, 0]),
        ([OVER, charges(2000, 2000), charges(3000, 3000)], [1, 2, 0]),
        # Equal in time: who got less charge.
        ([waits(9, taken_mAms=7), waits(9, taken_mAms=6), waits(9, taken_mAms=5)], [2, 1, 0]),
        ([waits(3000, taken_mAms=7), waits(3000, taken_mAms=6)], [1, 0]),
        ([waits(4000, taken_mAms=7), waits(4000, taken_mAms=6)], [1, 0]),
        ([charges(3600, 3600, taken_mAms=7), charges(3600, 3600, taken_mAms=6)], [1, 0]),
        ([done(taken_mAms=7), done(taken_mAms=6)], [1, 0]),
        ([charges(400, 400, taken_mAms=7), charges(400, 400, taken_mAms=6)], [0, 1]),
        ([waits(9), waits(9), waits(9)], [0, 1, 2]),
        # Due after rotate_s.
        ([OVER, waits(1800)], [1, 0]),
        ([OVER, waits(1800, 1)], [0, 1]),
        # A place is kept for min_on_s.
        ([charges(300, 300), charges(300, 300, 1)], [1, 0]),
        # That of a sleeper against all but one that is next, and until its turn is over.
        ([IN_TURN, SLEEPER, charges(400, 400, is_sleeper=True)], [1, 2, 0]),
        ([waits(3600, 1), SLEEPER], [1, 0]),
        ([waits(3600), SLEEPER], [0, 1]),
        ([waits(3600), charges(1800, 1800, 1, is_sleeper=True), IN_TURN], [1, 2, 0]),
        ([waits(3600), SLEEPER, charges(1800, 1800, is_sleeper=True), IN_TURN], [3, 0, 2, 1]),
        ([OVER, waits(1800), SLEEPER, waits(3700), waits(9000)], [4, 3, 2, 1, 0]),
        ([KEEPS, waits(9000), IN_TURN], [0, 2, 1]),
        ([{**SLEEPER, "taken_mAms": 7}, {**SLEEPER, "taken_mAms": 6}, waits(3600)], [2, 1, 0]),
        # A turn is over after rotate_s, and half of it with current.
        ([charges(1800, 1800, ns=0), waits(2000), charges(1800, 1800, ns=1)], [2, 1, 0]),
        ([charges(3000, 900), waits(2000)], [1, 0]),
        ([charges(3000, 900, 1), waits(2000)], [0, 1]),
    ],
)
def test_order_within_a_tier(states: list[State], expected: list[int]) -> None:
    assert order(states) == expected


def test_order_of_many_is_that_of_time() -> None:
    for n in (2, 3, 4, 5, 7, 8, 9, 16, 17):
        times = [(7 * k) % 23 + 1 for k in range(n)]
        expected = sorted(range(n), key=lambda i: -times[i])
        assert order([waits(seconds) for seconds in times]) == expected


def test_tiers_come_before_claims_and_never_pause_before_tiers() -> None:
    states = [OVER, KEEPS, waits(5), waits(9), waits(1)]
    rows = [{"priority": 1}, {}, {"priority": 1}, NEVER, {**NEVER, "priority": -1}]
    assert order(states, rows) == [3, 4, 0, 2, 1]


@pytest.mark.parametrize(
    ("state", "is_in"),
    [({"state": 1}, 0), ({"state": 5}, 0), ({"is_overdue": True}, 0), ({}, 1)],
)
def test_who_asks_for_nothing_is_not_in(state: State, is_in: int) -> None:
    held = stepped([{**waits(9), **state}], 90_000, [{"watchdog_ns": None}])
    assert admitted(held) == [is_in]


def test_one_that_does_not_fit_is_skipped() -> None:
    rows = [{}, {"min_mA": 7000}, {}]
    assert admitted(stepped([waits(3), waits(2), waits(1)], 12_000, rows)) == [1, 0, 1]
    assert admitted(stepped([waits(3), waits(2), waits(1)], 13_000, rows)) == [1, 1, 0]


@pytest.mark.parametrize(
    ("limit_mA", "binding_kind"),
    [((5000, 90_000, 90_000), 0), ((5000, 4000, 90_000), 1), ((5000, 4000, 4000), 1)],
)
def test_limit_that_refuses_is_the_one_passed_by_the_most(
    limit_mA: tuple[int, int, int], binding_kind: int
) -> None:
    row = stepped([waits(9)], limit_mA).chargers[0]
    assert (row.is_admitted, row.reason) == (0, Reason.NO_ROOM_FOR_MINIMUM)
    assert (row.has_binding, row.binding_kind) == (1, binding_kind)


# Places that are told
@pytest.mark.parametrize(
    ("states", "limit_mA", "expected"),
    [
        # One place, whose turn ends in 1400 s; those who wait get it one after the other, the first
        # once it is due, and from then on it has a turn.
        ([IN_TURN, waits(30), waits(20), waits(10)], 6000,
         [(0, 0), (1, 1770), (2, 3570), (3, 5370)]),
        # Two places, ending in 1300 and in 1400 s.
        ([IN_TURN, charges(500, 500), waits(700), waits(600), waits(500), waits(400)], 12_000,
         [(0, 0), (0, 0), (1, 1300), (2, 1400), (3, 3100), (4, 3200)]),
        # A turn does not end before the one that waits is due.
        ([OVER, waits(30)], 6000, [(0, 0), (1, 1770)]),
        # It ends when half of rotate_s has been charged for.
        ([charges(1700, 600), waits(1500)], 6000, [(0, 0), (1, 300)]),
        # Who keeps its place gives it too; who is done, or is never paused, has none to give.
        ([charges(100, 100), waits(1500)], 6000, [(0, 0), (1, 1700)]),
        ([done(), waits(30)], 6000, [(0, 0), (0, 0)]),
        ([waits(30)], 5999, [(0, 0)]),
    ],
)  # fmt: skip
def test_place_and_time_of_those_who_wait(
    states: list[State], limit_mA: int, expected: list[tuple[int, int]]
) -> None:
    held = stepped(states, limit_mA)
    assert told(held) == expected
    for row, (place, wait_s) in zip(held.chargers, expected, strict=True):
        if place:
            assert (row.reason, row.reason_s) == (Reason.WAITS_FOR_PLACE, wait_s)


@pytest.mark.parametrize("states", [[IN_TURN], [waits(3)], [{**waits(3), "state": 1}], [done()]])
def test_place_of_before_is_forgotten(states: list[State]) -> None:
    held = stepped([{**states[0], "place": 3}], 6000)
    assert held.chargers[0].place == 0


def test_places_are_told_by_tier() -> None:
    rows = [{"priority": 1}, {"priority": 1}, {}, {}]
    held = stepped([IN_TURN, waits(1), IN_TURN, waits(1)], 12_000, rows)
    assert admitted(held) == [1, 1, 0, 0]
    held = stepped([IN_TURN, waits(1), waits(5), waits(3)], 6000, rows)
    assert [place for place, _ in told(held)] == [0, 1, 0, 0]


def test_wait_is_rounded_up_to_seconds_and_never_negative() -> None:
    row = stepped([charges(500, 500, 1), waits(700)], 6000).chargers[1]
    assert (row.turn_at_ns - NOW_ns, row.reason_s) == (1300 * NS_PER_S + 1, 1301)


# Pauses
@pytest.mark.parametrize(
    ("states", "limit_mA", "mode", "pause"),
    [
        ([IN_TURN], 5999, 1, Pause.PAUSE_LIMIT),
        ([OVER, waits(2000)], 6000, 1, Pause.PAUSE_TURN),
        ([OVER, waits(1)], 5999, 1, Pause.PAUSE_LIMIT),
        ([IN_TURN, waits(2000)], 5999, 1, Pause.PAUSE_LIMIT),
        ([done(setpoint_mA=MIN_mA)], 5999, 1, Pause.PAUSE_DONE),
        ([done(setpoint_mA=MIN_mA, offered_at_ns=ago(200))], 90_000, 1, Pause.PAUSE_DONE),
        ([{**IN_TURN, "state": 1}], 90_000, 1, Pause.PAUSE_NONE),
        ([{**IN_TURN, "state": 5}], 90_000, 1, Pause.PAUSE_NONE),
    ],
)
def test_why_a_session_is_paused(states: list[State], limit_mA: int, mode: int, pause: int) -> None:
    row = stepped(states, limit_mA, mode=mode).chargers[0]
    assert (row.action_mA, row.pause) == (0, pause)
    is_paused = pause != Pause.PAUSE_NONE
    assert (row.was_paused, row.off_since_ns) == (is_paused, NOW_ns * is_paused)


def test_outside_run_it_is_the_mode_that_pauses() -> None:
    """A meter above the limit, and what is drawn does not make up for it."""
    main = circuit("main", 20_000, is_dynamic=True, meter=0, background_mA=1)
    held = Still(site([main], [charger("a", failsafe_mA=MIN_mA)], [meter("m")]), mode=FAILSAFE)
    held.set(0, MIN_mA)
    held.read(0, 21_000)
    held.step()
    row = held.chargers[0]
    assert (row.action_mA, row.pause) == (0, Pause.PAUSE_MODE)


@pytest.mark.parametrize(
    ("limit_mA", "rows", "states", "expected"),
    [
        # One of 12 A in place of two of 6 A, where that suffices.
        (12_000, [{"min_mA": 12_000}, {}, {}], [IN_TURN] * 3, [0, 1, 1]),
        (11_999, [{"min_mA": 11_900}, {}, {}], [IN_TURN] * 3, [1, 0, 0]),
        # A single one is not looked for another.
        (12_000, [{"min_mA": 12_000}, {}], [IN_TURN] * 2, [1, 0]),
        # Up to four of them.
        (24_000, [{"min_mA": 24_000, "max_mA": 32_000}, {}, {}, {}, {}], [IN_TURN] * 5,
         [0, 1, 1, 1, 1]),
        (30_000, [{"min_mA": 30_000, "max_mA": 32_000}, {}, {}, {}, {}, {}], [IN_TURN] * 6,
         [1, 0, 0, 0, 0, 0]),
        # Who keeps its place stands in for nobody; nor does one that has no current.
        (12_000, [{"min_mA": 12_000}, {}, {}], [KEEPS, IN_TURN, IN_TURN], [1, 0, 0]),
        (12_000, [{"min_mA": 12_000, **NEVER}, {}, {}], [IN_TURN] * 3, [1, 0, 0]),
        # The last in order of those that suffice.
        (18_000, [{"min_mA": 9000}, {"min_mA": 9000}, {"min_mA": 4000}, {"min_mA": 5000}],
         [IN_TURN] * 4, [1, 0, 1, 1]),
        # The room that it leaves may do for others too.
        (18_000, [{"min_mA": 18_000, "max_mA": 32_000}, {}, {}, {}],
         [IN_TURN, IN_TURN, IN_TURN, waits(1)], [0, 1, 1, 1]),
        # Nor one that has no current yet: those whose turn is over pass it on.
        (12_000, [{"min_mA": 12_000}, {}, {}], [waits(2000), OVER, OVER], [1, 0, 0]),
        # Nor for cars that have left.
        (24_000, [{"min_mA": 12_000}, {}, {}],
         [IN_TURN, {**IN_TURN, "state": 1}, {**IN_TURN, "state": 1}], [1, 0, 0]),
        # Another tier stands in for nobody.
        (12_000, [{"min_mA": 12_000, "priority": 1}, {}, {}], [IN_TURN] * 3, [1, 0, 0]),
    ],
)  # fmt: skip
def test_one_session_is_paused_in_place_of_several(
    limit_mA: int, rows: list[dict[str, Any]], states: list[State], expected: list[int]
) -> None:
    held = stepped([{**state} for state in states], limit_mA, rows)
    assert admitted(held) == expected


def test_pausing_in_place_of_others_leaves_sums_as_they_were_where_it_does_not_suffice() -> None:
    """Neither a nor b alone makes room for c and d: e, which fits beside, is not lost."""
    rows = [
        {"min_mA": 8000},
        {"min_mA": 8000},
        {"min_mA": 9000},
        {"min_mA": 9000},
        {"min_mA": 2000},
    ]
    held = stepped([*[IN_TURN] * 4, waits(1)], 18_000, rows)
    assert admitted(held) == [1, 1, 0, 0, 1]


# Returns
def returning(limit_mA: Any, **state: Any) -> Any:
    before = {
        "was_paused": True,
        "pause": Pause.PAUSE_LIMIT,
        "off_since_ns": NOW_ns - OFF_ns,
        "has_fitted": True,
        "fits_since_ns": ago(30),
    }
    return stepped([{**waits(400), **before, **state}], limit_mA).chargers[0]


@pytest.mark.parametrize(
    ("limit_mA", "state", "is_in"),
    [
        # Off for min_off_s, its minimum and 1 A have fitted for 30 s.
        (7000, {}, 1),
        (6999, {}, 0),
        (7000, {"off_since_ns": NOW_ns - OFF_ns + 1}, 0),
        (7000, {"fits_since_ns": ago(30, 1)}, 0),
        (7000, {"has_fitted": False}, 0),
        # Paused for a turn: the time alone.
        (6000, {"pause": Pause.PAUSE_TURN, "has_fitted": False}, 1),
        (6000, {"pause": Pause.PAUSE_TURN, "off_since_ns": NOW_ns - OFF_ns + 1}, 0),
        # One that has waited for a turn by now.
        (6000, {"has_fitted": False, "waits_since_ns": ago(1800)}, 1),
        (6000, {"has_fitted": False, "waits_since_ns": ago(3600)}, 1),
        (6000, {"has_fitted": False, "waits_since_ns": ago(1800, 1)}, 0),
        (6000, {"waits_since_ns": ago(1800), "off_since_ns": NOW_ns - OFF_ns + 1}, 0),
        # Paused because it was full, or by the mode: at once.
        (6000, {"pause": Pause.PAUSE_DONE, "has_fitted": False, "off_since_ns": NOW_ns}, 1),
        (6000, {"pause": Pause.PAUSE_MODE, "has_fitted": False, "off_since_ns": NOW_ns}, 1),
        # Never paused.
        (6000, {"was_paused": False, "has_fitted": False, "off_since_ns": NOW_ns}, 1),
        (5999, {"pause": Pause.PAUSE_MODE}, 0),
    ],
)
def test_paused_session_returns(limit_mA: int, state: State, is_in: int) -> None:
    assert returning(limit_mA, **state).is_admitted == is_in


@pytest.mark.parametrize(
    ("limit_mA", "state", "expected"),
    [
        # Its minimum has no room; that and 1 A have none; then for less than 30 s.
        (5999, {}, (Reason.NO_ROOM_FOR_MINIMUM, 0, 0)),
        (6999, {}, (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        ((6998, 6997, 6999), {}, (Reason.WAITS_AFTER_PAUSE, 1, 0)),
        (7000, {"fits_since_ns": ago(30, 1)}, (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        (7000, {"has_fitted": False}, (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        ((90_000, 90_000, 80_000), {"has_fitted": False}, (Reason.WAITS_AFTER_PAUSE, 2, 0)),
        # There is room, or will have been: it rests.
        (7000, {"off_since_ns": NOW_ns - OFF_ns + 1}, (Reason.RESTS_AFTER_PAUSE, None, 1)),
        (7000, {"off_since_ns": ago(38)}, (Reason.RESTS_AFTER_PAUSE, None, 262)),
        (7000, {"off_since_ns": NOW_ns - OFF_ns, "has_fitted": False},
         (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        (7000, {"off_since_ns": ago(270), "has_fitted": False},
         (Reason.RESTS_AFTER_PAUSE, None, 30)),
        (7000, {"off_since_ns": ago(270, -1), "has_fitted": False},
         (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        (6999, {"off_since_ns": NOW_ns}, (Reason.WAITS_AFTER_PAUSE, 0, 0)),
        (6000, {"pause": Pause.PAUSE_TURN, "off_since_ns": ago(100)},
         (Reason.RESTS_AFTER_PAUSE, None, 200)),
        (6000, {"waits_since_ns": ago(1800), "off_since_ns": ago(100)},
         (Reason.RESTS_AFTER_PAUSE, None, 200)),
    ],
)  # fmt: skip
def test_what_a_paused_session_waits_for(
    limit_mA: Any, state: State, expected: tuple[int, int | None, int]
) -> None:
    row = returning(limit_mA, **state)
    binding = row.binding_circuit * 11 + row.binding_kind if row.has_binding else None
    assert (row.reason, binding, row.reason_s) == expected


def test_paused_session_that_rests_waits_for_no_place() -> None:
    """Whatever turns others have: there is room for it."""
    rests = {"was_paused": True, "pause": Pause.PAUSE_LIMIT, "off_since_ns": ago(100)}
    held = stepped([IN_TURN, waits(100, **rests), waits(100)], 16_000)
    assert told(held) == [(0, 0)] * 3
    assert admitted(held) == [1, 0, 1]
    held = stepped([IN_TURN, waits(100, **rests)], 16_000)
    assert told(held) == [(0, 0)] * 2
    assert (held.chargers[1].reason, held.chargers[1].reason_s) == (Reason.RESTS_AFTER_PAUSE, 200)


@pytest.mark.parametrize(
    ("limit_mA", "had_fitted", "has_fitted", "since_ns"),
    [
        (7000, 0, 1, NOW_ns),
        (7000, 1, 1, ago(30)),
        (6999, 1, 0, ago(30)),
        (5999, 1, 0, ago(30)),
    ],
)
def test_since_when_a_paused_session_would_fit(
    limit_mA: int, had_fitted: int, has_fitted: int, since_ns: int
) -> None:
    row = returning(limit_mA, has_fitted=had_fitted)
    assert (row.has_fitted, row.fits_since_ns) == (has_fitted, since_ns)


# Room that is kept for one that has waited for long
@pytest.mark.parametrize(
    ("state", "min_mA", "limit_mA", "is_in"),
    [
        # 12 A beside 6 A do not fit 17 A; one of 6 A would, and has to wait.
        (waits(3600), 12_000, 17_000, 0),
        (waits(3600, 1), 12_000, 17_000, 1),
        # One that would not fit if all of its tier made room keeps nobody out.
        (waits(3600), 16_000, 16_000, 0),
        (waits(3600), 16_000, 15_999, 1),
        (waits(3600), 12_000, 18_000, 0),
    ],
)
def test_room_is_kept_for_one_that_has_waited_for_twice_a_turn(
    state: State, min_mA: int, limit_mA: int, is_in: int
) -> None:
    held = stepped([IN_TURN, state, waits(1)], limit_mA, [{}, {"min_mA": min_mA}, {}])
    assert admitted(held) == [1, limit_mA == 18_000, is_in]


def test_no_room_is_kept_for_one_that_is_done_however_long_it_waited_before() -> None:
    states = [IN_TURN, done(waits_since_ns=ago(9000)), done()]
    rows: list[dict[str, Any]] = [{}, {"min_mA": 12_000}, {}]
    assert admitted(stepped(states, 17_000, rows)) == [1, 0, 1]


@pytest.mark.parametrize(("limits_mA", "is_in"), [((8000, 18_000), 1), ((8000, 17_999), 0)])
def test_room_is_kept_only_where_it_is_needed(limits_mA: tuple[int, int], is_in: int) -> None:
    """The one that waits needs 12 A of L1 and L2 and lacks L1; the other one uses L2 alone."""
    rows = [{"phases": (0, 1), "min_mA": 12_000, "max_mA": 12_000}, {"phases": (1,)}]
    base = {"phases": (0,), "min_mA": 6000}
    states = [waits(3600), waits(1), IN_TURN]
    held = stepped(states, (limits_mA[0] + 4001, limits_mA[1], 0), [*rows, base])
    assert admitted(held) == [0, is_in, 1]


def test_room_is_kept_beside_higher_tiers_alone() -> None:
    """6 A of a higher tier and 12 A do not fit 17 A, whoever makes room: nobody is kept out."""
    rows = [{"priority": 1}, {"min_mA": 12_000}, {}]
    assert admitted(stepped([IN_TURN, waits(3600), waits(1)], 17_000, rows)) == [1, 0, 1]
    assert admitted(stepped([waits(1), waits(3600), waits(1)], 17_000, rows)) == [1, 0, 1]


# Turns count from the admission.
@pytest.mark.parametrize(
    ("limit_mA", "was_admitted", "since_ns"),
    [(6000, 0, NOW_ns), (6000, 1, 7), (5999, 0, 7), (5999, 1, 7)],
)
def test_turn_counts_from_the_admission(limit_mA: int, was_admitted: int, since_ns: int) -> None:
    state = waits(9, is_admitted=was_admitted, admitted_since_ns=7)
    assert stepped([state], limit_mA).chargers[0].admitted_since_ns == since_ns


# At rest
def test_admission_at_rest_is_by_tier_and_file() -> None:
    rows = [
        charger("a"), charger("b", priority=1), charger("c", min_mA=7000), charger("d"),
        charger("e", priority=1),
    ]  # fmt: skip
    held = Still(site([circuit("main", 18_000)], rows))
    held.core.settle([True, True, True, True, False])
    assert admitted(held) == [1, 1, 0, 1, 0]
    row = held.chargers[2]
    assert (row.reason, row.binding_kind) == (Reason.NO_ROOM_FOR_MINIMUM, 0)


def limits(*rows: ChargerRow) -> Still:
    return Still(site([circuit("main", 18_000)], list(rows)))


def test_admission_at_rest_begins_with_nothing_used() -> None:
    held = limits(charger("a"), charger("b"), charger("c"), charger("d"))
    for _ in range(2):
        held.core.settle([True] * 4)
        assert admitted(held) == [1, 1, 1, 0]
