"""Which machine a number was measured on: processor, cores, kernel, load."""

from __future__ import annotations

import os
import platform
from typing import Any

CPUINFO_PATH = "/proc/cpuinfo"


def describe() -> dict[str, Any]:
    kernel = platform.uname()
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "kernel": f"{kernel.release} {_preemption(kernel.version)}".strip(),
        "load": round(os.getloadavg()[0], 2),
    }


def processor() -> str:
    """The model, as the kernel calls it; not every architecture says one."""
    with open(CPUINFO_PATH) as info:
        for line in info:
            if line.lower().startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def _preemption(version: str) -> str:
    return next((word for word in version.split() if word.startswith("PREEMPT")), "")
