"""What those who watch a site cost its scan: rounds with and without them, turn and turn about.

The real loop, on simulated devices in real time, with top, status, metrics and a recorder at work
as an operator has them: at normal priority, on the processors that the scan does not run on. In
rounds without them their processes are stopped. A busy machine moves both alike: what counts is
the ratio within a pair of rounds that follow each other, and the median of these.

The devices stand for hardware: where that is allowed they run before the readers, so that what is
seen is not a simulator that had to wait for them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pty
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.bus import restless
from bench.bussites import bus_site
from hw.sim.site import SimSite
from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli.main import COMMANDS
from loadctl.image import SPANS
from loadctl.tables import Tables
from loadctl.timing.loop import COUNTS_FILE, DONE, READY, SPANS_FILE
from loadctl.timing.measure import SIMULATED, Plan, read_spans, running_loop, settings_of
from loadctl.units import NS_PER_MS, NS_PER_S

LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
FIFO_PRIORITY, DEVICES_PRIORITY = 80, 20
PERIOD_ms = 50
N_CHARGERS = 2
TURNAROUND_ms, TIMEOUT_ms = 2, 4
START_WITHIN_s = 60.0
SCRAPE_EVERY_s = 1.0
STATUS_EVERY_s = 2
RECORD_EVERY_s = 0.25
BOUND = 1.02  # of p99
# What a recorder does to the image, where there is none yet.
STAND_IN = """
import sys, time
from loadctl.image import Reader
reader = Reader(sys.argv[1])
while True:
    reader.snapshot()
    time.sleep(float(sys.argv[2]))
"""


def measure(
    directory: Path, n_pairs: int, scans_in_round: int, *, everywhere: bool
) -> dict[str, Any]:
    """{whole, wake: {without_ms, with_ms, ratio, quartiles}, ...} of the p99 of each round."""
    tables = _tables(directory)
    site_dir, lock_fd = runtime.claim(directory / "run", tables.site.name)
    with SimSite(tables, restless(tables, 20 * NS_PER_S), directory / "sim") as simulated:
        buses = tuple(replace(row, port=str(simulated.ports[row.name])) for row in tables.buses)
        tables = replace(tables, buses=buses)
        site_dir.tables.write_text(plain.dump(tables))
        cpus = sorted(os.sched_getaffinity(0))
        others = set(cpus) if everywhere or len(cpus) < 2 else set(cpus[:-1])
        has_priority = _put_first(simulated.pids.values(), others)
        plan = Plan(
            SIMULATED,
            tables,
            2 * n_pairs * scans_in_round * tables.site.period_ns,
            2 * n_pairs,
            FIFO_PRIORITY,
            cpus[-1],
            site_dir.lock_dir,
            wants_cyclictest=False,
        )
        try:
            with_them = _rounds(plan, site_dir, others)
            applied = [state for state, _ in settings_of(site_dir.path)]
        finally:
            os.close(lock_fd)
    spans_ns = read_spans(site_dir.path / SPANS_FILE, plan.rounds * plan.scans_in_round)
    counts = (site_dir.path / COUNTS_FILE).read_text()
    return {
        **compared(spans_ns, with_them, plan.scans_in_round),
        "rounds": {
            "pairs": n_pairs,
            "scans_in_round": plan.scans_in_round,
            "period_ms": PERIOD_ms,
            "scan_is_fifo": applied[0] == 1,
            "devices_before_readers": has_priority,
            "readers_on_cpus": sorted(others),
            "scan_on_cpu": cpus[-1],
            "bound": BOUND,
        },
        "counts": _counts(counts),
    }


def _tables(directory: Path) -> Tables:
    tables = bus_site(directory, n_chargers=N_CHARGERS, baud=115_200, period_ms=10 * PERIOD_ms)
    bus = replace(
        tables.buses[0],
        turnaround_ns=TURNAROUND_ms * NS_PER_MS,
        timeout_ns=TIMEOUT_ms * NS_PER_MS,
    )
    site = replace(tables.site, period_ns=PERIOD_ms * NS_PER_MS)
    return replace(tables, site=site, buses=(bus,))


def _put_first(pids: Sequence[int], cpus: set[int]) -> bool:
    try:
        for pid in pids:
            os.sched_setaffinity(pid, cpus)
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(DEVICES_PRIORITY))
    except PermissionError:
        return False
    return True


def _rounds(plan: Plan, site_dir: runtime.SiteDir, cpus: set[int]) -> list[bool]:
    """In which rounds the readers were at work."""
    with_them = turns(plan.rounds)
    with running_loop(plan, site_dir.path) as loop:
        loop.expect(READY, START_WITHIN_s)
        with readers_of(site_dir, cpus) as readers:
            for k, is_with in enumerate(with_them):
                readers.go_on() if is_with else readers.rest()
                loop.go()
                loop.expect(DONE, 2 * plan.whole_s + START_WITHIN_s)
                if k + 1 < plan.rounds:
                    loop.expect(READY, START_WITHIN_s)
            readers.go_on()
        loop.close()
    return with_them


def turns(n_rounds: int) -> list[bool]:
    """Pairs of without and with, each the other way round than the last."""
    return [(k + k // 2) % 2 == 1 for k in range(n_rounds)]


class Readers:
    """The processes that read the image, and whoever scrapes one of them."""

    def __init__(self, processes: list[subprocess.Popen[bytes]], port: int) -> None:
        self._processes, self._port = processes, port
        self._is_at_work, self._is_over = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._scrape)]
        self.n_scrapes = 0

    def start(self, screen_fd: int) -> None:
        self._threads.append(threading.Thread(target=self._drain, args=(screen_fd,)))
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        self._is_at_work.clear()
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)
        self._is_at_work.set()

    def end(self) -> None:
        self._is_over.set()
        self._is_at_work.set()
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._signal(number)
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for thread in self._threads:
            thread.join()

    def _signal(self, number: int) -> None:
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, number)

    def _scrape(self) -> None:
        while not self._is_over.wait(SCRAPE_EVERY_s):
            if not self._is_at_work.wait(SCRAPE_EVERY_s):
                continue
            with contextlib.suppress(OSError, http.client.HTTPException):
                client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
                client.request("GET", "/metrics")
                client.getresponse().read()
                self.n_scrapes += 1
                client.close()

    def _drain(self, screen_fd: int) -> None:
        with contextlib.suppress(OSError):
            while os.read(screen_fd, 65_536):
                pass


@contextlib.contextmanager
def readers_of(site_dir: runtime.SiteDir, cpus: set[int]) -> Iterator[Readers]:
    """top on a terminal, status again and again, metrics, and a recorder."""
    where = ["--runtime-dir", str(site_dir.path.parent)]
    outer, inner = pty.openpty()
    metrics = _begin(
        [*LOADCTL, "metrics", *where, "--listen", "127.0.0.1:0"], cpus, subprocess.PIPE
    )
    assert metrics.stdout is not None
    port = int(metrics.stdout.readline().rpartition(b":")[2].partition(b"/")[0])
    status = " ".join([*LOADCTL, "status", *where, "--json"])
    again = f"while :; do {status} > /dev/null; sleep {STATUS_EVERY_s}; done"
    recorder = [sys.executable, "-P", "-c", STAND_IN, str(site_dir.image), str(RECORD_EVERY_s)]
    if "recorder" in COMMANDS:
        state = ["--state-dir", str(site_dir.path.parents[1] / "state")]
        recorder = [*LOADCTL, "recorder", *where, *state]
    readers = Readers(
        [
            metrics,
            _begin([*LOADCTL, "top", *where], cpus, inner),
            _begin(["sh", "-c", again], cpus, subprocess.DEVNULL),
            _begin(recorder, cpus, subprocess.DEVNULL),
        ],
        port,
    )
    os.close(inner)
    readers.start(outer)
    time.sleep(2)  # all of them have begun
    try:
        yield readers
    finally:
        readers.end()
        os.close(outer)
    if readers.n_scrapes == 0:
        raise RuntimeError("nothing was scraped: these were rounds without readers")


def _begin(command: list[str], cpus: set[int], stdout: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cpus),
    )


def compared(
    spans_ns: list[Sequence[int]], with_them: list[bool], scans_in_round: int
) -> dict[str, Any]:
    """Of whole scan and wake-up: medians of the p99 of rounds, and the median of the ratios of
    pairs."""
    found = {}
    for name in ("whole", "wake"):
        span_ns = spans_ns[SPANS.index(name)]
        p99_ns = [
            percentile(span_ns[k * scans_in_round : (k + 1) * scans_in_round], 99)
            for k in range(len(with_them))
        ]
        pairs = [_pair(p99_ns[k : k + 2], with_them[k : k + 2]) for k in range(0, len(p99_ns), 2)]
        ratios = [after_ns / before_ns for before_ns, after_ns in pairs]
        quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        without_ns, with_ns = (
            [
                value_ns
                for k, is_with in enumerate(with_them)
                if is_with is wanted
                for value_ns in span_ns[k * scans_in_round : (k + 1) * scans_in_round]
            ]
            for wanted in (False, True)
        )
        found[name] = {
            "without_ms": statistics.median(pair[0] for pair in pairs) / NS_PER_MS,
            "with_ms": statistics.median(pair[1] for pair in pairs) / NS_PER_MS,
            "ratio": statistics.median(ratios),
            "ratio_quartiles": quartiles,
            "ratio_of_all_scans": percentile(with_ns, 99) / percentile(without_ns, 99),
        }
    return found


def _pair(p99_ns: list[float], with_them: list[bool]) -> tuple[float, float]:
    """Without, with."""
    return (p99_ns[1], p99_ns[0]) if with_them[0] else (p99_ns[0], p99_ns[1])


def percentile(values: Sequence[int], percent: int) -> float:
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)])


def _counts(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return {key: found[key] for key in ("scans", "missed", "skipped", "gc_runs")}
