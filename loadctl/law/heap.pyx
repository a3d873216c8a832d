"""Heap: limits by the level at which they are full, lowest first; equal ones in file order.

A limit may stand at a level below its own: then it is marked stale, and whoever finds it on top
works its level out and lets it settle. So an event costs a mark per limit that it touches, and
a division only where that limit is next. Holds no memory of its own.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.tables cimport NONE, fill_t, law_t, slot_t

cdef void enter(law_t *law, int32_t limit_i, int64_t level_fx) noexcept nogil:
    """Put a limit in, or move it down to this level; it is stale from then on."""
    cdef fill_t *fill = &law.fills[limit_i]
    fill.is_stale = True
    if stands_below(fill, level_fx):
        return
    if fill.place == NONE:
        fill.place = law.n_heap
        law.n_heap += 1
    fill.level_fx = level_fx
    fill.rest = BELOW_ALL
    fill.rest_of = 1
    law.heap[fill.place].limit_i = limit_i
    law.heap[fill.place].level_fx = level_fx
    rise(law, fill.place)


cdef void settle_top(law_t *law) noexcept nogil:
    """Take over the level that was worked out for the limit on top."""
    law.heap[0].level_fx = law.fills[law.heap[0].limit_i].level_fx
    sink(law, 0)


cdef void drop_top(law_t *law) noexcept nogil:
    law.fills[law.heap[0].limit_i].place = NONE
    law.n_heap -= 1
    if law.n_heap > 0:
        law.heap[0] = law.heap[law.n_heap]
        sink(law, 0)


cdef void clear_heap(law_t *law) noexcept nogil:
    cdef int32_t k
    for k in range(law.n_heap):
        law.fills[law.heap[k].limit_i].place = NONE
    law.n_heap = 0


cdef void rise(law_t *law, int32_t place) noexcept nogil:
    cdef slot_t slot = law.heap[place]
    cdef int32_t above
    while place > 0:
        above = (place - 1) // 2
        if not is_before(law, &slot, &law.heap[above]):
            break
        put(law, place, &law.heap[above])
        place = above
    put(law, place, &slot)


cdef void sink(law_t *law, int32_t place) noexcept nogil:
    cdef slot_t slot = law.heap[place]
    cdef int32_t below = 2 * place + 1
    while below < law.n_heap:
        if below + 1 < law.n_heap and is_before(law, &law.heap[below + 1], &law.heap[below]):
            below += 1
        if not is_before(law, &law.heap[below], &slot):
            break
        put(law, place, &law.heap[below])
        place = below
        below = 2 * place + 1
    put(law, place, &slot)


cdef void put(law_t *law, int32_t place, const slot_t *slot) noexcept nogil:
    law.heap[place] = slot[0]
    law.fills[slot.limit_i].place = place


cdef bint is_before(law_t *law, const slot_t *slot, const slot_t *other) noexcept nogil:
    """Compare levels as exact fractions; file order among equals."""
    cdef fill_t *fill = &law.fills[slot.limit_i]
    cdef fill_t *other_fill = &law.fills[other.limit_i]
    cdef int64_t left, right
    if slot.level_fx != other.level_fx:
        return slot.level_fx < other.level_fx
    left = <int64_t>fill.rest * other_fill.rest_of
    right = <int64_t>other_fill.rest * fill.rest_of
    if left != right:
        return left < right
    return slot.limit_i < other.limit_i
