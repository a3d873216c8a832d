from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void enter(law_t *law, int32_t limit_i, int64_t level_fx) noexcept nogil
cdef void settle_top(law_t *law) noexcept nogil
cdef void drop_top(law_t *law) noexcept nogil
cdef void clear_heap(law_t *law) noexcept nogil
