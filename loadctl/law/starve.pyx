"""Starve: a charger that does not obey is left without any message, so that its watchdog acts.

    deaf by    what                                                         for
    draw       its draw is above an acknowledged setpoint                   its follow time
    report     it says that more than its acknowledged setpoint is in force its hold
    refusal    it refuses setpoints, and takes none                         its follow time

Whoever is deaf is held to its minimum and others make room for what it takes. Where its fallback
is lower than that, and its watchdog set, it is starved: silent, and not even probed, until 1.2
times its watchdog time without a message is over. Then it counts as max(setpoint, fallback), still
silent, and is probed like any other. One message feeds every outlet of a box: they starve together.
One that is deaf again, before it was seen to obey, has no watchdog that helps: it is not starved
twice. Events come from the border, `starve` runs in step.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.reserve cimport (
    PILOT_TOLERANCE_mA, distrust, follow_ns, raise_ceiling, unanswered, update_reserve,
)
from loadctl.law.tables cimport (
    CODE_GOOD, CODE_NEVER, CODE_NOT_SENT, CODE_REFUSED, charger_row_t, law_t,
)


cdef void heed_sample(
    law_t *law, int32_t i, const int32_t *draw_mA, int64_t at_ns
) noexcept nogil:
    """Note since when it draws more than a setpoint that it acknowledged."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t highest_mA = max(draw_mA[0], max(draw_mA[1], draw_mA[2]))
    if not charger.is_acknowledged or at_ns <= charger.acknowledged_at_ns:
        return
    if highest_mA <= charger.setpoint_mA + PILOT_TOLERANCE_mA:
        charger.is_above = False
        return
    if not charger.is_above or highest_mA <= charger.above_mA + PILOT_TOLERANCE_mA:
        # Not above before, or it has followed an earlier setpoint and not this one yet.
        charger.is_above = True
        charger.above_since_ns = charger.acknowledged_at_ns if charger.is_unproven else at_ns
        charger.above_mA = charger.setpoint_mA
    if at_ns - charger.above_since_ns >= follow_ns(law, i):
        charger.has_seen_above = True
        distrust(charger, highest_mA)


cdef void heed_report(law_t *law, int32_t i, int64_t at_ns) noexcept nogil:
    """Note since when it says that more than its setpoint is in force. Less than its minimum is a
    pause, whatever the number."""
    cdef charger_t *charger = &law.chargers[i]
    cdef bint is_above = (
        charger.has_reported
        and charger.is_acknowledged
        and at_ns > charger.acknowledged_at_ns
        and charger.reported_mA >= law.charger_rows[i].min_mA
        and charger.reported_mA > charger.setpoint_mA + PILOT_TOLERANCE_mA
    )
    if is_above and not charger.is_reporting_above:
        charger.reported_since_ns = charger.acknowledged_at_ns if charger.is_unproven else at_ns
    charger.is_reporting_above = is_above
    if reports_too_long(law, i, at_ns):
        distrust(charger, charger.reported_mA)


cdef bint reports_too_long(law_t *law, int32_t i, int64_t at_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t since_ns = max(charger.reported_since_ns, charger.acknowledged_at_ns)
    return charger.is_reporting_above and at_ns - since_ns >= law.charger_rows[i].hold_ns


cdef void heed_write(law_t *law, int32_t i, int32_t code, int64_t at_ns) noexcept nogil:
    """Note since when it refuses setpoints."""
    cdef charger_t *charger = &law.chargers[i]
    if code == CODE_GOOD:
        charger.is_refusing = False
    elif code == CODE_REFUSED and not charger.is_refusing:
        charger.is_refusing = True
        charger.refused_since_ns = at_ns


cdef void fed(law_t *law, int32_t i, int32_t code, int64_t at_ns) noexcept nogil:
    """A message left for it: what starves begins anew."""
    cdef charger_t *charger = &law.chargers[i]
    if charger.is_starving and code != CODE_NOT_SENT and code != CODE_NEVER:
        charger.starved_since_ns = max(charger.starved_since_ns, at_ns)


cdef void starve(law_t *law, int64_t now_ns) noexcept nogil:
    """End the starves that are complete, and begin those that are due."""
    cdef int32_t i
    for i in range(law.n_chargers):
        law.chargers[i].is_deaf = is_deaf(law, i, now_ns)
    for i in range(law.n_chargers):
        if law.chargers[i].is_starving and is_complete(law, law.charger_rows[i].box, now_ns):
            end_all(law, law.charger_rows[i].box, now_ns)
        elif should_starve(law, i):
            begin_all(law, law.charger_rows[i].box, now_ns)


cdef bint is_deaf(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if charger.is_starving:
        return charger.is_deaf
    if charger.is_overdue or reports_too_long(law, i, charger.status_at_ns):
        return True
    return (
        charger.is_refusing
        and not charger.is_acknowledged
        and now_ns - charger.refused_since_ns >= follow_ns(law, i)
    )


cdef bint should_starve(law_t *law, int32_t i) noexcept nogil:
    """True when it does not obey and its watchdog, as armed, would lower it."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    if not charger.is_deaf or charger.is_starving or charger.is_silent or charger.has_starved:
        return False
    if row.is_isolated or not charger.is_armed or row.watchdog_ns == 0:
        return False
    return row.fallback_mA < charger.reserve_mA


cdef void begin_all(law_t *law, int32_t box, int64_t now_ns) noexcept nogil:
    """From now on no outlet of this box gets a message; each may be on its way to its fallback."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if law.charger_rows[i].box == box and not law.charger_rows[i].is_isolated:
            raise_ceiling(charger, charger.reserve_mA)
            unanswered(law, i)
            charger.is_starving = True
            charger.starved_since_ns = now_ns


cdef bint is_complete(law_t *law, int32_t box, int64_t now_ns) noexcept nogil:
    """True when 1.2 times the watchdog time has run since the last message to any outlet."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if law.charger_rows[i].box == box and charger.is_starving:
            if (now_ns - charger.starved_since_ns) * 5 < law.charger_rows[i].watchdog_ns * 6:
                return False
    return True


cdef void end_all(law_t *law, int32_t box, int64_t now_ns) noexcept nogil:
    """Its fallback is in force, or what it was told if that is higher; nothing else is known."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if law.charger_rows[i].box != box or not charger.is_starving:
            continue
        charger.is_starving = False
        charger.has_starved = charger.is_deaf
        charger.is_deaf = False
        charger.is_overdue = False
        charger.is_above = False
        charger.is_reporting_above = False
        charger.is_refusing = False
        charger.has_seen_above = False
        charger.is_acknowledged = False
        charger.has_reported = False
        charger.n_samples = 0
        charger.ceiling_mA = 0
        raise_ceiling(charger, max(charger.setpoint_mA, law.charger_rows[i].fallback_mA))
        update_reserve(law, i, now_ns)
