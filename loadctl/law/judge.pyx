"""Judge: the last word on every give, and on what a silent charger is probed with.

A give stands only while reserves, itself included, and the rigorous background fit every limit
above it: `judge_gives` trims or drops what does not, once the takes are acknowledged.
`mark_looks` finds, before that, the chargers whose fresh status could make a give fit.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.admit cimport fullest
from loadctl.law.draws cimport fill_spans, has_fresh_draw
from loadctl.law.estimate cimport SOURCE_METER
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t
from loadctl.law.limits cimport add_to, cap_mA, clear
from loadctl.law.order cimport ACTION_GIVE, ACTION_NONE, ACTION_PROBE
from loadctl.law.reason cimport WAITS_FOR_PROOF, explain_limit
from loadctl.law.reserve cimport rise_mA
from loadctl.law.tables cimport N_LOAD_KINDS, NONE, charger_row_t, law_t, member_t


cdef void fill_reserves(law_t *law) noexcept nogil:
    """Reserves in `used_mA`, and in `cap_high_mA` what they and a raise must stay within."""
    cdef int32_t i, k, limit_i
    clear(law, law.used_mA)
    for i in range(law.n_chargers):
        add_to(law, law.used_mA, i, law.chargers[i].reserve_mA)
    for k in range(law.n_live):
        limit_i = law.live[k]
        law.cap_high_mA[limit_i] = cap_mA(
            law, limit_i // N_KINDS, limit_i % N_KINDS,
            law.circuits[limit_i // N_KINDS].background_rigorous_mA,
        )


cdef void order_probes(law_t *law) noexcept nogil:
    """Decide what a silent charger is written until it answers: min(last setpoint, failsafe).

    It may have fallen to its fallback by itself. Where the limits above do not hold now, or cannot
    be seen, that bounds the probe too, so that it raises nothing.
    """
    cdef charger_t *charger
    cdef int32_t i
    cdef bint has_reserves = False
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.is_starving or law.charger_rows[i].is_isolated:
            continue
        if charger.is_silent and charger.is_armed:
            if not has_reserves:
                fill_reserves(law)
                has_reserves = True
            charger.action = ACTION_PROBE
            charger.action_mA = min(charger.setpoint_mA, charger.failsafe_mA)
            if not is_seen(law, i) or covered_mA(law, i) == 0:
                charger.action_mA = min(charger.action_mA, lowest_mA(law, i))
            if charger.action_mA < law.charger_rows[i].min_mA:  # which was lower before
                charger.action_mA = 0


cdef int32_t probe_mA(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if charger.action == ACTION_PROBE:
        return charger.action_mA
    return min(charger.setpoint_mA, charger.failsafe_mA)


cdef int32_t lowest_mA(law_t *law, int32_t i) noexcept nogil:
    """The fallback as a setpoint."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t value_mA = row.fallback_mA // row.step_mA * row.step_mA
    return value_mA if value_mA >= row.min_mA else 0


cdef bint is_seen(law_t *law, int32_t i) noexcept nogil:
    cdef int32_t c = law.charger_rows[i].circuit
    while c != NONE:
        if not law.circuits[c].may_raise:
            return False
        c = law.circuit_rows[c].parent
    return True


cdef int64_t covered_mA(law_t *law, int32_t i) noexcept nogil:
    """The highest setpoint of charger i that its limits cover; 0: they cover no raise."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k
    cdef int64_t room_mA, least_mA = row.max_mA
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        room_mA = law.cap_high_mA[member.limit_i] - law.used_mA[member.limit_i]
        if room_mA < 0:
            return 0
        least_mA = min(least_mA, room_mA // member.count)
    return least_mA + law.chargers[i].reserve_mA - law.chargers[i].over_mA


cdef void judge(law_t *law, int32_t i) noexcept nogil:
    """Trim a give to what is covered, or drop it where that is no raise any more."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t to_mA = min(<int64_t>charger.action_mA, covered_mA(law, i))
    to_mA = to_mA // row.step_mA * row.step_mA
    if to_mA < row.min_mA or to_mA <= charger.setpoint_mA:
        charger.action = ACTION_NONE
        charger.action_mA = charger.setpoint_mA
        charger.is_start = False
        return
    charger.action_mA = <int32_t>to_mA
    add_to(law, law.used_mA, i, rise_mA(charger, charger.action_mA))


cdef void judge_gives(law_t *law) noexcept nogil:
    """Keep the gives that are covered now: starts before raises, each in tier and file order."""
    cdef charger_t *charger
    cdef int32_t k, i, limit_i, is_start
    fill_reserves(law)
    drop_unreachable(law)
    for is_start in range(1, -1, -1):
        for k in range(law.n_chargers):
            i = law.by_rank[k]
            charger = &law.chargers[i]
            if charger.action != ACTION_GIVE or charger.is_start != is_start:
                continue
            limit_i = uncovered(law, i)
            if limit_i != NONE:
                explain_limit(charger, WAITS_FOR_PROOF, limit_i)
            judge(law, i)


cdef void drop_unreachable(law_t *law) noexcept nogil:
    """One that fell silent or lost its settings since the step gets no raise."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.action == ACTION_GIVE and (charger.is_silent or not charger.is_armed):
            charger.action = ACTION_NONE
            charger.action_mA = charger.setpoint_mA
            charger.is_start = False


cdef int32_t uncovered(law_t *law, int32_t i) noexcept nogil:
    """The limit that the give of charger i passes by the most, or NONE."""
    cdef charger_t *charger = &law.chargers[i]
    return fullest(law, law.cap_high_mA, i, rise_mA(charger, charger.action_mA))


cdef void mark_looks(law_t *law) noexcept nogil:
    """Mark whose draw must be read again before the gives of this scan can be judged fairly."""
    cdef charger_t *charger
    cdef int32_t i
    if not needs_looks(law):
        return
    fill_reserves(law)
    fill_spans(law)
    for i in range(law.n_chargers):     # all gives together: more looks than needed, never fewer
        charger = &law.chargers[i]
        if charger.action == ACTION_GIVE:
            add_to(law, law.used_mA, i, rise_mA(charger, charger.action_mA))
    clear(law, law.late_mA)
    for i in range(law.n_chargers):
        if law.chargers[i].action == ACTION_GIVE:
            add_to(law, law.late_mA, i, 1)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if is_worth_a_look(law, i):
            charger.needs_look = True


cdef bint needs_looks(law_t *law) noexcept nogil:
    """True when there is a give to judge, or a circuit that had to be cut."""
    cdef int32_t i, c, p
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            if law.circuits[c].is_overloaded[p]:
                return True
    for i in range(law.n_chargers):
        if law.chargers[i].action == ACTION_GIVE:
            return True
    return False


cdef bint is_worth_a_look(law_t *law, int32_t i) noexcept nogil:
    """True when a stale sample of charger i stands in the way of a give."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, limit_i
    if not row.has_measured_current or charger.is_silent or row.is_isolated:
        return False
    if not charger.is_armed or has_fresh_draw(law, i):
        return False
    if charger.n_samples > 0 and not charger.is_unproven and not draws(charger):
        return False
    for k in range(row.n_members):
        limit_i = law.members[row.first_member + k].limit_i
        if law.late_mA[limit_i] > 0 and law.used_mA[limit_i] > law.cap_high_mA[limit_i]:
            if charger.is_unproven or is_measured(law, limit_i):
                return True
    return is_overloaded(law, row)


cdef bint is_measured(law_t *law, int32_t limit_i) noexcept nogil:
    """True where a sample tells background from draw: limits with background, and a meter now."""
    if limit_i % N_KINDS >= N_LOAD_KINDS:
        return False
    return law.circuits[limit_i // N_KINDS].source == SOURCE_METER


cdef bint is_overloaded(law_t *law, charger_row_t *row) noexcept nogil:
    """True below a circuit phase that had to be cut now: who draws what is worth knowing."""
    cdef int32_t k, c = row.circuit
    while c != NONE:
        for k in range(row.n_phases):
            if law.circuits[c].is_overloaded[row.phases[k]]:
                return True
        c = law.circuit_rows[c].parent
    return False


cdef bint draws(charger_t *charger) noexcept nogil:
    return charger.draw_mA[0] > 0 or charger.draw_mA[1] > 0 or charger.draw_mA[2] > 0
