"""One holder per port: the lock that keeps a second program off a bus.

Device paths are locked by flock on a descriptor of the device itself, so the lock ends with its
holder however that ends, and no other way (TIOCEXCL would outlive a killed one). Ports on a network
lock a file named after host and port. Called at start, never in the scan.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import termios
from pathlib import Path
from urllib.parse import urlsplit

from loadctl.errors import BusError

IN_PYSERIAL = re.compile(r"\[Errno (-?\d+)\] (.*)", re.DOTALL)


def is_url(port: str) -> bool:
    return "://" in port


def lock_port(url: str, lock_dir: Path) -> int:
    """Take the lock of a port and return the descriptor that holds it.

    The descriptor is not inheritable; whoever hands it to a child says so there.
    """
    try:
        path = str(lock_file_of(url, lock_dir)) if is_url(url) else url
    except ValueError as exc:
        raise BusError(f"port {url}: {exc}") from exc
    try:
        if is_url(url):
            lock_dir.mkdir(parents=True, exist_ok=True)
            fd = open_lock(Path(path))
        else:
            fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as exc:
        raise BusError(f"port {url}: {open_error_words(exc)}") from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise BusError(
            f"port {url}: {path} is locked by another program; stop the loadctl (or other Modbus "
            "master) that uses this port, or give this bus another port"
        ) from exc
    return fd


def open_lock(path: Path) -> int:
    """Open a lock file, made where there is none, and lock nothing yet.

    For reading: flock asks for no more, and others may only read. One that root makes belongs to
    whom its directory belongs to, or the service could not open it later.
    """
    flags = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    own_like_parent(fd, path)
    return fd


def own_like_parent(fd: int, path: Path) -> None:
    """Only root can, and only with what is root's. By descriptor: whoever owns the directory may
    have put something else there."""
    ours = os.fstat(fd)
    is_alone = stat.S_ISDIR(ours.st_mode) or ours.st_nlink == 1  # else a link of somebody else's
    if os.geteuid() == 0 and ours.st_uid == 0 and is_alone:
        above = os.stat(path.parent)
        os.fchown(fd, above.st_uid, above.st_gid)


def lock_file_of(url: str, lock_dir: Path) -> Path:
    """Name the lock after host and port alone: two schemes to one gateway are one bus."""
    parts = urlsplit(url)
    name = f"{parts.hostname}_{parts.port}" if parts.hostname else url
    return lock_dir / (re.sub(r"[^A-Za-z0-9._-]+", "_", name) + ".lock")


def open_error_words(exc: BaseException) -> str:
    """Say in one line why a port does not open and what to look at."""
    words = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    number = exc.errno if isinstance(exc, OSError) else None
    wrapped = IN_PYSERIAL.search(words)
    if wrapped is not None:
        number, words = number or int(wrapped[1]), wrapped[2]
    if number == errno.ENOENT:
        return "no such device; look at the cable and at `port` in the site file"
    if number in (errno.EACCES, errno.EPERM):
        return "not allowed; add this user to the group of the device (often dialout)"
    if number == errno.EBUSY:
        return "in exclusive use by another program"
    if number in (errno.ENOTTY, errno.EISDIR):
        return "is not a serial port"
    if number == errno.ECONNREFUSED:
        return "connection refused; is the gateway on, and does it listen on this port?"
    if isinstance(exc, termios.error) and exc.args[:1] == (errno.EINVAL,):
        return "does not take this speed, parity or number of stop bits"
    return " ".join(words.split()) or type(exc).__name__
