"""The plant block: every input, state and output of the control law, as flat structs of one run of
bytes.

Order in the block: one site_t, then all circuit_t, meter_t, charger_t, in the order of the site
file. Only int32 and int64, the wide ones first and an even number of the narrow ones, so that no
struct has padding and each is a multiple of 8 bytes. Zero everywhere is a fresh START: flags,
not magic values, say what is known.
"""

from libc.stdint cimport int32_t, int64_t

cdef enum:
    N_PHASES = 3
    N_KINDS = 11        # limits of a circuit: phases, power, six ordered phase pairs, charger power
    N_SAMPLES = 8       # samples of a charger's draw that are kept
    N_PEAKS = 8         # parts that the hold time of a background peak is cut into
    N_DIPS = 6          # parts of a second in which a background must stay to be believed
    N_KEPT = 8          # parts of the time that meters lag for which loads are kept

ctypedef struct tuning_t:
    int64_t peak_hold_ns
    int64_t raise_delay_ns
    int64_t ramp_mA_per_s
    int64_t deadband_mA
    int64_t trim_ns
    int64_t raise_every_ns
    int64_t meter_stale_ns
    int64_t soft_start_ns
    int64_t unused_ns
    int64_t wake_ns
    int64_t retry_ns
    int64_t car_follow_ns
    int64_t min_on_ns
    int64_t min_off_ns
    int64_t admit_margin_mA
    int64_t rotate_ns
    int64_t healthy_scans
    int64_t stagger_ns

ctypedef struct site_t:
    int64_t now_ns              # of the last step
    int64_t first_step_at_ns    # valid when has_stepped
    int64_t scan_i              # steps so far; inputs carry the number of their scan
    tuning_t tuning
    int32_t is_ready            # attached once; a block of zeros is not
    int32_t mode                # START 0, RUN 1, FAILSAFE 2, STOP 3
    int32_t n_circuits
    int32_t n_meters
    int32_t n_chargers
    int32_t has_stepped
    int32_t is_running          # the last step was in RUN
    int32_t is_confirmed        # gives may be sent: confirm ran after the last step

ctypedef struct circuit_t:
    int64_t raise_after_ns[3]           # no raise below this circuit phase before
    int64_t peak_at_ns                  # when the newest part of the peak hold began
    int64_t dip_at_ns                   # when the newest part of the dip hold began
    int64_t over_since_ns[3]            # valid when over_mA: above the declared since then
    int64_t excess_since_ns[4]          # valid when has_excess: its meter above the limit
    int64_t power_limit_mA              # in force, sum over phases; valid when has_power_limit
    int64_t charger_power_limit_mA      # ... of chargers alone; valid when has_charger_power_limit
    int64_t external_power_mA           # valid when external_has_power: as commanded
    int64_t external_heard_at_ns        # valid when external_is_heard: of the last command
    int64_t external_until_ns           # valid when external_ends
    int64_t heat_at_ns                  # valid when has_heat_at
    int64_t heat_fx[3]                  # of its fuse, in parts of 2^-28 of the tripping load
    int32_t limit_mA[3]                 # in force
    int32_t background_mA[3]            # highest of the hold time: what shares leave room for
    int32_t background_low_mA[3]        # least that it can be now: what cuts are judged by
    int32_t background_rigorous_mA[3]   # most that it can be now: what a raise is judged by
    int32_t headroom_mA[3]              # limit - margin - background
    int32_t granted_mA[3]               # sum of grants below
    int32_t reserved_mA[3]              # sum of reserves below
    int32_t peak_mA[24]                 # [part * 3 + phase]
    int32_t peak_i
    int32_t n_peaks
    int32_t dip_mA[18]                  # [part * 3 + phase], by the most that is known to be drawn
    int32_t calm_mA[18]                 # ... by the least
    int32_t dip_i
    int32_t n_dips
    int32_t source                      # Source: where the background comes from
    int32_t may_raise                   # its meter was read in this scan, or it needs none
    int32_t is_overloaded[3]            # setpoints or meter above the limit in this scan
    int32_t is_above[3]                 # ... the meter, beyond takes that are still followed
    int32_t seen_background_mA[3]       # highest sure background above the declared one; latched
    int32_t is_alarmed                  # it was seen above
    int32_t has_excess[4]               # by phase, and power
    int32_t over_mA[3]                  # least sure background since over_since_ns; 0: not above
    int32_t has_power_limit
    int32_t has_charger_power_limit
    int32_t external_mA[3]              # valid when external_has_current: as commanded
    int32_t external_has_current
    int32_t external_has_power
    int32_t external_is_heard           # a command ever came in: limits, or that there are none
    int32_t external_ends
    int32_t external_state              # External: what counts now
    int32_t external_kinds              # bit k: the limit of kind k in force is the external one
    int32_t external_is_lifted          # ... its power counts as the guaranteed minimum
    int32_t has_heat_at
    int32_t heat_permille[3]            # heat_fx, rounded up
    int32_t is_cooling[3]               # its fuse was too warm, and is not cool enough yet
    int32_t is_held_back                # ... and on some phase shares keep below the limit for it
    int32_t live_limit_mA[3]            # live: its own, as the site file says or lower
    int32_t live_margin_mA              # ... as the site file says or higher

ctypedef struct meter_t:
    int64_t at_ns               # of the last good value
    int64_t trusted_at_ns       # of the last value that was believed
    int64_t changed_at_ns       # since when every value has been the same
    int64_t differs_since_ns    # valid when differs: draws below have moved, the meter has not
    int64_t part_at_ns          # when the newest part of the counts below began
    int64_t longest_ns[2]       # longest stillness that ended by itself, in either part
    int64_t stood_ns[2]         # all of them together
    int64_t kept_at_ns[8]       # ring, newest at kept_i: when the first load of a part was read
    int64_t read_scan_i         # scan of the last good value
    int64_t tried_scan_i
    int32_t current_mA[3]
    int32_t power_W[3]
    int32_t voltage_mV[3]
    int32_t load_mA[3]          # current, negative where signed power says export
    int32_t code                # hw.wire.Code of the last exchange
    int32_t has_value
    int32_t has_power
    int32_t has_voltage
    int32_t quality             # Quality of this scan
    int32_t seen_voltage        # bit p: phase p was ever within its range
    int32_t n_reads[2]          # in the newest part and the one before
    int32_t n_flickers[2]       # of those, reads with another voltage than the read before
    int32_t has_base
    int32_t n_based             # chargers that base_mA is the sum of
    int32_t base_mA[3]          # draws below when it had been the same for a while
    int32_t differs
    int32_t is_frozen           # seen to stand still; until a value changes
    int32_t n_implausible       # readings with voltages that cannot be
    int32_t has_gap             # not read in some scan since its values last changed
    int32_t has_changed         # since the first reading
    int32_t kept_low_mA[24]     # least load of each part, [part * 3 + phase]
    int32_t kept_high_mA[24]    # ... and most
    int32_t kept_i
    int32_t n_kept
    int32_t has_exported        # load_mA was ever below zero
    int32_t is_spare            # keeps the rows even

ctypedef struct charger_t:
    int64_t status_at_ns        # of the last good status block
    int64_t sample_at_ns[8]     # ring, newest at sample_i
    int64_t acknowledged_at_ns  # of the setpoint in force, or of the last sample above it
    int64_t raised_at_ns        # valid when has_raised
    int64_t raise_after_ns      # stagger: no raise before
    int64_t below_since_ns      # valid when is_below: share within the deadband above
    int64_t on_since_ns         # valid when setpoint_mA > 0
    int64_t off_since_ns        # valid when was_paused
    int64_t fits_since_ns       # valid when has_fitted
    int64_t refused_since_ns    # valid when is_refusing
    int64_t above_since_ns      # valid when is_above: it should have followed from then on
    int64_t starve_until_ns     # valid when is_starving
    int64_t session_since_ns    # of the session's present part
    int64_t waits_since_ns      # valid when is_waiting
    int64_t admitted_since_ns   # valid when is_admitted
    int64_t drew_at_ns          # valid when has_drawn: when it last took current
    int64_t offered_at_ns       # done: when its latest offer began
    int64_t less_since_ns       # valid when takes_less
    int64_t cap_at_ns           # valid when has_cap: when it last moved
    int64_t idle_since_ns[3]    # valid for the bits of idle_phases
    int64_t turn_at_ns          # valid when place > 0: about when its turn comes
    int64_t taken_mAms          # charge of this session over all phases, in mA times ms
    int32_t sample_mA[24]       # [slot * 3 + grid phase]
    int32_t draw_mA[3]          # newest sample, by grid phase
    int32_t sample_i
    int32_t n_samples
    int32_t code                # hw.wire.Code of the last exchange
    int32_t state               # 0 unknown, 1..6 = A..F
    int32_t reported_mA         # setpoint that the box says is in force
    int32_t has_reported
    int32_t has_status          # a good status block was ever read
    int32_t is_armed
    int32_t is_silent
    int32_t is_acknowledged     # the last setpoint sent was
    int32_t is_unproven         # ceiling_mA above the setpoint in force
    int32_t has_seen_above      # a sample above the setpoint since it was acknowledged
    int32_t is_overdue          # should have followed by now and did not
    int32_t setpoint_mA         # last setpoint sent; a raise counts when acknowledged
    int32_t ceiling_mA          # highest setpoint sent since the last proof
    int32_t reserve_mA          # what it must be assumed able to draw
    int32_t is_candidate        # may be given current
    int32_t is_admitted
    int32_t was_paused
    int32_t has_fitted
    int32_t is_below
    int32_t share_low_mA        # share by the lowest background: above it, cut
    int32_t share_high_mA       # share by the held background: below it, raise
    int32_t has_raised
    int32_t action              # Action of this scan
    int32_t is_start            # the give starts a session
    int32_t action_mA           # setpoint of that action
    int32_t grant_mA            # setpoint decided for this scan
    int32_t needs_look
    int32_t reason              # Reason
    int32_t binding_circuit     # valid when has_binding
    int32_t binding_kind        # 0..2 phase, 3 power, 4..9 phase pair, 10 charger power
    int32_t has_binding
    int32_t is_refusing         # the last decrease was refused
    int32_t is_starving          # no message may go there: its own fallback is to act
    int32_t n_starves
    int32_t is_stubborn         # starved for what its car took; not seen to obey since
    int32_t is_above            # the newest sample is above a setpoint that it acknowledged
    int32_t above_mA            # valid when is_above: that setpoint
    int32_t failsafe_mA         # failsafe target now: its own, or 0 where the proof needs it
    int32_t session             # Part of the session
    int32_t has_drawn           # took current since it was plugged in
    int32_t is_waiting          # asks for current and has none
    int32_t is_sleeper          # did not wake after a pause: others pass on their places first
    int32_t pause               # Pause: why it was paused, valid when was_paused
    int32_t is_doubted          # drew more than a setpoint that it had been proven at
    int32_t place               # among those of its tier that wait for a place; 0: none
    int32_t reason_s            # the time that goes with the reason; 0: none
    int32_t takes_less          # takes less than it is offered
    int32_t less_mA             # valid when takes_less: the most that it took meanwhile
    int32_t has_cap
    int32_t cap_mA              # valid when has_cap: the most that it is offered
    int32_t over_mA             # seen above a setpoint that it follows, within pilot tolerance
    int32_t idle_phases         # bit p: grid phase p carries nothing while another is charged on
    int32_t unused_phases       # bit p: its car does not use grid phase p, until it is unplugged
    int32_t live_min_mA         # live, as the five that follow: what counts of the site file now
    int32_t live_max_mA
    int32_t live_priority
    int32_t live_weight
    int32_t live_never_pause
    int32_t is_enabled          # may be given current at all
