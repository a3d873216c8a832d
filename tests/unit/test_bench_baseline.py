"""The committed figures of the benchmarks, and how a run compares with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import baseline

BEFORE = {"share_us": {"54": {"median": 4.0}}, "gone": 1, "machine": "a mill", "holds": True}


def test_figures_are_all_numbers_by_their_path() -> None:
    assert list(baseline.figures(BEFORE)) == [("share_us.54.median", 4.0), ("gone", 1.0)]


def test_comparison_is_by_path_and_says_what_is_new_or_gone() -> None:
    rows = baseline.compare(BEFORE, {"new": 3, "share_us": {"54": {"median": 5.0}}})
    assert rows == [
        ("new", None, 3.0),
        ("share_us.54.median", 4.0, 5.0),
        ("gone", 1.0, None),
    ]
    assert [row.ratio for row in rows] == [None, 1.25, None]


@pytest.mark.parametrize(("before", "now"), [(0.0, 0.0), (0.0, 2.0)])
def test_nothing_is_divided_by_zero(before: float, now: float) -> None:
    assert baseline.compare({"missed": before}, {"missed": now})[0].ratio is None


def test_table_names_the_machine_and_the_ratio(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert baseline.lines("core", BEFORE, path) == [
        f"no baseline of core in {path}; --save makes one"
    ]
    baseline.save("core", BEFORE, path)
    baseline.save("bus", {"busy": 12_345.6}, path)
    lines = baseline.lines("core", {"share_us": {"54": {"median": 5.0}}}, path)
    assert lines[0] == "baseline: a mill"
    assert lines[2].split() == ["share_us.54.median", "4", "5", "1.25"]
    assert lines[3].split() == ["gone", "1", "-", "-"]
    assert baseline.lines("bus", {"busy": 12_345.6}, path)[2].split()[1:] == ["12346", "12346", "1"]


def test_saving_one_group_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    baseline.save("core", {"a": 1}, path)
    baseline.save("bus", {"b": 2}, path)
    baseline.save("core", {"a": 3}, path)
    assert json.loads(path.read_text()) == {"bus": {"b": 2}, "core": {"a": 3}}


def test_committed_baseline_has_every_group() -> None:
    held = baseline.load()
    assert set(held) == {"core", "scan", "bus", "memory"}
    for group, result in held.items():
        assert result["machine"], group
        assert len(list(baseline.figures(result))) > 3, group
