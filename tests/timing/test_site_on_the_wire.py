"""The real thing in real time: one meter and eight chargers on a 19200 8E1 pseudo-terminal at
500 ms, run by `loadctl run`, with a building that steps. The default is short; `-m long` runs the
ten minutes.
"""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.units import NS_PER_S
from tests.support.running_site import Found, bay_text, running_site

N_CHARGERS = 8
STEP_mA = 40_000
STEP_EVERY_s = 30

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


def site_text(port: str) -> str:
    bays = [bay_text(f"bay{i}", address=10 + i) for i in range(1, N_CHARGERS + 1)]
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


def play(directory: Path, span_s: float) -> tuple[Found, dict[str, Any]]:
    """The last status before the end, and the judge's report."""
    text = site_text(str(directory / "sim" / "bus-one"))
    with running_site(directory, text, story()) as running:
        running.until(lambda found: True)
        time.sleep(span_s)
        status = running.look()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
        assert status is not None
        return status, running.simulated.report()


def check(status: Found, report: dict[str, Any], span_s: float) -> None:
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
