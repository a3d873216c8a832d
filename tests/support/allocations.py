"""Run by a test with `allocations.c` preloaded: counts what the core asks for, call by call.

Prints one JSON object: allocations in all calls of each kind, and of one deliberate malloc.
"""

from __future__ import annotations

import ctypes
import json
import sys

from bench.kernel import share_times_ns

from bench.scans import MS, Scans
from bench.sites import panels

LOADS_mA = (0, 30_000)
N_SCANS = 40


class Counted:
    """A core whose step and confirm are counted; the rest of its border passes through."""

    def __init__(self, core, n_allocations: ctypes.c_long) -> None:
        self._core = core
        self._n_allocations = n_allocations
        self.counts = {"step": 0, "confirm": 0}

    def __getattr__(self, name: str):
        return getattr(self._core, name)

    def step(self, now_ns: int) -> int:
        return self._counted("step", self._core.step, now_ns)

    def confirm(self, now_ns: int) -> int:
        return self._counted("confirm", self._core.confirm, now_ns)

    def _counted(self, name: str, call, now_ns: int) -> int:
        before = self._n_allocations.value
        result = call(now_ns)
        self.counts[name] += self._n_allocations.value - before
        return result


def main() -> None:
    n_allocations = ctypes.c_long.in_dll(ctypes.CDLL(None), "n_allocations")
    scans = Scans(panels(54))
    core = scans.core
    scans.core = Counted(core, n_allocations)
    n_orders = 0
    for k in range(N_SCANS):
        before_mA = list(scans.draws_mA)
        scans.run(1, LOADS_mA[k % 2])
        n_orders += sum(a != b for a, b in zip(before_mA, scans.draws_mA, strict=True))
    # One call of a kind that was called before: what Python itself may ask for is not the core's.
    before = n_allocations.value
    share_times_ns(core, 1)
    once = n_allocations.value - before
    before = n_allocations.value
    share_times_ns(core, 2)
    counts = {**scans.core.counts, "share": n_allocations.value - before - once}
    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    malloc(16)
    before = n_allocations.value
    malloc(16)
    counts |= {"deliberate": n_allocations.value - before, "orders": n_orders}
    sys.stdout.write(json.dumps(counts | {"now_ms": scans.now_ns // MS}))


if __name__ == "__main__":
    main()
