"""What tells the gateway that the guard is well: systemd's notify socket, a watchdog device.

Owns both descriptors, opened at start. Fed from the guard's main thread only, and only while it
vouches for the chargers; nothing here decides that. Never waits.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from loadctl.units import NS_PER_S, NS_PER_US

DEVICE_EVERY_ns = NS_PER_S
DEVICE_FEED = b"\0"
DEVICE_CLOSE = b"V"  # the orderly end: the device stops counting


class Feed:
    """Both are optional: without them feeding does nothing."""

    def __init__(self, environment: Mapping[str, str], device: Path | None) -> None:
        """OSError where what was asked for cannot be opened."""
        self._socket = notify_socket(environment.get("NOTIFY_SOCKET", ""))
        self._every_ns = feed_every_ns(environment)
        self._socket_at_ns = self._device_at_ns = 0
        self._device_fd: int | None = None
        self._is_ready = False
        if device is not None:
            self._device_fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def feed(self, now_ns: int) -> None:
        """Say that all is well, as often as each wants to hear it."""
        if self._every_ns and now_ns - self._socket_at_ns >= self._every_ns:
            self._socket_at_ns = now_ns
            self._say(b"WATCHDOG=1")
        if self._device_fd is not None and now_ns - self._device_at_ns >= DEVICE_EVERY_ns:
            self._device_at_ns = now_ns
            self._write(DEVICE_FEED)

    def ready(self) -> None:
        """The first scan has its token."""
        if not self._is_ready:
            self._is_ready = True
            self._say(b"READY=1")

    def status(self, words: str) -> None:
        self._say(f"STATUS={words}".encode())

    def stopping(self) -> None:
        self._say(b"STOPPING=1")

    def close(self, is_orderly: bool) -> None:
        """Disarm the device only after an orderly end; else it is left to count down."""
        if self._device_fd is not None:
            if is_orderly:
                self._write(DEVICE_CLOSE)
            os.close(self._device_fd)
            self._device_fd = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _say(self, words: bytes) -> None:
        """What nobody hears must not stop the guard."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(words)

    def _write(self, data: bytes) -> None:
        if self._device_fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._device_fd, data)


def notify_socket(address: str) -> socket.socket | None:
    """systemd's datagram socket; an address that begins with @ is an abstract one."""
    if not address:
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    found.setblocking(False)
    try:
        found.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        found.close()
        raise
    return found


def feed_every_ns(environment: Mapping[str, str]) -> int:
    """A third of the time that systemd allows; 0 where it does not watch this process."""
    usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not usec.isdecimal() or pid not in ("", str(os.getpid())):
        return 0
    return int(usec) * NS_PER_US // 3
