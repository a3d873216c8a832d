"""Load on every core while a measurement runs: stress-ng, where it is installed.

Owns the process that it started and ends that one alone. Should this process be killed, stress-ng
still ends by its own time limit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from loadctl.errors import UsageError

PROGRAM = "stress-ng"
MISSING = f"{PROGRAM} is not installed: measured without stress"
BEGIN_WITHIN_s = 1.0
END_WITHIN_s = 10.0
GRACE_s = 60
GRACE_PART = 2  # of the span that was asked for: rounds take longer than their scans


def found() -> str | None:
    return shutil.which(PROGRAM)


def command(program: str, n_cores: int, span_s: float) -> list[str]:
    """Arithmetic on every core, one worker that walks through memory, one that switches."""
    words = [program, "--cpu", str(n_cores), "--vm", "1", "--vm-bytes", "64M", "--switch", "1"]
    limit_s = int(span_s + span_s / GRACE_PART) + GRACE_s
    return [*words, "--timeout", f"{limit_s}s", "--quiet"]


def words(n_cores: int) -> str:
    """What a report says of it."""
    return f"stress-ng on all {n_cores} cores, one memory worker and one that switches beside"


class Beside:
    """Load that runs beside; `words` is for the report, also when there is no stress-ng."""

    def __init__(self, words: str, process: subprocess.Popen[bytes] | None) -> None:
        self.words = words
        self._process = process

    def looked_at(self) -> str:
        """The words, and whether it has ended before it was told to."""
        if self._process is not None and self._process.poll() is not None:
            self.words += f"; it ended too soon, with exit code {self._process.returncode}"
        return self.words


@contextlib.contextmanager
def beside(span_s: float) -> Iterator[Beside]:
    """Keep every core busy."""
    program = found()
    if program is None:
        yield Beside(MISSING, None)
        return
    n_cores = os.cpu_count() or 1
    process = subprocess.Popen(
        command(program, n_cores, span_s),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # ctrl-c is for us, who then end it
    )
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(BEGIN_WITHIN_s)
            raise UsageError(f"{PROGRAM}: ended at once with exit code {process.returncode}")
        yield Beside(words(n_cores), process)
    finally:
        process.terminate()
        try:
            process.wait(END_WITHIN_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
