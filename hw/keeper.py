"""The keeper of a port: opens it, locks it, loses it, and opens it again without stopping a scan.

`PortKeeper` opens the port itself; `InheritedPort` is handed it by the process that does.
A port on this machine is opened where it stands; opening or closing one on a network can block for
seconds, so a helper thread does that, one attempt at a time, and the bus looks in on it. Attempts
begin at most once a second. Runs in the I/O thread of the bus, before the first scan in the main
thread.
"""

from __future__ import annotations

import contextlib
import os
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from hw.descriptor import FdSerial, has_hung_up
from hw.handover import PortSource
from hw.lock import is_url, lock_port, open_error_words
from hw.opening import NETWORK_SCHEMES, PortMode
from hw.port import Port, SerialLike
from loadctl.errors import BusError

REOPEN_EVERY_ns = 1_000_000_000


Opened = tuple[SerialLike, tuple[PortMode, ...]]
Opener = Callable[[], Opened]


class _Opening:
    """One attempt on a network port, in a thread of its own."""

    def __init__(self, opener: Opener, old: SerialLike | None) -> None:
        self.opened: Opened | None = None
        self.words = ""
        self.is_wanted = True
        self._opener = opener
        self._old = old
        self._thread = threading.Thread(target=self._run, name="open port", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self._old is not None:
            close_quietly(self._old)
        try:
            opened = self._opener()
        except (OSError, ValueError, termios.error) as exc:
            self.words = open_error_words(exc)
            return
        if self.is_wanted:
            self.opened = opened
        else:
            close_quietly(opened[0])


class PortKeeper:
    """Keeps `port` open; `last_error` says why it is not."""

    def __init__(
        self,
        port: Port,
        opener: Opener,
        lock_dir: Path | None,
        lock_fd: int | None,
    ) -> None:
        self.modes: tuple[PortMode, ...] = ()
        self.last_error = ""
        self.n_reopened = 0
        self._port = port
        self._url = port.port
        self._opener = opener
        self._takes_lock = lock_dir is not None or lock_fd is not None
        self._lock_dir = lock_dir if lock_dir is not None else Path()
        self._lock_fd = lock_fd
        self._is_network = urlsplit(self._url).scheme in NETWORK_SCHEMES
        self._opening: _Opening | None = None
        self._to_close: SerialLike | None = None
        self._next_open_at_ns = 0

    def open(self) -> None:
        """Open the port, at start; BusError says in one line why it cannot be."""
        self._lock()
        try:
            self._use(self._opener())
        except (OSError, ValueError, termios.error) as exc:
            self._unlock_device()
            raise BusError(f"port {self._url}: {open_error_words(exc)}") from exc

    def close(self) -> None:
        """Close port and lock; the port can be opened again."""
        if self._opening is not None:
            self._opening.is_wanted = False
            self._opening = None
        for old in (self._port.detach(), self._to_close):
            if old is not None:
                close_quietly(old)
        self._to_close = None
        self._unlock()

    def lose(self, words: str) -> None:
        """Let go of a failed port and of its lock: the device may come back as another one."""
        self.last_error = f"port {self._url}: {words}"
        old = self._port.detach()
        if self._is_network:
            self._to_close = old
        elif old is not None:
            close_quietly(old)
        self._unlock_device()

    def tend(self, now_ns: int) -> None:
        """Re-open a lost port if it is time to try; never waits for a network."""
        if self._port.is_open:
            return
        if self._opening is not None:
            self._look_in(self._opening)
        elif now_ns >= self._next_open_at_ns:
            self._next_open_at_ns = now_ns + REOPEN_EVERY_ns
            if self._is_network:
                self._opening = _Opening(self._opener, self._to_close)
                self._to_close = None
            else:
                self._reopen()

    def _reopen(self) -> None:
        try:
            self.open()
            self.n_reopened += 1
        except BusError as exc:
            self.last_error = str(exc)

    def _look_in(self, opening: _Opening) -> None:
        if not opening.is_done:
            return
        self._opening = None
        if opening.opened is None:
            self.last_error = f"port {self._url}: {opening.words}"
        else:
            self._use(opening.opened)
            self.n_reopened += 1

    def _use(self, opened: Opened) -> None:
        serial, self.modes = opened
        self._port.attach(serial)
        self.last_error = ""

    def _lock(self) -> None:
        """Lock before opening: opening sets up the line and would disturb another holder."""
        if self._takes_lock and self._lock_fd is None:
            self._lock_fd = lock_port(self._url, self._lock_dir)

    def _unlock_device(self) -> None:
        if not is_url(self._url):
            self._unlock()

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None


class InheritedPort:
    """Keeps `port` on the descriptors that its source hands over; opens nothing itself."""

    def __init__(self, port: Port, source: PortSource) -> None:
        self.modes: tuple[PortMode, ...] = ()  # known to whoever opened the port
        self.last_error = ""
        self.n_reopened = 0
        self._port = port
        self._source = source
        self._fd = -1  # a duplicate of what was taken; closed by the serial object on it

    def open(self) -> None:
        """Take the inherited port; one that is lost at the moment comes later."""
        self._take()
        if not self._port.is_open:
            self.last_error = f"port {self._port.port}: lost; waiting for it to come back"

    def close(self) -> None:
        """Close this process's copy of the port, without a word to the other one."""
        self._detach()
        self._source.close()

    def lose(self, words: str) -> None:
        """Close the failed port at once and say so to whoever opens it again."""
        self.last_error = f"port {self._port.port}: {words}"
        if self._detach():
            self._source.lost()

    def tend(self, now_ns: int) -> None:
        """Take a port that has come, let go of one that hung up; never waits."""
        if self._take():
            self.n_reopened += 1
        elif self._port.is_open and has_hung_up(self._fd):
            self.lose("hung up")

    def _take(self) -> bool:
        """Replace what is there: what comes later is what the other process uses now."""
        fd = self._source.take()
        if fd is None:
            return False
        self._detach()
        serial = FdSerial(fd)
        os.close(fd)
        self._fd = serial.fileno()
        self._port.attach(serial)
        self.last_error = ""
        return True

    def _detach(self) -> bool:
        old = self._port.detach()
        self._fd = -1
        if old is not None:
            close_quietly(old)
        return old is not None


def close_quietly(old: SerialLike) -> None:
    """Close a port that may be gone already."""
    with contextlib.suppress(OSError, termios.error):
        old.close()
