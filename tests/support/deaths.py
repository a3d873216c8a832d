"""The bench of deaths: a whole site on simulated lines, of which one process dies at a time.

Every sample is one death at a random instant of the period. Measured is the time from that instant
until the last charger's failsafe frame had arrived, by the log of the simulated devices, and until
the site raises again. `python -m tests.support.deaths` prints the distributions beside the bound
that `loadctl check` prints. Ends only what it started.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.site import SimSite
from loadctl.guard.words import Happening
from loadctl.link import Link
from loadctl.runtime import SiteDir
from loadctl.site.load import load_site
from loadctl.units import NS_PER_MS, NS_PER_S, ms_from_ns
from tests.support.running_site import ENV, LOADCTL, Running, bay_text, is_alive

SCAN_DEATHS = {
    "killed": signal.SIGKILL,
    "stopped": signal.SIGSTOP,
    "loop in python": signal.SIGUSR1,
    "loop in nogil": signal.SIGUSR2,
}
GUARD_DEATHS = {"guard killed": signal.SIGKILL, "guard stopped": signal.SIGSTOP}
NOTICED = (Happening.SCAN_LATE, Happening.SCAN_ENDED)
SCAN_NOTICES_WITHIN_ns = 2 * NS_PER_S

SITE = "deaths"
PERIOD_ns = 160 * NS_PER_MS
FAILSAFE_mA = 6_000
BUSES = ("one", "two")
CHARGERS = ("bay11", "bay12", "bay13", "bay14")
WITHOUT_CAR = "bay14"  # at its failsafe setpoint or below all the time: it has to be told, too
HEAD = f"""
[site]
name = "{SITE}"
period_ms = {PERIOD_ns // NS_PER_MS}
[circuit.main]
limit_A = 200
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
raise_delay_s = 0
raise_every_s = 0
ramp_A_per_s = 10
healthy_scans = 3
"""
BUS = """
[bus.{name}]
port = "{port}"
baud = 115200
frame = "8E1"
timeout_ms = 40
"""
# A steady building: what is raised at once after a restart is all that recovery waits for.
SCENARIO = Scenario(
    name="deaths",
    loads={"main": Load("constant", (5_000,) * 3)},
    visits=tuple(Visit(name, 0) for name in CHARGERS if name != WITHOUT_CAR),
    logs_writes=True,
)
# A crash loop is what this bench makes, and is not what it measures.
RUN_OPTIONS = ("--crash-limit", "1000000", "--crash-window-s", "0.1")
MORTAL_SCAN = ("--scan-module", "tests.support.mortal_scan")
LOOK_EVERY_s = 0.01
FAILSAFE_WITHIN_s, RECOVERED_WITHIN_s = 15, 60
WITHIN_PERIODS = 6  # of the first raise: while chargers are raised one after the other

Entry = dict[str, Any]


class WriteLog:
    """The setpoint writes that the simulated devices heard, read on from where it was left."""

    def __init__(self, directory: Path) -> None:
        self._paths = [directory / f"written-{name}.jsonl" for name in BUSES]
        self._at = [0] * len(BUSES)
        self.last_mA: dict[str, int] = {}

    def news(self) -> list[Entry]:
        entries: list[Entry] = []
        for i, path in enumerate(self._paths):
            with path.open("rb") as file:
                file.seek(self._at[i])
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._at[i] += len(whole) + 1
                entries += map(json.loads, whole.split(b"\n"))
        for entry in entries:
            self.last_mA[entry["charger"]] = entry["setpoint_mA"]
        return sorted(entries, key=lambda entry: int(entry["at_ns"]))


@dataclass
class Sample:
    """All times from the death on. `wrong`: what must not be, in words."""

    kind: str
    noticed_ns: int = 0  # by whoever is left
    failsafe_ns: int = 0  # the last charger's frame had arrived
    ended_ns: int = 0  # guard deaths: the scan was gone
    raised_ns: int = 0  # scan deaths: the first raise by another scan, in RUN
    wrong: list[str] = field(default_factory=list)


class Bench:
    """One simulated site, and the guard that runs it. `with Bench(directory, seed) as bench:`"""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.dice = random.Random(seed)
        self.n_unasked = 0  # takeovers that no death of ours explains
        self._n_takeovers = 0
        self._path = directory / "site.toml"
        self._path.write_text(site_text(directory / "sim"))
        self.bounds = bounds_of(self._path)
        self.bound_ns = round(max(b["total_ms"] for b in self.bounds.values()) * NS_PER_MS)
        self.silence_ns = round(min(b["silence_ms"] for b in self.bounds.values()) * NS_PER_MS)
        # From noticing that the guard is gone: what is on its way, and one write to each charger.
        told_ns = max(b["silence_ms"] + b["writes_ms"] for b in self.bounds.values()) * NS_PER_MS
        self.guard_bound_ns = SCAN_NOTICES_WITHIN_ns + round(told_ns)

    def __enter__(self) -> Bench:
        self.simulated = SimSite(load_site(self._path).tables, SCENARIO, self.directory / "sim")
        self.simulated.start()
        self.log = WriteLog(self.directory / "sim")
        self._start_guard()
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._end_guard()
        finally:
            self.simulated.stop()

    @property
    def link(self) -> dict[str, Any]:
        return Link.open_readonly(SiteDir(self.directory / "rt" / SITE).link).snapshot()

    def sample(self, kind: str) -> Sample:
        """Let one process die while the site raises and takes, and see what becomes of it."""
        self._until_raised(0, 0)
        time.sleep(self.dice.uniform(0, WITHIN_PERIODS * PERIOD_ns) / NS_PER_S)
        sample = Sample(kind)
        (self._scan_dies if kind in SCAN_DEATHS else self._guard_dies)(sample)
        return sample

    # a death of the scan

    def _scan_dies(self, sample: Sample) -> None:
        before = self.link
        self.log.news()
        target_mA = {name: min(self.log.last_mA[name], FAILSAFE_mA) for name in CHARGERS}
        died_ns = time.monotonic_ns()
        os.kill(before["scan_pid"], SCAN_DEATHS[sample.kind])
        noticed_ns = self._happened_ns(NOTICED, died_ns)
        heard: list[Entry] = []
        last_ns = self._told_all(heard, target_mA, noticed_ns + self.silence_ns)
        token_ns = self._happened_ns((Happening.TOKEN_GIVEN,), died_ns)
        raised_ns = self._until_raised(before["scan_pid"], token_ns, heard)
        sample.noticed_ns = noticed_ns - died_ns
        sample.failsafe_ns = last_ns - died_ns
        sample.raised_ns = raised_ns - died_ns
        after = self.link
        self.n_unasked += after["n_takeovers"] - self._n_takeovers - 1
        self._n_takeovers = after["n_takeovers"]
        # What the dead scan had on its way may come in until the guard begins to write.
        begins_ns = noticed_ns + self.silence_ns
        for entry in heard:
            if begins_ns <= entry["at_ns"] < token_ns:
                if entry["setpoint_mA"] > target_mA[entry["charger"]]:
                    sample.wrong.append(f"the guard raised: {entry}, {target_mA}")
                if not entry["acknowledged"]:
                    sample.wrong.append(f"not acknowledged: {entry}")
        if last_ns >= token_ns:
            sample.wrong.append(f"told by the next scan only, {self._story(died_ns)}")
        if sample.failsafe_ns > self.bound_ns:
            late_ms = ms_from_ns(sample.failsafe_ns)
            sample.wrong.append(f"last failsafe {late_ms:.1f} ms after, {self._story(died_ns)}")

    def _told_all(self, heard: list[Entry], target_mA: dict[str, int], since_ns: int) -> int:
        """When the last charger was first told its target or less."""
        first_ns: dict[str, int] = {}
        end_s = time.monotonic() + FAILSAFE_WITHIN_s
        while len(first_ns) < len(target_mA):
            assert time.monotonic() < end_s, (first_ns, target_mA, self.said())
            news = self.log.news()
            heard += news
            for entry in news:
                name = entry["charger"]
                if entry["at_ns"] >= since_ns and entry["setpoint_mA"] <= target_mA[name]:
                    first_ns.setdefault(name, entry["at_ns"])
            time.sleep(LOOK_EVERY_s / 2)
        return max(first_ns.values())

    def _happened_ns(self, kinds: Sequence[Happening], since_ns: int) -> int:
        """When the guard wrote down the first such event since then."""
        end_s = time.monotonic() + RECOVERED_WITHIN_s
        while time.monotonic() < end_s:
            for event in self.link["events"]:
                if event["kind"] in kinds and event["at_ns"] >= since_ns:
                    return int(event["at_ns"])
            time.sleep(LOOK_EVERY_s / 2)
        raise AssertionError(f"no {kinds}: {self.said()}")

    def _until_raised(self, after_pid: int, since_ns: int, heard: list[Entry] | None = None) -> int:
        """When a scan other than `after_pid` first wrote a raise, seen once the mode is RUN."""
        seen_ns: list[int] = []
        for entry in [] if heard is None else heard:
            if entry["at_ns"] >= since_ns and entry["setpoint_mA"] > FAILSAFE_mA:
                seen_ns.append(entry["at_ns"])

        def is_so(found: dict[str, Any]) -> bool:
            for entry in self.log.news():
                if heard is not None:
                    heard.append(entry)
                if entry["at_ns"] >= since_ns and entry["setpoint_mA"] > FAILSAFE_mA:
                    seen_ns.append(entry["at_ns"])
            is_raised = bool(seen_ns) or (since_ns == 0 and self._has_raised())
            return is_raised and found["mode"] == "run" and found["scan"]["pid"] != after_pid

        self.running.until(is_so, RECOVERED_WITHIN_s)
        return min(seen_ns, default=0)

    def _has_raised(self) -> bool:
        return len(self.log.last_mA) == len(CHARGERS) and max(self.log.last_mA.values()) > 6_000

    def _story(self, since_ns: int) -> list[str]:
        """What the guard wrote down since then, for a sample that went wrong."""
        return [
            f"{ms_from_ns(event['at_ns'] - since_ns):.1f} {Happening(event['kind']).name}"
            f" {event['who']} {event['first']} {event['second']}"
            for event in self.link["events"]
            if event["at_ns"] >= since_ns
        ]

    # a death of the guard

    def _guard_dies(self, sample: Sample) -> None:
        pid = self.link["scan_pid"]
        self.log.news()
        target_mA = {name: min(self.log.last_mA[name], FAILSAFE_mA) for name in CHARGERS}
        died_ns = time.monotonic_ns()
        self.running.process.send_signal(GUARD_DEATHS[sample.kind])
        gone_ns = self._until(lambda: not is_alive(pid), f"the scan, pid {pid}, to end")
        heard = [entry for entry in self.log.news() if entry["at_ns"] >= died_ns]
        sample.ended_ns = gone_ns - died_ns
        # The scan goes on until it notices: its way out is the run of writes at the end of the log.
        way_out: dict[str, int] = {}
        for entry in reversed(heard):
            name = entry["charger"]
            if entry["setpoint_mA"] > target_mA[name] and entry["setpoint_mA"] > FAILSAFE_mA:
                break
            way_out[name] = entry["at_ns"]
        missing = sorted(set(CHARGERS) - set(way_out))
        if missing:
            sample.wrong.append(f"never told: {missing}, {heard}")
        sample.noticed_ns = min(way_out.values(), default=gone_ns) - died_ns
        sample.failsafe_ns = max(way_out.values(), default=gone_ns) - died_ns
        if sample.failsafe_ns > self.guard_bound_ns:
            sample.wrong.append(f"last failsafe {ms_from_ns(sample.failsafe_ns):.1f} ms after")
        if sample.kind == "guard killed":
            self.running.process.wait()
            self._start_guard()
        else:
            self.running.process.send_signal(signal.SIGCONT)
            self._until_raised(pid, gone_ns)
            self._n_takeovers = self.link["n_takeovers"]
        self._until_raised(pid, gone_ns)

    def _until(self, is_so: Callable[[], bool], what: str) -> int:
        end_s = time.monotonic() + FAILSAFE_WITHIN_s
        while not is_so():
            assert time.monotonic() < end_s, f"waited for {what}: {self.said()}"
            time.sleep(LOOK_EVERY_s / 2)
        return time.monotonic_ns()

    # the processes

    def said(self) -> str:
        return self.running.said()[-4_000:]

    def _start_guard(self) -> None:
        command = [*LOADCTL, "run", str(self._path), "--runtime-dir", str(self.directory / "rt")]
        with (self.directory / "stderr").open("ab") as stderr:
            process = subprocess.Popen(
                [*command, *RUN_OPTIONS, *MORTAL_SCAN],
                env=ENV,
                stderr=stderr,
                stdout=subprocess.DEVNULL,
            )
        self.running = Running(process, self.simulated, self._path, self.directory / "rt")
        self._n_takeovers = 0

    def _end_guard(self) -> None:
        """It takes its scan along; one that was stopped is woken first."""
        process = self.running.process
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def site_text(directory: Path) -> str:
    buses = [BUS.format(name=name, port=directory / f"bus-{name}") for name in BUSES]
    bays = [
        bay_text(name, bus=BUSES[i * len(BUSES) // len(CHARGERS)], address=11 + i)
        for i, name in enumerate(CHARGERS)
    ]
    return HEAD + "".join(buses + bays)


def bounds_of(path: Path) -> dict[str, dict[str, float]]:
    """By bus, as `loadctl check` prints them."""
    command = [*LOADCTL, "check", "--json", str(path)]
    found = json.loads(subprocess.run(command, capture_output=True, env=ENV).stdout)
    assert found["good"], found["refusals"]
    bounds: dict[str, dict[str, float]] = found["guard"]
    return bounds


def order_of(counts: dict[str, int], dice: random.Random) -> list[str]:
    """Kinds in a random order: what disturbs the machine for a while disturbs all of them."""
    kinds = [kind for kind, n in counts.items() for _ in range(n)]
    dice.shuffle(kinds)
    return kinds


def run_bench(
    bench: Bench, counts: dict[str, int], note: Callable[[Sample], None] = lambda sample: None
) -> list[Sample]:
    samples = []
    for kind in order_of(counts, bench.dice):
        samples.append(bench.sample(kind))
        note(samples[-1])
    return samples
