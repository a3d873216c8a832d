from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef enum Quality:
    QUALITY_GOOD = 0
    QUALITY_MISSING = 1         # not read in this scan
    QUALITY_IMPLAUSIBLE = 2     # read, and cannot be true
    QUALITY_SUSPECT = 3         # read, but it looks frozen

cdef enum Suspicion:
    SUSPICION_NONE = 0
    SUSPICION_CONTRADICTION = 1
    SUSPICION_STILLNESS = 2

cdef bint is_plausible(law_t *law, int32_t m, const int32_t *voltage_mV) noexcept nogil
cdef void keep_reading(
    law_t *law, int32_t m, const int32_t *current_mA, const int32_t *power_W,
    const int32_t *voltage_mV, int64_t at_ns,
) noexcept nogil
cdef void judge_meters(law_t *law, int64_t now_ns) noexcept nogil
