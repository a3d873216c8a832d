"""The registers inside one simulated outlet: words by address, as a map lays them out.

Owns which addresses exist, what may be written, and the bytes behind each name. Knows no clock, no
line, and not what a value means.
"""

from __future__ import annotations

from hw.device_map import DeviceMap
from hw.registers import Raw, Register, encode_raw, type_range
from hw.sim.rtu import ILLEGAL_ADDRESS

MICRO = 1_000_000


class RefusalError(Exception):
    """The box answers with this exception code."""

    def __init__(self, exception_code: int) -> None:
        super().__init__(exception_code)
        self.exception_code = exception_code


class Registers:
    """The words of one box, held and input registers apart, shifted by the offset of its outlet."""

    def __init__(self, device_map: DeviceMap, offset: int = 0) -> None:
        self.map = device_map
        self.offset = offset
        self._words: dict[int, dict[int, int]] = {3: {}, 4: {}}
        self._writable = {
            register.address: register
            for register in device_map.registers.values()
            if register.write_function
        }
        self.reset()

    def reset(self) -> None:
        """As the device left the factory."""
        for words in self._words.values():
            words.clear()
        for block in self.map.blocks:
            for at in range(block.address, block.address + block.count):
                self._words[block.function][at] = 0
        for register in self.map.registers.values():
            self._place(register)

    def fill_ones(self) -> None:
        """All ones in every register, as from a device whose own bus is dead."""
        for words in self._words.values():
            words.update(dict.fromkeys(words, 0xFFFF))

    def _place(self, register: Register) -> None:
        """Give a register its words, with the factory's value where the map says one."""
        if not register.read_function:
            return
        for at in range(register.address, register.address + register.count):
            self._words[register.read_function].setdefault(at, 0)
        if register.factory_raw is not None:
            self.put(register, register.factory_raw)

    def put(self, register: Register, raw: Raw) -> None:
        self._put_bytes(register, encode_raw(register, raw))

    def _put_bytes(self, register: Register, data: bytes) -> None:
        words = self._words[register.read_function]
        for i in range(register.count):
            words[register.address + i] = int.from_bytes(data[2 * i : 2 * i + 2], "big")

    def put_micro(self, register: Register, value_micro: int) -> None:
        """Store millionths of the register's unit, rounded to the nearest raw number."""
        num = value_micro * register.scale.denominator
        den = MICRO * register.scale.numerator
        if register.is_float:
            self.put(register, num / den)
            return
        low, high = type_range(register.type)
        self.put(register, min(max((2 * num + den) // (2 * den), int(low)), int(high)))

    def has(self, function: int, address: int, count: int) -> bool:
        words = self._words[function]
        return all(at - self.offset in words for at in range(address, address + count))

    def read(self, function: int, address: int, count: int) -> bytes:
        words, start = self._words[function], address - self.offset
        return b"".join(words[at].to_bytes(2, "big") for at in range(start, start + count))

    def covers(self, function: int, address: int, count: int, register: Register) -> bool:
        """Whether a read of this range brings the register whole."""
        at = register.address + self.offset
        return (
            function == register.read_function
            and address <= at
            and at + register.count <= address + count
        )

    def split(self, address: int, data: bytes) -> list[tuple[Register, bytes]]:
        """A write, register by register; every one of them whole and writable."""
        parts = []
        at = address - self.offset
        while data:
            register = self._writable.get(at)
            if register is None or len(data) < 2 * register.count:
                raise RefusalError(ILLEGAL_ADDRESS)
            parts.append((register, data[: 2 * register.count]))
            data, at = data[2 * register.count :], at + register.count
        return parts

    def store(self, register: Register, data: bytes) -> None:
        if register.read_function:
            self._put_bytes(register, data)
        for part in (self.map.watchdog, self.map.fallback):
            if part is not None and part.register == register and part.read_back is not None:
                self._put_bytes(part.read_back, data)
