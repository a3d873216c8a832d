"""Sites for tests of the simulator, with rows of its own so that it needs nobody else's builder."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadctl.tables import (
    BusRow,
    ChargerRow,
    CircuitRow,
    MeterRow,
    SiteRow,
    Tables,
    Tuning,
)

MAPS = Path(__file__).resolve().parents[2] / "hw" / "maps"
S = 1_000_000_000
MS = 1_000_000

TUNING = Tuning(
    peak_hold_ns=15 * S,
    raise_delay_ns=5 * S,
    ramp_mA_per_s=2_000,
    deadband_mA=500,
    trim_ns=60 * S,
    raise_every_ns=5 * S,
    meter_stale_ns=3 * S,
    soft_start_ns=0,
    unused_ns=60 * S,
    wake_ns=120 * S,
    retry_ns=1_800 * S,
    car_follow_ns=6 * S,
    min_on_ns=300 * S,
    min_off_ns=300 * S,
    admit_margin_mA=1_000,
    rotate_ns=1_800 * S,
    healthy_scans=10,
    stagger_ns=0,
)


def raw_map(model: str) -> dict[str, Any]:
    return tomllib.loads((MAPS / f"{model}.toml").read_text())


def circuit(name: str, **changes: Any) -> CircuitRow:
    row: dict[str, Any] = {
        "parent": -1,
        "limit_mA": (32_000,) * 3,
        "limit_W": None,
        "unbalance_mA": None,
        "margin_mA": 0,
        "background_mA": (0, 0, 0),
        "is_dynamic": False,
        "meter": -1,
        "counts_export": False,
        "fuse_type": None,
        "fuse_rated_mA": 0,
    }
    return CircuitRow(name=name, **{**row, **changes})


def charger(name: str, address: int, **changes: Any) -> ChargerRow:
    row: dict[str, Any] = {
        "bus": 0,
        "model": "reference-charger",
        "connector": 1,
        "circuit": 0,
        "phases": (0, 1, 2),
        "min_mA": 6_000,
        "max_mA": 32_000,
        "step_mA": 100,
        "failsafe_mA": 6_000,
        "fallback_mA": 6_000,
        "rated_mA": 80_000,
        "priority": 0,
        "weight": 1,
        "never_pause": False,
        "is_unprotected": False,
        "is_unmeasured_accepted": False,
        "is_isolated": False,
        "has_measured_current": True,
        "hold_ns": 500 * MS,
        "min_change_ns": 0,
        "watchdog_ns": 30 * S,
        "watchdog_fed_by": "writes",
    }
    return ChargerRow(name=name, address=address, **{**row, **changes})


def meter(name: str = "grid", **changes: Any) -> MeterRow:
    row: dict[str, Any] = {"bus": 0, "model": "reference-meter", "address": 1, "lag_ns": 0}
    return MeterRow(name=name, **{**row, **changes})


def bus(name: str = "one", **changes: Any) -> BusRow:
    row: dict[str, Any] = {
        "port": "simulated",
        "baud": 19_200,
        "frame": "8E1",
        "turnaround_ns": None,
        "timeout_ns": None,
        "has_echo": False,
        "uses_rs485_mode": False,
    }
    return BusRow(name=name, **{**row, **changes})


def site(
    circuits: list[CircuitRow],
    chargers: list[ChargerRow],
    meters: list[MeterRow] | None = None,
    buses: list[BusRow] | None = None,
    **maps: dict[str, Any],
) -> Tables:
    rows = [*(meters or []), *chargers]
    models = {row.model: raw_map(row.model) for row in rows if row.model not in maps}
    return Tables(
        site=SiteRow("simulated", 500 * MS, 3, 230_000),
        buses=tuple(buses or [bus()]),
        circuits=tuple(circuits),
        meters=tuple(meters or []),
        chargers=tuple(chargers),
        tuning=TUNING,
        maps={**models, **maps},
        site_hash="0123456789abcdef",
    )


def metered_site(n_chargers: int = 2, **changes: Any) -> Tables:
    """One dynamic circuit with a meter at address 1 and chargers from address 11."""
    main = circuit("main", is_dynamic=True, meter=0, background_mA=(20_000,) * 3, **changes)
    return site([main], [charger(f"bay{i + 1}", 11 + i) for i in range(n_chargers)], [meter()])


def with_map_changes(tables: Tables, model: str, section: str, **changes: Any) -> Tables:
    """The same site with some facts of one device map altered."""
    raw = tables.maps[model]
    return replace(
        tables, maps={**tables.maps, model: {**raw, section: {**raw[section], **changes}}}
    )
