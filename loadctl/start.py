"""From plain tables to a running scan: builds every part, applies real time, knows the way out.

Owns the process of the scan around its loop: arguments, signals, exit code. Imports neither
pydantic, click nor rich. Main thread.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hw.bus import Bus
from hw.devices import parse_map
from hw.wire import Line
from loadctl import _clock, realtime, runtime
from loadctl import tables as plain
from loadctl._core import Core
from loadctl.errors import LoadctlError, UsageError
from loadctl.events import Event
from loadctl.field import Field, ThreadRunner
from loadctl.gate import Gate
from loadctl.image import Writer
from loadctl.modes import Modes
from loadctl.pacer import Pacer
from loadctl.plan import make_plan
from loadctl.scan import Scan
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS

FIRST_WAKE_ns = 20 * NS_PER_MS
# A reply that did not come in its scan may still come during the next one, and no later.
LATE_PERIODS = 2
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class KernelClock:
    """CLOCK_MONOTONIC and CLOCK_BOOTTIME."""

    now_ns = staticmethod(_clock.monotonic_ns)
    boottime_ns = staticmethod(_clock.boottime_ns)
    sleep_until = staticmethod(_clock.sleep_until)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadctl.scan", description="The scan of one site.")
    parser.add_argument("--tables", type=Path, required=True, help="the compiled site")
    parser.add_argument("--runtime-dir", type=Path, required=True, help="the site's own directory")
    parser.add_argument(
        "--lock-fds", default="", help="inherited locks of the ports, in bus order: 5,6"
    )
    parser.add_argument("--fifo-priority", type=int, default=realtime.FIFO_PRIORITY)
    parser.add_argument("--cpu", type=int, help="pin all threads to this CPU")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a site until SIGTERM or SIGINT; errors that we raise on purpose are one line each."""
    try:
        return run(arguments(sys.argv[1:] if argv is None else argv))
    except LoadctlError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def run(args: argparse.Namespace) -> int:
    """Build the scan, let the signals stop it, run it."""
    tables = plain.load(args.tables.read_text())
    site_dir = runtime.SiteDir(args.runtime_dir)
    buses = open_buses(tables, lock_fds(args.lock_fds, tables), site_dir.lock_dir)
    scan = build(tables, buses, site_dir, args.fifo_priority, args.cpu)

    def stop(number: int, frame: object) -> None:
        scan.must_stop = True

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    drive(scan)
    return 0


def drive(scan: Scan) -> None:
    """Whatever ends the loop, every charger is brought down; an exception then goes on its way."""
    try:
        scan.run()
    finally:
        for name in scan.bring_down():
            sys.stderr.write(f"{name}: failsafe current not acknowledged\n")


def lock_fds(text: str, tables: Tables) -> list[int | None]:
    if not text:
        return [None] * len(tables.buses)
    fds = [int(word) for word in text.split(",")]
    if len(fds) != len(tables.buses):
        raise UsageError(f"--lock-fds: {len(fds)} descriptors, {len(tables.buses)} buses")
    return list(fds)


def open_buses(tables: Tables, fds: Sequence[int | None], lock_dir: Path) -> list[Bus]:
    """Open every port, or none: an error closes those that were open."""
    buses: list[Bus] = []
    try:
        for row, fd in zip(tables.buses, fds, strict=True):
            bus = Bus(
                row.name,
                row.port,
                Line(row.baud, row.frame),
                late_ns=LATE_PERIODS * tables.site.period_ns,
                turnaround_ns=row.turnaround_ns,
                timeout_ns=row.timeout_ns,
                has_echo=row.has_echo,
                uses_rs485_mode=row.uses_rs485_mode,
                lock_dir=lock_dir,
                lock_fd=fd,
            )
            bus.open()
            buses.append(bus)
    except LoadctlError:
        for bus in buses:
            bus.close()
        raise
    return buses


def build(
    tables: Tables,
    buses: Sequence[Bus],
    site_dir: runtime.SiteDir,
    fifo_priority: int,
    cpu: int | None,
) -> Scan:
    """Everything that is ever allocated is allocated here."""
    maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
    plan = make_plan(tables, maps)
    core = Core(tables)
    image = Writer(
        site_dir.image,
        len(tables.buses),
        len(tables.circuits),
        len(tables.meters),
        len(tables.chargers),
        core.plant_bytes,
        signed64(int(tables.site_hash, 16)),
        tables.site.period_ns,
    )
    core.attach(image.plant)
    # Before the bus threads exist: they inherit scheduling and CPU.
    applied = realtime.RealTime().apply(fifo_priority, cpu)
    for what_i, (state, error) in enumerate(applied):
        image.setting(what_i, state, error)
    runner = ThreadRunner([row.name for row in tables.buses])
    field = Field(tables, maps, plan, buses, runner, core, Gate(tables), image)
    started_at_ns = _clock.monotonic_ns()
    image.event(Event.STARTED, -1, 0, 0, started_at_ns)
    pacer = Pacer(tables.site.period_ns, started_at_ns + FIRST_WAKE_ns)
    modes = Modes(tables.site.missed_limit, tables.tuning.healthy_scans)
    return Scan(field, core, image, KernelClock(), pacer, modes)


def signed64(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
