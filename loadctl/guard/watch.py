"""When the guard acts: facts and the time in, decisions out.

Pure: no I/O, no clock, no process. Whatever is not in this table changes nothing.

    state     fact                                             decision                    next
    STARTING  the scan is ready                                token                       WATCHING
              it ended, or is not ready in time                (kill,) take the buses      TAKEOVER
    WATCHING  no completed scan for missed_limit periods       kill, take the buses        TAKEOVER
              it ended                                         take the buses              TAKEOVER
    TAKEOVER  every bus has written its failsafe setpoints                                 HOLDING
              the same, in a crash loop                                                    STABLE
    HOLDING   it is time, and no scan is left                  start a scan                HOLDING
    STABLE    the scan is ready                                park the buses              HOLDING
              the scan is ready and every bus is parked        token                       WATCHING
              it ended, or is not ready in time                (kill,) hold the buses      HOLDING
              the same, in a crash loop                        (kill,) hold the buses      STABLE
    any       told to stop while the scan has the token        ask it to stop              STOPPING
              told to stop otherwise                           (kill,) take the buses      STOPPING
    STOPPING  the scan ended well                              end, exit code 0
              it ended badly, beats no more, or is not done
              in time                                          (kill,) take the buses
              every bus was written and read back, or time up  end, exit code 0 if all acknowledged,
                                                               else 4, as of `loadctl failsafe`

A scan that was killed and is still there is not replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from loadctl.errors import EXIT_BUS, EXIT_GOOD
from loadctl.guard.words import Cause, State
from loadctl.units import NS_PER_S

BACKOFF_ns = (0, 5 * NS_PER_S)
CRASH_LIMIT = 3
CRASH_WINDOW_ns = 600 * NS_PER_S
READY_WITHIN_ns = 30 * NS_PER_S


class Do(IntEnum):
    START = 0  # a scan of the next generation
    KILL = 1  # take the token back, kill, wait a bounded time
    TAKE = 2  # every bus: flush, silence, failsafe setpoints, read back, then hold
    HOLD = 3  # parked buses are held again
    PARK = 4  # every bus: finish the frame, refresh what is due soon, then stand still
    TOKEN = 5  # the buses belong to the scan
    ASK_STOP = 6
    END = 7


class Facts(NamedTuple):
    scan_beat: int
    ready: int  # generation that is locked and warm
    has_process: bool  # a scan was started and not reaped
    exit_code: int | None  # of the scan started last, minus the signal; None before it was reaped
    is_down: bool  # every bus has written its failsafe setpoints
    is_verified: bool  # and has read them back
    is_parked: bool
    n_unanswered: int  # chargers that have not acknowledged, the starved among them
    must_stop: bool


@dataclass(frozen=True, slots=True)
class Terms:
    period_ns: int
    missed_limit: int
    stop_within_ns: int  # what a scan may take to bring its chargers down
    take_within_ns: int  # what writing and reading back may take when the guard itself stops
    crash_limit: int = CRASH_LIMIT
    crash_window_ns: int = CRASH_WINDOW_ns
    ready_within_ns: int = READY_WITHIN_ns


class Watch:
    """The state of one guard."""

    def __init__(self, terms: Terms, now_ns: int) -> None:
        self.terms = terms
        self.state = State.STARTING
        self.cause = Cause.NONE
        self.since_ns = now_ns
        self.generation = 0
        self.next_restart_at_ns = 0  # 0: none is planned
        self.found_at_ns = 0  # when the last takeover was decided
        self.silent_ns = 0  # age of the heartbeat, or of the start, when it was
        self.n_takeovers = 0
        self.n_restarts = 0
        self.last_restart_ns = 0
        self.exit_code = EXIT_BUS
        self.is_left_well = False  # by a scan that saw every charger acknowledge
        self._crashes_at_ns: list[int] = []
        self.is_crash_loop = False
        self._is_starting = False  # a scan was started that has no token yet
        self._started_at_ns = now_ns
        self._is_parking = False
        self._beat = 0
        self._beat_at_ns = now_ns
        self._has_beaten = False
        self._is_asked = False  # the scan was asked to stop

    def begin(self, now_ns: int) -> list[Do]:
        return self._start(now_ns)

    @property
    def n_crashes(self) -> int:
        """Scans that ended within the window."""
        return len(self._crashes_at_ns)

    def is_healthy(self, now_ns: int) -> bool:
        """Whether a watchdog of the gateway may be fed: somebody vouches for the chargers, or a
        bounded time has not run out."""
        age_ns = now_ns - self.since_ns
        if self.state in (State.WATCHING, State.HOLDING, State.STABLE):
            return True
        if self.state is State.STARTING:
            return age_ns < 2 * self.terms.ready_within_ns
        return age_ns < self.terms.stop_within_ns + 2 * self.terms.take_within_ns

    def update(self, facts: Facts, now_ns: int) -> list[Do]:
        """What is to be done now, in this order."""
        if self.state is State.STOPPING:
            return self._stopping(facts, now_ns)
        if facts.must_stop:
            return self._stop(facts, now_ns)
        if self.state is State.STARTING:
            return self._starting(facts, now_ns)
        if self.state is State.WATCHING:
            return self._watching(facts, now_ns)
        if self.state is State.TAKEOVER:
            return self._taking_over(facts, now_ns)
        return self._holding(facts, now_ns)

    # one state each

    def _starting(self, facts: Facts, now_ns: int) -> list[Do]:
        cause = self._why_not_ready(facts, now_ns)
        if cause is not Cause.NONE:
            return self._take_over(facts, cause, now_ns)
        return self._hand_over(facts, now_ns) if facts.ready == self.generation else []

    def _watching(self, facts: Facts, now_ns: int) -> list[Do]:
        if facts.exit_code is not None:
            self.silent_ns = now_ns - self._beat_at_ns
            return self._take_over(facts, Cause.SCAN_ENDED, now_ns)
        return (
            self._take_over(facts, Cause.SCAN_LATE, now_ns) if self._is_late(facts, now_ns) else []
        )

    def _is_late(self, facts: Facts, now_ns: int) -> bool:
        """Whether the heartbeat has not changed for missed_limit periods."""
        if facts.scan_beat != self._beat:
            self._beat, self._beat_at_ns, self._has_beaten = facts.scan_beat, now_ns, True
        # The first scan begins up to a period after its token.
        n_periods = self.terms.missed_limit + (0 if self._has_beaten else 1)
        self.silent_ns = now_ns - self._beat_at_ns
        return self.silent_ns >= n_periods * self.terms.period_ns

    def _taking_over(self, facts: Facts, now_ns: int) -> list[Do]:
        if facts.is_down:
            self._go(self._held_state, self.cause, now_ns)
        return []

    def _holding(self, facts: Facts, now_ns: int) -> list[Do]:
        if not self._is_starting:
            if facts.has_process or now_ns < self.next_restart_at_ns:
                return []
            self._go(State.HOLDING, self.cause, now_ns)
            self.n_restarts += 1
            return self._start(now_ns)
        cause = self._why_not_ready(facts, now_ns)
        if cause is not Cause.NONE:
            self._crashed(now_ns)
            self._go(self._held_state, cause, now_ns)
            return [*self._kill(facts), Do.HOLD]
        if facts.ready != self.generation:
            return []
        if not self._is_parking:
            self._is_parking = True
            return [Do.PARK]
        return self._hand_over(facts, now_ns) if facts.is_parked else []

    def _stopping(self, facts: Facts, now_ns: int) -> list[Do]:
        age_ns = now_ns - self.since_ns
        if self._is_asked:
            if facts.exit_code == 0:
                self.exit_code = EXIT_GOOD
                self.is_left_well = True
                return [Do.END]
            is_late = self._is_late(facts, now_ns)
            if facts.exit_code is None and age_ns < self.terms.stop_within_ns and not is_late:
                return []
            self._is_asked = False
            self._go(State.STOPPING, self.cause, now_ns)
            return [*self._kill(facts), Do.TAKE]
        if facts.is_verified:
            self.exit_code = EXIT_GOOD if facts.n_unanswered == 0 else EXIT_BUS
            return [Do.END]
        return [Do.END] if age_ns >= self.terms.take_within_ns else []

    # the steps between them

    def _start(self, now_ns: int) -> list[Do]:
        self.generation += 1
        self.next_restart_at_ns = 0
        self._is_starting, self._started_at_ns = True, now_ns
        self._is_parking = False
        return [Do.START]

    def _hand_over(self, facts: Facts, now_ns: int) -> list[Do]:
        self._is_starting = self._is_parking = False
        self._beat, self._beat_at_ns, self._has_beaten = facts.scan_beat, now_ns, False
        if self.found_at_ns:
            self.last_restart_ns = now_ns - self.found_at_ns
        self._go(State.WATCHING, Cause.NONE, now_ns)
        return [Do.TOKEN]

    def _take_over(self, facts: Facts, cause: Cause, now_ns: int) -> list[Do]:
        self.n_takeovers += 1
        self.found_at_ns = now_ns
        self._crashed(now_ns)
        self._go(State.TAKEOVER, cause, now_ns)
        return [*self._kill(facts), Do.TAKE]

    def _stop(self, facts: Facts, now_ns: int) -> list[Do]:
        self._is_asked = self.state is State.WATCHING and facts.exit_code is None
        self.next_restart_at_ns = 0
        self._go(State.STOPPING, Cause.STOP, now_ns)
        return [Do.ASK_STOP] if self._is_asked else [*self._kill(facts), Do.TAKE]

    def _crashed(self, now_ns: int) -> None:
        """Plan the next start: later each time, and none for a whole window in a crash loop."""
        self._is_starting = self._is_parking = False
        oldest_ns = now_ns - self.terms.crash_window_ns
        self._crashes_at_ns = [at_ns for at_ns in self._crashes_at_ns if at_ns > oldest_ns]
        self._crashes_at_ns.append(now_ns)
        self.is_crash_loop = self.n_crashes >= self.terms.crash_limit
        if self.is_crash_loop:
            self.next_restart_at_ns = now_ns + self.terms.crash_window_ns
        else:
            backoff_i = min(self.n_crashes, len(BACKOFF_ns)) - 1
            self.next_restart_at_ns = now_ns + BACKOFF_ns[backoff_i]

    def _why_not_ready(self, facts: Facts, now_ns: int) -> Cause:
        self.silent_ns = now_ns - self._started_at_ns
        if facts.exit_code is not None:
            return Cause.SCAN_ENDED
        return Cause.NOT_READY if self.silent_ns >= self.terms.ready_within_ns else Cause.NONE

    @property
    def _held_state(self) -> State:
        return State.STABLE if self.is_crash_loop else State.HOLDING

    @staticmethod
    def _kill(facts: Facts) -> list[Do]:
        return [Do.KILL] if facts.has_process else []

    def _go(self, state: State, cause: Cause, now_ns: int) -> None:
        self.state, self.cause, self.since_ns = state, cause, now_ns
