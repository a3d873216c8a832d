"""What changes from one screen to the next, as few bytes for a terminal.

Pure: lines in, bytes out. Owns what the terminal shows. A frame is at most as long as it may be:
what does not fit is sent with the next one, and the row after it goes first then, so that a slow
line shows every part in turn and is never flooded. Only cells that changed are sent: nothing
flickers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import get_character_cell_size
from rich.text import Text

Cell = tuple[str, str]  # a character (two cells wide: "" follows it), and its SGR parameters
BLANK: Cell = (" ", "")
SGR = {
    "bold": "1",
    "dim": "2",
    "reverse": "7",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
}
REVERSE = SGR["reverse"]
COLOURS = ("red", "green", "yellow", "blue")
WITHOUT_COLOUR = {"red": "bold"}  # what must not be overlooked
SAME_RUN_CELLS = 4  # going on costs less than moving the cursor over so few
ERASE_CELLS = 4  # likewise for blanks up to the end of the line
NO_LIMIT = 1 << 30

ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[m\x1b[H\x1b[2J"
CLEAR = b"\x1b[m\x1b[2J"
ERASE = b"\x1b[K"
STYLE_BYTES = 16  # to the style of a cell, and back at the end of the frame
BEGIN_SYNC, END_SYNC = b"\x1b[?2026h", b"\x1b[?2026l"


def leave(height: int) -> bytes:
    """Where there is no other screen to go back to, the prompt comes below this one."""
    return f"\x1b[m\x1b[{height};1H\r\n\x1b[?7h\x1b[?25h\x1b[?1049l".encode()


class Painter:
    """One terminal. `encoding` is that of its characters; `most_bytes` of one frame."""

    def __init__(
        self,
        width: int,
        height: int,
        *,
        encoding: str = "utf-8",
        has_colour: bool = True,
        syncs: bool = False,
        most_bytes: int = NO_LIMIT,
    ) -> None:
        self.width, self.height = width, height
        self.is_behind = False  # the last frame was too short for all that had changed
        self._encoding, self._has_colour, self._syncs = encoding, has_colour, syncs
        self._most_bytes = most_bytes
        self._shown = [[BLANK] * width for _ in range(height)]
        self._next_row = 0
        self._pen = ""
        self._rows: list[tuple[Text, list[Cell]]] = []

    def frame(self, lines: Sequence[Text]) -> bytes:
        """What turns the screen into these lines, or as much of it as fits."""
        rows = self._cells(lines)
        out = bytearray()
        self.is_behind = False
        for step in range(self.height):
            y = (self._next_row + step) % self.height
            if not self._paint_row(out, y, rows[y]):
                self._next_row, self.is_behind = y, True
                break
        if not self.is_behind:
            self._next_row = 0
        self._pen_to(out, "")
        return BEGIN_SYNC + bytes(out) + END_SYNC if self._syncs and out else bytes(out)

    def _cells(self, lines: Sequence[Text]) -> list[list[Cell]]:
        """Lines that are the same as before are not looked at again."""
        rows = []
        for y in range(self.height):
            line = lines[y] if y < len(lines) else Text()
            same = y < len(self._rows) and is_same(self._rows[y][0], line)
            cells = self._rows[y][1] if same else cells_of(line, self.width, self._has_colour)
            rows.append((line, cells))
        self._rows = rows
        return [cells for _, cells in rows]

    def _paint_row(self, out: bytearray, y: int, row: list[Cell]) -> bool:
        """False where the frame is full before the row is right."""
        shown = self._shown[y]
        for begin, end in changed_runs(shown, row):
            if not self._paint_run(out, y, row, begin, end):
                return False
        return True

    def _paint_run(self, out: bytearray, y: int, row: list[Cell], begin: int, end: int) -> bool:
        n_blank = blank_tail(row, begin) if end == self.width else 0
        n_blank = n_blank if n_blank >= ERASE_CELLS else 0
        move = f"\x1b[{y + 1};{begin + 1}H".encode()
        for x in range(begin, end - n_blank):
            text, style = row[x]
            part = text.encode(self._encoding, "replace")
            if len(out) + len(move) + len(part) + STYLE_BYTES > self._most_bytes:
                return False
            out += move
            move = b""
            if text and (row[x] != BLANK or REVERSE in self._pen):  # else no pen is seen
                self._pen_to(out, style)
            out += part
            n_cells = 2 if x + 1 < self.width and not row[x + 1][0] else 1
            self._shown[y][x : x + n_cells] = row[x : x + n_cells]
        if n_blank:
            if len(out) + len(move) + len(ERASE) + STYLE_BYTES > self._most_bytes:
                return False
            out += move
            self._pen_to(out, "")
            out += ERASE
            self._shown[y][end - n_blank :] = [BLANK] * n_blank
        return True

    def _pen_to(self, out: bytearray, style: str) -> None:
        if style != self._pen:
            out += f"\x1b[0;{style}m".encode() if style else b"\x1b[m"
            self._pen = style


def is_same(line: Text, other: Text) -> bool:
    return line.plain == other.plain and line.style == other.style and line.spans == other.spans


def changed_runs(shown: Sequence[Cell], row: Sequence[Cell]) -> list[tuple[int, int]]:
    """Ranges of cells to send; those that are near each other are one."""
    runs: list[tuple[int, int]] = []
    for x, (before, after) in enumerate(zip(shown, row, strict=True)):
        if before == after:
            continue
        if runs and x - runs[-1][1] < SAME_RUN_CELLS:
            runs[-1] = (runs[-1][0], x + 1)
        else:
            runs.append((x, x + 1))
    if runs and blank_tail(row, runs[-1][0]) - (len(row) - runs[-1][1]) >= ERASE_CELLS:
        runs[-1] = (runs[-1][0], len(row))  # its end is blank, and so is all that follows
    return [(whole_from(row, shown, begin), end) for begin, end in runs]


def whole_from(row: Sequence[Cell], shown: Sequence[Cell], begin: int) -> int:
    """A run begins with a whole character: not with the second cell of a wide one."""
    while begin and (not row[begin][0] or not shown[begin][0]):
        begin -= 1
    return begin


def blank_tail(row: Sequence[Cell], begin: int) -> int:
    n = 0
    while n < len(row) - begin and row[len(row) - 1 - n] == BLANK:
        n += 1
    return n


def cells_of(line: Text, width: int, has_colour: bool) -> list[Cell]:
    """The cells of one line, cut to the width and filled with blanks."""
    words: list[list[str]] = [str(line.style).split() for _ in line.plain]
    for span in line.spans:
        for i in range(max(span.start, 0), min(span.end, len(words))):
            words[i] = words[i] + str(span.style).split()
    cells: list[Cell] = []
    for character, styles in zip(line.plain, words, strict=True):
        n_cells = get_character_cell_size(character)
        if len(cells) + n_cells > width:
            break
        if n_cells == 0:
            if cells:
                at = -1 if cells[-1][0] else -2  # behind a character of two cells
                cells[at] = (cells[at][0] + character, cells[at][1])
            continue
        is_seen = character != " " or "reverse" in styles  # else it is like any other blank
        cells.append((character, sgr(styles, has_colour) if is_seen else ""))
        cells += [("", cells[-1][1])] * (n_cells - 1)
    return cells + [BLANK] * (width - len(cells))


def sgr(words: Sequence[str], has_colour: bool) -> str:
    """The parameters of these words; of several colours the last counts."""
    if not words:
        return ""
    if not has_colour:
        words = [WITHOUT_COLOUR.get(word, word) for word in words]
    colours = [word for word in words if word in COLOURS]
    kept = [word for word in SGR if word in words and word not in COLOURS]
    return ";".join(SGR[word] for word in (*kept, *(colours[-1:] if has_colour else ())))
