"""Rows and small sites for tests of gate, field and scan, with values for mental arithmetic."""

from __future__ import annotations

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

S_ns = 1_000_000_000
MS_ns = 1_000_000


def circuit_row(name: str, **changes: Any) -> CircuitRow:
    row: dict[str, Any] = {
        "parent": -1,
        "limit_mA": (32_000, 32_000, 32_000),
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


def charger_row(name: str, **changes: Any) -> ChargerRow:
    row: dict[str, Any] = {
        "bus": 0,
        "model": "reference-charger",
        "address": 1,
        "connector": 1,
        "circuit": 0,
        "phases": (0, 1, 2),
        "min_mA": 6_000,
        "max_mA": 16_000,
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
        "hold_ns": 0,
        "min_change_ns": 0,
        "watchdog_ns": 30 * S_ns,
        "watchdog_fed_by": "writes",
    }
    return ChargerRow(name=name, **{**row, **changes})


def bus_row(name: str, **changes: Any) -> BusRow:
    row: dict[str, Any] = {
        "port": "/dev/null",
        "baud": 19_200,
        "frame": "8E1",
        "turnaround_ns": None,
        "timeout_ns": None,
        "has_echo": False,
        "uses_rs485_mode": False,
    }
    return BusRow(name=name, **{**row, **changes})


def tuning(**changes: Any) -> Tuning:
    values: dict[str, Any] = {
        "peak_hold_ns": 15 * S_ns,
        "raise_delay_ns": 0,
        "ramp_mA_per_s": 2_000,
        "deadband_mA": 500,
        "trim_ns": 60 * S_ns,
        "raise_every_ns": 5 * S_ns,
        "meter_stale_ns": 3 * S_ns,
        "soft_start_ns": 0,
        "unused_ns": 60 * S_ns,
        "wake_ns": 120 * S_ns,
        "retry_ns": 1_800 * S_ns,
        "car_follow_ns": 6 * S_ns,
        "min_on_ns": 300 * S_ns,
        "min_off_ns": 300 * S_ns,
        "admit_margin_mA": 1_000,
        "rotate_ns": 1_800 * S_ns,
        "healthy_scans": 10,
        "stagger_ns": 0,
    }
    return Tuning(**{**values, **changes})


def tables_of(
    circuits: list[CircuitRow],
    chargers: list[ChargerRow],
    *,
    meters: list[MeterRow] | None = None,
    buses: list[BusRow] | None = None,
    maps: dict[str, dict[str, Any]] | None = None,
    period_ns: int = 500 * MS_ns,
    missed_limit: int = 3,
    tuning_row: Tuning | None = None,
) -> Tables:
    return Tables(
        site=SiteRow("rig", period_ns, missed_limit, 230_000),
        buses=tuple(buses or [bus_row("one")]),
        circuits=tuple(circuits),
        meters=tuple(meters or []),
        chargers=tuple(chargers),
        tuning=tuning_row or tuning(),
        maps=maps or {},
        site_hash="0123456789abcdef",
    )
