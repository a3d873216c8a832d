"""Admit: who may charge at all when not everyone's minimum fits.

A grant is 0 or at least the minimum. In turn each candidate whose minimum still fits is in; one
that does not fit is skipped, not a stop. The turn: `never_pause`, then tier by tier: sessions
younger than `min_on_s`, then file order. A session that charges keeps to the low caps, so that
only a real limit pauses it; one that does not charge yet must fit the high caps too, and one
that was paused returns after `min_off_s`, once its minimum and `admit_margin` have fitted for a
while. Nobody starts below a fuse that has to cool.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport charger_t
from loadctl.law.limits cimport add_to, clear
from loadctl.law.tables cimport NONE, charger_row_t, law_t, member_t
from loadctl.law.thermal cimport cooling_limit

cdef enum:
    FITS_FOR_s = 30

cdef int64_t NS_PER_S = 1_000_000_000


cdef int32_t fullest(
    law_t *law, const int64_t *cap_mA, int32_t i, int64_t amount_mA
) noexcept nogil:
    """The limit that this much for charger i, beside what is used, passes by the most, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k, worst = NONE
    cdef int64_t over_mA, worst_mA = 0
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
    for i in range(law.n_chargers):
        law.is_in[i] = False
        law.refused_by[i] = NONE
    for k in range(law.n_chargers):
        i = law.by_rank[k]
        if law.charger_rows[i].never_pause:
            consider(law, i, now_ns)
    while first < law.n_chargers:
        end = first
        while end < law.n_chargers and is_same_tier(law, first, end):
            i = law.by_rank[end]
            if not law.charger_rows[i].never_pause and keeps_place(law, i, now_ns):
                consider(law, i, now_ns)
            end += 1
        for k in range(first, end):
            i = law.by_rank[k]
            if not law.charger_rows[i].never_pause and not keeps_place(law, i, now_ns):
                consider(law, i, now_ns)
        first = end


cdef bint is_same_tier(law_t *law, int32_t k, int32_t other) noexcept nogil:
    return (
        law.charger_rows[law.by_rank[k]].priority == law.charger_rows[law.by_rank[other]].priority
    )


cdef bint keeps_place(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    return (
        charger.setpoint_mA > 0
        and now_ns - charger.on_since_ns < law.site.tuning.min_on_ns
    )


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
    if law.refused_by[i] == NONE and charger.setpoint_mA == 0:
        law.refused_by[i] = fullest(law, law.cap_high_mA, i, min_mA)
        if charger.was_paused and not may_return(law, i, now_ns):
            return
    if law.refused_by[i] == NONE:
        law.is_in[i] = True
        add_to(law, law.used_mA, i, min_mA)


cdef bint may_return(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """True when a paused session has been off for long enough and has had room for long enough."""
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t wanted_mA = law.charger_rows[i].min_mA + law.site.tuning.admit_margin_mA
    if fullest(law, law.cap_high_mA, i, wanted_mA) != NONE:
        charger.has_fitted = False
        return False
    if not charger.has_fitted:
        charger.has_fitted = True
        charger.fits_since_ns = now_ns
    return (
        now_ns - charger.fits_since_ns >= FITS_FOR_s * NS_PER_S
        and now_ns - charger.off_since_ns >= law.site.tuning.min_off_ns
    )
