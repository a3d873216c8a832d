"""Load beside a measurement: what is said of it."""

from __future__ import annotations

import subprocess
import sys

from loadctl.timing.stress import Beside, command


def process(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE)


def test_load_that_ends_too_soon_is_said_so() -> None:
    ended = process("raise SystemExit(7)")
    ended.wait(20)
    assert Beside("load", ended).looked_at() == "load; it ended too soon, with exit code 7"


def test_load_that_runs_is_what_was_asked_for() -> None:
    running = process("input()")
    assert Beside("load", running).looked_at() == "load"
    running.communicate(b"\n", 20)
    assert Beside("no load", None).looked_at() == "no load"


def test_load_ends_by_itself_long_after_the_measurement() -> None:
    words = command("stress-ng", 2, 3600.0)
    assert words[words.index("--timeout") + 1] == "5460s"
