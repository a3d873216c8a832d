"""What is noted of a loop while it is measured, without disturbing it.

Owns the raw spans of every scan, in memory that is there before the loop begins, and the counts of
the kernel and of Python before and after. Nothing here reads a clock, allocates or writes a file
while the loop runs. Main thread of the measured process.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from array import array
from typing import NamedTuple

from loadctl.image import SPANS, Writer

N_SPANS = len(SPANS)
WHOLE = SPANS.index("whole")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class RecordingWriter(Writer):
    """The image, and beside it every span of every scan, once `record` was called."""

    spans_ns: array[int] = array("q")
    started_ns: array[int] = array("q")  # of each whole scan, on the monotonic clock
    n_recorded = 0  # whole scans

    def record(self, n_scans: int) -> None:
        """Keep so many scans from now on; what comes after them is not kept."""
        self.spans_ns = array("q", bytes(8 * N_SPANS * n_scans))
        self.started_ns = array("q", bytes(8 * n_scans))
        self.n_recorded = 0

    def scan(self, started_at_ns: int, scans: int, missed: int, skipped: int, mode: int) -> None:
        """Comes after the last span of its scan."""
        Writer.scan(self, started_at_ns, scans, missed, skipped, mode)
        if 0 < self.n_recorded <= len(self.started_ns):
            self.started_ns[self.n_recorded - 1] = started_at_ns

    def span(self, what: int, span_ns: int) -> None:
        Writer.span(self, what, span_ns)
        at = self.n_recorded * N_SPANS
        if at < len(self.spans_ns):
            self.spans_ns[at + what] = span_ns
            if what == WHOLE:
                self.n_recorded += 1


class Counts(NamedTuple):
    """Of this process with all its threads, since it began; the last two are amounts in use."""

    gc_runs: int
    faults_minor: int
    faults_major: int
    switches_voluntary: int
    switches_involuntary: int
    resident_bytes: int
    blocks: int  # of Python's allocator

    def since(self, before: Counts) -> Counts:
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))

    def plus(self, other: Counts) -> Counts:
        return Counts(*(one + two for one, two in zip(self, other, strict=True)))


NONE = Counts(0, 0, 0, 0, 0, 0, 0)


def counts() -> Counts:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Counts(
        gc_runs=sum(generation["collections"] for generation in gc.get_stats()),
        faults_minor=used.ru_minflt,
        faults_major=used.ru_majflt,
        switches_voluntary=used.ru_nvcsw,
        switches_involuntary=used.ru_nivcsw,
        resident_bytes=_resident_pages() * PAGE_BYTES,
        blocks=sys.getallocatedblocks(),
    )


def _resident_pages() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])
