from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.tables cimport law_t

cdef void begin_run(law_t *law, int64_t now_ns) noexcept nogil
cdef bint is_due(
    law_t *law, charger_t *charger, int64_t gap_mA, int64_t now_ns
) noexcept nogil
cdef int32_t raise_mA(law_t *law, int32_t i, int64_t now_ns) noexcept nogil
