from libc.stdint cimport int32_t

from loadctl.law.tables cimport law_t

cdef int32_t counted_mA(law_t *law, int32_t c, int32_t p) noexcept nogil
cdef bint latch(law_t *law, int32_t c, int32_t p, int32_t seen_mA) noexcept nogil
cdef void latch_backgrounds(law_t *law) noexcept nogil
cdef void lower_targets(law_t *law) noexcept nogil
