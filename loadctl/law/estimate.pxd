from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport law_t

cdef enum Source:
    SOURCE_STATIC = 0       # declared, always
    SOURCE_METER = 1        # read in this scan
    SOURCE_STALE = 2        # its meter has been bad for too long: declared
    SOURCE_HELD = 3         # not read in this scan, not stale yet: as it was
    SOURCE_WAITING = 4      # dynamic and never read yet

cdef void estimate(law_t *law, int64_t now_ns) noexcept nogil
cdef void estimate_rigorous(law_t *law) noexcept nogil
cdef void estimate_settled(law_t *law) noexcept nogil
cdef int32_t background_mA(law_t *law, int32_t c, int32_t p, int64_t draw_mA) noexcept nogil
cdef int64_t measured_mA(law_t *law, int32_t c, int32_t p) noexcept nogil
cdef int64_t longest_hold_ns(law_t *law) noexcept nogil
