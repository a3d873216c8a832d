from libc.stdint cimport int32_t, int64_t

cdef void sort_by_key(
    int32_t *ids, int32_t n, const int64_t *keys, int32_t *spare
) noexcept nogil
