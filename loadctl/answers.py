"""The answers that a person asks a running site for: is it safe, what binds, who waits, who is
limited and why, is it punctual.

Pure: a status object, as `status --json` prints it, in; lines without any layout out. The words are
those of an electrician or a caretaker.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from loadctl.modes import FAILSAFE, MODE_NAMES, START
from loadctl.reasons import time_text
from loadctl.units import PHASE_NAMES

NAMED_MAX = 4  # who is named before the others are counted
# Rules under which a charger is not held back by anything that a person could change.
CONTENT = ("no_car", "own_maximum", "close_enough", "done")

Row = dict[str, Any]
Status = Row


def summary(status: Status) -> list[str]:
    """Is it safe, what binds, is it punctual: one line each, worst first."""
    lines = _stale_lines(status)
    lines += [_safety_line(status), _binding_line(status), _timing_line(status)]
    return lines + refusals(status)


def answers(status: Status) -> list[str]:
    """All answers, for a page: those of `summary` with numbers, who waits, who is limited."""
    lines = _stale_lines(status)
    lines += [_safety_line(status), *_alarm_lines(status), *_binds_lines(status)]
    lines += [*_waits_lines(status), *_limited_lines(status), _timing_line(status)]
    return lines + refusals(status)


def refusals(status: Status) -> list[str]:
    """The real-time settings that were asked for and could not be had."""
    return [f"  {setting['words']}" for setting in status["real_time"] if refused(setting)]


def refused(setting: Row) -> bool:
    return not setting["is_applied"]


def _stale_lines(status: Status) -> list[str]:
    if not status["is_stale"]:
        return []
    return [f"STALE: the last scan is {status['age_ms'] / 1000:.1f} s old"]


def _safety_line(status: Status) -> str:
    """The fullest phase by what may flow there at the very most, beside what the site file allows:
    a limit from outside protects no cable. Nobody who does not measure says that it is safe."""
    if status["is_stale"]:
        seconds = f"{status['age_ms'] / 1000:.0f} s"
        if status["mode"] == MODE_NAMES[FAILSAFE]:
            return (
                f"not measured for {seconds}: the guard keeps what the proof of check has covered"
            )
        return f"not measured for {seconds}: nobody knows what flows"
    phases = [
        (may_A - limit_A, may_A, limit_A, f"{name} {PHASE_NAMES[p]}")
        for name, circuit in status["circuits"].items()
        for p, (may_A, limit_A) in enumerate(
            zip(circuit["may_carry_A"], circuit["own_limit_A"], strict=True)
        )
    ]
    excess_A, may_A, limit_A, where = max(phases)
    if excess_A <= 0:
        return f"safe: {where} carries at most {may_A:g} A of {limit_A:g} A"
    if status["mode"] == MODE_NAMES[START]:
        return f"not proven yet: {where} could carry {may_A:g} A of {limit_A:g} A; nothing rises"
    return f"over: {where} could carry {may_A:g} A of {limit_A:g} A until chargers have followed"


def _binding_line(status: Status) -> str:
    found = {where: len(names) for where, names in _bound(status).items()}
    if not found:
        return "nothing binds: no limit holds a charger back"
    ordered = sorted(found.items(), key=lambda item: -item[1])
    return "binds: " + ", ".join(f"{where} ({_chargers_text(count)})" for where, count in ordered)


def _timing_line(status: Status) -> str:
    scan = status["scan"]
    return (
        f"timing: {scan['scans']} scans of {scan['period_ms']:g} ms, {scan['missed']} missed,"
        f" worst {scan['worst_scan_ms']:.1f} ms, woken {scan['wake_us']['max']:.0f} us late at most"
    )


def _alarm_lines(status: Status) -> list[str]:
    """What stays wrong until somebody has looked, and what holds chargers down meanwhile."""
    lines = []
    for name, circuit in status["circuits"].items():
        if circuit["alarm"]:
            lines.append(f"ALARM {name}: {circuit['alarm']}")
        if circuit["cooling"]:
            lines.append(f"WARM {name}: {circuit['cooling']}")
    silent = [name for name, found in status["chargers"].items() if found["is_silent"]]
    if silent:
        lines.append(f"no answer: {names_text(silent)}; counted at what they may draw unasked")
    lines += [
        f"meter {name}: {meter['quality']}"
        for name, meter in status["meters"].items()
        if meter["quality"] != "good"
    ]
    return lines + [
        f"bus {name}: port lost" for name, bus in status["buses"].items() if not bus["is_open"]
    ]


def _bound(status: Status) -> dict[str, list[str]]:
    """The limits that hold chargers back, and whom."""
    found: dict[str, list[str]] = {}
    for name, charger in status["chargers"].items():
        if charger["binding"]:
            found.setdefault(charger["binding"], []).append(name)
    return found


def _binds_lines(status: Status) -> list[str]:
    found = sorted(_bound(status).items(), key=lambda item: -len(item[1]))
    if not found:
        return [_binding_line(status)]
    lines = []
    for where, names in found:
        charger = status["chargers"][names[0]]
        filled = filled_words(status, charger["binding_circuit"], charger["binding_kind"])
        lines.append(f"binds: {where}{filled}; holds back {names_text(names)}")
    return lines


def filled_words(status: Status, circuit_name: str, kind: str) -> str:
    """By what a limit is filled; "" where that is not a matter of one phase."""
    if kind not in PHASE_NAMES:
        return ""
    circuit, p = status["circuits"][circuit_name], PHASE_NAMES.index(kind)
    margin = f" less {circuit['margin_A']:g} A margin" if circuit["margin_A"] else ""
    return (
        f", {circuit['limit_A'][p]:g} A{margin}: building {circuit['background_A'][p]:g} A,"
        f" chargers {circuit['granted_A'][p]:g} A"
    )


def waits_line(status: Status) -> str:
    """Who is next and when, and how many wait besides; "" where nobody does."""
    waiting = _waiting(status)
    if not waiting:
        return ""
    name, charger = waiting[0]
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    if charger["place"] is None:
        return f"waits: {name}{more}"
    return f"waits: {name}, turn in about {time_text(round(charger['turn_in_s']))}{more}"


def _waits_lines(status: Status) -> list[str]:
    waiting = _waiting(status)
    if not waiting:
        return ["waits: nobody"]
    return [f"waits: {name} {waits_words(charger)}" for name, charger in waiting]


def _waiting(status: Status) -> list[tuple[str, Row]]:
    """Those who ask for current and have none, in the order of their turns."""
    waiting = [
        (name, charger)
        for name, charger in status["chargers"].items()
        if charger["waits_s"] is not None
    ]
    last = len(waiting) + 1
    waiting.sort(key=lambda item: (item[1]["place"] or last, -(item[1]["waits_s"] or 0)))
    return waiting


def waits_words(charger: Row) -> str:
    """How long it has waited, its place, and about when its turn comes; else what it waits for."""
    parts = [] if charger["waits_s"] is None else [f"for {time_text(round(charger['waits_s']))}"]
    if charger["place"] is None:
        return ", ".join([*parts, charger["reason"]])
    turn = time_text(round(charger["turn_in_s"]))
    return ", ".join([*parts, f"place {charger['place']}", f"turn in about {turn}"])


def _limited_lines(status: Status) -> list[str]:
    """Everyone who has less than its own maximum, by the reason."""
    by_reason: dict[str, list[str]] = {}
    for name, charger in status["chargers"].items():
        if charger["rule"] in CONTENT or charger["waits_s"] is not None:
            continue
        by_reason.setdefault(charger["reason"], []).append(f"{name} {charger['setpoint_A']:g} A")
    if not by_reason:
        return ["limited: nobody"]
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return [f"limited: {names_text(who)}: {reason}" for reason, who in ordered]


def names_text(names: Sequence[str]) -> str:
    """The first few by name, the others counted."""
    if len(names) <= NAMED_MAX + 1:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED_MAX])} and {len(names) - NAMED_MAX} more"


def nearest_name(word: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def _chargers_text(count: int) -> str:
    return "1 charger" if count == 1 else f"{count} chargers"
