"""A terminal that shows a screen and takes single keys, and is as it was before on every way out.

Owns the alternate screen and the keyboard's mode while it is entered. Without a terminal nothing
is drawn before the end and there are no keys; neither is an error. Commands only, main thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from loadctl.cli.columns import ASCII_GLYPHS, Glyphs
from loadctl.cli.view import UNLIMITED_LINES

REDRAW_EVERY_s = 0.25
READ_BYTES = 64
PIPE_CELLS = 120
# Cursor keys and the like: ESC [ ... letter, ESC O letter, or ESC and one character.
ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|O.?|.)?")
OFF = b"\x00"  # switches a control character of the terminal off


def make_console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def glyphs_for(console: Console) -> Glyphs:
    return Glyphs() if console.encoding.lower().startswith("utf") else ASCII_GLYPHS


def end_on_signals() -> None:
    """A terminal that is closed and a polite kill end a view as ctrl-c does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


class View:
    """`with View(console) as view:` then `show` lines; without a terminal the last are printed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.glyphs = glyphs_for(console)
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._last: Sequence[Text] = ()

    def __enter__(self) -> View:
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            self._live.stop()
            return
        for line in self._last:
            self.console.print(line, soft_wrap=True)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; a pipe takes what it is given."""
        if self.is_live:
            return self.console.width, self.console.height
        return max(self.console.width, PIPE_CELLS), UNLIMITED_LINES

    def show(self, lines: Sequence[Text]) -> None:
        self._last = lines
        if self.is_live:
            self._live.update(Group(*lines), refresh=True)


class Keyboard:
    """Single keys without echo; the terminal's own mode is put back on the way out.

    Ctrl-c stays a signal. Ctrl-z and ctrl-\\ are off: they would leave the terminal as it is.
    """

    def __init__(self, stream: TextIO | None = None, *, is_wanted: bool = True) -> None:
        self._is_wanted = is_wanted
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
            for index in (termios.VSUSP, termios.VQUIT):
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
    """Letters in lower case; sequences of cursor and function keys are no letters."""
    text = ESCAPE.sub("", data.decode(errors="ignore"))
    return [key.lower() for key in text if key.isprintable() and not key.isspace()]


def ticks(for_ns: int | None) -> Iterator[int]:
    """The monotonic time, again and again until `for_ns` is over; the caller waits between."""
    start_ns = time.monotonic_ns()
    while for_ns is None or time.monotonic_ns() - start_ns < for_ns:
        yield time.monotonic_ns()
