"""The core over a plant with late cars and lost messages, judged by one who knows the truth."""

from __future__ import annotations

import dataclasses
import random

import pytest

from loadctl.tables import Tables
from tests.support import reference
from tests.support.closed_loop import Loop, Losses
from tests.support.core_sites import NS_PER_S
from tests.support.stories import disturb, disturb_car, random_story, story_site

DONE = 4  # the part of a session


def play(seed: int, n_events: int) -> Loop:
    loop = random_story(seed)
    for _ in range(n_events):
        loop.run(loop.rng.choice((1, 5, 15, 30)))
        disturb(loop)
    return loop


@pytest.mark.parametrize("first_seed", range(0, 300, 50))
def test_random_stories_no_raise_without_room(first_seed: int) -> None:
    n_raises = 0
    for seed in range(first_seed, first_seed + 50):
        loop = play(seed, 20)
        assert loop.plant.violations == [], f"seed {seed}"
        n_raises += loop.plant.n_raises
    assert n_raises > 500


@pytest.mark.long
def test_many_random_stories_no_raise_without_room() -> None:
    for seed in range(10_000, 13_000):
        assert play(seed, 40).plant.violations == [], f"seed {seed}"


def at_rest(seed: int) -> tuple[Loop, list[int]]:
    """A story without losses that becomes quiet, and what the reference gives for its end.

    Who has a place depends on who came first; what those share does not. Nobody else may fit.
    """
    rng = random.Random(f"rest {seed}")
    tables = measured(story_site(rng))
    loop = Loop(tables, rng, Losses(), rng.choice((0, 2, 12)) * NS_PER_S)
    for box in loop.plant.boxes:
        disturb_car(rng, box)
    for _ in range(10):
        loop.run(rng.choice((1, 5, 15, 30)))
        disturb(loop)
    for box in loop.plant.boxes:
        box.wanted_mA = 63000
        box.state = "A" if box.state == "B" else box.state
    loop.run(400)
    background_mA = [
        loop.plant.background_mA(c) if row.is_dynamic else row.background_mA
        for c, row in enumerate(tables.circuits)
    ]
    limits = reference.limits_of(tables, background_mA)
    has_place = [setpoint_mA > 0 for setpoint_mA in loop.setpoints_mA()]
    held_mA = {i: tables.chargers[i].min_mA for i, has in enumerate(has_place) if has}
    for i, box in enumerate(loop.plant.boxes):
        is_done = loop.core.charger(i)["session"] == DONE
        if box.state == "C" and not has_place[i] and not is_done:
            mine = [limit for limit in limits if i in limit.counts]
            more_mA = {**held_mA, i: tables.chargers[i].min_mA}
            assert not reference.fits(mine, more_mA), f"seed {seed}: {i} was left out"
    return loop, reference.allocate_mA(tables, has_place, limits)


def measured(tables: Tables) -> Tables:
    """Every draw measured, and no admit margin: the reference knows none."""
    rows = tuple(dataclasses.replace(row, has_measured_current=True) for row in tables.chargers)
    tuning = dataclasses.replace(tables.tuning, admit_margin_mA=0, trim_ns=5 * NS_PER_S)
    return dataclasses.replace(tables, chargers=rows, tuning=tuning)


@pytest.mark.parametrize("first_seed", range(0, 60, 20))
def test_quiet_plant_comes_to_rest_at_the_reference_allocation(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 20):
        loop, expected_mA = at_rest(seed)
        assert loop.setpoints_mA() == expected_mA, f"seed {seed}"


def test_judge_sees_a_raise_without_room() -> None:
    """The judge's own test: a raise written past the core onto a full circuit is a violation."""
    loop = random_story(0, is_lossy=False)
    loop.run(120)
    assert loop.plant.violations == []
    for i in range(len(loop.plant.boxes)):
        loop.plant.write(i, 63000, loop.now_ns)
    assert loop.plant.violations != []
