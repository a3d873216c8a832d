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


ASCII_GLYPHS = Glyphs("=", "#", ".", "~")

Draw = Callable[[int], Text]
Cell = Text | Draw  # a cell that takes the width there is draws itself


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` 0 always stays; of the others the highest goes first.

    A column with `least` stretches: it gets what the fixed ones leave, up to `most`.
    """

    head: str
    rank: int = 0
    is_right: bool = False
    least: int = 0
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
    kept = list(needs)
    while _total(needs, kept) > width:
        droppable = [i for i in kept if columns[i].rank > 0]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda i: columns[i].rank))
    widths = {i: needs[i] for i in kept}
    spare = max(width - _total(needs, kept), 0)
    for i in kept:
        if columns[i].least:
            more = min(spare, max(columns[i].most - widths[i], 0))
            widths[i] += more
            spare -= more
    return kept, widths


def _need(column: Column, i: int, rows: Sequence[Sequence[Cell]]) -> int:
    if column.least:
        return column.least
    cells = [row[i] for row in rows]
    return max([len(column.head), *(cell.cell_len for cell in cells if isinstance(cell, Text))])


def _total(needs: dict[int, int], kept: list[int]) -> int:
    return sum(needs[i] for i in kept) + GAP_CELLS * len(kept)


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
