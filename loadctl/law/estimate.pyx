"""Estimate: the background of every circuit, as an interval.

Background is what a circuit carries besides chargers, sub-circuits included: its meter minus the
draws below it. The low end, which cuts are judged by, and the bound of a raise are by rigorous
draws. A background by known draws that has stayed for longer than any sample is old lifts the low
end. What shares leave room for is held at its highest for `peak_hold_ns`: what chargers that are
measured cannot have drawn counts at once, what they can (one that was raised, or wakes, between two
samples) only once it has stayed for as long.
A circuit without a good meter has its declared background. Runs inside step and confirm.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.draws cimport (
    KNOWN, NEWEST, RIGOROUS, has_good_meter, is_meter_fresh, sum_draws, worst_background_mA,
)
from loadctl.law.layout cimport N_DIPS, N_PEAKS, N_PHASES, circuit_t
from loadctl.law.tables cimport circuit_row_t, law_t

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
    """The background at rest: newest values of any age, declared where no meter is good."""
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
            good_at_ns = max(good_at_ns, law.meters[row.meter].trusted_at_ns)
        if now_ns - good_at_ns >= law.site.tuning.meter_stale_ns or before == SOURCE_STALE:
            circuit.source = SOURCE_STALE
        else:
            circuit.source = SOURCE_HELD if law.meters[row.meter].has_value else SOURCE_WAITING
    circuit.may_raise = circuit.source != SOURCE_HELD and circuit.source != SOURCE_WAITING


cdef int32_t background_mA(law_t *law, int32_t c, int32_t p, int64_t draw_mA) noexcept nogil:
    """What the meter of c reads beyond these draws; below zero only where export counts."""
    cdef int64_t rest_mA = measured_mA(law, c, p) - draw_mA
    if rest_mA < 0 and not law.circuit_rows[c].counts_export:
        return 0
    return <int32_t>rest_mA


cdef int64_t measured_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """The reading as it counts: load, unless signed power says export and export counts."""
    cdef int32_t load_mA = law.meters[law.circuit_rows[c].meter].load_mA[p]
    if load_mA < 0 and not law.circuit_rows[c].counts_export:
        return -load_mA
    return load_mA


cdef void set_rigorous(law_t *law, int32_t c) noexcept nogil:
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int32_t p, at, declared_mA
    for p in range(N_PHASES):
        declared_mA = worst_background_mA(law, c, p)
        if circuit.source == SOURCE_METER:
            at = c * N_PHASES + p
            circuit.background_low_mA[p] = background_mA(law, c, p, law.draw_high_mA[at])
            circuit.background_rigorous_mA[p] = background_mA(law, c, p, law.draw_low_mA[at])
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
            hold_peak(circuit, p, shared_mA(law, c, p))
            hold_dip(circuit, p, background_mA(law, c, p, law.draw_high_mA[c * N_PHASES + p]))
    elif circuit.source != SOURCE_HELD:
        for p in range(N_PHASES):
            circuit.background_mA[p] = worst_background_mA(law, c, p)
    set_headroom(law, c)


cdef int32_t shared_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """The background now, for shares: sure, or seen for as long as samples are old."""
    cdef circuit_t *circuit = &law.circuits[c]
    cdef int32_t k, slot = circuit.dip_i * N_PHASES + p
    cdef int32_t calm_mA = background_mA(law, c, p, law.draw_low_mA[c * N_PHASES + p])
    circuit.calm_mA[slot] = min(circuit.calm_mA[slot], calm_mA)
    for k in range(circuit.n_dips):
        calm_mA = min(calm_mA, circuit.calm_mA[k * N_PHASES + p])
    return max(calm_mA, background_mA(law, c, p, law.draw_able_mA[c * N_PHASES + p]))


cdef int64_t peak_part_ns(law_t *law) noexcept nogil:
    return law.site.tuning.peak_hold_ns // (N_PEAKS - 1) + 1


cdef int64_t longest_hold_ns(law_t *law) noexcept nogil:
    """After this time no peak of before is held any more."""
    return N_PEAKS * peak_part_ns(law)


cdef void begin_peak_part(law_t *law, circuit_t *circuit, int64_t now_ns) noexcept nogil:
    """Move on to the next part of the hold time; together the others cover all of it."""
    cdef int64_t part_ns = peak_part_ns(law)
    cdef int64_t since_ns = now_ns - circuit.peak_at_ns
    cdef int32_t p
    if circuit.n_peaks > 0 and since_ns < part_ns:
        return
    circuit.peak_i = (circuit.peak_i + 1) % N_PEAKS if circuit.n_peaks > 0 else 0
    # Parts follow each other without a gap while scans do, so that a hold has a known end.
    circuit.peak_at_ns = now_ns - since_ns % part_ns if circuit.n_peaks > 0 else now_ns
    circuit.n_peaks = min(circuit.n_peaks + 1, <int32_t>N_PEAKS)
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
        circuit.calm_mA[circuit.dip_i * N_PHASES + p] = 1 << 30


cdef void hold_dip(circuit_t *circuit, int32_t p, int32_t value_mA) noexcept nogil:
    """Believe a background by known draws once it has stayed for longer than samples are old."""
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
        circuit.headroom_mA[p] = (
            circuit.limit_mA[p] - law.circuit_rows[c].margin_mA - circuit.background_mA[p]
        )
