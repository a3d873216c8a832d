"""The kernel equals the slow allocator, which computes in exact fractions, to the mA."""

from __future__ import annotations

import random

import pytest

from loadctl.tables import Tables
from tests.support import reference
from tests.support.core_sites import (
    PHASE_MAPS,
    charger,
    circuit,
    random_site,
    settled_mA,
    site,
)


def difference(seed: str, most_circuits: int, most_chargers: int) -> str:
    rng = random.Random(seed)
    tables = random_site(rng, most_circuits, most_chargers)
    wants = [rng.random() < 0.9 for _ in tables.chargers]
    kernel_mA = settled_mA(tables, wants)
    expected_mA = reference.allocate_mA(tables, wants)
    return "" if kernel_mA == expected_mA else f"seed {seed}: {kernel_mA} is not {expected_mA}"


@pytest.mark.parametrize("first_seed", range(0, 2000, 250))
def test_kernel_random_site_equals_reference(first_seed: int) -> None:
    found = [difference(f"site {s}", 10, 20) for s in range(first_seed, first_seed + 250)]
    assert [text for text in found if text] == []


@pytest.mark.parametrize("seed", range(12))
def test_kernel_large_site_equals_reference(seed: int) -> None:
    assert difference(f"large {seed}", 40, 120) == ""


def whole_amp_site(rng: random.Random) -> Tables:
    """Limits in whole amps over crossing phases: exact shares often are grid points themselves."""
    n_circuits = rng.randint(2, 6)
    whole_mA = (20000, 24000, 30000, 36000, 40000, 48000, 60000)
    subs = [
        circuit(f"c{k}", (rng.choice(whole_mA), rng.choice(whole_mA), rng.choice(whole_mA)), 0)
        for k in range(1, n_circuits)
    ]
    wide_mA = (60000, 72000, 80000, 96000, 100000, 120000)
    main = circuit("c0", (rng.choice(wide_mA), rng.choice(wide_mA), rng.choice(wide_mA)))
    chargers = [
        charger(
            f"x{i}",
            rng.randrange(n_circuits),
            phases=rng.choice(PHASE_MAPS),
            min_mA=rng.choice((1000, 1000, 2000)),
            max_mA=63000,
            step_mA=rng.choice((1000, 100, 500)),
            weight=rng.choice((1, 2, 3, 3, 6)),
        )
        for i in range(rng.randint(4, 9))
    ]
    return site([main, *subs], chargers)


# In these the rounding of one share leaves the next just below a grid point that it is, exactly.
JUST_BELOW = (1639, 4911, 7196, 7939, 10160, 14355)


@pytest.mark.parametrize("seed", [*range(200), *JUST_BELOW])
def test_kernel_share_that_is_a_grid_point_equals_reference(seed: int) -> None:
    tables = whole_amp_site(random.Random(f"snap {seed}"))
    wants = [True] * len(tables.chargers)
    assert settled_mA(tables, wants) == reference.allocate_mA(tables, wants)


@pytest.mark.long
def test_kernel_many_random_sites_equal_reference() -> None:
    found = [difference(f"long {seed}", 10, 20) for seed in range(30_000)]
    assert [text for text in found if text] == []


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
