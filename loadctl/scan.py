"""The scan: a fixed-period loop that reads, computes, writes and publishes, on one screen.

Owns the order of a pass, the mode, and the way out. Runs in the main thread of its own process
(`python -P -m loadctl.scan`). Touches no disk, logger or lock of another process; whatever leaves
`step` as an exception leaves the process, after min(last, failsafe) was written.
"""

from __future__ import annotations

from typing import Protocol

from loadctl._core import Core
from loadctl.errors import CoreFault
from loadctl.events import Event
from loadctl.field import Field
from loadctl.guardside import GuardSide, NoGuard
from loadctl.image import SPANS, Writer
from loadctl.modes import START, STOP, Modes, Reason
from loadctl.pacer import Pacer
from loadctl.units import NS_PER_S, NS_PER_US
from loadctl.worst import Worst

EVENT_MAX = 2**31 - 1  # what a number of an event holds; a process may stand still for hours
WAKE, READ, STEP, TAKE, LOOK, CONFIRM, GIVE, WHOLE = range(len(SPANS))


class ScanClock(Protocol):
    """The kernel's clocks, or virtual ones."""

    def now_ns(self) -> int: ...
    def boottime_ns(self) -> int: ...
    def sleep_until(self, until_ns: int) -> int:
        """The time right after the wake."""
        ...


class Inbox(Protocol):
    """What commands come from; `loadctl/commands.py` has the real one."""

    def drain(self, now_ns: int, spare_ns: int = 0) -> None:
        """Take in a bounded number, without waiting; the period has `spare_ns` left."""
        ...


class Cutter(Protocol):
    """What ends a record of the core's calls; `loadctl/flight/tape.pyx` has the real one."""

    def cut(self, ended_at_ns: int) -> None: ...


class Scan:
    """One site. `run` paces `step`."""

    def __init__(
        self,
        field: Field,
        core: Core,
        image: Writer,
        clock: ScanClock,
        pacer: Pacer,
        modes: Modes,
        guarded: GuardSide | None = None,
        commands: Inbox | None = None,
        tape: Cutter | None = None,
    ) -> None:
        self.field = field
        self.core = core
        self.image = image
        self.clock = clock
        self.pacer = pacer
        self.modes = modes
        self.guarded: GuardSide = guarded or NoGuard()
        self.commands = commands
        self.tape = tape
        self.gone_words = ""  # why the guard is not there any more
        self.plan = field.plan
        self.worst = Worst(self.plan.period_ns)
        self.scans = self.missed = self.skipped = 0
        self.is_late = False  # this scan began a period late or later
        self.was_overrun = False  # the one before did, or was not complete in time
        self.must_stop = self.has_begun = False
        self.mode = START  # as the core was told
        self.suspended_ns = clock.boottime_ns() - clock.now_ns()
        self.mark_ns = clock.now_ns()
        core.set_mode(START)

    def step(self, now_ns: int) -> None:
        """One pass. `now_ns` is the only time that the control law sees."""
        self.field.begin(now_ns)
        self.field.read()  # what does not answer keeps its value, which ages
        self._timed(READ)
        self._good(self.core.step(now_ns))  # the whole control law; no I/O, no clock
        self._timed(STEP)
        self.field.take()  # every decrease first, on all buses
        self._timed(TAKE)
        self.field.look(self.is_hurried)  # probes; draws that raises are judged by; arming
        self._timed(LOOK)
        self._good(self.core.confirm(now_ns))  # what was not acknowledged keeps its reserve
        self._timed(CONFIRM)
        if not self.is_hurried:
            self.clock.sleep_until(now_ns + self.plan.give_at_ns)
        self.mark_ns = self.clock.now_ns()
        self.field.give(*self._give_terms(now_ns))  # what is still covered, then refreshes
        self._timed(GIVE)
        self._keep(now_ns)  # only here: a completed pass is the only proof of life

    def run(self) -> None:
        """Pass after pass on the grid, until told to stop or left without a guard."""
        while not self.must_stop and not self.gone_words:
            self.run_once()

    def run_once(self) -> None:
        """Sleep until the grid point, then one pass."""
        grid_at_ns = self.pacer.grid_at_ns
        woke_at_ns = self.clock.sleep_until(grid_at_ns)
        late = self.pacer.woke(woke_at_ns)
        self._count(late.n_missed, late.n_skipped, woke_at_ns)
        self.is_late = late.n_missed > 0
        self._span(WAKE, max(0, woke_at_ns - grid_at_ns), woke_at_ns)
        self.mark_ns = woke_at_ns
        self.gone_words = self.guarded.gone(woke_at_ns)
        if self.gone_words:
            return  # the guard's silence is known in time only if nothing is done before
        if not self.has_begun:
            self.has_begun = True
            self.field.take_over(woke_at_ns)
        self.guarded.ports()
        self._note_suspend(woke_at_ns)
        self.step(woke_at_ns)

    def bring_down(self) -> list[str]:
        """Leave every charger at min(last, failsafe); the names of those that did not answer."""
        unacknowledged = self.field.bring_down(self.clock.now_ns)
        now_ns = self.clock.now_ns()
        self.image.event(Event.STOPPED, -1, len(unacknowledged), 0, now_ns)
        self.image.why(self._end_reason, 0, 0)
        self.image.scan(now_ns, self.scans, self.missed, self.skipped, STOP)
        self._publish(now_ns)
        return unacknowledged

    @property
    def is_hurried(self) -> bool:
        """After a missed cycle nothing is raised, so nothing is waited for: the next proof of life
        comes as soon as the takes are through."""
        return self.is_late or self.was_overrun

    @property
    def _end_reason(self) -> Reason:
        if self.gone_words:
            return Reason.GUARD_GONE
        return Reason.TOLD_TO_STOP if self.must_stop else Reason.FAULT

    def _give_terms(self, now_ns: int) -> tuple[bool, int]:
        """Whether raises may leave, and when the phase ends. A scan that cannot be complete at its
        next grid point gives nothing."""
        next_at_ns = self.pacer.next_at_ns
        end_ns = now_ns + self.plan.give_end_ns
        is_in_time = not self.is_hurried and end_ns <= next_at_ns and self.mark_ns < end_ns
        may_raise = is_in_time and not self.must_stop
        return may_raise, min(end_ns, next_at_ns)

    def _keep(self, now_ns: int) -> None:
        """Count the pass, choose the mode of the next, publish, and beat if it was in time."""
        ended_at_ns = self.clock.now_ns()
        self._span(WHOLE, ended_at_ns - now_ns, ended_at_ns)
        pace = self.pacer.completed(ended_at_ns)
        self._count(pace.n_missed, pace.n_skipped, ended_at_ns)
        self.scans += 1
        is_overrun = self.was_overrun = self.is_late or pace.n_missed > 0
        self.modes.healthy_scans = self.field.tuned.healthy_scans
        self._change_mode(self.modes.after(is_overrun, has_slept=False), ended_at_ns)
        self.field.keep(ended_at_ns)
        self.image.scan(now_ns, self.scans, self.missed, self.skipped, self.modes.mode)
        self.image.why(*self.modes.why)
        self._publish(ended_at_ns)
        if not is_overrun:
            self.guarded.beat()
            if self.commands is not None:
                self.commands.drain(ended_at_ns, self.pacer.grid_at_ns - ended_at_ns)

    def _publish(self, at_ns: int) -> None:
        """The record first: whoever sees this plant block finds the calls that led to it."""
        if self.tape is not None:
            self.tape.cut(at_ns)
        self.image.publish(at_ns)

    def _count(self, n_missed: int, n_skipped: int, at_ns: int) -> None:
        self.missed += n_missed
        self.skipped += n_skipped
        if n_missed:
            self.image.event(Event.OVERRUN, -1, n_skipped, 0, at_ns)

    def _note_suspend(self, now_ns: int) -> None:
        """When BOOTTIME and MONOTONIC part by a period the machine slept: nothing is believed."""
        suspended_ns = self.clock.boottime_ns() - self.clock.now_ns()
        asleep_ns = suspended_ns - self.suspended_ns
        if asleep_ns < self.pacer.period_ns:
            return
        self.suspended_ns = suspended_ns
        self.image.event(Event.SLEPT, -1, asleep_ns // NS_PER_S, 0, now_ns)
        self.field.disarm_all()
        self._change_mode(self.modes.after(False, has_slept=True), now_ns)

    def _change_mode(self, mode: int, at_ns: int) -> None:
        if mode == self.mode:
            return
        self.image.event(Event.MODE, -1, self.mode, mode, at_ns)
        self.core.set_mode(mode)
        self.mode = mode

    def _good(self, result: int) -> None:
        if result != 0:
            self.image.event(Event.CORE_FAULT, -1, result, 0, self.mark_ns)
            raise CoreFault(f"core: result {result}, expected 0; every charger is brought down")

    def _timed(self, what: int) -> None:
        now_ns = self.clock.now_ns()
        self._span(what, now_ns - self.mark_ns, now_ns)
        self.mark_ns = now_ns

    def _span(self, what: int, span_ns: int, at_ns: int) -> None:
        self.image.span(what, span_ns)
        if self.worst.is_new(what, span_ns, self.scans):
            span_us = min(span_ns // NS_PER_US, EVENT_MAX)
            self.image.event(Event.SLOWEST, -1, what, span_us, at_ns)


if __name__ == "__main__":
    import sys

    from loadctl.start import main

    sys.exit(main())
