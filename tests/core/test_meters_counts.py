"""What is counted of a meter's reads, field by field, from a state that the test writes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import (
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NS_PER_S,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.still import NOW_ns, Still

VOLTS_mV = (230_000, 231_000, 232_000)
LOADS_mA = (1000, 2000, 3000)
POWERS_W = (200, 400, 600)
LAST_ns = NOW_ns - NS_PER_S // 2
CHANGED_ns = NOW_ns - NS_PER_S
PART_ns = NOW_ns - 10 * NS_PER_S


def known(**values: Any) -> Still:
    """A meter that was read in the scan before, some seconds into the present part of counts."""
    still = Still(
        site([circuit("main", 1, is_dynamic=True, meter=0)], [charger("a")], [meter("m")])
    )
    row = still.meters[0]
    fields = {
        "at_ns": LAST_ns,
        "changed_at_ns": CHANGED_ns,
        "part_at_ns": PART_ns,
        "longest_ns": (300_000_000, 400_000_000),
        "stood_ns": (2 * NS_PER_S, NS_PER_S),
        "read_scan_i": still.site.scan_i,
        "current_mA": LOADS_mA,
        "load_mA": LOADS_mA,
        "power_W": POWERS_W,
        "voltage_mV": VOLTS_mV,
        "has_value": True,
        "has_power": True,
        "has_voltage": True,
        "seen_voltage": 7,
        "n_reads": (5, 3),
        "n_flickers": (4, 2),
        "has_base": True,
        "differs": True,
        **values,
    }
    for name, value in fields.items():
        if isinstance(value, tuple):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)
    return still


def read(
    still: Still, current_mA: Any = LOADS_mA, power_W: Any = POWERS_W, volts_mV: Any = VOLTS_mV
) -> Any:
    still.core.meter_read(0, GOOD, current_mA, power_W, volts_mV, NOW_ns)
    return still.meters[0]


def one_more(values: tuple[int, ...], p: int) -> tuple[int, ...]:
    return tuple(value + (q == p) for q, value in enumerate(values))


def test_read_of_the_same_values_is_counted_and_changes_nothing_else() -> None:
    row = read(known())
    assert (list(row.n_reads), list(row.n_flickers)) == ([6, 3], [4, 2])
    assert (row.changed_at_ns, row.part_at_ns) == (CHANGED_ns, PART_ns)
    assert list(row.longest_ns) == [300_000_000, 400_000_000]
    assert list(row.stood_ns) == [2 * NS_PER_S, NS_PER_S]
    assert (row.has_base, row.differs, row.has_changed, row.has_gap) == (1, 1, 0, 0)


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("what", ["current", "power", "voltage"])
def test_any_value_that_differs_ends_a_stillness_and_a_voltage_is_a_flicker(
    what: str, p: int
) -> None:
    row = read(
        known(),
        one_more(LOADS_mA, p) if what == "current" else LOADS_mA,
        one_more(POWERS_W, p) if what == "power" else POWERS_W,
        one_more(VOLTS_mV, p) if what == "voltage" else VOLTS_mV,
    )
    assert (list(row.n_reads), list(row.n_flickers)) == ([6, 3], [4 + (what == "voltage"), 2])
    assert row.changed_at_ns == NOW_ns
    assert list(row.longest_ns) == [NS_PER_S, 400_000_000]
    assert list(row.stood_ns) == [3 * NS_PER_S, NS_PER_S]
    assert (row.has_base, row.differs, row.has_changed) == (0, 0, 1)


def test_values_that_are_not_read_do_not_differ() -> None:
    row = read(known(), LOADS_mA, None, None)
    assert (row.changed_at_ns, list(row.n_flickers)) == (CHANGED_ns, [4, 2])
    assert (row.has_power, row.has_voltage) == (0, 0)
    assert (list(row.power_W), list(row.voltage_mV)) == ([0] * 3, [0] * 3)


def test_shorter_stillness_adds_up_but_is_not_the_longest() -> None:
    row = read(known(changed_at_ns=NOW_ns - 200_000_000), one_more(LOADS_mA, 0))
    assert list(row.longest_ns) == [300_000_000, 400_000_000]
    assert list(row.stood_ns) == [2_200_000_000, NS_PER_S]


@pytest.mark.parametrize(
    ("values", "is_counted"),
    [
        ({"n_reads": (0, 3)}, False),  # it may have stood before this part began
        ({"n_reads": (1, 3)}, True),
        ({"has_gap": True}, False),
        ({"is_frozen": True}, False),
        ({"read_scan_i": 0}, False),
    ],
)
def test_stillness_counts_only_where_all_of_it_was_seen(
    values: dict[str, Any], is_counted: bool
) -> None:
    row = read(known(**values), one_more(LOADS_mA, 0))
    assert list(row.stood_ns) == [(3 if is_counted else 2) * NS_PER_S, NS_PER_S]
    assert row.longest_ns[0] == (NS_PER_S if is_counted else 300_000_000)
    assert (row.has_gap, row.is_frozen) == (0, 0)
    assert row.n_reads[0] == values.get("n_reads", (5, 3))[0] + 1


def test_scan_without_a_read_is_a_gap_and_lengthens_the_part() -> None:
    row = read(known(read_scan_i=0))
    assert row.has_gap == 1
    assert row.part_at_ns == PART_ns + NOW_ns - LAST_ns
    assert read(known()).has_gap == 0


def test_gap_lasts_until_a_value_changes() -> None:
    still = known(has_gap=True)
    assert read(still).has_gap == 1
    assert still.meters[0].n_reads[0] == 6


def test_frozen_meter_is_not_counted_while_it_stands() -> None:
    row = read(known(is_frozen=True, part_at_ns=NOW_ns - 40 * NS_PER_S))
    assert (list(row.n_reads), list(row.n_flickers)) == ([5, 3], [4, 2])
    assert (row.part_at_ns, row.is_frozen) == (NOW_ns - 40 * NS_PER_S, 1)


@pytest.mark.parametrize(
    ("part_age_ns", "n_reads", "n_flickers", "longest_ms", "stood_ms"),
    [
        # 30 s are one part, what came before 60 s ago is forgotten.
        (30 * NS_PER_S - 1, [6, 3], [4, 2], [300, 400], [2000, 1000]),
        (30 * NS_PER_S, [1, 5], [0, 4], [0, 300], [0, 2000]),
        (60 * NS_PER_S - 1, [1, 5], [0, 4], [0, 300], [0, 2000]),
        (60 * NS_PER_S, [1, 0], [0, 0], [0, 0], [0, 0]),
    ],
)
def test_counts_move_on_by_parts(
    part_age_ns: int,
    n_reads: list[int],
    n_flickers: list[int],
    longest_ms: list[int],
    stood_ms: list[int],
) -> None:
    row = read(known(part_at_ns=NOW_ns - part_age_ns))
    assert (list(row.n_reads), list(row.n_flickers)) == (n_reads, n_flickers)
    assert [ns // 1_000_000 for ns in row.longest_ns] == longest_ms
    assert [ns // 1_000_000 for ns in row.stood_ns] == stood_ms
    assert row.part_at_ns == (NOW_ns if n_reads[0] == 1 else NOW_ns - part_age_ns)


def test_part_without_reads_leaves_nothing_to_the_next() -> None:
    row = read(known(n_reads=(0, 3), part_at_ns=NOW_ns - 30 * NS_PER_S))
    assert (list(row.n_reads), list(row.n_flickers)) == ([1, 0], [0, 0])
    assert (row.longest_ns[1], row.stood_ns[1]) == (0, 0)


def test_part_with_one_read_leaves_it() -> None:
    row = read(known(n_reads=(1, 3), part_at_ns=NOW_ns - 30 * NS_PER_S))
    assert (list(row.n_reads), list(row.n_flickers)) == ([1, 1], [0, 4])
    assert (row.longest_ns[1], row.stood_ns[1]) == (300_000_000, 2 * NS_PER_S)


def test_first_read_is_neither_same_nor_a_change_nor_a_gap() -> None:
    still = known(has_value=False, read_scan_i=0)
    row = read(still, (0, 0, 0), (0, 0, 0))
    assert (row.has_value, row.has_changed, row.has_gap) == (1, 0, 0)
    assert (row.changed_at_ns, row.part_at_ns) == (NOW_ns, PART_ns)
    assert list(row.n_flickers) == [4, 2]
    row = read(still, (0, 0, 1), (0, 0, 0))
    assert row.has_changed == 1


@pytest.mark.parametrize(
    ("power_W", "load_mA"),
    [
        (None, [1000, 2000, 3000]),
        ((0, 0, 0), [1000, 2000, 3000]),
        ((-1, 1, -1), [-1000, 2000, -3000]),
    ],
)
def test_signed_power_says_which_way_a_current_flows(power_W: Any, load_mA: list[int]) -> None:
    still = known()
    row = read(still, (1000, -2000, 3000), power_W)
    assert list(row.load_mA) == load_mA
    assert list(row.current_mA) == [1000, -2000, 3000]
    assert list(row.power_W) == list(power_W or (0, 0, 0))
    assert list(row.voltage_mV) == list(VOLTS_mV)
    assert (row.at_ns, row.read_scan_i) == (NOW_ns, still.site.scan_i + 1)
    assert (row.has_power, row.has_voltage) == (power_W is not None, 1)


@pytest.mark.parametrize(
    ("code", "current_mA", "kept"),
    [(NO_ANSWER, None, NO_ANSWER), (NO_ANSWER, (5, 5, 5), NO_ANSWER), (GOOD, None, IMPLAUSIBLE)],
)
def test_without_good_values_only_the_attempt_is_noted(
    code: int, current_mA: Any, kept: int
) -> None:
    still = known()
    still.core.meter_read(0, code, current_mA, (9, 9, 9), (1, 1, 1), NOW_ns)
    row = still.meters[0]
    assert (row.code, row.tried_scan_i) == (kept, still.site.scan_i + 1)
    assert (row.at_ns, row.read_scan_i) == (LAST_ns, still.site.scan_i)
    assert (row.n_implausible, list(row.n_reads), list(row.load_mA)) == (0, [5, 3], [*LOADS_mA])


def test_voltages_that_cannot_be_leave_the_last_values() -> None:
    still = known()
    row = read(still, (9, 9, 9), POWERS_W, (230_000, 1, 230_000))
    assert (row.code, row.n_implausible) == (IMPLAUSIBLE, 1)
    assert (row.at_ns, list(row.load_mA), list(row.n_reads)) == (LAST_ns, [*LOADS_mA], [5, 3])


# What is kept of loads: the parts are 100 ms, by six of a 400 ms lag and exchanges of 200 ms.
MS = 1_000_000
PART_ms = 100


def kept(*reads: tuple[int, int]) -> Any:
    """Meter 0 of two after reads of so many mA on L2, each at so many ms."""
    rows = [meter("m"), meter("n", 400 * MS - 6)]
    circuits = [circuit("main", 100_000, is_dynamic=True, meter=0), circuit("sub", 100_000, 0)]
    still = Still(site(circuits, [charger("a")], rows))
    for at_ms, load_mA in reads:
        at_ns = NOW_ns + at_ms * MS
        power_W = (1, 1 if load_mA >= 0 else -1, 1)
        still.core.meter_read(0, GOOD, (0, abs(load_mA), 0), power_W, None, at_ns)
    return still.meters[0]


def parts(row: Any) -> list[tuple[int, int, int]]:
    """(ms, least, most) on L2, newest first."""
    slots = [(row.kept_i - k) % 8 for k in range(row.n_kept)]
    return [
        (
            (row.kept_at_ns[k] - NOW_ns) // MS,
            row.kept_low_mA[3 * k + 1],
            row.kept_high_mA[3 * k + 1],
        )
        for k in slots
    ]


def test_loads_within_a_part_are_kept_as_one() -> None:
    row = kept((0, 5), (50, 3), (PART_ms - 1, 9), (PART_ms, 4), (2 * PART_ms - 1, 6))
    assert parts(row) == [(PART_ms, 4, 6), (0, 3, 9)]


def test_parts_reach_back_over_the_longest_lag() -> None:
    for loads in (list(range(20)), list(range(20, 0, -1))):
        row = kept(*((k * PART_ms, load) for k, load in enumerate(loads)))
        assert parts(row) == [(k * PART_ms, loads[k], loads[k]) for k in range(19, 11, -1)]


def test_meter_that_showed_export_is_known_for_it() -> None:
    assert kept((0, 5), (500, 0)).has_exported == 0
    assert kept((0, 5), (500, -1), (1000, 5)).has_exported == 1


def test_part_lasts_to_the_nanosecond() -> None:
    rows = [meter("m"), meter("n", 400 * MS - 6)]
    circuits = [circuit("main", 100_000, is_dynamic=True, meter=0), circuit("sub", 100_000, 0)]
    for after_ns, n_kept in ((PART_ms * MS - 1, 1), (PART_ms * MS, 2)):
        still = Still(site(circuits, [charger("a")], rows))
        for at_ns in (NOW_ns, NOW_ns + after_ns):
            still.core.meter_read(0, GOOD, (0, 5, 0), None, None, at_ns)
        assert still.meters[0].n_kept == n_kept
