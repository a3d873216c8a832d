"""A whole site in real time: `loadctl run`, guard and scan, on simulated buses.

Starts and ends its own processes only. What is measured is of guard and scan; the devices beside
them need processor time of their own, which a gateway does not have to give.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.bus import restless
from bench.bussites import bus_site
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.errors import LoadctlError
from loadctl.status import StatusReader
from loadctl.units import NS_PER_S

START_WITHIN_s = 60
WARM_s = 15
LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
TICKS_PER_s = os.sysconf("SC_CLK_TCK")


class Load(NamedTuple):
    span_s: float
    scans: int
    missed: int
    cpu_percent: float  # of one core, guard and scan
    pss_MiB: float
    exchanges_per_s: float
    unanswered: int
    worst_scan_ms: float
    device_cpu_percent: float
    host_load: float


def measure(directory: Path, span_s: float, **site: Any) -> Load:
    """`site` as for `bus_site`."""
    tables = bus_site(directory, **site)
    with SimSite(tables, restless(tables, 20 * NS_PER_S), directory / "sim") as simulated:
        text = (directory / "site.toml").read_text()
        for bus_i, (_, port) in enumerate(simulated.ports.items()):
            text = text.replace(f'"/dev/null{bus_i}"', f'"{port}"')
        site_path = directory / "ported.toml"
        site_path.write_text(text)
        with (directory / "stderr").open("w") as errors:
            guard = subprocess.Popen(
                [*LOADCTL, "run", str(site_path), "--runtime-dir", str(directory / "run")],
                stderr=errors,
                stdout=errors,
            )
            try:
                return _watch(guard, directory / "run", simulated, span_s)
            finally:
                guard.send_signal(signal.SIGTERM)
                guard.wait(30)


def _watch(
    guard: subprocess.Popen[bytes], run_dir: Path, simulated: SimSite, span_s: float
) -> Load:
    found = _first_status(guard, run_dir)
    time.sleep(WARM_s)
    pids = (guard.pid, int(found["scan"]["pid"]))
    before, began_s = _counts(run_dir, pids, simulated), time.monotonic()
    loads = []
    while time.monotonic() - began_s < span_s:
        time.sleep(min(5.0, span_s))
        loads.append(os.getloadavg()[0])
    took_s = time.monotonic() - began_s
    after = _counts(run_dir, pids, simulated)
    gone = {key: after[key] - before[key] for key in before}
    status = _status(run_dir)
    return Load(
        span_s=took_s,
        scans=gone["scans"],
        missed=gone["missed"],
        cpu_percent=100 * gone["cpu_s"] / took_s,
        pss_MiB=sum(_pss_bytes(pid) for pid in pids) / (1 << 20),
        exchanges_per_s=gone["requests"] / took_s,
        unanswered=gone["unanswered"],
        worst_scan_ms=status["scan"]["worst_scan_ms"],
        device_cpu_percent=100 * gone["device_s"] / took_s,
        host_load=max(loads),
    )


def _first_status(guard: subprocess.Popen[bytes], run_dir: Path) -> Any:
    end_s = time.monotonic() + START_WITHIN_s
    while time.monotonic() < end_s and guard.poll() is None:
        try:
            found = _status(run_dir)
        except LoadctlError:
            time.sleep(0.2)
            continue
        if found["mode"] == "run" and all(c["is_armed"] for c in found["chargers"].values()):
            return found
        time.sleep(0.2)
    raise RuntimeError(f"the site did not come up: {run_dir.parent / 'stderr'} says why")


def _status(run_dir: Path) -> Any:
    site_dir = runtime.find_site([run_dir], None)
    return StatusReader(site_dir).read(time.monotonic_ns())


def _counts(run_dir: Path, pids: tuple[int, int], simulated: SimSite) -> dict[str, Any]:
    status = _status(run_dir)
    return {
        "scans": status["scan"]["scans"],
        "missed": status["scan"]["missed"],
        "cpu_s": sum(_cpu_s(pid) for pid in pids),
        "device_s": sum(_cpu_s(pid) for pid in simulated.pids.values()),
        "requests": sum(bus["requests"] for bus in simulated.report()["buses"].values()),
        "unanswered": sum(charger["unanswered"] for charger in status["chargers"].values()),
    }


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_s


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/{pid}/smaps_rollup: no Pss")
