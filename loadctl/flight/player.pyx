"""The player: tells a core everything that a recording says it was told, and compares.

Owns nothing but the way from words to calls. Stops at the first answer, or the first plant block
at the end of a scan, that is not the recorded one. Never runs in the scan.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from loadctl.flight.series cimport Series
from loadctl.flight.words cimport (
    ANSWER_INT, ANSWER_NONE, AT_CALLS, AT_ENDED, AT_HASH, AT_SUM, AT_WORDS, HEADER_WORDS, TYPE_INT,
    TYPE_LETTER, TYPE_NONE, TYPE_PAIRS, TYPE_TIME, TYPE_TRIPLE, TYPE_TUNING, answer_of, count_of,
    has_raised, hash_words, kind_of, type_of,
)

from loadctl.errors import CoreFault, LoadctlError
from loadctl.flight.calls import NAMES
from loadctl.tables import Tuning

HEADER = (
    "n_words", "sequence", "scan_i", "base_ns", "ended_at_ns", "hash", "flags", "n_calls", "sum",
)
# What a core raises at arguments that it cannot take.
REFUSALS = (CoreFault, ValueError, OverflowError, TypeError, IndexError)


def header(const int64_t[::1] words, Py_ssize_t at):
    """The header of the record that begins there, by name."""
    return dict(zip(HEADER, words[at:at + HEADER_WORDS]))


cdef int64_t sum_of(const int64_t *record, int64_t n) noexcept nogil:
    return <int64_t>hash_words(<const uint64_t *>record + HEADER_WORDS, n - HEADER_WORDS)


@cython.final
cdef class Player:
    """A core with a plant block of its own."""

    cdef readonly object core
    cdef readonly object plant
    cdef unsigned char[::1] block
    cdef list methods       # by number of the call
    cdef const int64_t[::1] words
    cdef Py_ssize_t at
    cdef Py_ssize_t end     # of the record

    def __init__(self, core):
        self.core = core
        self.methods = [getattr(core, NAMES[k], None) if k in NAMES else None for k in range(256)]
        self.load(bytes(core.plant_bytes))

    def load(self, plant):
        """Go on from this plant block; zeros are a fresh START."""
        self.plant = bytearray(plant)
        self.core.attach(self.plant)
        self.block = self.plant

    def play(self, const int64_t[::1] words, Py_ssize_t at, Series series=None, listener=None,
             bint compares=True):
        """Play whole records from there on: None, or the first difference, as a dict with `at`,
        the record that it is in, `next`, the one after it, and `is_changed`: its words are not
        those that were written. With `what` = "sum" that is all, and the core answered the same.
        """
        cdef Py_ssize_t begin, n
        cdef int64_t hash
        self.words = words
        while at < words.shape[0]:
            begin, n = at, words[at + AT_WORDS] if at + HEADER_WORDS <= words.shape[0] else 0
            if not HEADER_WORDS <= n <= words.shape[0] - at:
                raise LoadctlError(f"record: {n} words, {words.shape[0] - at} are left")
            self.at, self.end = at + HEADER_WORDS, at + n
            at += n
            is_changed = compares and sum_of(&words[begin], n) != words[begin + AT_SUM]
            place = {"at": begin, "next": at, "is_changed": is_changed}
            first = None
            for _ in range(words[begin + AT_CALLS]):
                found = self.call(listener)
                first = first or found
            hash = <int64_t>hash_words(
                <const uint64_t *>&self.block[0], self.block.shape[0] // 8
            )
            if series is not None:
                series.sample(&self.block[0], words[begin + AT_ENDED])
            if listener is not None:
                listener.scan(words[begin + AT_ENDED], self.plant)
            if first is not None and compares:
                return {**first, **place}
            if hash != words[begin + AT_HASH] and compares:
                return {
                    "what": "plant", "recorded": words[begin + AT_HASH], "answered": hash, **place
                }
            if is_changed:
                return {"what": "sum", **place}
        return None

    cdef int64_t next(self) except? -1:
        if self.at >= self.end:
            raise LoadctlError("record: ends within a call")
        self.at += 1
        return self.words[self.at - 1]

    cdef object call(self, listener):
        """One call: None where it went as recorded."""
        cdef int64_t shape = self.next()
        method = self.methods[kind_of(shape)]
        if method is None:
            raise LoadctlError(f"record: call {kind_of(shape)} is none that this loadctl knows")
        arguments = self.arguments(shape)
        recorded = self.answer(shape)
        raised, said = "", None
        try:
            said = method(*arguments)
        except REFUSALS as error:
            raised = str(error) or type(error).__name__
        if listener is not None:
            listener.call(NAMES[kind_of(shape)], arguments, said, bool(raised))
        if bool(raised) == has_raised(shape) and said == recorded:
            return None
        return {
            "what": "refused" if raised else "answer", "call": NAMES[kind_of(shape)],
            "arguments": arguments, "recorded": recorded, "answered": raised or said,
        }

    cdef tuple arguments(self, int64_t shape):
        cdef int64_t k, of
        values = []
        for k in range(count_of(shape)):
            of = type_of(shape, k)
            if of == TYPE_INT or of == TYPE_TIME:
                values.append(self.next())
            elif of == TYPE_NONE:
                values.append(None)
            elif of == TYPE_TRIPLE:
                values.append((self.next(), self.next(), self.next()))
            elif of == TYPE_LETTER:
                values.append(chr(self.next() & 127))
            elif of == TYPE_PAIRS:
                values.append([(self.next(), self.next()) for _ in range(self.next())])
            else:
                run = [self.next() for _ in range(self.next())]
                values.append(Tuning(*run) if of == TYPE_TUNING else tuple(run))
        return tuple(values)

    cdef object answer(self, int64_t shape):
        if answer_of(shape) == ANSWER_NONE:
            return None
        if answer_of(shape) == ANSWER_INT:
            return self.next()
        return [(self.next(), self.next()) for _ in range(self.next())]
