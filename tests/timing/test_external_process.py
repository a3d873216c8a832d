"""A limit from outside on a running site, by the command that people use: heard, held, outlived."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.running_site import (
    ENV,
    LOADCTL,
    Found,
    Running,
    charging,
    running_site,
    setpoints_A,
    site_text,
)

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

PERIOD_s = 0.3


def text(directory: Path) -> str:
    whole = site_text(directory / "sim" / "bus-one", period_ms=round(PERIOD_s * 1000))
    return whole.replace("limit_A = 63\n", "limit_A = 63\nexternal = { at_loss_A = 12 }\n")


def limit(running: Running, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*LOADCTL, "limit", *words, "--runtime-dir", str(running.runtime_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=ENV)


def counts(found: Found) -> str:
    state = found["circuits"]["main"]["external"]["state"]
    assert isinstance(state, str)
    return state


def test_limit_is_heard_at_once_outlives_its_scan_and_runs_out(tmp_path: Path) -> None:
    with running_site(tmp_path, text(tmp_path), charging()) as running:
        running.until(lambda found: found["mode"] == "run" and counts(found) == "lost")
        done = limit(running, "main", "--clear")
        assert (done.returncode, done.stderr) == (0, "")
        before = running.until_raised()

        done = limit(running, "main", "--amps", "0", "--for", "25s")
        said_at_s = time.monotonic()
        assert done.stdout == "accepted: main: 0 A, for 25 s\n"
        running.until(lambda found: setpoints_A(found) == [0, 0], within_s=2)
        assert time.monotonic() - said_at_s < 4 * PERIOD_s
        shown = running.status().stdout
        assert " LIMIT main: 0 A for " in shown

        os.kill(before["scan"]["pid"], signal.SIGKILL)

        def is_anew(found: Found) -> bool:
            return found["mode"] == "run" and found["scan"]["pid"] != before["scan"]["pid"]

        anew = running.until(is_anew)
        assert counts(anew) == "limit"
        assert setpoints_A(anew) == [0, 0]

        found = running.until(lambda found: counts(found) == "expired")
        assert 24 < time.monotonic() - said_at_s < 30
        assert found["circuits"]["main"]["limit_A"] == [12.0] * 3
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
        done = limit(running, "main", "--amps", "0")
        assert done.returncode == 5
