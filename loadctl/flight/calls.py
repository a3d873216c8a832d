"""The calls of the core that a recording holds, each with its number.

Everything that changes the plant block is here, and the two answers that lead to setpoints. A
number never changes its meaning: recordings outlive versions. A new call is one line.
"""

from __future__ import annotations

from typing import Any, Protocol

from loadctl.tables import Tables

CALLS = {
    # inputs
    "set_mode": 1,
    "set_tuning": 2,
    "meter_read": 3,
    "charger_status": 4,
    "charger_armed": 5,
    "charger_answered": 6,
    "take_done": 7,
    "give_done": 8,
    "refreshed": 9,
    "probe_done": 10,
    "latch_background": 11,
    "external_limit": 12,
    "retune": 13,
    # the law, with its result
    "step": 20,
    "confirm": 21,
    # what it decided
    "takes": 30,
    "gives": 31,
}
NAMES = {number: name for name, number in CALLS.items()}


class Listener(Protocol):
    """Hears everything that is played, after the core has."""

    def enter(self, tables: Tables, plant: bytes, follows: bool) -> None:
        """A recorded plant block; `follows`: it is the one that the calls so far have led to."""
        ...

    def call(self, name: str, arguments: tuple[Any, ...], said: Any, has_raised: bool) -> None: ...
    def scan(self, ended_at_ns: int, plant: bytearray) -> None:
        """The end of a scan, and the plant block then."""
        ...
