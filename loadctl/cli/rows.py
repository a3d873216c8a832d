"""The parts of the screen: circuits, devices, chargers, events, as lines.

Pure, as view.py. Each part draws itself into the number of lines that it is given; what does not
fit is counted in its last line, and what is wrong is never among what is left out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from loadctl.answers import Status
from loadctl.cli.columns import Cell, Column, Glyphs, table
from loadctl.cli.history import Key, spark
from loadctl.cli.look import Look
from loadctl.reasons import time_text
from loadctl.units import PHASE_NAMES

LEAST_WITH_HEADING = 3  # lines: it, one row, and the others counted
NEARLY_FULL = 0.9
BAR_LEAST_CELLS, BAR_MOST_CELLS = 8, 40
BAR_BESIDE_HISTORY_CELLS = 24
HISTORY_LEAST_CELLS, HISTORY_MOST_CELLS = 8, 30
WIDE_CELLS = 100
AGE_SHOWN_ms = 2_000  # younger values are of now
STATE_WORDS = {"A": "no car", "B": "plugged", "C": "charging", "D": "charging"}
GOOD = "good"

Row = dict[str, Any]


# circuits


def circuits(
    status: Status, n_lines: int, width: int, glyphs: Glyphs, look: Look | None = None
) -> list[Text]:
    """A bar per phase; the fullest phase only where that is too much; then the fullest circuits.
    Where no circuit has room below it, the heading goes."""
    found = status["circuits"]
    phases = {name: [0, 1, 2] for name in found}
    if n_lines < 1 + 3 * len(found):
        phases = {name: [fullest(circuit)] for name, circuit in found.items()}
    shown = list(found)
    rest = Text()
    has_heading = n_lines >= LEAST_WITH_HEADING or n_lines > len(shown)
    room = n_lines - has_heading
    if room < len(shown):
        by_fullness = sorted(shown, key=lambda name: -fullness(found[name], phases[name][0]))
        n_shown = max(room - 1, 0)
        chosen, left = by_fullness[:n_shown], by_fullness[n_shown:]
        shown = [name for name in shown if name in chosen]
        percent = max(round(100 * fullness(found[name], phases[name][0])) for name in left)
        words = f"and {len(left)} more circuits" if chosen else f"{len(left)} circuits"
        rest = Text(f" {words}, the fullest at {percent} %", "dim")
    rows = [(name, p) for name in shown for p in phases[name]]
    lines = _circuit_table(found, rows, width, glyphs, look)[0 if has_heading else 1 :]
    return [*lines, rest][:n_lines] if rest else lines[:n_lines]


def _circuit_table(
    found: Row,
    shown: Sequence[tuple[str, int]],
    width: int,
    glyphs: Glyphs,
    look: Look | None,
) -> list[Text]:
    legend = f"{glyphs.building} building (peak held)  {glyphs.chargers} chargers"
    most = BAR_MOST_CELLS
    if look is not None:
        legend = f"{glyphs.building} building {glyphs.chargers} chargers"
        most = BAR_BESIDE_HISTORY_CELLS
    columns = [
        Column("circuit"),
        Column(""),
        Column(legend, rank=1, least=BAR_LEAST_CELLS, most=most),
        Column("at most A", is_right=True),
        Column("limit", is_right=True),
        Column("history", rank=2, least=HISTORY_LEAST_CELLS, most=HISTORY_MOST_CELLS),
    ]
    if look is None:
        columns.pop()
    cells: list[list[Cell]] = []
    last = ""
    for name, p in shown:
        circuit = found[name]
        most_A = circuit["may_carry_A"][p]
        cells.append(
            [
                Text(name if name != last else ""),
                Text(PHASE_NAMES[p]),
                _bar_of(circuit, p, glyphs),
                Text(f"{most_A:.1f}", "red" if is_over(circuit, p) else ""),
                Text(f"{circuit['limit_A'][p]:g}"),
                _history_of(look, ("circuit", name, p), glyphs),
            ][: len(columns)]
        )
        last = name
    return table(columns, cells, width, glyphs)


def _bar_of(circuit: Row, p: int, glyphs: Glyphs) -> Any:
    return lambda cells: bar(circuit, p, cells, glyphs)


def _history_of(look: Look | None, key: Key, glyphs: Glyphs) -> Any:
    """Draws itself into the cells it is given; the newest at the right."""

    def draw(cells: int) -> Text:
        if look is None:
            return Text()
        values = look.history.values(key, cells, look.now_ns)
        return spark(values, glyphs, has_limit=key[0] == "circuit")

    return draw


def is_over(circuit: Row, p: int) -> bool:
    return bool(circuit["may_carry_A"][p] > circuit["limit_A"][p] + 1e-9)


def fullest(circuit: Row) -> int:
    return max(range(3), key=lambda p: fullness(circuit, p))


def fullness(circuit: Row, p: int) -> float:
    """1 at the limit; a phase on which nothing is allowed counts as full."""
    if circuit["limit_A"][p] <= 0:
        return 1.0
    used_A = max(circuit["background_A"][p] + circuit["granted_A"][p], circuit["may_carry_A"][p])
    return float(used_A / circuit["limit_A"][p])


def bar(circuit: Row, p: int, cells: int, glyphs: Glyphs) -> Text:
    """Why nothing more is given. The peak of the building may stand beyond the limit when it has
    passed: the bar is then full, and red only where too much could flow now."""
    limit_A = circuit["limit_A"][p]
    if limit_A <= 0:
        return Text("0 A allowed"[:cells].ljust(cells), style="red")
    granted_A, background_A = circuit["granted_A"][p], max(0.0, circuit["background_A"][p])
    n_granted = min(cells, round(cells * granted_A / limit_A))
    n_background = min(cells - n_granted, round(cells * background_A / limit_A))
    style = "yellow" if background_A + granted_A > NEARLY_FULL * limit_A else "green"
    return Text.assemble(
        (glyphs.building * n_background, "blue"),
        (glyphs.chargers * n_granted, "red" if is_over(circuit, p) else style),
        (glyphs.free * (cells - n_background - n_granted), "dim"),
    )


# meters and buses


def devices(
    status: Status, n_lines: int, width: int, glyphs: Glyphs, look: Look | None = None
) -> list[Text]:
    """One line for each meter and bus; where there is no room, what is not well comes first."""
    found = _device_lines(status)
    if len(found) <= n_lines:
        return [line for _, line in found]
    ordered = sorted(found, key=lambda item: item[0])
    if len(found) == 2:
        return [Text(" ").join(line for _, line in found)]
    n_left = len(found) - (n_lines - 1)
    left = ordered[n_lines - 1 :]
    n_bad = sum(1 for is_well, _ in left if not is_well)
    words = f"{n_bad} of them not well" if n_bad else "all well"
    if n_lines == 1:
        rest = f" {len(found)} meters and buses, {words}"
    else:
        rest = f" and {n_left} more meters and buses, {words}"
    return [*(line for _, line in ordered[: n_lines - 1]), Text(rest, "red" if n_bad else "dim")]


def n_unwell(status: Status) -> int:
    return sum(1 for is_well, _ in _device_lines(status) if not is_well)


def _device_lines(status: Status) -> list[tuple[bool, Text]]:
    """Whether it is well, and its line."""
    found = [meter_line(name, meter) for name, meter in status["meters"].items()]
    return found + [bus_line(name, bus, status["scan"]) for name, bus in status["buses"].items()]


def meter_line(name: str, meter: Row) -> tuple[bool, Text]:
    quality = str(meter["quality"])
    is_well = quality == GOOD
    line = Text(f" meter {name}  ")
    if meter["current_A"] is not None:
        line.append(" / ".join(f"{value_A:.1f}" for value_A in meter["current_A"]) + " A  ")
    line.append(quality, "" if is_well else "bold red")
    if meter["age_ms"] is not None and meter["age_ms"] >= AGE_SHOWN_ms:
        line.append(f", {time_text(round(meter['age_ms'] / 1000))} old")
    return is_well, line


def bus_line(name: str, bus: Row, scan: Row) -> tuple[bool, Text]:
    line = Text(f" bus {name}  ")
    if not bus["is_open"]:
        line.append("port lost", "bold red")
        return False, line
    line.append(f"open, {100 * bus['busy_ms'] / scan['period_ms']:.0f} % busy")
    n_silent = bus["silent_chargers"]
    if n_silent:
        line.append(f", {n_silent} silent", "bold red")
    return not n_silent, line


# chargers


def chargers(
    status: Status, n_lines: int, width: int, glyphs: Glyphs, look: Look | None = None
) -> list[Text]:
    """All of them, else those in trouble and those with a car, and the others counted; where a
    person has scrolled, those that are asked for."""
    found = status["chargers"]
    names = list(found) if look is None else look.ordered(found)
    shown, rest = names, Text()
    has_heading = n_lines >= LEAST_WITH_HEADING or n_lines > len(found)
    room = n_lines - has_heading
    n_shown = max(room - 1, 0)
    if look is not None and look.offset is not None and room < len(found):
        shown = look.window(names, n_shown)
        rest = _window_words(names, shown)
    elif room < len(found):
        by_interest = sorted(names, key=lambda name: _interest(found[name]))
        chosen, left = set(by_interest[:n_shown]), by_interest[n_shown:]
        shown = [name for name in names if name in chosen]
        rest = _rest_of_chargers([found[name] for name in left], is_all=not shown)
        if look is not None:
            look.window(names, n_shown)
    columns = _charger_columns(width, has_history=look is not None)
    cells = [_charger_cells(name, found[name], look, glyphs) for name in shown]
    lines = table(columns, cells, width, glyphs)[0 if has_heading else 1 :]
    return [*lines, rest][:n_lines] if rest else lines[:n_lines]


def _charger_columns(width: int, has_history: bool) -> list[Column]:
    """The history gives way to the reason, and both to the numbers."""
    columns = [
        Column("charger"),
        Column("state", rank=2),
        Column("set A", is_right=True),
        Column("draw A", rank=1, is_right=True),
        Column("may draw", rank=5 if has_history else 4, is_right=True),
    ]
    wish = 38
    if has_history:
        wish = 26
        most = HISTORY_MOST_CELLS if width >= WIDE_CELLS else HISTORY_LEAST_CELLS
        columns.append(Column("drawn", rank=4, least=HISTORY_LEAST_CELLS, most=most))
    return [*columns, Column("why", rank=3, least=12, wish=wish, most=60)]


def _charger_cells(name: str, charger: Row, look: Look | None, glyphs: Glyphs) -> list[Cell]:
    words, style = state_of(charger)
    draw_A = charger["draw_A"]
    cells: list[Cell] = [
        Text(name),
        Text(words, style),
        Text(f"{charger['setpoint_A']:.1f}"),
        Text("-" if draw_A is None else f"{max(draw_A):.1f}"),
        Text(f"{charger['reserve_A']:.1f}", "dim"),
    ]
    if look is not None:
        cells.append(_history_of(look, ("charger", name, 0), glyphs))
    return [*cells, _words(str(charger["reason"]), style)]


def _words(words: str, style: str) -> Any:
    return lambda cells: Text(words, style)


def state_of(charger: Row) -> tuple[str, str]:
    """What keeps it from being served comes before what its car does."""
    if charger["is_starved"]:
        return "starved", "bold red"
    if charger["is_silent"]:
        return "silent", "bold red"
    if charger["state"] in ("E", "F"):
        return "fault", "bold red"
    if not charger["is_armed"]:
        return "not armed", "yellow"
    return STATE_WORDS.get(str(charger["state"]), "-"), ""


def _interest(charger: Row) -> int:
    words, style = state_of(charger)
    if style:
        return 0
    return 2 if words == "no car" else 1


def _window_words(names: Sequence[str], shown: Sequence[str]) -> Text:
    first = names.index(shown[0]) + 1 if shown else 0
    last = first + len(shown) - 1
    return Text(f" {first} to {last} of {len(names)} chargers", "dim")


def _rest_of_chargers(left: Sequence[Row], *, is_all: bool) -> Text:
    counts: dict[str, int] = {}
    for charger in left:
        words, _ = state_of(charger)
        counts[words] = counts.get(words, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    words = ", ".join(f"{count} {state}" for state, count in ordered)
    head = f"{len(left)} chargers" if is_all else f"and {len(left)} more"
    return Text(f" {head}: {words}", "dim")


# events


def event_line(event: Row) -> Text:
    """Whole seconds, then minutes: a line that stands still costs nothing on a slow one."""
    ago = time_text(max(0, int(event["age_s"])))
    return Text(f"{ago:>8} ago  {event['text']}", "dim")


# timing


def spans(status: Status, width: int, glyphs: Glyphs) -> list[Text]:
    """How long each part of a scan took since the scan was started, the wake-up first."""
    names = ("p50", "p99", "p999", "max")
    headings = ("p50", "p99", "p99.9", "worst")
    columns = [Column("time of, ms"), *(Column(heading, is_right=True) for heading in headings)]
    cells: list[list[Cell]] = [
        [Text(name), *(Text(f"{span[key]:.3f}") for key in names)]
        for name, span in status["scan"]["spans_ms"].items()
    ]
    return table(columns, cells, width, glyphs)
