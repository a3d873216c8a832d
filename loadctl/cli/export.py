"""`loadctl export`: the journal of a site as a CSV or Parquet file."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import click

from loadctl import runtime
from loadctl.cli.params import runtime_dir_option
from loadctl.cli.times import TIME, utc_ms
from loadctl.errors import LoadctlError, NotRunning, UsageError
from loadctl.journal import columns, files
from loadctl.journal.place import need_place
from loadctl.journal.reading import JournalFile, Span
from loadctl.journal.sql import FIRST_ms, LAST_ms

TABLES = {
    "events": columns.events_table,
    "history": columns.history_table,
    "minutes": columns.minutes_table,
    "sessions": columns.sessions_table,
}


@click.command()
@click.argument("what", type=click.Choice(sorted(TABLES)))
@click.option(
    "--to",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="FILE.csv or FILE.parquet; replaced only once the new one is complete.",
)
@click.option("--since", type=TIME, help="From then on: 2h (ago), 02:13, '2026-11-25 02:13'.")
@click.option("--until", type=TIME, help="Before then, likewise.")
@click.option("--site", "site_name", help="The site's name; needed only where there are several.")
@runtime_dir_option
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the recorder writes.")
def export(
    what: str,
    path: Path,
    since: datetime | None,
    until: datetime | None,
    site_name: str | None,
    runtime_dir: Path | None,
    state_dir: Path | None,
) -> None:
    """Write events, history (by second), minutes or sessions to a file.

    Names of columns end in their units; times are UTC. An empty cell is a value that was not
    there. Parquet needs pyarrow (pip install 'loadctl[parquet]').
    """
    files.require_format(path)
    span = Span(
        FIRST_ms if since is None else utc_ms(since), LAST_ms if until is None else utc_ms(until)
    )
    if span.since_utc_ms >= span.until_utc_ms:
        raise UsageError("--since: is not before --until")
    journal = JournalFile(need_place(state_dir, site_name, running_name(runtime_dir)).journal)
    try:
        n_rows = files.write(TABLES[what](journal, span), path)
    except sqlite3.Error as error:
        raise LoadctlError(f"{journal.path}: {error}") from error
    click.echo(f"{path}: {n_rows} rows of {what}")


def running_name(runtime_dir: Path | None) -> str | None:
    """The site that runs here, where there is exactly one."""
    try:
        return runtime.find_site(runtime.search_dirs(runtime_dir), None).path.name
    except (NotRunning, UsageError):
        return None
