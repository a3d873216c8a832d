"""The allocation at rest at its edges: it takes everything as it is now, nothing from a step."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason

from loadctl.tables import ChargerRow
from tests.support.core_sites import GOOD, NO_ANSWER, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

STALE = 2


def rest(held: Still) -> list[int]:
    held.core.settle([True] * len(held.chargers))
    return [row.grant_mA for row in held.chargers]


def static(limit_mA: Any, *rows: ChargerRow, **changes: Any) -> Still:
    return Still(site([circuit("main", limit_mA, **changes)], list(rows)))


def test_meter_that_failed_since_counts_as_none() -> None:
    main = circuit("main", 50_000, is_dynamic=True, meter=0, background_mA=7000)
    held = Still(site([main], [charger("a")], [meter("m")]))
    held.set(0, 0)
    held.read(0, 20_000)
    held.step()
    assert list(held.circuits[0].background_mA) == [20_000] * 3
    held.core.meter_read(0, NO_ANSWER, None, None, None, NOW_ns + 1)
    rest(held)
    assert (held.circuits[0].source, list(held.circuits[0].background_mA)) == (STALE, [7000] * 3)


def test_phases_that_a_car_does_not_use_count_in_no_limit() -> None:
    held = static((16_000, 8000, 8000), charger("a"))
    assert rest(held) == [8000]
    held.chargers[0].unused_phases = 0b110
    assert rest(held) == [16_000]


def test_phases_that_come_and_go_leave_limits_as_they_were() -> None:
    """Levels are worked out from sums of maxima, near the most that they can hold."""
    rows = [charger(f"x{i}", min_mA=1000, max_mA=1_800_000, weight=1 + i) for i in range(3)]
    held = static(3_000_000, *rows, takes_external=True, loss_mA=(2_700_000,) * 3)
    for _ in range(12):
        for unused in (0, 0b110):
            held.chargers[0].unused_phases = unused
            assert rest(held) == [450_000, 900_000, 1_350_000]


def test_phases_that_come_and_go_leave_each_limit_its_chargers() -> None:
    rows = [charger(f"x{p}", phases=(p, (p + 1) % 3)) for p in range(3)]
    held = static((14_000, 15_000, 16_000), *rows)
    before = rest(held)
    for unused in (0b001, 0b010, 0b100, 0b110):
        for row in held.chargers:
            row.unused_phases = unused
        rest(held)
        for row in held.chargers:
            row.unused_phases = 0
        assert rest(held) == before


def test_phases_that_come_and_go_leave_the_guaranteed_power_its_chargers() -> None:
    """Power of chargers alone, in steps that leave crumbs: 10 A and twice 5 A over their phases."""
    rows = [
        charger("a", phases=(0,), min_mA=1000, step_mA=1000, weight=2),
        *[charger(f"x{p}", phases=(p,), min_mA=1000) for p in range(1, 3)],
    ]
    power = {"takes_external": True, "loss_W": 4600, "guaranteed_W": 4600}
    held = static(90_000, *rows, **power)
    for _ in range(12):
        for unused in (0, 0b111):
            held.chargers[0].unused_phases = unused
            grants_mA = rest(held)
            assert grants_mA[1:] == ([5000, 5000] if unused == 0 else [10_000, 10_000])
            assert unused or grants_mA[0] == 10_000


def test_reserves_are_those_of_now() -> None:
    held = static(90_000, charger("a"))
    row = held.set(0, 6000)
    row.ceiling_mA = 16_000
    rest(held)
    assert (row.reserve_mA, list(held.circuits[0].reserved_mA)) == (16_000, [16_000] * 3)


def test_limit_from_outside_is_named() -> None:
    held = static(90_000, charger("a"), takes_external=True, loss_mA=(10_000, 90_000, 90_000))
    assert rest(held) == [10_000]
    row = held.chargers[0]
    assert (row.reason, row.binding_kind) == (Reason.FULL_FROM_OUTSIDE, 0)


def nested(load_mA: int, sub_mA: int, draw_mA: int, is_measured: bool) -> Still:
    """One charger below a sub-circuit with a meter; both meters have been read, no step was."""
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0),
        circuit("sub", 90_000, 0, meter=1),
    ]
    row = charger("a", 1, has_measured_current=is_measured)
    held = Still(site(circuits, [row], [meter("m"), meter("n")]))
    held.set(0, 16_000, draw_mA)
    for m, mA in ((0, load_mA), (1, sub_mA)):
        for _ in range(2):
            held.core.meter_read(m, GOOD, (mA,) * 3, None, None, NOW_ns)
    return held


@pytest.mark.parametrize(
    ("draw_mA", "is_measured", "background_mA"),
    [
        # What its meter shows and its charger does not take is background of the sub-circuit.
        (3000, True, 17_000),
        # Where nothing is measured it is what the charger takes.
        (0, False, 10_000),
    ],
)
def test_meter_of_a_sub_circuit_at_rest(
    draw_mA: int, is_measured: bool, background_mA: int
) -> None:
    held = nested(20_000, 10_000, draw_mA, is_measured)
    rest(held)
    assert list(held.circuits[0].background_mA) == [background_mA] * 3


def test_each_charger_keeps_to_its_own_limits_under_guaranteed_power() -> None:
    rows = [charger("a", phases=(0,)), charger("b", phases=(1,))]
    held = static((10_000, 14_000, 0), *rows, takes_external=True, loss_W=9000, guaranteed_W=4200)
    assert rest(held) == [10_000, 14_000]


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("other", range(3))
def test_unbalance_holds_one_that_measures_nothing(p: int, other: int) -> None:
    """Whichever of its phases it may use: L1, or L1 and L2, beside a phase that it does not."""
    phases = (p,) if p == other else (p, other)
    row = charger("a", phases=phases, has_measured_current=False)
    held = static(90_000, row, unbalance_mA=10_000)
    assert rest(held) == [10_000]
    assert held.chargers[0].binding_kind in range(4, 10)


def test_limit_that_is_the_fullest_is_named_also_where_only_steps_do_not_fit() -> None:
    """10.05 A and 10 A in steps of 0.1 A: the second has no room at all."""
    for limit_mA, kind in (((10_050, 10_000, 10_090), 1), ((10_000, 10_050, 10_010), 0)):
        held = static(limit_mA, charger("a"))
        assert rest(held) == [10_000]
        assert held.chargers[0].binding_kind == kind
