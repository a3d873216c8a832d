"""Which tests a mutant meets, and in which order: what kills it soon comes first."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Tests of modules that have none of their name.
TESTS_OF = {
    "configure": ("configure", "bounds", "core_calls"),
    "index": ("share_cases", "settled"),
    "share": ("share_cases", "settled"),
    "crumbs": ("share_cases", "settled"),
    "heap": ("share_cases", "settled"),
    "sort": ("share_cases", "settled"),
    "core": ("core_calls", "order_edges", "border", "external_edges"),
    "retune": ("live",),
    "turns": ("admit",),
    "order": ("order", "cuts"),
}
LEAST_COST_s = 0.01  # of any test: a child, its set-up


@dataclass(frozen=True)
class Recorded:
    """What one test does without a mutant."""

    cpu_s: float
    marks: frozenset[int]  # numbers that would make a difference to it


def in_order(names: Collection[str], module: str, recorded: Mapping[str, Recorded]) -> list[str]:
    """By turns: the tests of the module, cheap ones first; those that are about little else; and
    those that are about much for the time that they take."""
    stem = Path(module).stem.strip("_")
    files = tuple(f"/test_{name}" for name in TESTS_OF.get(stem, (stem,)))
    own = [name for name in names if any(file in name for file in files)]
    own.sort(key=lambda name: (recorded[name].cpu_s, name))

    def marks_per_s(name: str) -> float:
        return len(recorded[name].marks) / (recorded[name].cpu_s + LEAST_COST_s)

    few = sorted(sorted(names), key=lambda name: len(recorded[name].marks))
    many = sorted(sorted(names), key=marks_per_s, reverse=True)
    by_turns = itertools.chain.from_iterable(itertools.zip_longest(own, few, many))
    return list(dict.fromkeys(name for name in by_turns if name is not None))


def within_budget(
    names: Sequence[str], recorded: Mapping[str, Recorded], budget_s: float
) -> list[str]:
    """The first tests, as many as fit the budget, and one at least."""
    chosen: list[str] = []
    sum_s = 0.0
    for name in names:
        sum_s += recorded[name].cpu_s
        if chosen and sum_s > budget_s:
            break
        chosen.append(name)
    return chosen
