"""The arithmetic of a measurement: exact percentiles, linear histograms, the verdict.

Pure functions over raw spans; no I/O, no clock. Percentiles are values that were measured, never
interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PER_MILLES = {"p50": 500, "p99": 990, "p999": 999}
N_BINS = 60
# Round numbers of nanoseconds that a bin may be wide.
WIDTHS_ns: tuple[int, ...] = tuple(
    step * 10**exponent for exponent in range(1, 10) for step in (1, 2, 5)
)


class Histogram(NamedTuple):
    """`counts[i]` is of spans from `from_ns + i * width_ns` up; `n_over` of those above the last
    bin, `n_under` of those below the first."""

    from_ns: int
    width_ns: int
    counts: tuple[int, ...]
    n_over: int
    n_under: int = 0

    @property
    def end_ns(self) -> int:
        return self.from_ns + self.width_ns * len(self.counts)


class Summary(NamedTuple):
    """Of one span over all scans, in ns."""

    n: int
    least_ns: int
    p50_ns: int
    p99_ns: int
    p999_ns: int
    worst_ns: int


class Verdict(NamedTuple):
    """`margin_percent` is what the worst scan left of the period; below 0 it took longer."""

    holds: bool
    margin_percent: int
    worst_ns: int
    words: str


def at_per_mille(ordered_ns: Sequence[int], per_mille: int) -> int:
    """The span that so many of 1000 stayed within; `ordered_ns` is sorted and not empty."""
    rank = -(-len(ordered_ns) * per_mille // 1000)
    return ordered_ns[max(rank, 1) - 1]


def summary_of(spans_ns: Sequence[int]) -> Summary | None:
    """None where nothing was measured."""
    if not spans_ns:
        return None
    ordered = sorted(spans_ns)
    p50, p99, p999 = (at_per_mille(ordered, per_mille) for per_mille in PER_MILLES.values())
    return Summary(len(ordered), ordered[0], p50, p99, p999, ordered[-1])


def histogram_of(
    spans_ns: Sequence[int], from_ns: int, width_ns: int, n_bins: int = N_BINS
) -> Histogram:
    counts = [0] * n_bins
    n_over = n_under = 0
    for span_ns in spans_ns:
        bin_i = (span_ns - from_ns) // width_ns
        if bin_i < 0:
            n_under += 1
        elif bin_i < n_bins:
            counts[bin_i] += 1
        else:
            n_over += 1
    return Histogram(from_ns, width_ns, tuple(counts), n_over, n_under)


def range_for(spans_ns: Sequence[int], n_bins: int = N_BINS) -> tuple[int, int]:
    """Where a histogram begins and how wide its bins are, so that 99 % of the spans are within and
    what is far off goes to the overflow bar."""
    if not spans_ns:
        return 0, WIDTHS_ns[0]
    ordered = sorted(spans_ns)
    least_ns, most_ns = ordered[0], at_per_mille(ordered, 995)
    for width_ns in WIDTHS_ns:
        from_ns = least_ns // width_ns * width_ns
        if from_ns + n_bins * width_ns > most_ns:
            return from_ns, width_ns
    return least_ns, WIDTHS_ns[-1]


def ratio(ours: int, theirs: int) -> float | None:
    """To two decimals; None where the other is 0."""
    return round(ours / theirs, 2) if theirs else None


def verdict_on(period_ns: int, complete_ns: Sequence[int], n_missed: int) -> Verdict:
    """`complete_ns`: from its grid point to the end of each scan. A margin is rounded down."""
    worst_ns = max(complete_ns, default=0)
    margin_percent = (period_ns - worst_ns) * 100 // period_ns
    period_ms, worst_ms = period_ns / 1e6, worst_ns / 1e6
    if not complete_ns:
        return Verdict(False, 0, 0, "nothing was measured: no scan was complete")
    if n_missed or worst_ns > period_ns:
        words = (
            f"this gateway does not hold {period_ms:g} ms: {n_missed} of {len(complete_ns)} cycles"
            f" missed, the worst scan was complete {worst_ms:.3f} ms after its grid point"
        )
        return Verdict(False, margin_percent, worst_ns, words)
    words = (
        f"this gateway holds {period_ms:g} ms with a margin of {margin_percent} %"
        f" (the worst of {len(complete_ns)} scans was complete after {worst_ms:.3f} ms)"
    )
    return Verdict(True, margin_percent, worst_ns, words)
