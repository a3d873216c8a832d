"""What a simulated site tells at its end, as one plain dictionary for JSON and for asserts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hw.sim.board import (
    BUS_FIELDS,
    CHARGER_FIELDS,
    LOAD_FIELDS,
    METER_FIELDS,
    Board,
)
from hw.sim.judge import PHASE_NAMES
from loadctl.units import A_from_mA, s_from_ns

if TYPE_CHECKING:
    from loadctl.tables import Tables


def report_of(tables: Tables, board: Board, violations: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of the whole run, the judge's findings, and the fullest that each circuit has been.

    A scan reads every meter once, so the most often asked meter counts the scans.
    """
    buses = {bus.name: board.row(board.bus(i), BUS_FIELDS) for i, bus in enumerate(tables.buses)}
    meters = {
        meter.name: board.row(board.meter(i), METER_FIELDS) for i, meter in enumerate(tables.meters)
    }
    chargers = {
        charger.name: board.row(board.charger(i), CHARGER_FIELDS)
        for i, charger in enumerate(tables.chargers)
    }
    return {
        "scans_seen": max((row["asked"] for row in meters.values()), default=0),
        "setpoints_written": sum(row["written"] for row in chargers.values()),
        "raises": sum(row["raises"] for row in buses.values()),
        "takes": sum(row["takes"] for row in buses.values()),
        "n_violations": sum(row["violations"] for row in buses.values()),
        "violations": sorted(violations, key=lambda violation: violation["at_ns"]),
        "circuits": {
            circuit.name: _worst(board.row(board.load(i), LOAD_FIELDS))
            for i, circuit in enumerate(tables.circuits)
        },
        "buses": buses,
        "meters": meters,
        "chargers": chargers,
    }


def _worst(row: dict[str, int]) -> dict[str, Any]:
    return {
        "worst_load_A": A_from_mA(row["worst_load_mA"]),
        "limit_A": A_from_mA(row["worst_limit_mA"]),
        "phase": PHASE_NAMES[row["worst_phase"]],
        "at_s": s_from_ns(row["worst_at_ns"]),
        "above_s": s_from_ns(row["above_ns"]),
    }
