"""`loadctl demo`: a simulated site on pseudo-terminals, run by the real scan, with a live view.

Real at every joint: the devices answer RTU bytes at the pace of the wire, `loadctl run` runs as its
own process, and the view reads the process image like any other client.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live

from hw.sim.scenario import demo_scenario
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.cli.params import DURATION_ns
from loadctl.cli.view import screen
from loadctl.errors import CheckRefused, LoadctlError, NotRunning
from loadctl.site.load import load_site
from loadctl.status import Status, StatusReader

DEMO_SITE = "demo.toml"
SIMULATED_PORT = 'port = "simulated"'
REDRAW_EVERY_s = 0.25
START_WITHIN_s = 20.0
STOP_WITHIN_s = 20.0


@click.command()
@click.option("--for", "for_ns", type=DURATION_ns, help="End after this long, e.g. 20s.")
@click.option("--json", "as_json", is_flag=True, help="No terminal; print one object at the end.")
@click.option("--seed", default=1, show_default=True, help="Another seed, other cars.")
def demo(for_ns: int | None, as_json: bool, seed: int) -> None:
    """Run a simulated garage and watch loadctl share its supply. Ctrl-c ends it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="loadctl-demo-") as folder:
        result = play(Path(folder), for_ns, None if as_json else Console(markup=False), seed)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(summary(result))
    if result["faults"]:
        raise CheckRefused(*result["faults"])


def play(folder: Path, for_ns: int | None, console: Console | None, seed: int) -> dict[str, Any]:
    """Run devices and scan side by side; what the judge and the image say of it at the end."""
    simulated, site_path = simulated_site(folder, seed)
    with simulated:
        scan = start_scan(site_path, folder)
        try:
            reader = first_status(scan, folder)
            faults = watch(reader, simulated, scan, for_ns, console)
            last = reader.read(time.monotonic_ns())
        finally:
            exit_code = stop(scan)
    if exit_code != 0:
        faults.append(f"the scan ended with exit code {exit_code}: {scan_errors(folder)}")
    return outcome(last, simulated.report(), faults)


def simulated_site(folder: Path, seed: int) -> tuple[SimSite, Path]:
    """The demo's devices, and its site file with the ports that they stand on."""
    text = resources.files("loadctl.cli").joinpath(DEMO_SITE).read_text()
    path = folder / DEMO_SITE
    path.write_text(text)
    tables = load_site(path).tables
    simulated = SimSite(tables, demo_scenario(tables, seed), folder / "sim")
    (port,) = simulated.ports.values()
    path.write_text(text.replace(SIMULATED_PORT, f"port = {json.dumps(port)}"))
    return simulated, path


def start_scan(site_path: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "loadctl", "run", str(site_path)]
    with (folder / "scan.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--runtime-dir", str(folder / "run")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # ctrl-c is for the view; the scan is told to stop after it
        )


def first_status(scan: subprocess.Popen[bytes], folder: Path) -> StatusReader:
    """Wait until the scan has published its first pass."""
    end_s = time.monotonic() + START_WITHIN_s
    while time.monotonic() < end_s and scan.poll() is None:
        try:
            reader = StatusReader(runtime.find_site([folder / "run"], None))
            reader.read(time.monotonic_ns())
        except NotRunning:
            time.sleep(REDRAW_EVERY_s)
        else:
            return reader
    raise LoadctlError(f"demo: the scan did not come up: {scan_errors(folder)}")


def scan_errors(folder: Path) -> str:
    return " ".join((folder / "scan.log").read_text(errors="replace").split()) or "no output"


def watch(
    reader: StatusReader,
    simulated: SimSite,
    scan: subprocess.Popen[bytes],
    for_ns: int | None,
    console: Console | None,
) -> list[str]:
    """Redraw until the time is up or ctrl-c; the faults that ended it before."""
    end_ns = None if for_ns is None else time.monotonic_ns() + for_ns
    view = nullcontext() if console is None else Live(console=console, auto_refresh=False)
    with view as live:
        try:
            while end_ns is None or time.monotonic_ns() < end_ns:
                status = reader.read(time.monotonic_ns())
                if live is not None and console is not None:
                    live.update(Group(*screen(status, *console.size)), refresh=True)
                if scan.poll() is not None:
                    return ["the scan ended before it was told to"]
                if simulated.dead():
                    return [f"simulated bus {name} ended" for name in simulated.dead()]
                time.sleep(REDRAW_EVERY_s)
        except KeyboardInterrupt:
            return []
    return []


def stop(scan: subprocess.Popen[bytes]) -> int:
    """SIGTERM, as systemd would; every charger is then at min(last setpoint, failsafe)."""
    if scan.poll() is None:
        scan.send_signal(signal.SIGTERM)
    try:
        return scan.wait(STOP_WITHIN_s)
    except subprocess.TimeoutExpired:
        scan.kill()
        return scan.wait()


def outcome(last: Status, report: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """One object of what happened: the scan's own counts, and what the judge saw from outside."""
    name, worst = max(
        report["circuits"].items(),
        key=lambda item: item[1]["worst_load_A"] / item[1]["limit_A"],
    )
    judged = [
        f"raise without room: {violation['charger']} to {violation['setpoint_mA']} mA"
        for violation in report["violations"]
    ]
    return {
        "scans": last["scan"]["scans"],
        "missed": last["scan"]["missed"],
        "worst_scan_ms": last["scan"]["worst_scan_ms"],
        "worst_circuit": {
            "circuit": name,
            "phase": worst["phase"],
            "load_A": worst["worst_load_A"],
            "limit_A": worst["limit_A"],
            "above_limit_s": worst["above_s"],
        },
        "setpoints_written": report["setpoints_written"],
        "raises": report["raises"],
        "takes": report["takes"],
        "raises_without_room": report["n_violations"],
        "elapsed_s": report["elapsed_s"],
        "faults": [*faults, *judged],
    }


def summary(result: dict[str, Any]) -> str:
    worst = result["worst_circuit"]
    return (
        f"\n{result['scans']} scans, {result['missed']} missed,"
        f" worst {result['worst_scan_ms']:.1f} ms\n"
        f"{result['setpoints_written']} setpoints written: {result['raises']} raises,"
        f" {result['takes']} takes; raises without room: {result['raises_without_room']}\n"
        f"fullest: {worst['circuit']} {worst['phase']} with {worst['load_A']:g} A of"
        f" {worst['limit_A']:g} A, {worst['above_limit_s']:g} s above the limit"
    )
