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
from loadctl.errors import LoadctlError, NotRunning
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


def _load_tables(path: Path) -> Tables:
    """A site of another version may have other rows."""
    try:
        return plain.load(path.read_text())
    except (TypeError, KeyError, ValueError) as error:
        raise LoadctlError(f"{path}: written by another version ({error})") from error


class _OpenImage:
    def __init__(self, site_dir: SiteDir) -> None:
        self._reader = Reader(site_dir.image)
        self._tables = _load_tables(site_dir.tables)
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
        self._tables = _load_tables(site_dir.tables)
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
            if self._open is not None:
                found.append(self._open.ring())
            self._open = newer
        if self._open is not None:
            found.append(self._open.ring())
        return found

    def _newer(self) -> _Open | None:
        try:
            stat = os.stat(self._path)
            file_id = (stat.st_dev, stat.st_ino)
            if file_id == self._file_id:
                return None
            newer = self._type(self._site_dir)
        except (FileNotFoundError, NotRunning):
            return None
        self._file_id = file_id
        return newer


def _hash_text(tables: Tables) -> str:
    return f"{plain.signed_hash(tables) & (2**64 - 1):016x}"
