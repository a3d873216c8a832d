"""Opening a port: set up the line, take the lock, say in one line why it cannot be.

A tty is locked and used through one descriptor; pyserial sets up the line on a second one that is
closed again, so that two processes can share the first. A `socket://` is connected here. Ports
of pyserial's other kinds cannot be shared: only their lock is taken. Imports nothing when called
for a tty or a socket, so that a port can be opened again late in a program that must not load code.
Blocks: a tty for some milliseconds, a connection for up to CONNECT_TIMEOUT_ns, looking up the name
of its host included. At start, or in a thread that may wait.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401  the socket module loads it at the first look-up
import os
import socket
import stat
import termios
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import serial
import serial.rs485

from hw.descriptor import FdSerial, flush_both, has_hung_up
from hw.lock import is_url, lock_port, open_error_words
from hw.port import SerialLike
from hw.wire import NS_PER_S, Line
from loadctl.errors import BusError

__all__ = [
    "FdSerial",
    "OpenPort",
    "PortMode",
    "close_port",
    "has_hung_up",
    "let_go",
    "open_port",
    "open_serial",
    "try_port",
]

Address = tuple[
    socket.AddressFamily,
    socket.SocketKind,
    int,
    str,
    tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
]

CONNECT_TIMEOUT_ns = 5 * NS_PER_S
STACK_BYTES = 256 * 1024  # of a look-up; in a process that locks its memory all of it is taken
# A peer that acknowledges nothing for this long is gone; the port is then opened anew.
USER_TIMEOUT_ms = 5_000
KEEPALIVE_IDLE_s = 2
KEEPALIVE_EVERY_s = 1
KEEPALIVE_PROBES = 3
NETWORK_SCHEMES = ("socket", "rfc2217")
OTHER_SCHEMES = ("loop", "spy", "hwgrep", "alt", "cp2110")


class PortMode(NamedTuple):
    """A mode that was asked of the adapter, and whether it is in force."""

    what: str
    is_applied: bool
    why: str


class OpenPort(NamedTuple):
    """`data_fd` is -1 where the port cannot be shared, and equals `lock_fd` for a tty."""

    lock_fd: int
    data_fd: int
    modes: tuple[PortMode, ...]


def open_port(
    url: str, line: Line, lock_dir: Path, uses_rs485_mode: bool, held_lock_fd: int = -1
) -> OpenPort:
    """Lock and open a port for sharing; BusError says in one line why it cannot be.

    `held_lock_fd` is what `let_go` left of an earlier opening of this port: the lock of a network
    port, which stays held meanwhile. It stays the caller's if this fails.
    """
    lock_fd = held_lock_fd
    try:
        refuse_odd_url(url)
        if lock_fd < 0:
            lock_fd = lock_port(url, lock_dir)
        if not is_url(url):
            return OpenPort(lock_fd, lock_fd, set_up_tty(url, lock_fd, line, uses_rs485_mode))
        modes = (not_a_tty(),) if uses_rs485_mode else ()
        if urlsplit(url).scheme == "socket":
            return OpenPort(lock_fd, connect(url), modes)
        return OpenPort(lock_fd, -1, modes)
    except (OSError, ValueError, termios.error) as exc:
        if lock_fd not in (held_lock_fd, -1):
            os.close(lock_fd)
        raise BusError(f"port {url}: {open_error_words(exc)}") from exc


def try_port(url: str, line: Line, uses_rs485_mode: bool) -> None:
    """Open a port that cannot be shared, and close it again; BusError says why it cannot be."""
    try:
        serial_port, _ = open_serial(url, line, uses_rs485_mode)
        serial_port.close()
    except (OSError, ValueError, termios.error) as exc:
        raise BusError(f"port {url}: {open_error_words(exc)}") from exc


def close_port(port: OpenPort) -> None:
    """Close the port and give up its lock, as far as this process holds them."""
    for fd in {port.lock_fd, port.data_fd} - {-1}:
        os.close(fd)


def let_go(port: OpenPort) -> int:
    """Close a port that hung up; return the lock that stays held, or -1.

    The lock of a tty is the tty itself and goes with it: a USB adapter that anybody holds open
    comes back under another name. That of a network port is a file, and stays.
    """
    if port.data_fd >= 0:
        with contextlib.suppress(OSError):  # else closing waits until a dead line has sent it all
            flush_both(port.data_fd, os.isatty(port.data_fd))
        os.close(port.data_fd)
    return -1 if port.lock_fd == port.data_fd else port.lock_fd


def refuse_odd_url(url: str) -> None:
    """ValueError for what is neither a path nor a URL that could lead to a port."""
    if not is_url(url):
        return
    parts = urlsplit(url)
    if parts.scheme not in (*NETWORK_SCHEMES, *OTHER_SCHEMES):
        raise ValueError(
            f"{parts.scheme}:// is no kind of port; write a path such as /dev/ttyUSB0, "
            "or socket://HOST:PORT"
        )
    if parts.scheme in NETWORK_SCHEMES and (not parts.hostname or parts.port is None):
        raise ValueError(f"no host or no port; write {parts.scheme}://HOST:PORT")


def set_up_tty(path: str, fd: int, line: Line, uses_rs485_mode: bool) -> tuple[PortMode, ...]:
    """Set up the line behind `fd` by its path; the settings last as long as `fd` is open."""
    if not os.isatty(fd):
        raise ValueError("is not a serial port")
    port, modes = open_tty(path, line, uses_rs485_mode)
    port.close()
    return modes


def connect(url: str) -> int:
    """Connect to socket://HOST:PORT, non-blocking from then on; return the descriptor."""
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("more than host and port; write socket://HOST:PORT")
    give_up_ns = time.monotonic_ns() + CONNECT_TIMEOUT_ns
    error: OSError = TimeoutError("no connection")
    for family, kind, protocol, _, address in addresses(parts.hostname or "", parts.port or 0):
        left_ns = give_up_ns - time.monotonic_ns()
        if left_ns <= 0:
            break
        try:
            return connected_fd(socket.socket(family, kind, protocol), address, left_ns)
        except TimeoutError:
            error = TimeoutError(f"no connection within {CONNECT_TIMEOUT_ns // NS_PER_S} s")
        except OSError as exc:
            error = exc
    raise error


class LookUp:
    """One question to the system's resolver, in a thread that ends when the resolver has done."""

    def __init__(self, host: str, port: int) -> None:
        self.found: Sequence[Address] = ()
        self.error: OSError | None = None
        self._asked = (host, port)
        self.thread = threading.Thread(target=self._ask, name=f"look up {host}", daemon=True)
        try:
            with stack_size_lock:
                before_bytes = threading.stack_size(STACK_BYTES)
                try:
                    self.thread.start()
                finally:
                    threading.stack_size(before_bytes)
        except RuntimeError as error:  # no memory that may be locked is left
            raise OSError(f"{host} cannot be looked up: {error}") from error

    def _ask(self) -> None:
        try:
            self.found = socket.getaddrinfo(*self._asked, type=socket.SOCK_STREAM)
        except OSError as error:
            self.error = error


stack_size_lock = threading.Lock()
look_ups: dict[tuple[str, int], LookUp] = {}  # that have no answer yet


def addresses(host: str, port: int) -> Sequence[Address]:
    """A resolver without a network may take half a minute, longer than the thread of a bus may be
    silent: it is waited for no longer than a connection. Who comes again waits for the same one."""
    with contextlib.suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    look_up = look_ups.get((host, port)) or LookUp(host, port)
    look_ups[host, port] = look_up
    look_up.thread.join(CONNECT_TIMEOUT_ns / NS_PER_S)
    if look_up.thread.is_alive():
        raise TimeoutError(f"{host} is not found within {CONNECT_TIMEOUT_ns // NS_PER_S} s")
    look_ups.pop((host, port), None)
    if look_up.error is not None:
        raise look_up.error
    return look_up.found


def connected_fd(
    connection: socket.socket, address: tuple[object, ...] | str, timeout_ns: int
) -> int:
    """Connect, with small frames sent at once and a dead peer noticed within seconds."""
    with connection:
        connection.settimeout(timeout_ns / NS_PER_S)
        connection.connect(address)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_s),
            (socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_s),
            (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
            (socket.TCP_USER_TIMEOUT, USER_TIMEOUT_ms),
        ):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        return connection.detach()


def open_serial(
    url: str, line: Line, uses_rs485_mode: bool
) -> tuple[SerialLike, tuple[PortMode, ...]]:
    """Open a port for this process alone so that no read on it ever blocks."""
    refuse_odd_url(url)
    if not is_url(url):
        return open_tty(url, line, uses_rs485_mode)
    scheme = urlsplit(url).scheme
    modes = (not_a_tty(),) if uses_rs485_mode else ()
    if scheme == "socket":
        fd = connect(url)
        try:
            return FdSerial(fd), modes
        finally:
            os.close(fd)
    write_timeout_s = None if scheme in ("loop", "rfc2217") else 0  # they know no such thing
    port = serial.serial_for_url(url, do_not_open=True, timeout=0, write_timeout=write_timeout_s)
    set_line(port, line, serial.PARITY_NONE if is_pty(urlsplit(url).path) else line.parity)
    port.open()
    return port, modes


def open_tty(
    path: str, line: Line, uses_rs485_mode: bool
) -> tuple[serial.Serial, tuple[PortMode, ...]]:
    """Open a device path with the modes that its adapter has."""
    if os.path.exists(path) and not stat.S_ISCHR(os.stat(path).st_mode):
        raise ValueError("is not a serial port")
    port = serial.Serial(timeout=0, write_timeout=0)
    port.port = path
    set_line(port, line, serial.PARITY_NONE if is_pty(path) else line.parity)
    modes = []
    if uses_rs485_mode:
        modes.append(open_in_rs485_mode(port))
    else:
        port.open()
    modes.append(set_low_latency(port))
    return port, tuple(modes)


def is_pty(path: str) -> bool:
    """It has no parity, and says so with an error when it is opened a second time."""
    return os.path.realpath(path).startswith("/dev/pts/")


def set_line(port: serial.SerialBase, line: Line, parity: str) -> None:
    port.baudrate = line.baud
    port.bytesize = 8
    port.parity = parity
    port.stopbits = line.stop_bits


def not_a_tty() -> PortMode:
    return PortMode("kernel RS-485 mode", False, "not a local serial port")


def open_in_rs485_mode(port: serial.Serial) -> PortMode:
    """Let the kernel drive the direction of the line, or open without and say why."""
    what = "kernel RS-485 mode"
    port.rs485_mode = serial.rs485.RS485Settings()
    try:
        port.open()
    except ValueError as exc:
        port.rs485_mode = None
        port.open()
        return PortMode(what, False, str(exc))
    return PortMode(what, True, "")


def set_low_latency(port: serial.Serial) -> PortMode:
    """Have the adapter hand over every byte at once; FTDI chips hold them back for 16 ms."""
    what = "low latency mode"
    try:
        port.set_low_latency_mode(True)
    except (ValueError, OSError) as exc:
        return PortMode(what, False, str(exc))
    return PortMode(what, True, "")
