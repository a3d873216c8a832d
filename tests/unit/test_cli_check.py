"""`loadctl check`: what it prints, and the exit code that goes with it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadctl import realtime
from loadctl.cli.check import wrapped
from loadctl.cli.main import cli
from loadctl.errors import CheckRefused, ConfigError
from loadctl.realtime import APPLIED, NOT_ASKED, REFUSED, Applied
from tests.support.site_files import GARAGE, changed, in_table, write_map, write_site

ROOT = Path(__file__).resolve().parents[2]
WITH_PORT = changed(('port = "/dev/ttyUSB0"', 'port = "/dev/null"'))


def loadctl(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "loadctl", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_check_good_site_prints_proof_plan_and_verdict(tmp_path: Path) -> None:
    path = write_site(tmp_path, WITH_PORT.replace("background_A = 40", "background_A = 0"))
    result = CliRunner().invoke(cli, ["check", str(path)])
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith(f"Test garage: {path}, hash ")
    assert lines[2].startswith("Failsafe proof: ")
    assert "  main     L1          6 A          0 A        100 A         94 A" in lines
    assert "  bay1  falls to 6 A, 30 s after the last setpoint; reads do not feed it" in lines
    assert "Bus plan" in lines
    assert lines[lines.index("A worst-case scan, slot by slot") + 1].startswith("bus rs485, ")
    assert "% of one core" in lines[lines.index("Processor time on this machine") + 1]
    assert max(map(len, lines[lines.index("A worst-case scan, slot by slot") :][:8])) <= 80
    assert [line for line in lines if line.startswith("  worst-case scan")] != []
    assert [line for line in lines if "none older than" in line] != []
    assert lines[-1] == "Good: the proof holds and the plan fits; no warnings."


def test_check_missing_port_is_a_warning_and_no_refusal(tmp_path: Path) -> None:
    text = WITH_PORT.replace("/dev/null", str(tmp_path / "no-such-port"))
    path = write_site(tmp_path, text.replace("background_A = 40", "background_A = 0"))
    result = CliRunner().invoke(cli, ["check", str(path), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output)["warnings"] == [
        f"bus.rs485.port: {tmp_path}/no-such-port is not there; check goes on without it, run will"
        " not"
    ]


def test_check_url_port_is_not_looked_for(tmp_path: Path) -> None:
    text = WITH_PORT.replace("/dev/null", "socket://127.0.0.1:1")
    path = write_site(tmp_path, text.replace("background_A = 40", "background_A = 0"))
    result = CliRunner().invoke(cli, ["check", str(path), "--json"])
    assert json.loads(result.output)["warnings"] == []


def test_check_json_holds_proof_plan_and_watchdogs(tmp_path: Path) -> None:
    path = write_site(tmp_path, WITH_PORT)
    answer = json.loads(CliRunner().invoke(cli, ["check", str(path), "--json"]).output)
    assert answer["site"] == "Test garage"
    assert answer["file"] == str(path)
    assert answer["good"] is True
    assert answer["refusals"] == []
    assert len(answer["hash"]) == 16
    assert answer["proof"][1] == {
        "circuit": "main",
        "what": "L2",
        "unit": "A",
        "chargers": 16.0,
        "background": 40.0,
        "limit": 100.0,
        "holds": True,
    }
    assert answer["watchdogs"]["bay2"] == {
        "time_s": 30.0,
        "fed_by": "writes",
        "fallback_A": 10.0,
        "shares_with": [],
    }
    assert answer["plan"]["period_ms"] == 500.0
    assert answer["plan"]["worst_scan_ms"] < 500.0
    assert answer["plan"]["buses"]["rs485"]["status_age_s"] <= 2.0
    slots = answer["plan"]["buses"]["rs485"]["timeline"]
    assert slots[0] == {
        "phase": "read",
        "what": "meter grid",
        "from_ms": 0.0,
        "to_ms": slots[1]["from_ms"],
    }
    assert set(answer["cpu"]) == {
        "percent_of_core",
        "exchange_us",
        "exchanges_per_s",
        "scan_us",
        "scans_per_s",
    }


def test_check_prints_how_long_a_takeover_may_take(tmp_path: Path) -> None:
    path = write_site(tmp_path, WITH_PORT)
    output = CliRunner().invoke(cli, ["check", str(path)]).output
    assert (
        "  bus rs485: 1772.4 ms (notice 1500.0, end it 50.0, silence 40.1, writes 182.3)"
    ) in output.splitlines()
    answer = json.loads(CliRunner().invoke(cli, ["check", str(path), "--json"]).output)
    guard = answer["guard"]["rs485"]
    assert guard["is_shared"] is True
    assert (guard["detect_ms"], guard["reap_ms"]) == (1500.0, 50.0)
    parts = [guard[key] for key in ("detect_ms", "reap_ms", "silence_ms", "writes_ms")]
    assert round(sum(parts), 6) == round(guard["total_ms"], 6)


def test_check_port_that_cannot_be_shared_is_a_warning(tmp_path: Path) -> None:
    text = WITH_PORT.replace("/dev/null", "rfc2217://127.0.0.1:1")
    path = write_site(tmp_path, text.replace("background_A = 40", "background_A = 0"))
    answer = json.loads(CliRunner().invoke(cli, ["check", str(path), "--json"]).output)
    assert answer["guard"]["rs485"]["is_shared"] is False
    assert answer["warnings"] == [
        "bus.rs485.port: rfc2217://127.0.0.1:1 lives in one process only: when the scan dies the"
        " guard cannot write here, and the chargers are left to their own watchdogs; socket:// and"
        " devices can be shared"
    ]


def test_check_proof_that_does_not_hold_exits_1_with_its_line(tmp_path: Path) -> None:
    path = write_site(tmp_path, WITH_PORT.replace("background_A = 40", "background_A = 90"))
    result = CliRunner().invoke(cli, ["check", str(path)])
    assert isinstance(result.exception, CheckRefused)
    assert result.exception.exit_code == 1
    assert len(result.exception.lines) == 1
    assert result.output.splitlines()[-1] == "Refused for 1 reason; 2 warnings."


def test_check_plan_that_does_not_fit_exits_1_beside_the_proof(tmp_path: Path) -> None:
    text = WITH_PORT.replace("19200", "1200").replace("background_A = 40", "background_A = 90")
    path = write_site(tmp_path, text)
    result = CliRunner().invoke(cli, ["check", str(path), "--json"])
    answer = json.loads(result.output)
    assert isinstance(result.exception, CheckRefused)
    assert answer["good"] is False
    assert answer["plan"] is None
    assert [line.split(":")[0] for line in answer["refusals"]] == ["circuit.main L2", "bus.rs485"]
    assert result.exception.lines == tuple(answer["refusals"])


def test_check_own_maps_are_taken_from_a_directory(tmp_path: Path) -> None:
    maps = write_map(tmp_path, "box", without="watchdog fallback")
    path = write_site(tmp_path, in_table("charger.bay1", ("reference-charger", "box")))
    with pytest.raises(ConfigError, match="there is no model"):
        CliRunner().invoke(cli, ["check", str(path)], catch_exceptions=False)
    result = CliRunner().invoke(cli, ["check", str(path), "--maps", str(maps)])
    assert isinstance(result.exception, CheckRefused)
    assert "  bay1  no watchdog: keeps its last setpoint, counts 16 A" in result.output


def test_check_as_a_process_good_site_exits_0_and_keeps_stderr_empty(tmp_path: Path) -> None:
    done = loadctl("check", write_site(tmp_path, WITH_PORT))
    assert (done.returncode, done.stderr) == (0, "")


def test_check_as_a_process_broken_site_exits_3_with_one_line(tmp_path: Path) -> None:
    path = write_site(tmp_path, changed(("limit_A = 100", "limit_A = 0")))
    done = loadctl("check", path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == f"{path}:10: circuit.main.limit_A: 0 A is below 6 A\n"


def test_check_as_a_process_refusal_exits_1_with_one_line(tmp_path: Path) -> None:
    done = loadctl("check", write_site(tmp_path, WITH_PORT.replace("= 40", "= 90")))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("circuit.main L2: failsafe proof: 106 A (chargers 16 A + ")


def test_check_as_a_process_without_a_site_exits_2() -> None:
    assert loadctl("check").returncode == 2


def test_check_as_a_process_missing_file_exits_3(tmp_path: Path) -> None:
    done = loadctl("check", tmp_path / "nope.toml")
    assert done.returncode == 3
    assert done.stderr == f"{tmp_path}/nope.toml: No such file or directory\n"


def test_check_isolated_charger_is_shown_as_switched_off(tmp_path: Path) -> None:
    text = GARAGE.replace("failsafe_A = 10", "failsafe_A = 10\nisolated = true")
    result = CliRunner().invoke(cli, ["check", str(write_site(tmp_path, text))])
    assert "  bay2  is switched off for good" in result.output


def test_check_warnings_are_wrapped_for_a_terminal_and_whole_in_a_file() -> None:
    warnings = ("circuit.main L1: much too long for this screen", "short")
    assert wrapped(warnings, None) == [
        "  circuit.main L1: much too long for this screen",
        "  short",
    ]
    assert wrapped(warnings, 30) == [
        "  circuit.main L1: much too",
        "      long for this screen",
        "  short",
    ]


def test_check_says_the_figures_of_each_fuse(tmp_path: Path) -> None:
    text = WITH_PORT.replace("background_A = 40", "background_A = 0")
    fused = in_table(
        "circuit.main",
        ("limit_A = 100", 'limit_A = 100\nfuse = { type = "gG", rated_A = 100 }'),
        text=text,
    )
    path = write_site(tmp_path, fused)
    lines = CliRunner().invoke(cli, ["check", str(path)]).output.splitlines()
    first = lines.index("Fuses (usual figures, not verified) and what is done when one is warm") + 1
    assert lines[first : lines.index("", first)] == [
        "  main: gG 100 A, holds 125 A, operates at 160 A within 2 h; model: 141.4 A for ever is"
        " 100 %, time constant 1185 s; above 75 % nothing starts and shares keep to 95 A until 65 %"
    ]
    result = CliRunner().invoke(cli, ["check", str(path), "--json"])
    assert json.loads(result.output)["fuses"] == {
        "main": {
            "holds_A": 125,
            "operates_A": 160,
            "conventional_h": 2,
            "full_A": 141.4,
            "time_constant_s": 1185,
            "cools_at_A": 95,
        }
    }


def test_check_without_a_fuse_says_nothing_of_fuses(tmp_path: Path) -> None:
    path = write_site(tmp_path, WITH_PORT)
    assert "Fuses" not in CliRunner().invoke(cli, ["check", str(path)]).output


def box_lines(path: Path, *words: str) -> list[str]:
    """What check says about each box."""
    lines = CliRunner().invoke(cli, ["check", str(path), *words]).output.splitlines()
    first = lines.index("What each box does without the controller") + 1
    return [line.strip() for line in lines[first : lines.index("", first)]]


def test_check_says_what_feeds_each_watchdog() -> None:
    assert box_lines(ROOT / "docs/examples/every-model.toml") == [
        "heidelberg  falls to 6 A, 15 s after the last message to it, reads too: protects against"
        " a silent gateway only",
        "obo         falls to 6 A, 15 s after the last message to it, reads too: protects against"
        " a silent gateway only",
        "terra       falls to 0 A, 30 s after the last read: protects against a silent gateway"
        " only",
        "mennekes    falls to 6 A, 10 s after the last heartbeat (0x55aa to register 3328), sent"
        " only after an acknowledged setpoint",
    ]


def test_check_two_outlets_on_one_address_share_a_watchdog(tmp_path: Path) -> None:
    connectors = ("[rating]", '[connectors]\ncount = 2\nstride = 200\nconfidence = "H"\n\n[rating]')
    maps = write_map(tmp_path, "twin", connectors)
    text = GARAGE.replace("reference-charger", "twin")
    text = in_table("charger.bay2", ("address = 3", "address = 2\nconnector = 2"), text=text)
    feeds = "after the last setpoint; reads do not feed it"
    assert box_lines(write_site(tmp_path, text), "--maps", str(maps)) == [
        f"bay1  falls to 6 A, 30 s {feeds}; one watchdog with bay2 at the same address: what feeds"
        " one feeds all",
        f"bay2  falls to 10 A, 30 s {feeds}; one watchdog with bay1 at the same address: what feeds"
        " one feeds all",
    ]


def test_check_says_which_real_time_settings_this_machine_gives_and_what_would_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Applied(REFUSED, errno.EPERM), Applied(NOT_ASKED, 0), *[Applied(APPLIED, 0)] * 5]
    monkeypatch.setattr(realtime, "could_have", lambda *_: found)
    path = write_site(tmp_path, WITH_PORT)
    lines = CliRunner().invoke(cli, ["check", str(path)]).output.splitlines()
    at = lines.index("Real time, as a process of this user gets it on this machine")
    assert lines[at + 1] == (
        "  SCHED_FIFO: refused, Operation not permitted: any busy process then makes it late;"
        " in the unit: LimitRTPRIO=99, or CAP_SYS_NICE"
    )
    assert lines[at + 2] == "  memory lock: applied"
    answer = json.loads(CliRunner().invoke(cli, ["check", str(path), "--json"]).output)
    assert answer["real_time"] == {
        "SCHED_FIFO": False,
        "memory lock": True,
        "CPU latency request": True,
        "no garbage collection": True,
        "switch interval": True,
        "timer slack": True,
    }
