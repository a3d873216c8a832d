"""Tuning a running site by the command that people use: adopted, outlived, saved, lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from tests.support.running_site import (
    ENV,
    LOADCTL,
    Found,
    Running,
    running_site,
    setpoints_A,
    site_text,
)

pytestmark = [pytest.mark.timing, pytest.mark.timeout(180)]

PERIOD_s = 0.3
CARS = Scenario(
    loads={"main": Load("constant", (5_000,) * 3)},
    visits=tuple(Visit(f"bay{i}", 0) for i in (1, 2)),
)


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
    with running_site(tmp_path, text(tmp_path), CARS) as running:
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("tune")
    with running_site(directory, text(directory), CARS) as running:
        running.until(lambda found: found["mode"] == "run")
        yield running


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("charger.bay1.max_A=17",), 1,
         "charger.bay1.max_A: 17 A is above 16 A, what the site file says"),
        (("charger.bay1.max_A=5",), 1, "charger.bay1.max_A: 5 is not within 6 A to 1000 A"),
        (("charger.bay1.max_A=8.05",), 1,
         "charger.bay1.max_A: 8.05 A is no multiple of 0.1 A, the step of reference-charger"),
        (("charger.bay1.min_A=7",), 1, "charger.bay1.min_A: 7 A is above 6 A, failsafe_A"),
        (("circuit.main.limit_A=30",), 1,
         "circuit.main L1: failsafe proof: 32 A (chargers 12 A + background 20 A) is above the"
         " limit of 30 A by 2 A; lower failsafe_A of bay1 (6 A), failsafe_A of bay2 (6 A), or"
         " background_A"),
        (("circuit.main.limit_A=40,64,40",), 1,
         "circuit.main.limit_A L2: 64 A is above 63 A, what the site file says"),
        (("tuning.peak_hold_s=5",), 1,
         "tuning.peak_hold_s: 5 s is below 8.5 s, its floor on this site: status age 2 s +"
         " meter lag 0 s + follow time 6.5 s"),
        (("tuning.peak_holds=5",), 2,
         "there is no key 'tuning.peak_holds'; the nearest is tuning.peak_hold_s"),
        (("tuning.trim_s=soon",), 2, "tuning.trim_s: 'soon' is no number of seconds"),
        (("tuning.trim_s",), 2, "'tuning.trim_s' is not KEY=VALUE"),
        (("charger.bay1.enable=maybe",), 2,
         "charger.bay1.enable: 'maybe' is neither true nor false"),
        (("charger.bay1.weight=1.5",), 2, "charger.bay1.weight: '1.5' is no whole number"),
    ],
)  # fmt: skip
def test_change_that_breaks_a_rule_is_refused_in_one_line(
    site: Running, words: tuple[str, ...], code: int, said: str
) -> None:
    assert tune(site, "set", *words, code=code) == said + "\n"
    assert tune_json(site, "diff") == {}


def test_list_has_every_key_with_value_bounds_and_meaning(site: Running) -> None:
    found = tune_json(site, "list")
    assert len(found) == 18 + 2 + 2 * 6
    row = found["circuit.main.limit_A"]
    assert (row["value"], row["site_value"], row["least"], row["most"]) == (63, 63, 6, 63)
    assert (row["unit"], row["for_s"]) == ("A", None)
    said = tune(site, "list", "tuning.trim_s").splitlines()
    assert said[0] == "tuning.trim_s = 60 s, 0 s to 3600 s, default 60 s"
    assert said[1].strip().startswith("how long a rise below deadband_A waits")
