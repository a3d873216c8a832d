from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void heed_sample(law_t *law, int32_t i, const int32_t *draw_mA, int64_t at_ns) noexcept nogil
cdef void heed_report(law_t *law, int32_t i, int64_t at_ns) noexcept nogil
cdef void heed_write(law_t *law, int32_t i, int32_t code, int64_t at_ns) noexcept nogil
cdef void fed(law_t *law, int32_t i, int32_t code, int64_t at_ns) noexcept nogil
cdef void starve(law_t *law, int64_t now_ns) noexcept nogil
