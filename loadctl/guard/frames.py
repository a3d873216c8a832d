"""What the guard may say to each charger: frames that are ready before they are needed.

Owns the value that a charger is brought to, min(last setpoint, failsafe current) on its own steps,
and the bytes that say it. A value never rises here. No I/O, no clock. The main thread keeps a `Box`
up to date while the scan runs; the thread of its bus owns it from a takeover on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hw.devices import (
    DeviceMap,
    decode_setpoint,
    kick_exchange,
    patience,
    read_setpoint_exchange,
    setpoint_exchange,
    setpoint_floor_mA,
)
from hw.wire import Exchange, rtu_frame
from loadctl.tables import BusRow, ChargerRow, Tables
from loadctl.units import NS_PER_S

# Boxes without a watchdog are told again too: one that restarts has forgotten its setpoint.
REFRESH_ns = 10 * NS_PER_S


class ToldWords(Protocol):
    """What is read of the link."""

    def told_mA(self, charger_i: int) -> int | None: ...
    def failsafe_mA(self, charger_i: int) -> int | None: ...
    def is_starved(self, charger_i: int) -> bool: ...


class Frame(NamedTuple):
    """An exchange, and its whole request with the CRC."""

    exchange: Exchange
    request: bytes


def frame_of(exchange: Exchange) -> Frame:
    return Frame(exchange, rtu_frame(exchange))


class Box:
    """One charger. `told_mA` is the last setpoint that it may have; None until one is known."""

    def __init__(self, charger_i: int, row: ChargerRow, device_map: DeviceMap, bus: BusRow) -> None:
        self.index = charger_i
        self.row = row
        self.map = device_map
        self.patience = patience(device_map, bus.turnaround_ns, bus.timeout_ns)
        self.refresh_ns = min(REFRESH_ns, (row.watchdog_ns or 3 * REFRESH_ns) // 3)
        kick = kick_exchange(device_map, row.address, row.connector)
        read_back = read_setpoint_exchange(device_map, row.address, row.connector)
        self.kick = frame_of(kick) if kick is not None else None
        self.read_back = frame_of(read_back) if read_back is not None else None
        self.told_mA: int | None = None
        self.failsafe_mA = row.failsafe_mA
        self.is_starved = False
        self.target_mA = 0
        self.write = self._setpoint(0)
        self.is_acknowledged = False  # the last write was, since the takeover
        self.tried_at_ns = 0
        self.had_mA = row.rated_mA  # what it may have had when the takeover began
        self.n_refused = 0  # writes in a row
        self.must_check = False  # it was deaf: an acknowledgement alone is not believed
        self.starve_until_ns = 0  # no message before: its own watchdog is to act
        self.n_starves = 0  # in a row

    def sync(self, words: ToldWords) -> None:
        """Take over what the link says. A word that cannot be read leaves the last known value: the
        frame of a torn one had not left, or raised from there."""
        told_mA = words.told_mA(self.index)
        failsafe_mA = words.failsafe_mA(self.index)
        self.is_starved = words.is_starved(self.index)
        if told_mA is not None:
            self.told_mA = told_mA
        self.failsafe_mA = self.row.failsafe_mA
        if failsafe_mA is not None:
            self.failsafe_mA = min(failsafe_mA, self.row.failsafe_mA)
        if self.told_mA is not None:
            self._aim(self.told_mA)

    def found(self, payload: bytes) -> int | None:
        """The setpoint that its register holds; None where that cannot be true."""
        return decode_setpoint(self.map, payload)

    def begin_with(self, found_mA: int | None) -> None:
        """A setpoint that was never known: what its register holds is the last, nothing is 0."""
        self._aim(found_mA or 0)

    def lower_to(self, found_mA: int) -> None:
        """Something else has lowered it: it is not raised again."""
        self._aim(min(found_mA, self.target_mA))

    @property
    def decrease_mA(self) -> int:
        """How far a takeover brings it down; one that was never known may have everything."""
        last_mA = self.row.rated_mA if self.told_mA is None else self.told_mA
        return last_mA - self.target_mA

    def _aim(self, last_mA: int) -> None:
        target_mA = setpoint_floor_mA(self.map, min(last_mA, self.failsafe_mA))
        if target_mA != self.target_mA:
            self.target_mA, self.write = target_mA, self._setpoint(target_mA)

    def _setpoint(self, setpoint_mA: int) -> Frame:
        row = self.row
        return frame_of(setpoint_exchange(self.map, row.address, row.connector, setpoint_mA))


def boxes_of(tables: Tables, maps: dict[str, DeviceMap], bus_i: int) -> list[Box]:
    """Every charger of a bus but those that are switched off for good: they are never talked to."""
    return [
        Box(i, row, maps[row.model], tables.buses[bus_i])
        for i, row in enumerate(tables.chargers)
        if row.bus == bus_i and not row.is_isolated
    ]


def by_decrease(boxes: Sequence[Box]) -> list[Box]:
    """Largest decrease first; in file order where they are equal."""
    return sorted(boxes, key=lambda box: -box.decrease_mA)
