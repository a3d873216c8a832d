"""Meters: whether what a meter says in this scan may be believed.

Implausible: a phase voltage that is not within 70 to 130 % of the site's, on a phase that was within
before, or that a charger uses while another phase is within. A meter whose voltages were never
within has none connected, and is not judged by them.

Suspect, as if frozen, by either of two signs; a meter that honestly serves constants shows neither.
Contradiction: not a bit changed while the chargers below draw 2 A more or less than they did after
the last change, for longer than lag and oldest sample. Stillness: its voltages used to change all
the time, and now nothing has for `meter_stale_s`. What cannot be seen: a meter that freezes while
no charger below changes and whose voltages never moved or are not read, and one whose values
change but are wrong. A value that changes ends the suspicion. Runs in step, and as values come in.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_CHANGES, N_PHASES, charger_t, meter_t
from loadctl.law.tables cimport CODE_GOOD, CODE_IMPLAUSIBLE, NONE, law_t

cdef enum:
    LOW_PERCENT = 70
    HIGH_PERCENT = 130
    CONTRADICTS_mA = 2000
    AGREES_mA = 1000            # within this again, the contradiction is over

cdef int64_t SAMPLE_AGE_ns = 2_000_000_000      # oldest that the plan lets a status block become
cdef int64_t LIVELY_ns = 20_000_000_000         # the changes that are kept fell within this


cdef bint is_plausible(law_t *law, int32_t m, const int32_t *voltage_mV) noexcept nogil:
    """Judge voltages, and remember which phases are connected."""
    cdef meter_t *meter = &law.meters[m]
    cdef int32_t p
    cdef bint has_any = False, is_good = True
    for p in range(N_PHASES):
        has_any = has_any or is_within(law, voltage_mV[p])
    for p in range(N_PHASES):
        if is_within(law, voltage_mV[p]):
            meter.has_phase[p] = True
        elif meter.has_phase[p] or (has_any and law.meter_phases[m * N_PHASES + p]):
            is_good = False
    return is_good


cdef bint is_within(law_t *law, int32_t voltage_mV) noexcept nogil:
    cdef int64_t percent_mV = <int64_t>voltage_mV * 100
    return LOW_PERCENT * law.voltage_mV <= percent_mV <= HIGH_PERCENT * law.voltage_mV


cdef void keep_reading(
    law_t *law, int32_t m, const int32_t *current_mA, const int32_t *power_W,
    const int32_t *voltage_mV, int64_t at_ns,
) noexcept nogil:
    """Keep a good reading, and when anything in it last changed."""
    cdef meter_t *meter = &law.meters[m]
    cdef int32_t p
    cdef bint is_changed = not meter.has_value, is_moved = False
    for p in range(N_PHASES):
        is_moved = is_moved or meter.voltage_mV[p] != voltage_mV[p]
        is_changed = (
            is_changed
            or is_moved
            or meter.current_mA[p] != current_mA[p]
            or meter.power_W[p] != power_W[p]
        )
        meter.previous_mA[p] = meter.load_mA[p]
        meter.current_mA[p] = current_mA[p]
        meter.power_W[p] = power_W[p]
        meter.voltage_mV[p] = voltage_mV[p]
        meter.load_mA[p] = distance_mA(current_mA[p], 0)
        if power_W[p] < 0:
            meter.load_mA[p] = -meter.load_mA[p]
    if is_moved and meter.has_value:
        meter.moved_i = (meter.moved_i + 1) % N_CHANGES
        meter.moved_at_ns[meter.moved_i] = at_ns
        meter.n_moves = min(meter.n_moves + 1, <int32_t>N_CHANGES)
    if is_changed:
        meter.changed_at_ns = at_ns
        meter.has_base = False
        meter.contradicts = False
        meter.suspicion = SUSPICION_NONE
    meter.has_previous = meter.has_value
    meter.has_value = True
    meter.at_ns = at_ns


cdef void judge_meters(law_t *law, int64_t now_ns) noexcept nogil:
    """Fill the quality of every meter in this scan."""
    cdef meter_t *meter
    cdef int32_t m
    for m in range(law.n_meters):
        meter = &law.meters[m]
        if meter.tried_scan_i == law.site.scan_i and meter.code == CODE_IMPLAUSIBLE:
            meter.quality = QUALITY_IMPLAUSIBLE
        elif meter.read_scan_i != law.site.scan_i or meter.code != CODE_GOOD:
            meter.quality = QUALITY_MISSING
        else:
            suspect(law, m, now_ns)
            meter.quality = QUALITY_SUSPECT if meter.suspicion else QUALITY_GOOD


cdef void suspect(law_t *law, int32_t m, int64_t now_ns) noexcept nogil:
    """Note the first sign that it is frozen; that stays until a value changes."""
    cdef meter_t *meter = &law.meters[m]
    if meter.suspicion != SUSPICION_NONE:
        return
    if is_contradicted(law, m, now_ns):
        meter.suspicion = SUSPICION_CONTRADICTION
    elif is_still(law, meter):
        meter.suspicion = SUSPICION_STILLNESS


cdef bint is_still(law_t *law, meter_t *meter) noexcept nogil:
    """True when voltages that changed all the time stand still, and all the rest with them."""
    cdef int64_t oldest_ns = meter.moved_at_ns[(meter.moved_i + 1) % N_CHANGES]
    if meter.n_moves < N_CHANGES or meter.at_ns - meter.changed_at_ns < stale_ns(law):
        return False
    return meter.changed_at_ns - oldest_ns <= LIVELY_ns


cdef int64_t stale_ns(law_t *law) noexcept nogil:
    return law.site.tuning.meter_stale_ns


cdef bint is_contradicted(law_t *law, int32_t m, int64_t now_ns) noexcept nogil:
    """True when the chargers below have drawn otherwise for long while the reading stayed."""
    cdef meter_t *meter = &law.meters[m]
    cdef int32_t draws_mA[3]
    cdef int32_t p, apart_mA = 0
    cdef int64_t who = 0
    cdef int64_t from_ns = meter.changed_at_ns + law.meter_lags_ns[m]
    if meter.at_ns == meter.changed_at_ns or not known_draws(law, m, from_ns, draws_mA, &who):
        return False
    if not meter.has_base or meter.base_who != who:
        meter.has_base = True
        meter.base_who = who
        meter.contradicts = False
        for p in range(N_PHASES):
            meter.base_mA[p] = draws_mA[p]
    for p in range(N_PHASES):
        apart_mA = max(apart_mA, distance_mA(draws_mA[p], meter.base_mA[p]))
    if apart_mA < AGREES_mA:
        meter.contradicts = False
    elif apart_mA >= CONTRADICTS_mA and not meter.contradicts:
        meter.contradicts = True
        meter.contradicts_since_ns = now_ns
    return (
        meter.contradicts
        and now_ns - meter.contradicts_since_ns > law.meter_lags_ns[m] + SAMPLE_AGE_ns
    )


cdef int32_t distance_mA(int32_t one_mA, int32_t other_mA) noexcept nogil:
    return max(one_mA - other_mA, other_mA - one_mA)


cdef bint known_draws(
    law_t *law, int32_t m, int64_t from_ns, int32_t *draws_mA, int64_t *who
) noexcept nogil:
    """Sum what is measured below the meter, and say of whom; False while any sample is as old as
    the reading."""
    cdef charger_t *charger
    cdef int32_t i, p
    draws_mA[0] = draws_mA[1] = draws_mA[2] = 0
    who[0] = 0
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        if charger.n_samples == 0 or charger.is_silent or not is_below(law, i, m):
            continue
        if charger.sample_at_ns[charger.sample_i] <= from_ns:
            return False
        who[0] += <int64_t>(i + 1) * (i + 1)
        for p in range(N_PHASES):
            draws_mA[p] += charger.draw_mA[p]
    return True


cdef bint is_below(law_t *law, int32_t i, int32_t m) noexcept nogil:
    cdef int32_t c = law.charger_rows[i].circuit
    while c != NONE:
        if law.circuit_rows[c].meter == m:
            return True
        c = law.circuit_rows[c].parent
    return False
