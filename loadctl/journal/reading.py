"""What commands read: the journal of a site, and what its rings hold that is not in it yet."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from loadctl.errors import LoadctlError, NotRunning
from loadctl.journal import sql
from loadctl.journal.clock import WallClock
from loadctl.journal.fold import Session
from loadctl.journal.lines import event_row
from loadctl.journal.notes import Source
from loadctl.journal.pack import Unpacker, block_of
from loadctl.journal.rings import Follower
from loadctl.journal.shape import Shape, load_shape
from loadctl.journal.sql import N_MASK, NUMBER_BITS, EraRow, EventRow, FIRST_ms, LAST_ms
from loadctl.runtime import SiteDir


class Span(NamedTuple):
    """In UTC; the end is not part of it."""

    since_utc_ms: int = FIRST_ms
    until_utc_ms: int = LAST_ms


class Asked(NamedTuple):
    """Which events. `kinds` are pairs of source and kind; none means all."""

    span: Span = Span()
    who: str | None = None
    kinds: Sequence[tuple[int, int]] = ()
    limit: int | None = None

    def has(self, row: EventRow) -> bool:
        is_asked_kind = not self.kinds or (row.source, row.kind) in self.kinds
        is_within = self.span.since_utc_ms <= row.utc_ms < self.span.until_utc_ms
        return is_within and is_asked_kind and self.who in (None, row.who)


class HistoryRow(NamedTuple):
    utc_ms: int
    shape: Shape
    values: list[int]


class JournalFile:
    """A journal opened for reading, whether a recorder writes it or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._db = sql.connect_readonly(path)
            if not sql.has_schema(self._db):
                self._db.close()
                raise NotRunning(f"{path}: nothing was recorded yet")
        except sqlite3.Error as error:
            raise LoadctlError(f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Whatever is read within is of one moment, though the recorder goes on."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def events(self, asked: Asked, after: int = 0) -> Iterator[tuple[int, EventRow]]:
        """With their numbers, in the order that `sql.events` tells; those after a number."""
        return sql.events(
            self._db,
            *asked.span,
            who=asked.who,
            kinds=asked.kinds,
            after=after,
            limit=asked.limit,
        )

    def last_event(self) -> int:
        return sql.last_event(self._db)

    def boots(self) -> dict[int, str]:
        """By era, as far as those are kept."""
        return {era.id: era.boot for era in sql.eras(self._db).values()}

    def names(self) -> set[str]:
        """Everything that an event is or could be about."""
        found = set(sql.names_told(self._db))
        for shape in self._shapes().values():
            found |= {*shape.circuits, *shape.chargers}
        return found

    def recorded(self) -> dict[tuple[int, str, int, int], int]:
        """By source, boot, pid and birth: how many events of a ring are in here."""
        return {row[1:5]: row.n_next for row in sql.tellers(self._db)}

    def sessions(self, span: Span) -> Iterator[Session]:
        return sql.sessions(self._db, *span)

    def shapes_in(self, table: str, span: Span) -> list[Shape]:
        """Of the eras that may have rows in the span."""
        shapes = self._shapes()
        numbers = {era.shape for era in sql.eras(self._db).values()}
        return [shapes[number] for number in sorted(numbers) if number in shapes]

    def history(self, table: str, span: Span) -> Iterator[HistoryRow]:
        """Rows of "second" or "minute" era by era; one that cannot be read is left out."""
        shapes = self._shapes()
        for era in sql.eras(self._db).values():
            shape = shapes.get(era.shape)
            if shape is not None:
                yield from self._history_of(table, span, era, shape)

    def _history_of(
        self, table: str, span: Span, era: EraRow, shape: Shape
    ) -> Iterator[HistoryRow]:
        unit_ms, offset_ms = (60_000, 0) if table == "minute" else (1_000, era.offset_ms)
        n_values = shape.n_minute_values if table == "minute" else shape.n_values
        top = N_MASK
        first = min(max(0, -((offset_ms - span.since_utc_ms) // unit_ms)), top)
        last = min(max(0, (span.until_utc_ms - 1 - offset_ms) // unit_ms), top)
        base = era.id << NUMBER_BITS
        known = {era.id: era}
        unpacker = Unpacker()
        for number, body in sql.rows(self._db, table, base | block_of(first), base | last):
            values = unpacker.unpack(body)
            if values is None or len(values) != n_values or number < base | first:
                continue
            at_ms = sql.row_utc_ms(table, number, known)
            if span.since_utc_ms <= at_ms < span.until_utc_ms:
                yield HistoryRow(at_ms, shape, values)

    def _shapes(self) -> dict[int, Shape]:
        return {number: load_shape(body) for number, body in sql.shapes(self._db).items()}


class Rings:
    """The events that are still in the memory of a site, for where no recorder runs."""

    def __init__(self, site_dir: SiteDir) -> None:
        self._followers = [Follower(site_dir, Source.SCAN), Follower(site_dir, Source.GUARD)]
        self._wall = WallClock()
        self._told: dict[tuple[int, str, int, int], int] = {}

    @property
    def boot(self) -> str:
        return self._wall.boot

    def names(self) -> set[str]:
        found: set[str] = set()
        for ring in (ring for follower in self._followers for ring in follower.rings()):
            for rows in (ring.tables.chargers, ring.tables.circuits, ring.tables.meters):
                found |= {row.name for row in rows}
        return found

    def events(
        self, asked: Asked, recorded: dict[tuple[int, str, int, int], int]
    ) -> list[EventRow]:
        """Those that are neither in the journal nor were handed out before."""
        era = EraRow(0, self._wall.boot, self._wall.offset_ms(), 0)
        found: list[EventRow] = []
        for ring in (ring for follower in self._followers for ring in follower.rings()):
            key = (int(ring.source), self._wall.boot, ring.pid, ring.born_at_ns)
            first = max(recorded.get(key, 0), self._told.get(key, 0))
            for n, event in enumerate(ring.events, ring.first_n):
                if n >= first:
                    row = event_row(ring.source, ring.tables, event, n, 0, era)
                    if asked.has(row):
                        found.append(row)
            self._told[key] = ring.n_total
        return sorted(found, key=lambda row: row.utc_ms)
