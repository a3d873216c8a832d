"""The port: one serial line as bytes, with every wait bounded by an absolute time.

Wraps whatever pyserial opened (a tty, a pty, socket://, rfc2217://, loop://) and offers the few
attributes that minimalmodbus looks for: it calls `write` once and `read` once per exchange, and all
timing of the exchange happens inside these two. Never opens by itself, never logs, never waits
past the deadline that it was given. Runs in the I/O thread of its bus.
"""

from __future__ import annotations

import select
import termios
from typing import Protocol

from hw.clock import Clock
from hw.wire import (
    EXCEPTION_BIT,
    EXCEPTION_BYTES,
    FRAME_MAX_BYTES,
    READ_FUNCTIONS,
    Exchange,
    Line,
    crc16,
)
from loadctl.errors import BusError


class NoAnswer(BusError):
    """Nothing came, or nothing in time."""


class BadFrame(BusError):
    """Something came that is not a whole valid reply to this request."""


class DeviceRefused(BusError):
    """The device answered with an exception; also 5 (acknowledge) and 6 (busy)."""

    def __init__(self, exception_code: int) -> None:
        super().__init__(f"the device refused with exception {exception_code}")
        self.exception_code = exception_code


class NotSent(BusError):
    """The deadline passed before the first byte left."""


class SerialLike(Protocol):
    """What is used of a pyserial object. Opened with timeout 0: reads never block."""

    @property
    def in_waiting(self) -> int: ...

    def read(self, size: int = 1, /) -> bytes: ...

    def write(self, data: bytes, /) -> int | None: ...

    def reset_input_buffer(self) -> None: ...

    def fileno(self) -> int: ...

    def close(self) -> None: ...


class Port:
    """One line. `prepare` sets the times of the next exchange; `write` and `read` keep them."""

    def __init__(self, url: str, line: Line, clock: Clock, has_echo: bool) -> None:
        self.port = url
        self.baudrate = line.baud
        self.timeout = 0.0
        self.sent_at_ns = 0  # end of transmission
        self.has_begun = False  # whether anything of this exchange left
        self.begun_at_ns = 0
        self.first_at_ns = 0  # first byte of the reply, where one came
        self.hears_itself = False  # an undeclared echo came, and since then no reply without one
        self.n_stray_bytes = 0
        self._line = line
        self._clock = clock
        self._has_echo = has_echo
        self._has_slow_purge = url.startswith("rfc2217://")  # asks the far end and waits for it
        self._serial: SerialLike | None = None
        self._fd: int | None = None
        self._request = b""
        self._buffer = bytearray(FRAME_MAX_BYTES)
        self._n_received = 0
        self._start_at_ns = 0
        self._latest_start_ns = 0
        self._deadline_ns = 0
        self._timeout_ns = 0
        self._longest_reply_ns = 0

    # what minimalmodbus looks for

    @property
    def is_open(self) -> bool:
        return self._serial is not None

    def open(self) -> None:
        """Refuse: minimalmodbus would open a lost port in the middle of a scan."""
        raise NotSent(f"port {self.port}: closed")

    def close(self) -> None:
        serial = self.detach()
        if serial is not None:
            serial.close()

    def write(self, request: bytes) -> None:
        """Send a request after the silence that is due, the input flushed just before."""
        serial = self._serial
        if serial is None:
            raise NotSent(f"port {self.port}: closed")
        self._wait_for_silence(serial)
        if self._fd is not None and not select.select((), (self._fd,), (), 0)[1]:
            raise OSError("takes no more bytes")
        if not self._has_slow_purge:
            flush_input(serial)
        now_ns = self._clock.now_ns()
        if now_ns > self._latest_start_ns:
            raise NotSent("woke too late for what was left of the deadline")
        n_written = serial.write(request)
        self._request = request
        self.has_begun = True
        self.begun_at_ns = now_ns
        # The driver takes the bytes at once and sends them at the pace of the line.
        end_ns = now_ns + self._line.bytes_ns(len(request))
        self.sent_at_ns = max(end_ns, self._clock.now_ns())
        if n_written is not None and n_written != len(request):
            raise OSError(f"took {n_written} of {len(request)} bytes")

    def read(self, size: int) -> bytes:
        """Receive a reply of `size` bytes; an exception reply ends it at once."""
        if self._has_echo:
            self._take_echo()
        begin_by_ns = self.sent_at_ns + self._timeout_ns
        until_ns = min(begin_by_ns, self._deadline_ns)
        n = 0
        while n < size:
            chunk = self._receive(size - n, until_ns)
            if not chunk:
                break
            if n == 0:
                self.first_at_ns = self._clock.now_ns()
                until_ns = min(begin_by_ns + self._line.bytes_ns(size), self._deadline_ns)
            self._buffer[n : n + len(chunk)] = chunk
            n += len(chunk)
            self._n_received = n
            if n >= EXCEPTION_BYTES and self._is_refusal():
                raise DeviceRefused(self._buffer[2])
        if n == 0:
            raise NoAnswer("no answer")
        if n < size:
            raise BadFrame(f"{n} of {size} bytes came")
        return bytes(self._buffer[:n])

    # what the bus needs

    def attach(self, serial: SerialLike) -> None:
        """Take an opened pyserial object; ports without a descriptor are polled."""
        self._serial = serial
        self.hears_itself = False
        try:
            self._fd = serial.fileno()
        except (OSError, AttributeError):  # io.UnsupportedOperation is an OSError
            self._fd = None

    def detach(self) -> SerialLike | None:
        """Give the pyserial object back, to be closed where closing may take its time."""
        serial, self._serial, self._fd = self._serial, None, None
        return serial

    def prepare(
        self,
        exchange: Exchange,
        start_at_ns: int,
        latest_start_ns: int,
        deadline_ns: int,
        timeout_ns: int,
    ) -> None:
        self._start_at_ns = start_at_ns
        self._latest_start_ns = latest_start_ns
        self._deadline_ns = deadline_ns
        self._timeout_ns = timeout_ns
        self._longest_reply_ns = max(
            self._longest_reply_ns, self._line.bytes_ns(exchange.reply_bytes)
        )
        self._n_received = 0
        self.has_begun = False

    def note_own_request(self) -> bool:
        """Whether what came back instead of a read reply is the request itself; remembered."""
        is_own = (
            self._request[1] in READ_FUNCTIONS and self._begins_as_request() and not self._has_echo
        )
        if is_own:
            self.hears_itself = True
        return is_own

    def note_reply(self) -> None:
        """A whole reply with nothing before it: an adapter that echoes could not have left it so.

        The acknowledgement of a write of one register is the request again and proves nothing.
        """
        if not self._begins_as_request():
            self.hears_itself = False

    def _begins_as_request(self) -> bool:
        n = min(self._n_received, len(self._request))
        return n > 3 and self._buffer[:n] == self._request[:n]

    def _wait_for_silence(self, serial: SerialLike) -> None:
        """Wait for the start and, if bytes still come in then, until they have stopped.

        A line that never falls silent is talked to all the same after the longest reply that could
        be on it: a decrease with a chance is better than none.
        """
        self._clock.sleep_until(self._start_at_ns)
        give_up_ns = self._start_at_ns + self._longest_reply_ns
        while serial.in_waiting:
            self.n_stray_bytes += len(serial.read(FRAME_MAX_BYTES))
            quiet_at_ns = self._clock.now_ns() + self._line.silent_ns
            if quiet_at_ns > min(give_up_ns, self._latest_start_ns):
                return
            self._clock.sleep_until(quiet_at_ns)

    def _receive(self, size: int, until_ns: int) -> bytes:
        """Return what is there, at most `size` bytes, waiting for the first until `until_ns`."""
        serial = self._serial
        if serial is None:
            raise NoAnswer(f"port {self.port}: closed")
        while True:
            chunk = serial.read(size)
            if chunk or self._clock.now_ns() >= until_ns:
                return chunk
            self._clock.wait_readable(serial, self._fd, until_ns)

    def _take_echo(self) -> None:
        """Read the request back byte for byte: a difference is a collision or noise."""
        request = self._request
        until_ns = min(self.sent_at_ns + self._timeout_ns, self._deadline_ns)
        n = 0
        while n < len(request):
            chunk = self._receive(len(request) - n, until_ns)
            if not chunk:
                if n == 0:
                    raise NoAnswer("no echo of the request")
                raise BadFrame(f"{n} of {len(request)} bytes of echo came")
            if chunk != request[n : n + len(chunk)]:
                raise BadFrame(f"the echo differs from the request in byte {n} or after")
            n += len(chunk)

    def _is_refusal(self) -> bool:
        buffer = self._buffer
        return (
            buffer[0] == self._request[0]
            and buffer[1] == self._request[1] | EXCEPTION_BIT
            and buffer[3:5] == crc16(buffer[:3])
        )


def flush_input(serial: SerialLike) -> None:
    """Drop what was received; a tty that is gone reports it in termios' own class."""
    try:
        serial.reset_input_buffer()
    except termios.error as exc:
        raise OSError(*exc.args) from None
