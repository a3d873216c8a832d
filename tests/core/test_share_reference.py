"""The kernel equals the slow allocator, which computes exactly, to the mA."""

from __future__ import annotations

import pytest

from tests.support import reference
from tests.support.core_sites import charger, circuit, settled_mA, site
from tests.support.share_checks import equals_reference
from tests.support.sweep import sweep


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_kernel_equals_reference_on_random_sites() -> None:
    assert sweep(equals_reference, range(100_000)) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_kernel_equals_reference_on_a_million_random_sites() -> None:
    assert sweep(equals_reference, range(1_000_000)) == []


def test_kernel_long_chain_of_freezes_equals_reference() -> None:
    """Each level follows from the one before it: the error of a rounding would add up here."""
    circuits = [circuit("main", 10**6)]
    chargers = []
    for k in range(60):
        circuits.append(circuit(f"c{k}", 20000 + 333 * k, parent=0))
        chargers += [charger(f"a{k}", k + 1, weight=3), charger(f"b{k}", k + 1, weight=7)]
    circuits[0] = circuit("main", 1_300_007)
    tables = site(circuits, chargers)
    wants = [True] * len(chargers)
    assert settled_mA(tables, wants) == reference.allocate_mA(tables, wants)


def test_kernel_same_rows_in_another_order_give_equal_chargers_equal_steps() -> None:
    """Chargers of equal rank in any order get the same currents, in another order."""
    rows = [charger(f"x{k}", phases=((k % 3),)) for k in range(9)]
    first_mA = settled_mA(site([circuit("main", 20000)], rows), [True] * 9)
    other_mA = settled_mA(site([circuit("main", 20000)], rows[::-1]), [True] * 9)
    assert sorted(first_mA) == sorted(other_mA)
