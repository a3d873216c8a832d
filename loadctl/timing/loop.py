"""The process that is measured: `python -P -m loadctl.timing.loop`, started by `measure.py`.

Owns a real scan, built as `loadctl run` builds it, and the rounds in which it runs. Waits for a
line on its standard input before each round and answers with one when it is over; leaves the raw
spans and the counts in files afterwards. Never brings chargers down, never arms on a wire that is
read-only, imports neither pydantic, click nor rich. Main thread.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from loadctl import _clock, runtime
from loadctl import tables as plain
from loadctl.errors import LoadctlError
from loadctl.guardside import NoGuard
from loadctl.pacer import Pacer
from loadctl.said import FieldWire
from loadctl.scan import Scan
from loadctl.start import FIRST_WAKE_ns, KernelClock, build, open_buses
from loadctl.tables import Tables
from loadctl.timing.readonly import ReadOnlyWire, readable_addresses
from loadctl.timing.record import NONE, RecordingWriter, counts

READY, DONE = "ready", "done"
SPANS_FILE, STARTED_FILE, COUNTS_FILE = "spans", "started", "counts.json"
STALL_PARTS = (3, 2)  # a stall lasts 3/2 of a period


class StallingClock(KernelClock):
    """Holds a scan up right after its wake was stamped, once, when it is told to."""

    def __init__(self) -> None:
        self.stall_ns = 0

    def sleep_until(self, until_ns: int) -> int:
        woke_at_ns = _clock.sleep_until(until_ns)
        if self.stall_ns:
            stall_ns, self.stall_ns = self.stall_ns, 0
            _clock.sleep_until(woke_at_ns + stall_ns)
        return woke_at_ns


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadctl.timing.loop")
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="image and results")
    parser.add_argument("--lock-dir", type=Path, required=True, help="locks of network ports")
    parser.add_argument("--fifo-priority", type=int, required=True)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--warm-up", type=int, required=True, help="scans before any is counted")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--scans", type=int, required=True, help="in each round")
    parser.add_argument("--stalls", type=int, default=0, help="in the middle of so many rounds")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--read-chargers", action="store_true")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = arguments(sys.argv[1:] if argv is None else argv)
    try:
        measure(args)
    except LoadctlError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def measure(args: argparse.Namespace) -> None:
    tables = plain.load(args.tables.read_text())
    scan, image = build_scan(args, tables)

    def stop(number: int, frame: object) -> None:
        scan.must_stop = True

    signal.signal(signal.SIGTERM, stop)
    clock = StallingClock()
    scan.clock = clock
    image.record(args.rounds * args.scans)
    total, before_missed, rounds = NONE, (scan.missed, scan.skipped), []
    is_warm = False
    for round_i in range(args.rounds):
        if not told_to_go():
            return
        scan.pacer = Pacer(tables.site.period_ns, _clock.monotonic_ns() + FIRST_WAKE_ns)
        if not is_warm:
            run(scan, args.warm_up)
            image.record(args.rounds * args.scans)
            before_missed = scan.missed, scan.skipped
            is_warm = True
        began_at_ns = _clock.monotonic_ns()
        before = counts()
        run(scan, args.scans // 2)
        if round_i < args.stalls:
            clock.stall_ns = tables.site.period_ns * STALL_PARTS[0] // STALL_PARTS[1]
        run(scan, args.scans - args.scans // 2)
        total = total.plus(counts().since(before))
        rounds.append([began_at_ns, _clock.monotonic_ns()])
        if scan.must_stop:
            return
        say(DONE)
    (args.directory / SPANS_FILE).write_bytes(image.spans_ns.tobytes())
    (args.directory / STARTED_FILE).write_bytes(image.started_ns.tobytes())
    found = {
        **total._asdict(),
        "scans": image.n_recorded,
        "missed": scan.missed - before_missed[0],
        "skipped": scan.skipped - before_missed[1],
        "mode": scan.modes.mode,
        "rounds": rounds,
    }
    (args.directory / COUNTS_FILE).write_text(json.dumps(found))


def build_scan(args: argparse.Namespace, tables: Tables) -> tuple[Scan, RecordingWriter]:
    buses = open_buses(tables, [(-1, -1)] * len(tables.buses), [], args.lock_dir)
    wires: list[FieldWire] = list(buses)
    if args.read_only:
        wires = [
            ReadOnlyWire(bus, readable_addresses(tables, bus_i, args.read_chargers))
            for bus_i, bus in enumerate(buses)
        ]
    site_dir = runtime.SiteDir(args.directory)
    scan = build(tables, wires, site_dir, args.fifo_priority, args.cpu, NoGuard(), RecordingWriter)
    assert isinstance(scan.image, RecordingWriter)
    scan.image.publish(_clock.monotonic_ns())  # whoever started this reads the settings there
    return scan, scan.image


def run(scan: Scan, n_scans: int) -> None:
    """Passes as the scan's own `run` does them."""
    end = scan.scans + n_scans
    while scan.scans < end and not scan.must_stop:
        scan.run_once()


def told_to_go() -> bool:
    """False when whoever started this is gone."""
    say(READY)
    return bool(sys.stdin.readline())


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
