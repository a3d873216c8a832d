"""Draws: what the chargers below a circuit take, as lower and upper bound, by three readings of
samples.

    rigorous    samples around the meters' values, one before and one after; else 0 and the reserve
    known       the newest sample, while it is not too old, and of a charger that is silent the
                last one; else 0 and the reserve
    newest      the newest sample, whatever its age: for an allocation at rest

A sub-circuit's own meter bounds the draws below it. Beside the rigorous bounds stands what the
measured chargers can have drawn, those without samples around the meter's value up to their
reserves. Runs inside step and confirm; writes only work arrays.
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.layout cimport N_PHASES, charger_t, meter_t
from loadctl.law.meters cimport TRUSTED, loads_since
from loadctl.law.reserve cimport COVERS_HIGH, COVERS_LOW, draws_between
from loadctl.law.tables cimport CODE_GOOD, NONE, charger_row_t, law_t, span_t

cdef bint has_good_meter(law_t *law, int32_t c) noexcept nogil:
    cdef int32_t m = law.circuit_rows[c].meter
    return (
        m != NONE and law.meters[m].code == CODE_GOOD and law.meters[m].has_value
        and law.meters[m].quality == TRUSTED
    )


cdef bint is_meter_fresh(law_t *law, int32_t c) noexcept nogil:
    """True when the meter of this circuit was read good in this scan."""
    return has_good_meter(law, c) and (
        law.meters[law.circuit_rows[c].meter].read_scan_i == law.site.scan_i
    )


cdef int32_t worst_background_mA(law_t *law, int32_t c, int32_t p) noexcept nogil:
    """What a circuit carries at most without its chargers: declared, or seen above that."""
    return max(law.circuit_rows[c].background_mA[p], law.circuits[c].seen_background_mA[p])


cdef void sum_draws(law_t *law, Reading reading) noexcept nogil:
    """Sum the draws below every circuit, leaves first, bounded by the meters of sub-circuits."""
    cdef int32_t i, p, c, at
    cdef int32_t low_mA[3]
    cdef int32_t high_mA[3]
    fill_spans(law)
    for at in range(law.n_circuits * N_PHASES):
        law.draw_low_mA[at] = 0
        law.draw_high_mA[at] = 0
        if reading == RIGOROUS:
            law.draw_able_mA[at] = 0
    for i in range(law.n_chargers):
        draws_of(law, i, reading, low_mA, high_mA)
        at = law.charger_rows[i].circuit * N_PHASES
        for p in range(N_PHASES):
            law.draw_low_mA[at + p] += low_mA[p]
            law.draw_high_mA[at + p] += high_mA[p]
            if reading == RIGOROUS and law.charger_rows[i].has_measured_current:
                law.draw_able_mA[at + p] += high_mA[p]
    for c in range(law.n_circuits - 1, 0, -1):
        for p in range(N_PHASES):
            pass_up(law, c, p, reading)


cdef void pass_up(law_t *law, int32_t c, int32_t p, Reading reading) noexcept nogil:
    """Add what is drawn below circuit c to the sums of the circuit above it."""
    cdef int32_t at = law.circuit_rows[c].parent * N_PHASES + p
    cdef int32_t low_mA = <int32_t>bounded_low_mA(law, c, p, reading)
    cdef int32_t high_mA = <int32_t>bounded_high_mA(law, c, p, reading)
    law.draw_low_mA[at] += low_mA
    law.draw_high_mA[at] += high_mA
    if reading == RIGOROUS:
        law.draw_able_mA[at] += max(low_mA, min(high_mA, law.draw_able_mA[c * N_PHASES + p]))


cdef void draws_of(
    law_t *law, int32_t i, Reading reading, int32_t *low_mA, int32_t *high_mA
) noexcept nogil:
    """The draw of one charger by grid phase, as lower and upper bound."""
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef charger_t *charger = &law.chargers[i]
    cdef span_t *span = &law.spans[row.circuit]
    cdef int32_t p, k, covered = 0
    cdef int64_t age_ns
    cdef bint has_draw = row.has_measured_current and charger.n_samples > 0
    if reading == RIGOROUS and has_draw and not charger.is_silent and span.has_any:
        covered = draws_between(law, i, span.from_ns, span.to_ns, low_mA, high_mA)
    for p in range(N_PHASES):
        if not covered & COVERS_LOW:
            low_mA[p] = 0
        if not covered & COVERS_HIGH:
            high_mA[p] = low_mA[p]
    if not covered & COVERS_HIGH:
        for k in range(row.n_phases):
            high_mA[row.phases[k]] = max(low_mA[row.phases[k]], charger.reserve_mA)
    if reading == RIGOROUS:
        return
    age_ns = law.site.now_ns - charger.sample_at_ns[charger.sample_i]
    for p in range(N_PHASES):
        if has_draw and reading == NEWEST:
            low_mA[p] = charger.draw_mA[p]
            high_mA[p] = charger.draw_mA[p]
        elif row.has_measured_current and charger.is_silent:
            # Its reserve is taken off from what the others may have: what it draws must not be
            # background as well.
            low_mA[p] = min(charger.draw_mA[p], charger.reserve_mA)
        elif has_draw:
            if age_ns <= law.site.tuning.peak_hold_ns:
                low_mA[p] = charger.draw_mA[p]
            if age_ns <= law.site.tuning.meter_stale_ns:
                high_mA[p] = charger.draw_mA[p]


cdef bint has_fresh_draw(law_t *law, int32_t i) noexcept nogil:
    """True when samples before and after the meters' values of this scan are at hand; needs
    `fill_spans`."""
    cdef span_t *span = &law.spans[law.charger_rows[i].circuit]
    cdef int32_t low_mA[3]
    cdef int32_t high_mA[3]
    cdef int32_t covered = draws_between(law, i, span.from_ns, span.to_ns, low_mA, high_mA)
    return not span.has_any or covered & COVERS_LOW


cdef void fill_spans(law_t *law) noexcept nogil:
    """The time that the values of fresh meters at and above each circuit may stem from."""
    cdef span_t *span
    cdef int64_t begin_ns, end_ns
    cdef int32_t c, m
    for c in range(law.n_circuits):
        span = &law.spans[c]
        span.has_any = False
        if c > 0:
            span[0] = law.spans[law.circuit_rows[c].parent]     # stands before it
        if is_meter_fresh(law, c):
            m = law.circuit_rows[c].meter
            end_ns = law.meters[m].at_ns
            begin_ns = end_ns - law.meter_lags_ns[m] - EXCHANGES_ns
            span.from_ns = min(span.from_ns, begin_ns) if span.has_any else begin_ns
            span.to_ns = max(span.to_ns, end_ns) if span.has_any else end_ns
            span.has_any = True


cdef int64_t bounded_low_mA(law_t *law, int32_t c, int32_t p, Reading reading) noexcept nogil:
    """Draws below c are at least what its meter reads beyond the worst background there.

    Rigorously that says nothing of chargers that are measured, and it is the least of what was read
    since the time that the values of the meters above may stem from.
    """
    cdef int32_t at = c * N_PHASES + p, least_mA, most_mA
    cdef int64_t low_mA = law.draw_low_mA[at], background_mA = worst_background_mA(law, c, p)
    if not (has_good_meter(law, c) if reading == NEWEST else is_meter_fresh(law, c)):
        return low_mA
    if reading == RIGOROUS:
        if not loads_around(law, c, p, &least_mA, &most_mA):
            return low_mA
        low_mA += max(0, least_mA - background_mA - law.draw_able_mA[at])
    else:
        low_mA = max(low_mA, law.meters[law.circuit_rows[c].meter].load_mA[p] - background_mA)
    return min(low_mA, law.draw_high_mA[at])


cdef int64_t bounded_high_mA(law_t *law, int32_t c, int32_t p, Reading reading) noexcept nogil:
    """Draws below c are at most what its meter reads, unless it is slow, or something may feed in
    there; rigorously that too says nothing of chargers that are measured."""
    cdef int32_t at = c * N_PHASES + p, least_mA, most_mA
    cdef int64_t high_mA = law.draw_high_mA[at], metered_mA
    if not (law.circuit_rows[c].bounds_above and is_meter_fresh(law, c)):
        return high_mA
    if law.meters[law.circuit_rows[c].meter].has_exported:
        return high_mA
    if not loads_around(law, c, p, &least_mA, &most_mA):
        return high_mA
    metered_mA = most_mA
    if reading == RIGOROUS:
        metered_mA = law.draw_able_mA[at] + max(0, metered_mA - law.draw_low_mA[at])
    return max(min(high_mA, metered_mA), law.draw_low_mA[at])


cdef bint loads_around(
    law_t *law, int32_t c, int32_t p, int32_t *least_mA, int32_t *most_mA
) noexcept nogil:
    """What the meter of c has read since the time that the values of the meters above may stem
    from; False where that is not at hand. Needs `fill_spans`."""
    cdef span_t *above = &law.spans[law.circuit_rows[c].parent]
    cdef meter_t *meter = &law.meters[law.circuit_rows[c].meter]
    cdef int64_t from_ns = above.from_ns if above.has_any else meter.at_ns
    return loads_since(meter, p, from_ns, least_mA, most_mA)
