"""The share kernel alone: timed call by call, or run on cases that no scan would lead to.

For benchmarks and tests only. It reads a clock, which the law never does, and writes into the work
space of a core.
"""

import array

from libc.stdint cimport int32_t, int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from loadctl._core cimport Core
from loadctl.law.limits cimport sum_minima
from loadctl.law.share cimport share

cdef int64_t NS_PER_S = 1_000_000_000


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return at.tv_sec * NS_PER_S + at.tv_nsec


def share_times_ns(Core core, int32_t n_calls):
    """How long each of so many calls took, by what the last step left: who is in, and low caps."""
    cdef int64_t[::1] spans_ns
    cdef int64_t began_at_ns
    cdef int32_t k
    spans = array.array("q", bytes(8 * n_calls))
    spans_ns = spans
    with nogil:
        for k in range(n_calls):
            began_at_ns = clock_ns()
            share(&core.law, core.law.cap_low_mA)
            spans_ns[k] = clock_ns() - began_at_ns
    return spans.tolist()


def fill_in(Core core, are_in, most_mA, caps_mA):
    """Set who is in, what each is held to, and the cap of every limit that chargers count in."""
    cdef int32_t i, c
    counted = counted_limits(core)
    if len(counted) != len(caps_mA):
        raise ValueError(f"caps: {len(caps_mA)} of {len(counted)} limits that chargers count in")
    for i in range(core.law.n_chargers):
        core.law.is_in[i] = are_in[i]
        core.law.most_mA[i] = most_mA[i]
    for c, cap_mA in zip(counted, caps_mA):
        core.law.cap_low_mA[c] = cap_mA


def counted_limits(Core core):
    """The limits that a charger counts in now, in order; others may be live for other phases."""
    cdef int32_t k, c
    counted = []
    for k in range(core.law.n_live):
        c = core.law.live[k]
        if core.law.first_below[c + 1] > core.law.first_below[c]:
            counted.append(c)
    return counted


def shares(Core core):
    """Share once; per charger its mA, and the place of what blocks it among the limits, or -1."""
    cdef int32_t i
    sum_minima(&core.law)
    share(&core.law, core.law.cap_low_mA)
    counted = counted_limits(core)
    places = {c: k for k, c in enumerate(counted)}
    return [
        (core.law.x_mA[i], places.get(core.law.blocked_by[i], -1))
        for i in range(core.law.n_chargers)
    ]


def exact_shares(Core core):
    """What the last shares were before rounding to steps, and in how many parts of a mA."""
    cdef int32_t i
    parts = [core.law.x_fx[i] if core.law.is_in[i] else 0 for i in range(core.law.n_chargers)]
    return parts, 2 ** int(core.law.fx_bits)
