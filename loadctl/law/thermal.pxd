from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef enum:
    HEAT_BITS = 28
    HEAT_FULL = 1 << 28     # the conventional tripping load

cdef void follow_fuses(law_t *law, int64_t now_ns) noexcept nogil
cdef void hold_shares(law_t *law) noexcept nogil
cdef int32_t cooling_limit(law_t *law, int32_t i) noexcept nogil
cdef void name_cooling(law_t *law) noexcept nogil
