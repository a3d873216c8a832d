"""Records as few bytes: every number as its difference to the last one of the same call and device.

Pure: words in, bytes out, and back. What comes back is checked against its bounds only: that
nothing was changed on the way is for the sum of the chunk to say. A chunk is packed by itself.

Of a record: its flags, calls, and what its counters and times moved by. Of a call: which of the
shapes so far, or 0 and a new one; the first argument where it is a plain number, as the difference
to that of the last call of this shape; the others to those of the last call of this shape and first
argument, times counted from the last step. Each number is zigzag, as many bytes as it needs. Its
length goes to one stream and its bytes to others, by their significance and by what the number is:
what is noise in one of them spoils the others for the compressor no more. Hashes and sums stand in
a stream of their own.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Realloc
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

from loadctl.flight.words cimport (
    ANSWER_INT, ANSWER_PAIRS, AT_BASE, AT_CALLS, AT_ENDED, AT_FLAGS, AT_HASH, AT_SCAN, AT_SEQUENCE,
    AT_SUM, AT_WORDS, HEADER_WORDS, MOST_ARGUMENTS, MOST_RUN, TYPE_INT, TYPE_LETTER, TYPE_NONE,
    TYPE_PAIRS, TYPE_RUN, TYPE_TIME, TYPE_TRIPLE, TYPE_TUNING, answer_of, count_of, type_of,
)

import struct

from loadctl.errors import LoadctlError

cdef enum:
    MOST_SHAPES = 4096
    MOST_INDEX = 16384      # rarer ones share a place: worse packed, not wrong

    PLAIN = 0               # classes of numbers
    TIME = 1
    READING = 2
    N_CLASSES = 3
    PER_CLASS = 9           # streams: lengths, then bytes from the lowest on
    HASHES = 27             # the last stream
    N_STREAMS = 28

LENGTHS = struct.Struct(f"<{N_STREAMS}I")


cdef struct shape_t:
    int64_t shape
    int64_t index           # of the last call
    int32_t *begins         # by index: where its row begins, plus one; 0: nowhere yet
    int32_t n_begins


@cython.final
cdef class Last:
    """The shapes so far, and what every call was told last, by shape and first argument."""

    cdef shape_t *shapes
    cdef int n_shapes
    cdef int64_t *words
    cdef int32_t n_words
    cdef int32_t room

    def __cinit__(self):
        self.shapes = <shape_t *>PyMem_Calloc(MOST_SHAPES, sizeof(shape_t))
        if self.shapes == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int k
        if self.shapes != NULL:
            for k in range(self.n_shapes):
                PyMem_Free(self.shapes[k].begins)
        PyMem_Free(self.shapes)
        PyMem_Free(self.words)

    cdef int add(self, int64_t shape) except -1:
        """Its number, from 1 on."""
        if not is_sound(shape) or self.n_shapes >= MOST_SHAPES:
            raise LoadctlError(f"record: {shape:#x} is no shape of a call")
        self.shapes[self.n_shapes].shape = shape
        self.n_shapes += 1
        return self.n_shapes

    cdef int64_t *row(self, shape_t *of, int64_t index) except NULL:
        """Zeros at first. Valid until the next row is asked for."""
        cdef int32_t place = <int32_t>index if 0 <= index < MOST_INDEX else 0
        cdef int32_t n = place + 1, n_words
        if place >= of.n_begins:
            of.begins = <int32_t *>grown(of.begins, n * sizeof(int32_t))
            memset(of.begins + of.n_begins, 0, (n - of.n_begins) * sizeof(int32_t))
            of.n_begins = n
        if of.begins[place] == 0:
            n_words = plain_words(of.shape)
            if self.n_words + n_words > self.room:
                self.room = 2 * (self.n_words + n_words) + 1024
                self.words = <int64_t *>grown(self.words, self.room * sizeof(int64_t))
            memset(self.words + self.n_words, 0, n_words * sizeof(int64_t))
            of.begins[place] = self.n_words + 1
            self.n_words += n_words
        return self.words + of.begins[place] - 1


cdef void *grown(void *memory, size_t n_bytes) except NULL:
    cdef void *moved = PyMem_Realloc(memory, n_bytes)
    if moved == NULL:
        raise MemoryError
    return moved


cdef int32_t plain_words(int64_t shape) noexcept nogil:
    """Words of arguments that are told as differences; never none."""
    cdef int64_t k, of
    cdef int32_t n = 1
    for k in range(count_of(shape)):
        of = type_of(shape, k)
        if of == TYPE_TRIPLE:
            n += 3
        elif of == TYPE_INT or of == TYPE_TIME or of == TYPE_LETTER:
            n += 1
    return n


cdef bint has_index(int64_t shape) noexcept nogil:
    return count_of(shape) > 0 and type_of(shape, 0) == TYPE_INT


cdef int class_of(int64_t type) noexcept nogil:
    return TIME if type == TYPE_TIME else READING if type == TYPE_TRIPLE else PLAIN


cdef bint is_sound(int64_t shape) noexcept nogil:
    return (
        shape >= 0 and count_of(shape) <= MOST_ARGUMENTS and answer_of(shape) <= ANSWER_PAIRS
    )


cdef int64_t minus(int64_t one, int64_t other) noexcept nogil:
    """Wraps around, as `plus` does."""
    return <int64_t>(<uint64_t>one - <uint64_t>other)


cdef int64_t plus(int64_t one, int64_t other) noexcept nogil:
    return <int64_t>(<uint64_t>one + <uint64_t>other)


@cython.final
cdef class Packer:
    """One chunk on its way into bytes."""

    cdef Last last
    cdef dict numbers       # of shapes
    cdef unsigned char *out[28]
    cdef Py_ssize_t n[28]
    cdef Py_ssize_t room[28]
    cdef const int64_t[::1] words
    cdef Py_ssize_t at      # next word
    cdef int64_t header[9]  # of the record before
    cdef int64_t period_ns

    def __cinit__(self, const int64_t[::1] words):
        self.last, self.numbers, self.words = Last(), {}, words

    def __dealloc__(self):
        cdef int k
        for k in range(N_STREAMS):
            PyMem_Free(self.out[k])

    cdef int byte(self, int stream, unsigned char value) except -1:
        if self.n[stream] == self.room[stream]:
            self.room[stream] = 2 * self.room[stream] + 256
            self.out[stream] = <unsigned char *>grown(self.out[stream], self.room[stream])
        self.out[stream][self.n[stream]] = value
        self.n[stream] += 1
        return 0

    cdef int put(self, int64_t value, int of=PLAIN) except -1:
        cdef uint64_t rest = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
        cdef int length = 0, stream = of * PER_CLASS
        while rest:
            length += 1
            self.byte(stream + length, rest & 255)
            rest >>= 8
        return self.byte(stream, length)

    cdef int64_t next(self) except? -1:
        if self.at >= self.words.shape[0]:
            raise LoadctlError("record: ends within a call")
        self.at += 1
        return self.words[self.at - 1]

    cdef int record(self) except -1:
        cdef const int64_t *h
        cdef int64_t base_ns
        cdef int k
        if self.at + HEADER_WORDS > self.words.shape[0]:
            raise LoadctlError("record: ends within its header")
        h = &self.words[self.at]
        base_ns = h[AT_BASE]
        for k in range(8):
            self.byte(HASHES, (<const unsigned char *>&h[AT_HASH])[k])
        for k in range(8):
            self.byte(HASHES, (<const unsigned char *>&h[AT_SUM])[k])
        self.put(h[AT_FLAGS])
        self.put(h[AT_CALLS])
        self.put(minus(h[AT_SEQUENCE], self.header[AT_SEQUENCE]))
        self.put(minus(h[AT_SCAN], self.header[AT_SCAN]))
        self.put(minus(minus(base_ns, self.header[AT_BASE]), self.period_ns), TIME)
        self.put(minus(minus(h[AT_ENDED], base_ns),
                       minus(self.header[AT_ENDED], self.header[AT_BASE])), TIME)
        self.period_ns = minus(base_ns, self.header[AT_BASE])
        memcpy(self.header, h, sizeof(self.header))
        self.at += HEADER_WORDS
        for _ in range(h[AT_CALLS]):
            self.call(base_ns)
        return 0

    cdef int call(self, int64_t base_ns) except -1:
        cdef int64_t shape = self.next(), index = 0, word, k, of, n
        cdef int64_t *row
        cdef shape_t *known
        number = self.numbers.get(shape)
        if number is None:
            self.numbers[shape] = number = self.last.add(shape)
            self.put(0)
            self.put(shape)
        else:
            self.put(number)
        known = &self.last.shapes[<int>number - 1]
        if has_index(shape):
            index = self.next()
            self.put(minus(index, known.index))
            known.index = index
        row = self.last.row(known, index)
        for k in range(has_index(shape), count_of(shape)):
            of = type_of(shape, k)
            if of == TYPE_RUN or of == TYPE_TUNING:
                self.run(MOST_RUN, 1)
                continue
            if of == TYPE_PAIRS:
                self.run(self.words.shape[0], 2)
                continue
            n = 0 if of == TYPE_NONE else 3 if of == TYPE_TRIPLE else 1
            for _ in range(n):
                word = self.next()
                if of == TYPE_TIME:
                    word = minus(word, base_ns)
                self.put(minus(word, row[0]), class_of(of))
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
    """Whole records as bytes, for a compressor."""
    packer = Packer(words)
    while packer.at < words.shape[0]:
        packer.record()
    streams = [(<char *>packer.out[k])[:packer.n[k]] for k in range(N_STREAMS)]
    return LENGTHS.pack(*[len(stream) for stream in streams]) + b"".join(streams)


@cython.final
cdef class Unpacker:
    """One chunk on its way back. Reads no byte and writes no word outside of its bounds."""

    cdef Last last
    cdef const unsigned char[::1] data
    cdef Py_ssize_t n[28]   # next byte of each stream
    cdef Py_ssize_t end[28]
    cdef int64_t[::1] words
    cdef Py_ssize_t at      # next word
    cdef int64_t header[9]
    cdef int64_t period_ns

    def __cinit__(self, const unsigned char[::1] data, int64_t[::1] words):
        cdef int k
        cdef Py_ssize_t begin = LENGTHS.size
        self.last, self.data, self.words = Last(), data, words
        if data.shape[0] < begin:
            raise LoadctlError(f"record: {data.shape[0]} bytes hold none")
        for k, length in enumerate(LENGTHS.unpack(data[:begin])):
            self.n[k] = begin
            begin = self.end[k] = begin + length
        if begin != data.shape[0]:
            raise LoadctlError(f"record: {data.shape[0]} bytes, its streams have {begin}")

    cdef int fail(self) except -1:
        raise LoadctlError("record: its bytes end within a number")

    cdef int64_t next(self, int of=PLAIN) except? -1:
        cdef uint64_t value = 0
        cdef int k, length, stream = of * PER_CLASS
        if self.n[stream] == self.end[stream]:
            self.fail()
        length = self.data[self.n[stream]]
        self.n[stream] += 1
        if length > 8:
            self.fail()
        for k in range(length):
            stream += 1
            if self.n[stream] == self.end[stream]:
                self.fail()
            value |= <uint64_t>self.data[self.n[stream]] << (8 * k)
            self.n[stream] += 1
        return <int64_t>((value >> 1) ^ (~(value & 1) + 1))

    cdef int64_t next_hash(self) except? -1:
        cdef int64_t value
        if self.n[HASHES] + 8 > self.end[HASHES]:
            self.fail()
        memcpy(&value, &self.data[self.n[HASHES]], 8)
        self.n[HASHES] += 8
        return value

    cdef int put(self, int64_t word) except -1:
        if self.at >= self.words.shape[0]:
            raise LoadctlError(f"record: more than {self.words.shape[0]} words")
        self.words[self.at] = word
        self.at += 1
        return 0

    cdef int record(self) except -1:
        cdef Py_ssize_t begin = self.at
        cdef int64_t h[9]
        cdef int64_t k
        h[AT_HASH], h[AT_SUM] = self.next_hash(), self.next_hash()
        h[AT_FLAGS], h[AT_CALLS] = self.next(), self.next()
        h[AT_SEQUENCE] = plus(self.header[AT_SEQUENCE], self.next())
        h[AT_SCAN] = plus(self.header[AT_SCAN], self.next())
        h[AT_BASE] = plus(plus(self.header[AT_BASE], self.period_ns), self.next(TIME))
        h[AT_ENDED] = plus(
            plus(h[AT_BASE], minus(self.header[AT_ENDED], self.header[AT_BASE])), self.next(TIME)
        )
        self.period_ns = minus(h[AT_BASE], self.header[AT_BASE])
        h[AT_WORDS] = 0
        memcpy(self.header, h, sizeof(h))
        for k in range(HEADER_WORDS):
            self.put(h[k])
        for _ in range(h[AT_CALLS]):
            self.call(h[AT_BASE])
        self.words[begin + AT_WORDS] = self.at - begin
        return 0

    cdef int call(self, int64_t base_ns) except -1:
        cdef int64_t number = self.next(), shape, index = 0, word, k, of, n
        cdef int64_t *row
        cdef shape_t *known
        if number == 0:
            number = self.last.add(self.next())
        elif not 0 < number <= self.last.n_shapes:
            raise LoadctlError(f"record: shape {number} of {self.last.n_shapes}")
        known = &self.last.shapes[number - 1]
        shape = known.shape
        self.put(shape)
        if has_index(shape):
            index = known.index = plus(known.index, self.next())
            self.put(index)
        row = self.last.row(known, index)
        for k in range(has_index(shape), count_of(shape)):
            of = type_of(shape, k)
            if of == TYPE_RUN or of == TYPE_TUNING:
                self.run(MOST_RUN, 1)
                continue
            if of == TYPE_PAIRS:
                self.run(self.words.shape[0], 2)
                continue
            n = 0 if of == TYPE_NONE else 3 if of == TYPE_TRIPLE else 1
            for _ in range(n):
                word = row[0] = plus(row[0], self.next(class_of(of)))
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


def unpack(const unsigned char[::1] data, Py_ssize_t n_words):
    """The words of all records; LoadctlError where that is not what the bytes hold."""
    cdef int k
    words = bytearray(8 * n_words)
    cdef int64_t[::1] view = memoryview(words).cast("q")
    unpacker = Unpacker(data, view)
    while unpacker.n[HASHES] < unpacker.end[HASHES]:
        unpacker.record()
    if unpacker.at != n_words:
        raise LoadctlError(f"record: {unpacker.at} words, its chunk says {n_words}")
    for k in range(N_STREAMS):
        if unpacker.n[k] != unpacker.end[k]:
            raise LoadctlError("record: more bytes than its calls have")
    return words
