"""The clock of the scan: sleep until an absolute time and say when it woke, in one call.

Owns the two kernel clocks that the scan needs. CLOCK_MONOTONIC paces; CLOCK_BOOTTIME goes on while
the machine is suspended, so the two part when it slept. Never reads the wall clock. Any thread may
call.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR
from libc.stdint cimport int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<time.h>" nogil:
    int CLOCK_BOOTTIME
    int TIMER_ABSTIME
    int clock_nanosleep(int clock, int flags, const timespec* until, timespec* left)

cdef enum:
    NS_PER_S = 1_000_000_000


cdef int64_t read_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t>now.tv_sec * NS_PER_S + now.tv_nsec


cdef int sleep_and_stamp(int64_t until_ns, int64_t* woke_at_ns) noexcept nogil:
    """0 when the time has come; EINTR when a signal was caught before."""
    cdef timespec until
    cdef int result
    # Never negative: times before the boot are clamped by the caller.
    until.tv_sec = until_ns // NS_PER_S
    until.tv_nsec = until_ns % NS_PER_S
    result = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL)
    woke_at_ns[0] = read_ns(CLOCK_MONOTONIC)
    return result


def sleep_until(int64_t until_ns) -> int:
    """Sleep until CLOCK_MONOTONIC reaches `until_ns`; return the time right after the wake.

    Python's signal handlers run during the sleep, which then goes on. A time that has passed
    returns at once.
    """
    cdef int64_t woke_at_ns = 0
    cdef int result
    if until_ns < 0:
        until_ns = 0
    while True:
        with nogil:
            result = sleep_and_stamp(until_ns, &woke_at_ns)
        if result == 0:
            return woke_at_ns
        if result != EINTR:
            raise OSError(result, f"clock_nanosleep until {until_ns} ns")
        PyErr_CheckSignals()


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, as time.monotonic_ns."""
    return read_ns(CLOCK_MONOTONIC)


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: CLOCK_MONOTONIC plus the time that the machine was suspended."""
    return read_ns(CLOCK_BOOTTIME)
