"""Real ports: ptys, sockets, loop://; opening, locking, losing and finding them again."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from hw.bus import Bus, PortMode, lock_port
from hw.wire import READ_INPUT, WRITE_ONE, Code, Exchange, Line, Patience
from loadctl.errors import BusError
from tests.support.pty_device import PtyDevice
from tests.support.rtu_frames import answer, refusal, request_length
from tests.support.virtual_line import VirtualBus

MS = 1_000_000
LINE = Line(19200, "8E1")
PATIENCE = Patience(10 * MS, 80 * MS, 0, False)
READ = Exchange(1, READ_INPUT, 7, 3)
PAYLOAD = bytes.fromhex("000700080009")


def well(request: bytes):
    return [(1 * MS, answer(request))]


def make_bus(url: object, **options: object) -> Bus:
    return Bus("garage", str(url), LINE, late_ns=1_000 * MS, **options)  # type: ignore[arg-type]


def ask(bus: Bus, exchange: Exchange = READ, patience: Patience = PATIENCE):
    return bus.transact(exchange, patience, time.monotonic_ns() + 500 * MS)


def ask_until_good(bus: Bus) -> None:
    """Tend on a clock that runs ahead, so that re-opening needs no waiting."""
    deadline_ns = time.monotonic_ns() + 5_000 * MS
    ahead_ns = 0
    while time.monotonic_ns() < deadline_ns:
        ahead_ns += 1_000 * MS
        bus.new_scan()
        bus.tend(time.monotonic_ns() + ahead_ns)
        if ask(bus).code is Code.GOOD:
            return
    raise AssertionError(f"never good again: {bus.last_error}")


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "garage"


# ptys


def test_pty_read_write_and_refusal(link: Path) -> None:
    with PtyDevice(link, well) as device:
        bus = make_bus(link)
        bus.open()
        assert ask(bus).payload == PAYLOAD
        assert ask(bus, Exchange(1, WRITE_ONE, 1, 1, b"\x00\x05")).code == Code.GOOD
        assert len(device.requests) == 2
        bus.close()
    with PtyDevice(link, lambda request: [(0, refusal(1, READ_INPUT, 5))]):
        bus.open()
        reply = ask(bus)
        assert (reply.code, reply.exception_code) == (Code.REFUSED, 5)
        bus.close()


@pytest.mark.parametrize("frame", ["8N1", "8E1", "8O1", "8N2", "8E2"])
def test_pty_opened_again_and_again_with_any_frame(link: Path, frame: str) -> None:
    with PtyDevice(link, well):
        for _ in range(3):
            bus = Bus("garage", str(link), Line(19200, frame), late_ns=1_000 * MS)
            bus.open()
            assert ask(bus).code == Code.GOOD
            bus.close()


def test_pty_has_no_low_latency_and_no_rs485_mode_and_says_so(link: Path) -> None:
    with PtyDevice(link, well):
        bus = make_bus(link, uses_rs485_mode=True)
        bus.open()
        assert [(mode.what, mode.is_applied) for mode in bus.modes] == [
            ("kernel RS-485 mode", False),
            ("low latency mode", False),
        ]
        assert all(mode.why for mode in bus.modes)
        assert ask(bus).code == Code.GOOD
        bus.close()


def test_pty_unplugged_is_noticed_and_nothing_more_is_sent(link: Path) -> None:
    device = PtyDevice(link, well)
    bus = make_bus(link)
    bus.open()
    assert ask(bus).code == Code.GOOD
    device.close()
    assert ask(bus).code == Code.NOT_SENT
    assert not bus.is_open
    begun_ns = time.monotonic_ns()
    for _ in range(100):
        assert ask(bus).code == Code.NOT_SENT
    assert time.monotonic_ns() - begun_ns < 200 * MS
    assert bus.last_error == (
        f"port {link}: no such device; look at the cable and at `port` in the site file"
    )
    bus.close()


def test_pty_plugged_in_elsewhere_is_found_by_the_configured_path(link: Path) -> None:
    bus = make_bus(link)
    device = PtyDevice(link, well)
    bus.open()
    assert ask(bus).code == Code.GOOD
    for n in range(1, 5):
        next_device = PtyDevice(link, well)
        device.close()
        assert ask(bus).code == Code.NOT_SENT
        ask_until_good(bus)
        assert (bus.n_reopened, len(next_device.requests)) == (n, 1)
        device = next_device
    device.close()
    bus.close()


def test_pty_unplugged_while_waiting_for_the_reply_is_no_answer(link: Path) -> None:
    device = PtyDevice(link, lambda request: [])
    bus = make_bus(link)
    bus.open()
    threading.Timer(0.02, device.close).start()
    reply = ask(bus)
    assert reply.code == Code.NO_ANSWER
    assert reply.ended_at_ns - reply.begun_at_ns < 70 * MS
    assert not bus.is_open
    bus.close()


def test_pty_silent_device_is_given_up_at_its_timeout_not_at_the_deadline(link: Path) -> None:
    with PtyDevice(link, lambda request: [(0, b"\x01")]):
        bus = make_bus(link)
        bus.open()
        reply = ask(bus)
        assert reply.code == Code.BAD_FRAME
        assert 80 * MS < reply.ended_at_ns - reply.begun_at_ns < 300 * MS
        bus.close()


# losing and re-opening, in virtual time


def test_reopen_is_tried_at_most_once_a_second() -> None:
    rig = VirtualBus(well)
    attempts = []

    def opener():
        attempts.append(rig.clock.at_ns // MS)
        raise OSError(2, "No such file or directory")

    rig.bus._keeper._opener = opener
    rig.serial.broken = "write"
    lost_ms = rig.clock.at_ns // MS
    assert rig.ask(READ).code == Code.NOT_SENT
    assert rig.serial.is_closed
    for _ in range(35):
        assert rig.ask(READ).code == Code.NOT_SENT
        rig.clock.at_ns += 100 * MS
    assert attempts == [lost_ms, lost_ms + 1_000, lost_ms + 2_000, lost_ms + 3_000]


def test_write_that_fails_left_nothing_and_is_not_sent() -> None:
    rig = VirtualBus(well)
    rig.serial.broken = "write"
    reply = rig.ask(READ)
    assert (reply.code, reply.begun_at_ns) == (Code.NOT_SENT, reply.ended_at_ns)
    assert rig.bus.counters(1).not_sent == 1


def test_read_that_fails_after_the_request_is_no_answer() -> None:
    rig = VirtualBus(well)
    rig.serial.broken = "read"
    assert rig.ask(READ).code == Code.NO_ANSWER
    assert not rig.bus.is_open


def test_write_that_takes_part_of_the_request_is_no_answer() -> None:
    rig = VirtualBus(well)
    rig.serial.write = lambda data: 3  # type: ignore[method-assign]
    assert rig.ask(READ).code == Code.NO_ANSWER
    assert rig.bus.last_error == "port fake: took 3 of 8 bytes"


# opening and locking


def test_open_missing_port_is_one_clear_line(tmp_path: Path) -> None:
    bus = make_bus(tmp_path / "absent", lock_dir=tmp_path)
    with pytest.raises(BusError) as caught:
        bus.open()
    assert str(caught.value) == (
        f"bus garage: port {tmp_path}/absent: no such device; "
        "look at the cable and at `port` in the site file"
    )


def test_open_plain_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BusError) as caught:
        make_bus(tmp_path / "file").open()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense://x", "socket://127.0.0.1", "socket://127.0.0.1:1"])
def test_open_url_that_leads_nowhere_is_one_clear_line(url: str) -> None:
    with pytest.raises(BusError, match=f"^bus garage: port {url}: ") as caught:
        make_bus(url).open()
    assert "\n" not in str(caught.value)


def test_lock_second_holder_of_a_device_is_refused_by_either_name(link: Path, tmp_path) -> None:
    with PtyDevice(link, well) as device:
        fd = lock_port(str(link), tmp_path)
        with pytest.raises(BusError) as caught:
            lock_port(device.path, tmp_path)
        assert str(caught.value) == (
            f"port {device.path}: {device.path} is locked by another program; stop the loadctl (or "
            "other Modbus master) that uses this port, or give this bus another port"
        )
        bus = make_bus(link, lock_dir=tmp_path)
        with pytest.raises(BusError, match="locked by another program"):
            bus.open()
        os.close(fd)
        bus.open()
        with pytest.raises(BusError, match="locked by another program"):
            lock_port(str(link), tmp_path)
        bus.close()
        os.close(lock_port(str(link), tmp_path))


def test_lock_of_a_device_is_a_flock_and_leaves_it_open_to_others(link: Path, tmp_path) -> None:
    with PtyDevice(link, well):
        fd = lock_port(str(link), tmp_path)
        os.close(os.open(link, os.O_RDWR | os.O_NOCTTY))  # TIOCEXCL would refuse this
        os.close(fd)


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        ("socket://10.0.0.7:4001", "socket://10.0.0.7:4001", "10.0.0.7_4001.lock"),
        ("socket://10.0.0.7:4001", "rfc2217://10.0.0.7:4001", "10.0.0.7_4001.lock"),
        ("socket://Gate:1", "socket://gate:1", "gate_1.lock"),
        ("socket://[fe80::1]:4001", "socket://[fe80::1]:4001", "fe80_1_4001.lock"),
        ("loop://", "loop://", "loop_.lock"),
    ],
)
def test_lock_of_a_url_is_a_file_named_after_host_and_port(
    first: str, second: str, name: str, tmp_path: Path
) -> None:
    fd = lock_port(first, tmp_path / "locks")
    with pytest.raises(BusError, match=f"{name} is locked by another program"):
        lock_port(second, tmp_path / "locks")
    assert [path.name for path in (tmp_path / "locks").iterdir()] == [name]
    os.close(fd)
    os.close(lock_port(second, tmp_path / "locks"))


def test_lock_that_was_inherited_is_moved_to_the_port_that_comes_back(
    link: Path, tmp_path: Path
) -> None:
    device = PtyDevice(link, well)
    bus = make_bus(link, lock_fd=lock_port(str(link), tmp_path))
    bus.open()
    device.close()
    ask(bus)
    with PtyDevice(link, well):
        ask_until_good(bus)
        with pytest.raises(BusError, match="locked by another program"):
            lock_port(str(link), tmp_path)
        bus.close()
        os.close(lock_port(str(link), tmp_path))


def test_lock_is_given_up_when_the_port_does_not_open(link: Path, tmp_path: Path) -> None:
    def fail():
        raise OSError(5, "Input/output error")

    with PtyDevice(link, well):
        with pytest.raises(BusError, match="Input/output error"):
            make_bus(link, lock_dir=tmp_path, opener=fail).open()
        os.close(lock_port(str(link), tmp_path))


def test_lock_is_taken_before_the_line_is_touched(link: Path, tmp_path: Path) -> None:
    with PtyDevice(link, well):
        fd = lock_port(str(link), tmp_path)
        opened = []
        bus = make_bus(link, lock_dir=tmp_path, opener=lambda: opened.append(1))
        with pytest.raises(BusError):
            bus.open()
        assert opened == []
        os.close(fd)


# urls


class TcpDevice:
    """A gateway that speaks RTU over TCP, one client after another."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"socket://127.0.0.1:{self.port}"
        self._client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                self._client = self._listener.accept()[0]
                while request := self._client.recv(256):
                    self._client.sendall(answer(request))
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)
            self._client.close()


def test_socket_read_and_write() -> None:
    gateway = TcpDevice()
    bus = make_bus(gateway.url, uses_rs485_mode=True)
    bus.open()
    assert bus.modes == (PortMode("kernel RS-485 mode", False, "not a local serial port"),)
    assert ask(bus).payload == PAYLOAD
    assert ask(bus, Exchange(1, WRITE_ONE, 1, 1, b"\x00\x05")).code == Code.GOOD
    bus.close()
    gateway.close()


def test_socket_cut_is_re_opened_without_ever_waiting_for_the_network() -> None:
    gateway = TcpDevice()
    bus = make_bus(gateway.url)
    bus.open()
    assert ask(bus).code == Code.GOOD
    gateway.close()
    worst_ns = 0
    for _ in range(20):
        bus.new_scan()
        begun_ns = time.monotonic_ns()
        assert ask(bus).code in (Code.NOT_SENT, Code.NO_ANSWER)
        worst_ns = max(worst_ns, time.monotonic_ns() - begun_ns)
    assert worst_ns < 120 * MS
    assert not bus.is_open
    gateway = TcpDevice(gateway.port)
    ask_until_good(bus)
    bus.close()
    gateway.close()


def test_socket_opening_that_hangs_leaves_every_exchange_not_sent_at_once() -> None:
    released = threading.Event()

    def hang():
        released.wait(10)
        raise OSError("gave up")

    gateway = TcpDevice()
    bus = make_bus(gateway.url, opener=hang)
    begun_ns = time.monotonic_ns()
    for _ in range(50):
        assert ask(bus).code == Code.NOT_SENT
    assert time.monotonic_ns() - begun_ns < 200 * MS
    assert threading.active_count() < 8
    released.set()
    bus.close()
    gateway.close()


class Rfc2217Device:
    """A terminal server that speaks RFC 2217, with a device behind it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._client: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def write(self, data: bytes) -> None:
        assert self._client is not None
        self._client.sendall(data)

    def _serve(self) -> None:
        self._client = self._listener.accept()[0]
        manager = serial.rfc2217.PortManager(serial.serial_for_url("loop://"), self)
        request = b""
        while data := self._client.recv(256):
            request += b"".join(manager.filter(data))
            if len(request) >= request_length(request):
                self.write(b"".join(manager.escape(answer(request))))
                request = b""

    def close(self) -> None:
        self._listener.close()
        if self._client is not None:
            self._client.close()


@pytest.mark.filterwarnings("ignore:set")  # pyserial's own: setDaemon, setName
def test_rfc2217_read_and_write() -> None:
    server = Rfc2217Device()
    bus = make_bus(server.url)
    bus.open()
    for _ in range(5):
        assert ask(bus).payload == PAYLOAD
    assert ask(bus, Exchange(1, WRITE_ONE, 1, 1, b"\xff\x05")).code == Code.GOOD
    bus.close()
    server.close()


def test_loop_hears_itself() -> None:
    bus = make_bus("loop://", has_echo=True)
    bus.open()
    reply = ask(bus)
    assert reply.code == Code.NO_ANSWER
    assert bus.counters(1).last_error == "no answer"
    bus.close()


@pytest.mark.parametrize("url", ["socket://127.0.0.1:99999", "/dev/\x00x"])
def test_lock_of_a_port_that_cannot_exist_is_a_bus_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(BusError, match=r"^port "):
        lock_port(url, tmp_path)
