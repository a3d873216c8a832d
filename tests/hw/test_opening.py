"""Opening ports for two processes: the line set up, the lock held, the errors clear."""

import fcntl
import os
import select
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from hw import opening
from hw.lock import lock_port, open_error_words
from hw.opening import FdSerial, OpenPort, close_port, has_hung_up, let_go, open_port
from hw.raw import RawLine
from hw.wire import READ_HOLDING, Code, Exchange, Line, Patience, rtu_frame
from loadctl.errors import BusError
from tests.support.descriptors import came_since, open_descriptors
from tests.support.pty_device import PtyDevice
from tests.support.rtu_frames import answer
from tests.support.tcp_gateway import OneClientGateway

MS = 1_000_000
LINE = Line(19200, "8E1")
PATIENCE = Patience(10 * MS, 200 * MS, 0, False)
READ = Exchange(1, READ_HOLDING, 7, 3)
LOCKED = "is locked by another program"


def well(request: bytes):
    return [(0, answer(request))]


def ask(fd: int) -> Code:
    return RawLine(fd, LINE).exchange(READ, rtu_frame(READ), PATIENCE)[0]


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "garage"


@pytest.fixture
def gateway() -> Iterator[OneClientGateway]:
    with OneClientGateway() as gateway:
        yield gateway


def opened(url: object, lock_dir: Path, held_lock_fd: int = -1) -> OpenPort:
    return open_port(str(url), LINE, lock_dir, False, held_lock_fd)


# ttys


def test_tty_is_one_descriptor_for_lock_and_data(link: Path, tmp_path: Path) -> None:
    with PtyDevice(link, well):
        port = opened(link, tmp_path)
        assert port.data_fd == port.lock_fd
        assert not os.get_blocking(port.data_fd)
        assert not os.get_inheritable(port.data_fd)
        assert [(mode.what, mode.is_applied) for mode in port.modes] == [
            ("low latency mode", False)
        ]
        assert ask(port.data_fd) is Code.GOOD
        close_port(port)


def test_tty_line_is_set_up_and_stays_so(tmp_path: Path) -> None:
    master, slave = os.openpty()  # a new one is cooked, echoes, and runs at 38400
    port = opened(os.ttyname(slave), tmp_path)
    os.close(slave)
    attributes = termios.tcgetattr(port.data_fd)
    assert attributes[4:6] == [termios.B19200, termios.B19200]
    assert attributes[3] & (termios.ICANON | termios.ECHO | termios.ISIG) == 0
    assert attributes[1] & termios.OPOST == 0
    assert attributes[2] & termios.CSIZE == termios.CS8
    close_port(port)
    os.close(master)


def test_tty_is_refused_to_a_second_holder_while_any_copy_lives(link: Path, tmp_path) -> None:
    with PtyDevice(link, well):
        port = opened(link, tmp_path)
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[port.data_fd])
        with pytest.raises(BusError, match=LOCKED):
            opened(link, tmp_path)
        close_port(port)
        with pytest.raises(BusError, match=LOCKED):
            opened(link, tmp_path)
        other.communicate()
        close_port(opened(link, tmp_path))


def test_tty_in_use_is_not_touched(link: Path, tmp_path: Path) -> None:
    with PtyDevice(link, well):
        port = opened(link, tmp_path)
        before = termios.tcgetattr(port.data_fd)
        with pytest.raises(BusError, match=LOCKED):
            open_port(str(link), Line(9600, "8N1"), tmp_path, False)
        assert termios.tcgetattr(port.data_fd) == before
        close_port(port)


def test_tty_asked_for_rs485_mode_says_that_it_has_none(link: Path, tmp_path: Path) -> None:
    with PtyDevice(link, well):
        port = open_port(str(link), LINE, tmp_path, True)
        assert [(mode.what, mode.is_applied) for mode in port.modes] == [
            ("kernel RS-485 mode", False),
            ("low latency mode", False),
        ]
        assert ask(port.data_fd) is Code.GOOD
        close_port(port)


def test_tty_that_cannot_be_set_up_is_unlocked_again(link: Path, tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with PtyDevice(link, well):
        monkeypatch.setattr(opening, "open_tty", fail)
        with pytest.raises(BusError, match=f"^port {link}: Input/output error$"):
            opened(link, tmp_path)
        monkeypatch.undo()
        close_port(opened(link, tmp_path))


# errors


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/tmp", "is not a serial port"),
        ("/dev/null", "is not a serial port"),
        ("/etc/passwd", "is not a serial port"),
        ("/dev/absent", "no such device; look at the cable and at `port` in the site file"),
        (
            "foo://x",
            "foo:// is no kind of port; write a path such as /dev/ttyUSB0, or socket://HOST:PORT",
        ),
        ("socket://gate", "no host or no port; write socket://HOST:PORT"),
        ("socket://:4001", "no host or no port; write socket://HOST:PORT"),
        ("rfc2217://gate", "no host or no port; write rfc2217://HOST:PORT"),
        ("socket://gate:4001/x", "more than host and port; write socket://HOST:PORT"),
        ("socket://gate:4001?y=1", "more than host and port; write socket://HOST:PORT"),
        ("socket://gate:99999", "Port out of range 0-65535"),
        ("socket://[::1", "Invalid IPv6 URL"),
        (
            "socket://127.0.0.1:1",
            "connection refused; is the gateway on, and does it listen on this port?",
        ),
    ],
)
def test_odd_port_is_one_clear_line_and_leaves_nothing_open(
    url: str, words: str, tmp_path: Path
) -> None:
    before = open_descriptors()
    with pytest.raises(BusError) as caught:
        opened(url, tmp_path)
    assert str(caught.value) == f"port {url}: {words}"
    assert came_since(before) == {}


# sockets


def test_socket_is_a_connection_and_a_lock_beside_it(gateway, tmp_path: Path) -> None:
    port = opened(gateway.url, tmp_path)
    assert port.lock_fd != port.data_fd
    assert not os.get_blocking(port.data_fd)
    assert not os.get_inheritable(port.data_fd)
    same = socket.socket(fileno=os.dup(port.data_fd))
    with same:
        for level, option, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5_000),
        ):
            assert same.getsockopt(level, option) == value
    assert ask(port.data_fd) is Code.GOOD
    with pytest.raises(BusError, match=LOCKED):
        opened(gateway.url, tmp_path)
    close_port(port)
    os.close(lock_port(gateway.url, tmp_path))


def test_socket_of_a_gateway_with_one_client_serves_both_holders(gateway, tmp_path: Path) -> None:
    port = opened(gateway.url, tmp_path)
    scan = FdSerial(port.data_fd)
    assert ask(scan.fileno()) is Code.GOOD
    assert ask(port.data_fd) is Code.GOOD
    scan.close()
    assert ask(port.data_fd) is Code.GOOD
    assert gateway.n_clients == 1
    close_port(port)


def test_socket_to_a_gateway_that_does_not_answer_is_given_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(opening, "CONNECT_TIMEOUT_ns", 200 * MS)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    address = full.getsockname()
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:  # more than the backlog: further requests to connect are dropped
        client.setblocking(False)
        client.connect_ex(address)
    begun_ns = time.monotonic_ns()
    with pytest.raises(BusError, match="no connection within"):
        opened(f"socket://127.0.0.1:{address[1]}", tmp_path)
    assert 190 * MS < time.monotonic_ns() - begun_ns < 1_000 * MS
    for client in (*waiting, full):
        client.close()


def test_name_that_is_not_found_is_waited_for_no_longer_than_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of a bus asks again each second; the resolver is asked once."""
    asked: list[str] = []
    answer_now = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def slow(host: str, port: int, **options: int) -> object:
        if options.get("flags") == socket.AI_NUMERICHOST:
            return getaddrinfo(host, port, **options)
        asked.append(host)
        answer_now.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(opening, "CONNECT_TIMEOUT_ns", 100 * MS)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    begun_ns = time.monotonic_ns()
    for _ in range(2):
        with pytest.raises(BusError, match=r"gate\.invalid is not found within"):
            opened("socket://gate.invalid:4001", tmp_path)
    assert time.monotonic_ns() - begun_ns < 5_000 * MS
    answer_now.set()
    opening.look_ups["gate.invalid", 4001].thread.join()
    with pytest.raises(BusError, match="Temporary failure in name resolution"):
        opened("socket://gate.invalid:4001", tmp_path)
    assert (asked, opening.look_ups) == (["gate.invalid"], {})


def test_name_that_cannot_be_looked_up_for_want_of_memory_is_a_bus_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BusError, match="cannot be looked up: can't start new thread"):
        opened("socket://gate.invalid:4001", tmp_path)
    assert (threading.stack_size(), opening.look_ups) == (0, {})


# ports that cannot be shared


@pytest.mark.parametrize("url", ["rfc2217://127.0.0.1:1", "loop://"])
def test_port_that_cannot_be_shared_is_locked_only(url: str, tmp_path: Path) -> None:
    port = opened(url, tmp_path)
    assert port.data_fd == -1
    with pytest.raises(BusError, match=LOCKED):
        lock_port(url, tmp_path)
    close_port(port)
    os.close(lock_port(url, tmp_path))


# losing a port


def test_pty_unplugged_has_hung_up_and_nothing_is_read_for_it(link: Path, tmp_path) -> None:
    master, slave = os.openpty()
    port = opened(os.ttyname(slave), tmp_path)
    os.close(slave)
    assert not has_hung_up(port.data_fd)
    os.write(master, b"late")
    assert not has_hung_up(port.data_fd)
    assert os.read(port.data_fd, 16) == b"late"
    os.close(master)
    assert has_hung_up(port.data_fd)
    close_port(port)


def test_socket_closed_by_the_gateway_has_hung_up_with_its_last_bytes_unread() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"last")
        assert not has_hung_up(ours.fileno())
        theirs.close()
        assert has_hung_up(ours.fileno())
        assert ours.recv(16) == b"last"


def test_tty_let_go_is_unlocked_and_found_again_by_its_path(link: Path, tmp_path: Path) -> None:
    device = PtyDevice(link, well)
    port = opened(link, tmp_path)
    device.close()
    assert has_hung_up(port.data_fd)
    assert let_go(port) == -1
    with pytest.raises(BusError, match="no such device"):
        opened(link, tmp_path)
    with PtyDevice(link, well):
        port = opened(link, tmp_path)
        assert ask(port.data_fd) is Code.GOOD
        close_port(port)


def test_tty_let_go_is_flushed_before_it_is_closed(link: Path, tmp_path, monkeypatch) -> None:
    """Closing a UART that still has bytes to send may wait for half a minute."""
    calls = []
    with PtyDevice(link, well):
        port = opened(link, tmp_path)
        close = os.close
        monkeypatch.setattr("termios.tcflush", lambda fd, queue: calls.append((fd, queue)))
        monkeypatch.setattr(os, "close", lambda fd: calls.append((fd, "close")) or close(fd))
        let_go(port)
        monkeypatch.undo()
    assert calls == [(port.data_fd, termios.TCIOFLUSH), (port.data_fd, "close")]


def test_socket_let_go_keeps_its_lock_until_it_is_connected_again(gateway, tmp_path) -> None:
    port = opened(gateway.url, tmp_path)
    assert ask(port.data_fd) is Code.GOOD
    gateway.drop()
    assert select.select((port.data_fd,), (), (), 5)[0]
    assert has_hung_up(port.data_fd)
    lock_fd = let_go(port)
    assert lock_fd == port.lock_fd
    with pytest.raises(BusError, match=LOCKED):
        lock_port(gateway.url, tmp_path)
    again = opened(gateway.url, tmp_path, lock_fd)
    assert again.lock_fd == lock_fd
    assert ask(again.data_fd) is Code.GOOD
    close_port(again)


def test_socket_that_stays_away_leaves_the_held_lock_to_its_holder(tmp_path: Path) -> None:
    url = "socket://127.0.0.1:1"
    lock_fd = lock_port(url, tmp_path)
    with pytest.raises(BusError, match="connection refused"):
        opened(url, tmp_path, lock_fd)
    fcntl.fcntl(lock_fd, fcntl.F_GETFD)
    os.close(lock_fd)


AUDIT = """
import os, sys
from pathlib import Path
import threading
from hw.clock import MonotonicClock
from hw.opening import open_port, let_go, close_port, has_hung_up
from hw.raw import RawLine
from hw.handover import PortChannel
from hw.wire import Exchange, Line, Patience, rtu_frame
read = Exchange(1, 3, 7, 3)
frame = rtu_frame(read)
patience = Patience(10_000_000, 200_000_000, 0, False)
urls, lock_dir, line = sys.argv[2:], Path(sys.argv[1]), Line(19200, "8E1")
guard, scan = PortChannel.pair()
events = []
def hook(name, args):
    if name == "import" or (name == "open" and isinstance(args[0], str)):
        events.append((name, args[0]))
sys.addaudithook(hook)
for url in urls:
    port = open_port(url, line, lock_dir, False)
    raw = RawLine(port.data_fd, line)
    raw.flush()
    raw.stay_silent(1_000_000)
    code, _ = raw.exchange(read, frame, patience)
    events.append((code.name, url))
    guard.send_port(0, port.data_fd, port.lock_fd)
    scan.receive()
    has_hung_up(port.data_fd)
    let_go(port)
print(events)
"""


def test_reopening_and_talking_import_nothing_and_open_only_the_port(
    link: Path, tmp_path: Path, gateway
) -> None:
    with PtyDevice(link, well):
        command = [sys.executable, "-P", "-c", AUDIT, tmp_path, link, gateway.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    lock_file = tmp_path / f"127.0.0.1_{gateway.port}.lock"
    tty = [("open", str(link))] * 2 + [("GOOD", str(link))]
    network = [("open", str(lock_file)), ("GOOD", gateway.url)]
    assert eval(done.stdout) == tty + network


# FdSerial


def test_fd_serial_reads_what_is_there_and_never_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serial = FdSerial(ours.fileno())
        assert (serial.in_waiting, serial.read(8)) == (0, b"")
        theirs.sendall(b"123456")
        assert serial.in_waiting == 6
        assert serial.read(4) == b"1234"
        serial.reset_input_buffer()
        assert (serial.in_waiting, serial.read(4)) == (0, b"")
        serial.close()


def test_fd_serial_closed_leaves_the_port_open_to_its_other_holder() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serial = FdSerial(ours.fileno())
        serial.close()
        serial.close()
        assert not has_hung_up(theirs.fileno())
        ours.sendall(b"still")
        assert theirs.recv(8) == b"still"


def test_fd_serial_whose_far_end_closed_is_an_os_error() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        serial = FdSerial(ours.fileno())
        theirs.sendall(b"last")
        theirs.close()
        assert serial.read(8) == b"last"
        with pytest.raises(OSError, match="hung up"):
            serial.read(8)
        with pytest.raises(OSError, match="hung up"):
            serial.reset_input_buffer()
        with pytest.raises(BrokenPipeError):
            serial.write(b"x")
        serial.close()


def test_fd_serial_that_is_full_takes_nothing_and_does_not_wait() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serial = FdSerial(ours.fileno())
        while serial.write(bytes(4096)):
            pass
        assert serial.write(b"x") == 0
        serial.close()


def test_fd_serial_on_a_pty_whose_master_is_gone_is_an_os_error() -> None:
    master, slave = os.openpty()
    serial = FdSerial(slave)
    os.close(slave)
    os.close(master)
    for call in (lambda: serial.read(8), lambda: serial.write(b"x")):
        with pytest.raises(OSError, match=r"hung up|Input/output error"):
            call()
    serial.close()


def test_line_that_a_device_does_not_take_is_said_in_words() -> None:
    said = open_error_words(termios.error(22, "Invalid argument"))
    assert said == "does not take this speed, parity or number of stop bits"


def test_error_that_pyserial_wraps_is_said_without_its_wrapping() -> None:
    wrapped = serial.SerialException("Could not open port rfc2217://x:1: [Errno -2] Name unknown")
    assert open_error_words(wrapped) == "Name unknown"
