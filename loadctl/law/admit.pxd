from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void admit_settled(law_t *law, const int64_t *cap_mA) noexcept nogil
cdef void admit(law_t *law, int64_t now_ns) noexcept nogil
cdef int32_t fullest(law_t *law, const int64_t *cap_mA, int32_t i, int64_t amount_mA) noexcept nogil
