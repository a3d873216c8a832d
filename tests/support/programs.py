"""The linear optimum of a share: max-min as a sequence of linear programs, solved by HiGHS.

Tier by tier the least x / weight is raised as far as it goes, who cannot have more is fixed, and
on. Only the limits of a site are taken from the reference; the rest is code of its own. Currents
are floats here, in mA.
"""

from __future__ import annotations

import highspy
import numpy as np

from loadctl.tables import Tables
from tests.support.reference import Limit, least_mA, limits_of, most_mA

TOLERANCE_mA = 1e-4  # a solver's shares are this exact


class ShareProgram:
    """A column for the current of each admitted, one for the level; rows: limits, x >= level."""

    def __init__(self, tables: Tables, admitted: list[int], limits: list[Limit]) -> None:
        self.rows = [tables.chargers[i] for i in admitted]
        self.n = len(admitted)
        column = {i: k for k, i in enumerate(admitted)}
        counts = np.zeros((len(limits), self.n))
        for c, limit in enumerate(limits):
            for i in limit.counts.keys() & column.keys():
                counts[c, column[i]] = limit.counts[i]
        is_live = counts.any(axis=1)
        self.counts = counts[is_live]
        self.caps_mA = np.array([limit.cap_mA for limit in limits], float)[is_live]
        self.least_mA = np.array([least_mA(row) for row in self.rows], float)
        self.most_mA = np.array([most_mA(row) for row in self.rows], float)
        self.weights = np.array([row.weight for row in self.rows], float)
        self.solver = self._solver()

    def _solver(self) -> highspy.Highs:
        n, n_limits = self.n, len(self.caps_mA)
        matrix = np.zeros((n_limits + n, n + 1))
        matrix[:n_limits, :n] = self.counts
        matrix[n_limits:, :n] = np.eye(n)
        matrix[n_limits:, n] = -self.weights
        program = highspy.HighsLp()
        program.sense_ = highspy.ObjSense.kMaximize
        program.num_col_, program.num_row_ = n + 1, n_limits + n
        program.col_cost_ = np.append(np.zeros(n), 1.0)
        program.col_lower_ = np.append(self.least_mA, 0.0)
        program.col_upper_ = np.append(self.least_mA, highspy.kHighsInf)
        program.row_lower_ = np.full(n_limits + n, -highspy.kHighsInf)
        program.row_upper_ = np.append(self.caps_mA, np.full(n, highspy.kHighsInf))
        row_of, column_of = np.nonzero(matrix)
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(row_of, np.arange(n_limits + n + 1))
        program.a_matrix_.index_ = column_of
        program.a_matrix_.value_ = matrix[row_of, column_of]
        return quiet_solver(program)

    def optimum_mA(self) -> np.ndarray:
        """The weighted lexicographic max-min, highest tier first."""
        x_mA = self.least_mA.copy()
        priorities = np.array([row.priority for row in self.rows])
        for priority in sorted(set(priorities), reverse=True):
            rising = np.flatnonzero(priorities == priority)
            self._release(rising)
            while len(rising):
                level = self._highest_level(rising)
                x_mA[rising] = np.clip(
                    level * self.weights[rising], self.least_mA[rising], self.most_mA[rising]
                )
                is_stuck = self.room_mA(x_mA)[rising] < TOLERANCE_mA
                assert is_stuck.any(), "the program raised a level that binds nobody"
                self._fix(rising[is_stuck], x_mA)
                rising = rising[~is_stuck]
        return x_mA

    def _release(self, rising: np.ndarray) -> None:
        for k in rising:
            self.solver.changeColBounds(int(k), self.least_mA[k], self.most_mA[k])
            self.solver.changeRowBounds(len(self.caps_mA) + int(k), 0.0, highspy.kHighsInf)

    def _fix(self, stuck: np.ndarray, x_mA: np.ndarray) -> None:
        for k in stuck:
            self.solver.changeColBounds(int(k), x_mA[k], x_mA[k])
            row_i = len(self.caps_mA) + int(k)
            self.solver.changeRowBounds(row_i, -highspy.kHighsInf, highspy.kHighsInf)

    def _highest_level(self, rising: np.ndarray) -> float:
        top = (self.most_mA[rising] / self.weights[rising]).min()  # there one is fixed, and on
        self.solver.changeColBounds(self.n, 0.0, top)
        self.solver.run()
        status = self.solver.getModelStatus()
        assert status == highspy.HighsModelStatus.kOptimal, status
        return self.solver.getSolution().col_value[self.n]

    def room_mA(self, x_mA: np.ndarray) -> np.ndarray:
        """How much more each could have while all others keep what they have."""
        left_mA = (self.caps_mA - self.counts @ x_mA)[:, None]
        room_mA = np.full(self.counts.shape, np.inf)
        np.divide(left_mA, self.counts, out=room_mA, where=self.counts > 0)
        return np.minimum(room_mA.min(axis=0), self.most_mA - x_mA)


def quiet_solver(program: highspy.HighsLp) -> highspy.Highs:
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(program)
    return solver


def optimum_mA(tables: Tables, admitted: list[int]) -> dict[int, float]:
    program = ShareProgram(tables, admitted, limits_of(tables))
    return dict(zip(admitted, map(float, program.optimum_mA()), strict=True))


def in_turn_mA(
    tables: Tables, admitted: list[int], limits: list[Limit], x_mA: dict[int, int]
) -> dict[int, int]:
    """x with a step more each in turn, by tier and file order, until none fits any more."""
    x_mA = dict(x_mA)
    counts = np.array([[limit.counts.get(i, 0) for limit in limits] for i in admitted])
    left_mA = np.array([limit.cap_mA for limit in limits]) - np.array(list(x_mA.values())) @ counts
    for priority in sorted({tables.chargers[i].priority for i in admitted}, reverse=True):
        n_given = 1
        while n_given:
            n_given = 0
            for k, i in enumerate(admitted):
                row = tables.chargers[i]
                is_able = row.priority == priority and x_mA[i] + row.step_mA <= most_mA(row)
                if is_able and (counts[k] * row.step_mA <= left_mA)[counts[k] > 0].all():
                    x_mA[i] += row.step_mA
                    left_mA -= counts[k] * row.step_mA
                    n_given += 1
    return x_mA
