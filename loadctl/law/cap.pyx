"""Cap: what a car is offered and does not take goes to others.

A measured car that takes less than it is offered by more than 2 A, for `unused_s`, is held to 2 A
above the most that it took meanwhile, never below its minimum. The cap is a maximum like any other:
the setpoint is lowered, and only what is proven unused is shared again; so all capped cars may take
their caps at once. It rises by 2 A when the car uses its room up, and every two minutes to see
whether it wants more. Runs inside step, after `mark_candidates`; lowers `most_mA`.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_PHASES, charger_t
from loadctl.law.session cimport PART_CHARGING, PART_OFFERED
from loadctl.law.tables cimport charger_row_t, law_t

cdef enum:
    ROOM_mA = 2000      # more than a whole-amp car, or pilot tolerance, leaves unused
    USES_UP_mA = 1000   # this close below its cap it may want more

cdef int64_t PROBE_ns = 120_000_000_000


cdef void cap_unused(law_t *law, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger
    cdef int32_t i, drawn_mA, least_mA
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.setpoint_mA == 0 or not is_seen(law, i):
            charger.takes_less = False
            charger.has_cap = charger.has_cap and charger.setpoint_mA > 0
        else:
            drawn_mA = highest_draw_mA(charger)
            raise_cap(law, i, drawn_mA, now_ns)
            note_less(charger, drawn_mA, now_ns)
            if charger.takes_less and now_ns - charger.less_since_ns >= law.site.tuning.unused_ns:
                set_cap(law, i, now_ns)
        if charger.has_cap:
            least_mA = law.charger_rows[i].min_mA    # it may have been raised since
            law.most_mA[i] = min(law.most_mA[i], max(charger.cap_mA, least_mA))


cdef bint is_seen(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if not law.charger_rows[i].has_measured_current or charger.n_samples == 0:
        return False
    if charger.is_silent or not charger.is_candidate:
        return False
    return charger.session == PART_OFFERED or charger.session == PART_CHARGING


cdef int32_t highest_draw_mA(charger_t *charger) noexcept nogil:
    cdef int32_t p, highest_mA = 0
    for p in range(N_PHASES):
        highest_mA = max(highest_mA, charger.draw_mA[p])
    return highest_mA


cdef void note_less(charger_t *charger, int32_t drawn_mA, int64_t now_ns) noexcept nogil:
    """Remember since when it takes less than its setpoint, and the most that it took meanwhile."""
    if drawn_mA + ROOM_mA >= charger.setpoint_mA:
        charger.takes_less = False
    elif not charger.takes_less:
        charger.takes_less = True
        charger.less_since_ns = now_ns
        charger.less_mA = drawn_mA
    else:
        charger.less_mA = max(charger.less_mA, drawn_mA)


cdef void set_cap(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t to_mA = charger.less_mA + ROOM_mA
    to_mA = max(row.min_mA, (to_mA + row.step_mA - 1) // row.step_mA * row.step_mA)
    if to_mA < charger.setpoint_mA:
        charger.has_cap = True
        charger.cap_mA = to_mA
        charger.cap_at_ns = now_ns


cdef void raise_cap(law_t *law, int32_t i, int32_t drawn_mA, int64_t now_ns) noexcept nogil:
    """Up by 2 A, on the step grid, when it uses its cap up or when it is time to ask."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef bint uses_up = (
        charger.setpoint_mA >= charger.cap_mA and drawn_mA + USES_UP_mA >= charger.cap_mA
    )
    if not charger.has_cap or not (uses_up or now_ns - charger.cap_at_ns >= PROBE_ns):
        return
    charger.cap_mA += max(row.step_mA, <int32_t>ROOM_mA // row.step_mA * row.step_mA)
    charger.cap_at_ns = now_ns
    if charger.cap_mA >= row.max_mA:
        charger.has_cap = False
