"""The share kernel on cases of its own: equal to the slow allocator, and optimal at any size."""

from __future__ import annotations

import functools
import random
from dataclasses import replace

import pytest
from bench.kernel import exact_shares, fill_in, shares

from bench.sites import panels
from loadctl.tables import Tables
from tests.support import reference
from tests.support.core_sites import attached, charger, circuit, site
from tests.support.share_cases import Case, OPEN_mA, random_case

TOLERANCE_mA = 2**-10


def run(case: Case) -> list[tuple[int, int]]:
    core = attached(case.tables)
    fill_in(core, case.are_in, case.most_mA, case.caps_mA)
    return shares(core)


def differences(seeds: range) -> list[str]:
    found = []
    for seed in seeds:
        case = random_case(seed)
        kernel_mA = [x_mA for x_mA, _ in run(case)]
        if kernel_mA != case.expected_mA:
            found.append(f"seed {seed}: {kernel_mA} is not {case.expected_mA}")
    return found


@pytest.mark.parametrize("first_seed", range(0, 600, 100))
def test_share_random_case_equals_reference(first_seed: int) -> None:
    assert differences(range(first_seed, first_seed + 100)) == []


@pytest.mark.long
def test_share_many_random_cases_equal_reference() -> None:
    assert differences(range(600, 30_000)) == []


@pytest.mark.parametrize("seed", range(16))
def test_share_crumbs_for_many_different_rounds_equal_reference(seed: int) -> None:
    """One of coarse steps leaves its panel a rest of its own, for one or two of fine steps, which
    take it until there is no more of it or until they are at their maxima."""
    rng = random.Random(f"rounds {seed}")
    circuits, rows = [circuit("main", 10**7)], []
    for k in range(1, 25):
        circuits.append(circuit(f"p{k}", 0, parent=0))
        rows.append(charger(f"a{k}", k, phases=(k % 3,), max_mA=50000, step_mA=5000, min_mA=10000))
        for name in "bc"[: rng.randint(1, 2)]:
            phases = rng.choice(((k % 3,), (0, 1, 2)))
            step_mA = rng.choice((100, 300, 1000))
            max_mA = 60000 if seed < 4 else rng.randint(6000, 20000) // step_mA * step_mA
            rows.append(charger(f"{name}{k}", k, phases=phases, max_mA=max_mA, step_mA=step_mA))
    tables = site(circuits, rows)
    caps_mA = [OPEN_mA if seed < 8 else rng.randint(150_000, 450_000) for _ in range(3)]
    for limit in reference.limits_of(tables)[3:]:
        least_mA = sum(rows[i].min_mA for i in limit.counts)
        caps_mA.append(least_mA + rng.randint(0, 30000))
    case = Case(tables, [True] * len(rows), [row.max_mA for row in rows], caps_mA)
    assert [x_mA for x_mA, _ in run(case)] == case.expected_mA


def test_share_on_the_grid_stays_there_though_others_were_rounded() -> None:
    """Three share 10 A below `sub`: a third each, of which parts are rounded off. What `a` gets of
    L1 beside them is 5 A and as little more, so what `b` gets of L2 beside `a` is as little less
    than 7 A. That is 7 A: the step must not go to `a`, which stands before it."""
    fine = {"min_mA": 1000, "max_mA": 30_000}
    circuits = [circuit("panel", (15_000, 12_000, 0)), circuit("sub", (10_000, 0, 0), parent=0)]
    rows = [charger("a", phases=(0, 1), **fine), charger("b", phases=(1,), **fine)]
    rows += [charger(f"c{k}", 1, phases=(0,), **fine) for k in range(3)]
    core = attached(site(circuits, rows))
    core.settle([True] * 5)
    assert exact_shares(core)[0][1] < 7000 * exact_shares(core)[1]
    assert [core.charger(i)["grant_mA"] for i in range(5)] == [5000, 7000, 3400, 3300, 3300]


@functools.cache
def large_case(n_chargers: int, seed: int) -> Case:
    """Panels with weights, tiers, held maxima and mixed steps; caps between minima and maxima."""
    rng = random.Random(f"large {n_chargers} {seed}")
    tables = panels(n_chargers, f"large {seed}")
    rows = []
    for row in tables.chargers:
        step_mA = rng.choice((100, 100, 100, 1000))
        rows.append(
            replace(
                row,
                step_mA=step_mA,
                max_mA=row.max_mA // step_mA * step_mA,
                min_mA=rng.choice((6000, 6000, 8000, 3000)),
                weight=rng.choice((1, 1, 2, 3, 7)),
                priority=rng.choice((0, 0, 1, 2)),
            )
        )
    tables = replace(tables, chargers=tuple(rows))
    are_in = [rng.random() < 0.9 for _ in rows]
    most_mA = [
        rng.choice((row.max_mA, row.max_mA, max(row.min_mA, row.max_mA // 2000 * 1000)))
        for row in rows
    ]
    caps_mA = []
    for limit in phase_limits(tables):
        mine = [i for i in limit.counts if are_in[i]]
        least_mA = sum(rows[i].min_mA for i in mine)
        all_mA = sum(most_mA[i] for i in mine)
        caps_mA.append(least_mA + (all_mA - least_mA) * rng.randint(0, 110) // 100)
    return Case(tables, are_in, most_mA, caps_mA)


def phase_limits(tables: Tables) -> list[reference.Limit]:
    """As the reference lists them, found charger by charger: it would take minutes here."""
    counts: dict[tuple[int, int], dict[int, int]] = {}
    for i, row in enumerate(tables.chargers):
        for c in reference.chain(tables, i):
            for p in row.phases:
                counts.setdefault((c, p), {})[i] = 1
    return [reference.Limit(counts[place], 0) for place in sorted(counts)]


def capped(case: Case) -> list[reference.Limit]:
    pairs = zip(phase_limits(case.tables), case.caps_mA, strict=True)
    return [replace(limit, cap_mA=cap_mA) for limit, cap_mA in pairs]


@pytest.mark.parametrize(("n_chargers", "seed"), [(1000, 0), (1000, 1), (10_000, 0)])
def test_share_of_a_large_site_is_max_min_before_rounding(n_chargers: int, seed: int) -> None:
    """Whoever is below its maximum counts in a full limit where nobody could give way: no one of
    a lower tier beyond its minimum, and none of its own at a higher level."""
    case = large_case(n_chargers, seed)
    core = attached(case.tables)
    fill_in(core, case.are_in, case.most_mA, case.caps_mA)
    shares(core)
    parts, parts_per_mA = exact_shares(core)
    x = [value / parts_per_mA for value in parts]
    stuck = set()
    for limit in capped(case):
        mine = {i: count for i, count in limit.counts.items() if case.are_in[i]}
        assert sum(count * parts[i] for i, count in mine.items()) <= limit.cap_mA * parts_per_mA
        if sum(count * x[i] for i, count in mine.items()) > limit.cap_mA - TOLERANCE_mA:
            stuck |= stuck_in(case, x, list(mine))
    rows = case.tables.chargers
    free = [i for i in range(len(rows)) if case.are_in[i] and x[i] < case.most_mA[i]]
    assert sum(case.are_in) - len(free) > n_chargers / 20, "hardly anyone reaches its maximum"
    assert len(free) > n_chargers / 20, "hardly anyone is stopped by a limit"
    assert [i for i in free if i not in stuck] == []
    assert [i for i, row in enumerate(rows) if case.are_in[i] and x[i] < row.min_mA] == []


def stuck_in(case: Case, x: list[float], mine: list[int]) -> set[int]:
    """The chargers of a full limit for whom nobody in it could give way."""
    rows = case.tables.chargers
    lower_has_more, stuck = False, set()
    for tier in sorted({rows[i].priority for i in mine}):
        peers = [i for i in mine if rows[i].priority == tier]
        more = [i for i in peers if x[i] > rows[i].min_mA + TOLERANCE_mA]
        highest = max((x[i] / rows[i].weight for i in more), default=0.0)
        if not lower_has_more:
            stuck |= {i for i in peers if x[i] / rows[i].weight > highest - TOLERANCE_mA}
            stuck |= {i for i in peers if not more}
        lower_has_more = lower_has_more or bool(more)
    return stuck


@pytest.mark.parametrize(("n_chargers", "seed"), [(1000, 0), (1000, 1), (10_000, 0)])
def test_share_of_a_large_site_leaves_no_step_and_passes_no_cap(n_chargers: int, seed: int) -> None:
    case = large_case(n_chargers, seed)
    rows = case.tables.chargers
    found = run(case)
    limits = capped(case)
    room_mA = [
        limit.cap_mA - sum(count * found[i][0] for i, count in limit.counts.items())
        for limit in limits
    ]
    assert min(room_mA) >= 0
    for i, (x_mA, blocked_by) in enumerate(found):
        if not case.are_in[i]:
            assert (x_mA, blocked_by) == (0, -1), i
            continue
        assert rows[i].min_mA <= x_mA <= case.most_mA[i], i
        assert x_mA % rows[i].step_mA == 0, i
        if blocked_by == -1:
            assert x_mA + rows[i].step_mA > case.most_mA[i], i
        else:
            count = limits[blocked_by].counts[i]
            assert room_mA[blocked_by] < count * rows[i].step_mA, i
