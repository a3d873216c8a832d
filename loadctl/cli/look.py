"""What a person has chosen to look at: how far scrolled, in which order; and the history beside it.

Keys change it, drawing reads it. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadctl.cli.history import History

PAGE_LEAST = 5
Row = dict[str, Any]

# By what chargers may be put in order; equals stay in the order of the site file.
ORDERS: dict[str, Callable[[Row], float]] = {
    "site file": lambda charger: 0,
    "most current": lambda charger: -charger["setpoint_A"],
    "longest wait": lambda charger: -(charger["waits_s"] or 0),
}


@dataclass
class Look:
    """`offset` None: not scrolled; those that matter are then chosen where room is short."""

    history: History = field(default_factory=History)
    now_ns: int = 0
    offset: int | None = None
    order: str = "site file"
    n_chargers: int = 0
    n_shown: int = PAGE_LEAST  # chargers that the last screen had room for; told by the drawing

    def press(self, key: str) -> None:
        """Keys that mean nothing here are let pass."""
        page = max(self.n_shown - 1, 1)
        steps = {"down": 1, "up": -1, "pagedown": page, "pageup": -page}
        steps |= {"end": self.n_chargers}
        if key in steps:
            last = max(self.n_chargers - self.n_shown, 0)
            self.offset = max(0, min((self.offset or 0) + steps[key], last))
        elif key == "home":
            self.offset = None
        elif key == "sort":
            names = list(ORDERS)
            self.order = names[(names.index(self.order) + 1) % len(names)]

    def ordered(self, chargers: Row) -> list[str]:
        return sorted(chargers, key=lambda name: ORDERS[self.order](chargers[name]))

    def window(self, names: Sequence[str], n_lines: int) -> list[str]:
        """Those that are shown when it is scrolled; notes how many there is room for."""
        self.n_chargers, self.n_shown = len(names), max(n_lines, 1)
        start = max(0, min(self.offset or 0, len(names) - self.n_shown))
        return list(names[start : start + self.n_shown])
