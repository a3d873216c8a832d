"""The raw line: one exchange at a time on a descriptor, with nothing but read, write and poll.

What the guard talks with when it takes a bus over. Keeps the silence between frames and the gap
that a device needs; checks address, function, length and CRC of every reply. Never waits beyond the
patience it was given, opens nothing, imports nothing when called. An error of the port itself is an
OSError. One thread uses one RawLine.
"""

from __future__ import annotations

import os
import select
import termios
import time

from hw.wire import (
    EXCEPTION_BIT,
    EXCEPTION_BYTES,
    FRAME_MAX_BYTES,
    Code,
    Exchange,
    Line,
    Patience,
    check_reply,
)

NS_PER_MS = 1_000_000
WRITE_WITHIN_ns = 100 * NS_PER_MS  # a port that takes no bytes for so long takes none


class RawLine:
    """The line behind `fd`, which somebody else opened and will close."""

    def __init__(self, fd: int, line: Line) -> None:
        self._fd = fd
        self._line = line
        self._is_tty = os.isatty(fd)
        self._quiet_at_ns = 0  # from when on the line was silent for long enough
        self._free_at_ns: dict[int, int] = {}  # by address: end of its own gap
        self._gap_on_bus_ns = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        os.set_blocking(fd, False)

    def flush(self) -> None:
        """Drop what waits in either direction."""
        if self._is_tty:
            try:
                termios.tcflush(self._fd, termios.TCIOFLUSH)
            except termios.error as error:
                raise OSError(*error.args) from None
        while self._read(FRAME_MAX_BYTES):
            pass

    def stay_silent(self, silence_ns: int) -> None:
        """Send nothing for so long; what comes in meanwhile is dropped."""
        until_ns = time.monotonic_ns() + silence_ns
        while self._wait(until_ns):
            self._read(FRAME_MAX_BYTES)
        self._quiet_at_ns = time.monotonic_ns()

    def exchange(self, exchange: Exchange, frame: bytes, patience: Patience) -> tuple[Code, bytes]:
        """Send a finished frame and wait for its reply: the code, and the registers of a read."""
        if patience.gap_on_bus:
            self._gap_on_bus_ns = max(self._gap_on_bus_ns, patience.gap_ns)
        start_ns = max(self._quiet_at_ns, self._free_at_ns.get(exchange.address, 0))
        while self._wait(start_ns):
            self._read(FRAME_MAX_BYTES)
        while self._read(FRAME_MAX_BYTES):
            pass
        self._send(frame)
        sent_at_ns = time.monotonic_ns() + self._line.bytes_ns(len(frame))
        data = self._receive(exchange, sent_at_ns + patience.timeout_ns)
        code, payload, _ = check_reply(exchange, data) if data else (Code.NO_ANSWER, b"", 0)
        ended_at_ns = time.monotonic_ns()
        if code in (Code.NO_ANSWER, Code.BAD_FRAME):  # its reply may still be on its way
            drained_ns = sent_at_ns + patience.turnaround_ns
            drained_ns += self._line.bytes_ns(exchange.reply_bytes)
            ended_at_ns = max(ended_at_ns, drained_ns)
        self._quiet_at_ns = ended_at_ns + max(self._line.silent_ns, self._gap_on_bus_ns)
        self._free_at_ns[exchange.address] = ended_at_ns + patience.gap_ns
        return code, payload

    def _send(self, frame: bytes) -> None:
        """All of it, or an OSError."""
        until_ns = time.monotonic_ns() + WRITE_WITHIN_ns
        left = frame
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                if time.monotonic_ns() >= until_ns:
                    raise OSError("takes no more bytes") from None
                select.select((), (self._fd,), (), 0.005)

    def _receive(self, exchange: Exchange, begin_by_ns: int) -> bytes:
        data = bytearray()
        until_ns = begin_by_ns
        while len(data) < exchange.reply_bytes and self._wait(until_ns):
            chunk = self._read(exchange.reply_bytes - len(data))
            if chunk and not data:
                until_ns = begin_by_ns + self._line.bytes_ns(exchange.reply_bytes)
            data += chunk
            if len(data) >= EXCEPTION_BYTES and data[1] == exchange.function | EXCEPTION_BIT:
                break
        return bytes(data)

    def _wait(self, until_ns: int) -> bool:
        """Wait for bytes; False when the time is up. A port that hung up is an OSError."""
        left_ns = until_ns - time.monotonic_ns()
        if left_ns <= 0:
            return False
        for _, events in self._poll.poll(left_ns / NS_PER_MS):
            if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                raise OSError("the port hung up")
            return True
        return time.monotonic_ns() < until_ns

    def _read(self, size: int) -> bytes:
        try:
            chunk = os.read(self._fd, size)
        except BlockingIOError:
            return b""
        if not chunk and not self._is_tty:
            raise OSError("the far end closed the connection")
        return chunk
