"""Reading one TOML table by rules: every broken one becomes a line, and reading goes on to find the
next.

Owns how a broken map is reported: file, path, value, bound. Knows nothing about devices; no I/O, no
clock.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

LARGEST = 10**12  # beyond any quantity of a device map


def nearest(word: str, known: Sequence[str]) -> str:
    """A half sentence that helps with a misspelt word."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; nearest: {close[0]}" if close else f"; known: {', '.join(known)}"


def text_of(value: Fraction | float) -> str:
    """A quantity as people write it."""
    return f"{float(value):.12g}"


class Section:
    """One table. Each reader takes a key, complains where it must, and returns something usable
    anyway.
    """

    def __init__(self, raw: object, where: str, path: str, lines: list[str]) -> None:
        self.where = where
        self.path = path
        self.lines = lines
        self._known: list[str] = []
        self._raw: dict[str, Any] = {}
        if isinstance(raw, dict):
            self._raw = raw
        else:
            self.complain("", f"{raw!r} is not a table")

    def complain(self, key: str, what: str) -> None:
        place = ".".join(part for part in (self.path, key) if part)
        self.lines.append(f"{self.where}: {place}: {what}" if place else f"{self.where}: {what}")

    def has(self, key: str) -> bool:
        self._known.append(key)
        return key in self._raw

    def _take(self, key: str) -> Any:
        if not self.has(key):
            self.complain(key, "missing")
            return None
        return self._raw[key]

    def text(self, key: str) -> str:
        value = self._take(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            self.complain(key, f"{value!r} is not a text")
        return value if isinstance(value, str) else ""

    def choice(self, key: str, known: Sequence[str]) -> str:
        value = self._take(key)
        if value is not None and value not in known:
            self.complain(key, f"{value!r} is none of {', '.join(known)}")
        return value if value in known else known[0]

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._take(key)
        if value is None:
            return low
        if isinstance(value, bool) or not isinstance(value, int):
            self.complain(key, f"{value!r} is not a whole number")
            return low
        if not low <= value <= high:
            self.complain(key, f"{value} is not within {low} to {high}")
            return low
        return value

    def number(
        self, key: str, low: Fraction | int = -LARGEST, high: Fraction | int = LARGEST
    ) -> Fraction:
        """An exact number: an integer, a decimal, or a decimal in quotes."""
        value = self._take(key)
        if value is None:
            return Fraction(low)
        return self._exact(key, value, Fraction(low), Fraction(high))

    def positive(self, key: str, high: Fraction | int = LARGEST) -> Fraction:
        value = self._take(key)
        if value is None:
            return Fraction(1)
        exact = self._exact(key, value, Fraction(0), Fraction(high))
        if exact == 0:
            self.complain(key, f"{value!r} is not above 0")
            return Fraction(1)
        return exact

    def pair(self, key: str) -> tuple[Fraction, Fraction]:
        """[low, high], in that order."""
        value = self._take(key)
        if not isinstance(value, list) or len(value) != 2:
            if value is not None:
                self.complain(key, f"{value!r} is not [low, high]")
            return Fraction(0), Fraction(0)
        bound = Fraction(LARGEST)
        low, high = (self._exact(key, item, -bound, bound) for item in value)
        if low > high:
            self.complain(key, f"{text_of(low)} is above {text_of(high)}")
        return low, high

    def array(self, key: str) -> list[Any]:
        value = self._take(key)
        if value is not None and not isinstance(value, list):
            self.complain(key, f"{value!r} is not a list")
        return value if isinstance(value, list) else []

    def table(self, key: str) -> Section:
        value = self._take(key)
        path = f"{self.path}.{key}" if self.path else key
        return Section({} if value is None else value, self.where, path, self.lines)

    def items(self) -> list[tuple[str, Section]]:
        """Every entry as a table of its own: for tables whose keys are names."""
        return [(name, self.table(name)) for name in self._raw]

    def given_keys(self) -> list[str]:
        """The keys that were asked for and are there."""
        return [key for key in self._known if key in self._raw]

    def other_keys(self, *names: str) -> list[str]:
        """Every key that is there but these."""
        return [key for key in self._raw if key not in names]

    def holds_table(self, key: str) -> bool:
        return isinstance(self._raw.get(key), dict)

    def finish(self) -> None:
        """Refuse every key that nobody asked for."""
        for key in self._raw:
            if key not in self._known:
                self.complain(key, "unknown key" + nearest(key, sorted(set(self._known))))

    def _exact(self, key: str, value: object, low: Fraction, high: Fraction) -> Fraction:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self.complain(key, f"{value!r} is not a number")
            return low
        try:
            decimal = Decimal(str(value))
        except InvalidOperation:
            self.complain(key, f"{value!r} is not a number")
            return low
        if not decimal.is_finite():
            self.complain(key, f"{value!r} is not a finite number")
            return low
        exact = Fraction(decimal)
        if not low <= exact <= high:
            self.complain(key, f"{value} is not within {text_of(low)} to {text_of(high)}")
            return low
        return exact
