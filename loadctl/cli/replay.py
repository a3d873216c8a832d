"""`loadctl replay`: a recording of the flight recorder, played on the core of this loadctl."""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path

import click

from loadctl.cli.params import json_option
from loadctl.errors import EXIT_NO, UsageError
from loadctl.flight.incident import Incident, asked_lines
from loadctl.flight.replay import Played, Replay, find
from loadctl.flight.told import report, summary_lines
from loadctl.flight.when import span_of

PICTURES = (".svg", ".html")


@click.command()
@click.argument("recording", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--from",
    "from_text",
    metavar="TIME|SCAN",
    help="Where to begin: a scan, 02:13, 02:13:05 or 2026-11-26T02:13.",
)
@click.option("--to", "to_text", metavar="TIME|SCAN", help="Where to end.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Ask what another value would have made of it, such as tuning.ramp_A_per_s=1 or"
    " charger.bay1.max_A=10, by the keys of `loadctl tune`; may be given several times.",
)
@click.option(
    "--plot",
    "picture",
    metavar="OUT.svg|OUT.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw it.",
)
@json_option
def replay(
    recording: Path,
    from_text: str | None,
    to_text: str | None,
    settings: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """Tell the core everything that a recording says it was told, and compare every answer.

    A recording is one .flight file, or a folder of them. Exit code 1 where something differs. With
    --set a second core with other values runs beside it: the same inputs, and every car behaves
    as it was recorded.
    """
    if picture is not None and picture.suffix not in PICTURES:
        raise UsageError(f"--plot {picture}: the name must end in {' or '.join(PICTURES)}")
    found = find(recording)
    span = span_of(found, from_text, to_text)
    asked = None
    if picture is not None or settings:
        incident = Incident(found, span, settings)
        played = incident.run()
        asked = incident.asked()
        if picture is not None:
            _write(picture, incident.plot(played), found.files[0][1].tables.site.name)
    else:
        played = Replay(found, span).run()
    if as_json:
        click.echo(json.dumps({**report(found, played), "asked": asked}, indent=2))
    else:
        lines = summary_lines(found, played) + (asked_lines(asked) if asked else [])
        click.echo("\n".join(lines))
    _end(played)


def _end(played: Played) -> None:
    if not played.is_equal:
        sys.exit(EXIT_NO)


def _write(path: Path, svg: str, site: str) -> None:
    if path.suffix == ".html":
        svg = (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(site)}: recording</title></head><body>\n{svg}</body></html>\n"
        )
    try:
        path.write_text(svg)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror}") from None
