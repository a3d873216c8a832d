"""Cars that never come down, or too late: counted at what they take, and the others give way."""

from __future__ import annotations

import random

import pytest

from loadctl import reasons
from tests.support.car_loop import CarLoop
from tests.support.car_stories import STEADY, TUNING
from tests.support.cars import Habits, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

STUBBORN = Habits(is_stubborn=True)
TARDY = Habits(follows_ns=span_s(20, 30))  # its follow time is 12 s
FOLLOW_s = 12
SEEN_s = 4  # meter lag, status rotation, two scans
SAID = (reasons.DOES_NOT_FOLLOW, reasons.STARVED)


def crowd(rng: random.Random, kind: Habits, fallback_mA: int = 6000) -> CarLoop:
    """One such car between others on one circuit, at rest; the building is to take what is left.

    The sum of the minima and what the stubborn car may take fit beside the highest building.
    """
    n = rng.randint(3, 7)
    odd = rng.randrange(n)
    habits = [kind if i == odd else rng.choice(STEADY) for i in range(n)]
    phases = [rng.choice(((0, 1, 2), (1, 2, 0), (0,), (1, 2))) for _ in range(n)]
    limit_mA = 8000 * n + 16000
    tables = site(
        [circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=12000)],
        [
            charger(
                f"x{i}", phases=(0, 1, 2) if i == odd else phases[i],
                fallback_mA=fallback_mA, hold_ns=6 * NS_PER_S,
            )
            for i in range(n)
        ],
        [meter("grid", rng.choice((0, 300, 1000)) * 1_000_000)],
        **TUNING,
    )  # fmt: skip
    loop = CarLoop(tables, rng, habits)
    loop.plug_all()
    loop.run(150)
    loop.odd = odd
    return loop


def excess_s(loop: CarLoop, for_s: int) -> int:
    """Run, and say until which second the load was above the limit."""
    last_s = 0
    for k in range(2 * for_s):
        loop.scan()
        row = loop.tables.circuits[0]
        if any(x > row.limit_mA[p] for p, x in enumerate(loop.plant.load_mA(0, loop.now_ns))):
            last_s = k // 2 + 1
    return last_s


@pytest.mark.parametrize("seed", range(12))
def test_stubborn_car_keeps_its_draw_and_others_give_way(seed: int) -> None:
    """Cut twice by the building: the first finds it out, the second falls on the others alone."""
    rng = random.Random(f"stubborn {seed}")
    loop = crowd(rng, STUBBORN)
    before_mA = loop.draws_mA()
    loop.step_building(0, (12000, 12000, 12000))
    last_s = excess_s(loop, 60)
    # Its own part of the cut is seen not to be followed after one follow time; then the others
    # are cut for it, and have theirs.
    assert last_s <= 2 * FOLLOW_s + SEEN_s
    after_mA = loop.draws_mA()
    assert after_mA[loop.odd] == before_mA[loop.odd]
    assert sum(after_mA) < sum(before_mA)
    assert all(x >= 6000 for x in after_mA)
    assert loop.core.charger(loop.odd)["reason"] in SAID
    assert loop.core.charger(loop.odd)["reserve_mA"] >= after_mA[loop.odd]
    loop.run(300)
    assert excess_s(loop, 60) == 0
    assert loop.plant.violations == []


@pytest.mark.parametrize("seed", range(4))
def test_stubborn_car_is_said_to_be_one_in_every_scan(seed: int) -> None:
    """Also in the one after its starve, whatever raises wait for then."""
    loop = crowd(random.Random(f"stubborn said {seed}"), STUBBORN)
    loop.step_building(0, (12000, 12000, 12000))
    loop.run_until(lambda: loop.core.charger(loop.odd)["reason"] in SAID, 60)
    said = set()
    for _ in range(400):
        loop.scan()
        row = loop.core.charger(loop.odd)
        if row["is_armed"]:
            said.add(row["reason"])
    assert said == set(SAID)


@pytest.mark.parametrize("seed", range(6))
def test_raises_beside_a_stubborn_car_leave_room_for_its_draw(seed: int) -> None:
    """The building gives back part of what it took: shares of the others grow by that alone."""
    rng = random.Random(f"stubborn beside {seed}")
    loop = crowd(rng, STUBBORN)
    loop.step_building(0, (12000, 12000, 12000))
    loop.run(120)
    held_mA = loop.draws_mA()
    loop.step_building(0, (6000, 6000, 6000))
    loop.run(120)
    assert excess_s(loop, 30) == 0
    others = [i for i in range(len(loop.cars)) if i != loop.odd]
    assert sum(loop.draws_mA()[i] for i in others) > sum(held_mA[i] for i in others)
    assert loop.plant.violations == []


@pytest.mark.parametrize("seed", range(6))
def test_tardy_car_comes_back_into_its_share(seed: int) -> None:
    """It obeys at last: what it gave up goes round again, and its reason is an ordinary one."""
    rng = random.Random(f"tardy {seed}")
    loop = crowd(rng, TARDY, fallback_mA=32000)  # no starve: its fallback would not be less
    loop.step_building(0, (12000, 12000, 12000))
    assert excess_s(loop, 60) <= 2 * FOLLOW_s + SEEN_s
    loop.run(240)
    assert loop.core.charger(loop.odd)["reason"] not in SAID
    setpoints_mA = loop.setpoints_mA()
    assert setpoints_mA[loop.odd] >= min(setpoints_mA)
    assert loop.draws_mA()[loop.odd] <= setpoints_mA[loop.odd]
    assert loop.plant.violations == []
