"""Reserve and proof at their edges: what each event makes of a charger's books, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import (
    BAD_FRAME,
    GOOD,
    IMPLAUSIBLE,
    NEVER,
    NO_ANSWER,
    NOT_SENT,
    NS_PER_S,
    REFUSED,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

TAKE, GIVE = 1, 2
FOLLOW_ns = 11 * NS_PER_S  # 5 s that the box may hold a setpoint back, 6 s of the car
CAR_ns = 6 * NS_PER_S


def still(**changes: Any) -> Still:
    """One charger of 6 to 16 A that falls to 8 A by itself and is rated for 20 A."""
    row = {"fallback_mA": 8000, "rated_mA": 20_000, **changes}
    return Still(site([circuit("main", 100_000)], [charger("a", **row)]))


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def written(
    before_mA: int, value_mA: int, code: int, row: dict[str, Any] | None = None, **state: Any
) -> Any:
    held = still(**row or {})
    charger = held.set(0, before_mA)
    set_fields(charger, **state)
    charger.action, charger.action_mA = TAKE, value_mA
    held.core.take_done(0, code, NOW_ns)
    return charger


def books(charger: Any) -> tuple[int, int, int, int]:
    return charger.setpoint_mA, charger.ceiling_mA, charger.reserve_mA, charger.is_acknowledged


@pytest.mark.parametrize(
    ("before_mA", "value_mA", "code", "expected"),
    [
        # Acknowledged: the value, under a ceiling of the highest of both.
        (10_000, 6000, GOOD, (6000, 10_000, 10_000, 1)),
        (6000, 10_000, GOOD, (10_000, 10_000, 10_000, 1)),
        # A decrease that may have arrived or not counts as sent, and as not sent.
        (10_000, 6000, REFUSED, (6000, 10_000, 10_000, 0)),
        (10_000, 6000, NO_ANSWER, (6000, 10_000, 10_000, 0)),
        (10_000, 6000, BAD_FRAME, (6000, 10_000, 10_000, 0)),
        (10_000, 6000, IMPLAUSIBLE, (6000, 10_000, 10_000, 0)),
        # So does a raise.
        (6000, 10_000, REFUSED, (6000, 10_000, 10_000, 0)),
        (6000, 10_000, NO_ANSWER, (6000, 10_000, 10_000, 0)),
        # What never left changes nothing.
        (10_000, 6000, NOT_SENT, (10_000, 10_000, 10_000, 1)),
        (10_000, 6000, NEVER, (10_000, 10_000, 10_000, 1)),
    ],
)
def test_write(before_mA: int, value_mA: int, code: int, expected: tuple[int, ...]) -> None:
    charger = written(before_mA, value_mA, code)
    assert books(charger) == expected
    assert charger.is_unproven == (charger.ceiling_mA > charger.setpoint_mA)
    assert charger.is_silent == (code in (NO_ANSWER, BAD_FRAME))


def test_write_keeps_a_higher_ceiling() -> None:
    assert written(8000, 6000, GOOD, ceiling_mA=12_000).ceiling_mA == 12_000
    assert written(8000, 6000, GOOD, ceiling_mA=7000).ceiling_mA == 8000


@pytest.mark.parametrize(
    ("before_mA", "value_mA", "state", "acknowledged_at_ns"),
    [
        (10_000, 6000, {}, NOW_ns),
        (6000, 10_000, {}, NOW_ns),
        # The same value again says nothing new, unless the last one was not acknowledged.
        (6000, 6000, {}, LONG_AGO_ns),
        (6000, 6000, {"is_acknowledged": False}, NOW_ns),
        # Raised while it was seen above the lower one: its time runs twice.
        (6000, 10_000, {"has_seen_above": True}, NOW_ns + FOLLOW_ns),
        (10_000, 6000, {"has_seen_above": True}, NOW_ns),
        (6000, 6000, {"has_seen_above": True, "is_acknowledged": False}, NOW_ns),
    ],
)
def test_time_to_follow_runs_from_the_acknowledgement(
    before_mA: int, value_mA: int, state: dict[str, Any], acknowledged_at_ns: int
) -> None:
    charger = written(before_mA, value_mA, GOOD, **state)
    assert charger.acknowledged_at_ns == acknowledged_at_ns
    is_new = acknowledged_at_ns != LONG_AGO_ns
    assert charger.has_seen_above == (bool(state.get("has_seen_above")) and not is_new)


def test_seen_above_is_kept_while_the_same_value_is_repeated() -> None:
    assert written(6000, 6000, GOOD, has_seen_above=True).has_seen_above == 1


@pytest.mark.parametrize(("value_mA", "is_raise"), [(10_001, 1), (10_000, 0), (9999, 0)])
def test_acknowledged_raise_ends_a_pause_and_is_remembered(value_mA: int, is_raise: int) -> None:
    charger = written(10_000, value_mA, GOOD, was_paused=True, is_refusing=True)
    assert (charger.has_raised, charger.was_paused) == (is_raise, not is_raise)
    assert charger.raised_at_ns == NOW_ns * is_raise
    assert charger.is_refusing == 0


def test_raise_that_was_not_acknowledged_is_none() -> None:
    charger = written(10_000, 12_000, NO_ANSWER, was_paused=True)
    assert (charger.has_raised, charger.was_paused) == (0, 1)


@pytest.mark.parametrize(
    ("before_mA", "value_mA", "code", "state", "is_refusing", "since_ns"),
    [
        (10_000, 6000, REFUSED, {}, 1, NOW_ns),
        (10_000, 10_000, REFUSED, {}, 1, NOW_ns),
        (10_000, 10_001, REFUSED, {}, 0, 5),  # a raise may be refused
        (10_000, 6000, NO_ANSWER, {}, 0, 5),
        (10_000, 6000, REFUSED, {"is_refusing": True}, 1, 5),
    ],
)
def test_refusal(
    before_mA: int, value_mA: int, code: int, state: dict[str, Any], is_refusing: int, since_ns: int
) -> None:
    charger = written(before_mA, value_mA, code, refused_since_ns=5, **state)
    assert (charger.is_refusing, charger.refused_since_ns) == (is_refusing, since_ns)


@pytest.mark.parametrize(("watchdog_ns", "ceiling_mA"), [(None, 6000), (1, 8000)])
def test_refused_write_may_not_feed_a_watchdog(watchdog_ns: int | None, ceiling_mA: int) -> None:
    charger = written(6000, 6000, REFUSED, {"watchdog_ns": watchdog_ns})
    assert (charger.ceiling_mA, charger.reserve_mA) == (ceiling_mA, ceiling_mA)
    assert written(6000, 6000, GOOD, {"watchdog_ns": watchdog_ns}).ceiling_mA == 6000


@pytest.mark.parametrize(
    ("before_mA", "value_mA", "code", "on_since_ns"),
    [
        (0, 6000, GOOD, NOW_ns),
        (0, 0, GOOD, LONG_AGO_ns),
        (6000, 8000, GOOD, LONG_AGO_ns),
        (6000, 0, GOOD, LONG_AGO_ns),
        (0, 6000, REFUSED, LONG_AGO_ns),
    ],
)
def test_current_is_on_since(before_mA: int, value_mA: int, code: int, on_since_ns: int) -> None:
    assert written(before_mA, value_mA, code).on_since_ns == on_since_ns


def test_message_without_an_answer_brings_the_fallback() -> None:
    held = still()
    charger = held.set(0, 6000)
    charger.idle_phases = charger.unused_phases = 2
    held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    assert books(charger) == (6000, 8000, 8000, 1)
    assert (charger.is_silent, charger.is_unproven) == (1, 1)
    assert (charger.idle_phases, charger.unused_phases) == (0, 0)
    assert charger.code == NO_ANSWER


@pytest.mark.parametrize(
    ("ceiling_mA", "reserve_mA", "expected_mA"), [(9000, 6000, 9000), (6000, 10_000, 10_000)]
)
def test_message_without_an_answer_lowers_no_reserve(
    ceiling_mA: int, reserve_mA: int, expected_mA: int
) -> None:
    held = still()
    charger = held.set(0, 6000)
    set_fields(charger, ceiling_mA=ceiling_mA, reserve_mA=reserve_mA)
    held.core.charger_answered(0, BAD_FRAME, NOW_ns)
    assert charger.reserve_mA == expected_mA


@pytest.mark.parametrize("code", [GOOD, REFUSED, NOT_SENT, IMPLAUSIBLE, NEVER])
def test_other_answers_make_nobody_silent(code: int) -> None:
    held = still()
    held.set(0, 6000)
    held.core.charger_answered(0, code, NOW_ns)
    held.core.charger_status(0, code, "C", (0, 0, 0), None, NOW_ns)
    assert held.chargers[0].is_silent == 0


@pytest.mark.parametrize("code", [NO_ANSWER, BAD_FRAME])
def test_status_without_an_answer_makes_it_silent(code: int) -> None:
    held = still()
    held.set(0, 6000)
    held.core.charger_status(0, code, None, None, None, NOW_ns)
    assert held.chargers[0].is_silent == 1


def three_of_them() -> Still:
    return Still(site([circuit("main", 100_000)], [charger("x")] * 3))


@pytest.mark.parametrize("i", range(3))
def test_one_that_is_back_is_raised_at_its_own_offset(i: int) -> None:
    """10 s of stagger among three."""
    held = three_of_them()
    charger = held.set(i, 6000)
    charger.is_silent = True
    held.core.probe_done(i, GOOD, NOW_ns)
    assert charger.is_silent == 0
    assert charger.raise_after_ns == NOW_ns + 10 * NS_PER_S * (i + 1) // 3


@pytest.mark.parametrize(("is_silent", "code"), [(0, GOOD), (1, REFUSED), (1, NO_ANSWER)])
def test_only_an_acknowledged_probe_of_a_silent_one_brings_it_back(
    is_silent: int, code: int
) -> None:
    held = three_of_them()
    charger = held.set(1, 6000)
    charger.is_silent, charger.raise_after_ns = is_silent, 7
    held.core.probe_done(1, code, NOW_ns)
    assert (charger.is_silent, charger.raise_after_ns) == (is_silent, 7)


@pytest.mark.parametrize(
    ("found_mA", "failsafe_mA", "expected_mA"),
    [
        (None, 6000, 0),
        (16_000, 6000, 6000),
        (6000, 16_000, 6000),
        (7960, 16_000, 7900),
        (5999, 16_000, 0),
        (7000, 0, 0),
    ],
)
def test_arming_starts_from_min_of_found_and_failsafe_on_the_grid(
    found_mA: int | None, failsafe_mA: int, expected_mA: int
) -> None:
    held = still()
    charger = held.chargers[0]
    flags = ("is_overdue", "is_refusing", "is_above", "is_silent")
    set_fields(charger, is_armed=False, failsafe_mA=failsafe_mA, **dict.fromkeys(flags, True))
    held.core.charger_armed(0, True, found_mA)
    assert charger.setpoint_mA == expected_mA
    assert (charger.ceiling_mA, charger.is_acknowledged, charger.is_unproven) == (20_000, 0, 1)
    assert charger.is_armed == 1
    assert [getattr(charger, name) for name in flags] == [0, 0, 0, 0]


def test_arming_one_that_is_armed_and_answers_changes_nothing() -> None:
    held = still()
    charger = held.set(0, 10_000)
    held.core.charger_armed(0, True, 6000)
    assert books(charger) == (10_000, 10_000, 10_000, 1)
    charger.is_silent = True
    held.core.charger_armed(0, True, 6000)
    assert (charger.setpoint_mA, charger.is_silent) == (6000, 0)


def test_one_that_lost_its_settings_counts_at_its_rating() -> None:
    held = still()
    charger = held.set(0, 10_000)
    charger.idle_phases = charger.unused_phases = 1
    held.core.charger_armed(0, False, None)
    assert (charger.is_armed, charger.ceiling_mA, charger.is_unproven) == (0, 20_000, 1)
    assert (charger.idle_phases, charger.unused_phases) == (0, 0)


# Samples. A setpoint of 10 A under a ceiling of 16 A, acknowledged at a time that is given.
def sampled(
    draws_mA: tuple[int, int, int] | int,
    ago_ns: int,
    row: dict[str, Any] | None = None,
    **state: Any,
) -> Any:
    held = still(**row or {})
    charger = held.set(0, 10_000)
    before = {"ceiling_mA": 16_000, "is_unproven": True, "acknowledged_at_ns": NOW_ns - ago_ns}
    set_fields(charger, **{**before, **state})
    draw_mA = (draws_mA, 0, 0) if isinstance(draws_mA, int) else draws_mA
    held.core.charger_status(0, GOOD, "C", draw_mA, None, NOW_ns)
    return charger


@pytest.mark.parametrize(
    ("draw_mA", "state", "is_proven"),
    [
        # It was above and came down to about its setpoint: within 2 A, not above.
        (10_000, {"has_seen_above": True}, True),
        (8000, {"has_seen_above": True}, True),
        (7999, {"has_seen_above": True}, False),
        (10_001, {"has_seen_above": True}, False),
        # It was never seen above: time alone proves, and has not run.
        (10_000, {}, False),
        (0, {}, False),
    ],
)
def test_proof_by_a_fall(draw_mA: int, state: dict[str, Any], is_proven: bool) -> None:
    charger = sampled(draw_mA, NS_PER_S, **state)
    assert charger.is_unproven == (not is_proven)
    assert charger.ceiling_mA == (10_000 if is_proven else 16_000)
    assert charger.has_seen_above == (bool(state) and not is_proven)


@pytest.mark.parametrize("p", range(3))
def test_proof_looks_at_the_highest_phase(p: int) -> None:
    draws_mA = tuple(10_601 if q == p else 0 for q in range(3))
    assert sampled(draws_mA, NS_PER_S, has_seen_above=True).is_unproven == 1
    assert sampled(draws_mA, FOLLOW_ns + CAR_ns).is_unproven == 1


def test_pause_is_told_by_time_alone() -> None:
    held = still()
    charger = held.set(0, 0)
    values = {"ceiling_mA": 16_000, "is_unproven": True, "has_seen_above": True}
    set_fields(charger, acknowledged_at_ns=NOW_ns - NS_PER_S, **values)
    held.core.charger_status(0, GOOD, "C", (0, 0, 0), None, NOW_ns)
    assert charger.is_unproven == 1


@pytest.mark.parametrize(
    ("draw_mA", "ago_ns", "is_proven"),
    [
        # The follow time, and the time of the car once more.
        (10_000, FOLLOW_ns + CAR_ns - 1, False),
        (10_000, FOLLOW_ns + CAR_ns, True),
        (0, FOLLOW_ns + CAR_ns, True),
        # The tolerance of a pilot is not above.
        (10_600, FOLLOW_ns + CAR_ns, True),
        (10_601, FOLLOW_ns + CAR_ns, False),
    ],
)
def test_proof_by_time_that_a_sample_ends(draw_mA: int, ago_ns: int, is_proven: bool) -> None:
    charger = sampled(draw_mA, ago_ns)
    assert charger.is_unproven == (not is_proven)


@pytest.mark.parametrize(
    ("ago_ns", "state"),
    [
        (0, {}),  # taken when it was acknowledged, not after
        (FOLLOW_ns + CAR_ns, {"is_acknowledged": False}),
    ],
)
def test_sample_that_proves_nothing(ago_ns: int, state: dict[str, Any]) -> None:
    charger = sampled(10_000, ago_ns, has_seen_above=True, **state)
    assert (charger.is_unproven, charger.ceiling_mA) == (1, 16_000)


@pytest.mark.parametrize(
    ("draw_mA", "state", "is_above", "above_mA", "since_ns"),
    [
        # First seen above: since the acknowledgement of the setpoint that it does not keep to.
        (10_601, {}, 1, 10_000, NOW_ns - NS_PER_S),
        (10_600, {}, 0, 5, 5),
        # Above an earlier one already: no new time ...
        (12_601, {"is_above": True, "above_mA": 12_000}, 1, 12_000, 5),
        # ... unless it has followed that one in between.
        (12_600, {"is_above": True, "above_mA": 12_000}, 1, 10_000, NOW_ns - NS_PER_S),
        (10_600, {"is_above": True, "above_mA": 12_000}, 0, 12_000, 5),
    ],
)
def test_above_since(
    draw_mA: int, state: dict[str, Any], is_above: int, above_mA: int, since_ns: int
) -> None:
    charger = sampled(draw_mA, NS_PER_S, **{"above_mA": 5, "above_since_ns": 5, **state})
    assert charger.is_above == is_above
    assert charger.above_mA == above_mA
    assert charger.above_since_ns == since_ns


@pytest.mark.parametrize(
    ("ago_ns", "state", "is_overdue"),
    [
        (FOLLOW_ns - 1, {}, 0),
        (FOLLOW_ns, {}, 1),
        (NS_PER_S, {"is_overdue": True}, 1),
        (NS_PER_S, {"is_stubborn": True}, 1),
    ],
)
def test_overdue_from_the_follow_time_on(
    ago_ns: int, state: dict[str, Any], is_overdue: int
) -> None:
    charger = sampled(12_000, ago_ns, **state)
    assert (charger.is_overdue, charger.has_seen_above) == (is_overdue, 1)


def test_proof_clears_what_was_held_against_it() -> None:
    flags = ("is_above", "has_seen_above", "is_overdue")
    charger = sampled(10_000, NS_PER_S, **dict.fromkeys(flags, True))
    assert [getattr(charger, name) for name in flags] == [0, 0, 0]
    assert (charger.ceiling_mA, charger.is_unproven) == (10_000, 0)


@pytest.mark.parametrize(
    ("draw_mA", "is_acknowledged", "is_stubborn"),
    [(10_600, True, 0), (10_601, True, 1), (0, False, 1)],
)
def test_one_seen_to_obey_is_stubborn_no_more(
    draw_mA: int, is_acknowledged: bool, is_stubborn: int
) -> None:
    charger = sampled(draw_mA, 0, is_stubborn=True, is_acknowledged=is_acknowledged)
    assert charger.is_stubborn == is_stubborn


# Doubt: a proven setpoint of 10 A.
@pytest.mark.parametrize(
    ("draw_mA", "over_mA", "is_unproven", "ceiling_mA"),
    [
        (10_000, 0, 0, 10_000),
        (10_001, 1, 0, 10_000),
        (10_600, 600, 0, 10_000),
        (10_601, 0, 1, 10_601),
    ],
)
def test_seen_above_a_proven_setpoint(
    draw_mA: int, over_mA: int, is_unproven: int, ceiling_mA: int
) -> None:
    proven = {"is_unproven": False, "ceiling_mA": 10_000}
    charger = sampled(draw_mA, NS_PER_S, **proven)
    assert (charger.over_mA, charger.is_unproven) == (over_mA, is_unproven)
    assert charger.ceiling_mA == ceiling_mA
    assert charger.acknowledged_at_ns == (NOW_ns if is_unproven else NOW_ns - NS_PER_S)
    assert charger.is_above == is_unproven
    assert sampled(draw_mA, NS_PER_S, over_mA=500, **proven).over_mA == max(500, over_mA)


def test_draw_beside_a_setpoint_of_0_is_no_habit() -> None:
    held = still()
    charger = held.set(0, 0)
    charger.acknowledged_at_ns = NOW_ns - NS_PER_S
    held.core.charger_status(0, GOOD, "C", (600, 0, 0), None, NOW_ns)
    assert (charger.over_mA, charger.is_unproven) == (0, 0)


def test_sample_when_it_was_acknowledged_is_no_doubt() -> None:
    charger = sampled(10_300, 0, is_unproven=False, ceiling_mA=10_000)
    assert charger.over_mA == 0


# Time without a measured current: twice the follow time.
@pytest.mark.parametrize(
    ("ago_ns", "state", "is_proven"),
    [
        (2 * FOLLOW_ns - 1, {}, False),
        (2 * FOLLOW_ns, {}, True),
        (2 * FOLLOW_ns, {"is_acknowledged": False}, False),
        (2 * FOLLOW_ns, {"is_armed": False}, False),
        (2 * FOLLOW_ns, {"is_silent": True}, False),
        (2 * FOLLOW_ns, {"has_seen_above": True}, False),
        # The box says that more is in force.
        (2 * FOLLOW_ns, {"has_reported": True, "reported_mA": 10_601}, False),
        (2 * FOLLOW_ns, {"has_reported": True, "reported_mA": 10_600}, True),
    ],
)
def test_proof_by_time_alone(ago_ns: int, state: dict[str, Any], is_proven: bool) -> None:
    held = still(has_measured_current=False)
    charger = held.set(0, 10_000)
    before = {"ceiling_mA": 16_000, "is_unproven": True, "acknowledged_at_ns": NOW_ns - ago_ns}
    set_fields(charger, **{**before, **state})
    held.step()
    assert charger.is_unproven == (not is_proven)


@pytest.mark.parametrize(
    ("state", "reserve_mA"),
    [
        ({}, 10_000),
        ({"ceiling_mA": 12_000}, 12_000),
        ({"ceiling_mA": 8000}, 10_000),
        ({"is_armed": False}, 20_000),
        ({"is_armed": False, "ceiling_mA": 22_000}, 22_000),
        ({"over_mA": 300}, 10_300),
        ({"over_mA": 300, "setpoint_mA": 0, "ceiling_mA": 0}, 0),
        ({"over_mA": 300, "setpoint_mA": 1, "ceiling_mA": 1}, 301),
        # The box says more: beyond the tolerance, and longer than it may hold a setpoint back.
        ({"has_reported": True, "reported_mA": 10_601, "acknowledged_at_ns": 0}, 10_601),
        ({"has_reported": True, "reported_mA": 10_600, "acknowledged_at_ns": 0}, 10_000),
        ({"has_reported": False, "reported_mA": 12_000, "acknowledged_at_ns": 0}, 10_000),
        (
            {"has_reported": True, "reported_mA": 12_000}
            | {"acknowledged_at_ns": NOW_ns - 5 * NS_PER_S},
            10_000,
        ),
        (
            {"has_reported": True, "reported_mA": 12_000}
            | {"acknowledged_at_ns": NOW_ns - 5 * NS_PER_S - 1},
            12_000,
        ),
        (
            {"has_reported": True, "reported_mA": 12_000, "acknowledged_at_ns": 0}
            | {"ceiling_mA": 13_000},
            13_000,
        ),
        # Less than its minimum is a pause, not a setpoint.
        (
            {"has_reported": True, "reported_mA": 5999, "setpoint_mA": 0, "ceiling_mA": 0}
            | {"acknowledged_at_ns": 0},
            0,
        ),
        (
            {"has_reported": True, "reported_mA": 6000, "setpoint_mA": 0, "ceiling_mA": 0}
            | {"acknowledged_at_ns": 0},
            6000,
        ),
    ],
)
def test_reserve(state: dict[str, Any], reserve_mA: int) -> None:
    held = still()
    charger = held.set(0, 10_000, draw_mA=0)
    set_fields(charger, **state)
    held.step()
    assert charger.reserve_mA == reserve_mA


def test_reserve_of_one_that_is_switched_off_for_good_is_none() -> None:
    held = still(is_isolated=True)
    held.set(0, 10_000)
    held.step()
    assert held.chargers[0].reserve_mA == 0


# Samples of the last seconds: ring slots, newest first, as (age in s, draw in mA).
def with_samples(held: Still, samples: list[tuple[float, int]], p: int = 0, at: int = 5) -> Any:
    charger = held.set(0, 6000, draw_mA=0)
    charger.sample_i, charger.n_samples = at, len(samples)
    for k in range(8):
        charger.sample_at_ns[k] = 0
        charger.sample_mA[3 * k : 3 * k + 3] = [99_000] * 3  # not to be looked at
    for k, (age_s, draw_mA) in enumerate(samples):
        slot = (at - k) % 8
        charger.sample_at_ns[slot] = NOW_ns - int(age_s * NS_PER_S)
        charger.sample_mA[3 * slot : 3 * slot + 3] = [draw_mA if q == p else 0 for q in range(3)]
    return charger


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("at", [0, 5, 7])
@pytest.mark.parametrize(
    ("samples", "reserve_mA"),
    [
        ([(0, 7000), (1, 9000), (2, 8000), (3, 15_000)], 9000),
        # The last one at or before the time that the meter may be late by, 2 s, counts still.
        ([(0, 7000), (1, 7500), (2.1, 8000), (3, 15_000)], 8000),
        ([(0, 7000), (1, 7500), (1.9, 8000), (2, 9000), (2.1, 15_000)], 9000),
        ([(0, 7000)], 7000),
        ([(k / 10, 7000 + 100 * k) for k in range(8)], 7700),
    ],
)
def test_reserve_holds_what_was_drawn_while_the_meter_is_late(
    samples: list[tuple[float, int]], reserve_mA: int, at: int, p: int
) -> None:
    main = circuit("main", 100_000, is_dynamic=True, meter=0, background_mA=1)
    held = Still(site([main], [charger("a")], [meter("grid", 2 * NS_PER_S)]))
    row = with_samples(held, samples, p, at)
    held.step()
    assert row.reserve_mA == reserve_mA


def test_samples_fill_a_ring_of_eight() -> None:
    held = still()
    charger = held.chargers[0]
    charger.n_samples = charger.sample_i = 0
    for k in range(1, 11):
        held.core.charger_status(0, GOOD, "C", (k, 20 * k, 300 * k), None, NOW_ns + k)
        assert (charger.n_samples, charger.sample_i) == (min(k, 8), k % 8)
        assert charger.sample_at_ns[k % 8] == NOW_ns + k
        assert list(charger.sample_mA[3 * (k % 8) :][:3]) == [k, 20 * k, 300 * k]
        assert list(charger.draw_mA) == [k, 20 * k, 300 * k]


def test_sample_of_a_box_that_lags_counts_as_old_as_it_may_be() -> None:
    """Told 6 A a second ago; what it answers may be older than that."""
    for lag_ns, is_proven in ((NS_PER_S - 1, True), (NS_PER_S, False)):
        held = still(draw_lag_ns=lag_ns)
        row = held.set(0, 6000, 9000)
        set_fields(row, ceiling_mA=9000, is_unproven=True, has_seen_above=True)
        row.acknowledged_at_ns = NOW_ns - NS_PER_S
        held.core.charger_status(0, GOOD, "C", (6000, 6000, 6000), None, NOW_ns)
        assert row.sample_at_ns[row.sample_i] == NOW_ns - lag_ns
        assert row.is_unproven == (not is_proven)
