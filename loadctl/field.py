"""The field: the phases of a scan over all buses, and what the core is told of them.

Owns the order of the phases and the only way of a setpoint frame to the wire, which leads
through the gate. Decides nothing about currents. The phases run in one thread per bus (`talk.py`,
by `runner.py`); everything in this file runs in the scan's main thread while those are idle, in
file order, so that the same answers lead to the same calls of the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hw.devices import DeviceMap, decode_setpoint, setpoint_floor_mA
from hw.wire import Code, Line
from loadctl._core import Core
from loadctl.arming import Stage
from loadctl.events import Event, Sign
from loadctl.external import External
from loadctl.gate import Gate
from loadctl.guardside import GuardSide, NoGuard
from loadctl.image import Writer
from loadctl.plan import Plan
from loadctl.runner import Runner
from loadctl.said import FieldWire, Order, WriteResult
from loadctl.stations import ChargerStation, MeterStation
from loadctl.tables import Phases, Tables
from loadctl.talk import AnyStation, BusTalk
from loadctl.tuned import Tuned

BRING_DOWN_TRIES = 3
# Above this no car draws by the tolerance of the pilot signal and of its own meter.
DRAWN_ABOVE_mA = 2_000


class Field:
    """All buses of a site. `base_ns` of a scan is the time that its deadlines count from."""

    def __init__(
        self,
        tables: Tables,
        maps: dict[str, DeviceMap],
        plan: Plan,
        wires: Sequence[FieldWire],
        runner: Runner,
        core: Core,
        gate: Gate,
        image: Writer,
        guarded: GuardSide | None = None,
    ) -> None:
        self.guarded: GuardSide = guarded or NoGuard()
        self.plan = plan
        self.runner = runner
        self.core = core
        self.gate = gate
        self.image = image
        self.base_ns = 0
        self.external = External(tables, core, gate, image, self.guarded)
        self.tuned = Tuned(tables, maps, core, gate, image, self.guarded)
        self.seen_mA: list[Phases | None] = [None] * len(tables.circuits)  # as the guard was told
        self.cooling: list[tuple[int, int]] = []  # circuit, phase: as the events say
        rows = tables.buses
        self.meters = [
            MeterStation(i, row, maps[row.model], rows[row.bus])
            for i, row in enumerate(tables.meters)
        ]
        self.chargers = [
            ChargerStation(i, len(self.meters), row, maps[row.model], rows[row.bus])
            for i, row in enumerate(tables.chargers)
        ]
        self.buses = [
            BusTalk(
                wire,
                Line(rows[bus_i].baud, rows[bus_i].frame),
                plan.buses[bus_i].n_status_per_scan,
                [station for station in self.meters if station.row.bus == bus_i],
                [station for station in self.chargers if station.row.bus == bus_i],
                image,
                self.guarded,
            )
            for bus_i, wire in enumerate(wires)
        ]

    def take_over(self, now_ns: int) -> None:
        """Begin with what is known from before this process: setpoints, what was said from outside,
        what was tuned, and latched alarms."""
        self.external.take_over()
        self.tuned.take_over(now_ns)
        for station in self.chargers:
            self.guarded.set_starved(station.index, False)  # this core has starved nobody yet
            told_mA = self.guarded.told_mA(station.index)
            if told_mA is not None and not station.row.is_isolated:
                station.sent_mA = told_mA
                station.doubted()
                self.gate.found(station.index, told_mA)
        for circuit_i in range(len(self.seen_mA)):
            seen_mA = self.guarded.seen_background_mA(circuit_i)
            if seen_mA is not None:
                self.seen_mA[circuit_i] = seen_mA
                self.core.latch_background(circuit_i, seen_mA)

    # the phases

    def begin(self, base_ns: int) -> None:
        self.base_ns = base_ns
        self.gate.close()
        self.external.begin(base_ns)
        self.tuned.begin(base_ns)
        for bus in self.buses:
            bus.begin()
            bus.read_free_at_ns = base_ns + self.plan.read_free_ns
            bus.give_at_ns = base_ns + self.plan.give_at_ns

    def read(self) -> None:
        self._run([bus.read for bus in self.buses], self.base_ns + self.plan.read_end_ns)
        results = (result for bus in self.buses for result in bus.meter_results)
        for meter in sorted(results, key=lambda result: (result.who, result.at_ns)):
            current_mA, power_W, voltage_mV = meter.values or (None, None, None)
            self.core.meter_read(
                meter.who, meter.code, current_mA, power_W, voltage_mV, meter.at_ns
            )
        for bus in self.buses:
            bus.meter_results.clear()
            bus.note_port()
        self._tell_statuses()
        self._tell_answers()  # before the step: who fell silent may be on the way to its fallback

    def take(self) -> None:
        """Send the core's decreases and first writes, and tell it of each."""
        self._follow_starving()
        self._follow_failsafes()
        for charger_i, setpoint_mA in self.core.takes():
            if not self._order(charger_i, setpoint_mA):
                self.core.take_done(charger_i, Code.NOT_SENT, self.base_ns)
        self._order_first_writes()
        self._run([bus.take for bus in self.buses], self.base_ns + self.plan.take_end_ns)
        for result in self._written():
            if self.chargers[result.who].was_armed:
                self.core.take_done(result.who, result.code, result.at_ns)
            elif result.code is not Code.NOT_SENT:
                self.core.charger_answered(result.who, result.code, result.at_ns)
        self._tell_answers()

    def look(self, is_hurried: bool = False) -> None:
        """One probe per bus; then fill the time up to the give point with reads that help to judge
        the raises. In a hurry nothing but the probes."""
        self._order_probes()
        jobs = [bus.probe if is_hurried else bus.look for bus in self.buses]
        for charger_i in [] if is_hurried else self.core.looks():
            station = self.chargers[charger_i]
            self.buses[station.row.bus].looks.append(station)
        self._run(jobs, self.base_ns + self.plan.take_end_ns)
        self._tell_refreshes()
        self._tell_statuses()
        self._tell_answers()
        for station in self.chargers:
            if station.has_forgotten:
                self._rebooted(station, Sign.SETTING)
        self._tell_armed()

    def give(self, may_raise: bool, end_ns: int) -> None:
        """Send the raises that the core confirmed and the gate allows, then due refreshes."""
        gives = self.core.gives() if may_raise else []
        if gives:
            self.gate.open(
                self.core.reserves_mA(), self.core.backgrounds_high_mA(), self.core.used_phases()
            )
        for charger_i, setpoint_mA in gives:
            is_armed = self.chargers[charger_i].arming.is_armed
            if not is_armed or not self._order(charger_i, setpoint_mA):
                self.core.give_done(charger_i, Code.NOT_SENT, self.base_ns)
        self._order_refreshes()
        self._run([bus.give for bus in self.buses], end_ns)
        for result in self._written():
            self.core.give_done(result.who, result.code, result.at_ns)
        self._tell_refreshes()
        self._tell_answers()

    def keep(self, now_ns: int) -> None:
        """Write the state of links and arming into the image, with an event for what changed."""
        for station in self.chargers:
            if station.is_silent != station.was_silent:
                station.was_silent = station.is_silent
                kind = Event.CHARGER_SILENT if station.is_silent else Event.CHARGER_BACK
                self.image.event(kind, station.index, 0, 0, now_ns)
            self.image.device(
                station.device_i, station.is_silent, station.arming.stage, station.is_starved
            )
        stations: list[AnyStation] = [*self.meters, *self.chargers]
        for each in stations:
            self.image.reads(each.device_i, each.reading.way_i, len(each.reading.steps))
        self._note_fuses(now_ns)
        for bus_i, bus in enumerate(self.buses):
            n_silent = sum(station.is_silent for station in bus.chargers)
            self.image.bus(bus_i, bus.busy_ns, bus.wire.is_open, n_silent)

    def _note_fuses(self, now_ns: int) -> None:
        cooling = self.core.cooling()
        for kind, changed in (
            (Event.FUSE_WARM, set(cooling) - set(self.cooling)),
            (Event.FUSE_COOLED, set(self.cooling) - set(cooling)),
        ):
            for circuit_i, phase in sorted(changed):
                self.image.event(kind, circuit_i, phase, 0, now_ns)
        self.cooling = cooling

    # beside the scan

    def disarm_all(self) -> None:
        """Nothing that was set in the chargers is believed any more: arm them all again."""
        for station in self.chargers:
            station.arming.restart()
            self._disarmed(station)

    def bring_down(self, now_ns: Callable[[], int]) -> list[str]:
        """Write min(last, failsafe) to every charger; the names of those that did not acknowledge.

        A charger whose setpoint was never known is left alone: any value might raise it, and the
        guard reads it first. One that is starved gets no message now either. Both are named.
        """
        unknown = [
            station
            for station in self.chargers
            if station.failsafe_mA is None and not station.row.is_isolated
        ]
        waiting = sorted(
            (station for station in self.chargers if station.failsafe_mA is not None),
            key=_change_to_failsafe_mA,
        )
        for _ in range(BRING_DOWN_TRIES):
            self.guarded.beat()  # no pass is completed any more; each try is bounded by a period
            self.begin(now_ns())
            for station in waiting:
                self._put_down(station)
            self._run([bus.send for bus in self.buses], self.base_ns + self.plan.period_ns)
            acknowledged = {result.who for result in self._written() if result.code is Code.GOOD}
            waiting = [station for station in waiting if station.index not in acknowledged]
            if not waiting:
                break
        return [station.row.name for station in (*waiting, *unknown)]

    def _put_down(self, station: ChargerStation) -> None:
        setpoint_mA = None if station.is_starved else station.failsafe_mA
        if setpoint_mA is not None and self._passes_gate(station.index, setpoint_mA):
            order = Order(station, setpoint_mA, station.setpoint(setpoint_mA))
            self.buses[station.row.bus].orders.append(order)

    # what the core decided beside setpoints

    def _follow_starving(self) -> None:
        """From here on these get no message of any kind, and neither do outlets beside them."""
        starving = set(self.core.starving())
        boxes = {self.chargers[charger_i].box for charger_i in starving}
        for station in self.chargers:
            is_starved = station.box in boxes and not station.row.is_isolated
            if is_starved == station.is_starved:
                continue
            station.starve(is_starved)
            self.guarded.set_starved(station.index, is_starved)
            kind = Event.STARVED if is_starved else Event.STARVED_OVER
            self.image.event(kind, station.index, 0, 0, self.base_ns)
            if is_starved and station.index not in starving:
                self.core.charger_answered(station.index, Code.NO_ANSWER, self.base_ns)

    def _follow_failsafes(self) -> None:
        """Hand on what each charger is brought down to, and backgrounds above the declared."""
        for station, failsafe_mA in zip(self.chargers, self.core.failsafe_mA(), strict=True):
            station.failsafe_now_mA = failsafe_mA
            if failsafe_mA != station.told_failsafe_mA:
                station.told_failsafe_mA = failsafe_mA
                self.guarded.set_failsafe(station.index, failsafe_mA)
        for circuit_i, seen_mA in enumerate(self.core.seen_backgrounds_mA()):
            if seen_mA is not None and seen_mA != self.seen_mA[circuit_i]:
                self.seen_mA[circuit_i] = seen_mA
                self.guarded.set_seen_background(circuit_i, seen_mA)

    # orders through the gate

    def _order(self, charger_i: int, setpoint_mA: int) -> bool:
        """Hand one setpoint to its bus; False when it may not be sent."""
        station = self.chargers[charger_i]
        if station.is_quiet or station.is_written:
            return False
        if not self._passes_gate(charger_i, setpoint_mA):
            return False
        bus = self.buses[station.row.bus]
        bus.orders.append(Order(station, setpoint_mA, station.setpoint(setpoint_mA)))
        station.is_written = True
        return True

    def _passes_gate(self, charger_i: int, setpoint_mA: int) -> bool:
        if self.gate.allows(charger_i, setpoint_mA):
            return True
        self.image.gate_drop()
        self.image.event(Event.GATE_DROP, charger_i, setpoint_mA, 0, self.base_ns)
        return False

    def _order_refreshes(self) -> None:
        """Unchanged setpoints, those waiting longest first."""
        due = [station for station in self.chargers if station.is_due(self.base_ns)]
        for station in sorted(due, key=lambda station: station.written_at_ns):
            setpoint_mA = station.sent_mA
            if setpoint_mA is not None and self._passes_gate(station.index, setpoint_mA):
                order = Order(station, setpoint_mA, station.setpoint(setpoint_mA))
                self.buses[station.row.bus].refreshes.append(order)

    def _order_first_writes(self) -> None:
        """min(last, failsafe), largest decrease first, to those in doubt, before they are armed
        anew, and to those that cannot be armed.

        The core knows nothing of these values: for it they are not armed.
        """
        told = [station for station in self.chargers if station.must_be_told(self.base_ns)]
        for station in sorted(told, key=_change_to_failsafe_mA):
            if station.failsafe_mA is not None:
                self._order(station.index, station.failsafe_mA)

    def _order_probes(self) -> None:
        """One silent charger per bus: its failsafe where its setpoint is known, else its arming."""
        for bus in self.buses:
            station = bus.next_probe()
            if station is None:
                continue
            if station.was_armed:
                setpoint_mA = self.core.probe_mA(station.index)
            elif station.failsafe_mA is not None:
                setpoint_mA = station.failsafe_mA
            else:
                bus.probe_station = station
                continue
            if self._passes_gate(station.index, setpoint_mA):
                bus.probe_order = Order(station, setpoint_mA, station.setpoint(setpoint_mA))

    # what the core is told

    def _run(self, jobs: list[Callable[[], None]], deadline_ns: int) -> None:
        for bus in self.buses:
            bus.deadline_ns = deadline_ns
        self.runner.run(jobs)

    def _written(self) -> list[WriteResult]:
        """The results of orders, in the order of the site file; the gate is told what left."""
        results = sorted(result for bus in self.buses for result in bus.write_results)
        for bus in self.buses:
            bus.write_results.clear()
        for result in results:
            self._note_left(result)
        return results

    def _note_left(self, result: WriteResult) -> None:
        if result.code is Code.NOT_SENT:
            self.gate.held_back(result.who)
        else:
            self.gate.left(result.who, result.setpoint_mA)

    def _tell_refreshes(self) -> None:
        """Unchanged setpoints and probes: the core knows the value of either, once it is armed."""
        for result in sorted(result for bus in self.buses for result in bus.refresh_results):
            self._note_left(result)
            if self.chargers[result.who].was_armed:
                self.core.refreshed(result.who, result.code, result.at_ns)
            elif result.code is not Code.NOT_SENT:
                self.core.charger_answered(result.who, result.code, result.at_ns)
        for bus in self.buses:
            bus.refresh_results.clear()

    def _tell_statuses(self) -> None:
        for result in sorted(
            (result for bus in self.buses for result in bus.status_results),
            key=lambda result: (result.who, result.at_ns),
        ):
            state, current_mA, setpoint_mA = result.values or (None, None, None)
            self.core.charger_status(
                result.who, result.code, state, current_mA, setpoint_mA, result.at_ns
            )
            self._judge_status(self.chargers[result.who], setpoint_mA, current_mA, result.at_ns)
        for bus in self.buses:
            bus.status_results.clear()

    def _judge_status(
        self,
        station: ChargerStation,
        in_force_mA: int | None,
        current_mA: tuple[int, int, int] | None,
        at_ns: int,
    ) -> None:
        """A box that forgot what it was told is armed anew, before the next step counts on it."""
        if not station.was_armed or station.sent_mA is None:
            return
        if station.shows_other_setpoint(in_force_mA, at_ns):
            self._rebooted(station, Sign.SETPOINT)
        elif current_mA is not None and max(current_mA) > station.sent_mA + DRAWN_ABOVE_mA:
            charger = self.core.charger(station.index)
            if charger["is_acknowledged"] and not charger["is_unproven"]:
                self._rebooted(station, Sign.DRAW)

    def _rebooted(self, station: ChargerStation, sign: Sign) -> None:
        station.has_forgotten = False
        self.image.rebooted(station.device_i)
        self.image.event(Event.REBOOTED, station.index, sign, 0, self.base_ns)
        station.arming.restart()
        self._disarmed(station)

    def _tell_answers(self) -> None:
        for result in sorted(result for bus in self.buses for result in bus.answer_results):
            self.core.charger_answered(result.who, result.code, result.at_ns)
        for bus in self.buses:
            bus.answer_results.clear()

    def _tell_armed(self) -> None:
        for station in self.chargers:
            arming = station.arming
            if arming.is_armed and not station.was_armed and not station.is_silent:
                self._armed(station)
            if arming.stage is Stage.FAILED and station.n_failed != arming.n_failed:
                self._note_not_armed(station)
                if station.was_armed:
                    self._disarmed(station)
                if not arming.asks_setpoint:
                    station.n_failed = arming.n_failed
                    self._cannot_be_armed(station)

    def _note_not_armed(self, station: ChargerStation) -> None:
        """Once, and again when something else is wrong: it is tried once a minute."""
        why = station.arming.failure
        if why != station.told_failure:
            station.told_failure = why
            self.image.event(
                Event.NOT_ARMED, station.index, why[0], why[1], self.base_ns, third=why[2]
            )

    def _cannot_be_armed(self, station: ChargerStation) -> None:
        """It is granted nothing, yet it may have a setpoint: it is brought to the lower of that and
        its failsafe current. Where that cannot be read it is paused, which raises nothing."""
        found_mA = self._found_mA(station)
        if found_mA is not None and (station.sent_mA is None or found_mA <= station.sent_mA):
            self._found(station, found_mA)
        station.must_pause = station.sent_mA is None
        station.doubted()

    def _found_mA(self, station: ChargerStation) -> int | None:
        payload = station.arming.setpoint_payload
        return None if payload is None else decode_setpoint(station.map, payload)

    def _found(self, station: ChargerStation, found_mA: int) -> int:
        """This stands in its setpoint register: the last from here on."""
        self.gate.found(station.index, found_mA)
        setpoint_mA = setpoint_floor_mA(station.map, found_mA)
        station.sent_mA = setpoint_mA
        self.guarded.tell(station.index, setpoint_mA)
        return setpoint_mA

    def _armed(self, station: ChargerStation) -> None:
        """Armed anew: what stands in its setpoint register is known now, or cannot be."""
        found_mA = self._found_mA(station)
        setpoint_mA = station.sent_mA if station.is_acknowledged else None
        if found_mA is not None:
            setpoint_mA = self._found(station, found_mA)
        station.was_armed, station.must_pause, station.told_failure = True, False, None
        self.core.charger_armed(station.index, True, setpoint_mA)
        self.image.event(Event.ARMED, station.index, 0, 0, self.base_ns)

    def _disarmed(self, station: ChargerStation) -> None:
        station.doubted()
        if station.was_armed:
            station.was_armed = False
            self.core.charger_armed(station.index, False, None)


def _change_to_failsafe_mA(station: ChargerStation) -> int:
    return (station.failsafe_mA or 0) - (station.sent_mA or 0)
