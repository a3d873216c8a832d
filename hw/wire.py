"""Modbus RTU on RS-485 as arithmetic: how long a frame takes, and what one exchange is.

Owns the words that everything on the wire shares (line settings, exchange, reply, code). No I/O, no
clock. The bus (`hw/bus.py`), the plan (`loadctl/plan.py`) and the simulator count time with the
same functions, so that a plan that fits here fits on the wire.

Timing follows MODBUS over Serial Line V1.02, section 2.5.1.1: 3.5 characters of silence between
frames, fixed at 1.750 ms above 19200 baud. A character is start + 8 data + parity + stop bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol

NS_PER_S = 1_000_000_000
SILENT_FIXED_ABOVE_BAUD = 19_200
SILENT_FIXED_ns = 1_750_000

READ_HOLDING = 3
READ_INPUT = 4
WRITE_ONE = 6
WRITE_MANY = 16
READ_FUNCTIONS = (READ_HOLDING, READ_INPUT)
WRITE_FUNCTIONS = (WRITE_ONE, WRITE_MANY)

REQUEST_BYTES = 8  # address, function, register, count or value, CRC
EXCEPTION_BYTES = 5  # address, function | 0x80, code, CRC
EXCEPTION_BIT = 0x80
FRAME_MAX_BYTES = 256


class Code(IntEnum):
    """What became of an exchange, and so the quality of the value it was to bring."""

    NEVER = 0  # not tried yet
    GOOD = 1
    NO_ANSWER = 2  # nothing, or nothing in time
    BAD_FRAME = 3  # something, but not a whole valid reply of this device to this request
    REFUSED = 4  # a valid exception reply; includes code 5 (acknowledge): not done yet is not done
    NOT_SENT = 5  # the deadline left no room, or the port is closed: nothing was on the wire
    IMPLAUSIBLE = 6  # a valid reply whose values cannot be true


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc16(data: bytes | bytearray | memoryview) -> bytes:
    """The two bytes that end an RTU frame, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


@dataclass(frozen=True, slots=True)
class Line:
    """Line settings of one bus: baud and frame such as 8E1."""

    baud: int
    frame: str

    @property
    def parity(self) -> str:
        return self.frame[1]

    @property
    def stop_bits(self) -> int:
        return int(self.frame[2])

    @property
    def bits_per_char(self) -> int:
        return 1 + int(self.frame[0]) + (0 if self.parity == "N" else 1) + self.stop_bits

    def bytes_ns(self, n_bytes: int) -> int:
        """Time of `n_bytes` on the wire, rounded up."""
        return -(-n_bytes * self.bits_per_char * NS_PER_S // self.baud)

    @property
    def silent_ns(self) -> int:
        """The silence that must precede a request: 3.5 characters, or 1.75 ms above 19200 baud."""
        if self.baud > SILENT_FIXED_ABOVE_BAUD:
            return SILENT_FIXED_ns
        return -(-7 * self.bits_per_char * NS_PER_S // (2 * self.baud))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply. A read has `values == b""`; a write carries its raw registers,
    most significant byte first. `alternate` is a longer read of the same values: a reply to the one
    is told from a reply to the other by its length."""

    address: int
    function: int
    register: int
    count: int
    values: bytes = b""
    alternate: Exchange | None = None

    @property
    def is_write(self) -> bool:
        return self.function in WRITE_FUNCTIONS

    @property
    def request_bytes(self) -> int:
        if self.function == WRITE_MANY:
            return REQUEST_BYTES + 1 + 2 * self.count
        return REQUEST_BYTES

    @property
    def reply_bytes(self) -> int:
        if self.is_write:
            return REQUEST_BYTES
        return 5 + 2 * self.count


def request_of(exchange: Exchange) -> bytes:
    """Build what follows address and function in the request."""
    function, register, count = exchange.function, exchange.register, exchange.count
    if function in READ_FUNCTIONS and not exchange.values:
        return struct.pack(">HH", register, count)
    if len(exchange.values) == 2 * count:
        if function == WRITE_ONE and count == 1:
            return struct.pack(">H", register) + exchange.values
        if function == WRITE_MANY:
            return struct.pack(">HHB", register, count, 2 * count) + exchange.values
    raise ValueError(f"not an exchange that a bus can do: {exchange}")


def rtu_frame(exchange: Exchange) -> bytes:
    """Build the whole request, from the address to the CRC."""
    body = bytes((exchange.address, exchange.function)) + request_of(exchange)
    return body + crc16(body)


def check_reply(exchange: Exchange, data: bytes) -> tuple[Code, bytes, int]:
    """Judge bytes as the whole reply: code, registers of a read, exception code.

    GOOD only for a whole frame of this device to this very request: MODBUS Application Protocol
    V1.1b3, sections 6.3, 6.4, 6.6, 6.12 and 7. A write is acknowledged by its own first six bytes:
    register and value, or register and count.
    """
    request = rtu_frame(exchange)
    if is_refusal(request, data):
        return Code.REFUSED, b"", data[2]
    is_ours = data[:2] == request[:2] and len(data) == exchange.reply_bytes
    if not is_ours or data[-2:] != crc16(data[:-2]):
        return Code.BAD_FRAME, b"", 0
    if exchange.is_write:
        return (Code.GOOD if data[:6] == request[:6] else Code.BAD_FRAME), b"", 0
    if data[2] != 2 * exchange.count:
        return Code.BAD_FRAME, b"", 0
    return Code.GOOD, data[3:-2], 0


def is_refusal(request: bytes, data: bytes) -> bool:
    """Whether these bytes are a whole and valid exception reply to this request frame."""
    return (
        len(data) == EXCEPTION_BYTES
        and data[0] == request[0]
        and data[1] == request[1] | EXCEPTION_BIT
        and data[3:] == crc16(data[:3])
    )


class Patience(NamedTuple):
    """How long one device may take: from the end of the request to the first byte of its reply.

    `turnaround_ns` is the longest time it takes when well (what the plan counts); `timeout_ns` is
    when it is given up. `gap_ns` is the silence it needs between two messages; `gap_on_bus` says
    whether that silence is wanted from everybody on the bus or only from messages to this device.
    """

    turnaround_ns: int
    timeout_ns: int
    gap_ns: int
    gap_on_bus: bool


class Reply(NamedTuple):
    """`payload` holds the register bytes of a good read, nothing otherwise."""

    code: Code
    payload: bytes
    exception_code: int  # of a refusal, else 0
    begun_at_ns: int  # first byte of the request left; equal to ended_at_ns if nothing was sent
    ended_at_ns: int


@dataclass(slots=True)
class DeviceCounters:
    """What became of every exchange with one device since the bus was made."""

    good: int = 0
    no_answer: int = 0
    bad_frame: int = 0
    refused: int = 0
    not_sent: int = 0
    worst_turnaround_ns: int = 0  # of replies that came
    last_error: str = ""  # of the last exchange that failed; stays when the device is well again
    last_not_sent: str = ""  # what held back the last one that was not sent


class Wire(Protocol):
    """What the field needs from a bus: the real one, or the simulated one in virtual time."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC, or the virtual clock that stands in for it."""
        ...

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        """One exchange that is over by `deadline_ns` (absolute) whatever the device does.

        Sends nothing and answers NOT_SENT when what the plan counts for it (silence or gap still
        due, request, turnaround, reply) does not fit before the deadline, when the device failed in
        this scan already, and when a late reply to an earlier unanswered read could be taken for
        the reply to this one. Where only the alternate has a reply that is surely its own, that is
        sent, and the payload is as long as the alternate's.
        """
        ...


def exchange_ns(line: Line, exchange: Exchange, turnaround_ns: int) -> int:
    """Silence, request, turnaround and reply: the longest a well device takes."""
    wire_ns = line.bytes_ns(exchange.request_bytes) + line.bytes_ns(exchange.reply_bytes)
    return line.silent_ns + wire_ns + turnaround_ns


def failed_ns(line: Line, exchange: Exchange, timeout_ns: int) -> int:
    """The longest an exchange can take that fails: a reply that begins just before it is given up
    and then runs to its full length."""
    wire_ns = line.bytes_ns(exchange.request_bytes) + line.bytes_ns(exchange.reply_bytes)
    return line.silent_ns + wire_ns + timeout_ns


def patience_as(line: Line, asked: Exchange, usual: Exchange, patience: Patience) -> Patience:
    """The patience for one of the two forms of a read.

    The longer one is given up earlier by the time of its extra bytes, so that it is over when the
    usual one would be. No device is given up before its turnaround: where that leaves no room, a
    failed exchange is as much longer.
    """
    if asked is usual:
        return patience
    turnaround_ns, timeout_ns, gap_ns, gap_on_bus = patience
    extra_ns = line.bytes_ns(asked.reply_bytes) - line.bytes_ns(usual.reply_bytes)
    timeout_ns = max(timeout_ns - extra_ns, min(turnaround_ns, timeout_ns))
    return Patience(turnaround_ns, timeout_ns, gap_ns, gap_on_bus)
