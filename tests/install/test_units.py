"""The units: systemd finds nothing wrong with them, what they call exists, they are locked down."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadctl.cli.main import COMMANDS, cli
from tests.support.wheelhouse import ROOT

UNITS = sorted((ROOT / "packaging/units").iterdir())
COMMAND = "/opt/loadctl/current/bin/loadctl"


def settings(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_nothing_wrong(path: Path, tmp_path: Path) -> None:
    """But that the command is not installed here: another one stands for it."""
    copy = tmp_path / path.name.replace("@", "@rig")
    copy.write_text(path.read_text().replace(COMMAND, "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_every_command_of_a_unit_exists_with_its_options(path: Path) -> None:
    found = settings(path)
    lines = [*found["ExecStart"], *found.get("ExecStopPost", [])]
    for line in lines:
        command, name, *words = line.removeprefix("-").split()
        assert command == COMMAND
        assert name in COMMANDS
        help_words = CliRunner().invoke(cli, [name, "--help"]).output
        for option in (word for word in words if word.startswith("--")):
            assert option in help_words, (name, option)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_every_unit_is_locked_down(path: Path) -> None:
    found = settings(path)
    assert found["User"] == found["Group"] == ["loadctl"]
    expected = {
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "SystemCallFilter": "@system-service",
        "MemoryDenyWriteExecute": "yes",
        "UMask": "0027",
        "RuntimeDirectoryPreserve": "yes",
    }
    assert {key: found[key][0] for key in expected} == expected


def test_no_unit_but_that_of_the_metrics_may_listen_on_a_network() -> None:
    listens = {}
    for path in UNITS:
        found = settings(path)
        has_network = "AF_INET" in found["RestrictAddressFamilies"][0]
        listens[path.name] = has_network and found.get("SocketBindDeny") != ["any"]
    assert listens == {
        "loadctl-metrics.service": True,
        "loadctl-recorder@.service": False,
        "loadctl@.service": False,
    }


def test_a_site_may_have_what_makes_it_punctual_and_is_watched() -> None:
    found = settings(ROOT / "packaging/units/loadctl@.service")
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 3
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]
    assert found["LimitRTPRIO"] == ["99"]
    assert found["LimitMEMLOCK"] == ["infinity"]
    assert "RestrictRealtime" not in found
    assert "PrivateDevices" not in found
    assert found["ExecStopPost"][0].startswith(f"-{COMMAND} failsafe ")


def test_a_site_may_use_the_serial_ports_of_gateways_too() -> None:
    found = settings(ROOT / "packaging/units/loadctl@.service")
    for kind in ("ttyUSB", "ttyACM", "ttyS", "ttyAMA", "ttymxc", "ttySC", "ttyO", "ttyTHS"):
        assert f"char-{kind} rw" in found["DeviceAllow"], kind


def test_the_recorder_stops_and_starts_with_its_site() -> None:
    """It looks up the name of its site once, at its start."""
    found = settings(ROOT / "packaging/units/loadctl-recorder@.service")
    site = "loadctl@%i.service"
    assert found["PartOf"] == found["After"] == [site]
    assert site in found["WantedBy"][0].split()
