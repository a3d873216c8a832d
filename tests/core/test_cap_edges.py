"""Caps and unused phases at their edges: from when a car is held to what it takes, and on what."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import GOOD, NO_ANSWER, NS_PER_S, charger, circuit, site
from tests.support.still import NOW_ns, Still

UNUSED_ns = 60 * NS_PER_S
PROBE_ns = 120 * NS_PER_S
OFFERED, CHARGING, DONE = 2, 3, 4


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, (tuple, list)):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


def still(limit_mA: int = 100_000, **row: Any) -> Still:
    return Still(site([circuit("main", limit_mA)], [charger("a", **row)]))


def stepped(held: Still, drawn_mA: int = 9000, setpoint_mA: int = 16_000, **state: Any) -> Any:
    """One that is offered 16 A and takes 9 A."""
    row = held.set(0, setpoint_mA, drawn_mA)
    before = {"session": CHARGING, "is_candidate": True, "drew_at_ns": NOW_ns}
    set_fields(row, **{**before, "raise_after_ns": NOW_ns + 1, **state})
    held.step()
    return row


@pytest.mark.parametrize(
    ("drawn_mA", "state", "takes_less", "less_mA", "since_ns"),
    [
        # Less by more than 2 A: since now.
        (13_999, {}, 1, 13_999, NOW_ns),
        (14_000, {}, 0, 5, 5),
        # Since then the most that it took.
        (13_000, {"takes_less": True, "less_mA": 12_000}, 1, 13_000, 5),
        (11_000, {"takes_less": True, "less_mA": 12_000}, 1, 12_000, 5),
        (14_000, {"takes_less": True, "less_mA": 12_000}, 0, 12_000, 5),
    ],
)
def test_takes_less_than_it_is_offered(
    drawn_mA: int, state: dict[str, Any], takes_less: int, less_mA: int, since_ns: int
) -> None:
    row = stepped(still(), drawn_mA, **{"less_mA": 5, "less_since_ns": 5, **state}, has_cap=True,
                  cap_mA=16_000, cap_at_ns=NOW_ns)  # fmt: skip
    assert row.takes_less == takes_less
    assert (row.less_mA, row.less_since_ns) == (less_mA, since_ns)


@pytest.mark.parametrize("p", range(3))
def test_highest_phase_says_what_it_takes(p: int) -> None:
    draws_mA = [13_999 if q == p else 0 for q in range(3)]
    assert stepped(still(), draw_mA=draws_mA).less_mA == 13_999


LESS = {"takes_less": True, "less_mA": 9000}


@pytest.mark.parametrize(
    ("row", "state", "cap_mA"),
    [
        # For a minute: 2 A above the most that it took.
        ({}, {"less_since_ns": NOW_ns - UNUSED_ns + 1}, None),
        ({}, {"less_since_ns": NOW_ns - UNUSED_ns}, 11_000),
        ({}, {"less_since_ns": 0, "takes_less": False}, None),
        # Up to the step grid; never below the minimum; no cap that caps nothing.
        ({"step_mA": 1000}, {"less_since_ns": 0, "less_mA": 9001}, 12_000),
        ({"step_mA": 1000}, {"less_since_ns": 0, "less_mA": 9000}, 11_000),
        ({}, {"less_since_ns": 0, "less_mA": 9001}, 11_100),
        ({"min_mA": 12_000}, {"less_since_ns": 0}, 12_000),
        ({}, {"less_since_ns": 0, "less_mA": 13_900}, 15_900),
        ({}, {"less_since_ns": 0, "less_mA": 13_901}, None),
        ({"step_mA": 1000}, {"less_since_ns": 0, "less_mA": 13_001}, None),
    ],
)
def test_cap_is_set(row: dict[str, Any], state: dict[str, Any], cap_mA: int | None) -> None:
    a = stepped(still(**row), **{**LESS, **state})
    assert a.has_cap == (cap_mA is not None)
    if cap_mA is not None:
        assert (a.cap_mA, a.cap_at_ns, a.share_low_mA) == (cap_mA, NOW_ns, cap_mA)
    else:
        assert a.share_low_mA == 16_000


@pytest.mark.parametrize(
    ("row", "drawn_mA", "setpoint_mA", "state", "cap_mA"),
    [
        # It uses its cap up: within 1 A of it, with all of it offered.
        ({}, 9000, 10_000, {}, 12_000),
        ({}, 8999, 10_000, {}, 10_000),
        ({}, 9000, 9900, {}, 10_000),
        # Every two minutes, to see whether it wants more.
        ({}, 7000, 10_000, {"cap_at_ns": NOW_ns - PROBE_ns + 1}, 10_000),
        ({}, 7000, 10_000, {"cap_at_ns": NOW_ns - PROBE_ns}, 12_000),
        # By 2 A on the step grid, one step at least.
        ({"step_mA": 300}, 9000, 10_000, {}, 11_800),
        ({"step_mA": 3000}, 9000, 10_000, {}, 13_000),
        # At its maximum it is none.
        ({"max_mA": 12_100}, 9000, 10_000, {}, 12_000),
        ({"max_mA": 12_000}, 9000, 10_000, {}, None),
        ({"max_mA": 11_000}, 9000, 10_000, {}, None),
    ],
)
def test_cap_rises(
    row: dict[str, Any], drawn_mA: int, setpoint_mA: int, state: dict[str, Any], cap_mA: int | None
) -> None:
    before = {"has_cap": True, "cap_mA": 10_000, "cap_at_ns": NOW_ns - 1, **state}
    a = stepped(still(**row), drawn_mA, setpoint_mA, **before)
    assert a.has_cap == (cap_mA is not None)
    if cap_mA is not None:
        assert a.cap_mA == cap_mA
        assert a.cap_at_ns == (before["cap_at_ns"] if cap_mA == 10_000 else NOW_ns)


@pytest.mark.parametrize(
    ("row", "state", "has_cap"),
    [
        # Not seen now: the cap stays, what it takes less does not.
        ({"has_measured_current": False}, {}, 1),
        ({}, {"n_samples": 0}, 1),
        ({}, {"is_silent": True}, 1),
        ({}, {"state": 5}, 1),
        ({}, {"session": DONE, "draw_mA": [0] * 3, "offered_at_ns": NOW_ns}, 1),
        # Without a setpoint nothing is left.
        ({}, {"setpoint_mA": 0, "ceiling_mA": 0}, 0),
    ],
)
def test_car_that_is_not_seen(row: dict[str, Any], state: dict[str, Any], has_cap: int) -> None:
    before = {"has_cap": True, "cap_mA": 10_000, "cap_at_ns": 0, "less_since_ns": 0}
    a = stepped(still(**row), **{**LESS, **before, **state})
    assert (a.takes_less, a.has_cap, a.cap_mA, a.cap_at_ns) == (0, has_cap, 10_000, 0)


def test_car_that_does_not_wake_yet_is_capped_too() -> None:
    row = stepped(still(), 0, session=OFFERED, session_since_ns=NOW_ns, takes_less=True,
                  less_since_ns=0, less_mA=0)  # fmt: skip
    assert (row.has_cap, row.cap_mA) == (1, 6000)


def test_cap_lowers_no_other_maximum() -> None:
    before = {"has_cap": True, "cap_mA": 14_000, "cap_at_ns": NOW_ns}
    state = {"is_overdue": True, "is_unproven": True, "has_seen_above": True, **before}
    row = stepped(still(watchdog_ns=None), 15_000, 8000, ceiling_mA=16_000, **state)
    assert row.share_low_mA == 6000


# Phases
def sampled(
    draws_mA: tuple[int, int, int], before_ns: int = NS_PER_S, phases: Any = (0, 1, 2), **state: Any
) -> Any:
    held = Still(site([circuit("main", 100_000)], [charger("a", phases=phases)]))
    row = held.set(0, 16_000)
    row.sample_at_ns[0] = NOW_ns - before_ns
    set_fields(row, **state)
    by_terminal = tuple(draws_mA[p] for p in phases) + (0,) * (3 - len(phases))
    held.core.charger_status(0, GOOD, "C", by_terminal, None, NOW_ns)
    return row


@pytest.mark.parametrize(
    ("draws_mA", "state", "idle", "unused"),
    [
        # Nothing on L2 while another is charged on.
        ((5000, 499, 5000), {}, 0b010, 0),
        ((5000, 500, 5000), {}, 0, 0),
        ((4999, 0, 4999), {}, 0, 0),
        ((0, 5000, 0), {}, 0b101, 0),
        ((0, 0, 5000), {}, 0b011, 0),
        # For a minute.
        ((5000, 0, 5000), {"idle_phases": 2, "idle_since_ns": [0, NOW_ns - 60 * NS_PER_S + 1, 0]},
         2, 0),
        ((5000, 0, 5000), {"idle_phases": 2, "idle_since_ns": [0, NOW_ns - 60 * NS_PER_S, 0]},
         2, 2),
        ((5000, 5000, 0), {"idle_phases": 4, "idle_since_ns": [0, 0, NOW_ns - 60 * NS_PER_S]},
         4, 4),
        # Current seen there restores it at once.
        ((5000, 500, 0), {"idle_phases": 6, "unused_phases": 6}, 4, 4),
        ((0, 0, 500), {"idle_phases": 7, "unused_phases": 7}, 0, 3),
        # Where nothing is charged that phase keeps what it is, and its minute begins anew.
        ((0, 0, 0), {"idle_phases": 6, "unused_phases": 2}, 0, 2),
    ],
)  # fmt: skip
def test_phase_that_a_car_does_not_use(
    draws_mA: tuple[int, int, int], state: dict[str, Any], idle: int, unused: int
) -> None:
    row = sampled(draws_mA, **state)
    assert (row.idle_phases, row.unused_phases) == (idle, unused)


@pytest.mark.parametrize(("gap_s", "extra_ns", "idle"), [(5, 0, 2), (5, 1, 0)])
def test_samples_with_a_gap_tell_no_story(gap_s: int, extra_ns: int, idle: int) -> None:
    row = sampled((5000, 0, 5000), gap_s * NS_PER_S + extra_ns)
    assert row.idle_phases == idle


def test_minute_begins_with_the_first_idle_sample() -> None:
    row = sampled((5000, 0, 0), idle_phases=2, idle_since_ns=[5, 5, 5], unused_phases=0)
    assert (row.idle_phases, row.unused_phases) == (6, 2)
    assert list(row.idle_since_ns) == [5, 5, NOW_ns]


@pytest.mark.parametrize("phases", [(1, 2), (2, 1)])
def test_only_wired_phases_are_looked_at(phases: tuple[int, int]) -> None:
    row = sampled((0, 5000, 0), phases=phases)
    assert row.idle_phases == 0b100


@pytest.mark.parametrize(
    ("unused", "shares_mA"),
    [
        # a of three phases, b on L2, c on L3, 20 A each phase: who shares what.
        (0b000, [10_000, 10_000, 10_000]),
        (0b010, [10_000, 16_000, 10_000]),
        (0b100, [10_000, 10_000, 16_000]),
        (0b110, [16_000, 16_000, 16_000]),
    ],
)
def test_unused_phase_is_left_to_others(unused: int, shares_mA: list[int]) -> None:
    rows = [charger("a"), charger("b", phases=(1,)), charger("c", phases=(2,))]
    held = Still(site([circuit("main", 20_000)], rows))
    for i in range(3):
        held.set(i, 6000)
    set_fields(held.chargers[0], idle_phases=unused, unused_phases=unused)
    held.step()
    assert [row.share_low_mA for row in held.chargers] == shares_mA
    assert list(held.circuits[0].reserved_mA) == [
        6000, 12_000 - 6000 * (unused >> 1 & 1), 12_000 - 6000 * (unused >> 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unused", "share_mA"), [(0b000, 10_000), (0b001, 15_000), (0b100, 15_000), (0b011, 16_000)]
)
def test_unused_phase_counts_in_no_power(unused: int, share_mA: int) -> None:
    held = Still(site([circuit("main", 90_000, limit_W=6900)], [charger("a")]))
    held.set(0, 6000)
    set_fields(held.chargers[0], idle_phases=unused, unused_phases=unused)
    held.step()
    assert held.chargers[0].share_low_mA == share_mA


@pytest.mark.parametrize(
    ("unused", "kinds"),
    [
        # 8 A bind one that uses p and not q. Kinds: 4 (L1, L2), 5 (L1, L3), 6 (L2, L1), 7 (L2, L3),
        # 8 (L3, L1), 9 (L3, L2).
        (0b000, []),
        (0b001, [6, 8]),
        (0b010, [4, 9]),
        (0b100, [5, 7]),
        (0b110, [4, 5]),
        (0b101, [6, 7]),
        (0b011, [8, 9]),
    ],
)
def test_unused_phase_counts_in_unbalance(unused: int, kinds: list[int]) -> None:
    held = Still(site([circuit("main", 90_000, unbalance_mA=8000)], [charger("a")]))
    row = held.set(0, 6000)
    set_fields(row, idle_phases=unused, unused_phases=unused)
    held.step()
    assert row.share_low_mA == (8000 if kinds else 16_000)
    assert [row.binding_kind] * row.has_binding == kinds[:1]


def test_one_that_falls_silent_counts_on_every_phase_again() -> None:
    held = Still(site([circuit("main", 90_000)], [charger("a")]))
    held.set(0, 6000)
    set_fields(held.chargers[0], idle_phases=6, unused_phases=6)
    held.step()
    assert list(held.circuits[0].reserved_mA) == [6000, 0, 0]
    held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    held.confirm()
    assert list(held.circuits[0].reserved_mA) == [6000] * 3
