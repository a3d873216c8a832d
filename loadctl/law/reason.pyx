"""Reason: why a charger has the setpoint it has, as a code and the limit that binds.

Codes are stored in the image and in recordings: a code never changes its meaning. The words are
in `loadctl.reasons`.
"""

from libc.stdint cimport int32_t

from loadctl.law.layout cimport N_KINDS, charger_t
from loadctl.law.tables cimport NONE


cdef void explain(charger_t *charger, int32_t reason) noexcept nogil:
    charger.reason = reason
    charger.has_binding = False
    charger.binding_circuit = 0
    charger.binding_kind = 0


cdef void explain_limit(charger_t *charger, int32_t reason, int32_t limit_i) noexcept nogil:
    explain(charger, reason)
    if limit_i != NONE:
        charger.has_binding = True
        charger.binding_circuit = limit_i // N_KINDS
        charger.binding_kind = limit_i % N_KINDS


cdef void explain_share(charger_t *charger, int32_t limit_i) noexcept nogil:
    explain_limit(charger, OWN_MAXIMUM if limit_i == NONE else FULL, limit_i)
