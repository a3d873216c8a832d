"""Live: the values of a site that may be changed while it runs, from the plant block to the rows.

The block holds what counts now of the site file's values; the rows, the order of tiers and what
share looks up are worked out from it here, whenever a block is attached and after every change.
So a block alone says how its core decides. Never judges a value: the border has checked all.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.index cimport fill_indexes
from loadctl.law.layout cimport N_PHASES, charger_t, circuit_t
from loadctl.law.sort cimport sort_by_key
from loadctl.law.tables cimport charger_row_t, circuit_row_t, law_t

cdef enum:
    # No car charges on less (IEC 61851-1): what a box says is in force from here on may have been a
    # setpoint once, whatever its minimum is now.
    LEAST_mA = 6000


cdef void adopt(law_t *law) noexcept nogil:
    cdef int32_t k
    for k in range(law.n_circuits):
        adopt_circuit(&law.circuit_rows[k], &law.circuits[k])
    for k in range(law.n_chargers):
        adopt_charger(&law.charger_rows[k], &law.chargers[k])
    rank(law)
    fill_indexes(law)


cdef void adopt_circuit(circuit_row_t *row, circuit_t *circuit) noexcept nogil:
    cdef int32_t p
    row.margin_mA = circuit.live_margin_mA
    row.lowered_kinds = 0
    for p in range(N_PHASES):
        row.limit_mA[p] = circuit.live_limit_mA[p]
        if row.limit_mA[p] < row.site_limit_mA[p]:
            row.lowered_kinds |= 1 << p


cdef void adopt_charger(charger_row_t *row, charger_t *charger) noexcept nogil:
    """Minimum, maximum and failsafe current come to stand on the step grid."""
    cdef int32_t step_mA = row.step_mA
    row.min_mA = (charger.live_min_mA + step_mA - 1) // step_mA * step_mA
    row.max_mA = charger.live_max_mA // step_mA * step_mA
    row.least_mA = min(min(row.min_mA, row.site_min_mA), <int32_t>LEAST_mA)
    row.failsafe_mA = min(row.site_failsafe_mA, row.max_mA)
    if row.failsafe_mA < row.min_mA:
        row.failsafe_mA = 0
    row.priority = charger.live_priority
    row.weight = charger.live_weight
    row.never_pause = charger.live_never_pause


cdef void rank(law_t *law) noexcept nogil:
    """Highest tier first, then file order."""
    cdef int32_t i
    for i in range(law.n_chargers):
        law.by_rank[i] = i
        law.keys[i] = -<int64_t>law.charger_rows[i].priority
    sort_by_key(law.by_rank, law.n_chargers, law.keys, law.spare)
