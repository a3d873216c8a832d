"""The wall clock beside the monotonic one: what to add to a monotonic time to get UTC.

The scan knows only the monotonic clock; people know only the other, which may be set at any time.
"""

from __future__ import annotations

import time
from pathlib import Path

from loadctl.units import NS_PER_MS

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TRIES = 3
# Reading two clocks one after the other is off by microseconds; a set clock by much more.
JUMP_ms = 100


class WallClock:
    """The kernel's clocks; tests have one that they set."""

    def __init__(self) -> None:
        self.boot = BOOT_ID.read_text().strip()

    def offset_ms(self) -> int:
        """UTC less monotonic time; of several readings that which was disturbed least."""
        readings = []
        for _ in range(TRIES):
            before_ns = time.monotonic_ns()
            utc_ns = time.time_ns()
            after_ns = time.monotonic_ns()
            readings.append((after_ns - before_ns, utc_ns - (before_ns + after_ns) // 2))
        return min(readings)[1] // NS_PER_MS


def utc_ms(at_ns: int, offset_ms: int) -> int:
    """The UTC of a monotonic time."""
    return at_ns // NS_PER_MS + offset_ms
