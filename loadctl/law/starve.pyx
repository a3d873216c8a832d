"""Starve: what is done about a charger that hears and does not obey.

One that acknowledges a lower setpoint and still takes more after its follow time, says that more is
in force, or refuses decreases for as long, is sent nothing at all until its own watchdog has fired
and its fallback was followed. From then on its reserve is that fallback, or where it was seen to
take more than it was told, what was seen last; it is silent like any other, is probed by min(last,
failsafe), and armed again. Only where it has a watchdog, and where its fallback is less than it
takes. Outlets of one address share the watchdog, and starve together. Design, section 4.5. Runs
inside step, first.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_PHASES, charger_t
from loadctl.law.reserve cimport PILOT_TOLERANCE_mA, follow_ns, raise_ceiling, unanswered
from loadctl.law.tables cimport charger_row_t, law_t


# Its fallback has acted and it takes more all the same: what did not help helps seldom.
cdef int64_t AGAIN_AFTER_ns = 600_000_000_000


cdef void starve(law_t *law, int64_t now_ns) noexcept nogil:
    """End what has run long enough, then begin where there is cause."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.is_starving and now_ns >= charger.starve_until_ns:
            end(law, i)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if says_more(law, i, now_ns):
            charger.is_overdue = True
        if must_starve(law, i, now_ns):
            begin_box(law, law.charger_rows[i].box, now_ns)


cdef bint says_more(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True when the box says, past its follow time, that more is in force than it was told."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t since_ns = charger.acknowledged_at_ns
    if charger.is_above:        # a further setpoint gives it no more time
        since_ns = charger.above_since_ns
    return (
        charger.has_reported
        and charger.is_acknowledged
        and charger.is_unproven
        and charger.reported_mA > charger.setpoint_mA + PILOT_TOLERANCE_mA
        and charger.status_at_ns - since_ns >= follow_ns(law, i)
    )


cdef bint must_starve(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef bint is_deaf = charger.is_overdue
    if row.watchdog_ns == 0 or row.is_isolated or not charger.is_armed:
        return False
    if charger.is_silent or charger.is_starving:
        return False
    if charger.is_stubborn and now_ns - charger.starve_until_ns < AGAIN_AFTER_ns:
        return False
    if charger.is_refusing and now_ns - charger.refused_since_ns >= follow_ns(law, i):
        is_deaf = True
    return is_deaf and row.fallback_mA < taken_mA(law, i)


cdef int32_t taken_mA(law_t *law, int32_t i) noexcept nogil:
    """What it takes, by what is known of it: measured, or said, or else all that is reserved."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t p, highest_mA = 0
    if charger.is_refusing:
        return charger.reserve_mA
    if charger.has_reported:
        highest_mA = charger.reported_mA
    for p in range(N_PHASES):
        if charger.n_samples > 0:
            highest_mA = max(highest_mA, charger.draw_mA[p])
    return highest_mA


cdef void begin_box(law_t *law, int32_t box, int64_t now_ns) noexcept nogil:
    cdef charger_row_t *row
    cdef charger_t *charger
    cdef int32_t i, p
    for i in range(box, law.charger_rows[box].box_end):
        row = &law.charger_rows[i]
        charger = &law.chargers[i]
        if row.box != box or row.is_isolated:
            continue
        raise_ceiling(charger, charger.reserve_mA)
        for p in range(N_PHASES):
            if charger.n_samples > 0:
                raise_ceiling(charger, charger.draw_mA[p])
        charger.is_stubborn = charger.is_overdue and row.has_measured_current
        unanswered(law, i)
        charger.is_starving = True
        charger.n_starves += 1
        charger.starve_until_ns = now_ns + max(
            row.watchdog_ns * 12 // 10, row.watchdog_ns + follow_ns(law, i)
        )


cdef void end(law_t *law, int32_t i) noexcept nogil:
    """Its fallback has acted: that, or what it was told, is the most that it takes. What was seen
    of one that does not obey stands until less is seen: its word was not good before."""
    cdef charger_t *charger = &law.chargers[i]
    charger.is_starving = False
    charger.is_overdue = False
    charger.is_refusing = False
    charger.has_seen_above = False
    charger.is_above = False
    charger.has_reported = False
    charger.is_acknowledged = False
    if not charger.is_stubborn:
        charger.n_samples = 0
    charger.ceiling_mA = charger.setpoint_mA
    raise_ceiling(charger, law.charger_rows[i].fallback_mA)
