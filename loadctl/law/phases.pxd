from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.tables cimport charger_row_t, law_t

cdef enum:
    MOST_PAIRS = 2      # unbalance limits of one circuit that a charger counts in at a time

cdef void lay_out_phases(law_t *law, int32_t i, int32_t unused_phases) noexcept nogil
cdef void use_phases(law_t *law) noexcept nogil
cdef void note_idle_phases(law_t *law, int32_t i, int64_t at_ns, int64_t before_ns) noexcept nogil
cdef void restore_phases(charger_t *charger) noexcept nogil
cdef bint is_wired(charger_row_t *row, int32_t p) noexcept nogil
