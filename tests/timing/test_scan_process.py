"""The scan as a process on a pseudo-terminal: how it ends, what it leaves, who else may start."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.site import SimSite
from loadctl import tables as plain
from loadctl.runtime import SiteDir, running_sites
from loadctl.site.load import load_site

pytestmark = pytest.mark.timing

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
START_WITHIN_s = 15
SITE = """
[site]
name = "rig"
period_ms = 400
[bus.one]
port = "{port}"
baud = 19200
frame = "8E1"
[circuit.main]
limit_A = 63
mode = "dynamic"
meter = "grid"
background_A = 20
[meter.grid]
bus = "one"
model = "reference-meter"
address = 1
[tuning]
soft_start_s = 0
stagger_s = 0
"""
CHARGER = """
[charger.bay{i}]
bus = "one"
model = "reference-charger"
address = {address}
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
rated_A = 16
failsafe_A = 6
"""


class Running(NamedTuple):
    process: subprocess.Popen[bytes]
    simulated: SimSite
    site_path: Path
    runtime_dir: Path

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*LOADCTL, "status", "--runtime-dir", str(self.runtime_dir), *options]
        return subprocess.run(command, capture_output=True, text=True, env=ENV)

    def said(self) -> str:
        """What the process that ended wrote to stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.status("--json").stdout)
        return found

    def until(
        self, is_so: Any, within_s: float = START_WITHIN_s, *, is_ours: bool = True
    ) -> dict[str, Any]:
        """The first status of which `is_so` is true."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            assert self.process.poll() is None or not is_ours, self.said()
            done = self.status("--json")
            if done.returncode == 0 and is_so(found := json.loads(done.stdout)):
                return dict(found)
            time.sleep(0.2)
        raise AssertionError(f"not within {within_s} s: {self.status().stdout}")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Two chargers, two cars, a site that has raised both above their failsafe current."""
    path = tmp_path / "site.toml"
    chargers = "".join(CHARGER.format(i=i, address=10 + i) for i in (1, 2))
    path.write_text(SITE.format(port=tmp_path / "sim" / "bus-one") + chargers)
    scenario = Scenario(
        loads={"main": Load("constant", (5_000,) * 3)},
        visits=(Visit("bay1", 0), Visit("bay2", 0)),
    )
    with SimSite(load_site(path).tables, scenario, tmp_path / "sim") as simulated:
        command = [*LOADCTL, "run", str(path), "--runtime-dir", str(tmp_path / "rt")]
        process = subprocess.Popen(command, env=ENV, stderr=subprocess.PIPE)
        started = Running(process, simulated, path, tmp_path / "rt")
        try:
            started.until(lambda found: min(setpoints_A(found)) > 6, within_s=60)
            yield started
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def setpoints_A(found: dict[str, Any]) -> list[float]:
    return [charger["setpoint_A"] for charger in found["chargers"].values()]


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


def test_scan_that_was_killed_leaves_its_last_whole_scan_and_its_locks_free(
    running: Running,
) -> None:
    before = running.json()
    running.process.kill()
    running.process.wait()
    done = running.status("--json")
    assert done.returncode == 5
    after = json.loads(done.stdout)
    assert after["scan"]["scans"] >= before["scan"]["scans"]
    assert (after["mode"], after["is_running"]) == ("not running", False)
    assert setpoints_A(after) >= [6, 6]
    again = subprocess.Popen(
        [*LOADCTL, "run", str(running.site_path), "--runtime-dir", str(running.runtime_dir)],
        env=ENV,
    )
    try:
        running.until(lambda found: found["scan"]["pid"] == again.pid, is_ours=False)
    finally:
        again.terminate()
        assert again.wait(5) == 0


def test_scan_that_is_stopped_shows_as_stale_with_its_age(running: Running) -> None:
    os.kill(running.process.pid, signal.SIGSTOP)
    found = running.until(lambda found: found["is_stale"])
    assert found["age_ms"] > 1200
    assert running.status().stdout.startswith("STALE: the last scan is ")
    os.kill(running.process.pid, signal.SIGCONT)
    found = running.until(lambda found: not found["is_stale"])
    assert found["scan"]["missed"] >= 1
    assert found["scan"]["skipped"] >= 1


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
    }
    assert states["no garbage collection"] is True
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    locked_kB = int(status.split("VmLck:")[1].split()[0])
    assert (locked_kB > 0) is states["memory lock"]
    if os.geteuid() == 0:
        print(f"locked {locked_kB} kB, threads {status.split('Threads:')[1].split()[0]}")
    assert locked_kB < 150_000  # 256 KiB stacks: the default would lock 8 MiB a thread


def test_scan_process_on_a_missing_port_is_a_bus_error(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = SITE.format(port="socket://127.0.0.1:9") + CHARGER.format(i=1, address=11)
    path.write_text(text)
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
