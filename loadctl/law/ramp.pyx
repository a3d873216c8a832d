"""Ramp: how soon and how far a setpoint may rise to its share. Down is at once and not here.

A raise waits for: the meters of this scan, its turn after a
start, the delay after a cut on a circuit phase it uses, the soft start, the deadband (or
`trim_s` inside it), and the time between raises. How far: a budget that runs since the last
raise, saved up until one step fits. Notes in `reason` what it waits for, or what keeps a raise from
reaching the share.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_KINDS, charger_t, tuning_t
from loadctl.law.reason cimport (
    CLOSE_ENOUGH, RAMPS_UP, STARTS_SOFTLY, WAITS_AFTER_CUT, WAITS_FOR_METER,
    WAITS_FOR_TURN, explain, explain_limit,
)
from loadctl.law.tables cimport NONE, charger_row_t, law_t

cdef int64_t NS_PER_S = 1_000_000_000
cdef enum:
    BUDGET_FULL_s = 1000    # far above any setpoint at any ramp


cdef void begin_run(law_t *law, int64_t now_ns) noexcept nogil:
    """Give each charger its own offset for its first raise after a start or failsafe, and let a
    small gap last anew: nobody watched it meanwhile."""
    cdef int32_t i
    for i in range(law.n_chargers):
        law.chargers[i].is_below = False
        law.chargers[i].raise_after_ns = (
            now_ns + law.site.tuning.stagger_ns * i // law.n_chargers
        )


cdef int32_t raise_mA(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """The setpoint that charger i may be raised to now, or 0."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef tuning_t *tuning = &law.site.tuning
    cdef int64_t gap_mA = charger.share_high_mA - charger.setpoint_mA
    note_gap(law, charger, gap_mA, now_ns)
    if gap_mA <= 0 or waits(law, i, now_ns):
        return 0
    if charger.setpoint_mA < row.min_mA:
        if row.min_mA < charger.share_high_mA:
            explain(charger, STARTS_SOFTLY if tuning.soft_start_ns > 0 else RAMPS_UP)
        return row.min_mA
    if not is_due(law, charger, gap_mA, now_ns):
        return waiting(charger, CLOSE_ENOUGH)
    gap_mA = min(gap_mA, budget_mA(law, charger, now_ns)) // row.step_mA * row.step_mA
    if charger.setpoint_mA + gap_mA < charger.share_high_mA:
        explain(charger, RAMPS_UP)
    return charger.setpoint_mA + <int32_t>gap_mA


cdef void note_gap(
    law_t *law, charger_t *charger, int64_t gap_mA, int64_t now_ns
) noexcept nogil:
    """Remember since when the share is above the setpoint by less than the deadband."""
    if gap_mA <= 0 or gap_mA >= law.site.tuning.deadband_mA:
        charger.is_below = False
    elif not charger.is_below:
        charger.is_below = True
        charger.below_since_ns = now_ns


cdef bint is_due(
    law_t *law, charger_t *charger, int64_t gap_mA, int64_t now_ns
) noexcept nogil:
    """True when a gap is worth a raise: not within the deadband, or for long enough."""
    if gap_mA >= law.site.tuning.deadband_mA:
        return True
    return charger.is_below and now_ns - charger.below_since_ns >= law.site.tuning.trim_ns


cdef int32_t waiting(charger_t *charger, int32_t reason) noexcept nogil:
    explain(charger, reason)
    return 0


cdef bint waits(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True when nothing may be raised here now, whatever the amount."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int64_t pause_ns = max(law.site.tuning.raise_every_ns, row.min_change_ns)
    if now_ns < charger.raise_after_ns:
        explain(charger, WAITS_FOR_TURN)
        return True
    if waits_for_circuit(law, i, now_ns):
        return True
    if charger.setpoint_mA >= row.min_mA and (
        now_ns - charger.on_since_ns < law.site.tuning.soft_start_ns
    ):
        explain(charger, STARTS_SOFTLY)
        return True
    if charger.has_raised and now_ns - charger.raised_at_ns < pause_ns:
        explain(charger, RAMPS_UP)
        return True
    return False


cdef bint waits_for_circuit(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, c = row.circuit
    while c != NONE:
        if not law.circuits[c].may_raise:
            explain_limit(charger, WAITS_FOR_METER, c * N_KINDS + row.phases[0])
            return True
        for k in range(row.n_phases):
            if now_ns < law.circuits[c].raise_after_ns[row.phases[k]]:
                explain_limit(charger, WAITS_AFTER_CUT, c * N_KINDS + row.phases[k])
                return True
        c = law.circuit_rows[c].parent
    return False


cdef int64_t budget_mA(law_t *law, charger_t *charger, int64_t now_ns) noexcept nogil:
    """What the ramp has saved up since the last raise."""
    cdef int64_t elapsed_ns = BUDGET_FULL_s * NS_PER_S
    if charger.has_raised:
        elapsed_ns = min(elapsed_ns, now_ns - charger.raised_at_ns)
    return elapsed_ns // 1000 * law.site.tuning.ramp_mA_per_s // 1_000_000
