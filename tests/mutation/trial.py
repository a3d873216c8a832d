"""Runs tests against mutants: a pytest that collects once, and a child for every mutant.

First every test runs alone without a mutant, to see for which mutants it could notice anything,
and how long it takes. Then, in a child each, a mutant meets the tests that could notice it, until
one fails. A child that crashes, or that takes ten times as long as the test did, has noticed it.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

from tests.mutation.choice import Recorded, in_order, within_budget
from tests.mutation.operators import Mutant
from tests.mutation.tree import TREE, Say

TESTS = ("tests/core", "tests/scenarios")
# Those that look at other builds of the core than the one that runs them.
_OF_OTHER_BUILDS = ("bench", "generated_c", "no_allocation", "replay")
LEFT_OUT = tuple(f"tests/core/test_{name}.py" for name in _OF_OTHER_BUILDS)
N_SEEDS = 200
LONGER = 10
LEAST_LIMIT_s = 2.0
WALL_LIMIT_s = 120.0  # for one that waits instead of working
MEMORY_BYTES = 4 << 30
PIPE_BYTES = 1 << 18

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    killed_by: str | None
    how: str = ""  # failed, crashed or endless
    n_tests: int = 0  # that could have noticed


@dataclass
class Plan:
    """What a run is to do, and where it puts what it finds."""

    mutants: Sequence[Mutant]
    modules: Sequence[str]
    n_marks: int
    jobs: int
    budget_s: float  # processor time for the tests that one mutant meets
    say: Say
    known: Mapping[str, Recorded]  # of tests that need not be recorded again
    hints: Mapping[int, str]  # test that killed a mutant in an earlier run
    has_recorded: Callable[[], None]
    noted: Callable[[int, Outcome], None]  # told of each outcome
    recorded: dict[str, Recorded] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    broken: dict[str, str] = field(
        default_factory=dict
    )  # tests that fail without a mutant, and why


def run(plan: Plan) -> None:
    os.chdir(TREE)
    sys.path.insert(0, str(TREE))
    ask_few_seeds()
    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
    )
    settings.load_profile("mutants")
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    options += ["--rootdir", str(TREE)]
    options += [f"--ignore={path}" for path in LEFT_OUT]
    code = pytest.main([*options, *TESTS], plugins=[_Trials(plan)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"mutation: pytest ended with {code}")


def ask_few_seeds() -> None:
    """A sweep asks many seeds in processes of its own, which no mutant reaches: here, in this one,
    a few of them."""
    module = importlib.import_module("tests.support.sweep")
    assert Path(str(module.__file__)).is_relative_to(TREE), module.__file__

    sweep = module.sweep

    def gather_few(measure: Callable[[int], T], seeds: range, _workers: int | None = None) -> Any:
        return module.measured(measure, seeds[:N_SEEDS])

    def sweep_few(check: Callable[[int], str], seeds: range, _workers: int | None = None) -> Any:
        return sweep(check, seeds[:N_SEEDS])

    vars(module).update(gather=gather_few, sweep=sweep_few)


class _Trials:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted("tests that cannot be collected")
        board = importlib.import_module("loadctl.law.mutants")
        assert Path(str(board.__file__)).is_relative_to(TREE), board.__file__
        names = [file.removesuffix(".pyx").replace("/", ".") for file in self.plan.modules]
        modules = [importlib.import_module(f"loadctl.{name}") for name in names]
        gc.collect()
        gc.freeze()
        children = _Children(self.plan, board, modules, session.items)
        children.record()
        self.plan.has_recorded()
        if not self.plan.broken:
            children.try_all()
        return True


class _Children:
    def __init__(
        self, plan: Plan, board: Any, modules: Sequence[Any], items: Sequence[pytest.Item]
    ) -> None:
        self.plan, self.board, self.modules = plan, board, modules
        self.items = {item.nodeid: item for item in items}

    def record(self) -> None:
        """Run each test once without a mutant."""
        plan = self.plan
        todo = [name for name in self.items if name not in plan.known]
        plan.recorded = {name: plan.known[name] for name in self.items if name in plan.known}
        if todo:
            plan.say(f"recording {len(todo)} of {len(self.items)} tests")
        for name, text, _ in self._each(todo, self._record_one):
            answer = json.loads(text or '{"failure": "it ended without a word"}')
            if "failure" in answer:
                plan.broken[name] = answer["failure"]
                continue
            marks = bytes.fromhex(answer["marks"])
            plan.recorded[name] = Recorded(
                answer["cpu_s"], frozenset(n for n, is_noted in enumerate(marks) if is_noted)
            )

    def _record_one(self, name: str, out: int) -> None:
        self._choose(0)
        begin_s = time.process_time()
        failure = self._failure(name, WALL_LIMIT_s)
        if failure is not None:
            _write(out, json.dumps({"failure": failure[-2000:]}))
            return
        cpu_s = time.process_time() - begin_s
        marks = self.board.noted()[: self.plan.n_marks + 1].hex()
        _write(out, json.dumps({"cpu_s": cpu_s, "marks": marks}))

    def try_all(self) -> None:
        plan = self.plan
        kills: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        noticing: defaultdict[int, list[str]] = defaultdict(list)
        for name, recorded in plan.recorded.items():
            for n in recorded.marks:
                noticing[n].append(name)

        def tests_for(mutant: Mutant) -> list[str]:
            score = kills[mutant.module, mutant.function]
            hint = plan.hints.get(mutant.number)
            noticed_by = {name for n in mutant.marks for name in noticing[n]}
            names = in_order(noticed_by, mutant.module, plan.recorded)
            names.sort(key=lambda name: (name != hint, -score[name]))
            return within_budget(names, plan.recorded, plan.budget_s)

        def try_one(mutant: Mutant, out: int) -> None:
            self._choose(mutant.number)
            for name in tests_for(mutant):
                _write(out, f"{name}\n")
                limit_s = max(LEAST_LIMIT_s, LONGER * plan.recorded[name].cpu_s)
                if self._failure(name, limit_s) is not None:
                    return
            _write(out, "\n")

        for mutant, text, status in self._each(plan.mutants, try_one):
            met = text.split("\n")[:-1]
            by = (met[-1] or None) if met else "as soon as it is chosen"
            if by is not None:
                kills[mutant.module, mutant.function][by] += 1
            plan.outcomes[mutant.number] = Outcome(by, _how(status), len(tests_for(mutant)))
            plan.noted(mutant.number, plan.outcomes[mutant.number])

    def _choose(self, number: int) -> None:
        self.board.choose(number)
        for module in self.modules:
            module.work_out_constants()
        self.board.clear()

    def _failure(self, name: str, limit_s: float) -> str | None:
        """What a test says when it fails."""
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
        signal.setitimer(signal.ITIMER_REAL, WALL_LIMIT_s)
        reports = runtestprotocol(self.items[name], nextitem=None, log=False)
        return next((report.longreprtext for report in reports if report.failed), None)

    def _each(
        self, jobs: Sequence[T], work: Callable[[T, int], None]
    ) -> Iterator[tuple[T, str, int]]:
        """Do each job in a child of its own, some at a time; what it wrote, and how it ended."""
        waiting = list(reversed(jobs))
        running: dict[int, tuple[T, int]] = {}
        while waiting or running:
            while waiting and len(running) < self.plan.jobs:
                job = waiting.pop()
                pid, reader = self._begin(job, work)
                running[pid] = job, reader
            pid, status = os.wait()
            job, reader = running.pop(pid)
            with os.fdopen(reader) as answer:
                yield job, answer.read(), status

    def _begin(self, job: T, work: Callable[[T, int], None]) -> tuple[int, int]:
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)  # read only when the child has ended
        pid = os.fork()
        if pid:
            os.close(writer)
            return pid, reader
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(nothing, fd)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            work(job, writer)
        finally:
            os._exit(0)


def _write(out: int, text: str) -> None:
    os.write(out, text.encode())


def _how(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return "failed"
    if os.WTERMSIG(status) == signal.SIGKILL:
        raise SystemExit("mutation: a child was killed from outside; it says nothing")
    return "endless" if os.WTERMSIG(status) in (signal.SIGVTALRM, signal.SIGALRM) else "crashed"
