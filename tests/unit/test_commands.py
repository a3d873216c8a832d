"""Commands on the scan's side: what a record must be to be taken, and the answer to every other."""

from __future__ import annotations

import random
import socket
from typing import cast

import pytest

from loadctl.commands import Commands
from loadctl.control import (
    MOST_POWER_W,
    Answer,
    Code,
    Field,
    Limit,
    MOST_LIMIT_mA,
    MOST_SPAN_ns,
    Peer,
    Server,
    pack_limit,
    unpack,
    unpack_answer,
)
from loadctl.external import External
from loadctl.guardside import ExternalCommand
from loadctl.tables import signed_hash
from loadctl.tuned import Tuned
from tests.support.builders import make_circuit, make_tables

NOW_ns = 5_000_000_000
TABLES = make_tables(
    2,
    circuits=[
        make_circuit("main", takes_external=True, loss_W=0),
        make_circuit("sub", parent=0),
    ],
)
HASH = signed_hash(TABLES)


class Taken:
    """Stands for what takes the commands: remembers them."""

    def __init__(self) -> None:
        self.commands: list[tuple[int, ExternalCommand]] = []

    def command(self, circuit_i: int, command: ExternalCommand) -> None:
        self.commands.append((circuit_i, command))


class Queue:
    """A server with records in it."""

    def __init__(self, *records: bytes) -> None:
        self.records = records
        self.answers: list[bytes] = []

    def drain(self, answer_to: object, spare_ns: int) -> None:
        peer = Peer(cast(socket.socket, None), 1000)
        self.answers = [answer_to(data, peer) for data in self.records]  # type: ignore[operator]


def answered(data: bytes, serial: int = 1) -> tuple[Answer | None, Taken]:
    taken, queue = Taken(), Queue(data)
    commands = Commands(cast(Server, queue), TABLES, cast(External, taken), cast(Tuned, None))
    commands.drain(NOW_ns)
    return unpack_answer(queue.answers[0], serial), taken


def test_limit_is_taken_with_its_end_on_the_clock_of_the_scan() -> None:
    answer, taken = answered(pack_limit(Limit(0, (1, 2, 3), 4, 7), 1, HASH))
    assert answer == Answer(Code.ACCEPTED)
    assert taken.commands == [(0, ExternalCommand((1, 2, 3), 4, NOW_ns + 7, NOW_ns))]


def test_limit_without_an_end_has_none() -> None:
    _, taken = answered(pack_limit(Limit(0, None, None, None), 1, HASH))
    assert taken.commands == [(0, ExternalCommand(None, None, None, NOW_ns))]


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        (Limit(2, None, 0, None), Answer(Code.NO_SUCH_CIRCUIT, most=1)),
        (Limit(-1, None, 0, None), Answer(Code.NO_SUCH_CIRCUIT, most=1)),
        (Limit(1, None, 0, None), Answer(Code.TAKES_NONE)),
        (
            Limit(0, (0, 0, MOST_LIMIT_mA + 1), None, None),
            Answer(Code.OUT_OF_BOUNDS, Field.LIMIT_mA, 0, MOST_LIMIT_mA),
        ),
        (Limit(0, None, -1, None), Answer(Code.OUT_OF_BOUNDS, Field.POWER_W, 0, MOST_POWER_W)),
        (Limit(0, None, 0, 0), Answer(Code.OUT_OF_BOUNDS, Field.SPAN_ns, 1, MOST_SPAN_ns)),
    ],
)
def test_limit_that_cannot_be_taken_is_refused(limit: Limit, answer: Answer) -> None:
    found, taken = answered(pack_limit(limit, 1, HASH))
    assert found == answer
    assert taken.commands == []


def test_record_of_another_site_file_is_refused() -> None:
    answer, taken = answered(pack_limit(Limit(0, None, 0, None), 1, HASH ^ 1))
    assert (answer, taken.commands) == (Answer(Code.OTHER_SITE), [])


def test_record_of_an_unknown_kind_is_refused() -> None:
    data = bytearray(pack_limit(Limit(0, None, 0, None), 1, HASH))
    data[6] = 99
    answer, taken = answered(bytes(data))
    assert (answer, taken.commands) == (Answer(Code.UNKNOWN_KIND), [])


def test_record_that_is_none_is_refused() -> None:
    for data in (b"", b"ldct", bytes(64), bytes(65), b"\xff" * 64):
        answer, taken = answered(data, serial=0)
        assert (answer, taken.commands) == (Answer(Code.NO_RECORD), [])


def test_record_with_unknown_flags_is_refused() -> None:
    data = bytearray(pack_limit(Limit(0, None, 0, None), 1, HASH))
    data[24] |= 8
    answer, taken = answered(bytes(data))
    assert (answer, taken.commands) == (Answer(Code.NO_RECORD), [])


def test_garbage_behind_a_good_header_is_refused_or_within_bounds() -> None:
    rng = random.Random(3)
    head = pack_limit(Limit(0, None, 0, None), 1, HASH)[:20]
    n_taken = 0
    for _ in range(3000):
        body = bytearray(44)
        for _ in range(rng.randrange(6)):
            body[rng.randrange(36)] = rng.choice((0, 1, 2, 4, 7, 127, 128, 255))
        answer, taken = answered(head + bytes(body))
        assert answer is not None
        assert (answer.code is Code.ACCEPTED) == (len(taken.commands) == 1)
        for circuit_i, command in taken.commands:
            n_taken += 1
            assert circuit_i == 0
            assert all(0 <= value <= MOST_LIMIT_mA for value in command.limit_mA or ())
            assert 0 <= (command.power_W or 0) <= MOST_POWER_W
            if command.until_ns is not None:
                assert NOW_ns < command.until_ns <= NOW_ns + MOST_SPAN_ns
    assert 100 < n_taken < 2900


def test_answer_carries_the_kind_and_serial_of_its_record() -> None:
    taken, queue = Taken(), Queue(pack_limit(Limit(1, None, 0, None), 0xABCD, HASH))
    Commands(cast(Server, queue), TABLES, cast(External, taken), cast(Tuned, None)).drain(NOW_ns)
    record = unpack(queue.answers[0])
    assert record is not None
    assert (record.kind, record.serial, record.site_hash) == (1, 0xABCD, HASH)
