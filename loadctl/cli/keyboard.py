"""Single keys of a terminal, which is as it was before on every way out.

Owns the keyboard's mode while it is entered. Without a terminal there are no keys; that is no
error. Commands only, main thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import termios
import time
import tty
from typing import Any, TextIO

READ_BYTES = 64
# Cursor keys and the like: ESC [ ... letter, ESC O letter, or ESC and one character.
TOKEN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|O.?|.)?|.", re.DOTALL)
NAMES = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[H": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1b[4~": "end",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOH": "home",
    "\x1bOF": "end",
}
OFF = b"\x00"  # switches a control character of the terminal off


class Keyboard:
    """Single keys without echo; the terminal's own mode is put back on the way out.

    Ctrl-c stays a signal, and ctrl-z where `can_stop`: whoever asks for that handles it. Ctrl-\\
    is off: it would leave the terminal as it is.
    """

    def __init__(
        self, stream: TextIO | None = None, *, is_wanted: bool = True, can_stop: bool = False
    ) -> None:
        self._is_wanted = is_wanted
        self._can_stop = can_stop
        self._stream = sys.stdin if stream is None else stream
        self._fd: int | None = None
        self._before: list[Any] | None = None

    @property
    def has_keys(self) -> bool:
        return self._fd is not None

    def __enter__(self) -> Keyboard:
        fd = _own_terminal(self._stream) if self._is_wanted else None
        if fd is not None:
            self._before = termios.tcgetattr(fd)
            tty.setcbreak(fd, termios.TCSANOW)
            mode = termios.tcgetattr(fd)
            off = (termios.VQUIT,) if self._can_stop else (termios.VSUSP, termios.VQUIT)
            for index in off:
                mode[6][index] = OFF
            termios.tcsetattr(fd, termios.TCSANOW, mode)
            self._fd = fd
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None and self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone: nothing to put back
                termios.tcsetattr(self._fd, termios.TCSANOW, self._before)
        self._fd = None

    def pressed(self, wait_s: float) -> list[str]:
        """Keys of the next `wait_s` at most; returns with the first."""
        if self._fd is None:
            time.sleep(wait_s)
            return []
        readable, _, _ = select.select([self._fd], (), (), wait_s)
        if not readable:
            return []
        try:
            data = os.read(self._fd, READ_BYTES)
        except OSError:
            data = b""
        if not data:  # the terminal hung up
            self._fd = None
        return keys_of(data)


def _own_terminal(stream: TextIO) -> int | None:
    """The descriptor of a terminal that is ours to change: none in the background."""
    try:
        fd = stream.fileno()
        return fd if os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp() else None
    except (OSError, ValueError):  # closed, or no file at all
        return None


def keys_of(data: bytes) -> list[str]:
    """Letters in lower case, cursor keys by name; other sequences are no keys."""
    found = []
    for token in TOKEN.findall(data.decode(errors="ignore")):
        if token in NAMES:
            found.append(NAMES[token])
        elif len(token) == 1 and token.isprintable() and not token.isspace():
            found.append(token.lower())
    return found
