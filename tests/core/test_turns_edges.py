"""Places at their edges: who passes one on, who is spared, who is told when his comes."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason
from loadctl.law.session import Pause

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
from tests.support.core_sites import FAILSAFE, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

ROTATE_s = 1800
SLEEPER = charges(9000, 9000, is_sleeper=True)


@pytest.mark.parametrize(
    ("states", "limit_mA", "rows", "pause"),
    [
        # Nobody comes in its place, or one that was in before, or one that is no newcomer.
        ([OVER, KEEPS], 6000, [{}, {}], Pause.PAUSE_LIMIT),
        ([OVER, IN_TURN], 6000, [{}, {}], Pause.PAUSE_LIMIT),
        ([OVER, waits(2000)], 5999, [{}, {}], Pause.PAUSE_LIMIT),
        # Its turn is not over: one that is due only takes what it does not fit in.
        ([IN_TURN, waits(2000)], 6000, [{"min_mA": 8000}, {}], Pause.PAUSE_LIMIT),
        # A sleeper passes its place on to one that is next, and to nobody who is only due.
        ([SLEEPER, waits(3600)], 6000, [{}, {}], Pause.PAUSE_TURN),
        ([SLEEPER, waits(3600), KEEPS], 11_999, [{}, {}, {}], Pause.PAUSE_LIMIT),
        ([{**IN_TURN}, SLEEPER, waits(3599)], 11_999, [{}, {}, {}], Pause.PAUSE_LIMIT),
        # Wherever it stands in the order, also behind one that waits.
        ([OVER, waits(2000), waits(1)], 6000, [{}, {}, {}], Pause.PAUSE_TURN),
    ],
)
def test_who_is_paused_to_pass_its_place_on(
    states: list[State], limit_mA: int, rows: list[dict[str, Any]], pause: int
) -> None:
    row = stepped(states, limit_mA, rows).chargers[0]
    assert (row.is_admitted, row.pause) == (0, pause)


@pytest.mark.parametrize(
    ("states", "limit_mA", "rows", "expected"),
    [
        # Those that are held to their minimum are spared like others.
        ([IN_TURN] * 3, 12_000, [{"min_mA": 12_000}, {"max_mA": MIN_mA}, {"max_mA": MIN_mA}],
         [0, 1, 1]),
        # A sleeper stands in for nobody, unless one is next.
        ([KEEPS, SLEEPER, OVER, OVER], 20_000,
         [{"min_mA": 10_000}, {"min_mA": 10_000}, {"min_mA": 5000}, {"min_mA": 5000}],
         [1, 1, 0, 0]),
        ([waits(3600), SLEEPER, OVER, OVER], 20_000,
         [{"min_mA": 10_000}, {"min_mA": 10_000}, {"min_mA": 5000}, {"min_mA": 5000}],
         [1, 0, 1, 1]),
        # A car that has left stands in for nobody, whatever it had.
        ([KEEPS, IN_TURN, IN_TURN, {**IN_TURN, "state": 1}], 6000,
         [{}, {}, {}, {"min_mA": 12_000}], [1, 0, 0, 0]),
        # Where the last in order does not suffice the one before it may.
        ([IN_TURN] * 4, 16_000, [{"min_mA": 12_000}, {"min_mA": 4000}, {}, {}], [0, 1, 1, 1]),
        # Where nobody suffices the sums are as they were: 2 A of a lower tier still fit.
        ([*[IN_TURN] * 4, waits(1)], 18_000,
         [{"min_mA": 8000}, {"min_mA": 8000}, {"min_mA": 9000}, {"min_mA": 9000},
          {"min_mA": 2000, "priority": -1}], [1, 1, 0, 0, 1]),
    ],
)  # fmt: skip
def test_one_stands_in_for_several(
    states: list[State], limit_mA: int, rows: list[dict[str, Any]], expected: list[int]
) -> None:
    assert admitted(stepped(states, limit_mA, rows)) == expected


def test_outside_run_nobody_is_paused_in_place_of_those_that_may_keep_nothing() -> None:
    rows = [{}, {"failsafe_mA": 0}, {"failsafe_mA": 0}]
    held = stepped([IN_TURN] * 3, 90_000, rows, mode=FAILSAFE)
    assert admitted(held) == [1, 0, 0]
    assert held.chargers[0].was_paused == 0


@pytest.mark.parametrize(
    ("states", "limit_mA", "rows", "expected"),
    [
        # One that comes in now waits no more.
        ([IN_TURN, waits(30), waits(20)], 12_000, [{}, {}, {}], [0, 0, 1]),
        # One that is due waits too.
        ([KEEPS, waits(2000)], 6000, [{}, {}], [0, 1]),
        # One that is never paused, or done, has no place to give.
        ([IN_TURN, waits(30)], 6000, [NEVER, {}], [0, 0]),
        ([done(setpoint_mA=MIN_mA), waits(30)], 6000, [{}, {"min_mA": 12_000}], [0, 0]),
    ],
)
def test_who_is_told_a_place(
    states: list[State], limit_mA: int, rows: list[dict[str, Any]], expected: list[int]
) -> None:
    held = stepped(states, limit_mA, rows)
    assert [place for place, _ in told(held)] == expected


def test_turn_that_is_over_is_the_first_to_be_passed_on() -> None:
    """Its end is now, the other one's in 1400 s: whoever is due first gets the first of them."""
    big = {"min_mA": 7000}
    held = stepped([IN_TURN, OVER, waits(1700), waits(1690)], 12_000, [{}, {}, big, big])
    assert told(held) == [(0, 0), (0, 0), (1, 100), (2, 1400)]


@pytest.mark.parametrize(
    ("states", "limit_mA", "expected"),
    [
        # Twice rotate_s after it began to wait, or when the turn is over, whichever is later.
        ([SLEEPER, waits(600)], 6000, [(1, 3000)]),
        ([charges(400, 400, is_sleeper=True), waits(3000)], 6000, [(1, 1400)]),
        # Another place may be free before, and is then passed on every turn.
        ([SLEEPER, IN_TURN, waits(1000), waits(900), waits(800)], 12_000,
         [(1, 1400), (2, 2700), (3, 3200)]),
        # Who waits may be a sleeper too.
        ([IN_TURN, waits(1000, is_sleeper=True), waits(100)], 6000, [(1, 1400), (2, 3500)]),
        # Long waits end when turns do, also of one that is next.
        ([IN_TURN, waits(4000)], 6000, [(1, 1400)]),
        ([SLEEPER, KEEPS, waits(1700), waits(1600)], 12_000, [(1, 1700), (2, 2000)]),
    ],
)  # fmt: skip
def test_time_that_is_told_where_sleepers_have_places(
    states: list[State], limit_mA: int, expected: list[tuple[int, int]]
) -> None:
    held = stepped(states, limit_mA)
    assert [told_row for told_row in told(held) if told_row[0]] == expected


def test_turn_of_one_that_comes_in_now_begins_now() -> None:
    """It was in hours ago: that is no turn that ends now."""
    before = {"admitted_since_ns": ago(9000), "on_since_ns": ago(9000)}
    held = stepped([OVER, waits(2000, **before), waits(100)], 6000)
    assert told(held)[2] == (1, ROTATE_s)


def test_room_that_was_kept_is_free_when_who_waited_for_it_has_left() -> None:
    held = stepped([IN_TURN, waits(3600), waits(1)], 17_000, [{}, {"min_mA": 12_000}, {}])
    assert admitted(held) == [1, 0, 0]
    held.chargers[1].state = 1
    held.step(NOW_ns + 1)
    assert admitted(held) == [1, 0, 1]


def test_what_refused_it_before_is_not_said_where_no_limit_does() -> None:
    """Outside RUN one without a setpoint is refused by none."""
    main = circuit("main", 20_000, is_dynamic=True, meter=0)
    held = Still(site([main], [charger("a")], [meter("m")]), mode=FAILSAFE)
    held.set(0, 0)
    held.read(0, 21_000)
    held.step()
    row = held.chargers[0]
    assert (row.is_admitted, row.reason) == (0, Reason.CONTROLLER_MODE)


def test_nobody_starts_while_a_meter_is_above_its_limit() -> None:
    """It reads 51 A of 50 A. What b takes was read too long ago: it may be all of it, so there is
    room by what may be drawn; by the meter there is not."""
    main = circuit("main", 50_000, is_dynamic=True, meter=0)
    rows = [charger("a"), charger("b", min_mA=1000, max_mA=32_000, rated_mA=32_000)]
    held = Still(site([main], rows, [meter("m")]))
    held.set(0, 0)
    b = held.set(1, 32_000, 4000)
    b.sample_at_ns[0] = ago(1)
    main_row = held.circuits[0]
    main_row.n_dips = 6
    main_row.dip_at_ns = NOW_ns
    held.read(0, 51_000)
    held.step()
    assert list(main_row.is_above) == [1, 1, 1]
    assert admitted(held) == [0, 1]


def test_warm_fuse_ends_the_time_for_which_a_paused_session_has_fitted() -> None:
    fuse = {"fuse_type": "gG", "fuse_rated_mA": 40_000}
    held = Still(site([circuit("main", 63_000, **fuse)], [charger("a")]))
    main = held.circuits[0]
    row = held.set(0, 0)
    row.was_paused, row.pause, row.has_fitted = True, Pause.PAUSE_LIMIT, True
    row.fits_since_ns = row.off_since_ns = ago(3600)
    main.has_heat_at, main.heat_at_ns = True, NOW_ns
    main.is_cooling[0], main.heat_fx[0] = True, (1 << 28) * 7 // 10
    held.step()
    assert (row.is_admitted, row.has_fitted, row.reason) == (0, 0, Reason.COOLS_DOWN)
    main.is_cooling[0], main.heat_fx[0] = False, 0
    held.step(NOW_ns + 1)
    assert (row.is_admitted, row.has_fitted, row.fits_since_ns) == (0, 1, NOW_ns + 1)


def test_turns_of_one_that_charges_and_one_that_keeps_its_place_end_in_their_order() -> None:
    """The place of one that keeps its own ends last, whatever its claim."""
    big = {"min_mA": 7000}
    states = [KEEPS, charges(1700, 1700), waits(1700), waits(1690)]
    held = stepped(states, 12_000, [{}, {}, big, big])
    assert told(held)[2:] == [(1, 100), (2, ROTATE_s - 100)]
