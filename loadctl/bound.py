"""How long a takeover may take: from the last heartbeat of the scan until every charger was told
its failsafe current.

Owns that sum for each bus, and which ports the guard can hold at all. The guard stays silent for as
long as it says, `check` prints it. Arithmetic only: no I/O, no clock.

detect    missed_limit periods without a heartbeat
reap      the killed scan is waited for, then the guard goes on regardless
silence   a reply that was on its way is over, and every device has had its gap
writes    one setpoint to each charger, its kick included, every one given up
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.devices import (
    DeviceMap,
    arming_steps,
    kick_exchange,
    measure_exchanges,
    patience,
    read_setpoint_exchange,
    setpoint_exchange,
)
from hw.reads import ways_to_read
from hw.wire import Exchange, Line, Patience, failed_ns
from loadctl.tables import BusRow, ChargerRow, MeterRow, Tables
from loadctl.units import NS_PER_MS

REAP_ns = 50 * NS_PER_MS  # a killed process that is not gone by then may hang in a driver

# An open descriptor of these can be handed from process to process; the others live in one process.
SHARED_SCHEMES = ("", "socket")


@dataclass(frozen=True, slots=True)
class BusBound:
    """The takeover of one bus; buses are taken over side by side."""

    bus: int
    detect_ns: int
    reap_ns: int
    silence_ns: int
    writes_ns: int

    @property
    def total_ns(self) -> int:
        return self.detect_ns + self.reap_ns + self.silence_ns + self.writes_ns


def takeover_bounds(tables: Tables, maps: dict[str, DeviceMap]) -> tuple[BusBound, ...]:
    """The bound of each bus, in the order of the tables."""
    return tuple(_bus_bound(tables, maps, bus_i) for bus_i in range(len(tables.buses)))


def is_shared(port: str) -> bool:
    """Whether the guard can hold this port beside the scan, and so write to it when the scan is
    gone."""
    scheme, found, _ = port.partition("://")
    return (scheme.lower() if found else "") in SHARED_SCHEMES


def _bus_bound(tables: Tables, maps: dict[str, DeviceMap], bus_i: int) -> BusBound:
    row = tables.buses[bus_i]
    line = Line(row.baud, row.frame)
    meters = [meter for meter in tables.meters if meter.bus == bus_i]
    chargers = [c for c in tables.chargers if c.bus == bus_i and not c.is_isolated]
    devices: list[MeterRow | ChargerRow] = [*meters, *chargers]
    waits = [_patience(row, maps[device.model]) for device in devices]
    replies_ns = [
        wait.turnaround_ns + line.bytes_ns((exchange.alternate or exchange).reply_bytes)
        for device, wait in zip(devices, waits, strict=True)
        for exchange in _everything_said(device, maps[device.model])
    ]
    gap_ns = max((wait.gap_ns for wait in waits), default=0)
    return BusBound(
        bus=bus_i,
        detect_ns=tables.site.missed_limit * tables.site.period_ns,
        reap_ns=REAP_ns,
        silence_ns=max(replies_ns, default=0) + max(gap_ns, line.silent_ns),
        writes_ns=_writes_ns(row, line, chargers, waits, maps),
    )


def _writes_ns(
    row: BusRow,
    line: Line,
    chargers: list[ChargerRow],
    waits: list[Patience],
    maps: dict[str, DeviceMap],
) -> int:
    """Every write given up. A gap that the bus wants stands before each, one of a device before a
    further message to the same address."""
    bus_gap_ns = max((wait.gap_ns for wait in waits if wait.gap_on_bus), default=0)
    total_ns = 0
    told: set[int] = set()
    for charger in chargers:
        wait = _patience(row, maps[charger.model])
        for exchange in _told(charger, maps[charger.model]):
            gap_ns = max(bus_gap_ns, wait.gap_ns if charger.address in told else 0)
            total_ns += max(0, gap_ns - line.silent_ns)
            total_ns += failed_ns(line, exchange, wait.timeout_ns)
            told.add(charger.address)
    return total_ns


def _told(charger: ChargerRow, device_map: DeviceMap) -> list[Exchange]:
    """What a takeover sends to one charger: its setpoint, and the kick that its watchdog wants."""
    kick = kick_exchange(device_map, charger.address, charger.connector)
    write = setpoint_exchange(device_map, charger.address, charger.connector, 0)
    return [write] if kick is None else [write, kick]


def _everything_said(device: MeterRow | ChargerRow, device_map: DeviceMap) -> list[Exchange]:
    """Every exchange that the scan may have had under way with a device when it died."""
    connector = 1 if isinstance(device, MeterRow) else device.connector
    address = device.address
    said = [
        step.exchange
        for way in ways_to_read(device_map)
        for step in measure_exchanges(way, address, connector)
    ]
    if isinstance(device, MeterRow):
        return said
    for step in arming_steps(device_map, address, connector, device.fallback_mA):
        said += [step.read] if step.write is None else [step.read, step.write]
    read = read_setpoint_exchange(device_map, address, connector)
    return [*said, *_told(device, device_map)] + ([] if read is None else [read])


def _patience(row: BusRow, device_map: DeviceMap) -> Patience:
    return patience(device_map, row.turnaround_ns, row.timeout_ns)
