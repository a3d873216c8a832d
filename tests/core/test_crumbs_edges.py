"""Crumbs at their edges: in which turn the last steps go out, and which limit stopped whom."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl.tables import ChargerRow, CircuitRow
from tests.support.core_sites import charger, circuit, site
from tests.support.still import Still

WIDE_mA = 90_000


def car(phases: tuple[int, ...], step_mA: int, weight: int = 1, **changes: Any) -> ChargerRow:
    row = {"min_mA": 1000, "max_mA": 63_000, "circuit_i": 0, **changes}
    return charger("x", phases=phases, step_mA=step_mA, weight=weight, **row)


def rest(circuits: list[CircuitRow], rows: list[ChargerRow]) -> list[tuple[int, int, int]]:
    """Grants, and the circuit and phase that each is bound by; the same when asked again."""
    held = Still(site(circuits, rows))
    answers = []
    for _ in range(3):
        held.core.settle([True] * len(rows))
        assert all(row.has_binding for row in held.chargers)
        answers.append(
            [(row.grant_mA, row.binding_circuit, row.binding_kind) for row in held.chargers]
        )
    assert answers[0] == answers[1] == answers[2]
    return answers[0]


def test_two_limits_that_are_short_in_one_round_are_shared_out_in_turn() -> None:
    """L2 and L3 have no room for all in the same round: the last one finds L3 the tighter, since
    all before it took their steps first."""
    rows = [
        car((2,), 100),
        car((1, 2), 1000, 2),
        car((1,), 100),
        car((1,), 1000),
        car((1, 2), 700),
    ]
    assert rest([circuit("main", (WIDE_mA, 14_760, 11_715))], rows) == [
        (3200, 0, 2), (5000, 0, 2), (3200, 0, 1), (3000, 0, 1), (3500, 0, 2),
    ]  # fmt: skip


def test_limit_that_was_short_in_one_round_is_looked_at_in_the_next() -> None:
    rows = [
        car((0, 1), 500),
        car((1,), 1000, 3),
        car((1,), 1000, 3),
        car((2, 0, 1), 1000, 3),
        car((2,), 1000),
        car((0, 2, 1), 1000, 6),
        car((0,), 100),
        car((1, 2, 0), 1000, 3),
        car((1,), 100, 3),
    ]
    assert rest([circuit("main", (WIDE_mA, 72_000, WIDE_mA))], rows) == [
        (4000, 0, 1), (10_000, 0, 1), (10_000, 0, 1), (10_000, 0, 1), (52_000, 0, 2),
        (19_000, 0, 1), (48_000, 0, 0), (9000, 0, 1), (10_000, 0, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit_mA", "kind"),
    [
        # The tighter one, wherever it stands; of equal ones the first.
        ((6757, WIDE_mA, 6704), 2),
        ((6704, WIDE_mA, 6757), 0),
        ((6704, WIDE_mA, 6704), 0),
    ],
)
def test_last_step_is_stopped_by_the_tightest_limit(
    limit_mA: tuple[int, int, int], kind: int
) -> None:
    rows = [car((2, 0), 100), car((0, 2), 1000)]
    assert rest([circuit("main", limit_mA)], rows) == [(3700, 0, kind), (3000, 0, kind)]


def test_limits_of_circuits_above_hold_to_the_last_step() -> None:
    """L3 of the main circuit, whatever power and the circuit in between would allow."""
    circuits = [
        circuit("main", (WIDE_mA, WIDE_mA, 9879), limit_W=18_116),
        circuit("sub", WIDE_mA, 0),
    ]
    rows = [car((2,), 10, circuit_i=1), car((2,), 1000), car((2,), 100)]
    assert rest(circuits, rows) == [(3370, 0, 2), (3000, 0, 2), (3500, 0, 2)]


def test_lower_tier_changes_nothing_of_what_is_said_of_a_higher_one() -> None:
    rows = [car((1, 2), 1000, priority=1), car((2,), 1000, priority=1), car((1,), 100)]
    assert rest([circuit("main", (WIDE_mA, 18_355, 11_621))], rows) == [
        (5000, 0, 1), (6000, 0, 2), (13_300, 0, 1),
    ]  # fmt: skip


def test_unbalance_of_a_sub_circuit_stays_what_it_is() -> None:
    circuits = [
        circuit("main", (9490, WIDE_mA, WIDE_mA)),
        circuit("sub", WIDE_mA, 0, unbalance_mA=15_551),
    ]
    rows = [car((0,), 50), car((2, 0), 1000, circuit_i=1)]
    assert rest(circuits, rows) == [(5450, 0, 0), (4000, 0, 0)]


def test_all_limits_of_a_circuit_may_be_short_in_one_round() -> None:
    """Each phase leaves as little as unbalance does, and power as little as the phases together."""
    main = circuit("main", 12_950, unbalance_mA=12_950, limit_W=8936)
    rows = [car((p,), step_mA) for p in range(3) for step_mA in (1000, 100)]
    grants = rest([main], rows)
    assert [grant_mA for grant_mA, _, _ in grants] == [6000, 6900] * 3


def test_step_that_a_share_is_a_hair_below_goes_first() -> None:
    """50 A is what fractions of others leave of L2: worked out a hair too low, it is that step."""
    rows = [
        car((0, 2), 1000, 6),
        car((2, 0, 1), 1000, 3),
        car((0,), 1000, 6),
        car((1,), 1000),
        car((0,), 1000, 3),
        car((1, 2), 1000),
        car((0,), 1000, 3),
        car((0,), 1000, 3),
        car((0, 2), 1000, 3),
    ]
    grants = rest([circuit("main", (60_000, WIDE_mA, 60_000))], rows)
    assert [grant_mA for grant_mA, _, _ in grants] == [
        14_000, 7000, 14_000, 50_000, 7000, 33_000, 6000, 6000, 6000,
    ]  # fmt: skip
