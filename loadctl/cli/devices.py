"""`loadctl devices`: the models, what they can do, and how sure that is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from hw.devices import DeviceMap, load_maps, parse_map
from loadctl.cli.params import json_option, maps_option
from loadctl.units import A_from_mA, ms_from_ns, s_from_ns


@click.command()
@json_option
@maps_option
def devices(as_json: bool, maps_dirs: tuple[Path, ...]) -> None:
    """List the device models and what they can do, shipped ones and those of --maps."""
    maps = [parse_map(raw, model) for model, raw in sorted(load_maps(maps_dirs).items())]
    if as_json:
        click.echo(json.dumps({"devices": {row.id: as_dict(row) for row in maps}}, indent=2))
    else:
        print_tables(maps)


def as_dict(device_map: DeviceMap) -> dict[str, Any]:
    """Everything that tells one model from another, in amps and milliseconds."""
    low, high = device_map.addresses
    found: dict[str, Any] = {
        "kind": device_map.kind,
        "name": device_map.name,
        "confidence": device_map.confidence,
        "to_check": list(device_map.doubts),
        "bauds": list(device_map.bauds),
        "frames": list(device_map.frames),
        "addresses": [low, high],
        "turnaround_ms": ms_from_ns(device_map.patience.turnaround_ns),
        "timeout_ms": ms_from_ns(device_map.patience.timeout_ns),
        "gap_ms": ms_from_ns(device_map.patience.gap_ns),
        "gap_scope": "bus" if device_map.patience.gap_on_bus else "device",
        "lag_ms": ms_from_ns(device_map.lag_ns),
        "measures_current": device_map.has_measured_current,
        "sources": list(device_map.sources),
        "notes": list(device_map.notes),
    }
    setpoint, watchdog, fallback = device_map.setpoint, device_map.watchdog, device_map.fallback
    if setpoint is not None:
        found["setpoint_A"] = [A_from_mA(setpoint.min_mA), A_from_mA(setpoint.max_mA)]
        found["step_A"] = A_from_mA(setpoint.step_mA)
        found["hold_s"] = s_from_ns(setpoint.hold_ns)
        found["rated_A"] = None if device_map.rated_mA is None else A_from_mA(device_map.rated_mA)
        found["watchdog_s"] = None if watchdog is None else s_from_ns(watchdog.timeout_ns)
        found["watchdog_fed_by"] = None if watchdog is None else watchdog.fed_by
        found["fallback_is_programmable"] = fallback is not None and fallback.register is not None
    return found


HEADINGS = ("model", "sure", "shows", "setpoint", "step", "watchdog", "fed by", "fallback")


def print_tables(maps: list[DeviceMap]) -> None:
    """One line a model, then what must be checked on a bench before it guards a fuse."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=True)
    for row in maps:
        table.add_row(row.id, row.confidence, *_abilities(row))
    Console(highlight=False).print(table)
    doubted = [row for row in maps if row.doubts]
    if doubted:
        click.echo("\nAssumed; check it on a bench before it guards a fuse:")
    for row in doubted:
        click.echo(f"  {row.id}: {', '.join(row.doubts)}")


def _abilities(row: DeviceMap) -> tuple[str, ...]:
    measured = "I" if row.has_measured_current else "no"
    measured += ", P" if row.power else ""
    setpoint, watchdog = row.setpoint, row.watchdog
    if setpoint is None:
        return measured, "-", "-", "-", "-", "-"
    return (
        measured,
        f"0, {A_from_mA(setpoint.min_mA):g}-{A_from_mA(setpoint.max_mA):g} A",
        f"{A_from_mA(setpoint.step_mA):g} A",
        "none" if watchdog is None else f"{s_from_ns(watchdog.timeout_ns):g} s",
        "-" if watchdog is None else watchdog.fed_by,
        _fallback(row),
    )


def _fallback(row: DeviceMap) -> str:
    if row.fallback is None:
        return "none"
    if row.fallback.fixed_mA is not None:
        return f"{A_from_mA(row.fallback.fixed_mA):g} A fixed"
    return f"0, {A_from_mA(row.fallback.min_mA):g}-{A_from_mA(row.fallback.max_mA):g} A"
