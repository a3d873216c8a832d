"""The last minutes of each circuit phase and charger, as a line of small bars.

Pure; times are arguments. Keeps the highest value of each column of time, so that a short peak is
seen; a column in which nothing fresh was seen stays empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.text import Text

from loadctl.answers import Status
from loadctl.cli.columns import Glyphs
from loadctl.units import NS_PER_S

COLUMN_ns = 10 * NS_PER_S
N_COLUMNS = 60
FULL, NEARLY_FULL = 1.0, 0.9
TOLERANCE = 1e-9

Key = tuple[str, str, int]  # "circuit", its name, phase; "charger", its name, 0


class History:
    """As parts of a limit: the load of a phase of its limit, a charger's current of its maximum."""

    def __init__(self, column_ns: int = COLUMN_ns) -> None:
        self.column_ns = column_ns
        self._columns: dict[Key, deque[tuple[int, float]]] = {}

    def note(self, status: Status, now_ns: int) -> None:
        """What is stale says nothing of now."""
        if status["is_stale"]:
            return
        column_i = now_ns // self.column_ns
        for name, circuit in status["circuits"].items():
            for p in range(3):
                load_A, limit_A = circuit["load_A"][p], circuit["limit_A"][p]
                self._put(("circuit", name, p), column_i, part_of(load_A, limit_A))
        for name, charger in status["chargers"].items():
            draw_A = charger["draw_A"]
            current_A = charger["setpoint_A"] if draw_A is None else max(draw_A)
            self._put(("charger", name, 0), column_i, part_of(current_A, charger["max_A"]))

    def _put(self, key: Key, column_i: int, value: float) -> None:
        columns = self._columns.setdefault(key, deque(maxlen=N_COLUMNS))
        if columns and columns[-1][0] == column_i:
            columns[-1] = (column_i, max(columns[-1][1], value))
        else:
            columns.append((column_i, value))

    def values(self, key: Key, n_columns: int, now_ns: int) -> list[float | None]:
        """The newest last."""
        found = dict(self._columns.get(key, ()))
        last = now_ns // self.column_ns
        return [found.get(i) for i in range(last - n_columns + 1, last + 1)]


def part_of(value_A: float, limit_A: float) -> float:
    """Of a limit of 0 anything is too much."""
    if limit_A <= 0:
        return 0.0 if value_A <= 0 else 2.0
    return max(0.0, value_A / limit_A)


def spark(values: Sequence[float | None], glyphs: Glyphs, *, has_limit: bool) -> Text:
    """One cell for each; `has_limit`: yellow where it is nearly reached, red above."""
    line = Text()
    for value in values:
        if value is None:
            line.append(" ")
            continue
        step = min(int(value * len(glyphs.ramp)), len(glyphs.ramp) - 1)
        style = ""
        if has_limit and value > NEARLY_FULL:
            style = "red" if value > FULL + TOLERANCE else "yellow"
        line.append(glyphs.ramp[step], style)
    return line
