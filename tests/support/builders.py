"""The rows of a site, for tests that want a plausible one and change a line or two.

What a test needs to be otherwise it says as a keyword. The maps are the shipped ones.
`make_tables()` is the bus that loadctl is measured by: one meter and eight reference chargers at
19200 8E1 with a period of 500 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from hw.devices import DeviceMap, load_maps, parse_map
from loadctl.tables import (
    BusRow,
    ChargerRow,
    CircuitRow,
    MeterRow,
    SiteRow,
    Tables,
    Tuning,
)
from loadctl.units import NS_PER_MS, NS_PER_S

TUNING = Tuning(
    peak_hold_ns=15 * NS_PER_S,
    raise_delay_ns=15 * NS_PER_S,
    ramp_mA_per_s=2_000,
    deadband_mA=500,
    trim_ns=60 * NS_PER_S,
    raise_every_ns=5 * NS_PER_S,
    meter_stale_ns=3 * NS_PER_S,
    soft_start_ns=40 * NS_PER_S,
    unused_ns=60 * NS_PER_S,
    wake_ns=120 * NS_PER_S,
    retry_ns=1_800 * NS_PER_S,
    car_follow_ns=6 * NS_PER_S,
    min_on_ns=300 * NS_PER_S,
    min_off_ns=300 * NS_PER_S,
    admit_margin_mA=1_000,
    rotate_ns=1_800 * NS_PER_S,
    healthy_scans=10,
    stagger_ns=10 * NS_PER_S,
)


@cache
def shipped_maps() -> dict[str, dict[str, Any]]:
    return load_maps()


@cache
def shipped_map(model: str) -> DeviceMap:
    return parse_map(shipped_maps()[model], model)


def maps_of(tables: Tables) -> dict[str, DeviceMap]:
    """The maps of a site as the scan process makes them: from the tables alone."""
    return {model: parse_map(raw, model) for model, raw in tables.maps.items()}


def make_bus(name: str = "bus", **changes: Any) -> BusRow:
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


def make_meter(name: str = "grid", model: str = "reference-meter", **changes: Any) -> MeterRow:
    row: dict[str, Any] = {"bus": 0, "address": 1, "lag_ns": shipped_map(model).lag_ns}
    return MeterRow(name=name, model=model, **{**row, **changes})


def make_charger(name: str, model: str = "reference-charger", **changes: Any) -> ChargerRow:
    """A charger with everything that its map says; site values are those of a 16 A outlet."""
    device_map = shipped_map(model)
    assert device_map.setpoint is not None
    watchdog = device_map.watchdog
    row: dict[str, Any] = {
        "bus": 0,
        "address": 2,
        "connector": 1,
        "circuit": 0,
        "phases": (0, 1, 2),
        "min_mA": 6_000,
        "max_mA": 16_000,
        "step_mA": device_map.setpoint.step_mA,
        "failsafe_mA": 6_000,
        "fallback_mA": 6_000,
        "rated_mA": device_map.rated_mA or 32_000,
        "priority": 0,
        "weight": 1,
        "never_pause": False,
        "is_unprotected": False,
        "is_unmeasured_accepted": False,
        "is_isolated": False,
        "has_measured_current": device_map.has_measured_current,
        "hold_ns": device_map.setpoint.hold_ns,
        "min_change_ns": device_map.setpoint.min_change_ns,
        "watchdog_ns": None if watchdog is None else watchdog.timeout_ns,
        "watchdog_fed_by": None if watchdog is None else watchdog.fed_by,
    }
    return ChargerRow(name=name, model=model, **{**row, **changes})


def make_circuit(name: str = "main", limit_A: int = 100, **changes: Any) -> CircuitRow:
    row: dict[str, Any] = {
        "parent": -1,
        "limit_mA": (limit_A * 1000,) * 3,
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


def make_tables(
    n_chargers: int = 8,
    limit_A: int = 100,
    *,
    name: str = "test site",
    period_ms: int = 500,
    meters: Sequence[MeterRow] | None = None,
    chargers: Sequence[ChargerRow] | None = None,
    buses: Sequence[BusRow] | None = None,
    circuits: Sequence[CircuitRow] | None = None,
    tuning: Tuning = TUNING,
    charger_changes: dict[str, Any] | None = None,
) -> Tables:
    """One dynamic circuit, its meter at address 1, chargers bay1.. from address 2 on, all on one
    bus. Circuits that are given without meters get that one meter if one of them names it.
    """
    if meters is None:
        is_metered = circuits is None or any(row.meter >= 0 for row in circuits)
        meters = [make_meter()] if is_metered else []
    if chargers is None:
        changes = charger_changes or {}
        chargers = [
            make_charger(f"bay{i + 1}", **{"address": i + 2, **changes}) for i in range(n_chargers)
        ]
    if circuits is None:
        has_meter = bool(meters)
        circuits = [
            make_circuit(limit_A=limit_A, is_dynamic=has_meter, meter=0 if has_meter else -1)
        ]
    models = {row.model for row in (*meters, *chargers)}
    return Tables(
        site=SiteRow(name, period_ms * NS_PER_MS, 3, 230_000),
        buses=tuple(buses) if buses is not None else (make_bus(),),
        circuits=tuple(circuits),
        meters=tuple(meters),
        chargers=tuple(chargers),
        tuning=tuning,
        maps={model: shipped_maps()[model] for model in sorted(models)},
        site_hash="0123456789abcdef",
    )


def with_map_changes(tables: Tables, model: str, section: str, **changes: Any) -> Tables:
    """The same site with some facts of one device map altered."""
    raw = tables.maps[model]
    section_raw = {**raw.get(section, {}), **changes}
    return replace(tables, maps={**tables.maps, model: {**raw, section: section_raw}})
