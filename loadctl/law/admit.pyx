"""Admit: who may charge at all when not everyone's minimum fits.

A grant is 0 or at least the minimum. `never_pause` is considered first, then tier by tier those of
a tier in the order of `turns`. Each whose minimum still fits is in; one that does not fit is
skipped, not a stop. A session that charges keeps to the low caps, so that only a real limit pauses
it, or one whose turn it is; one that does not charge yet must fit the high caps too. One that a
limit paused returns after `min_off_s`, once its minimum and `admit_margin_A` have fitted for 30 s.

For one that has waited for twice `rotate_s` a place is kept: what its minimum needs goes to nobody
behind it that does not charge yet, unless higher tiers alone leave it no room. Where more than one
session would be paused and pausing one other does too, that one is.
Nobody starts below a fuse that has to cool.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.limits cimport add_to, clear
from loadctl.law.reason cimport (
    RESTS_AFTER_PAUSE, WAITS_AFTER_PAUSE, explain_full, explain_limit, explain_wait,
)
from loadctl.law.session cimport PAUSE_DONE, PAUSE_LIMIT, PAUSE_MODE
from loadctl.law.tables cimport NONE, charger_row_t, law_t, member_t
from loadctl.law.thermal cimport cooling_limit
from loadctl.law.turns cimport (
    CLAIM_IS_DUE, CLAIM_IS_NEXT, CLAIM_KEEPS, CLAIM_MAY_SLEEP, CLAIM_NEVER_PAUSE, CLAIM_NONE,
    CLAIM_TURN_OVER, is_next, order_turns, tell_turns,
)

cdef enum:
    FITS_FOR_s = 30
    MOST_SPARED = 4     # of sessions to be paused that one other is looked for in place of

cdef int64_t NS_PER_S = 1_000_000_000
cdef int64_t ANY_mA = -1 << 62      # that every limit is passed by


cdef int32_t fullest(
    law_t *law, const int64_t *cap_mA, int32_t i, int64_t amount_mA
) noexcept nogil:
    """The limit that this much for charger i, beside what is used, passes by the most, or NONE."""
    return most_over(law, cap_mA, i, amount_mA, 0)


cdef int32_t most_over(
    law_t *law, const int64_t *cap_mA, int32_t i, int64_t amount_mA, int64_t least_mA
) noexcept nogil:
    """The limit that is passed by the most, of those passed by more than `least_mA`, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k, worst = NONE
    cdef int64_t over_mA, worst_mA = least_mA
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        over_mA = law.used_mA[member.limit_i] + member.count * amount_mA - cap_mA[member.limit_i]
        if over_mA > worst_mA:
            worst = member.limit_i
            worst_mA = over_mA
    return worst


cdef void admit_settled(law_t *law, const int64_t *cap_mA) noexcept nogil:
    """Keep in `is_in` those whose minima fit by tier and file order; say what refused others."""
    cdef int32_t k, i
    clear(law, law.used_mA)
    for k in range(law.n_chargers):
        i = law.by_rank[k]
        if law.is_in[i]:
            law.refused_by[i] = fullest(law, cap_mA, i, law.charger_rows[i].min_mA)
            law.is_in[i] = law.refused_by[i] == NONE
            if law.is_in[i]:
                add_to(law, law.used_mA, i, law.charger_rows[i].min_mA)


cdef void admit(law_t *law, int64_t now_ns) noexcept nogil:
    """Fill `is_in` and `refused_by` for the candidates of this scan, each in its turn."""
    cdef int32_t k, i, first = 0, end
    clear(law, law.used_mA)
    clear(law, law.held_mA)
    for i in range(law.n_chargers):
        law.is_in[i] = False
        law.refused_by[i] = NONE
        law.chargers[i].place = 0
    for k in range(law.n_chargers):
        i = law.by_rank[k]
        if law.charger_rows[i].never_pause:
            consider(law, i, now_ns)
    while first < law.n_chargers:
        keep_base(law)
        end = order_turns(law, first, now_ns)
        for k in range(first, end):
            if law.claim[law.turn[k]] != CLAIM_NEVER_PAUSE:
                consider(law, law.turn[k], now_ns)
        spare_pauses(law, first, end, now_ns)
        note_passing(law, first, end)
        tell_turns(law, first, end, now_ns)
        first = end
    note_admitted(law, now_ns)


cdef void keep_base(law_t *law) noexcept nogil:
    cdef int32_t k
    for k in range(law.n_live):
        law.base_mA[law.live[k]] = law.used_mA[law.live[k]]


cdef void consider(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t min_mA = law.charger_rows[i].min_mA
    if not charger.is_candidate or law.most_mA[i] < min_mA:
        return
    if charger.setpoint_mA == 0:
        law.refused_by[i] = cooling_limit(law, i)
        if law.refused_by[i] != NONE:
            charger.has_fitted = False
            return
    law.refused_by[i] = fullest(law, law.cap_low_mA, i, min_mA)
    charger.has_fitted = charger.has_fitted and law.refused_by[i] == NONE
    if law.refused_by[i] == NONE and charger.setpoint_mA == 0:
        law.refused_by[i] = fullest(law, law.cap_high_mA, i, min_mA)
        if charger.was_paused and not may_return(law, i, now_ns):
            return
        if law.refused_by[i] == NONE:
            law.refused_by[i] = kept_for_other(law, i)
    if law.refused_by[i] == NONE:
        law.is_in[i] = True
        add_to(law, law.used_mA, i, min_mA)
    elif is_next(law, i, now_ns) and fits_base(law, i):
        add_to(law, law.held_mA, i, min_mA)


cdef bint may_return(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True when a paused session has been off for long enough; one that a limit paused also needs
    to have had room for long enough, unless it has waited for a turn by now. Says what lasts."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t wanted_mA = law.charger_rows[i].min_mA + law.site.tuning.admit_margin_mA
    cdef int64_t rests_ns = charger.off_since_ns + law.site.tuning.min_off_ns - now_ns
    cdef int64_t fits_ns
    cdef int32_t limit_i
    if charger.pause == PAUSE_DONE or charger.pause == PAUSE_MODE:
        return True
    explain_wait(charger, RESTS_AFTER_PAUSE, rests_ns)
    if charger.pause != PAUSE_LIMIT or is_newcomer(law, i):
        return rests_ns <= 0
    limit_i = fullest(law, law.cap_high_mA, i, wanted_mA)
    if limit_i != NONE:
        charger.has_fitted = False
        explain_full(law, i, WAITS_AFTER_PAUSE, limit_i)
        return False
    if not charger.has_fitted:
        charger.has_fitted = True
        charger.fits_since_ns = now_ns
    fits_ns = charger.fits_since_ns + FITS_FOR_s * NS_PER_S - now_ns
    if fits_ns > max(0, rests_ns):
        explain_limit(
            charger, WAITS_AFTER_PAUSE, most_over(law, law.cap_high_mA, i, wanted_mA, ANY_mA)
        )
    return rests_ns <= 0 and fits_ns <= 0


cdef bint is_newcomer(law_t *law, int32_t i) noexcept nogil:
    """True for one that has waited long enough to take the place of another."""
    return law.claim[i] == CLAIM_IS_DUE or law.claim[i] == CLAIM_IS_NEXT


cdef bint fits_base(law_t *law, int32_t i) noexcept nogil:
    """True when its minimum fits beside those of higher tiers and `never_pause` alone."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        if (
            law.base_mA[member.limit_i] + <int64_t>member.count * row.min_mA
            > law.cap_high_mA[member.limit_i]
        ):
            return False
    return True


cdef int32_t kept_for_other(law_t *law, int32_t i) noexcept nogil:
    """A limit whose room is kept for one that has waited for long, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k, c
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        c = member.limit_i
        if law.held_mA[c] == 0:
            continue
        if (
            law.used_mA[c] + law.held_mA[c] + <int64_t>member.count * row.min_mA
            > law.cap_high_mA[c]
        ):
            return c
    return NONE


cdef bint is_paused_now(law_t *law, int32_t i) noexcept nogil:
    """True for a session that has current and would lose it, though it asks for more."""
    return (
        not law.is_in[i] and law.chargers[i].setpoint_mA > 0
        and law.claim[i] != CLAIM_NONE and law.most_mA[i] >= law.charger_rows[i].min_mA
    )


cdef void spare_pauses(law_t *law, int32_t first, int32_t end, int64_t now_ns) noexcept nogil:
    """Pause one session in place of several, where that suffices: the last such in order."""
    cdef int32_t paused[MOST_SPARED]
    cdef int32_t k, n_paused = 0
    for k in range(first, end):
        if is_paused_now(law, law.turn[k]):
            if n_paused == MOST_SPARED:
                return
            paused[n_paused] = law.turn[k]
            n_paused += 1
    if n_paused < 2:
        return
    for k in range(end - 1, first - 1, -1):
        if stands_in(law, law.turn[k], paused, n_paused):
            break
    for k in range(first, end):     # the room that it leaves may do for others too
        if not law.is_in[law.turn[k]]:
            consider(law, law.turn[k], now_ns)


cdef bint stands_in(
    law_t *law, int32_t other, const int32_t *paused, int32_t n_paused
) noexcept nogil:
    """Pause `other` where all those paused now fit without it; True when it is done."""
    cdef int32_t k, n_fitting = 0
    cdef bint do_fit
    if not law.is_in[other] or law.chargers[other].setpoint_mA == 0:
        return False
    if law.claim[other] <= CLAIM_KEEPS:
        return False
    add_to(law, law.used_mA, other, -<int64_t>law.charger_rows[other].min_mA)
    while n_fitting < n_paused and fits_low(law, paused[n_fitting]):
        add_to(law, law.used_mA, paused[n_fitting], law.charger_rows[paused[n_fitting]].min_mA)
        n_fitting += 1
    do_fit = n_fitting == n_paused
    for k in range(n_fitting):
        if do_fit:
            law.is_in[paused[k]] = True
        else:
            add_to(law, law.used_mA, paused[k], -<int64_t>law.charger_rows[paused[k]].min_mA)
    if not do_fit:
        add_to(law, law.used_mA, other, law.charger_rows[other].min_mA)
        return False
    law.is_in[other] = False
    law.refused_by[other] = fullest(law, law.cap_low_mA, other, law.charger_rows[other].min_mA)
    return True


cdef bint fits_low(law_t *law, int32_t i) noexcept nogil:
    return fullest(law, law.cap_low_mA, i, law.charger_rows[i].min_mA) == NONE


cdef void note_passing(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Tell who passes a place on to one that was due from those that a limit pauses, if paused."""
    cdef int32_t k, i
    cdef bint has_newcomer = False
    for k in range(first, end):
        i = law.turn[k]
        if law.is_in[i] and is_newcomer(law, i):
            has_newcomer = True
    for k in range(first, end):
        i = law.turn[k]
        law.passes_on[i] = has_newcomer and (
            law.claim[i] == CLAIM_MAY_SLEEP or law.claim[i] == CLAIM_TURN_OVER
        )


cdef void note_admitted(law_t *law, int64_t now_ns) noexcept nogil:
    """A turn counts from here. `is_admitted` is still that of the step before."""
    cdef int32_t i
    for i in range(law.n_chargers):
        if law.is_in[i] and not law.chargers[i].is_admitted:
            law.chargers[i].admitted_since_ns = now_ns
