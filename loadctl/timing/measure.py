"""A whole measurement: the loop, what it is measured against, and the load beside it.

Owns the processes of one run and the order in which they act: round for round first the loop,
then cyclictest, so that both see the same machine. Ends what it started, by id, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw.sim.site import SimSite
from loadctl import runtime
from loadctl import tables as plain
from loadctl.errors import LoadctlError, NotRunning
from loadctl.image import SPANS, Reader
from loadctl.realtime import APPLIED, SETTINGS
from loadctl.tables import Tables
from loadctl.timing import cyclictest, stolen, stress
from loadctl.timing.garage import CALM_ns, building, story
from loadctl.timing.loop import COUNTS_FILE, DONE, READY, SPANS_FILE, STARTED_FILE
from loadctl.timing.reaction import Reactions, decreases_at_ns, reactions_of, rises_at_ns
from loadctl.units import NS_PER_S

SIMULATED, READ_ONLY, NO_BUS = "simulated", "read-only", "no bus"
START_WITHIN_s = 30.0
GRACE_s = 30.0
END_WITHIN_s = 5.0
WARM_UP_SCANS = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    kind: str  # SIMULATED, READ_ONLY or NO_BUS
    tables: Tables
    span_ns: int
    rounds: int
    fifo_priority: int
    cpu: int | None
    lock_dir: Path
    reads_chargers: bool = False
    wants_stress: bool = False
    wants_cyclictest: bool = True
    stalls: int = 0

    @property
    def scans_in_round(self) -> int:
        return max(2, self.span_ns // self.rounds // self.tables.site.period_ns)

    @property
    def warm_up_scans(self) -> int:
        """Until every path was taken once; on the simulated site until all is shared."""
        calm = CALM_ns // self.tables.site.period_ns if self.kind == SIMULATED else 0
        return max(WARM_UP_SCANS, calm)

    @property
    def round_ns(self) -> int:
        return self.scans_in_round * self.tables.site.period_ns

    @property
    def whole_s(self) -> float:
        """How long it takes, about."""
        both = 2 if self.wants_cyclictest else 1
        warm_up_ns = self.warm_up_scans * self.tables.site.period_ns
        return (both * self.rounds * self.round_ns + warm_up_ns) / NS_PER_S


@dataclass(slots=True)
class Measured:
    """Everything raw. `spans_ns[i]` is of SPANS[i], scan by scan."""

    plan: Plan
    spans_ns: list[Sequence[int]] = field(default_factory=list)
    started_ns: Sequence[int] = ()
    counts: dict[str, Any] = field(default_factory=dict)
    stolen: list[stolen.Sample] = field(default_factory=list)
    settings: list[tuple[int, int]] = field(default_factory=list)  # state, errno
    slices: list[cyclictest.Slice] = field(default_factory=list)  # of cyclictest, by round
    cyclictest_words: str = ""  # why there is none, or how it ran
    stress_words: str = ""
    reactions: Reactions | None = None

    def span(self, name: str) -> Sequence[int]:
        return self.spans_ns[SPANS.index(name)]

    @property
    def cyclictest_ns(self) -> list[int]:
        return cyclictest.pooled(self.slices)

    @property
    def writes_ns(self) -> list[int]:
        """Take and give of each scan."""
        return [
            take + give for take, give in zip(self.span("take"), self.span("give"), strict=True)
        ]

    @property
    def n_missed_in_stolen_time(self) -> int:
        """Of the scans that were late, those during which the host took processor time."""
        period_ns = self.plan.tables.site.period_ns
        late = [i for i, span_ns in enumerate(self.complete_ns) if span_ns > period_ns]
        started_ns = [self.started_ns[i] for i in late]
        ended_ns = [self.started_ns[i] + self.span("whole")[i] for i in late]
        return stolen.n_in_stolen_time(self.stolen, started_ns, ended_ns)

    @property
    def complete_ns(self) -> list[int]:
        """From the grid point to the end of each scan."""
        return [w + whole for w, whole in zip(self.span("wake"), self.span("whole"), strict=True)]


Say = Callable[[str], None]


def measure(plan: Plan, folder: Path, say: Say) -> Measured:
    """Run it all; `say` is told what happens."""
    found = Measured(plan)
    with contextlib.ExitStack() as stack:
        simulated = None
        if plan.kind == SIMULATED:
            simulated = stack.enter_context(SimSite(plan.tables, story(plan.tables), folder))
        loop = stack.enter_context(running_loop(plan, folder))
        loop.expect(READY, START_WITHIN_s)
        found.settings = settings_of(folder)
        if plan.wants_stress:
            load = stack.enter_context(stress.beside(plan.whole_s))
            say(load.words)
            found.slices = _rounds(plan, folder, loop, found, say)
            found.stress_words = load.looked_at()
        else:
            found.slices = _rounds(plan, folder, loop, found, say)
        loop.close()
        found.counts = json.loads((folder / COUNTS_FILE).read_text())
        found.spans_ns = read_spans(folder / SPANS_FILE, found.counts["scans"])
        found.started_ns = read_numbers(folder / STARTED_FILE)
        if simulated is not None:
            found.reactions = _reactions(plan, simulated, found.counts["rounds"])
    return found


def _rounds(
    plan: Plan, folder: Path, loop: Loop, found: Measured, say: Say
) -> list[cyclictest.Slice]:
    slices: list[cyclictest.Slice] = []
    program = cyclictest.found() if plan.wants_cyclictest else None
    if program is None:
        is_wanted = plan.wants_cyclictest
        found.cyclictest_words = (
            "not installed (package rt-tests)" if is_wanted else "not asked for"
        )
    for round_i in range(plan.rounds):
        say(f"round {round_i + 1} of {plan.rounds}: {plan.scans_in_round} scans")
        loop.go()
        loop.expect(DONE, 2 * plan.whole_s + GRACE_s, found.stolen)
        if program is not None:
            say(f"round {round_i + 1} of {plan.rounds}: cyclictest")
            try:
                slices.append(_cyclictest(plan, folder, program, found.settings))
            except cyclictest.CyclictestFailed as failed:
                found.cyclictest_words, program, slices = str(failed), None, []
        if round_i + 1 < plan.rounds:
            loop.expect(READY, GRACE_s)
    return slices


def _cyclictest(
    plan: Plan, folder: Path, program: str, settings: list[tuple[int, int]]
) -> cyclictest.Slice:
    """With what our loop could have: a comparison of unequal rights would be none."""
    applied = dict(zip(SETTINGS, (state == APPLIED for state, _ in settings), strict=False))
    if plan.fifo_priority > 0 and not applied["SCHED_FIFO"]:
        raise cyclictest.CyclictestFailed(
            "not started: it needs the right to a real-time priority, which is not had here"
        )
    priority = plan.fifo_priority
    path = folder / "cyclictest.json"
    words = cyclictest.command(
        program,
        plan.tables.site.period_ns,
        plan.round_ns,
        priority,
        plan.cpu,
        applied["memory lock"],
        path,
    )
    return cyclictest.run(words, plan.round_ns, path)


def _reactions(plan: Plan, simulated: SimSite, rounds: list[list[int]]) -> Reactions:
    load = building(plan.tables.site.period_ns)
    decreases_ns = decreases_at_ns(simulated.written())
    rises = [
        at_ns
        for began_at_ns, ended_at_ns in rounds
        for at_ns in rises_at_ns(load, simulated.start_ns, began_at_ns, ended_at_ns)
    ]
    return reactions_of(rises, decreases_ns, load.every_ns)


def settings_of(folder: Path) -> list[tuple[int, int]]:
    """Of the loop's process, from its image."""
    scan = _snapshot(folder)["scan"]
    return list(zip(scan["setting_state"], scan["setting_errno"], strict=True))[: len(SETTINGS)]


def _snapshot(folder: Path) -> dict[str, Any]:
    return Reader(runtime.SiteDir(folder).image).snapshot()


def read_spans(path: Path, n_scans: int) -> list[Sequence[int]]:
    """By span instead of by scan."""
    raw = read_numbers(path)
    n_spans = len(SPANS)
    return [raw[i : n_scans * n_spans : n_spans] for i in range(n_spans)]


def read_numbers(path: Path) -> array[int]:
    raw = array("q")
    raw.frombytes(path.read_bytes())
    return raw


class Loop:
    """The measured process, seen from here."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._heard = b""

    def go(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def expect(self, word: str, within_s: float, watch: list[stolen.Sample] | None = None) -> None:
        """Wait until it says so; `watch` is given what the host takes meanwhile."""
        stdout = self._process.stdout
        assert stdout is not None
        end_s = time.monotonic() + within_s
        while b"\n" not in self._heard:
            left_s = end_s - time.monotonic()
            if watch is not None:
                watch.append(stolen.sample())
                left_s = min(left_s, stolen.SAMPLE_EVERY_s)
            if not select.select([stdout], (), (), max(0.0, left_s))[0]:
                if time.monotonic() < end_s:
                    continue
                raise NotRunning(f"timing: the loop did not say {word!r} within {within_s:.0f} s")
            data = os.read(stdout.fileno(), 4096)
            if not data:
                raise self._ended()
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        if line.decode(errors="replace") != word:
            raise NotRunning(f"timing: the loop said {line!r}, not {word!r}")

    def _ended(self) -> LoadctlError:
        """Its own words and its own exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_WITHIN_s)
        if self._process.poll() is None:
            return NotRunning(f"timing: the loop did not end within {END_WITHIN_s:.0f} s")
        stderr = self._process.stderr.read() if self._process.stderr is not None else b""
        lines = stderr.decode(errors="replace").strip().splitlines()
        error = LoadctlError(lines[-1] if lines else "timing: the loop ended without a word")
        error.exit_code = self._process.returncode or 1
        return error

    def close(self) -> None:
        """Wait for its end once it was told everything."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_s)
        if self._process.poll() != 0:
            raise self._ended()


@contextlib.contextmanager
def running_loop(plan: Plan, folder: Path) -> Iterator[Loop]:
    tables_path = folder / "measured.json"
    tables_path.write_text(plain.dump(plan.tables))
    command = [sys.executable, "-P", "-m", "loadctl.timing.loop"]
    command += ["--tables", str(tables_path), "--directory", str(folder)]
    command += ["--lock-dir", str(plan.lock_dir), "--fifo-priority", str(plan.fifo_priority)]
    command += ["--warm-up", str(plan.warm_up_scans)]
    command += ["--rounds", str(plan.rounds), "--scans", str(plan.scans_in_round)]
    command += ["--stalls", str(plan.stalls)]
    command += [] if plan.cpu is None else ["--cpu", str(plan.cpu)]
    command += ["--read-only"] if plan.kind == READ_ONLY else []
    command += ["--read-chargers"] if plan.reads_chargers else []
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # ctrl-c is for us, who then end it
        env=dict(os.environ),
    )
    try:
        yield Loop(process)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_WITHIN_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
