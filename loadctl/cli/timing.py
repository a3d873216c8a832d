"""`loadctl timing`: measure the real scan loop on this machine and say what it holds."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import tempfile
from pathlib import Path

import click

from hw.devices import parse_map
from loadctl import realtime, runtime
from loadctl.cli.params import DURATION_ns, maps_option
from loadctl.errors import CheckRefused, UsageError
from loadctl.plan import make_plan
from loadctl.site.load import load_site
from loadctl.timing import machine
from loadctl.timing.garage import at_period, load_garage, without_buses
from loadctl.timing.html import page
from loadctl.timing.measure import NO_BUS, READ_ONLY, SIMULATED, Measured, Plan, measure
from loadctl.timing.readonly import unread_chargers
from loadctl.timing.report import as_dict, lines
from loadctl.units import NS_PER_MS, NS_PER_S, ms_from_ns

IN_MEMORY = Path("/dev/shm")
SCANS_MAX = 5_000_000  # their spans are kept in locked memory, 64 bytes each
NO_BUS_PERIOD_ns = 10 * NS_PER_MS  # the least, and what is taken where none is given
ROUND_ns = 10 * NS_PER_S  # without a bus the loop and cyclictest take turns this often


@click.command()
@click.option(
    "--site",
    "site_path",
    type=click.Path(path_type=Path),
    help="Measure on the ports of this site, reading only. Default: a simulated site.",
)
@maps_option
@click.option("--no-bus", is_flag=True, help="A site without a bus: the loop and its image alone.")
@click.option(
    "--read-chargers",
    is_flag=True,
    help="With --site: read also chargers whose own watchdog a read keeps quiet.",
)
@click.option(
    "--for",
    "--seconds",
    "span_ns",
    type=DURATION_ns,
    default=60 * NS_PER_S,
    help="How long the loop is measured; default 1min. cyclictest takes as long again.",
)
@click.option("--period-ms", type=click.FloatRange(1, 10_000), help="Instead of the site's own.")
@click.option(
    "--fifo-priority",
    type=click.IntRange(0, 98),
    default=realtime.FIFO_PRIORITY,
    show_default=True,
    help="SCHED_FIFO priority of the loop, and of cyclictest; 0: ordinary processes.",
)
@click.option("--cpu", type=click.IntRange(0), help="Pin the loop, and cyclictest, to this CPU.")
@click.option("--stress", is_flag=True, help="Keep all cores busy beside it, with stress-ng.")
@click.option("--no-cyclictest", is_flag=True, help="Compare with nothing.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="Turns of loop and cyclictest; default 1, without a bus one for each 10 s.",
)
@click.option(
    "--inject-stall", is_flag=True, help="Hold one scan up for 1.5 periods: one missed cycle."
)
@click.option(
    "--runtime-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --site: where the locks of running sites are; as for `run`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html",
    "html_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report with plots to this file.",
)
def timing(
    site_path: Path | None,
    maps_dirs: tuple[Path, ...],
    no_bus: bool,
    read_chargers: bool,
    span_ns: int,
    period_ms: float | None,
    fifo_priority: int,
    cpu: int | None,
    stress: bool,
    no_cyclictest: bool,
    rounds: int | None,
    inject_stall: bool,
    runtime_dir: Path | None,
    as_json: bool,
    html_path: Path | None,
) -> None:
    """Measure the timing of the scan loop on this machine.

    Exit code 1 when the period was not held. With --site nothing is ever written to a device, and a
    site that runs is refused.
    """
    if period_ms is not None and not math.isfinite(period_ms):
        raise UsageError(f"--period-ms: {period_ms} is no number of milliseconds")
    if html_path is not None and not html_path.resolve().parent.is_dir():
        raise UsageError(f"--html: {html_path.parent} is no directory")
    if no_bus and site_path is not None:
        raise UsageError("--no-bus: has no site; leave --site out")
    if read_chargers and site_path is None:
        raise UsageError("--read-chargers: only with --site")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started is ended too
    period_ns = None if period_ms is None else round(period_ms * NS_PER_MS)
    if no_bus and period_ns is not None and period_ns < NO_BUS_PERIOD_ns:
        raise UsageError(
            f"--period-ms: {period_ms:g} ms is below {ms_from_ns(NO_BUS_PERIOD_ns):g} ms, the time"
            " that the plan keeps for the gateway itself"
        )
    dirs = runtime.search_dirs(runtime_dir)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(folder_in_memory()))
        if site_path is not None:
            tables = load_site(site_path, maps_dirs).tables
            tables = tables if period_ns is None else at_period(tables, period_ns)
            _, lock_fd = runtime.hold(dirs[0], tables.site.name, dirs)
            stack.callback(os.close, lock_fd)
        elif no_bus:
            tables = without_buses(load_garage(folder, None).tables, period_ns or NO_BUS_PERIOD_ns)
        else:
            tables = load_garage(folder, period_ns).tables
        make_plan(tables, {name: parse_map(raw, name) for name, raw in tables.maps.items()})
        plan = Plan(
            kind=NO_BUS if no_bus else SIMULATED if site_path is None else READ_ONLY,
            tables=tables,
            span_ns=span_ns,
            rounds=rounds or (max(1, span_ns // ROUND_ns) if no_bus else 1),
            fifo_priority=fifo_priority,
            cpu=cpu,
            lock_dir=runtime.lock_dir(dirs[0]),
            reads_chargers=read_chargers,
            wants_stress=stress,
            wants_cyclictest=not no_cyclictest,
            stalls=int(inject_stall),
        )
        if plan.rounds * plan.scans_in_round > SCANS_MAX:
            raise UsageError(f"--for: more than {SCANS_MAX} scans of this period")
        announce(plan)
        found = measure(plan, folder, progress)
    tell(found, as_json, html_path)


def folder_in_memory() -> tempfile.TemporaryDirectory[str]:
    """Files that the loop writes to may never wait for a disk."""
    above = IN_MEMORY if IN_MEMORY.is_dir() and runtime.is_in_memory(IN_MEMORY) else None
    return tempfile.TemporaryDirectory(prefix="loadctl-timing-", dir=above)


def announce(plan: Plan) -> None:
    progress(f"measures {plan.tables.site.name} ({plan.kind}) for about {plan.whole_s:.0f} s")
    if plan.kind == READ_ONLY:
        progress("reads only: no setpoint, no arming, no refresh leaves")
        unread = unread_chargers(plan.tables, plan.reads_chargers)
        if unread:
            progress(
                f"left alone, since a read keeps their watchdogs quiet: {', '.join(unread)}"
                " (--read-chargers reads them)"
            )


def progress(words: str) -> None:
    click.echo(words, err=True)


def tell(found: Measured, as_json: bool, html_path: Path | None) -> None:
    """The report in every form that was asked for, and the exit code."""
    report = as_dict(found, machine.describe())
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines(report, found)))
    if html_path is not None:
        try:
            html_path.write_text(page(report, found), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--html: {html_path}: {error.strerror}") from error
    if found.plan.stalls:
        if report["missed"] != found.plan.stalls:
            raise CheckRefused(
                f"{found.plan.stalls} stalls injected, {report['missed']} missed cycles counted"
            )
    elif not report["verdict"]["holds"]:
        raise CheckRefused(report["verdict"]["words"])
