"""Share: everyone admitted holds its minimum; the rest goes out by weighted lexicographic max-min.

Works on `is_in` (who is admitted) and caps per limit; leaves `x_mA` (on the step grid) and
`blocked_by`. Tier by tier a level rises: x = max(min, level * weight), until a limit or a
maximum stops a charger, those stopped are frozen, and on. Each start, stop and full limit is one
event, found by two orders that are static and a heap, and touches only the limits of its charger.
A level is a fraction, compared exactly; a frozen x is kept in parts of 2^-fx_bits mA, rounded
down, so what is left of a limit is never negative. Never reads or writes the plant block.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.crumbs cimport blocker, hand_out_crumbs, take_mA
from loadctl.law.heap cimport clear_heap, drop_top, enter, settle_top, stands_below
from loadctl.law.sort cimport sort_by_key
from loadctl.law.tables cimport NONE, charger_row_t, fill_t, law_t, member_t

cdef enum:
    # Those frozen before a share were rounded by less than a part each, and count in a limit three
    # times at most: 49 152 parts for 16 384 chargers. So much below a grid point it is that point,
    # as far as whole mA allow. Where limits in a chain add up more, that step goes by turn instead.
    SNAP_FX = 1 << 16

cdef enum:
    WAITING, RISING, FROZEN

cdef struct tier_t:
    int32_t first           # in by_rank, by_start and by_stop
    int32_t end
    int32_t start_k         # next in by_start
    int32_t stop_k          # next in by_stop, of those held to their own maximum
    int32_t held_k          # next in `stops`, of those held to less
    int32_t n_held
    int32_t n_left          # not frozen yet


cdef void share(law_t *law, const int64_t *cap_mA) noexcept nogil:
    """Fill `x_mA` for everyone in `is_in`. Their minima, summed up in `minima_mA`, must fit."""
    cdef int32_t k, first = 0
    hold_minima(law, cap_mA)
    for k in range(law.n_tiers):
        raise_tier(law, first, law.tier_ends[k])
        first = law.tier_ends[k]
    round_down(law)
    first = 0
    for k in range(law.n_tiers):
        hand_out_crumbs(law, first, law.tier_ends[k])
        first = law.tier_ends[k]


cdef void hold_minima(law_t *law, const int64_t *cap_mA) noexcept nogil:
    cdef fill_t *fill
    cdef int32_t i, k, c
    cdef int64_t fx_one = <int64_t>1 << law.fx_bits
    law.n_heap = 0
    for k in range(law.n_live):
        c = law.live[k]
        fill = &law.fills[c]
        fill.room_mA = min(cap_mA[c], law.most_below_mA[c])     # more is never used
        fill.slack_fx = max(0, fill.room_mA - law.minima_mA[c]) * fx_one
        fill.slope = 0
        fill.place = NONE
        fill.next_below = law.first_below[c]
        fill.is_critical = False
    for i in range(law.n_chargers):
        law.x_mA[i] = 0
        law.blocked_by[i] = NONE
        law.phase_of_share[i] = WAITING if law.is_in[i] else FROZEN


cdef void raise_tier(law_t *law, int32_t first, int32_t end) noexcept nogil:
    """Let the level of one tier rise until each of its chargers is frozen."""
    cdef tier_t tier
    cdef int32_t i, start_i, c
    cdef int64_t at_fx
    cdef bint is_start
    line_up(law, &tier, first, end)
    while tier.n_left > 0:
        i = next_stop(law, &tier)
        at_fx = law.keys[i]
        start_i = next_start(law, &tier)
        # Starts come first among equals: what starts at a full limit is then frozen at its minimum.
        is_start = start_i != NONE and law.charger_rows[start_i].start_fx <= at_fx
        if is_start:
            i = start_i
            at_fx = law.charger_rows[i].start_fx
        c = first_limit(law, at_fx)
        if c != NONE and not is_at_or_below(law, i, is_start, at_fx, c):
            tier.n_left -= freeze_all_at(law, c)
        elif is_start:
            start_all(law, &tier, at_fx)
        else:
            stop_all(law, &tier, at_fx)


cdef void line_up(law_t *law, tier_t *tier, int32_t first, int32_t end) noexcept nogil:
    """Note at which level each stops; those held below their own maximum are sorted here."""
    cdef charger_row_t *row
    cdef int32_t k, i
    tier.first = tier.start_k = tier.stop_k = first
    tier.end = end
    tier.held_k = tier.n_held = tier.n_left = 0
    for k in range(first, end):
        i = law.by_rank[k]
        if law.is_in[i]:
            row = &law.charger_rows[i]
            tier.n_left += 1
            law.keys[i] = row.stop_fx
            if law.most_mA[i] != row.max_mA:
                law.keys[i] = (<int64_t>law.most_mA[i] << law.fx_bits) // row.weight
                law.stops[tier.n_held] = i
                tier.n_held += 1
    sort_by_key(law.stops, tier.n_held, law.keys, law.spare)


cdef int32_t next_start(law_t *law, tier_t *tier) noexcept nogil:
    """Who starts to rise next, or NONE."""
    while tier.start_k < tier.end:
        if law.phase_of_share[law.by_start[tier.start_k]] == WAITING:
            return law.by_start[tier.start_k]
        tier.start_k += 1
    return NONE


cdef int32_t next_stop(law_t *law, tier_t *tier) noexcept nogil:
    """Who reaches its maximum, or what it is held to, next; while one is left there is one."""
    cdef int32_t i = NONE, held_i
    while tier.stop_k < tier.end:
        i = law.by_stop[tier.stop_k]
        if law.phase_of_share[i] != FROZEN and law.most_mA[i] == law.charger_rows[i].max_mA:
            break
        i = NONE
        tier.stop_k += 1
    while tier.held_k < tier.n_held:
        held_i = law.stops[tier.held_k]
        if law.phase_of_share[held_i] != FROZEN:
            return held_i if i == NONE or law.keys[held_i] <= law.keys[i] else i
        tier.held_k += 1
    return i


cdef int32_t first_limit(law_t *law, int64_t up_to_fx) noexcept nogil:
    """The limit with rising chargers that is full at the lowest level, or NONE up to this one."""
    cdef fill_t *fill
    while law.n_heap > 0 and law.heap[0].level_fx <= up_to_fx:
        fill = &law.fills[law.heap[0].limit_i]
        if not fill.is_stale:
            return law.heap[0].limit_i
        if fill.slope == 0:
            drop_top(law)
        else:   # slack is never negative: minima fit, and levels only rise
            fill.level_fx = fill.slack_fx // fill.slope
            fill.rest = <int32_t>(fill.slack_fx % fill.slope)
            fill.rest_of = <int32_t>fill.slope
            fill.is_stale = False
            settle_top(law)
    return NONE


cdef bint is_at_or_below(
    law_t *law, int32_t i, bint is_start, int64_t at_fx, int32_t c
) noexcept nogil:
    """True when charger i starts, or stops, at or below the level of limit c."""
    cdef fill_t *fill = &law.fills[c]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int64_t at_mA = row.min_mA if is_start else law.most_mA[i]
    if at_fx != fill.level_fx:
        return at_fx < fill.level_fx
    return (at_mA << law.fx_bits) % row.weight * fill.rest_of <= <int64_t>fill.rest * row.weight


cdef void start_all(law_t *law, tier_t *tier, int64_t at_fx) noexcept nogil:
    """Let all rise that start at this level."""
    cdef int32_t i = next_start(law, tier)
    while i != NONE and law.charger_rows[i].start_fx == at_fx:
        start(law, i)
        i = next_start(law, tier)


cdef void start(law_t *law, int32_t i) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef fill_t *fill
    cdef int32_t k
    cdef int64_t min_fx = <int64_t>row.min_mA << law.fx_bits
    law.phase_of_share[i] = RISING
    for k in range(row.n_members):
        fill = &law.fills[member[k].limit_i]
        fill.slack_fx += member[k].count * min_fx
        fill.slope += <int64_t>member[k].count * row.weight
        fill.is_stale = True
        if not stands_below(fill, row.start_fx):
            enter(law, member[k].limit_i, row.start_fx)


cdef void stop_all(law_t *law, tier_t *tier, int64_t at_fx) noexcept nogil:
    """Freeze all that have what they may have at this level."""
    cdef int32_t i = next_stop(law, tier)
    while i != NONE and law.keys[i] == at_fx:
        freeze(law, i, <int64_t>law.most_mA[i] << law.fx_bits)
        tier.n_left -= 1
        i = next_stop(law, tier)


cdef void freeze(law_t *law, int32_t i, int64_t x_fx) noexcept nogil:
    """Fix the share of charger i. The levels of its limits can only be higher then."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member = &law.members[row.first_member]
    cdef fill_t *fill
    cdef int32_t k
    law.phase_of_share[i] = FROZEN
    law.x_fx[i] = x_fx
    for k in range(row.n_members):
        fill = &law.fills[member[k].limit_i]
        fill.slack_fx -= member[k].count * x_fx
        fill.slope -= <int64_t>member[k].count * row.weight
        fill.is_stale = True


cdef int32_t freeze_all_at(law_t *law, int32_t c) noexcept nogil:
    """Freeze the rising chargers of limit c at the level where it is full; say how many.

    They stand in the order in which they start, so those passed once need no second look.
    """
    cdef fill_t *fill = &law.fills[c]
    cdef int64_t whole_fx = fill.level_fx, rest = fill.rest, rest_of = fill.rest_of, x_fx
    cdef int32_t k = fill.next_below, i, weight, n = 0
    while k < law.first_below[c + 1] and law.phase_of_share[law.below[k]] != WAITING:
        i = law.below[k]
        if law.phase_of_share[i] == RISING:
            weight = law.charger_rows[i].weight
            x_fx = whole_fx
            if weight > 1:
                x_fx = whole_fx * weight + rest * weight // rest_of
            freeze(law, i, x_fx)
            n += 1
        k += 1
    fill.next_below = k
    return n


cdef void round_down(law_t *law) noexcept nogil:
    """Take each share down to its step grid. One just below a grid point gets that step first, as
    far as whole mA allow."""
    cdef int32_t k, i, n_snaps = 0, step_mA, near_mA
    clear_heap(law)
    for k in range(law.n_chargers):
        i = law.by_rank[k]
        if law.is_in[i]:
            step_mA = law.charger_rows[i].step_mA
            near_mA = <int32_t>((law.x_fx[i] + SNAP_FX) >> law.fx_bits)
            near_mA -= near_mA % step_mA
            if <int64_t>near_mA << law.fx_bits > law.x_fx[i]:
                near_mA -= step_mA
                law.order[n_snaps] = i
                n_snaps += 1
            take_mA(law, i, near_mA)
    for k in range(n_snaps):
        i = law.order[k]
        if blocker(law, i) == NONE:
            take_mA(law, i, law.charger_rows[i].step_mA)
