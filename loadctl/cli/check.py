"""`loadctl check`: validate a site file, print its failsafe proof and its bus plan, give a verdict.

Judges on paper: opens no port of the site, so that it can be checked at a desk. A port that is not
there is a warning here; `run` refuses it. Only what the site costs in processor time is measured,
on the machine that this runs on.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hw.devices import FED_BY_ANY, FED_BY_READS, FED_BY_WRITES, DeviceMap
from loadctl import cost, realtime
from loadctl.bound import BusBound, is_shared, takeover_bounds
from loadctl.cli.params import json_option, maps_option, site_argument
from loadctl.errors import CheckRefused
from loadctl.law.fuse import COOL_BELOW_PERCENT, WARNS_ABOVE_PERCENT, Fuse, fuse
from loadctl.plan import Plan, describe, make_plan
from loadctl.site.load import Site, load_site
from loadctl.site.outside import outside_dict, outside_lines, outside_warnings
from loadctl.site.proof import Proof, amount_text, proof_lines, prove
from loadctl.tables import ChargerRow, Tables
from loadctl.timeline import timeline_dict, timeline_lines
from loadctl.units import A_from_mA, ms_from_ns, s_from_ns

SILENT_ONLY = "protects against a silent gateway only"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that check has to say about one site."""

    site: Site
    proof: Proof
    plan: Plan | None  # None: it does not fit
    cost: cost.Cost | None  # None: it does not fit, or nothing could be measured here
    bounds: tuple[BusBound, ...]  # how long a takeover may take, by bus
    real_time: tuple[realtime.Applied, ...]  # what a process of this user gets, on this machine
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]


@click.command()
@site_argument
@maps_option
@json_option
def check(site: Path, maps_dirs: tuple[Path, ...], as_json: bool) -> None:
    """Validate SITE; print its failsafe proof, its bus plan and warnings.

    Exit code 0: may run. 1: the proof or the plan does not hold. 3: the file breaks a rule.
    """
    report = make_report(load_site(site, maps_dirs))
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = json.dumps(as_dict(report), indent=2) if as_json else "\n".join(lines(report, columns))
    click.echo(text)
    if report.refusals:
        raise CheckRefused(*report.refusals)


def make_report(site: Site) -> Report:
    """Judge a site by proof and plan, and collect the reasons of both."""
    proof = prove(site.tables, site.maps)
    plan: Plan | None = None
    plan_refusals: tuple[str, ...] = ()
    try:
        plan = make_plan(site.tables, site.maps)
    except CheckRefused as refused:
        plan_refusals = refused.lines
    spent = None if plan is None else cost.measure(site.tables, site.maps, plan)
    return Report(
        site=site,
        proof=proof,
        plan=plan,
        cost=spent,
        bounds=takeover_bounds(site.tables, site.maps),
        real_time=tuple(realtime.could_have(realtime.FIFO_PRIORITY, None)),
        refusals=(*proof.refusals, *plan_refusals),
        warnings=(
            *site.warnings,
            *missing_ports(site),
            *lone_ports(site),
            *proof.warnings,
            *outside_warnings(site.tables),
            *busy_warnings(spent),
        ),
    )


def missing_ports(site: Site) -> list[str]:
    return [
        f"bus.{bus.name}.port: {bus.port} is not there; check goes on without it, run will not"
        for bus in site.tables.buses
        if "://" not in bus.port and not Path(bus.port).exists()
    ]


def lone_ports(site: Site) -> list[str]:
    return [
        f"bus.{bus.name}.port: {bus.port} lives in one process only: when the scan dies the guard"
        " cannot write here, and the chargers are left to their own watchdogs; socket:// and"
        " devices can be shared"
        for bus in site.tables.buses
        if not is_shared(bus.port)
    ]


def lines(report: Report, columns: int | None) -> list[str]:
    """The report for a terminal of so many columns, or for a file; refusals go to stderr."""
    tables = report.site.tables
    result = [
        f"{tables.site.name}: {report.site.path}, hash {tables.site_hash}",
        "",
        "Failsafe proof: no controller, every box at its failsafe or fallback current, the building"
        " at its worst",
        *indented(proof_lines(report.proof)),
        "",
        "What each box does without the controller",
        *indented(watchdog_lines(report.site)),
    ]
    outside = outside_lines(tables)
    if outside:
        result += ["", "Limits from outside", *indented(outside)]
    if any(circuit.fuse_type is not None for circuit in tables.circuits):
        result += ["", "Fuses (usual figures, not verified) and what is done when one is warm"]
        result += indented(fuse_lines(tables))
    plan = ["does not fit"] if report.plan is None else describe(report.plan, tables)
    result += ["", "Bus plan", *indented(plan)]
    if report.plan is not None:
        result += ["", "A worst-case scan, slot by slot", *timeline_lines(report.plan, tables)]
        result += ["", "Processor time on this machine", *indented(cost_lines(report.cost))]
    result += [
        "",
        "When the scan dies: from its last heartbeat until every charger was told its failsafe",
    ]
    result += indented(guard_lines(report))
    result += ["", "Real time, as a process of this user gets it on this machine"]
    result += indented(real_time_lines(report))
    if report.warnings:
        result += ["", "Warnings", *wrapped(report.warnings, columns)]
    return [*result, "", verdict(report)]


def cost_lines(spent: cost.Cost | None) -> list[str]:
    if spent is None:
        return ["could not be measured: no pseudo-terminal, or no room for a file"]
    return [
        f"at most {spent.percent:.1f} % of one core for the scan; the guard beside it comes on top",
        f"{spent.exchanges_per_s:.0f} exchanges a second of {spent.exchange_us:.0f} us each,"
        f" {spent.scans_per_s:.3g} scans a second of {spent.scan_us:.0f} us",
    ]


def busy_warnings(spent: cost.Cost | None) -> list[str]:
    if spent is None or spent.percent <= cost.WARN_ABOVE_PERCENT:
        return []
    return [
        f"this machine would be busy with the scan for {spent.percent:.0f} % of one core, more than"
        f" {cost.WARN_ABOVE_PERCENT} %: a longer site.period_ms, fewer chargers or a faster machine"
    ]


def verdict(report: Report) -> str:
    n_warnings = len(report.warnings)
    beside = "no warnings" if not n_warnings else f"{n_warnings} warning{'s' * (n_warnings > 1)}"
    if not report.refusals:
        return f"Good: the proof holds and the plan fits; {beside}."
    n_reasons = len(report.refusals)
    return f"Refused for {n_reasons} reason{'s' * (n_reasons > 1)}; {beside}."


def watchdog_lines(site: Site) -> list[str]:
    chargers = site.tables.chargers
    width = max(len(charger.name) for charger in chargers)
    return [f"{charger.name:<{width}}  {watchdog_text(charger, site)}" for charger in chargers]


def watchdog_text(charger: ChargerRow, site: Site) -> str:
    """What this box does when it is left alone, and what keeps it from doing so."""
    if charger.is_isolated:
        return "is switched off for good"
    if charger.watchdog_ns is None:
        return f"no watchdog: keeps its last setpoint, counts {amount_text(charger.rated_mA, 'A')}"
    fallback = amount_text(charger.fallback_mA, "A")
    after_s = f"{s_from_ns(charger.watchdog_ns):g} s"
    text = f"falls to {fallback}, {after_s} after {fed_text(site.maps[charger.model])}"
    sharing = shares_watchdog(charger, site.tables)
    if not sharing:
        return text
    others = ", ".join(sharing)
    return f"{text}; one watchdog with {others} at the same address: what feeds one feeds all"


def fed_text(device_map: DeviceMap) -> str:
    """What feeds the watchdogs of this model, as seen from the last of it."""
    watchdog = device_map.watchdog
    assert watchdog is not None, "asked for a model with a watchdog"
    if watchdog.kick is not None:
        where = f"{watchdog.kick_raw:#06x} to register {watchdog.kick.address}"
        return f"the last heartbeat ({where}), sent only after an acknowledged setpoint"
    return {
        FED_BY_ANY: f"the last message to it, reads too: {SILENT_ONLY}",
        FED_BY_READS: f"the last read: {SILENT_ONLY}",
        FED_BY_WRITES: "the last setpoint; reads do not feed it",
    }[watchdog.fed_by]


def fuse_lines(tables: Tables) -> list[str]:
    """The figures and the model of every fuse, one line each."""
    return [
        f"{circuit.name}: {circuit.fuse_type} {amount_text(circuit.fuse_rated_mA, 'A')},"
        f" {fuse_text(fuse(circuit.fuse_type, circuit.fuse_rated_mA))}"
        for circuit in tables.circuits
        if circuit.fuse_type is not None
    ]


def fuse_text(device: Fuse) -> str:
    return (
        f"holds {amount_text(device.holds_mA, 'A')}, operates at"
        f" {amount_text(device.operates_mA, 'A')} within {device.conventional_h} h; model:"
        f" {amount_text(device.full_mA, 'A')} for ever is 100 %, time constant"
        f" {device.time_constant_ms // 1000} s; above {WARNS_ABOVE_PERCENT} % nothing starts and"
        f" shares keep to {amount_text(device.cools_at_mA, 'A')} until {COOL_BELOW_PERCENT} %"
    )


def shares_watchdog(charger: ChargerRow, tables: Tables) -> list[str]:
    """The other outlets of the same box."""
    return [
        other.name
        for other in tables.chargers
        if (other.bus, other.address) == (charger.bus, charger.address)
        and other.name != charger.name
        and not other.is_isolated
    ]


def guard_lines(report: Report) -> list[str]:
    """The takeover of each bus in a line, its parts in milliseconds."""
    buses = report.site.tables.buses
    return [
        f"bus {bus.name}: the guard cannot hold its port; see the warnings"
        if not is_shared(bus.port)
        else f"bus {bus.name}: {ms_from_ns(bound.total_ns):.1f} ms"
        f" (notice {ms_from_ns(bound.detect_ns):.1f}, end it {ms_from_ns(bound.reap_ns):.1f},"
        f" silence {ms_from_ns(bound.silence_ns):.1f}, writes {ms_from_ns(bound.writes_ns):.1f})"
        for bus, bound in zip(buses, report.bounds, strict=True)
    ]


def real_time_lines(report: Report) -> list[str]:
    """One line for each setting; a refusal with what it costs and what would help."""
    result = []
    for what_i, (state, error) in enumerate(report.real_time):
        if state != realtime.NOT_ASKED:
            remedy = realtime.remedy(what_i, state)
            words = realtime.words(what_i, state, error)
            result.append(f"{words}: {remedy}" if remedy else words)
    return result


def indented(text_lines: list[str] | tuple[str, ...]) -> list[str]:
    return [f"  {line}".rstrip() for line in text_lines]


def wrapped(warnings: tuple[str, ...], columns: int | None) -> list[str]:
    """One warning a line for a file; for a terminal broken between words, later lines set in."""
    if columns is None:
        return indented(warnings)
    return [
        line
        for warning in warnings
        for line in textwrap.wrap(
            warning,
            columns,
            initial_indent="  ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        )
    ]


def as_dict(report: Report) -> dict[str, Any]:
    tables = report.site.tables
    return {
        "site": tables.site.name,
        "file": str(report.site.path),
        "hash": tables.site_hash,
        "good": not report.refusals,
        "proof": [
            {
                "circuit": row.circuit,
                "what": row.what,
                "unit": row.unit,
                "chargers": row.chargers_milli / 1000,
                "background": row.background_milli / 1000,
                "limit": row.limit_milli / 1000,
                "holds": row.holds,
            }
            for row in report.proof.rows
        ],
        "watchdogs": {
            charger.name: {
                "time_s": None if charger.watchdog_ns is None else s_from_ns(charger.watchdog_ns),
                "fed_by": charger.watchdog_fed_by,
                "fallback_A": A_from_mA(charger.fallback_mA),
                "shares_with": shares_watchdog(charger, tables),
            }
            for charger in tables.chargers
        },
        "external": outside_dict(tables),
        "fuses": {
            circuit.name: fuse_dict(fuse(circuit.fuse_type, circuit.fuse_rated_mA))
            for circuit in tables.circuits
            if circuit.fuse_type is not None
        },
        "plan": None if report.plan is None else plan_dict(report.plan, report.site),
        "cpu": None if report.cost is None else cost_dict(report.cost),
        "guard": guard_dict(report),
        "real_time": {
            realtime.SETTINGS[what_i]: state == realtime.APPLIED
            for what_i, (state, _) in enumerate(report.real_time)
            if state != realtime.NOT_ASKED
        },
        "refusals": list(report.refusals),
        "warnings": list(report.warnings),
    }


def fuse_dict(device: Fuse) -> dict[str, Any]:
    return {
        "holds_A": A_from_mA(device.holds_mA),
        "operates_A": A_from_mA(device.operates_mA),
        "conventional_h": device.conventional_h,
        "full_A": A_from_mA(device.full_mA),
        "time_constant_s": device.time_constant_ms // 1000,
        "cools_at_A": A_from_mA(device.cools_at_mA),
    }


def plan_dict(plan: Plan, site: Site) -> dict[str, Any]:
    return {
        "period_ms": ms_from_ns(plan.period_ns),
        "worst_scan_ms": ms_from_ns(plan.worst_scan_ns),
        "buses": {
            site.tables.buses[bus.bus].name: {
                "busy_ms": ms_from_ns(bus.busy_ns),
                "status_age_s": s_from_ns(bus.status_age_ns),
                "timeline": timeline_dict(plan, bus),
            }
            for bus in plan.buses
        },
    }


def cost_dict(spent: cost.Cost) -> dict[str, Any]:
    """Measured here and now: another run says something else."""
    return {
        "percent_of_core": round(spent.percent, 2),
        "exchange_us": round(spent.exchange_us, 1),
        "exchanges_per_s": round(spent.exchanges_per_s, 1),
        "scan_us": round(spent.scan_us, 1),
        "scans_per_s": round(spent.scans_per_s, 3),
    }


def guard_dict(report: Report) -> dict[str, Any]:
    """By bus, in milliseconds."""
    return {
        bus.name: {
            "is_shared": is_shared(bus.port),
            "detect_ms": ms_from_ns(bound.detect_ns),
            "reap_ms": ms_from_ns(bound.reap_ns),
            "silence_ms": ms_from_ns(bound.silence_ns),
            "writes_ms": ms_from_ns(bound.writes_ns),
            "total_ms": ms_from_ns(bound.total_ns),
        }
        for bus, bound in zip(report.site.tables.buses, report.bounds, strict=True)
    }
