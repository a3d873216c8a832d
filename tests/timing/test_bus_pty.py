"""The bus in real time on a pseudo-terminal: its times against those of the wire, late replies.

Budgets are generous, the host is shared; what is shown is that nothing waits for a timeout that it
should not wait for. Prints what it measured.
"""

import time
from pathlib import Path
from statistics import median

import pytest

from hw.bus import Bus
from hw.wire import READ_INPUT, WRITE_ONE, Code, Exchange, Line, Patience
from tests.support.pty_device import PtyDevice
from tests.support.rtu_frames import answer, refusal

pytestmark = pytest.mark.timing

MS = 1_000_000
LINE = Line(19200, "8E1")
PATIENCE = Patience(turnaround_ns=10 * MS, timeout_ns=300 * MS, gap_ns=0, gap_on_bus=False)
READ = Exchange(1, READ_INPUT, 0, 18)
PERIOD_ns = 60 * MS

OVERHEAD_MEDIAN_ns = 1 * MS  # of an exchange beside what the device takes
REFUSAL_WORST_ns = 60 * MS  # stock minimalmodbus takes the whole timeout
GIVE_UP_LATE_ns = 15 * MS


def make_bus(link: Path, late_ns: int = 0) -> Bus:
    bus = Bus("garage", str(link), LINE, late_ns=late_ns)
    bus.open()
    return bus


def test_well_device_exchange_overhead_is_small(tmp_path: Path) -> None:
    with PtyDevice(tmp_path / "port", lambda request: [(0, answer(request))]):
        bus = make_bus(tmp_path / "port")
        takes_ns = []
        for _ in range(300):
            time.sleep(LINE.silent_ns / 1e9)
            reply = bus.transact(READ, PATIENCE, time.monotonic_ns() + 500 * MS)
            assert reply.code is Code.GOOD
            takes_ns.append(reply.ended_at_ns - reply.begun_at_ns)
        bus.close()
    takes_ns.sort()
    print(
        f"exchange on a pty: median {median(takes_ns) / 1e3:.0f} us, p99 {takes_ns[-3] / 1e3:.0f}"
    )
    assert median(takes_ns) < OVERHEAD_MEDIAN_ns


def test_refusal_does_not_wait_for_the_timeout(tmp_path: Path) -> None:
    with PtyDevice(tmp_path / "port", lambda request: [(0, refusal(1, READ_INPUT, 2))]):
        bus = make_bus(tmp_path / "port")
        replies = [bus.transact(READ, PATIENCE, time.monotonic_ns() + 500 * MS) for _ in range(50)]
        bus.close()
    takes_ns = [reply.ended_at_ns - reply.begun_at_ns for reply in replies]
    print(f"refusal: median {median(takes_ns) / 1e3:.0f} us, worst {max(takes_ns) / 1e3:.0f} us")
    assert {reply.code for reply in replies} == {Code.REFUSED}
    assert max(takes_ns) < REFUSAL_WORST_ns


def test_silent_device_is_given_up_on_time(tmp_path: Path) -> None:
    short = PATIENCE._replace(timeout_ns=30 * MS)
    with PtyDevice(tmp_path / "port", lambda request: []):
        bus = make_bus(tmp_path / "port")
        late_ns = []
        for _ in range(20):
            bus.new_scan()
            reply = bus.transact(READ, short, time.monotonic_ns() + 500 * MS)
            assert reply.code is Code.NO_ANSWER
            given_up_ns = LINE.bytes_ns(8) + 30 * MS
            late_ns.append(reply.ended_at_ns - reply.begun_at_ns - given_up_ns)
        bus.close()
    print(
        f"given up late by: median {median(late_ns) / 1e3:.0f} us, worst {max(late_ns) / 1e3:.0f}"
    )
    assert min(late_ns) >= 0
    assert median(late_ns) < GIVE_UP_LATE_ns


@pytest.mark.parametrize("delay_ms", range(0, 121, 10))
def test_late_reply_never_becomes_another_register(tmp_path: Path, delay_ms: int) -> None:
    asked = []

    def slow(request: bytes):
        asked.append(request)
        late = len(asked) % 5 == 1
        return [(delay_ms * MS if late else 1 * MS, answer(request))]

    patience = Patience(5 * MS, 10 * MS, 0, False)
    exchanges = [
        Exchange(1, READ_INPUT, 100, 3),
        Exchange(1, READ_INPUT, 200, 3),
        Exchange(1, WRITE_ONE, 300, 1, b"\x00\x05"),
    ]
    codes = []
    with PtyDevice(tmp_path / "port", slow):
        bus = make_bus(tmp_path / "port", late_ns=2 * PERIOD_ns)
        start_ns = time.monotonic_ns()
        for scan in range(10):
            time.sleep(max(0, start_ns + scan * PERIOD_ns - time.monotonic_ns()) / 1e9)
            bus.new_scan()
            for exchange in exchanges:
                reply = bus.transact(exchange, patience, start_ns + (scan + 1) * PERIOD_ns)
                codes.append(reply.code)
                if reply.code is Code.GOOD and not exchange.is_write:
                    assert reply.payload[:2] == exchange.register.to_bytes(2, "big")
        bus.close()
    assert Code.GOOD in codes
