"""Descriptors of ports on their way from the guard to the scan, and word of lost ports back.

The guard alone opens ports. A pair of connected sockets (AF_UNIX, SOCK_SEQPACKET) carries one
message per port with its descriptors as SCM_RIGHTS. Nothing here ever waits. `PortSource` is what a
bus asks for its port; the scan's main thread fills it, the bus's thread empties it.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

_MESSAGE = struct.Struct("<ii")  # kind, bus
PORT, LOST = 1, 2
FDS_MAX = 2


class Message(NamedTuple):
    """`data_fd` and `lock_fd` of a PORT belong to the receiver; equal where one does for both."""

    kind: int
    bus_i: int
    data_fd: int
    lock_fd: int


class PortChannel:
    """One end. `pair` makes both; the scan's end is inherited by number."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self.is_closed = False

    @staticmethod
    def pair() -> tuple[PortChannel, PortChannel]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return PortChannel(ours.detach()), PortChannel(theirs.detach())

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self.is_closed = True
        self._socket.close()

    def send_port(self, bus_i: int, data_fd: int, lock_fd: int) -> bool:
        """False when the other end is gone or takes nothing; the port stays ours alone."""
        fds = [data_fd] if data_fd == lock_fd else [data_fd, lock_fd]
        return self._send(PORT, bus_i, fds)

    def tell_lost(self, bus_i: int) -> bool:
        """The port of this bus is dead on our side."""
        return self._send(LOST, bus_i, [])

    def receive(self) -> list[Message]:
        """Everything that has come; the descriptors are not inheritable."""
        messages: list[Message] = []
        while not self.is_closed:
            try:
                data, fds, _, _ = socket.recv_fds(
                    self._socket, _MESSAGE.size, FDS_MAX, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except OSError:
                self.is_closed = True
                break
            if not data:
                self.is_closed = True
                break
            message = _read(data, fds)
            if message is not None:
                messages.append(message)
        return messages

    def _send(self, kind: int, bus_i: int, fds: list[int]) -> bool:
        try:
            socket.send_fds(self._socket, [_MESSAGE.pack(kind, bus_i)], fds)
        except OSError:  # BlockingIOError is one: nobody reads
            return False
        return True


def _read(data: bytes, fds: list[int]) -> Message | None:
    if len(data) == _MESSAGE.size:
        kind, bus_i = _MESSAGE.unpack(data)
        if kind == LOST and not fds:
            return Message(LOST, bus_i, -1, -1)
        if kind == PORT and fds:
            return Message(PORT, bus_i, fds[0], fds[-1])
    for fd in fds:
        os.close(fd)
    return None


class PortSource:
    """Where one bus of the scan gets its port from."""

    def __init__(self, bus_i: int, data_fd: int, channel: PortChannel) -> None:
        self._bus_i = bus_i
        self._channel = channel
        self._waiting_fd = data_fd

    @property
    def has_new(self) -> bool:
        return self._waiting_fd >= 0

    def put(self, data_fd: int) -> None:
        """A new port has come; one that nobody took is closed."""
        before_fd, self._waiting_fd = self._waiting_fd, data_fd
        if before_fd >= 0:
            os.close(before_fd)

    def take(self) -> int | None:
        """The new descriptor, which now belongs to the caller; None when there is none."""
        fd, self._waiting_fd = self._waiting_fd, -1
        return fd if fd >= 0 else None

    def lost(self) -> None:
        self._channel.tell_lost(self._bus_i)
