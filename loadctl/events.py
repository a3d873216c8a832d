"""What happens beside the plan: the kinds of event in the image's ring, and their words.

Numbers are stored in the image and in recordings: a kind never changes its meaning. Pure; any
process may use it.
"""

from __future__ import annotations

from enum import IntEnum

from hw.wire import Code
from loadctl.tuning import KEYS, number_words
from loadctl.units import PHASE_NAMES, A_from_mA, kW_from_W

US_PER_MS = 1_000


class Event(IntEnum):
    """The comment says what `who`, `first` and `second` hold; -1 or 0 where it says nothing."""

    STARTED = 1
    STOPPED = 2  # first: chargers left above min(last, failsafe), unacknowledged
    MODE = 3  # first: before, second: after
    OVERRUN = 4  # first: further periods skipped
    SLEPT = 5  # first: seconds that the machine was suspended
    CORE_FAULT = 6  # first: result code
    SLOWEST = 7  # first: which span, in the order of the image's SPANS; second: us
    CHARGER_SILENT = 10  # who: charger, first: code
    CHARGER_BACK = 11  # who: charger
    ARMED = 12  # who: charger
    # who: charger, first: step of the arming list, beyond it the setpoint; second: exception code
    # or 0, third: code of the exchange, 0: not known
    NOT_ARMED = 13
    REFUSED = 14  # who: charger, first: setpoint in mA, second: exception code
    GATE_DROP = 15  # who: charger, first: setpoint in mA
    REBOOTED = 16  # who: charger, first: what showed it, see Sign
    STARVED = 17  # who: charger
    STARVED_OVER = 18  # who: charger
    METER_SILENT = 20  # who: meter, first: code
    METER_BACK = 21  # who: meter
    SLOW_REPLY = 30  # who: device, first: us taken, second: us that the plan counts
    SHORTER_READS = 31  # who: device, first: exception code, second: reads from now on
    ECHO = 32  # who: device that was asked
    EXTERNAL_LIMIT = 40  # who: circuit, first: lowest current in mA, second: W; -1: has none
    EXTERNAL_FREE = 41  # who: circuit
    EXTERNAL_LOST = 42  # who: circuit, first and second as of a limit: what counts from now on
    EXTERNAL_EXPIRED = 43  # who: circuit, likewise
    FUSE_WARM = 50  # who: circuit, first: phase
    FUSE_COOLED = 51  # who: circuit, first: phase
    # who: circuit or charger, first: number of the key, second: value now, third: before, both in
    # mA, ms or as they are; fourth: user
    TUNED = 60
    FELL_BACK = 61  # likewise, without a user: its time is over


TUNINGS = (Event.TUNED, Event.FELL_BACK)

# In the order of the image's SPANS.
_SPAN_WORDS = ("the wake-up", "read", "step", "take", "look", "confirm", "give", "a whole scan")


class Sign(IntEnum):
    """How a charger showed that it has forgotten what it was told."""

    SETPOINT = 1  # a higher one in force than it was seen to hold
    DRAW = 2  # above a setpoint that was proven
    SETTING = 3  # a register that arming wrote holds something else


_SIGN_WORDS = {
    Sign.SETPOINT: "a higher setpoint is in force",
    Sign.DRAW: "it draws more than it had come down to",
    Sign.SETTING: "a setting is not what was written",
}

_WORDS = {
    Event.STARTED: "scan started",
    Event.STOPPED: "scan stopped; {first} chargers did not acknowledge their failsafe current",
    Event.MODE: "mode {before} -> {after}",
    Event.OVERRUN: "overrun, {first} further periods skipped",
    Event.SLEPT: "the machine slept {first} s",
    Event.CORE_FAULT: "the core answered {first}",
    Event.SLOWEST: "{span} took {length}, longer than ever",
    Event.CHARGER_SILENT: "{who} does not answer",
    Event.CHARGER_BACK: "{who} answers again",
    Event.ARMED: "{who} armed",
    Event.NOT_ARMED: "{who} cannot be armed: {setting}",
    Event.REFUSED: "{who} refuses {first} mA (exception {second})",
    Event.GATE_DROP: "the gate dropped {first} mA to {who}",
    Event.REBOOTED: "{who} forgot what it was told: {sign}",
    Event.STARVED: "{who} does not follow: no message, so that its own watchdog acts",
    Event.STARVED_OVER: "{who} has fallen to its fallback and is talked to again",
    Event.METER_SILENT: "meter {who} gives no value",
    Event.METER_BACK: "meter {who} is back",
    Event.SLOW_REPLY: "{who} took {first} us, the plan counts {second} us",
    Event.SHORTER_READS: "{who} refuses to be read in one block (exception {first}):"
    " values in {second} reads from now on",
    Event.ECHO: "{who} was asked and the request itself came back: does the adapter echo?",
    Event.EXTERNAL_LIMIT: "{who} is limited from outside to {limit}",
    Event.EXTERNAL_FREE: "{who} is not limited from outside",
    Event.EXTERNAL_LOST: "{who} hears nothing from outside any more: {limit} counts",
    Event.EXTERNAL_EXPIRED: "{who}: the limit from outside has run out: {limit} counts",
    Event.FUSE_WARM: "the fuse of {who} {phase} is too warm: less is shared, nothing starts",
    Event.FUSE_COOLED: "the fuse of {who} {phase} has cooled",
    Event.TUNED: "{tuned} by uid {user}",
    Event.FELL_BACK: "{tuned}: its time is over",
}


def event_text(
    kind: int,
    who: str,
    first: int,
    second: int,
    modes: tuple[str, ...],
    third: int = 0,
    fourth: int = 0,
    register: str = "",
) -> str:
    """One line for a person; `who` is the name of the device, `register` that of the one that the
    event is about."""
    before, after = (modes[i] if 0 <= i < len(modes) else str(i) for i in (first, second))
    sign = _SIGN_WORDS[Sign(first)] if kind == Event.REBOOTED else ""
    phase = PHASE_NAMES[first] if kind in (Event.FUSE_WARM, Event.FUSE_COOLED) else ""
    return _WORDS[Event(kind)].format(
        who=who,
        first=first,
        second=second,
        before=before,
        after=after,
        sign=sign,
        span=_SPAN_WORDS[first] if kind == Event.SLOWEST else "",
        length=_length_words(second),
        phase=phase,
        limit=_limit_words(first, second),
        tuned=_tuned_words(who, first, second, third) if kind in TUNINGS else "",
        user=fourth % 2**32,
        setting=_setting_words(register or f"setting {first}", second, third),
    )


def _setting_words(register: str, exception_code: int, code: int) -> str:
    if code == Code.REFUSED:
        return f"{register} is refused (exception {exception_code})"
    return f"{register} holds another value" if code == Code.GOOD else register


def _tuned_words(who: str, number: int, value: int, before: int) -> str:
    key = KEYS[number]
    old, new = (number_words(key, n * key.per_event) for n in (before, value))
    return f"{who or key.table} {key.label} {old} -> {new}"


def _length_words(length_us: int) -> str:
    return f"{length_us} us" if length_us < US_PER_MS else f"{length_us / US_PER_MS:.1f} ms"


def _limit_words(least_mA: int, power_W: int) -> str:
    parts = [f"{A_from_mA(least_mA):g} A"] if least_mA >= 0 else []
    parts += [f"{kW_from_W(power_W):g} kW"] if power_W >= 0 else []
    return " and ".join(parts)
