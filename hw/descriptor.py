"""A line as a bare descriptor, tty or socket: reads and writes that never block.

What two processes share of a port is its descriptor alone; this is all that either does with it.
Whatever goes wrong with the port is an OSError. Opens nothing, configures nothing, imports nothing
when called. Any thread, one at a time per descriptor.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import termios

READ_BYTES = 256
# What a flush takes out at most: more than both buffers of a line can hold.
FLUSH_BYTES_MAX = 1 << 20
GONE = select.POLLHUP | select.POLLERR | select.POLLRDHUP | select.POLLNVAL


def has_hung_up(fd: int) -> bool:
    """Whether the far end of a port is gone; reads nothing, never waits."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return any(events & GONE for _, events in poll.poll(0))


def read_now(fd: int, size: int) -> bytes:
    """Return what is there, at most `size` bytes; nothing if nothing is there.

    A tty with nothing to read and one that hung up both read as nothing; so does a socket whose
    other end closed.
    """
    try:
        data = os.read(fd, size)
    except BlockingIOError:
        return b""
    if not data and has_hung_up(fd):
        raise OSError(errno.EIO, "the port hung up")
    return data


def write_now(fd: int, data: bytes) -> int:
    """Write what the port takes at once; return how many bytes that was."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


def bytes_waiting(fd: int) -> int:
    """How many bytes can be read now."""
    count = array.array("i", (0,))
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def flush_input(fd: int, is_tty: bool) -> None:
    """Drop what was received."""
    if is_tty:
        tc_flush(fd, termios.TCIFLUSH)
        return
    n_dropped = 0
    while n_dropped < FLUSH_BYTES_MAX:
        data = read_now(fd, 16 * READ_BYTES)
        if not data:
            return
        n_dropped += len(data)


def flush_both(fd: int, is_tty: bool) -> None:
    """Drop what was received and what was not sent yet; what a socket took cannot be recalled."""
    if is_tty:
        tc_flush(fd, termios.TCIOFLUSH)
    else:
        flush_input(fd, is_tty)


def tc_flush(fd: int, queue: int) -> None:
    """Flush a queue of a tty; one that is gone reports it in termios' own class."""
    try:
        termios.tcflush(fd, queue)
    except termios.error as exc:
        raise OSError(*exc.args) from None


class FdSerial:
    """A `hw.port.SerialLike` on a descriptor of its own, a duplicate of the one given.

    The port stays open for whoever else holds it: closing ends no connection.
    """

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)
        os.set_blocking(self._fd, False)
        self._is_tty = os.isatty(self._fd)

    @property
    def in_waiting(self) -> int:
        return bytes_waiting(self._fd)

    def read(self, size: int = 1, /) -> bytes:
        return read_now(self._fd, size)

    def write(self, data: bytes, /) -> int:
        return write_now(self._fd, data)

    def reset_input_buffer(self) -> None:
        flush_input(self._fd, self._is_tty)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
