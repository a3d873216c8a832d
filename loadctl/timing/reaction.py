"""Reaction: from the moment a meter's register changes to the last decrease on the wire.

Pure arithmetic over what the simulator wrote down: when the building stepped, and every setpoint
with the time of its last byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hw.sim.scenario import Load


class Reactions(NamedTuple):
    """One span for each step that was answered; `n_unanswered` steps saw no decrease before the
    next step."""

    spans_ns: tuple[int, ...]
    n_unanswered: int


def rises_at_ns(load: Load, start_ns: int, from_ns: int, until_ns: int) -> list[int]:
    """When the building rose within this time, and had as long again before its next step."""
    first_i = max(1, -(-(from_ns - start_ns) // load.every_ns))
    last_i = (until_ns - start_ns) // load.every_ns - 1
    n = len(load.steps)
    return [
        start_ns + i * load.every_ns
        for i in range(first_i, last_i + 1)
        if load.steps[i % n] > load.steps[(i - 1) % n]
    ]


def decreases_at_ns(writes: Iterable[dict[str, Any]]) -> list[int]:
    """Writes below the one before it to the same charger; `writes` in order of arrival."""
    last_mA: dict[str, int] = {}
    found = []
    for write in writes:
        charger, setpoint_mA = write["charger"], write["setpoint_mA"]
        if setpoint_mA < last_mA.get(charger, setpoint_mA):
            found.append(int(write["at_ns"]))
        last_mA[charger] = setpoint_mA
    return found


def reactions_of(rises_ns: Sequence[int], decreases_ns: Sequence[int], every_ns: int) -> Reactions:
    """To each rise belong the decreases until the next step."""
    spans = []
    for rise_ns in rises_ns:
        later = [at_ns for at_ns in decreases_ns if rise_ns < at_ns <= rise_ns + every_ns]
        if later:
            spans.append(max(later) - rise_ns)
    return Reactions(tuple(spans), len(rises_ns) - len(spans))
