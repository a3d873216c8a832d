"""`loadctl status`: one snapshot of a running site, from its image."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
from rich.console import Console

from loadctl import runtime
from loadctl.cli.view import render
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
    console = Console(highlight=False, markup=False)
    if found["is_running"]:
        for line in summary(found):
            console.print(line)
    else:
        console.print("NOT RUNNING; this was its last scan:")
    console.print()
    console.print(render(found, found["site"]))
    for event in found["events"]:
        console.print(f"{event['age_s']:8.1f} s ago  {event['text']}")
