"""The report of a measurement, from spans that are written out."""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadctl.image import SPANS
from loadctl.realtime import APPLIED, REFUSED, SETTINGS
from loadctl.timing.cyclictest import Slice
from loadctl.timing.html import page
from loadctl.timing.measure import NO_BUS, SIMULATED, Measured, Plan, read_spans
from loadctl.timing.reaction import Reactions
from loadctl.timing.record import NONE, Counts
from loadctl.timing.report import as_dict, bars, lines
from loadctl.timing.stats import Histogram
from loadctl.timing.svg import columns, strip
from tests.support.builders import make_tables

MS_ns = 1_000_000
MACHINE = {"processor": "a <processor>", "cores": 2, "kernel": "6.1", "load": 0.5}
WAKE_ns = [10_000, 20_000, 30_000, 40_000]
PARTS_ms = {"read": 100, "step": 1, "take": 20, "look": 60, "confirm": 1, "give": 5, "whole": 300}


def measured(**changes: Any) -> Measured:
    plan = Plan(
        kind=SIMULATED,
        tables=make_tables(2, name="yard & house"),
        span_ns=2_000 * MS_ns,
        rounds=1,
        fifo_priority=80,
        cpu=None,
        lock_dir=Path("/none"),
    )
    spans = [WAKE_ns if name == "wake" else [PARTS_ms[name] * MS_ns] * 4 for name in SPANS]
    counts = {**NONE._asdict(), "scans": 4, "missed": 0, "skipped": 0}
    found = Measured(plan, spans_ns=spans, counts=counts)
    found.settings = [(APPLIED, 0)] * (len(SETTINGS) - 1) + [(REFUSED, 1)]
    found.reactions = Reactions((700 * MS_ns, 801 * MS_ns), 1)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_report_puts_each_span_in_its_unit() -> None:
    found = as_dict(measured(), MACHINE)
    wake = {"min": 10.0, "p50": 20.0, "p99": 40.0, "p999": 40.0, "max": 40.0, "n": 4}
    assert found["wake_us"] == wake
    maxima = [found[key]["max"] for key in ("read_ms", "step_ms", "write_ms", "scan_ms")]
    assert maxima == [100.0, 1.0, 25.0, 300.0]
    assert found["verdict"]["margin_percent"] == 39  # 300.04 ms of 500 ms
    assert found["verdict"]["worst_ms"] == 300.04


def test_report_counts_reactions_within_one_period_and_one_scan() -> None:
    found = as_dict(measured(), MACHINE)
    reaction = {"trials": 3, "unanswered": 1, "within_bound": 1, "bound_ms": 800.0}
    assert (found["reaction"], found["reaction_ms"]["n"]) == (reaction, 2)


def test_report_compares_with_cyclictest_by_ratio() -> None:
    found = as_dict(measured(slices=[Slice((10_000, 16_000, 50_000), 0, 50_000)]), MACHINE)
    assert found["cyclictest"]["p50"] == 16.0
    assert found["cyclictest"]["ratio"] == {"p50": 1.25, "p99": 0.8, "p999": 0.8}
    assert found["cyclictest"]["ratio_of_rounds"] == {"p50": 1.25, "p99": 0.8}
    assert as_dict(measured(cyclictest_words="none here"), MACHINE)["cyclictest"] is None


def test_report_without_a_bus_has_no_reads_writes_and_reactions() -> None:
    plan = measured().plan
    bare = replace(plan.tables, buses=(), meters=(), chargers=())
    found = measured(plan=replace(plan, kind=NO_BUS, tables=bare), reactions=None)
    report = as_dict(found, MACHINE)
    assert [report[key] for key in ("read_ms", "write_ms", "reaction_ms", "reaction")] == [None] * 4


def test_report_in_words_says_what_could_not_be_had_and_ends_with_the_verdict() -> None:
    found = measured(cyclictest_words="not installed (package rt-tests)")
    text = lines(as_dict(found, MACHINE), found)
    assert "could not be had: timer slack: refused, Operation not permitted" in text
    assert "cyclictest: not installed (package rt-tests)" in text
    assert (
        "wake-up latency, us              10.000     20.000     40.000     40.000     40.000"
        in text
    )
    assert text[-1] == (
        "This gateway holds 500 ms with a margin of 39 %"
        " (the worst of 4 scans was complete after 300.040 ms)."
    )


def test_bars_count_what_is_above_the_range_in_a_bar_of_its_own() -> None:
    assert bars(Histogram(0, 1_000, (2, 0, 1), 4), 1_000) == [
        f"             0        2 {'#' * 22}",
        "             1        0",
        f"             2        1 {'#' * 11}",
        f"        from 3        4 {'#' * 44}",
    ]


def test_page_holds_every_number_and_escapes_every_word() -> None:
    found = measured(slices=[Slice((10_000, 16_000, 50_000), 0, 50_000)])
    text = page(as_dict(found, MACHINE), found)
    assert "yard &amp; house" in text
    assert "a &lt;processor&gt;" in text
    assert "1.25x" in text
    assert text.count("<svg") == 8
    assert "http" not in text


def test_columns_draw_a_bar_for_each_bin_that_has_any_and_one_for_the_overflow() -> None:
    plot = columns(Histogram(0, 1_000, (5, 0, 1), 7), 1_000)
    assert plot.count("<rect") == 3
    assert "<title>7</title>" in plot
    assert "over 3: 7" in plot
    beside = columns(Histogram(0, 1_000, (5, 0, 1), 7), 1_000, Histogram(0, 1_000, (0, 1, 0), 0))
    assert beside.count("<rect") == 4


def test_strip_shows_the_worst_of_every_stretch() -> None:
    plot = strip([1_000] * 299 + [9_000] + [1_000] * 300, 1_000, 10_000)
    assert plot.count("<rect") == 300
    heights = sorted(float(part.split('"')[0]) for part in plot.split('height="')[1:])
    assert (len(heights), heights[-1] > 8 * heights[0]) == (300, True)
    assert strip([], 1_000).count("<rect") == 0


def test_spans_are_read_back_by_span(tmp_path: Path) -> None:
    n = len(SPANS)
    path = tmp_path / "spans"
    path.write_bytes(array("q", range(3 * n)).tobytes())
    found = read_spans(path, 2)
    assert [list(span) for span in found] == [[i, n + i] for i in range(n)]


def test_counts_of_rounds_add_up() -> None:
    before, after = Counts(*range(7)), Counts(*range(10, 17))
    assert after.since(before) == (10,) * 7
    assert NONE.plus(after).plus(before) == tuple(10 + 2 * i for i in range(7))
