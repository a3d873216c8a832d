"""Sessions at their edges: each line of the table, who may be given current, what is counted."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.session import Part, Pause

from tests.support.core_sites import NS_PER_S, charger, circuit, site
from tests.support.still import STATE_C, LONG_AGO_ns, NOW_ns, Still

NONE, ASKING, OFFERED, CHARGING, DONE = (int(part) for part in Part)
STATE_A, STATE_B, STATE_D, STATE_E, STATE_F = 1, 2, 4, 5, 6
WAKE_ns = 120 * NS_PER_S
RETRY_ns = 1800 * NS_PER_S
SINCE_ns = NOW_ns - 60 * NS_PER_S


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, (tuple, list)):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


def still(tunings: dict[str, int] | None = None, n: int = 1, **row: Any) -> Still:
    rows = [charger(f"x{i}", **row) for i in range(n)]
    return Still(site([circuit("main", 100_000)], rows, **tunings or {}))


def stepped(held: Still, setpoint_mA: int, drawn_mA: int = 0, **state: Any) -> Any:
    row = held.set(0, setpoint_mA, drawn_mA)
    set_fields(row, session_since_ns=SINCE_ns, drew_at_ns=SINCE_ns, raise_after_ns=NOW_ns + 1)
    set_fields(row, **state)
    held.step()
    return row


@pytest.mark.parametrize(
    ("before", "setpoint_mA", "draw_mA", "state", "after"),
    [
        # No car: nothing.
        (CHARGING, 6000, 0, {"state": STATE_A}, NONE),
        # Takes current: charging, from any part.
        (NONE, 0, 1000, {}, CHARGING),
        (ASKING, 6000, 1000, {}, CHARGING),
        (OFFERED, 6000, 1000, {}, CHARGING),
        (CHARGING, 6000, 1000, {}, CHARGING),
        (DONE, 6000, 1000, {}, CHARGING),
        (OFFERED, 6000, 999, {}, OFFERED),
        # No setpoint and takes nothing.
        (NONE, 0, 0, {}, ASKING),
        (ASKING, 0, 999, {}, ASKING),
        (OFFERED, 0, 0, {}, ASKING),
        (CHARGING, 0, 0, {}, ASKING),
        (DONE, 0, 0, {}, DONE),
        # Has a setpoint.
        (NONE, 6000, 0, {}, OFFERED),
        (ASKING, 6000, 0, {}, OFFERED),
        (DONE, 6000, 0, {}, DONE),
        # Took nothing for wake_s.
        (OFFERED, 6000, 0, {"session_since_ns": NOW_ns - WAKE_ns + 1}, OFFERED),
        (OFFERED, 6000, 0, {"session_since_ns": NOW_ns - WAKE_ns}, DONE),
        (CHARGING, 6000, 0, {"drew_at_ns": NOW_ns - WAKE_ns + 1}, CHARGING),
        (CHARGING, 6000, 0, {"drew_at_ns": NOW_ns - WAKE_ns}, DONE),
        # Back to state B.
        (CHARGING, 6000, 0, {"state": STATE_B}, DONE),
        (OFFERED, 6000, 0, {"state": STATE_B}, OFFERED),
        (CHARGING, 6000, 0, {"state": STATE_D}, CHARGING),
        # Not read, or not a car: as it was.
        (OFFERED, 6000, 1000, {"has_status": False}, OFFERED),
        (OFFERED, 6000, 1000, {"state": 0}, OFFERED),
        (OFFERED, 6000, 1000, {"state": STATE_E}, OFFERED),
        (OFFERED, 6000, 1000, {"state": STATE_F}, OFFERED),
    ],
)
def test_parts_of_a_session(
    before: int, setpoint_mA: int, draw_mA: int, state: dict[str, Any], after: int
) -> None:
    row = stepped(still(), setpoint_mA, draw_mA, session=before, **state)
    assert row.session == after
    since_ns = state.get("session_since_ns", SINCE_ns)
    is_forgotten = state.get("state") == STATE_A
    assert row.session_since_ns == (since_ns if after == before or is_forgotten else NOW_ns)


@pytest.mark.parametrize("p", range(3))
def test_any_phase_that_takes_current_counts(p: int) -> None:
    row = stepped(still(), 6000, session=OFFERED, draw_mA=[1000 if q == p else 0 for q in range(3)])
    assert (row.session, row.has_drawn, row.drew_at_ns) == (CHARGING, 1, NOW_ns)


def test_car_that_takes_nothing_has_not_drawn() -> None:
    row = stepped(still(), 6000, 999, session=CHARGING)
    assert (row.has_drawn, row.drew_at_ns) == (0, SINCE_ns)


@pytest.mark.parametrize(
    ("row", "state", "setpoint_mA", "is_charging"),
    [
        # Not measured, or not yet: the state says it, where there is a setpoint.
        ({"has_measured_current": False}, {"state": STATE_C}, 6000, True),
        ({"has_measured_current": False}, {"state": STATE_D}, 6000, True),
        ({"has_measured_current": False}, {"state": STATE_B}, 6000, False),
        ({"has_measured_current": False}, {"state": STATE_C}, 0, False),
        ({"has_measured_current": False}, {"state": STATE_C}, 1, True),
        ({}, {"state": STATE_C, "n_samples": 0}, 6000, True),
        ({}, {"state": STATE_C, "n_samples": 1}, 6000, False),
    ],
)
def test_car_that_is_not_measured_charges_by_its_state(
    row: dict[str, Any], state: dict[str, Any], setpoint_mA: int, is_charging: bool
) -> None:
    held = stepped(still(**row), setpoint_mA, session=OFFERED if setpoint_mA else ASKING, **state)
    assert (held.session == CHARGING) == is_charging


FORGOTTEN = {
    "has_drawn": True, "is_waiting": True, "is_sleeper": True, "is_stubborn": True,
    "was_paused": True, "pause": 1, "has_fitted": True, "takes_less": True, "has_cap": True,
    "over_mA": 300, "taken_mAms": 5,
}  # fmt: skip


def test_car_that_left_leaves_nothing() -> None:
    held = still()
    row = held.set(0, 0)
    set_fields(row, state=STATE_A, session=CHARGING, idle_phases=1, unused_phases=2, **FORGOTTEN)
    held.step()
    assert {name: getattr(row, name) for name in FORGOTTEN} == dict.fromkeys(FORGOTTEN, 0)
    assert (row.session, row.idle_phases, row.unused_phases) == (NONE, 0, 0)


def test_car_that_stays_keeps_it() -> None:
    held = still()
    row = held.set(0, 8000, 8000)
    names = ("has_drawn", "is_sleeper", "is_stubborn", "was_paused", "pause", "has_fitted")
    set_fields(row, session=CHARGING, idle_phases=1, unused_phases=2, over_mA=300)
    set_fields(row, **dict.fromkeys(names, 1))
    row.n_samples = 1
    held.step()
    assert [getattr(row, name) for name in names] == [1] * 6
    assert (row.over_mA, row.idle_phases, row.unused_phases) == (300, 1, 2)


@pytest.mark.parametrize(
    ("state", "is_restored"),
    [
        ({"sample_at_ns": [NOW_ns - 10 * NS_PER_S] * 8}, False),
        ({"sample_at_ns": [NOW_ns - 10 * NS_PER_S - 1] * 8}, True),
        ({"n_samples": 0}, True),
        ({"is_silent": True}, True),
        ({"state": STATE_E}, True),
        ({"state": STATE_B}, False),
    ],
)
def test_unused_phases_are_forgotten_with_the_samples_that_told_them(
    state: dict[str, Any], is_restored: bool
) -> None:
    row = stepped(still(), 6000, 6000, session=CHARGING, idle_phases=4, unused_phases=4, **state)
    assert (row.idle_phases, row.unused_phases) == ((0, 0) if is_restored else (4, 4))


@pytest.mark.parametrize(
    ("state", "is_sleeper"),
    [
        # It drew once, and a pause of ours is what it did not wake from.
        ({"has_drawn": True, "pause": Pause.PAUSE_LIMIT}, 1),
        ({"has_drawn": True, "pause": Pause.PAUSE_TURN}, 1),
        ({"has_drawn": True, "pause": Pause.PAUSE_MODE}, 1),
        ({"has_drawn": True, "pause": Pause.PAUSE_DONE}, 0),
        ({"has_drawn": True, "pause": Pause.PAUSE_NONE}, 0),
        ({"has_drawn": False, "pause": Pause.PAUSE_LIMIT}, 0),
    ],
)
def test_sleepers(state: dict[str, Any], is_sleeper: int) -> None:
    began_ns = NOW_ns - WAKE_ns
    row = stepped(still(), 6000, session=OFFERED, session_since_ns=began_ns, **state)
    assert (row.session, row.is_sleeper) == (DONE, is_sleeper)
    assert row.offered_at_ns == began_ns


def test_car_that_is_full_is_offered_from_then_on() -> None:
    row = stepped(still(), 6000, session=CHARGING, state=STATE_B, offered_at_ns=5)
    assert (row.session, row.offered_at_ns) == (DONE, NOW_ns)


@pytest.mark.parametrize(
    ("setpoint_mA", "draw_mA", "session", "was_waiting", "is_waiting", "since_ns"),
    [
        (0, 0, ASKING, 0, 1, NOW_ns),
        (0, 0, ASKING, 1, 1, 7),
        (0, 5000, CHARGING, 0, 1, NOW_ns),  # whatever it still takes
        (6000, 0, OFFERED, 1, 0, 7),
        (0, 0, DONE, 1, 0, 7),
    ],
)
def test_who_waits_and_since_when(
    setpoint_mA: int, draw_mA: int, session: int, was_waiting: int, is_waiting: int, since_ns: int
) -> None:
    state = {"is_waiting": was_waiting, "waits_since_ns": 7, "offered_at_ns": NOW_ns}
    row = stepped(still(), setpoint_mA, draw_mA, session=session, **state)
    assert (row.is_waiting, row.waits_since_ns) == (is_waiting, since_ns)


# One that is done
@pytest.mark.parametrize(
    ("tunings", "ago_ns", "is_offered_again"),
    [
        ({}, RETRY_ns - 1, False),
        ({}, RETRY_ns, True),
        ({"retry_ns": NS_PER_S}, WAKE_ns - 1, False),
        ({"retry_ns": NS_PER_S}, WAKE_ns, True),
    ],
)
def test_done_car_is_offered_again(
    tunings: dict[str, int], ago_ns: int, is_offered_again: bool
) -> None:
    row = stepped(still(tunings), 0, session=DONE, offered_at_ns=NOW_ns - ago_ns)
    assert row.offered_at_ns == (NOW_ns if is_offered_again else NOW_ns - ago_ns)
    assert row.is_candidate == (is_offered_again or ago_ns < WAKE_ns)


@pytest.mark.parametrize(
    ("waits", "is_candidate", "is_offered_again"), [(1, 1, False), (1, 0, True), (0, 1, True)]
)
def test_done_car_is_not_offered_while_a_candidate_waits(
    waits: int, is_candidate: int, is_offered_again: bool
) -> None:
    held = still(n=3)
    held.set(1, 0)
    set_fields(held.chargers[2], is_waiting=waits, is_candidate=is_candidate, state=STATE_E)
    row = stepped(held, 0, session=DONE, offered_at_ns=LONG_AGO_ns)
    assert (row.offered_at_ns == NOW_ns) == is_offered_again


def test_one_that_is_not_done_is_offered_nothing_anew() -> None:
    assert stepped(still(), 0, session=ASKING, offered_at_ns=5).offered_at_ns == 5


@pytest.mark.parametrize(
    ("row", "state", "is_candidate", "most_mA"),
    [
        ({}, {}, 1, 16_000),
        ({}, {"is_armed": False}, 0, 16_000),
        ({}, {"is_silent": True}, 0, 16_000),
        ({"is_isolated": True}, {}, 0, 16_000),
        ({}, {"has_status": False}, 0, 16_000),
        ({}, {"state": STATE_A}, 0, 16_000),
        ({}, {"state": STATE_B}, 1, 16_000),
        ({}, {"state": STATE_D}, 1, 16_000),
        ({}, {"state": STATE_E}, 0, 16_000),
        ({"watchdog_ns": None}, {"is_overdue": True}, 1, 6000),
        ({"watchdog_ns": None}, {"is_overdue": True, "setpoint_mA": 0}, 0, 6000),
        # Done: its minimum, for wake_s; a sleeper and one that is never paused for ever.
        ({}, {"session": DONE, "draw_mA": [0] * 3, "offered_at_ns": NOW_ns - WAKE_ns + 1}, 1, 6000),
        ({}, {"session": DONE, "draw_mA": [0] * 3, "offered_at_ns": NOW_ns - WAKE_ns}, 0, 6000),
        ({}, {"session": DONE, "draw_mA": [0] * 3, "offered_at_ns": NOW_ns - WAKE_ns,
              "is_sleeper": True}, 1, 6000),
        ({"never_pause": True},
         {"session": DONE, "draw_mA": [0] * 3, "offered_at_ns": NOW_ns - WAKE_ns}, 1, 6000),
    ],
)  # fmt: skip
def test_candidates(
    row: dict[str, Any], state: dict[str, Any], is_candidate: int, most_mA: int
) -> None:
    held = still(**row)
    a = held.set(0, 8000, 8000)
    set_fields(a, session=CHARGING, is_unproven=True, ceiling_mA=8001, has_seen_above=True)
    set_fields(a, **{"acknowledged_at_ns": NOW_ns, "offered_at_ns": NOW_ns, **state})
    held.step()
    assert a.is_candidate == is_candidate
    if is_candidate:
        assert a.share_low_mA == most_mA


@pytest.mark.parametrize(
    ("row", "state", "span_ns", "taken_mAms"),
    [
        # mA over all phases, times ms; what was not seen again counts for 10 s at most.
        ({}, {"draw_mA": [1000, 2000, 4000]}, 500_000_000, 3_500_000),
        ({}, {"draw_mA": [1000, 2000, 4000]}, 10 * NS_PER_S, 70_000_000),
        ({}, {"draw_mA": [1000, 2000, 4000]}, 11 * NS_PER_S, 70_000_000),
        ({}, {"draw_mA": [1000, 2000, 4000]}, 1_999_999, 7000),
        ({}, {"draw_mA": [999, 0, 0]}, NS_PER_S, 999_000),
        ({"has_measured_current": False}, {"draw_mA": [9, 9, 9]}, NS_PER_S, 18_000_000),
        ({"has_measured_current": False, "phases": (1,)}, {}, NS_PER_S, 6_000_000),
        ({"has_measured_current": False}, {"state": STATE_B}, NS_PER_S, 0),
        ({}, {"draw_mA": [1000, 0, 0], "has_status": False}, NS_PER_S, 0),
        ({}, {"draw_mA": [1000, 0, 0], "state": STATE_E}, NS_PER_S, 0),
    ],
)
def test_charge_of_a_session(
    row: dict[str, Any], state: dict[str, Any], span_ns: int, taken_mAms: int
) -> None:
    held = still(**row)
    held.site.now_ns = NOW_ns - span_ns
    a = stepped(held, 6000, session=CHARGING, taken_mAms=11, **state)
    assert a.taken_mAms == 11 + taken_mAms


def test_first_step_counts_no_charge() -> None:
    held = still()
    set_fields(held.site, has_stepped=False, now_ns=0)
    assert stepped(held, 6000, 6000).taken_mAms == 0


@pytest.mark.parametrize("setpoint_mA", [0, 6000])
def test_next_car_has_no_cap_and_takes_no_less(setpoint_mA: int) -> None:
    flags = {"has_cap": True, "cap_mA": 8000, "takes_less": True, "has_fitted": True}
    row = stepped(still(), setpoint_mA, state=STATE_A, **flags)
    assert (row.has_cap, row.takes_less, row.has_fitted) == (0, 0, 0)


@pytest.mark.parametrize("had_fitted", [False, True])
def test_pause_by_a_limit_begins_without_having_fitted(had_fitted: bool) -> None:
    held = Still(site([circuit("main", 5999)], [charger("x")]))
    row = stepped(held, 6000, 6000, has_fitted=had_fitted, session=CHARGING)
    assert (row.action_mA, row.pause, row.has_fitted) == (0, Pause.PAUSE_LIMIT, 0)


@pytest.mark.parametrize(
    ("part", "offered_at_ns"), [(CHARGING, NOW_ns), (OFFERED, SINCE_ns - WAKE_ns)]
)
def test_offer_of_one_that_is_done_counts_from_when_it_was_made(
    part: int, offered_at_ns: int
) -> None:
    row = stepped(still(), 6000, state=STATE_B, session=part, session_since_ns=SINCE_ns - WAKE_ns)
    assert (row.session, row.offered_at_ns) == (DONE, offered_at_ns)
