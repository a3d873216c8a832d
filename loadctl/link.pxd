"""The block that guard and scan share, byte for byte: a header, a row per charger, a row per
circuit, the guard's ring of events, and twice a row per slot of what was tuned.

Only int32, uint32 and int64, wide ones first and an even number of narrow ones: no padding. Beside
each field stands who writes it; nobody else does.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t

cdef enum:
    N_LINK_EVENTS = 64
    LINK_HEARD = 1
    LINK_HAS_CURRENT = 2
    LINK_HAS_POWER = 4
    LINK_HAS_END = 8
    LINK_HAS_LIVE = 1
    LINK_HAS_TIMED = 2

cdef struct link_header_t:
    int64_t magic
    int64_t layout_hash
    int64_t born_at_ns          # when the file was made: tells it from an earlier one
    int64_t since_ns            # guard: when its state began
    int64_t next_restart_at_ns  # guard: 0 where none is planned
    int64_t last_takeover_ns    # guard: from the finding to the last failsafe written or given up
    int64_t last_restart_ns     # guard: from the finding to the token of the next scan
    int64_t n_takeovers         # guard
    int64_t n_restarts          # guard
    int32_t n_chargers
    int32_t n_circuits
    int32_t guard_pid           # guard
    int32_t state               # guard: loadctl.guard.words.State
    int32_t cause               # guard: loadctl.guard.words.Cause
    int32_t scan_pid            # guard
    uint32_t guard_beat         # atomic, guard: counts its rounds
    uint32_t scan_beat          # atomic, scan: scans completed in time
    uint32_t ready              # atomic, scan: the generation that is locked and warm
    uint32_t token              # atomic, guard: the generation that may talk on the buses; 0: none
    uint32_t tuned_bank         # atomic, scan: which half of the tuned rows counts: this modulo 2
    int32_t n_tuned             # rows of each half

cdef struct link_charger_t:
    uint32_t told               # whoever holds the buses: last setpoint in mA, plus one
    uint32_t told_check
    uint32_t failsafe           # scan: target in mA, plus one
    uint32_t failsafe_check
    uint32_t starved            # scan: no message may go there
    uint32_t spare

cdef struct link_circuit_t:
    int64_t external_until_ns   # scan: what was last said from outside; as external_has says
    int64_t external_heard_at_ns
    int32_t seen_mA[3]          # scan: background seen above the declared one
    int32_t has_seen
    int32_t external_mA[3]
    int32_t external_W
    uint32_t external_has       # 0: nothing heard, or torn; else LINK_HEARD and what it holds
    uint32_t spare

cdef struct link_tuned_t:
    int64_t live                # scan: valid with LINK_HAS_LIVE: what was asked for until the end
    int64_t timed               # ... with LINK_HAS_TIMED, as its end: for a time, above that
    int64_t until_ns
    uint32_t has
    uint32_t spare

cdef struct link_event_t:
    int64_t at_ns
    int32_t kind                # loadctl.guard.words.Happening
    int32_t who                 # charger or bus, as the kind says; -1 nobody
    int32_t first
    int32_t second

cdef struct link_ring_t:
    int64_t n_total
    link_event_t events[64]
