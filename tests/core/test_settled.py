"""The settled cases, straight through the core, and what is true of any settled allocation."""

from __future__ import annotations

import random
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_sites import (
    GOOD,
    attached,
    charger,
    circuit,
    meter,
    random_site,
    settled_mA,
    site,
    three,
)
from tests.support.reference import least_mA, limits_of, used

CASES = tomllib.loads(
    (Path(__file__).parents[1] / "scenarios" / "settled.toml").read_text(), parse_float=Decimal
)["case"]
PHASES = ("L1", "L2", "L3")


def mA(value_A: Any) -> Any:
    if isinstance(value_A, list):
        return tuple(mA(value) for value in value_A)
    return int(value_A * 1000)


def tables_of(case: dict[str, Any]) -> Tables:
    names = [row["name"] for row in case["circuits"]]
    circuits = [
        circuit(
            row["name"],
            mA(row["limit_A"]),
            parent=names.index(row["parent"]) if "parent" in row else -1,
            limit_W=mA(row["limit_kW"]) if "limit_kW" in row else None,
            unbalance_mA=mA(row["unbalance_A"]) if "unbalance_A" in row else None,
            is_dynamic=True,
            meter=c,
        )
        for c, row in enumerate(case["circuits"])
    ]
    chargers = [
        charger(
            row["name"],
            names.index(row["circuit"]),
            phases=tuple(PHASES.index(name) for name in row.get("phases", PHASES)),
            min_mA=mA(row.get("min_A", 6)),
            max_mA=mA(row.get("max_A", 16)),
            priority=row.get("priority", 0),
            weight=row.get("weight", 1),
        )
        for row in case["chargers"]
    ]
    return site(circuits, chargers, [meter(name) for name in names])


def settled(case: dict[str, Any]) -> Core:
    core = attached(tables_of(case))
    for c, row in enumerate(case["circuits"]):
        core.meter_read(c, GOOD, three(mA(row.get("load_A", 0))), None, None, 10**9)
    assert core.settle([row.get("wants", True) for row in case["chargers"]]) == 0
    return core


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_settled_case_gives_the_expected_currents(case: dict[str, Any]) -> None:
    core = settled(case)
    grants_mA = {row["name"]: core.charger(i)["grant_mA"] for i, row in enumerate(case["chargers"])}
    assert grants_mA == {name: mA(value_A) for name, value_A in case["expect"].items()}


def test_settled_cases_are_all_there() -> None:
    assert len(CASES) == 17


def test_settle_circuit_shows_limit_background_headroom_and_grants() -> None:
    case = next(case for case in CASES if case["name"].startswith("one full phase"))
    root = settled(case).circuit(0)
    assert root["limit_mA"] == [32000, 32000, 32000]
    assert root["background_mA"] == [12000, 0, 0]
    assert root["headroom_mA"] == [20000, 32000, 32000]
    assert root["granted_mA"] == [20000, 26000, 10000]


def test_settle_measured_draw_is_no_background() -> None:
    core = attached(
        site(
            [circuit("main", 32000, is_dynamic=True, meter=0, background_mA=30000)],
            [charger("a"), charger("b")],
            [meter("grid")],
        )
    )
    core.meter_read(0, GOOD, (18000, 18000, 18000), None, None, 10**9)
    core.charger_status(0, GOOD, "C", (10000, 10000, 10000), None, 10**9)
    core.settle([True, True])
    assert core.circuit(0)["background_mA"] == [8000, 8000, 8000]
    assert [core.charger(i)["grant_mA"] for i in range(2)] == [12000, 12000]


def test_settle_dynamic_circuit_without_a_reading_answers_as_declared() -> None:
    core = attached(
        site(
            [circuit("main", 32000, is_dynamic=True, meter=0, background_mA=20000)],
            [charger("a")],
            [meter("grid")],
        )
    )
    core.settle([True])
    assert core.circuit(0)["background_mA"] == [20000, 20000, 20000]
    assert core.charger(0)["grant_mA"] == 12000


def test_settle_isolated_charger_gets_nothing_and_counts_nothing() -> None:
    tables = site([circuit("main", 16000)], [charger("a", is_isolated=True), charger("b")])
    assert settled_mA(tables, [True, True]) == [0, 16000]


def test_settle_margin_is_kept_free_on_every_phase() -> None:
    tables = site([circuit("main", 16000, margin_mA=1500)], [charger("a")])
    assert settled_mA(tables, [True]) == [14500]


def test_settle_limit_of_zero_gives_nothing() -> None:
    assert settled_mA(site([circuit("main", 0)], [charger("a")]), [True]) == [0]


def test_settle_background_above_the_limit_gives_nothing_there_and_all_elsewhere() -> None:
    tables = site(
        [
            circuit("main", 100000),
            circuit("a", 16000, parent=0, background_mA=17000),
            circuit("b", 16000, parent=0),
        ],
        [charger("x", 1), charger("y", 2)],
    )
    assert settled_mA(tables, [True, True]) == [0, 16000]


def test_settle_coarse_steps_leave_their_rest_to_fine_ones() -> None:
    tables = site([circuit("main", 17500)], [charger("a", step_mA=1000), charger("b")])
    assert settled_mA(tables, [True, True]) == [8000, 9500]


def test_settle_higher_tier_is_filled_before_the_lower_rises() -> None:
    tables = site([circuit("main", 25000)], [charger("low"), charger("high", priority=1)])
    assert settled_mA(tables, [True, True]) == [9000, 16000]


@pytest.mark.parametrize("first_seed", range(0, 600, 100))
def test_settle_random_sites_keep_every_limit_and_leave_no_step(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 100):
        rng = random.Random(f"keep {seed}")
        tables = random_site(rng)
        wants = [rng.random() < 0.9 for _ in tables.chargers]
        x = dict(enumerate(settled_mA(tables, wants)))
        limits = limits_of(tables)
        for i, row in enumerate(tables.chargers):
            assert x[i] == 0 or row.min_mA <= x[i] <= row.max_mA, seed
            assert x[i] % row.step_mA == 0, seed
            mine = [limit for limit in limits if i in limit.counts]
            if x[i] > 0:
                assert all(used(limit, x) <= limit.cap_mA for limit in mine), seed
            if not wants[i]:
                assert x[i] == 0, seed
                continue
            more_mA = x[i] + row.step_mA if x[i] else least_mA(row)
            has_room = all(used(limit, {**x, i: more_mA}) <= limit.cap_mA for limit in mine)
            assert not (has_room and more_mA <= row.max_mA), f"seed {seed}: {row.name} has room"
