"""Modbus RTU frames as a slave sees them: checksum, length of a request, exception replies.

Shares no code with the master's side on purpose: two readings of the standard that must agree.
Pure functions; no clock, no I/O.
"""

from __future__ import annotations

from hw.wire import EXCEPTION_BYTES, REQUEST_BYTES, WRITE_MANY

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3

KNOWN_REQUESTS = (1, 2, 3, 4, 5, 6)  # all of them eight bytes long
LONGEST_FRAME_BYTES = 256


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def with_crc(body: bytes) -> bytes:
    return body + crc16(body).to_bytes(2, "little")


def is_whole(frame: bytes) -> bool:
    """Whether the checksum at the end is right."""
    return len(frame) >= 4 and crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def request_length(data: bytes) -> int | None:
    """Bytes that the request beginning here will have; None while that cannot be said."""
    if len(data) < 2:
        return None
    if data[1] in KNOWN_REQUESTS:
        return REQUEST_BYTES
    if data[1] in (15, WRITE_MANY):
        return None if len(data) < 7 else REQUEST_BYTES + 1 + data[6]
    return None  # its end is known by the silence behind it


def refusal(request: bytes, exception_code: int) -> bytes:
    reply = with_crc(bytes((request[0], request[1] | 0x80, exception_code)))
    assert len(reply) == EXCEPTION_BYTES
    return reply
