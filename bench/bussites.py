"""The sites that buses are measured on, as the site files that a user would write."""

from __future__ import annotations

from pathlib import Path

from loadctl.site.load import load_site
from loadctl.tables import Tables

LIMIT_PER_CHARGER_A = 10  # less than its 16 A: whenever the building moves, so do setpoints


def bus_site(
    directory: Path,
    *,
    n_chargers: int,
    n_buses: int = 1,
    charger: str = "reference-charger",
    meter: str | None = "reference-meter",
    baud: int = 19_200,
    period_ms: int = 1_000,
    background_A: int = 20,
) -> Tables:
    """Each bus has `n_chargers`; the first has the one meter. Chargers are three-phase, 16 A."""
    limit_A = n_buses * n_chargers * LIMIT_PER_CHARGER_A + background_A
    lines = [
        "[site]", 'name = "bench"', f"period_ms = {period_ms}",
        "[circuit.main]", f"limit_A = {limit_A}",
        *(['mode = "dynamic"', 'meter = "grid"'] if meter else ['mode = "static"']),
        f"background_A = {background_A}",
        "[tuning]", "soft_start_s = 0", "stagger_s = 0", "raise_every_s = 0.5",
        "raise_delay_s = 1", "ramp_A_per_s = 100", "healthy_scans = 3",
    ]  # fmt: skip
    if meter:
        lines += ["[meter.grid]", 'bus = "b0"', f'model = "{meter}"', "address = 1"]
    for b in range(n_buses):
        lines += [f"[bus.b{b}]", f'port = "/dev/null{b}"', f"baud = {baud}", 'frame = "8E1"']
        for k in range(n_chargers):
            lines += [
                f"[charger.b{b}c{k}]", f'bus = "b{b}"', f'model = "{charger}"',
                f"address = {2 + k}", 'circuit = "main"', 'phases = ["L1", "L2", "L3"]',
                "min_A = 6", "max_A = 16", "rated_A = 16", "failsafe_A = 6",
            ]  # fmt: skip
    path = directory / "site.toml"
    path.write_text("\n".join(lines) + "\n")
    return load_site(path).tables
