"""The guard at work: looks, lets `watch` decide, does it, says what happened.

Owns the round of the main thread: heartbeat, facts, decisions, words in the link, feeding. It never
talks on a port, never opens a file, never waits longer than a killed scan is given to end. Whatever
is wrong here leaves as an exception: the scan then finds its guard gone and writes failsafe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Sequence

from hw.handover import LOST
from loadctl.errors import CoreFault
from loadctl.guard.child import Child, spawn
from loadctl.guard.feed import Feed
from loadctl.guard.takeover import BusHolder, Note
from loadctl.guard.watch import Do, Facts, Watch
from loadctl.guard.words import STATE_WORDS, Cause, Happening, State, event_words
from loadctl.link import Link
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S

ROUND_ns = 20 * NS_PER_MS  # a heartbeat is seen to change this much later at most
REAP_WITHIN_ns = 50 * NS_PER_MS
STUCK_ns = 15 * NS_PER_S  # a connection may take 5 s to open
STDERR = 2
NOT_STARTED_CODE = 127
CAUSES = {
    Cause.SCAN_LATE: Happening.SCAN_LATE,
    Cause.SCAN_ENDED: Happening.SCAN_ENDED,
    Cause.NOT_READY: Happening.NOT_READY,
}
QUIET = (Happening.GUARD_STARTED, Happening.SCAN_STARTED, Happening.SCAN_READY)


class Guard:
    """One site. `command` starts a scan; `kept_fds` live as long as either process."""

    def __init__(
        self,
        tables: Tables,
        link: Link,
        holders: Sequence[BusHolder],
        watch: Watch,
        feed: Feed,
        command: Sequence[str],
        kept_fds: Sequence[int],
        now_ns: Callable[[], int],
    ) -> None:
        self.tables = tables
        self.link = link
        self.holders = holders
        self.watch = watch
        self.feed = feed
        self.must_stop = False
        self._command = command
        self._kept_fds = tuple(kept_fds)
        self._now_ns = now_ns
        self._child: Child | None = None
        self._has_failed = False  # the last scan could not even be started
        self._sent = [0] * len(holders)  # by bus: the opening of its port that the scan has
        self._synced_beat = -1
        self._is_ended = False
        self._is_counted = True  # the takeover that runs was counted and said
        self._last_takeover_ns = 0
        self._told: tuple[State, Cause, int] | None = None
        self._words: list[str] = []

    def run(self) -> int:
        """Round after round until told to stop; the exit code."""
        now_ns = self._now_ns()
        self._event(Happening.GUARD_STARTED, -1, 0, 0, now_ns)
        self._do(self.watch.begin(now_ns), now_ns)
        while not self._is_ended:
            self.round(self._now_ns())
            self._wait()
        return self.watch.exit_code

    def round(self, now_ns: int) -> None:
        """One look at everything. `now_ns` is the only time that the decisions see."""
        self._require_threads()
        self.link.guard_beat_once()
        self._tend_ports()
        facts = self._facts()
        before = self.watch.state
        todo = self.watch.update(facts, now_ns)
        self._say_what_changed(before, facts, now_ns)
        self._do(todo, now_ns)
        self._count_takeover(now_ns)
        self._drain_notes()
        self._publish(now_ns)
        if self.watch.state is State.WATCHING and facts.scan_beat != self._synced_beat:
            self._synced_beat = facts.scan_beat
            for holder in self.holders:
                holder.sync()
        if self.watch.is_healthy(now_ns) and not self._is_stuck(now_ns):
            self.feed.feed(now_ns)
        self._say()

    def _say(self) -> None:
        """Last in a round: a terminal may keep its writer waiting."""
        for words in self._words:
            say(words)
        self._words.clear()

    def _require_threads(self) -> None:
        """Without the thread of a bus nobody could take it over: better no guard than half of one.
        The scan then brings its chargers down itself."""
        for holder in self.holders:
            if not holder.is_alive:
                name = self.tables.buses[holder.bus_i].name
                raise CoreFault(f"guard: the thread of bus {name} has ended, expected it to live")

    def _wait(self) -> None:
        """Until the scan ends, a signal comes, or the next round is due."""
        poll = select.poll()
        if self._child is not None and self._child.exit_code is None:
            poll.register(self._child.pidfd, select.POLLIN)
        poll.poll(ROUND_ns / NS_PER_MS)

    # what is so

    def _facts(self) -> Facts:
        child = self._child
        exit_code = child.reap() if child is not None else None
        if self._has_failed:
            exit_code = NOT_STARTED_CODE
        return Facts(
            scan_beat=self.link.scan_beat(),
            ready=self.link.ready_generation(),
            has_process=child is not None and exit_code is None,
            exit_code=exit_code,
            is_down=all(holder.is_down for holder in self.holders),
            is_verified=all(holder.is_verified for holder in self.holders),
            is_parked=all(holder.is_parked for holder in self.holders),
            n_unanswered=self._n_boxes() - self._n_acknowledged(),
            must_stop=self.must_stop,
        )

    def _n_unanswered(self) -> int:
        return sum(len(holder.unanswered) for holder in self.holders)

    def _n_boxes(self) -> int:
        return sum(len(holder.boxes) for holder in self.holders)

    def _n_acknowledged(self) -> int:
        return sum(box.is_acknowledged for holder in self.holders for box in holder.boxes)

    def _is_stuck(self, now_ns: int) -> bool:
        return any(now_ns - holder.alive_at_ns > STUCK_ns for holder in self.holders)

    # what is to be done

    def _do(self, todo: Sequence[Do], now_ns: int) -> None:
        for what in todo:
            if what is Do.START:
                self._start(now_ns)
            elif what is Do.KILL:
                self._kill(now_ns)
            elif what is Do.TAKE:
                self.link.take_token()
                self._is_counted = False
                for holder in self.holders:
                    holder.take()
            elif what is Do.HOLD:
                for holder in self.holders:
                    holder.hold()
            elif what is Do.PARK:
                self._event(Happening.SCAN_READY, -1, 0, self.watch.generation, now_ns)
                for holder in self.holders:
                    holder.park()
            elif what is Do.TOKEN:
                self._give_token()
                self._event(Happening.TOKEN_GIVEN, -1, 0, self.watch.generation, now_ns)
                self.feed.ready()
            elif what is Do.ASK_STOP:
                if self._child is not None:
                    self._child.send(signal.SIGTERM)
            elif what is Do.END:
                self._end(now_ns)

    def _give_token(self) -> None:
        """A new scan judges anew whom it starves; what the last one said must not keep a charger
        from its failsafe setpoint."""
        for charger_i in range(len(self.tables.chargers)):
            self.link.set_starved(charger_i, False)
        self.link.give_token(self.watch.generation)

    def _start(self, now_ns: int) -> None:
        """The ports stand still meanwhile: no descriptor is closed while it is inherited."""
        if self._child is not None:
            self._child.close()
            self._child = None
        with contextlib.ExitStack() as stack:
            for holder in self.holders:
                stack.enter_context(holder.port_lock)
            fds = [holder.fds for holder in self.holders]
            self._sent = [holder.n_opened for holder in self.holders]
            try:
                self._child = spawn(self._command, self.watch.generation, fds, self._kept_fds)
            except OSError as error:
                self._has_failed = True
                self._words.append(f"guard: the scan cannot be started: {error.strerror}")
                return
        self._has_failed = False
        generation = self.watch.generation
        self._event(Happening.SCAN_STARTED, -1, self._child.pid, generation, now_ns)

    def _kill(self, now_ns: int) -> None:
        """It may not die at once: the buses are taken over all the same."""
        child = self._child
        if child is None:
            return
        child.send(signal.SIGKILL)
        if not child.wait_ended(REAP_WITHIN_ns):
            self._event(Happening.NOT_REAPED, -1, child.pid, 0, now_ns)

    def _end(self, now_ns: int) -> None:
        """A scan that ended well has seen all of them acknowledge; else the guard has asked."""
        self._is_ended = True
        n_boxes = self._n_boxes()
        n_down = n_boxes if self.watch.is_left_well else self._n_acknowledged()
        self._event(Happening.STOPPED, -1, n_down, n_boxes - n_down, now_ns)
        self._drain_notes()
        self.feed.close(is_orderly=True)

    # the ports

    def _tend_ports(self) -> None:
        """Hear of lost ports, and send the scan those that were opened again.

        Not even a poll of a port happens here: on a tty it waits for an ordinary thread of the
        kernel, which a scan in an endless loop keeps from running.
        """
        child = self._child
        if child is not None:
            for message in child.channel.receive():
                if message.kind == LOST and 0 <= message.bus_i < len(self.holders):
                    self.holders[message.bus_i].lose()
        for bus_i, holder in enumerate(self.holders):
            with holder.port_lock:
                if child is not None and self._sent[bus_i] != holder.n_opened:
                    lock_fd, data_fd = holder.fds
                    if data_fd >= 0 and child.channel.send_port(bus_i, data_fd, lock_fd):
                        self._sent[bus_i] = holder.n_opened

    # what is said

    def _say_what_changed(self, before: State, facts: Facts, now_ns: int) -> None:
        watch = self.watch
        if watch.state is State.STOPPING and before is not State.STOPPING:
            self.feed.stopping()
            self._event(Happening.STOP_ASKED, -1, 0, 0, now_ns)
            return
        has_crashed = watch.since_ns == now_ns and watch.cause in CAUSES
        if not has_crashed or before is State.TAKEOVER or watch.next_restart_at_ns == 0:
            return
        kind = CAUSES[watch.cause]
        first = watch.silent_ns // NS_PER_MS
        if kind is Happening.SCAN_ENDED and facts.exit_code is not None:
            first = facts.exit_code
        self._event(kind, -1, first, 0, now_ns)
        if watch.is_crash_loop:
            wait_s = (watch.next_restart_at_ns - now_ns) // NS_PER_S
            self._event(Happening.CRASH_LOOP, -1, watch.terms.crash_limit, wait_s, now_ns)

    def _count_takeover(self, now_ns: int) -> None:
        """Once every bus has written: how long it took, and who did not answer."""
        if self._is_counted or not all(holder.is_down for holder in self.holders):
            return
        self._is_counted = True
        if self.watch.found_at_ns and self.watch.state is not State.STOPPING:
            down_at_ns = max((holder.down_at_ns for holder in self.holders), default=now_ns)
            self._last_takeover_ns = down_at_ns - self.watch.found_at_ns
        n_unanswered = self._n_unanswered()
        self._event(Happening.TAKEN_OVER, -1, self._n_acknowledged(), n_unanswered, now_ns)

    def _drain_notes(self) -> None:
        for holder in self.holders:
            while holder.notes:
                self._note(holder.notes.popleft())

    def _note(self, note: Note) -> None:
        self._event(note.kind, note.who, note.first, note.second, note.at_ns)

    def _event(self, kind: Happening, who: int, first: int, second: int, at_ns: int) -> None:
        """Into the link, and on stderr what a person should know."""
        self.link.event(kind, who, first, second, at_ns)
        if kind not in QUIET:
            self._words.append(
                f"guard: {self._name_of(kind, who)}{event_words(kind, first, second)}"
            )

    def _name_of(self, kind: Happening, who: int) -> str:
        if who < 0:
            return ""
        is_bus = kind in (Happening.PORT_LOST, Happening.PORT_BACK)
        return f"{self.tables.buses[who].name if is_bus else self.tables.chargers[who].name}: "

    def _publish(self, now_ns: int) -> None:
        watch = self.watch
        scan_pid = self._child.pid if self._child is not None else 0
        self.link.state(
            watch.state,
            watch.cause,
            watch.since_ns,
            watch.next_restart_at_ns,
            os.getpid(),
            scan_pid,
        )
        self.link.count(
            watch.n_takeovers, watch.n_restarts, self._last_takeover_ns, watch.last_restart_ns
        )
        told = (watch.state, watch.cause, watch.generation)
        if told != self._told:
            self._told = told
            self.feed.status(STATE_WORDS[watch.state])


def say(line: str) -> None:
    """One line on stderr, unless nobody takes it: the guard must not wait for a reader."""
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    if any(events == select.POLLOUT for _, events in poll.poll(0)):
        with contextlib.suppress(OSError):
            os.write(STDERR, f"{line}\n".encode())
