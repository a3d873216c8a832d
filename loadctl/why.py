"""Why a charger has the current it has, and how full a circuit is: a few sentences, with numbers.

Pure: a status object in, sentences out. First what is, then what holds it there, then what would
give it more, then when. Every number stands in the status object too.
"""

from __future__ import annotations

from typing import Any

from loadctl.answers import Status, names_text, waits_words
from loadctl.outside import external_words
from loadctl.reasons import time_text
from loadctl.units import PHASE_NAMES

TOLD_APART_A = 0.05
LISTED_MAX = 8

# What would change it, by rule. {limit}: the limit that binds; {circuit}: its circuit; {min} and
# {reserve}: of the charger.
REMEDIES = {
    "own_maximum": "More only with a higher max_A in the site file, if charger and cable allow it.",
    "full": "More comes when the building or another charger on {limit} takes less.",
    "full_from_outside": "More comes when the limit from outside ends or is raised.",
    "no_room_for_minimum": "It starts when {min} A are free on {limit}.",
    "no_room_from_outside": "It starts when the limit from outside leaves {min} A on {limit}.",
    "no_car": "It starts when a car is plugged in.",
    "not_ready": "The charger itself must be looked at: its display or its fault code says more.",
    "status_unknown": "It is decided when the charger has answered once.",
    "not_armed": "It is given current when its watchdog and fallback are set and read back.",
    "silent": "Look at its power, its bus cable and its address; until it answers it counts as able"
    " to draw {reserve} A.",
    "isolated": "The site file says isolated = true.",
    "controller_mode": "Currents rise again when the site is back in mode run.",
    "waits_after_pause": "It starts when {limit} has had room for its minimum of {min} A for a"
    " while.",
    "waits_for_proof": "It rises when the chargers that were told to take less are seen to.",
    "waits_for_meter": "It rises when the meter of {circuit} is read again.",
    "waits_after_cut": "It rises when raise_delay_s has passed since the last cut.",
    "ramps_up": "It rises by itself, step by step.",
    "starts_softly": "It stays at its minimum of {min} A for soft_start_s, then it rises.",
    "waits_for_turn": "After a start the chargers rise one after the other.",
    "close_enough": "The rest is less than deadband_A and is handed out within trim_s.",
    "makes_room": "It gives way to another charger that is to have its share.",
    "not_acknowledged": "The charger did not confirm its last setpoint: it is sent again.",
    "does_not_follow": "The car takes more than it is told; look at both if it stays so.",
    "starved": "It is spoken to again when its own watchdog has brought it down.",
    "waits_for_place": "It starts when a place is free.",
    "meter_silent": "More comes when the meter of {circuit} is read again: until then the declared"
    " background counts.",
    "takes_less": "More is offered, by 2 A every two minutes, when the car takes what it has.",
    "done": "The car is full or asleep; it is offered current again, or when it asks.",
    "is_offered": "The car is full or asleep: its minimum of {min} A shows whether it wakes.",
    "cools_down": "The fuse of {circuit} was too warm: it starts or rises when that has cooled.",
    "disabled": "enable = false in the site file or by `loadctl tune`, whose `diff` says which.",
    "rests_after_pause": "There is room: it starts when min_off_s is over.",
    "held_by_guard": "Currents rise when the scan runs again.",
}


def why_charger(status: Status, name: str) -> list[str]:
    charger = status["chargers"][name]
    lines = [_now_words(name, charger)]
    if status["is_stale"]:
        lines.append(f"That was {status['age_ms'] / 1000:.0f} s ago: nobody has looked since.")
    lines += _cause_lines(status, name, charger)
    remedy = REMEDIES.get(charger["rule"])
    if remedy:
        lines.append(_filled(remedy, charger))
    if charger["waits_s"] is not None:
        lines.append(f"It waits {waits_words(charger)}.")
    if charger["unused_phases"]:
        lines.append(f"Its car does not use {' and '.join(charger['unused_phases'])}.")
    return lines


def _now_words(name: str, charger: dict[str, Any]) -> str:
    where = f"{name} ({charger['circuit']}, {' '.join(charger['phases'])})"
    draw_A = charger["draw_A"]
    draws = "what it draws is not measured" if draw_A is None else f"draws {max(draw_A):.1f} A"
    since_s = charger["setpoint_since_s"]
    since = "" if since_s is None else f", for {time_text(round(since_s))} now"
    return (
        f"{where} may draw {charger['setpoint_A']:g} A{since}; {draws}. "
        f"It takes {charger['min_A']:g} to {charger['max_A']:g} A."
    )


def _cause_lines(status: Status, name: str, charger: dict[str, Any]) -> list[str]:
    lines = [f"Why: {charger['reason']}."]
    circuit_name, kind = charger["binding_circuit"], charger["binding_kind"]
    if circuit_name is None:
        return lines
    circuit = status["circuits"][circuit_name]
    if kind in PHASE_NAMES:
        lines += _phase_lines(status, name, circuit_name, PHASE_NAMES.index(kind))
    elif kind == "kW":
        lines.append(f"{circuit_name} may carry {circuit['limit_kW']:g} kW over its phases.")
    elif kind == "charger kW":
        words = f"{circuit['charger_limit_kW']:g} kW"
        lines.append(f"All chargers of {circuit_name} together may take {words}.")
    else:
        phases = kind.removeprefix("unbalance ").split("-")
        lines.append(
            f"Chargers of {circuit_name} on {phases[0]} and not on {phases[1]} may take"
            f" {circuit['unbalance_A']:g} A together (unbalance_A)."
        )
    external = external_words(circuit["external"]) if circuit["external"] else ""
    if external:
        lines.append(f"From outside {circuit_name} has {external}.")
    return lines


def _phase_lines(status: Status, name: str, circuit_name: str, p: int) -> list[str]:
    """The sum that binds: limit - margin - building = for chargers; and who may draw how much of
    it. A charger that was told less counts as before until it is seen to have followed."""
    circuit, phase = status["circuits"][circuit_name], PHASE_NAMES[p]
    limit_A, room_A = circuit["limit_A"][p], circuit["headroom_A"][p]
    margin = f" - {circuit['margin_A']:g} A margin" if circuit["margin_A"] else ""
    lines = [
        f"{circuit_name} {phase}: {limit_A:g} A limit{margin}"
        f" - {circuit['background_A'][p]:g} A building ({_background_words(circuit)})"
        f" = {room_A:g} A for chargers."
    ]
    others = {
        other: found["reserve_A"]
        for other, found in status["chargers"].items()
        if other != name
        and phase in found["phases"]
        and found["reserve_A"] > 0
        and is_below(status, found["circuit"], circuit_name)
    }
    own_A = status["chargers"][name]["reserve_A"]
    listed = [f"{other} {value_A:g}" for other, value_A in list(others.items())[:LISTED_MAX]]
    more = f" and {len(others) - LISTED_MAX} more" if len(others) > LISTED_MAX else ""
    words = "No other charger may draw any of it"
    if others:
        words = f"Others may draw {sum(others.values()):.4g} A ({', '.join(listed)}{more})"
    spare_A = room_A - own_A - sum(others.values())
    lines.append(f"{words}, {name} {own_A:g} A; {_spare_words(spare_A)}.")
    return lines


def _spare_words(spare_A: float) -> str:
    if spare_A > TOLD_APART_A:
        return f"{spare_A:.2g} A are free"
    if spare_A < -TOLD_APART_A:
        return f"{-spare_A:.3g} A too many: someone has to come down, or a peak to pass"
    return "nothing is free"


def _background_words(circuit: dict[str, Any]) -> str:
    if circuit["background_from"] == "meter":
        return f"highest of {circuit['peak_hold_s']:g} s"
    return str(circuit["background_from"])


def is_below(status: Status, circuit_name: str | None, above: str) -> bool:
    while circuit_name is not None:
        if circuit_name == above:
            return True
        circuit_name = status["circuits"][circuit_name]["parent"]
    return False


def _filled(remedy: str, charger: dict[str, Any]) -> str:
    return remedy.format(
        limit=charger["binding"] or "a limit",
        circuit=charger["binding_circuit"] or "its circuit",
        min=f"{charger['min_A']:g}",
        reserve=f"{charger['reserve_A']:g}",
    )


def why_circuit(status: Status, name: str) -> list[str]:
    """How full each phase is, by what, and whom it holds back."""
    circuit = status["circuits"][name]
    below = f" below {circuit['parent']}" if circuit["parent"] else ""
    measured = f"measured by {circuit['meter']}" if circuit["load_is_measured"] else "not measured"
    lines = [f"{name}{below}: what it carries is {measured}."]
    for p, phase in enumerate(PHASE_NAMES):
        lines.append(
            f"{phase}: carries {circuit['load_A'][p]:.1f} A of {circuit['limit_A'][p]:g} A;"
            f" building {circuit['background_A'][p]:g} A ({_background_words(circuit)}),"
            f" chargers {circuit['granted_A'][p]:g} A,"
            f" at the very most {circuit['may_carry_A'][p]:g} A."
        )
    for words, key in (("It may carry", "limit_kW"), ("Its chargers may take", "charger_limit_kW")):
        if circuit[key] is not None:
            lines.append(f"{words} {circuit[key]:g} kW.")
    if circuit["alarm"]:
        lines.append(f"ALARM: {circuit['alarm']}.")
    if circuit["cooling"]:
        lines.append(f"Its fuse is warm: {circuit['cooling']}.")
    external = external_words(circuit["external"]) if circuit["external"] else ""
    if external:
        lines.append(f"From outside: {external}.")
    held = [who for who, found in status["chargers"].items() if found["binding_circuit"] == name]
    lines.append(f"It holds back {names_text(held)}." if held else "It holds nobody back.")
    return lines
