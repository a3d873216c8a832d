"""Simulated devices: request bytes in, reply bytes out, made from a device map alone.

Owns the answers of a box in working order: functions 3, 4, 6 and 16, exceptions 1, 2 and 3, silence
to what is not for it or is damaged. Knows no clock and no line; the time comes with each request.
Meters are in `meter.py`, chargers in `charger.py`.
"""

from __future__ import annotations

from typing import Protocol

from hw.device_map import DeviceMap, Place
from hw.registers import Register
from hw.sim.fault import Fault
from hw.sim.image import RefusalError, Registers
from hw.sim.rtu import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, is_whole, refusal, with_crc
from hw.wire import READ_FUNCTIONS, WRITE_MANY, WRITE_ONE

READ_REGISTERS_MAX = 125
WRITE_REGISTERS_MAX = 123


class Device(Protocol):
    """One address on the line."""

    address: int
    turnaround_ns: int
    names: frozenset[str]  # whose faults strike it
    is_off: bool

    def fall_ill(self, fault: Fault, now_ns: int) -> None: ...
    def get_well(self, fault: Fault, now_ns: int) -> None: ...
    def setpoints_in(self, request: bytes) -> list[tuple[int, int]]:
        """Each charger's row and the setpoint that this request would give it."""
        ...

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
    if count > device.block_max:
        raise RefusalError(ILLEGAL_ADDRESS)
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
        self,
        device_map: DeviceMap,
        address: int,
        turnaround_ns: int,
        images: list[Registers],
        names: frozenset[str],
    ) -> None:
        self.names = names
        self.is_off = False
        self.block_max = READ_REGISTERS_MAX  # some devices know no longer reads than this
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

    def setpoints_in(self, request: bytes) -> list[tuple[int, int]]:
        return []

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

    def place(self, place: Place) -> Register:
        """The register that a wanted value of the map stands in."""
        block_name, register_i, _, _ = place
        block = next(block for block in self.map.blocks if block.name == block_name)
        return block.registers[register_i]
