"""What makes a process punctual: each setting applied where it is allowed, and always reported.

Owns the list of these settings; a refusal has a reason and never stops the scan. Called once, in
the main thread, before the bus threads exist: they inherit scheduling and CPU.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

NOT_ASKED = 0
APPLIED = 1
REFUSED = 2

SETTINGS = (
    "SCHED_FIFO",
    "CPU affinity",
    "memory lock",
    "CPU latency request",
    "no garbage collection",
    "switch interval",
    "timer slack",
)

# What a refusal costs, and what lets a process that is not root have it; in the order of SETTINGS.
REMEDIES = (
    "any busy process then makes it late; in the unit: LimitRTPRIO=99, or CAP_SYS_NICE",
    "there is no such CPU, or it is not among those that this process may use",
    "a page fault then makes it late; in the unit: LimitMEMLOCK=infinity, or CAP_IPC_LOCK",
    "about doubles the wake-up latency; write access to /dev/cpu_dma_latency",
    "",
    "",
    "",
)

FIFO_PRIORITY = 40  # above ordinary processes, below the guard and the kernel's interrupt threads
GUARD_ABOVE = 10
FIFO_PRIORITY_MAX = 99
SWITCH_INTERVAL_s = 0.0001
DMA_LATENCY_PATH = "/dev/cpu_dma_latency"
PROC_STATUS_PATH = "/proc/self/status"
MCL_CURRENT, MCL_FUTURE = 1, 2
CAP_IPC_LOCK = 14
PR_SET_TIMERSLACK = 29
# The kernel may wake an ordinary process 50 us late to save power; SCHED_FIFO has none of that.
TIMER_SLACK_ns = 1
# Locking future pages under a small limit makes a later allocation fail, in the middle of a scan.
MEMLOCK_ENOUGH_BYTES = 256 * 1024 * 1024


class Applied(NamedTuple):
    """What became of SETTINGS[i]: `error` is an errno when it was refused."""

    state: int
    error: int


class RealTime:
    """Holds what must stay open for a setting to last."""

    def __init__(self) -> None:
        self.latency_fd: int | None = None

    def apply(self, fifo_priority: int, cpu: int | None) -> list[Applied]:
        """In the order of SETTINGS. Priority 0 and no CPU are not asked for."""
        fifo = os.sched_param(fifo_priority)
        cpus = set() if cpu is None else {cpu}
        return [
            _tried(fifo_priority > 0, lambda: os.sched_setscheduler(0, os.SCHED_FIFO, fifo)),
            _tried(bool(cpus), lambda: os.sched_setaffinity(0, cpus)),
            _tried(True, lock_memory),
            _tried(True, self._hold_latency),
            _tried(True, stop_collector),
            _tried(True, lambda: sys.setswitchinterval(SWITCH_INTERVAL_s)),
            _tried(True, tighten_timers),
        ]

    def _hold_latency(self) -> None:
        """The request lasts as long as the descriptor is open."""
        fd = os.open(DMA_LATENCY_PATH, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, struct.pack("i", 0))
        except OSError:
            os.close(fd)
            raise
        self.latency_fd = fd


def guard_priority(scan_priority: int) -> int:
    """Above the scan, so that a scan that never waits cannot keep the guard from running."""
    return min(FIFO_PRIORITY_MAX, scan_priority + GUARD_ABOVE) if scan_priority > 0 else 0


def reset_on_fork(fifo_priority: int) -> Applied:
    """What this thread starts from now on begins as an ordinary process."""
    fifo = os.sched_param(fifo_priority)
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    return _tried(fifo_priority > 0, lambda: os.sched_setscheduler(0, policy, fifo))


def _tried(is_asked: bool, action: Callable[[], None]) -> Applied:
    if not is_asked:
        return Applied(NOT_ASKED, 0)
    try:
        action()
    except OSError as error:
        return Applied(REFUSED, error.errno or errno.EINVAL)
    return Applied(APPLIED, 0)


def lock_memory() -> None:
    """Lock all pages, present and future."""
    if not may_lock_memory():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def may_lock_memory() -> bool:
    """A capability lifts the limit; without it the limit must hold all that the scan may need."""
    with open(PROC_STATUS_PATH) as status:
        line = next(line for line in status if line.startswith("CapEff:"))
    if int(line.split()[1], 16) >> CAP_IPC_LOCK & 1:
        return True
    soft_bytes, hard_bytes = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard_bytes == resource.RLIM_INFINITY or hard_bytes >= MEMLOCK_ENOUGH_BYTES:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard_bytes, hard_bytes))
        return True
    return soft_bytes == resource.RLIM_INFINITY


def tighten_timers() -> None:
    """Of this thread and of those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_TIMERSLACK, ctypes.c_ulong(TIMER_SLACK_ns), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def could_have(fifo_priority: int, cpu: int | None) -> list[Applied]:
    """What a process of this user gets on this machine: tried in one of its own, which then ends.

    Whatever starts the site, such as a systemd unit, may have other rights.
    """
    command = [sys.executable, "-P", "-m", "loadctl.realtime", str(fifo_priority)]
    command += [] if cpu is None else [str(cpu)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found = [line.split() for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(found) != len(SETTINGS):
        return [Applied(REFUSED, errno.ECHILD)] * len(SETTINGS)
    return [Applied(int(state), int(error)) for state, error in found]


def stop_collector() -> None:
    """Nothing in the loop makes cycles; what exists now is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()


def words(what_i: int, state: int, error: int) -> str:
    """One line for a person: "SCHED_FIFO: refused, Operation not permitted"."""
    if state == REFUSED:
        return f"{SETTINGS[what_i]}: refused, {os.strerror(error)}"
    return f"{SETTINGS[what_i]}: {'applied' if state == APPLIED else 'not asked for'}"


def remedy(what_i: int, state: int) -> str:
    """What to do about a refusal; empty where there was none, or nothing is known."""
    return REMEDIES[what_i] if state == REFUSED else ""


if __name__ == "__main__":
    asked = [int(word) for word in sys.argv[1:]]
    for one in RealTime().apply(asked[0], asked[1] if len(asked) > 1 else None):
        sys.stdout.write(f"{one.state} {one.error}\n")
