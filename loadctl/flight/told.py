"""What a replay says, in words and as JSON.

Owns the wording. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from loadctl.flight.replay import Difference, Played, Recording
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

MOST_SHOWN = 20
ANSWERS = {"takes": "decreases", "gives": "raises"}


def clock(at_ns: int) -> str:
    """UTC in ns, as local time."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).astimezone().isoformat(" ", "seconds")


def summary_lines(recording: Recording, played: Played) -> list[str]:
    """The verdict first."""
    n_files = len(recording.files)
    lines = [verdict(played)]
    if played.first and played.last:
        lines.append(
            f"{played.n_scans} scans in {n_files} file{'s' * (n_files != 1)}:"
            f" scan {played.first[0]} at {clock(played.first[1])}"
            f" to scan {played.last[0]} at {clock(played.last[1])}"
        )
    for k, difference in enumerate(played.differences[:MOST_SHOWN]):
        tables = dict(recording.files)[difference.path].tables
        lines.append(difference_line(difference, tables))
        lines += [f"    {line}" for line in played.fields.get(k, [])]
    if len(played.differences) > MOST_SHOWN:
        lines.append(f"and {len(played.differences) - MOST_SHOWN} differences more")
    for note in played.notes:
        lines.append(note.words if note.at_ns is None else note_line(note.where, note))
    if played.n_unplayed:
        lines.append(f"{played.n_unplayed} scans could not be played: what they begin with is lost")
    return lines


def verdict(played: Played) -> str:
    if any(d.what != "sum" and not d.detail["is_changed"] for d in played.differences):
        return "DIFFERENT: this core answers otherwise than was recorded."
    if played.differences:
        return "CHANGED: the recording is not what was written."
    if played.is_damaged:
        return "DAMAGED: a part of the recording cannot be read; the rest is answered the same."
    return "EQUAL: every answer and every byte of the plant block is as recorded."


def note_line(where: str, note: Any) -> str:
    return f"{clock(note.at_ns)}, {where}: {note.words}"


def difference_line(difference: Difference, tables: Tables) -> str:
    """Which scan, and what."""
    detail = difference.detail
    where = f"scan {difference.scan_i} at {clock(difference.at_ns)}"
    changed = "; its record is not what was written" if detail["is_changed"] else ""
    if difference.what == "sum":
        return f"{where}: its record is not what was written; the core answered the same"
    if difference.what == "plant":
        return f"{where}: the plant block at its end differs{changed}"
    call = detail["call"]
    if difference.what == "refused":
        said = f"the core refused {call}{detail['arguments']}: {detail['answered']}"
        return f"{where}: {said}{changed}"
    if call in ANSWERS:
        recorded, answered = (_setpoints(detail[key], tables) for key in ("recorded", "answered"))
        return f"{where}: {ANSWERS[call]}: recorded {recorded}, now {answered}{changed}"
    said = f"{call} was answered {detail['recorded']}, now {detail['answered']}"
    return f"{where}: {said}{changed}"


def _setpoints(pairs: list[tuple[int, int]] | None, tables: Tables) -> str:
    names = [row.name for row in tables.chargers]
    texts = [
        f"{names[i] if 0 <= i < len(names) else i} {setpoint_mA / 1000:g} A"
        for i, setpoint_mA in pairs or []
    ]
    return ", ".join(texts) or "none"


def report(recording: Recording, played: Played) -> dict[str, Any]:
    return {
        "equal": played.is_equal,
        "verdict": verdict(played),
        "files": [path.name for path, _ in recording.files],
        "site": recording.files[0][1].tables.site.name,
        "recorded_by": recording.files[0][1].more.get("loadctl"),
        "scans": played.n_scans,
        "unplayed_scans": played.n_unplayed,
        "first": _place(played.first),
        "last": _place(played.last),
        "differences": [
            {
                "what": d.what,
                "scan": d.scan_i,
                "at": clock(d.at_ns),
                "file": d.path.name,
                **d.detail,
                "fields": played.fields.get(k, []),
            }
            for k, d in enumerate(played.differences)
        ],
        "notes": [
            {"kind": n.kind, "where": n.where, "words": n.words, "at": n.at_ns and clock(n.at_ns)}
            for n in played.notes
        ],
    }


def _place(place: tuple[int, int] | None) -> dict[str, Any] | None:
    return None if place is None else {"scan": place[0], "at": clock(place[1])}
