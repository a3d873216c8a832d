"""One bus on a scripted wire: its stations, its talk, and what was sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hw.devices import DeviceMap
from hw.wire import Code, Exchange, Line, Patience, Reply
from loadctl.image import SIZES, Reader, Writer
from loadctl.said import Order
from loadctl.stations import ChargerStation, MeterStation
from loadctl.talk import BusTalk
from tests.support.builders import make_bus, make_charger, make_meter, shipped_map
from tests.support.scan_rig import FakeGuarded, MS_ns

LINE = Line(19_200, "8E1")
GAP_ns = 100 * MS_ns
STATUS = bytes((0, 2)) + bytes(8)  # state C, no current
BUS = make_bus()
GOOD, LOST, BAD = Code.GOOD, Code.NO_ANSWER, Code.BAD_FRAME


class ScriptedWire:
    """Answers by function of the exchange; each takes `takes_ns` from the end of its device's gap
    on and ends within the deadline."""

    is_open = True
    hears_itself = False

    def __init__(self) -> None:
        self.now = 0
        self.sent: list[Exchange] = []
        self.takes_ns = 20 * MS_ns
        self.answer: Callable[[Exchange], tuple[Code, bytes]] = well
        self.exception_code = 2
        self.idle_ns = 0  # spent on gaps
        self._free_at_ns: dict[int, int] = {}

    def now_ns(self) -> int:
        return self.now

    def new_scan(self) -> None:
        pass

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        begun_ns = max(self.now, self._free_at_ns.get(exchange.address, 0))
        if begun_ns + self.takes_ns > deadline_ns:
            return Reply(Code.NOT_SENT, b"", 0, self.now, self.now)
        self.sent.append(exchange)
        self.idle_ns += begun_ns - self.now
        self.now = begun_ns + self.takes_ns
        self._free_at_ns[exchange.address] = self.now + patience.gap_ns
        code, payload = self.answer(exchange)
        exception_code = self.exception_code if code is Code.REFUSED else 0
        return Reply(code, payload, exception_code, begun_ns, self.now)


def well(exchange: Exchange) -> tuple[Code, bytes]:
    if exchange.is_write:
        return GOOD, b""
    return GOOD, STATUS if exchange.count == 5 else bytes(2 * exchange.count)


def charger_map(**changes: Any) -> DeviceMap:
    return replace(shipped_map("reference-charger"), **changes)


class Bench:
    """Chargers at addresses 11, 12, ... and meters at 1, 2, ... on one scripted wire."""

    def __init__(
        self,
        path: Path,
        n_chargers: int,
        n_meters: int = 0,
        used: DeviceMap | None = None,
        meter: DeviceMap | None = None,
    ) -> None:
        meter_map = meter or shipped_map("reference-meter")
        self.wire = ScriptedWire()
        size = SIZES["site"] + SIZES["circuit"]
        size += n_meters * SIZES["meter"] + n_chargers * SIZES["charger"]
        self.image = Writer(path / "image", 1, 1, n_meters, n_chargers, size, 0, 1)
        self.path = path / "image"
        meters = [
            MeterStation(i, make_meter(f"m{i}", address=1 + i), meter_map, BUS)
            for i in range(n_meters)
        ]
        self.chargers = [
            ChargerStation(
                i, n_meters, make_charger(f"x{i}", address=11 + i), used or charger_map(), BUS
            )
            for i in range(n_chargers)
        ]
        self.guarded = FakeGuarded()
        self.talk = BusTalk(
            self.wire, LINE, n_chargers, meters, self.chargers, self.image, self.guarded
        )
        self.talk.deadline_ns = 10**12

    def order(self, charger_i: int, setpoint_mA: int) -> Order:
        station = self.chargers[charger_i]
        return Order(station, setpoint_mA, station.setpoint(setpoint_mA))

    def addresses(self) -> list[int]:
        return [exchange.address for exchange in self.wire.sent]

    def snapshot(self) -> dict[str, Any]:
        self.image.publish(0)
        return Reader(self.path).snapshot()

    def device(self, device_i: int) -> dict[str, Any]:
        found: dict[str, Any] = self.snapshot()["devices"][device_i]
        return found
