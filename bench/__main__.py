"""`scripts/bench GROUP`: one group of measurements a run; each prints text, or JSON with --json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import baseline, bus, busload, core, flight, flightday, memory, readers, scan

CORE_SITES = (54, 200, 1000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What loadctl costs, beside peers in the same run."
    )
    groups = parser.add_subparsers(required=True, metavar="GROUP")
    add_core(groups)
    add_bus(groups)
    add_scan(groups)
    add_memory(groups)
    add_flight(groups)
    add_readers(groups)
    arguments = parser.parse_args()
    arguments.run(arguments)


def add_core(groups) -> None:
    group = groups.add_parser(
        "core",
        help="time of the allocation core by number of chargers",
        description="Times `share`, `step` and `confirm` on panels of 18 chargers under one root, "
        "half three-phase, half single-phase, random maxima, half of them supplied; and "
        "what peers make of the same sites. acnportal is asked up to "
        f"{core.ACNPORTAL_CHARGERS} chargers.",
        epilog="JSON: {share_us, step_us, confirm_us: {CHARGERS: {median, p99, n}}, "
        "peers: {CHARGERS: {NAME: {median_us, ratio, jain, total_A}}}, machine}",
    )
    add_output(group, "core")
    group.add_argument(
        "--chargers",
        type=positive,
        nargs="+",
        default=CORE_SITES,
        metavar="N",
        help="sites to time",
    )
    group.add_argument("--scans", type=positive, default=300, help="how many steps to time (300)")
    group.set_defaults(run=run_core)


def run_core(arguments: argparse.Namespace) -> None:
    results = {}
    if not arguments.json:
        print(machine())
    for n_chargers in arguments.chargers:
        results[n_chargers] = core.measure(n_chargers, arguments.scans)
        if not arguments.json:
            print("", *core.lines(n_chargers, results[n_chargers]), sep="\n", flush=True)
    finish(arguments, core.as_json(results))


def add_bus(groups) -> None:
    group = groups.add_parser(
        "bus",
        help="what the time of a bus goes into, and whether the plan keeps its word",
        description="On simulated devices in virtual time, the same in every run: how much of the "
        "bus phases is bytes, silence or turnaround; six boxes with their gaps; the plan against "
        "random faults; from the meter to the last decrease; what a dead device and a dead bus "
        "cost. With --load a whole site in real time instead: guard and scan on pseudo-terminals.",
        epilog="JSON: {efficiency, six_boxes, plan, reaction, dead_device, dead_bus} or {load}, "
        "machine.",
    )
    add_output(group, "bus")
    group.add_argument("--trials", type=positive, default=1_000, help="reactions to time (1000)")
    group.add_argument("--faults", type=positive, default=3_600, help="seconds of faults (3600)")
    group.add_argument("--load", action="store_true", help="measure a site in real time")
    group.add_argument("--buses", type=positive, default=8, help="of that site (8)")
    group.add_argument("--chargers", type=positive, default=24, help="on each bus (24)")
    group.add_argument("--seconds", type=positive, default=600, help="how long (600)")
    group.set_defaults(run=run_bus)


def run_bus(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="loadctl-bench-") as name:
        directory = Path(name)
        if arguments.load:
            found = {"load": load_of(directory, arguments)}
        else:
            found = bus.measure(directory, arguments.trials, arguments.faults)
    show(arguments, found)
    finish(arguments, found)


def load_of(directory: Path, arguments: argparse.Namespace) -> dict[str, object]:
    load = busload.measure(
        directory,
        arguments.seconds,
        n_buses=arguments.buses,
        n_chargers=arguments.chargers,
        baud=115_200,
        period_ms=1_000,
    )
    return load._asdict()


def add_scan(groups) -> None:
    group = groups.add_parser(
        "scan",
        help="wake-ups and scans of the real loop, beside cyclictest",
        description="`loadctl timing`: without a bus, calm and under load, beside cyclictest; and "
        "on the simulated garage. As root, or it says what it could not have.",
        epilog="JSON: {calm, busy, garage: {wake_us, scan_ms, reaction_ms, scans, missed, "
        "gc_runs, cyclictest}, machine}",
    )
    add_output(group, "scan")
    group.add_argument("--seconds", type=positive, default=60, help="of each measurement (60)")
    group.set_defaults(run=run_scan)


def run_scan(arguments: argparse.Namespace) -> None:
    found = scan.measure(arguments.seconds)
    show(arguments, found)
    finish(arguments, found)


def add_memory(groups) -> None:
    group = groups.add_parser(
        "memory",
        help="memory and processor time of a running site",
        description="`loadctl run` in real time on simulated buses: one of 16 chargers, and eight "
        "of 24 each; PSS and processor time of guard and scan.",
        epilog="JSON: {SITE: {pss_MiB, cpu_percent, missed, ..., target}, machine}",
    )
    add_output(group, "memory")
    group.add_argument("--seconds", type=positive, default=60, help="of each site (60)")
    group.set_defaults(run=run_memory)


def run_memory(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="loadctl-bench-") as name:
        found = memory.measure(Path(name), arguments.seconds)
    show(arguments, found)
    finish(arguments, found)


def add_flight(groups) -> None:
    group = groups.add_parser(
        "flight",
        help="bytes and time of recordings, and of their replay",
        description="32 chargers on two buses, twice a second, in virtual time, with jitter in "
        "every reading and reply: what a day of it takes on disk, how long its replay takes, and "
        "what the tape costs in a scan. With --day a whole day instead, without the wire: some "
        "minutes.",
        epilog="JSON: {recorded, replayed, scan_us, machine}",
    )
    add_output(group, "flight")
    group.add_argument("--seconds", type=positive, default=600, help="to record (600)")
    group.add_argument("--day", action="store_true", help="record a day without the wire")
    group.set_defaults(run=run_flight)


def run_flight(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="loadctl-bench-") as name:
        directory = Path(name)
        if arguments.day:
            found = flight.figures(flightday.record_day(directory), directory)
        else:
            found = flight.measure(directory, arguments.seconds)
    show(arguments, found)
    finish(arguments, found)


def add_readers(groups) -> None:
    group = groups.add_parser(
        "readers",
        help="what top, status, metrics and recorder cost the scan",
        description="The real loop on simulated devices at a period of "
        f"{readers.PERIOD_ms} ms, with and without readers at work, in rounds that alternate: "
        "ratios of the p99 of whole scan and wake-up. As root, or without real-time priority.",
        epilog="JSON: {whole, wake: {without_ms, with_ms, ratio, ratio_quartiles, "
        "ratio_of_all_scans}, rounds, counts, machine}",
    )
    add_output(group, "readers")
    group.add_argument("--pairs", type=positive, default=20, help="of rounds (20)")
    group.add_argument("--scans", type=positive, default=200, help="in each round (200)")
    group.add_argument(
        "--everywhere", action="store_true", help="readers on the processor of the scan as well"
    )
    group.set_defaults(run=run_readers)


def run_readers(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="loadctl-bench-") as name:
        found = readers.measure(
            Path(name), arguments.pairs, arguments.scans, everywhere=arguments.everywhere
        )
    show(arguments, found)
    finish(arguments, found)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def add_output(group: argparse.ArgumentParser, name: str) -> None:
    group.add_argument("--json", action="store_true", help="print one object, for a machine")
    group.add_argument(
        "--compare", action="store_true", help=f"print ratios to {baseline.FILE.name} as well"
    )
    group.add_argument(
        "--save", action="store_true", help=f"put the result into {baseline.FILE.name}"
    )
    group.set_defaults(group=name)


def show(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """Text for a person."""
    if arguments.json:
        return
    print(machine())
    for part, values in found.items():
        print("", part, sep="\n")
        for words, value in values.items():
            print(f"  {words}: {json.dumps(value)}")


def finish(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """What every group does with its result."""
    result = {**found, "machine": machine()}
    if arguments.compare and arguments.group not in baseline.load():
        sys.stderr.write(f"no baseline of {arguments.group} in {baseline.FILE}; --save makes one\n")
    rows = baseline.compare(baseline.load().get(arguments.group, {}), result)
    if arguments.json:
        ratios = {row.figure: row.ratio for row in rows if row.ratio is not None}
        shown = {**result, "ratios": ratios} if arguments.compare else result
        print(json.dumps(shown, indent=2))
    elif arguments.compare:
        print("", *baseline.lines(arguments.group, result), sep="\n")
    if arguments.save:
        baseline.save(arguments.group, result)


def machine() -> str:
    """Processor and load, since every number here is of this machine and moment."""
    names = [platform.processor() or platform.machine()]
    with open("/proc/cpuinfo") as info:
        names += [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{names[-1]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
