"""The ring of records in shared memory, byte for byte: a header, then words."""

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef struct ring_header_t:
    int64_t magic
    int64_t layout_hash     # of the plant block
    int64_t site_hash
    int64_t born_at_ns      # with pid: which start of the scan this is
    int64_t period_ns
    int64_t n_words         # a power of two
    int32_t pid
    uint32_t writing_to     # atomic: words up to here may be half written
    uint32_t written_to     # atomic: words up to here are whole; both counted modulo 2^32
    uint32_t spare


cdef class RingWriter:
    cdef object file_map
    cdef unsigned char[::1] view
    cdef ring_header_t *header
    cdef int64_t *words

    cdef bint push(self, const int64_t *record, Py_ssize_t n) noexcept nogil
