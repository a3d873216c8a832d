"""`loadctl failsafe` on simulated lines: it brings down what guard and scan left, and nothing that
is below already comes up.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_site import (
    ENV,
    LOADCTL,
    Running,
    charging,
    running_site,
    site_text,
    wait_gone,
    wait_unlocked,
)

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

N_CHARGERS = 3
SCENARIO = charging(N_CHARGERS, logs_writes=True)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    text = site_text(tmp_path / "sim" / "bus-one", N_CHARGERS)
    with running_site(tmp_path, text, SCENARIO) as started:
        started.until_raised()
        yield started


def failsafe(running: Running) -> subprocess.CompletedProcess[str]:
    command = [*LOADCTL, "failsafe", str(running.site_path)]
    command += ["--runtime-dir", str(running.runtime_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=ENV)


def kill_both(running: Running) -> None:
    """The guard is stopped first, so that it cannot take over; both are gone at once then."""
    found = running.json()
    os.kill(running.process.pid, signal.SIGSTOP)
    os.kill(found["scan"]["pid"], signal.SIGKILL)
    wait_gone(found["scan"]["pid"], 5)
    running.process.kill()
    running.process.wait()
    wait_unlocked(running.runtime_dir, 5)


def last_mA(running: Running) -> dict[str, int]:
    return {entry["charger"]: entry["setpoint_mA"] for entry in running.simulated.written()}


def test_failsafe_brings_every_charger_down_once_both_are_gone_and_never_raises(
    running: Running,
) -> None:
    refused = failsafe(running)
    assert (refused.returncode, "runs already" in refused.stderr) == (2, True)
    kill_both(running)
    assert min(last_mA(running).values()) > 6_000
    done = failsafe(running)
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"bay{i}: 6 A acknowledged" for i in range(1, N_CHARGERS + 1)
    ]
    assert last_mA(running) == {f"bay{i}": 6_000 for i in range(1, N_CHARGERS + 1)}

    # Nobody knows the last setpoint: what the boxes hold is read, and a lower one stays.
    lower = running.site_path.read_text().replace("failsafe_A = 6", "failsafe_A = 8")
    running.site_path.write_text(lower.replace("min_A = 6", "min_A = 8"))
    done = failsafe(running)
    assert done.returncode == 0
    assert last_mA(running) == {f"bay{i}": 6_000 for i in range(1, N_CHARGERS + 1)}

    # A file with mistakes: what ran last counts.
    running.site_path.write_text(lower + "[circuit.other]\n")
    done = failsafe(running)
    assert (done.returncode, "as it ran last" in done.stderr) == (0, True)

    # No port any more: said, exit code 4.
    running.site_path.write_text(lower.replace("bus-one", "bus-none"))
    done = failsafe(running)
    assert done.returncode == 4
    assert "bay1: port" in done.stdout
    assert "3 of 3 chargers did not acknowledge" in done.stderr
