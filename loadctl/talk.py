"""The I/O of one bus: what its thread does in each phase of a scan.

Owns the order of exchanges on the wire and what became of them; decides nothing about currents.
Orders, looks and deadlines are laid down by the main thread before a phase, results are picked up
after it. A phase returns at its deadline whatever the devices do: what was not sent is NOT_SENT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from hw.devices import ChargerValues, MeterValues, decode_charger, decode_meter
from hw.wire import Code, Exchange, Line, Reply, Wire
from loadctl.events import Event
from loadctl.guardside import GuardSide
from loadctl.image import Writer
from loadctl.stations import ChargerStation, MeterStation
from loadctl.units import NS_PER_US

# Our own waking after the last byte is no slowness of the device.
WAKE_ns = 1_000_000

AnyStation = MeterStation | ChargerStation
Station = TypeVar("Station", MeterStation, ChargerStation)


class FieldWire(Wire, Protocol):
    """A wire that is told where scans begin."""

    @property
    def is_open(self) -> bool: ...
    def new_scan(self) -> None: ...


class MeterResult(NamedTuple):
    who: int
    code: Code
    values: MeterValues | None
    at_ns: int


class StatusResult(NamedTuple):
    who: int
    code: Code
    values: ChargerValues | None
    at_ns: int


class Order(NamedTuple):
    """One setpoint frame that the gate has let through."""

    station: ChargerStation
    setpoint_mA: int
    exchange: Exchange


class WriteResult(NamedTuple):
    who: int
    setpoint_mA: int
    code: Code
    at_ns: int


class AnswerResult(NamedTuple):
    """An exchange that was neither a status block nor a setpoint."""

    who: int
    code: Code
    at_ns: int


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
        self.deadline_ns = 0
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
        """Every meter, those that answered last first; then the status blocks whose turn it is."""
        failed_last = sorted(self.meters, key=lambda station: station.code in (2, 3))
        for meter in self._as_gaps_end(failed_last):
            self._read_meter(meter)
        for charger in self._as_gaps_end(self._next_statuses(self.n_status_per_scan)):
            self._read_status(charger)

    def take(self) -> None:
        """Every decrease, then one probe: it may time out, and nothing waits for it then."""
        self.send()
        self._probe()

    def send(self) -> None:
        """Every order: the first of the list whose device is not in its gap."""
        stations = [order.station for order in self.orders]
        by_station = {order.station.index: order for order in self.orders}
        for station in self._as_gaps_end(stations):
            self.write_results.append(self._write(by_station[station.index]))
        self.orders.clear()

    def look(self) -> None:
        """The looks of the core, then arming, then one setting again, then further statuses."""
        for station in self._as_gaps_end(self.looks):
            self._read_status(station)
        self.looks.clear()
        self._arm()
        self._audit()
        rest = [s for s in self._next_statuses(len(self.chargers)) if s.index not in self.was_read]
        for station in self._as_gaps_end(rest):
            self._read_status(station)

    def give(self) -> None:
        """The raises in order, then due refreshes, then kicks."""
        self.send()
        for order in self.refreshes:
            self.refresh_results.append(self._write(order))
        self.refreshes.clear()
        for station in self.chargers:
            if station.wants_kick and station.kick is not None:
                reply = self._transact(station, station.kick)
                station.wants_kick = reply.code is Code.NOT_SENT
                self._answered(station, reply)

    # one device

    def _read_meter(self, station: MeterStation) -> None:
        payloads, reply = self._read_blocks(station)
        if reply.code is Code.NOT_SENT:
            return  # it keeps its value, which ages
        values = decode_meter(station.map, payloads) if reply.code is Code.GOOD else None
        code = reply.code
        if code is Code.GOOD and values is None:
            code = Code.IMPLAUSIBLE
            self.image.exchange(station.device_i, code, 0, 0, reply.ended_at_ns)
        was_good = station.code in (Code.GOOD, Code.NEVER)
        if (code is Code.GOOD) != was_good:
            kind = Event.METER_BACK if code is Code.GOOD else Event.METER_SILENT
            self.image.event(kind, station.index, code, 0, reply.ended_at_ns)
        station.code = code
        # The value is from before this moment: what is sampled from here on is later.
        self.meter_results.append(MeterResult(station.index, code, values, reply.ended_at_ns))

    def _read_status(self, station: ChargerStation) -> None:
        if station.is_quiet:
            return
        self.was_read.add(station.index)
        payloads, reply = self._read_blocks(station)
        station.heard(reply.code)
        if reply.code is Code.NOT_SENT:
            return
        values = decode_charger(station.map, payloads) if reply.code is Code.GOOD else None
        code = reply.code
        if code is Code.GOOD and values is None:
            code = Code.IMPLAUSIBLE
            self.image.exchange(station.device_i, code, 0, 0, reply.ended_at_ns)
        self.status_results.append(StatusResult(station.index, code, values, reply.begun_at_ns))

    def _read_blocks(self, station: AnyStation) -> tuple[dict[str, bytes], Reply]:
        """All blocks of a device, up to the first that is not good; that reply, or the last."""
        payloads: dict[str, bytes] = {}
        for step in station.steps:
            reply = self._transact(station, step.exchange)
            if reply.code is not Code.GOOD:
                return payloads, reply
            payloads[step.what] = reply.payload
        return payloads, reply

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
            for station in list(self._as_gaps_end(waiting)):
                if not self._arm_once(station):
                    waiting.remove(station)

    def _arm_once(self, station: ChargerStation) -> bool:
        """False when this charger has nothing more to do in this scan."""
        exchange = station.arming.exchange(self.wire.now_ns())
        if exchange is None or station.is_quiet:
            return False
        reply = self._transact(station, exchange)
        station.arming.done(reply.code, reply.payload, reply.ended_at_ns)
        station.heard(reply.code)
        self._answered(station, reply)
        return reply.code is Code.GOOD and not station.arming.is_armed

    def _audit(self) -> None:
        """Read one setting of the charger that waited longest, where that keeps nobody waiting."""
        now_ns = self.wire.now_ns()
        due = [
            station
            for station in self.chargers
            if not station.is_quiet
            and station.arming.is_audit_due(now_ns)
            and self._free_at_ns(station) <= now_ns
        ]
        if not due:
            return
        station = min(due, key=lambda station: station.arming.audited_at_ns)
        reply = self._transact(station, station.arming.audit())
        station.heard(reply.code)
        self._answered(station, reply)
        if not station.arming.audited(reply.code, reply.payload, reply.ended_at_ns):
            station.has_forgotten = True

    def _probe(self) -> None:
        """One silent charger: min(last, failsafe) where it was armed, else its arming goes on."""
        order, self.probe_order = self.probe_order, None
        station, self.probe_station = self.probe_station, None
        if order is not None:
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
            station.arming.done(reply.code, reply.payload, reply.ended_at_ns)
            if reply.code in (Code.GOOD, Code.REFUSED):
                station.is_silent = False
            self._answered(station, reply)

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

    def _answered(self, station: ChargerStation, reply: Reply) -> None:
        if reply.code is not Code.NOT_SENT:
            self.answer_results.append(AnswerResult(station.index, reply.code, reply.ended_at_ns))

    def _next_statuses(self, count: int) -> list[ChargerStation]:
        """The next `count` chargers that may be asked; the rotation goes on where it stopped."""
        chosen: list[ChargerStation] = []
        n_chargers = len(self.chargers)
        for _ in range(n_chargers):
            if len(chosen) == count:
                break
            station = self.chargers[self.next_status_i % n_chargers]
            self.next_status_i += 1
            if not station.is_quiet and station.steps:
                chosen.append(station)
        return chosen

    def _as_gaps_end(self, stations: Sequence[Station]) -> Iterator[Station]:
        """In order, but a device that is still in its gap lets the others go first."""
        waiting = list(stations)
        while waiting:
            now_ns = self.wire.now_ns()
            ready = (station for station in waiting if self._free_at_ns(station) <= now_ns)
            station = next(ready, None) or min(waiting, key=self._free_at_ns)
            waiting.remove(station)
            yield station

    def _free_at_ns(self, station: AnyStation) -> int:
        return self.free_at_ns.get(station.row.address, 0)
