"""When the next scan starts: absolute grid points, whole periods skipped, never a burst.

Owns the grid `start + k * period` and the count of cycles missed and periods skipped. Integers
only; reads no clock and never sleeps, both are the caller's. Runs in the scan's main thread.

    a scan complete at or before its next grid point     good
    a scan not complete at its next grid point           overrun: one missed cycle, however long
    the further periods that it swallowed                skipped
    a wake a whole period late or later                  the same, for the scan that never began
"""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """What an overrun or a late wake cost: `n_missed` is 0 or 1."""

    n_missed: int
    n_skipped: int


ON_TIME = Pace(0, 0)


class Pacer:
    """The grid of one scan loop; `grid_at_ns` is the point of the present or next scan."""

    def __init__(self, period_ns: int, start_at_ns: int) -> None:
        self.period_ns = period_ns
        self.grid_at_ns = start_at_ns

    @property
    def next_at_ns(self) -> int:
        """The grid point at which the present scan has to be complete."""
        return self.grid_at_ns + self.period_ns

    def woke(self, now_ns: int) -> Pace:
        """Call after the wake: the scan belongs to the last grid point that has passed."""
        n_late = max(0, now_ns - self.grid_at_ns) // self.period_ns
        self.grid_at_ns += n_late * self.period_ns
        return _pace(n_late)

    def completed(self, now_ns: int) -> Pace:
        """Call when the scan is complete: moves on to the first grid point not yet passed."""
        # Rounded up: a scan that ends exactly on a grid point still starts the next one there.
        n_periods = max(1, -(-(now_ns - self.grid_at_ns) // self.period_ns))
        self.grid_at_ns += n_periods * self.period_ns
        return _pace(n_periods - 1)


def _pace(n_lost: int) -> Pace:
    return Pace(1, n_lost - 1) if n_lost else ON_TIME
