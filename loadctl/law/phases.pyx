"""Phases: which of its wired phases a charger counts on.

Many cars charge on one phase of three. A phase that carries less than 0.5 A for a minute, while
another carries 5 A or more, is unused until the car is unplugged: it counts in no limit and holds
no reserve. Current seen there restores it at once, and so does anything that makes the car unknown:
a message without an answer, new arming, samples that stop. What the failsafe proof counts is not
this: it counts every wired phase. Design, section 5.2.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.index cimport index_members
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t
from loadctl.law.tables cimport (
    KIND_CHARGERS, KIND_PAIRS, KIND_POWER, NONE, charger_row_t, circuit_row_t, law_t, member_t,
)

cdef enum:
    CHARGES_mA = 5000
    IDLE_mA = 500

cdef int64_t IDLE_ns = 60_000_000_000
cdef int64_t MOST_GAP_ns = 5_000_000_000    # between samples that tell one story


cdef void note_idle_phases(law_t *law, int32_t i, int64_t at_ns, int64_t before_ns) noexcept nogil:
    """Judge the newest sample; the one before it was taken at `before_ns`."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef int32_t k, p, bit, highest_mA = 0
    for p in range(N_PHASES):
        highest_mA = max(highest_mA, charger.draw_mA[p])
    for k in range(row.n_wired):
        p = row.wired[k]
        bit = 1 << p
        if charger.draw_mA[p] >= IDLE_mA:
            charger.idle_phases &= ~bit
            charger.unused_phases &= ~bit
        elif highest_mA < CHARGES_mA or at_ns - before_ns > MOST_GAP_ns:
            charger.idle_phases &= ~bit
        elif not charger.idle_phases & bit:
            charger.idle_phases |= bit
            charger.idle_since_ns[p] = at_ns
        elif at_ns - charger.idle_since_ns[p] >= IDLE_ns:
            charger.unused_phases |= bit


cdef void restore_phases(charger_t *charger) noexcept nogil:
    charger.idle_phases = 0
    charger.unused_phases = 0


cdef void use_phases(law_t *law) noexcept nogil:
    """Let every charger count in the limits of the phases that its car uses."""
    cdef int32_t i
    cdef bint has_change = False
    for i in range(law.n_chargers):
        if law.charger_rows[i].without_phases != law.chargers[i].unused_phases:
            lay_out_phases(law, i, law.chargers[i].unused_phases)
            has_change = True
    if has_change:
        index_members(law)


cdef void lay_out_phases(law_t *law, int32_t i, int32_t unused_phases) noexcept nogil:
    """Write the phases and members of one charger, its own circuit first."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, c = row.circuit
    row.without_phases = unused_phases
    row.n_phases = 0
    for k in range(row.n_wired):
        if not unused_phases >> row.wired[k] & 1:
            row.phases[row.n_phases] = row.wired[k]
            row.n_phases += 1
    row.n_members = 0
    while c != NONE:
        add_members(law, row, c)
        c = law.circuit_rows[c].parent


cdef void add_members(law_t *law, charger_row_t *row, int32_t c) noexcept nogil:
    cdef circuit_row_t *to = &law.circuit_rows[c]
    cdef int32_t p, q, pair = 0
    for p in range(N_PHASES):
        if uses(row, p):
            add_member(law, row, c * N_KINDS + p, 1)
    if to.counts_power:
        add_member(law, row, c * N_KINDS + KIND_POWER, row.n_phases)
    if to.is_charger_power:
        add_member(law, row, c * N_KINDS + KIND_CHARGERS, row.n_phases)
    for p in range(N_PHASES):
        for q in range(N_PHASES):
            if p == q:
                continue
            if to.has_unbalance and uses(row, p) and not uses(row, q):
                add_member(law, row, c * N_KINDS + KIND_PAIRS + pair, 1)
            pair += 1


cdef void add_member(
    law_t *law, charger_row_t *row, int32_t limit_i, int32_t count
) noexcept nogil:
    cdef member_t *member = &law.members[row.first_member + row.n_members]
    member.limit_i = limit_i
    member.count = count
    member.kind = limit_i % N_KINDS
    row.n_members += 1


cdef bint uses(charger_row_t *row, int32_t p) noexcept nogil:
    cdef int32_t k
    for k in range(row.n_phases):
        if row.phases[k] == p:
            return True
    return False


cdef bint is_wired(charger_row_t *row, int32_t p) noexcept nogil:
    cdef int32_t k
    for k in range(row.n_wired):
        if row.wired[k] == p:
            return True
    return False
