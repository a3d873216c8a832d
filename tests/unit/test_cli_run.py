"""What `run` refuses before it becomes the guard, and what it hands over when it does."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hw.lock import lock_port
from hw.opening import close_port, open_serial
from hw.wire import Line
from loadctl import tables as plain
from loadctl.cli import run as command
from loadctl.cli.main import cli
from loadctl.errors import BusError, CheckRefused, UsageError
from loadctl.guard.__main__ import arguments, main, open_ports
from tests.support.builders import make_bus, make_tables
from tests.support.site_files import one_bay


@pytest.fixture
def port() -> Any:
    """A pseudo-terminal stands in for the port."""
    ours, theirs = os.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Calls of become_guard."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(command, "become_guard", lambda *arguments: calls.append(arguments))
    return calls


def run_site(
    directory: Path,
    port: str,
    *options: str,
    background_A: int = 0,
    period_ms: int = 500,
    site: str = "Rig",
) -> Any:
    text = one_bay(port, background_A=background_A, period_ms=period_ms, name=site)
    (directory / "site.toml").write_text(text)
    arguments = ["run", str(directory / "site.toml"), "--runtime-dir", str(directory / "rt")]
    return CliRunner().invoke(cli, [*arguments, *options])


def let_go(call: tuple[Any, ...]) -> None:
    os.close(call[1])


def guard_arguments(call: tuple[Any, ...]) -> list[str]:
    site_dir, lock_fd, options = call
    paths = ["--tables", str(site_dir.tables), "--runtime-dir", str(site_dir.path)]
    return [*paths, "--lock-fd", str(lock_fd), *options]


def guard(call: tuple[Any, ...]) -> int:
    """What the guard makes of what it was handed; only where it refuses before it asks for real
    time and starts its threads, which would be this process's for good."""
    return main(guard_arguments(call))


def guard_process(call: tuple[Any, ...]) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "loadctl.guard", *guard_arguments(call)]
    return subprocess.run(
        command, pass_fds=(call[1],), capture_output=True, text=True, check=False, timeout=60
    )


def test_run_hands_over_tables_lock_and_options(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    done = run_site(tmp_path, port, "--fifo-priority", "0", "--cpu", "1")
    assert done.exit_code == 0, done.output
    site_dir, lock_fd, options = became[0]
    assert site_dir.is_locked() is True
    assert plain.load(site_dir.tables.read_text()).site.name == "Rig"
    assert lock_fd > 2
    found = arguments(["--tables", "t", "--runtime-dir", "r", *options])
    assert (found.fifo_priority, found.cpu, found.watchdog_device) == (0, 1, None)
    assert (found.crash_limit, found.crash_window_s) == (3, 600.0)
    assert found.scan_module == "loadctl.scan"
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


def test_run_port_of_another_program_is_a_bus_error(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    held = lock_port(port, tmp_path)
    run_site(tmp_path, port)
    assert guard(became[0]) == 4
    said = capfd.readouterr().err
    assert said.startswith(f"bus one: port {port}: ")
    assert "is locked by another program" in said
    assert said.count("\n") == 1
    os.close(held)
    let_go(became[0])


def test_run_missing_port_is_a_bus_error(
    tmp_path: Path, became: list[tuple[Any, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    run_site(tmp_path, "/dev/does-not-exist")
    assert guard(became[0]) == 4
    said = capfd.readouterr().err
    assert said.startswith("bus one: port /dev/does-not-exist: no such device")
    let_go(became[0])


def test_run_port_inside_pyserial_where_nobody_listens_is_a_bus_error(
    tmp_path: Path, became: list[tuple[Any, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"rfc2217://127.0.0.1:{gone.getsockname()[1]}"
    run_site(tmp_path, url)
    assert guard(became[0]) == 4
    assert capfd.readouterr().err == (
        f"bus one: port {url}: connection refused; is the gateway on, and does it listen on this"
        " port?\n"
    )
    os.close(lock_port(url, became[0][0].lock_dir))
    let_go(became[0])


def test_run_port_inside_pyserial_without_its_device_is_a_bus_error(
    tmp_path: Path, became: list[tuple[Any, ...]], capfd: pytest.CaptureFixture[str]
) -> None:
    run_site(tmp_path, "spy:///dev/does-not-exist")
    assert guard(became[0]) == 4
    said = capfd.readouterr().err
    assert said.startswith("bus one: port spy:///dev/does-not-exist: no such device; look at")
    let_go(became[0])


def test_run_port_inside_pyserial_is_left_as_the_scan_wants_it(tmp_path: Path, port: str) -> None:
    url = f"spy://{port}?file=/dev/null"
    (opened,) = open_ports(make_tables(buses=[make_bus("one", port=url)]), tmp_path)
    again, _ = open_serial(url, Line(19200, "8E1"), False)
    again.close()
    close_port(opened)


def test_run_watchdog_device_that_is_missing_is_a_usage_error(
    tmp_path: Path, port: str, became: list[tuple[Any, ...]]
) -> None:
    run_site(tmp_path, port, "--watchdog-device", "/dev/does-not-exist")
    done = guard_process(became[0])
    assert done.returncode == 2
    assert done.stderr == "watchdog /dev/does-not-exist: No such file or directory\n"
    let_go(became[0])


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


def test_run_second_port_in_use_lets_the_first_go(
    tmp_path: Path, port: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [make_bus("one", port=port), make_bus("two", port="/dev/does-not-exist")]
    with pytest.raises(BusError, match="bus two: port /dev/does-not-exist: no such device"):
        open_ports(make_tables(buses=rows), tmp_path)
    os.close(lock_port(port, tmp_path))
