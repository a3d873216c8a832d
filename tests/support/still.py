"""A core held still: a test writes the state of its plant block field by field, and sees what one
step or confirm makes of it.

For what a rule does at its very boundaries; how states come about is for `core_bench`.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from pathlib import Path
from typing import Any

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_sites import GOOD, NS_PER_S, RUN

LAYOUT = Path(__file__).parents[2] / "loadctl" / "law" / "layout.pxd"
TYPES: dict[str, Any] = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64}
NOW_ns = 100_000 * NS_PER_S
LONG_AGO_ns = NOW_ns - 50_000 * NS_PER_S
STATE_C = 3


@cache
def structs() -> dict[str, Any]:
    """The structs of `layout.pxd`, read from its text."""
    types = dict(TYPES)
    for name, body in re.findall(
        r"^ctypedef struct (\w+):\n((?:    .*\n)+)", LAYOUT.read_text(), re.MULTILINE
    ):
        fields = [
            (field, types[kind] * int(count) if count else types[kind])
            for kind, field, count in re.findall(
                r"^    (\w+) (\w+)(?:\[(\d+)\])?", body, re.MULTILINE
            )
        ]
        types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return types


class Still:
    """Everything armed, acknowledged long ago, proven, its car in state C, sampled at 0 A."""

    def __init__(self, tables: Tables, mode: int = RUN) -> None:
        self.tables = tables
        self.core = Core(tables)
        self.block = block = bytearray(self.core.plant_bytes)
        self.core.attach(block)
        kinds = structs()
        at = ctypes.sizeof(kinds["site_t"])
        self.site = kinds["site_t"].from_buffer(block)
        self.circuits: list[Any] = []
        self.meters: list[Any] = []
        self.chargers: list[Any] = []
        for kind, rows, n in (
            ("circuit_t", self.circuits, len(tables.circuits)),
            ("meter_t", self.meters, len(tables.meters)),
            ("charger_t", self.chargers, len(tables.chargers)),
        ):
            for _ in range(n):
                rows.append(kinds[kind].from_buffer(block, at))
                at += ctypes.sizeof(kinds[kind])
        assert at == self.core.plant_bytes
        self.site.mode = self.site.is_running = mode
        self.site.is_running = mode == RUN
        self.site.has_stepped = True
        self.site.scan_i = 1000
        self.site.now_ns = NOW_ns - 100 * NS_PER_S
        self.site.first_step_at_ns = LONG_AGO_ns
        for charger in self.chargers:
            self._begin(charger)

    def _begin(self, charger: Any) -> None:
        charger.is_armed = charger.is_acknowledged = True
        charger.has_status = True
        charger.state = STATE_C
        charger.status_at_ns = NOW_ns
        charger.acknowledged_at_ns = LONG_AGO_ns
        charger.on_since_ns = LONG_AGO_ns
        for k in range(8):
            charger.sample_at_ns[k] = NOW_ns
        charger.n_samples = 1

    def set(self, i: int, setpoint_mA: int, draw_mA: int | None = None) -> Any:
        """Charger i at this setpoint, proven, drawing it unless said otherwise."""
        charger = self.chargers[i]
        charger.setpoint_mA = charger.ceiling_mA = charger.reserve_mA = setpoint_mA
        for p in self.tables.chargers[i].phases:
            charger.draw_mA[p] = setpoint_mA if draw_mA is None else draw_mA
            charger.sample_mA[3 * charger.sample_i + p] = charger.draw_mA[p]
        return charger

    def read(self, m: int, load_mA: tuple[int, int, int] | int, at_ns: int = NOW_ns) -> Any:
        """Meter m read in the scan that steps next."""
        loads = (load_mA,) * 3 if isinstance(load_mA, int) else load_mA
        self.core.meter_read(m, GOOD, loads, None, None, at_ns)
        return self.meters[m]

    def step(self, now_ns: int = NOW_ns) -> int:
        return self.core.step(now_ns)

    def confirm(self, now_ns: int = NOW_ns) -> int:
        return self.core.confirm(now_ns)
