"""The words for why a charger has the setpoint it has.

Codes are those of `loadctl.law.reason.Reason`; they are stored in the image and in recordings, so
a code never changes its meaning. Pure functions; imports nothing but units, so that any reader can
use it.
"""

from __future__ import annotations

from loadctl.units import PHASE_NAMES

STATE_LETTERS = ("?", "A", "B", "C", "D", "E", "F")

KIND_POWER = 3
_PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
KIND_NAMES = (
    *PHASE_NAMES,
    "kW",
    *(f"unbalance {PHASE_NAMES[p]}-{PHASE_NAMES[q]}" for p, q in _PAIRS),
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
COOLS_DOWN = 50

# {0} stands for circuit and limit, such as "garage L2".
_TEXTS = {
    UNKNOWN: "not decided yet",
    OWN_MAXIMUM: "at its own maximum",
    FULL: "{0} full",
    NO_ROOM_FOR_MINIMUM: "{0} has no room for its minimum",
    NO_CAR: "no car",
    NOT_READY: "charger reports a fault",
    STATUS_UNKNOWN: "no status read yet",
    NOT_ARMED: "watchdog and fallback not set yet",
    SILENT: "does not answer",
    ISOLATED: "switched off for good",
    CONTROLLER_MODE: "failsafe current, nothing is raised now",
    WAITS_AFTER_PAUSE: "paused, waits for {0} to have room for a while",
    WAITS_FOR_PROOF: "waits until {0} is proven free",
    WAITS_FOR_METER: "waits for the meter of {0}",
    WAITS_AFTER_CUT: "waits after a cut on {0}",
    RAMPS_UP: "rising step by step",
    STARTS_SOFTLY: "starts at its minimum",
    WAITS_FOR_TURN: "waits for its turn after a start",
    CLOSE_ENOUGH: "close enough to its share",
    MAKES_ROOM: "makes room on {0}",
    NOT_ACKNOWLEDGED: "setpoint not acknowledged",
    DOES_NOT_FOLLOW: "draws more than its setpoint",
    STARVED: "does not obey: nothing is sent to it until its own watchdog has acted",
    COOLS_DOWN: "{0} cools down",
}


def binding_text(circuit_name: str | None, kind: int) -> str:
    """Name the limit that binds, "garage L2", "main kW"; "" when its own maximum does."""
    if circuit_name is None:
        return ""
    return f"{circuit_name} {KIND_NAMES[kind]}"


def reason_text(code: int, circuit_name: str | None, kind: int) -> str:
    """Say why; `circuit_name` is None when no limit binds."""
    return _TEXTS.get(code, f"reason {code}").format(binding_text(circuit_name, kind) or "a limit")


def state_letter(state: int) -> str:
    return STATE_LETTERS[state]
