"""Crumbs: what rounding to steps left over is handed out, in rounds, until no step fits any more.

In each round every open charger of a tier takes one step in turn, if its maximum and the room of
each of its limits allow it; else it is closed, for room only shrinks. A round is walked charger by
charger while that closes many. From then on only what matters is looked at: the round in which
a limit has no room for all who are open (it is critical then, and they are gone through in turn),
and the round in which one reaches its maximum. All in whole mA: no sum can pass a cap.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.heap cimport clear_heap, drop_top, enter, settle_top
from loadctl.law.sort cimport sort_by_key
from loadctl.law.tables cimport NONE, charger_row_t, fill_t, law_t, member_t

cdef enum:
    CLOSED, OPEN, NEXT


cdef void hand_out_crumbs(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Give the chargers of one tier a step each in turn, until none fits any more."""
    cdef int32_t k, n_open = 0, n_left
    for k in range(first, end):
        if law.is_in[law.by_rank[k]]:
            law.order[n_open] = law.by_rank[k]
            n_open += 1
    n_left = walk_round(law, n_open)
    while n_left > 0 and 4 * n_left <= 3 * n_open:  # all walks together: four times the first
        n_open = n_left
        n_left = walk_round(law, n_open)
    if n_left > 0:
        hand_out_by_events(law, n_left)


cdef int32_t walk_round(law_t *law, int32_t n_open) noexcept nogil:
    """One round for those in `order`; keep there who took a step, and say how many."""
    cdef int32_t k, i, n_left = 0
    for k in range(n_open):
        i = law.order[k]
        if law.x_mA[i] < law.most_mA[i]:
            law.blocked_by[i] = blocker(law, i)
            if law.blocked_by[i] == NONE:
                take_mA(law, i, law.charger_rows[i].step_mA)
                law.order[n_left] = i
                n_left += 1
    return n_left


cdef int32_t blocker(law_t *law, int32_t i) noexcept nogil:
    """The limit with the least room among those that have none for one more step, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef int32_t k, worst = NONE
    cdef int64_t room_mA, least_mA = 0
    for k in range(row.n_members):
        room_mA = law.fills[member[k].limit_i].room_mA
        if room_mA < <int64_t>member[k].count * row.step_mA:
            if worst == NONE or room_mA < least_mA:
                worst = member[k].limit_i
                least_mA = room_mA
    return worst


cdef void take_mA(law_t *law, int32_t i, int32_t amount_mA) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef int32_t k
    law.x_mA[i] += amount_mA
    for k in range(row.n_members):
        law.fills[member[k].limit_i].room_mA -= <int64_t>member[k].count * amount_mA


cdef void hand_out_by_events(law_t *law, int32_t n_open) noexcept nogil:
    """The rounds from here on for those in `order`, by what happens in them."""
    cdef int32_t stop_k = 0, i
    line_up(law, n_open)
    while n_open > 0:
        while law.phase_of_share[law.stops[stop_k]] == CLOSED:
            stop_k += 1
        i = law.stops[stop_k]
        if is_limit_before(law, law.keys[i]):
            n_open -= go_through(law, law.heap[0].level_fx)
        else:
            close(law, i, law.keys[i], NONE)
            n_open -= 1
    clear_heap(law)


cdef void line_up(law_t *law, int32_t n_open) noexcept nogil:
    """Chain the open chargers of each limit in their turn; sort by the round at the maximum."""
    cdef charger_row_t *row
    cdef member_t *member
    cdef fill_t *fill
    cdef int32_t k, m, i
    for k in range(n_open - 1, -1, -1):
        i = law.order[k]
        row = &law.charger_rows[i]
        law.phase_of_share[i] = OPEN
        law.stops[k] = i
        law.keys[i] = (law.most_mA[i] - law.x_mA[i]) // row.step_mA
        for m in range(row.first_member, row.first_member + row.n_members):
            member = &law.members[m]
            fill = &law.fills[member.limit_i]
            if fill.slope == 0:     # as raising left it: nobody there yet
                fill.next_below = NONE
                enter(law, member.limit_i, 0)
            fill.slope += <int64_t>member.count * row.step_mA
            law.chain[m] = fill.next_below
            fill.next_below = m
    sort_by_key(law.stops, n_open, law.keys, law.spare)


cdef bint is_limit_before(law_t *law, int64_t n_rounds) noexcept nogil:
    """True when a limit is critical before this round; it is on top of the heap then."""
    cdef fill_t *fill
    while law.n_heap > 0 and law.heap[0].level_fx < n_rounds:
        fill = &law.fills[law.heap[0].limit_i]
        if not fill.is_stale:
            return True
        if fill.slope == 0:
            drop_top(law)
        else:
            fill.level_fx = fill.room_mA // fill.slope
            fill.rest = 0
            fill.is_stale = False
            settle_top(law)
    return False


cdef void close(law_t *law, int32_t i, int64_t n_rounds, int32_t limit_i) noexcept nogil:
    """Charger i has taken a step in each of so many rounds, and takes no more."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef fill_t *fill
    cdef int32_t k
    cdef int64_t step_mA
    law.phase_of_share[i] = CLOSED
    law.blocked_by[i] = limit_i
    law.x_mA[i] += <int32_t>(n_rounds * row.step_mA)
    for k in range(row.n_members):
        fill = &law.fills[member[k].limit_i]
        step_mA = <int64_t>member[k].count * row.step_mA
        fill.slope -= step_mA
        fill.room_mA -= step_mA * n_rounds
        fill.is_stale = True


cdef int32_t go_through(law_t *law, int64_t n_rounds) noexcept nogil:
    """The round after so many, for all in the limits that are critical in it; say how many close.

    Whoever is in none of these has room whatever its turn is.
    """
    cdef int32_t k, i, c, n_critical = 0, n_next = 0, n_closed = 0
    while is_limit_before(law, n_rounds + 1):
        c = law.heap[0].limit_i
        drop_top(law)
        law.fills[c].is_critical = True
        law.fills[c].left_mA = law.fills[c].room_mA - law.fills[c].slope * n_rounds
        law.critical[n_critical] = c
        n_critical += 1
        n_next = gather(law, c, n_next)
    if n_critical > 1:
        sort_by_key(law.order, n_next, law.ranks, law.spare)
    for k in range(n_next):
        i = law.order[k]
        law.phase_of_share[i] = OPEN
        c = tightest(law, i)
        if c != NONE:
            close(law, i, n_rounds, c)
            n_closed += 1
    for k in range(n_critical):
        law.fills[law.critical[k]].is_critical = False
        enter(law, law.critical[k], n_rounds + 1)
    return n_closed


cdef int32_t gather(law_t *law, int32_t c, int32_t n_next) noexcept nogil:
    """Add the open chargers of limit c to `order`, each once; take those closed off its chain."""
    cdef int32_t *link = &law.fills[c].next_below
    cdef int32_t i
    while link[0] != NONE:
        i = law.owners[link[0]]
        if law.phase_of_share[i] == CLOSED:
            link[0] = law.chain[link[0]]
            continue
        if law.phase_of_share[i] == OPEN:
            law.phase_of_share[i] = NEXT
            law.order[n_next] = i
            n_next += 1
        link = &law.chain[link[0]]
    return n_next


cdef int32_t tightest(law_t *law, int32_t i) noexcept nogil:
    """Take a step from the critical limits, or name the one with the least room of those that have
    none for it."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef fill_t *fill
    cdef int32_t k, worst = NONE
    for k in range(row.n_members):
        fill = &law.fills[member[k].limit_i]
        if fill.is_critical and fill.left_mA < <int64_t>member[k].count * row.step_mA:
            if worst == NONE or fill.left_mA < law.fills[worst].left_mA:
                worst = member[k].limit_i
    if worst == NONE:
        for k in range(row.n_members):
            law.fills[member[k].limit_i].left_mA -= <int64_t>member[k].count * row.step_mA
    return worst
