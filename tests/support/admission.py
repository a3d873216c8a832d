"""How many the kernel admits, beside the most that an integer program can.

The kernel serves the highest tier first, and within a tier who stands first; it looks for no better
fit, so fewer may charge than could. The program knows neither tiers nor turns: it is what is
possible at all. What must hold is that nobody who was left out fits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from loadctl.tables import Tables
from tests.support.core_sites import settled_mA, varied_site
from tests.support.programs import quiet_solver
from tests.support.reference import Limit, fits, least_mA, limits_of, ranked


@dataclass
class Admission:
    """What one site came to: how many asked, were admitted, and could be."""

    seed: int
    n_asking: int
    n_admitted: int
    n_possible: int
    said: str  # what is wrong with the kernel's choice

    @property
    def ratio(self) -> float:
        return self.n_admitted / self.n_possible


def admission(seed: int) -> Admission:
    tables = varied_site(random.Random(f"admission {seed}"))
    grants_mA = settled_mA(tables, [True] * len(tables.chargers))
    admitted = {i for i, grant_mA in enumerate(grants_mA) if grant_mA > 0}
    limits = limits_of(tables)
    return Admission(
        seed,
        len(tables.chargers),
        len(admitted),
        most_admitted(tables, limits),
        what_is_unfair(tables, limits, admitted),
    )


def what_is_unfair(tables: Tables, limits: list[Limit], admitted: set[int]) -> str:
    """Someone left out who fits beside those that come before him: by tier, then by file."""
    before: dict[int, int] = {}
    for i in ranked(tables):
        mine = [limit for limit in limits if i in limit.counts]
        held = {**before, i: least_mA(tables.chargers[i])}
        if fits(mine, held) != (i in admitted):
            return f"charger {i}: {'admitted without' if i in admitted else 'left out with'} room"
        if i in admitted:
            before = held
    return ""


def most_admitted(tables: Tables, limits: list[Limit]) -> int:
    """The most chargers whose minima fit all limits together."""
    n = len(tables.chargers)
    least = np.array([least_mA(row) for row in tables.chargers])
    counts = np.array([[limit.counts.get(i, 0) for i in range(n)] for limit in limits])
    row_of, column_of = np.nonzero(counts)
    program = highspy.HighsLp()
    program.sense_ = highspy.ObjSense.kMaximize
    program.num_col_, program.num_row_ = n, len(limits)
    program.col_cost_ = np.ones(n)
    program.col_lower_, program.col_upper_ = np.zeros(n), np.ones(n)
    program.integrality_ = [highspy.HighsVarType.kInteger] * n
    program.row_lower_ = np.full(len(limits), -highspy.kHighsInf)
    program.row_upper_ = np.array([max(0, limit.cap_mA) for limit in limits], float)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.searchsorted(row_of, np.arange(len(limits) + 1))
    program.a_matrix_.index_ = column_of
    program.a_matrix_.value_ = (counts * least)[row_of, column_of].astype(float)
    solver = quiet_solver(program)
    solver.setOptionValue("mip_rel_gap", 0.0)
    solver.run()
    assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return round(solver.getInfo().objective_function_value)


def table(found: Sequence[Admission]) -> list[str]:
    """By size of site, over those where some can be admitted and not all."""
    lines = ["asking   sites  scarce  admitted  possible  mean ratio   worst  at the optimum"]
    for fewest, most in ((1, 6), (7, 20), (21, 60), (61, 200), (1, 200)):
        sites = [one for one in found if fewest <= one.n_asking <= most]
        scarce = [one for one in sites if 0 < one.n_possible < one.n_asking]
        if scarce:
            ratios = [one.ratio for one in scarce]
            at_best = sum(ratio == 1 for ratio in ratios) / len(ratios)
            lines.append(
                f"{fewest:>3}-{most:<4} {len(sites):>5} {len(scarce):>7}"
                f" {sum(one.n_admitted for one in scarce):>9}"
                f" {sum(one.n_possible for one in scarce):>9}"
                f" {sum(ratios) / len(ratios):>11.4f} {min(ratios):>7.3f} {at_best:>14.1%}"
            )
    return lines
