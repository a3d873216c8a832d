"""A scripted device on a pseudo-terminal: whole requests in, timed bytes out.

`respond(request)` returns (delay after the request, bytes) pairs. The port is a symlink, so that a
test can unplug it and plug another one in. One thread per device; real time.
"""

import os
import select
import threading
import time
import tty
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.support.rtu_frames import request_length

NS_PER_S = 1_000_000_000
Arrivals = Iterable[tuple[int, bytes]]


class PtyDevice:
    def __init__(self, link: Path, respond: Callable[[bytes], Arrivals]) -> None:
        self.requests: list[bytes] = []
        self._respond = respond
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        temporary = link.with_name(link.name + ".new")
        temporary.symlink_to(self.path)
        temporary.replace(link)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "PtyDevice":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unplug: the line hangs up, the symlink stays and points nowhere."""
        if self._master < 0:
            return
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._master, self._slave, self._stop_read, self._stop_write):
            os.close(fd)
        self._master = -1

    def _serve(self) -> None:
        pending: list[tuple[int, bytes]] = []
        received = b""
        while True:
            wait_s = None
            if pending:
                wait_s = max(0, pending[0][0] - time.monotonic_ns()) / NS_PER_S
            ready = select.select((self._master, self._stop_read), (), (), wait_s)[0]
            if self._stop_read in ready:
                return
            if self._master in ready:
                received += os.read(self._master, 512)
            now_ns = time.monotonic_ns()
            while len(received) >= request_length(received):
                length = request_length(received)
                request, received = received[:length], received[length:]
                self.requests.append(request)
                pending += [(now_ns + delay_ns, data) for delay_ns, data in self._respond(request)]
                pending.sort(key=lambda item: item[0])
            while pending and pending[0][0] <= time.monotonic_ns():
                os.write(self._master, pending.pop(0)[1])
