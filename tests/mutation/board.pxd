"""The guards of a mutated build: `loadctl.law.mutants` there.

One number is chosen, 0 for none. Every guard notes under its own number when its change would make
a difference.
"""

from libc.stdint cimport int32_t, int64_t

cdef enum:
    N_MARKS = 32768

cdef int32_t chosen
cdef unsigned char marks[N_MARKS]


cdef inline bint is_on(int32_t n) noexcept nogil:
    marks[n] = 1
    return n == chosen


cdef inline bint is_gone(int32_t n, bint differs) noexcept nogil:
    if differs:
        marks[n] = 1
    return n == chosen


cdef inline bint or_true(int32_t n, bint value) noexcept nogil:
    if not value:
        marks[n] = 1
    return value or n == chosen


cdef inline bint or_false(int32_t n, bint value) noexcept nogil:
    if value:
        marks[n] = 1
    return value and n != chosen


cdef inline bint pick_bool(int32_t n, bint value, bint other) noexcept nogil:
    if value != other:
        marks[n] = 1
    return other if n == chosen else value


cdef inline int64_t pick_int(int32_t n, int64_t value, int64_t other) noexcept nogil:
    if value != other:
        marks[n] = 1
    return other if n == chosen else value
