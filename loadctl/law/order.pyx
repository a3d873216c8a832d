"""Order: the takes and gives of this scan, each with its reason.

Takes are decided first and are never conditional; a give proposed here stands only if `judge`
lets it. Also the sums that go with the decision, and the allocation at rest written as grants.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.estimate cimport longest_hold_ns
from loadctl.law.layout cimport N_PHASES, charger_t
from loadctl.law.limits cimport add_to, clear
from loadctl.law.ramp cimport is_due, raise_mA
from loadctl.law.reason cimport (
    CONTROLLER_MODE, DISABLED, DOES_NOT_FOLLOW, DONE, ISOLATED, MAKES_ROOM, NO_CAR,
    NO_ROOM_FOR_MINIMUM, NOT_ACKNOWLEDGED, NOT_ARMED, NOT_READY, SILENT, STARVED, STATUS_UNKNOWN,
    WAITS_FOR_PLACE, explain, explain_full, explain_limit, explain_share,
    explain_wait,
)
from loadctl.law.session cimport (
    PART_DONE, PAUSE_DISABLED, PAUSE_DONE, PAUSE_LIMIT, PAUSE_MODE, PAUSE_TURN, Pause,
    next_offer_ns, pause,
)
from loadctl.law.tables cimport NONE, STATE_A, charger_row_t, law_t

cdef enum:
    CRUMB_mA = 1000     # the coarsest step: what rounding may move from one charger to another


cdef void order_takes(law_t *law, int64_t now_ns) noexcept nogil:
    """Decide every decrease: what the low caps demand, and what others wait for."""
    cdef charger_t *charger
    cdef int32_t i
    clear(law, law.used_mA)
    for i in range(law.n_chargers):
        if law.is_in[i]:
            add_to(law, law.used_mA, i, law.chargers[i].setpoint_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        charger.action = ACTION_NONE
        charger.is_start = False
        charger.needs_look = False
        charger.is_admitted = law.is_in[i]
        charger.action_mA = charger.setpoint_mA
        if can_command(law, i):
            charger.action_mA = target_mA(law, i, now_ns)
    make_room(law, now_ns)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not can_command(law, i):
            continue
        if law.site.mode != MODE_RUN:
            keep_to_failsafe(law, i)
        if charger.action_mA < law.charger_rows[i].min_mA:      # which was lower before
            charger.action_mA = 0
        if not charger.is_acknowledged:     # what became of the last one is not known: again
            charger.action = ACTION_TAKE
            explain(charger, NOT_ACKNOWLEDGED)
        elif charger.action_mA < charger.setpoint_mA:
            charger.action = ACTION_TAKE


cdef void keep_to_failsafe(law_t *law, int32_t i) noexcept nogil:
    """Outside RUN: min(last, failsafe), which the proof covers, whatever others may be reserved.

    Only what a meter shows above a limit takes more, and a minimum that was raised in the meantime.
    """
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t least_mA = min(charger.setpoint_mA, charger.failsafe_mA)
    if is_above(law, &law.charger_rows[i]):
        charger.action_mA = min(least_mA, charger.action_mA)
        return
    charger.action_mA = least_mA
    explain(charger, CONTROLLER_MODE)


cdef bint is_above(law_t *law, charger_row_t *row) noexcept nogil:
    """True where a meter above this charger reads more than its circuit may carry."""
    cdef int32_t k, c = row.circuit
    while c != NONE:
        for k in range(row.n_phases):
            if law.circuits[c].is_above[row.phases[k]]:
                return True
        c = law.circuit_rows[c].parent
    return False


cdef bint can_command(law_t *law, int32_t i) noexcept nogil:
    """True when setpoints reach it; says why not."""
    cdef charger_t *charger = &law.chargers[i]
    if law.charger_rows[i].is_isolated:
        explain(charger, ISOLATED)
    elif charger.is_starving:
        explain(charger, STARVED)
    elif charger.is_silent:
        explain(charger, DOES_NOT_FOLLOW if charger.is_stubborn else SILENT)
    elif not charger.is_armed:
        explain(charger, NOT_ARMED)
    else:
        return True
    return False


cdef int32_t target_mA(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """What charger i may keep of its setpoint."""
    cdef charger_t *charger = &law.chargers[i]
    if not charger.has_status:
        explain(charger, STATUS_UNKNOWN)
        return min(charger.setpoint_mA, charger.failsafe_mA)
    if not charger.is_candidate:
        exclude(law, i, now_ns)
        return 0
    if not law.is_in[i]:
        refuse(law, i, now_ns)
        return 0
    explain_share(law, i, law.blocked_by[i])
    if charger.is_stubborn:
        explain(charger, DOES_NOT_FOLLOW)
    if charger.share_low_mA < charger.setpoint_mA and must_come_down(law, i):
        explain_share(law, i, law.blocked_low_by[i])
        return charger.share_low_mA
    if 0 < charger.setpoint_mA < law.charger_rows[i].min_mA:
        pause(law, i, PAUSE_LIMIT, now_ns)  # its minimum was raised: a pause as any other
    return charger.setpoint_mA


cdef bint must_come_down(law_t *law, int32_t i) noexcept nogil:
    """True when its own maximum or a limit that the present setpoints pass asks for it.

    A share can shrink without either: when room elsewhere lets another one grow. Then nobody is cut
    before that other one can rise (`make_room`).
    """
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, limit_i
    if law.chargers[i].setpoint_mA > law.most_mA[i]:
        return True
    for k in range(row.n_members):
        limit_i = law.members[row.first_member + k].limit_i
        if law.used_mA[limit_i] > law.cap_low_mA[limit_i]:
            return True
    return False


cdef void exclude(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """Say why one that can be commanded gets nothing, whatever room there is."""
    cdef charger_t *charger = &law.chargers[i]
    if not charger.is_enabled:
        explain(charger, DISABLED)
        if charger.setpoint_mA > 0:
            pause(law, i, PAUSE_DISABLED, now_ns)
    elif charger.state == STATE_A:
        explain(charger, NO_CAR)
    elif charger.is_overdue:
        explain(charger, DOES_NOT_FOLLOW)
    elif charger.session == PART_DONE:
        explain_wait(charger, DONE, next_offer_ns(law, i, now_ns))
        if charger.setpoint_mA > 0:
            pause(law, i, PAUSE_DONE, now_ns)
    else:
        explain(charger, NOT_READY)


cdef void refuse(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """Say why a car that asks gets nothing; one that charges until now is paused."""
    cdef charger_t *charger = &law.chargers[i]
    if charger.setpoint_mA > 0:
        pause(law, i, cause_of(law, i), now_ns)
    if charger.place > 0:
        explain_wait(charger, WAITS_FOR_PLACE, charger.turn_at_ns - now_ns)
    elif law.refused_by[i] != NONE:
        explain_full(law, i, NO_ROOM_FOR_MINIMUM, law.refused_by[i])
    elif law.most_mA[i] < law.charger_rows[i].min_mA:   # outside RUN
        explain(charger, CONTROLLER_MODE)
    # else its pause lasts: `admit` has said why


cdef Pause cause_of(law_t *law, int32_t i) noexcept nogil:
    if law.site.mode != MODE_RUN:
        return PAUSE_MODE
    if law.chargers[i].session == PART_DONE:
        return PAUSE_DONE
    return PAUSE_TURN if law.passes_on[i] else PAUSE_LIMIT


cdef void make_room(law_t *law, int64_t now_ns) noexcept nogil:
    """Bring those above their share down to it where others could not rise beside them.

    Between the two shares a setpoint is left alone; but what a session was given when there was
    more must not keep out one that asks now. Each limit holds its peaks for a time of its own:
    until those of a cut have ended everywhere, what one of them would take comes back with the
    next, and crumbs go to and fro. Then only one that starts gets all of its share; others get
    what passes both shares by more than a crumb.
    """
    cdef charger_t *charger
    cdef bint is_calm = not is_settling(law, now_ns)
    cdef int32_t i, limit_i, to_mA
    cdef int64_t gap_mA
    clear(law, law.used_mA)
    clear(law, law.late_mA)
    clear(law, law.base_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not law.is_in[i]:
            continue
        add_to(law, law.used_mA, i, charger.action_mA)
        gap_mA = charger.share_high_mA - charger.action_mA
        if gap_mA > 0 and (charger.action_mA == 0 or is_due(law, charger, gap_mA, now_ns)):
            add_to(law, law.used_mA, i, gap_mA)
            add_to(law, law.late_mA, i, gap_mA)
            if charger.action_mA == 0:
                add_to(law, law.base_mA, i, gap_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not law.is_in[i] or charger.action_mA <= charger.share_high_mA:
            continue
        to_mA = charger.share_high_mA
        limit_i = crowded(law, i, law.late_mA if is_calm else law.base_mA)
        if limit_i == NONE:
            to_mA = max(charger.share_low_mA, law.x_mA[i])
            if charger.action_mA - to_mA > CRUMB_mA:
                limit_i = crowded(law, i, law.late_mA)
        if limit_i != NONE:
            charger.action_mA = to_mA
            explain_limit(charger, MAKES_ROOM, limit_i)


cdef bint is_settling(law_t *law, int64_t now_ns) noexcept nogil:
    """True while a peak may be held that began when something was cut or while cars followed it."""
    cdef int64_t hold_ns = longest_hold_ns(law)
    cdef int32_t c, p
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            if now_ns < law.circuits[c].raise_after_ns[p] + hold_ns:
                return True
    return False


cdef int32_t crowded(law_t *law, int32_t i, const int64_t *raises_mA) noexcept nogil:
    """A limit of charger i where one of these raises waits and does not fit beside setpoints."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, limit_i
    for k in range(row.n_members):
        limit_i = law.members[row.first_member + k].limit_i
        if raises_mA[limit_i] > 0 and law.used_mA[limit_i] > law.cap_high_mA[limit_i]:
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
        elif charger.is_stubborn:       # whatever else a raise would wait for
            explain(charger, DOES_NOT_FOLLOW)


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
            explain_share(law, i, law.blocked_by[i])
        elif law.charger_rows[i].is_isolated:
            explain(charger, ISOLATED)
        elif not charger.is_enabled:
            explain(charger, DISABLED)
        elif law.refused_by[i] == NONE:
            explain(charger, NO_CAR if charger.state <= STATE_A else NOT_READY)
        else:
            explain_full(law, i, NO_ROOM_FOR_MINIMUM, law.refused_by[i])
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
    """Sum up by circuit, leaves first."""
    cdef charger_row_t *row
    cdef int32_t i, c, k, at
    for at in range(law.n_circuits * N_PHASES):
        law.granted_mA[at] = 0
        law.reserved_mA[at] = 0
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        for k in range(row.n_phases):
            at = row.circuit * N_PHASES + row.phases[k]
            law.granted_mA[at] += law.chargers[i].grant_mA
            law.reserved_mA[at] += law.chargers[i].reserve_mA
    for c in range(law.n_circuits - 1, -1, -1):
        for k in range(N_PHASES):
            at = c * N_PHASES + k
            law.circuits[c].granted_mA[k] = <int32_t>law.granted_mA[at]
            law.circuits[c].reserved_mA[k] = <int32_t>law.reserved_mA[at]
            if c > 0:
                law.granted_mA[law.circuit_rows[c].parent * N_PHASES + k] += law.granted_mA[at]
                law.reserved_mA[law.circuit_rows[c].parent * N_PHASES + k] += law.reserved_mA[at]


cdef bint is_sound(law_t *law) noexcept nogil:
    """True when every action is one that its charger can take; else the law itself is at fault."""
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
