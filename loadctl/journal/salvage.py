"""What can be saved from a damaged journal: every row that can still be read, into a new one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from loadctl.journal.sql import TABLES, Store, is_damage, whole_rows

SALVAGE_ROWS = 500  # a transaction of the salvage


def salvage(damaged: Path, store: Store) -> int:
    """Copy every row that can still be read, from either end of each table; how many those are."""
    copied = 0
    source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
    try:
        for table in TABLES:
            copied += _salvage_table(source, table, store)
    finally:
        source.close()
    with store.transaction():
        for table in ("second", "minute"):
            store.recount(table)
    return copied


def _salvage_table(source: sqlite3.Connection, table: str, store: Store) -> int:
    """Forward to the first broken page; then from the end back to the last broken one."""
    copied = 0
    for backward in (False, True):
        n_rows, is_whole = _salvage_rows(source, table, store, backward=backward)
        copied += n_rows
        if is_whole:
            break
    return copied


def _salvage_rows(
    source: sqlite3.Connection, table: str, store: Store, *, backward: bool
) -> tuple[int, bool]:
    copied = 0
    batch: list[tuple[object, ...]] = []
    is_whole = True
    try:
        for row in whole_rows(source, table, backward=backward):
            batch.append(row)
            if len(batch) == SALVAGE_ROWS:
                copied += _copy(store, table, batch)
                batch = []
    except sqlite3.DatabaseError as error:
        if not is_damage(error) and not isinstance(error, sqlite3.OperationalError):
            raise
        is_whole = False
    return copied + _copy(store, table, batch), is_whole


def _copy(store: Store, table: str, batch: list[tuple[object, ...]]) -> int:
    if not batch:
        return 0
    with store.transaction():
        return store.put_missing(table, batch)
