"""A command on a terminal of its own, alone or as the job of a shell."""

from __future__ import annotations

import fcntl
import os
import pty
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
WITHIN_s = 15.0


class Terminal:
    """A command on a terminal of its own; `drawn` is every byte that it wrote."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self.outer, self.inner = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.inner)
        self.drawn = b""
        inner = self.inner
        self.process = subprocess.Popen(
            self._command(arguments),
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=ENV,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(inner, termios.TIOCSCTTY, 0),
        )
        os.set_blocking(self.outer, False)

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [*LOADCTL, *arguments]

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.outer, keys)

    def is_cooked(self) -> bool:
        """Lines and echo, as a shell wants it."""
        wanted = termios.ICANON | termios.ECHO
        return bool(termios.tcgetattr(self.inner)[3] & wanted == wanted)

    def take_for(self, span_s: float) -> bytes:
        """What is written from now on for so long."""
        at, end_s = len(self.drawn), time.monotonic() + span_s
        while time.monotonic() < end_s:
            self._read()
            time.sleep(0.01)
        return self.drawn[at:]

    def until(self, words: bytes, times: int = 1) -> None:
        self._read_until(lambda: self.drawn.count(words) >= times)

    def ended(self) -> int:
        self._read_until(lambda: self.process.poll() is not None)
        self._read()
        return int(self.process.returncode)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.inner) == self.before

    def _read_until(self, is_so: Any) -> None:
        end_s = time.monotonic() + WITHIN_s
        while not is_so():
            assert time.monotonic() < end_s, self.drawn[-2000:].decode(errors="replace")
            self._read()
            time.sleep(0.02)

    def _read(self) -> None:
        try:
            while data := os.read(self.outer, 65536):
                self.drawn += data
        except (BlockingIOError, OSError):
            return

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.outer)
        os.close(self.inner)


class Shell(Terminal):
    """The command as a job of a shell, which goes on with it when a line is entered."""

    def _command(self, arguments: Sequence[str]) -> list[str]:
        job = shlex.join([*LOADCTL, *arguments])
        return ["bash", "-m", "-c", f"{job}; echo is stopped; read; fg >&2; echo is over"]
