"""Sites and habits for stories of cars, drawn from the story's own `random.Random`."""

from __future__ import annotations

import random
from typing import Any

from loadctl.tables import CircuitRow, Phases, Tables
from tests.support import reference
from tests.support.car_loop import CarLoop
from tests.support.cars import Car, Habits, TOLERANCE_mA, span_s
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site

PHASE_MAPS = ((0, 1, 2), (0, 1, 2), (1, 2, 0), (0,), (1,), (2,), (2, 0))

# Stubborn cars, sleepers and those that take less are added by the tests that are about them.
STEADY = (
    Habits(follows_ns=span_s(0, 1)),
    Habits(follows_ns=span_s(0, 12)),
    Habits(follows_ns=span_s(11, 12)),
    Habits(follows_ns=span_s(2, 6), grid_mA=1000),
)
OVER = Habits(follows_ns=span_s(0, 6), over_mA=600)
WAKING = Habits(follows_ns=span_s(0, 6), wakes_ns=span_s(10, 40))
TUNING = {
    "peak_hold_ns": 16 * NS_PER_S,  # status rotation, meter lag and follow time
    "trim_ns": 5 * NS_PER_S,
    "admit_margin_mA": 0,  # the reference knows none
}


def roomy_site(
    rng: random.Random, n: int, building_mA: int, draw_lag_ns: int = 0, **tunings: int
) -> Tables:
    """All minima, a pilot tolerance each, fit beside a building of up to `building_mA`; what is
    beyond is scarce. All boxes answer draws that are up to `draw_lag_ns` old."""
    circuits = [
        circuit("main", 0, is_dynamic=True, meter=0, background_mA=building_mA),
        circuit("sub", 0, parent=0),
        circuit("wing", 0, parent=0, is_dynamic=True, meter=1, background_mA=building_mA // 2),
    ]
    chargers = [
        charger(
            f"x{k}",
            rng.choice((0, 0, 1, 2)),
            phases=rng.choice(PHASE_MAPS),
            step_mA=rng.choice((100, 100, 1000)),
            max_mA=rng.choice((16000, 32000)),
            rated_mA=32000,
            failsafe_mA=0,
            fallback_mA=0,
            hold_ns=6 * NS_PER_S,
            draw_lag_ns=draw_lag_ns,
        )
        for k in range(n)
    ]
    meters = [meter("grid", rng.choice((0, 300, 1000)) * 1_000_000)]
    meters.append(meter("wing", rng.choice((0, 500)) * 1_000_000))
    rows = site(circuits, chargers)
    circuits = [_fitted(rng, rows, c, building_mA) for c in range(3)]
    return site(circuits, chargers, meters, **{**TUNING, **tunings})


def _fitted(rng: random.Random, rows: Tables, c: int, building_mA: int) -> CircuitRow:
    """Limits that hold the building, all minima below, and some more on each phase."""
    below = [row for i, row in enumerate(rows.chargers) if c in reference.chain(rows, i)]
    limit_mA = [
        building_mA
        + sum(row.min_mA + TOLERANCE_mA for row in below if p in row.phases)
        + rng.randint(0, 5 + 5 * len(below)) * 1000
        for p in range(3)
    ]
    row = rows.circuits[c]
    changes: dict[str, Any] = {"is_dynamic": row.is_dynamic, "meter": row.meter}
    changes["background_mA"] = row.background_mA
    return circuit(row.name, (limit_mA[0], limit_mA[1], limit_mA[2]), parent=row.parent, **changes)


def any_load(rng: random.Random, most_mA: int) -> Phases:
    """Phases apart, often at an end."""
    a, b, d = (rng.choice((0, most_mA, rng.randint(0, most_mA))) for _ in range(3))
    return a, b, d


def settled_mA(loop: CarLoop) -> list[int]:
    """What the reference gives for the building as it is now, and the cars that are plugged in."""
    backgrounds_mA = [
        loop.plant.background_mA(c, loop.now_ns) if row.is_dynamic else row.background_mA
        for c, row in enumerate(loop.tables.circuits)
    ]
    wants = [car.is_plugged for car in loop.cars]
    return reference.allocate_mA(
        loop.tables, wants, reference.limits_of(loop.tables, backgrounds_mA)
    )


def any_habits(rng: random.Random, may_disobey: bool) -> Habits:
    """All kinds; those that do not come down in time only where that can be measured."""
    kind = rng.random()
    is_tardy = may_disobey and kind > 0.85
    return Habits(
        follows_ns=span_s(*((13, 25) if is_tardy else (0, rng.choice((1, 6, 12))))),
        rises_ns=span_s(0, rng.choice((0, 3))),
        wakes_ns=span_s(*rng.choice(((0, 0), (0, 3), (10, 40)))),
        grid_mA=rng.choice((1, 1, 1000)),
        over_mA=rng.choice((0, 0, 0, 600)),
        takes_mA=rng.choice((63000, 63000, 63000, 10000, 7300)),
        uses=rng.choice((3, 3, 1, 2)),
        needs_As=rng.choice((None, None, 600, 2000)),
        is_stubborn=may_disobey and 0.7 < kind <= 0.85,
        is_sleeper=rng.random() < 0.2,
        shows_C=rng.random() < 0.3,
    )


def disturb_car(loop: CarLoop, car: Car) -> None:
    """It leaves, comes, changes its own limit, or is about to change it soon, in steps."""
    rng = loop.rng
    what = rng.random()
    if not car.is_plugged:
        car.plug(loop.now_ns)
    elif what < 0.4:
        car.unplug(loop.now_ns)
    elif what < 0.7:
        taken_mA = rng.choice((0, 6000, 8000, 10000, 16000, 63000))
        car.will([(loop.now_ns + rng.randint(0, 9 * NS_PER_S), "takes", taken_mA)])
    else:
        car.will(
            (loop.now_ns + k * 7 * NS_PER_S, "takes", taken_mA)
            for k, taken_mA in enumerate((16000, 13000, 10000, 8000, 6000, 0))
        )


def disturb_building(loop: CarLoop) -> None:
    """A step, a kettle, or noise for a while, on any circuit that has a meter."""
    rng = loop.rng
    c = rng.choice([c for c, row in enumerate(loop.tables.circuits) if row.is_dynamic])
    row = loop.tables.circuits[c]
    most_mA = max(row.background_mA[0] - (8000 if c == 0 else 0), 0)
    at_ns = max(loop.now_ns, loop.plant.building.at_ns[c][-1]) + rng.randint(1, 999) * 1_000_000
    now_mA = loop.plant.building.own_mA[c][-1]
    what = rng.random()
    if what < 0.5:
        loop.plant.building.set(c, any_load(rng, most_mA), at_ns)
    elif what < 0.75:
        p = rng.randrange(3)
        spiked = [x + (min(9000, most_mA - x) if q == p else 0) for q, x in enumerate(now_mA)]
        loop.plant.building.set(c, (spiked[0], spiked[1], spiked[2]), at_ns)
        loop.plant.building.set(c, now_mA, at_ns + rng.randint(1, 40) * 500_000_000)
    else:
        for k in range(12):
            noisy = [min(most_mA, max(0, x + rng.randint(-1500, 1500))) for x in now_mA]
            loop.plant.building.set(c, (noisy[0], noisy[1], noisy[2]), at_ns + k * 700_000_000)
