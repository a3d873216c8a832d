"""Sessions: what each car is at, which chargers ask for current, and the most that each may get.

    part        fact                                                    becomes
    any         no car (state A)                                        none, all forgotten
    any         takes 1 A or more                                       charging
    none        a car (states B, C, D)                                  asking
    asking      has a setpoint                                          offered
    offered,    setpoint is 0 and it takes nothing                      asking
    charging
    offered     took nothing for wake_s                                 done
    charging    back to state B, or took nothing for wake_s             done

A charger that measures no current is taken to charge while its state says so (C or D). One that is
done stands last in its tier; it is offered its minimum for wake_s when it becomes done by itself,
and again every retry_s while nobody waits. A car that did not wake after a pause is a sleeper: it
keeps its minimum as long as limits and those who wait leave it, since it may never wake again.

Only a charger that can be commanded may be given anything: armed, answering, enabled, not switched
off for good, its state read. One that should have followed its setpoint and did not is held to its
minimum, and has no further claim once that was 0. Runs inside step, before all that looks at
candidates.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_PHASES, charger_t
from loadctl.law.phases cimport restore_phases
from loadctl.law.tables cimport STATE_A, STATE_B, STATE_C, STATE_D, law_t

cdef enum:
    TAKES_mA = 1000

cdef int64_t NS_PER_MS = 1_000_000
cdef int64_t NS_PER_S = 1_000_000_000
cdef int64_t LONGEST_COUNT_ns = 10 * NS_PER_S   # of a draw that was not seen again


cdef void advance_sessions(law_t *law, int64_t now_ns, int64_t since_ns) noexcept nogil:
    """Bring every session up to date; `since_ns` is the time of the step before."""
    cdef charger_t *charger
    cdef int32_t i
    cdef bint waits_any = is_any_waiting(law)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.state == STATE_A:
            forget(charger)
        if not has_car(charger.state) or has_lost_sight(law, i, now_ns):
            restore_phases(charger)
        if charger.has_status and has_car(charger.state):
            count_charge(law, i, min(now_ns - since_ns, LONGEST_COUNT_ns))
            advance(law, i, now_ns)
            if charger.session == PART_DONE and not waits_any:
                offer_again(law, charger, now_ns)


cdef bint is_any_waiting(law_t *law) noexcept nogil:
    cdef int32_t i
    for i in range(law.n_chargers):
        if law.chargers[i].is_waiting and law.chargers[i].is_candidate:
            return True
    return False


cdef bint has_lost_sight(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True when the newest sample is too old to say which phases its car uses."""
    cdef charger_t *charger = &law.chargers[i]
    if charger.is_silent or charger.n_samples == 0:
        return True
    return now_ns - charger.sample_at_ns[charger.sample_i] > law.site.tuning.peak_hold_ns


cdef void forget(charger_t *charger) noexcept nogil:
    """The car has left: the next one is another."""
    charger.session = PART_NONE
    charger.has_drawn = False
    charger.is_waiting = False
    charger.is_sleeper = False
    charger.is_stubborn = False
    charger.was_paused = False
    charger.pause = PAUSE_NONE
    charger.has_fitted = False
    charger.takes_less = False
    charger.has_cap = False
    charger.over_mA = 0
    charger.taken_mAms = 0


cdef void count_charge(law_t *law, int32_t i, int64_t span_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t sum_mA = 0
    cdef int32_t p
    if law.charger_rows[i].has_measured_current:
        for p in range(N_PHASES):
            sum_mA += charger.draw_mA[p]
    elif takes_current(law, i):
        sum_mA = <int64_t>charger.setpoint_mA * law.charger_rows[i].n_phases
    charger.taken_mAms += sum_mA * (span_ns // NS_PER_MS)


cdef bint takes_current(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t p
    if not law.charger_rows[i].has_measured_current or charger.n_samples == 0:
        return charger.state != STATE_B and charger.setpoint_mA > 0
    for p in range(N_PHASES):
        if charger.draw_mA[p] >= TAKES_mA:
            return True
    return False


cdef void advance(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """The table above, for one that has a car."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t wake_ns = law.site.tuning.wake_ns
    if takes_current(law, i):
        charger.has_drawn = True
        charger.drew_at_ns = now_ns
        enter(charger, PART_CHARGING, now_ns)
    elif charger.setpoint_mA == 0:
        if charger.session != PART_DONE:
            enter(charger, PART_ASKING, now_ns)
    elif charger.session == PART_NONE or charger.session == PART_ASKING:
        enter(charger, PART_OFFERED, now_ns)
    elif charger.session == PART_OFFERED and now_ns - charger.session_since_ns >= wake_ns:
        charger.is_sleeper = charger.has_drawn and is_put_to_sleep(charger)
        charger.offered_at_ns = charger.session_since_ns
        enter(charger, PART_DONE, now_ns)
    elif charger.session == PART_CHARGING:
        if charger.state == STATE_B or now_ns - charger.drew_at_ns >= wake_ns:
            charger.offered_at_ns = now_ns
            enter(charger, PART_DONE, now_ns)
    note_waiting(charger, now_ns)


cdef bint is_put_to_sleep(charger_t *charger) noexcept nogil:
    """True when it was a pause of ours that it did not wake from."""
    return charger.pause != PAUSE_NONE and charger.pause != PAUSE_DONE


cdef void enter(charger_t *charger, Part part, int64_t now_ns) noexcept nogil:
    if charger.session != <int32_t>part:
        charger.session = part
        charger.session_since_ns = now_ns


cdef void note_waiting(charger_t *charger, int64_t now_ns) noexcept nogil:
    """It waits from when it has no setpoint any more, whatever it still takes, but not while it is
    disabled."""
    cdef bint is_waiting = (
        charger.setpoint_mA == 0 and charger.session != PART_DONE and charger.is_enabled
    )
    if is_waiting and not charger.is_waiting:
        charger.waits_since_ns = now_ns
    charger.is_waiting = is_waiting


cdef void offer_again(law_t *law, charger_t *charger, int64_t now_ns) noexcept nogil:
    if now_ns - charger.offered_at_ns >= max(law.site.tuning.retry_ns, law.site.tuning.wake_ns):
        charger.offered_at_ns = now_ns


cdef int64_t next_offer_ns(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """How long until one that is done is offered current again, if nobody waits then."""
    return max(0, law.chargers[i].offered_at_ns + law.site.tuning.retry_ns - now_ns)


cdef void mark_candidates(law_t *law, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.is_candidate = (
            charger.is_armed
            and charger.is_enabled
            and not charger.is_silent
            and not law.charger_rows[i].is_isolated
            and charger.has_status
            and has_car(charger.state)
            and not (charger.is_overdue and charger.setpoint_mA == 0)
            and (charger.session != PART_DONE or is_offered(law, i, now_ns))
        )
        law.most_mA[i] = law.charger_rows[i].max_mA
        if charger.is_overdue or charger.session == PART_DONE:
            law.most_mA[i] = law.charger_rows[i].min_mA


cdef bint is_offered(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True while one that is done is offered its minimum."""
    cdef charger_t *charger = &law.chargers[i]
    if charger.is_sleeper or law.charger_rows[i].never_pause:
        return True
    return now_ns - charger.offered_at_ns < law.site.tuning.wake_ns


cdef void pause(law_t *law, int32_t i, Pause cause, int64_t now_ns) noexcept nogil:
    """Remember why and when a session that had current loses it."""
    cdef charger_t *charger = &law.chargers[i]
    charger.was_paused = True
    charger.pause = cause
    charger.has_fitted = False
    charger.off_since_ns = now_ns


cdef void hold_to_maxima(law_t *law) noexcept nogil:
    cdef int32_t i
    for i in range(law.n_chargers):
        law.most_mA[i] = law.charger_rows[i].max_mA


cdef bint has_car(int32_t state) noexcept nogil:
    return state == STATE_B or state == STATE_C or state == STATE_D
