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
from hw.sim.charger import ChargerDevice, box_facts
from hw.sim.device import Device
from hw.sim.fault import Fault, names_of
from hw.sim.faults import Faults, faults_for
from hw.sim.judge import Judge
from hw.sim.meter import MeterDevice
from hw.sim.plant import Plant
from hw.sim.scenario import Scenario
from hw.sim.troubles import Troubles, spoiled

if TYPE_CHECKING:
    from loadctl.tables import Tables

LOOK_EVERY_ns = 50_000_000
REFUSAL_BIT = 0x80
REQUESTS, REPLIES, LOST, IGNORED = (
    BUS_FIELDS.index(name) for name in ("requests", "replies", "lost", "ignored")
)


class Answer(NamedTuple):
    after_ns: int  # from the end of the request to the start of the first byte
    data: bytes


class SlaveLine:
    """The devices of one bus. One process or thread owns it. `faults` are of every exchange by
    itself, `troubles` those that begin and end. `note_write` is told of every setpoint write."""

    def __init__(
        self,
        plant: Plant,
        judge: Judge,
        bus_i: int,
        devices: list[Device],
        faults: Faults,
        troubles: Troubles,
        note_write: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.plant = plant
        self.judge = judge
        self.devices = {device.address: device for device in devices}
        self.faults = faults
        self.troubles = troubles
        self._note_write = note_write
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
        fate = self.troubles.fate(device.names, self.faults.fate(request, now_ns))
        is_deaf = fate.loses_request or device.is_off
        reply = None if is_deaf else device.reply(request, now_ns)
        if self._note_write is not None:
            is_good = reply is not None and not fate.spoils_reply and not reply[1] & REFUSAL_BIT
            self._tell_writes(device, request, now_ns, is_good)
        if reply is None:
            self._slots[self._bus_at + (LOST if is_deaf else IGNORED)] += 1
            return None
        if fate.loses_reply:
            self._slots[self._bus_at + LOST] += 1
            return None
        if not fate.spoils_reply:
            device.arrives(now_ns)
        self._slots[self._bus_at + REPLIES] += 1
        return Answer(device.turnaround_ns + fate.late_ns, spoiled(reply, fate))

    def _tell_writes(self, device: Device, request: bytes, now_ns: int, is_good: bool) -> None:
        for charger_i, setpoint_mA in device.setpoints_in(request):
            entry = {
                "at_ns": now_ns,
                "charger": self.plant.tables.chargers[charger_i].name,
                "setpoint_mA": setpoint_mA,
                "acknowledged": is_good,
            }
            if self._note_write is not None:
                self._note_write(entry)

    def inject(self, fault: Fault, now_ns: int) -> None:
        """Let a fault begin, `fault.at_ns` from now."""
        self.troubles.add(fault, now_ns)
        self.troubles.advance(now_ns)

    def clear(self, who: str, kind: str, now_ns: int) -> None:
        self.troubles.clear(who, kind, now_ns)

    def tick(self, now_ns: int) -> None:
        """Let time pass: faults begin and end, cars move, watchdogs expire; the keeper notes how
        full circuits are."""
        self.troubles.advance(now_ns)
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
    note_write: Callable[[dict[str, Any]], None] | None = None,
) -> SlaveLine:
    """`note` is told what the judge sees and when faults begin and end."""
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
                MeterDevice(
                    device_map, meter_i, turnaround_ns(device_map), plant, judge, scenario.seed
                )
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
    troubles = Troubles(devices, scenario.seed * 1_000 + bus_i, note)
    names = names_of(tables)
    for fault in scenario.faults:
        if names[fault.who] == bus_i:
            troubles.add(fault, plant.start_ns)
    faults = faults_for(scenario, bus_i)
    return SlaveLine(plant, judge, bus_i, devices, faults, troubles, note_write)


def _maps(tables: Tables) -> dict[str, DeviceMap]:
    return {model: parse_map(raw, model) for model, raw in tables.maps.items()}
