"""The process image, byte for byte: a header, then two slots of which readers use one.

Order in the file: header_t, then twice scan_stats_t, bus_stats_t of each bus, device_stats_t of
each meter and then of each charger, the plant block of the core (`law/layout.pxd`), ring_t. Only
int32 and int64, wide ones first and an even number of narrow ones: no padding, every struct a
multiple of 8.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef enum:
    N_BINS = 192        # of a histogram: eight per octave, from 1 us to 16 s
    N_SPANS = 8         # what is timed, in the order of SPANS in image.pyx
    N_SETTINGS = 8      # real-time settings, in the order of loadctl/realtime.py
    N_EVENTS = 256      # kept in the ring

cdef struct header_t:
    int64_t magic
    int64_t layout_hash     # over names, order and widths of every field below and of the plant
    int64_t site_hash       # of site file and maps
    int64_t slots_at        # bytes from the start of the file to the first slot
    int64_t slot_bytes
    int64_t plant_at        # bytes from the start of a slot
    int64_t plant_bytes
    int64_t ring_at
    int64_t born_at_ns      # CLOCK_MONOTONIC when the file was made: tells it from an earlier one
    int32_t n_buses
    int32_t n_circuits
    int32_t n_meters
    int32_t n_chargers
    uint32_t counter        # atomic: slots published; the newest is slot counter % 2
    int32_t pid             # of the scan that writes

cdef struct span_t:
    int64_t last_ns
    int64_t worst_ns
    int64_t total_ns            # of all that were counted
    int32_t bins[192]

cdef struct scan_stats_t:
    int64_t published_at_ns     # CLOCK_MONOTONIC, as every other time here
    int64_t started_at_ns       # of this scan
    int64_t period_ns
    int64_t scans               # completed
    int64_t missed              # cycles not complete at their next grid point
    int64_t skipped             # further periods that those swallowed
    int64_t gate_drops          # frames that the gate refused
    int64_t slow_replies        # slower than the plan counts for them
    span_t spans[8]
    int32_t setting_state[8]    # 0 not asked for, 1 applied, 2 refused
    int32_t setting_errno[8]    # why it was refused
    int32_t mode
    int32_t mode_reason         # loadctl.modes.Reason, with its two numbers
    int32_t mode_first
    int32_t mode_second

cdef struct bus_stats_t:
    int64_t busy_ns             # time on the wire in the last scan
    int64_t worst_busy_ns
    int32_t is_open
    int32_t n_silent            # chargers on this bus that do not answer

cdef struct device_stats_t:
    int64_t n_good
    int64_t n_no_answer
    int64_t n_bad_frame
    int64_t n_refused
    int64_t n_not_sent
    int64_t n_implausible
    int64_t good_at_ns          # end of the last good exchange
    int64_t worst_ns            # longest good exchange
    int32_t code                # hw.wire.Code of the last exchange
    int32_t exception_code      # of the last refusal
    int32_t is_silent
    int32_t arming              # step of the arming walk; see loadctl/arming.py
    int32_t is_starved          # gets no message, so that its own watchdog acts
    int32_t n_reboots           # times that it was found to have forgotten what it was told
    int32_t read_way            # 0: as its map says; more: in shorter reads, after refusals
    int32_t n_reads             # exchanges that one whole reading takes

cdef struct event_t:
    int64_t at_ns
    int64_t scan
    int32_t kind                # loadctl.events.Event
    int32_t who                 # charger, meter or bus, as the kind says; -1 nobody
    int32_t first
    int32_t second
    int32_t third
    int32_t fourth

cdef struct ring_t:
    int64_t n_total             # events so far; the newest is events[(n_total - 1) % N_EVENTS]
    event_t events[256]
