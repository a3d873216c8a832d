"""Tuning a running site by the command that people use: adopted, outlived, saved, lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

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

pytestmark = [pytest.mark.timing, pytest.mark.timeout(180)]

PERIOD_s = 0.3


def text(directory: Path) -> str:
    whole = site_text(directory / "sim" / "bus-one", period_ms=round(PERIOD_s * 1000))
    return whole.replace("max_A = 16\n", "max_A = 16      # what the cable carries\n")


def tune(running: Running, *words: str, code: int = 0) -> str:
    command = [*LOADCTL, "tune", *words, "--runtime-dir", str(running.runtime_dir)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV)
    assert done.returncode == code, done
    return done.stdout + done.stderr


def tune_json(running: Running, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tune(running, *words, "--json"))
    return found


def test_tuned_values_outlive_their_scan_fall_back_and_are_saved(tmp_path: Path) -> None:
    with running_site(tmp_path, text(tmp_path), charging()) as running:
        before = running.until_raised()
        said = tune(running, "set", "charger.bay1.max_A=8", "charger.bay2.weight=3")
        assert said == (
            "accepted: charger.bay1.max_A 16 A -> 8 A\naccepted: charger.bay2.weight 1 -> 3\n"
        )
        running.until(lambda found: setpoints_A(found)[0] == 8, within_s=2)
        said = tune(running, "set", "--for", "30s", "charger.bay2.enable=false")
        assert said == "accepted: charger.bay2.enable yes -> no, for 30 s\n"
        running.until(lambda found: setpoints_A(found) == [8, 0], within_s=2)
        events = [event["text"] for event in running.json()["events"]]
        assert f"bay1 max_A 16 -> 8 by uid {os.getuid()}" in " ".join(events)

        os.kill(before["scan"]["pid"], signal.SIGKILL)

        def is_anew(found: Found) -> bool:
            is_other = found["scan"]["pid"] != before["scan"]["pid"]
            return is_other and found["mode"] == "run" and setpoints_A(found)[0] == 8

        assert setpoints_A(running.until(is_anew)) == [8, 0]
        assert tune_json(running, "get", "charger.bay1.max_A")["value"] == 8

        running.until(lambda found: setpoints_A(found)[1] > 6)  # the 30 s are over
        assert setpoints_A(running.json())[0] == 8

        assert tune_json(running, "diff")["charger.bay1.max_A"]["is_saved"] is False
        said = tune(running, "save")
        assert said.endswith(": charger.bay1.max_A, charger.bay2.weight\n")
        saved = running.site_path.read_text()
        assert (
            saved
            == text(tmp_path)
            .replace("max_A = 16      # what", "max_A = 8      # what", 1)
            .rstrip("\n")
            + "\nweight = 3\n"
        )
        assert tune_json(running, "diff")["charger.bay1.max_A"]["is_saved"] is True

        running.site_path.write_text(saved + "# by hand\n")
        said = tune(running, "save", code=1)
        assert "was changed since the site was started" in said
        tune(running, "save", "--force")
        assert running.site_path.read_text() == saved + "# by hand\n"

        assert tune(running, "revert") == (
            "accepted: charger.bay1.max_A 8 A -> 16 A\naccepted: charger.bay2.weight 3 -> 1\n"
        )
        running.until(lambda found: setpoints_A(found)[0] > 12)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0
        tune(running, "set", "charger.bay1.max_A=8", code=5)
