"""The story of a demo: what was done, what should happen, what has been seen of it and when.

Pure: statuses and times in, lines out. What is seen are changes between one status and the next:
the mode, takeovers, meters, ports, chargers in trouble.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, field

import click
from rich.text import Text

from loadctl.cli.acts import KEYS, Said
from loadctl.cli.params import DURATION_ns
from loadctl.cli.rows import state_of
from loadctl.status import Status
from loadctl.units import NS_PER_S

WIDE_CELLS = 110
SCRIPT_STEP = re.compile(r"(\S+)\s+(\S)")
COUNTED = ("silent", "starved")
NAMED_MAX = 2
REMARK_ns = 3 * NS_PER_S  # as long as it stands in the place of the keys


@dataclass
class Act:
    """One key that was pressed, and what followed."""

    key: str
    at_ns: int
    said: Said
    seen: list[tuple[str, float]] = field(default_factory=list)  # words, seconds after


class Story:
    """Everything that was done so far; `look` notes what each status shows that is new."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self._facts: dict[str, tuple[str, str]] | None = None
        self._remark = ("", 0)

    def begin(self, key: str, said: Said, now_ns: int) -> None:
        """A key that had nothing to act on is only remarked upon."""
        if said.is_done:
            self.acts.append(Act(key, now_ns, said))
            self._remark = ("", now_ns)
        else:
            self._remark = (f" {key}: {said.did}; {said.expect}", now_ns)

    def look(self, status: Status, now_ns: int) -> None:
        facts = facts_of(status)
        if self.acts and self._facts is not None:
            act = self.acts[-1]
            after_s = (now_ns - act.at_ns) / NS_PER_S
            for what, (now, words) in facts.items():
                if self._facts.get(what, ("", ""))[0] != now:
                    act.seen.append((words, after_s))
        self._facts = facts

    def lines(self, width: int, now_ns: int, active_keys: Set[str]) -> list[Text]:
        """The keys, and of the last act what was done, what should happen, what was seen."""
        words, at_ns = self._remark
        lines = [key_line(width, active_keys)]
        if words and now_ns - at_ns < REMARK_ns:
            lines = [Text(words, "bold yellow")]
        if not self.acts:
            return [*lines, Text(" press a key: watch the site fall and recover"), Text(), Text()]
        act = self.acts[-1]
        after_s = (now_ns - act.at_ns) / NS_PER_S
        lines.append(Text(f" {after_s:3.0f} s ago  {act.said.did}", "bold"))
        lines.append(Text(f"   expect  {act.said.expect}"))
        lines.append(_seen_line(act, width))
        return lines


def facts_of(status: Status) -> dict[str, tuple[str, str]]:
    """What a newcomer should notice: by subject, what it is now and the words in which it is told.

    Only a change of what it is gets told, so that six chargers that come back are told once.
    """
    mode, guard = str(status["mode"]).upper(), status["guard"]
    facts = {"mode": (mode, mode)}
    if guard["state"] != "takeover" and guard["last_takeover_ms"] is not None:
        told_s = guard["last_takeover_ms"] / 1000
        facts["takeover"] = (str(guard["takeovers"]), f"all told in {told_s:.2f} s")
    if guard["state"] == "stable":
        facts["guard"] = ("stable", "guard waits")
    for name, meter in status["meters"].items():
        facts[f"meter {name}"] = (meter["quality"], f"{name} {meter['quality']}")
    for name, bus in status["buses"].items():
        state = "open" if bus["is_open"] else "lost"
        facts[f"bus {name}"] = (state, f"{name} port {state}")
    states = {name: state_of(charger)[0] for name, charger in status["chargers"].items()}
    for state in COUNTED:
        names = [name for name in states if states[name] == state]
        who = " and ".join(names) if len(names) <= NAMED_MAX else str(len(names))
        facts[state] = ("some" if names else "none", f"{who or 'none'} {state}")
    return facts


def key_line(width: int, active_keys: Set[str]) -> Text:
    line = Text(" ")
    for key in KEYS:
        words = key.long if width >= WIDE_CELLS else key.short
        line.append(key.key, "bold reverse" if key.key in active_keys else "bold")
        line.append(f" {words}   " if width >= WIDE_CELLS else f" {words}  ", "dim")
    line.rstrip()
    return line


def _seen_line(act: Act, width: int) -> Text:
    """The newest where not all fits."""
    head = "     seen  "
    parts = [f"{words} +{at_s:.1f} s" for words, at_s in act.seen]
    while parts and len(head) + len(", ".join(parts)) > width and len(parts) > 1:
        parts.pop(0)
    return Text(head + (", ".join(parts) or "nothing yet"))


class ScriptType(click.ParamType[tuple[tuple[int, str], ...]]):
    """Key presses with their times, such as "5s k, 15s m, 25s m". Converts to (ns, key) pairs."""

    name = "script"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, str], ...]:
        if isinstance(value, tuple):
            return value
        known = [key.key for key in KEYS]
        steps = []
        for part in str(value).split(","):
            match = SCRIPT_STEP.fullmatch(part.strip())
            if match is None:
                self.fail(f"{part.strip()!r} is no step; write for example 5s k", param, ctx)
            if match[2] not in known:
                self.fail(f"{match[2]!r} is no key; there are {' '.join(known)}", param, ctx)
            steps.append((DURATION_ns.convert(match[1], param, ctx), match[2]))
        return tuple(sorted(steps, key=lambda step: step[0]))


SCRIPT = ScriptType()
