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


class RequestFinder:
    """Cuts what arrives into requests: by length where it is known, else by the silence behind.

    A frame whose checksum is wrong is dropped with everything up to the next silence, as a slave on
    a real line does: it cannot know where in the noise a request begins.
    """

    def __init__(self, silent_ns: int) -> None:
        self._silent_ns = silent_ns
        self._data = b""
        self._begun_at_ns = 0
        self._last_at_ns = 0

    @property
    def silent_at_ns(self) -> int | None:
        """When the silence behind what is held will be long enough; None: nothing is held."""
        return self._last_at_ns + self._silent_ns if self._data else None

    def feed(self, data: bytes, at_ns: int) -> list[tuple[int, bytes]]:
        """Bytes that arrived at `at_ns`: whole requests, each with the time its first byte came."""
        found = self.silence(at_ns)
        if not self._data:
            self._begun_at_ns = at_ns
        self._data = (self._data + data)[-2 * LONGEST_FRAME_BYTES :]
        self._last_at_ns = at_ns
        while (length := request_length(self._data)) is not None and len(self._data) >= length:
            if not is_whole(self._data[:length]):
                break
            found.append((self._begun_at_ns, self._data[:length]))
            self._data, self._begun_at_ns = self._data[length:], at_ns
        return found

    def silence(self, now_ns: int) -> list[tuple[int, bytes]]:
        """End what is held if the line has been silent for long enough."""
        silent_at_ns = self.silent_at_ns
        if silent_at_ns is None or now_ns < silent_at_ns:
            return []
        data, self._data = self._data, b""
        return [(self._begun_at_ns, data)] if is_whole(data) else []
