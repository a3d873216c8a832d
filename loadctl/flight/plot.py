"""The plot of a recording: every circuit phase and every charger over time, as one SVG.

Pure: curves in, text out. All panels share one time axis. A stretch of time in which a value moved
is drawn from its least to its most, so that nothing is lost where many scans share a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from loadctl.flight.marks import Mark
from loadctl.flight.series import Series
from loadctl.tables import Tables
from loadctl.timing.svg import AXIS, OURS, OVER, THEIRS
from loadctl.units import NS_PER_S, PHASE_NAMES

Curve = list[tuple[int, int] | None]  # least and most of each stretch; None: no sample

WIDTH, LEFT, RIGHT, TOP = 1_100, 150, 14, 58
CIRCUIT_HEIGHT, CHARGER_HEIGHT, GAP = 96, 46, 12
N_STRETCHES = 900
MARK_LINE = 15
MOST_MARKS = 40
LIMIT, METER, BACKGROUND, GRANTED = OVER, "#444", "#8a8a8a", OURS
SETPOINT, DRAW, OTHER = OURS, "#2e7d32", THEIRS
TICKS_s = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200)
STYLE = "text{font:12px system-ui,sans-serif;fill:#333}.s{font-size:11px;fill:#666}"


@dataclass(frozen=True, slots=True)
class Frame:
    """What a plot is of. Times are monotonic; `offset_ns` makes UTC of them."""

    tables: Tables
    from_ns: int
    to_ns: int
    offset_ns: int

    def x(self, at_ns: float) -> float:
        span_ns = max(1, self.to_ns - self.from_ns)
        return LEFT + (WIDTH - LEFT - RIGHT) * (at_ns - self.from_ns) / span_ns

    def stretch_x(self, k: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * k / N_STRETCHES


def make_series(tables: Tables, from_ns: int, to_ns: int) -> Series:
    return Series(
        [row.meter for row in tables.circuits],
        [len(row.phases) for row in tables.chargers],
        len(tables.meters),
        from_ns,
        to_ns,
        N_STRETCHES,
    )


def draw(
    frame: Frame, title: str, series: Series, marks: Sequence[Mark], other: Series | None = None
) -> str:
    """The whole picture; `other` is drawn beside the setpoints."""
    parts: list[str] = []
    y = TOP
    for c, circuit in enumerate(frame.tables.circuits):
        top_mA = _round_up(_most(series, c))
        for phase in range(3):
            label = f"{circuit.name} {PHASE_NAMES[phase]}"
            parts += _circuit(frame, series, c, phase, label, y, top_mA)
            y += CIRCUIT_HEIGHT + GAP
    for i, charger in enumerate(frame.tables.chargers):
        parts += _charger(frame, series, other, i, charger.name, y, _round_up(charger.max_mA))
        y += CHARGER_HEIGHT + GAP
    bottom = y
    parts = [*_time_axis(frame, TOP, bottom), *parts]
    shown = [mark for mark in marks if frame.from_ns <= mark.at_ns <= frame.to_ns]
    parts += _mark_lines(frame, shown[:MOST_MARKS], TOP, bottom)
    y += 24
    lines = [
        f"{k + 1}  {_clock(frame, mark.at_ns, seconds=True)}  {mark.words}"
        for k, mark in enumerate(shown[:MOST_MARKS])
    ]
    if len(shown) > MOST_MARKS:
        lines.append(f"and {len(shown) - MOST_MARKS} more")
    for line in lines:
        y += MARK_LINE
        parts.append(_text(LEFT, y, line, "start"))
    head = [_text(LEFT, 18, title, "start"), *_legend(other is not None)]
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}" role="img"><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{"".join(head + parts)}</svg>\n'
    )


# panels


def _circuit(
    frame: Frame, series: Series, c: int, phase: int, label: str, y: float, top_mA: int
) -> list[str]:
    height = CIRCUIT_HEIGHT
    curves = [
        ("granted", GRANTED, 'fill-opacity="0.25"', True),
        ("background", BACKGROUND, 'stroke-dasharray="4 2"', False),
        ("meter", METER, "", False),
        ("limit", LIMIT, "", False),
    ]
    parts = _box(y, height, label, top_mA)
    for what, colour, more, is_filled in curves:
        curve = series.circuit(c, what, phase)
        path = _filled if is_filled else _line
        parts.append(path(frame, curve, y, height, top_mA, colour, more))
    return parts


def _charger(
    frame: Frame,
    series: Series,
    other: Series | None,
    i: int,
    label: str,
    y: float,
    top_mA: int,
) -> list[str]:
    height = CHARGER_HEIGHT
    parts = _box(y, height, label, top_mA)
    fill = 'fill-opacity="0.3"'
    parts.append(_filled(frame, series.charger(i, "draw"), y, height, top_mA, DRAW, fill))
    if other is not None:
        curve = other.charger(i, "setpoint")
        parts.append(_line(frame, curve, y, height, top_mA, OTHER, 'stroke-width="1.8"'))
    parts.append(_line(frame, series.charger(i, "setpoint"), y, height, top_mA, SETPOINT, ""))
    return parts


def _box(y: float, height: float, label: str, top_mA: int) -> list[str]:
    """The name at the left, the scale in amps, and the lines of 0 and the top."""
    parts = [_text(LEFT - 40, y + height / 2 + 4, label, "end")]
    for share in (0, 1) if height < CIRCUIT_HEIGHT else (0, 0.5, 1):
        at = y + height * (1 - share)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>'
        )
        parts.append(_text(LEFT - 6, at + 4, f"{top_mA * share / 1000:g}", "end", "s"))
    return parts


def _runs(curve: Curve) -> list[tuple[int, int, int, int]]:
    """(from stretch, to stretch, least, most): stretches of the same values as one."""
    runs: list[tuple[int, int, int, int]] = []
    for k, pair in enumerate(curve):
        if pair is None:
            continue
        if runs and runs[-1][1] == k and runs[-1][2:] == pair and pair[0] == pair[1]:
            runs[-1] = (runs[-1][0], k + 1, *pair)
        else:
            runs.append((k, k + 1, *pair))
    return runs


def _line(
    frame: Frame, curve: Curve, y: float, height: float, top_mA: int, colour: str, more: str
) -> str:
    """Steps, and upright strokes where a stretch has more than one value."""
    steps: list[str] = []
    before = -1
    for begin, end, low_mA, high_mA in _runs(curve):
        low, high = (_y(value_mA, y, height, top_mA) for value_mA in (low_mA, high_mA))
        steps.append(f"{'L' if before == begin else 'M'}{frame.stretch_x(begin):.1f} {low:.1f}")
        if high != low:
            steps.append(f"V{high:.1f}")
        steps.append(f"H{frame.stretch_x(end):.1f}")
        before = end
    return f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" {more}/>'


def _filled(
    frame: Frame, curve: Curve, y: float, height: float, top_mA: int, colour: str, more: str
) -> str:
    """The area below the most of each stretch."""
    steps: list[str] = []
    most: Curve = [None if pair is None else (pair[1], pair[1]) for pair in curve]
    for begin, end, _, high_mA in _runs(most):
        if high_mA > 0:
            x, next_x = frame.stretch_x(begin), frame.stretch_x(end)
            high = _y(high_mA, y, height, top_mA)
            steps.append(f"M{x:.1f} {y + height:.1f}V{high:.1f}H{next_x:.1f}V{y + height:.1f}Z")
    return f'<path d="{"".join(steps)}" fill="{colour}" {more}/>'


# around them


def _time_axis(frame: Frame, top: float, bottom: float) -> list[str]:
    span_s = (frame.to_ns - frame.from_ns) / NS_PER_S
    tick_s = next((t for t in TICKS_s if span_s / t <= 12), TICKS_s[-1])
    offset_s = _zone_s(frame)
    first_s = (frame.from_ns + frame.offset_ns) / NS_PER_S + offset_s
    parts = []
    for k in range(math.ceil(first_s / tick_s), math.floor((first_s + span_s) / tick_s) + 1):
        at_ns = (k * tick_s - offset_s) * NS_PER_S - frame.offset_ns
        x = frame.x(at_ns)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="#ececec"/>')
        words = _clock(frame, int(at_ns), seconds=tick_s < 60)
        parts.append(_text(x, bottom + 14, words, "middle", "s"))
    base = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}" stroke="{AXIS}"/>'
    return [*parts, base]


def _mark_lines(frame: Frame, marks: Sequence[Mark], top: float, bottom: float) -> list[str]:
    """Numbered; numbers that would stand on each other are left out."""
    parts = []
    free_from = 0.0
    for k, mark in enumerate(marks):
        x = frame.x(mark.at_ns)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top - 4}" y2="{bottom}" stroke="#b71c1c"'
            f' stroke-opacity="0.45" stroke-dasharray="2 3"><title>{escape(mark.words)}</title>'
            "</line>"
        )
        if x >= free_from:
            parts.append(_text(x, top - 7, str(k + 1), "middle", "s"))
            free_from = x + 9 * len(str(k + 1)) + 2
    return parts


def _legend(has_other: bool) -> list[str]:
    entries = [
        ("limit", LIMIT),
        ("meter", METER),
        ("background", BACKGROUND),
        ("granted, setpoint", GRANTED),
        ("draw", DRAW),
        *([("setpoint with --set", OTHER)] if has_other else []),
    ]
    parts, x = [], LEFT
    for words, colour in entries:
        parts.append(f'<rect x="{x}" y="28" width="14" height="5" fill="{colour}"/>')
        parts.append(_text(x + 19, 34, words, "start", "s"))
        x += 34 + 7 * len(words)
    return [*parts, _text(WIDTH - RIGHT, 34, "amps", "end", "s")]


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of}>{escape(words)}</text>'


def _y(value_mA: int, y: float, height: float, top_mA: int) -> float:
    share = min(max(value_mA / top_mA, 0.0), 1.0)
    return round(y + height * (1 - share), 1)


def _most(series: Series, c: int) -> int:
    """The largest of all that is drawn of a circuit."""
    return max(
        (
            pair[1]
            for phase in range(3)
            for what in ("limit", "meter", "background", "granted")
            for pair in series.circuit(c, what, phase)
            if pair is not None
        ),
        default=1_000,
    )


def _round_up(value_mA: int) -> int:
    """To the next round number of amps."""
    steps_mA = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250)
    value_mA = max(value_mA, 1)
    scale = 1_000
    while True:
        for step in steps_mA:
            if step * scale >= value_mA:
                return step * scale
        scale *= 10


def _zone_s(frame: Frame) -> int:
    moment = datetime.fromtimestamp((frame.from_ns + frame.offset_ns) / NS_PER_S, UTC).astimezone()
    offset = moment.utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _clock(frame: Frame, at_ns: int, seconds: bool) -> str:
    moment = datetime.fromtimestamp((at_ns + frame.offset_ns) / NS_PER_S, UTC).astimezone()
    return moment.strftime("%H:%M:%S" if seconds else "%H:%M")
