"""The bus against pymodbus: a server of other hands, in another process, behind a socat pair."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.bus import Bus
from hw.wire import READ_HOLDING, READ_INPUT, WRITE_MANY, WRITE_ONE, Code, Exchange, Line, Patience

MS = 1_000_000
PATIENCE = Patience(turnaround_ns=20 * MS, timeout_ns=200 * MS, gap_ns=0, gap_on_bus=False)
SERVER = Path(__file__).parents[1] / "support" / "pymodbus_server.py"


def ask(bus: Bus, exchange: Exchange):
    bus.new_scan()
    return bus.transact(exchange, PATIENCE, time.monotonic_ns() + 1_000 * MS)


def wait_for(condition) -> None:
    deadline_ns = time.monotonic_ns() + 20_000 * MS
    while not condition():
        assert time.monotonic_ns() < deadline_ns
        threading.Event().wait(0.02)


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    directory = tmp_path_factory.mktemp("pymodbus")
    ours, theirs = directory / "ours", directory / "theirs"
    pair = [f"pty,raw,echo=0,link={link}" for link in (ours, theirs)]
    socat = subprocess.Popen(["socat", *pair])
    server = None
    try:
        wait_for(lambda: ours.exists() and theirs.exists())
        command = [sys.executable, "-P", SERVER, theirs, "19200"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        bus = Bus("garage", str(ours), Line(19200, "8E1"), late_ns=0)
        bus.open()
        wait_for(lambda: ask(bus, Exchange(1, READ_HOLDING, 0, 1)).code is Code.GOOD)
        yield bus
        bus.close()
    finally:
        for process in (server, socat):
            if process is not None:
                process.terminate()
                process.wait()


@pytest.mark.parametrize("function", [READ_HOLDING, READ_INPUT])
@pytest.mark.parametrize("address", [1, 2])
def test_pymodbus_read_gives_its_registers(bus: Bus, function: int, address: int) -> None:
    reply = ask(bus, Exchange(address, function, 7, 3))
    assert (reply.code, reply.payload.hex()) == (Code.GOOD, "000700080009")


def test_pymodbus_write_one_and_many_are_acknowledged_and_read_back(bus: Bus) -> None:
    assert ask(bus, Exchange(1, WRITE_ONE, 20, 1, b"\x12\x34")).code == Code.GOOD
    assert ask(bus, Exchange(1, WRITE_MANY, 21, 2, b"\x56\x78\x9a\xbc")).code == Code.GOOD
    assert ask(bus, Exchange(1, READ_HOLDING, 20, 3)).payload.hex() == "123456789abc"


def test_pymodbus_exception_is_a_refusal_at_once(bus: Bus) -> None:
    reply = ask(bus, Exchange(1, READ_HOLDING, 99, 5))
    assert (reply.code, reply.exception_code) == (Code.REFUSED, 2)
    assert reply.ended_at_ns - reply.begun_at_ns < 150 * MS


def test_pymodbus_absent_device_is_no_answer(bus: Bus) -> None:
    assert ask(bus, Exchange(9, READ_HOLDING, 0, 1)).code in (Code.NO_ANSWER, Code.REFUSED)
    assert ask(bus, Exchange(1, READ_HOLDING, 5, 1)).payload.hex() == "0005"


def test_pymodbus_a_hundred_exchanges_without_a_fault(bus: Bus) -> None:
    for n in range(100):
        register = n % 60 + 30
        assert ask(bus, Exchange(2, READ_INPUT, register, 2)).payload == bytes(
            (0, register, 0, register + 1)
        )
