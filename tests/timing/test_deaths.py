"""Scan or guard die at random instants: every charger's failsafe setpoint is on the wire within the
bound that `check` prints, and the site comes back by itself. `-m long`: 200 deaths of each kind.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.deaths import GUARD_DEATHS, SCAN_DEATHS, Bench, run_bench
from tests.support.deaths_report import report_of, table_of

pytestmark = pytest.mark.timing
SEED = 7


def die(directory: Path, n_of_scan: int, n_of_guard: int) -> None:
    counts = dict.fromkeys(SCAN_DEATHS, n_of_scan) | dict.fromkeys(GUARD_DEATHS, n_of_guard)
    with Bench(directory, SEED) as bench:
        report = report_of(bench, run_bench(bench, counts))
    print(table_of(report))
    assert {kind: row["n"] for kind, row in report["deaths"].items()} == counts
    for row in report["deaths"].values():
        assert row["wrong"] == []
        assert row["failsafe_ms"]["max"] <= row["bound_ms"]
    assert report["violations"] == []
    assert report["takeovers_without_a_death"] == 0


@pytest.mark.timeout(180)
def test_deaths_a_few_of_each_every_charger_is_told_in_time_and_the_site_recovers(
    tmp_path: Path,
) -> None:
    die(tmp_path, 4, 2)


@pytest.mark.long
@pytest.mark.timeout(7_200)
def test_deaths_two_hundred_of_each_every_charger_is_told_in_time_and_the_site_recovers(
    tmp_path: Path,
) -> None:
    die(tmp_path, 200, 20)
