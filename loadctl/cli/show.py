"""`loadctl status`: one snapshot of a running site, from its image; `loadctl status bay7`: why."""

from __future__ import annotations

import json
import re
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from rich.console import Console

from loadctl import runtime
from loadctl.answers import Status, answers, nearest_name
from loadctl.cli import live
from loadctl.cli.params import runtime_dir_option
from loadctl.cli.view import acts_lines, details
from loadctl.errors import NotRunning, UsageError
from loadctl.status import StatusReader
from loadctl.why import why_charger, why_circuit

PROSE_CELLS = 80
NUMBER_AND_UNIT = re.compile(r"(\d) (A|kW|s|min|h|ms|us|%)(?!\w)")
TIE = "\x1f"  # stands for a space at which no line ends


@click.command()
@click.argument("name", required=False)
@click.option("--site", "site_name", help="The site's name; needed only where several run.")
@runtime_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(
    name: str | None, site_name: str | None, runtime_dir: Path | None, as_json: bool
) -> None:
    """Say of a running site: is it safe, what binds, who waits, who is limited and why.

    With the NAME of a charger or circuit: why that one has the current it has.

    Exit code 5 when nothing runs; the last snapshot, where there is one, is then printed with its
    age.
    """
    site_dir = runtime.find_site(runtime.search_dirs(runtime_dir), site_name)
    is_running = site_dir.is_locked()
    found = StatusReader(site_dir).read(time.monotonic_ns())
    found["is_running"] = is_running
    if not is_running:
        found["is_stale"] = True
        if found["mode"] != "stop":  # it was killed: whatever it did last, it does no more
            found["mode"] = "not running"
    if name is not None:
        show_one(found, name, as_json)
    elif as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(found)
    if not is_running:
        age_s = found["age_ms"] / 1000
        raise NotRunning(f"{found['site']}: not running; its last scan was {age_s:.1f} s ago")


def show(found: Status) -> None:
    """Answers first, then everything; a pipe is no narrow terminal."""
    console = live.make_console()
    glyphs = live.glyphs_for(console)
    width = console.width if console.is_terminal else max(console.width, live.PIPE_CELLS)
    lines = answers(found) if found["is_running"] else ["NOT RUNNING; this was its last scan:"]
    show_prose(console, [*lines, *(text.plain[1:] for text in acts_lines(found))])
    console.print()
    for text in details(found, width, glyphs):
        console.print(text, soft_wrap=True)


def show_one(found: Status, name: str, as_json: bool) -> None:
    """The sentences of one charger or circuit; a charger goes before a circuit of the same name."""
    told: dict[str, Callable[[Status, str], list[str]]] = {
        "chargers": why_charger,
        "circuits": why_circuit,
    }
    for kind, why in told.items():
        if name in found[kind]:
            lines = why(found, name)
            if as_json:
                one = {"name": name, "kind": kind[:-1], "why": lines, **found[kind][name]}
                click.echo(json.dumps(one, indent=2))
            else:
                show_prose(live.make_console(), lines)
            return
    known = [*found["chargers"], *found["circuits"]]
    meant = nearest_name(name, known)
    hint = f"the nearest is {meant}" if meant else f"there are {', '.join(known)}"
    raise UsageError(f"{found['site']} has no charger or circuit {name!r}; {hint}")


def show_prose(console: Console, lines: Iterable[str]) -> None:
    """Wrapped between words, what goes on is indented."""
    width = max(20, min(console.width, PROSE_CELLS) if console.is_terminal else PROSE_CELLS)
    for line in lines:
        indent = len(line) - len(line.lstrip()) + 2
        kept = NUMBER_AND_UNIT.sub(rf"\1{TIE}\2", line)
        for part in textwrap.wrap(
            kept, width, subsequent_indent=" " * indent, break_on_hyphens=False
        ):
            console.print(part.replace(TIE, " "), soft_wrap=True)
