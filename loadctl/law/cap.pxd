from libc.stdint cimport int64_t

from loadctl.law.tables cimport law_t

cdef void cap_unused(law_t *law, int64_t now_ns) noexcept nogil
