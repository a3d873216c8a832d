from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.tables cimport law_t

cdef enum:
    # A box may signal, and a car take, one percentage point of pilot duty more than asked:
    # IEC 61851-1 table A.5, 0.6 A. What is drawn beyond the setpoint stays in the reserve.
    PILOT_TOLERANCE_mA = 600

cdef enum Covers:
    COVERS_LOW = 1      # the draw was never below the lowest sample
    COVERS_HIGH = 2     # ... nor above the highest

cdef int64_t follow_ns(law_t *law, int32_t i) noexcept nogil
cdef void raise_ceiling(charger_t *charger, int32_t value_mA) noexcept nogil
cdef void sent(law_t *law, int32_t i, int32_t value_mA, int32_t code, int64_t at_ns) noexcept nogil
cdef void unanswered(law_t *law, int32_t i) noexcept nogil
cdef void answered_probe(law_t *law, int32_t i, int64_t at_ns) noexcept nogil
cdef void armed(law_t *law, int32_t i, bint has_setpoint, int32_t setpoint_mA) noexcept nogil
cdef void disarmed(law_t *law, int32_t i) noexcept nogil
cdef void sampled(law_t *law, int32_t i, const int32_t *draw_mA, int64_t at_ns) noexcept nogil
cdef void reported(law_t *law, int32_t i) noexcept nogil
cdef void prove_by_time(law_t *law, int64_t now_ns) noexcept nogil
cdef void update_reserves(law_t *law, int64_t now_ns) noexcept nogil
cdef void update_reserve(law_t *law, int32_t i, int64_t now_ns) noexcept nogil
cdef int32_t rise_mA(charger_t *charger, int32_t to_mA) noexcept nogil
cdef int32_t draws_between(
    law_t *law, int32_t i, int64_t from_ns, int64_t to_ns, int32_t *low_mA, int32_t *high_mA
) noexcept nogil
