"""A real descriptor in virtual time: one end of a socket pair, and a clock that fills the other.

`respond(request)` returns (delay after the end of the request, bytes) pairs. Only the clock moves
bytes: what was written is seen, and what is due arrives, whenever the time is read or waited for.
"""

import socket
from collections.abc import Callable

from hw.wire import Line

MS = 1_000_000
LINE = Line(19200, "8E1")
FAR_ns = 1 << 62
Arrivals = list[tuple[int, bytes]]


class VirtualFd:
    """Clock and line in one."""

    def __init__(self, respond: Callable[[bytes], Arrivals], start_ns: int = 1_000 * MS) -> None:
        self.at_ns = start_ns
        self.requests: list[tuple[int, bytes]] = []
        self._respond = respond
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._coming: list[tuple[int, bytes]] = []

    @property
    def fd(self) -> int:
        return self._ours.fileno()

    def send_in(self, delay_ns: int, data: bytes) -> None:
        """Put bytes on the line by themselves."""
        self._coming.append((self.at_ns + delay_ns, data))
        self._coming.sort(key=lambda item: item[0])

    def hang_up(self) -> None:
        self._theirs.close()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    # the clock

    def now_ns(self) -> int:
        self._move()
        return self.at_ns

    def sleep_until(self, at_ns: int) -> None:
        self._move()
        while self._coming and self._coming[0][0] <= at_ns:
            self.at_ns = max(self.at_ns, self._coming[0][0])
            self._move()
        self.at_ns = max(self.at_ns, at_ns)

    def wait_readable(self, source: object, fd: int | None, until_ns: int) -> None:
        self._move()
        next_ns = self._coming[0][0] if self._coming else FAR_ns
        self.at_ns = max(self.at_ns, min(until_ns, next_ns))
        self._move()

    def _move(self) -> None:
        """Hear what was written, deliver what is due."""
        if self._theirs.fileno() < 0:
            return
        try:
            request = self._theirs.recv(512)
        except BlockingIOError:
            request = b""
        if request:
            self.requests.append((self.at_ns, request))
            end_ns = LINE.bytes_ns(len(request))
            for delay_ns, reply in self._respond(request):
                self.send_in(end_ns + delay_ns, reply)
        while self._coming and self._coming[0][0] <= self.at_ns:
            self._theirs.send(self._coming.pop(0)[1])
