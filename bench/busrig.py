"""A whole site under measurement: real core, gate, plan, image and scan on simulated devices.

Virtual: buses in virtual time, the same to the nanosecond in every run. Real: `hw.bus.Bus` on
pseudo-terminals, bus processes as devices, this process as the scan. Every wire is wrapped, so that
it is known what the time of a bus phase went into.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hw.bus import Bus
from hw.devices import parse_map
from hw.sim.scenario import Scenario
from hw.sim.site import SimSite
from hw.sim.virtual import VirtualClock, VirtualSite
from hw.wire import Code, Exchange, Line, Patience, Reply
from loadctl import _clock
from loadctl._core import Core
from loadctl.field import Field
from loadctl.gate import Gate
from loadctl.image import Writer
from loadctl.modes import Modes
from loadctl.pacer import Pacer
from loadctl.plan import Plan, make_plan
from loadctl.runner import Runner, ThreadRunner
from loadctl.said import FieldWire
from loadctl.scan import Scan, ScanClock
from loadctl.start import KernelClock
from loadctl.tables import Tables

START_ns = 1_000 * 1_000_000_000


class TimedWire:
    """A wire that notes what was of use: bytes, the silence before them, the device's turnaround.

    `turnaround_ns`: what the simulated devices take. A gap that one device wants is of no use; a
    gap that is wanted from everybody is silence.
    """

    def __init__(self, wire: FieldWire, line: Line, turnaround_ns: int | None) -> None:
        self.wire = wire
        self.line = line
        self.turnaround_ns = turnaround_ns
        self.phase_ns = self.useful_ns = 0
        self.codes: Counter[Code] = Counter()
        self.sent: list[tuple[Exchange, Reply]] = []
        self.keeps_sent = False
        self._since_ns = 0  # the end of the exchange before, or the start of the phase

    @property
    def is_open(self) -> bool:
        return self.wire.is_open

    @property
    def hears_itself(self) -> bool:
        return self.wire.hears_itself

    def now_ns(self) -> int:
        return self.wire.now_ns()

    def new_scan(self) -> None:
        self.wire.new_scan()

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        reply = self.wire.transact(exchange, patience, deadline_ns)
        self.codes[reply.code] += 1
        if reply.code is Code.NOT_SENT:
            return reply
        if self.keeps_sent:
            self.sent.append((exchange, reply))
        self.useful_ns += self._useful_ns(exchange, reply, patience)
        self._since_ns = reply.ended_at_ns
        return reply

    def _useful_ns(self, exchange: Exchange, reply: Reply, patience: Patience) -> int:
        line = self.line
        silence_ns = max(line.silent_ns, patience.gap_ns if patience.gap_on_bus else 0)
        waited_ns = min(silence_ns, max(0, reply.begun_at_ns - self._since_ns))
        if reply.code is Code.NO_ANSWER or reply.code is Code.BAD_FRAME:
            return waited_ns + reply.ended_at_ns - reply.begun_at_ns
        form = exchange
        if exchange.alternate is not None and len(reply.payload) > 2 * exchange.count:
            form = exchange.alternate
        reply_bytes = 5 if reply.code is Code.REFUSED else form.reply_bytes
        wire_ns = line.bytes_ns(form.request_bytes) + line.bytes_ns(reply_bytes)
        turnaround_ns = self.turnaround_ns
        if turnaround_ns is None:
            turnaround_ns = patience.turnaround_ns
        took_ns = reply.ended_at_ns - reply.begun_at_ns
        return waited_ns + min(took_ns, wire_ns + turnaround_ns)

    def timed(self, job: Callable[[], None]) -> Callable[[], None]:
        """The job of one phase, and its time with it."""

        def run() -> None:
            begun_ns = self._since_ns = self.now_ns()
            job()
            self.phase_ns += self.now_ns() - begun_ns

        return run


class TimedRunner:
    """Runs the jobs of all buses, each timed by its wire."""

    def __init__(self, runner: Runner, wires: Sequence[TimedWire]) -> None:
        self.runner = runner
        self.wires = wires

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        self.runner.run([wire.timed(job) for wire, job in zip(self.wires, jobs, strict=True)])


class RigClock:
    """Virtual time in the place of the kernel's clocks."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def now_ns(self) -> int:
        return self.clock.now_ns()

    def boottime_ns(self) -> int:
        return self.clock.now_ns()

    def sleep_until(self, until_ns: int) -> int:
        self.clock.sleep_until(until_ns)
        return self.clock.now_ns()


class Rig:
    """One site and its scan."""

    def __init__(
        self,
        tables: Tables,
        wires: Sequence[FieldWire],
        runner: Runner,
        clock: ScanClock,
        directory: Path,
        turnaround_ns: int | None = None,
        front: Callable[[Core], Any] | None = None,
    ) -> None:
        """`front` puts something in front of the core that ends records, as a tape."""
        maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
        self.tables = tables
        self.clock = clock
        self.plan: Plan = make_plan(tables, maps)
        self.wires = [
            TimedWire(wire, Line(row.baud, row.frame), turnaround_ns)
            for wire, row in zip(wires, tables.buses, strict=True)
        ]
        self.core = Core(tables) if front is None else front(Core(tables))
        self.image = Writer(
            directory / "image",
            len(tables.buses),
            len(tables.circuits),
            len(tables.meters),
            len(tables.chargers),
            self.core.plant_bytes,
            0,
            tables.site.period_ns,
        )
        self.core.attach(self.image.plant)
        timed = TimedRunner(runner, self.wires)
        self.field = Field(
            tables, maps, self.plan, self.wires, timed, self.core, Gate(tables), self.image
        )
        self.pacer = Pacer(tables.site.period_ns, clock.now_ns())
        modes = Modes(tables.site.missed_limit, tables.tuning.healthy_scans)
        tape = None if front is None else self.core
        self.scan = Scan(self.field, self.core, self.image, clock, self.pacer, modes, tape=tape)

    def run_for(self, span_ns: int) -> None:
        until_ns = self.clock.now_ns() + span_ns
        while self.pacer.grid_at_ns < until_ns:
            self.scan.run_once()


def virtual_rig(tables: Tables, scenario: Scenario, directory: Path) -> tuple[Rig, VirtualSite]:
    site = VirtualSite(tables, scenario, START_ns)
    clock = RigClock(site.clock)
    rig = Rig(tables, site.wires, site.runner, clock, directory, scenario.turnaround_ns)
    return rig, site


@contextmanager
def real_rig(tables: Tables, scenario: Scenario, directory: Path) -> Iterator[tuple[Rig, SimSite]]:
    """On pseudo-terminals, at the pace of the wire."""
    runner = ThreadRunner([row.name for row in tables.buses])
    buses: list[Bus] = []
    with SimSite(tables, scenario, directory) as site:
        try:
            for row in tables.buses:
                line = Line(row.baud, row.frame)
                late_ns = 2 * tables.site.period_ns
                buses.append(
                    Bus(
                        row.name,
                        site.ports[row.name],
                        line,
                        late_ns=late_ns,
                        turnaround_ns=row.turnaround_ns,
                        timeout_ns=row.timeout_ns,
                    )
                )
                buses[-1].open()
            clock = KernelClock()
            _clock.sleep_until(clock.now_ns())
            yield Rig(tables, buses, runner, clock, directory, scenario.turnaround_ns), site
        finally:
            runner.close()
            for bus in buses:
                bus.close()
