"""A terminal that shows a screen, and is as it was before on every way out.

Owns the alternate screen while it is entered. Without a terminal the lines are printed, each time
they are shown or at the end only. Commands only, main thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from loadctl.cli.columns import ASCII_GLYPHS, Glyphs
from loadctl.cli.keyboard import Keyboard
from loadctl.cli.paint import CLEAR, ENTER, NO_LIMIT, Painter, leave
from loadctl.cli.view import UNLIMITED_LINES

REDRAW_EVERY_s = 0.25
PRINT_EVERY_s = 1.0  # without a terminal everything stays, and is read line by line
PIPE_CELLS = 120
USUAL_SIZE = (80, 24)  # of a serial line, which does not say
BITS_PER_BYTE = 10  # start, eight data, stop
LINE_SHARE = 0.8  # of what a line carries between two frames: keys are to be heard too
LEAST_FRAME_BYTES = 64
# Terminals that are known to take the escape for synchronized updates, or to let it pass unseen.
SYNCING = ("xterm", "screen", "tmux", "foot", "alacritty", "kitty", "wezterm", "rxvt", "contour")
WITHOUT_COLOUR = ("vt1", "vt2", "vt3", "dumb")
ONLY_ASCII = ("vt1", "vt2", "vt3", "ansi")
PSEUDO_TERMINALS = "/dev/pts/"


def make_console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def glyphs_for(console: Console) -> Glyphs:
    """What the terminal can show; the font of the kernel's own console has blocks, but no small
    ones."""
    kind = os.environ.get("TERM", "")
    if not console.encoding.lower().startswith("utf") or kind.startswith(ONLY_ASCII):
        return ASCII_GLYPHS
    return Glyphs(ramp=ASCII_GLYPHS.ramp) if kind == "linux" else Glyphs()


def end_on_signals() -> None:
    """A terminal that is closed and a polite kill end a view as ctrl-c does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


class View:
    """`with View(console) as view:` then `show` lines; without a terminal they are printed where
    `prints_all`, or else the last ones at the end.

    `baud`: of a slow line behind the terminal; of a serial line itself it is known.
    """

    def __init__(
        self, console: Console, baud: int | None = None, *, prints_all: bool = False
    ) -> None:
        self.console = console
        self.glyphs = glyphs_for(console)
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self.every_s = REDRAW_EVERY_s if self.is_live or not prints_all else PRINT_EVERY_s
        self._prints_all = prints_all
        self._baud = baud
        self._painter: Painter | None = None
        self._last: Sequence[Text] = ()

    def __enter__(self) -> View:
        if self.is_live:
            self._painter = self._make_painter()
            self._write(ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_live:
            with contextlib.suppress(OSError):  # the terminal is gone
                self._write(leave(self.size[1]))
        elif not self._prints_all:
            self._print(self._last)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; a pipe takes what it is given."""
        if not self.is_live:
            return max(self.console.width, PIPE_CELLS), UNLIMITED_LINES
        try:
            columns, lines = os.get_terminal_size(self.console.file.fileno())
        except OSError:
            columns, lines = 0, 0
        return columns or USUAL_SIZE[0], lines or USUAL_SIZE[1]

    def show(self, lines: Sequence[Text]) -> None:
        if not self.is_live:
            if self._prints_all:
                self._print([*([Text()] if self._last else []), *lines])
            self._last = lines
            return
        if self._painter is None or (self._painter.width, self._painter.height) != self.size:
            self._painter = self._make_painter()
            self._write(CLEAR)
        self._write(self._painter.frame(lines))

    def _print(self, lines: Sequence[Text]) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=True)
        self.console.file.flush()  # whoever reads it reads it now

    def _make_painter(self) -> Painter:
        kind = os.environ.get("TERM", "")
        fd = self.console.file.fileno()
        baud = self._baud or line_baud(fd)
        return Painter(
            *self.size,
            encoding=self.console.encoding,
            has_colour="NO_COLOR" not in os.environ and not kind.startswith(WITHOUT_COLOUR),
            syncs=baud is None and kind.startswith(SYNCING),
            most_bytes=NO_LIMIT if baud is None else frame_bytes(baud),
        )

    def _write(self, data: bytes) -> None:
        """Waits where the terminal does: a frame is made when the one before is gone."""
        fd = self.console.file.fileno()
        while data:
            data = data[os.write(fd, data) :]


def frame_bytes(baud: int) -> int:
    return max(LEAST_FRAME_BYTES, int(baud / BITS_PER_BYTE * REDRAW_EVERY_s * LINE_SHARE))


def line_baud(fd: int) -> int | None:
    """Of a serial line; a pseudo-terminal has a number too, which means nothing."""
    try:
        if os.ttyname(fd).startswith(PSEUDO_TERMINALS):
            return None
        speed = termios.tcgetattr(fd)[5]
    except (OSError, termios.error):
        return None
    found = [name for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()]
    return next((int(name[1:]) for name in found if getattr(termios, name) == speed), None) or None


class Suspension:
    """ctrl-z gives the terminal back and stops; fg draws anew. So does a stop from elsewhere.

    Signals only note what was asked; `check` acts between two frames.
    """

    def __init__(self, view: View, keyboard: Keyboard) -> None:
        self._view, self._keyboard = view, keyboard
        self._must_stop = self._is_back = False

    def __enter__(self) -> Suspension:
        if self._view.is_live:
            signal.signal(signal.SIGTSTP, self._note_stop)
            signal.signal(signal.SIGCONT, self._note_back)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)

    def _note_stop(self, number: int, frame: object) -> None:
        self._must_stop = True

    def _note_back(self, number: int, frame: object) -> None:
        self._is_back = True

    def check(self) -> None:
        if self._must_stop:
            self._must_stop = False
            self._keyboard.__exit__()
            self._view.__exit__()
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)  # goes on here after SIGCONT
            signal.signal(signal.SIGTSTP, self._note_stop)
            self._is_back = True
        if self._is_back:
            self._is_back = False
            self._keyboard.__enter__()
            self._view.__enter__()


def ticks(for_ns: int | None) -> Iterator[int]:
    """The monotonic time, again and again until `for_ns` is over; the caller waits between."""
    start_ns = time.monotonic_ns()
    while for_ns is None or time.monotonic_ns() - start_ns < for_ns:
        yield time.monotonic_ns()
