from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef void fill_caps(law_t *law) noexcept nogil
cdef void open_caps(law_t *law) noexcept nogil
cdef void take_off_fixed(law_t *law) noexcept nogil
cdef void cut_by_meters(law_t *law, int64_t now_ns) noexcept nogil
cdef void sum_minima(law_t *law) noexcept nogil
cdef void lift_to_minima(law_t *law) noexcept nogil
cdef bint do_caps_differ(law_t *law) noexcept nogil
cdef void add_to(law_t *law, int64_t *sums_mA, int32_t i, int64_t amount_mA) noexcept nogil
cdef void clear(law_t *law, int64_t *sums_mA) noexcept nogil
cdef int64_t cap_mA(
    law_t *law, int32_t c, int32_t kind, const int32_t *background_mA
) noexcept nogil
