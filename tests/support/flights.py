"""Recordings for tests: a simulated site in virtual time, its scan taped, the writer beside it.

Run as a program it replays a folder and prints what came of it as JSON, so that another build can
be asked.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hw.sim.scenario import Scenario
from loadctl import _core
from loadctl.flight.replay import Replay, find
from loadctl.flight.writer import FlightWriter
from loadctl.runtime import SiteDir
from loadctl.tables import Tables
from tests.support.fault_stories import random_fault_site, random_fault_story
from tests.support.scan_rig import S_ns, VirtualRig

WALL_ns = 1_764_000_000 * S_ns  # UTC at monotonic time 0
DRAIN_ns = 2 * S_ns


class Flight:
    """A taped rig in a folder, and its writer, drained every two seconds."""

    def __init__(self, tables: Tables, scenario: Scenario, directory: Path, **values: Any) -> None:
        self.directory, self.scenario = directory, scenario
        self.rig = VirtualRig(tables, scenario, directory, records=True)
        self.values = values
        self.writer = self.new_writer()
        self.drained_at_ns = self.rig.clock.now_ns()

    @property
    def folder(self) -> Path:
        return self.directory / "recordings"

    def new_writer(self) -> FlightWriter:
        return FlightWriter(
            SiteDir(self.directory),
            self.folder,
            wall_ns=lambda: WALL_ns + self.rig.clock.now_ns(),
            **self.values,
        )

    def run(self, span_ns: int, drains: bool = True) -> None:
        until_ns = self.rig.clock.now_ns() + span_ns
        while self.rig.pacer.grid_at_ns < until_ns:
            self.rig.pass_one()
            now_ns = self.rig.clock.now_ns()
            if drains and now_ns - self.drained_at_ns >= DRAIN_ns:
                self.drained_at_ns = now_ns
                self.writer.drain(now_ns)

    def restart(self) -> None:
        """The scan is started anew, with a ring and an image of its own; virtual time as well."""
        self.rig = VirtualRig(self.rig.tables, self.scenario, self.directory, records=True)
        self.drained_at_ns = self.rig.clock.now_ns()

    def end(self) -> Path:
        self.writer.close()
        return self.folder


def faulty_flight(seed: int, span_ns: int, directory: Path, **values: Any) -> Flight:
    """A random site with random faults, as `tests/faults` has them."""
    tables = random_fault_site(random.Random(seed))
    return Flight(tables, random_fault_story(tables, seed, span_ns), directory, **values)


def files(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.flight"))


def main(folder: str) -> None:
    played = Replay(find(Path(folder))).run()
    differences = [[one.scan_i, one.what] for one in played.differences]
    said = {"core": _core.__file__, "scans": played.n_scans, "differences": differences}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
