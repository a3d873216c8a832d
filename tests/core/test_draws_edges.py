"""Draws at their edges: what samples prove of the moment that a meter value is from.

A meter above reads 20 A, so the lowest background is 20 A less the most that can be drawn below it,
and the rigorous one 20 A less the least.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import GOOD, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

MS = 1_000_000
LOAD_mA = 20_000


def set_fields(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, tuple):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


def metered(lag_ns: int = 0, main: dict[str, Any] | None = None, **row: Any) -> Still:
    values = {"is_dynamic": True, "meter": 0, "background_mA": 9000, **(main or {})}
    rows = [charger("a", **row)]
    return Still(site([circuit("main", 90_000, **values)], rows, [meter("m", lag_ns)]))


def sample(row: Any, samples: list[tuple[int, int]], p: int = 0, at: int = 6) -> None:
    """Samples (age in ns, draw on phase p), newest first, into the ring from slot `at` down."""
    row.sample_i, row.n_samples = at, len(samples)
    row.draw_mA[:] = [0] * 3
    row.draw_mA[p] = samples[0][1]
    for k in range(8):
        row.sample_at_ns[k] = 1
        row.sample_mA[3 * k : 3 * k + 3] = [88_000] * 3
    for k, (age_ns, draw_mA) in enumerate(samples):
        slot = (at - k) % 8
        row.sample_at_ns[slot] = NOW_ns - age_ns
        row.sample_mA[3 * slot : 3 * slot + 3] = [draw_mA * (q == p) for q in range(3)]


def bounds(held: Still, p: int = 0, c: int = 0) -> tuple[int, int]:
    """Least and most that is taken to be drawn below circuit c."""
    main = held.circuits[c]
    return LOAD_mA - main.background_rigorous_mA[p], LOAD_mA - main.background_low_mA[p]


OLD = (NS_PER_S, 9000)


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize(
    ("lag_ns", "samples", "expected"),
    [
        # One sample before the value and the exchanges that it may stem from, one after.
        (0, [(0, 7000), (200 * MS, 6000), OLD], (6000, 7000)),
        (0, [(0, 7000), (200 * MS - 1, 6000), OLD], (6000, 9000)),
        (0, [(0, 6000), (200 * MS - 1, 7000), (NS_PER_S, 5000)], (5000, 7000)),
        (0, [(-1, 7000), (100 * MS, 6500), (200 * MS, 6000), OLD], (6000, 7000)),
        # None after: anything between nothing and the reserve.
        (0, [(1, 7000), (200 * MS, 6000), OLD], (0, 10_000)),
        # None before.
        (0, [(0, 7000), (200 * MS - 1, 6000)], (0, 10_000)),
        (0, [(0, 7000)], (0, 10_000)),
        # A meter that lags by a second.
        (NS_PER_S, [(0, 7000), (1200 * MS, 6000), (1300 * MS, 9000)], (6000, 7000)),
        (NS_PER_S, [(0, 7000), (1200 * MS - 1, 6000), (1300 * MS, 9000)], (6000, 9000)),
    ],
)
def test_draws_around_the_value_of_a_meter(
    lag_ns: int, samples: list[tuple[int, int]], expected: tuple[int, int], p: int
) -> None:
    held = metered(lag_ns)
    a = held.set(0, 10_000)
    sample(a, samples, p)
    a.ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held, p) == expected
    if expected != (0, 10_000):
        assert bounds(held, (p + 1) % 3) == (0, 0)
        assert held.circuits[0].background_mA[p] == LOAD_mA - samples[0][1]


FRESH = [(0, 7000), (200 * MS, 6000)]


@pytest.mark.parametrize(
    ("row", "state", "expected"),
    [
        ({}, {}, (6000, 7000)),
        ({}, {"is_silent": True}, (0, 10_000)),
        ({}, {"n_samples": 0}, (0, 10_000)),
        ({"has_measured_current": False}, {}, (0, 10_000)),
        ({"is_isolated": True}, {}, (6000, 7000)),
        # On a phase that it does not use it may take nothing that is not seen.
        ({"phases": (1, 2)}, {}, (6000, 7000)),
        ({"phases": (1, 2)}, {"n_samples": 0}, (0, 0)),
        ({"phases": (1, 2)}, {"is_silent": True}, (0, 0)),
        ({"phases": (1, 2)}, {"n_samples": 1}, (0, 0)),
        ({"phases": (2, 0)}, {"n_samples": 1}, (0, 10_000)),
    ],
)
def test_whose_draw_is_known(
    row: dict[str, Any], state: dict[str, Any], expected: tuple[int, int]
) -> None:
    held = metered(**row)
    a = held.set(0, 10_000)
    sample(a, FRESH)
    set_fields(a, **{"ceiling_mA": 10_000, **state})
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held) == expected


def test_confirm_judges_by_samples_that_came_since_the_step() -> None:
    held = metered()
    a = held.set(0, 10_000)
    sample(a, [(NS_PER_S, 6000)])
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held) == (0, 10_000)
    held.core.charger_status(0, GOOD, "C", (7000, 0, 0), None, NOW_ns)
    held.confirm()
    main = held.circuits[0]
    assert list(main.background_rigorous_mA) == [14_000, LOAD_mA, LOAD_mA]
    assert main.background_low_mA[0] == 10_000


def test_confirm_leaves_circuits_alone_whose_meter_was_not_read() -> None:
    held = metered()
    held.set(0, 10_000)
    held.read(0, LOAD_mA)
    held.step(NOW_ns - 1)
    held.step()
    held.circuits[0].background_rigorous_mA[:] = [5, 6, 7]
    held.confirm()
    assert list(held.circuits[0].background_rigorous_mA) == [5, 6, 7]


# Two meters above a charger: the time that either value may stem from has to be covered.
@pytest.mark.parametrize(
    ("main_ago_ns", "sub_ago_ns", "lags_s", "newest_ns", "oldest_ns"),
    [
        (0, 100 * MS, (0, 0), 0, 300 * MS),
        (100 * MS, 0, (0, 0), 0, 300 * MS),
        (0, 0, (1, 0), 0, 1200 * MS),
        (0, 0, (0, 1), 0, 1200 * MS),
    ],
)
def test_draws_around_the_values_of_two_meters(
    main_ago_ns: int, sub_ago_ns: int, lags_s: tuple[int, int], newest_ns: int, oldest_ns: int
) -> None:
    metered_by = [{"is_dynamic": True, "meter": m, "background_mA": 9000} for m in range(2)]
    circuits = [
        circuit("main", 90_000, **metered_by[0]), circuit("sub", 90_000, 0, **metered_by[1]),
    ]  # fmt: skip
    meters = [meter(f"m{k}", lag_s * NS_PER_S) for k, lag_s in enumerate(lags_s)]
    for late_ns, early_ns, is_covered in ((0, 0, True), (1, 0, False), (0, 1, False)):
        held = Still(site(circuits, [charger("a", 1)], meters))
        a = held.set(0, 10_000)
        sample(a, [(newest_ns + late_ns, 7000), (oldest_ns - early_ns, 6000)])
        a.ceiling_mA = 10_000
        held.read(0, LOAD_mA, NOW_ns - main_ago_ns)
        held.read(1, LOAD_mA, NOW_ns - sub_ago_ns)
        held.step()
        assert bounds(held, c=1) == ((6000, 7000) if is_covered else (0, 10_000))


# Known draws: what shares and lasting backgrounds are judged by.
@pytest.mark.parametrize(
    ("age_ns", "state", "background_mA"),
    [
        # For the time that peaks are held, 10 s, the last sample says what is drawn at least.
        (10 * NS_PER_S, {}, 13_000),
        (10 * NS_PER_S + 1, {}, 20_000),
        (NS_PER_S, {"n_samples": 0}, 20_000),
        # Of one that is silent the last one for ever, as far as it is reserved.
        (60 * NS_PER_S, {"is_silent": True}, 13_000),
        (60 * NS_PER_S, {"is_silent": True, "draw_mA": (11_000, 0, 0)}, 10_000),
    ],
)
def test_known_draws_are_no_background(
    age_ns: int, state: dict[str, Any], background_mA: int
) -> None:
    held = metered(fallback_mA=6000)
    a = held.set(0, 10_000)
    sample(a, [(age_ns, 7000)])
    set_fields(a, **{"ceiling_mA": 10_000, **state})
    held.read(0, LOAD_mA)
    held.step()
    assert held.circuits[0].background_mA[0] == background_mA


def test_draw_that_is_not_measured_is_background() -> None:
    held = metered(has_measured_current=False)
    a = held.set(0, 10_000)
    for is_silent in (False, True):
        a.is_silent = is_silent
        held.read(0, LOAD_mA)
        held.step()
        assert list(held.circuits[0].background_mA) == [LOAD_mA] * 3


@pytest.mark.parametrize(("age_ns", "low_mA"), [(3 * NS_PER_S, 13_000), (3 * NS_PER_S + 1, 10_000)])
def test_lasting_background_is_judged_by_samples_that_are_not_stale(
    age_ns: int, low_mA: int
) -> None:
    held = metered()
    a = held.set(0, 10_000)
    sample(a, [(age_ns, 7000)])
    a.ceiling_mA = 10_000
    main = held.circuits[0]
    set_fields(main, n_dips=6, dip_at_ns=NOW_ns, source=1)
    main.dip_mA[:] = [13_000] * 18
    held.read(0, LOAD_mA)
    held.step()
    assert main.background_low_mA[0] == low_mA


# A sub-circuit with a meter of its own bounds what is drawn below it by who is not measured, for
# the circuit above.
def nested(
    now_mA: Any,
    before_mA: Any,
    lags_s: tuple[int, int] = (0, 0),
    is_read: bool = True,
    is_measured: bool = False,
    before_ns: int | None = None,
    step: bool = True,
    every: tuple[int, ...] = (),
    **sub: Any,
) -> Still:
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=9000),
        circuit("sub", 90_000, 0, meter=1, **{"background_mA": 2000, **sub}),
    ]
    meters = [meter(f"m{k}", lag_s * NS_PER_S) for k, lag_s in enumerate(lags_s)]
    row = charger("a", 1, has_measured_current=is_measured)
    held = Still(site(circuits, [row], meters))
    held.set(0, 10_000)
    sample(held.chargers[0], [(NS_PER_S, 6000)])  # says nothing of now
    held.chargers[0].ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    if before_mA is not None:
        if before_ns is None:  # the latest that stems from before the value of the meter above
            before_ns = lags_s[0] * NS_PER_S + 200 * MS
        at_ns = NOW_ns - before_ns
        held.core.meter_read(1, GOOD, three(before_mA), signs(before_mA), None, at_ns)
    for k, load_mA in enumerate(every):  # each half second up to half a second ago
        at_ns = NOW_ns - (len(every) - k) * NS_PER_S // 2
        held.core.meter_read(1, GOOD, three(load_mA), None, None, at_ns)
    held.core.meter_read(1, GOOD, three(now_mA), signs(now_mA), None, NOW_ns)
    if not is_read:
        held.step(NOW_ns - 1)
        held.read(0, LOAD_mA + 1)
    if step:
        held.step()
    return held


def three(load_mA: Any) -> tuple[int, int, int]:
    a, b, c = load_mA if isinstance(load_mA, tuple) else (load_mA,) * 3
    return abs(a), abs(b), abs(c)


def signs(load_mA: Any) -> tuple[int, int, int]:
    a, b, c = load_mA if isinstance(load_mA, tuple) else (load_mA,) * 3
    return (1 if a >= 0 else -1, 1 if b >= 0 else -1, 1 if c >= 0 else -1)


@pytest.mark.parametrize(
    ("now_mA", "before_mA", "sub", "expected"),
    [
        # At least the lower of two readings beyond the declared background, at most the higher.
        (7000, 8000, {}, (5000, 8000)),
        (8000, 7000, {}, (5000, 8000)),
        (9000, 9000, {}, (7000, 9000)),
        (1500, 1500, {}, (0, 1500)),
        (7000, 8000, {"background_mA": 0}, (7000, 8000)),
        # Never more than the reserves, nor at least more than at most.
        (20_000, 20_000, {}, (10_000, 10_000)),
        # One reading alone may stem from before or after.
        (7000, None, {}, (0, 10_000)),
        # What exports hides what is drawn.
        (-1, 8000, {}, (0, 10_000)),
        (8000, -1, {}, (0, 10_000)),
        (0, 8000, {}, (0, 8000)),
        (8000, 0, {}, (0, 8000)),
    ],
)
def test_meter_of_a_sub_circuit_bounds_the_draws_below_it(
    now_mA: int, before_mA: int | None, sub: dict[str, Any], expected: tuple[int, int]
) -> None:
    held = nested(now_mA, before_mA, **sub)
    for p in range(3):
        assert bounds(held, p) == expected


# The meter above may be behind: the least and the most since then, from the last one before it.
@pytest.mark.parametrize(
    ("lag_s", "before_ns", "expected"),
    [
        (0, 200 * MS, (5000, 8000)),
        (0, 200 * MS - 1, (0, 10_000)),
        (1, 1200 * MS, (5000, 8000)),
        (1, 1200 * MS - 1, (0, 10_000)),
    ],
)
def test_meter_of_a_sub_circuit_is_asked_for_the_time_of_the_one_above(
    lag_s: int, before_ns: int, expected: tuple[int, int]
) -> None:
    assert bounds(nested(7000, 8000, (lag_s, 0), before_ns=before_ns)) == expected
    assert bounds(nested(8000, 7000, (lag_s, 0), before_ns=before_ns)) == expected


def test_meter_of_a_sub_circuit_is_not_asked_for_what_was_before() -> None:
    """The meter above lags by a second: since 1.5 s ago, of reads every half second."""
    held = nested(8000, None, (1, 0), step=False, every=(1000, 20_000, 7000, 9000, 6500))
    held.step()
    assert bounds(held) == (4500, 9000)


# A charger that was starved: its own fallback may have acted until then.
@pytest.mark.parametrize(("late_ns", "expected"), [(0, (6000, 7000)), (1, (0, 10_000))])
def test_samples_span_no_moment_of_a_starve(late_ns: int, expected: tuple[int, int]) -> None:
    held = metered()
    a = held.set(0, 10_000)
    sample(a, [(0, 7000), (200 * MS, 6000), OLD])
    a.ceiling_mA = 10_000
    a.starve_until_ns = NOW_ns - 200 * MS + late_ns
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held) == expected


def test_meter_of_a_sub_circuit_bounds_each_phase_by_itself() -> None:
    held = nested((8000, 4000, 9000), (7000, 6000, 5000))
    assert [bounds(held, p) for p in range(3)] == [(5000, 8000), (2000, 6000), (3000, 9000)]


def test_meter_of_a_sub_circuit_bounds_by_the_worst_that_was_seen_beside_its_chargers() -> None:
    """The alarm has seen 5 A where 2 A are declared."""
    for seen_mA, expected in ((5000, (2000, 8000)), (1000, (5000, 8000))):
        held = nested(7000, 8000, step=False)
        held.circuits[1].seen_background_mA[:] = [seen_mA] * 3
        held.step()
        assert bounds(held) == expected


def test_where_export_counts_a_net_reading_is_no_bound_from_above() -> None:
    assert bounds(nested(7000, 8000, counts_export=True)) == (5000, 10_000)


def test_what_was_once_seen_to_export_bounds_nothing_from_above_any_more() -> None:
    held = nested(7000, 8000, step=False)
    held.meters[1].has_exported = 1
    held.step()
    assert bounds(held) == (5000, 10_000)


# A box whose value may be a second old: a car may have woken since. Ages are the highest ones.
@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([(0, 7000), (200 * MS + NS_PER_S, 6000), (3 * NS_PER_S, 9000)], (6000, 7000)),
        ([(0, 7000), (200 * MS + NS_PER_S - 1, 6000), (3 * NS_PER_S, 9000)], (6000, 9000)),
        ([(1, 7000), (200 * MS + NS_PER_S, 6000), (3 * NS_PER_S, 9000)], (6000, 10_000)),
        ([(NS_PER_S, 7000), (200 * MS + NS_PER_S, 6000), (3 * NS_PER_S, 9000)], (6000, 10_000)),
        ([(NS_PER_S, 7000), (200 * MS + NS_PER_S - 1, 6500), (2 * NS_PER_S, 5000)], (5000, 10_000)),
        # Not answered since the meter was.
        ([(NS_PER_S + 1, 7000), (200 * MS + NS_PER_S, 6000), (3 * NS_PER_S, 9000)], (0, 10_000)),
    ],
)
def test_draw_of_a_box_that_lags(samples: Any, expected: tuple[int, int]) -> None:
    held = metered(draw_lag_ns=NS_PER_S)
    a = held.set(0, 10_000)
    sample(a, samples)
    a.ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held) == expected


def test_draw_of_a_box_that_lags_on_a_phase_that_is_not_its_own() -> None:
    held = metered(draw_lag_ns=NS_PER_S, phases=(1,))
    a = held.set(0, 10_000)
    sample(a, [(1, 7000), (200 * MS + NS_PER_S, 6000)])
    a.ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    held.step()
    assert (bounds(held, 0), bounds(held, 1)) == ((6000, 6000), (0, 10_000))


def test_meter_of_a_sub_circuit_says_nothing_of_a_charger_that_is_measured() -> None:
    """It may stem from another instant than that of the meter above."""
    assert bounds(nested(7000, 8000, is_measured=True)) == (0, 10_000)


@pytest.mark.parametrize(
    ("load_mA", "expected"),
    [
        # Measured draws of 6 to 7 A. What is read beyond 7 A and the declared 2 A draws the other
        # at least; what is read beyond 6 A it draws at most.
        (9000, (6000, 7000 + 3000)),
        (9001, (6001, 7000 + 3001)),
        (12_000, (9000, 7000 + 6000)),
        (6000, (6000, 7000)),
        (5000, (6000, 7000)),
        (40_000, (17_000, 7000 + 10_000)),
    ],
)
def test_meter_of_a_sub_circuit_bounds_the_rest_beside_one_that_is_measured(
    load_mA: int, expected: tuple[int, int]
) -> None:
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=9000),
        circuit("sub", 90_000, 0, meter=1, background_mA=2000),
    ]
    rows = [charger("a", 1), charger("b", 1, has_measured_current=False)]
    held = Still(site(circuits, rows, [meter("m"), meter("n")]))
    for i in (0, 1):
        held.set(i, 10_000)
    sample(held.chargers[0], FRESH)
    held.chargers[0].ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    for ago_ns in (NS_PER_S, 0):
        held.read(1, load_mA, NOW_ns - ago_ns)
    held.step()
    assert bounds(held) == expected


@pytest.mark.parametrize(
    ("lags_s", "expected"),
    [((1, 1), (5000, 8000)), ((2, 1), (5000, 8000)), ((1, 2), (5000, 10_000))],
)
def test_meter_that_is_slower_than_one_above_bounds_from_below_only(
    lags_s: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert bounds(nested(7000, 8000, lags_s)) == expected


def test_meter_of_a_sub_circuit_that_was_not_read_bounds_nothing() -> None:
    held = nested(7000, 8000, is_read=False)
    assert bounds(held) == (-1, 9999)


def test_sub_circuits_add_up_to_the_root() -> None:
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=9000),
        circuit("left", 90_000, 0),
        circuit("leaf", 90_000, 1),
        circuit("right", 90_000, 0),
    ]
    rows = [charger(f"x{c}", c, phases=(c % 3,)) for c in range(4)]
    held = Still(site(circuits, [*rows, charger("y", 2, phases=(0,))], [meter("m")]))
    for i, (draw_mA, p) in enumerate(((1000, 0), (2000, 1), (3000, 2), (1500, 0), (600, 0))):
        held.set(i, 10_000)
        sample(held.chargers[i], [(0, draw_mA), (200 * MS, draw_mA - 100)], p)
        held.chargers[i].ceiling_mA = 10_000
    held.read(0, LOAD_mA)
    held.step()
    assert bounds(held, 0) == (2800, 3100)
    assert bounds(held, 1) == (1900, 2000)
    assert bounds(held, 2) == (2900, 3000)


# At rest: the newest sample, whatever its age.
@pytest.mark.parametrize(
    ("row", "state", "drawn_mA"),
    [
        ({}, {}, 7000),
        ({}, {"is_silent": True}, 7000),
        ({}, {"n_samples": 0}, 0),
        ({"has_measured_current": False}, {}, 0),
    ],
)
def test_draws_at_rest(row: dict[str, Any], state: dict[str, Any], drawn_mA: int) -> None:
    held = metered(**row)
    a = held.set(0, 10_000)
    sample(a, [(90_000 * NS_PER_S, 7000)])
    set_fields(a, **{"ceiling_mA": 10_000, **state})
    held.read(0, LOAD_mA)
    held.site.scan_i += 1  # read, but not in this scan
    held.core.settle([True])
    main = held.circuits[0]
    assert list(main.background_mA) == [LOAD_mA - drawn_mA, LOAD_mA, LOAD_mA]
    assert list(main.background_low_mA) == list(main.background_mA)
    assert list(main.headroom_mA) == [90_000 - mA for mA in main.background_mA]


@pytest.mark.parametrize(("load_mA", "drawn_mA"), [(11_000, 9000), (8000, 7000), (30_000, 10_000)])
def test_meter_of_a_sub_circuit_bounds_draws_at_rest_from_below(
    load_mA: int, drawn_mA: int
) -> None:
    """A car that is not measured draws at least what the sub-circuit takes beyond its own 2 A."""
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=9000),
        circuit("sub", 90_000, 0, meter=1, background_mA=2000),
    ]
    rows = [charger("a", 1, phases=(0,), has_measured_current=False), charger("b", 1, phases=(0,))]
    held = Still(site(circuits, rows, [meter("m"), meter("n")]))
    held.set(0, 3000)
    held.set(1, 7000)
    sample(held.chargers[1], [(90_000 * NS_PER_S, 7000)])
    for row in held.chargers:
        row.ceiling_mA = row.setpoint_mA
    held.read(0, LOAD_mA)
    held.read(1, load_mA)
    held.site.scan_i += 1
    held.core.settle([True, True])
    assert held.circuits[0].background_mA[0] == LOAD_mA - drawn_mA
