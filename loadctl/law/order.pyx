"""Order: the takes and gives of this scan, each with its reason, and the last word on every give.

Takes are decided first and are never conditional. A give stands only while reserves, itself
included, and the rigorous background fit every limit above it: `judge_gives` trims or drops what
does not, once the takes are acknowledged. `needs_look` marks the chargers whose fresh status
could make a give fit.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.admit cimport fullest
from loadctl.law.estimate cimport has_fresh_draw
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t
from loadctl.law.limits cimport add_to, cap_mA, clear
from loadctl.law.ramp cimport raise_mA
from loadctl.law.reason cimport (
    CONTROLLER_MODE, ISOLATED, MAKES_ROOM, NO_CAR, NO_ROOM_FOR_MINIMUM, NOT_ARMED, NOT_READY, SILENT,
    STATUS_UNKNOWN, WAITS_AFTER_PAUSE, WAITS_FOR_PROOF, explain, explain_limit, explain_share,
)
from loadctl.law.tables cimport NONE, STATE_A, charger_row_t, law_t, member_t


cdef void order_takes(law_t *law, int64_t now_ns) noexcept nogil:
    """Decide every decrease: what the low caps demand, and what others with a smaller share wait for."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.action = ACTION_NONE
        charger.is_start = False
        charger.needs_look = False
        charger.is_admitted = law.is_in[i]
        charger.action_mA = charger.setpoint_mA
        if can_command(law, i):
            charger.action_mA = target_mA(law, i, now_ns)
    make_room(law)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not can_command(law, i):
            continue
        if law.site.mode != MODE_RUN and charger.action_mA > law.charger_rows[i].failsafe_mA:
            charger.action_mA = law.charger_rows[i].failsafe_mA
        if charger.action_mA < charger.setpoint_mA or not charger.is_acknowledged:
            charger.action = ACTION_TAKE


cdef bint can_command(law_t *law, int32_t i) noexcept nogil:
    """True when setpoints reach it; says why not."""
    cdef charger_t *charger = &law.chargers[i]
    if law.charger_rows[i].is_isolated:
        explain(charger, ISOLATED)
    elif charger.is_silent:
        explain(charger, SILENT)
    elif not charger.is_armed:
        explain(charger, NOT_ARMED)
    else:
        return True
    return False


cdef int32_t target_mA(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """What charger i may keep of its setpoint."""
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    if not charger.has_status:
        explain(charger, STATUS_UNKNOWN)
        return min(charger.setpoint_mA, row.failsafe_mA)
    if not charger.is_candidate:
        explain(charger, NO_CAR if charger.state == STATE_A else NOT_READY)
        return 0
    if not law.is_in[i]:
        refuse(law, i, now_ns)
        return 0
    explain_share(charger, law.blocked_by[i])
    if charger.share_low_mA < charger.setpoint_mA:
        explain_share(charger, law.blocked_low_by[i])
        return charger.share_low_mA
    if charger.setpoint_mA < row.min_mA:
        return 0
    return charger.setpoint_mA


cdef void refuse(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """Say why a car that asks gets nothing; one that charges until now is paused."""
    cdef charger_t *charger = &law.chargers[i]
    if charger.setpoint_mA > 0:
        charger.was_paused = True
        charger.has_fitted = False
        charger.off_since_ns = now_ns
    if law.refused_by[i] == NONE:
        explain(charger, WAITS_AFTER_PAUSE)
    else:
        explain_limit(charger, NO_ROOM_FOR_MINIMUM, law.refused_by[i])


cdef void make_room(law_t *law) noexcept nogil:
    """Bring those above their share down to it where others below theirs could not rise beside them.

    Between the two shares a setpoint is left alone; but what a session was given when there was
    more must not keep out one that asks now.
    """
    cdef charger_t *charger
    cdef int32_t i, limit_i
    cdef int64_t gap_mA
    clear(law, law.used_mA)
    clear(law, law.late_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not law.is_in[i]:
            continue
        add_to(law, law.used_mA, i, charger.action_mA)
        gap_mA = charger.share_high_mA - charger.action_mA
        if gap_mA > 0 and (charger.action_mA == 0 or gap_mA >= law.site.tuning.deadband_mA):
            add_to(law, law.used_mA, i, gap_mA)
            add_to(law, law.late_mA, i, gap_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if law.is_in[i] and charger.action_mA > charger.share_high_mA:
            limit_i = crowded(law, i)
            if limit_i != NONE:
                charger.action_mA = charger.share_high_mA
                explain_limit(charger, MAKES_ROOM, limit_i)


cdef int32_t crowded(law_t *law, int32_t i) noexcept nogil:
    """A limit of charger i in which a raise is waiting that does not fit beside present setpoints."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, limit_i
    for k in range(row.n_members):
        limit_i = law.members[row.first_member + k].limit_i
        if law.late_mA[limit_i] > 0 and law.used_mA[limit_i] > law.cap_high_mA[limit_i]:
            return limit_i
    return NONE


cdef void order_raises(law_t *law, int64_t now_ns) noexcept nogil:
    """Propose what the ramp allows to those whose share by the held background is higher."""
    cdef charger_t *charger
    cdef int32_t i, to_mA
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not law.is_in[i] or charger.action == ACTION_TAKE:
            continue
        if law.site.mode != MODE_RUN:
            explain(charger, CONTROLLER_MODE)
            continue
        to_mA = raise_mA(law, i, now_ns)
        if to_mA > charger.setpoint_mA:
            charger.action = ACTION_GIVE
            charger.action_mA = to_mA
            charger.is_start = charger.setpoint_mA == 0


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

    It may have fallen to its fallback by itself. Where the limits above do not hold now, or cannot be seen, that
    bounds the probe too, so that it raises nothing.
    """
    cdef charger_t *charger
    cdef int32_t i
    fill_reserves(law)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.is_silent and charger.is_armed and not law.charger_rows[i].is_isolated:
            charger.action = ACTION_PROBE
            charger.action_mA = min(charger.setpoint_mA, law.charger_rows[i].failsafe_mA)
            if not is_seen(law, i) or covered_mA(law, i) == 0:
                charger.action_mA = min(charger.action_mA, lowest_mA(law, i))


cdef int32_t probe_mA(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if charger.action == ACTION_PROBE:
        return charger.action_mA
    return min(charger.setpoint_mA, law.charger_rows[i].failsafe_mA)


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
    """The highest setpoint of charger i that its limits cover, or 0 when they cover no raise at all."""
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
    return least_mA + law.chargers[i].reserve_mA


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
    add_to(law, law.used_mA, i, max(0, to_mA - charger.reserve_mA))


cdef void judge_gives(law_t *law) noexcept nogil:
    """Keep the gives that are covered now: starts before raises, each in tier and file order."""
    cdef charger_t *charger
    cdef int32_t k, i, limit_i, is_start
    fill_reserves(law)
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


cdef int32_t uncovered(law_t *law, int32_t i) noexcept nogil:
    """The limit that the give of charger i passes by the most, or NONE."""
    cdef int64_t more_mA = law.chargers[i].action_mA - law.chargers[i].reserve_mA
    return fullest(law, law.cap_high_mA, i, max(more_mA, 0))


cdef void mark_looks(law_t *law) noexcept nogil:
    """Mark whose draw must be read again before the gives of this scan can be judged fairly."""
    cdef charger_t *charger
    cdef int32_t i
    fill_reserves(law)
    for i in range(law.n_chargers):     # all gives together: more looks than needed, never fewer
        charger = &law.chargers[i]
        if charger.action == ACTION_GIVE:
            add_to(law, law.used_mA, i, max(0, charger.action_mA - charger.reserve_mA))
    clear(law, law.late_mA)
    for i in range(law.n_chargers):
        if law.chargers[i].action == ACTION_GIVE:
            add_to(law, law.late_mA, i, 1)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if is_worth_a_look(law, i):
            charger.needs_look = True


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
            return True
    return is_overloaded(law, row)


cdef bint is_overloaded(law_t *law, charger_row_t *row) noexcept nogil:
    """True below a circuit phase that had to be cut in this scan: who draws what is worth knowing."""
    cdef int32_t k, c = row.circuit
    while c != NONE:
        for k in range(row.n_phases):
            if law.circuits[c].is_overloaded[row.phases[k]]:
                return True
        c = law.circuit_rows[c].parent
    return False


cdef bint draws(charger_t *charger) noexcept nogil:
    return charger.draw_mA[0] > 0 or charger.draw_mA[1] > 0 or charger.draw_mA[2] > 0


cdef void settle_grants(law_t *law) noexcept nogil:
    """Write shares as grants, with what bound them."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.action = ACTION_NONE
        charger.grant_mA = law.x_mA[i] if law.is_in[i] else 0
        charger.is_admitted = law.is_in[i]
        if law.is_in[i]:
            explain_share(charger, law.blocked_by[i])
        elif law.charger_rows[i].is_isolated:
            explain(charger, ISOLATED)
        elif law.refused_by[i] == NONE:
            explain(charger, NO_CAR)
        else:
            explain_limit(charger, NO_ROOM_FOR_MINIMUM, law.refused_by[i])
    sum_grants(law)


cdef void sum_up(law_t *law) noexcept nogil:
    """Write the decided setpoints as grants and their sums per circuit phase."""
    cdef charger_t *charger
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.grant_mA = charger.action_mA
    sum_grants(law)


cdef void sum_grants(law_t *law) noexcept nogil:
    cdef int32_t i, c, p
    clear(law, law.used_mA)
    clear(law, law.late_mA)
    for i in range(law.n_chargers):
        add_to(law, law.used_mA, i, law.chargers[i].grant_mA)
        add_to(law, law.late_mA, i, law.chargers[i].reserve_mA)
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            law.circuits[c].granted_mA[p] = <int32_t>law.used_mA[c * N_KINDS + p]
            law.circuits[c].reserved_mA[p] = <int32_t>law.late_mA[c * N_KINDS + p]


cdef bint is_sound(law_t *law) noexcept nogil:
    """True when every action is one that its charger can take; anything else is a fault of the law itself."""
    cdef charger_t *charger
    cdef charger_row_t *row
    cdef int32_t i
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        row = &law.charger_rows[i]
        if charger.action == ACTION_NONE:
            continue
        if charger.action_mA != 0 and charger.action_mA < row.min_mA:
            return False
        if charger.action_mA > row.max_mA or charger.action_mA % row.step_mA != 0:
            return False
        if (charger.action == ACTION_GIVE) != (charger.action_mA > charger.setpoint_mA):
            return False
    return True
