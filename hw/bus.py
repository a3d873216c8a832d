"""One RS-485 bus: one exchange at a time, over by its deadline whatever the device does.

The only importer of minimalmodbus. Owns when a request may leave (silence, gaps, the
drain after a missing or broken reply), what its reply may be taken for, the counters per device,
and re-opening after an unplug. Decodes nothing: raw registers in and out. Never logs, never waits
past a deadline, never lets an error of the wire out: it becomes a Code. One I/O thread runs a Bus.
"""

from __future__ import annotations

from pathlib import Path

import minimalmodbus

from hw.clock import Clock, MonotonicClock
from hw.handover import PortSource
from hw.keeper import InheritedPort, Opener, PortKeeper
from hw.late import LateReplies
from hw.lock import lock_port, open_error_words
from hw.opening import PortMode, open_serial
from hw.port import BadFrame, DeviceRefused, NoAnswer, NotSent, Port
from hw.wire import (
    WRITE_ONE,
    Code,
    DeviceCounters,
    Exchange,
    Line,
    Patience,
    Reply,
    patience_as,
    request_of,
)
from loadctl.errors import BusError

__all__ = [
    "BadFrame",
    "Bus",
    "DeviceRefused",
    "NoAnswer",
    "PortMode",
    "lock_port",
    "open_serial",
]

ADDRESS_MAX = 255
ECHO_WORDS = "where the adapter echoes always, set echo = true for this bus"


class _Device:
    """What the bus remembers of one address."""

    __slots__ = ("counters", "failed_in_scan", "free_at_ns", "instrument", "late")

    def __init__(self, late_ns: int) -> None:
        self.instrument: minimalmodbus.Instrument | None = None
        self.counters = DeviceCounters()
        self.late = LateReplies(late_ns)
        self.failed_in_scan = -1
        self.free_at_ns = 0  # end of the last exchange; its own gap counts from here


class Bus:
    """A `hw.wire.Wire` on a real port.

    `late_ns`: how long an unanswered read may still be answered; two periods of the scan.
    `lock_dir`: take the lock of the port on open; None: somebody else holds it. `lock_fd`: a lock
    that was inherited; it is given up when the port is lost, and taken anew on the port that is
    opened then. `source`: another process opens and locks the port and hands it over; this bus then
    never opens one.
    """

    def __init__(
        self,
        name: str,
        url: str,
        line: Line,
        *,
        late_ns: int,
        turnaround_ns: int | None = None,
        timeout_ns: int | None = None,
        has_echo: bool = False,
        uses_rs485_mode: bool = False,
        lock_dir: Path | None = None,
        lock_fd: int | None = None,
        clock: Clock | None = None,
        opener: Opener | None = None,
        source: PortSource | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.line = line
        self._clock: Clock = clock if clock is not None else MonotonicClock()
        self._port = Port(url, line, self._clock, has_echo)
        self._keeper: PortKeeper | InheritedPort
        if source is not None:
            self._keeper = InheritedPort(self._port, source)
        else:
            self._keeper = PortKeeper(
                self._port,
                opener or (lambda: open_serial(url, line, uses_rs485_mode)),
                lock_dir,
                lock_fd,
            )
        self._has_echo = has_echo
        self._late_ns = late_ns
        self._turnaround_ns = turnaround_ns
        self._timeout_ns = timeout_ns
        self._devices: dict[int, _Device] = {}
        self._scan = 0
        self._free_at_ns = 0  # end of the last exchange on the line
        self._drained_at_ns = 0  # until here an answer to a failed exchange may be on the line
        self._gap_on_bus_ns = 0  # longest gap that a device wants from everybody

    # the port

    @property
    def is_open(self) -> bool:
        return self._port.is_open

    @property
    def modes(self) -> tuple[PortMode, ...]:
        """What was asked of the adapter beside reading and writing, in force or not."""
        return self._keeper.modes

    @property
    def last_error(self) -> str:
        """Why the port is closed; empty while it is open."""
        return self._keeper.last_error

    @property
    def n_reopened(self) -> int:
        return self._keeper.n_reopened

    @property
    def hears_itself(self) -> bool:
        """An echo came that the site file does not know of, and no reply without one since."""
        return self._port.hears_itself

    @property
    def n_stray_bytes(self) -> int:
        """Bytes that came when nobody was asked."""
        return self._port.n_stray_bytes

    def open(self) -> None:
        """Open the port, at start; BusError says in one line why it cannot be."""
        try:
            self._keeper.open()
        except BusError as exc:
            raise BusError(f"bus {self.name}: {exc}") from exc

    def close(self) -> None:
        """Close port and lock; the bus can be opened again."""
        self._keeper.close()

    def tend(self, now_ns: int) -> None:
        """Re-open a lost port if it is time to try, or take one that came; never waits."""
        self._keeper.tend(now_ns)

    # the exchanges

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def new_scan(self) -> None:
        """Mark the start of a scan: devices that failed in the last one may be asked again."""
        self._scan += 1

    def counters(self, address: int) -> DeviceCounters:
        return self._device(address).counters

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        """Do one exchange. This is the one place where errors of the wire become codes."""
        now_ns = self._clock.now_ns()
        device = self._device(exchange.address)
        self.tend(now_ns)
        line = self.line
        usual, form = exchange, device.late.told_apart(exchange, now_ns)
        exchange = usual if form is None else form
        patience = patience_as(line, exchange, usual, self._overridden(patience))
        start_at_ns = self._start_at_ns(device, patience, now_ns)
        reply_ns = line.bytes_ns(exchange.reply_bytes)
        latest_start_ns = deadline_ns - (
            line.bytes_ns(exchange.request_bytes) + patience.turnaround_ns + reply_ns
        )
        words = self._why_not(device, form is not None, start_at_ns, latest_start_ns)
        if words:
            device.counters.not_sent += 1
            device.counters.last_not_sent = words
            return Reply(Code.NOT_SENT, b"", 0, now_ns, now_ns)
        port = self._port
        port.prepare(exchange, start_at_ns, latest_start_ns, deadline_ns, patience.timeout_ns)
        payload = b""
        refusal = 0
        try:
            payload = self._talk(device, exchange)
            code = Code.GOOD
            port.note_reply()
        except (BusError, minimalmodbus.ModbusException, OSError) as exc:
            exc.__traceback__ = None  # its frames refer to the error again: a cycle per refusal
            exc.__context__ = None
            code = self._code_of(exc, device)
            if isinstance(exc, DeviceRefused):
                refusal = exc.exception_code
                port.note_reply()
        ended_at_ns = self._clock.now_ns()
        if code is Code.NOT_SENT:
            device.counters.not_sent += 1
            return Reply(code, b"", 0, ended_at_ns, ended_at_ns)
        self._settle(device, exchange, patience, code, ended_at_ns)
        return Reply(code, payload, refusal, port.begun_at_ns, ended_at_ns)

    def _why_not(
        self,
        device: _Device,
        is_told_apart: bool,
        start_at_ns: int,
        latest_start_ns: int,
    ) -> str:
        """Say why this exchange is not even begun, or nothing."""
        if not self._port.is_open:
            return self._keeper.last_error or "the port is closed"
        if device.failed_in_scan == self._scan:
            return "failed in this scan already"
        if not is_told_apart:
            return "a late reply to an earlier read could be taken for this one"
        if start_at_ns > latest_start_ns:
            return "does not fit before the deadline"
        return ""

    def _talk(self, device: _Device, exchange: Exchange) -> bytes:
        """Send the request and check the reply; return the registers of a read."""
        if device.instrument is None:
            device.instrument = minimalmodbus.Instrument(self._port, exchange.address)
            device.instrument.clear_buffers_before_each_transaction = False  # the port flushes
        request = request_of(exchange)
        # Keeps stock minimalmodbus from a sleep of its own: the port keeps the silence.
        minimalmodbus._latest_read_times.pop(self.url, None)
        payload: bytes = device.instrument._perform_command(exchange.function, request)
        if not exchange.is_write:
            if len(payload) != 1 + 2 * exchange.count or payload[0] != 2 * exchange.count:
                raise BadFrame(f"byte count {payload[0]}, asked for {2 * exchange.count}")
            return payload[1:]
        if payload != request[:4]:
            raise BadFrame(f"acknowledges {payload.hex(' ')}, written was {request[:4].hex(' ')}")
        if self._port.hears_itself and not self._has_echo and exchange.function == WRITE_ONE:
            raise BadFrame(f"this may be an echo: {ECHO_WORDS}")
        if device.late.is_ambiguous(exchange, self._clock.now_ns()):
            raise BadFrame("may acknowledge an earlier write of other values")
        return b""

    def _code_of(self, exc: BaseException, device: _Device) -> Code:
        """Name an error of the wire; an error of the port itself closes it."""
        if isinstance(exc, NotSent):
            device.counters.last_not_sent = str(exc)
            return Code.NOT_SENT
        device.counters.last_error = str(exc)
        if isinstance(exc, DeviceRefused):
            return Code.REFUSED
        if isinstance(exc, NoAnswer):
            return Code.NO_ANSWER
        if isinstance(exc, BadFrame | minimalmodbus.ModbusException):
            if self._port.note_own_request():
                device.counters.last_error = f"the request came back: {ECHO_WORDS}"
            return Code.BAD_FRAME
        self._keeper.lose(open_error_words(exc))
        return Code.NO_ANSWER if self._port.has_begun else Code.NOT_SENT

    def _settle(
        self,
        device: _Device,
        exchange: Exchange,
        patience: Patience,
        code: Code,
        ended_at_ns: int,
    ) -> None:
        """Remember what this exchange means for the ones after it."""
        port = self._port
        counters = device.counters
        device.free_at_ns = ended_at_ns
        self._free_at_ns = max(ended_at_ns, port.sent_at_ns)
        if code is Code.GOOD:
            counters.good += 1
            device.late.answered(exchange, ended_at_ns)
        elif code is Code.REFUSED:
            counters.refused += 1
            device.late.refused(exchange, ended_at_ns)
        else:
            if code is Code.NO_ANSWER:
                counters.no_answer += 1
            else:
                counters.bad_frame += 1
            device.failed_in_scan = self._scan
            device.late.unanswered(exchange, ended_at_ns)
            reply_ns = self.line.bytes_ns(exchange.reply_bytes)
            drained_at_ns = port.sent_at_ns + patience.turnaround_ns + reply_ns
            self._drained_at_ns = max(self._drained_at_ns, drained_at_ns)
            return
        turnaround_ns = port.first_at_ns - port.sent_at_ns
        counters.worst_turnaround_ns = max(counters.worst_turnaround_ns, turnaround_ns)

    def _start_at_ns(self, device: _Device, patience: Patience, now_ns: int) -> int:
        """Find the first moment at which silence, gaps and drain are over."""
        if patience.gap_on_bus:
            self._gap_on_bus_ns = max(self._gap_on_bus_ns, patience.gap_ns)
        silence_ns = max(self.line.silent_ns, self._gap_on_bus_ns)
        return max(
            now_ns,
            self._free_at_ns + silence_ns,
            self._drained_at_ns + self.line.silent_ns,
            device.free_at_ns + patience.gap_ns,
        )

    def _overridden(self, patience: Patience) -> Patience:
        if self._turnaround_ns is not None:
            patience = patience._replace(turnaround_ns=self._turnaround_ns)
        if self._timeout_ns is not None:
            patience = patience._replace(timeout_ns=self._timeout_ns)
        return patience

    def _device(self, address: int) -> _Device:
        device = self._devices.get(address)
        if device is None:
            if not 1 <= address <= ADDRESS_MAX:
                raise ValueError(f"bus {self.name}: address {address}, not 1 to {ADDRESS_MAX}")
            device = self._devices[address] = _Device(self._late_ns)
        return device
