"""The simulated buses in virtual time: real bytes, real rules, and no waiting.

Owns the virtual clock, a wire per bus that keeps the rules of the real bus on it, and the runner
that lets every bus run from the same start on its own time and joins at the latest. One thread runs
all of it. Not simulated: echo, and bytes that arrive while a request is being sent (they count as
arriving before its reply).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hw.late import LateReplies
from hw.sim.board import Board
from hw.sim.fault import Fault, bus_of, check
from hw.sim.line import SlaveLine, make_line, make_plant
from hw.sim.report import report_of
from hw.sim.scenario import Scenario
from hw.wire import (
    Code,
    DeviceCounters,
    Exchange,
    Line,
    Patience,
    Reply,
    check_reply,
    patience_as,
    rtu_frame,
)

if TYPE_CHECKING:
    from loadctl.tables import Tables


class VirtualClock:
    """Stands in for CLOCK_MONOTONIC. Only goes forward."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def sleep_until(self, at_ns: int) -> None:
        self._now_ns = max(self._now_ns, at_ns)


class _Arrival(NamedTuple):
    """Bytes on their way to the master: when the first is whole, and when the last is."""

    first_at_ns: int
    last_at_ns: int
    data: bytes


class VirtualWire:
    """One bus; implements `hw.wire.Wire`. `late_ns` is as for the real bus."""

    hears_itself = False

    def __init__(self, clock: VirtualClock, line: Line, slaves: SlaveLine, late_ns: int) -> None:
        self.line = line
        self.slaves = slaves
        self._clock = clock
        self._local_ns = clock.now_ns()
        self._busy_until_ns = clock.now_ns() - line.silent_ns
        self._drained_at_ns = self._busy_until_ns
        self._bus_gap_ns = 0
        self._last_to_ns: dict[int, int] = {}
        self._struck: set[int] = set()  # no answer in this scan
        self._late: dict[int, LateReplies] = defaultdict(lambda: LateReplies(late_ns))
        self._counters: dict[int, DeviceCounters] = defaultdict(DeviceCounters)
        self._in_flight: list[_Arrival] = []

    @property
    def is_open(self) -> bool:
        self.slaves.tick(self.now_ns())
        return not self.slaves.troubles.is_unplugged

    def now_ns(self) -> int:
        return max(self._local_ns, self._clock.now_ns())

    def new_scan(self) -> None:
        """Devices that did not answer may be tried again."""
        self._struck.clear()

    def counters(self, address: int) -> DeviceCounters:
        return self._counters[address]

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        now_ns = self.now_ns()
        if not self.is_open:
            return self._not_sent(exchange, now_ns)
        usual, form = exchange, self._late[exchange.address].told_apart(exchange, now_ns)
        if form is None:
            return self._not_sent(usual, now_ns)
        exchange, patience = form, patience_as(self.line, form, usual, patience)
        begin_ns = max(now_ns, self._free_at_ns(exchange.address, patience))
        asked_ns = begin_ns + self.line.bytes_ns(exchange.request_bytes)
        expected_ns = asked_ns + patience.turnaround_ns + self.line.bytes_ns(exchange.reply_bytes)
        if expected_ns > deadline_ns or exchange.address in self._struck:
            return self._not_sent(exchange, now_ns)
        self._in_flight = [a for a in self._in_flight if a.last_at_ns > begin_ns]
        answer = self.slaves.hear(rtu_frame(exchange), asked_ns)
        if answer is not None:
            self._in_flight.append(self._arrival(asked_ns + answer.after_ns, answer.data))
        give_up_ns = min(asked_ns + patience.timeout_ns, deadline_ns)
        for burst_ns, data in self.slaves.troubles.bursts(begin_ns, give_up_ns):
            self._in_flight.append(self._arrival(burst_ns, data))
        reply = self._listen(exchange, begin_ns, give_up_ns, deadline_ns)
        if reply.code in (Code.NO_ANSWER, Code.BAD_FRAME):
            self._struck.add(exchange.address)
            self._drained_at_ns = max(self._drained_at_ns, expected_ns)
        self._note(exchange, reply)
        if patience.gap_on_bus:
            self._bus_gap_ns = max(self._bus_gap_ns, patience.gap_ns)
        return reply

    def _not_sent(self, exchange: Exchange, now_ns: int) -> Reply:
        self._counters[exchange.address].not_sent += 1
        return Reply(Code.NOT_SENT, b"", 0, now_ns, now_ns)

    def _free_at_ns(self, address: int, patience: Patience) -> int:
        """When the next request may begin: silence, gaps, and the line drained after a failure."""
        bus_gap_ns = max(self._bus_gap_ns, patience.gap_ns if patience.gap_on_bus else 0)
        free_ns = self._busy_until_ns + max(self.line.silent_ns, bus_gap_ns)
        if address in self._last_to_ns:
            free_ns = max(free_ns, self._last_to_ns[address] + patience.gap_ns)
        return max(free_ns, self._drained_at_ns + self.line.silent_ns)

    def _arrival(self, begin_ns: int, data: bytes) -> _Arrival:
        return _Arrival(
            begin_ns + self.line.bytes_ns(1), begin_ns + self.line.bytes_ns(len(data)), data
        )

    def _listen(
        self, exchange: Exchange, begin_ns: int, give_up_ns: int, deadline_ns: int
    ) -> Reply:
        """What comes first is taken for the reply."""
        first = min(self._in_flight, default=None)
        if first is None or first.first_at_ns > give_up_ns:
            return Reply(Code.NO_ANSWER, b"", 0, begin_ns, give_up_ns)
        if first.last_at_ns > deadline_ns:
            return Reply(Code.BAD_FRAME, b"", 0, begin_ns, deadline_ns)
        self._in_flight.remove(first)
        code, payload, exception_code = check_reply(exchange, first.data)
        is_doubtful = exchange.is_write and self._late[exchange.address].is_ambiguous(
            exchange, first.last_at_ns
        )
        if code is Code.GOOD and is_doubtful:
            code = Code.BAD_FRAME  # may acknowledge an earlier write of other values
        return Reply(code, payload, exception_code, begin_ns, first.last_at_ns)

    def _note(self, exchange: Exchange, reply: Reply) -> None:
        """Remember what this exchange means for the ones after it."""
        counters, late = self._counters[exchange.address], self._late[exchange.address]
        self._local_ns = self._busy_until_ns = reply.ended_at_ns
        self._last_to_ns[exchange.address] = reply.ended_at_ns
        if reply.code is Code.GOOD:
            counters.good += 1
            late.answered(exchange, reply.ended_at_ns)
        elif reply.code is Code.REFUSED:
            counters.refused += 1
            late.refused(exchange, reply.ended_at_ns)
        else:
            counters.no_answer += reply.code is Code.NO_ANSWER
            counters.bad_frame += reply.code is Code.BAD_FRAME
            late.unanswered(exchange, reply.ended_at_ns)


class VirtualRunner:
    """Runs one job per bus as if side by side."""

    def __init__(self, clock: VirtualClock, wires: Iterable[VirtualWire]) -> None:
        self._clock = clock
        self._wires = list(wires)

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Every job starts now; now is then when the last of them is through."""
        for job in jobs:
            job()
        self._clock.sleep_until(max((wire.now_ns() for wire in self._wires), default=0))


class VirtualSite:
    """A whole site in virtual time: plant, devices, wires, runner and judge."""

    def __init__(self, tables: Tables, scenario: Scenario, start_ns: int = 0) -> None:
        self.tables = tables
        self.clock = VirtualClock(start_ns)
        self.board = Board(tables)
        self.faults: list[dict[str, Any]] = []  # begins and ends
        everyone = range(len(tables.chargers))
        self.plant = make_plant(tables, scenario, self.board, start_ns, everyone)
        self.written: list[dict[str, Any]] = []  # setpoint writes, where the scenario logs them
        note_write = self.written.append if scenario.logs_writes else None
        self.lines = [
            make_line(tables, scenario, self.plant, bus_i, self._noted, note_write)
            for bus_i in range(len(tables.buses))
        ]
        late_ns = 2 * tables.site.period_ns
        self.wires = [
            VirtualWire(self.clock, Line(bus.baud, bus.frame), slaves, late_ns)
            for bus, slaves in zip(tables.buses, self.lines, strict=True)
        ]
        self.runner = VirtualRunner(self.clock, self.wires)

    def inject(self, fault: Fault) -> None:
        """Let a fault begin, `fault.at_ns` from now."""
        self.lines[check(fault, self.tables)].inject(fault, self.clock.now_ns())

    def clear(self, who: str, kind: str = "") -> None:
        """End what `who` has, everything or one kind of it."""
        self.lines[bus_of(who, self.tables)].clear(who, kind, self.clock.now_ns())

    def _noted(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "fault":
            self.faults.append(entry)

    def violations(self) -> list[dict[str, Any]]:
        return [violation for line in self.lines for violation in line.judge.violations]

    def report(self) -> dict[str, Any]:
        return report_of(self.tables, self.board, self.violations())
