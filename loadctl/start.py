"""From plain tables to a running scan: builds every part, applies real time, waits for its turn.

Owns the process of the scan around its loop: arguments, signals, exit code. Started by a guard it
inherits its ports and says nothing on them before it was given the token; started by hand it opens
them itself and nobody watches it. Imports neither pydantic, click nor rich. Main thread.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hw.bus import Bus
from hw.devices import parse_map
from hw.handover import PortChannel, PortSource
from hw.wire import Line
from loadctl import _clock, realtime, runtime
from loadctl import tables as plain
from loadctl._core import Core
from loadctl.bound import is_shared
from loadctl.commands import Commands
from loadctl.control import Server
from loadctl.errors import EXIT_GOOD, EXIT_NO, LoadctlError, UsageError
from loadctl.events import Event
from loadctl.field import Field
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.gate import Gate
from loadctl.guarded import Guarded
from loadctl.guardside import GuardSide, NoGuard
from loadctl.image import Writer
from loadctl.link import Link
from loadctl.modes import Modes
from loadctl.pacer import Pacer
from loadctl.plan import make_plan
from loadctl.runner import ThreadRunner
from loadctl.said import FieldWire
from loadctl.scan import Scan
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS

FIRST_WAKE_ns = 20 * NS_PER_MS
# A reply that did not come in its scan may still come during the next one, and no later.
LATE_PERIODS = 2
LOOK_FOR_TOKEN_ns = 5 * NS_PER_MS
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
    parser.add_argument("--link", type=Path, help="what this scan shares with its guard")
    parser.add_argument("--generation", type=int, help="which start of the scan this is")
    parser.add_argument("--channel-fd", type=int, help="inherited: ports come and go here")
    parser.add_argument(
        "--port-fds", help="inherited ports in bus order, lock and data of each: 5:5,7:8"
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
    """Build the scan, let the signals stop it, run it once it may."""
    tables = plain.load(args.tables.read_text())
    site_dir = runtime.SiteDir(args.runtime_dir)
    pairs = port_fds(args.port_fds, tables)
    guarded = find_guard(args, tables, pairs)
    sources = guarded.sources if guarded is not None else []
    buses = open_buses(tables, pairs, sources, site_dir.lock_dir)
    scan = build(tables, buses, site_dir, args.fifo_priority, args.cpu, guarded or NoGuard())

    def stop(number: int, frame: object) -> None:
        scan.must_stop = True

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    if guarded is not None:
        words = wait_for_token(scan, guarded)
        if words or scan.must_stop:
            return ended(words) or EXIT_NO  # nothing was written: that is left to the guard
        scan.pacer = Pacer(tables.site.period_ns, _clock.monotonic_ns() + FIRST_WAKE_ns)
    return drive(scan)


def find_guard(
    args: argparse.Namespace, tables: Tables, pairs: Sequence[tuple[int, int]]
) -> Guarded | None:
    """The guard that started this scan; None where nobody did."""
    if args.link is None:
        return None
    if args.generation is None or args.channel_fd is None or args.port_fds is None:
        raise UsageError("--link: needs --generation, --channel-fd and --port-fds beside it")
    channel = PortChannel(args.channel_fd)
    sources = [PortSource(bus_i, data_fd, channel) for bus_i, (_, data_fd) in enumerate(pairs)]
    now_ns = _clock.monotonic_ns()
    link = Link.open(args.link)
    return Guarded(link, channel, sources, args.generation, tables.site.period_ns, now_ns)


def wait_for_token(scan: Scan, guarded: Guarded) -> str:
    """Everything is ready; empty once this scan may talk, or was told to stop, else why not."""
    guarded.ready()
    while not guarded.has_token() and not scan.must_stop:
        guarded.ports()
        now_ns = _clock.monotonic_ns()
        words = guarded.gone(now_ns)
        if words:
            return words
        _clock.sleep_until(now_ns + LOOK_FOR_TOKEN_ns)
    return ""


def drive(scan: Scan) -> int:
    """Whatever ends the loop, every charger is brought down; an exception then goes on its way."""
    try:
        scan.run()
    finally:
        names = scan.bring_down()
        for name in names:
            sys.stderr.write(f"{name}: failsafe current not acknowledged\n")
    return ended(scan.gone_words) or (EXIT_NO if names else EXIT_GOOD)


def ended(gone_words: str) -> int:
    """The exit code; a scan without its guard says why it ends."""
    if not gone_words:
        return EXIT_GOOD
    sys.stderr.write(f"{gone_words}: the scan ends\n")
    return EXIT_NO


def port_fds(text: str | None, tables: Tables) -> list[tuple[int, int]]:
    """Lock and data of each port; -1 where there is none. Nothing is handed on from here."""
    if text is None:
        return [(-1, -1)] * len(tables.buses)
    pairs = []
    for word in text.split(","):
        lock_fd, _, data_fd = word.partition(":")
        try:
            pairs.append((int(lock_fd), int(data_fd)))
        except ValueError:
            raise UsageError(f"--port-fds: {word!r} is not LOCK:DATA") from None
    if len(pairs) != len(tables.buses):
        raise UsageError(f"--port-fds: {len(pairs)} ports, {len(tables.buses)} buses")
    for fd in {fd for pair in pairs for fd in pair if fd >= 0}:
        os.set_inheritable(fd, False)
    return pairs


def open_buses(
    tables: Tables,
    pairs: Sequence[tuple[int, int]],
    sources: Sequence[PortSource],
    lock_dir: Path,
) -> list[Bus]:
    """Open every port, or none: an error closes those that were open.

    A port that can be shared is the guard's to open; one that cannot is opened here, under the lock
    that the guard holds.
    """
    buses: list[Bus] = []
    try:
        for bus_i, row in enumerate(tables.buses):
            lock_fd = pairs[bus_i][0]
            has_source = bool(sources) and is_shared(row.port)
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
                lock_fd=lock_fd if lock_fd >= 0 and not has_source else None,
                source=sources[bus_i] if has_source else None,
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
    buses: Sequence[FieldWire],
    site_dir: runtime.SiteDir,
    fifo_priority: int,
    cpu: int | None,
    guarded: GuardSide,
    image_type: type[Writer] = Writer,
) -> Scan:
    """Everything that is ever allocated is allocated here."""
    maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
    plan = make_plan(tables, maps)
    ring = RingWriter(
        site_dir.flight,
        ring_words(tables),
        plain.signed_hash(tables),
        _clock.monotonic_ns(),
        tables.site.period_ns,
    )
    core = Tape(Core(tables), ring, most_words(tables))
    image = image_type(
        site_dir.image,
        len(tables.buses),
        len(tables.circuits),
        len(tables.meters),
        len(tables.chargers),
        core.plant_bytes,
        plain.signed_hash(tables),
        tables.site.period_ns,
    )
    core.attach(image.plant)
    # Before the bus threads exist: they inherit scheduling and CPU.
    applied = realtime.RealTime().apply(fifo_priority, cpu)
    for what_i, (state, error) in enumerate(applied):
        image.setting(what_i, state, error)
    runner = ThreadRunner([row.name for row in tables.buses])
    field = Field(tables, maps, plan, buses, runner, core, Gate(tables), image, guarded)
    started_at_ns = _clock.monotonic_ns()
    image.event(Event.STARTED, -1, 0, 0, started_at_ns)
    pacer = Pacer(tables.site.period_ns, started_at_ns + FIRST_WAKE_ns)
    modes = Modes(tables.site.missed_limit, tables.tuning.healthy_scans)
    commands = Commands(Server(site_dir.control), tables, field.external, field.tuned)
    return Scan(field, core, image, KernelClock(), pacer, modes, guarded, commands, core)
