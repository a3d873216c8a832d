"""What cars leave unused goes to others, and comes back: caps, probes, unused phases."""

from __future__ import annotations

import random

import pytest

from tests.support.car_loop import CarLoop
from tests.support.car_stories import STEADY, TUNING, settled_mA
from tests.support.cars import EVER_mA, Habits, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

UNUSED_s = 60
PROBE_s = 120
MIN_OFF_s = 300
PROBE_mA = 2000
PROVED_s = 40  # follow time, its second car part, peak hold, and the scans between
ONE_PHASE = Habits(follows_ns=span_s(0, 4), uses=1)
TWO_PHASES = Habits(follows_ns=span_s(0, 4), uses=2)


def garage(
    n: int, limit_mA: int, habits: list[Habits], rng: random.Random, max_mA: int = 32000,
    phases: list[tuple[int, ...]] | None = None,
) -> CarLoop:  # fmt: skip
    """One metered circuit, everyone plugged in from the start, no building."""
    tables = site(
        [circuit("main", limit_mA, is_dynamic=True, meter=0, background_mA=0)],
        [
            charger(
                f"x{i}", phases=phases[i] if phases else (0, 1, 2), max_mA=max_mA,
                rated_mA=32000, failsafe_mA=0, fallback_mA=0, hold_ns=6 * NS_PER_S,
            )
            for i in range(n)
        ],
        [meter("grid", rng.choice((0, 300, 1000)) * 1_000_000)],
        **{**TUNING, "soft_start_ns": 0, "stagger_ns": 0},
    )  # fmt: skip
    loop = CarLoop(tables, rng, habits)
    loop.plug_all()
    loop.run(60)  # all armed and started
    return loop


def run_within_headroom(loop: CarLoop, seconds: int) -> None:
    """Run, and hold true load and all reserves against the limits in every scan."""
    row = loop.tables.circuits[0]
    over_mA = sum(car.habits.over_mA for car in loop.cars)
    for _ in range(2 * seconds):
        loop.scan()
        loads_mA = loop.plant.load_mA(0, loop.now_ns)
        reserved_mA = loop.core.circuit(0)["reserved_mA"]
        assert max(x - limit for x, limit in zip(loads_mA, row.limit_mA, strict=True)) <= over_mA
        assert max(x - limit for x, limit in zip(reserved_mA, row.limit_mA, strict=True)) <= over_mA


def modest(seed: int) -> tuple[CarLoop, list[int]]:
    """Some cars take less than their share; the others would take anything."""
    rng = random.Random(f"modest {seed}")
    n = rng.randint(3, 8)
    few = sorted(rng.sample(range(n), rng.randint(1, n - 1)))
    habits = [
        Habits(follows_ns=span_s(0, 6), takes_mA=rng.choice((6000, 7000, 8500)))
        if i in few
        else rng.choice(STEADY)
        for i in range(n)
    ]
    return garage(n, 13000 * n, habits, rng), few


@pytest.mark.parametrize("seed", range(10))
def test_what_a_car_leaves_unused_goes_to_others(seed: int) -> None:
    loop, few = modest(seed)
    n = len(loop.cars)
    run_within_headroom(loop, 40)
    run_within_headroom(loop, UNUSED_s + PROVED_s)
    capped_mA = {i: max(6000, loop.draws_mA()[i] + PROBE_mA) for i in few}
    setpoints_mA = loop.setpoints_mA()
    for i in few:
        assert capped_mA[i] <= setpoints_mA[i] <= capped_mA[i] + PROBE_mA
    others = [i for i in range(n) if i not in few]
    rest_mA = 13000 * n - sum(capped_mA.values()) - len(few) * PROBE_mA
    share_mA = min(32000, rest_mA // len(others))
    assert min(setpoints_mA[i] for i in others) >= share_mA - 1000
    assert min(setpoints_mA[i] for i in others) > 13000
    assert loop.plant.violations == []


@pytest.mark.parametrize("seed", range(10))
def test_all_capped_cars_jump_at_once_and_get_their_share_back(seed: int) -> None:
    """No load is above a limit when they jump; probe by probe all come to the reference."""
    loop, few = modest(seed)
    run_within_headroom(loop, 240)
    for i in few:
        loop.cars[i].will([(loop.now_ns + 100_000_000, "takes", EVER_mA)])
    run_within_headroom(loop, 60)
    shares_mA = settled_mA(loop)
    n_probes = max((shares_mA[i] - loop.setpoints_mA()[i]) // PROBE_mA + 1 for i in few)
    run_within_headroom(loop, max(0, n_probes) * PROBE_s + UNUSED_s)
    assert (
        max(abs(x - share_mA) for x, share_mA in zip(loop.setpoints_mA(), shares_mA, strict=True))
        <= 1000
    )
    assert loop.plant.violations == []


def test_cap_probes_upward_in_steps_of_two_amps() -> None:
    """A lone car far below its setpoint: never offered more than draw + 2 A and one probe."""
    rng = random.Random(1)
    loop = garage(1, 32000, [Habits(takes_mA=7000)], rng)
    loop.run(UNUSED_s + 10)
    most_mA = 0
    least_mA = 32000
    for _ in range(2 * 600):
        loop.scan()
        most_mA = max(most_mA, loop.setpoints_mA()[0])
        least_mA = min(least_mA, loop.setpoints_mA()[0])
    assert least_mA == 9000
    assert most_mA == 11000


def test_car_that_takes_all_but_its_own_rounding_is_not_capped() -> None:
    rng = random.Random(2)
    loop = garage(2, 25000, [Habits(grid_mA=1000), STEADY[0]], rng)
    loop.run(400)
    assert loop.setpoints_mA() == [12500, 12500]


@pytest.mark.parametrize("seed", range(8))
def test_unused_phases_hold_no_reserve_and_others_get_them(seed: int) -> None:
    """A three-phase charger with a one- or two-phase car beside single-phase ones."""
    rng = random.Random(f"phases {seed}")
    uses = rng.choice((1, 2))
    turn = rng.randrange(3)
    mine = (turn, (turn + 1) % 3, (turn + 2) % 3)
    free = mine[uses:]
    phases = [mine, (0,), (1,), (2,)]
    habits = [ONE_PHASE if uses == 1 else TWO_PHASES, *(rng.choice(STEADY) for _ in range(3))]
    loop = garage(4, 32000, habits, rng, phases=phases)
    assert max(loop.setpoints_mA()) <= 16000
    run_within_headroom(loop, 60 + PROVED_s)
    for i in (1, 2, 3):
        expected_mA = 32000 if phases[i][0] in free else 16000
        assert loop.setpoints_mA()[i] == expected_mA, phases
    assert loop.plant.violations == []


@pytest.mark.parametrize("seed", range(8))
def test_current_on_an_unused_phase_cuts_others_in_the_scan_that_sees_it(seed: int) -> None:
    rng = random.Random(f"switch {seed}")
    loop = garage(2, 32000, [ONE_PHASE, rng.choice(STEADY)], rng, phases=[(0, 1, 2), (1,)])
    loop.run(180)
    assert loop.setpoints_mA() == [32000, 32000]
    switch_ns = loop.now_ns + rng.randint(1, 499) * 1_000_000
    loop.cars[0].will([(switch_ns, "uses", 3)])
    loop.run_until(lambda: loop.core.charger(0)["draw_mA"][1] > 500, 4)
    cuts = [w for w in loop.plant.writes if w[0] >= switch_ns and w[3] < w[2]]
    assert cuts != []
    assert cuts[0][0] < loop.now_ns
    # Where the meter saw it first it was no car's, and one may have been paused for it.
    loop.run(MIN_OFF_s + PROVED_s + 60)
    assert loop.setpoints_mA() == [16000, 16000]
    assert loop.plant.over.found == []


def test_phases_are_counted_again_once_the_car_has_left() -> None:
    rng = random.Random(3)
    loop = garage(2, 32000, [ONE_PHASE, STEADY[0]], rng, phases=[(0, 1, 2), (1,)])
    loop.run(180)
    assert loop.setpoints_mA() == [32000, 32000]
    loop.cars[0].unplug(loop.now_ns)
    loop.run(60)
    assert loop.setpoints_mA() == [0, 32000]
    loop.cars[0].uses = 3
    loop.cars[0].plug(loop.now_ns)
    run_within_headroom(loop, 120)
    assert loop.setpoints_mA() == [16000, 16000]
    assert loop.plant.violations == []
