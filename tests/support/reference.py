"""The slow, obvious allocator: who is admitted and what each gets, in exact fractions.

Written from the words of the design, with lists and `Fraction`; the kernel must equal it to the mA.
A limit is how often each charger counts in it, and a cap in mA.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

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
    for c, row in enumerate(tables.circuits):
        load_mA = background_mA[c] if background_mA else row.background_mA
        below = [i for i in range(len(tables.chargers)) if c in chain(tables, i)]
        limit_mA, powers_W, chargers_W = in_force(row, (outside or {}).get(c))
        for p in range(3):
            cap_mA = limit_mA[p] - row.margin_mA - load_mA[p]
            limits.append(Limit({i: 1 for i in below if p in tables.chargers[i].phases}, cap_mA))
        by_phases = {i: len(tables.chargers[i].phases) for i in below}
        for power_W in powers_W:
            cap_mA = power_W * 1_000_000 // tables.site.voltage_mV - sum(load_mA)
            limits.append(Limit(by_phases, cap_mA))
        for power_W in chargers_W:
            limits.append(Limit(by_phases, power_W * 1_000_000 // tables.site.voltage_mV))
        if row.unbalance_mA is not None:
            for p, q in PAIRS:
                counts = {i: 1 for i in below if uses_only(tables.chargers[i], p, q)}
                limits.append(Limit(counts, row.unbalance_mA))
    return [limit for limit in limits if limit.counts]


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


def uses_only(row: ChargerRow, p: int, q: int) -> bool:
    return p in row.phases and q not in row.phases


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
    return hand_out_crumbs(
        tables, admitted, limits, round_down(tables, share(tables, admitted, limits))
    )


def ranked(tables: Tables) -> list[int]:
    return sorted(range(len(tables.chargers)), key=lambda i: (-tables.chargers[i].priority, i))


def used(limit: Limit, x: dict[int, Fraction] | dict[int, int]) -> Fraction:
    return sum((Fraction(count) * x.get(i, 0) for i, count in limit.counts.items()), Fraction(0))


def fits(limits: list[Limit], x: dict[int, int]) -> bool:
    return all(used(limit, x) <= limit.cap_mA for limit in limits)


def admit(tables: Tables, wants: list[bool], limits: list[Limit]) -> list[int]:
    """By tier, then file order; what does not fit is skipped. A charger's own limits only."""
    held: dict[int, int] = {}
    for i in ranked(tables):
        mine = [limit for limit in limits if i in limit.counts]
        if wants[i] and fits(mine, {**held, i: tables.chargers[i].min_mA}):
            held[i] = tables.chargers[i].min_mA
    return list(held)


def share(tables: Tables, admitted: list[int], limits: list[Limit]) -> dict[int, Fraction]:
    """Tier by tier: raise one level until a limit is full, freeze who stands in it, and on."""
    x = {i: Fraction(tables.chargers[i].min_mA) for i in admitted}
    for priority in sorted({tables.chargers[i].priority for i in admitted}, reverse=True):
        rising = {i for i in admitted if tables.chargers[i].priority == priority}
        while rising:
            levels = [(level_of(tables, limit, rising, x), limit) for limit in limits]
            bounded = [(level, limit) for level, limit in levels if level is not None]
            if not bounded:
                x.update({i: Fraction(tables.chargers[i].max_mA) for i in rising})
                break
            lowest = min(level for level, _ in bounded)
            x.update({i: at_level(tables.chargers[i], lowest) for i in rising})
            for level, limit in bounded:
                if level == lowest:
                    rising -= set(limit.counts)
    return x


def at_level(row: ChargerRow, level: Fraction) -> Fraction:
    return min(Fraction(row.max_mA), max(Fraction(row.min_mA), level * row.weight))


def level_of(
    tables: Tables, limit: Limit, rising: set[int], x: dict[int, Fraction]
) -> Fraction | None:
    """The level at which this limit is full; None when it never is."""
    mine = [i for i in limit.counts if i in rising]
    rest_mA = limit.cap_mA - used(limit, {i: v for i, v in x.items() if i not in mine})
    rows = [(limit.counts[i], tables.chargers[i]) for i in mine]
    if not rows or sum(count * row.max_mA for count, row in rows) <= rest_mA:
        return None
    points = sorted(
        {Fraction(at_mA, row.weight) for _, row in rows for at_mA in (row.min_mA, row.max_mA)}
    )
    sums = [sum(count * at_level(row, level) for count, row in rows) for level in points]
    for k in range(len(points) - 1):
        if sums[k] <= rest_mA < sums[k + 1]:
            slope = (sums[k + 1] - sums[k]) / (points[k + 1] - points[k])
            return points[k] + (rest_mA - sums[k]) / slope
    raise AssertionError("minima were admitted that do not fit")


def round_down(tables: Tables, x: dict[int, Fraction]) -> dict[int, int]:
    steps_mA = {i: tables.chargers[i].step_mA for i in x}
    return {i: int(value // steps_mA[i]) * steps_mA[i] for i, value in x.items()}


def hand_out_crumbs(
    tables: Tables, admitted: list[int], limits: list[Limit], x: dict[int, int]
) -> list[int]:
    """One step each in turn, tier by tier, until no step fits any more."""
    for priority in sorted({tables.chargers[i].priority for i in admitted}, reverse=True):
        tier = [i for i in sorted(admitted) if tables.chargers[i].priority == priority]
        is_moving = True
        while is_moving:
            is_moving = False
            for i in tier:
                row = tables.chargers[i]
                more = {**x, i: x[i] + row.step_mA}
                mine = [limit for limit in limits if i in limit.counts]
                if more[i] <= row.max_mA and fits(mine, more):
                    x, is_moving = more, True
    return [x.get(i, 0) for i in range(len(tables.chargers))]
