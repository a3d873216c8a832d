"""The tape: stands in front of the core, and notes every call that changes something.

Owns the record of the scan that is under way, in a buffer that is made once. `cut` ends it, at the
instant when the plant block is published, and pushes it into the ring: one record a scan, which
leads from one published plant block to the next. Decides nothing, never waits, makes no system
call. Runs in the scan's main thread, as every call of the core.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from loadctl.flight.ring cimport RingWriter
from loadctl.flight.words cimport (
    ANSWER_BIT, ANSWER_INT, ANSWER_PAIRS, AT_BASE, AT_CALLS, AT_ENDED, AT_FLAGS, AT_HASH, AT_SCAN,
    AT_SEQUENCE, AT_SUM, AT_WORDS, FLAG_UNFIT, HEADER_WORDS, MOST_ARGUMENTS, RAISED_BIT, TYPE_INT,
    TYPE_LETTER, TYPE_NONE, TYPE_PAIRS, TYPE_RUN, TYPE_TIME, TYPE_TRIPLE, TYPE_TUNING, hash_words,
)
from loadctl.law.layout cimport site_t

import dataclasses

from loadctl.control import MOST_PEERS, MOST_RECORDS_PER_SCAN, MOST_STAGED
from loadctl.flight.calls import CALLS
from loadctl.tables import Tuning

cdef enum:
    # A monotonic time in ns is larger from 18 minutes after boot on, and nothing else is.
    TIME_FROM_BIT = 40

RECENT_s = 300          # what the ring holds at least, at the usual length of a record
MOST_RING_WORDS = 1 << 21
NS_PER_S = 1_000_000_000
COMMAND_WORDS = 2 * MOST_PEERS * MOST_STAGED + 12 * MOST_RECORDS_PER_SCAN


def hash_block(const unsigned char[::1] block):
    """The hash that records carry, of a plant block."""
    return <int64_t>hash_words(<const uint64_t *>&block[0], block.shape[0] // 8)


def most_words(tables):
    """More than the longest record of a site: every device read twice, written twice, refused; all
    of it tuned anew, and as many commands as a scan takes in."""
    return (
        HEADER_WORDS + 128 + COMMAND_WORDS + 80 * len(tables.chargers) + 32 * len(tables.meters)
        + 48 * len(tables.circuits)
    )


def ring_words(tables):
    """The size of the ring: some minutes, and never less than a few records."""
    usual = 64 + 8 * len(tables.chargers) + 16 * len(tables.meters)
    wanted = usual * max(1, RECENT_s * NS_PER_S // tables.site.period_ns)
    least = 4 * most_words(tables)
    n_words = 64
    while n_words < least or n_words < min(wanted, MOST_RING_WORDS):
        n_words *= 2
    return n_words


@cython.final
cdef class Recorder:
    """The buffer of one record. What does not fit makes the whole record unfit."""

    cdef RingWriter ring
    cdef object buffer
    cdef object plant       # keeps the block alive
    cdef int64_t[::1] view
    cdef int64_t *words
    cdef const unsigned char[::1] block
    cdef Py_ssize_t n
    cdef Py_ssize_t most
    cdef int64_t n_calls
    cdef int64_t sequence
    cdef bint is_unfit

    def __init__(self, RingWriter ring, Py_ssize_t most):
        self.ring, self.most = ring, most
        self.buffer = bytearray(8 * most)
        self.view = memoryview(self.buffer).cast("q")
        self.words = &self.view[0]
        self.n = HEADER_WORDS

    def watch(self, plant):
        """From here on the hash is of this block."""
        self.plant, self.block = plant, plant

    cdef void put(self, int64_t word) noexcept:
        if self.n < self.most:
            self.words[self.n] = word
            self.n += 1
        else:
            self.is_unfit = True

    cdef int note(self, int64_t kind, tuple arguments, object said, bint raised) except -1:
        cdef Py_ssize_t at = self.n, k
        cdef int64_t shape = kind | <int64_t>len(arguments) << 8 | <int64_t>raised << RAISED_BIT
        if len(arguments) > MOST_ARGUMENTS:
            raise ValueError(f"call {kind}: {len(arguments)} arguments, at most {MOST_ARGUMENTS}")
        self.put(0)
        for k in range(len(arguments)):
            shape |= self.argument(arguments[k]) << (12 + 3 * k)
        if isinstance(said, list):
            shape |= <int64_t>ANSWER_PAIRS << ANSWER_BIT
            self.pairs(<list>said)
        elif said is not None:
            shape |= <int64_t>ANSWER_INT << ANSWER_BIT
            self.put(said)
        if not self.is_unfit:
            self.words[at] = shape
            self.n_calls += 1
        return 0

    cdef int64_t argument(self, object value) except -1:
        """Put it; the Type that it is of."""
        cdef int64_t word
        if value is None:
            return TYPE_NONE
        if isinstance(value, int):
            word = value
            self.put(word)
            return TYPE_TIME if word >> TIME_FROM_BIT > 0 else TYPE_INT
        if isinstance(value, tuple):
            return self.run(<tuple>value)
        if isinstance(value, list):
            self.pairs(<list>value)
            return TYPE_PAIRS
        if isinstance(value, str):
            self.put(ord(value))
            return TYPE_LETTER
        if isinstance(value, Tuning):
            self.run(dataclasses.astuple(value))
            return TYPE_TUNING
        raise TypeError(f"{value!r}: the tape holds no argument of this kind")

    cdef int pairs(self, list values) except -1:
        self.put(len(values))
        for first, second in values:
            self.put(first)
            self.put(second)
        return 0

    cdef int64_t run(self, tuple values) except -1:
        cdef bint is_triple = len(values) == 3
        if not is_triple:
            self.put(len(values))
        for value in values:
            self.put(value)
        return TYPE_TRIPLE if is_triple else TYPE_RUN

    def cut(self, int64_t ended_at_ns):
        """End the record here and begin the next."""
        cdef const site_t *site = <const site_t *>&self.block[0]
        cdef int64_t *words = self.words
        cdef Py_ssize_t n = HEADER_WORDS if self.is_unfit else self.n
        words[AT_WORDS] = n
        words[AT_SEQUENCE] = self.sequence
        words[AT_SCAN] = site.scan_i
        words[AT_BASE] = site.now_ns
        words[AT_ENDED] = ended_at_ns
        words[AT_FLAGS] = FLAG_UNFIT if self.is_unfit else 0
        words[AT_CALLS] = 0 if self.is_unfit else self.n_calls
        with nogil:
            words[AT_HASH] = <int64_t>hash_words(
                <const uint64_t *>&self.block[0], self.block.shape[0] // 8
            )
            words[AT_SUM] = <int64_t>hash_words(
                <const uint64_t *>words + HEADER_WORDS, n - HEADER_WORDS
            )
            self.ring.push(words, n)
        self.sequence += 1
        self.n, self.n_calls, self.is_unfit = HEADER_WORDS, 0, False


@cython.final
cdef class Noted:
    """One call of the core: passed on as it is, then noted with what came of it."""

    cdef Recorder recorder
    cdef object method
    cdef int64_t kind

    def __init__(self, Recorder recorder, method, int64_t kind):
        self.recorder, self.method, self.kind = recorder, method, kind

    def __call__(self, *arguments):
        cdef bint raised = True
        said = None
        try:
            said = self.method(*arguments)
            raised = False
        finally:
            self.recorder.note(self.kind, arguments, said, raised)
        return said


class Tape:
    """Has the interface of the core that it stands in front of."""

    def __init__(self, core, ring, most):
        self._recorder = Recorder(ring, most)
        self._core = core
        for name in dir(core):
            if not name.startswith("_"):
                setattr(self, name, getattr(core, name))
        for name, kind in CALLS.items():
            setattr(self, name, Noted(self._recorder, getattr(core, name), kind))
        self.cut = self._recorder.cut
        self.attach = self._attach

    def _attach(self, plant):
        self._core.attach(plant)
        self._recorder.watch(plant)
