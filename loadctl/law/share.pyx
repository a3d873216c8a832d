"""Share: everyone admitted holds its minimum; the rest goes out by weighted lexicographic max-min.

Works on `is_in` (who is admitted) and caps per limit; leaves `x_mA` (on the step grid) and
`blocked_by`. Tier by tier a level rises: x = max(min, level * weight), until a limit or a
maximum stops a charger, those stopped are frozen, and on. A level is a fraction, compared
exactly; a frozen x is kept in parts of 2^-24 mA, rounded down, so sums never pass a cap. Never
reads or writes the plant block.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport NONE, charger_row_t, law_t, member_t

cdef enum:
    FX_ONE = 1 << 24
    # A share this close below a grid point is that point. Four thousand such roundings, counted
    # three times each, stay under one mA; and a sum of whole mA that passes a cap by less keeps it.
    SNAP_FX = 1 << 10   # 2^-14 mA

cdef enum:
    WAITING, RISING, FROZEN


cdef void share(law_t *law, const int64_t *cap_mA) noexcept nogil:
    """Fill `x_mA` for everyone in `is_in`; their minima must fit the caps together."""
    cdef int32_t first = 0, end
    hold_minima(law, cap_mA)
    while first < law.n_chargers:
        end = tier_end(law, first)
        raise_tier(law, first, end)
        first = end
    round_down(law, cap_mA)
    first = 0
    while first < law.n_chargers:
        end = tier_end(law, first)
        hand_out_crumbs(law, first, end)
        first = end


cdef int32_t tier_end(law_t *law, int32_t first) noexcept nogil:
    cdef int32_t priority = law.charger_rows[law.by_rank[first]].priority
    cdef int32_t k = first
    while k < law.n_chargers and law.charger_rows[law.by_rank[k]].priority == priority:
        k += 1
    return k


cdef void hold_minima(law_t *law, const int64_t *cap_mA) noexcept nogil:
    cdef int32_t i, c
    for c in range(law.n_limits):
        law.slack_fx[c] = cap_mA[c] * FX_ONE
        law.slope[c] = 0
    for i in range(law.n_chargers):
        law.x_fx[i] = 0
        law.blocked_by[i] = NONE
        law.phase_of_share[i] = FROZEN
        if law.is_in[i]:
            law.x_fx[i] = <int64_t>law.charger_rows[i].min_mA * FX_ONE
            law.phase_of_share[i] = WAITING
            add_slack(law, i, -law.x_fx[i])


cdef void add_slack(law_t *law, int32_t i, int64_t amount_fx) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        law.slack_fx[member.limit_i] += member.count * amount_fx


cdef void add_slope(law_t *law, int32_t i, int32_t weight) noexcept nogil:
    """Let a weight count in the limits of charger i, and note when each is reached."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k, c
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        c = member.limit_i
        law.slope[c] += member.count * weight
        if law.slope[c] > 0:    # slack is never negative: minima fit, and levels only rise
            law.level_fx[c] = law.slack_fx[c] // law.slope[c]
            law.level_rest[c] = law.slack_fx[c] % law.slope[c]


cdef void raise_tier(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Let the level of one tier rise until each of its chargers is frozen."""
    cdef int32_t n = 0, k, i, c, start_i = 0, stop_i = 0, n_frozen = 0
    for k in range(first, end):
        i = law.by_rank[k]
        if law.is_in[i]:
            insert_by(law, law.starts, n, i, False)
            insert_by(law, law.stops, n, i, True)
            n += 1
    while n_frozen < n:
        while stop_i < n and law.phase_of_share[law.stops[stop_i]] == FROZEN:
            stop_i += 1
        while start_i < n and law.phase_of_share[law.starts[start_i]] != WAITING:
            start_i += 1
        c = first_limit(law)
        if start_i < n and is_start_next(law, law.starts[start_i], law.stops[stop_i], c):
            start(law, law.starts[start_i])
        elif c == NONE or is_stop_next(law, law.stops[stop_i], c):
            i = law.stops[stop_i]
            freeze(law, i, <int64_t>law.most_mA[i] * FX_ONE, NONE)
            n_frozen += 1
        else:
            n_frozen += freeze_all_at(law, c, first, end)


cdef void insert_by(law_t *law, int32_t *order, int32_t n, int32_t i, bint by_max) noexcept nogil:
    """Insert charger i, sorted by the level at which it starts, or stops, to rise."""
    cdef int32_t k = n
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_row_t *other
    cdef int64_t other_mA, at_mA = law.most_mA[i] if by_max else row.min_mA
    while k > 0:
        other = &law.charger_rows[order[k - 1]]
        other_mA = law.most_mA[order[k - 1]] if by_max else other.min_mA
        if other_mA * row.weight <= at_mA * other.weight:
            break
        order[k] = order[k - 1]
        k -= 1
    order[k] = i


cdef int32_t first_limit(law_t *law) noexcept nogil:
    """The limit with rising chargers that is reached at the lowest level."""
    cdef int32_t k, c, best = NONE
    for k in range(law.n_live):
        c = law.live[k]
        if law.slope[c] > 0 and (best == NONE or is_reached_before(law, c, best)):
            best = c
    return best


cdef bint is_reached_before(law_t *law, int32_t c, int32_t other) noexcept nogil:
    if law.level_fx[c] != law.level_fx[other]:
        return law.level_fx[c] < law.level_fx[other]
    return law.level_rest[c] * law.slope[other] < law.level_rest[other] * law.slope[c]


cdef bint is_level_before(law_t *law, int64_t at_mA, int32_t weight, int32_t c) noexcept nogil:
    """True when at / weight is at or below the level of limit c."""
    cdef int64_t at_fx = at_mA * FX_ONE
    cdef int64_t whole = at_fx // weight
    if whole != law.level_fx[c]:
        return whole < law.level_fx[c]
    return (at_fx % weight) * law.slope[c] <= law.level_rest[c] * weight


cdef bint is_start_next(law_t *law, int32_t i, int32_t stop, int32_t c) noexcept nogil:
    """Starts come first among equals: what starts at a full limit is then frozen at its minimum."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_row_t *stop_row = &law.charger_rows[stop]
    if <int64_t>row.min_mA * stop_row.weight > <int64_t>law.most_mA[stop] * row.weight:
        return False
    return c == NONE or is_level_before(law, row.min_mA, row.weight, c)


cdef bint is_stop_next(law_t *law, int32_t i, int32_t c) noexcept nogil:
    return is_level_before(law, law.most_mA[i], law.charger_rows[i].weight, c)


cdef void start(law_t *law, int32_t i) noexcept nogil:
    law.phase_of_share[i] = RISING
    add_slack(law, i, law.x_fx[i])
    add_slope(law, i, law.charger_rows[i].weight)


cdef void freeze(law_t *law, int32_t i, int64_t x_fx, int32_t limit_i) noexcept nogil:
    law.phase_of_share[i] = FROZEN
    law.x_fx[i] = x_fx
    law.blocked_by[i] = limit_i
    add_slack(law, i, -x_fx)
    add_slope(law, i, -law.charger_rows[i].weight)


cdef int32_t freeze_all_at(law_t *law, int32_t c, int32_t first, int32_t end) noexcept nogil:
    """Freeze the rising chargers of limit c at the level where it is reached; say how many."""
    cdef int64_t whole_fx = law.level_fx[c], rest = law.level_rest[c], slope = law.slope[c], x_fx
    cdef int32_t k, i, weight, n = 0
    for k in range(first, end):
        i = law.by_rank[k]
        if law.phase_of_share[i] == RISING and counts_in(law, i, c):
            weight = law.charger_rows[i].weight
            x_fx = whole_fx * weight + rest * weight // slope
            freeze(law, i, x_fx, c)
            n += 1
    return n


cdef bint counts_in(law_t *law, int32_t i, int32_t c) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k
    for k in range(row.n_members):
        if law.members[row.first_member + k].limit_i == c:
            return True
    return False


cdef void round_down(law_t *law, const int64_t *cap_mA) noexcept nogil:
    """Take each share down to its step grid; leave in `used_mA` the room that is left."""
    cdef charger_row_t *row
    cdef member_t *member
    cdef int32_t i, k
    cdef int64_t step_fx
    for k in range(law.n_limits):
        law.used_mA[k] = 0
    for i in range(law.n_chargers):
        law.x_mA[i] = 0
        if not law.is_in[i]:
            continue
        row = &law.charger_rows[i]
        step_fx = <int64_t>row.step_mA * FX_ONE
        law.x_mA[i] = <int32_t>((law.x_fx[i] + SNAP_FX) // step_fx) * row.step_mA
        for k in range(row.n_members):
            member = &law.members[row.first_member + k]
            law.used_mA[member.limit_i] += <int64_t>member.count * law.x_mA[i]
    for k in range(law.n_limits):
        law.used_mA[k] = cap_mA[k] - law.used_mA[k]


cdef void hand_out_crumbs(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Give the chargers of one tier a step each in turn, until none fits any more."""
    cdef int32_t k, i, n_open = 0, n_left
    for k in range(first, end):
        if law.is_in[law.by_rank[k]]:
            law.order[n_open] = law.by_rank[k]
            n_open += 1
    while n_open > 0:
        give_steps(law, n_open, whole_rounds(law, n_open))
        n_left = 0
        for k in range(n_open):
            i = law.order[k]
            law.blocked_by[i] = blocker(law, i)
            if law.blocked_by[i] == NONE and law.x_mA[i] < law.most_mA[i]:
                take_step(law, i, 1)
                law.order[n_left] = i
                n_left += 1
        n_open = n_left


cdef int64_t whole_rounds(law_t *law, int32_t n_open) noexcept nogil:
    """How many steps every open charger could be given at the same time."""
    cdef charger_row_t *row
    cdef member_t *member
    cdef int32_t k, m, i
    cdef int64_t rounds = 1 << 30, fits
    for k in range(n_open):
        row = &law.charger_rows[law.order[k]]
        for m in range(row.n_members):
            law.slope[law.members[row.first_member + m].limit_i] = 0
    for k in range(n_open):
        row = &law.charger_rows[law.order[k]]
        for m in range(row.n_members):
            member = &law.members[row.first_member + m]
            law.slope[member.limit_i] += member.count * row.step_mA
    for k in range(n_open):
        i = law.order[k]
        row = &law.charger_rows[i]
        rounds = min(rounds, (law.most_mA[i] - law.x_mA[i]) // row.step_mA)
        for m in range(row.n_members):
            member = &law.members[row.first_member + m]
            fits = law.used_mA[member.limit_i] // law.slope[member.limit_i]
            rounds = min(rounds, fits)
    return rounds


cdef void give_steps(law_t *law, int32_t n_open, int64_t n_steps) noexcept nogil:
    cdef int32_t k
    for k in range(n_open):
        take_step(law, law.order[k], n_steps)


cdef void take_step(law_t *law, int32_t i, int64_t n_steps) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k
    law.x_mA[i] += <int32_t>(n_steps * row.step_mA)
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        law.used_mA[member.limit_i] -= member.count * n_steps * row.step_mA


cdef int32_t blocker(law_t *law, int32_t i) noexcept nogil:
    """The limit with the least room among those that have none for one more step, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k, worst = NONE
    if law.x_mA[i] >= law.most_mA[i]:
        return NONE
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        if law.used_mA[member.limit_i] < <int64_t>member.count * row.step_mA:
            if worst == NONE or law.used_mA[member.limit_i] < law.used_mA[worst]:
                worst = member.limit_i
    return worst
