from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef enum Claim:
    CLAIM_NEVER_PAUSE   # considered before all tiers
    CLAIM_KEEPS         # charges for less than min_on, or might not wake from a pause
    CLAIM_IN_TURN       # charges, its turn is not over
    CLAIM_IS_NEXT       # has waited for two turns or longer
    CLAIM_MAY_SLEEP     # might not wake from a pause, but its turn is over and one is next
    CLAIM_IS_DUE        # has waited for a turn or longer
    CLAIM_TURN_OVER     # charges, its turn is over
    CLAIM_WAITS
    CLAIM_DONE
    CLAIM_NONE          # asks for nothing

cdef bint is_next(law_t *law, int32_t i, int64_t now_ns) noexcept nogil
cdef int32_t order_turns(law_t *law, int32_t first, int64_t now_ns) noexcept nogil
cdef void tell_turns(law_t *law, int32_t first, int32_t end, int64_t now_ns) noexcept nogil
