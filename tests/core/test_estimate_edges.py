"""The background at its edges: where it comes from, and for how long what was seen is held."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import NO_ANSWER, NS_PER_S, charger, circuit, meter, site
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

STATIC, METER, STALE, HELD, WAITING = range(5)
DECLARED_mA = 9000
LOAD_mA = 20_000


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, (tuple, list)):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


def metered(main: dict[str, Any] | None = None, **tunings: int) -> Still:
    values = {"is_dynamic": True, "meter": 0, "background_mA": DECLARED_mA, **(main or {})}
    return Still(site([circuit("main", 90_000, **values)], [charger("a")], [meter("m")], **tunings))


def after(held: Still, load_mA: Any = LOAD_mA, **state: Any) -> Any:
    """The main circuit after a step in which its meter is read, or not where the load is None."""
    set_fields(held.circuits[0], **state)
    if load_mA is not None:
        held.read(0, load_mA)
    held.step()
    return held.circuits[0]


@pytest.mark.parametrize(
    ("main", "state", "load_mA", "source", "may_raise"),
    [
        ({"is_dynamic": False, "meter": -1}, {"source": METER}, None, STATIC, 1),
        ({"is_dynamic": False}, {}, LOAD_mA, STATIC, 1),
        ({}, {}, LOAD_mA, METER, 1),
        ({}, {"source": STALE}, LOAD_mA, METER, 1),
        ({}, {"source": HELD}, LOAD_mA, METER, 1),
    ],
)
def test_source_of_a_background(
    main: dict[str, Any], state: dict[str, Any], load_mA: Any, source: int, may_raise: int
) -> None:
    row = after(metered(main), load_mA, **state)
    assert (row.source, row.may_raise) == (source, may_raise)


@pytest.mark.parametrize(
    ("meter_fields", "first_ns", "source", "expected"),
    [
        # Not read in this scan: as it was, for three seconds after the last that was believed.
        ({"has_value": True, "trusted_at_ns": NOW_ns - 3 * NS_PER_S + 1}, 0, METER, HELD),
        ({"has_value": True, "trusted_at_ns": NOW_ns - 3 * NS_PER_S}, 0, METER, STALE),
        ({"has_value": True, "trusted_at_ns": 1}, NOW_ns - 3 * NS_PER_S + 1, METER, HELD),
        ({"has_value": True, "trusted_at_ns": 1}, NOW_ns - 3 * NS_PER_S, METER, STALE),
        # Never read: it is waited for, as long, from the first step on.
        ({"has_value": False, "trusted_at_ns": NOW_ns}, NOW_ns - 3 * NS_PER_S + 1, STATIC, WAITING),
        ({"has_value": False, "trusted_at_ns": NOW_ns}, NOW_ns - 3 * NS_PER_S, STATIC, STALE),
        # Once given up, only a value that is believed brings it back.
        ({"has_value": True, "trusted_at_ns": NOW_ns}, 0, STALE, STALE),
    ],
)
def test_source_without_a_value_in_this_scan(
    meter_fields: dict[str, Any], first_ns: int, source: int, expected: int
) -> None:
    held = metered()
    held.site.first_step_at_ns = first_ns
    set_fields(held.meters[0], **meter_fields)
    row = after(held, None, source=source)
    assert (row.source, row.may_raise) == (expected, expected == STALE)


VALUES = {
    "background_mA": (1, 2, 3),
    "background_low_mA": (4, 5, 6),
    "background_rigorous_mA": (7, 8, 9),
    "seen_background_mA": (0, 9500, 8000),
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Declared, or what was seen above it.
        (STATIC, ([9000, 9500, 9000],) * 3),
        (STALE, ([9000, 9500, 9000],) * 3),
        # Nothing is cut before the first value, and nothing raised.
        (WAITING, ([9000, 9500, 9000], [0, 0, 0], [9000, 9500, 9000])),
        (HELD, ([1, 2, 3], [4, 5, 6], [7, 8, 9])),
    ],
)
def test_background_without_a_value(source: int, expected: tuple[list[int], ...]) -> None:
    held = metered({"is_dynamic": source != STATIC})
    held.site.first_step_at_ns = NOW_ns
    if source == HELD:
        set_fields(held.meters[0], has_value=True, trusted_at_ns=NOW_ns)
    row = after(held, None, source=STALE if source == STALE else STATIC, **VALUES)
    assert row.source == source
    assert list(row.background_mA) == expected[0]
    assert list(row.background_low_mA) == expected[1]
    assert list(row.background_rigorous_mA) == expected[2]
    assert list(row.headroom_mA) == [90_000 - mA for mA in expected[0]]


def test_margin_is_no_headroom() -> None:
    row = after(metered({"margin_mA": 1500}))
    assert list(row.headroom_mA) == [90_000 - 1500 - LOAD_mA] * 3


@pytest.mark.parametrize(
    ("counts_export", "load_mA", "background_mA"),
    [
        (False, (3000, -3000, 0), [3000, 3000, 0]),  # unsigned: the safe reading
        (True, (3000, -3000, 0), [3000, -3000, 0]),
    ],
)
def test_current_that_flows_back(
    counts_export: bool, load_mA: tuple[int, int, int], background_mA: list[int]
) -> None:
    held = metered({"counts_export": counts_export})
    watts = tuple(1 if mA >= 0 else -1 for mA in load_mA)
    held.core.meter_read(0, 1, tuple(abs(mA) for mA in load_mA), watts, None, NOW_ns)
    held.step()
    row = held.circuits[0]
    assert list(row.background_mA) == background_mA
    assert list(row.background_low_mA) == background_mA
    assert list(row.background_rigorous_mA) == background_mA


@pytest.mark.parametrize(("counts_export", "background_mA"), [(False, 0), (True, -6000)])
def test_draws_beyond_the_reading_are_no_negative_background(
    counts_export: bool, background_mA: int
) -> None:
    held = metered({"counts_export": counts_export})
    row = held.set(0, 16_000)
    for slot in (0, 1):
        row.sample_at_ns[slot] = NOW_ns - NS_PER_S * (1 - slot)
        row.sample_mA[3 * slot : 3 * slot + 3] = [16_000] * 3
    row.sample_i, row.n_samples = 1, 2
    main = after(held, 10_000)
    assert list(main.background_rigorous_mA) == [background_mA] * 3
    assert list(main.background_mA) == [background_mA] * 3


# Peaks: 10 s in seven parts and one that has begun.
PART_ns = 10 * NS_PER_S // 7 + 1


@pytest.mark.parametrize(
    ("age_ns", "peak_i", "n_peaks", "expected_i", "expected_n"),
    [
        (PART_ns - 1, 3, 5, 3, 5),
        (PART_ns, 3, 5, 4, 6),
        (PART_ns, 6, 7, 7, 8),
        (PART_ns, 7, 8, 0, 8),
        (PART_ns - 1, 0, 1, 0, 1),
        (PART_ns, 0, 1, 1, 2),
        # A part begins where the one before it ended.
        (PART_ns + 5, 3, 5, 4, 6),
        (PART_ns + 5, 0, 1, 1, 2),
        (3 * PART_ns + 7, 3, 5, 4, 6),
        (0, 5, 0, 0, 1),  # nothing is held yet
        (90 * NS_PER_S, 5, 0, 0, 1),
    ],
)
def test_parts_of_the_peak_hold(
    age_ns: int, peak_i: int, n_peaks: int, expected_i: int, expected_n: int
) -> None:
    held = metered()
    old_mA = [30_000 + k for k in range(24)]
    state = {"peak_at_ns": NOW_ns - age_ns, "peak_i": peak_i, "n_peaks": n_peaks}
    row = after(held, source=METER, peak_mA=old_mA, **state)
    assert (row.peak_i, row.n_peaks) == (expected_i, expected_n)
    is_new = expected_i != peak_i
    since_ns = age_ns % PART_ns if n_peaks else 0
    assert row.peak_at_ns == NOW_ns - (since_ns if is_new else age_ns)
    expected_mA = list(old_mA)
    if is_new:
        expected_mA[3 * expected_i : 3 * expected_i + 3] = [LOAD_mA] * 3
    assert list(row.peak_mA) == expected_mA
    highest = [max(expected_mA[p : 3 * expected_n : 3]) for p in range(3)]
    assert list(row.background_mA) == highest


def test_peak_of_the_present_part_is_the_highest_in_it() -> None:
    state = {"peak_at_ns": NOW_ns, "peak_i": 2, "n_peaks": 3, "source": METER}
    peaks_mA = [1000] * 6 + [21_000, 19_000, 20_000] + [50_000] * 15
    row = after(metered(), peak_mA=peaks_mA, **state)
    assert list(row.peak_mA[6:9]) == [21_000, 20_000, 20_000]
    assert list(row.background_mA) == [21_000, 20_000, 20_000]


def test_what_was_held_before_a_meter_was_lost_is_forgotten() -> None:
    state = {"peak_at_ns": NOW_ns, "peak_i": 2, "n_peaks": 8, "dip_at_ns": NOW_ns, "n_dips": 6}
    held = metered()
    row = after(held, source=STALE, peak_mA=[50_000] * 24, dip_mA=[50_000] * 18, **state)
    assert (row.n_peaks, row.n_dips, row.peak_i, row.dip_i) == (1, 1, 0, 0)
    assert list(row.background_mA) == [LOAD_mA] * 3
    row = after(metered(), source=HELD, peak_mA=[50_000] * 24, dip_mA=[50_000] * 18, **state)
    assert (row.n_peaks, row.n_dips) == (8, 6)
    assert list(row.background_mA) == [50_000] * 3


# Dips: a background that has stayed for six parts of a second. The charger may draw 16 A of the
# 20 A: 4 A are sure, 14 A are known not to be drawn.
def dipped(dips: list[int], calm: list[int] | None = None, **state: Any) -> Any:
    held = metered()
    row = held.set(0, 16_000, 6000)
    row.sample_at_ns[0] = NOW_ns - NS_PER_S
    values = {"n_dips": 6, "dip_i": 1, "dip_at_ns": NOW_ns, "source": METER}
    return after(held, dip_mA=dips, calm_mA=calm or [50_000] * 18, **{**values, **state})


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("k", range(6))
def test_background_that_has_stayed_is_believed_as_far_as_its_lowest(k: int, p: int) -> None:
    dips = [15_000] * 18
    assert list(dipped(list(dips)).background_low_mA) == [14_000] * 3
    dips[3 * k + p] = 12_000
    expected = [12_000 if q == p else 14_000 for q in range(3)]
    assert list(dipped(dips).background_low_mA) == expected


@pytest.mark.parametrize(
    ("state", "expected_mA"),
    [
        ({"n_dips": 5}, 4000),
        ({"n_dips": 5, "dip_at_ns": NOW_ns - NS_PER_S}, 14_000),
        ({"n_dips": 4, "dip_at_ns": NOW_ns - NS_PER_S}, 4000),
    ],
)
def test_background_that_has_not_stayed_for_so_long_is_not(
    state: dict[str, Any], expected_mA: int
) -> None:
    assert list(dipped([15_000] * 18, **state).background_low_mA) == [expected_mA] * 3


def test_lasting_background_does_not_lower_what_is_sure() -> None:
    assert list(dipped([1000] * 18).background_low_mA) == [4000] * 3


@pytest.mark.parametrize(
    ("age_ns", "dip_i", "n_dips", "expected_i", "expected_n"),
    [
        (NS_PER_S - 1, 1, 6, 1, 6),
        (NS_PER_S, 1, 6, 2, 6),
        (NS_PER_S, 5, 6, 0, 6),
        (NS_PER_S, 4, 5, 5, 6),
        (NS_PER_S, 0, 1, 1, 2),
        (0, 3, 0, 0, 1),
    ],
)
def test_parts_of_the_dip_hold(
    age_ns: int, dip_i: int, n_dips: int, expected_i: int, expected_n: int
) -> None:
    old_mA = [10_000 + k for k in range(18)]
    state = {"dip_at_ns": NOW_ns - age_ns, "dip_i": dip_i, "n_dips": n_dips}
    row = dipped(old_mA, list(old_mA), **state)
    assert (row.dip_i, row.n_dips) == (expected_i, expected_n)
    is_new = expected_i != dip_i
    assert row.dip_at_ns == (NOW_ns if is_new else NOW_ns - age_ns)
    expected_mA = list(old_mA)
    if is_new:
        expected_mA[3 * expected_i : 3 * expected_i + 3] = [14_000] * 3
    assert list(row.dip_mA) == expected_mA
    assert list(row.calm_mA) == expected_mA


@pytest.mark.parametrize(
    ("calm_mA", "background_mA"),
    [
        # Known not to be drawn, for as long as samples are old; sure are 4 A alone.
        (50_000, 14_000),
        (12_000, 12_000),
        (3000, 4000),
    ],
)
@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("k", range(6))
def test_what_can_have_been_drawn_is_background_only_once_it_has_stayed(
    k: int, p: int, calm_mA: int, background_mA: int
) -> None:
    calm = [50_000] * 18
    calm[3 * k + p] = calm_mA
    row = dipped([50_000] * 18, calm)
    expected = [background_mA if q == p else 14_000 for q in range(3)]
    assert list(row.background_mA) == expected
    old = dipped([50_000] * 18, calm, n_dips=k if k > 1 else 2, dip_i=1)
    assert old.background_mA[p] == (background_mA if k < 2 else 14_000)


@pytest.mark.parametrize("depth", range(3))
@pytest.mark.parametrize("p", range(3))
def test_what_can_have_been_drawn_in_sub_circuits_is_no_background_of_the_root(
    p: int, depth: int
) -> None:
    """16 A may be drawn on one phase, wherever below: 4 A of 20 A are sure there, 20 A elsewhere.
    What stayed for long does not say more."""
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=DECLARED_mA),
        circuit("sub", 90_000, 0),
        circuit("leaf", 90_000, 1),
    ]
    held = Still(site(circuits, [charger("a", depth, phases=(p,))], [meter("m")]))
    held.set(0, 16_000, 6000).sample_at_ns[0] = NOW_ns - NS_PER_S
    state = {"n_dips": 6, "dip_i": 1, "dip_at_ns": NOW_ns, "source": METER}
    row = after(held, dip_mA=[0] * 18, calm_mA=[0] * 18, **state)
    assert list(row.background_mA) == [4000 if q == p else LOAD_mA for q in range(3)]


def test_meter_that_did_not_answer_leaves_its_last_value_held_for_a_while() -> None:
    held = metered()
    after(held)
    held.core.meter_read(0, NO_ANSWER, None, None, None, NOW_ns)
    held.step()
    assert (held.circuits[0].source, held.circuits[0].may_raise) == (HELD, 0)
    assert held.site.first_step_at_ns == LONG_AGO_ns
