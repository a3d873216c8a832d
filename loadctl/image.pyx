"""The process image: what the scan knows, in shared memory, readable while it runs and afterwards.

Owns the bytes of the image file. `Writer` belongs to the scan: the core works on its private copy,
and `publish` copies that into the slot readers are not using. `Reader` belongs to everybody else
and never writes. Neither ever waits for the other.
"""

import hashlib
import mmap
import os
import time

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from loadctl.atomic cimport fence, load_acquire, store_release
from loadctl.law.layout cimport charger_t, circuit_t, meter_t, site_t

from loadctl.errors import LoadctlError, NotRunning

cdef extern from *:
    """
    static inline int highest_bit(uint64_t value) { return 63 - __builtin_clzll(value); }
    """
    int highest_bit(int64_t value) noexcept nogil

cdef int64_t MAGIC = 0x316C7463_64616F6C  # "loadctl1", little-endian
SPANS = ("wake", "read", "step", "take", "look", "confirm", "give", "whole")
# A copy takes microseconds, a scan milliseconds: whoever needs more tries reads no scan of ours.
READ_TRIES = 64
MAX_EVENTS = N_EVENTS
MAX_SETTINGS = N_SETTINGS


cdef dict as_dicts(const unsigned char* at):
    """Every struct of the image, as Cython converts it; `at` needs room for the largest."""
    return {
        "header": (<header_t*>at)[0],
        "span": (<span_t*>at)[0],
        "scan": (<scan_stats_t*>at)[0],
        "bus": (<bus_stats_t*>at)[0],
        "device": (<device_stats_t*>at)[0],
        "event": (<event_t*>at)[0],
        "ring": (<ring_t*>at)[0],
        "site": (<site_t*>at)[0],
        "circuit": (<circuit_t*>at)[0],
        "meter": (<meter_t*>at)[0],
        "charger": (<charger_t*>at)[0],
    }


SIZES = {
    "header": sizeof(header_t),
    "span": sizeof(span_t),
    "scan": sizeof(scan_stats_t),
    "bus": sizeof(bus_stats_t),
    "device": sizeof(device_stats_t),
    "event": sizeof(event_t),
    "ring": sizeof(ring_t),
    "site": sizeof(site_t),
    "circuit": sizeof(circuit_t),
    "meter": sizeof(meter_t),
    "charger": sizeof(charger_t),
}


def layout() -> dict:
    """Every struct read from a run of bytes 1..127: a value tells its place and width."""
    pattern = bytes(1 + i % 127 for i in range(max(SIZES.values())))
    cdef const unsigned char[::1] view = pattern
    return as_dicts(&view[0])


cdef int64_t hash_layout():
    """Names, order, places and widths of all fields, and the sizes of the structs."""
    digest = hashlib.sha256(repr((layout(), SIZES)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


LAYOUT_HASH = hash_layout()


cdef int bin_of(int64_t span_ns) noexcept nogil:
    """Eight bins per octave of 1024 ns; what is longer than the last bin is counted in it."""
    cdef int64_t units
    cdef int octave, bin_i
    if span_ns < 0:
        return 0
    units = span_ns >> 10
    if units < 8:
        return <int>units
    octave = highest_bit(units)
    bin_i = (octave - 2) * 8 + <int>((units >> (octave - 3)) & 7)
    return bin_i if bin_i < N_BINS else N_BINS - 1


def bin_end_ns(bin_i: int) -> int:
    """The first span that is longer than everything in this bin."""
    following = bin_i + 1
    if following < 8:
        return following << 10
    return (8 + following % 8) << (following // 8 - 1 + 10)


def percentile_ns(span: dict, per_mille: int) -> int:
    """The span that `per_mille` of 1000 scans stayed within, rounded up to its bin or the worst."""
    total = sum(span["bins"])
    counted = 0
    for bin_i, count in enumerate(span["bins"]):
        counted += count
        if counted * 1000 >= total * per_mille:
            return min(bin_end_ns(bin_i), span["worst_ns"])
    return span["worst_ns"]


cdef class Writer:
    """The scan's side. `plant` is the private copy that the core works on."""

    cdef object file_map
    cdef object private
    cdef object path
    cdef unsigned char[::1] shared_view
    cdef unsigned char[::1] private_view
    cdef header_t* header
    cdef unsigned char* slots
    cdef unsigned char* copy
    cdef scan_stats_t* stats
    cdef bus_stats_t* buses
    cdef device_stats_t* devices
    cdef ring_t* ring
    cdef int64_t slot_bytes
    cdef int n_devices
    cdef int n_buses
    cdef readonly object plant

    def __init__(self, path, int n_buses, int n_circuits, int n_meters, int n_chargers,
                 int64_t plant_bytes, int64_t site_hash, int64_t period_ns):
        """Build the file beside its place and move it there: readers of an older one keep that."""
        cdef int64_t expected = (sizeof(site_t) + n_circuits * sizeof(circuit_t)
                                 + n_meters * sizeof(meter_t) + n_chargers * sizeof(charger_t))
        if plant_bytes != expected:
            raise LoadctlError(f"plant block: {plant_bytes} bytes, the layout has {expected}")
        cdef int64_t devices_at = sizeof(scan_stats_t) + n_buses * sizeof(bus_stats_t)
        cdef int64_t plant_at = devices_at + (n_meters + n_chargers) * sizeof(device_stats_t)
        cdef int64_t ring_at = plant_at + plant_bytes
        self.slot_bytes = ring_at + sizeof(ring_t)
        self.n_buses, self.n_devices = n_buses, n_meters + n_chargers
        self.path = os.fspath(path)
        self._map_file(sizeof(header_t) + 2 * self.slot_bytes)
        self.private = bytearray(self.slot_bytes)
        self.private_view = self.private
        self.copy = &self.private_view[0]
        self.stats = <scan_stats_t*>self.copy
        self.buses = <bus_stats_t*>(self.copy + sizeof(scan_stats_t))
        self.devices = <device_stats_t*>(self.copy + devices_at)
        self.ring = <ring_t*>(self.copy + ring_at)
        self.plant = memoryview(self.private)[plant_at:ring_at]
        self.header.magic = MAGIC
        self.header.layout_hash = LAYOUT_HASH
        self.header.site_hash = site_hash
        self.header.slots_at = sizeof(header_t)
        self.header.slot_bytes = self.slot_bytes
        self.header.plant_at = plant_at
        self.header.plant_bytes = plant_bytes
        self.header.ring_at = ring_at
        self.header.n_buses, self.header.n_circuits = n_buses, n_circuits
        self.header.n_meters, self.header.n_chargers = n_meters, n_chargers
        self.stats.period_ns = period_ns
        self.header.pid = os.getpid()
        self.header.born_at_ns = time.monotonic_ns()
        os.replace(self.path + ".new", self.path)

    def _map_file(self, int64_t n_bytes):
        fd = os.open(self.path + ".new", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, n_bytes)  # a full disk is an error now, not a SIGBUS later
            self.file_map = mmap.mmap(fd, n_bytes)
        finally:
            os.close(fd)
        self.shared_view = self.file_map
        self.header = <header_t*>&self.shared_view[0]
        self.slots = &self.shared_view[0] + sizeof(header_t)

    # what the scan notes in the private copy

    def span(self, int what, int64_t span_ns):
        """Count one span of SPANS[what]."""
        if not 0 <= what < N_SPANS:
            raise IndexError(f"span {what} is none of 0 to {N_SPANS - 1}")
        cdef span_t* span = &self.stats.spans[what]
        span.last_ns = span_ns
        span.total_ns += span_ns
        if span_ns > span.worst_ns:
            span.worst_ns = span_ns
        span.bins[bin_of(span_ns)] += 1

    def scan(self, int64_t started_at_ns, int64_t scans, int64_t missed, int64_t skipped, int mode):
        self.stats.started_at_ns = started_at_ns
        self.stats.scans, self.stats.missed, self.stats.skipped = scans, missed, skipped
        self.stats.mode = mode

    def why(self, int reason, int first, int second):
        """Why the mode is what it is."""
        self.stats.mode_reason = reason
        self.stats.mode_first, self.stats.mode_second = first, second

    def setting(self, int what, int state, int error):
        if not 0 <= what < N_SETTINGS:
            raise IndexError(f"setting {what} is none of 0 to {N_SETTINGS - 1}")
        self.stats.setting_state[what], self.stats.setting_errno[what] = state, error

    def gate_drop(self):
        self.stats.gate_drops += 1

    def slow_reply(self):
        self.stats.slow_replies += 1

    def bus(self, int bus_i, int64_t busy_ns, bint is_open, int n_silent):
        if not 0 <= bus_i < self.n_buses:
            raise IndexError(f"bus {bus_i} is none of 0 to {self.n_buses - 1}")
        cdef bus_stats_t* bus = &self.buses[bus_i]
        bus.busy_ns = busy_ns
        if busy_ns > bus.worst_busy_ns:
            bus.worst_busy_ns = busy_ns
        bus.is_open, bus.n_silent = is_open, n_silent

    def exchange(self, int device_i, int code, int exception_code, int64_t took_ns, int64_t at_ns):
        """Count one exchange of a device: meters first, then chargers."""
        if not 0 <= device_i < self.n_devices:
            raise IndexError(f"device {device_i} is none of 0 to {self.n_devices - 1}")
        cdef device_stats_t* device = &self.devices[device_i]
        device.code = code
        if code == 1:
            device.n_good += 1
            device.good_at_ns = at_ns
            if took_ns > device.worst_ns:
                device.worst_ns = took_ns
        elif code == 2:
            device.n_no_answer += 1
        elif code == 3:
            device.n_bad_frame += 1
        elif code == 4:
            device.n_refused += 1
            device.exception_code = exception_code
        elif code == 5:
            device.n_not_sent += 1
        elif code == 6:
            device.n_implausible += 1

    def rebooted(self, int device_i):
        if not 0 <= device_i < self.n_devices:
            raise IndexError(f"device {device_i} is none of 0 to {self.n_devices - 1}")
        self.devices[device_i].n_reboots += 1

    def reads(self, int device_i, int read_way, int n_reads):
        """In which way a device is read; see loadctl/reading.py."""
        if not 0 <= device_i < self.n_devices:
            raise IndexError(f"device {device_i} is none of 0 to {self.n_devices - 1}")
        self.devices[device_i].read_way, self.devices[device_i].n_reads = read_way, n_reads

    def device(self, int device_i, bint is_silent, int arming, bint is_starved):
        if not 0 <= device_i < self.n_devices:
            raise IndexError(f"device {device_i} is none of 0 to {self.n_devices - 1}")
        self.devices[device_i].is_silent, self.devices[device_i].arming = is_silent, arming
        self.devices[device_i].is_starved = is_starved

    def event(
        self, int kind, int who, int first, int second, int64_t at_ns, int third=0, int fourth=0
    ):
        cdef event_t* event = &self.ring.events[self.ring.n_total % N_EVENTS]
        event.at_ns, event.scan = at_ns, self.stats.scans
        event.kind, event.who, event.first, event.second = kind, who, first, second
        event.third, event.fourth = third, fourth
        self.ring.n_total += 1

    # what readers see

    def publish(self, int64_t now_ns):
        """Copy everything into the slot that readers are not using, then point them to it."""
        self.stats.published_at_ns = now_ns
        with nogil:
            self._publish()

    cdef void _publish(self) noexcept nogil:
        # Only this thread stores the counter, so its plain value is known here.
        cdef uint32_t following = self.header.counter + 1
        # Whoever sees a byte of this copy also sees the counter of the one before: a reader that
        # was still copying this slot notices.
        fence()
        memcpy(self.slots + (following & 1) * self.slot_bytes, self.copy, self.slot_bytes)
        store_release(&self.header.counter, following)


cdef class Reader:
    """Everybody else's side: opens an image file read-only and takes whole snapshots of it."""

    cdef object file_map
    cdef object path
    cdef object private
    cdef const unsigned char[::1] shared_view
    cdef unsigned char[::1] private_view
    cdef header_t* header

    def __init__(self, path):
        self.path = os.fspath(path)
        with open(self.path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes < <int64_t>sizeof(header_t):
                raise LoadctlError(f"{self.path}: {n_bytes} bytes are no process image")
            self.file_map = mmap.mmap(file.fileno(), n_bytes, prot=mmap.PROT_READ)
        self.shared_view = self.file_map
        self.header = <header_t*>&self.shared_view[0]
        if self.header.magic != MAGIC:
            raise LoadctlError(f"{self.path}: no process image of loadctl")
        if self.header.layout_hash != LAYOUT_HASH:
            raise LoadctlError(
                f"{self.path}: written with layout {self.header.layout_hash & (2**64 - 1):016x}, "
                f"this loadctl reads {LAYOUT_HASH & (2**64 - 1):016x}; use the version that runs"
            )
        if n_bytes != self.header.slots_at + 2 * self.header.slot_bytes:
            raise LoadctlError(f"{self.path}: {n_bytes} bytes, its header says otherwise")
        self.private = bytearray(self.header.slot_bytes)
        self.private_view = self.private

    def snapshot(self):
        """The newest whole scan as dicts; refuses after READ_TRIES scans passed beneath it."""
        self._take()
        return self._as_dict()

    def plant(self):
        """The bytes of the plant block in the newest whole scan; refuses as `snapshot` does."""
        self._take()
        at = self.header.plant_at
        return bytes(self.private[at:at + self.header.plant_bytes])

    cdef int _take(self) except -1:
        cdef int tries = READ_TRIES
        cdef bint is_whole
        if load_acquire(&self.header.counter) == 0:
            raise NotRunning(f"{self.path}: nothing published yet")
        with nogil:
            is_whole = self._copy(tries)
        if not is_whole:
            raise LoadctlError(f"{self.path}: no whole scan in {READ_TRIES} tries")
        return 0

    cdef bint _copy(self, int tries) noexcept nogil:
        cdef uint32_t counter
        cdef int64_t slot_at
        while tries > 0:
            tries -= 1
            counter = load_acquire(&self.header.counter)
            slot_at = self.header.slots_at + (counter & 1) * self.header.slot_bytes
            memcpy(&self.private_view[0], &self.shared_view[slot_at], self.header.slot_bytes)
            fence()
            if load_acquire(&self.header.counter) == counter:
                return True
        return False

    cdef dict _as_dict(self):
        cdef unsigned char* at = &self.private_view[0]
        cdef header_t* h = self.header
        cdef scan_stats_t* stats = <scan_stats_t*>at
        cdef bus_stats_t* buses = <bus_stats_t*>(at + sizeof(scan_stats_t))
        cdef device_stats_t* devices = <device_stats_t*>(buses + h.n_buses)
        cdef site_t* site = <site_t*>(at + h.plant_at)
        cdef circuit_t* circuits = <circuit_t*>(site + 1)
        cdef meter_t* meters = <meter_t*>(circuits + h.n_circuits)
        cdef charger_t* chargers = <charger_t*>(meters + h.n_meters)
        cdef ring_t* ring = <ring_t*>(at + h.ring_at)
        scan = dict(stats[0])
        scan["pid"] = h.pid
        scan["spans"] = dict(zip(SPANS, scan["spans"]))
        first = max(0, ring.n_total - N_EVENTS)
        return {
            "site_hash": f"{h.site_hash & (2**64 - 1):016x}",
            "born_at_ns": h.born_at_ns,
            "scan": scan,
            "buses": [buses[i] for i in range(h.n_buses)],
            "devices": [devices[i] for i in range(h.n_meters + h.n_chargers)],
            "site": site[0],
            "circuits": [circuits[i] for i in range(h.n_circuits)],
            "meters": [meters[i] for i in range(h.n_meters)],
            "chargers": [chargers[i] for i in range(h.n_chargers)],
            "n_events": ring.n_total,
            "events": [ring.events[i % N_EVENTS] for i in range(first, ring.n_total)],
        }
