"""Sort: a stable merge sort of numbers by their keys, in memory that is given.

The sort of the C library may allocate, and says nothing of equal keys.
"""

from libc.stdint cimport int32_t, int64_t


cdef void sort_by_key(
    int32_t *ids, int32_t n, const int64_t *keys, int32_t *spare
) noexcept nogil:
    """Sort ids by `keys[id]`, equal ones in the order they come in; `spare` is as long as ids."""
    cdef int32_t *source = ids
    cdef int32_t *target = spare
    cdef int32_t *other
    cdef int32_t k, width = 1
    while width < n:
        k = 0
        while k < n:
            merge(source, target, k, min(k + width, n), min(k + 2 * width, n), keys)
            k += 2 * width
        other = source
        source = target
        target = other
        width *= 2
    if source != ids:
        for k in range(n):
            ids[k] = source[k]


cdef void merge(
    const int32_t *source, int32_t *target, int32_t first, int32_t middle, int32_t end,
    const int64_t *keys,
) noexcept nogil:
    """Merge two sorted parts, [first, middle) and [middle, end), into the same place of target."""
    cdef int32_t left = first, right = middle, k
    for k in range(first, end):
        if right >= end or (left < middle and keys[source[left]] <= keys[source[right]]):
            target[k] = source[left]
            left += 1
        else:
            target[k] = source[right]
            right += 1
