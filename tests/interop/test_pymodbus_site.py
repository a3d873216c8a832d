"""A whole site on devices of other hands: `loadctl run` against a pymodbus server that plays an
SDM630 and two Heidelbergs, behind a socat pair.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hw.bus import Bus
from hw.wire import READ_HOLDING, Code, Exchange, Line, Patience

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "support" / "pymodbus_site.py"
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
MS_ns = 1_000_000
PATIENCE = Patience(100 * MS_ns, 300 * MS_ns, 0, False)
WATCHDOG, SETPOINT, FAILSAFE = 257, 261, 262

SITE = """
[site]
name = "foreign devices"
period_ms = 800

[bus.one]
port = "PORT"
baud = 19200
frame = "8E1"
turnaround_ms = 40

[circuit.main]
limit_A = 40
mode = "dynamic"
meter = "grid"
background_A = 25

[meter.grid]
bus = "one"
model = "eastron-sdm630"
address = 1

[charger.left]
bus = "one"
model = "heidelberg-ec"
address = 2
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
failsafe_A = 6

[charger.right]
bus = "one"
model = "heidelberg-ec"
address = 3
circuit = "main"
phases = ["L2", "L3", "L1"]
min_A = 6
max_A = 16
failsafe_A = 6

[tuning]
soft_start_s = 0
stagger_s = 0
raise_delay_s = 0
"""


def wait_for(condition: Callable[[], bool], within_s: float) -> None:
    until_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until_s
        threading.Event().wait(0.1)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Our end of the line; the server is up and answers."""
    if shutil.which("socat") is None:
        pytest.skip("socat is not installed")
    directory = tmp_path_factory.mktemp("foreign")
    ours, theirs = directory / "ours", directory / "theirs"
    socat = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={p}" for p in (ours, theirs))])
    server = None
    try:
        wait_for(lambda: ours.exists() and theirs.exists(), 10)
        command = [sys.executable, "-P", str(SERVER), str(theirs), "19200"]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENV)
        wait_for(lambda: read(ours, 2, WATCHDOG) is not None, 20)
        yield ours
    finally:
        for process in (server, socat):
            if process is not None:
                process.terminate()
                process.wait()


def read(port: Path, address: int, register: int) -> int | None:
    """One holding register, read by a master of its own."""
    bus = Bus("test", str(port), Line(19_200, "8E1"), late_ns=0)
    bus.open()
    try:
        deadline_ns = time.monotonic_ns() + 600 * MS_ns
        reply = bus.transact(Exchange(address, READ_HOLDING, register, 1), PATIENCE, deadline_ns)
    finally:
        bus.close()
    return int.from_bytes(reply.payload) if reply.code is Code.GOOD else None


def status(runtime_dir: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "loadctl", "status", "--json"]
    done = subprocess.run(
        [*command, "--runtime-dir", str(runtime_dir)], capture_output=True, text=True, env=ENV
    )
    return json.loads(done.stdout) if done.returncode == 0 else {}


def test_site_of_foreign_devices_is_armed_shared_and_left_at_its_failsafe(
    port: Path, tmp_path: Path
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE.replace("PORT", str(port)))
    command = [sys.executable, "-P", "-m", "loadctl", "run", str(site)]
    scan = subprocess.Popen([*command, "--runtime-dir", str(tmp_path / "run")], env=ENV)
    try:

        def is_shared() -> bool:
            chargers = status(tmp_path / "run").get("chargers", {})
            return [row["setpoint_A"] for row in chargers.values()] == [10.0, 10.0]

        wait_for(is_shared, 60)
        found = status(tmp_path / "run")
        assert found["mode"] == "run"
        assert found["scan"]["missed"] == 0
        assert found["circuits"]["main"]["background_A"] == [20.0, 20.0, 20.0]
    finally:
        scan.send_signal(signal.SIGTERM)
        code = scan.wait(20)
    assert code == 0
    for address in (2, 3):
        registers = [read(port, address, r) for r in (WATCHDOG, SETPOINT, FAILSAFE)]
        assert registers == [15_000, 60, 60]
