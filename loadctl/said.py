"""What goes between the main thread and the thread of a bus: orders, and what became of everything.

Plain rows and the wire as a bus talks to it. No I/O, no clock.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from hw.devices import ChargerValues, MeterValues
from hw.wire import Code, Exchange, Wire
from loadctl.stations import ChargerStation


class FieldWire(Wire, Protocol):
    """A wire that is told where scans begin."""

    @property
    def is_open(self) -> bool: ...
    @property
    def hears_itself(self) -> bool:
        """A request came back where none should, and no reply without one came since."""
        ...

    def new_scan(self) -> None: ...


class MeterResult(NamedTuple):
    who: int
    code: Code
    values: MeterValues | None
    at_ns: int


class StatusResult(NamedTuple):
    who: int
    code: Code
    values: ChargerValues | None
    at_ns: int


class Order(NamedTuple):
    """One setpoint frame that the gate has let through."""

    station: ChargerStation
    setpoint_mA: int
    exchange: Exchange


class WriteResult(NamedTuple):
    who: int
    setpoint_mA: int
    code: Code
    at_ns: int


class AnswerResult(NamedTuple):
    """An exchange that was neither a status block nor a setpoint."""

    who: int
    code: Code
    at_ns: int
