"""Meters: what of their values may be believed in this scan.

A value that cannot be true, or has stood still for too long, counts as none: nothing is raised
below, and after `meter_stale_s` the circuit is static. Standing still is seen by two signs:

    flicker         the voltages of this meter used to change at a steady pace (mains voltage always
                    changes), and now not a single value has for a second beyond its lag, nor for
                    four times the longest that it stood still in the last half minute. A meter of
                    coarse digits changes at no steady pace and repeats itself honestly.
    contradiction   the measured draws of the chargers below have moved by 2 A, and the meter has
                    not moved in any digit, for longer than samples and meter are old

A meter without voltages above chargers that stand still too cannot be told from one that reads a
constant load: nothing here sees it. Runs inside step, before anything that uses a meter.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_KEPT, N_PHASES, charger_t, meter_t
from loadctl.law.tables cimport CODE_GOOD, CODE_IMPLAUSIBLE, NONE, law_t

cdef enum:
    # EN 50160 allows the mains 85 to 110 %; further off than 70 to 130 % a phase is lost, or the
    # value is none. No source gives the bound: chosen so that no supply in service is refused.
    VOLTAGE_LOW_PERCENT = 70
    VOLTAGE_HIGH_PERCENT = 130
    FLICKERS_MIN = 24       # voltage changes in 30 to 60 s,
    READS_MIN = 16          # or in nine of ten reads
    STEADY = 2              # the longest stillness is at most twice the mean one
    LONGER = 4              # than the longest one
    MOVED_mA = 2000

cdef int64_t NS_PER_S = 1_000_000_000
cdef int64_t PART_ns = 30 * NS_PER_S
# A status block is at most this old, by the bus plan.
cdef int64_t STATUS_AGE_ns = 2 * NS_PER_S


cdef void judge_meters(law_t *law) noexcept nogil:
    cdef meter_t *meter
    cdef int32_t m
    for m in range(law.n_meters):
        meter = &law.meters[m]
        meter.quality = quality_of(law, m)
        if meter.quality == TRUSTED:
            meter.trusted_at_ns = meter.at_ns
        elif meter.quality == FROZEN:
            meter.trusted_at_ns = meter.changed_at_ns


cdef Quality quality_of(law_t *law, int32_t m) noexcept nogil:
    cdef meter_t *meter = &law.meters[m]
    if meter.code == CODE_IMPLAUSIBLE and meter.tried_scan_i == law.site.scan_i:
        return IMPLAUSIBLE
    if meter.code != CODE_GOOD or meter.read_scan_i != law.site.scan_i:
        return MISSING
    if not meter.is_frozen:     # else it stays so until a value changes, whoever comes or goes
        meter.is_frozen = is_frozen(law, m)
    return FROZEN if meter.is_frozen else TRUSTED


cdef bint has_right_voltages(law_t *law, int32_t m, const int32_t *voltage_mV) noexcept nogil:
    """False when a phase that was there is gone, or one that chargers use is not like the others.

    A meter that never showed a voltage on any phase measures none.
    """
    cdef meter_t *meter = &law.meters[m]
    cdef int32_t p, now_in = 0, wanted
    for p in range(N_PHASES):
        if is_in_range(law, voltage_mV[p]):
            now_in |= 1 << p
    meter.seen_voltage |= now_in
    wanted = meter.seen_voltage
    if now_in:
        wanted |= law.meter_phases[m]
    return (wanted & ~now_in) == 0


cdef bint is_in_range(law_t *law, int64_t voltage_mV) noexcept nogil:
    return (
        voltage_mV * 100 >= law.voltage_mV * <int64_t>VOLTAGE_LOW_PERCENT
        and voltage_mV * 100 <= law.voltage_mV * <int64_t>VOLTAGE_HIGH_PERCENT
    )


cdef void count_read(meter_t *meter, bint is_same, bint is_flicker, int64_t at_ns) noexcept nogil:
    """Take in whether this good read differs from the one before it."""
    cdef int64_t same_ns = at_ns - meter.changed_at_ns
    cdef bint is_honest = meter.n_reads[0] > 0 and not meter.is_frozen and not meter.has_gap
    if not is_same:
        meter.has_changed = meter.has_value
        meter.has_gap = False
        meter.changed_at_ns = at_ns
        meter.has_base = False
        meter.differs = False
        meter.is_frozen = False
    if is_same and meter.is_frozen:
        return      # what it did before it froze is what it is judged by
    if at_ns - meter.part_at_ns >= PART_ns:
        meter.n_reads[1] = meter.n_reads[0] if at_ns - meter.part_at_ns < 2 * PART_ns else 0
        meter.n_flickers[1] = meter.n_flickers[0] if meter.n_reads[1] > 0 else 0
        meter.longest_ns[1] = meter.longest_ns[0] if meter.n_reads[1] > 0 else 0
        meter.n_reads[0] = 0
        meter.n_flickers[0] = 0
        meter.stood_ns[1] = meter.stood_ns[0] if meter.n_reads[1] > 0 else 0
        meter.longest_ns[0] = 0
        meter.stood_ns[0] = 0
        meter.part_at_ns = at_ns
    if is_honest and not is_same:
        meter.longest_ns[0] = max(meter.longest_ns[0], same_ns)
        meter.stood_ns[0] += same_ns
    meter.n_reads[0] += 1
    meter.n_flickers[0] += is_flicker


cdef void keep_load(law_t *law, meter_t *meter) noexcept nogil:
    """Keep the load just read for as long as the value of any other meter may be behind it."""
    cdef int32_t p, slot
    if meter.n_kept == 0 or meter.at_ns - meter.kept_at_ns[meter.kept_i] >= law.kept_part_ns:
        meter.kept_i = (meter.kept_i + 1) % N_KEPT
        meter.n_kept = min(meter.n_kept + 1, <int32_t>N_KEPT)
        meter.kept_at_ns[meter.kept_i] = meter.at_ns
        for p in range(N_PHASES):
            meter.kept_low_mA[meter.kept_i * N_PHASES + p] = meter.load_mA[p]
            meter.kept_high_mA[meter.kept_i * N_PHASES + p] = meter.load_mA[p]
    for p in range(N_PHASES):
        slot = meter.kept_i * N_PHASES + p
        meter.kept_low_mA[slot] = min(meter.kept_low_mA[slot], meter.load_mA[p])
        meter.kept_high_mA[slot] = max(meter.kept_high_mA[slot], meter.load_mA[p])
        if meter.load_mA[p] < 0:
            meter.has_exported = True


cdef bint loads_since(
    meter_t *meter, int32_t p, int64_t from_ns, int32_t *low_mA, int32_t *high_mA
) noexcept nogil:
    """Extremes of the loads from the last one that was read at or before `from_ns` to the newest;
    False where none was read so early, or is kept no more."""
    cdef int32_t k, slot
    low_mA[0] = meter.load_mA[p]
    high_mA[0] = meter.load_mA[p]
    for k in range(meter.n_kept):
        slot = (meter.kept_i - k + N_KEPT) % N_KEPT
        low_mA[0] = min(low_mA[0], meter.kept_low_mA[slot * N_PHASES + p])
        high_mA[0] = max(high_mA[0], meter.kept_high_mA[slot * N_PHASES + p])
        if meter.kept_at_ns[slot] <= from_ns:
            return True
    return False


cdef bint is_frozen(law_t *law, int32_t m) noexcept nogil:
    cdef meter_t *meter = &law.meters[m]
    cdef int64_t same_ns = meter.at_ns - meter.changed_at_ns
    cdef int64_t long_ns = min(law.site.tuning.meter_stale_ns, law.meter_lags_ns[m] + NS_PER_S)
    if same_ns >= max(long_ns, LONGER * longest_ns(meter)) and same_ns > 0 and flickers(meter):
        return True
    return contradicts(law, m, same_ns)


cdef bint flickers(meter_t *meter) noexcept nogil:
    cdef int32_t n_reads = meter.n_reads[0] + meter.n_reads[1]
    cdef int32_t n_flickers = meter.n_flickers[0] + meter.n_flickers[1]
    if longest_ns(meter) * n_flickers > STEADY * (meter.stood_ns[0] + meter.stood_ns[1]):
        return False
    if n_flickers >= FLICKERS_MIN:
        return True
    return n_reads >= READS_MIN and n_flickers * 10 >= n_reads * 9


cdef int64_t longest_ns(meter_t *meter) noexcept nogil:
    return max(meter.longest_ns[0], meter.longest_ns[1])


cdef bint contradicts(law_t *law, int32_t m, int64_t same_ns) noexcept nogil:
    """True when draws below moved, and the meter did not, for longer than either is old."""
    cdef meter_t *meter = &law.meters[m]
    cdef int64_t old_ns = law.meter_lags_ns[m] + law.draw_lag_ns + STATUS_AGE_ns
    cdef int32_t draws_mA[3]
    cdef int32_t p, n_based, moved_mA
    cdef bint has_moved = False
    if same_ns < old_ns:
        return False
    n_based = sum_samples(law, m, draws_mA)
    if not meter.has_base or n_based != meter.n_based:
        meter.has_base = True
        meter.n_based = n_based
        meter.differs = False
        for p in range(N_PHASES):
            meter.base_mA[p] = draws_mA[p]
        return False
    for p in range(N_PHASES):
        moved_mA = draws_mA[p] - meter.base_mA[p]
        if moved_mA >= MOVED_mA or moved_mA <= -MOVED_mA:
            has_moved = True
    if has_moved and not meter.differs:
        meter.differs_since_ns = meter.at_ns
    meter.differs = has_moved
    return has_moved and meter.at_ns - meter.differs_since_ns >= old_ns


cdef int32_t sum_samples(law_t *law, int32_t m, int32_t *draws_mA) noexcept nogil:
    """Newest samples of the chargers that meter m sees, summed by phase; how many these are."""
    cdef charger_t *charger
    cdef int32_t i, p, n = 0
    for p in range(N_PHASES):
        draws_mA[p] = 0
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if not law.charger_rows[i].has_measured_current or charger.n_samples == 0:
            continue
        if charger.is_silent or not is_below(law, i, m):
            continue
        n += 1
        for p in range(N_PHASES):
            draws_mA[p] += charger.draw_mA[p]
    return n


cdef bint is_below(law_t *law, int32_t i, int32_t m) noexcept nogil:
    cdef int32_t c = law.charger_rows[i].circuit
    while c != NONE:
        if law.circuit_rows[c].meter == m:
            return True
        c = law.circuit_rows[c].parent
    return False
