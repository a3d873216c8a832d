"""What one slot of the bus plan costs: worst-case times of exchanges, and the rates they must keep.

Owns the step from rows and device maps to times on one bus. Arithmetic only: no I/O, no clock;
`loadctl/plan.py` adds the slots up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from hw.devices import DeviceMap, kick_exchange, measure_exchanges, patience, setpoint_exchange
from hw.reads import ways_to_read
from hw.wire import Exchange, Line, Patience, exchange_ns, failed_ns, patience_as
from loadctl.reading import PARTS_ns
from loadctl.tables import BusRow, ChargerRow, MeterRow, Tables
from loadctl.units import NS_PER_S, ms_from_ns

STATUS_AGE_MAX_ns = 2 * NS_PER_S  # what the estimate of background rests on
REFRESH_PART = 3  # an unchanged setpoint is written again within this part of the watchdog time


@dataclass(frozen=True, slots=True)
class Slot:
    """What one device needs for one purpose: silence, gaps, request, turnaround, reply."""

    what: str  # "meter grid", "setpoint bay1", "status bay1", "probe"
    worst_ns: int  # of a well device
    failed_ns: int  # of one that is given up
    n_exchanges: int = 1


@dataclass(frozen=True, slots=True)
class BusSlots:
    """Everything that may be said on one bus, with its time; nothing of it is laid out yet."""

    bus: int
    meter_slots: tuple[Slot, ...]
    status_slots: tuple[Slot, ...]
    setpoint_slots: tuple[Slot, ...]
    device_gap_ns: int  # longest gap that a charger wants between two messages to itself
    refreshes: tuple[tuple[str, int], ...]  # charger, and the time within which it is refreshed
    complaints: tuple[str, ...]


def bus_slots(tables: Tables, maps: dict[str, DeviceMap], bus: int) -> BusSlots:
    """The slots of one bus, in file order. Isolated chargers are never talked to."""
    row = tables.buses[bus]
    meters = [meter for meter in tables.meters if meter.bus == bus]
    chargers = [
        charger for charger in tables.chargers if charger.bus == bus and not charger.is_isolated
    ]
    devices: list[MeterRow | ChargerRow] = [*meters, *chargers]
    waits = {device.name: _patience(row, maps[device.model]) for device in devices}
    bus_gap_ns = max((wait.gap_ns for wait in waits.values() if wait.gap_on_bus), default=0)
    cost = _Cost(Line(row.baud, row.frame), bus_gap_ns)
    statuses = []
    for charger in chargers:
        status = _status_exchanges(charger, maps)
        if status:
            statuses.append(cost.slot(f"status {charger.name}", status, waits[charger.name]))
    measures = [
        cost.slot(f"meter {meter.name}", _meter_exchanges(meter, maps), waits[meter.name])
        for meter in meters
    ]
    return BusSlots(
        bus=bus,
        meter_slots=tuple(measures),
        status_slots=tuple(statuses),
        setpoint_slots=tuple(
            cost.slot(
                f"setpoint {charger.name}", _setpoint_exchanges(charger, maps), waits[charger.name]
            )
            for charger in chargers
        ),
        device_gap_ns=max((_own_gap_ns(waits[charger.name]) for charger in chargers), default=0),
        refreshes=tuple(
            (charger.name, charger.watchdog_ns // REFRESH_PART)
            for charger in chargers
            if charger.watchdog_ns is not None
        ),
        complaints=(
            *_timeout_complaints(row, devices, maps),
            *_spread_complaints(measures, statuses),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """Times on one line; a gap that one device wants from everybody stretches every silence."""

    line: Line
    bus_gap_ns: int

    def slot(self, what: str, exchanges: Sequence[Exchange], wait: Patience) -> Slot:
        """Several exchanges with one device stand apart by its own gap; the first that fails is the
        last. A read in two forms counts in the longer; one that fails is not longer for that.
        """
        stretch_ns = max(0, self.bus_gap_ns - self.line.silent_ns)
        gap_ns = max(0, _own_gap_ns(wait) - self.line.silent_ns)
        spent_ns = 0
        worst_failed_ns = 0
        for i, exchange in enumerate(exchanges):
            before_ns = spent_ns + stretch_ns + (gap_ns if i else 0)
            longest = exchange.alternate or exchange
            timeout_ns = patience_as(self.line, longest, exchange, wait).timeout_ns
            given_up_ns = before_ns + failed_ns(self.line, longest, timeout_ns)
            worst_failed_ns = max(worst_failed_ns, given_up_ns)
            spent_ns = before_ns + exchange_ns(self.line, longest, wait.turnaround_ns)
        return Slot(what, spent_ns, max(spent_ns, worst_failed_ns), len(exchanges))


def _patience(row: BusRow, device_map: DeviceMap) -> Patience:
    return patience(device_map, row.turnaround_ns, row.timeout_ns)


def _own_gap_ns(wait: Patience) -> int:
    return 0 if wait.gap_on_bus else wait.gap_ns


def _meter_exchanges(meter: MeterRow, maps: dict[str, DeviceMap]) -> list[Exchange]:
    usual = ways_to_read(maps[meter.model])[0]
    return [step.exchange for step in measure_exchanges(usual, meter.address)]


def _status_exchanges(charger: ChargerRow, maps: dict[str, DeviceMap]) -> list[Exchange]:
    usual = ways_to_read(maps[charger.model])[0]
    steps = measure_exchanges(usual, charger.address, charger.connector)
    return [step.exchange for step in steps]


def _setpoint_exchanges(charger: ChargerRow, maps: dict[str, DeviceMap]) -> list[Exchange]:
    """The write, and the kick where the watchdog wants one after it."""
    device_map = maps[charger.model]
    kick = kick_exchange(device_map, charger.address, charger.connector)
    write = setpoint_exchange(device_map, charger.address, charger.connector, 0)
    return [write] if kick is None else [write, kick]


def _timeout_complaints(
    row: BusRow, devices: Sequence[MeterRow | ChargerRow], maps: dict[str, DeviceMap]
) -> list[str]:
    if row.timeout_ns is None:
        return []
    found = []
    for device in devices:
        turnaround_ns = _patience(row, maps[device.model]).turnaround_ns
        if row.timeout_ns < turnaround_ns:
            found.append(
                f"timeout_ms: {ms_from_ns(row.timeout_ns):g} ms gives {device.name} up before its"
                f" turnaround of {ms_from_ns(turnaround_ns):g} ms"
            )
    return found


def _spread_complaints(*readings: Sequence[Slot]) -> list[str]:
    return [
        f"{slot.what}: its {slot.n_exchanges} reads take {ms_from_ns(slot.worst_ns):.1f} ms,"
        f" more than {ms_from_ns(PARTS_ns):g} ms: their values would not belong together"
        for slots in readings
        for slot in slots
        if slot.n_exchanges > 1 and slot.worst_ns > PARTS_ns
    ]


def status_per_scan(bus: BusSlots, period_ns: int) -> int:
    """The fewest status blocks a scan that keep every one young enough; the rest is read in spare
    time.
    """
    n_chargers = len(bus.status_slots)
    n_scans = max(1, STATUS_AGE_MAX_ns // period_ns)
    return -(-n_chargers // n_scans)


def refreshes_per_scan(bus: BusSlots, period_ns: int) -> int:
    """Writes a scan that keep every watchdog fed, the most urgent first.

    Writes of equal length with whole scans for deadlines always meet them in that order when the
    sum of their rates fits the slots.
    """
    rate = sum(Fraction(1, max(1, refresh_ns // period_ns)) for _, refresh_ns in bus.refreshes)
    return -(-rate.numerator // rate.denominator) if rate else 0


def gap_before_status_ns(bus: BusSlots, n_status: int, free_before_ns: int) -> int:
    """Wait of a charger that was given something at the very end of the scan before; meters go
    first.
    """
    if not n_status:
        return 0
    meters_ns = sum(slot.failed_ns for slot in bus.meter_slots)
    return max(0, bus.device_gap_ns - free_before_ns - meters_ns)


def gap_before_takes_ns(bus: BusSlots, n_status: int) -> int:
    """Wait for the gap of chargers whose status was just read, when all others are told first.

    Worst case: the shortest statuses were the last thing read and the shortest takes fill the gap.
    """
    if not bus.device_gap_ns or not n_status:
        return 0
    status_ns = min(slot.worst_ns for slot in bus.status_slots)
    takes_ns = sorted(slot.worst_ns for slot in bus.setpoint_slots)
    at_ns = sum(takes_ns[: len(takes_ns) - n_status])
    wait_ns = 0
    for nth in range(n_status):
        ready_ns = bus.device_gap_ns - (n_status - 1 - nth) * status_ns
        wait_ns += max(0, ready_ns - at_ns)
        at_ns = max(at_ns, ready_ns) + takes_ns[len(takes_ns) - n_status + nth]
    return wait_ns
