"""`scripts/bench GROUP`: one group of measurements a run; each prints text, or JSON with --json."""

from __future__ import annotations

import argparse
import json
import os
import platform

from bench import core

CORE_SITES = (54, 200, 1000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What loadctl costs, beside peers in the same run."
    )
    groups = parser.add_subparsers(required=True, metavar="GROUP")
    add_core(groups)
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


def machine() -> str:
    """Processor and load, since every number here is of this machine and moment."""
    names = [platform.processor() or platform.machine()]
    with open("/proc/cpuinfo") as info:
        names += [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{names[-1]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
