"""Sessions by what they claim, held still under one limit: for tests of turns and admission."""

from __future__ import annotations

from typing import Any

from tests.support.core_sites import NS_PER_S, charger, circuit, site
from tests.support.still import NOW_ns, Still

MIN_mA = 6000
CHARGING, DONE = 3, 4
State = dict[str, Any]


def ago(seconds: float, ns: int = 0) -> int:
    return NOW_ns - int(seconds * NS_PER_S) + ns


def waits(seconds: float, ns: int = 0, **changes: Any) -> State:
    return {"setpoint_mA": 0, "is_waiting": True, "waits_since_ns": ago(seconds, ns), **changes}


def charges(admitted_s: float, on_s: float, ns: int = 0, **changes: Any) -> State:
    return {
        "setpoint_mA": MIN_mA,
        "session": CHARGING,
        "admitted_since_ns": ago(admitted_s, ns),
        "on_since_ns": ago(on_s, ns),
        "is_admitted": True,
        **changes,
    }


def done(**changes: Any) -> State:
    return {"setpoint_mA": 0, "session": DONE, "offered_at_ns": NOW_ns, **changes}


NEVER = {"never_pause": True}
OVER = charges(3600, 3600)
IN_TURN = charges(400, 400)
KEEPS = charges(100, 100)


def stepped(
    states: list[State], limit_mA: Any, rows: list[dict[str, Any]] | None = None, mode: int = 1
) -> Still:
    rows = rows or [{}] * len(states)
    chargers = [charger(f"x{i}", **row) for i, row in enumerate(rows)]
    held = Still(site([circuit("main", limit_mA)], chargers), mode=mode)
    for i, state in enumerate(states):
        row = held.set(i, state["setpoint_mA"], 0 if state.get("session") == DONE else None)
        for name, value in state.items():
            setattr(row, name, value)
        row.ceiling_mA = row.setpoint_mA
        row.raise_after_ns = NOW_ns + 1
    held.step()
    return held


def admitted(held: Still) -> list[int]:
    return [row.is_admitted for row in held.chargers]


def told(held: Still) -> list[tuple[int, int]]:
    return [
        (row.place, (row.turn_at_ns - NOW_ns) // NS_PER_S if row.place else 0)
        for row in held.chargers
    ]
