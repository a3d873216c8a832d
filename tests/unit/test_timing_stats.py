"""The arithmetic of a measurement."""

import pytest

from loadctl.timing.stats import (
    N_BINS,
    Histogram,
    at_per_mille,
    histogram_of,
    range_for,
    ratio,
    summary_of,
    verdict_on,
)

MS_ns = 1_000_000


@pytest.mark.parametrize(
    ("n", "per_mille", "value"),
    [
        (1, 500, 1),
        (1, 999, 1),
        (2, 500, 1),
        (3, 500, 2),
        (100, 990, 99),
        (101, 990, 100),
        (1000, 999, 999),
        (1001, 999, 1000),
        (999, 999, 999),
    ],
)
def test_percentile_is_the_least_value_that_so_many_stayed_within(
    n: int, per_mille: int, value: int
) -> None:
    assert at_per_mille(list(range(1, n + 1)), per_mille) == value


def test_summary_takes_values_in_any_order() -> None:
    assert summary_of([30, 10, 20]) == (3, 10, 20, 30, 30, 30)
    assert summary_of([]) is None


def test_histogram_counts_each_span_once_and_what_is_above_in_its_own_bar() -> None:
    spans_ns = [99, 100, 109, 110, 129, 130, 131, 10_000]
    found = histogram_of(spans_ns, 100, 10, 3)
    assert found == Histogram(100, 10, (2, 1, 1), 3, 1)
    assert sum(found.counts) + found.n_over + found.n_under == len(spans_ns)
    assert found.end_ns == 130


def test_range_holds_what_is_usual_and_leaves_the_far_off_to_the_overflow_bar() -> None:
    spans_ns = [*range(40_000, 60_000, 20), 5_000_000, 6_000_000]
    from_ns, width_ns = range_for(spans_ns)
    assert (from_ns, width_ns) == (40_000, 500)
    found = histogram_of(spans_ns, from_ns, width_ns)
    assert (found.n_under, found.n_over) == (0, 2)


@pytest.mark.parametrize("spans_ns", [[0], [7] * 5, [1, 10**10], list(range(1000))])
def test_range_of_any_spans_begins_at_or_below_the_least(spans_ns: list[int]) -> None:
    from_ns, width_ns = range_for(spans_ns)
    assert from_ns <= min(spans_ns)
    assert histogram_of(spans_ns, from_ns, width_ns).n_under == 0
    assert from_ns + N_BINS * width_ns > sorted(spans_ns)[len(spans_ns) // 2]


def test_ratio_has_two_decimals_and_none_for_nothing() -> None:
    assert (ratio(110, 100), ratio(2, 3), ratio(5, 0)) == (1.1, 0.67, None)


def test_verdict_names_the_period_and_what_the_worst_scan_left_of_it() -> None:
    found = verdict_on(500 * MS_ns, [300 * MS_ns, 344 * MS_ns + 1], 0)
    assert (found.holds, found.margin_percent) == (True, 31)
    assert found.words == (
        "this gateway holds 500 ms with a margin of 31 %"
        " (the worst of 2 scans was complete after 344.000 ms)"
    )


@pytest.mark.parametrize(
    ("worst_ns", "n_missed", "holds", "margin_percent"),
    [
        (10 * MS_ns, 0, True, 0),
        (10 * MS_ns + 1, 0, False, -1),
        (9 * MS_ns, 1, False, 10),
        (15 * MS_ns, 1, False, -50),
    ],
)
def test_verdict_is_no_when_a_cycle_was_missed_or_a_scan_took_longer_than_the_period(
    worst_ns: int, n_missed: int, holds: bool, margin_percent: int
) -> None:
    found = verdict_on(10 * MS_ns, [MS_ns, worst_ns], n_missed)
    assert (found.holds, found.margin_percent) == (holds, margin_percent)


def test_verdict_on_nothing_is_no() -> None:
    assert verdict_on(10 * MS_ns, [], 0).holds is False
