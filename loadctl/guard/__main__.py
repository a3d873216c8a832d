"""The guard's process: arguments, ports, real time, then the rounds. Started by `loadctl run`.

Owns everything that is opened or allocated, all of it before the first scan is started. Imports
neither pydantic, click, rich nor minimalmodbus; an error that we raise on purpose is one line.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hw.clock import MonotonicClock
from hw.devices import DeviceMap, parse_map
from hw.opening import OpenPort, close_port, open_port, try_port
from hw.wire import Line
from loadctl import realtime, runtime
from loadctl import tables as plain
from loadctl.bound import BusBound, takeover_bounds
from loadctl.errors import BusError, LoadctlError, UsageError
from loadctl.guard.child import SCAN_MODULE
from loadctl.guard.feed import Feed
from loadctl.guard.frames import boxes_of
from loadctl.guard.process import Guard
from loadctl.guard.takeover import BusHolder
from loadctl.guard.watch import CRASH_LIMIT, CRASH_WINDOW_ns, Terms, Watch
from loadctl.link import Link
from loadctl.tables import Tables
from loadctl.tuning import n_slots
from loadctl.units import NS_PER_S, ns_from_s

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# A pass that runs, three tries to bring every charger down, and one period of grace.
STOP_PERIODS = 5


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadctl.guard", description="The guard of one site.")
    parser.add_argument("--tables", type=Path, required=True, help="the compiled site")
    parser.add_argument("--runtime-dir", type=Path, required=True, help="the site's own directory")
    parser.add_argument("--lock-fd", type=int, help="inherited lock of the site")
    parser.add_argument("--fifo-priority", type=int, default=realtime.FIFO_PRIORITY)
    parser.add_argument("--cpu", type=int, help="pin the scan to this CPU")
    parser.add_argument("--watchdog-device", type=Path, help="feed this, such as /dev/watchdog")
    parser.add_argument("--crash-limit", type=int, default=CRASH_LIMIT)
    parser.add_argument("--crash-window-s", type=float, default=CRASH_WINDOW_ns / NS_PER_S)
    parser.add_argument("--scan-module", default=SCAN_MODULE)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Guard a site until SIGTERM or SIGINT."""
    try:
        return run(arguments(sys.argv[1:] if argv is None else argv))
    except LoadctlError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def run(args: argparse.Namespace) -> int:
    tables = plain.load(args.tables.read_text())
    maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
    site_dir = runtime.SiteDir(args.runtime_dir)
    kept_fds = [] if args.lock_fd is None else [args.lock_fd]
    for fd in kept_fds:
        os.set_inheritable(fd, False)
    ports = open_ports(tables, site_dir.lock_dir)
    n_tuned = n_slots(len(tables.circuits), len(tables.chargers))
    link = Link.create(site_dir.link, len(tables.chargers), len(tables.circuits), n_tuned)
    fifo_priority = realtime.guard_priority(args.fifo_priority)
    realtime.RealTime().apply(fifo_priority, None)
    bounds = takeover_bounds(tables, maps)
    holders = hold_buses(tables, maps, ports, bounds, site_dir.lock_dir, link)
    realtime.reset_on_fork(fifo_priority)  # after the threads: they would lose theirs too
    clock = MonotonicClock()
    watch = Watch(terms_of(tables, bounds, args), clock.now_ns())
    feed = open_feed(args.watchdog_device)  # last: a start that is refused must not arm it
    command = [args.scan_module, "--tables", str(args.tables), "--runtime-dir", str(site_dir.path)]
    command += ["--link", str(site_dir.link), "--fifo-priority", str(args.fifo_priority)]
    command += [] if args.cpu is None else ["--cpu", str(args.cpu)]
    guard = Guard(tables, link, holders, watch, feed, command, kept_fds, clock.now_ns)

    def stop(number: int, frame: object) -> None:
        guard.must_stop = True

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    return guard.run()


def open_feed(device: Path | None) -> Feed:
    try:
        return Feed(os.environ, device)
    except OSError as error:
        what = device if device is not None else os.environ.get("NOTIFY_SOCKET", "")
        raise UsageError(f"watchdog {what}: {error.strerror}") from error


def open_ports(tables: Tables, lock_dir: Path) -> list[OpenPort]:
    """Every port or none."""
    ports: list[OpenPort] = []
    for row in tables.buses:
        try:
            line = Line(row.baud, row.frame)
            ports.append(open_port(row.port, line, lock_dir, row.uses_rs485_mode))
            if ports[-1].data_fd < 0:  # the scan opens it; that it cannot is to be known now
                try_port(row.port, line, row.uses_rs485_mode)
        except BusError as error:
            for port in ports:
                close_port(port)
            raise BusError(f"bus {row.name}: {error}") from error
    return ports


def hold_buses(
    tables: Tables,
    maps: dict[str, DeviceMap],
    ports: Sequence[OpenPort],
    bounds: Sequence[BusBound],
    lock_dir: Path,
    link: Link,
) -> list[BusHolder]:
    """One thread per bus, alive from here on."""
    return [
        BusHolder(
            bus_i,
            row,
            boxes_of(tables, maps, bus_i),
            ports[bus_i],
            lock_dir,
            bounds[bus_i].silence_ns,
            link,
            MonotonicClock(),
        )
        for bus_i, row in enumerate(tables.buses)
    ]


def terms_of(tables: Tables, bounds: Sequence[BusBound], args: argparse.Namespace) -> Terms:
    """Writing twice and reading back takes at most four times the writes of the longest bus."""
    takes_ns = [bound.silence_ns + 4 * bound.writes_ns for bound in bounds]
    return Terms(
        period_ns=tables.site.period_ns,
        missed_limit=tables.site.missed_limit,
        stop_within_ns=STOP_PERIODS * tables.site.period_ns,
        take_within_ns=max(takes_ns, default=0) + NS_PER_S,
        crash_limit=args.crash_limit,
        crash_window_ns=ns_from_s(args.crash_window_s),
    )


if __name__ == "__main__":
    sys.exit(main())
