"""Port descriptors on their way from the guard, which opens ports, to the scan, which uses them.

Owns the channel between the two (one local socket pair for each start of the scan) and, in the
scan, one source of descriptors per bus. Either side learns from the channel when the other is gone.
Nothing here waits. The channel of a process is read by its main thread; a source is filled by the
main thread and used by the I/O thread of its bus.

Each port of a bus has a turn: 0 for what the scan inherited, then one more for each port sent. A
port that the scan reports lost is lost only if it is still the latest one sent.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections import deque
from typing import NamedTuple

MESSAGE = struct.Struct("=iii")  # kind, bus_i, turn
PORT = 1
LOST = 2
MESSAGES_AT_ONCE = 64
FDS_MAX = 2
CUT_SHORT = socket.MSG_TRUNC | socket.MSG_CTRUNC


class Message(NamedTuple):
    """`data_fd` and `lock_fd` of a PORT belong to the receiver; equal where one does for both."""

    kind: int
    bus_i: int
    turn: int
    data_fd: int
    lock_fd: int


class PortChannel:
    """One end of the channel; `is_closed` once the other end is gone."""

    def __init__(self, fd: int) -> None:
        """Take over the descriptor of one end."""
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._turns: dict[int, int] = {}  # by bus: of the port last sent, or last received
        self.is_closed = False

    @classmethod
    def pair(cls) -> tuple[PortChannel, PortChannel]:
        """Make both ends: the guard's, and the one whose `fileno()` a scan inherits."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        guard_end, scan_end = (cls(end.detach()) for end in ends)
        return guard_end, scan_end

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self.is_closed = True
        self._socket.close()

    def send_port(self, bus_i: int, data_fd: int, lock_fd: int) -> bool:
        """Send copies of a port's descriptors; False if the other end cannot take them now."""
        turn = self.turn_of(bus_i) + 1
        fds = (data_fd,) if data_fd == lock_fd else (data_fd, lock_fd)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        if not self._send(MESSAGE.pack(PORT, bus_i, turn), [rights]):
            return False
        self._turns[bus_i] = turn
        return True

    def turn_of(self, bus_i: int) -> int:
        """Return the turn of the newest port of a bus that this end knows of."""
        return self._turns.get(bus_i, 0)

    def tell_lost(self, bus_i: int, turn: int | None = None) -> bool:
        """Say that a port is lost, the newest one if no turn is given; False if nobody can hear."""
        lost_turn = self.turn_of(bus_i) if turn is None else turn
        return self._send(MESSAGE.pack(LOST, bus_i, lost_turn), [])

    def receive(self) -> list[Message]:
        """Return what has come, a bounded number at a time; sets `is_closed` at its end."""
        messages: list[Message] = []
        while len(messages) < MESSAGES_AT_ONCE and not self.is_closed:
            try:
                data, rights, flags, _ = self._socket.recvmsg(
                    MESSAGE.size, socket.CMSG_SPACE(4 * FDS_MAX), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except OSError:
                self.is_closed = True
                break
            if not data:
                self.is_closed = True
                break
            message = understood(data, fds_in(rights), bool(flags & CUT_SHORT))
            if message is None:
                continue
            if message.kind == PORT:
                self._turns[message.bus_i] = message.turn
            elif message.turn != self.turn_of(message.bus_i):
                continue
            messages.append(message)
        return messages

    def _send(self, data: bytes, rights: list[tuple[int, int, array.array[int]]]) -> bool:
        if self.is_closed:
            return False
        try:
            self._socket.sendmsg([data], rights)
        except BlockingIOError:
            return False
        except OSError:
            self.is_closed = True
            return False
        return True


class PortSource:
    """Where one bus of the scan gets its port from: filled by the main thread, emptied by the bus.

    A port that nobody took yet belongs to the source.
    """

    def __init__(self, bus_i: int, data_fd: int, channel: PortChannel) -> None:
        """Begin with the inherited port; -1 where it is lost at the moment."""
        self._bus_i = bus_i
        self._channel = channel
        self._come: deque[tuple[int, int]] = deque()  # turn, descriptor
        self._turn = 0  # of the port that was taken last
        self._lost_turn: int | None = None  # of a port whose loss the guard could not be told yet
        if data_fd >= 0:
            self._come.append((0, data_fd))

    @property
    def has_new(self) -> bool:
        return bool(self._come)

    def put(self, data_fd: int) -> None:
        """Hand in the port that was received last for this bus."""
        self._come.append((self._channel.turn_of(self._bus_i), data_fd))

    def take(self) -> int | None:
        """Return the newest port, which now is the caller's; None when none has come."""
        newest_fd = None
        while self._come:
            close_all(-1 if newest_fd is None else newest_fd)
            self._turn, newest_fd = self._come.popleft()
            self._lost_turn = None
        self._tell_again()
        return newest_fd

    def lost(self) -> None:
        """Say that the port taken last failed and was closed here."""
        self._lost_turn = self._turn
        self._tell_again()

    def close(self) -> None:
        """Close what nobody took."""
        close_all(*(fd for _, fd in self._come))
        self._come.clear()

    def _tell_again(self) -> None:
        turn = self._lost_turn
        if turn is not None and self._channel.tell_lost(self._bus_i, turn):
            self._lost_turn = None


def fds_in(rights: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def understood(data: bytes, fds: list[int], is_cut_short: bool) -> Message | None:
    """Read one message; what is not exactly right is dropped, its descriptors closed."""
    if len(data) == MESSAGE.size and not is_cut_short:
        kind, bus_i, turn = MESSAGE.unpack(data)
        if kind == PORT and len(fds) in (1, FDS_MAX):
            return Message(PORT, bus_i, turn, fds[0], fds[-1])
        if kind == LOST and not fds:
            return Message(LOST, bus_i, turn, -1, -1)
    close_all(*fds)
    return None


def close_all(*fds: int) -> None:
    """Close each descriptor once; -1 stands for none."""
    for fd in {*fds} - {-1}:
        with contextlib.suppress(OSError):  # closed in any case; a dead line may still complain
            os.close(fd)
