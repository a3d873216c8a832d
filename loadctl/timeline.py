"""The bus plan as a picture: where each slot lies in a worst-case scan, bus by bus.

Arithmetic and text only: no I/O, no clock. Every slot stands as late as the plan lets it come:
meters given up, the one more timeout spent in the read phase, all buses waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from loadctl.plan import BusPlan, Plan, Slot, gives_words
from loadctl.tables import Tables
from loadctl.units import ms_from_ns

READ, TAKE, GIVE = "read", "take", "give"
COLUMNS = 80
LABEL = 23
NUMBER = 7
BAR = COLUMNS - 2 - LABEL - 2 * NUMBER - 1
MARK, OTHER_MARK = "#", "="  # by turns where there is room, so that neighbours can be told apart
IDLE = "."


class Span(NamedTuple):
    phase: str
    group: str  # what stands in one row of the chart
    what: str
    begin_ns: int
    end_ns: int


def spans_of(plan: Plan, bus: BusPlan) -> list[Span]:
    """Every slot of one bus, in the order of the scan."""
    found: list[Span] = []
    given_up = [(f"{slot.what}, given up", slot.what, slot.failed_ns) for slot in bus.meter_slots]
    at_ns = _lay(found, READ, 0, given_up)
    longest = sorted(bus.status_slots, key=lambda slot: slot.worst_ns, reverse=True)
    asked = longest[: bus.n_status_per_scan]
    group = f"{len(asked)} of {_count(bus.status_slots, 'status', 'statuses')}"
    at_ns = _lay(found, READ, at_ns, [(group, "a status block", slot.worst_ns) for slot in asked])
    _lay(found, READ, at_ns, [("one more timeout", "one more timeout", bus.timeout_ns)])
    takes: list[tuple[str, str, int]] = [("gaps of devices", "gaps of devices", bus.gap_ns)]
    group = _count(bus.setpoint_slots, "setpoint", "setpoints")
    takes += [(group, slot.what, slot.worst_ns) for slot in bus.setpoint_slots]
    if bus.probe_slot is not None:
        takes.append(("probe", "probe", bus.probe_slot.worst_ns))
    _lay(found, TAKE, plan.take_end_ns - sum(take[2] for take in takes), takes)
    give_ns = max((slot.worst_ns for slot in bus.setpoint_slots), default=0)
    group = gives_words(bus)
    gives = [(group, "a raise or a refresh", give_ns)] * bus.n_gives_per_scan
    _lay(found, GIVE, plan.give_at_ns, gives)
    return found


def _lay(found: list[Span], phase: str, at_ns: int, slots: Sequence[tuple[str, str, int]]) -> int:
    """Put slots (group, what, time) one after the other; where the last of them ends."""
    for group, what, slot_ns in slots:
        if slot_ns:
            found.append(Span(phase, group, what, at_ns, at_ns + slot_ns))
        at_ns += slot_ns
    return at_ns


def _count(slots: Sequence[Slot], one: str, more: str) -> str:
    return f"{len(slots)} {one if len(slots) == 1 else more}"


def timeline_lines(plan: Plan, tables: Tables) -> list[str]:
    """A chart of each bus over the period, 80 columns wide."""
    lines = []
    for bus in plan.buses:
        row = tables.buses[bus.bus]
        lines += [
            _heading(f"bus {row.name}, {row.baud} {row.frame}", plan.period_ns),
            *_rows(spans_of(plan, bus), plan.period_ns),
        ]
    return lines


def _heading(title: str, period_ns: int) -> str:
    """The scale stands above the bars: its ends and its middle."""
    left = f"{title:<{LABEL + 2}}{'from':>{NUMBER}}{'to ms':>{NUMBER}} "
    middle, end = (f"{ms_from_ns(at_ns):g}" for at_ns in (period_ns // 2, period_ns))
    scale = ["0", *" " * (BAR - 1)]
    scale[BAR // 2 : BAR // 2 + len(middle)] = middle
    scale[BAR - len(end) :] = end
    return left + "".join(scale)


def _rows(spans: Sequence[Span], period_ns: int) -> list[str]:
    lines = []
    for group in dict.fromkeys(span.group for span in spans):
        mine = [span for span in spans if span.group == group]
        begin, end = (f"{ms_from_ns(at):.1f}" for at in (mine[0].begin_ns, mine[-1].end_ns))
        label = group if len(group) <= LABEL else group[: LABEL - 1] + "~"
        bar = _bar(mine, period_ns)
        lines.append(f"  {label:<{LABEL}}{begin:>{NUMBER}}{end:>{NUMBER}} {bar}")
    return lines


def _bar(spans: Sequence[Span], period_ns: int) -> str:
    """A slot marks every cell that it touches, the later one where two meet."""
    cells = [IDLE] * BAR
    shortest_ns = min(span.end_ns - span.begin_ns for span in spans)
    marks = (MARK, OTHER_MARK) if shortest_ns * BAR >= 2 * period_ns else (MARK, MARK)
    for nth, span in enumerate(spans):
        first = min(span.begin_ns * BAR // period_ns, BAR - 1)
        last = min(max(first, (span.end_ns - 1) * BAR // period_ns), BAR - 1)
        cells[first : last + 1] = marks[nth % 2] * (last + 1 - first)
    return "".join(cells)


def timeline_dict(plan: Plan, bus: BusPlan) -> list[dict[str, object]]:
    """For JSON: slot by slot, in milliseconds from the start of the scan."""
    return [
        {
            "phase": span.phase,
            "what": span.what,
            "from_ms": round(ms_from_ns(span.begin_ns), 3),
            "to_ms": round(ms_from_ns(span.end_ns), 3),
        }
        for span in spans_of(plan, bus)
    ]
