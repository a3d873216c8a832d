"""Reason: why a charger has the setpoint it has, as a code and the limit that binds.

Codes are stored in the image and in recordings: a code never changes its meaning. The words are
in `loadctl.reasons`.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.estimate cimport SOURCE_STALE
from loadctl.law.layout cimport N_KINDS, charger_t, meter_t
from loadctl.law.session cimport PART_DONE
from loadctl.law.tables cimport NONE, N_LOAD_KINDS, law_t

cdef int64_t NS_PER_S = 1_000_000_000


cdef void explain(charger_t *charger, int32_t reason) noexcept nogil:
    charger.reason = reason
    charger.has_binding = False
    charger.binding_circuit = 0
    charger.binding_kind = 0
    charger.reason_s = 0


cdef void explain_limit(charger_t *charger, int32_t reason, int32_t limit_i) noexcept nogil:
    explain(charger, reason)
    if limit_i != NONE:
        charger.has_binding = True
        charger.binding_circuit = limit_i // N_KINDS
        charger.binding_kind = limit_i % N_KINDS


cdef void explain_wait(charger_t *charger, int32_t reason, int64_t wait_ns) noexcept nogil:
    """Say why and for how long, rounded up to whole seconds."""
    explain(charger, reason)
    charger.reason_s = <int32_t>((max(0, wait_ns) + NS_PER_S - 1) // NS_PER_S)


cdef void explain_full(law_t *law, int32_t i, int32_t reason, int32_t limit_i) noexcept nogil:
    """Say which limit is full; where its meter is gone, that is why there is no more."""
    cdef int32_t c = limit_i // N_KINDS
    cdef meter_t *meter
    explain_limit(&law.chargers[i], reason, limit_i)
    if limit_i % N_KINDS < N_LOAD_KINDS and law.circuits[c].source == SOURCE_STALE:
        meter = &law.meters[law.circuit_rows[c].meter]
        law.chargers[i].reason = METER_SILENT
        if meter.has_value:
            law.chargers[i].reason_s = <int32_t>(
                max(0, law.site.now_ns - meter.trusted_at_ns) // NS_PER_S
            )


cdef void explain_share(law_t *law, int32_t i, int32_t limit_i) noexcept nogil:
    """Say what keeps a share from being more."""
    cdef charger_t *charger = &law.chargers[i]
    if limit_i != NONE:
        explain_full(law, i, FULL, limit_i)
    elif charger.session == PART_DONE:
        explain(charger, IS_OFFERED)
    elif charger.is_overdue:    # held to its minimum for it
        explain(charger, DOES_NOT_FOLLOW)
    elif charger.has_cap:
        explain(charger, TAKES_LESS)
    else:
        explain(charger, OWN_MAXIMUM)
