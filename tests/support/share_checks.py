"""Checks of the settled allocation that a seed names, for sweeps over many: '' says it holds.

A charger's share is rounded down to its step, and the room this leaves goes out again in steps, in
turn. So the kernel equals an optimum when each grant is the optimum's share, rounded down, and the
steps handed out in turn; nobody is then a step or more below the optimum, and what anyone has above
it is room that the rounding of others left in a limit that was full.
"""

from __future__ import annotations

import random

from loadctl.tables import Tables
from tests.support import reference
from tests.support.core_sites import random_site, settled_mA, varied_site, whole_amp_site
from tests.support.programs import TOLERANCE_mA, in_turn_mA, optimum_mA
from tests.support.reference import Limit, most_mA, used


def equals_reference(seed: int) -> str:
    """The kernel's grants are those of the reference, to the mA."""
    rng = random.Random(f"share {seed}")
    tables = whole_amp_site(rng) if seed % 8 == 0 else varied_site(rng)
    wants = [rng.random() < 0.9 for _ in tables.chargers]
    kernel_mA = settled_mA(tables, wants)
    expected_mA = reference.allocate_mA(tables, wants)
    return "" if kernel_mA == expected_mA else f"{kernel_mA} is not {expected_mA}"


def equals_program(seed: int) -> str:
    """The kernel's grants are the linear optimum of those it admitted, rounded as it must be."""
    rng = random.Random(f"program {seed}")
    admitted: list[int] = []
    while len(admitted) < 2:
        tables = whole_amp_site(rng) if seed % 8 == 0 else random_site(rng, 10, 30)
        grants_mA = settled_mA(tables, [True] * len(tables.chargers))
        admitted = [i for i, grant_mA in enumerate(grants_mA) if grant_mA > 0]
    grants = {i: grants_mA[i] for i in admitted}
    limits = reference.limits_of(tables)
    floors = rounded_down(tables, optimum_mA(tables, admitted))
    return (
        what_is_wrong(tables, limits, grants, floors)
        or what_differs(grants, in_turn_mA(tables, admitted, limits, floors))
    )  # fmt: skip


def rounded_down(tables: Tables, best_mA: dict[int, float]) -> dict[int, int]:
    """A share that the program puts just below a grid point is that point."""
    steps_mA = {i: tables.chargers[i].step_mA for i in best_mA}
    return {
        i: int((value_mA + TOLERANCE_mA) // steps_mA[i]) * steps_mA[i]
        for i, value_mA in best_mA.items()
    }


def what_is_wrong(
    tables: Tables, limits: list[Limit], grants: dict[int, int], floors: dict[int, int]
) -> str:
    """Someone short of his rounded share, a limit passed, or a step that fits and was left."""
    for i, grant_mA in grants.items():
        row = tables.chargers[i]
        if grant_mA < floors[i]:
            return f"charger {i} has {grant_mA} mA of {floors[i]}"
        more = {**grants, i: grant_mA + row.step_mA}
        mine = [limit for limit in limits if i in limit.counts]
        if more[i] <= most_mA(row) and all(used(limit, more) <= limit.cap_mA for limit in mine):
            return f"charger {i} has {grant_mA} mA and room for a step of {row.step_mA}"
    for limit in limits:
        if used(limit, grants) > max(limit.cap_mA, 0):
            return f"{used(limit, grants)} mA is above {limit}"
    return ""


def what_differs(grants: dict[int, int], expected: dict[int, int]) -> str:
    return "" if grants == expected else f"{grants} is not {expected}"
