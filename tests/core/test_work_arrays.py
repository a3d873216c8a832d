"""Nothing but the block is carried from one call to the next: a core that has just taken it over
does the same, byte for byte, as the one that has worked on it all along."""

from __future__ import annotations

import random
from typing import Any

import pytest

from loadctl._core import Core
from loadctl.tables import Tables
from tests.support.car_loop import CarLoop
from tests.support.car_stories import any_habits, disturb_building, disturb_car
from tests.support.closed_loop import Losses
from tests.support.core_sites import FAILSAFE, RUN, charger, circuit, meter, site
from tests.support.stories import story_site


class Beside:
    """A core, and before each step and confirm a new one beside it on a copy of the block."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.core = Core(tables)
        self.block = bytearray(self.core.plant_bytes)
        self.core.attach(self.block)
        self.n_orders = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def step(self, now_ns: int) -> int:
        return self._both("step", now_ns)

    def confirm(self, now_ns: int) -> int:
        return self._both("confirm", now_ns)

    def _both(self, name: str, now_ns: int) -> int:
        fresh, block = Core(self.tables), bytearray(self.block)
        fresh.attach(block)
        results = [getattr(core, name)(now_ns) for core in (self.core, fresh)]
        orders = [(core.takes(), core.looks(), core.gives()) for core in (self.core, fresh)]
        assert results[0] == results[1]
        assert orders[0] == orders[1]
        assert block == self.block
        self.n_orders += sum(len(of_kind) for of_kind in orders[0])
        return int(results[0])


def tiers_site() -> Tables:
    """Six cars of two tiers on four places at most, under two circuits."""
    main = circuit("main", 40_000, is_dynamic=True, meter=0, background_mA=16_000)
    sub = circuit("sub", (20_000, 16_000, 16_000), parent=0, limit_W=9000, unbalance_mA=10_000)
    tiers = (0, 0, 1, 0, 1, 0)
    rows = [
        charger(
            f"x{k}", k % 2, phases=((0, 1, 2), (0,))[k // 2 % 2], priority=priority,
            failsafe_mA=0, fallback_mA=0, never_pause=False,
        )
        for k, priority in enumerate(tiers)
    ]  # fmt: skip
    times_ns = {"rotate_ns": 20, "min_on_ns": 5, "min_off_ns": 5, "unused_ns": 15}
    return site([main, sub], rows, [meter("grid")], **{k: n * 10**9 for k, n in times_ns.items()})


def story(seed: int, tables: Tables, rng: random.Random) -> CarLoop:
    habits = [any_habits(rng, row.has_measured_current) for row in tables.chargers]
    losses = Losses(request=0.01, reply=0.01, meter=0.02) if seed % 2 else Losses()
    loop = CarLoop(tables, rng, habits, losses)
    core: Any = Beside(tables)
    core.set_mode(RUN)
    loop.core = core
    loop.has_power = True
    for car in loop.cars:
        if rng.random() < 0.8:
            car.plug(loop.now_ns)
    return loop


@pytest.mark.parametrize("seed", range(12))
def test_core_that_has_just_taken_over_goes_on_alike(seed: int) -> None:
    rng = random.Random(f"beside {seed}")
    loop = story(seed, tiers_site() if seed < 6 else story_site(rng), rng)
    for k in range(12):
        loop.run(rng.choice((2, 5, 10, 30)))
        if rng.random() < 0.6:
            disturb_car(loop, rng.choice(loop.cars))
        else:
            disturb_building(loop)
        loop.core.set_mode(FAILSAFE if k % 6 == 4 else RUN)
    beside: Any = loop.core
    assert beside.n_orders > 20
