"""The report as one HTML file that needs nothing else: words, tables, plots.

Owns the page. Everything that varies is escaped; no script, no font and no picture comes from
anywhere.
"""

from __future__ import annotations

from html import escape
from typing import Any

from loadctl.timing.measure import Measured
from loadctl.timing.report import (
    SHOWN,
    WORST,
    count_lines,
    head_lines,
    histograms_of,
    verdict_lines,
)
from loadctl.timing.svg import columns, strip
from loadctl.units import NS_PER_MS, NS_PER_US

Row = dict[str, Any]

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
.verdict { font-size: 1.15rem; padding: .7rem 1rem; border-left: 6px solid; }
.holds { border-color: #2e7d32; background: #eef7ee; }
.fails { border-color: #b71c1c; background: #fbeeee; }
table { border-collapse: collapse; } td, th { padding: .2rem .9rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid #ddd; }
tr.theirs td { color: #8a5a00; } ul { padding-left: 1.1rem; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #444; }
"""


def page(report: Row, found: Measured) -> str:
    verdict = report["verdict"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(report['site'])}: timing</title><style>{STYLE}</style></head><body>",
        f"<h1>Timing of {escape(report['site'])}</h1>",
        f'<p class="verdict {"holds" if verdict["holds"] else "fails"}">'
        f"{escape(verdict_lines(report)[0])}</p>",
        _list(head_lines(report)),
        _table(report),
        _list(count_lines(report)),
        *_plots(found),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _table(report: Row) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("", "min", "p50", "p99", "p99.9", "max"))
    rows = [_row(title, report[key]) for key, title, _ in SHOWN if report[key] is not None]
    theirs = report["cyclictest"]
    if theirs is not None:
        by = theirs["ratio"]
        ratios = "".join(f"<td>{by[name] or 0:.2f}x</td>" for name in ("p50", "p99", "p999"))
        rows[1:1] = [
            _row("cyclictest, us", theirs, "theirs"),
            f'<tr class="theirs"><td>ours / cyclictest</td><td></td>{ratios}<td></td></tr>',
        ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _row(title: str, row: Row, kind: str = "ours") -> str:
    cells = "".join(f"<td>{row[name]:.3f}</td>" for name in WORST)
    return f'<tr class="{kind}"><td>{escape(title)}</td>{cells}</tr>'


def _plots(found: Measured) -> list[str]:
    """Two strips over time, then a histogram of every span."""
    period_ns = found.plan.tables.site.period_ns
    result = [
        "<h2>Wake-up latency over the run, worst of each stretch, us</h2>",
        strip(found.span("wake"), NS_PER_US),
        "<h2>Grid point to end of scan over the run, worst of each stretch, ms; the line is the"
        " period</h2>",
        strip(found.complete_ns, NS_PER_MS, period_ns),
    ]
    for title, unit_ns, histogram, beside in histograms_of(found):
        words = title if beside is None else f"{title}; outlined: cyclictest"
        result += [f"<h2>{escape(words)}</h2>", columns(histogram, unit_ns, beside)]
    return result
