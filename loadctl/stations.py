"""What the field knows of each device: its exchanges, prepared, and the state of its link.

One `MeterStation` or `ChargerStation` per row of the tables. No I/O, no clock. A station is written
by the I/O thread of its bus while a phase runs, and by the main thread between phases.
"""

from __future__ import annotations

from hw.devices import (
    DeviceMap,
    arming_steps,
    kick_exchange,
    patience,
    read_setpoint_exchange,
    setpoint_exchange,
    setpoint_floor_mA,
)
from hw.wire import Code, Exchange
from loadctl.arming import Arming, Stage
from loadctl.reading import Reading
from loadctl.tables import BusRow, ChargerRow, MeterRow

# Boxes without a watchdog are told again too: one that restarts has forgotten its setpoint.
REFRESH_ns = 10_000_000_000
# Boxes round what they show as being in force, some to whole amperes.
SHOWN_ABOVE_mA = 600
# How soon one that cannot be armed is told its failsafe setpoint again after it refused: later each
# time, for every refusal is an event.
RETELL_ns, RETELL_DOUBLINGS = 2_000_000_000, 5
LOST = (Code.NO_ANSWER, Code.BAD_FRAME)


class MeterStation:
    """One meter; `code` is that of its last reading."""

    def __init__(self, meter_i: int, row: MeterRow, device_map: DeviceMap, bus: BusRow) -> None:
        self.index = meter_i
        self.device_i = meter_i
        self.row = row
        self.map = device_map
        self.patience = patience(device_map, bus.turnaround_ns, bus.timeout_ns)
        self.reading = Reading(device_map, row.address)
        self.code = Code.NEVER
        self.worst_us = 0


class ChargerStation:
    """One charger. `sent_mA` is None until its setpoint is known."""

    def __init__(
        self, charger_i: int, n_meters: int, row: ChargerRow, device_map: DeviceMap, bus: BusRow
    ) -> None:
        self.index = charger_i
        self.device_i = n_meters + charger_i
        self.row = row
        self.map = device_map
        self.patience = patience(device_map, bus.turnaround_ns, bus.timeout_ns)
        self.reading = Reading(device_map, row.address, row.connector)
        self.kick = kick_exchange(device_map, row.address, row.connector)
        self.arming = Arming(
            arming_steps(device_map, row.address, row.connector, row.fallback_mA),
            read_setpoint_exchange(device_map, row.address, row.connector),
        )
        self.refresh_ns = min(REFRESH_ns, (row.watchdog_ns or 3 * REFRESH_ns) // 3)
        self.worst_us = 0
        self.is_silent = False
        self.is_starved = False  # gets no message at all, so that its own watchdog acts
        self.was_silent = False  # as the main thread last told the core and the ring
        self.was_armed = False
        self.told_failure: tuple[int, int, int] | None = None  # as an event said last why
        self.n_failed = 0  # how often arming had failed when it was last brought down for that
        self.sent_mA: int | None = None
        self.failsafe_now_mA = row.failsafe_mA  # lower after an alarm of the background
        self.told_failsafe_mA: int | None = None  # to the guard
        self.is_acknowledged = False
        self.written_at_ns = 0  # last acknowledged setpoint write
        self.is_written = False  # in this scan
        self.changed_at_ns = 0  # when the present setpoint was acknowledged first
        self.was_seen_at_setpoint = False  # since then, in a status block
        self.has_forgotten = False  # a setting is not what arming left: told to the main thread
        self.tried_at_ns = 0  # last setpoint write that left
        self.n_unacknowledged = 0  # of them, in a row
        self.must_pause = False  # it cannot be armed, and its setpoint cannot be read
        self.is_in_doubt = False  # its setpoint is known, but not whether it still has it
        self.wants_kick = False

    def setpoint(self, setpoint_mA: int) -> Exchange:
        row = self.row
        return setpoint_exchange(self.map, row.address, row.connector, setpoint_mA)

    @property
    def failsafe_mA(self) -> int | None:
        """min(last setpoint, failsafe): the one value that may be written to a charger in doubt."""
        if self.sent_mA is None:
            return 0 if self.must_pause else None
        return setpoint_floor_mA(self.map, min(self.sent_mA, self.failsafe_now_mA))

    @property
    def box(self) -> tuple[int, int]:
        """What one message feeds: outlets at one address share a watchdog."""
        return self.row.bus, self.row.address

    @property
    def is_quiet(self) -> bool:
        """Nothing may be sent but probes."""
        return self.is_silent or self.is_starved or self.row.is_isolated

    def starve(self, is_starved: bool) -> None:
        """Begin or end a time without any message; after it only a probe ends the silence."""
        self.is_starved = is_starved
        self.is_silent = self.was_silent = True
        self.is_acknowledged = False
        self.wants_kick = False

    def heard(self, code: Code) -> None:
        """Any exchange counts: the first that is not answered makes the charger silent."""
        if code in LOST:
            self.is_silent = True
            self.is_acknowledged = False
            self.wants_kick = False
            if not self.was_armed:
                self.arming.lost()  # its probes are the arming, from the start

    def doubted(self) -> None:
        """It may have forgotten its setpoint: min(last, failsafe) is written before all else."""
        self.is_acknowledged = False
        self.wants_kick = False
        self.is_in_doubt = self.failsafe_mA is not None

    def must_be_told(self, now_ns: int) -> bool:
        """Whether min(last, failsafe) is to be written beside what the core orders: it is in doubt;
        or it cannot be armed, and did not acknowledge or its failsafe current was lowered."""
        failsafe_mA = self.failsafe_mA
        if self.is_in_doubt or failsafe_mA is None or self.arming.stage is not Stage.FAILED:
            return self.is_in_doubt
        if self.sent_mA is not None and failsafe_mA < self.sent_mA:
            return True
        wait_ns = RETELL_ns << max(0, min(self.n_unacknowledged - 1, RETELL_DOUBLINGS))
        return not self.is_acknowledged and now_ns - self.tried_at_ns >= wait_ns

    def wrote(self, setpoint_mA: int, code: Code, at_ns: int) -> None:
        """A setpoint write left. A raise counts when acknowledged, a decrease at once."""
        self.is_written = True
        self.is_in_doubt = False
        self.tried_at_ns = at_ns
        if setpoint_mA != self.sent_mA or not self.is_acknowledged:
            self.changed_at_ns = at_ns
            self.was_seen_at_setpoint = False
        self.is_acknowledged = code is Code.GOOD
        self.n_unacknowledged = 0 if self.is_acknowledged else self.n_unacknowledged + 1
        if code is Code.GOOD:
            self.sent_mA = setpoint_mA
            self.written_at_ns = at_ns
            self.wants_kick = self.kick is not None
        else:
            self.sent_mA = setpoint_mA if self.sent_mA is None else min(self.sent_mA, setpoint_mA)

    def shows_other_setpoint(self, in_force_mA: int | None, at_ns: int) -> bool:
        """Whether this status block shows that it forgot its setpoint: it was seen at it before,
        and a higher one is in force now. Lower is no sign: it may be hot, or limited from outside.
        """
        if in_force_mA is None or self.sent_mA is None or not self.is_acknowledged:
            return False
        if at_ns - self.changed_at_ns <= self.row.hold_ns:
            return False
        if in_force_mA <= self.sent_mA + SHOWN_ABOVE_mA:
            self.was_seen_at_setpoint = True
            return False
        return self.was_seen_at_setpoint

    def is_due(self, now_ns: int) -> bool:
        """Half of the time that a refresh may take is left for the bus to find room."""
        return (
            self.is_acknowledged  # never while silent
            and not self.is_written
            and now_ns - self.written_at_ns >= self.refresh_ns // 2
        )
