"""Configure: the tables of a site checked once and laid out as C arrays.

With `retune` the only place of the law that sees Python objects, and the only one that allocates:
one run of memory for all static rows and all work space, which the core frees. Every bound that the
rules rely on is checked here; what is out of bounds raises ValueError with place, value and bound.
What may be changed later comes into the rows by way of the block (`live`). Imports nothing of ours:
rows are taken by the names of their fields.
"""

from cpython.mem cimport PyMem_Calloc
from libc.stdint cimport int32_t, int64_t, uintptr_t

from loadctl.law.draws cimport EXCHANGES_ns
from loadctl.law.external cimport set_limits
from loadctl.law.layout cimport N_KEPT, N_KINDS, N_PHASES, tuning_t
from loadctl.law.phases cimport MOST_PAIRS, lay_out_phases
from loadctl.law.tables cimport (
    KIND_CHARGERS, KIND_PAIRS, KIND_POWER, NONE, charger_row_t, circuit_row_t, fill_t, law_t,
    member_t, slot_t, span_t,
)
from loadctl.law.thermal cimport HEAT_FULL

from loadctl.law.fuse import COOL_BELOW_PERCENT, WARNS_ABOVE_PERCENT, fuse

cdef enum:
    LINE_BYTES = 64

_PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
MAX_CURRENT_mA = 10_000_000
_MAX_CIRCUIT_mA = 100_000_000
_MAX_POWER_W = 10_000_000
MAX_WEIGHT = 10_000
_MAX_CHARGERS = 16384
_MAX_BELOW_mA = 34_359_738_367   # share: so that its levels are fine enough to be told apart
_MAX_SPAN_ns = 1_000_000_000_000_000
TUNING = (
    "peak_hold_ns", "raise_delay_ns", "ramp_mA_per_s", "deadband_mA", "trim_ns", "raise_every_ns",
    "meter_stale_ns", "soft_start_ns", "unused_ns", "wake_ns", "retry_ns", "car_follow_ns",
    "min_on_ns", "min_off_ns", "admit_margin_mA", "rotate_ns", "healthy_scans", "stagger_ns",
)


cdef void *configure(law_t *law, object tables) except NULL:
    """Check the tables, lay them out, and return the memory that holds all of it."""
    cdef void *arena
    circuits, chargers = tables.circuits, tables.chargers
    check_circuits(tables)
    for row in chargers:
        check_charger(row, len(circuits))
    within("charger count", len(chargers), 0, _MAX_CHARGERS)
    check_sums(tables)
    law.n_circuits = len(circuits)
    law.n_meters = len(tables.meters)
    law.n_chargers = len(chargers)
    law.n_limits = law.n_circuits * N_KINDS
    arena = lay_out(law, sum(most_members(row, circuits) for row in chargers))
    fill_circuits(law, tables)
    fill_chargers(law, tables)
    fill_live(law, tables)
    return arena


cdef void *lay_out(law_t *law, size_t n_members) except NULL:
    """Allocate once and hand every array its part: a first time to learn how much it comes to."""
    cdef uintptr_t at = 0
    cdef void *arena
    law.n_members = n_members
    hand_out(law, &at)
    arena = PyMem_Calloc(1, at + LINE_BYTES)
    if arena == NULL:
        raise MemoryError
    at = <uintptr_t>arena + LINE_BYTES - <uintptr_t>arena % LINE_BYTES
    hand_out(law, &at)
    return arena


cdef void hand_out(law_t *law, uintptr_t *at) noexcept:
    """What fills lines of the cache first, then wide ones, then narrow ones: all are aligned."""
    cdef size_t n = law.n_chargers, limits = law.n_limits, phases = law.n_circuits * N_PHASES
    law.fills = <fill_t *>part(at, limits * sizeof(fill_t))
    law.charger_rows = <charger_row_t *>part(at, n * sizeof(charger_row_t))
    law.cap_low_mA = longs(at, limits)
    law.cap_high_mA = longs(at, limits)
    law.used_mA = longs(at, limits)
    law.held_mA = longs(at, limits)
    law.base_mA = longs(at, limits)
    law.minima_mA = longs(at, limits)
    law.late_mA = longs(at, limits)
    law.drawn_mA = longs(at, limits)
    law.most_below_mA = longs(at, limits)
    law.heap = <slot_t *>part(at, limits * sizeof(slot_t))
    law.draw_low_mA = longs(at, phases)
    law.draw_high_mA = longs(at, phases)
    law.granted_mA = longs(at, phases)
    law.reserved_mA = longs(at, phases)
    law.draw_able_mA = longs(at, phases)
    law.spans = <span_t *>part(at, law.n_circuits * sizeof(span_t))
    law.x_fx = longs(at, n)
    law.keys = longs(at, n)
    law.turn_since_ns = longs(at, n)
    law.ranks = longs(at, n)
    law.meter_lags_ns = longs(at, law.n_meters)
    law.circuit_rows = <circuit_row_t *>part(at, law.n_circuits * sizeof(circuit_row_t))
    law.members = <member_t *>part(at, law.n_members * sizeof(member_t))
    law.owners = ints(at, law.n_members)
    law.below = ints(at, law.n_members)
    law.chain = ints(at, law.n_members)
    law.first_below = ints(at, limits + 1)
    law.live = ints(at, limits)
    law.critical = ints(at, limits)
    law.by_rank = ints(at, n)
    law.by_start = ints(at, n)
    law.by_stop = ints(at, n)
    law.tier_ends = ints(at, n)
    law.x_mA = ints(at, n)
    law.blocked_by = ints(at, n)
    law.blocked_low_by = ints(at, n)
    law.refused_by = ints(at, n)
    law.phase_of_share = ints(at, n)
    law.most_mA = ints(at, n)
    law.is_in = ints(at, n)
    law.claim = ints(at, n)
    law.turn = ints(at, n)
    law.passes_on = ints(at, n)
    law.order = ints(at, n)
    law.stops = ints(at, n)
    law.spare = ints(at, n)
    law.meter_phases = ints(at, law.n_meters)


cdef int64_t *longs(uintptr_t *at, size_t n) noexcept:
    return <int64_t *>part(at, n * sizeof(int64_t))


cdef int32_t *ints(uintptr_t *at, size_t n) noexcept:
    return <int32_t *>part(at, n * sizeof(int32_t))


cdef void *part(uintptr_t *at, size_t n_bytes) noexcept:
    cdef void *begin = <void *>at[0]
    at[0] += n_bytes
    return begin


def within(where, value, low, high):
    if not low <= value <= high:
        raise ValueError(f"{where}: {value} is not within {low} to {high}")


def check_circuits(tables):
    """Parents before children, one root, limits that arithmetic can hold."""
    within("circuit count", len(tables.circuits), 1, 4096)
    within("site.voltage_mV", tables.site.voltage_mV, 1, 1_000_000)
    for c, row in enumerate(tables.circuits):
        where = f"circuit.{row.name}"
        if (row.parent == NONE) != (c == 0) or not NONE <= row.parent < c:
            raise ValueError(f"{where}.parent: {row.parent} does not stand before it")
        within(f"{where}.meter", row.meter, NONE, len(tables.meters) - 1)
        if row.is_dynamic and row.meter == NONE:
            raise ValueError(f"{where}.meter: a dynamic circuit needs one")
        for p in range(N_PHASES):
            within(f"{where}.limit_mA", row.limit_mA[p], 0, _MAX_CIRCUIT_mA)
            within(f"{where}.background_mA", row.background_mA[p], 0, _MAX_CIRCUIT_mA)
        within(f"{where}.margin_mA", row.margin_mA, 0, MAX_CURRENT_mA)
        if row.limit_W is not None:
            within(f"{where}.limit_W", row.limit_W, 0, _MAX_POWER_W)
        if row.unbalance_mA is not None:
            within(f"{where}.unbalance_mA", row.unbalance_mA, 0, MAX_CURRENT_mA)
        check_external(where, row)
        if row.fuse_type is not None:
            within(f"{where}.fuse_rated_mA", row.fuse_rated_mA, 1000, MAX_CURRENT_mA)
    for row in tables.meters:
        within(f"meter.{row.name}.lag_ns", row.lag_ns, 0, _MAX_SPAN_ns)


def check_external(where, row):
    for loss_mA in row.loss_mA or ():
        within(f"{where}.loss_mA", loss_mA, 0, MAX_CURRENT_mA)
    for name in ("loss_W", "guaranteed_W"):
        if getattr(row, name) is not None:
            within(f"{where}.{name}", getattr(row, name), 0, _MAX_POWER_W)
    if row.loss_after_ns is not None:
        within(f"{where}.loss_after_ns", row.loss_after_ns, 1, _MAX_SPAN_ns)
    if row.takes_external and row.loss_mA is None and row.loss_W is None:
        raise ValueError(f"{where}: takes limits from outside, and nothing counts without them")
    if row.guaranteed_W is not None and not row.takes_external:
        raise ValueError(f"{where}.guaranteed_W: the circuit takes no limits from outside")


def check_external_limit(tables, circuit_i, limit_mA, power_W):
    """What comes from outside, checked as the rows are."""
    within("circuit index", circuit_i, 0, len(tables.circuits) - 1)
    where = f"external limit of circuit.{tables.circuits[circuit_i].name}"
    if not tables.circuits[circuit_i].takes_external:
        raise ValueError(f"{where}: the circuit takes none")
    for phase_mA in limit_mA or ():
        within(where, phase_mA, 0, MAX_CURRENT_mA)
    if power_W is not None:
        within(where, power_W, 0, _MAX_POWER_W)


def check_charger(row, n_circuits):
    where = f"charger.{row.name}"
    within(f"{where}.circuit", row.circuit, 0, n_circuits - 1)
    within(f"{where}.weight", row.weight, 1, MAX_WEIGHT)
    within(f"{where}.step_mA", row.step_mA, 1, MAX_CURRENT_mA)
    within(f"{where}.min_mA", row.min_mA, 1, MAX_CURRENT_mA)
    least_mA = ceil_to(row.min_mA, row.step_mA)
    within(f"{where}.max_mA", floor_to(row.max_mA, row.step_mA), least_mA, MAX_CURRENT_mA)
    for name in ("failsafe_mA", "fallback_mA", "rated_mA"):
        within(f"{where}.{name}", getattr(row, name), 0, MAX_CURRENT_mA)
    within(f"{where}.hold_ns", row.hold_ns, 0, _MAX_SPAN_ns)
    within(f"{where}.draw_lag_ns", row.draw_lag_ns, 0, _MAX_SPAN_ns)
    if row.watchdog_ns is not None:
        within(f"{where}.watchdog_ns", row.watchdog_ns, 1, _MAX_SPAN_ns)
    within(f"{where}.min_change_ns", row.min_change_ns, 0, _MAX_SPAN_ns)
    within(f"{where}.priority", row.priority, -(2**31), 2**31 - 1)
    if not 1 <= len(row.phases) <= N_PHASES or len(set(row.phases)) != len(row.phases):
        raise ValueError(f"{where}.phases: {row.phases} is not one to three different phases")
    for p in row.phases:
        within(f"{where}.phases", p, 0, N_PHASES - 1)


def check_sums(tables):
    """Bound what can be drawn together in a limit, so that levels of shares are fine enough."""
    sum_mA = sum(len(row.phases) * row.max_mA for row in tables.chargers)
    within("max_mA of all chargers, over all phases", sum_mA, 0, _MAX_BELOW_mA)


def floor_to(value_mA, step_mA):
    return value_mA // step_mA * step_mA


def ceil_to(value_mA, step_mA):
    return -(-value_mA // step_mA) * step_mA


def circuits_above(circuits, c):
    """A circuit and all those that it hangs on, root last."""
    while c != NONE:
        yield c
        c = circuits[c].parent


def most_members(row, circuits):
    """How many limits a charger counts in at most, whichever of its phases its car uses."""
    above = [circuits[c] for c in circuits_above(circuits, row.circuit)]
    return sum(
        len(row.phases) + counts_power(to) + (to.guaranteed_W is not None)
        + MOST_PAIRS * (to.unbalance_mA is not None)
        for to in above
    )


def kinds_of(row, to):
    """The kinds of limit of a circuit above that a charger may ever count in."""
    kinds = set(row.phases)
    if counts_power(to):
        kinds.add(KIND_POWER)
    if to.guaranteed_W is not None:
        kinds.add(KIND_CHARGERS)
    if to.unbalance_mA is not None:
        kinds |= {
            KIND_PAIRS + k
            for k, (p, q) in enumerate(_PAIRS)
            if p in row.phases and (row.has_measured_current or q not in row.phases)
        }
    return kinds


def meters_above(tables, c):
    for above in circuits_above(tables.circuits, c):
        if tables.circuits[above].meter != NONE:
            yield tables.meters[tables.circuits[above].meter]


cdef void fill_circuits(law_t *law, object tables) except *:
    cdef circuit_row_t *to
    law.voltage_mV = tables.site.voltage_mV
    for m, meter in enumerate(tables.meters):
        law.meter_lags_ns[<Py_ssize_t>m] = meter.lag_ns
    longest_ns = max((meter.lag_ns for meter in tables.meters), default=0) + EXCHANGES_ns
    law.kept_part_ns = longest_ns // (N_KEPT - 2) + 1
    law.draw_lag_ns = max((charger.draw_lag_ns for charger in tables.chargers), default=0)
    for c, row in enumerate(tables.circuits):
        to = &law.circuit_rows[<Py_ssize_t>c]
        to.parent = row.parent
        to.meter = row.meter
        to.is_dynamic = row.is_dynamic
        to.counts_export = row.counts_export
        for p in range(N_PHASES):
            to.site_limit_mA[<Py_ssize_t>p] = row.limit_mA[p]
            to.background_mA[<Py_ssize_t>p] = row.background_mA[p]
        to.has_power_limit = row.limit_W is not None
        to.counts_power = counts_power(row)
        to.has_unbalance = row.unbalance_mA is not None
        if row.limit_W is not None:
            to.power_limit_mA = mA_from_W(tables, row.limit_W)
        fill_external(to, row, tables)
        if row.unbalance_mA is not None:
            to.unbalance_mA = row.unbalance_mA
        if row.fuse_type is not None:
            fill_fuse(to, fuse(row.fuse_type, row.fuse_rated_mA))
        if row.meter != NONE:
            lag_ns = tables.meters[row.meter].lag_ns
            is_quick = all(lag_ns <= other.lag_ns for other in meters_above(tables, row.parent))
            to.bounds_above = is_quick and not row.counts_export


cdef void fill_fuse(circuit_row_t *to, object device) except *:
    to.has_fuse = True
    to.fuse_full_mA = device.full_mA
    to.fuse_cools_at_mA = device.cools_at_mA
    to.fuse_half_ms = device.half_ms
    to.fuse_warns_fx = HEAT_FULL * WARNS_ABOVE_PERCENT // 100
    to.fuse_cool_fx = HEAT_FULL * COOL_BELOW_PERCENT // 100


cdef void fill_external(circuit_row_t *to, object row, object tables) except *:
    to.takes_external = row.takes_external
    to.loss_after_ns = row.loss_after_ns or 0
    if row.guaranteed_W is not None:
        to.is_charger_power = True
        to.guaranteed_mA = mA_from_W(tables, row.guaranteed_W)
    if row.loss_mA is not None:
        to.loss_has_current = True
        for p in range(N_PHASES):
            to.loss_mA[<Py_ssize_t>p] = row.loss_mA[p]
    if row.loss_W is not None:
        to.loss_has_power = True
        to.loss_power_mA = mA_from_W(tables, row.loss_W)


def counts_power(row):
    """True where all that a circuit carries may have a power limit, its own or one from outside."""
    return row.limit_W is not None or (row.takes_external and row.guaranteed_W is None)


def mA_from_W(tables, power_W):
    return power_W * 1_000_000 // tables.site.voltage_mV


cdef void fill_chargers(law_t *law, object tables) except *:
    cdef charger_row_t *to
    cdef Py_ssize_t i, at = 0
    boxes = {}
    for i, row in enumerate(tables.chargers):
        to = &law.charger_rows[i]
        fill_charger(to, row)
        to.box = boxes.setdefault((row.bus, row.address), i)
        law.charger_rows[to.box].box_end = i + 1
        mark_phases(law, row)
        to.draw_lag_ns = row.draw_lag_ns
        to.meter_lag_ns = max((m.lag_ns for m in meters_above(tables, row.circuit)), default=0)
        to.first_member = at
        at += most_members(row, tables.circuits)
        lay_out_phases(law, i, 0)


cdef void fill_live(law_t *law, object tables) except *:
    cdef Py_ssize_t k
    live = {
        c * N_KINDS + kind
        for row in tables.chargers
        for c in circuits_above(tables.circuits, row.circuit)
        for kind in kinds_of(row, tables.circuits[c])
    }
    for k, limit_i in enumerate(sorted(live)):
        law.live[k] = limit_i
        law.n_live = k + 1


cdef void mark_phases(law_t *law, object row) except *:
    """Note for every meter above which phases this charger uses."""
    cdef int32_t c = row.circuit, p
    while c != NONE:
        if law.circuit_rows[c].meter != NONE:
            for p in row.phases:
                law.meter_phases[law.circuit_rows[c].meter] |= 1 << p
        c = law.circuit_rows[c].parent


cdef void fill_charger(charger_row_t *to, object row) except *:
    cdef Py_ssize_t k
    to.circuit = row.circuit
    to.n_wired = len(row.phases)
    for k in range(to.n_wired):
        to.wired[k] = row.phases[k]
    to.step_mA = row.step_mA
    to.site_min_mA = ceil_to(row.min_mA, row.step_mA)
    to.site_failsafe_mA = floor_to(row.failsafe_mA, row.step_mA)
    to.fallback_mA = row.fallback_mA
    to.rated_mA = row.rated_mA
    to.is_isolated = row.is_isolated
    to.has_measured_current = row.has_measured_current
    to.watchdog_ns = 0 if row.watchdog_ns is None else row.watchdog_ns
    to.hold_ns = row.hold_ns
    to.min_change_ns = row.min_change_ns


cdef void begin_block(law_t *law, object tables) except *:
    """Make a block of zeros a fresh START of this site."""
    law.site.n_circuits = law.n_circuits
    law.site.n_meters = law.n_meters
    law.site.n_chargers = law.n_chargers
    fill_tuning(law, tables.tuning)
    for i in range(law.n_chargers):
        law.chargers[<Py_ssize_t>i].failsafe_mA = law.charger_rows[<Py_ssize_t>i].failsafe_mA
        law.chargers[<Py_ssize_t>i].reserve_mA = (
            0 if tables.chargers[i].is_isolated else tables.chargers[i].rated_mA
        )
    for c in range(law.n_circuits):
        for p in range(N_PHASES):
            law.circuits[<Py_ssize_t>c].background_mA[<Py_ssize_t>p] = (
                tables.circuits[c].background_mA[p]
            )
            law.circuits[<Py_ssize_t>c].heat_fx[<Py_ssize_t>p] = (
                law.circuit_rows[<Py_ssize_t>c].fuse_warns_fx
            )
    set_limits(law, 0)
    law.site.is_ready = True


def check_tuning(name, value):
    most = MAX_CURRENT_mA if "_mA" in name else _MAX_SPAN_ns
    within(f"tuning.{name}", value, 1 if name == "ramp_mA_per_s" else 0, most)


cdef void fill_tuning(law_t *law, object tuning) except *:
    cdef tuning_t values
    for name in TUNING:
        check_tuning(name, getattr(tuning, name))
    values = {name: getattr(tuning, name) for name in TUNING}
    law.site.tuning = values
