"""The raw line, byte for byte and ns for ns on a real descriptor, and on ptys and a socket."""

import os
import select
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.raw import RawLine
from hw.wire import READ_HOLDING, WRITE_MANY, WRITE_ONE, Code, Exchange, Patience, rtu_frame
from tests.support.pty_device import PtyDevice
from tests.support.rtu_frames import answer, frame, read_reply, refusal
from tests.support.virtual_fd import LINE, MS, VirtualFd

PATIENCE = Patience(turnaround_ns=10 * MS, timeout_ns=80 * MS, gap_ns=0, gap_on_bus=False)
WRITE = Exchange(1, WRITE_ONE, 100, 1, b"\x00\x06")
WRITE_16 = Exchange(1, WRITE_MANY, 100, 2, b"\x40\xc0\x00\x00")
OTHER = Exchange(2, WRITE_ONE, 100, 1, b"\x00\x06")
READ = Exchange(1, READ_HOLDING, 7, 3)
ACK = answer(rtu_frame(WRITE))
REQUEST_ns = LINE.bytes_ns(8)
REPLY_ns = LINE.bytes_ns(8)
T0 = 1_000 * MS


def well(request: bytes):
    return [(5 * MS, answer(request))]


class Rig:
    def __init__(self, respond, **options) -> None:
        self.wire = VirtualFd(respond)
        self.raw = RawLine(self.wire.fd, LINE, clock=self.wire, **options)

    def ask(self, exchange: Exchange = WRITE, patience: Patience = PATIENCE):
        return self.raw.exchange(exchange, rtu_frame(exchange), patience)


@pytest.fixture
def rigs() -> Iterator[object]:
    made = []

    def make(respond, **options) -> Rig:
        made.append(Rig(respond, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.wire.close()


# what a reply is taken for


@pytest.mark.parametrize("exchange", [WRITE, WRITE_16])
def test_write_acknowledged_is_good_and_over_with_its_last_byte(rigs, exchange) -> None:
    rig = rigs(well)
    assert rig.ask(exchange) == (Code.GOOD, b"")
    assert rig.wire.requests == [(T0, rtu_frame(exchange))]
    assert rig.wire.at_ns == T0 + LINE.bytes_ns(exchange.request_bytes) + 5 * MS


def test_read_gives_its_registers(rigs) -> None:
    assert rigs(well).ask(READ) == (Code.GOOD, bytes.fromhex("000700080009"))


def test_reply_byte_by_byte_is_put_together(rigs) -> None:
    pieces = [(5 * MS + n * LINE.bytes_ns(1), ACK[n : n + 1]) for n in range(8)]
    assert rigs(lambda request: pieces).ask() == (Code.GOOD, b"")


def test_refusal_ends_at_its_fifth_byte(rigs) -> None:
    rig = rigs(lambda request: [(5 * MS, refusal(1, WRITE_ONE, 4))])
    assert rig.ask() == (Code.REFUSED, b"")
    assert rig.wire.at_ns == T0 + REQUEST_ns + 5 * MS


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (WRITE, b"\x00" + ACK),  # noise before
        (WRITE, ACK[:-1]),  # truncated
        (WRITE, ACK[:1]),
        (WRITE, ACK[:-1] + b"\xff"),  # wrong CRC
        (WRITE, answer(rtu_frame(OTHER))),  # another device
        (WRITE, frame(1, WRITE_MANY, b"\x00\x64\x00\x06")),  # another function
        (WRITE, frame(1, WRITE_ONE, b"\x00\x65\x00\x06")),  # another register
        (WRITE, frame(1, WRITE_ONE, b"\x00\x64\x00\x07")),  # another value
        (WRITE, refusal(2, WRITE_ONE, 4)),  # another device refuses
        (WRITE, refusal(1, WRITE_ONE, 4)[:-1] + b"\x00"),
        (WRITE_16, frame(1, WRITE_MANY, b"\x00\x64\x00\x01")),  # another count
        (READ, read_reply(1, READ_HOLDING, bytes(4))),  # fewer registers
        (READ, read_reply(1, READ_HOLDING, bytes(8))),  # more
        (READ, frame(1, READ_HOLDING, 5, bytes(6))),  # byte count
    ],
)
def test_reply_that_is_not_exactly_right_is_a_bad_frame(rigs, exchange, reply) -> None:
    rig = rigs(lambda request: [(5 * MS, reply)])
    assert rig.ask(exchange) == (Code.BAD_FRAME, b"")


# times


def test_silence_is_given_up_a_timeout_after_the_end_of_the_request(rigs) -> None:
    rig = rigs(lambda request: [])
    assert rig.ask() == (Code.NO_ANSWER, b"")
    assert rig.wire.at_ns == T0 + REQUEST_ns + 80 * MS


@pytest.mark.parametrize(
    ("delay_ns", "code"), [(80 * MS, Code.GOOD), (80 * MS + 1, Code.NO_ANSWER)]
)
def test_first_byte_is_waited_for_to_the_timeout_and_no_longer(rigs, delay_ns, code) -> None:
    assert rigs(lambda request: [(delay_ns, ACK)]).ask()[0] is code


def test_timeout_counts_from_the_frame_not_from_the_silence_before_it(rigs) -> None:
    rig = rigs(lambda request: [(80 * MS, answer(request))])
    slow = PATIENCE._replace(gap_ns=100 * MS)
    assert [rig.ask(WRITE, slow)[0] for _ in range(2)] == [Code.GOOD, Code.GOOD]


def test_reply_begun_in_time_is_waited_for_to_its_end(rigs) -> None:
    rig = rigs(lambda request: [(80 * MS, ACK[:1]), (80 * MS + REPLY_ns, ACK[1:])])
    assert rig.ask() == (Code.GOOD, b"")


def test_truncated_reply_is_given_up_a_reply_after_the_timeout(rigs) -> None:
    rig = rigs(lambda request: [(5 * MS, ACK[:3])])
    assert rig.ask()[0] is Code.BAD_FRAME
    assert rig.wire.at_ns == T0 + REQUEST_ns + 80 * MS + REPLY_ns


def test_silence_of_the_line_precedes_the_next_frame(rigs) -> None:
    rig = rigs(well)
    rig.ask()
    ended_at_ns = rig.wire.at_ns
    rig.ask(OTHER)
    assert rig.wire.requests[1][0] == ended_at_ns + 2_005_209


def test_gap_of_a_device_holds_only_frames_to_it(rigs) -> None:
    slow = PATIENCE._replace(gap_ns=100 * MS)
    rig = rigs(well)
    rig.ask(WRITE, slow)
    ended_at_ns = rig.wire.at_ns
    rig.ask(OTHER, slow)
    rig.ask(READ, slow)
    assert rig.wire.requests[1][0] == ended_at_ns + LINE.silent_ns
    assert rig.wire.requests[2][0] == ended_at_ns + 100 * MS


def test_gap_on_the_bus_holds_every_frame(rigs) -> None:
    rig = rigs(well)
    rig.ask(WRITE, PATIENCE._replace(gap_ns=50 * MS, gap_on_bus=True))
    ended_at_ns = rig.wire.at_ns
    rig.ask(OTHER)
    assert rig.wire.requests[1][0] == ended_at_ns + 50 * MS


def test_broken_reply_is_drained_past_turnaround_and_reply(rigs) -> None:
    rig = rigs(lambda request: [(1 * MS, b"\x55" * 8)] if request[0] == 1 else well(request))
    assert rig.ask()[0] is Code.BAD_FRAME
    assert rig.ask(OTHER)[0] is Code.GOOD
    drained_ns = T0 + REQUEST_ns + 10 * MS + REPLY_ns
    assert rig.wire.requests[1][0] == drained_ns + LINE.silent_ns


def test_late_reply_is_not_taken_for_that_of_the_next_device(rigs) -> None:
    rig = rigs(lambda request: [(81 * MS, ACK)] if request[0] == 1 else well(request))
    assert rig.ask()[0] is Code.NO_ANSWER
    assert rig.ask(OTHER)[0] is Code.GOOD


def test_bytes_still_coming_in_hold_the_frame_until_the_line_is_silent(rigs) -> None:
    rig = rigs(well)
    for at_ms in range(3):
        rig.wire.send_in(at_ms * MS, b"\xaa")
    assert rig.ask()[0] is Code.GOOD
    assert rig.wire.requests[0][0] >= T0 + 2 * MS + LINE.silent_ns


def test_babble_costs_no_more_than_a_silent_device(rigs) -> None:
    rig = rigs(well)
    for at_ms in range(400):
        rig.wire.send_in(at_ms * MS, b"\xaa")
    assert rig.ask()[0] is Code.BAD_FRAME
    assert len(rig.wire.requests) == 1
    assert rig.wire.at_ns <= T0 + REQUEST_ns + 80 * MS + REPLY_ns


# flush and silence


def test_flush_drops_what_has_come(rigs) -> None:
    rig = rigs(well)
    rig.wire.send_in(0, b"\x55" * 300)
    rig.wire.now_ns()
    rig.raw.flush()
    assert rig.raw.in_waiting == 0


def test_stay_silent_drops_what_comes_in_and_its_end_counts_as_silence(rigs) -> None:
    rig = rigs(well)
    for at_ms in range(30):
        rig.wire.send_in(at_ms * MS, ACK)
    rig.raw.stay_silent(30 * MS)
    assert (rig.wire.at_ns, rig.raw.in_waiting) == (T0 + 30 * MS, 0)
    assert rig.ask()[0] is Code.GOOD
    assert rig.wire.requests[0][0] == T0 + 30 * MS


def test_stay_silent_on_a_port_that_is_gone_takes_its_time(rigs) -> None:
    rig = rigs(well)
    rig.wire.hang_up()
    rig.raw.flush()
    rig.raw.stay_silent(30 * MS)
    assert rig.wire.at_ns == T0 + 30 * MS


# the adapter's echo


def echoing(request: bytes):
    return [(0, request), *well(request)]


def test_echo_declared_is_read_back_and_the_reply_found_behind_it(rigs) -> None:
    assert rigs(echoing, has_echo=True).ask() == (Code.GOOD, b"")


def test_echo_that_differs_is_a_bad_frame(rigs) -> None:
    rig = rigs(lambda request: [(0, request[:-1] + b"\x00"), *well(request)], has_echo=True)
    assert rig.ask()[0] is Code.BAD_FRAME


def test_echo_alone_is_no_answer(rigs) -> None:
    assert rigs(lambda request: [(0, request)], has_echo=True).ask()[0] is Code.NO_ANSWER


# ports that fail


def test_port_gone_before_the_frame_is_an_os_error(rigs) -> None:
    rig = rigs(well)
    rig.wire.hang_up()
    with pytest.raises(OSError, match=r"hung up|Broken pipe"):
        rig.ask()


def test_port_that_takes_no_bytes_is_an_os_error_within_the_timeout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        while True:
            try:
                ours.send(bytes(4096))
            except BlockingIOError:
                break
        raw = RawLine(ours.fileno(), LINE)
        with pytest.raises(OSError, match="took 0 of 8 bytes"):
            raw.exchange(WRITE, rtu_frame(WRITE), PATIENCE._replace(timeout_ns=20 * MS))


def test_frame_that_is_taken_in_parts_is_sent_whole(rigs, monkeypatch) -> None:
    write = os.write
    monkeypatch.setattr("hw.descriptor.os.write", lambda fd, data: write(fd, data[:3]))
    rig = rigs(lambda request: [])
    rig.raw._send(rtu_frame(WRITE), T0 + 80 * MS)
    rig.wire.now_ns()
    assert b"".join(data for _, data in rig.wire.requests) == rtu_frame(WRITE)
    assert len(rig.wire.requests) == 3


# ptys


def open_raw(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_NOCTTY)  # blocking: the raw line sees to that


def test_pty_exchange_is_good(tmp_path: Path) -> None:
    with PtyDevice(tmp_path / "port", lambda request: [(0, answer(request))]) as device:
        fd = open_raw(tmp_path / "port")
        raw = RawLine(fd, LINE)
        raw.flush()
        raw.stay_silent(MS)
        assert raw.exchange(READ, rtu_frame(READ), PATIENCE)[1].hex() == "000700080009"
        assert device.requests == [rtu_frame(READ)]
        os.close(fd)


def test_pty_flush_drops_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    raw = RawLine(slave, LINE)
    os.write(master, b"a late reply")
    assert select.select((slave,), (), (), 5)[0]
    raw.flush()
    assert raw.in_waiting == 0
    queues = []
    monkeypatch.setattr("termios.tcflush", lambda fd, queue: queues.append((fd, queue)))
    raw.flush()  # what a pty does with unsent bytes says nothing about a UART
    assert queues == [(slave, termios.TCIOFLUSH)]
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("has_sent", [False, True])
def test_pty_unplugged_is_an_os_error_at_once(tmp_path: Path, has_sent: bool) -> None:
    device = PtyDevice(tmp_path / "port", lambda request: [(0, answer(request))])
    fd = open_raw(tmp_path / "port")
    raw = RawLine(fd, LINE)
    if has_sent:
        assert raw.exchange(WRITE, rtu_frame(WRITE), PATIENCE) == (Code.GOOD, b"")
    device.close()
    raw.flush()
    with pytest.raises(OSError, match=r"hung up|Input/output error"):
        raw.exchange(WRITE, rtu_frame(WRITE), PATIENCE)
    os.close(fd)
