"""The border of the control law: the core of one site, and its rules called in order.

Owns the static tables and the work space, both of a size fixed when it is made; all state is in
the plant block that the caller attaches. Never does I/O, reads no clock, allocates nothing in
`step` and `confirm`, which run without the interpreter lock. Called by the scan's main thread
only, or by `whatif` on a block of its own.
"""

cimport cython
from cpython.mem cimport PyMem_Free
from libc.stdint cimport int32_t, int64_t, uintptr_t

from loadctl.law.admit cimport admit, admit_settled
from loadctl.law.alarm cimport latch, note_backgrounds, set_failsafe_targets
from loadctl.law.cap cimport cap_unused
from loadctl.law.configure cimport begin_block, configure, fill_tuning
from loadctl.law.estimate cimport estimate, estimate_rigorous, estimate_settled
from loadctl.law.judge cimport judge_gives, mark_looks, order_probes, probe_mA
from loadctl.law.external cimport name_external, set_limits
from loadctl.law.layout cimport N_PHASES, charger_t, circuit_t, meter_t, site_t
from loadctl.law.limits cimport (
    cut_by_meters, do_caps_differ, fill_caps, lift_to_minima, open_caps, sum_minima, take_off_fixed,
)
from loadctl.law.live cimport adopt
from loadctl.law.meters cimport count_read, has_right_voltages, judge_meters, keep_load
from loadctl.law.order cimport (
    ACTION_GIVE, ACTION_TAKE, MODE_RUN, MODE_STOP, is_sound, order_raises, order_takes,
    settle_grants, sum_up,
)
from loadctl.law.phases cimport is_wired, use_phases
from loadctl.law.ramp cimport begin_run
from loadctl.law.reserve cimport (
    answered_probe, armed, disarmed, prove_by_time, reported, sampled, sent, unanswered,
    update_reserves,
)
from loadctl.law.retune cimport begin_live, check_all_live, retune
from loadctl.law.session cimport advance_sessions, hold_to_maxima, mark_candidates
from loadctl.law.share cimport share
from loadctl.law.starve cimport starve
from loadctl.law.tables cimport (
    CODE_BAD_FRAME, CODE_GOOD, CODE_IMPLAUSIBLE, CODE_NO_ANSWER, law_t,
)
from loadctl.law.thermal cimport follow_fuses, hold_shares, name_cooling

from loadctl.errors import CoreFault
from loadctl.law.configure import check_external_limit, mA_from_W

RESULT_GOOD = 0
RESULT_TIME_WENT_BACK = 1
RESULT_UNSOUND = 2

cdef enum:
    GOOD = 0
    TIME_WENT_BACK = 1
    UNSOUND = 2     # an action that its charger cannot take: a fault of the law itself


cdef int run_step(law_t *law, int64_t now_ns) noexcept nogil:
    """One pass of the law over the inputs of this scan."""
    cdef int64_t since_ns = law.site.now_ns if law.site.has_stepped else now_ns
    if law.site.has_stepped and now_ns < law.site.now_ns:
        return TIME_WENT_BACK
    begin_scan(law, now_ns)
    set_limits(law, now_ns)
    judge_meters(law)
    starve(law, now_ns)
    advance_sessions(law, now_ns, since_ns)
    use_phases(law)
    mark_candidates(law, now_ns)
    cap_unused(law, now_ns)
    prove_by_time(law, now_ns)
    update_reserves(law, now_ns)
    estimate(law, now_ns)
    follow_fuses(law, now_ns)
    set_failsafe_targets(law)
    fill_caps(law)
    if law.site.mode == MODE_RUN:
        take_off_fixed(law)
        hold_shares(law)
    else:
        open_caps(law)
    cut_by_meters(law, now_ns)
    admit(law, now_ns)
    sum_minima(law)
    share(law, law.cap_low_mA)
    keep_low_shares(law)
    lift_to_minima(law)
    if do_caps_differ(law):     # else it is the share at hand
        share(law, law.cap_high_mA)
    keep_high_shares(law)
    order_takes(law, now_ns)
    order_raises(law, now_ns)
    name_cooling(law)
    name_external(law)
    order_probes(law)
    mark_looks(law)
    sum_up(law)
    return GOOD if is_sound(law) else UNSOUND


cdef int run_confirm(law_t *law, int64_t now_ns) noexcept nogil:
    """Judge the gives by what was acknowledged and read since the step."""
    if now_ns < law.site.now_ns:
        return TIME_WENT_BACK
    use_phases(law)
    update_reserves(law, now_ns)
    estimate_rigorous(law)
    note_backgrounds(law, now_ns)
    judge_gives(law)
    sum_up(law)
    law.site.is_confirmed = True
    return GOOD if is_sound(law) else UNSOUND


cdef void begin_scan(law_t *law, int64_t now_ns) noexcept nogil:
    if not law.site.has_stepped:
        law.site.has_stepped = True
        law.site.first_step_at_ns = now_ns
    if law.site.mode == MODE_RUN and not law.site.is_running:
        begin_run(law, now_ns)
    law.site.is_running = law.site.mode == MODE_RUN
    law.site.is_confirmed = False
    law.site.now_ns = now_ns
    law.site.scan_i += 1


cdef void keep_low_shares(law_t *law) noexcept nogil:
    cdef int32_t i
    for i in range(law.n_chargers):
        law.chargers[i].share_low_mA = law.x_mA[i]
        law.blocked_low_by[i] = law.blocked_by[i]


cdef void keep_high_shares(law_t *law) noexcept nogil:
    """Raise only to what both shares allow: less room elsewhere can make one share larger, and what
    is raised beyond the low share would be cut again in the next scan."""
    cdef int32_t i
    for i in range(law.n_chargers):
        law.chargers[i].share_high_mA = min(law.x_mA[i], law.chargers[i].share_low_mA)


cdef void run_settle(law_t *law) noexcept nogil:
    """The allocation at rest for those in `is_in`."""
    use_phases(law)
    hold_to_maxima(law)
    set_limits(law, law.site.now_ns)
    update_reserves(law, law.site.now_ns)
    estimate_settled(law)
    fill_caps(law)
    admit_settled(law, law.cap_high_mA)
    sum_minima(law)
    share(law, law.cap_high_mA)
    settle_grants(law)
    name_external(law)


@cython.final
cdef class Core:
    """See `_core.pyi` for the border as its callers see it."""

    def __cinit__(self, tables):
        try:
            self._arena = configure(&self.law, tables)
        except ValueError as error:
            raise CoreFault(str(error)) from None
        self._tables = tables
        self.plant_bytes = (
            sizeof(site_t)
            + self.law.n_circuits * sizeof(circuit_t)
            + self.law.n_meters * sizeof(meter_t)
            + self.law.n_chargers * sizeof(charger_t)
        )

    def __dealloc__(self):
        PyMem_Free(self._arena)

    def attach(self, plant):
        """Use this writable block; a block of zeros becomes a fresh START."""
        cdef unsigned char[::1] block = plant
        cdef char *at = <char *>&block[0]
        if block.shape[0] != self.plant_bytes:
            raise CoreFault(f"plant block: {block.shape[0]} bytes, not {self.plant_bytes}")
        if <uintptr_t>at % 8 != 0:
            raise CoreFault(f"plant block: begins at {<uintptr_t>at:#x}, not at a multiple of 8")
        self._plant = block
        self.law.site = <site_t *>at
        self.law.circuits = <circuit_t *>(at + sizeof(site_t))
        self.law.meters = <meter_t *>(self.law.circuits + self.law.n_circuits)
        self.law.chargers = <charger_t *>(self.law.meters + self.law.n_meters)
        if self.law.site.is_ready:
            self._check_block()
            adopt(&self.law)
            return
        begin_live(&self.law, self._tables)
        adopt(&self.law)
        begin_block(&self.law, self._tables)

    cdef int _check_block(self) except -1:
        """A block that was filled elsewhere must be of this site."""
        counts = (self.law.site.n_circuits, self.law.site.n_meters, self.law.site.n_chargers)
        if counts != (self.law.n_circuits, self.law.n_meters, self.law.n_chargers):
            raise CoreFault(f"plant block: circuits, meters, chargers {counts} of another site")
        try:
            check_all_live(&self.law, self._tables)
        except ValueError as error:
            raise CoreFault(f"plant block: {error}") from None
        return 0

    cdef int _attached(self) except -1:
        if self.law.site == NULL:
            raise CoreFault("plant block: none is attached")
        return 0

    cdef int _check_charger(self, Py_ssize_t charger_i) except -1:
        self._attached()
        if not 0 <= charger_i < self.law.n_chargers:
            raise CoreFault(f"charger index: {charger_i} of {self.law.n_chargers}")
        return 0

    def set_tuning(self, tuning):
        self._attached()
        try:
            fill_tuning(&self.law, tuning)
        except ValueError as error:
            raise CoreFault(str(error)) from None

    def retune(self, changes):
        """Let other live values count from the next step on: (slot, value) each, all or none."""
        self._attached()
        try:
            retune(&self.law, self._tables, changes)
        except ValueError as error:
            raise CoreFault(str(error)) from None

    def set_mode(self, int32_t mode):
        self._attached()
        if not 0 <= mode <= <int32_t>MODE_STOP:
            raise CoreFault(f"mode: {mode} is not within 0 to {<int32_t>MODE_STOP}")
        self.law.site.mode = mode

    def meter_read(
        self, Py_ssize_t meter_i, int32_t code, current_mA, power_W, voltage_mV, int64_t at_ns
    ):
        """Take in a meter's values, or that there are none, for the scan that steps next."""
        cdef meter_t *meter
        cdef bint is_same = True, is_flicker = False
        cdef int32_t volts_mV[3]
        cdef int32_t p
        self._attached()
        if not 0 <= meter_i < self.law.n_meters:
            raise CoreFault(f"meter index: {meter_i} of {self.law.n_meters}")
        meter = &self.law.meters[meter_i]
        meter.tried_scan_i = self.law.site.scan_i + 1
        meter.code = CODE_IMPLAUSIBLE if code == CODE_GOOD and current_mA is None else code
        if meter.code != CODE_GOOD:
            return
        if voltage_mV is not None:
            for p in range(N_PHASES):
                volts_mV[p] = voltage_mV[p]
            if not has_right_voltages(&self.law, meter_i, volts_mV):
                meter.code = CODE_IMPLAUSIBLE
                meter.n_implausible += 1
                return
        if meter.has_value:
            for p in range(N_PHASES):
                if voltage_mV is not None and voltage_mV[p] != meter.voltage_mV[p]:
                    is_flicker = True
                if current_mA[p] != meter.current_mA[p]:
                    is_same = False
                if power_W is not None and power_W[p] != meter.power_W[p]:
                    is_same = False
            if meter.read_scan_i != self.law.site.scan_i:
                meter.has_gap = True
                meter.part_at_ns += at_ns - meter.at_ns     # counts outlast a time without reads
        count_read(meter, meter.has_value and is_same and not is_flicker, is_flicker, at_ns)
        meter.has_value = True
        meter.has_power = power_W is not None
        meter.has_voltage = voltage_mV is not None
        meter.at_ns = at_ns
        meter.read_scan_i = self.law.site.scan_i + 1
        for p in range(N_PHASES):
            meter.current_mA[p] = current_mA[p]
            meter.power_W[p] = power_W[p] if meter.has_power else 0
            meter.voltage_mV[p] = voltage_mV[p] if meter.has_voltage else 0
            meter.load_mA[p] = abs(meter.current_mA[p])
            if meter.power_W[p] < 0:
                meter.load_mA[p] = -meter.load_mA[p]
        keep_load(&self.law, meter)

    def charger_status(
        self, Py_ssize_t charger_i, int32_t code, state, current_mA, setpoint_mA, int64_t at_ns
    ):
        """Take in a status block: `current_mA` is on terminals 1, 2, 3 of the charger."""
        cdef charger_t *charger
        cdef int32_t draw_mA[3]
        cdef int32_t k
        self._check_charger(charger_i)
        charger = &self.law.chargers[charger_i]
        charger.code = code
        if code == CODE_NO_ANSWER or code == CODE_BAD_FRAME:
            unanswered(&self.law, charger_i)
        if code != CODE_GOOD:
            return
        charger.status_at_ns = at_ns
        charger.has_status = True
        charger.state = "?ABCDEF".index(state) if state is not None else 0
        charger.has_reported = setpoint_mA is not None
        charger.reported_mA = setpoint_mA if charger.has_reported else 0
        reported(&self.law, charger_i)
        if current_mA is None or not self.law.charger_rows[charger_i].has_measured_current:
            return
        draw_mA[0] = draw_mA[1] = draw_mA[2] = 0
        for k in range(self.law.charger_rows[charger_i].n_wired):
            draw_mA[self.law.charger_rows[charger_i].wired[k]] = max(0, current_mA[k])
        sampled(&self.law, charger_i, draw_mA, at_ns)

    def charger_armed(self, Py_ssize_t charger_i, bint is_armed, setpoint_mA):
        """Take in that its watchdog and fallback are set, and what its setpoint register held."""
        self._check_charger(charger_i)
        if is_armed:
            armed(
                &self.law, charger_i, setpoint_mA is not None,
                0 if setpoint_mA is None else setpoint_mA,
            )
        else:
            disarmed(&self.law, charger_i)

    def charger_answered(self, Py_ssize_t charger_i, int32_t code, int64_t at_ns):
        """Take in how any other exchange ended. Only a probe ends silence."""
        self._check_charger(charger_i)
        self.law.chargers[charger_i].code = code
        if code == CODE_NO_ANSWER or code == CODE_BAD_FRAME:
            unanswered(&self.law, charger_i)

    def step(self, int64_t now_ns):
        cdef int result
        self._attached()
        with nogil:
            result = run_step(&self.law, now_ns)
        return result

    def confirm(self, int64_t now_ns):
        cdef int result
        self._attached()
        with nogil:
            result = run_confirm(&self.law, now_ns)
        return result

    def takes(self):
        """(charger_i, setpoint_mA), largest decrease of what is reserved first."""
        cdef charger_t *charger
        cdef int32_t i
        self._attached()
        takes = []
        for i in range(self.law.n_chargers):
            charger = &self.law.chargers[i]
            if charger.action == ACTION_TAKE:
                takes.append((charger.action_mA - charger.reserve_mA, i, charger.action_mA))
        return [(i, setpoint_mA) for _, i, setpoint_mA in sorted(takes)]

    def gives(self):
        """(charger_i, setpoint_mA) that stood the last judgement, in tier and file order."""
        cdef int32_t k, i
        self._attached()
        if not self.law.site.is_confirmed:
            return []
        ranked = [self.law.by_rank[k] for k in range(self.law.n_chargers)]
        return [
            (i, self.law.chargers[i].action_mA)
            for i in ranked
            if self.law.chargers[i].action == ACTION_GIVE
        ]

    def looks(self):
        """Chargers to read again before confirm, largest known draw first."""
        cdef int32_t i
        self._attached()
        looks = [
            (-sum(self.law.chargers[i].draw_mA), i)
            for i in range(self.law.n_chargers)
            if self.law.chargers[i].needs_look
        ]
        return [i for _, i in sorted(looks)]

    def take_done(self, Py_ssize_t charger_i, int32_t code, int64_t at_ns):
        self._written(charger_i, ACTION_TAKE, code, at_ns)

    def give_done(self, Py_ssize_t charger_i, int32_t code, int64_t at_ns):
        self._written(charger_i, ACTION_GIVE, code, at_ns)

    def _written(self, Py_ssize_t charger_i, int32_t action, int32_t code, int64_t at_ns):
        cdef charger_t *charger
        self._check_charger(charger_i)
        charger = &self.law.chargers[charger_i]
        if charger.action != action:
            raise CoreFault(f"charger {charger_i}: reports a write that was not ordered")
        charger.code = code
        sent(&self.law, charger_i, charger.action_mA, code, at_ns)

    def refreshed(self, Py_ssize_t charger_i, int32_t code, int64_t at_ns):
        """Take in that the setpoint was written again, or a probe where the charger is silent."""
        self._check_charger(charger_i)
        if self.law.chargers[charger_i].is_silent:
            self.probe_done(charger_i, code, at_ns)
        else:
            self.law.chargers[charger_i].code = code
            sent(&self.law, charger_i, self.law.chargers[charger_i].setpoint_mA, code, at_ns)

    def probe_mA(self, Py_ssize_t charger_i):
        """What a probe of a silent charger writes: at most min(last setpoint, failsafe)."""
        self._check_charger(charger_i)
        return probe_mA(&self.law, charger_i)

    def probe_done(self, Py_ssize_t charger_i, int32_t code, int64_t at_ns):
        """Take in what became of a probe; an acknowledged one ends the silence."""
        self._check_charger(charger_i)
        self.law.chargers[charger_i].code = code
        sent(&self.law, charger_i, probe_mA(&self.law, charger_i), code, at_ns)
        if code == CODE_GOOD:
            answered_probe(&self.law, charger_i, at_ns)

    def settle(self, wants):
        """Write into grants what this would come to rest at, by tier and file order."""
        cdef int32_t i
        self._attached()
        if len(wants) != self.law.n_chargers:
            raise CoreFault(f"wants: {len(wants)} of {self.law.n_chargers} chargers")
        for i in range(self.law.n_chargers):
            self.law.is_in[i] = (
                bool(wants[i]) and not self.law.charger_rows[i].is_isolated
                and self.law.chargers[i].is_enabled
            )
            self.law.refused_by[i] = -1
        with nogil:
            run_settle(&self.law)
        return GOOD

    def site(self):
        self._attached()
        return self.law.site[0]

    def circuit(self, Py_ssize_t circuit_i):
        self._attached()
        if not 0 <= circuit_i < self.law.n_circuits:
            raise CoreFault(f"circuit index: {circuit_i} of {self.law.n_circuits}")
        return self.law.circuits[circuit_i]

    def meter(self, Py_ssize_t meter_i):
        self._attached()
        if not 0 <= meter_i < self.law.n_meters:
            raise CoreFault(f"meter index: {meter_i} of {self.law.n_meters}")
        return self.law.meters[meter_i]

    def charger(self, Py_ssize_t charger_i):
        self._check_charger(charger_i)
        return self.law.chargers[charger_i]

    def starving(self):
        """Chargers that must get no message in this scan."""
        cdef int32_t i
        self._attached()
        return [i for i in range(self.law.n_chargers) if self.law.chargers[i].is_starving]

    def failsafe_mA(self):
        """The failsafe target of each charger now."""
        cdef int32_t i
        self._attached()
        return [self.law.chargers[i].failsafe_mA for i in range(self.law.n_chargers)]

    def seen_backgrounds_mA(self):
        """Per circuit the background latched above the declared one, or None."""
        cdef int32_t c
        self._attached()
        return [
            tuple(self.law.circuits[c].seen_background_mA)
            if self.law.circuits[c].is_alarmed else None
            for c in range(self.law.n_circuits)
        ]

    def latch_background(self, Py_ssize_t circuit_i, seen_mA):
        """Take over what an earlier scan of this site has seen."""
        cdef int32_t p
        self._attached()
        if not 0 <= circuit_i < self.law.n_circuits:
            raise CoreFault(f"circuit index: {circuit_i} of {self.law.n_circuits}")
        for p in range(N_PHASES):
            latch(&self.law, circuit_i, p, seen_mA[p])

    def external_limit(self, Py_ssize_t circuit_i, limit_mA, power_W, until_ns, int64_t at_ns):
        """Take in what came from outside; it replaces all that came before."""
        cdef circuit_t *circuit
        cdef int32_t p
        self._attached()
        try:
            check_external_limit(self._tables, circuit_i, limit_mA, power_W)
        except ValueError as error:
            raise CoreFault(str(error)) from None
        circuit = &self.law.circuits[circuit_i]
        circuit.external_has_current = limit_mA is not None
        for p in range(N_PHASES):
            circuit.external_mA[p] = limit_mA[p] if limit_mA is not None else 0
        circuit.external_has_power = power_W is not None
        circuit.external_power_mA = mA_from_W(self._tables, power_W or 0)
        circuit.external_ends = until_ns is not None
        circuit.external_until_ns = until_ns if until_ns is not None else 0
        circuit.external_is_heard = True
        circuit.external_heard_at_ns = at_ns

    def cooling(self):
        """(circuit_i, phase) whose fuse has to cool."""
        cdef int32_t c, p
        self._attached()
        return [
            (c, p) for c in range(self.law.n_circuits) for p in range(N_PHASES)
            if self.law.circuits[c].is_cooling[p]
        ]

    def reserves_mA(self):
        cdef int32_t i
        self._attached()
        return [self.law.chargers[i].reserve_mA for i in range(self.law.n_chargers)]

    def used_phases(self):
        cdef int32_t i, p
        self._attached()
        return [
            tuple(
                p for p in range(N_PHASES)
                if is_wired(&self.law.charger_rows[i], p)
                and not self.law.chargers[i].unused_phases >> p & 1
            )
            for i in range(self.law.n_chargers)
        ]

    def backgrounds_high_mA(self):
        cdef int32_t c
        self._attached()
        return [
            tuple(self.law.circuits[c].background_rigorous_mA) for c in range(self.law.n_circuits)
        ]
