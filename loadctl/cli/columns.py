"""Tables for a terminal of any width: a row is one line, always.

Pure. What does not fit is dropped by rank, column by column, and a cell that is too long ends in a
mark; nothing wraps, so that a screen keeps its shape while its numbers change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.text import Text

GAP_CELLS = 2


class Glyphs(NamedTuple):
    """What bars and marks are made of; plain ones where the terminal knows only ASCII."""

    building: str = "▒"
    chargers: str = "█"
    free: str = "·"
    cut: str = "…"
    ramp: str = "▁▂▃▄▅▆▇█"


ASCII_GLYPHS = Glyphs("=", "#", ".", "~", "_.:-=+*#")

Draw = Callable[[int], Text]
Cell = Text | Draw  # a cell that takes the width there is draws itself


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` 0 always stays; of the others the highest goes first.

    A column with `least` stretches: it gets what the fixed ones leave, up to `most`, and columns of
    a higher rank go before it gets less than `wish`.
    """

    head: str
    rank: int = 0
    is_right: bool = False
    least: int = 0
    wish: int = 0
    most: int = 0


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, glyphs: Glyphs
) -> list[Text]:
    """Header and rows, each one line of at most `width` cells."""
    kept, widths = _fit(columns, rows, width)
    head = [Text(columns[i].head, style="dim") for i in kept]
    lines = [_line(columns, kept, widths, head, glyphs)]
    lines += [_line(columns, kept, widths, [row[i] for i in kept], glyphs) for row in rows]
    return [cut(line, width, glyphs) for line in lines]


def cut(line: Text, width: int, glyphs: Glyphs) -> Text:
    """At most `width` cells; what is missing is marked."""
    line.no_wrap = True
    if line.cell_len > width:
        line.truncate(max(width - 1, 0), overflow="crop")
        line.append(glyphs.cut[:width])
    return line


def _fit(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int
) -> tuple[list[int], dict[int, int]]:
    """Which columns stay, and how wide each is."""
    needs = {i: _need(column, i, rows) for i, column in enumerate(columns)}
    wishes = {i: max(needs[i], column.wish) for i, column in enumerate(columns)}
    wishing_rank = min((column.rank for column in columns if column.wish), default=0)
    kept = list(needs)
    if wishing_rank:
        _drop(columns, wishes, kept, width, above_rank=wishing_rank)
    _drop(columns, needs, kept, width, above_rank=0)
    widths = {i: needs[i] for i in kept}
    spare = max(width - _total(needs, kept), 0)
    for i in kept:
        if columns[i].least:
            more = min(spare, max(columns[i].most - widths[i], 0))
            widths[i] += more
            spare -= more
    return kept, widths


def _drop(
    columns: Sequence[Column], needs: dict[int, int], kept: list[int], width: int, above_rank: int
) -> None:
    """Take columns out of `kept`, the highest rank first, until the others fit."""
    while _total(needs, kept) > width:
        droppable = [i for i in kept if columns[i].rank > above_rank]
        if not droppable:
            return
        kept.remove(max(droppable, key=lambda i: columns[i].rank))


def _need(column: Column, i: int, rows: Sequence[Sequence[Cell]]) -> int:
    if column.least:
        return column.least
    cells = [row[i] for row in rows]
    return max([len(column.head), *(cell.cell_len for cell in cells if isinstance(cell, Text))])


def _total(needs: dict[int, int], kept: list[int]) -> int:
    """One cell at the left, a gap between columns."""
    return 1 + sum(needs[i] for i in kept) + GAP_CELLS * (len(kept) - 1)


def _line(
    columns: Sequence[Column],
    kept: list[int],
    widths: dict[int, int],
    cells: Sequence[Cell],
    glyphs: Glyphs,
) -> Text:
    line = Text(" ")
    for place, (i, cell) in enumerate(zip(kept, cells, strict=True)):
        if place:
            line.append(" " * GAP_CELLS)
        text = cut((cell if isinstance(cell, Text) else cell(widths[i])).copy(), widths[i], glyphs)
        pad = " " * (widths[i] - text.cell_len)
        line.append_text(Text(pad) + text if columns[i].is_right else text + Text(pad))
    line.rstrip()
    return line
