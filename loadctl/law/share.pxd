from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void share(law_t *law, const int64_t *cap_mA) noexcept nogil
