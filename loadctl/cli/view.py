"""The screen of a site: lines made from one status object, as `status --json` prints it.

Pure: a status object and the size of a terminal in, lines out; no clock, no I/O, so that what a
person sees is what a test can read. The questions come first: is it safe, what binds, who acts.
`status`, `top` and the demo show the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.text import Text

from loadctl.answers import Status, summary, waits_line
from loadctl.cli import rows
from loadctl.cli.columns import Glyphs, cut
from loadctl.cli.look import Look
from loadctl.outside import external_words

UNLIMITED_LINES = 10_000
N_ANSWERS = 3
PAGE_CELLS = 80  # the heading of a page

MODE_STYLES = {"run": "bold green", "start": "bold yellow"}
ANSWER_STYLES = {"safe": "green", "over": "bold red", "STALE": "bold red", "not proven": "yellow"}
GUARD_ACTS = ("takeover", "holding", "stable")

Part = Callable[[Status, int, int, Glyphs, Look | None], list[Text]]


class Block(NamedTuple):
    """Lines that belong together. `draw(n)` makes at most n of them, and says what it left out.

    `is_stepped`: anything between `least` and `most` is drawn as `least`.
    """

    rank: int  # the lowest gets its lines first
    least: int
    most: int
    draw: Callable[[int], list[Text]]
    is_stepped: bool = False


def screen(
    status: Status,
    width: int,
    height: int = UNLIMITED_LINES,
    glyphs: Glyphs | None = None,
    footer: Sequence[Text] = (),
    look: Look | None = None,
) -> list[Text]:
    """At most `height` lines of at most `width` cells; `footer` is never left out. With a `look`
    circuits and chargers have their history beside them."""
    glyphs = glyphs or Glyphs()
    answers, timing = _answers(status)
    top = [headline(status, width, glyphs), *alarm_lines(status), *answers, *limit_lines(status)]
    room = max(height - len(top) - len(footer), 0)
    body = _stack(_blocks(status, width, glyphs, timing, look), room)
    lines = [*top, *body][: max(height - len(footer), 0)]
    if footer and height < UNLIMITED_LINES:
        lines += [Text()] * (height - len(footer) - len(lines))  # its place is the last line
    return [cut(line, width, glyphs) for line in (*lines, *footer)][:height]


def details(status: Status, width: int, glyphs: Glyphs | None = None) -> list[Text]:
    """All of it but the answers, for a page that may be as long as it likes."""
    glyphs = glyphs or Glyphs()
    body = _stack(_blocks(status, width, glyphs, [], None), UNLIMITED_LINES)
    head = headline(status, min(width, PAGE_CELLS), glyphs)
    top = [head, *alarm_lines(status), *limit_lines(status)]
    body += [Text(), *rows.spans(status, width, glyphs)]
    return [cut(line, width, glyphs) for line in (*top, *body)]


def _blocks(
    status: Status, width: int, glyphs: Glyphs, timing: list[Text], look: Look | None
) -> list[Block]:
    """In the order of the screen; the rank is the order in which they get room."""
    n_circuits, n_chargers = len(status["circuits"]), len(status["chargers"])
    n_devices = len(status["meters"]) + len(status["buses"])
    least_devices = 1 if n_devices <= 2 else min(n_devices, rows.n_unwell(status) + 1, 4)
    events = [rows.event_line(event) for event in status["events"]]

    def part(draw: Part) -> Callable[[int], list[Text]]:
        return lambda n: draw(status, n, width, glyphs, look)

    return [
        Block(2, min(n_circuits + 1, 4), 3 * n_circuits + 1, part(rows.circuits), n_circuits <= 3),
        Block(3, least_devices, n_devices, part(rows.devices)),
        Block(1, min(n_chargers + 1, 4), n_chargers + 1, part(rows.chargers)),
        Block(4, min(1, len(events)), len(events), lambda n: events[len(events) - n :]),
        Block(5, 0, len(timing), lambda n: timing[:n]),
    ]


def _stack(blocks: list[Block], room: int) -> list[Text]:
    """Share the lines: the least of each by rank, then as much as each can use, then air."""
    given = [0] * len(blocks)
    ranked = sorted(range(len(blocks)), key=lambda i: blocks[i].rank)
    for wanted in ([block.least for block in blocks], [block.most for block in blocks]):
        for i in ranked:
            more = max(min(room, wanted[i] - given[i]), 0)
            if blocks[i].is_stepped and given[i] and given[i] + more < wanted[i]:
                continue
            given[i] += more
            room -= more
    lines: list[Text] = []
    has_air = room >= sum(1 for n in given if n)
    for block, n in zip(blocks, given, strict=True):
        if n:
            lines += [Text()] * has_air + block.draw(n)
    return lines


def headline(status: Status, width: int, glyphs: Glyphs) -> Text:
    """Mode, name, why; at the right how old all this is."""
    mode = str(status["mode"])
    style = MODE_STYLES.get(mode, "bold red")
    line = Text.assemble((f" {mode.upper()} ", f"{style} reverse"), "  ", (status["site"], "bold"))
    if status["mode_reason"]:
        line.append(f"  {status['mode_reason']}")
    age = f"  {status['age_ms'] / 1000:.1f} s old"
    if width < 2 * len(age):
        return line
    line = cut(line, width - len(age), glyphs)
    line.append(" " * (width - line.cell_len - len(age)))
    return line.append(age, "bold red" if status["is_stale"] else "dim")


def alarm_lines(status: Status) -> list[Text]:
    """What stays wrong until somebody has looked at it, and fuses that have to cool: before
    everything else."""
    alarms = {name: circuit["alarm"] for name, circuit in status["circuits"].items()}
    lines = [Text(f" ALARM {name}: {words}", "bold red") for name, words in alarms.items() if words]
    cooling = {name: circuit["cooling"] for name, circuit in status["circuits"].items()}
    return lines + [
        Text(f" WARM {name} {words}", "yellow") for name, words in cooling.items() if words
    ]


def limit_lines(status: Status) -> list[Text]:
    """What counts from outside, and for how long."""
    found = {name: circuit["external"] for name, circuit in status["circuits"].items()}
    words = {name: external_words(external) for name, external in found.items() if external}
    return [Text(f" LIMIT {name}: {text}", "yellow") for name, text in words.items() if text]


def _answers(status: Status) -> tuple[list[Text], list[Text]]:
    """What is asked first, always as many lines; what only whoever has room left wants to know.

    While the guard holds the buses, or nobody does, what the last scan thought binds nobody.
    """
    first: list[Text] = []
    later: list[Text] = []
    waits = waits_line(status)
    for words in summary(status):
        if waits and words.startswith(("binds", "nothing binds")):
            words = f"{words}; {waits}"  # in the same line: what is below keeps its place
        is_detail = words.startswith(("timing", " "))
        found = [style for start, style in ANSWER_STYLES.items() if words.startswith(start)]
        (later if is_detail else first).append(
            Text(f" {words}", found[0] if found else "dim" if is_detail else "")
        )
    acts = acts_lines(status)
    return [*first[: N_ANSWERS - len(acts)], *acts], later


def acts_lines(status: Status) -> list[Text]:
    """Who holds the buses, and what happens next."""
    guard, scan = status["guard"], status["scan"]
    if not status.get("is_running", True):
        return [Text(" acts: nobody; each charger falls to its own fallback", "bold red")]
    if guard["pid"] is None:
        return [Text(f" acts: the scan (pid {scan['pid']}); no guard watches it")]
    state, pid = guard["state"], guard["pid"]
    if state not in GUARD_ACTS:
        return [Text(f" acts: the scan (pid {scan['pid']}); the guard (pid {pid}) watches")]
    head = Text(f" acts: the guard (pid {pid}), {guard['cause']}", "bold red")
    if state == "takeover":
        return [head, Text("       it writes min(last, failsafe) to every charger", "bold red")]
    words = f"       it holds every charger at min(last, failsafe), {guard['since_s']:.1f} s"
    if guard["next_restart_s"] is not None:
        words += f"; restart in {max(guard['next_restart_s'], 0):.0f} s"
    return [head, Text(words, "bold red")]
