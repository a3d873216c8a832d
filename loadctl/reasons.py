"""The words for why a charger has the setpoint it has.

Codes are those of `loadctl.law.reason.Reason`; they are stored in the image and in recordings, so
a code never changes its meaning. Pure functions; imports nothing but units and the plain rows of a
site, so that any reader can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadctl.tables import Tables
from loadctl.units import PHASE_NAMES

STATE_LETTERS = ("?", "A", "B", "C", "D", "E", "F")

KIND_POWER = 3
_PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
KIND_NAMES = (
    *PHASE_NAMES,
    "kW",
    *(f"unbalance {PHASE_NAMES[p]}-{PHASE_NAMES[q]}" for p, q in _PAIRS),
    "charger kW",
)

UNKNOWN = 0
OWN_MAXIMUM = 1
FULL = 2
NO_ROOM_FOR_MINIMUM = 3
NO_CAR = 4
NOT_READY = 5
STATUS_UNKNOWN = 6
NOT_ARMED = 7
SILENT = 8
ISOLATED = 9
CONTROLLER_MODE = 10
WAITS_AFTER_PAUSE = 11
WAITS_FOR_PROOF = 12
WAITS_FOR_METER = 13
WAITS_AFTER_CUT = 14
RAMPS_UP = 15
STARTS_SOFTLY = 16
WAITS_FOR_TURN = 17
CLOSE_ENOUGH = 18
MAKES_ROOM = 19
NOT_ACKNOWLEDGED = 20
DOES_NOT_FOLLOW = 21
STARVED = 22
WAITS_FOR_PLACE = 23
METER_SILENT = 24
TAKES_LESS = 25
DONE = 26
IS_OFFERED = 27
FULL_FROM_OUTSIDE = 40
NO_ROOM_FROM_OUTSIDE = 41
COOLS_DOWN = 50
DISABLED = 60
RESTS_AFTER_PAUSE = 61

# The same codes as words for machines: keys of JSON, labels of metrics.
RULE_NAMES = {
    UNKNOWN: "unknown",
    OWN_MAXIMUM: "own_maximum",
    FULL: "full",
    NO_ROOM_FOR_MINIMUM: "no_room_for_minimum",
    NO_CAR: "no_car",
    NOT_READY: "not_ready",
    STATUS_UNKNOWN: "status_unknown",
    NOT_ARMED: "not_armed",
    SILENT: "silent",
    ISOLATED: "isolated",
    CONTROLLER_MODE: "controller_mode",
    WAITS_AFTER_PAUSE: "waits_after_pause",
    WAITS_FOR_PROOF: "waits_for_proof",
    WAITS_FOR_METER: "waits_for_meter",
    WAITS_AFTER_CUT: "waits_after_cut",
    RAMPS_UP: "ramps_up",
    STARTS_SOFTLY: "starts_softly",
    WAITS_FOR_TURN: "waits_for_turn",
    CLOSE_ENOUGH: "close_enough",
    MAKES_ROOM: "makes_room",
    NOT_ACKNOWLEDGED: "not_acknowledged",
    DOES_NOT_FOLLOW: "does_not_follow",
    STARVED: "starved",
    WAITS_FOR_PLACE: "waits_for_place",
    METER_SILENT: "meter_silent",
    TAKES_LESS: "takes_less",
    DONE: "done",
    IS_OFFERED: "is_offered",
    FULL_FROM_OUTSIDE: "full_from_outside",
    NO_ROOM_FROM_OUTSIDE: "no_room_from_outside",
    COOLS_DOWN: "cools_down",
    DISABLED: "disabled",
    RESTS_AFTER_PAUSE: "rests_after_pause",
}

# {limit} stands for circuit and limit, such as "garage L2"; {meter} for the meter of that circuit.
_TEXTS = {
    UNKNOWN: "not decided yet",
    OWN_MAXIMUM: "at its own maximum",
    FULL: "{limit} full",
    NO_ROOM_FOR_MINIMUM: "{limit} has no room for its minimum",
    NO_CAR: "no car",
    NOT_READY: "charger reports a fault",
    STATUS_UNKNOWN: "no status read yet",
    NOT_ARMED: "watchdog and fallback not set yet",
    SILENT: "does not answer",
    ISOLATED: "switched off for good",
    CONTROLLER_MODE: "failsafe current, nothing is raised now",
    WAITS_AFTER_PAUSE: "paused, waits for {limit} to have room for a while",
    WAITS_FOR_PROOF: "waits until {limit} is proven free",
    WAITS_FOR_METER: "waits for the meter of {limit}",
    WAITS_AFTER_CUT: "waits after a cut on {limit}",
    RAMPS_UP: "rising step by step",
    STARTS_SOFTLY: "starts at its minimum",
    WAITS_FOR_TURN: "waits for its turn after a start",
    CLOSE_ENOUGH: "close enough to its share",
    MAKES_ROOM: "makes room on {limit}",
    NOT_ACKNOWLEDGED: "setpoint not acknowledged",
    DOES_NOT_FOLLOW: "draws more than its setpoint",
    STARVED: "does not obey: nothing is sent to it until its own watchdog has acted",
    WAITS_FOR_PLACE: "waiting for its turn (place {place}, about {time})",
    METER_SILENT: "static: meter {meter} silent for {time}",
    TAKES_LESS: "car takes less",
    DONE: "full or asleep, offered current again in {time}",
    IS_OFFERED: "full or asleep, offered its minimum",
    FULL_FROM_OUTSIDE: "{limit} full (external limit)",
    NO_ROOM_FROM_OUTSIDE: "{limit} has no room for its minimum (external limit)",
    COOLS_DOWN: "{limit} cools down",
    DISABLED: "disabled",
    RESTS_AFTER_PAUSE: "paused, may start again in {time}",
}


def binding_text(circuit_name: str | None, kind: int) -> str:
    """Name the limit that binds, "garage L2", "main kW"; "" when its own maximum does."""
    if circuit_name is None:
        return ""
    return f"{circuit_name} {KIND_NAMES[kind]}"


def reason_text(
    code: int,
    circuit_name: str | None = None,
    kind: int = 0,
    *,
    meter_name: str | None = None,
    place: int = 0,
    seconds: int = 0,
) -> str:
    """Say why; `circuit_name` is None when no limit binds. Where the seconds are not known (0) the
    words that hold them are left out."""
    if code == METER_SILENT and seconds == 0:
        return f"static: meter {meter_name} not read"
    return _TEXTS.get(code, f"reason {code}").format(
        limit=binding_text(circuit_name, kind) or "a limit",
        meter=meter_name,
        place=place,
        time=time_text(seconds),
    )


def charger_reason_text(charger: Mapping[str, Any], tables: Tables) -> str:
    """Say why for a charger as the image and the core show it."""
    circuit = tables.circuits[charger["binding_circuit"]] if charger["has_binding"] else None
    has_meter = circuit is not None and circuit.meter >= 0
    return reason_text(
        charger["reason"],
        circuit.name if circuit else None,
        charger["binding_kind"],
        meter_name=tables.meters[circuit.meter].name if circuit and has_meter else None,
        place=charger["place"],
        seconds=charger["reason_s"],
    )


def time_text(seconds: int) -> str:
    """A time as people say it: seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h"


def state_letter(state: int) -> str:
    return STATE_LETTERS[state]
