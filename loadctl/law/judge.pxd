from libc.stdint cimport int32_t

from loadctl.law.tables cimport law_t

cdef void order_probes(law_t *law) noexcept nogil
cdef int32_t probe_mA(law_t *law, int32_t i) noexcept nogil
cdef void mark_looks(law_t *law) noexcept nogil
cdef void judge_gives(law_t *law) noexcept nogil
