"""Reads a file of faults: TOML, one `[[fault]]` each, checked against the site.

`load_faults` is the only door. It collects everything that is wrong before it refuses: one line
each with file, place, value and bound. Amps, volts and seconds exist here only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hw.sim.fault import BOUNDS, KINDS, Fault, names_of, who_kind
from hw.toml_text import parsed, read_text
from loadctl.errors import ConfigError
from loadctl.units import NS_PER_S, PHASE_NAMES

if TYPE_CHECKING:
    from loadctl.tables import Tables


class Key(NamedTuple):
    """A number of a fault: the field it becomes, and how many of the field's units one is."""

    field: str
    per_unit: int


NUMBERS = {
    "at_s": Key("at_ns", NS_PER_S),
    "for_s": Key("for_ns", NS_PER_S),
    "percent": Key("share_percent", 1),
    "late_s": Key("late_ns", NS_PER_S),
    "every_s": Key("every_ns", NS_PER_S),
    "voltage_V": Key("voltage_mV", 1_000),
    "exception": Key("exception", 1),
    "setpoint_A": Key("setpoint_mA", 1_000),
    "fallback_A": Key("fallback_mA", 1_000),
    "watchdog_s": Key("watchdog_ns", NS_PER_S),
}
EVERY_KIND = ("kind", "who", "at_s", "for_s")


def keys_of(kind: str) -> list[str]:
    """The keys that a fault of this kind may have, beside those of every kind."""
    known = KINDS[kind]
    keys = [key for key, (field, _) in NUMBERS.items() if field in known.values]
    return [
        *(["form"] if known.forms else []),
        *(["phase"] if "phase" in known.values else []),
        *keys,
    ]


def load_faults(path: Path, tables: Tables) -> tuple[Fault, ...]:
    """All faults of a file, in its order; ConfigError with one line for everything wrong."""
    raw = parsed(path, read_text(path), parse_float=Decimal)
    lines: list[str] = []
    for key in raw:
        if key != "fault":
            lines.append(f"{path}: {key}: no such key; a file of faults holds [[fault]] only")
    rows = raw.get("fault", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(*lines, f"{path}: fault: write each one as [[fault]]")
    faults = []
    for i, row in enumerate(rows):
        reader = _Row(row, tables)
        fault = reader.fault()
        lines += [f"{path}: fault[{i + 1}].{key}: {words}" for key, words in reader.problems]
        if fault is not None:
            faults.append(fault)
    if lines:
        raise ConfigError(*lines)
    return tuple(faults)


class _Row:
    """One `[[fault]]` on its way to a Fault."""

    def __init__(self, raw: dict[str, Any], tables: Tables) -> None:
        self._raw = raw
        self._names = list(names_of(tables))
        self.problems: list[tuple[str, str]] = []

    def fault(self) -> Fault | None:
        kind = self._word("kind", KINDS)
        if kind is None:
            return None
        allowed = [*EVERY_KIND, *keys_of(kind)]
        for key in self._raw:
            if key not in allowed:
                self._wrong(key, f"no such key for {kind}{_nearest(key, allowed)}")
        if "at_s" not in self._raw:
            self._wrong("at_s", "missing; seconds from the start")
        who = self._word("who", self._names)
        if who is not None and who_kind(who) not in KINDS[kind].strikes:
            only = " or ".join(KINDS[kind].strikes)
            self._wrong("who", f'"{who}" cannot have {kind}; only a {only} can')
        values: dict[str, Any] = {}
        for key in allowed:
            if key in self._raw and key in NUMBERS:
                values[NUMBERS[key].field] = self._number(key)
        if "form" in allowed and "form" in self._raw:
            values["form"] = self._word("form", KINDS[kind].forms)
        if "phase" in allowed and "phase" in self._raw:
            name = self._word("phase", PHASE_NAMES)
            values["phase"] = None if name is None else PHASE_NAMES.index(name)
        if self.problems or who is None:
            return None
        return Fault(kind, who, **values)

    def _wrong(self, key: str, words: str) -> None:
        self.problems.append((key, words))

    def _word(self, key: str, known: Iterable[str]) -> str | None:
        names = list(known)
        word = self._raw.get(key)
        if word is None:
            self._wrong(key, f"missing; one of {', '.join(names)}")
        elif word not in names:
            shown = f'"{word}"' if isinstance(word, str) else f"{word}"
            self._wrong(key, f"{shown} is not known here{_nearest(str(word), names)}")
        else:
            return str(word)
        return None

    def _number(self, key: str) -> int | None:
        value, (field, per_unit) = self._raw[key], NUMBERS[key]
        low, high = (Decimal(bound) / per_unit for bound in BOUNDS[field])
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self._wrong(key, f"{value} is no number")
        elif Decimal(value).is_nan() or not low <= value <= high:
            self._wrong(key, f"{value} is outside {low.normalize():f} to {high.normalize():f}")
        else:
            return round(value * per_unit)
        return None


def _nearest(word: str, known: list[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.55)
    return f"; the nearest is {by_lower[close[0]]}" if close else f"; known: {', '.join(known)}"
