from loadctl.law.tables cimport law_t

cdef void mark_candidates(law_t *law) noexcept nogil
cdef void hold_to_maxima(law_t *law) noexcept nogil
