"""The slow, obvious allocator: who is admitted and what each gets, exactly.

Written from the words of the design, with whole numbers and `Fraction`; the kernel must equal it
to the mA. A limit is how often each charger counts in it, and a cap in mA. A charger's least and
most current are its minimum and maximum on its step grid.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from loadctl.tables import ChargerRow, CircuitRow, Phases, Tables

PAIRS = [(p, q) for p in range(3) for q in range(3) if p != q]


@dataclass
class Limit:
    counts: dict[int, int]  # charger -> how often its current counts
    cap_mA: int


@dataclass
class Outside:
    """What a source outside said of one circuit; both None: there is no limit."""

    limit_mA: Phases | None
    power_W: int | None


def limits_of(
    tables: Tables,
    background_mA: list[tuple[int, int, int]] | None = None,
    outside: dict[int, Outside] | None = None,
) -> list[Limit]:
    """Every limit of every circuit; background is the declared one unless given.

    A circuit that takes limits from outside and is not in `outside` has lost their source.
    """
    limits = []
    phases = [set(row.phases) for row in tables.chargers]
    below: list[list[int]] = [[] for _ in tables.circuits]
    for i in range(len(tables.chargers)):
        for c in chain(tables, i):
            below[c].append(i)
    for c, row in enumerate(tables.circuits):
        load_mA = background_mA[c] if background_mA else row.background_mA
        limit_mA, powers_W, chargers_W = in_force(row, (outside or {}).get(c))
        for p in range(3):
            cap_mA = limit_mA[p] - row.margin_mA - load_mA[p]
            limits.append(Limit({i: 1 for i in below[c] if p in phases[i]}, cap_mA))
        by_phases = {i: len(phases[i]) for i in below[c]}
        for power_W in powers_W:
            cap_mA = power_W * 1_000_000 // tables.site.voltage_mV - sum(load_mA)
            limits.append(Limit(by_phases, cap_mA))
        for power_W in chargers_W:
            limits.append(Limit(by_phases, power_W * 1_000_000 // tables.site.voltage_mV))
        if row.unbalance_mA is not None:
            for p, q in PAIRS:
                counts = {i: 1 for i in below[c] if p in phases[i] and q not in phases[i]}
                limits.append(Limit(counts, row.unbalance_mA))
    return [limit for limit in limits if limit.counts]


def uses_only(row: ChargerRow, p: int, q: int) -> bool:
    return p in row.phases and q not in row.phases


def in_force(row: CircuitRow, told: Outside | None) -> tuple[list[int], list[int], list[int]]:
    """Currents by phase, every power of all that is on the circuit, every power of chargers."""
    powers_W = [] if row.limit_W is None else [row.limit_W]
    if not row.takes_external:
        return list(row.limit_mA), powers_W, []
    limit_mA, power_W = row.loss_mA, row.loss_W
    if told is not None:
        limit_mA, power_W = told.limit_mA, told.power_W
        if power_W is not None:
            power_W = max(power_W, row.guaranteed_W or 0)
    limits_mA = [min(pair) for pair in zip(row.limit_mA, limit_mA or row.limit_mA, strict=True)]
    outside_W = [] if power_W is None else [power_W]
    if row.guaranteed_W is not None:
        return limits_mA, powers_W, outside_W
    return limits_mA, powers_W + outside_W, []


def chain(tables: Tables, charger_i: int) -> list[int]:
    circuits = []
    c = tables.chargers[charger_i].circuit
    while c >= 0:
        circuits.append(c)
        c = tables.circuits[c].parent
    return circuits


def allocate_mA(tables: Tables, wants: list[bool], limits: list[Limit] | None = None) -> list[int]:
    """The settled grant of every charger."""
    limits = limits_of(tables) if limits is None else limits
    admitted = admit(tables, wants, limits)
    x_mA = round_down(tables, share(tables, admitted, limits))
    x_mA = hand_out_crumbs(tables, admitted, limits, x_mA)
    return [x_mA.get(i, 0) for i in range(len(tables.chargers))]


def least_mA(row: ChargerRow) -> int:
    return -(-row.min_mA // row.step_mA) * row.step_mA


def most_mA(row: ChargerRow) -> int:
    return row.max_mA // row.step_mA * row.step_mA


def ranked(tables: Tables) -> list[int]:
    return sorted(range(len(tables.chargers)), key=lambda i: (-tables.chargers[i].priority, i))


def tiers(tables: Tables, admitted: Iterable[int]) -> list[list[int]]:
    """The admitted by priority, highest first, each tier in file order."""
    by_priority: dict[int, list[int]] = {}
    for i in sorted(admitted):
        by_priority.setdefault(tables.chargers[i].priority, []).append(i)
    return [by_priority[priority] for priority in sorted(by_priority, reverse=True)]


def used(limit: Limit, x: dict[int, int]) -> int:
    return sum(count * x.get(i, 0) for i, count in limit.counts.items())


def fits(limits: list[Limit], x: dict[int, int]) -> bool:
    return all(used(limit, x) <= limit.cap_mA for limit in limits)


def standings(limits: list[Limit], n_chargers: int) -> list[list[tuple[int, int]]]:
    """For each charger the limits it counts in, and how often."""
    mine: list[list[tuple[int, int]]] = [[] for _ in range(n_chargers)]
    for c, limit in enumerate(limits):
        for i, count in limit.counts.items():
            mine[i].append((c, count))
    return mine


def admit(tables: Tables, wants: list[bool], limits: list[Limit]) -> list[int]:
    """By tier, then file order; what does not fit is skipped. A charger's own limits only."""
    left_mA = [limit.cap_mA for limit in limits]
    mine = standings(limits, len(wants))
    admitted = []
    for i in ranked(tables):
        asks_mA = least_mA(tables.chargers[i])
        if wants[i] and all(count * asks_mA <= left_mA[c] for c, count in mine[i]):
            admitted.append(i)
            for c, count in mine[i]:
                left_mA[c] -= count * asks_mA
    return admitted


def share(tables: Tables, admitted: list[int], limits: list[Limit]) -> dict[int, Fraction | int]:
    """Tier by tier: raise one level until a limit is full, freeze who stands in it, and on."""
    x: dict[int, Fraction | int] = {i: least_mA(tables.chargers[i]) for i in admitted}
    left = [Fraction(limit.cap_mA - used(limit, x)) for limit in limits]
    mine = standings(limits, len(tables.chargers))
    for tier in tiers(tables, admitted):
        raise_tier(tables, set(tier), limits, mine, left, x)
    return x


def raise_tier(
    tables: Tables,
    rising: set[int],
    limits: list[Limit],
    mine: list[list[tuple[int, int]]],
    left: list[Fraction],
    x: dict[int, Fraction | int],
) -> None:
    """`left` is what each limit has beside everyone's x; those who rise still hold their least."""
    unit = lcm(*(tables.chargers[i].weight for i in rising))
    touched = {c for i in rising for c, _ in mine[i]}
    levels: dict[int, Fraction | None] = {}
    while rising:
        for c in touched:
            levels[c] = level_of(tables, limits[c], rising, left[c], unit)
        bounded = [level for level in levels.values() if level is not None]
        lowest = min(bounded, default=None)
        full = [c for c, level in levels.items() if level is not None and level == lowest]
        frozen = {i for c in full for i in limits[c].counts if i in rising} if full else rising
        for i in frozen:
            row = tables.chargers[i]
            x[i] = most_mA(row) if lowest is None else at_level(row, lowest)
            for c, count in mine[i]:
                left[c] -= count * (x[i] - least_mA(row))
        rising = rising - frozen
        touched = {c for i in frozen for c, _ in mine[i]}


def at_level(row: ChargerRow, level: Fraction) -> Fraction | int:
    return min(most_mA(row), max(least_mA(row), level * row.weight))


def level_of(
    tables: Tables, limit: Limit, rising: set[int], left_mA: Fraction, unit: int
) -> Fraction | None:
    """The level at which those rising in this limit have used what is left; None: it never is.

    What they use grows along straight lines between the levels where one begins or ends to rise.
    Those levels are whole in parts of 1 / unit, which all weights divide.
    """
    mine = [(count, tables.chargers[i]) for i, count in limit.counts.items() if i in rising]
    rows = [(count, row.weight, least_mA(row), most_mA(row)) for count, row in mine]

    def used_at(level: int) -> int:
        """In mA / unit, beyond what they hold."""
        return sum(
            count * (min(most * unit, max(least * unit, level * weight)) - least * unit)
            for count, weight, least, most in rows
        )

    corners = sorted({unit // weight * at_mA for _, weight, *ends in rows for at_mA in ends})
    left = left_mA * unit
    k = bisect_right(corners, left, key=used_at)
    if k == len(corners):
        return None
    begin, end = corners[k - 1], corners[k]
    slope = Fraction(used_at(end) - used_at(begin), end - begin)
    return (begin + (left - used_at(begin)) / slope) / unit


def round_down(tables: Tables, x: dict[int, Fraction | int]) -> dict[int, int]:
    steps_mA = {i: tables.chargers[i].step_mA for i in x}
    return {i: int(value // steps_mA[i]) * steps_mA[i] for i, value in x.items()}


def hand_out_crumbs(
    tables: Tables, admitted: list[int], limits: list[Limit], x_mA: dict[int, int]
) -> dict[int, int]:
    """One step each in turn, tier by tier, until no step fits any more."""
    x_mA = dict(x_mA)
    left_mA = [limit.cap_mA - used(limit, x_mA) for limit in limits]
    mine = standings(limits, len(tables.chargers))
    for turn in tiers(tables, admitted):
        while turn:
            able = []
            for i in turn:
                row = tables.chargers[i]
                has_room = all(count * row.step_mA <= left_mA[c] for c, count in mine[i])
                if has_room and x_mA[i] + row.step_mA <= most_mA(row):
                    x_mA[i] += row.step_mA
                    for c, count in mine[i]:
                        left_mA[c] -= count * row.step_mA
                    able.append(i)
            turn = able  # room only shrinks: whoever had none for a step never has again
    return x_mA
