"""Random short stories for the closed loop: cars, a building that steps, lost messages."""

from __future__ import annotations

import random
from dataclasses import replace

from loadctl.tables import Tables
from tests.support.closed_loop import Loop, Losses
from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site
from tests.support.plant_model import Box

WANTED_mA = (0, 6000, 10000, 16000, 32000, 32000)
OBEYS_WITHIN_mA = 2000  # below its setpoint a car that was seen above it counts as one that obeys
PHASE_MAPS = ((0, 1, 2), (0, 1, 2), (1, 2, 0), (0,), (1,), (2,), (2, 0))


def random_story(seed: int, is_lossy: bool = True) -> Loop:
    """A loop at its start: nothing armed, every box at its rating, some cars there."""
    rng = random.Random(seed)
    tables = story_site(rng)
    losses = Losses()
    if is_lossy:
        losses = Losses(
            request=rng.choice((0, 0, 0.01, 0.1)),
            reply=rng.choice((0, 0, 0.01, 0.1)),
            refusal=rng.choice((0, 0, 0.02)),
            meter=rng.choice((0, 0, 0.02, 0.2)),
        )
    loop = Loop(tables, rng, losses, rng.choice((0, 2, 12)) * NS_PER_S)
    for box in loop.plant.boxes:
        disturb_car(rng, box)
    return loop


def story_site(rng: random.Random) -> Tables:
    limit_mA = rng.choice((32000, 50000, 63000, 100000))
    lag_ns = rng.choice((0, 0, 300_000_000, 1_000_000_000))
    circuits = [
        circuit(
            "main", limit_mA, is_dynamic=True, meter=0,
            background_mA=16000 + rng.choice((0, limit_mA // 3)),
            margin_mA=rng.choice((0, 1000)),
            limit_W=rng.choice((None, None, limit_mA * 400 // 1000)),
            unbalance_mA=rng.choice((None, None, 20000)),
        )
    ]  # fmt: skip
    meters = [meter("grid", lag_ns)]
    if rng.random() < 0.6:
        circuits.append(circuit("sub", rng.choice((20000, 32000, 48000)), parent=0))
    if rng.random() < 0.4:
        circuits.append(
            circuit(
                "wing", rng.choice((25000, 40000)), parent=0, is_dynamic=True, meter=1,
                background_mA=8000,
            )
        )  # fmt: skip
        meters.append(meter("wing", rng.choice((0, 500_000_000))))
    is_tight = rng.random() < 0.5
    if not is_tight:  # the failsafe currents of all and the worst background fit every limit
        circuits = [replace(row, limit_mA=(95000,) * 3, limit_W=None) for row in circuits]
    chargers = [
        charger(
            f"x{k}",
            rng.randrange(len(circuits)),
            phases=rng.choice(PHASE_MAPS),
            step_mA=rng.choice((100, 100, 1000)),
            max_mA=rng.choice((16000, 32000)),
            rated_mA=32000,
            priority=rng.choice((0, 0, 1)),
            failsafe_mA=0 if is_tight else rng.choice((0, 6000)),
            fallback_mA=0 if is_tight else rng.choice((0, 6000)),
            hold_ns=6 * NS_PER_S,
            has_measured_current=rng.random() < 0.85,
        )
        for k in range(rng.randint(1, 7))
    ]
    return site(
        circuits, chargers, meters,
        soft_start_ns=rng.choice((0, 5, 40)) * NS_PER_S,
        min_off_ns=20 * NS_PER_S,
        min_on_ns=30 * NS_PER_S,
        raise_delay_ns=rng.choice((0, 5, 15)) * NS_PER_S,
        peak_hold_ns=15 * NS_PER_S,
        ramp_mA_per_s=rng.choice((2000, 100000)),
        raise_every_ns=rng.choice((0, 5)) * NS_PER_S,
    )  # fmt: skip


def disturb(loop: Loop) -> None:
    """Something happens: a car, the building, or a box that falls silent or comes back."""
    rng, plant = loop.rng, loop.plant
    what = rng.random()
    if what < 0.5:
        disturb_car(rng, rng.choice(plant.boxes))
    elif what < 0.9:
        c = rng.randrange(len(plant.own_mA))
        row = loop.tables.circuits[c]
        if row.is_dynamic:
            most_mA = max(row.background_mA[0] - (8000 if c == 0 else 0), 0)
            plant.own_mA[c] = tuple(rng.choice((0, most_mA // 2, most_mA)) for _ in range(3))
    elif loop.losses.request > 0:
        box = rng.choice(plant.boxes)
        box.is_dead = not box.is_dead


def disturb_car(rng: random.Random, box: Box) -> None:
    """Never one that by chance comes down to just what it is to follow: by the rule of the proof it
    has followed, and nobody could tell."""
    box.state = rng.choice("AABCCCCCF")
    wanted_mA = rng.choice(WANTED_mA)
    is_chance = bool(box.due) and 0 <= box.setpoint_mA - wanted_mA <= OBEYS_WITHIN_mA
    box.wanted_mA = max(WANTED_mA) if is_chance else wanted_mA
