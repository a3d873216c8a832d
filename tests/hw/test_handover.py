"""Descriptors on their way from one process to another, and a bus that lives on them."""

import fcntl
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest

from hw.handover import LOST, MESSAGE, MESSAGES_AT_ONCE, PORT, Message, PortChannel, PortSource
from tests.support.descriptors import came_since, open_descriptors

Ends = tuple[PortChannel, PortChannel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    guard, scan = PortChannel.pair()
    yield guard, scan
    guard.close()
    scan.close()


@pytest.fixture
def pipes() -> Iterator[list[int]]:
    fds = [fd for _ in range(4) for fd in os.pipe()]
    yield fds
    for fd in fds:
        os.close(fd)


def is_same(one: int, other: int) -> bool:
    return os.path.sameopenfile(one, other)


def is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


# the channel


def test_port_arrives_as_copies_that_are_not_inherited(ends: Ends, pipes: list[int]) -> None:
    guard, scan = ends
    assert guard.send_port(3, pipes[0], pipes[2])
    (message,) = scan.receive()
    assert (message.kind, message.bus_i, message.turn) == (PORT, 3, 1)
    assert is_same(message.data_fd, pipes[0])
    assert is_same(message.lock_fd, pipes[2])
    for fd in (message.data_fd, message.lock_fd):
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_port_that_is_its_own_lock_arrives_as_one_descriptor(ends: Ends, pipes) -> None:
    guard, scan = ends
    guard.send_port(0, pipes[0], pipes[0])
    (message,) = scan.receive()
    assert message.data_fd == message.lock_fd
    os.close(message.data_fd)


def test_nothing_there_is_an_empty_list_at_once(ends: Ends) -> None:
    guard, scan = ends
    assert (guard.receive(), scan.receive()) == ([], [])
    assert (guard.is_closed, scan.is_closed) == (False, False)


def test_end_of_the_other_side_is_seen_after_what_it_said(ends: Ends) -> None:
    guard, scan = ends
    scan.tell_lost(1)
    scan.close()
    assert guard.receive() == [Message(LOST, 1, 0, -1, -1)]
    assert guard.is_closed
    assert not guard.send_port(0, guard.fileno(), guard.fileno())


def test_send_to_an_end_that_is_gone_is_false_and_closes(ends: Ends, pipes: list[int]) -> None:
    guard, scan = ends
    scan.close()
    assert not guard.send_port(0, pipes[0], pipes[0])
    assert guard.is_closed
    assert guard.turn_of(0) == 0


def test_send_to_an_end_that_does_not_read_never_waits(ends: Ends) -> None:
    guard, scan = ends
    n_sent = 0
    while scan.tell_lost(0):
        n_sent += 1
    assert n_sent > 4
    assert not scan.is_closed
    assert len(guard.receive()) == min(n_sent, MESSAGES_AT_ONCE)
    assert scan.tell_lost(0)


def test_loss_of_a_port_that_was_replaced_meanwhile_is_not_reported(ends: Ends, pipes) -> None:
    guard, scan = ends
    scan.tell_lost(0, 0)
    guard.send_port(0, pipes[0], pipes[0])
    assert guard.receive() == []
    for message in scan.receive():
        os.close(message.data_fd)
    scan.tell_lost(0)
    scan.tell_lost(1)
    assert [(lost.bus_i, lost.turn) for lost in guard.receive()] == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("data", "n_fds"),
    [
        (MESSAGE.pack(PORT, 0, 1), 0),  # a port without a descriptor
        (MESSAGE.pack(PORT, 0, 1), 3),
        (MESSAGE.pack(LOST, 0, 0), 1),
        (MESSAGE.pack(7, 0, 1), 1),
        (struct.pack("=ii", PORT, 0), 1),
        (MESSAGE.pack(PORT, 0, 1) + b"\0", 1),
    ],
)
def test_message_that_is_not_exactly_right_is_dropped_with_its_descriptors(
    data: bytes, n_fds: int, pipes: list[int]
) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = PortChannel(theirs.detach())
    socket.send_fds(ours, [data], pipes[:n_fds])
    before = open_descriptors()
    assert channel.receive() == []
    assert came_since(before) == {}
    ours.close()
    channel.close()


def test_port_that_finds_no_room_in_the_descriptor_table_is_dropped(ends: Ends, pipes) -> None:
    guard, scan = ends
    guard.send_port(0, pipes[0], pipes[2])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
    try:
        assert scan.receive() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not is_open(lowest_free)


def test_port_survives_the_process_that_opened_it() -> None:
    """A child opens a pipe, sends its writing end and is gone."""
    ours, theirs = PortChannel.pair()
    code = (
        "import os, sys; from hw.handover import PortChannel; r, w = os.pipe();"
        "os.write(w, b'still here');"
        f"PortChannel({theirs.fileno()}).send_port(2, r, r)"
    )
    os.set_inheritable(theirs.fileno(), True)
    subprocess.run([sys.executable, "-P", "-c", code], pass_fds=[theirs.fileno()], check=True)
    theirs.close()
    (message,) = ours.receive()
    assert os.read(message.data_fd, 64) == b"still here"
    assert ours.is_closed
    os.close(message.data_fd)
    ours.close()


# the source


def test_source_gives_the_inherited_port_once(ends: Ends, pipes: list[int]) -> None:
    source = PortSource(0, pipes[0], ends[1])
    assert source.has_new
    assert source.take() == pipes[0]
    assert not source.has_new
    assert source.take() is None


def test_source_of_a_lost_port_gives_nothing(ends: Ends) -> None:
    assert PortSource(0, -1, ends[1]).take() is None


def test_source_gives_the_newest_and_closes_the_others(ends: Ends, pipes: list[int]) -> None:
    first, second = os.dup(pipes[0]), os.dup(pipes[2])
    source = PortSource(0, -1, ends[1])
    source.put(first)
    source.put(second)
    assert source.take() == second
    assert not is_open(first)
    os.close(second)


def test_source_closed_leaves_nothing_open(ends: Ends, pipes: list[int]) -> None:
    fd = os.dup(pipes[0])
    source = PortSource(0, fd, ends[1])
    source.close()
    assert not is_open(fd)
    assert not source.has_new


def test_source_tells_the_guard_of_a_loss_once(ends: Ends, pipes: list[int]) -> None:
    guard, scan = ends
    source = PortSource(4, pipes[0], scan)
    source.take()
    source.lost()
    source.take()
    assert guard.receive() == [Message(LOST, 4, 0, -1, -1)]


def test_source_that_could_not_tell_tells_again(ends: Ends, pipes: list[int]) -> None:
    guard, scan = ends
    source = PortSource(4, pipes[0], scan)
    source.take()
    while scan.tell_lost(9):
        pass
    source.lost()
    while guard.receive():
        pass
    source.take()
    assert guard.receive() == [Message(LOST, 4, 0, -1, -1)]


def test_source_forgets_an_untold_loss_when_a_new_port_came(ends: Ends, pipes) -> None:
    guard, scan = ends
    source = PortSource(4, pipes[0], scan)
    source.take()
    while scan.tell_lost(9):
        pass
    source.lost()
    source.put(pipes[2])
    while guard.receive():
        pass
    assert source.take() == pipes[2]
    assert guard.receive() == []


def test_source_that_loses_the_old_port_while_a_new_one_travels_is_not_heard(ends, pipes) -> None:
    guard, scan = ends
    source = PortSource(0, pipes[0], scan)
    source.take()
    guard.send_port(0, pipes[2], pipes[2])
    source.lost()
    assert guard.receive() == []
    (message,) = scan.receive()
    source.put(message.data_fd)
    assert source.take() == message.data_fd
    source.lost()
    assert guard.receive() == [Message(LOST, 0, 1, -1, -1)]
    os.close(message.data_fd)
