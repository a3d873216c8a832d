"""`loadctl demo`: a simulated site on pseudo-terminals, run by guard and scan, with a live view.

Real at every joint: the devices answer RTU bytes at the pace of the wire, `loadctl run` runs as its
own process, and the view reads the process image like any other client. Keys let faults loose.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from hw.sim.scenario import demo_scenario
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.bound import takeover_bounds
from loadctl.cli import live
from loadctl.cli.acts import QUIT, Acts, Crashes
from loadctl.cli.keyboard import Keyboard
from loadctl.cli.look import Look
from loadctl.cli.params import DURATION_ns
from loadctl.cli.story import SCRIPT, Story
from loadctl.cli.top import Watch
from loadctl.cli.view import screen
from loadctl.errors import CheckRefused, LoadctlError, NotRunning
from loadctl.site.load import Site, load_site
from loadctl.status import Status, StatusReader
from loadctl.units import NS_PER_S

DEMO_SITE = "demo.toml"
SIMULATED_PORT = 'port = "simulated"'
LOG = "run.log"
START_WITHIN_s = 30.0
STOP_WITHIN_s = 20.0
PLUG_IN_WITHIN_s = 5.0
TURNAROUND_ns = 5_000_000  # devices are quicker than the longest that their maps allow
CRASHES = Crashes(limit=3, window_s=60)  # a site's own window is ten minutes
Script = tuple[tuple[int, str], ...]


@click.command()
@click.option("--for", "for_ns", type=DURATION_ns, help="End after this long, e.g. 20s.")
@click.option("--script", type=SCRIPT, default=(), help='Keys and their times: "5s k, 15s m".')
@click.option("--json", "as_json", is_flag=True, help="No terminal; print one object at the end.")
@click.option("--seed", default=1, show_default=True, help="Another seed, other cars.")
@click.option(
    "--dir",
    "kept",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep logs and results in this directory.",
)
def demo(for_ns: int | None, script: Script, as_json: bool, seed: int, kept: Path | None) -> None:
    """Run a simulated garage and watch loadctl share its supply; keys let it fail. q ends it."""
    live.end_on_signals()
    with folder_for(kept) as folder:
        result = play(folder, for_ns, script, None if as_json else live.make_console(), seed)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    else:
        click.echo(summary(result))
    if result["faults"]:
        raise CheckRefused(*result["faults"])


@contextlib.contextmanager
def folder_for(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="loadctl-demo-") as folder:
        yield Path(folder)


@dataclass
class Play:
    """One demo under way. `faults`: what must not happen in any demo."""

    simulated: SimSite
    guard: subprocess.Popen[bytes]
    watch: Watch
    acts: Acts
    script: list[tuple[int, str]]
    story: Story = field(default_factory=Story)
    faults: list[str] = field(default_factory=list)
    keys: Counter[str] = field(default_factory=Counter)
    start_ns: int = field(default_factory=time.monotonic_ns)
    last: Status = field(default_factory=dict)
    look: Look = field(default_factory=Look)

    def run(self, for_ns: int | None, view: live.View | None, keyboard: Keyboard) -> None:
        """Redraw and take keys until the time is up, q, or something that ends it."""
        for now_ns in live.ticks(for_ns):
            self.last = self.watch.look(now_ns)
            self.story.look(self.last, now_ns)
            self.look.now_ns = now_ns
            self.look.history.note(self.last, now_ns)
            if view is not None:
                view.show(self.lines(view, now_ns))
            if self.has_broken():
                return
            for key in (*self.due(now_ns), *keyboard.pressed(live.REDRAW_EVERY_s)):
                if key == QUIT:
                    return
                self.look.press(key)
                said = self.acts.press(key, self.last, time.monotonic_ns())
                if said is not None:
                    self.keys[key] += 1
                    self.story.begin(key, said, time.monotonic_ns())

    def due(self, now_ns: int) -> list[str]:
        """The keys of the script whose time has come."""
        found = []
        while self.script and self.script[0][0] <= now_ns - self.start_ns:
            found.append(self.script.pop(0)[1])
        return found

    def lines(self, view: live.View, now_ns: int) -> Sequence[Text]:
        width, height = view.size
        footer = self.story.lines(width, now_ns, self.acts.active_keys)
        return screen(self.last, width, height, view.glyphs, footer, self.look)

    def has_broken(self) -> bool:
        if self.guard.poll() is not None:
            self.faults.append("the guard ended before it was told to")
        self.faults += [f"simulated bus {name} ended" for name in self.simulated.dead()]
        return bool(self.faults)

    def mend(self) -> None:
        """Everybody well and every port back, so that the chargers can be told on the way out."""
        self.acts.clear()
        end_s = time.monotonic() + PLUG_IN_WITHIN_s
        while time.monotonic() < end_s and not self.has_broken():
            self.last = self.watch.look(time.monotonic_ns())
            if all(bus["is_open"] for bus in self.last["buses"].values()):
                return
            time.sleep(live.REDRAW_EVERY_s)


def play(
    folder: Path, for_ns: int | None, script: Script, console: Console | None, seed: int
) -> dict[str, Any]:
    """Run devices and guard side by side; what judge and image say of it at the end."""
    simulated, site_path, loaded = simulated_site(folder, seed)
    with simulated:
        guard = start_guard(site_path, folder)
        try:
            watch = first_status(guard, folder)
            bounds = takeover_bounds(loaded.tables, loaded.maps)
            acts = Acts(simulated, loaded.tables, bounds, CRASHES)
            played = Play(simulated, guard, watch, acts, list(script))
            with contextlib.ExitStack() as stack:
                view = None if console is None else stack.enter_context(live.View(console))
                keyboard = stack.enter_context(Keyboard(is_wanted=console is not None))
                with contextlib.suppress(KeyboardInterrupt):
                    played.run(for_ns, view, keyboard)
            played.mend()
        finally:
            exit_code = stop(guard)
    if exit_code != 0:
        played.faults.append(f"run ended with exit code {exit_code}: {said_by_run(folder)}")
    return outcome(played, simulated.report())


def simulated_site(folder: Path, seed: int) -> tuple[SimSite, Path, Site]:
    """The demo's devices, and its site file with the ports that they stand on."""
    text = resources.files("loadctl.cli").joinpath(DEMO_SITE).read_text()
    path = folder / DEMO_SITE
    path.write_text(text)
    loaded = load_site(path)
    scenario = demo_scenario(loaded.tables, seed)
    scenario = replace(scenario, logs_writes=True, turnaround_ns=TURNAROUND_ns)
    simulated = SimSite(loaded.tables, scenario, folder / "sim")
    (port,) = simulated.ports.values()
    path.write_text(text.replace(SIMULATED_PORT, f"port = {json.dumps(port)}"))
    return simulated, path, loaded


def start_guard(site_path: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "loadctl", "run", str(site_path)]
    command += ["--runtime-dir", str(folder / "run")]
    command += ["--crash-limit", str(CRASHES.limit), "--crash-window-s", str(CRASHES.window_s)]
    with (folder / LOG).open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # ctrl-c is for the view; the guard is told to stop after it
        )


def first_status(guard: subprocess.Popen[bytes], folder: Path) -> Watch:
    """Wait until the scan has published its first pass."""
    end_s = time.monotonic() + START_WITHIN_s
    while time.monotonic() < end_s and guard.poll() is None:
        try:
            site_dir = runtime.find_site([folder / "run"], None)
            StatusReader(site_dir).read(time.monotonic_ns())
        except NotRunning:
            time.sleep(live.REDRAW_EVERY_s)
        else:
            return Watch(site_dir)
    raise LoadctlError(f"demo: the site did not come up: {said_by_run(folder)}")


def said_by_run(folder: Path) -> str:
    """The last lines of guard and scan, in one."""
    lines = (folder / LOG).read_text(errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip() and not line.startswith("warning:")]
    return "; ".join(told[-3:]) or "no output"


def stop(guard: subprocess.Popen[bytes]) -> int:
    """SIGTERM, as systemd would; every charger is then at min(last setpoint, failsafe)."""
    if guard.poll() is None:
        guard.send_signal(signal.SIGTERM)
    try:
        return guard.wait(STOP_WITHIN_s)
    except subprocess.TimeoutExpired:
        guard.kill()
        return guard.wait()


def outcome(played: Play, report: dict[str, Any]) -> dict[str, Any]:
    """One object of what happened: the site's own counts, and what the judge saw from outside."""
    last = played.last
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
        "takeovers": last["guard"]["takeovers"],
        "restarts": last["guard"]["restarts"],
        "last_takeover_ms": last["guard"]["last_takeover_ms"],
        "keys": dict(played.keys),
        "acts": [
            {
                "at_s": round((act.at_ns - played.start_ns) / NS_PER_S, 1),
                "at_ns": act.at_ns,  # CLOCK_MONOTONIC, as the logs of the simulator
                "key": act.key,
                "did": act.said.did,
                "expect": act.said.expect,
                "seen": [[words, round(after_s, 2)] for words, after_s in act.seen],
            }
            for act in played.story.acts
        ],
        "faults": [*played.faults, *judged],
    }


def summary(result: dict[str, Any]) -> str:
    worst = result["worst_circuit"]
    takeovers = ""
    if result["takeovers"] and result["last_takeover_ms"] is not None:
        told_s = result["last_takeover_ms"] / 1000
        takeovers = f"takeovers by the guard: {result['takeovers']}; "
        takeovers += f"the last told every charger in {told_s:.2f} s\n"
    return (
        f"{result['scans']} scans, {result['missed']} missed,"
        f" worst {result['worst_scan_ms']:.1f} ms\n"
        f"{result['setpoints_written']} setpoints written: {result['raises']} raises,"
        f" {result['takes']} takes; raises without room: {result['raises_without_room']}\n"
        f"{takeovers}"
        f"fullest: {worst['circuit']} {worst['phase']} with {worst['load_A']:g} A of"
        f" {worst['limit_A']:g} A, {worst['above_limit_s']:g} s above the limit"
    )
