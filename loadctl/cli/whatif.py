"""`loadctl whatif`: the settled allocation for given inputs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from loadctl.cli.params import json_option, maps_option, site_argument
from loadctl.site.load import load_site
from loadctl.whatif import answer_lines, read_snapshot, settled


@click.command()
@site_argument
@click.argument("snapshot", type=click.Path(path_type=Path))
@maps_option
@json_option
def whatif(site: Path, snapshot: Path, maps_dirs: tuple[Path, ...], as_json: bool) -> None:
    """Say what SITE would settle at for the inputs in SNAPSHOT, and why.

    Opens no port and applies neither the failsafe proof nor the bus plan.
    """
    loaded = load_site(site, maps_dirs)
    answer = settled(loaded.tables, read_snapshot(snapshot, loaded.tables))
    click.echo(json.dumps(answer, indent=2) if as_json else "\n".join(answer_lines(answer)))
