"""Sites for tests of the core: rows with short words, and a seeded generator dense at boundaries.

Currents are in mA, as inside the program. Every random site comes from one `random.Random`, so that
a seed names it.
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

from loadctl._core import Core
from loadctl.tables import ChargerRow, CircuitRow, MeterRow, Phases, SiteRow, Tables, Tuning

NS_PER_S = 1_000_000_000
PERIOD_ns = 500_000_000
VOLTAGE_mV = 230_000
OWN_ADDRESS = 0  # given by the place in the list
START, RUN, FAILSAFE, STOP = range(4)
NEVER, GOOD, NO_ANSWER, BAD_FRAME, REFUSED, NOT_SENT, IMPLAUSIBLE = range(7)

PHASE_MAPS: tuple[tuple[int, ...], ...] = tuple(
    phases for n in (1, 2, 3) for phases in permutations(range(3), n)
)


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
    n_circuits = rng.randint(1, most_circuits)
    return _site_of_size(rng, n_circuits, rng.randint(1, most_chargers))


def varied_site(rng: random.Random) -> Tables:
    """A random site of 1 to 200 chargers, most of them small: there the corners lie."""
    fewest, most = rng.choices(((1, 6), (7, 20), (21, 60), (61, 200)), (60, 30, 9, 1))[0]
    n_chargers = rng.randint(fewest, most)
    tables = _site_of_size(rng, rng.randint(1, 3 + n_chargers // 2), n_chargers)
    circuits = [
        replace(row, **_lost_source(rng, row)) if rng.random() < 0.1 else row
        for row in tables.circuits
    ]
    return replace(tables, circuits=tuple(circuits))


def _site_of_size(rng: random.Random, n_circuits: int, n_chargers: int) -> Tables:
    parents = [-1]
    depths = [1]
    for _ in range(1, n_circuits):
        parents.append(rng.choice([c for c, depth in enumerate(depths) if depth < 5]))
        depths.append(depths[parents[-1]] + 1)
    chargers = [_random_charger(rng, k, n_circuits) for k in range(n_chargers)]
    below: list[list[ChargerRow]] = [[] for _ in parents]
    for row in chargers:
        c = row.circuit
        while c >= 0:
            below[c].append(row)
            c = parents[c]
    wide = rng.choice((0, 0.5, 0.9))
    circuits = [
        _random_circuit(rng, f"c{c}", parents[c], below[c], rng.random() < wide)
        for c in range(n_circuits)
    ]
    return site(circuits, chargers)


def _random_charger(rng: random.Random, k: int, n_circuits: int) -> ChargerRow:
    """Some minima and maxima are off the step grid, some weights far from the others."""
    step_mA = rng.choice((100, 100, 100, 1000, 1000, 500, 10))
    min_mA = rng.choice((6000, 6000, 6000, 8000, 10000, 6450))
    least_mA = -(-min_mA // step_mA) * step_mA
    max_mA = rng.choice((least_mA, 10000, 13000, 16000, 16000, 32000, 63000, 15999))
    return charger(
        f"x{k}",
        rng.randrange(n_circuits),
        phases=rng.choice(PHASE_MAPS),
        min_mA=min_mA,
        max_mA=max(least_mA, max_mA),
        step_mA=step_mA,
        priority=rng.choice((0, 0, 0, 1, 2)),
        weight=rng.choice((1, 1, 1, 1, 2, 2, 3, 3, 7, rng.choice((20, 1000, 10_000)))),
    )


def _random_circuit(
    rng: random.Random, name: str, parent: int, below: list[ChargerRow], is_wide: bool
) -> CircuitRow:
    """A wide one has room for all minima on its phases."""
    limits = tuple(
        _near(rng, rows, rng.choice((0, 0, 0, 300, 5000)))
        + (9000 + sum(row.min_mA for row in rows) if is_wide else 0)
        for rows in ([row for row in below if p in row.phases] for p in range(3))
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
    return circuit(name, limits, parent=parent, **changes)


def _lost_source(rng: random.Random, row: CircuitRow) -> dict[str, Any]:
    """What counts where limits come from outside and none is in force."""
    loss_mA = rng.randint(row.limit_mA[0] // 2, 1000 + row.limit_mA[0])
    return {
        "takes_external": True,
        "loss_mA": three(loss_mA) if rng.random() < 0.5 else None,
        "loss_W": loss_mA * 690 // 1000,
        "guaranteed_W": rng.choice((None, loss_mA * 690 // 2000)),
    }


def _near(rng: random.Random, rows: list[ChargerRow], extra_mA: int) -> int:
    """A limit at, just below or just above sums of minima or maxima, or anywhere between."""
    least_mA = sum(row.min_mA for row in rng.sample(rows, rng.randint(0, len(rows))))
    most_mA = sum(row.max_mA for row in rows)
    at_mA = rng.choice((least_mA, most_mA, rng.randint(least_mA, max(least_mA, most_mA))))
    return max(0, at_mA + extra_mA + rng.choice((0, 0, 0, -1, 1, -100, 100, 999, 1000)))


def whole_amp_site(rng: random.Random) -> Tables:
    """Limits in whole amps over crossing phases: exact shares often are grid points themselves."""
    n_circuits = rng.randint(2, 6)
    whole_mA = (20000, 24000, 30000, 36000, 40000, 48000, 60000)
    subs = [
        circuit(f"c{k}", (rng.choice(whole_mA), rng.choice(whole_mA), rng.choice(whole_mA)), 0)
        for k in range(1, n_circuits)
    ]
    wide_mA = (60000, 72000, 80000, 96000, 100000, 120000)
    main = circuit("c0", (rng.choice(wide_mA), rng.choice(wide_mA), rng.choice(wide_mA)))
    chargers = [
        charger(
            f"x{i}",
            rng.randrange(n_circuits),
            phases=rng.choice(PHASE_MAPS),
            min_mA=rng.choice((1000, 1000, 2000)),
            max_mA=63000,
            step_mA=rng.choice((1000, 100, 500)),
            weight=rng.choice((1, 2, 3, 3, 6)),
        )
        for i in range(rng.randint(4, 9))
    ]
    return site([main, *subs], chargers)
