"""Proof at its edges: what is believed of one that was not heard for a while."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl.tables import ChargerRow
from tests.support.core_sites import GOOD, IMPLAUSIBLE, NS_PER_S, charger, circuit, site
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

FOLLOW_ns = 11 * NS_PER_S
DONE, CHARGING = 4, 3
STATE_B = 2


def still(*rows: ChargerRow) -> Still:
    return Still(site([circuit("main", 100_000)], list(rows)))


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def in_time(row: dict[str, Any] | None = None, **state: Any) -> Any:
    """10 A under a ceiling of 16 A, acknowledged for as long as a proof by time alone takes."""
    held = still(charger("a", watchdog_ns=None, **row or {}))
    charger_row = held.set(0, 10_000)
    set_fields(charger_row, ceiling_mA=16_000, is_unproven=True)
    charger_row.acknowledged_at_ns = NOW_ns - 2 * FOLLOW_ns
    set_fields(charger_row, **state)
    held.step()
    return charger_row


@pytest.mark.parametrize(
    ("n_samples", "draw_mA", "is_proven"),
    [
        (1, 10_600, True),  # the pilot's tolerance
        (1, 10_601, False),
        (2, 10_601, False),
        (0, 16_000, True),  # what was seen before its last starve says nothing
    ],
)
def test_time_proves_where_the_newest_sample_is_not_above(
    n_samples: int, draw_mA: int, is_proven: bool
) -> None:
    row = in_time(n_samples=n_samples, draw_mA=(draw_mA, 0, 0), is_above=is_proven)
    assert (row.is_unproven, row.ceiling_mA) == (not is_proven, 10_000 if is_proven else 16_000)
    assert row.is_above == 0


@pytest.mark.parametrize("reported_mA", [10_600, 10_601])
def test_time_proves_nothing_while_the_box_says_that_more_is_in_force(reported_mA: int) -> None:
    state = {"has_reported": True, "reported_mA": reported_mA}
    row = in_time({"has_measured_current": False}, **state)
    assert row.is_unproven == (reported_mA > 10_600)


def test_raise_to_its_ceiling_ends_what_it_did_not_keep_to() -> None:
    held = still(charger("a"))
    for value_mA, is_above in ((10_000, 0), (9000, 1)):
        row = held.set(0, 6000)
        set_fields(row, ceiling_mA=10_000, is_unproven=True, is_above=True, above_mA=6000)
        row.action, row.action_mA = 2, value_mA
        held.core.give_done(0, GOOD, NOW_ns)
        assert (row.is_above, row.is_unproven) == (is_above, is_above)


def test_only_a_refused_write_may_be_the_last_that_fed_a_watchdog() -> None:
    held = still(charger("a", fallback_mA=8000))
    row = held.set(0, 6000)
    row.action, row.action_mA = 1, 6000
    held.core.take_done(0, IMPLAUSIBLE, NOW_ns)
    assert (row.ceiling_mA, row.is_acknowledged) == (6000, 0)


def test_arming_leaves_nothing_proven() -> None:
    """Also of one that had the setpoint that it is rated for."""
    held = still(charger("a"))
    row = held.set(0, 16_000)
    row.is_armed = False
    held.core.charger_armed(0, True, 16_000)
    assert (row.setpoint_mA, row.ceiling_mA, row.is_unproven) == (6000, 16_000, 1)


@pytest.mark.parametrize("setpoint_mA", [0, 6000])
def test_samples_of_before_a_starve_are_reserved_no_more(setpoint_mA: int) -> None:
    held = still(charger("a"))
    row = held.set(0, setpoint_mA, 16_000)
    row.n_samples = 0
    held.step()
    assert row.reserve_mA == setpoint_mA


def test_without_a_meter_above_only_the_newest_sample_is_reserved() -> None:
    held = still(charger("a"))
    row = held.set(0, 6000)
    row.n_samples, row.sample_i = 2, 1
    row.sample_at_ns[0], row.sample_mA[0] = NOW_ns - NS_PER_S, 16_000
    row.sample_at_ns[1], row.sample_mA[3] = NOW_ns, 5000
    held.step()
    assert row.reserve_mA == 6000


# Starve
def test_what_was_reserved_when_a_starve_began_stays_reserved() -> None:
    held = still(charger("a"))
    row = held.set(0, 7000, 8000)
    set_fields(row, ceiling_mA=10_000, is_unproven=True, is_overdue=True, reserve_mA=14_000)
    held.step()
    assert row.is_starving == 1
    assert (row.ceiling_mA, row.reserve_mA) == (14_000, 14_000)


def test_outlet_that_is_switched_off_for_good_starves_nobody() -> None:
    rows = [charger("a", address=7, is_isolated=True), charger("b", address=7)]
    held = still(*rows)
    for i in range(2):
        held.set(i, 6000, 8000)
    set_fields(held.chargers[0], ceiling_mA=10_000, is_unproven=True, is_overdue=True)
    held.step()
    assert [row.is_starving for row in held.chargers] == [0, 0]


# Sessions
def test_car_that_stops_by_itself_is_offered_its_minimum_from_then_on() -> None:
    """However it was offered before, and while others wait."""
    held = still(charger("a"), charger("b"))
    a = held.set(0, 6000, 0)
    before_ns = NOW_ns - 200 * NS_PER_S
    set_fields(a, session=CHARGING, state=STATE_B, drew_at_ns=NOW_ns - 1, offered_at_ns=before_ns)
    b = held.set(1, 0)
    set_fields(b, is_waiting=True, is_candidate=True, waits_since_ns=LONG_AGO_ns)
    held.step()
    assert (a.session, a.offered_at_ns, a.is_candidate, a.action_mA) == (DONE, NOW_ns, 1, 6000)
