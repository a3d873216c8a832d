"""Reads a site file: TOML, its tables, what they must agree on, the rows that everything runs on.

`load_site` and `site_of` are the only doors. They collect every broken rule before they refuse,
open no port and judge neither the failsafe proof nor the bus plan. Commands call them; the scan
never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.devices import DeviceMap, load_maps, parse_map
from loadctl.site.compile import compile_site, lifted, with_backgrounds_of_children
from loadctl.site.model import (
    NAMED_TABLES,
    SINGLE_TABLES,
    BusTable,
    ChargerTable,
    CircuitTable,
    MeterTable,
    SiteTable,
    TuningTable,
)
from loadctl.site.problems import (
    Problems,
    nearest,
    number_text,
    read_toml,
    shown,
    unknown_key_text,
    validate,
)
from loadctl.site.rules import Draft, check_all
from loadctl.tables import Tables
from loadctl.tuning import floors
from loadctl.units import s_from_ns

NAME_CHARS_MAX = 40


@dataclass(frozen=True, slots=True)
class Site:
    """A site file that keeps every rule, compiled. `warnings` holds one line each."""

    path: Path
    text: str
    tables: Tables
    maps: dict[str, DeviceMap]
    warnings: tuple[str, ...]


def load_site(path: str | Path, maps_dirs: Sequence[str | Path] = ()) -> Site:
    """Read, check and compile a site file; ConfigError with one line for every broken rule."""
    path = Path(path)
    text, raw, problems = read_toml(path)
    raw_maps = load_maps([Path(directory) for directory in maps_dirs])
    return site_of(path, text, raw, problems, raw_maps)


def site_of(
    path: Path,
    text: str,
    raw: dict[str, Any],
    problems: Problems,
    raw_maps: dict[str, dict[str, Any]],
) -> Site:
    """The same for a site that was read already, or changed since; its hash is of `text`."""
    site, tuning = _single_tables(raw, problems)
    draft = _draft(raw, raw_maps, problems)
    check_all(draft, problems)
    problems.raise_if_any()
    assert site is not None, "a table that is None left a problem"
    assert tuning is not None, "a table that is None left a problem"
    tables = compile_site(
        site,
        tuning,
        draft.buses,
        draft.circuits,
        draft.meters,
        draft.chargers,
        raw_maps,
        draft.maps,
        text,
    )
    tables, backgrounds = with_backgrounds_of_children(tables)
    tables, warnings = _with_floors(tables)
    return Site(path, text, tables, draft.maps, (*warnings, *backgrounds, *_oddities(tables)))


def _single_tables(
    raw: dict[str, Any], problems: Problems
) -> tuple[SiteTable | None, TuningTable | None]:
    """[site], which must be there, and [tuning], whose defaults are good."""
    known = [*SINGLE_TABLES, *NAMED_TABLES]
    unknown = [key for key in raw if key not in known]
    for key in unknown:
        problems.add((key,), unknown_key_text(key, known))
    if "site" not in raw and "site" not in {nearest(key, known) for key in unknown}:
        problems.add(("site",), 'missing; a site file begins with [site] and name = "..."')
    site = None
    if "site" in raw:
        site = validate(SiteTable, raw["site"], ("site",), problems, "[site]")
    if site is not None and not (site.name.isprintable() and site.name == site.name.strip()):
        text = f"{shown(site.name)} is no name; write printable characters, no spaces around them"
        problems.add(("site", "name"), text)
    tuning = validate(TuningTable, raw.get("tuning", {}), ("tuning",), problems, "[tuning]")
    return site, tuning


def _draft(raw: dict[str, Any], raw_maps: dict[str, dict[str, Any]], problems: Problems) -> Draft:
    """The named tables that are valid by themselves, and the names of all."""
    valid: dict[str, dict[str, Any]] = {}
    names: dict[str, list[str]] = {}
    known = [*SINGLE_TABLES, *NAMED_TABLES]
    lost = {nearest(key, NAMED_TABLES) or "" for key in raw if key not in known}
    for kind, model in NAMED_TABLES.items():
        tables = _named_tables(kind, raw, problems)
        if tables is None:
            lost.add(kind)
            tables = {}
        names[kind] = list(tables)
        checked = {
            name: validate(model, table, (kind, name), problems, f"[{kind}.NAME]")
            for name, table in tables.items()
        }
        valid[kind] = {name: table for name, table in checked.items() if table is not None}
    buses: dict[str, BusTable] = valid["bus"]
    circuits: dict[str, CircuitTable] = valid["circuit"]
    meters: dict[str, MeterTable] = valid["meter"]
    chargers: dict[str, ChargerTable] = valid["charger"]
    used = {meter.model for meter in meters.values()}
    used |= {charger.model for charger in chargers.values()}
    maps = {
        model: parse_map(raw_maps[model], f"map {model}") for model in sorted(used & set(raw_maps))
    }
    return Draft(names, raw, buses, circuits, meters, chargers, maps, sorted(raw_maps), lost)


def _named_tables(kind: str, raw: dict[str, Any], problems: Problems) -> dict[str, Any] | None:
    """The tables of one kind by name; None where what stands there has no names."""
    tables = raw.get(kind, {})
    if not isinstance(tables, dict):
        problems.add((kind,), f"{shown(tables)} is no table; write [{kind}.NAME]")
        return None
    model = NAMED_TABLES[kind]
    keys = [
        key for key in tables if key in model.model_fields and not isinstance(tables[key], dict)
    ]
    if keys:
        problems.add(
            (kind, keys[0]), f"stands in [{kind}] itself; a {kind} has a name: [{kind}.NAME]"
        )
        return None
    for name in tables:
        if not name.isprintable() or name != name.strip() or not 0 < len(name) <= NAME_CHARS_MAX:
            text = f"{shown(name)} is no name; write 1 to {NAME_CHARS_MAX} printable characters"
            problems.add((kind, name), text)
    return tables


def _with_floors(tables: Tables) -> tuple[Tables, list[str]]:
    """Values of [tuning] below the floor of this site count as the floor, and it is said."""
    warnings = []
    for floor in floors(tables):
        value_ns = getattr(tables.tuning, floor.field)
        if value_ns < floor.least_ns:
            value_s = number_text(s_from_ns(value_ns))
            least_s = number_text(s_from_ns(floor.least_ns))
            warnings.append(
                f"tuning.{floor.key}: {value_s} s counts as {least_s} s, its floor on this site:"
                f" {floor.why}"
            )
            tables = lifted(tables, floor)
    return tables, warnings


def _oddities(tables: Tables) -> list[str]:
    """What is allowed, and yet most likely not meant."""
    measured = {circuit.meter for circuit in tables.circuits}
    occupied = {meter.bus for meter in tables.meters}
    occupied |= {charger.bus for charger in tables.chargers}
    return [
        *(
            f"meter.{meter.name}: measures no circuit; it costs a slot of every scan"
            for meter_i, meter in enumerate(tables.meters)
            if meter_i not in measured
        ),
        *(
            f"bus.{bus.name}: nothing hangs on it"
            for bus_i, bus in enumerate(tables.buses)
            if bus_i not in occupied
        ),
        *(
            f"charger.{charger.name}: is isolated; it is never talked to and counts as 0 A"
            for charger in tables.chargers
            if charger.is_isolated
        ),
    ]
