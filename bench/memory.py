"""What a running site takes of its gateway: memory and processor time of guard and scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import busload

# Buses and chargers on each; what is promised of it at 115200 baud and a period of 1 s.
SITES = {
    "1 bus, 16 chargers": (1, 16, {"cpu_percent": 3, "pss_MiB": 80}),
    "8 buses, 24 chargers each": (8, 24, {"cpu_percent": 25, "pss_MiB": 120}),
}


def measure(directory: Path, seconds: int) -> dict[str, Any]:
    """{SITE: {pss_MiB, cpu_percent, scans, missed, ..., target: {cpu_percent, pss_MiB}}}"""
    found = {}
    for k, (name, (n_buses, n_chargers, target)) in enumerate(SITES.items()):
        folder = directory / str(k)
        folder.mkdir()
        load = busload.measure(
            folder,
            seconds,
            n_buses=n_buses,
            n_chargers=n_chargers,
            baud=115_200,
            period_ms=1_000,
        )
        found[name] = {**load._asdict(), "target": target}
    return found
