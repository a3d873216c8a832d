from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport NONE, fill_t, law_t

cdef enum:
    BELOW_ALL = -1      # as a remainder: before every level with the same whole part

cdef void enter(law_t *law, int32_t limit_i, int64_t level_fx) noexcept nogil
cdef void settle_top(law_t *law) noexcept nogil
cdef void drop_top(law_t *law) noexcept nogil
cdef void clear_heap(law_t *law) noexcept nogil


cdef inline bint stands_below(const fill_t *fill, int64_t level_fx) noexcept nogil:
    """True when a limit is in the heap, as low as this level or lower already."""
    return fill.place != NONE and (
        fill.level_fx < level_fx or (fill.level_fx == level_fx and fill.rest == BELOW_ALL)
    )
