"""The committed figures, and how those of a run compare with them.

Times are of the machine that the baseline names: on another one look at ratios to a peer in the
same run, which are figures too, rather than at times.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parent / "baseline.json"


class Row(NamedTuple):
    figure: str
    before: float | None  # None: the baseline has no such figure
    now: float | None  # None: this run has none

    @property
    def ratio(self) -> float | None:
        """Now by before; None where there is nothing to divide."""
        if self.before is None or self.now is None or self.before == 0:
            return None
        return self.now / self.before


def figures(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a result, by its path."""
    for key, value in found.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from figures(value, f"{path}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield path, float(value)


def load(path: Path = FILE) -> dict[str, Any]:
    if not path.exists():
        return {}
    held: dict[str, Any] = json.loads(path.read_text())
    return held


def save(group: str, found: Mapping[str, Any], path: Path = FILE) -> None:
    """Put the result of one group in place of the one that is there."""
    held = {**load(path), group: dict(found)}
    path.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Row]:
    """Figures of both, in the order of the run, then those that only the baseline has."""
    held, new = dict(figures(before)), dict(figures(now))
    return [Row(path, held.get(path), new.get(path)) for path in dict.fromkeys([*new, *held])]


def lines(group: str, now: Mapping[str, Any], path: Path = FILE) -> list[str]:
    """A table for a terminal."""
    held = load(path)
    if group not in held:
        return [f"no baseline of {group} in {path}; --save makes one"]
    before = held[group]
    rows = compare(before, now)
    width = max(len(row.figure) for row in rows)
    return [
        f"baseline: {before.get('machine', 'of an unknown machine')}",
        f"{'figure':<{width}}{'before':>14}{'now':>14}{'ratio':>9}",
        *(
            f"{row.figure:<{width}}{_number(row.before):>14}{_number(row.now):>14}"
            f"{_number(row.ratio):>9}"
            for row in rows
        ),
    ]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
