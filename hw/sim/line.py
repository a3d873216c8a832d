"""All simulated devices on one bus, and a whole simulated site put together from its tables.

Owns who answers a request and when; the bytes come from the devices, their fate from
`hw/sim/faults.py`. No I/O and no clock: virtual and real time both end here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from hw.device_map import DeviceMap
from hw.devices import parse_map
from hw.sim.board import BUS_FIELDS, Board
from hw.sim.device import ChargerDevice, Device, MeterDevice, box_facts
from hw.sim.faults import Faults, faults_for
from hw.sim.judge import Judge
from hw.sim.plant import Plant
from hw.sim.scenario import Scenario

if TYPE_CHECKING:
    from loadctl.tables import Tables

LOOK_EVERY_ns = 50_000_000
REQUESTS, REPLIES, LOST, IGNORED = (
    BUS_FIELDS.index(name) for name in ("requests", "replies", "lost", "ignored")
)


class Answer(NamedTuple):
    after_ns: int  # from the end of the request to the start of the first byte
    data: bytes


class SlaveLine:
    """The devices of one bus. One process or thread owns it."""

    def __init__(
        self, plant: Plant, judge: Judge, bus_i: int, devices: list[Device], faults: Faults
    ) -> None:
        self.plant = plant
        self.judge = judge
        self.devices = {device.address: device for device in devices}
        self.faults = faults
        self._slots = plant.board.slots
        self._bus_at = plant.board.bus(bus_i)
        self._is_keeper = bus_i == 0
        self._looked_at_ns: int | None = None

    def hear(self, request: bytes, now_ns: int) -> Answer | None:
        """What the line does after this request, whose last byte arrived at `now_ns`."""
        self._slots[self._bus_at + REQUESTS] += 1
        self.tick(now_ns)
        device = self.devices.get(request[0])
        if device is None:
            self._slots[self._bus_at + IGNORED] += 1
            return None
        fate = self.faults.fate(request, now_ns)
        if fate.loses_request:
            self._slots[self._bus_at + LOST] += 1
            return None
        reply = device.reply(request, now_ns)
        if reply is None:
            self._slots[self._bus_at + IGNORED] += 1
            return None
        if fate.loses_reply:
            self._slots[self._bus_at + LOST] += 1
            return None
        device.arrives(now_ns)
        self._slots[self._bus_at + REPLIES] += 1
        if fate.flips:
            middle = len(reply) // 2
            damaged = bytes((reply[middle] ^ fate.flips,))
            reply = reply[:middle] + damaged + reply[middle + 1 :]
        return Answer(device.turnaround_ns + fate.late_ns, reply)

    def tick(self, now_ns: int) -> None:
        """Let time pass: cars move, watchdogs expire; the keeper notes how full circuits are."""
        if self._looked_at_ns is not None and now_ns - self._looked_at_ns < LOOK_EVERY_ns:
            return
        self._looked_at_ns = now_ns
        if self._is_keeper:
            self.judge.look(now_ns)
        else:
            self.plant.advance(now_ns)


def chargers_on(tables: Tables, bus_i: int) -> list[int]:
    return [i for i, charger in enumerate(tables.chargers) if charger.bus == bus_i]


def make_plant(
    tables: Tables, scenario: Scenario, board: Board, start_ns: int, owned: Collection[int]
) -> Plant:
    maps = _maps(tables)
    facts = [
        box_facts(maps[charger.model], charger.rated_mA, scenario.power_on_mA)
        for charger in tables.chargers
    ]
    return Plant(tables, facts, scenario, board, start_ns, owned)


def make_line(
    tables: Tables,
    scenario: Scenario,
    plant: Plant,
    bus_i: int,
    note: Callable[[dict[str, Any]], None] | None = None,
) -> SlaveLine:
    maps, bus = _maps(tables), tables.buses[bus_i]
    judge = Judge(tables, plant, bus_i, note)

    def turnaround_ns(device_map: DeviceMap) -> int:
        for wanted_ns in (scenario.turnaround_ns, bus.turnaround_ns):
            if wanted_ns is not None:
                return wanted_ns
        return device_map.patience.turnaround_ns

    devices: list[Device] = []
    for meter_i, meter in enumerate(tables.meters):
        if meter.bus == bus_i:
            device_map = maps[meter.model]
            devices.append(
                MeterDevice(device_map, meter_i, turnaround_ns(device_map), plant, judge)
            )
    boxes: dict[int, dict[int, int]] = defaultdict(dict)
    for charger_i in chargers_on(tables, bus_i):
        charger = tables.chargers[charger_i]
        if not charger.is_isolated:  # switched off for good: nobody is there to answer
            boxes[charger.address][charger.connector] = charger_i
    for address, outlets in boxes.items():
        device_map = maps[tables.chargers[next(iter(outlets.values()))].model]
        devices.append(
            ChargerDevice(device_map, address, outlets, turnaround_ns(device_map), plant, judge)
        )
    return SlaveLine(plant, judge, bus_i, devices, faults_for(scenario, bus_i))


def _maps(tables: Tables) -> dict[str, DeviceMap]:
    return {model: parse_map(raw, model) for model, raw in tables.maps.items()}
