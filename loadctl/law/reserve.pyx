"""Reserve and proof: what each charger must be assumed able to draw, and when less may be believed.

    event                                    setpoint          ceiling               acknowledged
    write acknowledged                       the value         highest of both       yes
    lower write refused or unanswered        the value         highest of both       no
    raise refused or unanswered              unchanged         highest of both       no
    any message unanswered                   unchanged         at least fallback     -, and silent
    proof                                    unchanged         the setpoint          yes
    disarmed                                 unchanged         at least rated        -

A frame that was never sent changes nothing. The only way down is a proof: after the acknowledgement
a draw was seen above the setpoint and then at it; or, where nothing was seen above, time has run.
Time is the follow time with the car's part twice, because a car that takes little by itself shows
nothing and some are that slow; twice the follow time where the draw is not measured. Events come
from the border between the phases of a scan; time is always an argument.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_PHASES, N_SAMPLES, charger_t
from loadctl.law.phases cimport note_idle_phases, restore_phases
from loadctl.law.tables cimport (
    CODE_BAD_FRAME, CODE_GOOD, CODE_NEVER, CODE_NO_ANSWER, CODE_NOT_SENT, CODE_REFUSED,
    charger_row_t, law_t,
)

cdef enum:
    # Only a car that came down to about its setpoint came down because it was told to. One that
    # took less by itself, stopped or left may be back before the box has passed the new value on.
    OBEYS_WITHIN_mA = 2000


cdef void sent(
    law_t *law, int32_t i, int32_t value_mA, int32_t code, int64_t at_ns
) noexcept nogil:
    """Take in what became of a setpoint write."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t before_mA = charger.setpoint_mA
    if code == CODE_NOT_SENT or code == CODE_NEVER:
        return
    charger.ceiling_mA = max(charger.ceiling_mA, max(before_mA, value_mA))
    if code == CODE_GOOD:
        if value_mA != before_mA or not charger.is_acknowledged:
            charger.acknowledged_at_ns = at_ns
            if value_mA > before_mA and charger.has_seen_above:
                # The car has not followed the lower one yet, and may be late: its time runs twice.
                charger.acknowledged_at_ns += follow_ns(law, i)
            charger.has_seen_above = False
        if value_mA > before_mA:
            charger.raised_at_ns = at_ns
            charger.has_raised = True
            charger.was_paused = False
        charger.setpoint_mA = value_mA
        charger.is_acknowledged = True
        charger.is_refusing = False
    else:
        charger.setpoint_mA = min(before_mA, value_mA)
        charger.is_acknowledged = False
        if code == CODE_REFUSED and value_mA <= before_mA and not charger.is_refusing:
            charger.is_refusing = True
            charger.refused_since_ns = at_ns
        if code == CODE_REFUSED and law.charger_rows[i].watchdog_ns > 0:
            # A refused write need not feed its watchdog: it may be on its way to its fallback.
            raise_ceiling(charger, law.charger_rows[i].fallback_mA)
    if before_mA == 0 and charger.setpoint_mA > 0:
        charger.on_since_ns = at_ns
    charger.is_unproven = charger.ceiling_mA > charger.setpoint_mA
    charger.is_above = charger.is_above and charger.is_unproven
    charger.is_doubted = charger.is_doubted and charger.is_unproven
    if code == CODE_NO_ANSWER or code == CODE_BAD_FRAME:
        unanswered(law, i)
    update_reserve(law, i, at_ns)


cdef void unanswered(law_t *law, int32_t i) noexcept nogil:
    """From the first unanswered message on a box may be on its way to its fallback."""
    cdef charger_t *charger = &law.chargers[i]
    charger.is_silent = True
    restore_phases(charger)
    raise_ceiling(charger, law.charger_rows[i].fallback_mA)
    charger.reserve_mA = max(charger.reserve_mA, charger.ceiling_mA)


cdef void answered_probe(law_t *law, int32_t i, int64_t at_ns) noexcept nogil:
    """The box is back, at the probe's setpoint; its turn to be raised comes at its own offset."""
    cdef charger_t *charger = &law.chargers[i]
    if not charger.is_silent:
        return
    charger.is_silent = False
    charger.raise_after_ns = at_ns + law.site.tuning.stagger_ns * (i + 1) // law.n_chargers


cdef void armed(law_t *law, int32_t i, bint has_setpoint, int32_t setpoint_mA) noexcept nogil:
    """From here on it may be commanded; its first setpoint is still to be written."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    if charger.is_armed and not charger.is_silent:
        return
    raise_ceiling(charger, row.rated_mA)
    charger.is_armed = True
    charger.is_silent = False
    charger.is_overdue = False
    charger.is_refusing = False
    charger.is_above = False
    charger.is_doubted = False
    charger.setpoint_mA = min(setpoint_mA, charger.failsafe_mA) if has_setpoint else 0
    charger.setpoint_mA = charger.setpoint_mA // row.step_mA * row.step_mA
    if charger.setpoint_mA < row.min_mA:
        charger.setpoint_mA = 0
    charger.is_acknowledged = False
    charger.is_unproven = True


cdef void disarmed(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    charger.is_armed = False
    restore_phases(charger)
    raise_ceiling(charger, law.charger_rows[i].rated_mA)


cdef void raise_ceiling(charger_t *charger, int32_t value_mA) noexcept nogil:
    charger.ceiling_mA = max(charger.ceiling_mA, value_mA)
    charger.is_unproven = charger.ceiling_mA > charger.setpoint_mA


cdef void sampled(
    law_t *law, int32_t i, const int32_t *draw_mA, int64_t at_ns
) noexcept nogil:
    """Keep a sample of the draw, by grid phase, and see whether it proves the setpoint. It counts
    as old as the lag of the box may make it."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t p, slot = (charger.sample_i + 1) % N_SAMPLES
    cdef int32_t highest_mA = 0
    cdef int64_t before_ns = charger.sample_at_ns[charger.sample_i]
    cdef int64_t stems_ns = at_ns - law.charger_rows[i].draw_lag_ns
    charger.sample_i = slot
    charger.n_samples = min(charger.n_samples + 1, <int32_t>N_SAMPLES)
    charger.sample_at_ns[slot] = stems_ns
    for p in range(N_PHASES):
        charger.sample_mA[slot * N_PHASES + p] = draw_mA[p]
        charger.draw_mA[p] = draw_mA[p]
        highest_mA = max(highest_mA, draw_mA[p])
    note_idle_phases(law, i, stems_ns, before_ns)
    if charger.is_acknowledged and highest_mA <= charger.setpoint_mA + PILOT_TOLERANCE_mA:
        charger.is_stubborn = False
    if charger.is_acknowledged and stems_ns > charger.acknowledged_at_ns:
        if not charger.is_unproven:
            doubt(charger, highest_mA, at_ns)
        if charger.is_unproven:
            note_above(charger, highest_mA)
            judge_sample(law, i, highest_mA, stems_ns)
    update_reserve(law, i, at_ns)


cdef void doubt(charger_t *charger, int32_t highest_mA, int64_t at_ns) noexcept nogil:
    """One that is seen above a proven setpoint: within the tolerance that is its habit and counts
    until it is unplugged; beyond it the setpoint is unproven again, from now on. It had followed
    once: what it takes too much now is no take that is waited for."""
    if highest_mA > charger.setpoint_mA + PILOT_TOLERANCE_mA:
        charger.is_doubted = True
        raise_ceiling(charger, highest_mA)
        charger.acknowledged_at_ns = at_ns
    elif charger.setpoint_mA > 0:
        charger.over_mA = max(charger.over_mA, highest_mA - charger.setpoint_mA)


cdef void note_above(charger_t *charger, int32_t highest_mA) noexcept nogil:
    """Remember the setpoint that it does not keep to, and since when: further ones give it no more
    time, unless it has followed that one in between."""
    if highest_mA <= charger.setpoint_mA + PILOT_TOLERANCE_mA:
        charger.is_above = False
    elif not charger.is_above or highest_mA <= charger.above_mA + PILOT_TOLERANCE_mA:
        charger.is_above = True
        charger.above_mA = charger.setpoint_mA
        charger.above_since_ns = charger.acknowledged_at_ns


cdef void reported(law_t *law, int32_t i) noexcept nogil:
    """Take in what a box says is in force: of one that is not measured, whether it obeys."""
    cdef charger_t *charger = &law.chargers[i]
    if law.charger_rows[i].has_measured_current or not charger.has_reported:
        return
    if charger.is_acknowledged and charger.is_unproven:
        if charger.status_at_ns > charger.acknowledged_at_ns:
            note_above(charger, charger.reported_mA)


cdef void judge_sample(
    law_t *law, int32_t i, int32_t highest_mA, int64_t at_ns
) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t since_ns = at_ns - charger.acknowledged_at_ns
    if highest_mA > charger.setpoint_mA + PILOT_TOLERANCE_mA:
        charger.has_seen_above = True
        charger.is_overdue = (
            charger.is_overdue or charger.is_stubborn
            or at_ns - charger.above_since_ns >= follow_ns(law, i)
        )
    elif charger.has_seen_above and is_at(charger.setpoint_mA, highest_mA):
        prove(charger)
    elif since_ns >= follow_ns(law, i) + law.site.tuning.car_follow_ns:
        prove(charger)


cdef bint is_at(int32_t setpoint_mA, int32_t draw_mA) noexcept nogil:
    """True when the draw is at or just below the setpoint. A pause is told by time alone."""
    return setpoint_mA - OBEYS_WITHIN_mA <= draw_mA <= setpoint_mA and setpoint_mA > 0


cdef void prove_by_time(law_t *law, int64_t now_ns) noexcept nogil:
    """Believe a setpoint that cannot be measured after twice the follow time."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not (charger.is_unproven and charger.is_acknowledged and charger.is_armed):
            continue
        if charger.is_silent or charger.has_seen_above or is_more_in_force(law, i):
            continue
        if was_last_above(charger):     # seen while its time ran twice, and not since
            continue
        if now_ns - charger.acknowledged_at_ns >= 2 * follow_ns(law, i):
            prove(charger)


cdef bint was_last_above(charger_t *charger) noexcept nogil:
    """True when its newest sample, however old, is above the setpoint."""
    cdef int32_t p
    for p in range(N_PHASES):
        if charger.n_samples > 0 and charger.draw_mA[p] > charger.setpoint_mA + PILOT_TOLERANCE_mA:
            return True
    return False


cdef void prove(charger_t *charger) noexcept nogil:
    charger.is_doubted = False
    charger.is_above = False
    charger.ceiling_mA = charger.setpoint_mA
    charger.is_unproven = False
    charger.has_seen_above = False
    charger.is_overdue = False


cdef int64_t follow_ns(law_t *law, int32_t i) noexcept nogil:
    return law.charger_rows[i].hold_ns + law.site.tuning.car_follow_ns


cdef void update_reserves(law_t *law, int64_t now_ns) noexcept nogil:
    cdef int32_t i
    for i in range(law.n_chargers):
        update_reserve(law, i, now_ns)


cdef void update_reserve(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """Highest of setpoints not disproved and draws over the meters' lag; rated if unarmed."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t p
    cdef int32_t low_mA[3]
    cdef int32_t high_mA[3]
    if row.is_isolated:
        charger.reserve_mA = 0
        return
    charger.reserve_mA = max(charger.setpoint_mA, charger.ceiling_mA)
    if charger.reserve_mA > 0:
        charger.reserve_mA += charger.over_mA
    if not charger.is_armed:
        charger.reserve_mA = max(charger.reserve_mA, row.rated_mA)
    if is_more_in_force(law, i):
        charger.reserve_mA = max(charger.reserve_mA, charger.reported_mA)
    if row.has_measured_current:
        draws_between(law, i, now_ns - row.meter_lag_ns, now_ns, low_mA, high_mA)
        for p in range(N_PHASES):
            charger.reserve_mA = max(charger.reserve_mA, high_mA[p])


cdef int32_t rise_mA(charger_t *charger, int32_t to_mA) noexcept nogil:
    """By how much a reserve rises when its charger is raised to this setpoint."""
    return max(0, to_mA + charger.over_mA - charger.reserve_mA)


cdef bint is_more_in_force(law_t *law, int32_t i) noexcept nogil:
    """True when the box says, longer than it may hold a setpoint back, that more is in force."""
    cdef charger_t *charger = &law.chargers[i]
    return (
        charger.has_reported
        and charger.reported_mA >= law.charger_rows[i].least_mA     # less is a pause
        and charger.reported_mA > charger.setpoint_mA + PILOT_TOLERANCE_mA
        and charger.status_at_ns - charger.acknowledged_at_ns > law.charger_rows[i].hold_ns
    )


cdef int32_t draws_between(
    law_t *law, int32_t i, int64_t from_ns, int64_t to_ns, int32_t *low_mA, int32_t *high_mA
) noexcept nogil:
    """Extremes, by grid phase, of the samples from the last one at or before `from_ns` to the
    newest.

    Says which of them bounds the draw over the whole span: samples from one at or before its begin
    to one at or after its end, and no starve between them, for in that time its own fallback may
    have acted. What a box answers that lags may all be older than the end: then the highest bounds
    nothing, because a car may have woken since. That it may have stopped since cannot be known
    before the lag is over, whatever is waited for, so the lowest counts once it is answered.
    """
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t *sample_mA
    cdef int32_t k, p, slot = charger.sample_i, covered = 0
    cdef int64_t lag_ns = law.charger_rows[i].draw_lag_ns
    if charger.sample_at_ns[slot] + lag_ns >= to_ns:
        covered |= COVERS_LOW
    if charger.sample_at_ns[slot] >= to_ns:
        covered |= COVERS_HIGH
    for p in range(N_PHASES):
        low_mA[p] = 0 if charger.n_samples == 0 else charger.sample_mA[slot * N_PHASES + p]
        high_mA[p] = max(0, low_mA[p])
    for k in range(charger.n_samples):
        slot = (charger.sample_i - k + N_SAMPLES) % N_SAMPLES
        sample_mA = &charger.sample_mA[slot * N_PHASES]
        for p in range(N_PHASES):
            low_mA[p] = min(low_mA[p], sample_mA[p])
            high_mA[p] = max(high_mA[p], sample_mA[p])
        if charger.sample_at_ns[slot] + lag_ns <= from_ns:
            return covered if charger.sample_at_ns[slot] >= charger.starve_until_ns else 0
    return 0
