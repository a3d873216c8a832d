"""The way into a running site: one local socket, fixed-size records, an answer to each.

Owns the bytes of the records and both ends of the socket. A record is a header (magic, version,
kind, serial, hash of the site) and a body that its kind lays out; what a body does not use is zero,
so that a later version may give it a meaning. The scan's end never waits, keeps a bounded number of
peers, and hands on a bounded number of records a scan, for a bounded time; what comes beyond is
told that it is busy, what is no record of ours that it is none. Who may talk: root, the user of the
scan, and the group of the socket.

Standard library only; the scan's main thread and short-lived commands.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from loadctl.errors import LoadctlError, NotRunning, UsageError
from loadctl.tables import Phases

MAGIC = b"ldct"
VERSION = 1
RECORD_BYTES = 64
_HEADER = struct.Struct("=4sHHIq")
_LIMIT = struct.Struct("=iI3iiq")
_TUNE = struct.Struct("=iiiq")
_ADOPT = struct.Struct("=iq")
_ANSWER = struct.Struct("=iiqq")
_BODY_BYTES = RECORD_BYTES - _HEADER.size

SOCKET_MODE = 0o660
MOST_PEERS = 8
MOST_RECORDS_PER_SCAN = 32
MOST_BUSY_PER_SCAN = 2_048
MOST_ACCEPTS_PER_SCAN = 4
MOST_STAGED = 64  # changes that are adopted together
SERVE_ns = 2_000_000  # of what the plan counts for the end of a scan; one record always
REFUSE_ns = 1_000_000  # at least; what a scan leaves over lets more be told
MOST_REFUSE_ns = 20_000_000
SPARE_PART = 4
ANSWERS_BYTES = 1 << 20  # that may wait to be read by a peer; the kernel allows less
ANSWER_WITHIN_s = 5.0
BUSY_WITHIN_s = 3.0  # so long is asked again
BUSY_EVERY_s = 0.05
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid
_SO_PEERGROUPS = 59  # Linux: the supplementary groups of a peer; not in the socket module
_GROUPS_BYTES = 4 * 1024

# The bounds of what may be said, here and again where it is taken.
MOST_LIMIT_mA = 10_000_000
MOST_POWER_W = 10_000_000
MOST_SPAN_ns = 31 * 86_400 * 1_000_000_000


class Kind(IntEnum):
    """What a record is about. A kind never changes its meaning."""

    LIMIT = 1  # what counts from outside on one circuit
    TUNE = 2  # one change, kept with its sender until ADOPT
    ADOPT = 3  # let all changes of this serial count together


class Code(IntEnum):
    """How a record was taken; `Answer` says which number was out of which bounds."""

    ACCEPTED = 0
    NOT_ALLOWED = 1  # this peer may not talk to this site
    NO_RECORD = 2  # another size, magic or version, or bytes where zeros belong
    UNKNOWN_KIND = 3
    OTHER_SITE = 4  # the sender has read the tables of another site file
    NO_SUCH_CIRCUIT = 5
    TAKES_NONE = 6  # the circuit takes no limits from outside
    OUT_OF_BOUNDS = 7
    BUSY = 8  # more was asked than one scan takes: again
    NO_SUCH_KEY = 9
    INCOMPLETE = 10  # not as many changes are kept as shall be adopted
    TOO_MANY = 11  # changes at once
    BREAKS_RULE = 12  # beside what counts now; least and most: key and whose it is


class Field(IntEnum):
    """Numbers of a record that have bounds."""

    NONE = 0
    LIMIT_mA = 1
    POWER_W = 2
    SPAN_ns = 3
    VALUE = 4  # of a key, in its own unit
    STEP = 5  # least: what it has to be a multiple of


class Limit(NamedTuple):
    """What counts from outside on one circuit; neither current nor power: there is no limit."""

    circuit_i: int
    limit_mA: Phases | None
    power_W: int | None
    span_ns: int | None  # how long it counts; None: until the next


class Change(NamedTuple):
    """One key of `loadctl.tuning`: another value, or what the site file says again."""

    number: int
    who: int  # circuit or charger; -1: neither
    value: int | None  # None: what was asked for is forgotten


class Adopt(NamedTuple):
    n_changes: int
    span_ns: int | None  # how long they count; None: until the site stops


class Answer(NamedTuple):
    code: Code
    field: Field = Field.NONE
    least: int = 0
    most: int = 0


class Record(NamedTuple):
    """One record as it came: the header understood, the body not yet."""

    kind: int
    serial: int
    site_hash: int
    body: bytes


# records


def pack_limit(limit: Limit, serial: int, site_hash: int) -> bytes:
    flags = 0
    for bit, value in enumerate((limit.limit_mA, limit.power_W, limit.span_ns)):
        flags |= (value is not None) << bit
    body = _LIMIT.pack(
        limit.circuit_i, flags, *(limit.limit_mA or (0, 0, 0)), limit.power_W or 0,
        limit.span_ns or 0,
    )  # fmt: skip
    return _record(Kind.LIMIT, serial, site_hash, body)


def unpack_limit(body: bytes) -> Limit | None:
    """None where the body says what no limit can say."""
    circuit_i, flags, *limit_mA, power_W, span_ns = _LIMIT.unpack_from(body)
    if flags >> 3 or any(body[_LIMIT.size :]):
        return None
    current_mA = (limit_mA[0], limit_mA[1], limit_mA[2]) if flags & 1 else None
    return Limit(
        circuit_i, current_mA, power_W if flags & 2 else None, span_ns if flags & 4 else None
    )


def pack_change(change: Change, serial: int, site_hash: int) -> bytes:
    has_value = change.value is not None
    body = _TUNE.pack(has_value, change.number, change.who, change.value or 0)
    return _record(Kind.TUNE, serial, site_hash, body)


def unpack_change(body: bytes) -> Change | None:
    has_value, number, who, value = _TUNE.unpack_from(body)
    if has_value not in (0, 1) or any(body[_TUNE.size :]) or (value and not has_value):
        return None
    return Change(number, who, value if has_value else None)


def pack_adopt(adopt: Adopt, serial: int, site_hash: int) -> bytes:
    body = _ADOPT.pack(adopt.n_changes, adopt.span_ns or 0)
    return _record(Kind.ADOPT, serial, site_hash, body)


def unpack_adopt(body: bytes) -> Adopt | None:
    n_changes, span_ns = _ADOPT.unpack_from(body)
    return None if any(body[_ADOPT.size :]) else Adopt(n_changes, span_ns or None)


def pack_answer(answer: Answer, kind: int, serial: int, site_hash: int) -> bytes:
    body = _ANSWER.pack(answer.code, answer.field, answer.least, answer.most)
    return _record(kind, serial, site_hash, body)


def unpack_answer(data: bytes, serial: int) -> Answer | None:
    """None for anything but the answer to the record of this serial.

    Who may not talk at all is told so before anything was read.
    """
    record = unpack(data)
    if record is None:
        return None
    code, field, least, most = _ANSWER.unpack_from(record.body)
    if code not in set(Code) or field not in set(Field):
        return None
    if record.serial != serial and code != Code.NOT_ALLOWED:
        return None
    return Answer(Code(code), Field(field), least, most)


def unpack(data: bytes) -> Record | None:
    if len(data) != RECORD_BYTES:
        return None
    magic, version, kind, serial, site_hash = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        return None
    return Record(kind, serial, site_hash, data[_HEADER.size :])


def _record(kind: int, serial: int, site_hash: int, body: bytes) -> bytes:
    header = _HEADER.pack(MAGIC, VERSION, kind, serial, site_hash)
    return header + body.ljust(_BODY_BYTES, b"\0")


def limit_bounds(limit: Limit) -> Answer:
    """Accepted, or the first number that is out of its bounds."""
    numbers = [(Field.LIMIT_mA, value_mA, 0, MOST_LIMIT_mA) for value_mA in limit.limit_mA or ()]
    if limit.power_W is not None:
        numbers.append((Field.POWER_W, limit.power_W, 0, MOST_POWER_W))
    if limit.span_ns is not None:
        numbers.append((Field.SPAN_ns, limit.span_ns, 1, MOST_SPAN_ns))
    for field, value, least, most in numbers:
        if not least <= value <= most:
            return Answer(Code.OUT_OF_BOUNDS, field, least, most)
    return Answer(Code.ACCEPTED)


# the scan's end


class Peer:
    """Who is connected: its user, and the changes that it wants adopted together."""

    __slots__ = ("serial", "socket", "staged", "uid")

    def __init__(self, own: socket.socket, uid: int) -> None:
        self.socket = own
        self.uid = uid
        self.serial = 0
        self.staged: list[Change] = []


class Server:
    """The listening socket and its peers. Every call returns at once."""

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """Bind anew: whoever was bound there before is gone, its lock was taken over."""
        self.path = path
        self._clock_ns = clock_ns
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.setblocking(False)
        before = os.umask(0o777 & ~SOCKET_MODE)
        try:
            path.unlink(missing_ok=True)
            with _address(path) as address:
                self._listener.bind(address)
        except OSError as error:
            self._listener.close()
            raise UsageError(f"control socket {path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._listener.listen(MOST_PEERS)
        self._user, self._group = os.geteuid(), path.stat().st_gid
        self._peers: dict[int, Peer] = {}  # by descriptor, the one heard last at the end
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._turn = 0

    def drain(self, answer_to: Callable[[bytes, Peer], bytes], spare_ns: int = 0) -> None:
        """Hand on what has come, `MOST_RECORDS_PER_SCAN` at most, one of each peer in turn.

        What is left then is answered that it is busy, but for peers in the midst of changes that
        belong together: theirs wait for the next scan. Who has hung up is not served: it does not
        know whether it was heard, and may have given up long ago. `spare_ns` is what the period has
        left.
        """
        began_ns = self._clock_ns()
        self._turn += 1  # who comes first changes: others keep nobody out
        n_served = self._rounds(answer_to, MOST_RECORDS_PER_SCAN, began_ns + SERVE_ns, None)
        if n_served:
            refuse_ns = max(REFUSE_ns, min(MOST_REFUSE_ns, spare_ns // SPARE_PART))
            end_ns = began_ns + SERVE_ns + refuse_ns
            self._rounds(_busy_answer, MOST_BUSY_PER_SCAN, end_ns, self._is_between)

    def close(self) -> None:
        for fd in list(self._peers):
            self._drop(fd)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _rounds(
        self,
        answer_to: Callable[[bytes, Peer], bytes],
        n_most: int,
        end_ns: int,
        is_meant: Callable[[int], bool] | None,
    ) -> int:
        """Serve peers in turn until nothing is left, or enough was done; how many records it was.

        The first record is served however late it is.
        """
        n_served = 0
        while ready := self._ready(is_meant):
            first = self._turn % len(ready)
            for fd, events in ready[first:] + ready[:first]:
                if n_served == n_most or (n_served and self._clock_ns() >= end_ns):
                    return n_served
                n_served += 1
                if events & ~select.POLLIN:
                    self._drop(fd)
                else:
                    self._serve(fd, answer_to)
        return n_served

    def _ready(self, is_meant: Callable[[int], bool] | None) -> list[tuple[int, int]]:
        """Peers of which something has come, and those that have hung up."""
        ready = dict(self._poll.poll(0))
        if ready.pop(self._listener.fileno(), 0) and is_meant is None:
            self._accept()
            ready = dict(self._poll.poll(0))
            ready.pop(self._listener.fileno(), 0)
        return [(fd, ready[fd]) for fd in sorted(ready) if is_meant is None or is_meant(fd)]

    def _is_between(self, fd: int) -> bool:
        return not self._peers[fd].staged

    def _accept(self) -> None:
        """Let new peers in; who was silent longest makes room."""
        for _ in range(MOST_ACCEPTS_PER_SCAN):
            try:
                peer, _ = self._listener.accept()
            except OSError:  # none, gone again, or no descriptor is free
                return
            peer.setblocking(False)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWERS_BYTES)
            uid = self._user_of(peer)
            if uid is None:
                with contextlib.suppress(OSError):
                    peer.recv(RECORD_BYTES)  # closed with it unread, the answer would be lost
                    peer.send(pack_answer(Answer(Code.NOT_ALLOWED), 0, 0, 0))
                peer.close()
                continue
            if len(self._peers) == MOST_PEERS:
                self._drop(next(iter(self._peers)))
            self._peers[peer.fileno()] = Peer(peer, uid)
            self._poll.register(peer, select.POLLIN)

    def _user_of(self, peer: socket.socket) -> int | None:
        """The user of a peer that may talk; None for others. The mode of the socket says the same,
        for as long as nobody changes it."""
        try:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            _, user, group = _CREDENTIALS.unpack(credentials)
            if user in (0, self._user) or group == self._group:
                return int(user)
            groups = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
        except OSError:
            return None
        return int(user) if (self._group,) in struct.iter_unpack("=I", groups) else None

    def _serve(self, fd: int, answer_to: Callable[[bytes, Peer], bytes]) -> None:
        peer = self._peers[fd]
        try:
            data = peer.socket.recv(RECORD_BYTES + 1)  # one byte more tells what is too long
        except OSError:
            data = b""
        if not data or not _sends(peer.socket, answer_to(data, peer)):
            self._drop(fd)
            return
        self._peers[fd] = self._peers.pop(fd)

    def _drop(self, fd: int) -> None:
        peer = self._peers.pop(fd)
        self._poll.unregister(fd)
        peer.socket.close()


def _busy_answer(data: bytes, peer: Peer) -> bytes:
    record = unpack(data)
    if record is None:
        return pack_answer(Answer(Code.NO_RECORD), 0, 0, 0)
    return pack_answer(Answer(Code.BUSY), record.kind, record.serial, record.site_hash)


def _sends(peer: socket.socket, answer: bytes) -> bool:
    """False for a peer that is gone, or does not read its answers."""
    try:
        peer.send(answer)
    except OSError:
        return False
    return True


# a command's end


def ask(path: Path, record: bytes, serial: int) -> Answer:
    """Send one record and wait for its answer."""
    return ask_all(path, [record], serial)[0]


def ask_all(path: Path, records: Sequence[bytes], serial: int) -> list[Answer]:
    """Send records of one serial and wait for an answer to each; while the scan is busy, again.

    The answers end early where the scan does not want to hear more.
    """
    end_s = time.monotonic() + BUSY_WITHIN_s
    while True:
        answers = _converse(path, records, serial)
        if Code.BUSY not in [answer.code for answer in answers] or time.monotonic() >= end_s:
            return answers
        time.sleep(BUSY_EVERY_s)


def _converse(path: Path, records: Sequence[bytes], serial: int) -> list[Answer]:
    """The errors say what is known when no answer comes."""
    answers: list[Answer] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as own:
        own.settimeout(ANSWER_WITHIN_s)
        try:
            with _address(path) as address:
                own.connect(address)
            for record in records:
                own.send(record)
            while len(answers) < len(records) and Answer(Code.NOT_ALLOWED) not in answers:
                answers.append(_known(own.recv(RECORD_BYTES + 1), serial, path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(f"{path.parent.name}: no scan takes commands now") from None
        except PermissionError:
            raise LoadctlError(f"{path}: not allowed; root, the user of the site and the group of"
                               " this socket are") from None  # fmt: skip
        except TimeoutError:
            raise NotRunning(
                f"{path.parent.name}: no answer within {ANSWER_WITHIN_s:g} s; the command may still"
                " be taken"
            ) from None
        except OSError as error:
            raise NotRunning(
                f"{path.parent.name}: the scan went away before it answered: {error.strerror}"
            ) from None
    return answers


def _known(data: bytes, serial: int, path: Path) -> Answer:
    answer = unpack_answer(data, serial)
    if answer is None:
        raise LoadctlError(f"{path}: the answer is none that this version of loadctl knows")
    return answer


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A short name of the socket, wherever it lies: the kernel takes 107 bytes."""
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)
