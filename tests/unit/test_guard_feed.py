"""What tells the gateway that the guard is well."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadctl.guard.feed import Feed, feed_every_ns
from loadctl.units import NS_PER_S


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of the socket at tmp_path/notify."""
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(tmp_path / "notify"))
    found.setblocking(False)
    yield found
    found.close()


def said(heard: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(heard.recv(256))
        except BlockingIOError:
            return found


def test_feed_without_anybody_to_hear_does_nothing() -> None:
    feed = Feed({}, None)
    feed.ready()
    feed.feed(NS_PER_S)
    feed.stopping()
    feed.close(is_orderly=True)


def test_feed_says_ready_once_then_feeds_at_a_third_of_the_time_allowed(
    heard: socket.socket, tmp_path: Path
) -> None:
    feed = Feed({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}, None)
    feed.ready()
    feed.ready()
    for tenth in range(10, 40):
        feed.feed(tenth * NS_PER_S // 10)
    feed.status("the scan runs")
    feed.stopping()
    assert said(heard) == [
        b"READY=1",
        *[b"WATCHDOG=1"] * 3,
        b"STATUS=the scan runs",
        b"STOPPING=1",
    ]
    feed.close(is_orderly=True)


def test_feed_of_an_abstract_socket(tmp_path: Path) -> None:
    name = f"loadctl-test-{os.getpid()}"
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(f"\0{name}")
    feed = Feed({"NOTIFY_SOCKET": f"@{name}"}, None)
    feed.ready()
    assert found.recv(64) == b"READY=1"
    feed.close(is_orderly=True)
    found.close()


def test_feed_whose_listener_is_gone_stops_nothing(heard: socket.socket, tmp_path: Path) -> None:
    feed = Feed({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}, None)
    heard.close()
    feed.ready()
    feed.feed(5 * NS_PER_S)
    feed.close(is_orderly=True)


def test_feed_socket_that_does_not_exist_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Feed({"NOTIFY_SOCKET": str(tmp_path / "missing")}, None)
    with pytest.raises(FileNotFoundError):
        Feed({}, tmp_path / "missing")


@pytest.mark.parametrize(
    ("environment", "every_ns"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 10 * NS_PER_S),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 10 * NS_PER_S),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),  # meant for somebody else
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_feed_time_is_that_of_this_process(environment: dict[str, str], every_ns: int) -> None:
    assert feed_every_ns(environment) == every_ns


@pytest.mark.parametrize(("is_orderly", "end"), [(True, b"V"), (False, b"")])
def test_feed_device_once_a_second_and_disarmed_only_after_an_orderly_end(
    tmp_path: Path, is_orderly: bool, end: bytes
) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    feed = Feed({}, device)
    for tenth in range(10, 30):
        feed.feed(tenth * NS_PER_S // 10)
    feed.close(is_orderly)
    assert device.read_bytes() == b"\0\0" + end
