"""What the bench of deaths has measured: `python -m tests.support.deaths_report`, text or JSON.

Milliseconds from the instant of the death on, by kind of death.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadctl.units import ms_from_ns, s_from_ns
from tests.support.deaths import (
    BUSES,
    CHARGERS,
    GUARD_DEATHS,
    SCAN_DEATHS,
    Bench,
    PERIOD_ns,
    Sample,
    run_bench,
)

PERCENTS = (50, 90, 99)
SAY_EVERY = 20


def spread_ms(values_ns: Sequence[int]) -> dict[str, float]:
    """Least, percentiles by nearest rank, most."""
    ordered = sorted(values_ns)
    n = len(ordered)
    ranks = {f"p{p}": ordered[max(0, -(-p * n // 100) - 1)] for p in PERCENTS}
    spread = {"min": ordered[0], **ranks, "max": ordered[-1]}
    return {name: round(ms_from_ns(value_ns), 1) for name, value_ns in spread.items()}


def report_of(bench: Bench, samples: Sequence[Sample]) -> dict[str, Any]:
    """Everything in milliseconds, by kind of death."""
    kinds: dict[str, Any] = {}
    for kind in (*SCAN_DEATHS, *GUARD_DEATHS):
        of_kind = [sample for sample in samples if sample.kind == kind]
        if not of_kind:
            continue
        is_scan = kind in SCAN_DEATHS
        after = {"raised": "raised_ns"} if is_scan else {"ended": "ended_ns"}
        names = {"noticed": "noticed_ns", "failsafe": "failsafe_ns", **after}
        kinds[kind] = {
            "n": len(of_kind),
            "bound_ms": round(ms_from_ns(bench.bound_ns if is_scan else bench.guard_bound_ns), 1),
            **{
                f"{what}_ms": spread_ms([getattr(s, name) for s in of_kind])
                for what, name in names.items()
            },
            "wrong": [words for sample in of_kind for words in sample.wrong],
        }
    judged = bench.simulated.report()
    return {
        "period_ms": ms_from_ns(PERIOD_ns),
        "bounds": bench.bounds,
        "deaths": kinds,
        "takeovers_without_a_death": bench.n_unasked,
        "violations": judged["violations"],
        "above_limit_s": judged["circuits"]["main"]["above_s"],
    }


def table_of(report: dict[str, Any]) -> str:
    lines = [
        f"{len(CHARGERS)} chargers on {len(BUSES)} buses, period {report['period_ms']:.0f} ms;"
        " milliseconds from the death on",
        "",
        f"{'':16}{'':10}{'n':>5}{'min':>9}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}{'bound':>9}",
    ]
    for kind, row in report["deaths"].items():
        for what in ("noticed", "failsafe", "raised", "ended"):
            spread = row.get(f"{what}_ms")
            if spread is not None:
                bound = f"{row['bound_ms']:9.1f}" if what == "failsafe" else ""
                values = "".join(f"{value:9.1f}" for value in spread.values())
                head = kind if what == "noticed" else ""
                lines.append(f"{head:16}{what:10}{row['n']:5}{values}{bound}")
        lines += [f"  WRONG: {words}" for words in row["wrong"]]
    lines += [
        "",
        f"takeovers without a death: {report['takeovers_without_a_death']},"
        f" violations: {len(report['violations'])},"
        f" above the limit: {report['above_limit_s']:.1f} s",
    ]
    return "\n".join(lines)


def is_good(report: dict[str, Any]) -> bool:
    return not any(row["wrong"] for row in report["deaths"].values()) and not report["violations"]


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a way out that ends the site, too
    if args.directory is None:
        with tempfile.TemporaryDirectory(prefix="deaths-") as directory:
            return measure(args, Path(directory))
    args.directory.mkdir(parents=True, exist_ok=True)
    return measure(args, args.directory)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench-deaths", description="How soon chargers are at failsafe when a process dies."
    )
    parser.add_argument("--samples", type=int, default=200, help="deaths of the scan of each kind")
    parser.add_argument("--guard-samples", type=int, default=20, help="the same of the guard")
    parser.add_argument("--kind", action="append", choices=(*SCAN_DEATHS, *GUARD_DEATHS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="work here and leave the logs")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    return parser.parse_args(argv)


def measure(args: argparse.Namespace, directory: Path) -> int:
    """Every sample into `samples.jsonl`, the report to stdout, how far it is to stderr."""
    counts = dict.fromkeys(SCAN_DEATHS, args.samples)
    counts |= dict.fromkeys(GUARD_DEATHS, args.guard_samples)
    if args.kind:
        counts = {kind: n for kind, n in counts.items() if kind in args.kind}
    began_ns, n_all = time.monotonic_ns(), sum(counts.values())
    samples: list[Sample] = []

    def note(sample: Sample) -> None:
        samples.append(sample)
        with (directory / "samples.jsonl").open("a") as file:
            file.write(json.dumps(asdict(sample)) + "\n")
        if len(samples) % SAY_EVERY == 0 or sample.wrong:
            words = f", {sample.kind}: {sample.wrong}" if sample.wrong else ""
            elapsed_s = s_from_ns(time.monotonic_ns() - began_ns)
            sys.stderr.write(f"{len(samples)} of {n_all} after {elapsed_s:.0f} s{words}\n")

    with Bench(directory, args.seed) as bench:
        try:
            run_bench(bench, counts, note)
        finally:  # a bench that breaks off says what it has
            report = report_of(bench, samples)
            said = json.dumps(report, indent=1) if args.json else table_of(report)
            sys.stdout.write(f"{said}\n")
    return 0 if is_good(report) else 1


if __name__ == "__main__":
    sys.exit(main())
