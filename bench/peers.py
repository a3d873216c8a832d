"""Peers of the share kernel on the same sites: a bare fill in C, a plain one in numpy, acnportal.

Each is made for a site once and then allocates again and again. All of them hold minima; only
the kernel hands out what rounding leaves over.
"""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.limits import limits_of
from loadctl.tables import Tables

C_POINTERS = (
    "first_limit", "limits", "first_charger", "chargers", "most", "cap",
)  # fmt: skip
C_WORK = ("x", "order", "heap", "rising", "slack", "slope", "level")


class _CSite(ctypes.Structure):
    _fields_ = [
        ("n_chargers", ctypes.c_int32),
        ("n_limits", ctypes.c_int32),
        *((name, ctypes.c_void_p) for name in C_POINTERS),
        ("least", ctypes.c_double),
        ("step", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in C_WORK),
    ]


class BareFill:
    """`fill.c`, compiled here and now with the C compiler that loadctl was built with."""

    def __init__(self, tables: Tables) -> None:
        self._library = _compiled(Path(__file__).with_name("fill.c"))
        limits = limits_of(tables)
        n, n_limits = len(tables.chargers), len(limits.caps_mA)
        self._arrays = {
            "first_limit": _starts(limits.of_charger),
            "limits": _flat(limits.of_charger),
            "first_charger": _starts(limits.of_limit),
            "chargers": _flat(limits.of_limit),
            "most": np.array([row.max_mA for row in tables.chargers], float),
            "cap": np.array(limits.caps_mA, float),
            "x": np.zeros(n),
            "order": np.zeros(n, np.int32),
            "heap": np.zeros(n_limits, np.int32),
            "rising": np.zeros(n, np.int32),
            "slack": np.zeros(n_limits),
            "slope": np.zeros(n_limits),
            "level": np.zeros(n_limits),
        }
        pointers = {name: array.ctypes.data for name, array in self._arrays.items()}
        least_mA, step_mA = tables.chargers[0].min_mA, tables.chargers[0].step_mA
        self._site = _CSite(
            n_chargers=n, n_limits=n_limits, least=least_mA, step=step_mA, **pointers
        )

    def times_ns(self, n_calls: int) -> list[int]:
        spans_ns = np.zeros(n_calls, np.int64)
        self._library.fill_times(
            ctypes.byref(self._site), n_calls, ctypes.c_void_p(spans_ns.ctypes.data)
        )
        return spans_ns.tolist()

    @property
    def shares_mA(self) -> list[float]:
        return self._arrays["x"].tolist()


def _compiled(source: Path) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "fill.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(target), str(source)]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(target))


def _flat(lists: list[list[int]]) -> np.ndarray:
    return np.array([value for values in lists for value in values], np.int32)


def _starts(lists: list[list[int]]) -> np.ndarray:
    return np.cumsum([0, *map(len, lists)], dtype=np.int32)


class NumpyFill:
    """The level rises to the next limit or maximum, all chargers and limits at once."""

    def __init__(self, tables: Tables) -> None:
        limits = limits_of(tables)
        self.caps = np.array(limits.caps_mA, float)
        self.limit = _flat(limits.of_charger)
        self.charger = np.repeat(np.arange(len(tables.chargers)), [*map(len, limits.of_charger)])
        self.least = np.array([row.min_mA for row in tables.chargers], float)
        self.most = np.array([row.max_mA for row in tables.chargers], float)
        self.step = np.array([row.step_mA for row in tables.chargers], float)
        self.shares_mA: list[float] = []

    def times_ns(self, n_calls: int) -> list[int]:
        return [_timed_ns(self._fill) for _ in range(n_calls)]

    def _fill(self) -> None:
        x = self.least.copy()
        is_rising = np.ones(len(x), bool)
        while is_rising.any():
            frozen = np.where(is_rising, 0.0, x)
            slope = self._sums(is_rising.astype(float))
            slack = self.caps - self._sums(frozen)
            with np.errstate(divide="ignore", invalid="ignore"):
                levels = np.where(slope > 0, slack / slope, np.inf)
            level = min(levels.min(), self.most[is_rising].min())
            x[is_rising] = np.maximum(level, self.least[is_rising])
            is_full = levels <= level * (1 + 1e-12)
            is_rising &= self.most > level
            is_rising[self.charger[is_full[self.limit]]] = False
        self.shares_mA = (np.floor(x / self.step + 1e-6) * self.step).tolist()

    def _sums(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.limit, values[self.charger], len(self.caps))


class Acnportal:
    """An algorithm of acnportal behind the interface it asks for, without its simulator."""

    def __init__(self, tables: Tables, algorithm: str, order: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it imports what setuptools is about to drop
            from acnportal import algorithms
            from acnportal.acnsim.interface import InfrastructureInfo, SessionInfo

        limits = limits_of(tables)
        n = len(tables.chargers)
        matrix = np.zeros((len(limits.caps_mA), n))
        matrix[
            _flat(limits.of_charger), np.repeat(np.arange(n), [*map(len, limits.of_charger)])
        ] = 1
        used = matrix.any(axis=1)
        maxima = np.array([row.max_mA / 1000 for row in tables.chargers])
        minima = np.array([row.min_mA / 1000 for row in tables.chargers])
        self.period = 5.0
        self.current_time = 100
        self._info = InfrastructureInfo(
            matrix[used], np.array(limits.caps_mA)[used] / 1000, np.zeros(n), np.full(n, 230.0),
            [f"limit{c}" for c in np.flatnonzero(used)], [row.name for row in tables.chargers],
            maxima, minima, list(np.stack([minima, maxima], axis=1)),
        )  # fmt: skip
        self._sessions = [
            SessionInfo(
                row.name, f"session {i}", 50.0, 0.0, i * 37 % 100, 200 + i * 53 % 100,
                current_time=self.current_time, min_rates=minima[i], max_rates=maxima[i],
            )
            for i, row in enumerate(tables.chargers)
        ]  # fmt: skip
        self._names = [row.name for row in tables.chargers]
        self._algorithm = getattr(algorithms, algorithm)(getattr(algorithms, order))
        self._algorithm.register_interface(self)
        self.shares_mA: list[float] = []

    def infrastructure_info(self) -> object:
        return self._info

    def remaining_amp_periods(self, session) -> float:
        return session.remaining_demand * 1000 / 230.0 * 60 / self.period

    def max_pilot_signal(self, station_id: str) -> float:
        return self._info.max_pilot[self._info.get_station_index(station_id)]

    def times_ns(self, n_calls: int) -> list[int]:
        return [_timed_ns(self._schedule) for _ in range(n_calls)]

    def _schedule(self) -> None:
        schedule = self._algorithm.schedule(self._sessions)
        self.shares_mA = [1000 * float(schedule[name][0]) for name in self._names]


def _timed_ns(call: Callable[[], None]) -> int:
    began_at_ns = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - began_at_ns


def has_acnportal() -> bool:
    return importlib.util.find_spec("acnportal") is not None


ACNPORTAL = {
    "acnportal round robin": ("RoundRobin", "first_come_first_served"),
    "acnportal first come": ("SortedSchedulingAlgo", "first_come_first_served"),
    "acnportal deadline": ("SortedSchedulingAlgo", "earliest_deadline_first"),
    "acnportal laxity": ("SortedSchedulingAlgo", "least_laxity_first"),
    "acnportal longest": ("SortedSchedulingAlgo", "largest_remaining_processing_time"),
}
