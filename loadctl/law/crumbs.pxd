from libc.stdint cimport int32_t

from loadctl.law.tables cimport law_t

cdef void hand_out_crumbs(law_t *law, int32_t first, int32_t end) noexcept nogil
cdef void take_mA(law_t *law, int32_t i, int32_t amount_mA) noexcept nogil
cdef int32_t blocker(law_t *law, int32_t i) noexcept nogil
