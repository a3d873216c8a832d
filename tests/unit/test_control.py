"""The control socket: a server that nobody can hold up or upset."""

from __future__ import annotations

import os
import random
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from loadctl import control
from loadctl.control import (
    MOST_ACCEPTS_PER_SCAN,
    MOST_PEERS,
    MOST_POWER_W,
    MOST_RECORDS_PER_SCAN,
    RECORD_BYTES,
    SPARE_PART,
    Answer,
    Change,
    Code,
    Field,
    Kind,
    Limit,
    MOST_REFUSE_ns,
    Peer,
    REFUSE_ns,
    SERVE_ns,
    Server,
    ask,
    pack_answer,
    pack_limit,
    unpack_answer,
)
from loadctl.errors import LoadctlError, NotRunning, UsageError

HASH = -0x7123_4567_89AB_CDEF
ZERO = Limit(0, (0, 0, 0), None, None)


# the server


class Asked:
    """Answers every record with its own length, and remembers it."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def __call__(self, data: bytes, peer: Peer) -> bytes:
        self.records.append(data)
        return len(data).to_bytes(RECORD_BYTES, "little")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "control", lambda: 0)  # no time passes
    yield found
    found.close()


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(server: Server, peers: ExitStack) -> socket.socket:
    peer = peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    peer.setblocking(False)
    with control._address(server.path) as address:
        peer.connect(address)
    return peer


def answer_length(peer: socket.socket) -> int:
    return int.from_bytes(peer.recv(RECORD_BYTES), "little")


def test_server_answers_in_the_drain_that_hears(server: Server, peers: ExitStack) -> None:
    peer, asked = connect(server, peers), Asked()
    peer.send(b"x" * RECORD_BYTES)
    server.drain(asked)
    assert asked.records == [b"x" * RECORD_BYTES]
    assert answer_length(peer) == RECORD_BYTES


def test_server_is_for_its_user_and_group_only(server: Server) -> None:
    assert stat.S_IMODE(os.stat(server.path).st_mode) == 0o660


def test_server_in_a_directory_with_a_long_name_works(tmp_path: Path, peers: ExitStack) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    server, asked = Server(deep / "control"), Asked()
    peer = connect(server, peers)
    peer.send(b"x")
    server.drain(asked)
    assert answer_length(peer) == 1
    server.close()
    assert not (deep / "control").exists()


def test_server_takes_the_place_of_a_socket_that_was_left(tmp_path: Path, peers: ExitStack) -> None:
    path = tmp_path / "control"
    left = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left.bind(str(path))
    left.close()
    server, asked = Server(path), Asked()
    connect(server, peers).send(b"x")
    server.drain(asked)
    assert asked.records == [b"x"]
    server.close()


def test_server_that_cannot_bind_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^control socket .*/file/control: Not a directory$"):
        Server(tmp_path / "file" / "control")


def test_server_without_peers_asks_nobody(server: Server) -> None:
    asked = Asked()
    server.drain(asked)
    assert asked.records == []


def test_server_keeps_a_peer_for_further_records(server: Server, peers: ExitStack) -> None:
    peer, asked = connect(server, peers), Asked()
    for n in (1, 2, 3):
        peer.send(b"x" * n)
        server.drain(asked)
        assert answer_length(peer) == n


def test_server_garbage_of_any_size_is_handed_on_whole_or_as_too_long(
    server: Server, peers: ExitStack
) -> None:
    peer, asked = connect(server, peers), Asked()
    rng = random.Random(7)
    for n in [
        1,
        RECORD_BYTES,
        RECORD_BYTES + 1,
        4000,
        *(rng.randrange(1, 300) for _ in range(200)),
    ]:
        peer.send(rng.randbytes(n))
        server.drain(asked)
        assert answer_length(peer) == min(n, RECORD_BYTES + 1)


def test_server_peer_that_hung_up_is_not_served(server: Server, peers: ExitStack) -> None:
    """It gave up waiting: what it asked for must not come about later."""
    peer, asked = connect(server, peers), Asked()
    peer.send(b"late")
    peer.close()
    server.drain(asked)
    server.drain(asked)
    assert asked.records == []
    assert server._peers == {}


def test_server_peer_that_only_connects_holds_nobody_up(server: Server, peers: ExitStack) -> None:
    connect(server, peers)
    peer, asked = connect(server, peers), Asked()
    peer.send(b"x")
    server.drain(asked)
    assert asked.records == [b"x"]


def test_server_full_of_silent_peers_drops_the_one_silent_longest(
    server: Server, peers: ExitStack
) -> None:
    asked = Asked()
    silent = []
    for _ in range(MOST_PEERS):
        silent.append(connect(server, peers))
        server.drain(asked)
    silent[0].send(b"x")  # now the second is silent longest
    server.drain(asked)
    new = connect(server, peers)
    server.drain(asked)
    new.send(b"yy")
    server.drain(asked)
    assert answer_length(new) == 2
    assert silent[1].recv(1) == b""
    with pytest.raises(BlockingIOError):
        silent[2].recv(1)
    assert len(server._peers) == MOST_PEERS


def test_server_flood_is_taken_a_few_at_a_time_in_turn_and_the_rest_told_that_it_is_busy(
    server: Server, peers: ExitStack
) -> None:
    asked = Asked()
    flooding = []
    for _ in range(MOST_PEERS):
        flooding.append(connect(server, peers))
        server.drain(asked)
    each = MOST_RECORDS_PER_SCAN // MOST_PEERS
    for i, peer in enumerate(flooding):
        for _ in range(3 * each):
            peer.send(pack_limit(ZERO, i, HASH))
    server.drain(asked)
    assert len(asked.records) == MOST_RECORDS_PER_SCAN
    for i, peer in enumerate(flooding):
        assert asked.records.count(pack_limit(ZERO, i, HASH)) == each
        answers = [peer.recv(RECORD_BYTES) for _ in range(3 * each)]
        busy = pack_answer(Answer(Code.BUSY), Kind.LIMIT, i, HASH)
        assert answers[each:] == [busy] * 2 * each
        with pytest.raises(BlockingIOError):
            peer.recv(1)


def test_server_flood_of_peers_is_let_in_a_few_at_a_time(server: Server, peers: ExitStack) -> None:
    for _ in range(MOST_PEERS):
        connect(server, peers)
    server.drain(Asked())
    assert len(server._peers) == MOST_ACCEPTS_PER_SCAN


def test_server_peer_that_reads_no_answers_is_dropped_and_never_waited_for(
    server: Server, peers: ExitStack
) -> None:
    peer, asked = connect(server, peers), Asked()
    for _ in range(10_000):
        try:
            peer.send(b"x")
        except BlockingIOError:
            pass
        except OSError:  # dropped
            break
        server.drain(asked)
    assert server._peers == {}


class Stranger:
    """What the kernel says of a peer."""

    def __init__(self, user: int, group: int, groups: tuple[int, ...] | None = ()) -> None:
        self.user = user
        self.answers = {
            socket.SO_PEERCRED: struct.pack("=iII", 1, user, group),
            control._SO_PEERGROUPS: None
            if groups is None
            else struct.pack(f"={len(groups)}I", *groups),
        }

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        found = self.answers[option]
        if found is None:
            raise OSError
        return found


@pytest.mark.parametrize(
    ("peer", "may_talk"),
    [
        (Stranger(0, 9), True),
        (Stranger(1000, 9), True),
        (Stranger(1001, 2000), True),
        (Stranger(1001, 9, (8, 2000)), True),
        (Stranger(1001, 9, (8, 2001)), False),
        (Stranger(1001, 9), False),
        (Stranger(1001, 9, None), False),
        (Stranger(2000, 1000), False),
        (Stranger(2**32 - 2, 2**32 - 2), False),
    ],
)
def test_server_lets_root_its_user_and_its_group_talk(
    server: Server, peer: Stranger, may_talk: bool
) -> None:
    server._user, server._group = 1000, 2000
    assert server._user_of(peer) == (peer.user if may_talk else None)  # type: ignore[arg-type]


def test_server_stranger_is_told_so_and_let_go(
    server: Server, peers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "_user_of", lambda self, peer: None)
    peer, asked = connect(server, peers), Asked()
    peer.send(pack_limit(ZERO, 5, HASH))
    server.drain(asked)
    assert asked.records == []
    assert unpack_answer(peer.recv(RECORD_BYTES), 5) == Answer(Code.NOT_ALLOWED)
    assert server._peers == {}


# a command's end


def served(server: Server, answer: bytes) -> threading.Thread:
    """A scan that drains until it has answered one record."""
    is_done = threading.Event()

    def answer_to(data: bytes, peer: Peer) -> bytes:
        is_done.set()
        return answer

    def drains() -> None:
        for _ in range(5000):
            server.drain(answer_to)
            if is_done.wait(0.001):
                return

    thread = threading.Thread(target=drains)
    thread.start()
    return thread


def test_ask_gives_the_answer(server: Server) -> None:
    refused = Answer(Code.OUT_OF_BOUNDS, Field.POWER_W, 0, MOST_POWER_W)
    thread = served(server, pack_answer(refused, Kind.LIMIT, 77, HASH))
    assert ask(server.path, pack_limit(ZERO, 77, HASH), 77) == refused
    thread.join()


def test_ask_answer_that_is_none_of_ours_is_an_error(server: Server) -> None:
    thread = served(server, b"garbage")
    with pytest.raises(LoadctlError, match="the answer is none that this version"):
        ask(server.path, pack_limit(ZERO, 77, HASH), 77)
    thread.join()


def test_ask_where_no_scan_listens_is_not_running(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"no scan takes commands now$"):
        ask(tmp_path / "control", b"", 0)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    left.bind(str(tmp_path / "control"))
    left.close()
    with pytest.raises(NotRunning, match=r"no scan takes commands now$"):
        ask(tmp_path / "control", b"", 0)


def test_ask_a_scan_that_does_not_answer_is_not_running(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ANSWER_WITHIN_s", 0.02)
    with pytest.raises(
        NotRunning, match=r"no answer within 0\.02 s; the command may still be taken"
    ):
        ask(server.path, pack_limit(ZERO, 1, HASH), 1)


# more than a scan takes in


class Clock:
    """Goes on by a step at every look."""

    def __init__(self, step_ns: int) -> None:
        self.now_ns = 0
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Server]:
    """A server on a machine where a record takes half of the time that there is."""
    found = Server(tmp_path / "control", Clock(SERVE_ns // 2))
    yield found
    found.close()


def flood(peer: socket.socket, n: int, serial: int = 1) -> None:
    for _ in range(n):
        peer.send(pack_limit(ZERO, serial, HASH))


def count_of(peer: socket.socket) -> int:
    """How many answers there are."""
    n = 0
    while True:
        try:
            peer.recv(RECORD_BYTES)
        except BlockingIOError:
            return n
        n += 1


def test_server_takes_in_what_the_time_allows_and_one_record_always(
    slow: Server, peers: ExitStack
) -> None:
    peer, asked = connect(slow, peers), Asked()
    flood(peer, 20)
    slow.drain(asked)
    assert len(asked.records) == 2
    assert count_of(peer) < 20
    slow._clock_ns = Clock(100 * SERVE_ns)
    before = len(asked.records)
    slow.drain(asked)
    assert len(asked.records) == before + 1


def test_server_begins_with_another_peer_each_scan(slow: Server, peers: ExitStack) -> None:
    """Where time is short the first would keep all others out."""
    slow._clock_ns = Clock(SERVE_ns)
    flooding = []
    for _ in range(4):
        flooding.append(connect(slow, peers))
        slow.drain(Asked())
    asked = Asked()
    for _ in range(4):
        for i, peer in enumerate(flooding):
            flood(peer, 2, i)
        slow.drain(asked)
    assert len(set(asked.records)) > 2


@pytest.mark.parametrize(
    ("spare_ns", "refuse_ns"),
    [
        (0, REFUSE_ns),
        (SPARE_PART * REFUSE_ns, REFUSE_ns),
        (SPARE_PART * 5 * REFUSE_ns, 5 * REFUSE_ns),
        (10**12, MOST_REFUSE_ns),
    ],
)
def test_server_tells_more_that_it_is_busy_where_the_period_has_time_left(
    tmp_path: Path, peers: ExitStack, spare_ns: int, refuse_ns: int
) -> None:
    step_ns = REFUSE_ns // 4
    found = Server(tmp_path / "control", Clock(step_ns))
    peer, asked = connect(found, peers), Asked()
    flood(peer, 150)
    found.drain(asked, spare_ns)
    n_whole = count_of(peer)
    assert n_whole * step_ns == pytest.approx(SERVE_ns + refuse_ns, abs=2 * step_ns)
    found.close()


def test_server_lets_a_change_that_was_begun_wait_instead_of_telling_it_busy(
    server: Server, peers: ExitStack
) -> None:
    """Else what belongs together would be torn apart, and none of it could ever come about."""
    first, asked = connect(server, peers), Asked()
    server.drain(asked)
    (peer,) = server._peers.values()
    peer.staged.append(Change(1, -1, 1))
    flood(first, MOST_RECORDS_PER_SCAN + 3)
    server.drain(asked)
    assert len(asked.records) == MOST_RECORDS_PER_SCAN
    assert count_of(first) == MOST_RECORDS_PER_SCAN
    server.drain(asked)
    assert len(asked.records) == MOST_RECORDS_PER_SCAN + 3
    peer.staged.clear()
    flood(first, MOST_RECORDS_PER_SCAN + 3)
    server.drain(asked)
    assert count_of(first) == MOST_RECORDS_PER_SCAN + 6


def test_server_tells_a_bounded_number_that_it_is_busy(
    server: Server, peers: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MOST_BUSY_PER_SCAN", 10)
    peer, asked = connect(server, peers), Asked()
    flood(peer, MOST_RECORDS_PER_SCAN + 50)
    server.drain(asked)
    assert count_of(peer) == MOST_RECORDS_PER_SCAN + 10


def test_server_lets_nobody_in_while_it_tells_others_that_it_is_busy(
    server: Server, peers: ExitStack
) -> None:
    """New peers come in at the begin of a scan's records, a few."""
    peer = connect(server, peers)
    flood(peer, MOST_RECORDS_PER_SCAN + 5)
    late: list[socket.socket] = []

    def answer_to(data: bytes, own: Peer) -> bytes:
        if len(late) < 1:
            late.append(connect(server, peers))
        return pack_answer(Answer(Code.ACCEPTED), 1, 1, 0)

    server.drain(answer_to)
    assert count_of(peer) == MOST_RECORDS_PER_SCAN + 5
    late[0].send(b"x")
    server.drain(Asked())
    assert count_of(late[0]) == 1
