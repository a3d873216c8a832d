"""The words that the guard writes into the link, as numbers, and what they mean to a person.

Pure; status reads them too. A number is never given to another word.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    STARTING = 0
    WATCHING = 1
    TAKEOVER = 2
    HOLDING = 3
    STABLE = 4
    STOPPING = 5


class Cause(IntEnum):
    """Why the guard is in its state."""

    NONE = 0
    SCAN_LATE = 1
    SCAN_ENDED = 2
    NOT_READY = 3
    COMMAND = 4
    STOP = 5


class Happening(IntEnum):
    """Kinds of events in the link. Beside each: what `who`, `first` and `second` are."""

    GUARD_STARTED = 0
    SCAN_STARTED = 1  # first: pid, second: generation
    SCAN_READY = 2  # second: generation
    TOKEN_GIVEN = 3  # second: generation
    SCAN_LATE = 4  # first: ms since its last completed scan
    SCAN_ENDED = 5  # first: exit code, or minus the signal
    NOT_READY = 6  # first: ms since it was started
    NOT_REAPED = 7  # first: pid; it was killed and is still there
    TAKEN_OVER = 8  # first: chargers that acknowledged, second: those that did not
    UNANSWERED = 9  # who: charger; it did not acknowledge its failsafe setpoint
    REWRITTEN = 10  # who: charger, first: mA that its register held, second: mA written again
    PORT_LOST = 11  # who: bus
    PORT_BACK = 12  # who: bus
    CRASH_LOOP = 13  # first: scans that ended within the window, second: s until the next start
    STOP_ASKED = 14
    STARVED = 16  # who: charger, first: mA that it has at most, second: mA that it does not obey
    STOPPED = 15  # first: chargers that are down or starved, second: those that did not answer


STATE_WORDS = {
    State.STARTING: "the scan starts",
    State.WATCHING: "the scan runs",
    State.TAKEOVER: "the guard takes the buses over",
    State.HOLDING: "the guard holds the buses at failsafe",
    State.STABLE: "the guard holds the buses at failsafe and waits before it starts the scan again",
    State.STOPPING: "stopping",
}

CAUSE_WORDS = {
    Cause.NONE: "",
    Cause.SCAN_LATE: "the scan was late",
    Cause.SCAN_ENDED: "the scan ended",
    Cause.NOT_READY: "the scan did not become ready",
    Cause.COMMAND: "told to",
    Cause.STOP: "told to stop",
}


def event_words(kind: int, first: int, second: int) -> str:
    """One line for a person; the caller puts the name of `who` before it."""
    if kind == Happening.SCAN_ENDED:
        how = f"signal {-first}" if first < 0 else f"code {first}"
        return f"the scan ended with {how}"
    words = {
        Happening.GUARD_STARTED: "the guard started",
        Happening.SCAN_STARTED: f"the scan was started, pid {first}",
        Happening.SCAN_READY: "the scan is ready",
        Happening.TOKEN_GIVEN: "the buses were handed to the scan",
        Happening.SCAN_LATE: f"no completed scan for {first} ms",
        Happening.NOT_READY: f"the scan was not ready after {first} ms",
        Happening.NOT_REAPED: f"the scan, pid {first}, was killed and is still there",
        Happening.TAKEN_OVER: f"failsafe setpoints: {first} acknowledged, {second} not",
        Happening.UNANSWERED: "failsafe setpoint not acknowledged",
        Happening.REWRITTEN: f"held {first} mA, {second} mA written again",
        Happening.PORT_LOST: "port lost",
        Happening.PORT_BACK: "port open again",
        Happening.CRASH_LOOP: f"{first} scans ended: failsafe, the next start is in {second} s",
        Happening.STARVED: f"has up to {first} mA and does not take {second} mA: nothing is sent"
        " to it until its own watchdog has acted",
        Happening.STOP_ASKED: "told to stop",
        Happening.STOPPED: f"stopped: {first} chargers at failsafe, {second} did not answer",
    }
    return (
        words.get(Happening(kind), "") if kind in Happening._value2member_map_ else f"event {kind}"
    )
