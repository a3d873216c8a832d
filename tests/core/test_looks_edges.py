"""Looks and the last judgement at their edges: whose sample could make a give fit."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason

from loadctl.tables import ChargerRow
from tests.support.core_sites import NO_ANSWER, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

GIVE = Action.ACTION_GIVE
QUICK = {"soft_start_ns": 0, "ramp_mA_per_s": 1_000_000, "deadband_mA": 0}


def later(row: Any) -> Any:
    """Nothing is raised here now."""
    row.raise_after_ns = NOW_ns + 1
    return row


def in_doubt(row: Any, ceiling_mA: int) -> None:
    """May still take this much, and was last sampled a while ago."""
    row.ceiling_mA = row.reserve_mA = ceiling_mA
    row.is_unproven = True
    row.acknowledged_at_ns = NOW_ns - NS_PER_S
    for k in range(8):
        row.sample_at_ns[k] = NOW_ns - 2 * NS_PER_S


def read_at(held: Still, n: int, load_mA: int) -> None:
    for m in range(n):
        held.read(m, load_mA)


def test_doubt_is_looked_at_only_where_a_give_waits() -> None:
    """a is given more in its own circuit. In the other one b's reserve passes the limit, and c
    would be raised later: that is no reason to read b now."""
    circuits = [
        circuit("main", 200_000, is_dynamic=True, meter=0),
        circuit("one", 90_000, 0),
        circuit("two", 24_000, 0),
    ]
    rows = [charger("a", 1), charger("b", 2), charger("c", 2)]
    held = Still(site(circuits, rows, [meter("m")], **QUICK))
    held.set(0, 8000)
    in_doubt(later(held.set(1, 10_000)), 20_000)
    later(held.set(2, 8000))
    read_at(held, 1, 30_000)
    held.step()
    assert held.chargers[0].action == GIVE
    assert list(held.circuits[2].is_overloaded) == [0, 0, 0]
    assert held.core.looks() == []


@pytest.mark.parametrize("p", range(3))
def test_doubt_is_looked_at_whichever_of_its_limits_a_give_waits_in(p: int) -> None:
    """b may use two phases; a, of one, waits for the second of them."""
    q = (p + 1) % 3
    limit_mA = [90_000] * 3
    limit_mA[q] = 20_000
    main = circuit("main", (limit_mA[0], limit_mA[1], limit_mA[2]), is_dynamic=True, meter=0)
    rows = [charger("b", phases=(p, q)), charger("a", phases=(q,))]
    held = Still(site([main], rows, [meter("m")], **QUICK))
    in_doubt(later(held.set(0, 6000)), 14_000)
    held.set(1, 8000)
    read_at(held, 1, 14_000)
    held.step()
    assert held.chargers[1].action == GIVE
    assert 0 in held.core.looks()


def test_draw_is_looked_at_below_whichever_circuit_its_meter_stands_in() -> None:
    """What b draws tells what is background, in the last of six circuits."""
    circuits = [circuit("main", 200_000)]
    circuits += [circuit(f"sub{k}", 200_000, 0) for k in range(4)]
    circuits += [circuit("last", 30_000, 0, is_dynamic=True, meter=0)]
    rows = [charger("a", 5), charger("b", 5)]
    held = Still(site(circuits, rows, [meter("m")], **QUICK))
    held.set(0, 8000)
    b = later(held.set(1, 8000, 6000))
    for k in range(8):
        b.sample_at_ns[k] = NOW_ns - 2 * NS_PER_S
    main = held.circuits[5]
    main.n_peaks = main.n_dips = 0
    read_at(held, 1, 26_000)
    held.step()
    assert held.chargers[0].action == GIVE
    assert 1 in held.core.looks()


def unbalanced(b_is_doubted: bool) -> Still:
    """Two of L1 that may differ by 16 A from the other phases: b took 9 A a moment ago."""
    main = circuit("main", 90_000, is_dynamic=True, meter=0, unbalance_mA=16_000)
    rows = [charger("a", phases=(0,)), charger("b", phases=(0,))]
    held = Still(site([main], rows, [meter("m", 5 * NS_PER_S)], **QUICK))
    held.set(0, 6000)
    b = later(held.set(1, 6000))
    b.n_samples, b.sample_i = 2, 1
    for slot, (ago_s, draw_mA) in enumerate(((2, 9000), (1, 6000))):
        b.sample_at_ns[slot] = NOW_ns - ago_s * NS_PER_S
        b.sample_mA[3 * slot] = draw_mA
    if b_is_doubted:
        in_doubt(b, 9000)
    read_at(held, 1, 12_000)
    held.step()
    assert held.chargers[0].action == GIVE
    return held


@pytest.mark.parametrize("is_doubted", [True, False])
def test_draw_is_of_no_use_in_a_limit_that_has_no_background(is_doubted: bool) -> None:
    """A sample may prove a setpoint there; it tells nothing of one that is proven."""
    assert unbalanced(is_doubted).core.looks() == ([1] if is_doubted else [])


def wide(name: str, **changes: Any) -> ChargerRow:
    return charger(name, **{"max_mA": 32_000, "rated_mA": 32_000, **changes})


def test_one_that_fell_silent_since_is_not_said_to_wait_for_a_proof() -> None:
    held = Still(site([circuit("main", 20_000)], [wide("a", fallback_mA=32_000)], **QUICK))
    row = held.set(0, 10_000)
    held.step()
    assert row.action == GIVE
    before = row.reason
    held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    held.confirm()
    assert row.reserve_mA == 32_000
    assert (row.action, row.reason) == (0, before)


def given(limit_mA: int, a: ChargerRow, other_mA: int, **state: Any) -> Any:
    """a is to rise from 10 A, beside b who may take so much."""
    held = Still(site([circuit("main", limit_mA)], [a, wide("b")], **QUICK))
    row = held.set(0, 10_000)
    held.set(1, 0)
    held.chargers[1].state = 1
    held.step()
    assert row.action == GIVE
    held.chargers[1].ceiling_mA = other_mA
    for name, value in state.items():
        setattr(row, name, value)
    held.confirm()
    return row


def test_give_within_its_own_reserve_needs_no_room() -> None:
    row = given(40_000, charger("a"), 24_000, ceiling_mA=16_000)
    assert (row.action, row.action_mA) == (GIVE, 16_000)
    assert row.reason != Reason.WAITS_FOR_PROOF


def test_give_that_a_habit_leaves_no_room_for_waits_for_a_proof() -> None:
    row = given(40_000, wide("a"), 8000, over_mA=500)
    assert (row.action_mA, row.reason) == (31_500, Reason.WAITS_FOR_PROOF)


@pytest.mark.parametrize("limit_mA", [30_000, 29_999])
def test_habit_of_one_without_current_takes_no_room(limit_mA: int) -> None:
    """10 A that a is given and 20 A that b may take just fit; c, done, took 0.5 A too much."""
    main = circuit("main", 90_000, is_dynamic=True, meter=0)
    rows = [charger(name, 1, max_mA=10_000) for name in "abc"]
    held = Still(site([main, circuit("sub", limit_mA, 0)], rows, [meter("m")], **QUICK))
    held.set(0, 8000)
    in_doubt(later(held.set(1, 10_000)), 20_000)
    c = held.set(2, 0, 0)
    c.over_mA, c.session, c.offered_at_ns = 500, 4, NOW_ns - 200 * NS_PER_S
    read_at(held, 1, 18_000)
    held.step()
    assert held.chargers[0].action_mA == 10_000
    assert (1 in held.core.looks()) == (limit_mA < 30_000)
