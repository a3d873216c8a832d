"""A record of one scan as 64-bit words, and the hash of a plant block.

A record is HEADER_WORDS words as numbered below, then its calls. A call is one word that says what
follows, its shape, then its arguments, then what it answered. A shape holds, from bit 0: the number
of the call (8 bits), how many arguments there are (4), a Type for each (3 bits), and from
ANSWER_BIT on the Answer (2 bits) and whether it raised (1 bit).
"""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    HEADER_WORDS = 9
    AT_WORDS = 0        # of the whole record
    AT_SEQUENCE = 1     # records of this scan process before it
    AT_SCAN = 2         # steps of the core so far
    AT_BASE = 3         # time of the last step: times below are near it
    AT_ENDED = 4        # when it was published
    AT_HASH = 5         # of the whole plant block then
    AT_FLAGS = 6
    AT_CALLS = 7
    AT_SUM = 8          # over its calls

    FLAG_UNFIT = 1      # the calls did not fit, none is here

    MOST_ARGUMENTS = 12
    TYPE_NONE = 0
    TYPE_INT = 1
    TYPE_TIME = 2       # an int too
    TYPE_LETTER = 3
    TYPE_TRIPLE = 4
    TYPE_RUN = 5        # count, then as many
    TYPE_TUNING = 6     # a Tuning, as a run
    TYPE_PAIRS = 7      # a list: count, then as many pairs

    ANSWER_BIT = 50
    ANSWER_NONE = 0
    ANSWER_INT = 1
    ANSWER_PAIRS = 2    # count, then as many pairs
    RAISED_BIT = 52

    MOST_RUN = 4096


cdef inline uint64_t mixed(uint64_t state, uint64_t word) noexcept nogil:
    """For either argument a permutation: two blocks that differ in one word have two hashes."""
    state = (state ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return state ^ (state >> 29)


cdef inline uint64_t hash_words(const uint64_t *at, Py_ssize_t n) noexcept nogil:
    """Four chains side by side; byte order is that of the machine, as in the block itself."""
    cdef uint64_t a = 1, b = 2, c = 3, d = 4
    cdef Py_ssize_t i = 0
    while i + 4 <= n:
        a = mixed(a, at[i])
        b = mixed(b, at[i + 1])
        c = mixed(c, at[i + 2])
        d = mixed(d, at[i + 3])
        i += 4
    while i < n:
        a = mixed(a, at[i])
        i += 1
    return mixed(mixed(mixed(mixed(<uint64_t>n, a), b), c), d)


cdef inline int64_t kind_of(int64_t shape) noexcept nogil:
    return shape & 255


cdef inline int64_t count_of(int64_t shape) noexcept nogil:
    return shape >> 8 & 15


cdef inline int64_t type_of(int64_t shape, int64_t k) noexcept nogil:
    return shape >> (12 + 3 * k) & 7


cdef inline int64_t answer_of(int64_t shape) noexcept nogil:
    return shape >> ANSWER_BIT & 3


cdef inline bint has_raised(int64_t shape) noexcept nogil:
    return shape >> RAISED_BIT & 1
