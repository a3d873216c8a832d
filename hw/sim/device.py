"""Simulated meters and chargers: request bytes in, reply bytes out, made from a device map alone.

Owns the answers of a box in working order: functions 3, 4, 6 and 16, exceptions 1, 2 and 3, silence
to what is not for it or is damaged. Knows no clock and no line; the time comes with each request.
What becomes of a setpoint behind the terminals is the plant's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from hw.device_map import (
    FED_BY_ANY,
    FED_BY_KICK,
    FED_BY_READS,
    FED_BY_WRITES,
    DeviceMap,
    Fallback,
    Place,
)
from hw.registers import Register, decode_raw
from hw.sim.image import RefusalError, Registers
from hw.sim.judge import Judge
from hw.sim.outlet import BoxFacts, Outlet
from hw.sim.plant import Plant, Sample
from hw.sim.rtu import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, is_whole, refusal, with_crc
from hw.wire import READ_FUNCTIONS, WRITE_MANY, WRITE_ONE
from loadctl.units import NS_PER_S

READ_REGISTERS_MAX = 125
WRITE_REGISTERS_MAX = 123


class Device(Protocol):
    """One address on the line."""

    address: int
    turnaround_ns: int

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        """The reply to a whole request for this address; None is silence."""
        ...

    def arrives(self, now_ns: int) -> None:
        """The last reply goes out on the line and is not lost."""
        ...


def answer(device: ModbusDevice, request: bytes, now_ns: int) -> bytes | None:
    """What a slave makes of a frame: silence, an exception, or what the device does."""
    if len(request) < 4 or request[0] != device.address or not is_whole(request):
        return None
    try:
        function = request[1]
        if function in READ_FUNCTIONS and function in device.read_functions:
            body = _read(device, request, now_ns)
        elif function == WRITE_ONE and function in device.write_functions:
            body = _write_one(device, request, now_ns)
        elif function == WRITE_MANY and device.write_functions:
            body = _write_many(device, request, now_ns)
        else:
            raise RefusalError(ILLEGAL_FUNCTION)
    except RefusalError as refused:
        return refusal(request, refused.exception_code)
    return with_crc(body)


def _read(device: ModbusDevice, request: bytes, now_ns: int) -> bytes:
    function, address, count = _numbers(request)
    if not 1 <= count <= READ_REGISTERS_MAX or address + count > 1 << 16:
        raise RefusalError(ILLEGAL_VALUE)
    registers = device.registers_for(function, address, count)
    device.before_read(registers, function, address, count, now_ns)
    return request[:2] + bytes((2 * count,)) + registers.read(function, address, count)


def _write_one(device: ModbusDevice, request: bytes, now_ns: int) -> bytes:
    device.write(int.from_bytes(request[2:4], "big"), request[4:6], now_ns)
    return request[:6]


def _write_many(device: ModbusDevice, request: bytes, now_ns: int) -> bytes:
    _, address, count = _numbers(request)
    data = request[7:-2]
    if not 1 <= count <= WRITE_REGISTERS_MAX or request[6] != 2 * count or len(data) != 2 * count:
        raise RefusalError(ILLEGAL_VALUE)
    device.write(address, data, now_ns)
    return request[:6]


def _numbers(request: bytes) -> tuple[int, int, int]:
    if len(request) < 8:
        raise RefusalError(ILLEGAL_VALUE)
    return request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")


class ModbusDevice:
    """What meters and chargers have in common: an address, register images, functions."""

    def __init__(
        self, device_map: DeviceMap, address: int, turnaround_ns: int, images: list[Registers]
    ) -> None:
        self.map = device_map
        self.address = address
        self.turnaround_ns = turnaround_ns
        self.images = images
        rows = device_map.registers.values()
        self.read_functions = {r.read_function for r in rows} | {
            block.function for block in device_map.blocks
        }
        self.write_functions = {r.write_function for r in rows if r.write_function}

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        return answer(self, request, now_ns)

    def arrives(self, now_ns: int) -> None:
        """Nothing to note."""

    def registers_for(self, function: int, address: int, count: int) -> Registers:
        for image in self.images:
            if image.has(function, address, count):
                return image
        raise RefusalError(ILLEGAL_ADDRESS)

    def before_read(
        self, registers: Registers, function: int, address: int, count: int, now_ns: int
    ) -> None:
        """Bring what moves up to date."""

    def write(self, address: int, data: bytes, now_ns: int) -> None:
        raise RefusalError(ILLEGAL_ADDRESS)

    def _place(self, place: Place) -> Register:
        """The register that a wanted value of the map stands in."""
        block_name, register_i, _, _ = place
        block = next(block for block in self.map.blocks if block.name == block_name)
        return block.registers[register_i]


class MeterDevice(ModbusDevice):
    """A meter on the circuits that the site file gives it."""

    def __init__(
        self,
        device_map: DeviceMap,
        meter_i: int,
        turnaround_ns: int,
        plant: Plant,
        judge: Judge,
    ) -> None:
        row = plant.tables.meters[meter_i]
        super().__init__(device_map, row.address, turnaround_ns, [Registers(device_map)])
        self._meter_i = meter_i
        self._circuits = [
            i for i, circuit in enumerate(plant.tables.circuits) if circuit.meter == meter_i
        ]
        self._plant = plant
        self._judge = judge
        self._shown: Sample | None = None
        self._is_current_asked = False
        image = self.images[0]
        for place in device_map.voltage or ():
            image.put_micro(self._place(place), plant.tables.site.voltage_mV * 1000)

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        self._is_current_asked = False
        reply = super().reply(request, now_ns)
        if self._is_current_asked:
            self._plant.board.slots[self._plant.board.meter(self._meter_i)] += 1
        return reply

    def arrives(self, now_ns: int) -> None:
        if self._is_current_asked and self._shown is not None:
            self._plant.board.slots[self._plant.board.meter(self._meter_i) + 1] += 1
            self._judge.met(self._meter_i, self._shown, now_ns)

    def before_read(
        self, registers: Registers, function: int, address: int, count: int, now_ns: int
    ) -> None:
        if not self._circuits or self.map.current is None:
            return
        self._shown = self._plant.sample_for(self._meter_i, now_ns)
        load_mA = self._shown.load_mA[self._circuits[0]]
        first = self._place(self.map.current[0])
        self._is_current_asked = registers.covers(function, address, count, first)
        for phase, place in enumerate(self.map.current):
            registers.put_micro(self._place(place), abs(load_mA[phase]) * 1000)
        for phase, place in enumerate(self.map.power or ()):
            power_uW = load_mA[phase] * self._plant.tables.site.voltage_mV
            registers.put_micro(self._place(place), power_uW)


@dataclass(frozen=True, slots=True)
class _Connector:
    charger_i: int
    image: Registers


class ChargerDevice(ModbusDevice):
    """A charger with one or more outlets; `outlets`: connector number to charger row."""

    def __init__(
        self,
        device_map: DeviceMap,
        address: int,
        outlets: Mapping[int, int],
        turnaround_ns: int,
        plant: Plant,
        judge: Judge,
    ) -> None:
        connectors = [
            _Connector(i, Registers(device_map, (number - 1) * device_map.connector_stride))
            for number, i in sorted(outlets.items())
        ]
        super().__init__(device_map, address, turnaround_ns, [c.image for c in connectors])
        self._connectors = connectors
        self._plant = plant
        self._judge = judge
        assert device_map.setpoint is not None
        self._setpoint = device_map.setpoint
        self._raw_of_state = {
            letter: raw for raw, letter in sorted(device_map.states.items(), reverse=True)
        }
        for connector in connectors:
            self._put_setpoint(connector)

    def _put_setpoint(self, connector: _Connector) -> None:
        """The setpoint register shows what the box starts with."""
        register, setpoint_mA = self._setpoint.register, self._outlet(connector).setpoint_mA
        if not register.read_function:
            return
        if setpoint_mA == 0:
            connector.image.put(register, self._setpoint.pause_raw)
        else:
            connector.image.put_micro(register, setpoint_mA * 1000)

    def reply(self, request: bytes, now_ns: int) -> bytes | None:
        reply = super().reply(request, now_ns)
        if reply is not None:
            self._feed(FED_BY_ANY, self._connectors, now_ns)
            for connector in self._connectors:
                self._plant.publish(connector.charger_i)
        return reply

    def _outlet(self, connector: _Connector) -> Outlet:
        return self._plant.outlets[connector.charger_i]

    def _feed(self, how: str, connectors: list[_Connector], now_ns: int) -> None:
        if self.map.watchdog is not None and self.map.watchdog.fed_by == how:
            for connector in connectors:
                self._outlet(connector).feed(now_ns)

    def before_read(
        self, registers: Registers, function: int, address: int, count: int, now_ns: int
    ) -> None:
        connector = next(c for c in self._connectors if c.image is registers)
        outlet = self._outlet(connector)
        outlet.advance(now_ns)
        self._feed(FED_BY_READS, [connector], now_ns)
        if self.map.state is not None:
            registers.put(self._place(self.map.state), self._raw_of_state[outlet.state])
        terminal_mA = outlet.terminal_mA()
        for terminal, place in enumerate(self.map.current or ()):
            registers.put_micro(self._place(place), terminal_mA[terminal] * 1000)
        if self.map.setpoint_in_force is not None:
            register = self._place(self.map.setpoint_in_force)
            registers.put_micro(register, outlet.in_force_mA * 1000)

    def write(self, address: int, data: bytes, now_ns: int) -> None:
        connector, parts = self._parts(address, data)
        checked = [(register, part, self._checked(register, part)) for register, part in parts]
        for register, part, value in checked:
            connector.image.store(register, part)
            self._obey(connector, register, value, now_ns)

    def _parts(self, address: int, data: bytes) -> tuple[_Connector, list[tuple[Register, bytes]]]:
        for connector in self._connectors[:-1]:
            try:
                return connector, connector.image.split(address, data)
            except RefusalError:
                continue
        last = self._connectors[-1]
        return last, last.image.split(address, data)

    def _checked(self, register: Register, data: bytes) -> Fraction:
        """The value in the register's unit; a value outside the box's table is refused."""
        raw = decode_raw(register, data)
        if raw != raw or raw in (float("inf"), float("-inf")):
            raise RefusalError(ILLEGAL_VALUE)
        value = Fraction(raw) * register.scale
        setpoint, fallback = self._setpoint, self.map.fallback
        if register == setpoint.register:
            if raw == setpoint.pause_raw:
                return Fraction(0)
            is_good = setpoint.min_mA <= _milli(value) <= setpoint.max_mA
        elif fallback is not None and register == fallback.register:
            if raw == fallback.pause_raw:
                return Fraction(0)
            is_good = fallback.min_mA <= _milli(value) <= fallback.max_mA
        else:
            bounds = register.plausible
            is_good = bounds is None or bounds[0] <= value <= bounds[1]
        if not is_good:
            raise RefusalError(ILLEGAL_VALUE)
        return value

    def _obey(
        self, connector: _Connector, register: Register, value: Fraction, now_ns: int
    ) -> None:
        outlet, watchdog, fallback = self._outlet(connector), self.map.watchdog, self.map.fallback
        if register == self._setpoint.register:
            outlet.advance(now_ns)
            before_mA, written_mA = outlet.in_force_mA, outlet.setpoint_mA
            setpoint_mA = _milli(value)
            outlet.write_setpoint(setpoint_mA, now_ns)
            self._feed(FED_BY_WRITES, [connector], now_ns)
            self._feed(FED_BY_ANY, [connector], now_ns)
            self._plant.publish(connector.charger_i)
            self._judge.setpoint(connector.charger_i, before_mA, written_mA, setpoint_mA, now_ns)
        elif watchdog is not None and register == watchdog.register:
            outlet.write_watchdog(int(value * NS_PER_S), now_ns)
        elif fallback is not None and register == fallback.register:
            outlet.write_fallback(_milli(value), now_ns)
        elif (
            watchdog is not None
            and register == watchdog.kick
            and value == watchdog.kick_raw * register.scale
        ):
            self._feed(FED_BY_KICK, [connector], now_ns)


def _milli(value: Fraction) -> int:
    """To the nearest thousandth: a float register holds 13.4 A only nearly."""
    return int((2000 * value + 1) // 2)


def box_facts(device_map: DeviceMap, rated_mA: int, power_on_mA: int) -> BoxFacts:
    """How a box of this model stands when it is switched on, as the factory left it."""
    assert device_map.setpoint is not None
    return BoxFacts(
        rated_mA=rated_mA,
        hold_ns=device_map.setpoint.hold_ns,
        power_on_setpoint_mA=power_on_mA,
        power_on_fallback_mA=_factory_fallback_mA(device_map.fallback),
        power_on_watchdog_ns=_factory_watchdog_ns(device_map),
    )


def _factory_fallback_mA(fallback: Fallback | None) -> int:
    if fallback is None:
        return 0
    if fallback.fixed_mA is not None:
        return fallback.fixed_mA
    register = fallback.register
    if register is None or register.factory_raw in (None, fallback.pause_raw):
        return 0
    return _milli(Fraction(register.factory_raw or 0) * register.scale)


def _factory_watchdog_ns(device_map: DeviceMap) -> int:
    watchdog = device_map.watchdog
    if watchdog is None:
        return 0
    if watchdog.register is None or watchdog.register.factory_raw is None:
        return watchdog.timeout_ns
    return int(Fraction(watchdog.register.factory_raw) * watchdog.register.scale * NS_PER_S)
