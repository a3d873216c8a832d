"""The live view of a site: one screen made from one status object, as `status --json` prints it.

Pure: a status object in, something that rich can draw out. No clock, no I/O, so that what a person
sees is what a test can read.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from loadctl.units import PHASE_NAMES

BAR_CELLS = 30
NEARLY_FULL = 0.9

Status = dict[str, Any]


def render(status: Status, title: str) -> Group:
    """The whole screen: a headline, the circuits as bars, the chargers, the timing of the scan."""
    return Group(
        headline(status, title),
        Text(),
        circuit_bars(status["circuits"]),
        Text(),
        charger_table(status["chargers"]),
        Text(),
        scan_line(status["scan"]),
    )


def headline(status: Status, title: str) -> Text:
    mode = str(status["mode"])
    style = {"run": "bold green", "start": "bold yellow"}.get(mode, "bold red")
    return Text.assemble((f" {mode.upper()} ", f"{style} reverse"), "  ", (title, "bold"))


def circuit_bars(circuits: dict[str, Any]) -> Table:
    """One bar per circuit phase: building, chargers, and what is left of the limit."""
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    table.add_column("circuit", no_wrap=True)
    table.add_column("")
    table.add_column("building (peak held) | chargers", no_wrap=True)
    table.add_column("A", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    for name, circuit in circuits.items():
        for phase, phase_name in enumerate(PHASE_NAMES):
            limit_A = circuit["limit_A"][phase]
            background_A = circuit["background_A"][phase]
            granted_A = circuit["granted_A"][phase]
            table.add_row(
                name if phase == 0 else "",
                phase_name,
                bar(background_A, granted_A, limit_A),
                f"{background_A + granted_A:.1f}",
                f"{limit_A:g}",
            )
    return table


def bar(background_A: float, granted_A: float, limit_A: float) -> Text:
    """`BAR_CELLS` wide; what would stand beyond the limit is cut off and turns the bar red."""
    if limit_A <= 0:
        return Text("no supply".ljust(BAR_CELLS), style="red")
    total_A = background_A + granted_A
    n_background = min(BAR_CELLS, round(BAR_CELLS * max(0.0, background_A) / limit_A))
    n_used = min(BAR_CELLS, round(BAR_CELLS * max(0.0, total_A) / limit_A))
    n_granted = max(0, n_used - n_background)
    if total_A > limit_A + 1e-9:
        style = "red"
    elif total_A > NEARLY_FULL * limit_A:
        style = "yellow"
    else:
        style = "green"
    return Text.assemble(
        ("▒" * n_background, "blue"),
        ("█" * n_granted, style),
        ("·" * (BAR_CELLS - n_background - n_granted), "dim"),
    )


def charger_table(chargers: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("charger", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("setpoint", justify="right", no_wrap=True)
    table.add_column("draw", justify="right", no_wrap=True)
    table.add_column("reason")
    for name, charger in chargers.items():
        draw_A = charger["draw_A"]
        table.add_row(
            name,
            str(charger["state"] or "-"),
            f"{charger['setpoint_A']:.1f} A",
            "-" if draw_A is None else f"{max(draw_A):.1f} A",
            str(charger["reason"]),
        )
    return table


def scan_line(scan: dict[str, Any]) -> Text:
    return Text(
        f"scan {scan['scans']}  period {scan['period_ms']:g} ms"
        f"  worst {scan['worst_scan_ms']:.1f} ms  missed {scan['missed']}",
        style="red" if scan["missed"] else "dim",
    )
