"""The kernel against linear programs: sequential max-min with HiGHS, code of its own."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.optimize import linprog

from loadctl.tables import Tables
from tests.support.core_sites import random_site, settled_mA
from tests.support.reference import limits_of

TOLERANCE_mA = 1e-4


def optimum_mA(tables: Tables, admitted: list[int]) -> dict[int, float]:
    """Tier by tier, raise the least x / weight with a program; fix whom nothing can raise."""
    rows = tables.chargers
    column = {i: k for k, i in enumerate(admitted)}
    limits = [limit for limit in limits_of(tables) if set(limit.counts) & set(admitted)]
    matrix = np.array([[limit.counts.get(i, 0) for i in admitted] for limit in limits], float)
    caps = np.array([limit.cap_mA for limit in limits], float)
    x = {i: float(rows[i].min_mA) for i in admitted}
    for priority in sorted({rows[i].priority for i in admitted}, reverse=True):
        rising = [i for i in admitted if rows[i].priority == priority]
        fixed = {i for i in admitted if i not in rising}
        while rising:
            level = highest_level(rows, rising, fixed, x, column, matrix, caps)
            for i in rising:
                x[i] = min(rows[i].max_mA, max(rows[i].min_mA, level * rows[i].weight))
            stuck = [i for i in rising if room(i, x, column, matrix, caps, rows) < TOLERANCE_mA]
            assert stuck, "the program raised a level that binds nobody"
            fixed |= set(stuck)
            rising = [i for i in rising if i not in stuck]
    return x


def highest_level(rows, rising, fixed, x, column, matrix, caps) -> float:
    """Maximize the level L: everyone who rises holds max(min, L * weight), up to its maximum."""
    n = len(column)
    top = min(rows[i].max_mA / rows[i].weight for i in rising)  # there one is fixed, and on
    bounds = [(0.0, None)] * n + [(0.0, top)]
    for i, k in column.items():
        bounds[k] = (x[i], x[i]) if i in fixed else (rows[i].min_mA, rows[i].max_mA)
    upper = np.hstack([matrix, np.zeros((len(caps), 1))])
    for i in rising:
        row = np.zeros(n + 1)
        row[column[i]], row[n] = -1.0, rows[i].weight
        upper = np.vstack([upper, row])
    right = np.concatenate([caps, np.zeros(len(rising))])
    cost = np.zeros(n + 1)
    cost[n] = -1.0
    found = linprog(cost, A_ub=upper, b_ub=right, bounds=bounds, method="highs")
    assert found.status == 0, found.message
    return float(found.x[n])


def room(i, x, column, matrix, caps, rows) -> float:
    """How much more charger i could have while all others keep what they have."""
    have = np.array([x[j] for j in column])
    left = caps - matrix @ have
    counts = matrix[:, column[i]]
    limits = [left[c] / counts[c] for c in range(len(caps)) if counts[c] > 0]
    return min([rows[i].max_mA - x[i], *limits])


@pytest.mark.parametrize("seed", range(60))
def test_kernel_is_within_one_step_of_the_linear_optimum(seed: int) -> None:
    rng = random.Random(f"lp {seed}")
    admitted: list[int] = []
    while len(admitted) < 2:
        tables = random_site(rng, 8, 12)
        grants_mA = settled_mA(tables, [True] * len(tables.chargers))
        admitted = [i for i, grant_mA in enumerate(grants_mA) if grant_mA > 0]
    best_mA = optimum_mA(tables, admitted)
    step_mA = max(tables.chargers[i].step_mA for i in admitted)
    off = {i: (grants_mA[i], best_mA[i]) for i in admitted if grants_mA[i] < best_mA[i] - step_mA}
    assert off == {}, f"seed {seed}"
    if len({tables.chargers[i].step_mA for i in admitted}) == 1:
        over = [i for i in admitted if grants_mA[i] > best_mA[i] + step_mA + TOLERANCE_mA]
        assert over == [], f"seed {seed}"
