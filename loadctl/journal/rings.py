"""Follows the image and the link of a site through restarts, and hands out their rings whole.

Only reads. A file that was replaced is read a last time before the next one is opened, so nothing
that a scan said before it died is lost while a recorder runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from loadctl import tables as plain
from loadctl.errors import NotRunning
from loadctl.image import Reader
from loadctl.journal.notes import Source
from loadctl.link import Link
from loadctl.runtime import SiteDir
from loadctl.tables import Tables


class Ring(NamedTuple):
    """What one life of a scan or guard has to tell. `events` are the newest of `n_total`."""

    source: Source
    pid: int
    born_at_ns: int
    n_total: int
    events: Sequence[Mapping[str, Any]]
    tables: Tables
    snapshot: Mapping[str, Any]

    @property
    def first_n(self) -> int:
        return self.n_total - len(self.events)


class _Open(Protocol):
    def ring(self) -> Ring: ...


class _OpenImage:
    def __init__(self, site_dir: SiteDir) -> None:
        self._reader = Reader(site_dir.image)
        self._tables = plain.load_file(site_dir.tables)
        found = self.ring()  # NotRunning as long as nothing is published
        if found.snapshot["site_hash"] != _hash_text(self._tables):
            raise NotRunning(f"{site_dir.path.name}: tables and image are of different starts")

    def ring(self) -> Ring:
        found = self._reader.snapshot()
        return Ring(
            Source.SCAN,
            found["scan"]["pid"],
            found["born_at_ns"],
            found["n_events"],
            found["events"],
            self._tables,
            found,
        )


class _OpenLink:
    def __init__(self, site_dir: SiteDir) -> None:
        self._link = Link.open_readonly(site_dir.link)
        self._tables = plain.load_file(site_dir.tables)
        if self.ring().pid == 0:
            raise NotRunning(f"{site_dir.path.name}: the guard has not said anything yet")

    def ring(self) -> Ring:
        found = self._link.snapshot()
        return Ring(
            Source.GUARD,
            found["guard_pid"],
            found["born_at_ns"],
            found["n_events"],
            found["events"],
            self._tables,
            found,
        )


class Follower:
    """One of the two files of a site, whichever process it is of."""

    def __init__(self, site_dir: SiteDir, source: Source) -> None:
        self._site_dir = site_dir
        self._path: Path = site_dir.image if source == Source.SCAN else site_dir.link
        self._type: type[_OpenImage] | type[_OpenLink] = (
            _OpenImage if source == Source.SCAN else _OpenLink
        )
        self._open: _Open | None = None
        self._file_id: tuple[int, int] | None = None

    def rings(self) -> list[Ring]:
        """None, one, or two when the file was replaced: the last of the old one first."""
        found: list[Ring] = []
        newer = self._newer()
        if newer is not None:
            try:
                if self._open is not None:
                    found.append(self._open.ring())
            finally:  # a scan that was killed while it published leaves nothing to be read
                self._open, self._file_id = newer
        if self._open is not None:
            found.append(self._open.ring())
        return found

    def _newer(self) -> tuple[_Open, tuple[int, int]] | None:
        """The file that took the place of the one that is open, and which that is."""
        try:
            stat = os.stat(self._path)
            file_id = (stat.st_dev, stat.st_ino)
            if file_id == self._file_id:
                return None
            return self._type(self._site_dir), file_id
        except (FileNotFoundError, NotRunning):
            return None


def _hash_text(tables: Tables) -> str:
    return f"{plain.signed_hash(tables) & (2**64 - 1):016x}"
