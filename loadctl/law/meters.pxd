from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport meter_t
from loadctl.law.tables cimport law_t

cpdef enum Quality:
    TRUSTED = 0
    MISSING = 1         # not read in this scan
    IMPLAUSIBLE = 2     # read, and cannot be true
    FROZEN = 3          # read, and the same for too long

cdef void judge_meters(law_t *law) noexcept nogil
cdef void count_read(meter_t *meter, bint is_same, bint is_flicker, int64_t at_ns) noexcept nogil
cdef void keep_load(law_t *law, meter_t *meter) noexcept nogil
cdef bint loads_since(
    meter_t *meter, int32_t p, int64_t from_ns, int32_t *low_mA, int32_t *high_mA
) noexcept nogil
cdef bint has_right_voltages(law_t *law, int32_t m, const int32_t *voltage_mV) noexcept nogil
