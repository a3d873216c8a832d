"""Fuses at their edges: who is held back by a warm one, by how much, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason

from tests.support.core_sites import charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

RATED_mA = 40_000
COOLS_AT_mA = 38_000  # 0.95 of the rating


def warm(
    phases: tuple[int, ...] = (0,),
    limit_mA: int = 63_000,
    loads_mA: tuple[int, int, int] = (20_000,) * 3,
    rows: Any = None,
    circuit_i: int = 0,
    **main: Any,
) -> Still:
    """Below a fuse that has to cool on these phases; nothing of what is measured is drawn."""
    fused = {"fuse_type": "gG", "fuse_rated_mA": RATED_mA}
    circuits = [
        circuit("main", limit_mA, is_dynamic=True, meter=0, **(fused if circuit_i == 0 else {})),
        circuit("sub", limit_mA, 0, **(fused if circuit_i == 1 else {}), **main),
    ]
    held = Still(site(circuits, rows or [charger("a", 1)], [meter("m")], raise_every_ns=1))
    fuse = held.circuits[circuit_i]
    heats_fx = held_fx(held, circuit_i)
    for p in range(3):
        fuse.is_cooling[p] = p in phases
        fuse.heat_fx[p] = heats_fx if p in phases else 0
    fuse.has_heat_at = True
    fuse.heat_at_ns = NOW_ns
    held.read(0, loads_mA)
    return held


def held_fx(held: Still, circuit_i: int) -> int:
    """A heat between that at which it warns and that at which it is cool again: after a restart it
    is at the first, and a little less keeps on cooling."""
    fresh = Still(held.tables)
    fresh.site.has_stepped = False
    fresh.read(0, 20_000)
    fresh.step()
    return int(fresh.circuits[circuit_i].heat_fx[0]) - 1000


def shares(held: Still) -> list[int]:
    held.step()
    return [row.share_high_mA for row in held.chargers]


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("circuit_i", [0, 1])
def test_phase_that_has_to_cool_carries_less(p: int, circuit_i: int) -> None:
    """63 A less 52 A of the building leave 11 A; what the fuse may carry, less."""
    rows = [charger("a", 1, phases=(q,)) for q in range(3)]
    building_mA = 28_000 if circuit_i == 0 else 0
    held = warm((p,), 44_000, (28_000,) * 3, rows, circuit_i)
    for i in range(3):
        held.set(i, 8000, 0)
    cooled_mA = COOLS_AT_mA - building_mA
    found = shares(held)
    assert found == [min(16_000, cooled_mA if q == p else 44_000 - 28_000) for q in range(3)]
    flags = [bool(row.is_held_back) for row in held.circuits]
    assert flags == [circuit_i == 0, circuit_i == 1]


def test_sessions_that_run_keep_their_minima_and_nobody_starts() -> None:
    rows = [charger(f"x{i}", 1, phases=(0,)) for i in range(3)]
    held = warm((0,), 63_000, (36_000, 0, 0), rows)
    held.set(0, 8000, 0)
    held.set(1, 7000, 0)
    held.set(2, 0)
    held.step()
    assert [row.share_high_mA for row in held.chargers] == [6000, 6000, 0]
    assert [row.is_admitted for row in held.chargers] == [1, 1, 0]
    assert [row.reason for row in held.chargers] == [Reason.COOLS_DOWN] * 3
    assert [(row.binding_circuit, row.binding_kind) for row in held.chargers] == [(0, 0)] * 3


def test_start_waits_where_a_phase_that_it_uses_has_to_cool_wherever_above() -> None:
    rows = [charger(f"x{p}", 1, phases=(p,)) for p in range(3)]
    for circuit_i in (0, 1):
        for p in range(3):
            held = warm((p,), rows=rows, circuit_i=circuit_i)
            for i in range(3):
                held.set(i, 0)
            held.step()
            assert [row.is_admitted for row in held.chargers] == [q != p for q in range(3)]
            waiting = held.chargers[p]
            assert waiting.reason == Reason.COOLS_DOWN
            assert (waiting.binding_circuit, waiting.binding_kind) == (circuit_i, p)


def test_other_reasons_are_left_as_they_are() -> None:
    """At its own maximum, full elsewhere, without a car: a warm fuse above says nothing of it."""
    rows = [
        charger("own", 1, phases=(1,), max_mA=6000),
        charger("full", 1, phases=(1, 2)),
        charger("gone", 1, phases=(0,)),
    ]
    held = warm((0,), 63_000, (0, 0, 54_000), rows)
    held.set(0, 6000, 0)
    held.set(1, 9000, 0)
    held.set(2, 0).state = 1
    for row in held.chargers:
        row.raise_after_ns = NOW_ns + 1
    held.step()
    assert [row.reason for row in held.chargers] == [
        Reason.OWN_MAXIMUM,
        Reason.FULL,
        Reason.NO_CAR,
    ]


def test_power_limits_are_not_lowered_by_a_warm_fuse() -> None:
    held = warm((0, 1, 2), 63_000, (0, 0, 0), limit_W=20_700)
    held.set(0, 8000, 0)
    assert shares(held) == [16_000]
    assert held.chargers[0].reason != Reason.COOLS_DOWN
