"""What the benchmarks stand on: peers that allocate what they are said to, and the form of JSON."""

from __future__ import annotations

import json

import pytest
from bench.kernel import exact_shares, shares

from bench import core
from bench.peers import BareFill, NumpyFill
from bench.scans import Scans
from bench.sites import panels


@pytest.mark.parametrize("kind", [BareFill, NumpyFill])
@pytest.mark.parametrize("n_chargers", [54, 200, 1000])
def test_peer_comes_to_the_same_shares_before_crumbs(kind: type, n_chargers: int) -> None:
    tables = panels(n_chargers)
    scans = Scans(tables)
    scans.run(20)
    shares(scans.core)
    parts, parts_per_mA = exact_shares(scans.core)
    fill = kind(tables)
    fill.times_ns(1)
    rounded_mA = [value / parts_per_mA // 100 * 100 for value in parts]
    assert fill.shares_mA == pytest.approx(rounded_mA)


def test_results_as_json_are_by_name_and_number_of_chargers() -> None:
    found = json.loads(json.dumps(core.as_json({18: core.measure(18, n_scans=2)})))
    assert set(found) == {"share_us", "step_us", "confirm_us", "peers"}
    assert set(found["share_us"]["18"]) == {"median", "p99", "n"}
    assert found["step_us"]["18"]["n"] == 2
    assert set(found["peers"]["18"]["numpy fill"]) == {"median_us", "ratio", "jain", "total_A"}
    assert found["peers"]["18"]["loadctl share"]["ratio"] == 1
