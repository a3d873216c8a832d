"""The I/O of one bus: what its thread does in each phase of a scan.

Owns the order of exchanges on the wire and what became of them; decides nothing about currents.
Orders, looks and deadlines are laid down by the main thread before a phase, results are picked up
after it. A phase returns at its deadline whatever the devices do: what was not sent is NOT_SENT.

The gap that one device needs between two messages is spent on the others. A phase is a list of
tasks, one device each; of those whose device is not in its gap, the first goes. While all are in
their gap, what else is due and surely ends in time goes: heartbeats, then further status blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from hw.devices import FED_BY_ANY, FED_BY_READS, DeviceMap, Step, decode_charger, decode_meter
from hw.wire import Code, Exchange, Line, Reply, exchange_ns
from loadctl.events import Event
from loadctl.guardside import GuardSide
from loadctl.image import Writer
from loadctl.said import (
    AnswerResult,
    FieldWire,
    MeterResult,
    Order,
    StatusResult,
    WriteResult,
)
from loadctl.stations import ChargerStation, MeterStation
from loadctl.units import NS_PER_US

# Our own waking after the last byte is no slowness of the device.
WAKE_ns = 1_000_000

FAR_ns = 1 << 62
DONE = object()

AnyStation = MeterStation | ChargerStation


class Task(NamedTuple):
    """Exchanges with one device; `work` stops between two of them, so that its gap may pass."""

    station: AnyStation
    work: Iterator[None]


class BusTalk:
    """One bus. Everything public runs in its I/O thread, except `begin`, `note_port`, and what
    fills or empties the lists."""

    def __init__(
        self,
        wire: FieldWire,
        line: Line,
        n_status_per_scan: int,
        meters: list[MeterStation],
        chargers: list[ChargerStation],
        image: Writer,
        guarded: GuardSide,
    ) -> None:
        self.wire = wire
        self.line = line
        self.n_status_per_scan = n_status_per_scan
        self.meters = meters
        self.chargers = [station for station in chargers if not station.row.is_isolated]
        self.image = image
        self.guarded = guarded
        self.next_status_i = 0
        self.next_probe_i = 0
        self.free_at_ns: dict[int, int] = {}  # by address: when its own gap is over
        stations: list[AnyStation] = [*meters, *self.chargers]
        waits = [station.patience for station in stations]
        gaps_ns = [wait.gap_ns for wait in waits if wait.gap_on_bus]
        self.stretch_ns = max(0, max(gaps_ns, default=0) - line.silent_ns)  # of every silence
        self.has_told_echo = False
        self.told_in_vain: set[int] = set()  # chargers whose last probe was a setpoint
        self.deadline_ns = 0
        self.read_free_at_ns = FAR_ns  # from here on a read leaves no room for one more timeout
        self.give_at_ns = FAR_ns  # whoever may be given something must not be in its gap then
        self.busy_ns = 0
        self.orders: list[Order] = []
        self.refreshes: list[Order] = []
        self.probe_order: Order | None = None
        self.probe_station: ChargerStation | None = None
        self.looks: list[ChargerStation] = []
        self.was_read: set[int] = set()  # chargers whose status was asked for in this scan
        self.meter_results: list[MeterResult] = []
        self.status_results: list[StatusResult] = []
        self.write_results: list[WriteResult] = []
        self.refresh_results: list[WriteResult] = []
        self.answer_results: list[AnswerResult] = []

    def begin(self) -> None:
        """Forget the last scan."""
        self.wire.new_scan()
        self.busy_ns = 0
        self.was_read.clear()
        for station in self.chargers:
            station.is_written = False

    def note_port(self) -> None:
        """On a port that is gone no message can be answered: every charger is silent."""
        if self.wire.is_open:
            return
        at_ns = self.wire.now_ns()
        for station in self.chargers:
            if not station.is_silent:
                station.heard(Code.NO_ANSWER)
                self.answer_results.append(AnswerResult(station.index, Code.NO_ANSWER, at_ns))

    # phases

    def read(self) -> None:
        """Every meter, those that answered last first, and the status blocks whose turn it is; then
        what is missing of readings in parts, as far as there is room."""
        failed_last = sorted(self.meters, key=lambda station: station.code in (2, 3))
        due: list[AnyStation] = [*failed_last, *self._next_statuses(self.n_status_per_scan)]
        self._do([self._reading(station) for station in due], self._spare_status)
        self._read_on([*self.meters, *self.chargers], self.read_free_at_ns)

    def take(self) -> None:
        """Every decrease, then heartbeats that need no waiting."""
        self._do(self._ordered(), self._spare_kick, self._spare_status)
        while self._spare_kick(self.deadline_ns):
            pass

    def send(self) -> None:
        """Every order, in order, and nothing else."""
        self._do(self._ordered())

    def look(self) -> None:
        """One probe: it may time out, and no other bus waits for it. Then the looks of the core,
        arming, one setting again, and further statuses. No meter: its value would be judged by in
        the next scan, as if it were of that one."""
        self.probe()
        looks, self.looks = self.looks, []
        self._do(
            [self._reading(station) for station in looks], self._spare_kick, self._spare_status
        )
        self._read_on(self.chargers, self.deadline_ns)
        self._arm()
        self._audit()
        while self._spare_kick(self.deadline_ns) or self._spare_status(self.deadline_ns):
            pass

    def give(self) -> None:
        """The raises in order, then due refreshes, then heartbeats."""
        refreshes, self.refreshes = self.refreshes, []
        again = [Task(order.station, self._sending(order, False)) for order in refreshes]
        self._do([*self._ordered(), *again], self._spare_kick)
        self._do([Task(s, self._kicking(s)) for s in self.chargers if s.wants_kick])

    # the gaps of devices

    def _do(self, tasks: list[Task], *spare: Callable[[int], bool]) -> None:
        """All of it. Of those whose device is not in its gap the first goes; while there is none,
        one thing after the other that `spare` finds for the time until there is."""
        while tasks:
            now_ns = self.wire.now_ns()
            task = next((t for t in tasks if self._free_at_ns(t.station) <= now_ns), None)
            if task is None:
                task = min(tasks, key=lambda task: self._free_at_ns(task.station))
                until_ns = min(self._free_at_ns(task.station), self.deadline_ns)
                if any(speak(until_ns) for speak in spare):
                    continue
            if next(task.work, DONE) is DONE:
                tasks.remove(task)

    def _spare_kick(self, until_ns: int) -> bool:
        """Send one heartbeat that surely ends by then unless it fails; False when there is none."""
        for station in self.chargers:
            if (
                station.wants_kick
                and station.kick is not None
                and self._ends_by(until_ns, station, station.kick)
                and self._kick(station)
            ):
                return True
        return False

    def _spare_status(self, until_ns: int) -> bool:
        """The same for the status of a charger that was not asked in this scan, the longest unread
        first. Whoever may be given something must not be in its gap then."""
        for station in self._unread():
            exchange = station.reading.next_step().exchange
            if self._ends_by(self._latest_ns(station, until_ns), station, exchange):
                if station is self.chargers[self.next_status_i % len(self.chargers)]:
                    self.next_status_i += 1  # it needs no turn in the next scan
                self._read_part(station)
                return True
        return False

    def _latest_ns(self, station: AnyStation, until_ns: int) -> int:
        gap_ns = 0 if station.patience.gap_on_bus else station.patience.gap_ns
        return min(until_ns, self.give_at_ns - gap_ns)

    def _ends_by(self, until_ns: int, station: AnyStation, exchange: Exchange) -> bool:
        """Whether this exchange could begin at once and would be over by then."""
        now_ns = self.wire.now_ns()
        if self._free_at_ns(station) > now_ns:
            return False
        return now_ns + self._worst_ns(station, exchange) <= until_ns

    def _worst_ns(self, station: AnyStation, exchange: Exchange) -> int:
        """As the plan counts it."""
        longest = exchange.alternate or exchange
        return self.stretch_ns + exchange_ns(self.line, longest, station.patience.turnaround_ns)

    def _free_at_ns(self, station: AnyStation) -> int:
        return self.free_at_ns.get(station.row.address, 0)

    # reading

    def _reading(self, station: AnyStation) -> Task:
        return Task(station, self._read(station))

    def _read(self, station: AnyStation) -> Iterator[None]:
        """All reads of the usual way. Of shorter ones a single one, which takes no longer than
        those; the others follow as there is room."""
        for _ in station.reading.steps if station.reading.is_usual else (None,):
            if not self._read_part(station):
                return
            yield

    def _read_on(self, stations: Sequence[AnyStation], until_ns: int) -> None:
        """Go on with readings in parts, in order, while a part surely ends in time."""
        self._do(
            [
                Task(station, self._read_rest(station, until_ns))
                for station in stations
                if station.reading.is_begun
                and self._free_at_ns(station) < self._latest_ns(station, until_ns)
            ],
            self._spare_status,
        )

    def _read_rest(self, station: AnyStation, until_ns: int) -> Iterator[None]:
        while station.reading.is_begun:
            exchange = station.reading.next_step().exchange
            end_ns = self.wire.now_ns() + self._worst_ns(station, exchange)
            if end_ns > self._latest_ns(station, until_ns) or not self._read_part(station):
                return
            yield

    def _read_part(self, station: AnyStation) -> bool:
        """One exchange of a reading; whether it was good and more of them are to come."""
        if isinstance(station, ChargerStation):
            if station.is_quiet or not station.reading.steps:
                return False
            self.was_read.add(station.index)
        reading = station.reading
        step = reading.next_step()
        device_map = reading.map
        reply = self._transact(station, step.exchange)
        payloads = reading.took(step, reply)
        if isinstance(station, ChargerStation):
            station.heard(reply.code)
        if reply.code is Code.NOT_SENT:
            return False  # what is known keeps its value, which ages
        if reply.code is Code.REFUSED:
            self._note_refusal(station, step, reply)
        elif reply.code is Code.GOOD and payloads is None:
            return True
        if isinstance(station, ChargerStation):
            self._note_status(station, device_map, payloads, reply)
        else:
            self._note_meter(station, device_map, payloads, reply)
        return False

    def _note_refusal(self, station: AnyStation, step: Step, reply: Reply) -> None:
        reading = station.reading
        if reading.refused(step, reply.exception_code):
            n_reads = len(reading.steps)
            self.image.event(
                Event.SHORTER_READS,
                station.device_i,
                reply.exception_code,
                n_reads,
                reply.ended_at_ns,
            )

    def _note_meter(
        self,
        station: MeterStation,
        device_map: DeviceMap,
        payloads: dict[str, bytes] | None,
        reply: Reply,
    ) -> None:
        code = reply.code
        values = None if payloads is None else decode_meter(device_map, payloads)
        if code is Code.GOOD and values is None:
            code = self._implausible(station, reply)
        was_good = station.code in (Code.GOOD, Code.NEVER)
        if (code is Code.GOOD) != was_good:
            kind = Event.METER_BACK if code is Code.GOOD else Event.METER_SILENT
            self.image.event(kind, station.index, code, 0, reply.ended_at_ns)
        station.code = code
        # The value is from before this moment: what is sampled from here on is later.
        self.meter_results.append(MeterResult(station.index, code, values, reply.ended_at_ns))

    def _note_status(
        self,
        station: ChargerStation,
        device_map: DeviceMap,
        payloads: dict[str, bytes] | None,
        reply: Reply,
    ) -> None:
        code = reply.code
        values = None if payloads is None else decode_charger(device_map, payloads)
        if code is Code.GOOD and values is None:
            code = self._implausible(station, reply)
        self.status_results.append(StatusResult(station.index, code, values, reply.begun_at_ns))

    def _implausible(self, station: AnyStation, reply: Reply) -> Code:
        self.image.exchange(station.device_i, Code.IMPLAUSIBLE, 0, 0, reply.ended_at_ns)
        return Code.IMPLAUSIBLE

    def _next_statuses(self, count: int) -> list[ChargerStation]:
        """The next `count` chargers that may be asked; the rotation goes on where it stopped."""
        chosen: list[ChargerStation] = []
        n_chargers = len(self.chargers)
        for _ in range(n_chargers):
            if len(chosen) == count:
                break
            station = self.chargers[self.next_status_i % n_chargers]
            self.next_status_i += 1
            if not station.is_quiet and station.reading.steps:
                chosen.append(station)
        return chosen

    def _unread(self) -> Iterable[ChargerStation]:
        """Who was not asked in this scan, from the next turn on."""
        n_chargers = len(self.chargers)
        for i in range(n_chargers):
            station = self.chargers[(self.next_status_i + i) % n_chargers]
            is_read = station.index in self.was_read or not station.reading.steps
            if not (is_read or station.is_quiet):
                yield station

    # writing

    def _ordered(self) -> list[Task]:
        orders, self.orders = self.orders, []
        return [Task(order.station, self._sending(order, True)) for order in orders]

    def _sending(self, order: Order, is_new: bool) -> Iterator[None]:
        result = self._write(order)
        (self.write_results if is_new else self.refresh_results).append(result)
        yield from ()

    def _write(self, order: Order) -> WriteResult:
        """A decrease is told to the guard before its frame leaves, a raise once acknowledged."""
        station = order.station
        before_mA = station.sent_mA
        if before_mA is None or order.setpoint_mA < before_mA:
            self.guarded.tell(station.index, order.setpoint_mA)
        reply = self._transact(station, order.exchange)
        if reply.code is Code.GOOD:
            self.guarded.tell(station.index, order.setpoint_mA)
        elif reply.code is Code.NOT_SENT and before_mA is not None:
            self.guarded.tell(station.index, before_mA)  # it still has that
        if reply.code is not Code.NOT_SENT:
            station.wrote(order.setpoint_mA, reply.code, reply.ended_at_ns)
            station.heard(reply.code)
        if reply.code is Code.REFUSED:
            self.image.event(
                Event.REFUSED,
                station.index,
                order.setpoint_mA,
                reply.exception_code,
                reply.ended_at_ns,
            )
        return WriteResult(station.index, order.setpoint_mA, reply.code, reply.ended_at_ns)

    def _arm(self) -> None:
        """One exchange at a time, from charger to charger, as long as there is time."""
        waiting = [
            station
            for station in self.chargers
            if not (station.is_quiet or station.arming.is_armed or station.is_in_doubt)
        ]
        while waiting:
            going_on: list[ChargerStation] = []
            tasks = [Task(station, self._arming(station, going_on)) for station in waiting]
            self._do(tasks, self._spare_kick, self._spare_status)
            waiting = going_on

    def _arming(self, station: ChargerStation, going_on: list[ChargerStation]) -> Iterator[None]:
        if self._arm_once(station):
            going_on.append(station)
        yield from ()

    def _arm_once(self, station: ChargerStation) -> bool:
        """False when this charger has nothing more to do in this scan."""
        exchange = station.arming.exchange(self.wire.now_ns())
        if exchange is None or station.is_quiet:
            return False
        reply = self._transact(station, exchange)
        station.arming.done(reply.code, reply.payload, reply.ended_at_ns, reply.exception_code)
        station.heard(reply.code)
        self._answered(station, reply)
        return reply.code in (Code.GOOD, Code.REFUSED) and not station.arming.is_armed

    def _audit(self) -> None:
        """Read one setting of the charger that waited longest, where that keeps nobody waiting."""
        now_ns = self.wire.now_ns()
        due = [
            station
            for station in self.chargers
            if not station.is_quiet
            and station.arming.is_audit_due(now_ns)
            and self._ends_by(
                self._latest_ns(station, self.deadline_ns), station, station.arming.audit()
            )
        ]
        if not due:
            return
        station = min(due, key=lambda station: station.arming.audited_at_ns)
        reply = self._transact(station, station.arming.audit())
        station.heard(reply.code)
        self._answered(station, reply)
        if not station.arming.audited(reply.code, reply.payload, reply.ended_at_ns):
            station.has_forgotten = True

    def probe(self) -> None:
        """One silent charger: min(last, failsafe) where it was armed, else its arming goes on."""
        order, self.probe_order = self.probe_order, None
        station, self.probe_station = self.probe_station, None
        if order is not None:
            if self._echo_stands(order.station):
                at_ns, who = self.wire.now_ns(), order.station.index
                unsent = WriteResult(who, order.setpoint_mA, Code.NOT_SENT, at_ns)
                self.refresh_results.append(unsent)
                return
            result = self._write(order)
            if result.code is Code.GOOD:
                order.station.is_silent = False
                order.station.arming.restart()
            self.refresh_results.append(result)
        elif station is not None:
            exchange = station.arming.exchange(self.wire.now_ns())
            if exchange is None:
                return
            reply = self._transact(station, exchange)
            station.arming.done(reply.code, reply.payload, reply.ended_at_ns, reply.exception_code)
            if reply.code in (Code.GOOD, Code.REFUSED):
                station.is_silent = False
            self._answered(station, reply)

    def _echo_stands(self, station: ChargerStation) -> bool:
        """After an echo no acknowledgement counts before another reply, and where all are silent
        nobody is read: a charger that was told begins its next probe with a read, as long as its
        setpoint at most. True where that left things as they were. Never one whose watchdog a read
        would feed: that has to run out where it did not hear its setpoint (design, section 4.5)."""
        if station.row.watchdog_fed_by in (FED_BY_ANY, FED_BY_READS):
            return False
        if not self.wire.hears_itself or station.index not in self.told_in_vain:
            self.told_in_vain.add(station.index)
            return False
        self.told_in_vain.discard(station.index)
        steps = [station.arming.read_setpoint, *(step.read for step in station.arming.steps)]
        steps += [step.exchange for step in station.reading.steps]
        exchange = next((step for step in steps if step is not None), None)
        if exchange is None:
            return False
        self._transact(station, exchange)
        return self.wire.hears_itself

    def next_probe(self) -> ChargerStation | None:
        """The silent charger whose turn it is; the turn passes on with every call."""
        for _ in self.chargers:
            station = self.chargers[self.next_probe_i % len(self.chargers)]
            self.next_probe_i += 1
            if station.is_silent and not station.is_starved:
                return station
        return None

    # the wire

    def _transact(self, station: AnyStation, exchange: Exchange) -> Reply:
        reply = self.wire.transact(exchange, station.patience, self.deadline_ns)
        took_ns = reply.ended_at_ns - reply.begun_at_ns
        self.busy_ns += took_ns
        self.image.exchange(
            station.device_i, reply.code, reply.exception_code, took_ns, reply.ended_at_ns
        )
        if self.wire.hears_itself and not self.has_told_echo:
            self.has_told_echo = True  # once: an adapter that echoes does so with every request
            self.image.event(Event.ECHO, station.device_i, 0, 0, reply.ended_at_ns)
        if reply.code is not Code.NOT_SENT:
            self.free_at_ns[exchange.address] = reply.ended_at_ns + station.patience.gap_ns
        if reply.code in (Code.GOOD, Code.REFUSED):
            if exchange.alternate is not None and len(reply.payload) > 2 * exchange.count:
                exchange = exchange.alternate
            self._measure(station, exchange, took_ns, reply.ended_at_ns)
        return reply

    def _measure(self, station: AnyStation, exchange: Exchange, took_ns: int, at_ns: int) -> None:
        """A reply slower than the plan counts is an event, when it is this device's slowest."""
        wire_ns = self.line.bytes_ns(exchange.request_bytes)
        wire_ns += self.line.bytes_ns(exchange.reply_bytes)
        planned_ns = wire_ns + station.patience.turnaround_ns
        if took_ns <= planned_ns + WAKE_ns:
            return
        self.image.slow_reply()
        took_us = took_ns // NS_PER_US
        if took_us > station.worst_us:
            station.worst_us = took_us
            self.image.event(
                Event.SLOW_REPLY, station.device_i, took_us, planned_ns // NS_PER_US, at_ns
            )

    def _kicking(self, station: ChargerStation) -> Iterator[None]:
        if station.wants_kick:
            self._kick(station)
        yield from ()

    def _kick(self, station: ChargerStation) -> bool:
        """Feed a watchdog that only this feeds; never but after an acknowledged setpoint. False
        when it was not sent: on a port that is gone that comes at once, so it waits for its next
        turn."""
        if station.kick is None:
            return False
        reply = self._transact(station, station.kick)
        station.wants_kick = reply.code is Code.NOT_SENT
        self._answered(station, reply)
        return not station.wants_kick

    def _answered(self, station: ChargerStation, reply: Reply) -> None:
        if reply.code is not Code.NOT_SENT:
            self.answer_results.append(AnswerResult(station.index, reply.code, reply.ended_at_ns))
