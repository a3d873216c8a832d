"""Two plots as inline SVG: a histogram with its overflow bar, and the worst over time.

Pure: numbers in, text out. Counts stand on a logarithmic scale, since what matters is rare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadctl.timing.stats import Histogram, WIDTHS_ns

WIDTH, HEIGHT = 900, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 34
OVER_GAP = 14  # between the last bin and the bar of what is above it
N_STRETCHES = 300
N_LABELS = 6
N_TICKS = 4
OURS, THEIRS, OVER, AXIS = "#1565c0", "#d17a00", "#b71c1c", "#999"


def columns(histogram: Histogram, unit_ns: int, beside: Histogram | None = None) -> str:
    """`beside` has the same bins; each is shown as a share of its own samples."""
    groups = [histogram] if beside is None else [histogram, beside]
    totals = [max(1, sum(one.counts) + one.n_over + one.n_under) for one in groups]
    least_share = min(1 / total for total in totals)
    n = len(histogram.counts)
    pitch = (WIDTH - LEFT - RIGHT - OVER_GAP) / (n + 1)
    parts = [*_share_axis(least_share), *_bin_labels(histogram, unit_ns, pitch)]
    for which, (one, total) in enumerate(zip(groups, totals, strict=True)):
        for i, count in enumerate((*one.counts, one.n_over)):
            x = LEFT + i * pitch + (OVER_GAP if i == n else 0)
            height = _share_height(count / total, least_share)
            if count:
                parts.append(_bar(x, pitch, height, which, is_over=i == n, count=count))
    return _svg(parts)


def strip(spans_ns: Sequence[int], unit_ns: int, line_ns: int | None = None) -> str:
    """The worst of each stretch of the run; `line_ns` is drawn across."""
    if not spans_ns:
        return _svg([])
    n = min(N_STRETCHES, len(spans_ns))
    ends = [len(spans_ns) * (i + 1) // n for i in range(n)]
    worst = [max(spans_ns[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]
    tick_ns = _tick_ns(max(*worst, line_ns or 0, 1))
    top_ns = tick_ns * N_TICKS
    pitch = (WIDTH - LEFT - RIGHT) / n
    parts = []
    for i in range(N_TICKS + 1):
        parts += _grid_line(_y(i / N_TICKS), f"{i * tick_ns / unit_ns:g}")
    for i, span_ns in enumerate(worst):
        height = (HEIGHT - TOP - BOTTOM) * span_ns / top_ns
        parts.append(_bar(LEFT + i * pitch, pitch, height, 0, is_over=False, count=None))
    if line_ns is not None:
        y = _y(line_ns / top_ns)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{OVER}"/>'
        )
    parts += [_text(LEFT, HEIGHT - 12, "first scan", "start")]
    parts += [_text(WIDTH - RIGHT, HEIGHT - 12, f"scan {len(spans_ns)}", "end")]
    return _svg(parts)


def _tick_ns(most_ns: int) -> int:
    """The least round number of which N_TICKS reach as far."""
    return next((w for w in WIDTHS_ns if w * N_TICKS >= most_ns), WIDTHS_ns[-1])


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _share_height(share: float, least_share: float) -> float:
    """From half of the least share up to all, by its logarithm."""
    if share <= 0:
        return 0.0
    floor = math.log10(least_share / 2)
    return (HEIGHT - TOP - BOTTOM) * (math.log10(share) - floor) / -floor


def _share_axis(least_share: float) -> list[str]:
    """A line for each power of ten."""
    parts: list[str] = []
    for exponent in range(math.floor(-math.log10(least_share)) + 1):
        y = HEIGHT - BOTTOM - _share_height(10.0**-exponent, least_share)
        parts += _grid_line(y, f"{100 / 10**exponent:g} %")
    return parts


def _grid_line(y: float, label: str) -> list[str]:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
    return [line, _text(LEFT - 6, y + 4, label, "end")]


def _bin_labels(histogram: Histogram, unit_ns: int, pitch: float) -> list[str]:
    """Where bins begin, and from where on the last bar counts."""
    n = len(histogram.counts)
    parts = []
    for i in range(0, n, max(1, n // N_LABELS)):
        label = f"{(histogram.from_ns + i * histogram.width_ns) / unit_ns:g}"
        parts.append(_text(LEFT + i * pitch, HEIGHT - 16, label, "middle"))
    over = f"over {histogram.end_ns / unit_ns:g}"
    parts.append(_text(WIDTH - RIGHT, HEIGHT - 2, f"{over}: {histogram.n_over}", "end"))
    return parts


def _bar(
    x: float, pitch: float, height: float, which: int, *, is_over: bool, count: int | None
) -> str:
    """Ours are filled, the other's outlined; a count is told on hovering."""
    y = HEIGHT - BOTTOM - height
    paint = f'fill="{OVER if is_over else OURS}" fill-opacity="0.75"'
    if which:
        paint = f'fill="none" stroke="{OVER if is_over else THEIRS}" stroke-width="1.5"'
    title = "" if count is None else f"<title>{count}</title>"
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(pitch - 0.5, 0.5):.1f}"'
        f' height="{height:.1f}" {paint}>{title}</rect>'
    )


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _svg(parts: Sequence[str]) -> str:
    base = (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"'
        f' stroke="{AXIS}"/>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}{base}</svg>'
