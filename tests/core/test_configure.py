"""From tables to memory: what limits a charger counts in, sums that arithmetic can hold, and room
for everything a step writes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from loadctl._core import Core
from loadctl.errors import CoreFault
from tests.support.core_bench import Bench
from tests.support.core_sites import NS_PER_S, RUN, attached, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

MOST_mA = 10_000_000
BELOW_mA = 34_359_738_367
PAIRS = tuple(itertools.permutations(range(3), 2))


def settled_mA(core: Core, n: int) -> list[int]:
    core.settle([True] * n)
    return [core.charger(i)["grant_mA"] for i in range(n)]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_unbalance_is_of_those_that_use_one_phase_and_not_the_other(p: int, q: int) -> None:
    """Both use p and not q; the second one uses the third phase as well, so no other pair holds
    them together."""
    rows = [charger("a", phases=(p,)), charger("b", phases=(p, 3 - p - q))]
    tables = site([circuit("main", 90_000, unbalance_mA=20_000)], rows)
    assert settled_mA(attached(tables), 2) == [10_000, 10_000]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_unbalance_of_a_pair_is_not_that_of_others(p: int, q: int) -> None:
    """One on p and q, one on p and the third: no phase pair counts both."""
    rows = [charger("a", phases=(p, q)), charger("b", phases=(p, 3 - p - q))]
    tables = site([circuit("main", 90_000, unbalance_mA=16_000)], rows)
    assert settled_mA(attached(tables), 2) == [16_000, 16_000]


@pytest.mark.parametrize(("n_phases", "most_n"), [(1, 3435), (3, 1145)])
def test_sum_of_all_chargers_is_within_what_shares_can_tell_apart(
    n_phases: int, most_n: int
) -> None:
    phases = tuple(range(n_phases))
    row = charger("x", phases=phases, max_mA=MOST_mA, rated_mA=MOST_mA)
    rest_mA = (BELOW_mA - most_n * n_phases * MOST_mA) // n_phases // 100 * 100
    last = charger("y", phases=phases, max_mA=rest_mA, rated_mA=MOST_mA)
    assert attached(site([circuit("main", 1)], [row] * most_n + [last])) is not None
    sum_mA = (most_n + 1) * n_phases * MOST_mA
    text = f"max_mA of all chargers, over all phases: {sum_mA} is not within 0 to {BELOW_mA}"
    with pytest.raises(CoreFault, match=f"^{text}$"):
        Core(site([circuit("main", 1)], [row] * (most_n + 1)))


@pytest.mark.parametrize("max_mA", [BELOW_mA - 3435 * MOST_mA, BELOW_mA - 3435 * MOST_mA + 1])
def test_sum_of_all_chargers_to_the_mA(max_mA: int) -> None:
    rows = [charger("x", phases=(0,), max_mA=MOST_mA, step_mA=1)] * 3435
    rows.append(charger("y", phases=(0,), max_mA=max_mA, step_mA=1))
    tables = site([circuit("main", 1)], rows)
    if max_mA == BELOW_mA - 3435 * MOST_mA:
        Core(tables)
    else:
        with pytest.raises(CoreFault, match=r"^max_mA of all chargers"):
            Core(tables)


@pytest.mark.parametrize(
    ("voltage_mV", "limit_W", "limit_mA"),
    [(230_000, 2_300_000, 10_000_000), (230_000, 23_001, 100_004), (1, 1, 1_000_000)],
)
def test_power_is_currents_at_the_voltage_of_the_site(
    voltage_mV: int, limit_W: int, limit_mA: int
) -> None:
    tables = site([circuit("main", 90_000, limit_W=limit_W)], [charger("a")])
    tables = replace(tables, site=replace(tables.site, voltage_mV=voltage_mV))
    core = attached(tables)
    core.set_mode(RUN)
    core.step(1)
    assert core.circuit(0)["power_limit_mA"] == limit_mA


@pytest.mark.parametrize(
    ("lags_ns", "reserve_mA"),
    [((0, 0), 6000), ((NS_PER_S, 0), 16_000), ((0, NS_PER_S), 16_000), ((0, None), 6000)],
)
def test_draw_counts_for_as_long_as_a_meter_above_may_lag(
    lags_ns: tuple[int, int | None], reserve_mA: int
) -> None:
    meters = [meter(f"m{k}", lag_ns) for k, lag_ns in enumerate(lags_ns) if lag_ns is not None]
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0),
        circuit("sub", 90_000, 0, meter=1 if lags_ns[1] is not None else -1),
    ]
    held = Still(site(circuits, [charger("a", 1)], meters))
    row = held.set(0, 6000)
    row.sample_i, row.n_samples = 1, 3
    for slot, (age_ns, draw_mA) in enumerate(
        [(NS_PER_S // 2, 16_000), (0, 6000), (2 * NS_PER_S, 6000)]
    ):
        row.sample_at_ns[slot if slot < 2 else 7] = NOW_ns - age_ns
        row.sample_mA[3 * (slot if slot < 2 else 7)] = draw_mA
    held.step()
    assert row.reserve_mA == reserve_mA


def full_site() -> Any:
    """Every kind of limit on each of three circuits, chargers of every phase map and two tiers."""
    kinds: dict[str, Any] = {
        "limit_W": 60_000,
        "unbalance_mA": 40_000,
        "takes_external": True,
        "loss_W": 50_000,
        "guaranteed_W": 4200,
    }
    circuits = [
        circuit("main", 90_000, is_dynamic=True, meter=0, background_mA=10_000, **kinds),
        circuit("sub", 60_000, 0, is_dynamic=True, meter=1, background_mA=5000, **kinds),
        circuit("leaf", 40_000, 1, **kinds),
    ]
    maps = [phases for n in (1, 2, 3) for phases in itertools.permutations(range(3), n)]
    rows = [
        charger(f"x{k}", k % 3, phases=phases, priority=k % 2, failsafe_mA=0, fallback_mA=0)
        for k, phases in enumerate(maps)
    ]
    return site(circuits, rows, [meter("grid"), meter("sub")])


def test_everything_that_a_step_writes_has_room_of_its_own() -> None:
    """Cores one after the other on memory that the one before has used: none leaves its own."""
    stories = []
    for _ in range(3):
        bench = Bench(full_site(), setpoint_mA=0)
        bench.settle_in(8000, 40)
        stories.append(bench.setpoints_mA)
        assert sum(bench.setpoints_mA) > 20_000
        for p in range(3):
            drawn_mA = sum(
                bench.setpoints_mA[i] for i, row in enumerate(bench.tables.chargers)
                if p in row.phases
            )  # fmt: skip
            assert drawn_mA <= 82_000
    assert stories[0] == stories[1] == stories[2]
