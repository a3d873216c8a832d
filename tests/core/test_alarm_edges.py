"""The alarm at its edges: what is sure, from when it is latched, and whose target falls for it."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl.tables import ChargerRow
from tests.support.core_sites import GOOD, NO_ANSWER, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

DECLARED_mA = 20_000
STAYS_ns = 6 * NS_PER_S
UNCHANGED_ns = 600 * NS_PER_S


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, (tuple, list)):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


def metered(*rows: ChargerRow, main: dict[str, Any] | None = None) -> Still:
    values = {"is_dynamic": True, "meter": 0, "background_mA": DECLARED_mA, **(main or {})}
    return Still(site([circuit("main", 90_000, **values)], list(rows), [meter("m")]))


def noted(held: Still, load_mA: Any, has_changed: bool = True, **state: Any) -> Any:
    held.read(0, load_mA)
    held.meters[0].has_changed = has_changed
    held.step()
    set_fields(held.circuits[0], **state)
    held.confirm()
    return held.circuits[0]


@pytest.mark.parametrize(
    ("load_mA", "state", "over_mA", "since_ns"),
    [
        # Above the declared: since now, or as long as before, at the least of it.
        ((20_001, 20_000, 0), {}, [20_001, 0, 0], [NOW_ns, 0, 0]),
        ((0, 0, 25_000), {}, [0, 0, 25_000], [0, 0, NOW_ns]),
        (25_000, {"over_mA": [24_000] * 3, "over_since_ns": [NOW_ns - 1] * 3},
         [24_000] * 3, [NOW_ns - 1] * 3),
        (23_000, {"over_mA": [24_000] * 3, "over_since_ns": [NOW_ns - 1] * 3},
         [23_000] * 3, [NOW_ns - 1] * 3),
        # No more: it begins anew.
        (20_000, {"over_mA": [24_000] * 3, "over_since_ns": [7] * 3}, [0] * 3, [7] * 3),
    ],
)  # fmt: skip
def test_background_above_the_declared_is_noted(
    load_mA: Any, state: dict[str, Any], over_mA: list[int], since_ns: list[int]
) -> None:
    row = noted(metered(), load_mA, **state)
    assert list(row.over_mA) == over_mA
    assert list(row.over_since_ns) == since_ns
    assert (row.is_alarmed, list(row.seen_background_mA)) == (0, [0] * 3)


@pytest.mark.parametrize(
    ("age_ns", "has_changed", "is_alarmed"),
    [
        (STAYS_ns - 1, True, 0),
        (STAYS_ns, True, 1),
        # A meter that never changed a digit may have stood still before this scan began.
        (UNCHANGED_ns - 1, False, 0),
        (UNCHANGED_ns, False, 1),
    ],
)
def test_background_that_stays_above_the_declared_is_latched(
    age_ns: int, has_changed: bool, is_alarmed: int
) -> None:
    state = {"over_mA": [24_000, 0, 0], "over_since_ns": [NOW_ns - age_ns, 0, 0]}
    row = noted(metered(), (25_000, 0, 0), has_changed, **state)
    assert row.is_alarmed == is_alarmed
    assert list(row.seen_background_mA) == [24_000 * is_alarmed, 0, 0]
    assert row.over_mA[0] == (0 if is_alarmed else 24_000)


@pytest.mark.parametrize(
    ("seen_mA", "latched_mA", "is_alarmed"),
    [
        ((20_000, 0, 0), [0, 0, 0], 0),
        ((20_001, 20_000, 30_000), [20_001, 0, 30_000], 1),
    ],
)
def test_what_an_earlier_scan_has_seen(
    seen_mA: tuple[int, int, int], latched_mA: list[int], is_alarmed: int
) -> None:
    held = metered()
    held.core.latch_background(0, seen_mA)
    row = held.circuits[0]
    assert (list(row.seen_background_mA), row.is_alarmed) == (latched_mA, is_alarmed)
    assert held.core.seen_backgrounds_mA() == [tuple(latched_mA) if is_alarmed else None]
    held.core.latch_background(0, (20_001, 20_001, 20_001))
    assert list(row.seen_background_mA) == [max(mA, 20_001) for mA in latched_mA]


def test_meter_that_was_not_read_leaves_what_is_noted() -> None:
    held = metered()
    state = {"over_mA": [24_000] * 3, "over_since_ns": [NOW_ns - STAYS_ns] * 3}
    held.read(0, 25_000)
    held.step(NOW_ns - NS_PER_S)
    set_fields(held.circuits[0], **state)
    held.step()
    held.confirm()
    assert list(held.circuits[0].over_mA) == [24_000] * 3


def test_without_a_good_meter_nothing_is_sure() -> None:
    held = metered()
    held.read(0, 30_000, NOW_ns - 60 * NS_PER_S)
    held.step(NOW_ns - 60 * NS_PER_S)
    state = {"over_mA": [24_000] * 3, "over_since_ns": [NOW_ns - STAYS_ns] * 3}
    set_fields(held.circuits[0], **state)
    held.step()
    held.confirm()
    assert list(held.circuits[0].over_mA) == [0] * 3
    assert held.circuits[0].is_alarmed == 0


@pytest.mark.parametrize(
    ("main", "power_W", "is_sure"),
    [
        ({}, None, True),
        ({"is_dynamic": False}, None, True),
        ({}, (1, 1, 1), True),
        # What flows out is no load beyond doubt, whether export counts or not.
        ({}, (-1, -1, -1), False),
        ({"counts_export": True}, (-1, -1, -1), False),
    ],
)
def test_what_a_good_meter_reads_is_sure_on_every_circuit(
    main: dict[str, Any], power_W: Any, is_sure: bool
) -> None:
    held = metered(main=main)
    held.core.meter_read(0, GOOD, (30_000,) * 3, power_W, None, NOW_ns)
    held.step()
    held.confirm()
    assert list(held.circuits[0].over_mA) == [30_000 if is_sure else 0] * 3


def test_what_is_sure_of_a_circuit_is_of_no_other() -> None:
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=DECLARED_mA),
        circuit("sub", 90_000, 0),
    ]
    held = Still(site(circuits, [charger("a", 1)], [meter("m")]))
    held.read(0, 30_000)
    held.meters[0].has_changed = True
    held.step()
    held.confirm()
    assert [list(row.over_mA) for row in held.circuits] == [[30_000] * 3, [0] * 3]


# Doubt: what chargers may take beyond their reserves. One of 16 A that is set to 6 A.
@pytest.mark.parametrize(
    ("row", "state", "doubt_mA"),
    [
        ({}, {}, 0),
        ({}, {"is_armed": False, "reserve_mA": 6000}, 0),  # all of its rating is reserved
        ({}, {"is_silent": True}, 10_000),
        ({}, {"is_overdue": True}, 10_000),
        ({"phases": (1, 2)}, {"is_silent": True}, 0),
        ({"rated_mA": 6000}, {"is_silent": True}, 0),
        ({"rated_mA": 5000}, {"is_silent": True}, 0),
    ],
)
def test_charger_in_doubt_may_take_all_that_it_is_rated_for(
    row: dict[str, Any], state: dict[str, Any], doubt_mA: int
) -> None:
    held = metered(charger("a", **{"watchdog_ns": None, **row}))
    a = held.set(0, 6000)
    set_fields(a, **state)
    set_fields(a, has_seen_above=True, is_unproven=True, ceiling_mA=6001)
    reserve_mA = 6001 if 0 in row.get("phases", (0,)) else 0
    if state.get("is_armed") is False:
        reserve_mA = 16_000
    sure_mA = 20_001 + reserve_mA
    expected_mA = max(0, doubt_mA - 1)
    row_0 = noted(held, sure_mA + expected_mA)
    assert row_0.over_mA[0] == 20_001
    set_fields(row_0, over_mA=[0] * 3)
    assert noted(held, sure_mA + expected_mA - 1).over_mA[0] == 0


def test_doubt_is_of_those_below_the_circuit_alone() -> None:
    circuits = [
        circuit("main", 90_000),
        circuit("sub", 90_000, 0, is_dynamic=True, meter=0, background_mA=DECLARED_mA),
        circuit("leaf", 90_000, 1),
    ]
    for c, is_below in ((0, False), (1, True), (2, True)):
        held = Still(site(circuits, [charger("a", c)], [meter("m")]))
        held.set(0, 6000)
        held.chargers[0].is_silent = True
        held.read(0, DECLARED_mA + 6001)
        held.meters[0].has_changed = True
        held.step()
        held.confirm()
        assert (held.circuits[1].over_mA[0] == 0) == is_below


def test_one_that_is_switched_off_for_good_is_in_no_doubt() -> None:
    held = metered(charger("a", is_isolated=True))
    held.chargers[0].is_silent = True
    assert noted(held, 20_001).over_mA[0] == 20_001


# Targets: the proof redone with 40 A, and what was seen on the first phase.
def targets(rows: list[ChargerRow], seen_mA: int, main: dict[str, Any] | None = None) -> list[int]:
    values = {"is_dynamic": True, "meter": 0, "background_mA": 10_000, **(main or {})}
    limit_mA = values.pop("limit_mA", 40_000)
    held = Still(site([circuit("main", limit_mA, **values)], rows, [meter("m")]))
    held.core.latch_background(0, (seen_mA, 0, 0))
    held.step()
    assert held.core.failsafe_mA() == [row.failsafe_mA for row in held.chargers]
    return held.core.failsafe_mA()


def box(name: str = "x", **changes: Any) -> ChargerRow:
    return charger(name, **{"failsafe_mA": 8000, "fallback_mA": 6000, **changes})


@pytest.mark.parametrize(
    ("rows", "seen_mA", "expected"),
    [
        # Each counts max(failsafe, fallback): 16 A beside 24 A hold, one mA more does not.
        ([box(), box()], 24_000, [8000, 8000]),
        ([box(), box()], 24_001, [8000, 0]),
        ([box(), box()], 32_001, [0, 0]),
        ([box(fallback_mA=9000), box()], 23_001, [9000 - 1000, 0]),
        # Without a watchdog its rating counts.
        ([box(watchdog_ns=None), box()], 16_000, [8000, 8000]),
        ([box(watchdog_ns=None), box()], 16_001, [8000, 0]),
        # One that is switched off counts nothing.
        ([box(is_isolated=True), box()], 32_000, [8000, 8000]),
        ([box(is_isolated=True), box()], 32_001, [8000, 0]),
        # One that is on another phase is no help.
        ([box(phases=(1,)), box(phases=(0,))], 32_001, [8000, 0]),
        ([box(phases=(0,)), box(phases=(1,))], 32_001, [0, 8000]),
        # Whose target is 0 already counts its fallback, and cannot come down.
        ([box(), box(failsafe_mA=0)], 26_000, [8000, 0]),
        ([box(), box(failsafe_mA=0)], 26_001, [0, 0]),
        # Lowest tier first, the last in the file first, never_pause last of all.
        ([box(priority=0), box(priority=1), box(priority=0)], 16_001, [8000, 8000, 0]),
        ([box(priority=0), box(priority=1), box(priority=0)], 24_001, [0, 8000, 0]),
        ([box(never_pause=True), box(priority=9)], 24_001, [8000, 0]),
        ([box(priority=9), box(never_pause=True)], 24_001, [0, 8000]),
        ([box(priority=9), box(never_pause=True)], 32_001, [0, 0]),
    ],
)
def test_targets_fall_until_the_proof_holds(
    rows: list[ChargerRow], seen_mA: int, expected: list[int]
) -> None:
    assert targets(rows, seen_mA) == expected


@pytest.mark.parametrize("p", range(3))
def test_targets_fall_on_the_phase_that_was_seen(p: int) -> None:
    values = {"is_dynamic": True, "meter": 0, "background_mA": 10_000}
    rows = [box(phases=(q,)) for q in range(3)]
    held = Still(site([circuit("main", 40_000, **values)], rows, [meter("m")]))
    seen_mA = [0, 0, 0]
    seen_mA[p] = 32_001
    held.core.latch_background(0, (seen_mA[0], seen_mA[1], seen_mA[2]))
    held.step()
    assert held.core.failsafe_mA() == [8000 * (q != p) for q in range(3)]


@pytest.mark.parametrize(
    ("main", "seen_mA", "expected"),
    [
        # The proof knows no margin.
        ({"margin_mA": 5000}, 24_000, [8000, 8000]),
        ({"margin_mA": 5000}, 24_001, [8000, 0]),
        # 23 kW are 100 A over the phases: 48 A of two boxes, 20 A declared, 32 A seen.
        ({"limit_W": 23_000, "limit_mA": 90_000}, 32_000, [8000, 8000]),
        ({"limit_W": 23_000, "limit_mA": 90_000, "margin_mA": 5000}, 32_001, [8000, 0]),
    ],
)
def test_proof_is_that_of_the_site(main: dict[str, Any], seen_mA: int, expected: list[int]) -> None:
    assert targets([box(), box()], seen_mA, main) == expected


def test_proof_of_other_circuits_and_unbalance_is_not_redone() -> None:
    """Too small for its boxes from the start: `run` has refused that, or somebody accepted it."""
    assert targets([box(), box()], 10_001, {"unbalance_mA": 100}) == [8000, 8000]
    circuits = [
        circuit("main", 40_000, is_dynamic=True, meter=0, background_mA=10_000),
        circuit("sub", 9000, 0),
        circuit("beside", 40_000, 0),
    ]
    rows = [box(circuit_i=1), box(circuit_i=1), box(circuit_i=2)]
    held = Still(site(circuits, rows, [meter("m")]))
    held.core.latch_background(0, (10_001, 0, 0))
    held.step()
    assert held.core.failsafe_mA() == [8000] * 3
    held.core.latch_background(1, (1, 0, 0))
    held.step()
    assert held.core.failsafe_mA() == [8000, 0, 8000]
    held.core.latch_background(0, (24_001, 0, 0))
    held.step()
    assert held.core.failsafe_mA() == [8000, 0, 0]


def test_targets_are_those_of_the_site_while_nothing_was_seen() -> None:
    held = metered(box(), box(failsafe_mA=6000))
    for row in held.chargers:
        row.failsafe_mA = 0
    held.step()
    assert held.core.failsafe_mA() == [8000, 6000]


def test_silent_meter_changes_no_target() -> None:
    held = metered(box())
    held.core.meter_read(0, NO_ANSWER, None, None, None, NOW_ns)
    held.step()
    assert held.core.failsafe_mA() == [8000]


def test_least_load_above_a_background_of_nothing_is_noted() -> None:
    main = noted(metered(main={"background_mA": 0}), (1, 0, 0))
    assert list(main.over_mA) == [1, 0, 0]
