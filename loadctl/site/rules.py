"""What the tables of a site file must agree on: names, the tree of circuits, addresses, maps.

Each function takes the tables that are valid by themselves and adds every broken rule to the
problems. Broken tables still count as names, so that one mistake does not make others appear.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

from hw.devices import CHARGER, METER, DeviceMap
from loadctl.site.model import BusTable, ChargerTable, CircuitTable, MeterTable
from loadctl.site.places import Path
from loadctl.site.problems import (
    Problems,
    nearest,
    number_text,
    quoted,
    shown,
    unknown_name_text,
)
from loadctl.units import PHASE_NAMES, A_from_mA, mA_from_A_ceil, mA_from_A_floor

# What pyserial opens; the first two are looked for on a network.
PORT_SCHEMES_OF_HOSTS = ("socket", "rfc2217")
PORT_SCHEMES = (*PORT_SCHEMES_OF_HOSTS, "hwgrep", "spy", "alt", "loop", "cp2110")


@dataclass(slots=True)
class Draft:
    """A site file on its way: all names that it holds, and the tables that are valid."""

    names: dict[str, list[str]]  # by kind of table, broken ones too
    raw: dict[str, Any]
    buses: dict[str, BusTable]
    circuits: dict[str, CircuitTable]
    meters: dict[str, MeterTable]
    chargers: dict[str, ChargerTable]
    maps: dict[str, DeviceMap]  # by model, those in use
    models: list[str]  # every model that there is
    lost: set[str]  # kinds whose tables stand where they cannot be found, which is told already

    def lacks(self, kind: str, name: str) -> bool:
        """Whether this name is certainly none of the file's."""
        return kind not in self.lost and name not in self.names[kind]


def check_all(draft: Draft, problems: Problems) -> None:
    """Every rule that needs more than one table."""
    check_presence(draft, problems)
    check_ports(draft, problems)
    check_tree(draft, problems)
    check_circuits(draft, problems)
    check_meters(draft, problems)
    for name, charger in draft.chargers.items():
        check_charger(name, charger, draft, problems)
    check_addresses(draft, problems)


def check_presence(draft: Draft, problems: Problems) -> None:
    for kind in ("bus", "circuit", "charger"):
        if kind in draft.lost:
            continue
        if not draft.names[kind] and kind not in draft.raw:
            problems.add((kind,), f"missing; a site needs at least one [{kind}.NAME]")
        elif not draft.names[kind] and draft.raw[kind] == {}:
            problems.add((kind,), f"empty; a site needs at least one [{kind}.NAME]")


def check_ports(draft: Draft, problems: Problems) -> None:
    owner: dict[str, str] = {}
    for name, bus in draft.buses.items():
        wrong = port_text(bus.port)
        if wrong:
            problems.add(("bus", name, "port"), wrong)
        if bus.port in owner:
            text = f"{quoted(bus.port)} is the port of bus.{owner[bus.port]} already"
            problems.add(("bus", name, "port"), text)
        owner.setdefault(bus.port, name)
        if (
            bus.timeout_ms is not None
            and bus.turnaround_ms is not None
            and bus.timeout_ms < bus.turnaround_ms
        ):
            least = f"turnaround_ms, {number_text(bus.turnaround_ms)} ms"
            text = f"{number_text(bus.timeout_ms)} ms is below {least}"
            problems.add(("bus", name, "timeout_ms"), text)


def port_text(port: str) -> str:
    """What is wrong with a port, as far as can be told without opening it; "" for nothing."""
    if not port.isprintable() or port != port.strip():
        return f"{shown(port)} is no port: spaces around it, or characters that cannot be printed"
    scheme, has_scheme, place = port.partition("://")
    if not has_scheme:
        return f"{quoted(port)} is a directory, no port" if FilePath(port).is_dir() else ""
    if scheme.lower() not in PORT_SCHEMES:
        return unknown_name_text("kind of port", f"{scheme}://", [f"{s}://" for s in PORT_SCHEMES])
    if scheme.lower() in PORT_SCHEMES_OF_HOSTS and not _is_host_and_port(place):
        return f"{quoted(port)} lacks a host or a port: write {scheme}://10.0.0.7:4001"
    return ""


def _is_host_and_port(place: str) -> bool:
    try:
        parts = urlsplit(f"//{place}")
        return bool(parts.hostname) and parts.port is not None and parts.port > 0
    except ValueError:  # a port that is no number up to 65535
        return False


def check_tree(draft: Draft, problems: Problems) -> None:
    """Parents exist, no circle, exactly one root."""
    parents = _raw_parents(draft)
    for name, parent in parents.items():
        if parent is not None and parent not in parents:
            others = [known for known in parents if known != name]
            text = unknown_name_text("circuit", parent, others)
            problems.add(("circuit", name, "parent"), text)
    for circle in _circles(parents):
        way = " -> ".join([*circle, circle[0]])
        problems.add(("circuit", circle[0], "parent"), f"a circle of parents: {way}")
    roots = [name for name, parent in parents.items() if parent is None and name in draft.circuits]
    for name in roots[1:]:
        text = f"has no parent, and neither has {roots[0]}; exactly one circuit is the root"
        problems.add(("circuit", name), text)


def check_circuits(draft: Draft, problems: Problems) -> None:
    meter_of: dict[str, str] = {}
    for name, circuit in draft.circuits.items():
        path: Path = ("circuit", name)
        if circuit.mode == "dynamic" and circuit.meter is None:
            problems.add((*path, "meter"), 'missing; mode = "dynamic" needs one')
        if circuit.meter is not None:
            if draft.lacks("meter", circuit.meter):
                text = unknown_name_text("meter", circuit.meter, draft.names["meter"])
                problems.add((*path, "meter"), text)
            elif circuit.meter in meter_of:
                other = meter_of[circuit.meter]
                text = f'"{circuit.meter}" measures circuit.{other}; a meter measures one circuit'
                problems.add((*path, "meter"), text)
            meter_of.setdefault(circuit.meter, name)
        if circuit.counts_export and not _tells_direction(circuit.meter, draft):
            text = f'needs a meter that measures signed power; "{circuit.meter}" measures none'
            problems.add((*path, "counts_export"), text)
        check_external(path, circuit, problems)
        if circuit.fuse is not None:
            for phase_name, limit_A in zip(PHASE_NAMES, circuit.limit_A, strict=True):
                if limit_A > circuit.fuse.rated_A:
                    most = f"fuse.rated_A, {number_text(circuit.fuse.rated_A)} A"
                    text = f"{phase_name}: {number_text(limit_A)} A is above {most}"
                    problems.add((*path, "limit_A"), text)
                    break


def check_external(path: Path, circuit: CircuitTable, problems: Problems) -> None:
    """What counts when nothing is heard from outside is chosen, and within the circuit's own."""
    external = circuit.external
    if external is None:
        if circuit.enwg14a:
            text = "true needs external = { at_loss_kW = ... }: what counts when nothing is heard"
            problems.add((*path, "enwg14a"), text)
        return
    path = (*path, "external")
    if external.at_loss_A is None and external.at_loss_kW is None:
        text = "lacks at_loss_A or at_loss_kW: what counts when nothing is heard; 0 stops charging"
        problems.add(path, text)
    for phase_name, loss_A, limit_A in zip(
        PHASE_NAMES, external.at_loss_A or [], circuit.limit_A, strict=False
    ):
        if loss_A > limit_A:
            most = f"limit_A, {number_text(limit_A)} A"
            text = f"{phase_name}: {number_text(loss_A)} A is above {most}"
            problems.add((*path, "at_loss_A"), text)
            break
    if (
        external.at_loss_kW is not None
        and circuit.limit_kW is not None
        and external.at_loss_kW > circuit.limit_kW
    ):
        most = f"limit_kW, {number_text(circuit.limit_kW)} kW"
        text = f"{number_text(external.at_loss_kW)} kW is above {most}"
        problems.add((*path, "at_loss_kW"), text)


def check_meters(draft: Draft, problems: Problems) -> None:
    for name, meter in draft.meters.items():
        _check_device(("meter", name), meter, METER, draft, problems)


def check_charger(name: str, charger: ChargerTable, draft: Draft, problems: Problems) -> None:
    path: Path = ("charger", name)
    if draft.lacks("circuit", charger.circuit):
        text = unknown_name_text("circuit", charger.circuit, draft.names["circuit"])
        problems.add((*path, "circuit"), text)
    if len(set(charger.phases)) < len(charger.phases):
        written = ", ".join(charger.phases)
        text = f"{written}: each phase at most once; one phase, or an order of L1, L2, L3"
        problems.add((*path, "phases"), text)
    _check_order(path, charger, problems)
    device_map = _check_device(path, charger, CHARGER, draft, problems)
    if device_map is not None:
        _check_against_map(path, charger, device_map, problems)


def check_addresses(draft: Draft, problems: Problems) -> None:
    """One address of a bus is one device; the outlets of one charger share it."""
    taken: dict[tuple[str, int], list[tuple[Path, ChargerTable | None]]] = {}
    devices: list[tuple[Path, MeterTable | ChargerTable]] = [
        *((("meter", name), meter) for name, meter in draft.meters.items()),
        *((("charger", name), charger) for name, charger in draft.chargers.items()),
    ]
    for path, device in devices:
        charger = device if isinstance(device, ChargerTable) else None
        others = taken.setdefault((device.bus, device.address), [])
        for other_path, other in others:
            where = f'address {device.address} of bus "{device.bus}"'
            whose = ".".join(map(str, other_path))
            if charger is None or other is None:
                problems.add((*path, "address"), f"{where} is taken by {whose}")
            elif charger.model != other.model:
                text = f"{where} is a {other.model} by {whose}, here a {charger.model}"
                problems.add((*path, "address"), text)
            elif charger.connector == other.connector:
                text = f"{where}, connector {charger.connector} is taken by {whose}"
                problems.add((*path, "address"), text)
            else:
                continue
            break
        others.append((path, charger))


def _check_device(
    path: Path, device: MeterTable | ChargerTable, kind: str, draft: Draft, problems: Problems
) -> DeviceMap | None:
    """Bus and model exist and go together; the map, where there is one of the right kind."""
    if draft.lacks("bus", device.bus):
        text = unknown_name_text("bus", device.bus, draft.names["bus"])
        problems.add((*path, "bus"), text)
    device_map = draft.maps.get(device.model)
    if device_map is None:
        meant = nearest(device.model, draft.models)
        hint = f'the nearest is "{meant}"' if meant else f"known: {', '.join(draft.models)}"
        problems.add((*path, "model"), f"there is no model {quoted(device.model)}; {hint}")
        return None
    if device_map.kind != kind:
        problems.add((*path, "model"), f'"{device.model}" is a {device_map.kind}, no {kind}')
        return None
    lowest, highest = device_map.addresses
    if not lowest <= device.address <= highest:
        text = f"{device.address} is not within {lowest} to {highest}, which {device.model} takes"
        problems.add((*path, "address"), text)
    bus = draft.buses.get(device.bus)
    if bus is not None:
        _check_line(path, device, bus, device_map, problems)
    return device_map


def _check_line(
    path: Path,
    device: MeterTable | ChargerTable,
    bus: BusTable,
    device_map: DeviceMap,
    problems: Problems,
) -> None:
    """The one speed and frame of a bus must suit every device on it."""
    if bus.baud not in device_map.bauds:
        takes = ", ".join(map(str, sorted(device_map.bauds)))
        text = f'bus "{device.bus}" runs at {bus.baud} baud; {device.model} takes {takes}'
        problems.add((*path, "bus"), text)
    if bus.frame not in device_map.frames:
        takes = ", ".join(device_map.frames)
        text = f'bus "{device.bus}" has frame {bus.frame}; {device.model} takes {takes}'
        problems.add((*path, "bus"), text)


def _check_order(path: Path, charger: ChargerTable, problems: Problems) -> None:
    """The currents of one charger among themselves."""
    min_A, max_A = number_text(charger.min_A), number_text(charger.max_A)
    failsafe_A = number_text(charger.failsafe_A)
    if charger.max_A < charger.min_A:
        problems.add((*path, "max_A"), f"{max_A} A is below min_A, {min_A} A")
    if 0 < charger.failsafe_A < charger.min_A:
        text = f"{failsafe_A} A is neither 0 (stop) nor at least min_A, {min_A} A"
        problems.add((*path, "failsafe_A"), text)
    if charger.failsafe_A > charger.max_A:
        problems.add((*path, "failsafe_A"), f"{failsafe_A} A is above max_A, {max_A} A")
    if charger.never_pause and charger.failsafe_A < charger.min_A:
        text = f"{failsafe_A} A is below min_A, {min_A} A; never_pause = true needs it"
        problems.add((*path, "failsafe_A"), text)


def _check_against_map(
    path: Path, charger: ChargerTable, device_map: DeviceMap, problems: Problems
) -> None:
    """What the model can be told and what its hardware carries."""
    setpoint = device_map.setpoint
    assert setpoint is not None, "the map of a charger has a setpoint"
    model = charger.model
    if charger.connector > device_map.n_connectors:
        text = f"{charger.connector} is above {device_map.n_connectors}, all that {model} has"
        problems.add((*path, "connector"), text)
    rated_mA = device_map.rated_mA
    if charger.rated_A is not None:
        own_mA = mA_from_A_floor(charger.rated_A)
        if rated_mA is not None and own_mA > rated_mA:
            most = f"{number_text(A_from_mA(rated_mA))} A, the rating of {model}"
            text = f"{number_text(charger.rated_A)} A is above {most}"
            problems.add((*path, "rated_A"), text)
        rated_mA = own_mA
    if rated_mA is None:
        text = f"missing; the map of {model} does not say what its hardware is rated for"
        problems.add((*path, "rated_A"), text)
    elif mA_from_A_floor(charger.max_A) > rated_mA:
        most = f"{number_text(A_from_mA(rated_mA))} A, what the hardware is rated for"
        problems.add((*path, "max_A"), f"{number_text(charger.max_A)} A is above {most}")
    if mA_from_A_ceil(charger.min_A) < setpoint.min_mA:
        least = f"{number_text(A_from_mA(setpoint.min_mA))} A, the least that {model} takes"
        problems.add((*path, "min_A"), f"{number_text(charger.min_A)} A is below {least}")
    if mA_from_A_floor(charger.max_A) > setpoint.max_mA:
        most = f"{number_text(A_from_mA(setpoint.max_mA))} A, the most that {model} takes"
        problems.add((*path, "max_A"), f"{number_text(charger.max_A)} A is above {most}")
    for key in ("min_A", "max_A", "failsafe_A"):
        value_A = getattr(charger, key)
        on_grid = mA_from_A_floor(value_A) % setpoint.step_mA == 0
        if not on_grid or mA_from_A_floor(value_A) != mA_from_A_ceil(value_A):
            step_A = number_text(A_from_mA(setpoint.step_mA))
            text = f"{number_text(value_A)} A is no multiple of {step_A} A, the step of {model}"
            problems.add((*path, key), text)


def _tells_direction(meter_name: str | None, draft: Draft) -> bool:
    """Whether this meter can say that power flows back; a broken one is told elsewhere."""
    if meter_name is None:
        return False
    meter = draft.meters.get(meter_name)
    device_map = None if meter is None else draft.maps.get(meter.model)
    return device_map is None or device_map.power is not None


def _raw_parents(draft: Draft) -> dict[str, str | None]:
    """Every circuit's parent as written, so that a circuit with another mistake keeps its place."""
    parents: dict[str, str | None] = {}
    for name in draft.names["circuit"]:
        table = draft.raw["circuit"][name]
        if isinstance(table, dict):
            parent = table.get("parent")
            parents[name] = parent if isinstance(parent, str) else None
    return parents


def _circles(parents: dict[str, str | None]) -> list[list[str]]:
    """Each circle of parents once, beginning with its first circuit in the file."""
    circles: list[list[str]] = []
    seen: set[str] = set()
    for start in parents:
        way: list[str] = []
        at: str | None = start
        while at is not None and at in parents and at not in seen:
            seen.add(at)
            way.append(at)
            at = parents[at]
        if at is not None and at in way:
            circle = way[way.index(at) :]
            first = min(range(len(circle)), key=lambda i: list(parents).index(circle[i]))
            circles.append(circle[first:] + circle[:first])
    return circles
