"""History as it comes: a row per second, folded into minutes and sessions, until it is stored.

Owns what is not stored yet. What it goes on from after a restart is in the file: the seconds since
the last whole minute are folded again, so minutes and sessions come out as if nothing had been.
"""

from __future__ import annotations

from dataclasses import astuple

from loadctl.journal.fold import MinuteFold, Sample, Session, SessionFold
from loadctl.journal.pack import Packer, Unpacker, block_of
from loadctl.journal.shape import load_shape
from loadctl.journal.sql import N_MASK, NUMBER_BITS, Store

# The seconds up to this row are in minutes and sessions.
FOLDED = "folded_to"
MINUTE_ms = 60_000


class History:
    """Made from a store; `add` takes seconds in order, `put` stores what came."""

    def __init__(self, store: Store) -> None:
        self.sessions = SessionFold(store.open_sessions(), store.last_session() + 1)
        self.last: Sample | None = None
        self._minute: MinuteFold | None = None
        self._minute_number = 0
        self._packer, self._minute_packer = Packer(), Packer()
        self._forget()
        self._resume(store)

    def _forget(self) -> None:
        self._seconds: list[tuple[int, bytes]] = []
        self._minutes: list[tuple[int, bytes]] = []
        self._sessions: dict[int, tuple[object, ...]] = {}
        self._folded: int | None = None

    def _resume(self, store: Store) -> None:
        folded_to = store.meta(FOLDED)
        eras = store.eras()
        shapes = {number: load_shape(body) for number, body in store.shapes().items()}
        unpacker = Unpacker()
        for number, body in store.seconds_from(block_of(folded_to)):
            values = unpacker.unpack(body)
            era = eras.get(number >> NUMBER_BITS)
            shape = None if era is None else shapes.get(era.shape)
            if era is None or shape is None or values is None or len(values) != shape.n_values:
                continue
            at_s = number & N_MASK
            sample = Sample(
                number, era.boot, at_s, at_s * 1_000 + era.offset_ms, shape, tuple(values)
            )
            if number > folded_to:
                self._fold(sample)
            else:
                self.sessions.begin_after(sample)
            self.last = sample

    def add(self, sample: Sample) -> None:
        self._seconds.append((sample.number, self._packer.pack(sample.number, sample.values)))
        self._fold(sample)
        self.last = sample

    def _fold(self, sample: Sample) -> None:
        era = sample.number >> NUMBER_BITS
        number = (era << NUMBER_BITS) | (sample.utc_ms // MINUTE_ms)
        if self._minute is not None and number != self._minute_number:
            self.end_minute()
        if self._minute is None:
            self._minute, self._minute_number = MinuteFold(sample.shape), number
        self._minute.add(sample.values)
        self.sessions.add(sample)

    def end_minute(self) -> None:
        """The minute and what the sessions came to by its end belong together."""
        if self._minute is None or self.last is None:
            return
        body = self._minute_packer.pack(self._minute_number, self._minute.values())
        self._minutes.append((self._minute_number, body))
        for number, session in self.sessions.touched.items():
            self._sessions[number] = _row(session)
        self.sessions.touched.clear()
        self._folded = self.last.number
        self._minute = None

    def put(self, store: Store) -> None:
        """Within the caller's transaction."""
        store.put_seconds(self._seconds)
        store.put_minutes(self._minutes)
        store.put_sessions(self._sessions.values())
        if self._folded is not None:
            store.set_meta(FOLDED, self._folded)

    def stored(self) -> None:
        """The transaction of `put` is on the disk."""
        self._forget()


def _row(session: Session) -> tuple[object, ...]:
    return astuple(session)
