"""Failsafe targets: what each charger is brought down to, when the declared background held and when
it did not.

Background that is certainly above the declared is latched per circuit phase, an alarm that stays.
From then on the higher one counts, and the proof is redone with it: what each charger may be left
with, max(failsafe, fallback), and this background fit every phase and power limit. Where they do
not, targets fall to 0, lowest priority and then last in the file first, `never_pause` last of all.
One at 0 counts 0: it is held there by writes, so this proof is about a site that is still written
to; what a box falls to when nobody writes is not ours to change. Unbalance has no background.
Targets never rise again. Runs inside step, and as a latched value comes in.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_KINDS, N_PHASES
from loadctl.law.tables cimport KIND_POWER, NONE, charger_row_t, law_t, member_t


cdef int32_t counted_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """The worst background of a circuit phase: declared, or seen above that."""
    return max(law.circuit_rows[c].background_mA[p], law.circuits[c].seen_background_mA[p])


cdef bint latch(law_t *law, int32_t c, int32_t p, int32_t seen_mA) noexcept nogil:
    """Keep a background that is above all that counted until now; True: it was.

    What is behind a sub-circuit is behind the circuits above it too.
    """
    cdef bint is_new = False
    while c != NONE:
        if seen_mA > counted_mA(law, c, p):
            law.circuits[c].seen_background_mA[p] = seen_mA
            law.circuits[c].is_alarmed = True
            is_new = True
        c = law.circuit_rows[c].parent
    return is_new


cdef void latch_backgrounds(law_t *law) noexcept nogil:
    """Latch what the low backgrounds of this scan show; redo the proof where that is new.

    Without a meter's value the low background is what counts already, or what was latched before.
    """
    cdef int32_t c, p
    cdef bint is_new = False
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            if latch(law, c, p, law.circuits[c].background_low_mA[p]):
                is_new = True
    if is_new:
        lower_targets(law)


cdef void lower_targets(law_t *law) noexcept nogil:
    """Let targets fall to 0, the least entitled first, until the proof holds again."""
    cdef int32_t k, i, never_pause
    for k in range(law.n_limits):
        law.used_mA[k] = 0
    for i in range(law.n_chargers):
        count(law, i, standing_mA(law, i))
    for never_pause in range(2):
        for k in range(law.n_chargers - 1, -1, -1):
            i = law.by_rank[k]
            if bool_of(law.charger_rows[i].never_pause) != never_pause:
                continue
            if law.chargers[i].failsafe_mA > 0 and is_in_excess(law, i):
                count(law, i, -standing_mA(law, i))
                law.chargers[i].failsafe_mA = 0


cdef int32_t bool_of(int32_t flag) noexcept nogil:
    return 1 if flag else 0


cdef void count(law_t *law, int32_t i, int64_t amount_mA) noexcept nogil:
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef member_t *member
    cdef int32_t k
    for k in range(row.n_members):
        member = &law.members[row.first_member + k]
        law.used_mA[member.limit_i] += member.count * amount_mA


cdef int32_t standing_mA(law_t *law, int32_t i) noexcept nogil:
    """What a charger may be left with; its hardware rating where it has no watchdog."""
    cdef charger_row_t *row = &law.charger_rows[i]
    if row.is_isolated or law.chargers[i].failsafe_mA < row.failsafe_mA:
        return 0
    if row.watchdog_ns == 0:
        return row.rated_mA
    return max(row.failsafe_mA, row.fallback_mA)


cdef bint is_in_excess(law_t *law, int32_t i) noexcept nogil:
    """True when a limit that charger i counts in does not hold."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, limit_i, c, kind
    cdef int64_t room_mA
    for k in range(row.n_members):
        limit_i = law.members[row.first_member + k].limit_i
        c = limit_i // N_KINDS
        kind = limit_i % N_KINDS
        if kind < N_PHASES:
            room_mA = <int64_t>law.circuit_rows[c].limit_mA[kind] - counted_mA(law, c, kind)
        elif kind == KIND_POWER:
            room_mA = law.circuit_rows[c].power_limit_mA - (
                <int64_t>counted_mA(law, c, 0) + counted_mA(law, c, 1) + counted_mA(law, c, 2)
            )
        else:
            continue
        if law.used_mA[limit_i] > room_mA:
            return True
    return False
