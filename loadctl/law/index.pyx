"""Index: what share looks up instead of searching for it, worked out from the rows.

Chargers in the order in which they start to rise and reach their maxima, tier by tier: whenever
live values were adopted, rows and ranks being filled. The chargers of each limit: also whenever
members were laid out anew, because a car uses other phases than were counted before.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.sort cimport sort_by_key
from loadctl.law.tables cimport charger_row_t, law_t, member_t

cdef enum:
    # With 27 bits or more two levels that differ, of at most 10 000 000 mA by a weight of at most
    # 10 000, differ in their whole parts; with 38 or fewer the highest fits 64 bits.
    MOST_BITS = 38
    SLACK_BITS = 62


cdef void fill_indexes(law_t *law) noexcept nogil:
    choose_bits(law)
    fill_levels(law)
    fill_tiers(law)
    index_members(law)


cdef void index_members(law_t *law) noexcept nogil:
    fill_sums(law)
    fill_below(law)


cdef void choose_bits(law_t *law) noexcept nogil:
    """How fine a level can be without overflow, whichever phases are used."""
    cdef charger_row_t *row
    cdef int32_t i
    cdef int64_t most_mA = 1
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        most_mA += <int64_t>row.n_wired * row.max_mA
    law.fx_bits = MOST_BITS
    while most_mA >> (SLACK_BITS - law.fx_bits) > 0:
        law.fx_bits -= 1


cdef void fill_sums(law_t *law) noexcept nogil:
    """What all may draw together in each limit."""
    cdef charger_row_t *row
    cdef member_t *member
    cdef int32_t i, m, c
    for c in range(law.n_limits):
        law.most_below_mA[c] = 0
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        for m in range(row.first_member, row.first_member + row.n_members):
            member = &law.members[m]
            law.owners[m] = i
            law.most_below_mA[member.limit_i] += <int64_t>member.count * row.max_mA


cdef void fill_levels(law_t *law) noexcept nogil:
    cdef charger_row_t *row
    cdef int32_t i
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        row.start_fx = (<int64_t>row.min_mA << law.fx_bits) // row.weight
        row.stop_fx = (<int64_t>row.max_mA << law.fx_bits) // row.weight


cdef void fill_tiers(law_t *law) noexcept nogil:
    """Cut the ranking into tiers, and sort each by where its chargers start and stop."""
    cdef int32_t k
    law.n_tiers = 0
    for k in range(law.n_chargers):
        law.ranks[law.by_rank[k]] = k
        law.by_start[k] = law.by_rank[k]
        law.by_stop[k] = law.by_rank[k]
    for k in range(law.n_chargers):
        if k + 1 == law.n_chargers or priority(law, k) != priority(law, k + 1):
            law.tier_ends[law.n_tiers] = k + 1
            law.n_tiers += 1
    sort_tiers(law, law.by_start, False)
    sort_tiers(law, law.by_stop, True)


cdef int32_t priority(law_t *law, int32_t rank) noexcept nogil:
    return law.charger_rows[law.by_rank[rank]].priority


cdef void sort_tiers(law_t *law, int32_t *ids, bint by_stop) noexcept nogil:
    cdef charger_row_t *row
    cdef int32_t i, k, first = 0
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        law.keys[i] = row.stop_fx if by_stop else row.start_fx
    for k in range(law.n_tiers):
        sort_by_key(ids + first, law.tier_ends[k] - first, law.keys, law.spare)
        first = law.tier_ends[k]


cdef void fill_below(law_t *law) noexcept nogil:
    """List the chargers of each limit in the order in which they start to rise."""
    cdef charger_row_t *row
    cdef int32_t *first = law.first_below
    cdef int32_t k, m, c, n_counted
    for c in range(law.n_limits + 1):
        first[c] = 0
    for k in range(law.n_chargers):
        row = &law.charger_rows[k]
        for m in range(row.first_member, row.first_member + row.n_members):
            first[law.members[m].limit_i + 1] += 1
    for c in range(law.n_limits):
        first[c + 1] += first[c]
    n_counted = first[law.n_limits]
    for k in range(law.n_chargers - 1, -1, -1):     # from behind: each part fills down to its first
        row = &law.charger_rows[law.by_start[k]]
        for m in range(row.first_member, row.first_member + row.n_members):
            c = law.members[m].limit_i
            first[c + 1] -= 1
            law.below[first[c + 1]] = law.by_start[k]
    for c in range(law.n_limits):
        first[c] = first[c + 1]
    first[law.n_limits] = n_counted
