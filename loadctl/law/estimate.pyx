"""Estimate: the background of every circuit as an interval, and the caps that follow from it.

Background is what a circuit carries besides chargers, sub-circuits included: its meter minus the
draws below it. Draws are intervals. Two readings of the samples:

    rigorous    samples around the meter's value, one before and one after it; else 0 and the reserve
    known       the newest sample, while it is not too old; else 0 and the reserve

The low end (what cuts are judged by) and the bound of a raise are rigorous; what shares leave
room for is known, held at its highest for `peak_hold_ns`. A sub-circuit's own meter bounds the
draws below it.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_DIPS, N_PEAKS, N_PHASES, charger_t, circuit_t, meter_t
from loadctl.law.reserve cimport draw_between
from loadctl.law.tables cimport CODE_GOOD, NONE, charger_row_t, circuit_row_t, law_t

cdef enum Reading:
    RIGOROUS
    KNOWN
    NEWEST      # known, whatever its age

cdef enum:
    DIP_PART_ns = 1_000_000_000


cdef void estimate(law_t *law, int64_t now_ns) noexcept nogil:
    """Fill source and background of every circuit from the inputs of this scan."""
    cdef int32_t c
    for c in range(law.n_circuits):
        choose_source(law, c, now_ns)
    sum_draws(law, RIGOROUS)
    for c in range(law.n_circuits):
        set_rigorous(law, c)
    sum_draws(law, KNOWN)
    for c in range(law.n_circuits):
        set_held(law, c, now_ns)


cdef void estimate_rigorous(law_t *law) noexcept nogil:
    """Judge again what a raise must leave room for, with the samples read since step."""
    cdef circuit_t *circuit
    cdef int32_t c, p
    sum_draws(law, RIGOROUS)
    for c in range(law.n_circuits):
        circuit = &law.circuits[c]
        if circuit.source == SOURCE_METER:
            for p in range(N_PHASES):
                circuit.background_rigorous_mA[p] = background_mA(
                    law, c, p, law.draw_low_mA[c * N_PHASES + p]
                )


cdef void estimate_settled(law_t *law) noexcept nogil:
    """The background at rest: newest values whatever their age, declared where there is no good meter."""
    cdef circuit_row_t *row
    cdef circuit_t *circuit
    cdef int32_t c, p
    for c in range(law.n_circuits):
        circuit = &law.circuits[c]
        row = &law.circuit_rows[c]
        circuit.source = SOURCE_STATIC
        if row.is_dynamic:
            circuit.source = SOURCE_METER if has_good_meter(law, c) else SOURCE_STALE
    sum_draws(law, NEWEST)
    for c in range(law.n_circuits):
        circuit = &law.circuits[c]
        for p in range(N_PHASES):
            circuit.background_mA[p] = law.circuit_rows[c].background_mA[p]
            if circuit.source == SOURCE_METER:
                circuit.background_mA[p] = background_mA(
                    law, c, p, law.draw_low_mA[c * N_PHASES + p]
                )
            circuit.background_low_mA[p] = circuit.background_mA[p]
        set_headroom(law, c)


cdef bint has_good_meter(law_t *law, int32_t c) noexcept nogil:
    cdef int32_t m = law.circuit_rows[c].meter
    return m != NONE and law.meters[m].code == CODE_GOOD and law.meters[m].has_value


cdef bint is_meter_fresh(law_t *law, int32_t c) noexcept nogil:
    """True when the meter of this circuit was read good in this scan."""
    return has_good_meter(law, c) and (
        law.meters[law.circuit_rows[c].meter].read_scan_i == law.site.scan_i
    )


cdef void choose_source(law_t *law, int32_t c, int64_t now_ns) noexcept nogil:
    cdef circuit_row_t *row = &law.circuit_rows[c]
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int64_t good_at_ns = law.site.first_step_at_ns
    cdef int32_t before = circuit.source
    if not row.is_dynamic:
        circuit.source = SOURCE_STATIC
    elif is_meter_fresh(law, c):
        circuit.source = SOURCE_METER
        if before == SOURCE_STALE:  # what was held before is from another time
            circuit.n_peaks = 0
            circuit.n_dips = 0
    else:
        if law.meters[row.meter].has_value:
            good_at_ns = law.meters[row.meter].at_ns
        if now_ns - good_at_ns >= law.site.tuning.meter_stale_ns or before == SOURCE_STALE:
            circuit.source = SOURCE_STALE
        else:
            circuit.source = SOURCE_HELD if law.meters[row.meter].has_value else SOURCE_WAITING
    circuit.may_raise = circuit.source != SOURCE_HELD and circuit.source != SOURCE_WAITING


cdef void sum_draws(law_t *law, Reading reading) noexcept nogil:
    """Sum the draws below every circuit, leaves first, bounded by the meters of sub-circuits."""
    cdef int32_t i, p, c, at
    cdef int32_t low_mA = 0, high_mA = 0
    for at in range(law.n_circuits * N_PHASES):
        law.draw_low_mA[at] = 0
        law.draw_high_mA[at] = 0
    for i in range(law.n_chargers):
        for p in range(N_PHASES):
            draw_of(law, i, p, reading, &low_mA, &high_mA)
            at = law.charger_rows[i].circuit * N_PHASES + p
            law.draw_low_mA[at] += low_mA
            law.draw_high_mA[at] += high_mA
    for c in range(law.n_circuits - 1, 0, -1):
        for p in range(N_PHASES):
            at = law.circuit_rows[c].parent * N_PHASES + p
            law.draw_low_mA[at] += bounded_low_mA(law, c, p, reading)
            law.draw_high_mA[at] += bounded_high_mA(law, c, p)


cdef void draw_of(
    law_t *law, int32_t i, int32_t p, Reading reading, int32_t *low_mA, int32_t *high_mA
) noexcept nogil:
    """The draw of one charger on one grid phase, as lower and upper bound."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef int64_t from_ns = 0, to_ns = 0, age_ns
    cdef bint has_draw = row.has_measured_current and charger.n_samples > 0
    low_mA[0] = 0
    high_mA[0] = charger.reserve_mA if uses_phase(row, p) else 0
    if reading == RIGOROUS:
        has_draw = has_draw and not charger.is_silent
        if has_draw and meters_span(law, row.circuit, &from_ns, &to_ns):
            if not draw_between(law, i, from_ns, to_ns, p, low_mA, high_mA):
                low_mA[0] = 0
                high_mA[0] = charger.reserve_mA if uses_phase(row, p) else 0
    elif has_draw and reading == NEWEST:
        low_mA[0] = charger.draw_mA[p]
        high_mA[0] = max(high_mA[0], low_mA[0])
    elif has_draw and not charger.is_silent:
        age_ns = law.site.now_ns - charger.sample_at_ns[charger.sample_i]
        if age_ns <= law.site.tuning.peak_hold_ns:
            low_mA[0] = charger.draw_mA[p]
        if age_ns <= law.site.tuning.meter_stale_ns:
            high_mA[0] = charger.draw_mA[p]


cdef bint has_fresh_draw(law_t *law, int32_t i) noexcept nogil:
    """True when samples before and after the meters' values of this scan are at hand."""
    cdef int64_t from_ns = 0, to_ns = 0
    cdef int32_t low_mA = 0, high_mA = 0
    if not meters_span(law, law.charger_rows[i].circuit, &from_ns, &to_ns):
        return True
    return draw_between(law, i, from_ns, to_ns, 0, &low_mA, &high_mA)


cdef bint uses_phase(charger_row_t *row, int32_t p) noexcept nogil:
    cdef int32_t k
    for k in range(row.n_phases):
        if row.phases[k] == p:
            return True
    return False


cdef bint meters_span(law_t *law, int32_t c, int64_t *from_ns, int64_t *to_ns) noexcept nogil:
    """The time that the values of the fresh meters above may stem from; False when there is none."""
    cdef bint has_any = False
    cdef int32_t m
    cdef int64_t begin_ns, end_ns
    while c != NONE:
        if is_meter_fresh(law, c):
            m = law.circuit_rows[c].meter
            end_ns = law.meters[m].at_ns
            begin_ns = end_ns - law.meter_lags_ns[m]
            from_ns[0] = min(from_ns[0], begin_ns) if has_any else begin_ns
            to_ns[0] = max(to_ns[0], end_ns) if has_any else end_ns
            has_any = True
        c = law.circuit_rows[c].parent
    return has_any


cdef int64_t bounded_low_mA(law_t *law, int32_t c, int32_t p, Reading reading) noexcept nogil:
    """Draws below c are at least what its meter reads beyond the declared background."""
    cdef int64_t low_mA = law.draw_low_mA[c * N_PHASES + p]
    cdef meter_t *meter
    cdef int32_t load_mA
    if not (has_good_meter(law, c) if reading == NEWEST else is_meter_fresh(law, c)):
        return low_mA
    meter = &law.meters[law.circuit_rows[c].meter]
    load_mA = meter.load_mA[p]
    if reading == RIGOROUS:     # its value may stem from before the draws rose, or after they fell
        load_mA = min(load_mA, meter.previous_mA[p]) if meter.has_previous else 0
    low_mA = max(low_mA, <int64_t>load_mA - law.circuit_rows[c].background_mA[p])
    return min(low_mA, law.draw_high_mA[c * N_PHASES + p])


cdef int64_t bounded_high_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """Draws below c are at most what its meter reads, where it does not export and is not slower than those above."""
    cdef int64_t high_mA = law.draw_high_mA[c * N_PHASES + p]
    cdef meter_t *meter
    if not (law.circuit_rows[c].bounds_above and is_meter_fresh(law, c)):
        return high_mA
    meter = &law.meters[law.circuit_rows[c].meter]
    if not meter.has_previous or meter.load_mA[p] < 0 or meter.previous_mA[p] < 0:
        return high_mA
    high_mA = min(high_mA, <int64_t>max(meter.load_mA[p], meter.previous_mA[p]))
    return max(high_mA, law.draw_low_mA[c * N_PHASES + p])


cdef int32_t background_mA(law_t *law, int32_t c, int32_t p, int64_t draw_mA) noexcept nogil:
    """What the meter of c reads beyond these draws; below zero only where export counts."""
    cdef int64_t rest_mA = measured_mA(law, c, p) - draw_mA
    if rest_mA < 0 and not law.circuit_rows[c].counts_export:
        return 0
    return <int32_t>rest_mA


cdef int64_t measured_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """The reading as it counts: a magnitude is load, unless signed power says export and export counts."""
    cdef int32_t load_mA = law.meters[law.circuit_rows[c].meter].load_mA[p]
    if load_mA < 0 and not law.circuit_rows[c].counts_export:
        return -load_mA
    return load_mA


cdef void set_rigorous(law_t *law, int32_t c) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int32_t p, declared_mA
    for p in range(N_PHASES):
        declared_mA = law.circuit_rows[c].background_mA[p]
        if circuit.source == SOURCE_METER:
            circuit.background_low_mA[p] = background_mA(law, c, p, law.draw_high_mA[c * N_PHASES + p])
            circuit.background_rigorous_mA[p] = background_mA(law, c, p, law.draw_low_mA[c * N_PHASES + p])
        elif circuit.source == SOURCE_WAITING:
            circuit.background_low_mA[p] = 0
            circuit.background_rigorous_mA[p] = declared_mA
        elif circuit.source != SOURCE_HELD:
            circuit.background_low_mA[p] = declared_mA
            circuit.background_rigorous_mA[p] = declared_mA


cdef void set_held(law_t *law, int32_t c, int64_t now_ns) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int32_t p
    if circuit.source == SOURCE_METER:
        begin_peak_part(law, circuit, now_ns)
        begin_dip_part(circuit, now_ns)
        for p in range(N_PHASES):
            hold_peak(circuit, p, background_mA(law, c, p, law.draw_low_mA[c * N_PHASES + p]))
            hold_dip(circuit, p, background_mA(law, c, p, law.draw_high_mA[c * N_PHASES + p]))
    elif circuit.source != SOURCE_HELD:
        for p in range(N_PHASES):
            circuit.background_mA[p] = law.circuit_rows[c].background_mA[p]
    set_headroom(law, c)


cdef void begin_peak_part(law_t *law, circuit_t *circuit, int64_t now_ns) noexcept nogil:
    """Move on to the next part of the hold time; together the others cover all of it."""
    cdef int64_t part_ns = law.site.tuning.peak_hold_ns // (N_PEAKS - 1) + 1
    cdef int32_t p
    if circuit.n_peaks > 0 and now_ns - circuit.peak_at_ns < part_ns:
        return
    circuit.peak_i = (circuit.peak_i + 1) % N_PEAKS if circuit.n_peaks > 0 else 0
    circuit.n_peaks = min(circuit.n_peaks + 1, <int32_t>N_PEAKS)
    circuit.peak_at_ns = now_ns
    for p in range(N_PHASES):
        circuit.peak_mA[circuit.peak_i * N_PHASES + p] = -(1 << 30)


cdef void hold_peak(circuit_t *circuit, int32_t p, int32_t value_mA) noexcept nogil:
    cdef int32_t k, slot = circuit.peak_i * N_PHASES + p
    circuit.peak_mA[slot] = max(circuit.peak_mA[slot], value_mA)
    circuit.background_mA[p] = value_mA
    for k in range(circuit.n_peaks):
        circuit.background_mA[p] = max(circuit.background_mA[p], circuit.peak_mA[k * N_PHASES + p])


cdef void begin_dip_part(circuit_t *circuit, int64_t now_ns) noexcept nogil:
    cdef int32_t p
    if circuit.n_dips > 0 and now_ns - circuit.dip_at_ns < DIP_PART_ns:
        return
    circuit.dip_i = (circuit.dip_i + 1) % N_DIPS if circuit.n_dips > 0 else 0
    circuit.n_dips = min(circuit.n_dips + 1, <int32_t>N_DIPS)
    circuit.dip_at_ns = now_ns
    for p in range(N_PHASES):
        circuit.dip_mA[circuit.dip_i * N_PHASES + p] = 1 << 30


cdef void hold_dip(circuit_t *circuit, int32_t p, int32_t value_mA) noexcept nogil:
    """Believe a background by the newest samples once it has stayed for longer than any sample is old."""
    cdef int32_t k, slot = circuit.dip_i * N_PHASES + p
    circuit.dip_mA[slot] = min(circuit.dip_mA[slot], value_mA)
    if circuit.n_dips < N_DIPS:
        return
    for k in range(N_DIPS):
        value_mA = min(value_mA, circuit.dip_mA[k * N_PHASES + p])
    circuit.background_low_mA[p] = max(circuit.background_low_mA[p], value_mA)


cdef void set_headroom(law_t *law, int32_t c) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int32_t p
    for p in range(N_PHASES):
        circuit.limit_mA[p] = law.circuit_rows[c].limit_mA[p]
        circuit.headroom_mA[p] = (
            circuit.limit_mA[p] - law.circuit_rows[c].margin_mA - circuit.background_mA[p]
        )
