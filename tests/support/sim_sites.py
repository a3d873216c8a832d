"""A ready-made site for tests of the simulator and of whole scans on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadctl.tables import Tables
from loadctl.units import NS_PER_S
from tests.support.builders import TUNING, make_bus, make_charger, make_circuit, make_tables

EAGER = replace(TUNING, raise_delay_ns=5 * NS_PER_S, soft_start_ns=0, stagger_ns=0)


def metered_site(n_chargers: int = 2, **changes: Any) -> Tables:
    """One dynamic circuit of 32 A with a meter at address 1 and chargers from address 11."""
    changes = {"is_dynamic": True, "meter": 0, "background_mA": (20_000,) * 3, **changes}
    return make_tables(
        name="simulated",
        buses=[make_bus("one", port="simulated")],
        circuits=[make_circuit(limit_A=32, **changes)],
        chargers=[
            make_charger(f"bay{i + 1}", address=11 + i, max_mA=32_000) for i in range(n_chargers)
        ],
        tuning=EAGER,
    )
