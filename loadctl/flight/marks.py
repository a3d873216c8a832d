"""What happened, for the plot of a recording: modes, limits from outside, silent chargers.

Listens to a replay and notes when. Commands only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from loadctl.flight.calls import Listener
from loadctl.flight.series import chargers_of
from loadctl.live import amount, names_of
from loadctl.tables import Tables
from loadctl.tuning import Slots

MOST_TUNED = 3
MODE_WORDS = ("start", "run", "failsafe", "stop")


class Mark(NamedTuple):
    at_ns: int  # monotonic
    words: str


class Marks:
    """A listener; the times are those of the scan in which it was."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []
        self._tables: Tables | None = None
        self._words: list[str] = []
        self._silent: set[int] = set()
        self._mode: int | None = None

    def enter(self, tables: Tables, plant: bytes, follows: bool) -> None:
        self._tables = tables
        if not follows:
            self._silent = self._silent_in(plant)

    def call(self, name: str, arguments: tuple[Any, ...], said: Any, has_raised: bool) -> None:
        assert self._tables is not None
        if has_raised:
            return
        if name == "set_mode" and arguments[0] != self._mode:
            self._mode = arguments[0]
            self._words.append(f"mode {MODE_WORDS[arguments[0]]}")
        elif name == "external_limit":
            self._words.append(_limit_words(self._tables, *arguments[:3]))
        elif name == "retune":
            self._words.append(_tuned_words(self._tables, arguments[0]))
        elif name == "charger_armed" and not arguments[1]:
            self._words.append(f"{self._tables.chargers[arguments[0]].name} is armed anew")

    def scan(self, ended_at_ns: int, plant: bytearray) -> None:
        assert self._tables is not None
        silent = self._silent_in(plant)
        names = [row.name for row in self._tables.chargers]
        self._words += [f"{names[i]} is silent" for i in sorted(silent - self._silent)]
        self._words += [f"{names[i]} answers again" for i in sorted(self._silent - silent)]
        self._silent = silent
        if self._words:
            self.marks.append(Mark(ended_at_ns, ", ".join(self._words)))
            self._words = []

    def _silent_in(self, plant: bytes | bytearray) -> set[int]:
        tables = self._tables
        assert tables is not None
        counts = (len(tables.circuits), len(tables.meters), len(tables.chargers))
        return {i for i, (_, _, is_silent) in enumerate(chargers_of(plant, *counts)) if is_silent}


def _limit_words(
    tables: Tables, circuit_i: int, limit_mA: Sequence[int] | None, power_W: int | None
) -> str:
    name = tables.circuits[circuit_i].name
    limits = [f"{min(limit_mA) / 1000:g} A"] if limit_mA is not None else []
    limits += [f"{power_W / 1000:g} kW"] if power_W is not None else []
    return f"from outside, {name}: {' and '.join(limits) or 'no limit'}"


def _tuned_words(tables: Tables, changes: Sequence[tuple[int, int]]) -> str:
    names = names_of(Slots(tables))
    texts = [
        f"{name.text} {amount(name.key, value)}"
        for slot, value in changes[:MOST_TUNED]
        for name in names.values()
        if slot in name.slots
    ]
    more = f" and {len(changes) - MOST_TUNED} more" if len(changes) > MOST_TUNED else ""
    return f"tuned: {', '.join(texts)}{more}"


class All:
    """Several listeners as one."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def enter(self, tables: Tables, plant: bytes, follows: bool) -> None:
        for one in self.listeners:
            one.enter(tables, plant, follows)

    def call(self, name: str, arguments: tuple[Any, ...], said: Any, has_raised: bool) -> None:
        for one in self.listeners:
            one.call(name, arguments, said, has_raised)

    def scan(self, ended_at_ns: int, plant: bytearray) -> None:
        for one in self.listeners:
            one.scan(ended_at_ns, plant)
