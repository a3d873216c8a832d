"""Cases for the share kernel that no scan needs to lead to: who is in, maxima held, caps.

Dense where rules meet: caps at sums of minima and maxima, coarse steps beside fine ones, weights
that hardly divide each other, many tiers. Every case comes from one seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from loadctl.tables import ChargerRow, CircuitRow, Tables
from tests.support import reference
from tests.support.core_sites import random_site

STEPS_mA = ((100,), (100, 1000), (50, 100, 1000, 6000), (7, 13, 100, 999), (40, 5000, 9000))
MINIMA_mA = ((6000,), (1000, 2000, 6000, 9000), tuple(range(1, 9000, 37)))
MAXIMA_mA = ((16000, 32000), tuple(range(9000, 33000, 50)), (63000, 10**6))
WEIGHTS = ((1,), (1, 2, 3), tuple(range(1, 40)), (1, 17, 9999, 10000))
TIERS = ((0,), (0, 1), tuple(range(7)))
OPEN_mA = 10**11


@dataclass(frozen=True)
class Case:
    tables: Tables
    are_in: list[bool]
    most_mA: list[int]  # what each is held to
    caps_mA: list[int]  # of every limit that chargers count in, by circuit and kind

    @property
    def limits(self) -> list[reference.Limit]:
        """With the caps of this case."""
        limits = reference.limits_of(self.tables)
        return [
            replace(limit, cap_mA=cap_mA)
            for limit, cap_mA in zip(limits, self.caps_mA, strict=True)
        ]

    @property
    def expected_mA(self) -> list[int]:
        """By the slow allocator, with what each is held to as its maximum."""
        rows = zip(self.tables.chargers, self.most_mA, strict=True)
        held = replace(
            self.tables, chargers=tuple(replace(row, max_mA=most_mA) for row, most_mA in rows)
        )
        admitted = [i for i in reference.ranked(held) if self.are_in[i]]
        exact = reference.share(held, admitted, self.limits)
        rounded = reference.round_down(held, exact)
        given_mA = reference.hand_out_crumbs(held, admitted, self.limits, rounded)
        return [given_mA.get(i, 0) for i in range(len(held.chargers))]


def _own_limits(row: CircuitRow) -> CircuitRow:
    """Without limits from outside: each kind of limit has one cap here."""
    return replace(row, takes_external=False, loss_mA=None, loss_W=None, guaranteed_W=None)


def random_case(seed: int, most_circuits: int = 8, most_chargers: int = 14) -> Case:
    rng = random.Random(f"share case {seed}")
    tables = random_site(rng, most_circuits, most_chargers)
    choices = [rng.choice(kinds) for kinds in (STEPS_mA, MINIMA_mA, MAXIMA_mA, WEIGHTS, TIERS)]
    rows = tuple(_other_charger(rng, row, choices) for row in tables.chargers)
    tables = replace(tables, chargers=rows, circuits=tuple(map(_own_limits, tables.circuits)))
    share_in, share_held = rng.choice((1.0, 0.9, 0.5)), rng.choice((0.0, 0.0, 0.3, 1.0))
    are_in = [rng.random() < share_in for _ in rows]
    most_mA = [_held_mA(rng, row) if rng.random() < share_held else row.max_mA for row in rows]
    caps_mA = [_cap_mA(rng, limit, are_in, rows, most_mA) for limit in reference.limits_of(tables)]
    return Case(tables, are_in, most_mA, caps_mA)


def _other_charger(
    rng: random.Random, row: ChargerRow, choices: list[tuple[int, ...]]
) -> ChargerRow:
    step_mA, least_mA, most_mA, weight, tier = (rng.choice(values) for values in choices)
    min_mA = -(-least_mA // step_mA) * step_mA
    max_mA = max(min_mA, most_mA // step_mA * step_mA)
    return replace(
        row, step_mA=step_mA, min_mA=min_mA, max_mA=max_mA, rated_mA=max_mA, weight=weight,
        priority=tier,
    )  # fmt: skip


def _held_mA(rng: random.Random, row: ChargerRow) -> int:
    return rng.randint(row.min_mA // row.step_mA, row.max_mA // row.step_mA) * row.step_mA


def _cap_mA(
    rng: random.Random,
    limit: reference.Limit,
    are_in: list[bool],
    rows: tuple[ChargerRow, ...],
    most_mA: list[int],
) -> int:
    mine = [(i, count) for i, count in limit.counts.items() if are_in[i]]
    least_mA = sum(count * rows[i].min_mA for i, count in mine)
    all_mA = sum(count * most_mA[i] for i, count in mine)
    if not mine:
        return rng.choice((-100, 0, 5000, OPEN_mA))
    middle_mA = max(least_mA, (least_mA + all_mA) // 2 // 1000 * 1000)
    between_mA = rng.randint(least_mA, all_mA)
    return rng.choice(
        (least_mA, all_mA, all_mA + 5, between_mA, between_mA, middle_mA, middle_mA, OPEN_mA)
    )
