"""What the rules work on: the plant block seen as structs, the static tables, and the work space of
a call.

Static rows are filled once by `_core`. Work arrays hold nothing from one call to the next: each
rule writes what it reads. Only pointers and tables; no state of the plant may ever live here.

A limit is one number that a sum of currents may not pass. Circuit c owns limits c * N_KINDS +
kind. A member is one limit that a charger counts in, with how often (power: once per phase it
uses).
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport (
    N_KINDS, N_PEAKS, N_PHASES, N_SAMPLES, charger_t, circuit_t, meter_t, site_t,
)

cdef enum:
    NONE = -1               # no parent, no meter, no limit
    KIND_POWER = 3
    KIND_PAIRS = 4          # (L1, L2), (L1, L3), (L2, L1), (L2, L3), (L3, L1), (L3, L2)
    KIND_CHARGERS = 10      # power of chargers alone: background does not count in it
    N_LOAD_KINDS = 4        # phases and power: the kinds that background counts in

cdef enum Code:             # hw.wire.Code
    CODE_NEVER = 0
    CODE_GOOD = 1
    CODE_NO_ANSWER = 2
    CODE_BAD_FRAME = 3
    CODE_REFUSED = 4
    CODE_NOT_SENT = 5
    CODE_IMPLAUSIBLE = 6

cdef enum State:            # IEC 61851; D counts as C
    STATE_UNKNOWN = 0
    STATE_A = 1
    STATE_B = 2
    STATE_C = 3
    STATE_D = 4

ctypedef struct circuit_row_t:
    int32_t parent
    int32_t meter
    int32_t is_dynamic
    int32_t counts_export
    int32_t limit_mA[3]
    int32_t background_mA[3]    # declared worst case
    int32_t site_limit_mA[3]    # of the site file; limit_mA is what counts of it now, see `live`
    int32_t lowered_kinds       # bit p: limit_mA of phase p is lower
    int32_t margin_mA
    int64_t power_limit_mA      # sum over the phases, at the site's voltage
    int32_t has_power_limit
    int32_t has_unbalance
    int32_t counts_power        # it has one, or may have one from outside
    int32_t takes_external      # limits from outside may lower its own
    int32_t is_charger_power    # ... and power from outside is of chargers alone
    int64_t guaranteed_mA       # what power from outside counts at least
    int64_t loss_after_ns       # how long its source may be silent; 0: for ever
    int32_t loss_has_current    # what counts without a command that is in force:
    int32_t loss_has_power
    int32_t loss_mA[3]
    int64_t loss_power_mA
    int32_t unbalance_mA
    int32_t bounds_above        # its meter is no slower than those above
    int32_t has_fuse
    int32_t fuse_full_mA        # valid when has_fuse, as all of these: 100 % in the end
    int32_t fuse_cools_at_mA    # what shares keep to while it has to cool
    int32_t fuse_warns_fx       # heat above which it has to
    int32_t fuse_cool_fx        # heat below which it has cooled
    int64_t fuse_half_ms        # half of a difference is gone

ctypedef struct member_t:
    int32_t limit_i
    int32_t count
    int32_t kind                # of the limit

ctypedef struct charger_row_t:
    # what share reads first, on one line of the cache
    int64_t start_fx            # level at which it begins to rise: min / weight, exact in order
    int64_t stop_fx             # ... at which it is at its maximum: max / weight
    int32_t min_mA              # on the step grid
    int32_t max_mA              # on the step grid
    int32_t step_mA
    int32_t weight
    int32_t first_member
    int32_t n_members
    int32_t circuit
    int32_t n_wired
    int32_t wired[3]            # grid phase of terminals 1, 2, 3
    int32_t n_phases
    int32_t phases[3]           # those of them that its car uses
    int32_t without_phases      # unused_phases that phases and members were laid out for
    int32_t failsafe_mA         # on the step grid
    int32_t site_failsafe_mA    # ... of the site file, whatever minimum and maximum count now
    int32_t site_min_mA         # on the step grid
    int32_t least_mA            # no minimum was ever lower: what is in force and less is a pause
    int32_t fallback_mA
    int32_t rated_mA
    int32_t priority
    int32_t never_pause
    int32_t is_isolated
    int32_t has_measured_current
    int32_t box                 # first charger at the same address of the same bus
    int32_t box_end             # there, behind the last one
    int64_t watchdog_ns         # 0: it has none
    int64_t hold_ns
    int64_t min_change_ns
    int64_t meter_lag_ns        # longest of the meters above it
    int64_t draw_lag_ns         # how old its measured current may be when it is answered

ctypedef struct fill_t:         # share: one limit, on one line of the cache
    int64_t slack_fx            # what rising chargers may draw together
    int64_t slope               # sum of count * weight of rising chargers; crumbs: of count * step
    int64_t level_fx            # whole part of slack / slope; crumbs: the round that is critical
    int64_t room_mA             # cap less what is shared out; crumbs: less what was by those closed
    int64_t left_mA             # crumbs: room in a critical round
    int32_t rest                # remainder of slack / slope, as a fraction of rest_of
    int32_t rest_of
    int32_t next_below          # first in `below` not known to be frozen; crumbs: in `chain`
    int32_t place               # in the heap, or NONE
    int32_t is_stale            # the level may be higher than it stands
    int32_t is_critical         # crumbs: no room for all who are open

ctypedef struct span_t:         # draws: of one circuit
    int64_t from_ns             # valid when has_any, both: what values of meters may stem from
    int64_t to_ns
    int32_t has_any             # a fresh meter, its own or one above

ctypedef struct slot_t:
    int64_t level_fx
    int32_t limit_i
    int32_t unused

ctypedef struct law_t:
    # the plant block
    site_t *site
    circuit_t *circuits
    meter_t *meters
    charger_t *chargers
    # static
    int32_t n_circuits
    int32_t n_meters
    int32_t n_chargers
    int32_t n_limits
    circuit_row_t *circuit_rows
    charger_row_t *charger_rows
    int64_t *meter_lags_ns
    int64_t draw_lag_ns         # longest of the chargers
    int64_t kept_part_ns        # loads of meters that were read within this time are kept as one
    int32_t *meter_phases       # bit p: a charger below its circuit uses phase p
    int64_t voltage_mV
    int32_t n_members           # with room for those that other used phases would bring
    member_t *members
    int32_t n_live
    int32_t *live               # the limits that any charger counts in
    int32_t *by_rank            # chargers by tier, highest first, then file order
    int32_t n_tiers
    int32_t *tier_ends          # in by_rank, by_start and by_stop
    int32_t *by_start           # chargers by tier, then start_fx
    int32_t *by_stop            # chargers by tier, then stop_fx
    int64_t *ranks              # place in by_rank
    int32_t *first_below        # per limit, and one more: its part of `below`
    int32_t *below              # chargers that count in a limit, in the order of by_start
    int32_t *owners             # charger of each member
    int64_t *most_below_mA      # per limit: all who count there at their maxima
    int32_t fx_bits             # a level is kept in parts of 2^-fx_bits mA
    # work: per limit
    int64_t *cap_low_mA         # what candidates may draw together, by the lowest background
    int64_t *cap_high_mA        # ... by the held background
    int64_t *used_mA            # minima held, reserves held, room left: by rule
    int64_t *held_mA            # admit: minima that places are kept for
    int64_t *base_mA            # admit: minima of higher tiers; order: raises of those that start
    int64_t *minima_mA          # minima of those in `is_in`
    int64_t *late_mA            # takes sent that may still be followed
    int64_t *drawn_mA           # what is drawn within setpoints
    fill_t *fills
    slot_t *heap
    int32_t n_heap
    int32_t *critical           # crumbs: limits of a round
    # work: per circuit
    span_t *spans
    # work: per circuit phase
    int64_t *draw_low_mA
    int64_t *draw_high_mA
    int64_t *granted_mA
    int64_t *reserved_mA
    int64_t *draw_able_mA       # what measured chargers can have drawn at the meter's value
    # work: per charger
    int64_t *x_fx               # share, in parts of a mA
    int64_t *keys               # what `stops` is sorted by
    int32_t *x_mA               # share, on the step grid
    int32_t *blocked_by         # limit that stopped it, or NONE: its own maximum
    int32_t *blocked_low_by     # ... in the share by the lowest background
    int32_t *refused_by         # limit that has no room for its minimum, or NONE
    int32_t *phase_of_share     # share: waiting, rising, frozen
    int32_t *most_mA            # its maximum, or what it is held to
    int32_t *is_in              # admitted, or asking, for the rule at work
    int64_t *turn_since_ns      # turns: within a claim, the earlier goes first
    int32_t *claim              # turns: Claim
    int32_t *turn               # turns: chargers in the order that they are considered in
    int32_t *passes_on          # admit: it is out because its turn is over and another's came
    int32_t *order
    int32_t *stops
    int32_t *spare              # for sorting
    # work: per member
    int32_t *chain              # crumbs: next open member of the same limit
