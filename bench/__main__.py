"""`scripts/bench GROUP`: one group of measurements a run; each prints text, or JSON with --json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from bench import bus, busload, core

CORE_SITES = (54, 200, 1000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What loadctl costs, beside peers in the same run."
    )
    groups = parser.add_subparsers(required=True, metavar="GROUP")
    add_core(groups)
    add_bus(groups)
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
    group.add_argument("--json", action="store_true", help="print one object, for a machine")
    group.add_argument(
        "--chargers", type=int, nargs="+", default=CORE_SITES, metavar="N", help="sites to time"
    )
    group.add_argument("--scans", type=int, default=300, help="how many steps to time (300)")
    group.set_defaults(run=run_core)


def run_core(arguments: argparse.Namespace) -> None:
    results = {}
    if not arguments.json:
        print(machine())
    for n_chargers in arguments.chargers:
        results[n_chargers] = core.measure(n_chargers, arguments.scans)
        if not arguments.json:
            print("", *core.lines(n_chargers, results[n_chargers]), sep="\n", flush=True)
    if arguments.json:
        print(json.dumps({**core.as_json(results), "machine": machine()}, indent=2))


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
    group.add_argument("--json", action="store_true", help="print one object, for a machine")
    group.add_argument("--trials", type=int, default=1_000, help="reactions to time (1000)")
    group.add_argument("--faults", type=int, default=3_600, help="seconds of faults (3600)")
    group.add_argument("--load", action="store_true", help="measure a site in real time")
    group.add_argument("--buses", type=int, default=8, help="of that site (8)")
    group.add_argument("--chargers", type=int, default=24, help="on each bus (24)")
    group.add_argument("--seconds", type=int, default=600, help="how long (600)")
    group.set_defaults(run=run_bus)


def run_bus(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="loadctl-bench-") as name:
        directory = Path(name)
        if arguments.load:
            found = {"load": load_of(directory, arguments)}
        else:
            found = bus.measure(directory, arguments.trials, arguments.faults)
    if arguments.json:
        print(json.dumps({**found, "machine": machine()}, indent=2))
        return
    print(machine())
    for group, figures in found.items():
        print("", group, sep="\n")
        for words, value in figures.items():
            print(f"  {words}: {json.dumps(value)}")


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


def machine() -> str:
    """Processor and load, since every number here is of this machine and moment."""
    names = [platform.processor() or platform.machine()]
    with open("/proc/cpuinfo") as info:
        names += [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{names[-1]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
