"""What a status says of each charger and circuit besides its currents: where it hangs, by which
rule it is held, for how long, and when its turn comes.

Pure; made from the tables and one snapshot of the image. Decides nothing. Never runs in the scan.
"""

from __future__ import annotations

from typing import Any

from hw.wire import Code
from loadctl.reasons import KIND_NAMES, RULE_NAMES
from loadctl.tables import ChargerRow, Tables
from loadctl.units import NS_PER_S, PHASE_NAMES, A_from_mA, A_list_from_mA, kW_from_W, s_from_ns

mW_PER_W = 1_000_000  # mA times mV
# As in loadctl/law/estimate.pxd.
SOURCE_NAMES = (
    "declared",
    "meter",
    "declared: meter gone",
    "last meter value",
    "declared: no value",
)

Row = dict[str, Any]


def charger_facts(tables: Tables, row: ChargerRow, charger: Row, now_ns: int) -> Row:
    """Times in seconds from now; None where there is nothing to wait for or nothing known."""
    is_bound = bool(charger["has_binding"])
    has_turn = charger["place"] > 0
    return {
        "circuit": tables.circuits[row.circuit].name,
        "phases": [PHASE_NAMES[p] for p in row.phases],
        "min_A": A_from_mA(charger["live_min_mA"]),
        "max_A": A_from_mA(charger["live_max_mA"]),
        "failsafe_A": A_from_mA(row.failsafe_mA),
        "priority": charger["live_priority"],
        "rule": RULE_NAMES.get(charger["reason"], f"rule_{charger['reason']}"),
        "binding_circuit": tables.circuits[charger["binding_circuit"]].name if is_bound else None,
        "binding_kind": KIND_NAMES[charger["binding_kind"]] if is_bound else None,
        "reason_for_s": charger["reason_s"] or None,
        "place": charger["place"] if has_turn else None,
        "turn_in_s": _ahead_s(charger["turn_at_ns"], now_ns) if has_turn else None,
        "waits_s": _since_s(charger["waits_since_ns"], now_ns) if charger["is_waiting"] else None,
        "setpoint_since_s": _setpoint_since_s(charger, now_ns),
        "cap_A": A_from_mA(charger["cap_mA"]) if charger["has_cap"] else None,
        "unused_phases": [PHASE_NAMES[p] for p in range(3) if charger["unused_phases"] >> p & 1],
    }


def _setpoint_since_s(charger: Row, now_ns: int) -> float | None:
    """Since it was acknowledged, or since the car was last seen above it."""
    if not charger["is_acknowledged"] or charger["acknowledged_at_ns"] > now_ns:
        return None
    return _since_s(charger["acknowledged_at_ns"], now_ns)


def _since_s(at_ns: int, now_ns: int) -> float:
    return max(0.0, round(s_from_ns(now_ns - at_ns), 1))


def _ahead_s(at_ns: int, now_ns: int) -> float:
    return max(0.0, round(s_from_ns(at_ns - now_ns), 1))


def circuit_facts(tables: Tables, circuit_i: int, snapshot: Row) -> Row:
    row, circuit = tables.circuits[circuit_i], snapshot["circuits"][circuit_i]
    load_mA, is_measured = _load_mA(tables, circuit_i, snapshot)
    kW_limit_mA = circuit["power_limit_mA"] if circuit["has_power_limit"] else None
    charger_kW_limit_mA = None
    if circuit["has_charger_power_limit"]:
        charger_kW_limit_mA = circuit["charger_power_limit_mA"]
    voltage_mV = tables.site.voltage_mV
    return {
        "parent": tables.circuits[row.parent].name if row.parent >= 0 else None,
        "meter": tables.meters[row.meter].name if row.meter >= 0 else None,
        "is_dynamic": row.is_dynamic,
        "margin_A": A_from_mA(circuit["live_margin_mA"]),
        "limit_kW": _kW(kW_limit_mA, voltage_mV),
        "charger_limit_kW": _kW(charger_kW_limit_mA, voltage_mV),
        "unbalance_A": None if row.unbalance_mA is None else A_from_mA(row.unbalance_mA),
        "background_from": SOURCE_NAMES[circuit["source"]],
        "load_A": A_list_from_mA(load_mA),
        "load_is_measured": is_measured,
        "peak_hold_s": snapshot["site"]["tuning"]["peak_hold_ns"] // NS_PER_S,
    }


def may_carry_mA(circuit: Row) -> list[int]:
    """The most that may flow, by phase: all reserves, and beside them the building.

    The rigorous background counts a charger that was sampled before the meter and not after it as
    drawing nothing, once more than its reserve: on a bus beside that of the meter that is one
    charger in every scan. What shares leave room for has seen it drawing; held at its peak it is
    no less than the building takes, but for a rise of some seconds that stays hidden behind cars
    that take less than they are offered.
    """
    background_mA = map(min, circuit["background_rigorous_mA"], circuit["background_mA"])
    return [*map(sum, zip(circuit["reserved_mA"], background_mA, strict=True))]


def _load_mA(tables: Tables, circuit_i: int, snapshot: Row) -> tuple[list[int], bool]:
    """What flows now: by its meter; else the background and what the chargers take, with the
    setpoint of those that do not measure."""
    row, circuit = tables.circuits[circuit_i], snapshot["circuits"][circuit_i]
    if row.meter >= 0:
        meter = snapshot["meters"][row.meter]
        if meter["has_value"] and meter["code"] == Code.GOOD and not meter["quality"]:
            return list(meter["load_mA"]), True
    load_mA = [max(0, value_mA) for value_mA in circuit["background_low_mA"]]
    if circuit["source"] != 1:
        load_mA = list(circuit["background_mA"])
    for charger_row, charger in zip(tables.chargers, snapshot["chargers"], strict=True):
        if not _is_below(tables, charger_row.circuit, circuit_i):
            continue
        is_measured = charger_row.has_measured_current and charger["n_samples"] > 0
        for p in charger_row.phases:
            load_mA[p] += charger["draw_mA"][p] if is_measured else charger["setpoint_mA"]
    return load_mA, False


def _is_below(tables: Tables, circuit_i: int, above_i: int) -> bool:
    while circuit_i >= 0:
        if circuit_i == above_i:
            return True
        circuit_i = tables.circuits[circuit_i].parent
    return False


def _kW(power_mA: int | None, voltage_mV: int) -> float | None:
    """Rounded up: back to the watts that the currents were made from, rounded down."""
    return None if power_mA is None else kW_from_W(-(-power_mA * voltage_mV // mW_PER_W))
