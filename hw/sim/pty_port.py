"""A pseudo-terminal in the place of a serial port: raw, and reached by a path of our choice.

Owns the two descriptors and the symbolic link. Our own end of the client's side stays open, so that
clients may come and go. Unplugged, the link is gone and clients are hung up; plugged in again it is
another terminal under the same path.
"""

from __future__ import annotations

import os
import tty
from pathlib import Path

READ_BYTES = 1_024


class PtyPort:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_plugged = False
        self.plug()

    def plug(self) -> None:
        self.fd, self._client_fd = os.openpty()
        tty.setraw(self._client_fd)
        os.set_blocking(self.fd, False)
        self._target = os.ttyname(self._client_fd)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        os.symlink(self._target, beside)
        os.replace(beside, self.path)  # an old link of a process that was killed is replaced
        self.is_plugged = True

    def read(self) -> bytes:
        try:
            return os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> None:
        """Put bytes on the line. Nobody listens to what no longer fits the buffer."""
        try:
            os.write(self.fd, data)
        except BlockingIOError:
            return

    def unplug(self) -> None:
        if not self.is_plugged:
            return
        self.is_plugged = False
        if self.path.is_symlink() and os.readlink(self.path) == self._target:
            self.path.unlink()
        os.close(self.fd)
        os.close(self._client_fd)

    def close(self) -> None:
        self.unplug()
