"""Events of the image's ring and of the guard's as rows of the journal, with names and words."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from typing import Any

from loadctl.events import Event
from loadctl.journal.clock import utc_ms
from loadctl.journal.notes import Note, Source, note_text
from loadctl.journal.sql import EraRow, EventRow
from loadctl.status import (
    BUS_HAPPENINGS,
    CHARGER_HAPPENINGS,
    event_line,
    guard_event_line,
    who_name,
)
from loadctl.tables import Tables


def event_row(
    source: Source, tables: Tables, event: Mapping[str, Any], n: int, teller: int, era: EraRow
) -> EventRow:
    """`n` is the event's number in its ring."""
    plain = dict(event)
    is_scan = source == Source.SCAN
    who, text = _of_scan(tables, plain) if is_scan else _of_guard(tables, plain)
    return EventRow(
        utc_ms=utc_ms(plain["at_ns"], era.offset_ms),
        mono_ns=plain["at_ns"],
        era=era.id,
        source=source,
        teller=teller,
        n=n,
        kind=plain["kind"],
        who_i=plain["who"],
        who=who,
        first=plain["first"],
        second=plain["second"],
        third=plain.get("third", 0),
        fourth=plain.get("fourth", 0),
        text=text,
        user=_user(plain["fourth"]) if is_scan and plain["kind"] == Event.TUNED else None,
    )


def note_row(
    note: Note,
    era: EraRow,
    mono_ns: int,
    *,
    first: int = 0,
    who: str = "",
    since_utc_ms: int | None = None,
) -> EventRow:
    """What the recorder itself says."""
    return EventRow(
        utc_ms=utc_ms(mono_ns, era.offset_ms),
        mono_ns=mono_ns,
        era=era.id,
        source=Source.RECORDER,
        teller=0,
        n=0,
        kind=note,
        who_i=-1,
        who="",
        first=first,
        second=0,
        third=0,
        fourth=0,
        text=note_text(note, first, who),
        since_utc_ms=since_utc_ms,
    )


def _of_scan(tables: Tables, event: dict[str, Any]) -> tuple[str, str]:
    """Name and words. A scan of another version may know more kinds, or use more numbers."""
    try:
        return who_name(tables, event), event_line(tables, event)
    except (ValueError, LookupError):
        return "", f"event {event['kind']}: {event['first']}, {event['second']}"


def _of_guard(tables: Tables, event: dict[str, Any]) -> tuple[str, str]:
    names: list[str] = []
    if event["kind"] in CHARGER_HAPPENINGS:
        names = [row.name for row in tables.chargers]
    elif event["kind"] in BUS_HAPPENINGS:
        names = [row.name for row in tables.buses]
    who = names[event["who"]] if 0 <= event["who"] < len(names) else ""
    return who, guard_event_line(tables, event)


def _user(number: int) -> str:
    uid = number % 2**32
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
