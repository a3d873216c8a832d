"""New worst cases of the loop: which of them are worth an event.

Owns what was told last of each span. A span is told when it is longer than what was told by a
quarter of that and by a hundredth of the period, so that the ring holds a dozen of them at most and
noise is none. While the loop is new its spans only count. Pure; the scan's main thread.
"""

from __future__ import annotations

from loadctl.image import SPANS

WARM_UP_SCANS = 100
LONGER_BY_PART = 4  # of what was told last
LEAST_STEP_PART = 100  # of the period
# The look fills the time that is left: its length says nothing.
NOT_TOLD = ("look",)


class Worst:
    """The longest of each span that was told, or seen while warming up."""

    def __init__(self, period_ns: int) -> None:
        self._least_step_ns = period_ns // LEAST_STEP_PART
        self._limits_ns = [0] * len(SPANS)  # what is longer is told
        self._is_told = [name not in NOT_TOLD for name in SPANS]

    def is_new(self, what: int, span_ns: int, scans: int) -> bool:
        """Whether this one, of a loop that has done so many scans, is an event."""
        if span_ns <= self._limits_ns[what]:
            return False
        step_ns = max(span_ns // LONGER_BY_PART, self._least_step_ns)
        self._limits_ns[what] = span_ns + step_ns
        return self._is_told[what] and scans >= WARM_UP_SCANS
