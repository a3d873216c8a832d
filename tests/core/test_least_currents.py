"""The least current that there is, 1 mA, counts like any other: as a setpoint, a gap, a rest."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason
from loadctl.law.session import Pause

from loadctl.tables import ChargerRow
from tests.support.core_sites import GOOD, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

LEAST = {"min_mA": 1, "step_mA": 1, "failsafe_mA": 1, "fallback_mA": 1}
CHARGING, DONE = 3, 4
LIMITED, LOST = 2, 3


def least(name: str = "a", **changes: Any) -> ChargerRow:
    return charger(name, **{**LEAST, **changes})


def below(limit_mA: Any, *rows: ChargerRow, **changes: Any) -> Still:
    return Still(site([circuit("main", limit_mA, **changes)], list(rows or [least()])))


def test_session_of_1_mA_is_paused_by_a_full_limit() -> None:
    held = below(0)
    row = held.set(0, 1)
    held.step()
    assert (row.action, row.action_mA) == (Action.ACTION_TAKE, 0)
    assert (row.was_paused, row.pause, row.off_since_ns) == (1, Pause.PAUSE_LIMIT, NOW_ns)
    assert list(held.circuits[0].is_overloaded) == [1, 1, 1]


def test_session_of_1_mA_is_paused_when_it_is_done() -> None:
    held = below(90_000)
    row = held.set(0, 1, 0)
    row.session, row.offered_at_ns = DONE, NOW_ns - 200 * NS_PER_S
    row.has_fitted = True
    held.step()
    assert (row.action_mA, row.pause, row.has_fitted) == (0, Pause.PAUSE_DONE, 0)


def test_sessions_of_1_mA_are_spared_a_pause_like_others() -> None:
    """One of 12 A in place of two that have 1 mA."""
    held = below(12_000, least("a", min_mA=12_000), charger("b"), charger("c"))
    for i, setpoint_mA in enumerate((12_000, 1, 1)):
        row = held.set(i, setpoint_mA)
        row.on_since_ns = row.admitted_since_ns = NOW_ns - 400 * NS_PER_S
        row.session, row.is_admitted = CHARGING, True
    held.step()
    assert [row.is_admitted for row in held.chargers] == [0, 1, 1]


def test_failsafe_target_of_1_mA_falls_where_nothing_is_left_for_it() -> None:
    held = below(90_000, takes_external=True, loss_mA=(0, 0, 0))
    held.set(0, 0)
    held.step()
    assert held.chargers[0].failsafe_mA == 0


def test_cap_is_kept_while_1_mA_is_offered() -> None:
    held = below(90_000)
    row = held.set(0, 1)
    row.has_cap, row.cap_mA, row.is_silent = True, 5000, True
    held.step()
    assert (row.has_cap, row.takes_less) == (1, 0)


def test_current_of_1_mA_is_on() -> None:
    held = below(90_000)
    row = held.set(0, 0)
    row.action, row.action_mA = Action.ACTION_GIVE, 1
    held.core.give_done(0, GOOD, NOW_ns)
    assert (row.setpoint_mA, row.on_since_ns) == (1, NOW_ns)


def test_arming_without_a_known_setpoint_starts_from_none() -> None:
    held = below(90_000)
    row = held.chargers[0]
    row.is_armed, row.failsafe_mA = False, 1
    held.core.charger_armed(0, True, None)
    assert row.setpoint_mA == 0
    row.is_armed = False
    held.core.charger_armed(0, True, 1)
    assert row.setpoint_mA == 1


@pytest.mark.parametrize(("draw_mA", "over_mA"), [(1, 0), (2, 1)])
def test_habit_above_1_mA_counts(draw_mA: int, over_mA: int) -> None:
    held = below(90_000)
    row = held.set(0, 1)
    held.core.charger_status(0, GOOD, "C", (draw_mA, 0, 0), None, NOW_ns)
    assert row.over_mA == over_mA


def test_fall_to_1_mA_proves_it() -> None:
    held = below(90_000)
    row = held.set(0, 1)
    row.ceiling_mA, row.is_unproven, row.has_seen_above = 16_000, True, True
    row.acknowledged_at_ns = NOW_ns - NS_PER_S
    held.core.charger_status(0, GOOD, "C", (1, 0, 0), None, NOW_ns)
    assert (row.is_unproven, row.ceiling_mA) == (0, 1)


def test_one_that_takes_nothing_has_not_come_down_to_its_setpoint() -> None:
    """2.001 A, and a fall proves from 2 A below on: 0 is not that, 1 mA is."""
    for draw_mA, is_unproven in ((0, 1), (1, 0)):
        held = below(90_000)
        row = held.set(0, 2001)
        row.ceiling_mA, row.is_unproven, row.has_seen_above = 16_000, True, True
        row.acknowledged_at_ns = NOW_ns - NS_PER_S
        held.core.charger_status(0, GOOD, "C", (draw_mA, 0, 0), None, NOW_ns)
        assert row.is_unproven == is_unproven


def test_most_that_a_car_took_may_be_nothing() -> None:
    held = below(90_000)
    row = held.set(0, 10_000, 0)
    row.session = CHARGING
    row.drew_at_ns = NOW_ns
    held.step()
    assert (row.takes_less, row.less_mA) == (1, 0)


@pytest.mark.parametrize(("draw_mA", "is_starving"), [(0, 0), (1, 1)])
def test_one_that_takes_no_more_than_its_fallback_is_not_starved(
    draw_mA: int, is_starving: int
) -> None:
    held = below(90_000, least(fallback_mA=0))
    row = held.set(0, 6000, draw_mA)
    row.ceiling_mA, row.is_unproven, row.is_overdue = 16_000, True, True
    held.step()
    assert row.is_starving == is_starving


def test_habit_of_1_mA_is_taken_off_from_what_is_shared() -> None:
    held = below(10_000)
    held.set(0, 5000).over_mA = 1
    held.step()
    assert held.chargers[0].share_low_mA == 9999


@pytest.mark.parametrize(
    ("setpoints_mA", "expected_mA", "reason"),
    [
        # b waits for the last mA of its share: a makes room.
        ((10_001, 9999), 10_000, Reason.MAKES_ROOM),
        # b has its share: a is left alone.
        ((9900, 10_000), 9900, None),
    ],
)
def test_raise_of_1_mA_is_made_room_for(
    setpoints_mA: tuple[int, int], expected_mA: int, reason: int | None
) -> None:
    rows = [least("a"), least("b")]
    held = Still(site([circuit("main", 20_000)], rows, deadband_mA=0))
    for i, setpoint_mA in enumerate(setpoints_mA):
        held.set(i, setpoint_mA).raise_after_ns = NOW_ns + 1
    held.step()
    row = held.chargers[0]
    assert row.action_mA == expected_mA
    if reason is not None:
        assert row.reason == reason


def fused(limit_mA: int, load_mA: int = 0) -> Still:
    """Below a fuse of 40 A that has to cool on L1: shares keep to 38 A there."""
    fuse = {"fuse_type": "gG", "fuse_rated_mA": 40_000}
    main = circuit("main", limit_mA, is_dynamic=True, meter=0, **fuse)
    held = Still(site([main], [least(phases=(0,), max_mA=63_000)], [meter("m")]))
    row = held.circuits[0]
    row.is_cooling[0] = row.has_heat_at = True
    row.heat_at_ns, row.heat_fx[0] = NOW_ns, (1 << 28) * 7 // 10
    held.read(0, load_mA)
    return held


@pytest.mark.parametrize(("limit_mA", "is_held_back"), [(38_001, 1), (38_000, 0)])
def test_fuse_that_cools_1_mA_below_its_limit_is_the_reason(
    limit_mA: int, is_held_back: int
) -> None:
    held = fused(limit_mA)
    row = held.set(0, 38_000, 0)
    row.raise_after_ns = 0
    held.step()
    assert (row.share_high_mA, held.circuits[0].is_held_back) == (38_000, is_held_back)
    assert row.reason == (Reason.COOLS_DOWN if is_held_back else Reason.FULL)


def test_running_session_of_1_mA_keeps_it_below_a_warm_fuse() -> None:
    held = fused(63_000, 40_000)
    row = held.set(0, 1)
    held.step()
    assert (row.is_admitted, row.share_high_mA) == (1, 1)


def test_command_may_run_out_after_1_ns() -> None:
    for ago_ns, state in ((1, LOST), (0, LIMITED)):
        outside = {"takes_external": True, "loss_mA": (9, 9, 9), "loss_after_ns": 1}
        held = below(90_000, **outside)
        held.core.external_limit(0, (50, 50, 50), None, None, NOW_ns - ago_ns)
        held.step()
        assert held.circuits[0].external_state == state
        assert list(held.circuits[0].limit_mA) == [9 if ago_ns else 50] * 3


def test_room_is_kept_for_1_mA() -> None:
    """b, who has waited for long, lacks 1 mA of L1; of L2 its 1 mA is kept from c."""
    rows = [charger("a", phases=(0,)), least("b", phases=(0, 1)), charger("c", phases=(1,))]
    for limit_mA, is_in in ((6000, 0), (6001, 1)):
        held = below((6000, limit_mA, 0), *rows)
        a = held.set(0, 6000)
        a.on_since_ns = a.admitted_since_ns = NOW_ns - 400 * NS_PER_S
        for i, ago_s in ((1, 3600), (2, 1)):
            row = held.set(i, 0)
            row.is_waiting, row.waits_since_ns = True, NOW_ns - ago_s * NS_PER_S
        held.step()
        assert [row.is_admitted for row in held.chargers] == [1, 0, is_in]


def test_take_of_1_mA_that_is_still_to_be_followed_explains_1_mA() -> None:
    main = circuit("main", 50_000, is_dynamic=True, meter=0, background_mA=50_000)
    for load_mA, is_above in ((50_001, 0), (50_002, 1)):
        held = Still(site([main], [least(phases=(0,))], [meter("m")]))
        row = held.set(0, 6000)
        row.ceiling_mA, row.is_unproven, row.n_samples = 6001, True, 0
        row.acknowledged_at_ns = NOW_ns - NS_PER_S
        held.read(0, (load_mA, 0, 0))
        held.step()
        assert list(held.circuits[0].is_above) == [is_above, 0, 0]
