"""cyclictest beside our own loop: the same period, policy and priority, in the same run.

Owns its command line and the reading of its histogram. It is an external program (rt-tests); where
it is missing, too old or fails, the reason is one line and nothing else is lost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from loadctl.units import NS_PER_S, NS_PER_US

PROGRAM = "cyclictest"
RANGE_ns = 1_000_000  # the most that its histogram takes; what is longer it counts as overflow
GRACE_s = 20.0


class Slice(NamedTuple):
    """What it measured in one stretch: samples in ns up to RANGE_ns, and how many were above.

    Of those above only the longest is known.
    """

    spans_ns: tuple[int, ...]
    n_over: int
    worst_ns: int


class CyclictestFailed(Exception):
    """One line why there is nothing to compare with."""


def found() -> str | None:
    """Its path, where it is installed."""
    return shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def command(
    program: str,
    period_ns: int,
    span_ns: int,
    priority: int,
    cpu: int | None,
    is_locked: bool,
    json_path: Path,
) -> list[str]:
    """Priority 0 is an ordinary process."""
    words = [program, "-q", "-N", "-t1", f"-i{period_ns // NS_PER_US}"]
    words += [f"-l{max(1, span_ns // period_ns)}", f"-h{RANGE_ns}", f"--json={json_path}"]
    words += [f"-p{priority}", "--policy=fifo"] if priority > 0 else ["--policy=other"]
    words += ["-m"] if is_locked else []
    words += [] if cpu is None else [f"-a{cpu}"]
    return words


def run(words: Sequence[str], span_ns: int, json_path: Path) -> Slice:
    """Wait for its end; its report comes from a file."""
    json_path.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=span_ns / NS_PER_S + GRACE_s,
        )
    except subprocess.TimeoutExpired:
        raise CyclictestFailed(f"{PROGRAM} did not end in its time") from None
    except OSError as error:
        raise CyclictestFailed(f"{PROGRAM}: {error.strerror}") from error
    if done.returncode != 0 or not json_path.exists():
        said = (done.stderr.strip().splitlines() or ["no report"])[0]
        raise CyclictestFailed(f"{PROGRAM} failed with exit code {done.returncode}: {said}")
    try:
        return parse(json.loads(json_path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise CyclictestFailed(f"{PROGRAM}: its report cannot be read ({error!r})") from error


def parse(report: dict[str, Any]) -> Slice:
    """One thread, nanoseconds: `histogram` maps a latency to how often it came."""
    thread = report["thread"]["0"]
    spans_ns: list[int] = []
    for latency, count in sorted(thread["histogram"].items(), key=lambda item: int(item[0])):
        spans_ns += [int(latency)] * int(count)
    n_over = max(0, int(thread["cycles"]) - len(spans_ns))
    return Slice(tuple(spans_ns), n_over, int(thread["max"]))


def pooled(slices: Sequence[Slice]) -> list[int]:
    """All samples of all stretches; those above its range count as its longest."""
    return [
        span_ns for part in slices for span_ns in (*part.spans_ns, *[part.worst_ns] * part.n_over)
    ]
