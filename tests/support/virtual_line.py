"""A serial object and a clock in virtual time: a whole bus runs without waiting a moment.

What it does not simulate: the request's own time on the line (the port counts it), partial writes,
bytes of one chunk arriving one by one.
"""

import io
from collections.abc import Callable

from hw.bus import Bus
from hw.clock import Waitable
from hw.wire import Exchange, Line, Patience

MS = 1_000_000
LINE = Line(19200, "8E1")
PATIENCE = Patience(turnaround_ns=10 * MS, timeout_ns=80 * MS, gap_ns=0, gap_on_bus=False)
FAR_ns = 1 << 62
Arrivals = list[tuple[int, bytes]]  # (delay after the end of the request, bytes)


class VirtualClock:
    def __init__(self, at_ns: int = 1_000 * MS) -> None:
        self.at_ns = at_ns

    def now_ns(self) -> int:
        return self.at_ns

    def sleep_until(self, at_ns: int) -> None:
        self.at_ns = max(self.at_ns, at_ns)

    def wait_readable(self, source: Waitable, fd: int | None, until_ns: int) -> None:
        assert isinstance(source, FakeSerial)
        self.sleep_until(min(until_ns, source.next_at_ns()))


class FakeSerial:
    """`respond(request)` says what comes back and when."""

    def __init__(self, clock: VirtualClock, respond: Callable[[bytes], Arrivals]) -> None:
        self.clock = clock
        self.respond = respond
        self.echoes = False
        self.broken: str | None = None  # "read" or "write" raises OSError
        self.requests: list[tuple[int, bytes]] = []
        self.log: list[str] = []
        self._coming: list[tuple[int, bytes]] = []
        self.is_closed = False

    def send_in(self, delay_ns: int, data: bytes) -> None:
        """Put bytes on the line by themselves."""
        self._coming.append((self.clock.at_ns + delay_ns, data))
        self._coming.sort(key=lambda item: item[0])

    def next_at_ns(self) -> int:
        return self._coming[0][0] if self._coming else FAR_ns

    @property
    def in_waiting(self) -> int:
        return sum(len(data) for at_ns, data in self._coming if at_ns <= self.clock.at_ns)

    def read(self, size: int = 1, /) -> bytes:
        if self.broken == "read":
            raise OSError("unplugged")
        read = b""
        while self._coming and self._coming[0][0] <= self.clock.at_ns and len(read) < size:
            at_ns, data = self._coming.pop(0)
            room = size - len(read)
            read += data[:room]
            if data[room:]:
                self._coming.insert(0, (at_ns, data[room:]))
        return read

    def write(self, data: bytes, /) -> int:
        self.log.append("write")
        if self.broken == "write":
            raise OSError("unplugged")
        self.requests.append((self.clock.at_ns, data))
        end_ns = LINE.bytes_ns(len(data))
        if self.echoes:
            self.send_in(end_ns, data)
        for delay_ns, reply in self.respond(data):
            self.send_in(end_ns + delay_ns, reply)
        return len(data)

    def reset_input_buffer(self) -> None:
        self.log.append("flush")
        self._coming = [item for item in self._coming if item[0] > self.clock.at_ns]

    def fileno(self) -> int:
        raise io.UnsupportedOperation

    def close(self) -> None:
        self.is_closed = True


class VirtualBus:
    """A Bus on a FakeSerial, with a scan's worth of helpers."""

    def __init__(self, respond: Callable[[bytes], Arrivals], **options: object) -> None:
        self.clock = VirtualClock()
        self.serial = FakeSerial(self.clock, respond)
        options.setdefault("late_ns", 1_000 * MS)
        options.setdefault("opener", lambda: (self.serial, ()))
        self.bus = Bus("garage", "fake", LINE, clock=self.clock, **options)  # type: ignore[arg-type]
        self.bus.open()

    def ask(self, exchange: Exchange, patience: Patience = PATIENCE, within_ns: int = 500 * MS):
        return self.bus.transact(exchange, patience, self.clock.at_ns + within_ns)
