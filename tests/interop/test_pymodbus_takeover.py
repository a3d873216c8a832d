"""A pymodbus gateway (RTU over TCP) is taken over: one process dies in the middle of its talk, the
other writes the setpoint on the connection that both held.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient

from hw.opening import OpenPort, close_port, open_port
from hw.raw import RawLine
from hw.wire import READ_HOLDING, WRITE_MANY, WRITE_ONE, Code, Exchange, Line, Patience, rtu_frame
from loadctl.errors import BusError

MS = 1_000_000
ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "support" / "pymodbus_server.py"
LINE = Line(19200, "8E1")
PATIENCE = Patience(turnaround_ns=20 * MS, timeout_ns=500 * MS, gap_ns=0, gap_on_bus=False)
SETPOINT = Exchange(1, WRITE_ONE, 20, 1, b"\x00\x3c")
SETPOINT_2 = Exchange(2, WRITE_MANY, 30, 2, b"\x40\xc0\x00\x00")
READ_BACK = Exchange(1, READ_HOLDING, 20, 1)

# The stand-in of a scan: a bus on inherited descriptors that reads as fast as it can.
TALKER = """
import sys, time
from hw.bus import Bus
from hw.handover import PortChannel, PortSource
from hw.wire import Exchange, Line, Patience
fd = int(sys.argv[1])
patience = Patience(20_000_000, 500_000_000, 0, False)
source = PortSource(0, fd, PortChannel.pair()[1])
bus = Bus("gate", "socket://gate:1", Line(19200, "8E1"), late_ns=0, source=source)
bus.open()
for n in range(1_000_000):
    bus.new_scan()
    reply = bus.transact(Exchange(1, 3, 7, 3), patience, time.monotonic_ns() + 1_000_000_000)
    if n == 20:
        print(reply.code.name, reply.payload.hex(), flush=True)
"""


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-P", SERVER, "tcp", str(port)])
    yield port
    server.terminate()
    server.wait()


@pytest.fixture
def gateway(server_port: int, tmp_path: Path) -> Iterator[OpenPort]:
    deadline_ns = time.monotonic_ns() + 20_000 * MS
    while True:
        try:
            port = open_port(f"socket://127.0.0.1:{server_port}", LINE, tmp_path, False)
            break
        except BusError:
            assert time.monotonic_ns() < deadline_ns
            threading.Event().wait(0.05)
    yield port
    close_port(port)


def shown(server_port: int, device: int, register: int, count: int) -> list[int]:
    """What the server holds, asked by a master of other hands on a connection of its own."""
    client = ModbusTcpClient("127.0.0.1", port=server_port, framer=FramerType.RTU)
    assert client.connect()
    registers = client.read_holding_registers(register, count=count, device_id=device).registers
    client.close()
    return list(registers)


def exchange(raw: RawLine, exchange: Exchange) -> tuple[Code, bytes]:
    return raw.exchange(exchange, rtu_frame(exchange), PATIENCE)


def test_pymodbus_gateway_takes_what_the_raw_line_writes(server_port, gateway) -> None:
    raw = RawLine(gateway.data_fd, LINE)
    assert exchange(raw, SETPOINT) == (Code.GOOD, b"")
    assert exchange(raw, SETPOINT_2) == (Code.GOOD, b"")
    assert exchange(raw, READ_BACK) == (Code.GOOD, b"\x00\x3c")
    assert exchange(raw, Exchange(1, READ_HOLDING, 99, 5)) == (Code.REFUSED, b"")
    assert shown(server_port, 1, 20, 1) == [60]
    assert shown(server_port, 2, 30, 2) == [0x40C0, 0]


@pytest.mark.parametrize("value", range(61, 71))
def test_pymodbus_gateway_is_taken_over_from_a_killed_process(
    server_port: int, gateway: OpenPort, value: int
) -> None:
    talker = subprocess.Popen(
        [sys.executable, "-P", "-c", TALKER, str(gateway.data_fd)],
        pass_fds=[gateway.data_fd],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert talker.stdout is not None
    assert talker.stdout.readline() == b"GOOD 000700080009\n"
    talker.send_signal(signal.SIGKILL)
    talker.wait()
    raw = RawLine(gateway.data_fd, LINE)
    raw.flush()
    raw.stay_silent(20 * MS)
    assert exchange(raw, Exchange(1, WRITE_ONE, 20, 1, value.to_bytes(2, "big"))) == (
        Code.GOOD,
        b"",
    )
    assert shown(server_port, 1, 20, 1) == [value]
    talker.stdout.close()
