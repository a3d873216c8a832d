"""What `run` refuses before it becomes the scan, and what it hands over when it does."""

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli import run as command
from loadctl.cli.main import cli
from loadctl.errors import BusError, CheckRefused, UsageError

SITE = """
[site]
name = "{site}"
period_ms = {period_ms}
[bus.one]
port = "{port}"
baud = 19200
frame = "8E1"
[circuit.main]
limit_A = 32
mode = "static"
background_A = {background_A}
[charger.bay1]
bus = "one"
model = "reference-charger"
address = 11
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
failsafe_A = 6
"""


@pytest.fixture
def port() -> Any:
    """A pseudo-terminal stands in for the port."""
    ours, theirs = os.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of become_scan; the locks are let go at the end."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(command, "become_scan", lambda *arguments: calls.append(arguments))
    return calls


def run_site(
    directory: Path,
    port: str,
    *options: str,
    background_A: int = 0,
    period_ms: int = 500,
    site: str = "Rig",
) -> Any:
    text = SITE.format(port=port, background_A=background_A, period_ms=period_ms, site=site)
    (directory / "site.toml").write_text(text)
    arguments = ["run", str(directory / "site.toml"), "--runtime-dir", str(directory / "rt")]
    return CliRunner().invoke(cli, [*arguments, *options])


def let_go(call: tuple[Any, ...]) -> None:
    for fd in (*call[1], *call[2]):
        os.close(fd)


def test_run_hands_over_tables_locks_and_options(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    done = run_site(tmp_path, port, "--fifo-priority", "0", "--cpu", "1")
    assert done.exit_code == 0, done.output
    site_dir, _, port_fds, options = became[0]
    assert site_dir.is_locked() is True
    assert plain.load(site_dir.tables.read_text()).site.name == "Rig"
    assert len(port_fds) == 1
    assert options == ["--fifo-priority", "0", "--cpu", "1"]
    assert done.stdout.startswith("Rig: 1 chargers, 0 meters on 1 buses, files in ")
    let_go(became[0])


def test_run_second_instance_of_a_site_is_refused(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    run_site(tmp_path, port)
    done = run_site(tmp_path, port)
    assert isinstance(done.exception, UsageError)
    assert "runs already" in str(done.exception)
    let_go(became[0])


def test_run_second_site_on_a_port_is_refused(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    run_site(tmp_path, port)
    done = run_site(tmp_path, port, site="Other")
    assert isinstance(done.exception, BusError)
    assert f"port {port}" in str(done.exception)
    let_go(became[0])


def test_run_missing_port_is_a_bus_error(tmp_path: Path, became: list[tuple[Any, ...]]) -> None:
    done = run_site(tmp_path, "/dev/does-not-exist")
    assert isinstance(done.exception, BusError)
    assert "no such device" in str(done.exception)
    assert became == []
    assert runtime.running_sites([tmp_path / "rt"]) == []  # what was locked before is free again


def test_run_site_whose_proof_does_not_hold_is_refused_before_anything_is_touched(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    done = run_site(tmp_path, port, background_A=27)  # beside 6 A of failsafe
    assert isinstance(done.exception, CheckRefused)
    assert "circuit.main" in str(done.exception)
    assert became == []
    assert not (tmp_path / "rt").exists()


def test_run_site_whose_bus_plan_does_not_fit_is_refused(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    done = run_site(tmp_path, port, period_ms=100)
    assert isinstance(done.exception, CheckRefused)
    assert "site.period_ms = 100" in str(done.exception)
    assert became == []


def test_run_socket_port_is_locked_by_host_and_port_for_all_sites(
    tmp_path: Path, became: list[tuple[Any, ...]]
) -> None:
    """The scan opens it; here it is only held."""
    done = run_site(tmp_path, "socket://127.0.0.1:9")
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "rt").glob("*.lock")] == ["127.0.0.1_9.lock"]
    done = run_site(tmp_path, "socket://127.0.0.1:9", site="Other")
    assert isinstance(done.exception, BusError)
    let_go(became[0])
