"""Records as few bytes: every number as its difference to the last one of the same call and device.

Pure: words in, bytes out, and back. What comes back is checked against its bounds only: that
nothing was changed on the way is for the sum of the chunk to say. A chunk is packed by itself.

Numbers are zigzag varints. Of a record: its flags, calls, and what its counters and times moved by.
Of a call: which of the shapes so far, or 0 and a new one; the first argument where it is a plain
number, as the difference to that of the last call of this shape; the others to those of the
last call of this shape and first argument, times counted from the last step. Hashes and sums
do not compress and stand apart.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from loadctl.flight.words cimport (
    ANSWER_INT, ANSWER_PAIRS, AT_BASE, AT_CALLS, AT_ENDED, AT_FLAGS, AT_HASH, AT_SCAN, AT_SEQUENCE,
    AT_SUM, AT_WORDS, HEADER_WORDS, MOST_ARGUMENTS, MOST_RUN, TYPE_INT, TYPE_LETTER, TYPE_NONE,
    TYPE_RUN, TYPE_TIME, TYPE_TRIPLE, TYPE_TUNING, answer_of, count_of, type_of,
)

import struct

from loadctl.errors import LoadctlError

cdef enum:
    MOST_VARINT = 10
    MOST_SHAPES = 4096
    INDEX_BITS = 44


@cython.final
cdef class Last:
    """What every call was told last, by shape and first argument."""

    cdef dict begins        # key -> where its words begin
    cdef int64_t *words
    cdef Py_ssize_t n
    cdef Py_ssize_t room

    def __cinit__(self):
        self.begins = {}
        self.room = 4096
        self.words = <int64_t *>PyMem_Malloc(self.room * 8)
        if self.words == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.words)

    cdef int64_t *row(self, int64_t shape_i, int64_t index, int64_t n_words) except NULL:
        """Zeros at first. Valid until the next row is asked for."""
        key = shape_i << INDEX_BITS | (index & ((<int64_t>1 << INDEX_BITS) - 1))
        begin = self.begins.get(key)
        cdef Py_ssize_t at
        cdef int64_t *moved
        if begin is None:
            at = self.n
            if at + n_words > self.room:
                self.room = 2 * (at + n_words)
                moved = <int64_t *>PyMem_Realloc(self.words, self.room * 8)
                if moved == NULL:
                    raise MemoryError
                self.words = moved
            memset(self.words + at, 0, n_words * 8)
            self.begins[key] = at
            self.n += n_words
        else:
            at = begin
        return self.words + at


cdef int64_t plain_words(int64_t shape) noexcept nogil:
    """Words of arguments that are told as differences."""
    cdef int64_t k, of, n = 0
    for k in range(count_of(shape)):
        of = type_of(shape, k)
        if of == TYPE_TRIPLE:
            n += 3
        elif of == TYPE_INT or of == TYPE_TIME or of == TYPE_LETTER:
            n += 1
    return n + 1    # never none


cdef bint has_index(int64_t shape) noexcept nogil:
    return count_of(shape) > 0 and type_of(shape, 0) == TYPE_INT


cdef bint is_sound(int64_t shape) noexcept nogil:
    cdef int64_t k
    if count_of(shape) > MOST_ARGUMENTS or answer_of(shape) > ANSWER_PAIRS:
        return False
    for k in range(count_of(shape)):
        if type_of(shape, k) > TYPE_TUNING:
            return False
    return True


cdef int64_t minus(int64_t one, int64_t other) noexcept nogil:
    """Wraps around, as `plus` does."""
    return <int64_t>(<uint64_t>one - <uint64_t>other)


cdef int64_t plus(int64_t one, int64_t other) noexcept nogil:
    return <int64_t>(<uint64_t>one + <uint64_t>other)


@cython.final
cdef class Packer:
    """One chunk on its way into bytes."""

    cdef Last last
    cdef dict shapes        # shape -> number from 1 on
    cdef unsigned char *out
    cdef Py_ssize_t n
    cdef const int64_t[::1] words
    cdef Py_ssize_t at      # next word
    cdef int64_t header[9]  # of the record before
    cdef int64_t period_ns

    def __cinit__(self, const int64_t[::1] words):
        self.last, self.shapes, self.words = Last(), {}, words
        # A new shape is told in a byte and a varint, everything else in a varint a word.
        self.out = <unsigned char *>PyMem_Malloc((MOST_VARINT + 1) * (words.shape[0] + 1))
        if self.out == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.out)

    cdef void put(self, int64_t value) noexcept nogil:
        cdef uint64_t rest = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
        while rest >= 128:
            self.out[self.n] = <unsigned char>(rest & 127 | 128)
            rest >>= 7
            self.n += 1
        self.out[self.n] = <unsigned char>rest
        self.n += 1

    cdef int64_t next(self) except? -1:
        if self.at >= self.words.shape[0]:
            raise LoadctlError("record: ends within a call")
        self.at += 1
        return self.words[self.at - 1]

    cdef int record(self, bytearray hashes) except -1:
        cdef const int64_t *h
        cdef int64_t base_ns
        if self.at + HEADER_WORDS > self.words.shape[0]:
            raise LoadctlError("record: ends within its header")
        h = &self.words[self.at]
        base_ns = h[AT_BASE]
        hashes += (<const unsigned char *>&h[AT_HASH])[:8]
        hashes += (<const unsigned char *>&h[AT_SUM])[:8]
        self.put(h[AT_FLAGS])
        self.put(h[AT_CALLS])
        self.put(minus(h[AT_SEQUENCE], self.header[AT_SEQUENCE]))
        self.put(minus(h[AT_SCAN], self.header[AT_SCAN]))
        self.put(minus(minus(base_ns, self.header[AT_BASE]), self.period_ns))
        self.put(minus(minus(h[AT_ENDED], base_ns),
                       minus(self.header[AT_ENDED], self.header[AT_BASE])))
        self.period_ns = minus(base_ns, self.header[AT_BASE])
        memcpy(self.header, h, sizeof(self.header))
        self.at += HEADER_WORDS
        for _ in range(h[AT_CALLS]):
            self.call(base_ns)
        return 0

    cdef int call(self, int64_t base_ns) except -1:
        cdef int64_t shape = self.next(), shape_i, index = 0, word, k, of, n
        cdef int64_t *row
        known = self.shapes.get(shape)
        if known is None:
            if not is_sound(shape) or len(self.shapes) >= MOST_SHAPES:
                raise LoadctlError(f"record: {shape:#x} is no shape of a call")
            self.shapes[shape] = shape_i = len(self.shapes) + 1
            self.put(0)
            self.put(shape)
        else:
            shape_i = known
            self.put(shape_i)
        if has_index(shape):
            index = self.next()
            row = self.last.row(0, shape_i, 1)
            self.put(minus(index, row[0]))
            row[0] = index
        row = self.last.row(shape_i, index, plain_words(shape))
        for k in range(has_index(shape), count_of(shape)):
            of = type_of(shape, k)
            if of == TYPE_RUN or of == TYPE_TUNING:
                self.run(MOST_RUN, 1)
                continue
            n = 0 if of == TYPE_NONE else 3 if of == TYPE_TRIPLE else 1
            for _ in range(n):
                word = self.next()
                if of == TYPE_TIME:
                    word = minus(word, base_ns)
                self.put(minus(word, row[0]))
                row[0] = word
                row += 1
        if answer_of(shape) == ANSWER_INT:
            self.put(self.next())
        elif answer_of(shape) == ANSWER_PAIRS:
            self.run(self.words.shape[0], 2)
        return 0

    cdef int run(self, int64_t most, int64_t of) except -1:
        cdef int64_t n = self.next()
        if not 0 <= n <= most:
            raise LoadctlError(f"record: a run of {n}, at most {most}")
        self.put(n)
        for _ in range(of * n):
            self.put(self.next())
        return 0


def pack(const int64_t[::1] words):
    """Whole records in; their numbers and their hashes out."""
    packer = Packer(words)
    hashes = bytearray()
    while packer.at < words.shape[0]:
        packer.record(hashes)
    return (<char *>packer.out)[:packer.n], bytes(hashes)


@cython.final
cdef class Unpacker:
    """One chunk on its way back. Reads no byte and writes no word outside of its bounds."""

    cdef Last last
    cdef list shapes
    cdef const unsigned char[::1] data
    cdef Py_ssize_t n       # next byte
    cdef int64_t[::1] words
    cdef Py_ssize_t at      # next word
    cdef int64_t header[9]
    cdef int64_t period_ns

    def __cinit__(self, const unsigned char[::1] data, int64_t[::1] words):
        self.last, self.shapes, self.data, self.words = Last(), [], data, words

    cdef int64_t next(self) except? -1:
        cdef uint64_t value = 0
        cdef int shift = 0
        cdef unsigned char byte = 128
        while byte & 128:
            if self.n >= self.data.shape[0] or shift > 63:
                raise LoadctlError("record: its bytes end within a number")
            byte = self.data[self.n]
            value |= <uint64_t>(byte & 127) << shift
            shift += 7
            self.n += 1
        return <int64_t>((value >> 1) ^ (~(value & 1) + 1))

    cdef int put(self, int64_t word) except -1:
        if self.at >= self.words.shape[0]:
            raise LoadctlError(f"record: more than {self.words.shape[0]} words")
        self.words[self.at] = word
        self.at += 1
        return 0

    cdef int record(self, int64_t hash, int64_t sum) except -1:
        cdef Py_ssize_t begin = self.at
        cdef int64_t h[9]
        cdef int64_t k
        h[AT_HASH], h[AT_SUM] = hash, sum
        h[AT_FLAGS], h[AT_CALLS] = self.next(), self.next()
        h[AT_SEQUENCE] = plus(self.header[AT_SEQUENCE], self.next())
        h[AT_SCAN] = plus(self.header[AT_SCAN], self.next())
        h[AT_BASE] = plus(plus(self.header[AT_BASE], self.period_ns), self.next())
        h[AT_ENDED] = plus(
            plus(h[AT_BASE], minus(self.header[AT_ENDED], self.header[AT_BASE])), self.next()
        )
        self.period_ns = minus(h[AT_BASE], self.header[AT_BASE])
        memcpy(self.header, h, sizeof(h))
        h[AT_WORDS] = 0
        for k in range(HEADER_WORDS):
            self.put(h[k])
        for _ in range(h[AT_CALLS]):
            self.call(h[AT_BASE])
        self.words[begin + AT_WORDS] = self.at - begin
        return 0

    cdef int call(self, int64_t base_ns) except -1:
        cdef int64_t shape_i = self.next(), shape, index = 0, word, k, of, n
        cdef int64_t *row
        if shape_i == 0:
            shape = self.next()
            if not is_sound(shape) or len(self.shapes) >= MOST_SHAPES:
                raise LoadctlError(f"record: {shape:#x} is no shape of a call")
            self.shapes.append(shape)
            shape_i = len(self.shapes)
        elif not 0 < shape_i <= len(self.shapes):
            raise LoadctlError(f"record: shape {shape_i} of {len(self.shapes)}")
        shape = self.shapes[shape_i - 1]
        self.put(shape)
        if has_index(shape):
            row = self.last.row(0, shape_i, 1)
            index = row[0] = plus(row[0], self.next())
            self.put(index)
        row = self.last.row(shape_i, index, plain_words(shape))
        for k in range(has_index(shape), count_of(shape)):
            of = type_of(shape, k)
            if of == TYPE_RUN or of == TYPE_TUNING:
                self.run(MOST_RUN, 1)
                continue
            n = 0 if of == TYPE_NONE else 3 if of == TYPE_TRIPLE else 1
            for _ in range(n):
                word = row[0] = plus(row[0], self.next())
                row += 1
                self.put(plus(word, base_ns) if of == TYPE_TIME else word)
        if answer_of(shape) == ANSWER_INT:
            self.put(self.next())
        elif answer_of(shape) == ANSWER_PAIRS:
            self.run(self.words.shape[0], 2)
        return 0

    cdef int run(self, int64_t most, int64_t of) except -1:
        cdef int64_t n = self.next()
        if not 0 <= n <= most:
            raise LoadctlError(f"record: a run of {n}, at most {most}")
        self.put(n)
        for _ in range(of * n):
            self.put(self.next())
        return 0


def unpack(const unsigned char[::1] data, bytes hashes, Py_ssize_t n_words):
    """The words of all records; LoadctlError where that is not what the bytes hold."""
    words = bytearray(8 * n_words)
    cdef int64_t[::1] view = memoryview(words).cast("q")
    unpacker = Unpacker(data, view)
    for hash, sum in struct.iter_unpack("<qq", hashes):
        unpacker.record(hash, sum)
    if unpacker.n != data.shape[0] or unpacker.at != n_words:
        raise LoadctlError(f"record: {unpacker.at} words, its chunk says {n_words}")
    return words
