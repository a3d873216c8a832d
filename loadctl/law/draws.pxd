from libc.stdint cimport int32_t

from loadctl.law.tables cimport law_t

cdef enum Reading:
    RIGOROUS
    KNOWN
    NEWEST

cdef bint has_good_meter(law_t *law, int32_t c) noexcept nogil
cdef bint is_meter_fresh(law_t *law, int32_t c) noexcept nogil
cdef bint has_fresh_draw(law_t *law, int32_t i) noexcept nogil
cdef void sum_draws(law_t *law, Reading reading) noexcept nogil
