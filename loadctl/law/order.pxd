from libc.stdint cimport int64_t

from loadctl.law.tables cimport law_t

cpdef enum Action:
    ACTION_NONE = 0
    ACTION_TAKE = 1
    ACTION_GIVE = 2
    ACTION_PROBE = 3

cpdef enum Mode:
    MODE_START = 0
    MODE_RUN = 1
    MODE_FAILSAFE = 2
    MODE_STOP = 3

cdef void order_takes(law_t *law, int64_t now_ns) noexcept nogil
cdef void order_raises(law_t *law, int64_t now_ns) noexcept nogil
cdef void settle_grants(law_t *law) noexcept nogil
cdef void sum_up(law_t *law) noexcept nogil
cdef bint is_sound(law_t *law) noexcept nogil
