"""What status says of limits from outside: one object per circuit, from the image.

Pure; decides nothing, the core has. Never runs in the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadctl.tables import CircuitRow
from loadctl.units import A_from_mA, A_list_from_mA, s_from_ns

STATE_NAMES = (None, "free", "limit", "lost", "expired")  # as in loadctl/law/external.pxd
PHASE_KINDS, POWER_KIND, CHARGER_POWER_KIND = 0b111, 1 << 3, 1 << 10
mW_PER_kW = 1_000_000

Row = dict[str, Any]


def external_of(row: CircuitRow, circuit: Row, voltage_mV: int, now_ns: int) -> Row | None:
    """None where the circuit takes no limits from outside. Currents and power are those in force
    where they come from outside, and None where the circuit's own count."""
    state = STATE_NAMES[circuit["external_state"]]
    if state is None:
        return None
    kinds = circuit["external_kinds"]
    limit_A = A_list_from_mA(circuit["limit_mA"]) if kinds & PHASE_KINDS else None
    power_mA = None
    if kinds & POWER_KIND:
        power_mA = circuit["power_limit_mA"]
    if kinds & CHARGER_POWER_KIND:
        power_mA = circuit["charger_power_limit_mA"]
    ends = circuit["external_ends"] and state in ("limit", "free")
    found: Row = {
        "state": state,
        "limit_A": limit_A,
        "limit_kW": None if power_mA is None else _kW(power_mA, voltage_mV),
        "is_of_chargers": row.guaranteed_W is not None,
        "is_guaranteed_minimum": bool(circuit["external_is_lifted"]),
        "for_s": _seconds(circuit["external_until_ns"] - now_ns) if ends else None,
        "heard_s": None,
    }
    if circuit["external_is_heard"]:
        found["heard_s"] = _seconds(now_ns - circuit["external_heard_at_ns"])
    return found


def external_words(found: Row) -> str:
    """One line for a person; "" where nothing counts from outside."""
    counts = limit_words(found)
    if found["state"] == "free" or (found["state"] == "limit" and not counts):
        return ""
    counts = counts or "its own limits count"
    if found["state"] == "lost":
        heard = found["heard_s"]
        silent = "never" if heard is None else f"for {span_words(heard)} not"
        return f"{counts}: its source was {silent} heard"
    if found["state"] == "expired":
        return f"{counts}: the last command has run out"
    if found["for_s"] is None:
        return f"{counts} until the next command"
    return f"{counts} for {span_words(found['for_s'])} more"


def limit_words(found: Row) -> str:
    parts = []
    if found["limit_A"] is not None:
        parts.append(f"{currents_words(found['limit_A'])} A")
    if found["limit_kW"] is not None:
        whose = " of chargers" if found["is_of_chargers"] else ""
        least = ", the guaranteed minimum" if found["is_guaranteed_minimum"] else ""
        parts.append(f"{found['limit_kW']:g} kW{whose}{least}")
    return " and ".join(parts)


def currents_words(values_A: Sequence[float]) -> str:
    """One number where all phases are equal."""
    if len(set(values_A)) == 1:
        return f"{values_A[0]:g}"
    return " / ".join(f"{value_A:g}" for value_A in values_A)


def span_words(seconds: float) -> str:
    """Hours and minutes, or minutes, or seconds: as much as a person wants to know."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _kW(power_mA: int, voltage_mV: int) -> float:
    """The sum of currents as power, to three decimals: back to what was commanded."""
    return A_from_mA(-(-power_mA * voltage_mV // mW_PER_kW))


def _seconds(span_ns: int) -> float:
    return max(0.0, round(s_from_ns(span_ns), 1))
