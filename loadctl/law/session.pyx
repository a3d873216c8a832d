"""Sessions: which chargers ask for current, and the most that each may be given.

A car is there in states B, C and D. Only a charger that can be commanded may be given anything:
armed, answering, not switched off for good, its state read. One that should have followed its
setpoint and did not is held to its minimum, and has no further claim once that was 0. Runs inside
step; changes `is_candidate` and forgets a pause when the car has left.
"""

from libc.stdint cimport int32_t

from loadctl.law.layout cimport charger_t
from loadctl.law.tables cimport STATE_A, STATE_B, STATE_C, STATE_D, law_t


cdef void mark_candidates(law_t *law) noexcept nogil:
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.is_candidate = (
            charger.is_armed
            and not charger.is_silent
            and not law.charger_rows[i].is_isolated
            and charger.has_status
            and has_car(charger.state)
            and not (charger.is_overdue and charger.setpoint_mA == 0)
        )
        law.most_mA[i] = law.charger_rows[i].max_mA
        if charger.is_overdue:
            law.most_mA[i] = law.charger_rows[i].min_mA
        if charger.state == STATE_A:
            charger.was_paused = False
            charger.has_fitted = False


cdef void hold_to_maxima(law_t *law) noexcept nogil:
    cdef int32_t i
    for i in range(law.n_chargers):
        law.most_mA[i] = law.charger_rows[i].max_mA


cdef bint has_car(int32_t state) noexcept nogil:
    return state == STATE_B or state == STATE_C or state == STATE_D
