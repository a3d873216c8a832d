"""Processor time that the host of a virtual machine took: what no setting of ours can mend.

Owns the watch of the kernel's count while a measurement runs, from beside it, and the question
which late scans fell into such a moment. The count is coarse: one tick is 10 ms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from loadctl.units import NS_PER_MS, NS_PER_S

STAT_PATH = "/proc/stat"
STEAL_I = 7  # user, nice, system, idle, iowait, irq, softirq, steal
SAMPLE_EVERY_s = 0.05
BREAK_ns = NS_PER_S  # samples so far apart are of two rounds
# The count may follow what happened by a tick of the kernel and by one of ours.
AROUND_ns = 100 * NS_PER_MS


class Sample(NamedTuple):
    at_ns: int
    stolen_ns: int  # over all processors, since the machine was started


def sample() -> Sample:
    with open(STAT_PATH) as stat:
        words = stat.readline().split()
    ticks = int(words[1 + STEAL_I]) if len(words) > 1 + STEAL_I else 0
    return Sample(time.monotonic_ns(), ticks * NS_PER_S // os.sysconf("SC_CLK_TCK"))


def pairs(samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Each sample with the next; not over the breaks between rounds."""
    return [
        (before, after)
        for before, after in pairwise(samples)
        if after.at_ns - before.at_ns <= BREAK_ns
    ]


def stolen_ns(samples: Sequence[Sample]) -> int:
    """Over all rounds."""
    return sum(after.stolen_ns - before.stolen_ns for before, after in pairs(samples))


def n_in_stolen_time(
    samples: Sequence[Sample], started_ns: Sequence[int], ended_ns: Sequence[int]
) -> int:
    """How many of these scans had the count grow during them, or close by."""
    grown = [
        (before.at_ns, after.at_ns)
        for before, after in pairs(samples)
        if after.stolen_ns > before.stolen_ns
    ]
    return sum(
        any(
            begin_ns - AROUND_ns <= ended_at_ns and started_at_ns <= end_ns + AROUND_ns
            for begin_ns, end_ns in grown
        )
        for started_at_ns, ended_at_ns in zip(started_ns, ended_ns, strict=True)
    )
