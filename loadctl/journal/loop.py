"""The recorder's loop: a few times a second it lets every drain take what a site has to tell.

A drain copies from the files of the site to a disk. One that fails says so and is tried again; the
others go on. Runs in the process of `loadctl recorder`, main thread; nothing waits for it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from loadctl.errors import LoadctlError
from loadctl.flight.writer import FlightWriter
from loadctl.journal.place import Place
from loadctl.journal.sql import Bounds
from loadctl.journal.writer import Journal
from loadctl.runtime import SiteDir
from loadctl.units import NS_PER_S

LOOK_EVERY_ns = NS_PER_S // 4
RETRY_ns = 10 * NS_PER_S
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Say = Callable[[str], None]
# For so many ns; whether it is time to end.
Sleep = Callable[[int], bool]


class Drain(Protocol):
    """May raise LoadctlError or OSError; it is then left alone for RETRY_ns."""

    def drain(self, now_ns: int) -> None: ...
    def close(self) -> None: ...


def drains_of(
    site_dir: SiteDir,
    place: Place,
    bounds: Bounds,
    flush_ns: int,
    flight_s: float,
    flight_bytes: int,
    say: Say,
) -> list[Drain]:
    """Everything that is recorded of a site; no recordings of scans where they may take no byte."""
    drains: list[Drain] = [Journal(site_dir, place, say, bounds=bounds, flush_ns=flush_ns)]
    if flight_bytes > 0:
        drains.append(
            FlightWriter(site_dir, place.flight, keep_s=flight_s, keep_bytes=flight_bytes)
        )
    return drains


def run(drains: Sequence[Drain], sleep: Callable[[], bool], say: Say) -> None:
    """Until `sleep` says that it is enough; then each drain writes its last."""
    rounds = [Round(drain, say) for drain in drains]
    while True:
        for one in rounds:
            one.drain(time.monotonic_ns())
        if sleep():
            break
    for one in rounds:
        one.close()


class Round:
    """One drain, and when it is tried again."""

    def __init__(self, drain: Drain, say: Say) -> None:
        self._drain = drain
        self._say = say
        self._not_before_ns = 0
        self._words = ""

    def drain(self, now_ns: int) -> None:
        if now_ns < self._not_before_ns:
            return
        try:
            self._drain.drain(now_ns)
        except (LoadctlError, OSError) as error:
            self._not_before_ns = now_ns + RETRY_ns
            self._say_once(f"{error}; tried again every {RETRY_ns // NS_PER_S} s")
        else:
            self._words = ""

    def close(self) -> None:
        try:
            self._drain.close()
        except (LoadctlError, OSError) as error:
            self._say_once(str(error))

    def _say_once(self, words: str) -> None:
        """The same failure again is no news."""
        if words != self._words:
            self._words = words
            self._say(words)


@contextmanager
def stoppable() -> Iterator[Sleep]:
    """A sleep that SIGTERM ends: it says whether it did. A signal only leaves a byte in a pipe, so
    none is lost between two sleeps and no transaction is cut short."""
    reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    wakeup_before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}
    try:
        yield lambda span_ns: bool(select.select([reads], [], [], span_ns / NS_PER_S)[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        os.close(reads)
        os.close(writes)
