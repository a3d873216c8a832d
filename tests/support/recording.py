"""Recordings of what the core was told: made from closed-loop stories, played on any build.

A recording is the tables of a site, every call that can change the plant block, in order, and a
digest of the whole block after each call that ran the law. Run as a program it plays a file of
recordings and prints the digests as JSON, so that another build can be asked.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadctl import _core
from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.core_sites import RUN
from tests.support.stories import disturb, random_story

RUNS_THE_LAW = ("step", "confirm", "settle")
READS = (
    "takes", "gives", "looks", "probe_mA", "starving", "failsafe_mA", "seen_backgrounds_mA", "site",
    "circuit", "meter", "charger", "reserves_mA", "used_phases", "backgrounds_high_mA",
)  # fmt: skip


@dataclass
class Recording:
    name: str
    tables: Tables
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)


class RecordedCore:
    """Stands in for a core that was just made; passes every call on and notes all but reads."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._core, self._block = fresh(recording.tables)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._core, name)
        if name in READS:
            return method

        def call(*args: Any) -> Any:
            said = method(*args)
            self._recording.calls.append((name, args))
            if name in RUNS_THE_LAW:
                self._recording.digests.append(digest(said, self._block))
            return said

        return call


def fresh(tables: Tables) -> tuple[Core, bytearray]:
    core = Core(tables)
    block = bytearray(core.plant_bytes)
    core.attach(block)
    return core, block


def digest(said: int, block: bytearray) -> str:
    """Of the plant block, and of what the call said."""
    return hashlib.sha256(said.to_bytes(4, "little") + block).hexdigest()[:16]


def record_story(seed: int, n_events: int) -> Recording:
    """A random story with lost messages, from its start through some events."""
    loop = random_story(seed)
    recording = Recording(f"story {seed}", loop.tables)
    loop.core = RecordedCore(recording)
    loop.core.set_mode(RUN)
    for _ in range(n_events):
        loop.run(loop.rng.choice((1, 5, 15, 30)))
        disturb(loop)
    return recording


def play(recording: Recording) -> list[str]:
    """The digests, by the core of this process."""
    core, block = fresh(recording.tables)
    digests = []
    for name, args in recording.calls:
        said = getattr(core, name)(*args)
        if name in RUNS_THE_LAW:
            digests.append(digest(said, block))
    return digests


def main(path: str) -> None:
    recordings = pickle.loads(Path(path).read_bytes())
    digests = {recording.name: play(recording) for recording in recordings}
    json.dump({"core": _core.__file__, "digests": digests}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
