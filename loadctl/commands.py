"""What the scan does with the records of the control socket: understand, check, hand on, answer.

Owns the bounds as the scan checks them, whatever the sender has checked. Runs in the scan's main
thread, in the slack of a scan.
"""

from __future__ import annotations

from loadctl.control import (
    MOST_STAGED,
    Answer,
    Code,
    Field,
    Kind,
    MOST_SPAN_ns,
    Peer,
    Record,
    Server,
    limit_bounds,
    pack_answer,
    unpack,
    unpack_adopt,
    unpack_change,
    unpack_limit,
)
from loadctl.external import External
from loadctl.guardside import ExternalCommand
from loadctl.tables import Tables, signed_hash
from loadctl.tuned import Tuned


class Commands:
    """Drained once per scan."""

    def __init__(self, server: Server, tables: Tables, external: External, tuned: Tuned) -> None:
        self.server = server
        self.circuits = tables.circuits
        self.site_hash = signed_hash(tables)
        self.external = external
        self.tuned = tuned
        self.now_ns = 0

    def drain(self, now_ns: int, spare_ns: int = 0) -> None:
        """A bounded number of records; what they ask for counts from the next scan on."""
        self.now_ns = now_ns
        self.server.drain(self.answer_to, spare_ns)

    def answer_to(self, data: bytes, peer: Peer) -> bytes:
        record = unpack(data)
        if record is None:
            return pack_answer(Answer(Code.NO_RECORD), 0, 0, self.site_hash)
        if record.kind not in set(Kind):
            answer = Answer(Code.UNKNOWN_KIND)
        elif record.site_hash != self.site_hash:
            answer = Answer(Code.OTHER_SITE)
        elif record.kind == Kind.LIMIT:
            answer = self._limit(record.body)
        elif record.kind == Kind.TUNE:
            answer = self._stage(record, peer)
        else:
            answer = self._adopt(record, peer)
        return pack_answer(answer, record.kind, record.serial, self.site_hash)

    def _limit(self, body: bytes) -> Answer:
        limit = unpack_limit(body)
        if limit is None:
            return Answer(Code.NO_RECORD)
        if not 0 <= limit.circuit_i < len(self.circuits):
            return Answer(Code.NO_SUCH_CIRCUIT, most=len(self.circuits) - 1)
        if not self.circuits[limit.circuit_i].takes_external:
            return Answer(Code.TAKES_NONE)
        answer = limit_bounds(limit)
        if answer.code is Code.ACCEPTED:
            until_ns = None if limit.span_ns is None else self.now_ns + limit.span_ns
            command = ExternalCommand(limit.limit_mA, limit.power_W, until_ns, self.now_ns)
            self.external.command(limit.circuit_i, command)
        return answer

    def _stage(self, record: Record, peer: Peer) -> Answer:
        """Keep one change with its sender; those of another serial belong to no ADOPT any more."""
        if record.serial != peer.serial:
            peer.serial = record.serial
            peer.staged.clear()
        change = unpack_change(record.body)
        if change is None:
            return Answer(Code.NO_RECORD)
        if len(peer.staged) == MOST_STAGED:
            return Answer(Code.TOO_MANY, most=MOST_STAGED)
        answer = self.tuned.stage(change)
        if answer.code is Code.ACCEPTED:
            peer.staged.append(change)
        return answer

    def _adopt(self, record: Record, peer: Peer) -> Answer:
        staged = peer.staged if record.serial == peer.serial else []
        peer.staged = []
        adopt = unpack_adopt(record.body)
        if adopt is None:
            return Answer(Code.NO_RECORD)
        if not staged or adopt.n_changes != len(staged):
            return Answer(Code.INCOMPLETE, most=len(staged))
        if adopt.span_ns is not None and not 1 <= adopt.span_ns <= MOST_SPAN_ns:
            return Answer(Code.OUT_OF_BOUNDS, Field.SPAN_ns, 1, MOST_SPAN_ns)
        return self.tuned.adopt(staged, adopt.span_ns, peer.uid, self.now_ns)
