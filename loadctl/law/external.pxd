from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cpdef enum External:
    EXTERNAL_NONE = 0       # the circuit takes no limit from outside
    EXTERNAL_FREE = 1       # its source says that there is none
    EXTERNAL_LIMIT = 2      # what was commanded
    EXTERNAL_LOST = 3       # its source was never heard, or not for too long: what the site says
    EXTERNAL_EXPIRED = 4    # what was commanded has run out: likewise

cdef void set_limits(law_t *law, int64_t now_ns) noexcept nogil
cdef void name_external(law_t *law) noexcept nogil
cdef bint is_external(law_t *law, int32_t limit_i) noexcept nogil
