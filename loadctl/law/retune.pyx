"""Retune: live values on their way into the plant block, checked like the rows of the tables.

A slot is the place of one live value: first the tuning, then each circuit's, then each charger's;
a group is what is checked together. What is out of bounds raises ValueError with place, value and
bound, and then nothing was written. Works on Python objects, beside the scan; `live` lets the
values count.
"""

from libc.stdint cimport int32_t

from loadctl.law.layout cimport N_PHASES, charger_t, circuit_t
from loadctl.law.live cimport N_LIVE_CHARGER, N_LIVE_CIRCUIT, adopt
from loadctl.law.tables cimport law_t

from loadctl.law.configure import (
    MAX_CURRENT_mA, MAX_WEIGHT, TUNING, ceil_to, check_tuning, floor_to, within,
)


cdef void begin_live(law_t *law, object tables) except *:
    """Live values begin as the site file has them."""
    cdef charger_t *charger
    cdef circuit_t *circuit
    for c, row in enumerate(tables.circuits):
        circuit = &law.circuits[<Py_ssize_t>c]
        circuit.live_margin_mA = row.margin_mA
        for p in range(N_PHASES):
            circuit.live_limit_mA[<Py_ssize_t>p] = row.limit_mA[p]
    for i, row in enumerate(tables.chargers):
        charger = &law.chargers[<Py_ssize_t>i]
        charger.live_min_mA = row.min_mA
        charger.live_max_mA = row.max_mA
        charger.live_priority = row.priority
        charger.live_weight = row.weight
        charger.is_enabled = row.is_enabled
        charger.live_never_pause = row.never_pause


cdef dict read_live(law_t *law, int32_t group):
    """The live values of one group by slot: the tuning, one circuit, or one charger."""
    cdef charger_t *charger
    cdef circuit_t *circuit
    cdef dict tuning
    if group == 0:
        tuning = law.site.tuning
        found = [tuning[name] for name in TUNING]
    elif group <= law.n_circuits:
        circuit = &law.circuits[group - 1]
        found = [
            circuit.live_limit_mA[0], circuit.live_limit_mA[1], circuit.live_limit_mA[2],
            circuit.live_margin_mA,
        ]
    else:
        charger = &law.chargers[group - 1 - law.n_circuits]
        found = [
            charger.live_min_mA, charger.live_max_mA, charger.live_priority,
            charger.live_weight, charger.is_enabled, charger.live_never_pause,
        ]
    first = first_slot(law, group)
    return {first + k: value for k, value in enumerate(found)}


cdef int32_t first_slot(law_t *law, int32_t group) except -1:
    cdef int32_t n_tuning = len(TUNING)
    if group == 0:
        return 0
    if group <= law.n_circuits:
        return n_tuning + N_LIVE_CIRCUIT * (group - 1)
    group -= 1 + law.n_circuits
    return n_tuning + N_LIVE_CIRCUIT * law.n_circuits + N_LIVE_CHARGER * group


cdef int32_t group_of(law_t *law, slot) except -1:
    """Which group a slot is of."""
    cdef int32_t n_groups = 1 + law.n_circuits + law.n_chargers
    within("slot", slot, 0, first_slot(law, n_groups) - 1)
    slot -= len(TUNING)
    if slot < 0:
        return 0
    if slot < N_LIVE_CIRCUIT * law.n_circuits:
        return 1 + slot // N_LIVE_CIRCUIT
    return 1 + law.n_circuits + (slot - N_LIVE_CIRCUIT * law.n_circuits) // N_LIVE_CHARGER


cdef void retune(law_t *law, object tables, changes) except *:
    """Write these slots, all or none, and let them count."""
    cdef int32_t group
    groups = {}
    for slot, value in changes:
        group = group_of(law, slot)
        if group not in groups:
            groups[group] = read_live(law, group)
        groups[group][slot] = value
    for group, values in groups.items():
        check_live(law, tables, group, list(values.values()))
    for group, values in groups.items():
        write_live(law, group, list(values.values()))
    adopt(law)


cdef void check_all_live(law_t *law, object tables) except *:
    """What a block holds that was filled elsewhere."""
    cdef int32_t group
    for group in range(1 + law.n_circuits + law.n_chargers):
        check_live(law, tables, group, list(read_live(law, group).values()))


cdef void check_live(law_t *law, object tables, int32_t group, values) except *:
    if group == 0:
        for name, value in zip(TUNING, values):
            check_tuning(name, value)
    elif group <= law.n_circuits:
        check_live_circuit(tables.circuits[group - 1], *values)
    else:
        check_live_charger(tables.chargers[group - 1 - law.n_circuits], *values)


cdef void write_live(law_t *law, int32_t group, values) except *:
    cdef charger_t *charger
    cdef circuit_t *circuit
    if group == 0:
        law.site.tuning = dict(zip(TUNING, values))
    elif group <= law.n_circuits:
        circuit = &law.circuits[group - 1]
        for p in range(N_PHASES):
            circuit.live_limit_mA[<Py_ssize_t>p] = values[p]
        circuit.live_margin_mA = values[N_PHASES]
    else:
        charger = &law.chargers[group - 1 - law.n_circuits]
        charger.live_min_mA, charger.live_max_mA = values[0], values[1]
        charger.live_priority, charger.live_weight = values[2], values[3]
        charger.is_enabled, charger.live_never_pause = values[4], values[5]


def check_live_circuit(row, *values):
    """Limits are never above the site file's, the margin never below."""
    where = f"circuit.{row.name}"
    for p in range(N_PHASES):
        within(f"{where}.limit_mA", values[p], 0, row.limit_mA[p])
    within(f"{where}.margin_mA", values[N_PHASES], row.margin_mA, MAX_CURRENT_mA)


def check_live_charger(row, min_mA, max_mA, priority, weight, is_enabled, never_pause):
    """The maximum is never above the site file's, and its failsafe current stays what it is."""
    where = f"charger.{row.name}"
    within(f"{where}.min_mA", min_mA, 1, MAX_CURRENT_mA)
    least_mA = ceil_to(min_mA, row.step_mA)
    most_mA = floor_to(max_mA, row.step_mA)
    within(f"{where}.max_mA", most_mA, least_mA, floor_to(row.max_mA, row.step_mA))
    within(f"{where}.priority", priority, -(2**31), 2**31 - 1)
    within(f"{where}.weight", weight, 1, MAX_WEIGHT)
    within(f"{where}.is_enabled", is_enabled, 0, 1)
    within(f"{where}.never_pause", never_pause, 0, 1)
    site_mA = failsafe_of(row, ceil_to(row.min_mA, row.step_mA), floor_to(row.max_mA, row.step_mA))
    failsafe_mA = failsafe_of(row, least_mA, most_mA)
    if failsafe_mA != site_mA:
        raise ValueError(
            f"{where}.failsafe_mA: {site_mA} is not within {least_mA} to {most_mA}, minimum and"
            " maximum"
        )
    if never_pause and not row.never_pause and failsafe_mA < least_mA:
        raise ValueError(f"{where}.never_pause: failsafe_mA, {failsafe_mA}, is below {least_mA}")


def failsafe_of(row, min_mA, max_mA):
    """The failsafe current as it counts between these."""
    failsafe_mA = min(floor_to(row.failsafe_mA, row.step_mA), max_mA)
    return failsafe_mA if failsafe_mA >= min_mA else 0
