"""The scan as a process on a pseudo-terminal: how it ends, what it leaves, who else may start."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadctl import tables as plain
from loadctl.runtime import SiteDir, running_sites
from loadctl.site.load import load_site
from tests.support.running_site import (
    ENV,
    LOADCTL,
    Running,
    setpoints_A,
    site_text,
    wait_gone,
)

pytestmark = pytest.mark.timing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_scan_told_to_stop_leaves_every_charger_at_its_failsafe_and_ends_well(
    running: Running, number: int
) -> None:
    running.process.send_signal(number)
    assert running.process.wait(5) == 0
    chargers = running.simulated.report()["chargers"]
    assert [charger["in_force_mA"] for charger in chargers.values()] == [6_000, 6_000]
    assert running.simulated.report()["n_violations"] == 0
    assert running_sites([running.runtime_dir]) == []
    done = running.status()
    assert done.returncode == 5
    assert "rig: not running; its last scan was" in done.stderr
    assert "STOP" in done.stdout


def test_site_on_a_bus_where_nobody_ever_answered_says_so_when_it_stops(tmp_path: Path) -> None:
    master_fd, slave_fd = os.openpty()
    path = tmp_path / "site.toml"
    path.write_text(site_text(os.ttyname(slave_fd)))
    command = [*LOADCTL, "run", str(path), "--runtime-dir", str(tmp_path / "rt")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENV)
    running = Running(process, None, path, tmp_path / "rt")  # type: ignore[arg-type]
    try:
        running.until(lambda found: found["scan"]["scans"] >= 3, is_ours=False)
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
        os.close(master_fd)
        os.close(slave_fd)
    assert process.returncode == 4
    assert "guard: stopped: 0 chargers at failsafe, 2 did not answer" in said
    assert "bay1: failsafe current not acknowledged" in said


def test_site_whose_guard_was_killed_leaves_its_last_whole_scan_and_its_locks_free(
    running: Running,
) -> None:
    before = running.json()
    running.process.kill()
    running.process.wait()
    wait_gone(before["scan"]["pid"], 5)
    done = running.status("--json")
    assert done.returncode == 5
    after = json.loads(done.stdout)
    assert after["scan"]["scans"] >= before["scan"]["scans"]
    assert (after["mode"], after["is_running"]) == ("stop", False)
    assert setpoints_A(after) >= [6, 6]
    again = subprocess.Popen(
        [*LOADCTL, "run", str(running.site_path), "--runtime-dir", str(running.runtime_dir)],
        env=ENV,
    )
    try:
        running.until(lambda found: found["guard"]["pid"] == again.pid, is_ours=False)
    finally:
        again.terminate()
        assert again.wait(10) == 0


def test_scan_that_is_held_up_for_less_than_the_guard_allows_counts_what_it_missed(
    running: Running,
) -> None:
    pid = running.json()["scan"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.65)  # a period and a half, and less than the three that the guard allows
    os.kill(pid, signal.SIGCONT)
    found = running.until(lambda found: found["scan"]["missed"] >= 1)
    assert found["scan"]["pid"] == pid
    assert found["guard"]["takeovers"] == 0


def test_scan_runs_once_for_a_site_and_once_for_a_port(running: Running, tmp_path: Path) -> None:
    command = [*LOADCTL, "run", str(running.site_path)]
    same = subprocess.run(
        [*command, "--runtime-dir", str(running.runtime_dir)],
        capture_output=True,
        text=True,
        env=ENV,
    )
    assert same.returncode == 2
    assert "site 'rig' runs already" in same.stderr
    other = subprocess.run(
        [*command, "--runtime-dir", str(tmp_path / "elsewhere")],
        capture_output=True,
        text=True,
        env=ENV,
    )
    assert other.returncode == 4
    assert "is locked by another program" in other.stderr
    assert running.json()["scan"]["missed"] == 0


def test_scan_process_reports_each_real_time_setting_and_runs_without_the_collector(
    running: Running,
) -> None:
    found = running.json()
    states = {setting["what"]: setting["is_applied"] for setting in found["real_time"]}
    assert set(states) == {
        "SCHED_FIFO",
        "memory lock",
        "CPU latency request",
        "no garbage collection",
        "switch interval",
        "timer slack",
    }
    assert states["no garbage collection"] is True
    status = Path(f"/proc/{found['scan']['pid']}/status").read_text()
    locked_kB = int(status.split("VmLck:")[1].split()[0])
    assert (locked_kB > 0) is states["memory lock"]
    if os.geteuid() == 0:
        print(f"locked {locked_kB} kB, threads {status.split('Threads:')[1].split()[0]}")
    assert locked_kB < 150_000  # 256 KiB stacks: the default would lock 8 MiB a thread


def test_scan_process_on_a_missing_port_is_a_bus_error(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(site_text("socket://127.0.0.1:9", 1))
    site_dir = SiteDir(tmp_path / "rt" / "rig")
    site_dir.path.mkdir(parents=True)
    site_dir.tables.write_text(plain.dump(load_site(path).tables))
    command = [sys.executable, "-P", "-m", "loadctl.scan", "--tables", str(site_dir.tables)]
    done = subprocess.run(
        [*command, "--runtime-dir", str(site_dir.path)], capture_output=True, text=True, env=ENV
    )
    assert done.returncode == 4
    assert done.stderr.startswith("bus one: port socket://127.0.0.1:9")
    assert len(done.stderr.splitlines()) == 1
