"""Sites for tests of the core: rows with short words, and a seeded generator dense at boundaries.

Currents are in mA, as inside the program. Every random site comes from one `random.Random`, so that
a seed names it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from loadctl._core import Core
from loadctl.tables import ChargerRow, CircuitRow, MeterRow, Phases, SiteRow, Tables, Tuning

NS_PER_S = 1_000_000_000
PERIOD_ns = 500_000_000
VOLTAGE_mV = 230_000
OWN_ADDRESS = 0  # given by the place in the list
START, RUN, FAILSAFE, STOP = range(4)
NEVER, GOOD, NO_ANSWER, BAD_FRAME, REFUSED, NOT_SENT, IMPLAUSIBLE = range(7)

PHASE_MAPS = (
    (0,), (1,), (2,), (0, 1), (1, 2), (2, 0),
    (0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1),
)  # fmt: skip


def three(value_mA: int | Phases) -> Phases:
    return (value_mA, value_mA, value_mA) if isinstance(value_mA, int) else value_mA


def circuit(name: str, limit_mA: int | Phases, parent: int = -1, **changes: Any) -> CircuitRow:
    """A static circuit without background unless said otherwise."""
    row = {
        "limit_W": None,
        "unbalance_mA": None,
        "margin_mA": 0,
        "background_mA": 0,
        "is_dynamic": False,
        "meter": -1,
        "counts_export": False,
        "fuse_type": None,
        "fuse_rated_mA": 0,
        **changes,
    }
    row["background_mA"] = three(row["background_mA"])
    return CircuitRow(name=name, parent=parent, limit_mA=three(limit_mA), **row)


def meter(name: str, lag_ns: int = 0) -> MeterRow:
    return MeterRow(name=name, bus=0, model="reference-meter", address=1, lag_ns=lag_ns)


def charger(name: str, circuit_i: int = 0, **changes: Any) -> ChargerRow:
    """A three-phase charger of 6 to 16 A in steps of 0.1 A that measures its current."""
    row = {
        "phases": (0, 1, 2),
        "min_mA": 6000,
        "max_mA": 16000,
        "step_mA": 100,
        "failsafe_mA": 6000,
        "fallback_mA": 6000,
        "rated_mA": 16000,
        "priority": 0,
        "weight": 1,
        "never_pause": False,
        "is_isolated": False,
        "has_measured_current": True,
        "hold_ns": 5 * NS_PER_S,
        "min_change_ns": 0,
        "address": OWN_ADDRESS,
        "watchdog_ns": 15 * NS_PER_S,
        **changes,
    }
    return ChargerRow(
        name=name, bus=0, model="reference-charger", connector=1, circuit=circuit_i,
        is_unprotected=False, is_unmeasured_accepted=True, watchdog_fed_by="any", **row,
    )  # fmt: skip


def tuning(**changes: int) -> Tuning:
    """The defaults of the site file."""
    seconds = {
        "peak_hold_ns": 10, "raise_delay_ns": 15, "trim_ns": 60, "raise_every_ns": 5,
        "meter_stale_ns": 3, "soft_start_ns": 40, "unused_ns": 60, "wake_ns": 120,
        "retry_ns": 1800, "car_follow_ns": 6, "min_on_ns": 300, "min_off_ns": 300,
        "rotate_ns": 1800, "stagger_ns": 10,
    }  # fmt: skip
    values = {name: value_s * NS_PER_S for name, value_s in seconds.items()}
    values |= {
        "ramp_mA_per_s": 2000, "deadband_mA": 500, "admit_margin_mA": 1000, "healthy_scans": 10,
    }  # fmt: skip
    return Tuning(**values | changes)


def site(
    circuits: list[CircuitRow],
    chargers: list[ChargerRow],
    meters: list[MeterRow] | None = None,
    **tunings: int,
) -> Tables:
    return Tables(
        site=SiteRow("test", PERIOD_ns, 3, VOLTAGE_mV),
        buses=(),
        circuits=tuple(circuits),
        meters=tuple(meters or ()),
        chargers=tuple(
            replace(row, address=2 + i) if row.address == OWN_ADDRESS else row
            for i, row in enumerate(chargers)
        ),
        tuning=tuning(**tunings),
        maps={},
        site_hash="",
    )


def attached(tables: Tables) -> Core:
    core = Core(tables)
    core.attach(bytearray(core.plant_bytes))
    return core


def settled_mA(tables: Tables, wants: list[bool]) -> list[int]:
    """The grants that a site without meters settles at."""
    core = attached(tables)
    assert core.settle(wants) == 0
    return [core.charger(i)["grant_mA"] for i in range(len(tables.chargers))]


def random_site(rng: random.Random, most_circuits: int = 10, most_chargers: int = 20) -> Tables:
    """A static site whose limits stand close to what matters: sums of minima, of maxima, steps."""
    circuits = [circuit("c0", 0)]
    for k in range(1, rng.randint(1, most_circuits)):
        circuits.append(circuit(f"c{k}", 0, parent=_parent(rng, circuits)))
    chargers = [
        _random_charger(rng, k, len(circuits)) for k in range(rng.randint(1, most_chargers))
    ]
    rows = [_random_limits(rng, c, circuits, chargers) for c in range(len(circuits))]
    return site(rows, chargers)


def _parent(rng: random.Random, circuits: list[CircuitRow]) -> int:
    """Any circuit less than four below the root."""
    depths: list[int] = []
    for row in circuits:
        depths.append(0 if row.parent < 0 else depths[row.parent] + 1)
    return rng.choice([c for c, depth in enumerate(depths) if depth < 4])


def _random_charger(rng: random.Random, k: int, n_circuits: int) -> ChargerRow:
    step_mA = rng.choice((100, 100, 100, 1000, 1000, 500, 10))
    min_mA = rng.choice((6000, 6000, 6000, 8000, 10000))
    max_mA = rng.choice((min_mA, 10000, 13000, 16000, 16000, 32000, 63000))
    return charger(
        f"x{k}",
        rng.randrange(n_circuits),
        phases=rng.choice(PHASE_MAPS),
        min_mA=min_mA,
        max_mA=max(min_mA, max_mA),
        step_mA=step_mA,
        priority=rng.choice((0, 0, 0, 1, 2)),
        weight=rng.choice((1, 1, 1, 2, 3, 7)),
    )


def _random_limits(
    rng: random.Random, c: int, circuits: list[CircuitRow], chargers: list[ChargerRow]
) -> CircuitRow:
    below = [row for row in chargers if c in _chain(row.circuit, circuits)]
    limits = tuple(
        _near(rng, [row for row in below if p in row.phases], rng.choice((0, 0, 0, 300, 5000)))
        for p in range(3)
    )
    if rng.random() < 0.5:
        limits = (limits[0],) * 3
    changes: dict[str, Any] = {
        "margin_mA": rng.choice((0, 0, 0, 1000)),
        "background_mA": tuple(rng.choice((0, 0, 2500, 7001)) for _ in range(3)),
    }
    if rng.random() < 0.3:
        sum_mA = sum(_near(rng, [row], 0) * len(row.phases) for row in below)
        changes["limit_W"] = int(sum_mA * rng.choice((0.3, 0.6, 0.9)) * 230 / 1000)
    if rng.random() < 0.25:
        single = [row for row in below if len(row.phases) < 3]
        changes["unbalance_mA"] = _near(rng, single[: rng.randint(0, len(single))], 0)
    return circuit(f"c{c}", limits, parent=circuits[c].parent, **changes)


def _chain(c: int, circuits: list[CircuitRow]) -> list[int]:
    chain = []
    while c >= 0:
        chain.append(c)
        c = circuits[c].parent
    return chain


def _near(rng: random.Random, rows: list[ChargerRow], extra_mA: int) -> int:
    """A limit at, just below or just above sums of minima or maxima, or anywhere between."""
    least_mA = sum(row.min_mA for row in rng.sample(rows, rng.randint(0, len(rows))))
    most_mA = sum(row.max_mA for row in rows)
    at_mA = rng.choice((least_mA, most_mA, rng.randint(least_mA, max(least_mA, most_mA))))
    return max(0, at_mA + extra_mA + rng.choice((0, 0, 0, -1, 1, -100, 100, 999, 1000)))
