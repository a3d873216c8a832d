"""The journal of a running site: takes events and history from its files and stores them.

A drain of the recorder's loop. Nothing waits for it. What is not stored yet lives in memory and in
the rings; after any failure it begins again from what is in the file, as after a kill.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from loadctl.errors import LoadctlError
from loadctl.journal.clock import JUMP_ms, WallClock, utc_ms
from loadctl.journal.fold import Sample
from loadctl.journal.history import History
from loadctl.journal.lines import event_row, note_row
from loadctl.journal.notes import Note, Source
from loadctl.journal.place import Place
from loadctl.journal.repair import open_store
from loadctl.journal.rings import Follower, Ring
from loadctl.journal.shape import Shape, shape_of, values_of
from loadctl.journal.sql import (
    NUMBER_BITS,
    Bounds,
    EraRow,
    EventRow,
    Store,
    TellerRow,
    is_damage,
)
from loadctl.runtime import SiteDir
from loadctl.units import NS_PER_S

FLUSH_ns = 2 * NS_PER_S
PRUNE_ns = 60 * NS_PER_S
# Seconds without a row that are worth a line; a period of the scan may be longer than a second.
GAP_s, GAP_PERIODS = 5, 3
IS_OPEN = "is_open"
SOURCE_WORDS = {Source.SCAN: "scan", Source.GUARD: "guard"}

TellerKey = tuple[int, str, int, int]


class Wall(Protocol):
    """What `clock.WallClock` has."""

    boot: str

    def offset_ms(self) -> int: ...


class JournalError(LoadctlError):
    """The journal cannot be written now."""


class Journal:
    """`drain` is called a few times a second; it opens the file at its first call."""

    def __init__(
        self,
        site_dir: SiteDir,
        place: Place,
        say: Callable[[str], None],
        *,
        bounds: Bounds | None = None,
        flush_ns: int = FLUSH_ns,
        wall: Wall | None = None,
    ) -> None:
        self._followers = [Follower(site_dir, Source.SCAN), Follower(site_dir, Source.GUARD)]
        self._place = place
        self._say = say
        self._bounds = bounds or Bounds()
        self._flush_ns = flush_ns
        self._wall: Wall = wall or WallClock()
        self._store: Store | None = None
        self._failed_at_ns: int | None = None
        self._is_damaged = False
        self._is_first = True

    def drain(self, now_ns: int) -> None:
        """JournalError where nothing can be stored; the next call begins anew."""
        try:
            store = self._store or self._open(now_ns)
            self._look(now_ns)
            if now_ns - self._flushed_at_ns >= self._flush_ns:
                self._flush(store, now_ns)
        except sqlite3.Error as error:
            raise self._given_up(error, now_ns) from error

    def flush(self) -> None:
        """Store what was taken in so far, whenever that was last done."""
        if self._store is None:
            return
        try:
            self._flush(self._store, self._looked_at_ns)
        except sqlite3.Error as error:
            raise self._given_up(error, self._looked_at_ns) from error

    def close(self) -> None:
        """Store what is left, and say that this was the end."""
        store = self._store
        if store is None:
            return
        at_ns = self._looked_at_ns
        try:
            self._look(at_ns)
        except LoadctlError as error:
            self._say(str(error))
        try:
            self._note(Note.RECORDER_STOPPED, at_ns)
            self._flush(store, at_ns, is_open=False)
            store.close()
        except sqlite3.Error as error:
            raise self._given_up(error, at_ns) from error

    # going on from what is in the file

    def _open(self, now_ns: int) -> Store:
        offset_ms = self._wall.offset_ms()
        now = datetime.fromtimestamp(utc_ms(now_ns, offset_ms) / 1_000, UTC)
        store, n_saved = open_store(
            self._place.journal,
            f"{now:%Y%m%dT%H%M%SZ}",
            self._say,
            is_damaged=self._is_damaged,
            must_check=self._failed_at_ns is None,
        )
        self._store, self._is_damaged = store, False
        self._history = History(store)
        self._events: list[EventRow] = []
        self._eras: list[EraRow] = []
        self._new_shapes: list[tuple[int, str]] = []
        self._touched: dict[TellerKey, TellerRow] = {}
        self._shape_ids = {body: number for number, body in store.shapes().items()}
        rows = store.tellers()
        self._tellers = {row[1:5]: row for row in rows}
        self._next_teller = max((row.id for row in rows), default=0) + 1
        self._era = store.last_era()
        self._next_era = store.highest_era() + 1
        self._seen: set[TellerKey] = set()
        self._pruned_at_ns = self._looked_at_ns = now_ns
        self._flushed_at_ns = now_ns - self._flush_ns  # the first rows are stored at once
        self._follow_clock(now_ns)
        self._say_how_it_begins(store, n_saved, now_ns)
        return store

    def _say_how_it_begins(self, store: Store, n_saved: int | None, now_ns: int) -> None:
        last_utc_ms = self._last_stored_utc_ms(store)
        if n_saved is not None:
            self._note(Note.JOURNAL_REPLACED, now_ns, first=n_saved)
        if self._failed_at_ns is not None:
            first = (now_ns - self._failed_at_ns) // NS_PER_S
            since = utc_ms(self._failed_at_ns, self._now_era.offset_ms)
            self._note(Note.NOT_STORED, now_ns, first=first, since_utc_ms=since)
        elif store.meta(IS_OPEN):
            self._note(Note.RECORDER_KILLED, now_ns, since_utc_ms=last_utc_ms)
            if last_utc_ms is not None:
                last = datetime.fromtimestamp(last_utc_ms / 1_000).astimezone()
                self._say(
                    f"{self._place.journal}: the recorder before ended without a last flush;"
                    f" stored up to {last:%Y-%m-%d %H:%M:%S}"
                )
        if self._is_first:
            self._note(Note.RECORDER_STARTED, now_ns)

    def _last_stored_utc_ms(self, store: Store) -> int | None:
        last = self._history.last
        found = [store.last_event_utc_ms(), None if last is None else last.utc_ms]
        return max((at_ms for at_ms in found if at_ms is not None), default=None)

    def _given_up(self, error: sqlite3.Error, now_ns: int) -> JournalError:
        """What is not stored is forgotten; the rings still have most of it."""
        if self._failed_at_ns is None:
            self._failed_at_ns = now_ns
        self._is_damaged = is_damage(error)
        if self._store is not None:
            self._store.close()
        self._store = None
        return JournalError(f"{self._place.journal}: {error}")

    # taking in

    def _look(self, now_ns: int) -> None:
        self._looked_at_ns = now_ns
        self._follow_clock(now_ns)
        for follower in self._followers:
            for ring in follower.rings():
                self._take_events(ring, now_ns)
                if ring.source == Source.SCAN:
                    self._take_second(ring, now_ns)

    @property
    def _now_era(self) -> EraRow:
        if self._era is None:
            raise JournalError(f"{self._place.journal}: used before its clock was read")
        return self._era

    def _follow_clock(self, now_ns: int) -> None:
        era, offset_ms = self._era, self._wall.offset_ms()
        if era is None or era.boot != self._wall.boot:
            self._begin_era(offset_ms, 0 if era is None else era.shape)
        elif abs(offset_ms - era.offset_ms) >= JUMP_ms:
            self._begin_era(offset_ms, era.shape)
            since = utc_ms(now_ns, era.offset_ms)
            first = offset_ms - era.offset_ms
            self._note(Note.CLOCK_SET, now_ns, first=first, since_utc_ms=since)

    def _take_shape(self, shape: Shape) -> None:
        body = shape.dump()
        if body not in self._shape_ids:
            number = max(self._shape_ids.values(), default=0) + 1
            self._shape_ids[body] = number
            self._new_shapes.append((number, body))
        if self._shape_ids[body] != self._now_era.shape:
            self._begin_era(self._now_era.offset_ms, self._shape_ids[body])

    def _begin_era(self, offset_ms: int, shape: int) -> None:
        self._era = EraRow(self._next_era, self._wall.boot, offset_ms, shape)
        self._next_era += 1
        self._eras.append(self._era)

    def _take_events(self, ring: Ring, now_ns: int) -> None:
        key = (int(ring.source), self._wall.boot, ring.pid, ring.born_at_ns)
        teller = self._tellers.get(key)
        if teller is None:
            teller = self._new_teller(key, now_ns)
        self._seen.add(key)
        if teller.n_next >= ring.n_total:
            return
        if teller.n_next < ring.first_n:
            self._note(
                Note.EVENTS_MISSED,
                now_ns,
                first=ring.first_n - teller.n_next,
                who=SOURCE_WORDS[ring.source],
                since_utc_ms=teller.last_utc_ms or None,
            )
        for n, event in enumerate(ring.events, ring.first_n):
            if n >= teller.n_next:
                row = event_row(ring.source, ring.tables, event, n, teller.id, self._now_era)
                self._events.append(row)
        last_utc_ms = self._events[-1].utc_ms
        teller = teller._replace(n_next=ring.n_total, last_utc_ms=last_utc_ms)
        self._tellers[key] = self._touched[key] = teller

    def _new_teller(self, key: TellerKey, now_ns: int) -> TellerRow:
        """Another life of the scan or guard. Where nobody recorded when the one before ended, its
        last words may be lost."""
        source, boot, pid, born_at_ns = key
        before = [row for row in self._tellers.values() if row.source == source]
        last = max(before, key=lambda row: row.id, default=None)
        if last is not None and last[1:5] not in self._seen:
            self._note(
                Note.END_UNSEEN,
                now_ns,
                first=last.pid,
                who=SOURCE_WORDS[Source(source)],
                since_utc_ms=last.last_utc_ms or None,
            )
        teller = TellerRow(self._next_teller, source, boot, pid, born_at_ns, 0, 0)
        self._next_teller += 1
        self._tellers[key] = self._touched[key] = teller
        return teller

    def _take_second(self, ring: Ring, now_ns: int) -> None:
        """The first snapshot of each second in which the scan published one."""
        published_at_ns = ring.snapshot["scan"]["published_at_ns"]
        last, at_s = self._history.last, published_at_ns // NS_PER_S
        if last is not None and last.boot == self._wall.boot and at_s <= last.at_s:
            return
        shape = shape_of(ring.tables)
        self._take_shape(shape)  # only here: every shape that was another one costs an era
        era = self._now_era
        number = era.id << NUMBER_BITS | at_s
        values = values_of(ring.tables, ring.snapshot)
        at_ms = at_s * 1_000 + era.offset_ms
        sample = Sample(number, era.boot, at_s, at_ms, shape, tuple(values))
        if last is not None:
            self._take_gap(last, sample, ring.snapshot["scan"]["period_ns"], now_ns)
        self._history.add(sample)

    def _take_gap(self, last: Sample, sample: Sample, period_ns: int, now_ns: int) -> None:
        is_same_boot = last.boot == sample.boot
        span_s = sample.at_s - last.at_s if is_same_boot else (sample.utc_ms - last.utc_ms) // 1_000
        if span_s > max(GAP_s, GAP_PERIODS * period_ns // NS_PER_S) or not is_same_boot:
            since = last.utc_ms
            self._note(Note.HISTORY_GAP, now_ns, first=max(0, span_s), since_utc_ms=since)

    def _note(
        self,
        note: Note,
        now_ns: int,
        *,
        first: int = 0,
        who: str = "",
        since_utc_ms: int | None = None,
    ) -> None:
        self._events.append(
            note_row(note, self._now_era, now_ns, first=first, who=who, since_utc_ms=since_utc_ms)
        )

    # storing

    def _flush(self, store: Store, now_ns: int, *, is_open: bool = True) -> None:
        must_prune = now_ns - self._pruned_at_ns >= PRUNE_ns
        with store.transaction():
            for number, body in self._new_shapes:
                store.put_shape(number, body)
            for era in self._eras:
                store.put_era(era)
            for teller in self._touched.values():
                store.put_teller(teller)
            store.put_events(self._events)
            self._history.put(store)
            if store.meta(IS_OPEN) != is_open:
                store.set_meta(IS_OPEN, is_open)
            if must_prune:
                store.prune(self._bounds, utc_ms(now_ns, self._now_era.offset_ms))
        self._history.stored()
        self._events, self._eras, self._new_shapes, self._touched = [], [], [], {}
        self._flushed_at_ns = now_ns
        if self._failed_at_ns is not None:
            self._failed_at_ns = None
            self._say(f"{self._place.journal}: written again")
        self._is_first = False
        if must_prune:
            self._pruned_at_ns = now_ns
            store.shrink()
