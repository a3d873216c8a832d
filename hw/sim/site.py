"""A whole simulated site in real time: one process per bus, one plant between them.

Owns the bus processes and the files in its directory. Ends its own children only, by their process
id; if it is itself killed they end because their standard input closes. Leaves the results,
`judged-BUS.jsonl`, `written-BUS.jsonl` where asked for, and `report.json`, and nothing else.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hw.sim.board import Board
from hw.sim.bus_process import READY_LINE
from hw.sim.fault import Fault, bus_of, check
from hw.sim.report import report_of
from hw.sim.scenario import Scenario, demo_scenario
from loadctl.errors import BusError
from loadctl.tables import dump
from loadctl.units import NS_PER_S

if TYPE_CHECKING:
    from loadctl.tables import Tables

START_WITHIN_ns = 20 * NS_PER_S
STOP_WITHIN_s = 3.0
OWN_FILES = ("tables.json", "scenario.json", "board")


class SimSite:
    """`with SimSite(tables, scenario, directory) as site:` gives `site.ports` and `site.report()`.

    `scenario` None is the demo's. `ports`: bus name to the path that stands for its serial port.
    """

    def __init__(self, tables: Tables, scenario: Scenario | None, directory: Path) -> None:
        self.tables = tables
        self.scenario = scenario if scenario is not None else demo_scenario(tables)
        self.directory = directory
        self.ports = {bus.name: str(directory / f"bus-{bus.name}") for bus in tables.buses}
        self.start_ns = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._board: Board | None = None
        self._final: dict[str, Any] | None = None

    def __enter__(self) -> SimSite:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    def start(self) -> None:
        """Start every bus process and wait until each has its port."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "board").unlink(missing_ok=True)
        (self.directory / "tables.json").write_text(dump(self.tables))
        (self.directory / "scenario.json").write_text(self.scenario.dump())
        for fault in self.scenario.faults:
            check(fault, self.tables)
        self._board = Board(self.tables, self.directory / "board")
        self._final = None
        self.start_ns = time.monotonic_ns()
        try:
            for bus_i, bus in enumerate(self.tables.buses):
                self._processes[bus.name] = self._spawn(bus_i)
            for name, process in self._processes.items():
                self._await_ready(name, process)
        except BaseException:
            self.stop()
            raise

    def _spawn(self, bus_i: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "hw.sim.bus_process"]
        arguments = ["--directory", str(self.directory), "--bus", str(bus_i)]
        root = str(Path(__file__).resolve().parents[2])
        return subprocess.Popen(
            [*command, *arguments, "--start-ns", str(self.start_ns)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )

    def _await_ready(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        left_ns = self.start_ns + START_WITHIN_ns - time.monotonic_ns()
        readable, _, _ = select.select([process.stdout], (), (), max(left_ns, 0) / NS_PER_S)
        line = process.stdout.readline().decode().strip() if readable else ""
        if line != READY_LINE:
            raise BusError(
                f"simulated bus {name}: no port within {START_WITHIN_ns // NS_PER_S} s "
                f"(process {process.pid}, exit code {process.poll()})"
            )

    def inject(self, fault: Fault) -> None:
        """Let a fault begin, `fault.at_ns` from now."""
        self._tell(check(fault, self.tables), {"inject": fault.to_plain()})

    def clear(self, who: str, kind: str = "") -> None:
        """End what `who` has, everything or one kind of it; a bus stands for all that is on it."""
        self._tell(bus_of(who, self.tables), {"clear": who, "kind": kind})

    def _tell(self, bus_i: int, command: dict[str, Any]) -> None:
        name = self.tables.buses[bus_i].name
        process = self._processes.get(name)
        if process is None or process.stdin is None or process.poll() is not None:
            raise BusError(f"simulated bus {name}: not running, so it cannot be told of a fault")
        process.stdin.write(json.dumps(command).encode() + b"\n")
        process.stdin.flush()

    def written(self) -> list[dict[str, Any]]:
        """Every setpoint write so far in the order of arrival, where the scenario logs them.

        `at_ns` is CLOCK_MONOTONIC at the last byte of the request.
        """
        entries = [e for bus in self.tables.buses for e in self._lines(f"written-{bus.name}.jsonl")]
        return sorted(entries, key=lambda entry: int(entry["at_ns"]))

    def dead(self) -> list[str]:
        """Buses whose process has ended by itself."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def report(self) -> dict[str, Any]:
        """What was seen so far; after `stop`, of the whole run, with the timing of the replies."""
        if self._final is not None:
            return self._final
        if self._board is None:
            raise BusError("simulated site: not started, so there is nothing to report")
        buses = self.tables.buses
        entries = [e for bus in buses for e in self._lines(f"judged-{bus.name}.jsonl")]
        violations = [_without_kind(e) for e in entries if e["kind"] == "violation"]
        faults = [_without_kind(e) for e in entries if e["kind"] == "fault"]
        timing = {e["bus"]: _without_kind(e) for e in entries if e["kind"] == "timing"}
        report = report_of(self.tables, self._board, violations)
        elapsed_s = (time.monotonic_ns() - self.start_ns) / NS_PER_S
        ends = {"faults": sorted(faults, key=lambda fault: fault["at_ns"]), "timing": timing}
        return {"elapsed_s": round(elapsed_s, 3), **report, **ends}

    def _lines(self, file_name: str) -> list[dict[str, Any]]:
        path = self.directory / file_name
        if not path.exists():
            return []
        # A line without its end is still being written.
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def stop(self) -> None:
        """End the bus processes, write `report.json`, remove what only they needed."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            _reap(process)
        self._processes.clear()
        if self._board is None:
            return
        self._final = self.report()
        self._board.close()
        self._board = None
        (self.directory / "report.json").write_text(json.dumps(self._final, indent=1) + "\n")
        for name in OWN_FILES:
            (self.directory / name).unlink(missing_ok=True)


def _reap(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_WITHIN_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _without_kind(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "kind"}
