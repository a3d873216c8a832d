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

START = 0
RUN = 1
FAILSAFE = 2
STOP = 3
MODE_NAMES = ("start", "run", "failsafe", "stop")


class Modes:
    """Counts good scans and overruns and says the mode of the next scan."""

    def __init__(self, missed_limit: int, healthy_scans: int) -> None:
        self.missed_limit = missed_limit
        self.healthy_scans = healthy_scans
        self.mode = START
        self.n_good = 0  # in a row
        self.n_overruns = 0  # without missed_limit good scans between

    def after(self, is_overrun: bool, has_slept: bool) -> int:
        if has_slept:
            self.mode, self.n_good, self.n_overruns = START, 0, 0
        elif is_overrun:
            self._count_overrun()
        else:
            self._count_good()
        return self.mode

    def _count_overrun(self) -> None:
        self.n_good = 0
        self.n_overruns += 1
        if self.n_overruns >= self.missed_limit:
            self.mode = FAILSAFE

    def _count_good(self) -> None:
        self.n_good += 1
        if self.n_good >= self.missed_limit:
            self.n_overruns = 0
        if self.n_good >= self.healthy_scans:
            self.mode = RUN
