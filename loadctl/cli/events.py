"""`loadctl events`: what happened, from the journal and from the memory of the running site."""

from __future__ import annotations

import json
import sqlite3
import time
from bisect import bisect
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from loadctl import runtime
from loadctl.cli.params import runtime_dir_option
from loadctl.cli.times import TIME, iso_text, local_text, utc_ms
from loadctl.errors import LoadctlError, NotRunning, UsageError
from loadctl.events import Event
from loadctl.guard.words import Happening
from loadctl.journal.notes import Note, Source, kind_name
from loadctl.journal.place import find_place
from loadctl.journal.reading import Asked, JournalFile, Rings, Span
from loadctl.journal.sql import EventRow, FIRST_ms, LAST_ms

LOOK_EVERY_s = 0.5
SHOWN = 50
NUMBERS = ("first", "second", "third", "fourth")


class KindType(click.ParamType[list[tuple[int, int]]]):
    """A name of a kind; scan and guard may both have one of that name."""

    name = "kind"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[tuple[int, int]]:
        wanted = str(value).strip().lower().replace("-", "_")
        known = all_kinds()
        found = [pair for pair, name in known.items() if name == wanted]
        if not found:
            self.fail(f"{value!r} is none of {', '.join(sorted(set(known.values())))}", param, ctx)
        return found


def all_kinds() -> dict[tuple[int, int], str]:
    kinds = ((Source.SCAN, Event), (Source.GUARD, Happening), (Source.RECORDER, Note))
    return {(s, kind): kind_name(s, kind) for s, words in kinds for kind in words}


@click.command()
@click.option("--since", type=TIME, help="From then on: 2h (ago), 02:13, '2026-11-25 02:13'.")
@click.option("--until", type=TIME, help="Before then, likewise.")
@click.option("--charger", "who", help="Only of this charger; a circuit, meter or bus will do too.")
@click.option("--kind", "kinds", multiple=True, type=KindType(), help="Only of this kind.")
@click.option("-n", "limit", type=click.IntRange(min=1), default=SHOWN, show_default=True)
@click.option("--follow", is_flag=True, help="Go on with what comes; ctrl-c ends it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object; with --follow one a line.")
@click.option("--site", "site_name", help="The site's name; needed only where there are several.")
@runtime_dir_option
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where the recorder writes.")
def events(
    since: datetime | None,
    until: datetime | None,
    who: str | None,
    kinds: tuple[list[tuple[int, int]], ...],
    limit: int,
    follow: bool,
    as_json: bool,
    site_name: str | None,
    runtime_dir: Path | None,
    state_dir: Path | None,
) -> None:
    """Say what happened: the last events, or those of a span, oldest first.

    Times without a zone are local. Without a recorder only what the running site still remembers
    is shown. Exit code 5 where there is neither a journal nor a site.
    """
    journal, rings = sources(site_name, runtime_dir, state_dir)
    require_known(who, journal, rings)
    span = Span(
        FIRST_ms if since is None else utc_ms(since), LAST_ms if until is None else utc_ms(until)
    )
    if span.since_utc_ms >= span.until_utc_ms:
        raise UsageError("--since: is not before --until")
    asked = Asked(span, who, [pair for pairs in kinds for pair in pairs], limit)
    try:
        rows = find(asked, journal, rings)
    except sqlite3.Error as error:
        raise LoadctlError(f"journal: {error}") from error
    if as_json and not follow:
        click.echo(json.dumps({"events": [as_dict(row) for row in rows]}, indent=2))
        return
    write = write_json if as_json else write_line
    for row in rows:
        write(row)
    if not rows and not follow:
        click.echo("no events in that time", err=True)
    if follow:
        follow_on(asked, journal, rings, write)


def sources(
    site_name: str | None, runtime_dir: Path | None, state_dir: Path | None
) -> tuple[JournalFile | None, Rings | None]:
    """The journal and the rings of one site; one of them may be missing."""
    site_dir = None
    not_running = None
    try:
        site_dir = runtime.find_site(runtime.search_dirs(runtime_dir), site_name)
    except NotRunning as error:
        not_running = error
    name = site_name if site_dir is None else site_dir.path.name
    found = find_place(state_dir, name)
    if found is None and site_name is None and state_dir is not None:
        # Told where to look, and there is the journal of another site than that which runs here.
        found = find_place(state_dir, None)
        site_dir = site_dir if found is None else None
    if found is None and site_dir is None:
        raise NotRunning(f"no journal, and {not_running}")
    rings = None if site_dir is None else Rings(site_dir)
    try:
        return None if found is None else JournalFile(found.journal), rings
    except NotRunning:
        if rings is None:
            raise
        return None, rings


def require_known(who: str | None, journal: JournalFile | None, rings: Rings | None) -> None:
    """A name that is misspelt must not read as "nothing happened"."""
    if who is None:
        return
    names = set() if journal is None else journal.names()
    names |= set() if rings is None else rings.names()
    if who not in names:
        raise UsageError(f"--charger: {who!r} is none of {', '.join(sorted(names))}")


def find(asked: Asked, journal: JournalFile | None, rings: Rings | None) -> list[EventRow]:
    """From the journal, then what is only in the rings; in the order in which it happened. Which
    the last ones are is a matter of when they came, unless a span of the wall clock is asked for:
    that clock may have been ahead."""
    rows: list[EventRow] = []
    boots: dict[int, str] = {}
    recorded: dict[tuple[int, str, int, int], int] = {}
    if journal is not None:
        with journal.at_once():  # else what is stored between two looks would be in neither
            rows = [row for _, row in journal.events(asked)]
            boots, recorded = journal.boots(), journal.recorded()
    if rings is not None:
        rows += rings.events(asked, recorded)
        boots[0] = rings.boot
    if asked.span != Span():
        rows.sort(key=lambda row: row.utc_ms)
    rows = rows if asked.limit is None else rows[-asked.limit :]
    return rows if asked.span != Span() else in_order(rows, boots)


def in_order(rows: list[EventRow], boots: dict[int, str]) -> list[EventRow]:
    """As they happened: by the monotonic time within each boot, which nobody sets. `boots` by era;
    era 0 is that of the rings, and one that is not kept any more is of the boot around it."""
    eras = sorted(era for era in boots if era)
    firsts: dict[str, int] = {}
    for era in eras:
        firsts.setdefault(boots[era], era)
    newest = max([*boots, *(row.era for row in rows)], default=0)

    def place(row: EventRow) -> tuple[int, int]:
        at = bisect(eras, row.era)
        boot = boots.get(row.era, "")
        if not boot and 0 < at < len(eras) and boots[eras[at - 1]] == boots[eras[at]]:
            boot = boots[eras[at]]
        return firsts.get(boot, row.era or newest + 1), row.mono_ns

    return sorted(rows, key=place)


def follow_on(
    asked: Asked,
    journal: JournalFile | None,
    rings: Rings | None,
    write: Callable[[EventRow], None],
) -> None:
    """What scan and guard say comes from their rings at once, what the recorder says from the
    journal."""
    kinds = asked.kinds or list(all_kinds())
    notes = [pair for pair in kinds if pair[0] == Source.RECORDER]
    last = 0 if journal is None else journal.last_event()
    try:
        while True:
            time.sleep(LOOK_EVERY_s)
            rows = [] if rings is None else rings.events(asked, {})
            if journal is not None and notes:
                told = list(journal.events(asked._replace(kinds=notes, limit=None), after=last))
                last = max([number for number, _ in told], default=last)
                rows += [row for _, row in told]
            for row in sorted(rows, key=lambda row: row.utc_ms):
                write(row)
    except KeyboardInterrupt:
        return


def write_line(row: EventRow) -> None:
    """Local time, who tells it, what."""
    source = Source(row.source).name.lower()
    since = "" if row.since_utc_ms is None else f" (since {local_text(row.since_utc_ms)})"
    user = "" if row.user is None else f" ({row.user})"
    click.echo(f"{local_text(row.utc_ms)}  {source:8}  {row.text}{user}{since}")


def write_json(row: EventRow) -> None:
    click.echo(json.dumps(as_dict(row)))


def as_dict(row: EventRow) -> dict[str, Any]:
    return {
        "at_utc": iso_text(row.utc_ms),
        "monotonic_ns": row.mono_ns,
        "source": Source(row.source).name.lower(),
        "kind": kind_name(row.source, row.kind),
        "who": row.who or None,
        "text": row.text,
        "numbers": [getattr(row, name) for name in NUMBERS],
        "user": row.user,
        "since_utc": None if row.since_utc_ms is None else iso_text(row.since_utc_ms),
    }
