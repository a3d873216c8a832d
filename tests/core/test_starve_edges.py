"""Starving at its edges: who, from when, for how long, and what is left of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import NS_PER_S, charger, circuit, site
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

FOLLOW_ns = 11 * NS_PER_S
AGAIN_ns = 600 * NS_PER_S


def still(n: int = 1, **changes: Any) -> Still:
    row = {"fallback_mA": 8000, "rated_mA": 20_000, **changes}
    return Still(site([circuit("main", 100_000)], [charger(f"x{i}", **row) for i in range(n)]))


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def told_less(held: Still, **state: Any) -> Any:
    """Told 6 A, a while ago; 16 A before."""
    row = held.set(0, 6000)
    before = {"ceiling_mA": 16_000, "reserve_mA": 16_000, "is_unproven": True}
    set_fields(row, **{**before, "acknowledged_at_ns": NOW_ns - FOLLOW_ns, **state})
    return row


@pytest.mark.parametrize(
    ("state", "is_overdue"),
    [
        ({}, 1),
        ({"has_reported": False}, 0),
        ({"is_acknowledged": False}, 0),
        ({"is_unproven": False, "ceiling_mA": 6000}, 0),
        # Beyond the tolerance of a pilot.
        ({"reported_mA": 6601}, 1),
        ({"reported_mA": 6600}, 0),
        # Said at the end of the follow time, or later.
        ({"status_at_ns": NOW_ns - 1}, 0),
        ({"status_at_ns": NOW_ns + 1}, 1),
    ],
)
def test_box_that_says_more_is_overdue(state: dict[str, Any], is_overdue: int) -> None:
    held = still(watchdog_ns=None)
    row = told_less(held, **{"has_reported": True, "reported_mA": 10_000, **state})
    held.step()
    assert row.is_overdue == is_overdue


def starves(held: Still, i: int = 0) -> bool:
    held.step()
    is_starving = bool(held.chargers[i].is_starving)
    assert held.chargers[i].n_starves == is_starving
    return is_starving


@pytest.mark.parametrize(
    ("state", "is_starved"),
    [
        ({"is_overdue": True}, True),
        ({}, False),
        ({"is_overdue": True, "is_armed": False}, False),
        ({"is_overdue": True, "is_silent": True}, False),
        # Again only ten minutes after the last time, once that did not help.
        (
            {"is_overdue": True, "is_stubborn": True, "starve_until_ns": NOW_ns - AGAIN_ns + 1},
            False,
        ),
        ({"is_overdue": True, "is_stubborn": True, "starve_until_ns": NOW_ns - AGAIN_ns}, True),
        ({"is_overdue": True, "is_stubborn": False, "starve_until_ns": NOW_ns - 1}, True),
        # One that refuses decreases for as long as it may take to follow one.
        ({"is_refusing": True, "refused_since_ns": NOW_ns - FOLLOW_ns}, True),
        ({"is_refusing": True, "refused_since_ns": NOW_ns - FOLLOW_ns + 1}, False),
        ({"is_refusing": False, "refused_since_ns": NOW_ns - FOLLOW_ns}, False),
    ],
)
def test_who_is_starved(state: dict[str, Any], is_starved: bool) -> None:
    held = still()
    told_less(held, **state)
    for p in range(3):
        held.chargers[0].draw_mA[p] = 12_000
    assert starves(held) == is_starved


def test_one_that_starves_is_not_starved_anew() -> None:
    held = still()
    row = told_less(held, is_overdue=True, is_starving=True, starve_until_ns=NOW_ns + 1)
    row.draw_mA[0] = 12_000
    held.step()
    assert (row.n_starves, row.starve_until_ns) == (0, NOW_ns + 1)


@pytest.mark.parametrize("row", [{"watchdog_ns": None}, {"is_isolated": True}])
def test_nobody_is_starved_who_would_not_fall_back(row: dict[str, Any]) -> None:
    held = still(**row)
    told_less(held, is_overdue=True)
    held.chargers[0].draw_mA[0] = 12_000
    assert not starves(held)


@pytest.mark.parametrize(
    ("state", "draws_mA", "is_starved"),
    [
        # More than its fallback of 8 A: by its draw on any phase ...
        ({}, (8001, 0, 0), True),
        ({}, (0, 8001, 0), True),
        ({}, (0, 0, 8001), True),
        ({}, (8000, 8000, 8000), False),
        ({"n_samples": 0}, (8001, 0, 0), False),
        # ... or by what it says ...
        ({"has_reported": True, "reported_mA": 8001}, (0, 0, 0), True),
        ({"has_reported": True, "reported_mA": 8000}, (0, 0, 0), False),
        ({"has_reported": False, "reported_mA": 8001}, (0, 0, 0), False),
        ({"has_reported": True, "reported_mA": 8001}, (7000, 0, 0), True),
        # ... or, where it refuses, by all that is reserved.
        ({"is_refusing": True, "reserve_mA": 8001}, (0, 0, 0), True),
        ({"is_refusing": True, "reserve_mA": 8000}, (12_000, 0, 0), False),
    ],
)
def test_starving_makes_sense_only_where_it_takes_more_than_its_fallback(
    state: dict[str, Any], draws_mA: tuple[int, int, int], is_starved: bool
) -> None:
    held = still()
    row = told_less(held, is_overdue=True, **state)
    row.draw_mA[:] = draws_mA
    assert starves(held) == is_starved


@pytest.mark.parametrize(
    ("watchdog_s", "starved_s"),
    [
        (15, 26),  # its watchdog and the follow time
        (60, 72),  # 1.2 times its watchdog
        (55, 66),
    ],
)
def test_starved_for(watchdog_s: int, starved_s: int) -> None:
    held = still(watchdog_ns=watchdog_s * NS_PER_S)
    row = told_less(held, is_overdue=True)
    row.draw_mA[0] = 12_000
    assert starves(held)
    assert row.starve_until_ns == NOW_ns + starved_s * NS_PER_S
    assert row.is_silent == 1


def test_starved_reserve_is_the_most_of_all_that_is_known() -> None:
    for state, draw_mA, expected_mA in (
        ({"reserve_mA": 16_000}, 12_000, 16_000),
        ({"reserve_mA": 9000, "ceiling_mA": 9000}, 12_000, 12_000),
        (
            {"reserve_mA": 6000, "ceiling_mA": 6000, "has_reported": True, "reported_mA": 9000},
            0,
            8000,
        ),
    ):
        for p in range(3):
            held = still()
            row = told_less(held, is_overdue=True, **state)
            row.draw_mA[:] = [draw_mA if q == p else 0 for q in range(3)]
            assert starves(held)
            assert row.ceiling_mA == expected_mA


def test_old_draw_of_one_without_samples_counts_nothing() -> None:
    held = still()
    values = {"reserve_mA": 9000, "ceiling_mA": 9000, "is_refusing": True, "refused_since_ns": 0}
    row = told_less(held, n_samples=0, **values)
    row.draw_mA[0] = 15_000
    assert starves(held)
    assert row.ceiling_mA == 9000


@pytest.mark.parametrize(
    ("changes", "state", "is_stubborn"),
    [
        ({}, {"is_overdue": True, "has_reported": True, "reported_mA": 12_000}, 1),
        ({}, {"is_refusing": True, "refused_since_ns": 0}, 0),
        (
            {"has_measured_current": False},
            {"is_overdue": True, "has_reported": True, "reported_mA": 12_000},
            0,
        ),
    ],
)
def test_only_one_seen_to_take_more_is_stubborn(
    changes: dict[str, Any], state: dict[str, Any], is_stubborn: int
) -> None:
    held = still(**changes)
    row = told_less(held, **state)
    assert starves(held)
    assert row.is_stubborn == is_stubborn


def test_outlets_of_one_address_starve_together() -> None:
    """Two at address 7, one of another box, one of this box that is switched off for good."""
    rows = [
        charger("before"),
        charger("left", address=7),
        charger("other"),
        charger("right", address=7),
        charger("off", address=7, is_isolated=True),
    ]
    held = Still(site([circuit("main", 100_000)], rows))
    for i in range(5):
        held.set(i, 6000)
    set_fields(held.chargers[3], is_overdue=True)
    held.chargers[3].draw_mA[0] = 12_000
    held.step()
    assert [row.is_starving for row in held.chargers] == [0, 1, 0, 1, 0]
    assert [row.is_silent for row in held.chargers] == [0, 1, 0, 1, 0]
    assert held.core.starving() == [1, 3]


@pytest.mark.parametrize(("until_ns", "is_over"), [(NOW_ns, True), (NOW_ns + 1, False)])
def test_end_of_starving(until_ns: int, is_over: bool) -> None:
    held = still()
    row = held.set(0, 6000)
    flags = ("is_overdue", "is_refusing", "has_seen_above", "is_above", "has_reported")
    set_fields(row, **dict.fromkeys(flags, True), is_starving=True, is_silent=True)
    set_fields(row, starve_until_ns=until_ns, ceiling_mA=16_000, n_starves=1, reported_mA=16_000)
    held.step()
    assert row.is_starving == (not is_over)
    assert [getattr(row, name) for name in flags] == [not is_over] * 5
    assert (row.is_acknowledged, row.n_samples) == (not is_over, not is_over)
    assert (row.ceiling_mA, row.is_unproven) == (8000 if is_over else 16_000, is_over)
    assert (row.is_silent, row.n_starves) == (1, 1)


def test_end_of_starving_keeps_a_setpoint_above_the_fallback() -> None:
    held = still()
    row = held.set(0, 10_000)
    set_fields(row, is_starving=True, is_silent=True, starve_until_ns=LONG_AGO_ns)
    held.step()
    assert (row.ceiling_mA, row.is_unproven) == (10_000, 0)
