"""A bus whose port is opened by another process: taken, lost, replaced, and never opened here."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.bus import Bus
from hw.handover import PortChannel, PortSource
from hw.opening import OpenPort, close_port, has_hung_up, let_go, open_port
from hw.raw import RawLine
from hw.wire import READ_INPUT, WRITE_ONE, Code, Exchange, Line, Patience, rtu_frame
from loadctl.errors import BusError
from tests.support.descriptors import open_descriptors
from tests.support.pty_device import PtyDevice
from tests.support.rtu_frames import answer
from tests.support.tcp_gateway import OneClientGateway

MS = 1_000_000
LINE = Line(19200, "8E1")
PATIENCE = Patience(10 * MS, 80 * MS, 0, False)
READ = Exchange(1, READ_INPUT, 7, 3)
WRITE = Exchange(1, WRITE_ONE, 1, 1, b"\x00\x05")


def well(request: bytes):
    return [(0, answer(request))]


class TwoSides:
    """What guard and scan hold of one bus, both in this process."""

    def __init__(self, url: object, lock_dir: Path) -> None:
        self.url = str(url)
        self.lock_dir = lock_dir
        self.guard, self.scan = PortChannel.pair()
        self.port: OpenPort | None = self.opened()
        lock_fd = os.dup(self.port.lock_fd)
        shares_one = self.port.lock_fd == self.port.data_fd
        self.scan_lock_fd = -1 if shares_one else lock_fd
        self.source = PortSource(0, lock_fd if shares_one else os.dup(self.port.data_fd), self.scan)
        self.bus = Bus("garage", self.url, LINE, late_ns=0, source=self.source)
        self.bus.open()

    def opened(self, held_lock_fd: int = -1) -> OpenPort:
        return open_port(self.url, LINE, self.lock_dir, False, held_lock_fd)

    def send(self) -> None:
        """What the guard does with a port that it opened again, and what the scan does then."""
        assert self.port is not None
        assert self.guard.send_port(0, self.port.data_fd, self.port.lock_fd)
        for message in self.scan.receive():
            self.source.put(message.data_fd)
            if message.lock_fd != message.data_fd:
                os.close(message.lock_fd)

    def ask(self, exchange: Exchange = READ):
        self.bus.new_scan()
        return self.bus.transact(exchange, PATIENCE, time.monotonic_ns() + 500 * MS)

    def guard_writes(self) -> Code:
        assert self.port is not None
        raw = RawLine(self.port.data_fd, LINE)
        return raw.exchange(WRITE, rtu_frame(WRITE), PATIENCE)[0]

    def losses(self) -> int:
        return len(self.guard.receive())

    def close(self) -> None:
        self.bus.close()
        if self.port is not None:
            close_port(self.port)
        if self.scan_lock_fd >= 0:
            os.close(self.scan_lock_fd)
        self.guard.close()
        self.scan.close()


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "garage"


@pytest.fixture
def device(link: Path) -> Iterator[PtyDevice]:
    with PtyDevice(link, well) as device:
        yield device


@pytest.fixture
def sides(device: PtyDevice, link: Path, tmp_path: Path) -> Iterator[TwoSides]:
    sides = TwoSides(link, tmp_path)
    yield sides
    sides.close()


def n_on(tty: str) -> int:
    """How many descriptors of this process are on a terminal, hung up or not."""
    return list(open_descriptors().values()).count(tty)


def test_bus_on_an_inherited_port_talks_and_so_does_the_guard(sides: TwoSides) -> None:
    assert sides.ask().code is Code.GOOD
    assert sides.guard_writes() is Code.GOOD
    assert sides.ask().code is Code.GOOD
    assert sides.bus.n_reopened == 0


def test_bus_whose_port_is_lost_at_the_start_waits_for_it(link, device, tmp_path) -> None:
    guard, scan = PortChannel.pair()
    source = PortSource(0, -1, scan)
    bus = Bus("garage", str(link), LINE, late_ns=0, source=source)
    bus.open()
    assert not bus.is_open
    assert bus.last_error == f"port {link}: lost; waiting for it to come back"
    deadline_ns = time.monotonic_ns() + 500 * MS
    assert bus.transact(READ, PATIENCE, deadline_ns).code is Code.NOT_SENT
    port = open_port(str(link), LINE, tmp_path, False)
    source.put(os.dup(port.data_fd))
    assert bus.transact(READ, PATIENCE, deadline_ns).code is Code.GOOD
    assert (bus.n_reopened, bus.last_error) == (1, "")
    bus.close()
    close_port(port)
    guard.close()
    scan.close()


def test_bus_never_opens_a_port_itself(sides: TwoSides, device, link, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("hw.bus.open_serial", fail)
    device.close()
    with PtyDevice(link, well) as other:
        for n in range(5):
            assert sides.ask().code is Code.NOT_SENT
            sides.bus.tend(time.monotonic_ns() + n * 10_000 * MS)
        assert other.requests == []


def test_bus_closes_at_once_what_hung_up_and_tells_the_guard_once(sides, device) -> None:
    assert sides.ask().code is Code.GOOD
    n_before = n_on(device.path)
    device.close()
    n_closed_by_device = 1
    sides.bus.tend(time.monotonic_ns())
    assert not sides.bus.is_open
    assert n_on(device.path) == n_before - n_closed_by_device - 1
    assert sides.bus.last_error == f"port {sides.url}: hung up"
    assert sides.ask().code is Code.NOT_SENT
    assert sides.losses() == 1


def test_bus_takes_the_port_that_the_guard_opened_again(sides, device, link) -> None:
    assert sides.ask().code is Code.GOOD
    device.close()
    assert sides.ask().code is Code.NOT_SENT
    assert has_hung_up(sides.port.data_fd)
    assert let_go(sides.port) == -1
    with PtyDevice(link, well) as again:
        sides.port = sides.opened()
        sides.send()
        assert sides.ask().code is Code.GOOD
        assert sides.bus.n_reopened == 1
        assert sides.guard_writes() is Code.GOOD
        assert len(again.requests) == 2
        with pytest.raises(BusError, match="locked by another program"):
            sides.opened()


def test_bus_prefers_a_new_port_to_one_that_still_looks_open(sides, device, link) -> None:
    assert sides.ask().code is Code.GOOD
    old_port = sides.port
    with PtyDevice(link, well) as other:
        sides.port = sides.opened()
        n_before = n_on(device.path), n_on(other.path)
        sides.send()
        assert sides.bus.is_open
        assert sides.ask().code is Code.GOOD
        assert len(other.requests) == 1
        assert (n_on(device.path), n_on(other.path)) == (n_before[0] - 1, n_before[1] + 1)
        assert sides.losses() == 0
    close_port(old_port)


def test_bus_whose_port_fails_in_an_exchange_closes_it_and_tells(sides, monkeypatch) -> None:
    monkeypatch.setattr("hw.descriptor.os.write", lambda fd, data: 0)
    assert sides.ask().code is Code.NO_ANSWER
    assert not sides.bus.is_open
    assert sides.losses() == 1


def test_bus_closed_leaves_the_port_to_the_guard(sides: TwoSides) -> None:
    sides.bus.close()
    assert not sides.bus.is_open
    assert sides.losses() == 0
    assert sides.guard_writes() is Code.GOOD


def test_port_stays_locked_while_either_side_lives(sides: TwoSides) -> None:
    close_port(sides.port)
    sides.port = None
    with pytest.raises(BusError, match="locked by another program"):
        sides.opened()
    assert sides.ask().code is Code.GOOD
    sides.bus.close()
    sides.port = sides.opened()


def test_gateway_with_one_client_serves_both_sides_and_comes_back(tmp_path: Path) -> None:
    with OneClientGateway() as gateway:
        sides = TwoSides(gateway.url, tmp_path)
        assert sides.ask().code is Code.GOOD
        assert sides.guard_writes() is Code.GOOD
        assert (gateway.n_clients, gateway.n_refused) == (1, 0)
        gateway.drop()
        deadline_ns = time.monotonic_ns() + 5_000 * MS
        while not has_hung_up(sides.port.data_fd):
            assert time.monotonic_ns() < deadline_ns
        assert sides.ask().code is Code.NOT_SENT
        assert sides.losses() == 1
        sides.port = sides.opened(let_go(sides.port))
        sides.send()
        assert sides.ask().code is Code.GOOD
        assert sides.guard_writes() is Code.GOOD
        assert (gateway.n_clients, gateway.n_refused) == (2, 0)
        sides.close()


def test_gateway_that_takes_no_more_bytes_is_lost_without_waiting(tmp_path: Path) -> None:
    guard, scan = PortChannel.pair()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    while True:
        try:
            ours.send(bytes(4096))
        except BlockingIOError:
            break
    bus = Bus(
        "garage", "socket://gate:1", LINE, late_ns=0, source=PortSource(0, ours.detach(), scan)
    )
    bus.open()
    begun_ns = time.monotonic_ns()
    assert bus.transact(READ, PATIENCE, begun_ns + 500 * MS).code is Code.NOT_SENT
    assert time.monotonic_ns() - begun_ns < 50 * MS
    assert not bus.is_open
    bus.close()
    theirs.close()
    guard.close()
    scan.close()
