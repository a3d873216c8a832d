"""The raw line: one finished frame and its reply, on a bare descriptor, each wait bounded.

What the guard writes a safe setpoint with when it takes a bus over: os.read, os.write, select.
Keeps the silence between frames and the gap that a device needs; checks address, function, length
and CRC of every reply. Opens nothing and imports nothing when called. One thread per line.
"""

from __future__ import annotations

import errno
import os
import select

from hw.clock import Clock, MonotonicClock
from hw.descriptor import READ_BYTES, bytes_waiting, flush_both, read_now, write_now
from hw.wire import (
    EXCEPTION_BYTES,
    NS_PER_S,
    Code,
    Exchange,
    Line,
    Patience,
    check_reply,
    is_refusal,
)


class RawLine:
    """The line behind `fd`, which somebody else opened and will close.

    An exchange is over within the silence or gap that was due, request, timeout and reply, also
    where bytes keep coming in that nobody asked for. Only `exchange` raises, and only OSError: the
    port itself failed or takes no more bytes.
    """

    def __init__(
        self, fd: int, line: Line, *, has_echo: bool = False, clock: Clock | None = None
    ) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._line = line
        self._has_echo = has_echo
        self._clock: Clock = clock if clock is not None else MonotonicClock()
        self._is_tty = os.isatty(fd)
        self._quiet_at_ns = 0  # from here on the line was silent for long enough
        self._free_at_ns: dict[int, int] = {}  # by address: end of its own gap
        self._gap_on_bus_ns = 0

    @property
    def in_waiting(self) -> int:
        """How many bytes can be read now."""
        return bytes_waiting(self._fd)

    def flush(self) -> None:
        """Drop what was received and what was not sent yet; what a socket took stays sent."""
        try:
            flush_both(self._fd, self._is_tty)
        except OSError:
            return  # the next exchange says what is wrong with the port

    def stay_silent(self, silence_ns: int) -> None:
        """Send nothing for so long, also on a port that is gone; drop what comes in meanwhile."""
        until_ns = self._clock.now_ns() + silence_ns
        try:
            self._drop_until(until_ns)
        except OSError:
            self._clock.sleep_until(until_ns)
        self._quiet_at_ns = self._clock.now_ns()

    def exchange(self, exchange: Exchange, frame: bytes, patience: Patience) -> tuple[Code, bytes]:
        """Send a finished frame and judge its reply: the code, and the registers of a good read."""
        line, clock = self._line, self._clock
        if patience.gap_on_bus:
            self._gap_on_bus_ns = max(self._gap_on_bus_ns, patience.gap_ns)
        free_at_ns = max(self._quiet_at_ns, self._free_at_ns.get(exchange.address, 0))
        start_at_ns = max(clock.now_ns(), free_at_ns)
        reply_ns = line.bytes_ns(exchange.reply_bytes)
        begin_by_ns = start_at_ns + line.bytes_ns(len(frame)) + patience.timeout_ns
        self._wait_for_silence(start_at_ns, reply_ns)
        self._send(frame, start_at_ns + patience.timeout_ns)
        sent_at_ns = clock.now_ns() + line.bytes_ns(len(frame))
        code, payload = Code.NO_ANSWER, b""
        echo = self._collect(len(frame), begin_by_ns) if self._has_echo else frame
        if echo == frame:
            data = self._receive(exchange.reply_bytes, frame, begin_by_ns, begin_by_ns + reply_ns)
            if data:
                code, payload, _ = check_reply(exchange, data)
        elif echo:
            code = Code.BAD_FRAME  # a collision, or noise
        ended_at_ns = max(clock.now_ns(), sent_at_ns)
        if code in (Code.NO_ANSWER, Code.BAD_FRAME):  # its reply may still be on its way
            ended_at_ns = max(ended_at_ns, sent_at_ns + patience.turnaround_ns + reply_ns)
        self._quiet_at_ns = ended_at_ns + max(line.silent_ns, self._gap_on_bus_ns)
        self._free_at_ns[exchange.address] = ended_at_ns + patience.gap_ns
        return code, payload

    def _wait_for_silence(self, start_at_ns: int, longest_ns: int) -> None:
        """Wait for the start and, while bytes still come in then, for as long as a reply takes.

        What this takes is taken from the wait for the reply, so that babble costs no time.
        """
        self._drop_until(start_at_ns)
        give_up_ns = start_at_ns + longest_ns
        while read_now(self._fd, READ_BYTES):
            quiet_at_ns = self._clock.now_ns() + self._line.silent_ns
            if quiet_at_ns > give_up_ns:
                break
            self._clock.sleep_until(quiet_at_ns)

    def _drop_until(self, until_ns: int) -> None:
        """Wait, and read away what comes in."""
        while self._clock.now_ns() < until_ns:
            if not read_now(self._fd, READ_BYTES):
                self._clock.wait_readable(self, self._fd, until_ns)

    def _send(self, frame: bytes, until_ns: int) -> None:
        """All of it, or an OSError."""
        n_sent = write_now(self._fd, frame)
        while n_sent < len(frame):
            left_ns = until_ns - self._clock.now_ns()
            if left_ns <= 0:
                raise OSError(errno.EAGAIN, f"took {n_sent} of {len(frame)} bytes")
            select.select((), (self._fd,), (), left_ns / NS_PER_S)
            n_sent += write_now(self._fd, frame[n_sent:])

    def _receive(self, size: int, frame: bytes, begin_by_ns: int, end_by_ns: int) -> bytes:
        """Return what came as the reply; an exception reply ends it at once."""
        data = self._collect(1, begin_by_ns)
        if data:
            data += self._collect(min(EXCEPTION_BYTES, size) - 1, end_by_ns)
            if not is_refusal(frame, data):
                data += self._collect(size - len(data), end_by_ns)
        return data

    def _collect(self, size: int, until_ns: int) -> bytes:
        """Read `size` bytes, or fewer if they do not come in time."""
        data = b""
        while len(data) < size:
            chunk = read_now(self._fd, size - len(data))
            data += chunk
            if not chunk:
                if self._clock.now_ns() >= until_ns:
                    break
                self._clock.wait_readable(self, self._fd, until_ns)
        return data
