"""What is noted of a charger that takes, or says, more than it was told: field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import GOOD, NS_PER_S, charger, circuit, site
from tests.support.still import NOW_ns, Still

TAKE, GIVE = 1, 2


def told(setpoint_mA: int, **row: Any) -> Still:
    held = Still(site([circuit("main", 100_000)], [charger("a", max_mA=32_000, **row)]))
    held.set(0, setpoint_mA)
    return held


def draws(held: Still, draw_mA: int, at_ns: int = NOW_ns) -> Any:
    held.core.charger_status(0, GOOD, "C", (draw_mA,) * 3, None, at_ns)
    return held.chargers[0]


def doubted() -> Still:
    """Proven at 8 A, seen at 12 A."""
    held = told(8000)
    row = draws(held, 12_000)
    assert (row.is_doubted, row.ceiling_mA, row.acknowledged_at_ns) == (1, 12_000, NOW_ns)
    return held


@pytest.mark.parametrize("draw_mA", [8000, 8600])
def test_draw_within_the_pilot_tolerance_is_not_doubted(draw_mA: int) -> None:
    assert draws(told(8000), draw_mA).is_doubted == 0


@pytest.mark.parametrize(
    ("action", "value_mA", "is_doubted"),
    [(TAKE, 6000, 1), (GIVE, 11_900, 1), (GIVE, 12_000, 0), (GIVE, 16_000, 0)],
)
def test_doubt_lasts_until_it_may_take_what_it_takes(
    action: int, value_mA: int, is_doubted: int
) -> None:
    held = doubted()
    row = held.chargers[0]
    row.action, row.action_mA = action, value_mA
    write = held.core.take_done if action == TAKE else held.core.give_done
    write(0, GOOD, NOW_ns + 1)
    assert (row.setpoint_mA, row.is_doubted) == (value_mA, is_doubted)


def test_doubt_ends_with_a_proof_and_a_proof_leaves_none() -> None:
    held = doubted()
    draws(held, 12_000, NOW_ns + NS_PER_S)
    row = draws(held, 8000, NOW_ns + 2 * NS_PER_S)
    assert (row.is_unproven, row.is_doubted) == (0, 0)


def test_one_that_is_armed_anew_is_not_doubted() -> None:
    for is_doubted in (0, 1):
        held = told(8000)
        row = held.chargers[0]
        row.is_armed, row.is_doubted = 0, is_doubted
        held.core.charger_armed(0, True, 8000)
        assert (row.is_armed, row.is_doubted) == (1, 0)


# Told 8 A a second ago instead of 16 A; what a box that does not measure says is in force.
@pytest.mark.parametrize(
    ("state", "reported_mA", "measures", "is_above"),
    [
        ({}, 16_000, False, 1),
        ({}, 8600, False, 0),
        ({"is_above": 1, "above_mA": 8000}, 8600, False, 0),
        # What it does not say changes nothing, nor what one says that measures.
        ({"is_above": 1, "above_mA": 8000}, None, False, 1),
        ({}, 16_000, True, 0),
        # One that did not acknowledge, or is proven, is not waited for.
        ({"is_acknowledged": 0}, 16_000, False, 0),
        ({"is_unproven": 0}, 16_000, False, 0),
        # It may have said so before it heard.
        ({"acknowledged_at_ns": NOW_ns}, 16_000, False, 0),
        ({"acknowledged_at_ns": NOW_ns - 1}, 16_000, False, 1),
    ],
)
def test_what_a_box_says_shows_whether_it_obeys_where_it_measures_nothing(
    state: dict[str, int], reported_mA: int | None, measures: bool, is_above: int
) -> None:
    held = told(8000, has_measured_current=measures)
    row = held.chargers[0]
    row.ceiling_mA, row.is_unproven = 16_000, 1
    row.acknowledged_at_ns = NOW_ns - NS_PER_S
    for name, value in state.items():
        setattr(row, name, value)
    held.core.charger_status(0, GOOD, "C", None, reported_mA, NOW_ns)
    assert row.is_above == is_above
