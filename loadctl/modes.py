"""The mode of the scan: a state machine of facts about whole scans.

Pure; no clock, no I/O. The scan's main thread calls `after` once per pass.

    in          fact                                            becomes
    any         the machine slept                               START
    any         the missed_limit-th overrun without as many
                good scans between                              FAILSAFE
    START       healthy_scans good scans in a row               RUN
    FAILSAFE    healthy_scans good scans in a row               RUN
    any         anything else                                   stays

STOP is not reached here: the process enters it on its way out.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

START = 0
RUN = 1
FAILSAFE = 2
STOP = 3
MODE_NAMES = ("start", "run", "failsafe", "stop")


class Reason(IntEnum):
    """Why a mode is in force; stored in the image, so a number never changes its meaning."""

    NONE = 0
    ARMING = 1  # first: good scans so far, second: of how many
    SLEPT = 2  # the same
    OVERRUNS = 3  # first: overruns, second: good scans since
    TOLD_TO_STOP = 4
    GUARD_GONE = 5
    FAULT = 6


_WORDS = {
    Reason.NONE: "",
    Reason.ARMING: "arming and {first} of {second} good scans",
    Reason.SLEPT: "the machine slept; arming and {first} of {second} good scans",
    Reason.OVERRUNS: "{first} overruns; {second} good scans since",
    Reason.TOLD_TO_STOP: "told to stop",
    Reason.GUARD_GONE: "the guard is gone",
    Reason.FAULT: "the scan ended by an error",
}


def reason_text(reason: int, first: int, second: int) -> str:
    """One line for a person; empty where there is nothing to explain."""
    return _WORDS[Reason(reason)].format(first=first, second=second)


class Why(NamedTuple):
    reason: Reason
    first: int
    second: int


class Modes:
    """Counts good scans and overruns and says the mode of the next scan."""

    def __init__(self, missed_limit: int, healthy_scans: int) -> None:
        self.missed_limit = missed_limit
        self.healthy_scans = healthy_scans
        self.mode = START
        self.n_good = 0  # in a row
        self.n_overruns = 0  # without missed_limit good scans between
        self.n_causing = 0  # overruns that led to FAILSAFE, or came since
        self.has_slept = False  # and was not in RUN since

    def after(self, is_overrun: bool, has_slept: bool) -> int:
        if has_slept:
            self.mode, self.n_good, self.n_overruns = START, 0, 0
            self.has_slept = True
        elif is_overrun:
            self._count_overrun()
        else:
            self._count_good()
        return self.mode

    @property
    def why(self) -> Why:
        """Why the mode is what it is."""
        if self.mode == FAILSAFE:
            return Why(Reason.OVERRUNS, self.n_causing, self.n_good)
        if self.mode == START:
            reason = Reason.SLEPT if self.has_slept else Reason.ARMING
            return Why(reason, self.n_good, self.healthy_scans)
        return Why(Reason.NONE, 0, 0)

    def _count_overrun(self) -> None:
        self.n_good = 0
        self.n_overruns += 1
        if self.mode == FAILSAFE:
            self.n_causing += 1
        elif self.n_overruns >= self.missed_limit:
            self.mode = FAILSAFE
            self.n_causing = self.n_overruns

    def _count_good(self) -> None:
        self.n_good += 1
        if self.n_good >= self.missed_limit:
            self.n_overruns = 0
        if self.n_good >= self.healthy_scans:
            self.mode = RUN
            self.has_slept = False
