"""`loadctl status`: one snapshot of a running site, from its image."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from loadctl import runtime
from loadctl.cli import live
from loadctl.cli.view import acts_lines, details
from loadctl.errors import NotRunning
from loadctl.status import Status, StatusReader, summary


@click.command()
@click.option("--site", "site_name", help="The site's name; needed only where several run.")
@click.option(
    "--runtime-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to look; default $XDG_RUNTIME_DIR/loadctl, then /run/loadctl.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(site_name: str | None, runtime_dir: Path | None, as_json: bool) -> None:
    """Say of a running site: is it safe, what binds, is it punctual.

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
    if as_json:
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
    lines = summary(found) if found["is_running"] else ["NOT RUNNING; this was its last scan:"]
    for line in lines:
        console.print(line, soft_wrap=True)
    for text in acts_lines(found):
        console.print(text.plain[1:], soft_wrap=True)
    console.print()
    for text in details(found, width, glyphs):
        console.print(text, soft_wrap=True)
