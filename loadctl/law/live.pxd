from loadctl.law.tables cimport law_t

cdef enum:
    N_LIVE_CIRCUIT = 4      # slots of a circuit: limit of L1, L2, L3, margin
    N_LIVE_CHARGER = 6      # minimum, maximum, priority, weight, enabled, never paused

cdef void adopt(law_t *law) noexcept nogil
