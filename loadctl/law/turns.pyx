"""Turns: in which order the cars of a tier are considered, and when who waits may expect a place.

    keeps       charges for less than min_on_s, or is a sleeper     by file
    in turn     charges for less than rotate_s                      by file
    is next     has waited for twice rotate_s or longer             longest first
    may sleep   while one is next: a sleeper that charges for       shortest first
                rotate_s or longer
    is due      has waited for rotate_s or longer                   longest first
    turn over   charges for rotate_s or longer                      shortest first
    waits                                                           longest first
    done        is offered its minimum to see whether it wakes      by file

So a car that waits takes an empty place at once, and after rotate_s that of one whose turn is
over. With equal minima every place changes hands at least once per turn while cars wait, so K
places serve M cars within ceil(M / K) turns. Among those equal in time, who got less charge goes
first. A turn counts from the admission, and lasts at least half of rotate_s from the first current.
A sleeper passes its place on only to one that is next, so with sleepers it may take M turns.
Runs inside step; `admit` uses it.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.session cimport PART_DONE
from loadctl.law.tables cimport NONE, law_t
from loadctl.law.thermal cimport cooling_limit

cdef int64_t NS_PER_S = 1_000_000_000


cdef int32_t order_turns(law_t *law, int32_t first, int64_t now_ns) noexcept nogil:
    """Fill `turn` with the tier that begins at rank `first`, in order; say where the tier ends."""
    cdef int32_t priority = law.charger_rows[law.by_rank[first]].priority
    cdef int32_t i, at, k = first
    cdef bint has_next = False
    while k < law.n_chargers and law.charger_rows[law.by_rank[k]].priority == priority:
        i = law.by_rank[k]
        law.turn[k] = i
        law.claim[i] = claim_of(law, i, now_ns)
        has_next = has_next or law.claim[i] == CLAIM_IS_NEXT
        k += 1
    for at in range(first, k):
        i = law.turn[at]
        if law.claim[i] == CLAIM_MAY_SLEEP and not has_next:
            law.claim[i] = CLAIM_KEEPS
        law.turn_since_ns[i] = since_ns(law, i)
    sort(law, first, k)
    return k


cdef Claim claim_of(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if not charger.is_candidate:
        return CLAIM_NONE
    if law.charger_rows[i].never_pause:
        return CLAIM_NEVER_PAUSE
    if charger.session == PART_DONE:
        return CLAIM_DONE
    if charger.setpoint_mA == 0:
        if is_next(law, i, now_ns):
            return CLAIM_IS_NEXT
        if now_ns - charger.waits_since_ns >= law.site.tuning.rotate_ns:
            return CLAIM_IS_DUE
        return CLAIM_WAITS
    if now_ns - charger.on_since_ns < law.site.tuning.min_on_ns:
        return CLAIM_KEEPS
    if now_ns < turn_ends_at_ns(law, i):
        return CLAIM_KEEPS if charger.is_sleeper else CLAIM_IN_TURN
    return CLAIM_MAY_SLEEP if charger.is_sleeper else CLAIM_TURN_OVER


cdef bint is_next(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    return charger.is_waiting and (
        now_ns - charger.waits_since_ns >= 2 * law.site.tuning.rotate_ns
    )


cdef int64_t turn_ends_at_ns(law_t *law, int32_t i) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t turn_ns = law.site.tuning.rotate_ns
    return max(charger.admitted_since_ns + turn_ns, charger.on_since_ns + turn_ns // 2)


cdef int64_t since_ns(law_t *law, int32_t i) noexcept nogil:
    """What sorts within a claim; 0 where the file does."""
    cdef int32_t claim = law.claim[i]
    if claim == CLAIM_IS_NEXT or claim == CLAIM_IS_DUE or claim == CLAIM_WAITS:
        return law.chargers[i].waits_since_ns
    if claim == CLAIM_MAY_SLEEP or claim == CLAIM_TURN_OVER:
        return -law.chargers[i].admitted_since_ns
    return 0


cdef bint goes_after(law_t *law, int32_t i, int32_t other) noexcept nogil:
    if law.claim[i] != law.claim[other]:
        return law.claim[i] > law.claim[other]
    if law.turn_since_ns[i] != law.turn_since_ns[other]:
        return law.turn_since_ns[i] > law.turn_since_ns[other]
    if law.claim[i] >= CLAIM_IS_NEXT:
        return law.chargers[i].taken_mAms > law.chargers[other].taken_mAms
    return False


cdef void sort(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Merge sort of `turn`: equals stay in file order."""
    cdef int32_t width = 1, at
    while width < end - first:
        at = first
        while at + width < end:
            if goes_after(law, law.turn[at + width - 1], law.turn[at + width]):
                merge(law, at, at + width, min(at + 2 * width, end))
            at += 2 * width
        width *= 2


cdef void merge(law_t *law, int32_t first, int32_t middle, int32_t end) noexcept nogil:
    cdef int32_t left = first, right = middle, k
    for k in range(first, middle):
        law.spare[k] = law.turn[k]
    for k in range(first, end):
        if left == middle:
            return
        if right < end and goes_after(law, law.spare[left], law.turn[right]):
            law.turn[k] = law.turn[right]
            right += 1
        else:
            law.turn[k] = law.spare[left]
            left += 1


cdef void tell_turns(law_t *law, int32_t first, int32_t end, int64_t now_ns) noexcept nogil:
    """Tell those of a tier who wait their place, and about when a turn that they need ends.

    Sorts `turn` anew, by the ends of turns: whoever needs the order was served before.
    """
    cdef int64_t turn_ns = law.site.tuning.rotate_ns, at_ns
    cdef charger_t *charger
    cdef int32_t k, i, n_waiting = 0, n_places = 0
    for k in range(first, end):
        law.spare[k] = law.turn[k]
    for k in range(first, end):
        if waits_for_place(law, law.spare[k]):
            law.turn[first + n_waiting] = law.spare[k]
            n_waiting += 1
    if n_waiting == 0:
        return
    for k in range(first, end):
        i = law.spare[k]
        if law.is_in[i] and CLAIM_KEEPS <= law.claim[i] <= CLAIM_TURN_OVER:
            law.turn[first + n_waiting + n_places] = i
            at_ns = now_ns + turn_ns
            if law.chargers[i].is_admitted:     # in the step before: else its turn begins now
                at_ns = max(now_ns, turn_ends_at_ns(law, i))
            law.turn_since_ns[i] = passed_on_ns(law, i, law.turn[first], at_ns)
            law.claim[i] = CLAIM_IN_TURN
            n_places += 1
    if n_places == 0:
        return
    sort(law, first + n_waiting, first + n_waiting + n_places)
    for k in range(n_waiting):
        charger = &law.chargers[law.turn[first + k]]
        if k < n_places:
            i = law.turn[first + n_waiting + k]
            at_ns = law.turn_since_ns[i]
        else:       # the turn after that of one who waits too
            i = law.turn[first + k - n_places]
            at_ns = law.chargers[i].turn_at_ns + turn_ns
        charger.place = k + 1
        charger.turn_at_ns = passed_on_ns(law, i, law.turn[first + k], at_ns)


cdef int64_t passed_on_ns(law_t *law, int32_t i, int32_t to, int64_t ends_ns) noexcept nogil:
    """When charger i passes the place on whose turn ends then: once the other has waited enough."""
    cdef int64_t turn_ns = law.site.tuning.rotate_ns
    cdef int32_t n_turns = 2 if law.chargers[i].is_sleeper else 1
    return max(ends_ns, law.chargers[to].waits_since_ns + n_turns * turn_ns)


cdef bint waits_for_place(law_t *law, int32_t i) noexcept nogil:
    """True for one that nothing but a lack of room keeps out."""
    if law.is_in[i] or law.refused_by[i] == NONE or cooling_limit(law, i) != NONE:
        return False
    return (
        law.claim[i] == CLAIM_IS_NEXT or law.claim[i] == CLAIM_IS_DUE
        or law.claim[i] == CLAIM_WAITS
    )
