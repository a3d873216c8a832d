"""The ring of records in shared memory: one writer that never waits, readers that notice.

Owns the bytes of the file `flight`. `RingWriter` belongs to the scan's main thread. A record counts
once the counter behind it is stored with release order, so that nobody reads half of one; what a
reader copied while it was written over is thrown away and said. Neither side waits for the other.
"""

cimport cython
import hashlib
import mmap
import os

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from loadctl.atomic cimport fence, load_acquire, store_release

from loadctl.errors import LoadctlError
from loadctl.image import SIZES, layout

cdef int64_t MAGIC = 0x3174686769_6C66     # "flight1"
PLANT = ("site", "circuit", "meter", "charger")


cdef int64_t hash_plant_layout():
    """Names, order, places and widths of all fields of the plant block, and of nothing else."""
    structs = layout()
    parts = [(name, structs[name], SIZES[name]) for name in PLANT]
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


PLANT_LAYOUT_HASH = hash_plant_layout()


@cython.final
cdef class RingWriter:
    """The scan's side. `n_words` is a power of two and larger than any record."""

    def __init__(self, path, int64_t n_words, int64_t site_hash, int64_t born_at_ns,
                 int64_t period_ns):
        """Build the file beside its place and move it there: readers of an older one keep that."""
        if n_words < 64 or n_words & (n_words - 1):
            raise LoadctlError(f"{path}: {n_words} words are no power of two from 64 on")
        new = os.fspath(path) + ".new"
        n_bytes = sizeof(ring_header_t) + 8 * n_words
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, n_bytes)  # a full disk is an error now, not a SIGBUS later
            self.file_map = mmap.mmap(fd, n_bytes)
        finally:
            os.close(fd)
        self.view = self.file_map
        self.header = <ring_header_t *>&self.view[0]
        self.words = <int64_t *>(self.header + 1)
        self.header.magic = MAGIC
        self.header.layout_hash = PLANT_LAYOUT_HASH
        self.header.site_hash = site_hash
        self.header.born_at_ns = born_at_ns
        self.header.period_ns = period_ns
        self.header.n_words = n_words
        self.header.pid = os.getpid()
        os.replace(new, path)

    cdef bint push(self, const int64_t *record, Py_ssize_t n) noexcept nogil:
        """Append a whole record; False where it is longer than the ring."""
        # Only this thread stores the counters, so their plain values are known here.
        cdef uint32_t begin = self.header.written_to, end = begin + <uint32_t>n
        cdef int64_t at = begin & (self.header.n_words - 1)
        cdef int64_t first = min(<int64_t>n, self.header.n_words - at)
        if n > self.header.n_words:
            return False
        store_release(&self.header.writing_to, end)
        # Whoever sees a word of this record also sees that it is being written.
        fence()
        memcpy(self.words + at, record, first * 8)
        memcpy(self.words, record + first, (n - first) * 8)
        store_release(&self.header.written_to, end)
        return True

    def push_words(self, const int64_t[::1] record):
        """`push` for whoever has its words in Python."""
        return self.push(&record[0], record.shape[0])


@cython.final
cdef class RingReader:
    """Everybody else's side: reads every record once, or learns that some were written over."""

    cdef object file_map
    cdef const unsigned char[::1] view
    cdef ring_header_t *header
    cdef const int64_t *words
    cdef readonly uint32_t position     # words read so far, modulo 2^32
    cdef readonly object path

    def __init__(self, path):
        self.path = os.fspath(path)
        with open(self.path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes < <int64_t>sizeof(ring_header_t):
                raise LoadctlError(f"{self.path}: {n_bytes} bytes are no flight ring")
            self.file_map = mmap.mmap(file.fileno(), n_bytes, prot=mmap.PROT_READ)
        self.view = self.file_map
        self.header = <ring_header_t *>&self.view[0]
        self.words = <const int64_t *>(self.header + 1)
        if self.header.magic != MAGIC:
            raise LoadctlError(f"{self.path}: no flight ring of loadctl")
        if n_bytes != <int64_t>sizeof(ring_header_t) + 8 * self.header.n_words:
            raise LoadctlError(f"{self.path}: {n_bytes} bytes, its header says otherwise")

    @property
    def layout_hash(self):
        return self.header.layout_hash

    @property
    def site_hash(self):
        return self.header.site_hash

    @property
    def born(self):
        """Which start of the scan this is: (pid, born_at_ns)."""
        return self.header.pid, self.header.born_at_ns

    @property
    def period_ns(self):
        return self.header.period_ns

    def from_first(self):
        """Go to the first record that there ever was; False where it was written over."""
        self.position = 0
        return load_acquire(&self.header.writing_to) <= self.header.n_words

    def from_newest(self):
        """Go behind the newest record."""
        self.position = load_acquire(&self.header.written_to)

    def go_on_from(self, uint32_t position):
        """Go where an earlier reader was; whoever was away too long finds out when reading."""
        self.position = position

    def read(self):
        """The words of all records since the last read; None where some were written over, and the
        next read begins with what comes then."""
        cdef uint32_t end = load_acquire(&self.header.written_to)
        cdef uint32_t n = end - self.position
        cdef int64_t at = self.position & (self.header.n_words - 1)
        cdef int64_t first
        if n > self.header.n_words:
            self.position = end
            return None
        found = bytearray(8 * <int64_t>n)
        cdef unsigned char[::1] into = found
        first = min(<int64_t>n, self.header.n_words - at)
        if n:
            memcpy(&into[0], self.words + at, first * 8)
            if n > first:
                memcpy(&into[first * 8], self.words, (n - first) * 8)
        fence()
        if load_acquire(&self.header.writing_to) - self.position > <uint32_t>self.header.n_words:
            self.position = end
            return None
        self.position = end
        return found
