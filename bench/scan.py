"""The scan loop on this machine: `loadctl timing` without a bus, calm and busy, and on the
simulated garage; with cyclictest beside it where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
FIFO_PRIORITY = 80
PERIOD_MISSED = 1  # exit code of `timing` where the period was not held
KEPT = (
    "wake_us",
    "scan_ms",
    "reaction_ms",
    "scans",
    "missed",
    "gc_runs",
    "cyclictest",
)


def measure(seconds: int) -> dict[str, Any]:
    """{calm, busy, garage}: what `loadctl timing --json` says; busy only where stress-ng is."""
    alone = ["--no-bus", "--for", f"{seconds}s", "--fifo-priority", str(FIFO_PRIORITY)]
    found = {"calm": timing(alone)}
    if shutil.which("stress-ng"):
        found["busy"] = timing([*alone, "--stress"])
    found["garage"] = timing(["--for", f"{seconds}s", "--no-cyclictest"])
    return found


def timing(options: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(
        [*LOADCTL, "timing", *options, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, PERIOD_MISSED) or not done.stdout:
        raise RuntimeError(f"loadctl timing {' '.join(options)}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    return {name: report[name] for name in KEPT}
