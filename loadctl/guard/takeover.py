"""One bus in the hands of the guard: failsafe setpoints, read back, held, parked, handed back.

Owns the guard's copy of one port and the thread that talks on it, which is alive from the start.
Says nothing on a bus that the scan holds. Never raises a setpoint, never reads a charger that did
not answer. Opens nothing but a port that hung up. The main thread gives the orders and looks at the
attributes; everything that begins with an underscore runs in the thread of the bus.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from hw.clock import Clock
from hw.opening import OpenPort, close_port, has_hung_up, let_go, open_port
from hw.raw import RawLine
from hw.wire import Code, Line
from loadctl.errors import BusError
from loadctl.guard.frames import Box, Frame, by_decrease
from loadctl.guard.words import Happening
from loadctl.link import Link
from loadctl.tables import BusRow
from loadctl.units import NS_PER_S

REOPEN_EVERY_ns = NS_PER_S
PROBE_EVERY_ns = NS_PER_S  # a charger that did not answer
NONSENSE_mA = -1
STARVE_GROWS, STARVE_MAX_ns = 4, 600 * NS_PER_S
REFUSALS_MAX = 2  # of the failsafe setpoint, in a row
IDLE_ns = NS_PER_S // 2
STACK_BYTES = 256 * 1024
NOTES_MAX = 256


class Order(IntEnum):
    PARK = 0
    TAKE = 1
    HOLD = 2
    END = 3


class Note(NamedTuple):
    """An event for the link; the main thread writes it there."""

    kind: Happening
    who: int
    first: int
    second: int
    at_ns: int


class BusHolder:
    """One bus. `port` is None while it is lost; its `data_fd` is -1 where it cannot be shared."""

    def __init__(
        self,
        bus_i: int,
        row: BusRow,
        boxes: Sequence[Box],
        port: OpenPort,
        lock_dir: Path,
        silence_ns: int,
        link: Link,
        clock: Clock,
    ) -> None:
        self.bus_i = bus_i
        self.boxes = list(boxes)
        self.port: OpenPort | None = port
        self.port_lock = threading.Lock()  # held while descriptors are closed, or inherited
        self.n_opened = 1
        self.down_at_ns = 0
        self.alive_at_ns = clock.now_ns()
        self.is_parked = True
        self.notes: deque[Note] = deque(maxlen=NOTES_MAX)
        self._row = row
        self._line_settings = Line(row.baud, row.frame)
        self._lock_dir = lock_dir
        self._silence_ns = silence_ns
        self._link = link
        self._clock = clock
        self._line: RawLine | None = self._line_of(port)
        self._held_lock_fd = -1
        self._next_open_at_ns = 0
        self._order = Order.PARK
        self._order_lock = threading.Lock()
        self._ticket = self._down_ticket = self._verified_ticket = 0
        self._is_lost = False
        self._wake = threading.Event()
        before_bytes = threading.stack_size(STACK_BYTES)
        self._thread = threading.Thread(target=self._work, name=f"bus {row.name}", daemon=True)
        self._thread.start()
        threading.stack_size(before_bytes)

    # the main thread's side

    @property
    def is_alive(self) -> bool:
        """A thread that has ended took an error of ours with it."""
        return self._thread.is_alive()

    @property
    def is_down(self) -> bool:
        """Whether every charger was written, answered or given up, since the last `take`."""
        return self._down_ticket == self._ticket

    @property
    def is_verified(self) -> bool:
        return self._verified_ticket == self._ticket

    @property
    def unanswered(self) -> list[Box]:
        """Chargers that have not acknowledged their setpoint; the starved are not asked."""
        return [box for box in self.boxes if not box.is_acknowledged and not box.is_starved]

    def take(self) -> None:
        """Begin with the failsafe setpoints, from wherever the bus stands."""
        with self._order_lock:
            self._ticket += 1
        self._tell(Order.TAKE)

    def hold(self) -> None:
        self._tell(Order.HOLD)

    def park(self) -> None:
        """Finish the frame, refresh what is due soon, then stand still."""
        self._tell(Order.PARK)

    def lose(self) -> None:
        """The port hung up: close it at once, then open it again by its path, once a second."""
        self._is_lost = True
        self._wake.set()

    def end(self) -> None:
        """Stop the thread and close the port."""
        self._tell(Order.END)
        self._thread.join()
        if self.port is not None:
            close_port(self.port)
        elif self._held_lock_fd >= 0:
            os.close(self._held_lock_fd)

    @property
    def fds(self) -> tuple[int, int]:
        """Lock and data of the port, -1 for none; with the lock of the port held."""
        return (self.port.lock_fd, self.port.data_fd) if self.port is not None else (-1, -1)

    def sync(self) -> None:
        """Keep the frames up to date; only while the scan holds the bus."""
        for box in self.boxes:
            box.sync(self._link)

    def _tell(self, order: Order) -> None:
        with self._order_lock:
            self.is_parked = False
            self._order = order
        self._wake.set()

    # the thread of the bus

    def _work(self) -> None:
        while self._order is not Order.END:
            self._wake.clear()
            self.alive_at_ns = self._clock.now_ns()
            self._tend_port()
            order = self._order
            if order is Order.TAKE:
                self._take_over(self._ticket)
            elif order is Order.HOLD:
                self._hold_one()
            elif order is Order.PARK and not self.is_parked:
                self._park()
            self._wake.wait(self._idle_ns() / NS_PER_S)

    def _take_over(self, ticket: int) -> None:
        """Flush, silence, one write to each; then read back and rewrite what differs."""
        for box in self.boxes:
            box.sync(self._link)
            box.is_acknowledged = False
            box.had_mA = box.row.rated_mA if box.told_mA is None else box.told_mA
        if self._line is not None:
            self._line.flush()
            self._line.stay_silent(self._silence_ns)
            for box in outlets_apart(by_decrease(self.boxes)):
                self._bring_down(box)
        self.down_at_ns = self._clock.now_ns()
        self._down_ticket = ticket
        for box in outlets_apart(by_decrease(self.boxes)):
            self._verify(box)
        self._verified_ticket = ticket
        self._follow(Order.TAKE, Order.HOLD, ticket)

    def _bring_down(self, box: Box) -> None:
        """Write min(last, failsafe); where the last was never known, what the register holds."""
        if self._is_left_alone(box):
            return
        if box.told_mA is None:
            self._find(box)
        if not self._write(box):
            self._note(Happening.UNANSWERED, box.index, box.target_mA, 0)

    def _find(self, box: Box) -> None:
        found_mA = None
        if box.read_back is not None:
            code, payload = self._exchange(box, box.read_back)
            found_mA = box.found(payload) if code is Code.GOOD else None
        box.begin_with(found_mA)

    def _write(self, box: Box) -> bool:
        """Write the target and kick; whether it was acknowledged. A decrease is told before its
        frame leaves; a setpoint that was never known counts once it is acknowledged."""
        if box.told_mA is not None:
            self._told(box)
        box.tried_at_ns = self._clock.now_ns()
        code, _ = self._exchange(box, box.write)
        box.is_acknowledged = code is Code.GOOD
        if box.is_acknowledged:
            box.n_refused = 0
            self._told(box)
            if box.kick is not None:
                self._exchange(box, box.kick)
        elif code is Code.REFUSED:
            box.n_refused += 1
            if box.n_refused >= REFUSALS_MAX and box.had_mA > box.target_mA:
                self._starve(box, box.had_mA)
        return box.is_acknowledged

    def _told(self, box: Box) -> None:
        if box.told_mA != box.target_mA:
            self._link.tell(box.index, box.target_mA)
            box.told_mA = box.target_mA

    def _verify(self, box: Box) -> None:
        """A charger that did not answer is asked by the same write only."""
        if self._is_left_alone(box) or self._line is None:
            return
        if not box.is_acknowledged:
            self._write(box)
            return
        found_mA = self._read_back(box)
        if found_mA is None:
            return
        if found_mA > box.target_mA or found_mA == NONSENSE_mA:
            self._note(Happening.REWRITTEN, box.index, found_mA, box.target_mA)
            if self._write(box):
                self._check(box)
        elif found_mA < box.target_mA:
            box.lower_to(found_mA)
            self._told(box)

    def _read_back(self, box: Box) -> int | None:
        """What its setpoint register holds, or NONSENSE_mA; None where it cannot be read."""
        if box.read_back is None:
            return None
        code, payload = self._exchange(box, box.read_back)
        if code is not Code.GOOD:
            return None
        found_mA = box.found(payload)
        return NONSENSE_mA if found_mA is None else found_mA

    def _check(self, box: Box) -> None:
        """It acknowledged once more; one that still holds more does not obey."""
        found_mA = self._read_back(box)
        box.must_check = found_mA is not None and found_mA > box.target_mA
        if found_mA is not None and not box.must_check:
            box.n_starves = 0
        if found_mA is not None and box.must_check:
            self._starve(box, found_mA)

    def _starve(self, box: Box, has_mA: int) -> None:
        """No message to its address until its own watchdog has acted (design, section 4.5), where
        it has one and its fallback is less than what it has."""
        watchdog_ns = box.row.watchdog_ns
        box.must_check = True
        if watchdog_ns is None or box.row.fallback_mA >= has_mA:
            return
        box.is_acknowledged = False
        self._note(Happening.STARVED, box.index, has_mA, box.target_mA)
        # Every further try feeds its watchdog at what it has, so each comes much later.
        span_ns = watchdog_ns * 12 // 10 * STARVE_GROWS**box.n_starves
        box.n_starves += 1
        until_ns = self._clock.now_ns() + min(span_ns, max(STARVE_MAX_ns, watchdog_ns * 12 // 10))
        for other in self.boxes:
            if other.row.address == box.row.address:
                other.starve_until_ns = until_ns

    def _is_left_alone(self, box: Box) -> bool:
        return box.is_starved or self._clock.now_ns() < box.starve_until_ns

    def _hold_one(self) -> None:
        """Refresh the charger that waits longest: those that answer go first."""
        if self._line is None:
            return
        now_ns = self._clock.now_ns()
        due = [box for box in self.boxes if self._due_at_ns(box) <= now_ns]
        if due:
            box = min(due, key=lambda box: (not box.is_acknowledged, self._due_at_ns(box)))
            box.sync(self._link)
            if box.is_starved:
                box.tried_at_ns = now_ns
            elif self._write(box) and box.must_check:
                self._check(box)

    def _park(self) -> None:
        """The scan needs time for its first writes: what is due soon is refreshed now."""
        now_ns = self._clock.now_ns()
        soon = [box for box in self.boxes if box.is_acknowledged and not self._is_left_alone(box)]
        soon = [box for box in soon if now_ns - box.tried_at_ns > box.refresh_ns // 4]
        for box in outlets_apart(soon):
            if self._order is not Order.PARK:
                return
            self._write(box)
        with self._order_lock:
            self.is_parked = self._order is Order.PARK

    def _follow(self, before: Order, after: Order, ticket: int) -> None:
        """Go on by itself, unless another order has come meanwhile."""
        with self._order_lock:
            if self._order is before and self._ticket == ticket:
                self._order = after

    def _due_at_ns(self, box: Box) -> int:
        """Half of a third of the watchdog's time is left for the bus to find room."""
        after_ns = box.refresh_ns // 2 if box.is_acknowledged else PROBE_EVERY_ns
        return max(box.tried_at_ns + after_ns, box.starve_until_ns)

    def _idle_ns(self) -> int:
        if self._order is Order.HOLD and self._line is not None and self.boxes:
            next_ns = min(map(self._due_at_ns, self.boxes)) - self._clock.now_ns()
            return min(IDLE_ns, max(0, next_ns))
        return 0 if self._order in (Order.TAKE, Order.END) else IDLE_ns

    # the wire

    def _exchange(self, box: Box, frame: Frame) -> tuple[Code, bytes]:
        """One frame and its reply; a port that hung up is let go."""
        self.alive_at_ns = self._clock.now_ns()
        if self._line is None:
            return Code.NOT_SENT, b""
        try:
            return self._line.exchange(frame.exchange, frame.request, box.patience)
        except OSError:
            self._drop_port()
            return Code.NOT_SENT, b""

    # the port

    def _tend_port(self) -> None:
        if self._is_lost or self._has_hung_up():
            self._is_lost = False
            self._drop_port()
        now_ns = self._clock.now_ns()
        if self.port is None and now_ns >= self._next_open_at_ns:
            self._next_open_at_ns = now_ns + REOPEN_EVERY_ns
            self._reopen()

    def _has_hung_up(self) -> bool:
        return self.port is not None and self.port.data_fd >= 0 and has_hung_up(self.port.data_fd)

    def _drop_port(self) -> None:
        """Only the exchange of the references needs the lock: closing a tty may wait for it."""
        with self.port_lock:
            port, self.port, self._line = self.port, None, None
        if port is not None:
            self._held_lock_fd = let_go(port)
            self._note(Happening.PORT_LOST, self.bus_i, 0, 0)

    def _reopen(self) -> None:
        """By its configured path. A bus that the guard holds is taken over anew: chargers may have
        been without anybody meanwhile."""
        row = self._row
        try:
            port = open_port(
                row.port,
                self._line_settings,
                self._lock_dir,
                row.uses_rs485_mode,
                self._held_lock_fd,
            )
        except BusError:
            return
        self._held_lock_fd = -1
        with self.port_lock:
            self.port, self._line = port, self._line_of(port)
            self.n_opened += 1
        self._is_lost = False
        self._note(Happening.PORT_BACK, self.bus_i, 0, 0)
        self._follow(Order.HOLD, Order.TAKE, self._ticket)

    def _line_of(self, port: OpenPort) -> RawLine | None:
        if port.data_fd < 0:
            return None
        return RawLine(
            port.data_fd, self._line_settings, has_echo=self._row.has_echo, clock=self._clock
        )

    def _note(self, kind: Happening, who: int, first: int, second: int) -> None:
        self.notes.append(Note(kind, who, first, second, self._clock.now_ns()))


def outlets_apart(boxes: Sequence[Box]) -> list[Box]:
    """In order, but first one outlet of each address: a device's gap is spent on the others."""
    n_seen: dict[int, int] = {}
    ranks = []
    for box in boxes:
        rank = n_seen.get(box.row.address, 0)
        n_seen[box.row.address] = rank + 1
        ranks.append(rank)
    return [boxes[i] for i in sorted(range(len(boxes)), key=lambda i: (ranks[i], i))]
