"""The real thing in real time: one meter and eight chargers on a 19200 8E1 pseudo-terminal at
500 ms, run by `loadctl run`, with a building that steps. The default is short; `-m long` runs the
ten minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.errors import NotRunning
from loadctl.site.load import load_site
from loadctl.status import Status, StatusReader
from loadctl.units import NS_PER_S

N_CHARGERS = 8
STEP_mA = 40_000
STEP_EVERY_s = 30
ROOT = Path(__file__).resolve().parents[2]

HEAD = """
[site]
name = "eight bays"
period_ms = 500

[bus.one]
port = "PORT"
baud = 19200
frame = "8E1"
turnaround_ms = 10

[circuit.main]
limit_A = 100
mode = "dynamic"
meter = "grid"
background_A = 50

[meter.grid]
bus = "one"
model = "reference-meter"
address = 1

[tuning]
raise_delay_s = 2
soft_start_s = 0
stagger_s = 2
"""

BAY = """
[charger.bay{number}]
bus = "one"
model = "reference-charger"
address = {address}
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
rated_A = 16
failsafe_A = 6
"""


def site_text(port: str) -> str:
    bays = [BAY.format(number=i, address=10 + i) for i in range(1, N_CHARGERS + 1)]
    return HEAD.replace("PORT", port) + "".join(bays)


def story() -> Scenario:
    """All bays charge from the start; the building goes up by 40 A and down again."""
    low = (8_000, 6_000, 9_000)
    high = tuple(mA + STEP_mA for mA in low)
    loads = {"main": Load("steps", low, every_ns=STEP_EVERY_s * NS_PER_S, steps=(low, high))}
    visits = tuple(
        Visit(
            charger=f"bay{i}",
            arrive_ns=0,
            leave_ns=None,
            take_mA=16_000,
            terminals=(0, 1, 2),
            follow_ns=i * NS_PER_S // 2,
        )
        for i in range(1, N_CHARGERS + 1)
    )
    return Scenario("step", 1, loads, visits)


def play(directory: Path, span_s: float) -> tuple[Status, dict[str, Any]]:
    """The last status before the end, and the judge's report."""
    path = directory / "site.toml"
    path.write_text(site_text("/dev/null"))
    simulated = SimSite(load_site(path).tables, story(), directory / "sim")
    path.write_text(site_text(simulated.ports["one"]))
    command = [sys.executable, "-P", "-m", "loadctl", "run", str(path)]
    with simulated:
        scan = subprocess.Popen(
            [*command, "--runtime-dir", str(directory / "run")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            reader = first_reader(directory / "run", scan)
            time.sleep(span_s)
            status = reader.read(time.monotonic_ns())
        finally:
            scan.send_signal(signal.SIGTERM)
            code = scan.wait(20)
        assert code == 0
    return status, simulated.report()


def first_reader(folder: Path, scan: subprocess.Popen[bytes]) -> StatusReader:
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        assert scan.poll() is None
        try:
            reader = StatusReader(runtime.find_site([folder], None))
            reader.read(time.monotonic_ns())
        except NotRunning:
            time.sleep(0.1)
        else:
            return reader
    raise AssertionError("nothing published within 20 s")


def check(status: Status, report: dict[str, Any], span_s: float) -> None:
    print(json.dumps({"scan": status["scan"], "circuits": report["circuits"]}, indent=1))
    assert status["mode"] == "run"
    assert status["scan"]["missed"] == 0
    assert status["scan"]["scans"] >= 2 * span_s - 2
    assert report["n_violations"] == 0
    assert report["takes"] >= N_CHARGERS
    assert report["raises"] >= N_CHARGERS
    # The cars need up to their follow time to obey; the setpoints fit at once.
    n_steps = span_s / (2 * STEP_EVERY_s) + 1
    assert report["circuits"]["main"]["above_s"] <= n_steps * (N_CHARGERS / 2 + 1)
    setpoints_A = [row["setpoint_A"] for row in report_setpoints(report)]
    assert setpoints_A == [6.0] * N_CHARGERS


def report_setpoints(report: dict[str, Any]) -> list[dict[str, float]]:
    """What stands in each box at the end: min(last, failsafe), since every bay was charging."""
    return [{"setpoint_A": row["in_force_mA"] / 1000} for row in report["chargers"].values()]


@pytest.mark.timing
@pytest.mark.timeout(180)
def test_one_meter_eight_chargers_no_missed_cycle(tmp_path: Path) -> None:
    span_s = 75.0
    check(*play(tmp_path, span_s), span_s)


@pytest.mark.timing
@pytest.mark.long
@pytest.mark.timeout(900)
def test_one_meter_eight_chargers_ten_minutes_no_missed_cycle(tmp_path: Path) -> None:
    span_s = 600.0
    check(*play(tmp_path, span_s), span_s)
