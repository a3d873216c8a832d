"""What a measurement says: one plain object for JSON, and lines for a person.

Owns the format of `loadctl timing --json`. Pure: raw spans in, words and numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from loadctl.realtime import NOT_ASKED, SETTINGS, words
from loadctl.timing import cyclictest
from loadctl.timing.measure import Measured
from loadctl.timing.stats import (
    Histogram,
    Summary,
    histogram_of,
    range_for,
    ratio,
    summary_of,
    verdict_on,
)
from loadctl.timing.stolen import stolen_ns
from loadctl.units import NS_PER_MS, NS_PER_US, ms_from_ns

Row = dict[str, Any]
# What is reported, in the order of a scan: key, words, unit in ns.
SHOWN = (
    ("wake_us", "wake-up latency, us", NS_PER_US),
    ("read_ms", "read, ms", NS_PER_MS),
    ("step_ms", "step, ms", NS_PER_MS),
    ("write_ms", "write (take + give), ms", NS_PER_MS),
    ("scan_ms", "whole scan, ms", NS_PER_MS),
    ("reaction_ms", "reaction on the wire, ms", NS_PER_MS),
)
WORST = ("min", "p50", "p99", "p999", "max")
BAR_CELLS = 44
TEXT_BINS = 16


def spans_of(found: Measured) -> dict[str, Sequence[int]]:
    """The raw spans behind each key of SHOWN; empty where there is nothing to measure."""
    reactions = found.reactions
    has_bus = bool(found.plan.tables.buses)
    return {
        "wake_us": found.span("wake"),
        "read_ms": found.span("read") if has_bus else (),
        "step_ms": found.span("step"),
        "write_ms": found.writes_ns if has_bus else (),
        "scan_ms": found.span("whole"),
        "reaction_ms": () if reactions is None else reactions.spans_ns,
    }


def as_dict(found: Measured, machine: Row) -> Row:
    plan, counts = found.plan, found.counts
    site = plan.tables.site
    shown = {
        key: numbers(summary_of(spans_ns), unit_ns)
        for (key, _, unit_ns), spans_ns in zip(SHOWN, spans_of(found).values(), strict=True)
    }
    verdict = verdict_on(site.period_ns, found.complete_ns, counts["missed"])
    return {
        "site": site.name,
        "kind": plan.kind,
        "period_ms": ms_from_ns(site.period_ns),
        "rounds": plan.rounds,
        "fifo_priority": plan.fifo_priority,
        "cpu": plan.cpu,
        **shown,
        "reaction": _reaction(found),
        "scans": counts["scans"],
        "missed": counts["missed"],
        "skipped": counts["skipped"],
        "stalls_injected": plan.stalls,
        "gc_runs": counts["gc_runs"],
        "faults_minor": counts["faults_minor"],
        "faults_major": counts["faults_major"],
        "switches_voluntary": counts["switches_voluntary"],
        "switches_involuntary": counts["switches_involuntary"],
        "memory_growth_kB": counts["resident_bytes"] // 1024,
        "blocks_growth": counts["blocks"],
        "stolen_ms": round(ms_from_ns(stolen_ns(found.stolen))),
        "missed_in_stolen_time": found.n_missed_in_stolen_time,
        "cyclictest": _cyclictest(found),
        "cyclictest_words": found.cyclictest_words,
        "stress": found.stress_words or None,
        "real_time": [
            {"what": SETTINGS[i], "is_applied": state == 1, "words": words(i, state, error)}
            for i, (state, error) in enumerate(found.settings)
            if state != NOT_ASKED
        ],
        "machine": machine,
        "verdict": {
            "holds": verdict.holds,
            "margin_percent": verdict.margin_percent,
            "worst_ms": round(ms_from_ns(verdict.worst_ns), 3),
            "words": verdict.words,
        },
    }


def numbers(summary: Summary | None, unit_ns: int) -> Row | None:
    if summary is None:
        return None
    named = zip(WORST, summary[1:], strict=True)
    return {
        **{name: round(span_ns / unit_ns, 3) for name, span_ns in named},
        "n": summary.n,
    }


def _reaction(found: Measured) -> Row | None:
    """What was promised: at most one period and one scan."""
    if found.reactions is None:
        return None
    bound_ns = found.plan.tables.site.period_ns + max(found.span("whole"), default=0)
    spans_ns = found.reactions.spans_ns
    return {
        "trials": len(spans_ns) + found.reactions.n_unanswered,
        "unanswered": found.reactions.n_unanswered,
        "within_bound": sum(span_ns <= bound_ns for span_ns in spans_ns),
        "bound_ms": round(ms_from_ns(bound_ns), 3),
    }


def _cyclictest(found: Measured) -> Row | None:
    theirs = summary_of(found.cyclictest_ns or ())
    ours = summary_of(found.span("wake"))
    if theirs is None or ours is None:
        return None
    wake = numbers(theirs, NS_PER_US) or {}
    return {
        **wake,
        "ratio_of_rounds": _ratio_of_rounds(found),
        "ratio": {
            "p50": ratio(ours.p50_ns, theirs.p50_ns),
            "p99": ratio(ours.p99_ns, theirs.p99_ns),
            "p999": ratio(ours.p999_ns, theirs.p999_ns),
        },
    }


def _ratio_of_rounds(found: Measured) -> Row:
    """The median over the rounds: a disturbance that met one of the two in one round is no more
    than one value of many."""
    n = found.plan.scans_in_round
    ours = [summary_of(found.span("wake")[i : i + n]) for i in range(0, len(found.span("wake")), n)]
    theirs = [summary_of(cyclictest.pooled([part])) for part in found.slices]
    pairs = [(one, two) for one, two in zip(ours, theirs, strict=False) if one and two]
    ratios = {
        name: [ratio(getattr(one, key), getattr(two, key)) for one, two in pairs]
        for name, key in (("p50", "p50_ns"), ("p99", "p99_ns"))
    }
    known = {name: [r for r in values if r is not None] for name, values in ratios.items()}
    return {name: median(values) if values else None for name, values in known.items()}


def histograms_of(found: Measured) -> list[tuple[str, int, Histogram, Histogram | None]]:
    """Title, unit, histogram, and cyclictest's on the same bins beside our wake-ups."""
    result = []
    for (key, title, unit_ns), spans_ns in zip(SHOWN, spans_of(found).values(), strict=True):
        if not spans_ns:
            continue
        beside: Histogram | None = None
        both: Sequence[int] = spans_ns
        if key == "wake_us" and found.cyclictest_ns:
            both = [*spans_ns, *found.cyclictest_ns]
        from_ns, width_ns = range_for(both)
        if both is not spans_ns:
            beside = histogram_of(found.cyclictest_ns or (), from_ns, width_ns)
        result.append((title, unit_ns, histogram_of(spans_ns, from_ns, width_ns), beside))
    return result


def lines(report: Row, found: Measured) -> list[str]:
    """For a terminal or a file, the verdict last."""
    return [
        *head_lines(report),
        "",
        *table_lines(report),
        "",
        *histogram_lines(found),
        *count_lines(report),
        "",
        *verdict_lines(report),
    ]


def head_lines(report: Row) -> list[str]:
    machine = report["machine"]
    head = [
        f"{report['site']} ({report['kind']}), {report['scans']} scans of"
        f" {report['period_ms']:g} ms in {report['rounds']} round{'s' * (report['rounds'] > 1)}",
        f"machine: {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']},"
        f" load {machine['load']:.1f}",
        f"beside it: {report['stress'] or 'nothing of ours'}",
    ]
    refused = [row["words"] for row in report["real_time"] if not row["is_applied"]]
    applied = [row["what"] for row in report["real_time"] if row["is_applied"]]
    head.append(f"real time: {', '.join(applied) or 'nothing'}")
    return [*head, *(f"could not be had: {line}" for line in refused)]


def table_lines(report: Row) -> list[str]:
    """One line for each span, cyclictest's below ours."""
    rows = [(title, report[key]) for key, title, _ in SHOWN if report[key] is not None]
    theirs = report["cyclictest"]
    if theirs is not None:
        rows.insert(1, ("  cyclictest, us", theirs))
    table = [f"{'':<28}" + "".join(f"{name:>11}" for name in ("min", "p50", "p99", "p99.9", "max"))]
    for title, row in rows:
        table.append(f"{title:<28}" + "".join(f"{row[name]:>11.3f}" for name in WORST))
    if theirs is not None:
        by = theirs["ratio"]
        by_round = theirs["ratio_of_rounds"]
        table.insert(
            3,
            f"{'  the same, median of rounds':<28}{'':>11}"
            + "".join(f"{by_round[name]:>10.2f}x" for name in ("p50", "p99")),
        )
        table.insert(
            3,
            f"{'  ours / cyclictest':<28}{'':>11}"
            + "".join(f"{by[name] or 0:>10.2f}x" for name in ("p50", "p99", "p999")),
        )
    else:
        table.append(f"cyclictest: {report['cyclictest_words']}")
    return table


def histogram_lines(found: Measured) -> list[str]:
    """A bar for each of a few bins, and one for what is above them."""
    result = []
    for _, title, unit_ns in (SHOWN[0], SHOWN[4]):
        spans_ns = spans_of(found)["wake_us" if unit_ns == NS_PER_US else "scan_ms"]
        from_ns, width_ns = range_for(spans_ns, TEXT_BINS)
        result += [title, *bars(histogram_of(spans_ns, from_ns, width_ns, TEXT_BINS), unit_ns), ""]
    return result


def bars(histogram: Histogram, unit_ns: int) -> list[str]:
    most = max(*histogram.counts, histogram.n_over, 1)
    rows = [
        (f"{(histogram.from_ns + i * histogram.width_ns) / unit_ns:g}", count)
        for i, count in enumerate(histogram.counts)
    ]
    rows.append((f"from {histogram.end_ns / unit_ns:g}", histogram.n_over))
    return [
        f"  {label:>12} {count:>8} {'#' * -(-count * BAR_CELLS // most)}".rstrip()
        for label, count in rows
    ]


def count_lines(report: Row) -> list[str]:
    result = [
        f"missed cycles: {report['missed']}, further periods skipped: {report['skipped']}",
        f"in the loop: garbage collections {report['gc_runs']}, page faults"
        f" {report['faults_minor']} minor and {report['faults_major']} major, context switches"
        f" {report['switches_voluntary']} voluntary and {report['switches_involuntary']}"
        " involuntary",
        f"memory growth: {report['memory_growth_kB']} kB resident, {report['blocks_growth']:+d}"
        " blocks of Python",
        f"processor time that the host of this machine took meanwhile: {report['stolen_ms']} ms;"
        f" of the missed cycles {report['missed_in_stolen_time']} fell into such a moment",
    ]
    reaction = report["reaction"]
    if reaction is not None:
        result.append(
            f"reaction: {reaction['trials']} steps of the building, {reaction['unanswered']}"
            f" without a decrease, {reaction['within_bound']} within one period and one scan"
            f" ({reaction['bound_ms']:g} ms)"
        )
    if report["stalls_injected"]:
        result.append(
            f"stalls of 1.5 periods injected: {report['stalls_injected']}; missed cycles counted:"
            f" {report['missed']}"
        )
    return result


def verdict_lines(report: Row) -> list[str]:
    words_ = str(report["verdict"]["words"])
    return [f"{words_[0].upper()}{words_[1:]}."]
