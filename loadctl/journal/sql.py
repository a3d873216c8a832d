"""The journal file: the one place that knows its tables and speaks SQL to them.

`Store` belongs to the recorder, `Journal` in `reading.py` reads through the functions at the end.
A commit is on the disk when it returns (WAL, synchronous FULL): a power cut loses what was not
committed, nothing else. Rows of history are numbered `era << 32 | n`, where n is the monotonic
second or the UTC minute; an era is a span of one boot, one setting of the wall clock, one shape of
the site. So a number tells when, no row is there twice, and no index is needed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from loadctl.errors import LoadctlError
from loadctl.journal.fold import Session

APPLICATION_ID = 0x6C64636A  # "ldcj"
# A page is the least that a commit writes. A bounded log file: it is reused, not grown.
PRAGMAS = (
    "PRAGMA page_size = 4096",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 500",
    "PRAGMA journal_size_limit = 4194304",
    "PRAGMA cache_size = -2000",
    "PRAGMA temp_store = MEMORY",
)
# Step n leads from schema n to n + 1. A step that was released is never changed.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE shape (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)",
        "CREATE TABLE era (id INTEGER PRIMARY KEY, boot TEXT NOT NULL, offset_ms INTEGER NOT NULL,"
        " shape INTEGER NOT NULL)",
        "CREATE TABLE teller (id INTEGER PRIMARY KEY, source INTEGER NOT NULL, boot TEXT NOT NULL,"
        " pid INTEGER NOT NULL, born_at_ns INTEGER NOT NULL, n_next INTEGER NOT NULL,"
        " last_utc_ms INTEGER NOT NULL)",
        "CREATE TABLE event (id INTEGER PRIMARY KEY, utc_ms INTEGER NOT NULL,"
        " mono_ns INTEGER NOT NULL, era INTEGER NOT NULL, source INTEGER NOT NULL,"
        " teller INTEGER NOT NULL, n INTEGER NOT NULL, kind INTEGER NOT NULL,"
        " who_i INTEGER NOT NULL, who TEXT NOT NULL, first INTEGER NOT NULL,"
        " second INTEGER NOT NULL, third INTEGER NOT NULL, fourth INTEGER NOT NULL,"
        " text TEXT NOT NULL, user TEXT, since_utc_ms INTEGER)",
        "CREATE INDEX event_utc ON event (utc_ms)",
        "CREATE TABLE second (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        "CREATE TABLE minute (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        "CREATE TABLE session (id INTEGER PRIMARY KEY, charger TEXT NOT NULL,"
        " begin_utc_ms INTEGER NOT NULL, is_begin_seen INTEGER NOT NULL, end_utc_ms INTEGER,"
        " measured_uWs INTEGER NOT NULL, estimated_uWs INTEGER NOT NULL, max_mA INTEGER NOT NULL,"
        " charging_s INTEGER NOT NULL, waiting_s INTEGER NOT NULL, missing_s INTEGER NOT NULL)",
    ),
)
TABLES = ("meta", "shape", "era", "teller", "event", "second", "minute", "session")
CORRUPT_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
FREE_PAGES_KEPT, FREE_PAGES_AT_ONCE = 1_000, 200
NUMBER_BITS = 32
N_MASK = (1 << NUMBER_BITS) - 1
FIRST_ms, LAST_ms = -(2**62), 2**62  # of a span that is none


class EraRow(NamedTuple):
    id: int
    boot: str
    offset_ms: int  # what makes UTC of monotonic time
    shape: int  # 0: no site was seen yet


class TellerRow(NamedTuple):
    """One life of a scan or a guard: the events 0 to n_next - 1 of its ring are in the journal, or
    known to be missing."""

    id: int
    source: int
    boot: str
    pid: int
    born_at_ns: int
    n_next: int
    last_utc_ms: int


class EventRow(NamedTuple):
    utc_ms: int
    mono_ns: int
    era: int
    source: int
    teller: int  # 0: the recorder itself
    n: int  # its number in the ring
    kind: int
    who_i: int
    who: str
    first: int
    second: int
    third: int
    fourth: int
    text: str
    user: str | None = None
    since_utc_ms: int | None = None


class Bounds(NamedTuple):
    """What is kept: by age and by rows, whichever is less."""

    event_rows: int = 1_000_000
    event_days: int = 730
    second_days: int = 7
    minute_days: int = 730


# By age at most so many rows go at a time, some times more than came: a wall clock that is set
# wrongly for an hour must not empty the journal.
AGED_EVENTS, AGED_SECONDS, AGED_MINUTES = 20, 240, 4
ROWS_AT_ONCE = 2_000
DAY_ms = 86_400_000


def is_damage(error: sqlite3.Error) -> bool:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in CORRUPT_CODES


class Store:
    """The recorder's side. Every method may raise sqlite3.Error; then nothing of the transaction
    is in the file."""

    def __init__(self, path: Path, *, must_check: bool = True) -> None:
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        try:
            if must_check:
                self._check()
            for pragma in PRAGMAS:
                self.db.execute(pragma).fetchall()
            self._migrate()
        except BaseException:
            self.db.close()
            raise

    def _check(self) -> None:
        answer = self.db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer != "ok":
            raise damage(answer)

    def _migrate(self) -> None:
        found = self.db.execute("PRAGMA user_version").fetchone()[0]
        if found > len(STEPS):
            raise LoadctlError(
                f"{self.path}: schema {found}, this loadctl knows those up to {len(STEPS)}; use the"
                " version that wrote it"
            )
        for step_i in range(found, len(STEPS)):
            with self.transaction():
                for statement in STEPS[step_i]:
                    self.db.execute(statement)
                self.db.execute(f"PRAGMA user_version = {step_i + 1}")
                self.db.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            # A full disk has rolled back by itself.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    # where an earlier recorder stopped

    def meta(self, name: str) -> int:
        row = self.db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])

    def last_era(self) -> EraRow | None:
        row = self.db.execute("SELECT * FROM era ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else EraRow(*row)

    def eras(self) -> dict[int, EraRow]:
        return eras(self.db)

    def shapes(self) -> dict[int, str]:
        return shapes(self.db)

    def tellers(self) -> list[TellerRow]:
        return tellers(self.db)

    def open_sessions(self) -> list[Session]:
        return [s for s in sessions(self.db, 0, 2**62) if s.end_utc_ms is None]

    def last_session(self) -> int:
        return self._highest("session")

    def last_event_utc_ms(self) -> int | None:
        row = self.db.execute("SELECT utc_ms FROM event ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def last_second(self) -> int:
        return self._highest("second")

    def highest_era(self) -> int:
        """Also of history whose era was lost with a damaged page."""
        era = self.last_era()
        known = [self._highest(table) >> NUMBER_BITS for table in ("second", "minute")]
        return max([*known, 0 if era is None else era.id])

    def _highest(self, table: str) -> int:
        found = self.db.execute(f"SELECT max(id) FROM {table}").fetchone()[0]
        return 0 if found is None else int(found)

    def seconds_from(self, first: int) -> Iterator[tuple[int, bytes]]:
        return rows(self.db, "second", first, 2**62)

    # what is written, within a transaction

    def set_meta(self, name: str, value: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def put_shape(self, number: int, body: str) -> None:
        self.db.execute("INSERT INTO shape VALUES (?, ?)", (number, body))

    def put_era(self, era: EraRow) -> None:
        self.db.execute("INSERT INTO era VALUES (?, ?, ?, ?)", era)

    def put_teller(self, teller: TellerRow) -> None:
        self.db.execute("INSERT OR REPLACE INTO teller VALUES (?, ?, ?, ?, ?, ?, ?)", teller)

    def put_events(self, events: Iterable[EventRow]) -> None:
        marks = ", ".join("?" * len(EventRow._fields))
        names = ", ".join(EventRow._fields)
        self.db.executemany(f"INSERT INTO event ({names}) VALUES ({marks})", events)

    def put_seconds(self, found: Iterable[tuple[int, bytes]]) -> None:
        self.db.executemany("INSERT INTO second VALUES (?, ?)", found)

    def put_minutes(self, found: Iterable[tuple[int, bytes]]) -> None:
        # A minute that was begun before a restart may be there in part; the whole one replaces it.
        self.db.executemany("INSERT OR REPLACE INTO minute VALUES (?, ?)", found)

    def put_sessions(self, found: Iterable[Sequence[object]]) -> None:
        marks = ", ".join("?" * 11)
        self.db.executemany(f"INSERT OR REPLACE INTO session VALUES ({marks})", found)

    def put_missing(self, table: str, found: Sequence[Sequence[object]]) -> int:
        """Whole rows, but for those that are there; how many came in."""
        marks = ", ".join("?" * len(found[0]))
        before = self.db.total_changes
        self.db.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", found)
        return self.db.total_changes - before

    # what is dropped

    def prune(self, bounds: Bounds, now_utc_ms: int) -> None:
        """Drop what is beyond the bounds, a little at a time; called about once a minute."""
        known = self.eras()
        self._prune_history("second", bounds.second_days, 86_400, AGED_SECONDS, known, now_utc_ms)
        self._prune_history("minute", bounds.minute_days, 1_440, AGED_MINUTES, known, now_utc_ms)
        self._prune_events(bounds, now_utc_ms)
        oldest_ms = now_utc_ms - bounds.minute_days * DAY_ms
        self.db.execute(
            "DELETE FROM session WHERE id IN (SELECT id FROM session ORDER BY id LIMIT ?)"
            " AND end_utc_ms < ?",
            (AGED_EVENTS, oldest_ms),
        )
        self._prune_eras()

    def _prune_eras(self) -> None:
        """Those that no row of history refers to; never the newest, which has some to come."""
        rows_of = "SELECT 1 FROM {} WHERE id BETWEEN era.id << 32 AND (era.id << 32) + ?"
        self.db.execute(
            "DELETE FROM era WHERE id < (SELECT max(id) FROM era)"
            f" AND NOT EXISTS ({rows_of.format('second')})"
            f" AND NOT EXISTS ({rows_of.format('minute')})",
            (N_MASK, N_MASK),
        )

    def _prune_history(
        self,
        table: str,
        days: int,
        rows_a_day: int,
        aged_rows: int,
        known: dict[int, EraRow],
        now_utc_ms: int,
    ) -> None:
        count = self.count(table)
        excess = min(count - days * rows_a_day, ROWS_AT_ONCE)
        oldest_ms = now_utc_ms - days * DAY_ms
        found = self.db.execute(
            f"SELECT id FROM {table} ORDER BY id LIMIT ?", (max(excess, aged_rows),)
        ).fetchall()
        gone = [
            number
            for i, (number,) in enumerate(found)
            if i < excess or row_utc_ms(table, number, known) < oldest_ms
        ]
        self.db.executemany(f"DELETE FROM {table} WHERE id = ?", [(n,) for n in gone])
        self.set_meta(f"{table}_rows", count - len(gone))
        self.set_meta(f"{table}_counted", self._highest(table))

    def count(self, table: str) -> int:
        """Rows of seconds or minutes, without reading all of them."""
        counted = self.meta(f"{table}_counted")
        row = self.db.execute(f"SELECT count(*) FROM {table} WHERE id > ?", (counted,)).fetchone()
        return self.meta(f"{table}_rows") + int(row[0])

    def recount(self, table: str) -> None:
        self.set_meta(f"{table}_counted", 0)
        self.set_meta(f"{table}_rows", 0)
        self.set_meta(f"{table}_rows", self.count(table))
        self.set_meta(f"{table}_counted", self._highest(table))

    def _prune_events(self, bounds: Bounds, now_utc_ms: int) -> None:
        """Numbers of events follow each other, so the ends tell how many there are."""
        # Asked for together the two ends would be looked for in every row.
        lowest = self.db.execute("SELECT min(id) FROM event").fetchone()[0]
        if lowest is None:
            return
        highest = self._highest("event")
        excess = min(highest - lowest + 1 - bounds.event_rows, ROWS_AT_ONCE)
        oldest_ms = now_utc_ms - bounds.event_days * DAY_ms
        self.db.execute("DELETE FROM event WHERE id < ?", (lowest + max(0, excess),))
        self.db.execute(
            "DELETE FROM event WHERE id < ? AND +utc_ms < ?", (lowest + AGED_EVENTS, oldest_ms)
        )

    def shrink(self) -> None:
        """Give pages back once many are free, a few at a time; free ones are used again first."""
        free = self.db.execute("PRAGMA freelist_count").fetchone()[0]
        if free > FREE_PAGES_KEPT:
            # execute() makes one step, which is one page; a script is stepped to its end.
            self.db.executescript(f"PRAGMA incremental_vacuum({FREE_PAGES_AT_ONCE})")


def damage(words: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def row_utc_ms(table: str, number: int, known: dict[int, EraRow]) -> int:
    """When a row of history was; the beginning of time where its era is lost."""
    era, n = number >> NUMBER_BITS, number & N_MASK
    if table == "minute":
        return n * 60_000
    return n * 1_000 + known[era].offset_ms if era in known else 0


# reading; used by the recorder at its start and by commands


def connect_readonly(path: Path) -> sqlite3.Connection:
    """A reader that may not write in the folder needs the recorder's shared memory; where no
    recorder runs, nothing changes and none is needed."""
    for mode in ("mode=ro", "immutable=1"):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        try:
            has_schema(db)
        except sqlite3.OperationalError as error:
            db.close()
            last = error
        else:
            return db
    raise last


def has_schema(db: sqlite3.Connection) -> bool:
    """A recorder that was just started, or lost its power then, leaves a file without tables."""
    return bool(db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0])


def eras(db: sqlite3.Connection) -> dict[int, EraRow]:
    return {row[0]: EraRow(*row) for row in db.execute("SELECT * FROM era ORDER BY id")}


def shapes(db: sqlite3.Connection) -> dict[int, str]:
    return dict(db.execute("SELECT id, body FROM shape"))


def tellers(db: sqlite3.Connection) -> list[TellerRow]:
    return [TellerRow(*row) for row in db.execute("SELECT * FROM teller ORDER BY id")]


def rows(db: sqlite3.Connection, table: str, first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Rows of seconds or minutes by their numbers."""
    yield from db.execute(
        f"SELECT id, body FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id", (first, last)
    )


def whole_rows(
    db: sqlite3.Connection, table: str, *, backward: bool
) -> Iterator[tuple[object, ...]]:
    """Everything in a table, in the order of its keys."""
    key = "name" if table == "meta" else "id"
    yield from db.execute(f"SELECT * FROM {table} ORDER BY {key}{' DESC' if backward else ''}")


def sessions(db: sqlite3.Connection, since_utc_ms: int, until_utc_ms: int) -> Iterator[Session]:
    """Those that were open at any time of the span."""
    found = db.execute(
        "SELECT id, charger, begin_utc_ms, is_begin_seen, end_utc_ms, measured_uWs, estimated_uWs,"
        " max_mA, charging_s, waiting_s, missing_s FROM session"
        " WHERE begin_utc_ms < ? AND (end_utc_ms IS NULL OR end_utc_ms >= ?) ORDER BY id",
        (until_utc_ms, since_utc_ms),
    )
    for row in found:
        yield Session(row[0], row[1], row[2], bool(row[3]), *row[4:])


def events(
    db: sqlite3.Connection,
    since_utc_ms: int,
    until_utc_ms: int,
    *,
    who: str | None = None,
    kinds: Sequence[tuple[int, int]] = (),
    after: int = 0,
    limit: int | None = None,
) -> Iterator[tuple[int, EventRow]]:
    """The last `limit` events of the span with their numbers, in the order of their times; without
    a span in that in which they came, for a clock that was ahead must not hide what came since.
    `kinds` are pairs of source and kind."""
    where: list[str] = ["id > ?"]
    asked: list[object] = [after]
    order: tuple[str, ...] = ("id",)
    if (since_utc_ms, until_utc_ms) != (FIRST_ms, LAST_ms):
        where.append("utc_ms >= ? AND utc_ms < ?")
        asked += [since_utc_ms, until_utc_ms]
        order = ("utc_ms", "id")
    if who is not None:
        where.append("who = ?")
        asked.append(who)
    if kinds:
        where.append("(" + " OR ".join(["source = ? AND kind = ?"] * len(kinds)) + ")")
        asked += [number for pair in kinds for number in pair]
    query = f"SELECT id, {', '.join(EventRow._fields)} FROM event WHERE {' AND '.join(where)}"
    if limit is None:  # as they are read: there may be a million
        found: Iterable[tuple[Any, ...]] = db.execute(f"{query} ORDER BY {', '.join(order)}", asked)
    else:
        newest = ", ".join(f"{name} DESC" for name in order)
        found = reversed(
            db.execute(f"{query} ORDER BY {newest} LIMIT ?", [*asked, limit]).fetchall()
        )
    for row in found:
        yield row[0], EventRow(*row[1:])


def last_event(db: sqlite3.Connection) -> int:
    """The number of that which came last."""
    found = db.execute("SELECT max(id) FROM event").fetchone()[0]
    return 0 if found is None else int(found)


def names_told(db: sqlite3.Connection) -> list[str]:
    return [row[0] for row in db.execute("SELECT DISTINCT who FROM event WHERE who <> ''")]
