"""Limits: what the chargers of this scan may draw together, per limit of every circuit.

Cap = limit - margin - background - what no candidate may have (reserves of chargers that cannot
be commanded, or did not follow). The low cap, by the lowest background, is what cuts keep to; a
meter above its limit lowers it further. The high cap, by the held background, is what raises
keep to. Phase limits and power carry background; unbalance and charger power are among chargers
only. Every limit is the one in force (`external`).
"""

from libc.stdint cimport int32_t, int64_t

from loadctl.law.draws cimport EXCHANGES_ns
from loadctl.law.estimate cimport SOURCE_HELD, SOURCE_METER, longest_hold_ns, measured_mA
from loadctl.law.layout cimport N_KINDS, N_PHASES, charger_t, circuit_t
from loadctl.law.reserve cimport PILOT_TOLERANCE_mA, draws_between, follow_ns
from loadctl.law.tables cimport (
    KIND_CHARGERS, KIND_POWER, N_LOAD_KINDS, STATE_A, STATE_B, charger_row_t, circuit_row_t, law_t,
    member_t,
)


cdef enum:
    LEAST_DRAW_mA = 6000    # of a car that charges: IEC 61851-1, table A.5

cdef int64_t OPEN_mA = 137_438_953_472  # above all chargers together


cdef void clear(law_t *law, int64_t *sums_mA) noexcept nogil:
    cdef int32_t k
    for k in range(law.n_limits):
        sums_mA[k] = 0


cdef void add_to(
    law_t *law, int64_t *sums_mA, int32_t i, int64_t amount_mA
) noexcept nogil:
    """Add a current of charger i to every limit it counts in, as often as it counts there."""
    cdef member_t *member = &law.members[law.charger_rows[i].first_member]
    cdef int32_t k
    for k in range(law.charger_rows[i].n_members):
        sums_mA[member[k].limit_i] += member[k].count * amount_mA


cdef int64_t cap_mA(
    law_t *law, int32_t c, int32_t kind, const int32_t *background_mA
) noexcept nogil:
    """Limit less margin less background. The power limit has no margin: margins are for phases."""
    cdef circuit_row_t *row = &law.circuit_rows[c]
    cdef circuit_t *circuit = &law.circuits[c]
    if kind < N_PHASES:
        return <int64_t>circuit.limit_mA[kind] - row.margin_mA - background_mA[kind]
    if kind == KIND_POWER:
        if not circuit.has_power_limit:
            return OPEN_mA
        return (
            circuit.power_limit_mA
            - <int64_t>background_mA[0] - background_mA[1] - background_mA[2]
        )
    if kind == KIND_CHARGERS:
        return circuit.charger_power_limit_mA if circuit.has_charger_power_limit else OPEN_mA
    return row.unbalance_mA


cdef void fill_caps(law_t *law) noexcept nogil:
    cdef circuit_t *circuit
    cdef int32_t k, c, kind
    for k in range(law.n_live):
        c = law.live[k] // N_KINDS
        kind = law.live[k] % N_KINDS
        circuit = &law.circuits[c]
        law.cap_low_mA[law.live[k]] = cap_mA(law, c, kind, circuit.background_low_mA)
        law.cap_high_mA[law.live[k]] = cap_mA(law, c, kind, circuit.background_mA)


cdef void open_caps(law_t *law) noexcept nogil:
    """While nothing is raised only what a meter shows above its limit cuts, and nobody keeps more
    than its failsafe current: the proof has room for that, whoever is armed or answers."""
    cdef charger_t *charger
    cdef int32_t i, k
    for k in range(law.n_live):
        law.cap_low_mA[law.live[k]] = OPEN_mA
        law.cap_high_mA[law.live[k]] = OPEN_mA
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        law.most_mA[i] = min(law.most_mA[i], min(charger.setpoint_mA, charger.failsafe_mA))


cdef void take_off_fixed(law_t *law) noexcept nogil:
    """Take off what cannot be given: all that is reserved by those who cannot be commanded; beyond
    its minimum by one that did not follow; beyond its setpoint by one that was not reached, or
    that always takes a little more."""
    cdef charger_t *charger
    cdef int32_t i
    cdef int64_t fixed_mA
    for i in range(law.n_chargers):
        charger = &law.chargers[i]
        fixed_mA = 0
        if not charger.is_candidate:
            fixed_mA = charger.reserve_mA
        elif charger.is_overdue:
            fixed_mA = charger.reserve_mA - law.charger_rows[i].min_mA
        elif not charger.is_acknowledged:
            fixed_mA = charger.reserve_mA - charger.setpoint_mA
        elif charger.setpoint_mA > 0:
            fixed_mA = charger.over_mA
        if fixed_mA > 0:
            if not has_left(charger):
                add_to(law, law.cap_low_mA, i, -fixed_mA)
            add_to(law, law.cap_high_mA, i, -fixed_mA)


cdef bint has_left(charger_t *charger) noexcept nogil:
    """True where no car is: what is still reserved there, also on phases that the last one did not
    use, is kept from others, but takes nothing from them."""
    return charger.is_armed and not charger.is_silent and charger.state == STATE_A


cdef void cut_by_meters(law_t *law, int64_t now_ns) noexcept nogil:
    """Lower the low caps by what the meters show too much; note where setpoints do not fit."""
    cdef int32_t i, k, p
    cdef bint has_excess
    clear(law, law.used_mA)
    clear(law, law.late_mA)
    clear(law, law.drawn_mA)
    for k in range(law.n_live):
        if law.live[k] % N_KINDS < N_LOAD_KINDS:
            note_excess(law, law.live[k], now_ns)
    for i in range(law.n_chargers):
        count_draws(law, i, now_ns)
    for k in range(law.n_circuits):
        for p in range(N_PHASES):
            law.circuits[k].is_overloaded[p] = False
            law.circuits[k].is_above[p] = False
    for k in range(law.n_live):
        if law.live[k] % N_KINDS < N_LOAD_KINDS:
            has_excess = cut_excess(law, law.live[k])
            if has_excess:
                note_above(law, law.live[k])
            if has_excess or law.used_mA[law.live[k]] > max(0, law.cap_low_mA[law.live[k]]):
                delay_raises(law, law.live[k], now_ns)


cdef void note_excess(law_t *law, int32_t limit_i, int64_t now_ns) noexcept nogil:
    """Remember since when the meter has read more than the limit."""
    cdef circuit_t *circuit = &law.circuits[limit_i // N_KINDS]
    cdef int32_t kind = limit_i % N_KINDS
    if circuit.source == SOURCE_HELD:
        return
    if excess_mA(law, limit_i) <= 0:
        circuit.has_excess[kind] = False
    elif not circuit.has_excess[kind]:
        circuit.has_excess[kind] = True
        circuit.excess_since_ns[kind] = now_ns


cdef void count_draws(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    """Count charger i: its setpoint, what of it is drawn, what it draws until it follows.

    One that is not measured may have been drawing its setpoint, until takes have had their time and
    the excess is still there: then it drew less, and only what a car draws at least is relief.
    """
    cdef charger_t *charger = &law.chargers[i]
    cdef charger_row_t *row = &law.charger_rows[i]
    cdef bint is_late = (
        charger.is_unproven and charger.is_acknowledged and not charger.is_overdue
        and not charger.is_doubted and now_ns - charger.acknowledged_at_ns < follow_ns(law, i)
    )
    cdef int32_t k, p
    cdef bint has_draw = has_recent_draw(law, i, now_ns)
    cdef int32_t low_mA[3]
    cdef int32_t high_mA[3]
    cdef int32_t drawn_mA[3]
    cdef int32_t late_mA[3]
    cdef int32_t least_drawn_mA[3]
    cdef int32_t least_late_mA[3]
    cdef int32_t *later_drawn_mA = least_drawn_mA
    cdef int32_t *later_late_mA = least_late_mA
    for p in range(N_PHASES):
        drawn_mA[p] = 0
        late_mA[p] = 0
        least_drawn_mA[p] = 0
        least_late_mA[p] = 0
    if has_draw:
        later_drawn_mA = drawn_mA
        later_late_mA = late_mA
        draws_between(law, i, now_ns - row.meter_lag_ns - EXCHANGES_ns, now_ns, low_mA, high_mA)
    for k in range(row.n_phases):
        p = row.phases[k]
        drawn_mA[p] = charger.setpoint_mA
        late_mA[p] = charger.ceiling_mA - charger.setpoint_mA
        if has_draw:
            drawn_mA[p] = min(drawn_mA[p], charger.draw_mA[p])
            if not charger.is_unproven:
                late_mA[p] = max(0, high_mA[p] - max(charger.setpoint_mA, charger.draw_mA[p]))
            elif high_mA[p] > charger.setpoint_mA or has_followed(charger):
                late_mA[p] = max(0, high_mA[p] - charger.setpoint_mA)
        elif not is_off(charger):
            least_drawn_mA[p] = min(charger.setpoint_mA, <int32_t>LEAST_DRAW_mA)
            least_late_mA[p] = min(charger.ceiling_mA, <int32_t>LEAST_DRAW_mA)
            least_late_mA[p] -= least_drawn_mA[p]
    if charger.is_candidate:
        add_to(law, law.used_mA, i, charger.setpoint_mA)
        add_by_phase(law, law.drawn_mA, i, drawn_mA, later_drawn_mA, now_ns)
    if late_mA[0] + late_mA[1] + late_mA[2] > 0 and (is_late or is_just_proven(charger)):
        add_by_phase(law, law.late_mA, i, late_mA, later_late_mA, now_ns)


cdef bint is_off(charger_t *charger) noexcept nogil:
    """True where no car is, or one that the box has not switched on."""
    return not charger.is_silent and (charger.state == STATE_A or charger.state == STATE_B)


cdef bint has_stayed(law_t *law, int32_t limit_i, int32_t i, int64_t now_ns) noexcept nogil:
    """True when the meter has been above this limit for longer than charger i takes to follow."""
    cdef circuit_t *circuit = &law.circuits[limit_i // N_KINDS]
    cdef int32_t kind = limit_i % N_KINDS
    return (
        circuit.has_excess[kind]
        and now_ns - circuit.excess_since_ns[kind] >= follow_ns(law, i)
    )


cdef bint is_just_proven(charger_t *charger) noexcept nogil:
    """True for one that came down: the meter may still show what it drew a moment before."""
    return charger.is_acknowledged and not charger.is_unproven and not charger.is_overdue


cdef bint has_followed(charger_t *charger) noexcept nogil:
    """True when the newest sample was taken since the last setpoint, and is within it."""
    cdef int32_t p
    for p in range(N_PHASES):
        if charger.draw_mA[p] > charger.setpoint_mA + PILOT_TOLERANCE_mA:
            return False
    return charger.sample_at_ns[charger.sample_i] > charger.acknowledged_at_ns


cdef bint has_recent_draw(law_t *law, int32_t i, int64_t now_ns) noexcept nogil:
    cdef charger_t *charger = &law.chargers[i]
    if charger.n_samples == 0 or charger.is_silent:
        return False
    return now_ns - charger.sample_at_ns[charger.sample_i] <= law.site.tuning.meter_stale_ns


cdef void add_by_phase(
    law_t *law, int64_t *sums_mA, int32_t i,
    const int32_t *at_first_mA, const int32_t *later_mA, int64_t now_ns,
) noexcept nogil:
    """Add currents of charger i, by grid phase, to its phase and power limits: other ones where an
    excess has stayed."""
    cdef member_t *member = &law.members[law.charger_rows[i].first_member]
    cdef const int32_t *value_mA
    cdef int32_t k
    for k in range(law.charger_rows[i].n_members):
        if member[k].kind >= N_LOAD_KINDS:
            continue
        value_mA = at_first_mA
        if later_mA != at_first_mA and has_stayed(law, member[k].limit_i, i, now_ns):
            value_mA = later_mA
        if member[k].kind < N_PHASES:
            sums_mA[member[k].limit_i] += value_mA[member[k].kind]
        else:
            sums_mA[member[k].limit_i] += <int64_t>value_mA[0] + value_mA[1] + value_mA[2]


cdef bint cut_excess(law_t *law, int32_t limit_i) noexcept nogil:
    """Cut what the meter reads above the limit beyond takes still to be followed; True: it does.

    Setpoints that nobody draws are no relief: the cut is from what is drawn. A car that wakes
    cannot bring the meter above the limit, its setpoint had room; so this is background.
    """
    cdef int64_t over_mA = excess_mA(law, limit_i) - law.late_mA[limit_i], margin_mA = 0
    if limit_i % N_KINDS < N_PHASES:
        margin_mA = law.circuit_rows[limit_i // N_KINDS].margin_mA
    if over_mA > 0:
        law.cap_low_mA[limit_i] = min(
            law.cap_low_mA[limit_i], law.drawn_mA[limit_i] - over_mA - margin_mA
        )
    return over_mA > 0


cdef int64_t excess_mA(law_t *law, int32_t limit_i) noexcept nogil:
    """What the meter reads above a limit, below zero where there is room; 0 without a meter now."""
    cdef int32_t c = limit_i // N_KINDS, kind = limit_i % N_KINDS
    if law.circuits[c].source != SOURCE_METER:
        return 0
    if kind < N_PHASES:
        return measured_mA(law, c, kind) - law.circuits[c].limit_mA[kind]
    if not law.circuits[c].has_power_limit:
        return 0
    return (
        measured_mA(law, c, 0) + measured_mA(law, c, 1) + measured_mA(law, c, 2)
        - law.circuits[c].power_limit_mA
    )


cdef void note_above(law_t *law, int32_t limit_i) noexcept nogil:
    cdef int32_t p, kind = limit_i % N_KINDS
    for p in range(N_PHASES):
        if kind == p or kind == KIND_POWER:
            law.circuits[limit_i // N_KINDS].is_above[p] = True


cdef void delay_raises(law_t *law, int32_t limit_i, int64_t now_ns) noexcept nogil:
    """Also for as long as peaks are held: one that ends elsewhere moves the shares here, and what
    was raised in the meantime would be cut again."""
    cdef circuit_t *circuit = &law.circuits[limit_i // N_KINDS]
    cdef int32_t p, kind = limit_i % N_KINDS
    for p in range(N_PHASES):
        if kind == p or kind == KIND_POWER:
            circuit.is_overloaded[p] = True
            circuit.raise_after_ns[p] = now_ns + max(
                law.site.tuning.raise_delay_ns, longest_hold_ns(law)
            )


cdef void sum_minima(law_t *law) noexcept nogil:
    """What the minima of those admitted come to in each limit."""
    cdef int32_t i
    clear(law, law.minima_mA)
    for i in range(law.n_chargers):
        if law.is_in[i]:
            add_to(law, law.minima_mA, i, law.charger_rows[i].min_mA)


cdef void lift_to_minima(law_t *law) noexcept nogil:
    """Let the high caps hold at least the minima of those admitted: a peak alone pauses nobody."""
    cdef int32_t k, c
    for k in range(law.n_live):
        c = law.live[k]
        law.cap_high_mA[c] = max(law.cap_high_mA[c], law.minima_mA[c])


cdef bint do_caps_differ(law_t *law) noexcept nogil:
    cdef int32_t k
    for k in range(law.n_live):
        if law.cap_low_mA[law.live[k]] != law.cap_high_mA[law.live[k]]:
            return True
    return False
