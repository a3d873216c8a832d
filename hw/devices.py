"""Devices as data: what to send to a device and what its bytes mean, from its map.

The door to device maps for the rest of the program: rows, loader, exchanges, decoding. Never
touches a wire and knows no clock. Anything that a charger's own table does not hold is refused
before it becomes a frame. A fact about a device stands in its file under `hw/maps/`, with its
source and confidence, and nowhere in code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from hw.device_map import (
    CHARGER,
    FED_BY,
    FED_BY_ANY,
    FED_BY_KICK,
    FED_BY_READS,
    FED_BY_WRITES,
    METER,
    Block,
    DeviceMap,
    Fallback,
    Place,
    Preset,
    Setpoint,
    Triple,
    Watchdog,
)
from hw.map_file import load_maps, parse_map
from hw.registers import (
    Raw,
    Register,
    believable_range,
    decode_raw,
    encode_raw,
    raw_floor,
    scaled_up,
)
from hw.wire import WRITE_ONE, Exchange, Patience
from loadctl.errors import ConfigError
from loadctl.units import NS_PER_S, A_from_mA

__all__ = [
    "CHARGER",
    "FED_BY",
    "FED_BY_ANY",
    "FED_BY_KICK",
    "FED_BY_READS",
    "FED_BY_WRITES",
    "METER",
    "ArmingStep",
    "Block",
    "ChargerValues",
    "DeviceMap",
    "Fallback",
    "MeterValues",
    "Place",
    "Preset",
    "Register",
    "Setpoint",
    "Step",
    "Watchdog",
    "arming_steps",
    "decode_charger",
    "decode_meter",
    "decode_raw",
    "decode_setpoint",
    "encode_raw",
    "kick_exchange",
    "load_maps",
    "measure_exchanges",
    "parse_map",
    "patience",
    "read_setpoint_exchange",
    "setpoint_exchange",
    "setpoint_floor_mA",
]


class MeterValues(NamedTuple):
    """Per grid phase as wired to the meter. Currents are magnitudes; import power is positive."""

    current_mA: tuple[int, int, int]
    power_W: tuple[int, int, int] | None
    voltage_mV: tuple[int, int, int] | None


class ChargerValues(NamedTuple):
    """What a status block says. `state` is an IEC 61851 letter; absent is None, never 0."""

    state: str | None
    current_mA: tuple[int, int, int] | None  # on the charger's terminals 1, 2, 3
    setpoint_mA: int | None  # what the box says is in force, where a status block holds it


class Step(NamedTuple):
    """One exchange with a name, as lists of them are laid out by the plan and run by the field."""

    what: str
    exchange: Exchange


class ArmingStep(NamedTuple):
    """One register that must hold `expected` before the charger is granted anything: read it, write
    it only when it differs (some registers wear), read it back. `write` is None where it can only
    be checked.
    """

    what: str
    read: Exchange
    expected: bytes
    write: Exchange | None


def patience(
    device_map: DeviceMap, turnaround_ns: int | None = None, timeout_ns: int | None = None
) -> Patience:
    """How long to wait for this device, with the overrides of its bus. Nobody is given up before
    its turnaround.
    """
    own = device_map.patience
    turnaround_ns = own.turnaround_ns if turnaround_ns is None else turnaround_ns
    timeout_ns = own.timeout_ns if timeout_ns is None else timeout_ns
    return own._replace(turnaround_ns=turnaround_ns, timeout_ns=max(timeout_ns, turnaround_ns))


def measure_exchanges(device_map: DeviceMap, address: int, connector: int = 1) -> list[Step]:
    """What is read of a meter in every scan, of a charger as its status; `what` is the block's
    name.
    """
    offset = _offset(device_map, connector)
    return [Step(block.name, _block_read(block, address, offset)) for block in device_map.blocks]


def _block_read(block: Block, address: int, offset: int) -> Exchange:
    at, longer = block.address + offset, None
    if block.alternate_count is not None:
        longer = Exchange(address, block.function, at, block.alternate_count)
    return Exchange(address, block.function, at, block.count, alternate=longer)


def decode_meter(
    device_map: DeviceMap, payload_by_block: Mapping[str, bytes]
) -> MeterValues | None:
    """The values of one meter reading, by block name; None when any of it is missing or cannot be
    true.
    """
    raws = _believed_raws(device_map, payload_by_block)
    if raws is None or len(raws) != len(device_map.blocks) or device_map.current is None:
        return None
    return MeterValues(
        current_mA=_magnitudes(device_map.current, raws),
        power_W=_values(device_map.power, raws),
        voltage_mV=_values(device_map.voltage, raws),
    )


def decode_charger(
    device_map: DeviceMap, payload_by_block: Mapping[str, bytes]
) -> ChargerValues | None:
    """What the status blocks at hand say; None when any of them cannot be true, an unknown state
    included.
    """
    raws = _believed_raws(device_map, payload_by_block)
    if raws is None:
        return None
    state = None
    if device_map.state is not None and device_map.state.block in raws:
        state = device_map.states.get(int(raws[device_map.state.block][device_map.state.nth]))
        if state is None:
            return None
    current = device_map.current
    in_force = device_map.setpoint_in_force
    return ChargerValues(
        state=state,
        current_mA=_magnitudes(current, raws) if current and _is_read(current, raws) else None,
        setpoint_mA=_value(in_force, raws) if in_force and in_force.block in raws else None,
    )


Raws = dict[str, tuple[Raw, ...]]


def _believed_raws(device_map: DeviceMap, payload_by_block: Mapping[str, bytes]) -> Raws | None:
    raws_by_block: Raws = {}
    for block in device_map.blocks:
        payload = payload_by_block.get(block.name)
        if payload is None:
            continue
        if block.alternate_count is not None and len(payload) == 2 * block.alternate_count:
            payload = payload[: 2 * block.count]
        raws = block.decoder.raws(payload)
        if raws is None:
            return None
        raws_by_block[block.name] = raws
    return raws_by_block


def _is_read(triple: Triple, raws: Raws) -> bool:
    return all(place.block in raws for place in triple)


def _value(place: Place, raws: Raws) -> int:
    return scaled_up(raws[place.block][place.nth], place.num, place.den)


def _values(triple: Triple | None, raws: Raws) -> tuple[int, int, int] | None:
    if triple is None:
        return None
    first, second, third = triple
    return _value(first, raws), _value(second, raws), _value(third, raws)


def _magnitudes(triple: Triple, raws: Raws) -> tuple[int, int, int]:
    """Currents heat a cable in either direction. The sign goes before rounding, so that both round
    up.
    """
    first, second, third = triple
    return _magnitude(first, raws), _magnitude(second, raws), _magnitude(third, raws)


def _magnitude(place: Place, raws: Raws) -> int:
    return scaled_up(abs(raws[place.block][place.nth]), place.num, place.den)


def setpoint_floor_mA(device_map: DeviceMap, wanted_mA: int) -> int:
    """The highest setpoint of the charger's table that is not above `wanted_mA`; 0 is a pause."""
    setpoint = _setpoint(device_map)
    if wanted_mA < setpoint.min_mA:
        return 0
    return min(wanted_mA, setpoint.max_mA) // setpoint.step_mA * setpoint.step_mA


def setpoint_exchange(
    device_map: DeviceMap, address: int, connector: int, setpoint_mA: int
) -> Exchange:
    """The write of a setpoint, rounded down to the charger's step; 0 becomes its pause value.

    Deny by default: anything else than 0 or the table's range raises ConfigError and is never a
    frame.
    """
    setpoint = _setpoint(device_map)
    if setpoint_mA == 0:
        raw = setpoint.pause_raw
    elif setpoint.min_mA <= setpoint_mA <= setpoint.max_mA:
        value = Fraction(setpoint_floor_mA(device_map, setpoint_mA), 1000)
        raw = raw_floor(setpoint.register, value)
    else:
        raise ConfigError(
            f"{device_map.id}: setpoint {A_from_mA(setpoint_mA)} A is neither 0 nor within "
            f"{A_from_mA(setpoint.min_mA)} to {A_from_mA(setpoint.max_mA)} A"
        )
    return _write(device_map, address, connector, setpoint.register, raw)


def read_setpoint_exchange(device_map: DeviceMap, address: int, connector: int) -> Exchange | None:
    """The read of the setpoint register; None where it cannot be read."""
    register = _setpoint(device_map).register
    if not register.read_function:
        return None
    return _read(device_map, address, connector, register)


def decode_setpoint(device_map: DeviceMap, payload: bytes) -> int | None:
    """The setpoint that stands in the register, rounded up: the box may allow this much. None:
    cannot be true.

    It can lie off the table (something else may have written it): `setpoint_floor_mA` before
    writing it again.
    """
    setpoint = _setpoint(device_map)
    register = setpoint.register
    if len(payload) != 2 * register.count:
        return None
    raw = decode_raw(register, payload)
    if raw == setpoint.pause_raw:
        return 0
    if raw == 0:
        return None  # a box with a pause value of its own may mean "no limit" by 0
    low, high = believable_range(register)
    if not low <= raw <= high:
        return None
    value_mA = Fraction(raw) * register.scale * 1000
    return math.ceil(value_mA)


def kick_exchange(device_map: DeviceMap, address: int, connector: int) -> Exchange | None:
    """The write that feeds a kicked watchdog; None where it is fed otherwise."""
    watchdog = device_map.watchdog
    if watchdog is None or watchdog.kick is None:
        return None
    return _write(device_map, address, connector, watchdog.kick, watchdog.kick_raw)


def arming_steps(
    device_map: DeviceMap, address: int, connector: int, fallback_mA: int
) -> list[ArmingStep]:
    """What must stand in the charger before it is granted anything: presets, fallback current,
    watchdog time.

    The fallback goes before the time, so that a watchdog that is switched on finds the right
    current.
    """
    wanted = [(preset.register, preset.register, preset.raw) for preset in device_map.presets]
    fallback, watchdog = device_map.fallback, device_map.watchdog
    if fallback is not None and fallback.register is not None:
        raw = _fallback_raw(device_map, fallback, fallback_mA)
        wanted.append((fallback.register, fallback.read_back or fallback.register, raw))
    if watchdog is not None and watchdog.register is not None:
        time_s = Fraction(watchdog.timeout_ns, NS_PER_S)
        raw = raw_floor(watchdog.register, time_s)
        wanted.append((watchdog.register, watchdog.read_back or watchdog.register, raw))
    return [
        ArmingStep(
            what=register.name,
            read=_read(device_map, address, connector, read_back),
            expected=encode_raw(read_back, raw),
            write=_write(device_map, address, connector, register, raw)
            if register.write_function
            else None,
        )
        for register, read_back, raw in wanted
    ]


def _fallback_raw(device_map: DeviceMap, fallback: Fallback, fallback_mA: int) -> Raw:
    if fallback_mA == 0:
        return fallback.pause_raw
    if fallback.register is None or not fallback.min_mA <= fallback_mA <= fallback.max_mA:
        raise ConfigError(
            f"{device_map.id}: fallback {A_from_mA(fallback_mA)} A is neither 0 nor within "
            f"{A_from_mA(fallback.min_mA)} to {A_from_mA(fallback.max_mA)} A"
        )
    return raw_floor(fallback.register, Fraction(fallback_mA, 1000))


def _setpoint(device_map: DeviceMap) -> Setpoint:
    if device_map.setpoint is None:
        raise ConfigError(f"{device_map.id}: a {device_map.kind} takes no setpoint")
    return device_map.setpoint


def _offset(device_map: DeviceMap, connector: int) -> int:
    if not 1 <= connector <= device_map.n_connectors:
        raise ConfigError(
            f"{device_map.id}: connector {connector} is not within 1 to {device_map.n_connectors}"
        )
    return (connector - 1) * device_map.connector_stride


def _read(device_map: DeviceMap, address: int, connector: int, register: Register) -> Exchange:
    at = register.address + _offset(device_map, connector)
    return Exchange(address, register.read_function, at, register.count)


def _write(
    device_map: DeviceMap, address: int, connector: int, register: Register, raw: Raw
) -> Exchange:
    at = register.address + _offset(device_map, connector)
    count = 1 if register.write_function == WRITE_ONE else register.count
    return Exchange(address, register.write_function, at, count, encode_raw(register, raw))
