"""A status object made by hand, for what is drawn of it; and what a drawn screen says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

Status = dict[str, Any]


def charger(**changes: Any) -> dict[str, Any]:
    return {
        "setpoint_A": 8.0,
        "draw_A": [7.5, 7.4, 7.5],
        "state": "C",
        "reason": "garage L1 full",
        "binding": "garage L1",
        "reserve_A": 8.0,
        "is_armed": True,
        "is_silent": False,
        "is_starved": False,
        "unanswered": 0,
        "circuit": "garage",
        "phases": ["L1", "L2", "L3"],
        "min_A": 6.0,
        "max_A": 16.0,
        "failsafe_A": 6.0,
        "priority": 0,
        "rule": "full",
        "binding_circuit": "garage",
        "binding_kind": "L1",
        "reason_for_s": None,
        "place": None,
        "turn_in_s": None,
        "waits_s": None,
        "setpoint_since_s": 180.0,
        "cap_A": None,
        "unused_phases": [],
        **changes,
    }


def circuit(limit_A: float = 40.0, background_A: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "limit_A": [limit_A] * 3,
        "own_limit_A": [limit_A] * 3,
        "background_A": [background_A] * 3,
        "headroom_A": [limit_A - background_A] * 3,
        "granted_A": [24.0, 16.0, 8.0],
        "may_carry_A": [24.0 + background_A] * 3,
        "alarm": None,
        "fuse_percent": None,
        "cooling": None,
        "external": None,
        "parent": None,
        "meter": None,
        "is_dynamic": False,
        "margin_A": 0.0,
        "limit_kW": None,
        "charger_limit_kW": None,
        "unbalance_A": None,
        "background_from": "declared",
        "load_A": [24.0 + background_A] * 3,
        "load_is_measured": False,
        "peak_hold_s": 15,
        **changes,
    }


def meter(**changes: Any) -> dict[str, Any]:
    return {"current_A": [27.2, 34.0, 42.6], "age_ms": 300.0, "quality": "good", **changes}


def bus(**changes: Any) -> dict[str, Any]:
    return {
        "is_open": True,
        "busy_ms": 181.2,
        "worst_busy_ms": 300.0,
        "silent_chargers": 0,
        **changes,
    }


def guard(**changes: Any) -> dict[str, Any]:
    return {
        "pid": 700,
        "state": "watching",
        "cause": "",
        "since_s": 12.0,
        "takeovers": 0,
        "restarts": 0,
        "next_restart_s": None,
        "last_takeover_ms": None,
        "last_restart_ms": None,
        **changes,
    }


def status(n_chargers: int = 6, **changes: Any) -> Status:
    """A garage under a house, all well."""
    return {
        "site": "Demo garage",
        "mode": "run",
        "mode_reason": "",
        "age_ms": 300.0,
        "is_stale": False,
        "scan": {
            "pid": 701,
            "period_ms": 500.0,
            "scans": 74,
            "missed": 0,
            "skipped": 0,
            "worst_scan_ms": 451.4,
            "wake_us": {"p50": 41.0, "p99": 75.0, "p999": 75.0, "max": 75.0},
            "spans_ms": {"whole": {"p50": 430.0, "p99": 450.0, "p999": 451.4, "max": 451.4}},
        },
        "guard": guard(),
        "chargers": {f"bay{i + 1}": charger() for i in range(n_chargers)},
        "circuits": {
            "main": circuit(63.0, 17.7, meter="grid", background_from="meter"),
            "garage": circuit(parent="main"),
        },
        "meters": {"grid": meter()},
        "buses": {"garage": bus()},
        "real_time": [],
        "events": [
            {"age_s": 35.3, "text": "mode start -> run"},
            {"age_s": 3.2, "text": "meter grid gives no value"},
        ],
        **changes,
    }


def plain(lines: Sequence[Text]) -> list[str]:
    return [line.plain for line in lines]
