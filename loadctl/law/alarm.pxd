from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void note_backgrounds(law_t *law, int64_t now_ns) noexcept nogil
cdef void set_failsafe_targets(law_t *law) noexcept nogil
cdef void latch(law_t *law, int32_t c, int32_t p, int32_t seen_mA) noexcept nogil
