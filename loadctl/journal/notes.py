"""What the recorder itself says in the journal: kinds 70 to 79 of the events, and their words.

Numbers are stored: a kind never changes its meaning. Also who tells an event.
"""

from __future__ import annotations

from enum import IntEnum

from loadctl.events import Event
from loadctl.guard.words import Happening


class Source(IntEnum):
    """Who tells an event. Kinds of the guard are those of `guard/words.py`."""

    SCAN = 1
    GUARD = 2
    RECORDER = 3


class Note(IntEnum):
    """The comment says what `first` holds. `since` of an event is when its span began."""

    RECORDER_STARTED = 70
    RECORDER_STOPPED = 71
    RECORDER_KILLED = 72  # found at the next start: no last flush
    EVENTS_MISSED = 73  # events that were written over before they were recorded
    END_UNSEEN = 74  # pid of a scan or guard that ended while nobody recorded
    HISTORY_GAP = 75  # seconds without a row
    CLOCK_SET = 76  # ms that the wall clock moved against the monotonic one
    JOURNAL_REPLACED = 77  # rows that could be saved from the damaged file
    NOT_STORED = 78  # seconds during which nothing could be stored


_WORDS = {
    Note.RECORDER_STARTED: "the recorder started",
    Note.RECORDER_STOPPED: "the recorder was stopped",
    Note.RECORDER_KILLED: "the recorder before this one ended without a last flush: its last"
    " seconds may be missing",
    Note.EVENTS_MISSED: "{first} events of the {who} are missing: too many came while nobody"
    " recorded",
    Note.END_UNSEEN: "the {who} with pid {first} ended while nobody recorded: its last events may"
    " be missing",
    Note.HISTORY_GAP: "no history for {length}",
    Note.CLOCK_SET: "the wall clock went {way} by {ms} ms: it was set, or the machine slept",
    Note.JOURNAL_REPLACED: "the journal was damaged: {first} rows saved, the file is kept beside"
    " this one",
    Note.NOT_STORED: "nothing could be stored for {first} s",
}


def note_text(note: Note, first: int = 0, who: str = "") -> str:
    """One line for a person."""
    return _WORDS[note].format(
        first=first,
        who=who,
        length=_length(first),
        way="forward" if first >= 0 else "back",
        ms=abs(first),
    )


def _length(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{seconds // 60} min"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def kind_name(source: int, kind: int) -> str:
    """The name that `loadctl events --kind` takes."""
    kinds: type[IntEnum] = {Source.SCAN: Event, Source.GUARD: Happening}.get(Source(source), Note)
    try:
        return kinds(kind).name.lower()
    except ValueError:
        return f"kind_{kind}"
