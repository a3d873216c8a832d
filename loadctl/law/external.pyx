"""External limits: what a grid operator or a ripple control receiver allows a circuit, and until
when.

Sets the limits in force of every circuit, first thing in a scan: those of the site file, lowered
by what was commanded from outside, never raised by it. 0 means 0. A command that has run out, or
whose source is silent for too long, falls to what the site file says for that; one that ends by
itself holds until then also when its source is lost, beside that value. Whatever else lowers
limits does so after this. Where power from outside is of chargers alone (EnWG 14a), a command
counts at least as the guaranteed minimum. Time is an argument; nothing is remembered but the
command, which the border writes.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t, circuit_t
from loadctl.law.reason cimport (
    FULL, FULL_FROM_OUTSIDE, NO_ROOM_FOR_MINIMUM, NO_ROOM_FROM_OUTSIDE,
)
from loadctl.law.tables cimport KIND_CHARGERS, KIND_POWER, circuit_row_t, law_t


cdef void set_limits(law_t *law, int64_t now_ns) noexcept nogil:
    cdef circuit_row_t *row
    cdef circuit_t *circuit
    cdef int32_t c, p
    for c in range(law.n_circuits):
        row = &law.circuit_rows[c]
        circuit = &law.circuits[c]
        for p in range(N_PHASES):
            circuit.limit_mA[p] = row.limit_mA[p]
        circuit.power_limit_mA = row.power_limit_mA
        circuit.has_power_limit = row.has_power_limit
        circuit.charger_power_limit_mA = 0
        circuit.has_charger_power_limit = False
        circuit.external_kinds = 0
        circuit.external_is_lifted = False
        circuit.external_state = state_of(row, circuit, now_ns)
        if circuit.external_state != EXTERNAL_NONE:
            lower(row, circuit, now_ns)


cdef int32_t state_of(circuit_row_t *row, circuit_t *circuit, int64_t now_ns) noexcept nogil:
    if not row.takes_external:
        return EXTERNAL_NONE
    if not circuit.external_is_heard:
        return EXTERNAL_LOST
    if circuit.external_ends and now_ns >= circuit.external_until_ns:
        return EXTERNAL_EXPIRED
    if row.loss_after_ns > 0 and now_ns - circuit.external_heard_at_ns >= row.loss_after_ns:
        return EXTERNAL_LOST
    if circuit.external_has_current or circuit.external_has_power:
        return EXTERNAL_LIMIT
    return EXTERNAL_FREE


cdef void lower(circuit_row_t *row, circuit_t *circuit, int64_t now_ns) noexcept nogil:
    """Lower the limits of the site file to those that count from outside."""
    cdef bint is_lost = (
        circuit.external_state == EXTERNAL_LOST or circuit.external_state == EXTERNAL_EXPIRED
    )
    cdef bint runs = circuit.external_state == EXTERNAL_LIMIT or (
        circuit.external_state == EXTERNAL_LOST and circuit.external_ends
    )
    if runs and circuit.external_has_current:
        lower_current(circuit, circuit.external_mA)
    if runs and circuit.external_has_power:
        circuit.external_is_lifted = circuit.external_power_mA < row.guaranteed_mA
        lower_power(row, circuit, max(circuit.external_power_mA, row.guaranteed_mA))
    if is_lost and row.loss_has_current:
        lower_current(circuit, row.loss_mA)
    if is_lost and row.loss_has_power:
        lower_power(row, circuit, row.loss_power_mA)


cdef void lower_current(circuit_t *circuit, const int32_t *limit_mA) noexcept nogil:
    cdef int32_t p
    for p in range(N_PHASES):
        if limit_mA[p] < circuit.limit_mA[p]:
            circuit.limit_mA[p] = limit_mA[p]
            circuit.external_kinds |= 1 << p


cdef void lower_power(circuit_row_t *row, circuit_t *circuit, int64_t power_mA) noexcept nogil:
    """Of the chargers alone, or of all that the circuit carries."""
    if row.is_charger_power:
        if not circuit.has_charger_power_limit or power_mA < circuit.charger_power_limit_mA:
            circuit.charger_power_limit_mA = power_mA
            circuit.has_charger_power_limit = True
            circuit.external_kinds |= 1 << KIND_CHARGERS
    elif not circuit.has_power_limit or power_mA < circuit.power_limit_mA:
        circuit.power_limit_mA = power_mA
        circuit.has_power_limit = True
        circuit.external_kinds |= 1 << KIND_POWER


cdef bint is_external(law_t *law, int32_t limit_i) noexcept nogil:
    """True where this limit in force comes from outside."""
    return (law.circuits[limit_i // N_KINDS].external_kinds >> (limit_i % N_KINDS)) & 1


cdef void name_external(law_t *law) noexcept nogil:
    """Say of a limit that binds that it came from outside."""
    cdef charger_t *charger
    cdef int32_t i, c
    cdef bint is_any = False
    for c in range(law.n_circuits):
        is_any = is_any or law.circuits[c].external_kinds != 0
    if not is_any:
        return
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not charger.has_binding:
            continue
        if not is_external(law, charger.binding_circuit * N_KINDS + charger.binding_kind):
            continue
        if charger.reason == FULL:
            charger.reason = FULL_FROM_OUTSIDE
        elif charger.reason == NO_ROOM_FOR_MINIMUM:
            charger.reason = NO_ROOM_FROM_OUTSIDE
