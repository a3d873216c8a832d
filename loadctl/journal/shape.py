"""What the numbers of a history row are: the names of a site, and where each of its values stands.

A row of seconds holds CIRCUIT numbers for each circuit, then CHARGER numbers for each charger, in
the order of the site file. A row of minutes holds the number of its seconds, then MINUTE_CIRCUIT
and MINUTE_CHARGER numbers. Where a value is missing, a flag or count beside it is 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from loadctl.tables import Tables

# limit, background, headroom, granted, meter by phase; whether the meter has a value
CIRCUIT = 16
METER_AT, HAS_METER_AT = 12, 15
# setpoint, draw by phase, whether the draw is measured, state, reason
CHARGER = 7
DRAW_AT, HAS_DRAW_AT, STATE_AT, REASON_AT = 1, 4, 5, 6
# 15 means, 15 maxima, seconds with a meter value
MINUTE_CIRCUIT = 31
# setpoint mean and maximum, draw means, draw maxima, seconds with a draw, last state, last reason
MINUTE_CHARGER = 11

STATE_A = 1  # as in the plant block: no car
STATES_PLUGGED = (2, 3, 4)  # B to D; E and F are faults of a box, with or without a car
QUALITIES_NOT_BELIEVED = (2, 3)  # implausible, frozen; as in loadctl/law/meters.pxd
CURRENTS = ("limit", "background", "headroom", "granted", "meter")


@dataclass(frozen=True, slots=True)
class Shape:
    """The names and facts of a site that its history is read with."""

    site: str
    voltage_mV: int
    circuits: tuple[str, ...]
    chargers: tuple[str, ...]
    n_phases: tuple[int, ...]  # that a charger uses, for energy where nothing is measured

    @property
    def n_values(self) -> int:
        return CIRCUIT * len(self.circuits) + CHARGER * len(self.chargers)

    @property
    def n_minute_values(self) -> int:
        return 1 + MINUTE_CIRCUIT * len(self.circuits) + MINUTE_CHARGER * len(self.chargers)

    def circuit_at(self, circuit_i: int) -> int:
        return CIRCUIT * circuit_i

    def charger_at(self, charger_i: int) -> int:
        return CIRCUIT * len(self.circuits) + CHARGER * charger_i

    def minute_circuit_at(self, circuit_i: int) -> int:
        return 1 + MINUTE_CIRCUIT * circuit_i

    def minute_charger_at(self, charger_i: int) -> int:
        return 1 + MINUTE_CIRCUIT * len(self.circuits) + MINUTE_CHARGER * charger_i

    def dump(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def load_shape(text: str) -> Shape:
    raw: dict[str, Any] = json.loads(text)
    return Shape(
        raw["site"],
        raw["voltage_mV"],
        *(tuple(raw[name]) for name in ("circuits", "chargers", "n_phases")),
    )


def shape_of(tables: Tables) -> Shape:
    return Shape(
        site=tables.site.name,
        voltage_mV=tables.site.voltage_mV,
        circuits=tuple(row.name for row in tables.circuits),
        chargers=tuple(row.name for row in tables.chargers),
        n_phases=tuple(len(row.phases) for row in tables.chargers),
    )


def values_of(tables: Tables, snapshot: Mapping[str, Any]) -> list[int]:
    """One row of seconds from a snapshot of the image."""
    at_ns = snapshot["scan"]["published_at_ns"]
    stale_ns = snapshot["site"]["tuning"]["meter_stale_ns"]  # as it is in force
    values: list[int] = []
    for circuit_row, circuit in zip(tables.circuits, snapshot["circuits"], strict=True):
        for name in CURRENTS[:-1]:
            values += circuit[f"{name}_mA"]
        meter = snapshot["meters"][circuit_row.meter] if circuit_row.meter >= 0 else None
        values += _meter(meter, at_ns, stale_ns)
    for charger_row, charger in zip(tables.chargers, snapshot["chargers"], strict=True):
        is_measured = charger_row.has_measured_current and charger["n_samples"] > 0
        has_draw = is_measured and not charger["is_silent"]
        draw_mA = charger["draw_mA"] if has_draw else (0, 0, 0)
        # What it said last is not known to hold.
        state = charger["state"] if charger["has_status"] and not charger["is_silent"] else 0
        values += (charger["setpoint_mA"], *draw_mA, has_draw, state, charger["reason"])
    return values


def _meter(meter: Mapping[str, Any] | None, at_ns: int, stale_ns: int) -> Iterable[int]:
    """A value that the control law does not believe, or would not use any more, is none."""
    if meter is None or not meter["has_value"] or meter["quality"] in QUALITIES_NOT_BELIEVED:
        return (0, 0, 0, 0)
    if at_ns - meter["trusted_at_ns"] >= stale_ns:
        return (0, 0, 0, 0)
    return (*meter["load_mA"], 1)
