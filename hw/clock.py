"""The clock of a bus: monotonic time, and the two ways in which a bus waits.

Stands apart so that a test can put virtual time under a whole bus. Waits are for absolute points of
time, never for spans, so that what was late stays late by the same amount. Runs in the I/O thread
of the bus; while it waits, the interpreter lock is released.
"""

from __future__ import annotations

import select
import time
from typing import Protocol

NS_PER_S = 1_000_000_000
QUEUE_POLL_ns = 1_000_000  # ports without a descriptor (loop://, rfc2217://) are asked this often


class Waitable(Protocol):
    @property
    def in_waiting(self) -> int: ...


class Clock(Protocol):
    def now_ns(self) -> int: ...

    def sleep_until(self, at_ns: int) -> None: ...

    def wait_readable(self, source: Waitable, fd: int | None, until_ns: int) -> None:
        """Return when `source` has a byte, has failed, or at `until_ns`."""
        ...


class MonotonicClock:
    """CLOCK_MONOTONIC."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def sleep_until(self, at_ns: int) -> None:
        left_ns = at_ns - time.monotonic_ns()
        if left_ns > 0:
            time.sleep(left_ns / NS_PER_S)

    def wait_readable(self, source: Waitable, fd: int | None, until_ns: int) -> None:
        left_ns = until_ns - time.monotonic_ns()
        if left_ns <= 0:
            return
        if fd is not None:
            select.select((fd,), (), (), left_ns / NS_PER_S)
        elif not source.in_waiting:
            time.sleep(min(left_ns, QUEUE_POLL_ns) / NS_PER_S)
