from libc.stdint cimport int32_t

from loadctl.law.tables cimport law_t

cdef enum Reading:
    RIGOROUS
    KNOWN
    NEWEST

cdef enum:
    # A meter's value is stamped with the end of its exchange, a sample with the beginning of its
    # own: either may stem from any moment of an exchange of at most 100 ms.
    EXCHANGES_ns = 200_000_000

cdef bint has_good_meter(law_t *law, int32_t c) noexcept nogil
cdef bint is_meter_fresh(law_t *law, int32_t c) noexcept nogil
cdef void fill_spans(law_t *law) noexcept nogil
cdef bint has_fresh_draw(law_t *law, int32_t i) noexcept nogil
cdef int32_t worst_background_mA(law_t *law, int32_t c, int32_t p) noexcept nogil
cdef void sum_draws(law_t *law, Reading reading) noexcept nogil
