from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cpdef enum Part:
    PART_NONE = 0       # no car
    PART_ASKING = 1     # plugged in, without current
    PART_OFFERED = 2    # offered current, takes none yet
    PART_CHARGING = 3
    PART_DONE = 4       # full, or does not wake

cpdef enum Pause:
    PAUSE_NONE = 0
    PAUSE_LIMIT = 1     # a limit has no room for its minimum
    PAUSE_TURN = 2      # its turn was over and others waited
    PAUSE_DONE = 3
    PAUSE_MODE = 4      # the controller was not in RUN
    PAUSE_DISABLED = 5

cdef void advance_sessions(law_t *law, int64_t now_ns, int64_t since_ns) noexcept nogil
cdef void mark_candidates(law_t *law, int64_t now_ns) noexcept nogil
cdef void hold_to_maxima(law_t *law) noexcept nogil
cdef void pause(law_t *law, int32_t i, Pause cause, int64_t now_ns) noexcept nogil
cdef int64_t next_offer_ns(law_t *law, int32_t i, int64_t now_ns) noexcept nogil
