"""What the scan does with the records of the control socket: understand, check, hand on, answer.

Owns the bounds as the scan checks them, whatever the sender has checked. Runs in the scan's main
thread, in the slack of a scan.
"""

from __future__ import annotations

from loadctl.control import (
    Answer,
    Code,
    Kind,
    Server,
    limit_bounds,
    pack_answer,
    unpack,
    unpack_limit,
)
from loadctl.external import External
from loadctl.guardside import ExternalCommand
from loadctl.tables import Tables, signed_hash


class Commands:
    """Drained once per scan."""

    def __init__(self, server: Server, tables: Tables, external: External) -> None:
        self.server = server
        self.circuits = tables.circuits
        self.site_hash = signed_hash(tables)
        self.external = external
        self.now_ns = 0

    def drain(self, now_ns: int) -> None:
        """A bounded number of records; what they ask for counts from the next scan on."""
        self.now_ns = now_ns
        self.server.drain(self.answer_to)

    def answer_to(self, data: bytes) -> bytes:
        record = unpack(data)
        if record is None:
            return pack_answer(Answer(Code.NO_RECORD), 0, 0, self.site_hash)
        if record.kind != Kind.LIMIT:
            answer = Answer(Code.UNKNOWN_KIND)
        elif record.site_hash != self.site_hash:
            answer = Answer(Code.OTHER_SITE)
        else:
            answer = self._limit(record.body)
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
