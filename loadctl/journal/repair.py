"""Opens the journal whatever state its file is in: a damaged one is moved aside and read for what
is left. Of those that were moved aside before, the newest is kept beside it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from loadctl.journal.history import FOLDED
from loadctl.journal.salvage import salvage
from loadctl.journal.sql import Store, is_damage

SIDE_FILES = ("-wal", "-shm")
DAMAGED_KEPT = 2


class Opened(NamedTuple):
    store: Store
    n_saved: int | None  # rows of a damaged file; None where none was


def open_store(
    path: Path,
    stamp: str,
    say: Callable[[str], None],
    *,
    is_damaged: bool = False,
    must_check: bool = True,
) -> Opened:
    """`stamp` goes into the name of a damaged file. One that was found damaged while it was in use
    is not tried again."""
    words = "found while it was written"
    if not is_damaged:
        try:
            return Opened(Store(path, must_check=must_check), None)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            words = str(error)
    aside = move_aside(path, stamp)
    store = Store(path)
    n_saved = save_rows(aside, store, say)
    drop_older(path, aside)
    say(f"{path}: damaged ({words}); kept as {aside.name}, {n_saved} rows saved into a new one")
    return Opened(store, n_saved)


def move_aside(path: Path, stamp: str) -> Path:
    """The log goes first: left alone it would be taken for that of the next file."""
    aside = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    for suffix in (*SIDE_FILES, ""):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(aside.with_name(aside.name + suffix))
    return aside


def save_rows(aside: Path, store: Store, say: Callable[[str], None]) -> int:
    """What can be read; a disk that is full ends it, and the damaged file is still there."""
    try:
        n_saved = salvage(aside, store)
    except sqlite3.DatabaseError as error:
        say(f"{aside}: not all could be saved: {error}")
        n_saved = 0
    with contextlib.suppress(sqlite3.DatabaseError):
        mark_folded(store)
    return n_saved


def mark_folded(store: Store) -> None:
    """Where it is lost how far the seconds are in minutes and sessions, all of them are: folded
    again they would count twice. A minute at most is missing."""
    if store.meta(FOLDED) == 0:
        with store.transaction():
            store.set_meta(FOLDED, store.last_second())


def drop_older(path: Path, newest: Path) -> None:
    """A disk that damages again and again must not be filled by what it damaged."""
    pattern = f"{path.stem}.damaged-*{path.suffix}"
    older = sorted(other for other in path.parent.glob(pattern) if other != newest)
    for other in older[: -(DAMAGED_KEPT - 1)]:
        for suffix in (*SIDE_FILES, ""):
            with contextlib.suppress(OSError):
                other.with_name(other.name + suffix).unlink(missing_ok=True)
