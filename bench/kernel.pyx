"""The share kernel alone: timed call by call, or run on cases that no scan would lead to.

For benchmarks and tests only. It reads a clock, which the law never does, and writes into the work
space of a core.
"""

import array

from libc.stdint cimport int32_t, int64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from loadctl._core cimport Core
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
    cdef int32_t i, k
    for i in range(core.law.n_chargers):
        core.law.is_in[i] = are_in[i]
        core.law.most_mA[i] = most_mA[i]
    for k in range(core.law.n_live):
        core.law.cap_low_mA[core.law.live[k]] = caps_mA[k]


def shares(Core core):
    """Share once; per charger its mA, and the place in `live` of what blocks it, or -1."""
    cdef int32_t i, k
    share(&core.law, core.law.cap_low_mA)
    places = {core.law.live[k]: k for k in range(core.law.n_live)}
    return [
        (core.law.x_mA[i], places.get(core.law.blocked_by[i], -1))
        for i in range(core.law.n_chargers)
    ]


def exact_shares(Core core):
    """What the last shares were before rounding to steps, and in how many parts of a mA."""
    cdef int32_t i
    parts = [core.law.x_fx[i] if core.law.is_in[i] else 0 for i in range(core.law.n_chargers)]
    return parts, 2 ** int(core.law.fx_bits)
