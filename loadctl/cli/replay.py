"""`loadctl replay`: a recording of the flight recorder, played on the core of this loadctl."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from loadctl.cli.params import json_option
from loadctl.errors import EXIT_NO
from loadctl.flight.replay import Replay, find
from loadctl.flight.told import report, summary_lines
from loadctl.flight.when import span_of


@click.command()
@click.argument("recording", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option("--from", "from_text", metavar="TIME|SCAN", help="Where to begin.")
@click.option("--to", "to_text", metavar="TIME|SCAN", help="Where to end.")
@json_option
def replay(recording: Path, from_text: str | None, to_text: str | None, as_json: bool) -> None:
    """Tell the core everything that a recording says it was told, and compare every answer.

    A recording is one .flight file, or a folder of them. Exit code 1 where something differs.
    """
    found = find(recording)
    span = span_of(found, from_text, to_text)
    played = Replay(found, span).run()
    if as_json:
        click.echo(json.dumps(report(found, played), indent=2))
    else:
        click.echo("\n".join(summary_lines(found, played)))
    if not played.is_equal:
        sys.exit(EXIT_NO)
