"""Thermal: how warm the fuse of each circuit phase is, and what is held back until it has cooled.

Heat is a share of the conventional tripping load, in parts of 2^-28; it follows the square of the
current with the time constant of the device (`fuse.py` has figures, derivation and thresholds). Too
warm, and until it is cool enough: shares keep to a lower current, and nothing starts. Minima of
running sessions, and limits, stay as they are, nothing is ever raised by it, and outside RUN it
does nothing: the fuse itself protects the cable, this spares it. A fresh START, which knows nothing
of the past, begins at the warning threshold.

Over a span dt, difference to the end value shrinks by 2^-(dt / half): whole halves are a shift, the
rest r is the (2, 2) Pade form of the exponential, 1 - e^-u = 12 u / (12 + 6 u + u^2) with u =
ln 2 * r / half. It is off by at most 1.3e-4 of the difference (at u = ln 2; by 1e-9 of it for 10 s
of 206 s), never overshoots, and takes any span in one go. Load and heating round up, cooling down.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.draws cimport KNOWN, is_meter_fresh, sum_draws, worst_background_mA
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t, circuit_t
from loadctl.law.limits cimport add_to, clear
from loadctl.law.order cimport MODE_START
from loadctl.law.reason cimport COOLS_DOWN, FULL, explain_limit
from loadctl.law.tables cimport NONE, charger_row_t, law_t

cdef enum:
    NS_PER_MS = 1_000_000
    RATIO_BITS = 20
    MOST_RATIO = 8 << 20        # of the full current; more is a short circuit, and heats as this
    MOST_HALVES = 40            # nothing of any difference is left

cdef int64_t U_ONE = 1 << 30
cdef int64_t LN2_FX = 744_261_118      # ln 2, in parts of 2^-30


cdef void follow_fuses(law_t *law, int64_t now_ns) noexcept nogil:
    """Bring the heat of every fuse to now, and see which have to cool."""
    cdef int32_t c
    cdef bint needs_draws = False
    for c in range(law.n_circuits):
        if law.circuit_rows[c].has_fuse and not is_meter_fresh(law, c):
            needs_draws = True
    if needs_draws:
        sum_draws(law, KNOWN)
    for c in range(law.n_circuits):
        if law.circuit_rows[c].has_fuse:
            follow_fuse(law, c, now_ns)


cdef void follow_fuse(law_t *law, int32_t c, int64_t now_ns) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int64_t elapsed_ms = 0, gone_fx
    cdef int32_t p
    circuit.is_held_back = False
    if circuit.has_heat_at:
        elapsed_ms = (now_ns - circuit.heat_at_ns) // NS_PER_MS     # time never goes back
        circuit.heat_at_ns += elapsed_ms * NS_PER_MS
    else:
        circuit.has_heat_at = True
        circuit.heat_at_ns = now_ns
    # In START chargers count at their rating until they are armed: the threshold stands for that.
    if is_meter_fresh(law, c) or law.site.mode != MODE_START:
        gone_fx = gone(elapsed_ms, law.circuit_rows[c].fuse_half_ms)
        for p in range(N_PHASES):
            circuit.heat_fx[p] = warmed(
                circuit.heat_fx[p],
                end_heat(carried_mA(law, c, p), law.circuit_rows[c].fuse_full_mA),
                gone_fx,
            )
    for p in range(N_PHASES):
        note_heat(law, c, p)


cdef void note_heat(law_t *law, int32_t c, int32_t p) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    circuit.heat_permille[p] = <int32_t>((circuit.heat_fx[p] * 1000 + HEAT_FULL - 1) >> HEAT_BITS)
    if circuit.heat_fx[p] > law.circuit_rows[c].fuse_warns_fx:
        circuit.is_cooling[p] = True
    elif circuit.heat_fx[p] < law.circuit_rows[c].fuse_cool_fx:
        circuit.is_cooling[p] = False


cdef int64_t carried_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """What flows through the fuse, whatever its direction; without a meter, the most that may."""
    cdef int64_t read_mA
    if is_meter_fresh(law, c):
        read_mA = law.meters[law.circuit_rows[c].meter].current_mA[p]
        return max(read_mA, -read_mA)
    return max(0, worst_background_mA(law, c, p) + law.draw_high_mA[c * N_PHASES + p])


cdef int64_t end_heat(int64_t load_mA, int64_t full_mA) noexcept nogil:
    """The heat that this load leads to in the end, rounded up."""
    cdef int64_t ratio_fx = MOST_RATIO
    if load_mA < full_mA * 8:
        ratio_fx = ((load_mA << RATIO_BITS) + full_mA - 1) // full_mA
    return (ratio_fx * ratio_fx + (1 << (2 * RATIO_BITS - HEAT_BITS)) - 1) >> (
        2 * RATIO_BITS - HEAT_BITS
    )


cdef int64_t gone(int64_t span_ms, int64_t half_ms) noexcept nogil:
    """The part of a difference that is gone after this span, in parts of 2^-28."""
    cdef int64_t n_halves = span_ms // half_ms, u_fx, rest_fx
    if n_halves >= MOST_HALVES:
        return HEAT_FULL
    u_fx = (span_ms % half_ms) * LN2_FX // half_ms
    rest_fx = (12 * u_fx << HEAT_BITS) // (12 * U_ONE + 6 * u_fx + (u_fx * u_fx >> 30))
    return HEAT_FULL - ((HEAT_FULL - rest_fx) >> n_halves)


cdef int64_t warmed(int64_t heat_fx, int64_t end_fx, int64_t gone_fx) noexcept nogil:
    if end_fx < heat_fx:
        return heat_fx - ((heat_fx - end_fx) * gone_fx >> HEAT_BITS)
    return heat_fx + (((end_fx - heat_fx) * gone_fx + HEAT_FULL - 1) >> HEAT_BITS)


cdef void hold_shares(law_t *law) noexcept nogil:
    """Lower the caps of phases that have to cool, never below the minima of running sessions."""
    cdef charger_t *charger
    cdef int32_t i, k, limit_i
    cdef int64_t less_mA
    if not is_any_cooling(law):
        return
    clear(law, law.used_mA)
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.is_candidate and charger.setpoint_mA > 0:
            add_to(law, law.used_mA, i, law.charger_rows[i].min_mA)
    for k in range(law.n_live):
        limit_i = law.live[k]
        less_mA = held_back_mA(law, limit_i)
        if less_mA > 0:
            law.circuits[limit_i // N_KINDS].is_held_back = True
            lower(&law.cap_low_mA[limit_i], less_mA, law.used_mA[limit_i])
            lower(&law.cap_high_mA[limit_i], less_mA, law.used_mA[limit_i])


cdef bint is_any_cooling(law_t *law) noexcept nogil:
    cdef int32_t c, p
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            if law.circuits[c].is_cooling[p]:
                return True
    return False


cdef void lower(int64_t *cap_mA, int64_t less_mA, int64_t least_mA) noexcept nogil:
    cap_mA[0] = min(cap_mA[0], max(cap_mA[0] - less_mA, least_mA))


cdef int64_t held_back_mA(law_t *law, int32_t limit_i) noexcept nogil:
    """How much less than its limit a phase that has to cool may carry; not above 0: no less."""
    cdef int32_t c = limit_i // N_KINDS, kind = limit_i % N_KINDS
    if kind >= N_PHASES or not law.circuits[c].is_cooling[kind]:
        return 0
    return law.circuits[c].limit_mA[kind] - law.circuit_rows[c].fuse_cools_at_mA


cdef int32_t cooling_limit(law_t *law, int32_t i) noexcept nogil:
    """The limit below which charger i may not start because its fuse has to cool, or NONE."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef int32_t k, c = row.circuit
    while c != NONE:
        for k in range(row.n_phases):
            if law.circuits[c].is_cooling[row.phases[k]]:
                return c * N_KINDS + row.phases[k]
        c = law.circuit_rows[c].parent
    return NONE


cdef void name_cooling(law_t *law) noexcept nogil:
    """Say of those whom a warm fuse keeps from starting, or from more, that it does."""
    cdef charger_t *charger
    cdef int32_t i, limit_i
    if not is_any_cooling(law):
        return
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not charger.has_binding:
            continue
        limit_i = charger.binding_circuit * N_KINDS + charger.binding_kind
        if charger.is_admitted:
            if charger.reason == FULL and held_back_mA(law, limit_i) > 0:
                explain_limit(charger, COOLS_DOWN, limit_i)
        elif charger.is_candidate and charger.setpoint_mA == 0:
            if limit_i == cooling_limit(law, i):
                explain_limit(charger, COOLS_DOWN, limit_i)
