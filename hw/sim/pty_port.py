"""A pseudo-terminal in the place of a serial port: raw, and reached by a path of our choice.

Owns the two descriptors and the symbolic link. Our own end of the client's side stays open, so that
clients may come and go.
"""

from __future__ import annotations

import os
import tty
from pathlib import Path

READ_BYTES = 1_024


class PtyPort:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd, self._client_fd = os.openpty()
        tty.setraw(self._client_fd)
        os.set_blocking(self.fd, False)
        self._target = os.ttyname(self._client_fd)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        os.symlink(self._target, beside)
        os.replace(beside, path)  # an old link of a process that was killed is replaced

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

    def close(self) -> None:
        if self.path.is_symlink() and os.readlink(self.path) == self._target:
            self.path.unlink()
        os.close(self.fd)
        os.close(self._client_fd)
