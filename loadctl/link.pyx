"""The link: the one block of memory that guard and scan share.

Owns its bytes: two heartbeats, the token, the setpoint that each charger was last told, and what
the guard says of itself. A word that carries a setpoint has a check word beside it: one that was
torn by a kill, or never written, reads as None, and None is treated as the worst. Neither side
ever waits for the other. The scan's bus threads and the guard's bus threads write the rows of their
own chargers; whoever holds the buses writes `told`.
"""

import hashlib
import mmap
import os
import time

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy

from loadctl.atomic cimport fence, load_acquire, store_release

from loadctl.errors import LoadctlError

cdef int64_t MAGIC = 0x316B6E69_6C636C   # "lclink1"
cdef uint32_t SALT = 0x5A17C0DE
MAX_LINK_EVENTS = N_LINK_EVENTS
READ_TRIES = 64


def layout() -> dict:
    """Every struct read from a run of bytes 1..127: a value tells its place and width."""
    pattern = bytes(1 + i % 127 for i in range(sizeof(link_ring_t)))
    cdef const unsigned char[::1] view = pattern
    return {
        "header": (<link_header_t*>&view[0])[0],
        "charger": (<link_charger_t*>&view[0])[0],
        "circuit": (<link_circuit_t*>&view[0])[0],
        "event": (<link_event_t*>&view[0])[0],
        "tuned": (<link_tuned_t*>&view[0])[0],
    }


SIZES = {
    "header": sizeof(link_header_t),
    "charger": sizeof(link_charger_t),
    "circuit": sizeof(link_circuit_t),
    "event": sizeof(link_event_t),
    "ring": sizeof(link_ring_t),
    "tuned": sizeof(link_tuned_t),
}


cdef int64_t hash_layout():
    digest = hashlib.sha256(repr((layout(), SIZES)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


LAYOUT_HASH = hash_layout()


cdef uint32_t check_of(uint32_t word, uint32_t place) noexcept nogil:
    """Differs for every word and place, and is not 0 for a word of zeros."""
    return (word * <uint32_t>2654435761) ^ (place * <uint32_t>40503) ^ SALT


cdef class Link:
    """See `link.pyi`. Made by `create` (guard), `open` (scan) or `open_readonly` (status)."""

    cdef object file_map
    cdef object path
    cdef bint is_writable
    cdef const unsigned char[::1] read_view
    cdef link_header_t* header
    cdef link_charger_t* chargers
    cdef link_circuit_t* circuits
    cdef link_ring_t* ring
    cdef link_tuned_t* tuned_rows

    def __init__(self, path, bint is_writable):
        self.path = os.fspath(path)
        self.is_writable = is_writable
        fd = os.open(self.path, (os.O_RDWR if is_writable else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            n_bytes = os.fstat(fd).st_size
            if n_bytes < <int64_t>sizeof(link_header_t):
                raise LoadctlError(f"{self.path}: {n_bytes} bytes are no link of a guard")
            prot = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
            self.file_map = mmap.mmap(fd, n_bytes, prot=prot)
        finally:
            os.close(fd)
        self.read_view = self.file_map
        self.header = <link_header_t*>&self.read_view[0]
        if self.header.magic != MAGIC or self.header.layout_hash != LAYOUT_HASH:
            raise LoadctlError(f"{self.path}: not a link of this version of loadctl")
        if n_bytes != bytes_of(
            self.header.n_chargers, self.header.n_circuits, self.header.n_tuned
        ):
            raise LoadctlError(f"{self.path}: {n_bytes} bytes, its header says otherwise")
        self.chargers = <link_charger_t*>(self.header + 1)
        self.circuits = <link_circuit_t*>(self.chargers + self.header.n_chargers)
        self.ring = <link_ring_t*>(self.circuits + self.header.n_circuits)
        self.tuned_rows = <link_tuned_t*>(self.ring + 1)

    @staticmethod
    def create(path, int n_chargers, int n_circuits, int n_tuned=0):
        """Build the file beside its place and move it there."""
        cdef link_header_t header
        new = os.fspath(path) + ".new"
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, bytes_of(n_chargers, n_circuits, n_tuned))
            for value in (MAGIC, LAYOUT_HASH, time.monotonic_ns()):
                os.write(fd, (<int64_t>value).to_bytes(8, "little", signed=True))
            at = <char*>&header.n_chargers - <char*>&header
            for count in (n_chargers, n_circuits):
                os.pwrite(fd, count.to_bytes(4, "little"), at)
                at += 4
            at = <char*>&header.n_tuned - <char*>&header
            os.pwrite(fd, n_tuned.to_bytes(4, "little"), at)
        finally:
            os.close(fd)
        os.replace(new, path)
        return Link(path, True)

    @staticmethod
    def open(path):
        return Link(path, True)

    @staticmethod
    def open_readonly(path):
        return Link(path, False)

    cdef int _may_write(self) except -1:
        if not self.is_writable:
            raise LoadctlError(f"{self.path}: opened for reading only")
        return 0

    cdef link_charger_t* _charger(self, int charger_i) except NULL:
        if not 0 <= charger_i < self.header.n_chargers:
            raise IndexError(f"charger {charger_i} of {self.header.n_chargers}")
        return &self.chargers[charger_i]

    cdef link_circuit_t* _circuit(self, int circuit_i) except NULL:
        if not 0 <= circuit_i < self.header.n_circuits:
            raise IndexError(f"circuit {circuit_i} of {self.header.n_circuits}")
        return &self.circuits[circuit_i]

    cdef int _slot(self, int slot) except -1:
        if not 0 <= slot < self.header.n_tuned:
            raise IndexError(f"slot {slot} of {self.header.n_tuned}")
        return slot

    # the scan's side

    def beat(self):
        """One more scan was completed in time."""
        self._may_write()
        store_release(&self.header.scan_beat, self.header.scan_beat + 1)

    def ready(self, uint32_t generation):
        self._may_write()
        store_release(&self.header.ready, generation)

    def token(self):
        """The generation of the scan that may talk on the buses; 0 while the guard holds them."""
        return load_acquire(&self.header.token)

    def guard_beat(self):
        return load_acquire(&self.header.guard_beat)

    def set_failsafe(self, int charger_i, int32_t failsafe_mA):
        self._may_write()
        cdef link_charger_t* row = self._charger(charger_i)
        cdef uint32_t word = <uint32_t>failsafe_mA + 1
        row.failsafe_check = 0
        store_release(&row.failsafe, word)
        store_release(&row.failsafe_check, check_of(word, 2 * <uint32_t>charger_i + 1))

    def set_starved(self, int charger_i, bint is_starved):
        self._may_write()
        store_release(&self._charger(charger_i).starved, is_starved)

    def set_seen_background(self, int circuit_i, seen_mA):
        """The highest background seen above the declared one, per phase."""
        self._may_write()
        cdef link_circuit_t* row = self._circuit(circuit_i)
        cdef int p
        for p in range(3):
            row.seen_mA[p] = seen_mA[p]
        row.has_seen = True

    def set_external(self, int circuit_i, limit_mA, power_W, until_ns, int64_t heard_at_ns):
        """What was last said from outside of a circuit; torn by a kill it reads as never heard."""
        self._may_write()
        cdef link_circuit_t* row = self._circuit(circuit_i)
        cdef uint32_t has = LINK_HEARD
        cdef int p
        store_release(&row.external_has, 0)
        fence()
        for p in range(3):
            row.external_mA[p] = 0 if limit_mA is None else limit_mA[p]
        row.external_W = 0 if power_W is None else power_W
        row.external_until_ns = 0 if until_ns is None else until_ns
        row.external_heard_at_ns = heard_at_ns
        has |= LINK_HAS_CURRENT if limit_mA is not None else 0
        has |= LINK_HAS_POWER if power_W is not None else 0
        has |= LINK_HAS_END if until_ns is not None else 0
        store_release(&row.external_has, has)

    def set_tuned(self, rows):
        """(slot, live, timed, until_ns) each, None for what was not asked for: all of them count at
        once, whenever this process is killed."""
        self._may_write()
        cdef uint32_t bank = load_acquire(&self.header.tuned_bank)
        cdef int32_t n = self.header.n_tuned
        cdef link_tuned_t* to = self.tuned_rows + (1 - bank % 2) * n
        cdef link_tuned_t* row
        # Whoever sees a row of this change also sees that the last one counts.
        fence()
        memcpy(to, self.tuned_rows + bank % 2 * n, n * sizeof(link_tuned_t))
        for slot, live, timed, until_ns in rows:
            row = to + self._slot(slot)
            row.has = LINK_HAS_LIVE * (live is not None) + LINK_HAS_TIMED * (timed is not None)
            row.live = 0 if live is None else live
            row.timed = 0 if timed is None else timed
            row.until_ns = 0 if timed is None else until_ns
        store_release(&self.header.tuned_bank, bank + 1)

    # whoever holds the buses

    def tell(self, int charger_i, int32_t setpoint_mA):
        """Note a decrease before its frame leaves, a raise after it was acknowledged."""
        self._may_write()
        cdef link_charger_t* row = self._charger(charger_i)
        cdef uint32_t word = <uint32_t>setpoint_mA + 1
        if setpoint_mA < 0:
            raise ValueError(f"charger {charger_i}: setpoint {setpoint_mA} mA is below 0")
        store_release(&row.told_check, 0)
        store_release(&row.told, word)
        store_release(&row.told_check, check_of(word, 2 * <uint32_t>charger_i))

    def forget(self, int charger_i):
        """Its setpoint is not known any more."""
        self._may_write()
        cdef link_charger_t* row = self._charger(charger_i)
        store_release(&row.told_check, 0)
        store_release(&row.told, 0)

    # what both read

    def told_mA(self, int charger_i):
        """The last setpoint; None where it was never known, or the word is torn."""
        cdef link_charger_t* row = self._charger(charger_i)
        cdef uint32_t word = load_acquire(&row.told)
        if word == 0 or load_acquire(&row.told_check) != check_of(word, 2 * <uint32_t>charger_i):
            return None
        return <int64_t>word - 1

    def failsafe_mA(self, int charger_i):
        """What the failsafe target is now; None where none was set: that of the site file."""
        cdef link_charger_t* row = self._charger(charger_i)
        cdef uint32_t word = load_acquire(&row.failsafe)
        cdef uint32_t check = load_acquire(&row.failsafe_check)
        if word == 0 and check == 0:
            return None
        if check != check_of(word, 2 * <uint32_t>charger_i + 1):
            return 0
        return <int64_t>word - 1

    def is_starved(self, int charger_i):
        return load_acquire(&self._charger(charger_i).starved) != 0

    def seen_background_mA(self, int circuit_i):
        cdef link_circuit_t* row = self._circuit(circuit_i)
        return tuple(row.seen_mA) if row.has_seen else None

    def external(self, int circuit_i):
        """(limit_mA, power_W, until_ns, heard_at_ns), None for what it has not; None where nothing
        was heard."""
        cdef link_circuit_t* row = self._circuit(circuit_i)
        cdef uint32_t has = load_acquire(&row.external_has)
        if not has & LINK_HEARD:
            return None
        return (
            tuple(row.external_mA) if has & LINK_HAS_CURRENT else None,
            row.external_W if has & LINK_HAS_POWER else None,
            row.external_until_ns if has & LINK_HAS_END else None,
            row.external_heard_at_ns,
        )

    def tuned(self):
        """(slot, live, timed, until_ns) of every slot that something was asked for in."""
        cdef uint32_t bank
        cdef int _tries
        for _tries in range(READ_TRIES):     # who changes it twice meanwhile writes what is read
            bank = load_acquire(&self.header.tuned_bank)
            found = self._tuned_rows_of(bank % 2)
            fence()                     # the rows were read before the word is read again
            if load_acquire(&self.header.tuned_bank) == bank:
                return found
        raise LoadctlError(f"{self.path}: what was tuned did not stand still")

    def _tuned_rows_of(self, int half):
        cdef link_tuned_t* rows = self.tuned_rows + half * self.header.n_tuned
        return [
            (
                slot,
                rows[slot].live if rows[slot].has & LINK_HAS_LIVE else None,
                rows[slot].timed if rows[slot].has & LINK_HAS_TIMED else None,
                rows[slot].until_ns,
            )
            for slot in range(self.header.n_tuned)
            if rows[slot].has
        ]

    # the guard's side

    def guard_beat_once(self):
        self._may_write()
        store_release(&self.header.guard_beat, self.header.guard_beat + 1)

    def scan_beat(self):
        return load_acquire(&self.header.scan_beat)

    def ready_generation(self):
        return load_acquire(&self.header.ready)

    def give_token(self, uint32_t generation):
        self._may_write()
        store_release(&self.header.token, generation)

    def take_token(self):
        self._may_write()
        store_release(&self.header.token, 0)

    def state(self, int state, int cause, int64_t since_ns, int64_t next_restart_at_ns,
              int guard_pid, int scan_pid):
        self._may_write()
        self.header.state, self.header.cause = state, cause
        self.header.since_ns, self.header.next_restart_at_ns = since_ns, next_restart_at_ns
        self.header.guard_pid, self.header.scan_pid = guard_pid, scan_pid

    def count(self, int64_t n_takeovers, int64_t n_restarts, int64_t last_takeover_ns,
              int64_t last_restart_ns):
        self._may_write()
        self.header.n_takeovers, self.header.n_restarts = n_takeovers, n_restarts
        self.header.last_takeover_ns = last_takeover_ns
        self.header.last_restart_ns = last_restart_ns

    def event(self, int kind, int who, int first, int second, int64_t at_ns):
        self._may_write()
        cdef link_event_t* event = &self.ring.events[self.ring.n_total % N_LINK_EVENTS]
        event.at_ns, event.kind, event.who = at_ns, kind, who
        event.first, event.second = first, second
        fence()
        self.ring.n_total += 1

    # everybody else

    def snapshot(self):
        """What the guard says of itself, and what each charger was last told.

        Single fields are whole, their set may not be.
        """
        header = self.header[0]
        cdef int64_t last = self.ring.n_total
        cdef int64_t first = max(0, last - N_LINK_EVENTS)
        events = [self.ring.events[i % N_LINK_EVENTS] for i in range(first, last)]
        fence()
        # What was written over meanwhile, or is just being written over, is not there any more.
        cdef int64_t overtaken = self.ring.n_total - N_LINK_EVENTS + 1 - first
        return {
            **header,
            "told_mA": [self.told_mA(i) for i in range(self.header.n_chargers)],
            "n_events": last,
            "events": events[max(0, overtaken):],
        }


cdef int64_t bytes_of(int n_chargers, int n_circuits, int n_tuned):
    return (sizeof(link_header_t) + n_chargers * sizeof(link_charger_t)
            + n_circuits * sizeof(link_circuit_t) + sizeof(link_ring_t)
            + 2 * n_tuned * sizeof(link_tuned_t))
