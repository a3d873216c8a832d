"""Alarm: a background above the declared one, and the failsafe proof redone with what was seen.

The declared background is what the proof before the start rested on. Once a meter has shown more,
beyond doubt and for as long as samples are old, that is latched until the scan is started anew;
the proof is summed again with it, and where it does not hold failsafe targets fall to 0, lowest
priority first, until it does. A limit that is lowered, from outside or by tuning, lowers them in
the same way, and that of a charger that is disabled is 0: so it holds in every mode, for chargers
that are probed or armed anew, and for the guard, who is told of the targets. Design, section 6.
Backgrounds are noted in confirm, when the draws of this scan are at hand; targets are set in step.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.draws cimport is_meter_fresh, worst_background_mA
from loadctl.law.estimate cimport SOURCE_HELD, background_mA
from loadctl.law.external cimport is_external
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t, circuit_t
from loadctl.law.limits cimport cap_mA, clear
from loadctl.law.phases cimport is_wired
from loadctl.law.tables cimport (
    KIND_CHARGERS, KIND_POWER, NONE, N_LOAD_KINDS, charger_row_t, law_t,
)


cdef int64_t STAYS_ns = 6_000_000_000    # no kettle, no switching in
cdef int64_t UNCHANGED_ns = 600_000_000_000


cdef void latch(law_t *law, int32_t c, int32_t p, int32_t seen_mA) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    if seen_mA > law.circuit_rows[c].background_mA[p]:
        circuit.is_alarmed = True
        circuit.seen_background_mA[p] = max(circuit.seen_background_mA[p], seen_mA)


cdef void note_backgrounds(law_t *law, int64_t now_ns) noexcept nogil:
    """Latch what has stayed above the declared background. Judged by draws sampled around the meter
    value, else by reserves: a car that follows its raises must not look like background. A meter
    counts here on a static circuit too; what it exports is no load beyond doubt."""
    cdef circuit_t *circuit
    cdef int32_t c, p, sure_mA
    for c in range(law.n_circuits):
        circuit = &law.circuits[c]
        if circuit.source == SOURCE_HELD:
            continue
        for p in range(N_PHASES):
            sure_mA = 0
            if is_loaded(law, c, p):
                sure_mA = background_mA(law, c, p, law.draw_high_mA[c * N_PHASES + p])
            if sure_mA > law.circuit_rows[c].background_mA[p]:
                sure_mA -= doubt_mA(law, c, p)
            note_over(law, c, p, sure_mA, now_ns)


cdef bint is_loaded(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """True where its meter was read in this scan, and current flows towards the chargers."""
    return is_meter_fresh(law, c) and law.meters[law.circuit_rows[c].meter].load_mA[p] > 0


cdef int64_t stays_ns(law_t *law, int32_t c) noexcept nogil:
    """One that has not changed in any digit since this scan began may have stood still before."""
    return STAYS_ns if law.meters[law.circuit_rows[c].meter].has_changed else UNCHANGED_ns


cdef void note_over(
    law_t *law, int32_t c, int32_t p, int32_t sure_mA, int64_t now_ns
) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    if sure_mA <= law.circuit_rows[c].background_mA[p]:
        circuit.over_mA[p] = 0
        return
    if circuit.over_mA[p] == 0:
        circuit.over_since_ns[p] = now_ns
        circuit.over_mA[p] = sure_mA
    circuit.over_mA[p] = min(circuit.over_mA[p], sure_mA)
    if now_ns - circuit.over_since_ns[p] >= stays_ns(law, c):
        latch(law, c, p, circuit.over_mA[p])
        circuit.over_mA[p] = 0


cdef int32_t doubt_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """What chargers may take beyond their reserves: one in doubt all that it is rated for."""
    cdef charger_row_t *row
    cdef charger_t *charger
    cdef int32_t i, sum_mA = 0
    for i in range(law.n_chargers):
        row = &law.charger_rows[i]
        charger = &law.chargers[i]
        if row.is_isolated or not is_under(law, i, c):
            continue
        if charger.is_armed and not charger.is_silent and not charger.is_overdue:
            continue
        if is_wired(row, p):
            sum_mA += max(0, row.rated_mA - charger.reserve_mA)
    return sum_mA


cdef bint is_under(law_t *law, int32_t i, int32_t circuit) noexcept nogil:
    cdef int32_t c = law.charger_rows[i].circuit
    while c != NONE:
        if c == circuit:
            return True
        c = law.circuit_rows[c].parent
    return False


cdef void set_failsafe_targets(law_t *law) noexcept nogil:
    """The targets of the site file, less those that the proof has no room for any more."""
    cdef int32_t i, c, k
    cdef bint is_less = False
    for i in range(law.n_chargers):
        law.chargers[i].failsafe_mA = (
            law.charger_rows[i].failsafe_mA if law.chargers[i].is_enabled else 0
        )
    for c in range(law.n_circuits):
        is_less = is_less or is_lower(law, c)
    if not is_less:
        return
    clear(law, law.used_mA)
    for i in range(law.n_chargers):
        if not is_switched_off(&law.chargers[i]):
            add_standing(law, i, standing_mA(&law.charger_rows[i]))
    for k in range(law.n_live):
        if law.live[k] % N_KINDS < N_LOAD_KINDS or law.live[k] % N_KINDS == KIND_CHARGERS:
            make_hold(law, law.live[k])


cdef bint is_switched_off(charger_t *charger) noexcept nogil:
    """True for one that is disabled and hears it; what nobody can tell counts in the proof."""
    return not charger.is_enabled and charger.is_armed and not charger.is_silent


cdef bint is_lower(law_t *law, int32_t c) noexcept nogil:
    """True where the proof before the start may not hold any more for this circuit."""
    cdef circuit_t *circuit = &law.circuits[c]
    return (
        circuit.is_alarmed
        or circuit.external_kinds != 0
        or law.circuit_rows[c].lowered_kinds != 0
    )


cdef bint is_lowered(law_t *law, int32_t limit_i) noexcept nogil:
    """True where this limit in force is below that of the site file."""
    cdef int32_t lowered_kinds = law.circuit_rows[limit_i // N_KINDS].lowered_kinds
    return is_external(law, limit_i) or lowered_kinds >> (limit_i % N_KINDS) & 1


cdef void make_hold(law_t *law, int32_t limit_i) noexcept nogil:
    """Bring targets below this limit to 0, lowest tier and last in the file first."""
    cdef int32_t worst_mA[3]
    cdef int32_t c = limit_i // N_KINDS, p, k, i
    cdef int32_t is_last_resort
    cdef int64_t room_mA
    if not law.circuits[c].is_alarmed and not is_lowered(law, limit_i):
        return
    for p in range(N_PHASES):
        worst_mA[p] = worst_background_mA(law, c, p)
    room_mA = cap_mA(law, c, limit_i % N_KINDS, worst_mA)
    if limit_i % N_KINDS < N_PHASES:
        room_mA += law.circuit_rows[c].margin_mA      # the proof knows no margin
    for is_last_resort in range(2):
        for k in range(law.n_chargers - 1, -1, -1):
            i = law.by_rank[k]
            if law.used_mA[limit_i] <= room_mA:
                return
            if law.charger_rows[i].never_pause != is_last_resort or not counts_in(law, i, limit_i):
                continue
            if law.chargers[i].failsafe_mA > 0:
                add_standing(law, i, -<int64_t>standing_mA(&law.charger_rows[i]))
                law.chargers[i].failsafe_mA = 0


cdef int32_t standing_mA(charger_row_t *row) noexcept nogil:
    """What the proof counts for a charger. One brought down to 0 counts 0, as long as it is written
    to: what it falls to when nobody writes is not ours to change."""
    if row.is_isolated:
        return 0
    if row.watchdog_ns == 0:
        return row.rated_mA
    return max(row.failsafe_mA, row.fallback_mA)


cdef void add_standing(law_t *law, int32_t i, int64_t amount_mA) noexcept nogil:
    """Count a charger in the phase and power limits above it, on every phase that it is wired to:
    the next car may use them all."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, c = row.circuit
    while c != NONE:
        for k in range(row.n_wired):
            law.used_mA[c * N_KINDS + row.wired[k]] += amount_mA
        law.used_mA[c * N_KINDS + KIND_POWER] += row.n_wired * amount_mA
        law.used_mA[c * N_KINDS + KIND_CHARGERS] += row.n_wired * amount_mA
        c = law.circuit_rows[c].parent


cdef bint counts_in(law_t *law, int32_t i, int32_t limit_i) noexcept nogil:
    cdef int32_t kind = limit_i % N_KINDS
    if not is_under(law, i, limit_i // N_KINDS):
        return False
    return kind == KIND_POWER or kind == KIND_CHARGERS or is_wired(&law.charger_rows[i], kind)
