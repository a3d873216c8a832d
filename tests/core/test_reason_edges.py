"""Reasons at their edges: the code, the limit that binds and the time that goes with it."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason
from loadctl.law.session import Pause

from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

DONE = 4


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        setattr(row, name, value)


def said(held: Still, setpoint_mA: int = 8000, **state: Any) -> tuple[int, int | None, int]:
    """The reason, the limit that binds as circuit * 11 + kind, and seconds."""
    row = held.set(0, setpoint_mA)
    set_fields(row, binding_circuit=7, binding_kind=7, has_binding=1, reason_s=7, **state)
    held.step()
    if not row.has_binding:
        assert (row.binding_circuit, row.binding_kind) == (0, 0)
    binding = row.binding_circuit * 11 + row.binding_kind if row.has_binding else None
    return row.reason, binding, row.reason_s


# Full: a static main circuit of 8 A a phase, a dynamic sub-circuit below.
def nested(limits_mA: Any = (90_000, 8000), **main: Any) -> Still:
    circuits = [
        circuit("main", limits_mA[0], is_dynamic=True, meter=0, background_mA=1000, **main),
        circuit("sub", limits_mA[1], 0),
    ]
    return Still(site(circuits, [charger("a", 1)], [meter("m")]))


@pytest.mark.parametrize(
    ("limits_mA", "expected"),
    [
        ((90_000, 8000), (Reason.FULL, 11, 0)),
        ((90_000, (90_000, 8000, 8000)), (Reason.FULL, 12, 0)),
        ((90_000, (90_000, 90_000, 8000)), (Reason.FULL, 13, 0)),
        ((90_000, 90_000), (Reason.OWN_MAXIMUM, None, 0)),
    ],
)
def test_limit_that_is_full(limits_mA: Any, expected: tuple[int, int | None, int]) -> None:
    held = nested(limits_mA)
    held.read(0, 9000)
    setpoint_mA = 8000 if expected[0] == Reason.FULL else 16_000
    assert said(held, setpoint_mA) == expected


@pytest.mark.parametrize(
    ("main", "has_value", "expected"),
    [
        # The meter of the limit that binds is gone, for so many whole seconds.
        ({}, True, (Reason.METER_SILENT, 0, 9)),
        ({}, False, (Reason.METER_SILENT, 0, 0)),
        ({"limit_W": 6210}, True, (Reason.METER_SILENT, 3, 9)),
        # A limit that no background counts in has no need of it.
        ({"unbalance_mA": 8000}, True, (Reason.FULL, 4, 0)),
    ],
)
def test_limit_whose_meter_is_gone(
    main: dict[str, Any], has_value: bool, expected: tuple[int, int | None, int]
) -> None:
    limit_mA = 90_000 if main else 9000
    row = charger("a", phases=(0,) if "unbalance_mA" in main else (0, 1, 2))
    rows = [circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=1000, **main)]
    held = Still(site(rows, [row], [meter("m")]))
    at_ns = NOW_ns - 10 * NS_PER_S + 1
    set_fields(held.meters[0], has_value=has_value, trusted_at_ns=at_ns, at_ns=at_ns)
    assert said(held) == expected


def test_start_below_a_limit_whose_meter_is_gone_says_so_too() -> None:
    rows = [circuit("main", 6999, is_dynamic=True, meter=0, background_mA=1000)]
    held = Still(site(rows, [charger("a")], [meter("m")]))
    at_ns = NOW_ns - 9 * NS_PER_S
    set_fields(held.meters[0], has_value=True, trusted_at_ns=at_ns, at_ns=at_ns)
    assert said(held, 0) == (Reason.METER_SILENT, 0, 9)


def test_return_below_a_limit_whose_meter_is_gone_says_so_too() -> None:
    """Its minimum fits beside the declared background, and 1 A more does not."""
    rows = [circuit("main", 7999, is_dynamic=True, meter=0, background_mA=1000)]
    held = Still(site(rows, [charger("a")], [meter("m")]))
    at_ns = NOW_ns - 9 * NS_PER_S
    set_fields(held.meters[0], has_value=True, trusted_at_ns=at_ns, at_ns=at_ns)
    paused = {"was_paused": 1, "pause": Pause.PAUSE_LIMIT, "off_since_ns": NOW_ns - 400 * NS_PER_S}
    waits = {"is_waiting": 1, "waits_since_ns": NOW_ns - 400 * NS_PER_S}
    assert said(held, 0, **paused, **waits) == (Reason.METER_SILENT, 0, 9)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"session": DONE, "draw_mA": 0, "offered_at_ns": NOW_ns}, Reason.IS_OFFERED),
        ({"has_cap": 1, "cap_mA": 10_000, "cap_at_ns": NOW_ns}, Reason.TAKES_LESS),
        ({}, Reason.OWN_MAXIMUM),
    ],
)
def test_what_keeps_a_share_from_being_more(state: dict[str, Any], reason: int) -> None:
    held = Still(site([circuit("main", 90_000)], [charger("a", max_mA=12_000)]))
    setpoint_mA = {Reason.IS_OFFERED: 6000, Reason.TAKES_LESS: 10_000}.get(Reason(reason), 12_000)
    is_idle = state.pop("draw_mA", None) == 0
    row = held.set(0, setpoint_mA, 0 if is_idle else 7000)
    set_fields(row, session=3, drew_at_ns=NOW_ns)
    set_fields(row, **state)
    held.step()
    assert (row.reason, row.has_binding) == (reason, 0)


@pytest.mark.parametrize(
    ("offered_ago_ns", "seconds"),
    [
        (200 * NS_PER_S, 1600),
        (200 * NS_PER_S - 1, 1601),
        (1799 * NS_PER_S, 1),
        (1800 * NS_PER_S - 1, 1),
        (1800 * NS_PER_S, 0),
        (9000 * NS_PER_S, 0),
    ],
)
def test_time_until_one_that_is_done_is_offered_again(offered_ago_ns: int, seconds: int) -> None:
    """While somebody waits: else it would be offered now."""
    held = Still(site([circuit("main", 5000)], [charger("a"), charger("b")]))
    held.set(1, 0)
    set_fields(held.chargers[1], is_waiting=1, is_candidate=1)
    row = held.set(0, 0)
    set_fields(row, session=DONE, offered_at_ns=NOW_ns - offered_ago_ns)
    held.step()
    assert (row.reason, row.reason_s) == (Reason.DONE, seconds)


# Limits from outside
@pytest.mark.parametrize(
    ("limit_mA", "power_W", "setpoint_mA", "expected"),
    [
        ((8000, 90_000, 90_000), None, 8000, (Reason.FULL_FROM_OUTSIDE, 0, 0)),
        ((90_000, 8000, 9000), None, 8000, (Reason.FULL_FROM_OUTSIDE, 1, 0)),
        (None, 5520, 8000, (Reason.FULL_FROM_OUTSIDE, 3, 0)),
        ((5999, 90_000, 90_000), None, 8000, (Reason.NO_ROOM_FROM_OUTSIDE, 0, 0)),
        (None, 4139, 8000, (Reason.NO_ROOM_FROM_OUTSIDE, 3, 0)),
        ((90_000, 90_000, 90_000), None, 16_000, (Reason.OWN_MAXIMUM, None, 0)),
        # The limit of the site is the lower one.
        ((70_000, 70_000, 70_000), None, 16_000, (Reason.OWN_MAXIMUM, None, 0)),
    ],
)
def test_limit_that_came_from_outside(
    limit_mA: Any, power_W: int | None, setpoint_mA: int, expected: tuple[int, int | None, int]
) -> None:
    row = circuit("main", 60_000, loss_W=99_999, takes_external=True)
    held = Still(site([row], [charger("a")]))
    held.core.external_limit(0, limit_mA, power_W, None, NOW_ns)
    assert said(held, setpoint_mA) == expected


def test_other_limits_are_not_said_to_come_from_outside() -> None:
    rows = [
        circuit("main", 90_000, loss_W=99_999, takes_external=True), circuit("sub", 8000, 0),
    ]  # fmt: skip
    held = Still(site(rows, [charger("a", 1)]))
    held.core.external_limit(0, (80_000,) * 3, None, None, NOW_ns)
    assert said(held) == (Reason.FULL, 11, 0)
    held.core.external_limit(0, (7000,) * 3, None, None, NOW_ns)
    assert said(held, 7000) == (Reason.FULL_FROM_OUTSIDE, 0, 0)


def test_limit_from_outside_is_no_reason_where_another_one_counts() -> None:
    """It waits after a cut on that very phase: that is why, whatever the limit."""
    row = circuit("main", 60_000, loss_W=99_999, takes_external=True)
    held = Still(site([row], [charger("a")]))
    held.core.external_limit(0, (20_000,) * 3, None, None, NOW_ns)
    held.circuits[0].raise_after_ns[0] = NOW_ns + 1
    assert said(held) == (Reason.WAITS_AFTER_CUT, 0, 0)
