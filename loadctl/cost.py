"""What a site costs this gateway in processor time, measured here and now.

Two short measurements: exchanges on a pseudo-terminal, through the whole bus, and scans of the site
on wires that answer at once, so that only the program's own time is left. Touches no port of the
site. Owns nothing afterwards.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hw.bus import Bus
from hw.devices import DeviceMap
from hw.wire import Code, Exchange, Line, Patience, Reply, crc16
from loadctl._core import Core
from loadctl.errors import LoadctlError
from loadctl.field import Field
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.gate import Gate
from loadctl.image import Writer
from loadctl.plan import Plan
from loadctl.runner import ThreadRunner
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S, NS_PER_US

WARN_ABOVE_PERCENT = 50  # of one core
MEASURE_ns = 150 * NS_PER_MS  # each of the two
LINE = Line(115_200, "8E1")  # the shortest silence; what a byte takes is not ours
READ = Exchange(1, 4, 0, 20)
WAIT = Patience(NS_PER_MS, 200 * NS_PER_MS, 0, False)
REPLY_HEAD_BYTES = 8  # adapters hand a reply over in pieces: two wakes
# Between two exchanges of a real bus a processor does something else, and its caches forget us.
PAUSE_s = 0.005


@dataclass(frozen=True, slots=True)
class Cost:
    """`exchanges_per_s`: the most that are sent when everything is well."""

    exchange_us: float
    exchanges_per_s: float
    scan_us: float  # beside its exchanges
    scans_per_s: float

    @property
    def percent(self) -> float:
        """Of one core."""
        spent_us = self.exchange_us * self.exchanges_per_s + self.scan_us * self.scans_per_s
        return spent_us / 10_000


def measure(tables: Tables, maps: dict[str, DeviceMap], plan: Plan) -> Cost | None:
    """None where this machine gives no pseudo-terminal or no room for a file."""
    try:
        exchange_ns = exchange_cpu_ns()
        scan_ns = scan_cpu_ns(tables, maps, plan)
    except (OSError, LoadctlError):
        return None
    if exchange_ns is None:
        return None
    scans_per_s = NS_PER_S / plan.period_ns
    exchanges_per_s = exchange_rate(tables, maps)
    return Cost(exchange_ns / NS_PER_US, exchanges_per_s, scan_ns / NS_PER_US, scans_per_s)


def exchange_rate(tables: Tables, maps: dict[str, DeviceMap]) -> float:
    """By second: every meter and every status once a scan, where a charger has one, and a setpoint
    for each charger in every scan, with its heartbeat: a building that never rests."""
    per_scan = len(tables.meters)
    for row in tables.chargers:
        if not row.is_isolated:
            device_map = maps[row.model]
            has_kick = device_map.watchdog is not None and device_map.watchdog.kick is not None
            per_scan += bool(device_map.blocks) + 1 + has_kick
    return per_scan * NS_PER_S / tables.site.period_ns


# one exchange


def exchange_cpu_ns() -> float | None:
    """Processor time of this thread for one exchange on a pseudo-terminal."""
    with _device() as path:
        bus = Bus("cost", path, LINE, late_ns=NS_PER_S)
        bus.open()
        try:
            return _time_exchanges(bus)
        finally:
            bus.close()


def _time_exchanges(bus: Bus) -> float | None:
    n_good = 0
    end_ns = time.monotonic_ns() + MEASURE_ns
    bus.transact(READ, WAIT, time.monotonic_ns() + NS_PER_S)
    before_ns = time.thread_time_ns()
    while time.monotonic_ns() < end_ns:
        time.sleep(PAUSE_s)
        bus.new_scan()
        reply = bus.transact(READ, WAIT, time.monotonic_ns() + NS_PER_S)
        n_good += reply.code is Code.GOOD
    spent_ns = time.thread_time_ns() - before_ns
    return spent_ns / n_good if n_good else None


@contextmanager
def _device() -> Iterator[str]:
    """A device that answers everything with zeros, at once, in two pieces; in its own thread, whose
    time does not count."""
    master_fd, slave_fd = os.openpty()
    tty.setraw(slave_fd)
    body = bytes((READ.address, READ.function, 2 * READ.count)) + bytes(2 * READ.count)
    thread = threading.Thread(target=_answer, args=(master_fd, body + crc16(body)), daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave_fd)
    finally:
        os.write(slave_fd, b"\x00")  # no whole request: it ends
        thread.join()
        os.close(slave_fd)
        os.close(master_fd)


def _answer(fd: int, reply: bytes) -> None:
    while len(os.read(fd, 64)) == READ.request_bytes:
        os.write(fd, reply[:REPLY_HEAD_BYTES])
        time.sleep(NS_PER_MS / NS_PER_S)
        os.write(fd, reply[REPLY_HEAD_BYTES:])


# one scan


class _InstantWire:
    """Answers every request well, at once, with zeros."""

    is_open = True
    hears_itself = False

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def new_scan(self) -> None:
        pass

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        at_ns = time.monotonic_ns()
        payload = b"" if exchange.is_write else bytes(2 * exchange.count)
        return Reply(Code.GOOD, payload, 0, at_ns, at_ns)


def scan_cpu_ns(tables: Tables, maps: dict[str, DeviceMap], plan: Plan) -> float:
    """Processor time of one scan of this site, its buses left out."""
    runner = ThreadRunner([row.name for row in tables.buses])
    try:
        with tempfile.TemporaryDirectory(prefix="loadctl-") as directory:
            return _time_scans(tables, maps, plan, runner, Path(directory))
    finally:
        runner.close()


def _time_scans(
    tables: Tables,
    maps: dict[str, DeviceMap],
    plan: Plan,
    runner: ThreadRunner,
    directory: Path,
) -> float:
    ring = RingWriter(directory / "flight", ring_words(tables), 0, 0, plan.period_ns)
    core = Tape(Core(tables), ring, most_words(tables))
    counts = (len(tables.buses), len(tables.circuits), len(tables.meters), len(tables.chargers))
    image = Writer(directory / "image", *counts, core.plant_bytes, 0, plan.period_ns)
    core.attach(image.plant)
    wires: Sequence[_InstantWire] = [_InstantWire() for _ in tables.buses]
    field = Field(tables, maps, plan, wires, runner, core, Gate(tables), image)
    n_scans, spent_ns = 0, 0
    end_ns = time.monotonic_ns() + MEASURE_ns
    _pass(field, core, image)  # what is made once is made now
    while n_scans == 0 or time.monotonic_ns() < end_ns:
        time.sleep(PAUSE_s)
        before_ns = time.process_time_ns()
        _pass(field, core, image)
        spent_ns += time.process_time_ns() - before_ns
        n_scans += 1
    return spent_ns / n_scans


def _pass(field: Field, core: Tape, image: Writer) -> None:
    """What `Scan.step` does, without its waiting."""
    now_ns = time.monotonic_ns()
    field.begin(now_ns)
    field.read()
    core.step(now_ns)
    field.take()
    field.look()
    core.confirm(now_ns)
    field.give(True, now_ns + field.plan.give_end_ns)
    field.keep(now_ns)
    core.cut(now_ns)
    image.publish(now_ns)
