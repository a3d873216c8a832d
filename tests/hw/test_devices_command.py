"""`loadctl devices`: what it prints and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from loadctl.cli.devices import devices
from loadctl.errors import ConfigError


def test_devices_lists_every_model_in_eighty_columns():
    result = CliRunner().invoke(devices, [], env={"COLUMNS": "80"})
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert [line.split()[0] for line in lines[1:10]] == [
        "abb-b23",
        "abb-terra-ac",
        "eastron-sdm630",
        "heidelberg-ec",
        "mennekes-amtron-compact2",
        "obo-ion",
        "reference-charger",
        "reference-meter",
        "schneider-iem3155",
    ]
    assert " ".join(lines[5].split()) == (
        "mennekes-amtron-compact2 L I, P 0, 6-32 A 0.1 A 10 s kick 0, 6-32 A"
    )
    assert " ".join(lines[2].split()) == "abb-terra-ac L I 0, 6-32 A 0.1 A 30 s reads 0 A fixed"
    assert " ".join(lines[4].split()) == "heidelberg-ec L I 0, 6-16 A 0.1 A 15 s any 0, 6-16 A"


def test_devices_names_what_must_be_checked_on_a_bench():
    output = CliRunner().invoke(devices, []).output
    assert "eastron-sdm630: serial.bauds, serial.frames, timing.turnaround_ms" in output


def test_devices_json_has_abilities_in_amps_and_seconds():
    found = json.loads(CliRunner().invoke(devices, ["--json"]).output)["devices"]
    charger = found["heidelberg-ec"]
    assert charger["setpoint_A"] == [6.0, 16.0]
    assert charger["rated_A"] == 16.0
    assert charger["watchdog_s"] == 15.0
    assert charger["watchdog_fed_by"] == "any"
    assert charger["fallback_is_programmable"] is True
    assert (charger["gap_ms"], charger["gap_scope"]) == (100.0, "device")
    assert "setpoint_A" not in found["reference-meter"]


def test_devices_refuses_a_broken_directory_of_maps(tmp_path: Path):
    (tmp_path / "odd.toml").write_text('id = "odd"\n')
    result = CliRunner().invoke(devices, ["--maps", str(tmp_path)])
    assert isinstance(result.exception, ConfigError)
    assert f"{tmp_path}/odd.toml: kind: missing" in result.exception.lines
