"""A journal as one whole file: copied while its recorder writes, and looked through for flaws.

Owns what backups need of SQLite; knows no table. Runs in commands. Errors: sqlite3.Error.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path


def copy_whole(source: Path, target: Path) -> None:
    """Copy a journal that may be in use to a file of its own, without the log beside it."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as opened,
        contextlib.closing(sqlite3.connect(target)) as made,
    ):
        opened.backup(made)
        made.execute("PRAGMA journal_mode=DELETE")


def flaw_of(path: Path) -> str:
    """What is wrong with a file; empty where it is whole."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        (answer,) = opened.execute("PRAGMA integrity_check(1)").fetchone()
    return "" if answer == "ok" else str(answer)
