"""A whole site in real time: `loadctl run` on simulated devices, watched through its status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.errors import LoadctlError
from loadctl.site.load import load_site
from loadctl.status import StatusReader

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
START_WITHIN_s = 60
LOOK_EVERY_s = 0.02

HEAD = """
[site]
name = "rig"
period_ms = {period_ms}
[bus.one]
port = "{port}"
baud = {baud}
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
raise_every_s = 0.5
ramp_A_per_s = 10
healthy_scans = 3
"""
BAY = """
[charger.{name}]
bus = "{bus}"
model = "reference-charger"
address = {address}
circuit = "main"
phases = ["L1", "L2", "L3"]
min_A = 6
max_A = 16
rated_A = 16
failsafe_A = 6
"""

Found = dict[str, Any]


class Running(NamedTuple):
    """`process` is the guard."""

    process: subprocess.Popen[bytes]
    simulated: SimSite
    site_path: Path
    runtime_dir: Path

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*LOADCTL, "status", "--runtime-dir", str(self.runtime_dir), *options]
        return subprocess.run(command, capture_output=True, text=True, env=ENV)

    def json(self) -> Found:
        found: Found = json.loads(self.status("--json").stdout)
        return found

    def said(self) -> str:
        """What guard and scan wrote to stderr so far."""
        return (self.site_path.parent / "stderr").read_text()

    def look(self) -> Found | None:
        """The status now, or None while there is none."""
        try:
            site_dir = runtime.find_site([self.runtime_dir], None)
            return dict(StatusReader(site_dir).read(time.monotonic_ns()))
        except LoadctlError:
            return None

    def until(
        self,
        is_so: Callable[[Found], bool],
        within_s: float = START_WITHIN_s,
        *,
        is_ours: bool = True,
    ) -> Found:
        """The first status of which `is_so` is true."""
        end_s = time.monotonic() + within_s
        while time.monotonic() < end_s:
            assert self.process.poll() is None or not is_ours, self.said()
            found = self.look()
            if found is not None and is_so(found):
                return found
            time.sleep(LOOK_EVERY_s)
        raise AssertionError(f"not within {within_s} s: {self.status().stdout}\n{self.said()}")

    def until_raised(self, after_pid: int = 0) -> Found:
        """Every charger above its failsafe current, in RUN, by another scan than `after_pid`."""

        def is_so(found: Found) -> bool:
            is_other = found["scan"]["pid"] != after_pid
            return is_other and found["mode"] == "run" and min(setpoints_A(found)) > 6

        return self.until(is_so)


def setpoints_A(found: Found) -> list[float]:
    return [charger["setpoint_A"] for charger in found["chargers"].values()]


def charging(n_cars: int = 2, *, logs_writes: bool = False) -> Scenario:
    """A steady building, and a car at each of the first bays from the start on."""
    return Scenario(
        loads={"main": Load("constant", (5_000,) * 3)},
        visits=tuple(Visit(f"bay{i}", 0) for i in range(1, n_cars + 1)),
        logs_writes=logs_writes,
    )


def bay_text(name: str, *, address: int, bus: str = "one") -> str:
    return BAY.format(name=name, address=address, bus=bus)


def site_text(
    port: str | Path, n_chargers: int = 2, *, period_ms: int = 300, baud: int = 115_200
) -> str:
    bays = [bay_text(f"bay{i}", address=10 + i) for i in range(1, n_chargers + 1)]
    return HEAD.format(port=port, period_ms=period_ms, baud=baud) + "".join(bays)


@contextmanager
def running_site(
    directory: Path, text: str, scenario: Scenario, *options: str
) -> Iterator[Running]:
    """`text` may name the port of bus X as `directory/sim/bus-X`. Ends whatever still runs."""
    path = directory / "site.toml"
    path.write_text(text)
    command = [*LOADCTL, "run", str(path), "--runtime-dir", str(directory / "rt"), *options]
    with (
        SimSite(load_site(path).tables, scenario, directory / "sim") as simulated,
        (directory / "stderr").open("wb") as stderr,
    ):
        process = subprocess.Popen(command, env=ENV, stderr=stderr)
        running = Running(process, simulated, path, directory / "rt")
        try:
            yield running
        finally:
            found = running.look()
            if process.poll() is None:
                process.kill()
            process.wait()
            if found is not None:
                wait_gone(found["scan"]["pid"], 10)


def is_alive(pid: int) -> bool:
    """A process that only waits to be reaped is not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def wait_gone(pid: int, within_s: float) -> float:
    """Seconds until a process is gone."""
    began_s = time.monotonic()
    while is_alive(pid):
        assert time.monotonic() - began_s < within_s, f"process {pid} is still there"
        time.sleep(LOOK_EVERY_s / 4)
    return time.monotonic() - began_s


def wait_unlocked(runtime_dir: Path, within_s: float) -> None:
    """Until no site runs there: threads of a process that is gone may hold its lock a moment
    longer."""
    began_s = time.monotonic()
    while runtime.running_sites([runtime_dir]):
        assert time.monotonic() - began_s < within_s, f"{runtime_dir} is still locked"
        time.sleep(LOOK_EVERY_s / 4)
