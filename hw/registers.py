"""One value in a device: its place, its type, its scale, and its bytes.

Owns the conversion between register bytes, raw numbers and quantities. Never touches a wire and
knows no clock. Everything that costs time (struct formats, exact ratios, believable ranges) is
prepared when a map is read; decoding afterwards is `struct.unpack`, a comparison and an integer
division per value.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Raw = int | float

TYPE_FORMATS = {
    "u16": "H",
    "i16": "h",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
    "f64": "d",
}
UNITS = ("A", "V", "W", "VA", "var", "Wh", "VAh", "Hz", "s", "degC")


@dataclass(frozen=True, slots=True)
class Register:
    """One value in a device. `scale`: value in `unit` = raw * scale, exact."""

    name: str
    address: int
    count: int
    type: str  # u16 i16 u32 i32 u64 i64 f32 f64
    high_word_first: bool
    unit: str  # one of UNITS, or "" for plain numbers
    scale: Fraction
    read_function: int  # 0: cannot be read
    write_function: int  # 0: cannot be written
    plausible: tuple[Fraction, Fraction] | None  # in unit; outside it the value cannot be true
    confidence: str  # H, M or L
    factory_raw: Raw | None  # as the device leaves the factory; None: not known
    bits: tuple[int, int] | None = None  # lowest and highest of the bits that are the raw number

    @property
    def is_float(self) -> bool:
        return self.type[0] == "f"


def words_of(type_name: str) -> int:
    """Number of 16-bit registers that a type takes."""
    return int(type_name[1:]) // 16


def type_range(type_name: str) -> tuple[Raw, Raw]:
    """Lowest and highest raw number of a type; for floats the largest finite ones."""
    if type_name == "f32":
        highest: float = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]
        return -highest, highest
    if type_name == "f64":
        return -math.inf, math.inf
    bits = int(type_name[1:])
    if type_name[0] == "u":
        return 0, (1 << bits) - 1
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def believable_range(register: Register) -> tuple[Raw, Raw]:
    """Raw numbers that can be true: what devices send for "no value" lies outside.

    That is all ones in an unsigned register and the most negative signed number. NaN fails every
    comparison.
    """
    if register.bits is not None:
        return 0, _bit_mask(register.bits)
    low, high = type_range(register.type)
    if register.type[0] == "u":
        high -= 1
    elif register.type[0] == "i":
        low += 1
    elif register.type == "f64":
        low, high = -1.7e308, 1.7e308
    if register.plausible is None:
        return low, high
    bounds = [bound / register.scale for bound in register.plausible]
    if register.is_float:
        return max(low, float(bounds[0])), min(high, float(bounds[1]))
    return max(low, math.ceil(bounds[0])), min(high, math.floor(bounds[1]))


def _bit_mask(bits: tuple[int, int]) -> int:
    return (1 << (bits[1] - bits[0] + 1)) - 1


def encode_raw(register: Register, raw: Raw) -> bytes:
    """The register bytes of a raw number; `struct.error` or OverflowError where the type cannot
    hold it.
    """
    if register.bits is not None:
        raw = int(raw) << register.bits[0]
    packed = struct.pack(">" + TYPE_FORMATS[register.type], raw)
    return packed if register.high_word_first else _words_reversed(packed)


def decode_raw(register: Register, payload: bytes) -> Raw:
    """The raw number in exactly the bytes of this register."""
    packed = payload if register.high_word_first else _words_reversed(payload)
    raw: Raw = struct.unpack(">" + TYPE_FORMATS[register.type], packed)[0]
    if register.bits is not None:
        return int(raw) >> register.bits[0] & _bit_mask(register.bits)
    return raw


def raw_floor(register: Register, value: Fraction) -> Raw:
    """The highest raw number whose value, in the register's unit, is not above `value`."""
    exact = value / register.scale
    if not register.is_float:
        return math.floor(exact)
    nearest = float(exact)
    if register.type == "f32":
        nearest = struct.unpack(">f", struct.pack(">f", nearest))[0]
    if Fraction(nearest) <= exact:
        return nearest
    return _next_lower(register, nearest)


def _next_lower(register: Register, raw: float) -> float:
    if register.type == "f64":
        return math.nextafter(raw, -math.inf)
    # Neighbouring positive floats are neighbouring integers when their bits are read as one.
    bits = struct.unpack(">I", struct.pack(">f", raw))[0]
    lower: float = struct.unpack(">f", struct.pack(">I", bits - 1))[0]
    return lower


def _words_reversed(packed: bytes) -> bytes:
    return b"".join(packed[i : i + 2] for i in range(len(packed) - 2, -1, -2))


def scaled_up(raw: Raw, num: int, den: int) -> int:
    """raw * num / den, rounded up: what is measured is a load, and a load is never made smaller."""
    if isinstance(raw, float):
        return math.ceil(raw * num / den)
    return -(-raw * num // den)


class BlockDecoder:
    """All registers of one block at once: believable raw numbers, or nothing."""

    __slots__ = ("_bits", "_bounds", "_byte_order", "_struct")

    def __init__(self, address: int, count: int, registers: Sequence[Register]) -> None:
        order = sorted(registers, key=lambda register: register.address)
        self._struct = struct.Struct(_block_format(address, count, order))
        self._bounds = tuple(believable_range(register) for register in order)
        self._byte_order = _block_byte_order(address, count, order)
        self._bits = tuple(
            (nth, register.bits[0], _bit_mask(register.bits))
            for nth, register in enumerate(order)
            if register.bits is not None
        )

    def raws(self, payload: bytes) -> tuple[Raw, ...] | None:
        """Raw numbers by address; None when the length is wrong or any of them cannot be true."""
        if len(payload) != self._struct.size:
            return None
        if self._byte_order is not None:
            payload = bytes(map(payload.__getitem__, self._byte_order))
        raws = self._struct.unpack(payload)
        if self._bits:
            raws = self._with_bits(raws)
        for raw, (low, high) in zip(raws, self._bounds, strict=True):
            if not low <= raw <= high:
                return None
        return raws

    def _with_bits(self, raws: tuple[Raw, ...]) -> tuple[Raw, ...]:
        found = list(raws)
        for nth, shift, mask in self._bits:
            found[nth] = int(found[nth]) >> shift & mask
        return tuple(found)


def _block_format(address: int, count: int, order: Sequence[Register]) -> str:
    """A struct format that steps over the registers nobody asked for."""
    parts = [">"]
    at = address
    for register in order:
        parts.append(f"{2 * (register.address - at)}x{TYPE_FORMATS[register.type]}")
        at = register.address + register.count
    parts.append(f"{2 * (address + count - at)}x")
    return "".join(parts)


def _block_byte_order(
    address: int, count: int, order: Sequence[Register]
) -> tuple[int, ...] | None:
    """Where each byte is taken from to put every high word first; None: as it comes."""
    if all(register.high_word_first for register in order):
        return None
    words = list(range(count))
    for register in order:
        if not register.high_word_first:
            start = register.address - address
            words[start : start + register.count] = reversed(words[start : start + register.count])
    return tuple(byte for word in words for byte in (2 * word, 2 * word + 1))
