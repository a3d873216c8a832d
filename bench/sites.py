"""The sites that the core is timed on: panels of 18 chargers under one root, by number of chargers.

Half of the chargers are three-phase, half single-phase on the phases in turn, with random maxima.
The root supplies half of all maxima, each panel four to seven tenths of its own, and all minima.
"""

from __future__ import annotations

import random

from loadctl.tables import ChargerRow, CircuitRow, MeterRow, SiteRow, Tables, Tuning

N_PER_PANEL = 18
MAXIMA_mA = range(10_000, 32_001, 100)
ROOT_PERCENT = 50
PANEL_PERCENT = range(40, 71)
NS_PER_S = 1_000_000_000
PERIOD_ns = 500_000_000


def panels(n_chargers: int, seed: str = "panels") -> Tables:
    rng = random.Random(f"{seed} {n_chargers}")
    chargers = [_charger(k, rng) for k in range(n_chargers)]
    n_panels = -(-n_chargers // N_PER_PANEL)
    root = _circuit("root", -1, chargers, ROOT_PERCENT, meter=0)
    below = [
        _circuit(
            f"panel{k}", 0, chargers[k * N_PER_PANEL :][:N_PER_PANEL], rng.choice(PANEL_PERCENT)
        )
        for k in range(n_panels)
    ]
    return Tables(
        site=SiteRow("bench", PERIOD_ns, 3, 230_000),
        buses=(),
        circuits=(root, *below),
        meters=(MeterRow("grid", bus=0, model="reference-meter", address=1, lag_ns=0),),
        chargers=tuple(chargers),
        tuning=_tuning(),
        maps={},
        site_hash="",
    )


def _charger(k: int, rng: random.Random) -> ChargerRow:
    max_mA = rng.choice(MAXIMA_mA)
    return ChargerRow(
        name=f"bay{k}", bus=0, model="reference-charger", address=2 + k, connector=1,
        circuit=1 + k // N_PER_PANEL, phases=(0, 1, 2) if k % 2 == 0 else (k // 2 % 3,),
        min_mA=6000, max_mA=max_mA, step_mA=100, failsafe_mA=0, fallback_mA=0, rated_mA=max_mA,
        priority=0, weight=1, never_pause=False, is_unprotected=False,
        is_unmeasured_accepted=False, is_isolated=False, has_measured_current=True,
        hold_ns=5 * NS_PER_S, min_change_ns=0, watchdog_ns=15 * NS_PER_S, watchdog_fed_by="any",
    )  # fmt: skip


def _circuit(
    name: str, parent: int, below: list[ChargerRow], percent: int, meter: int = -1
) -> CircuitRow:
    limits = []
    for p in range(3):
        mine = [row for row in below if p in row.phases]
        share_mA = sum(row.max_mA for row in mine) * percent // 100
        limits.append(max(share_mA, sum(row.min_mA for row in mine)))
    return CircuitRow(
        name=name, parent=parent, limit_mA=(limits[0], limits[1], limits[2]), limit_W=None,
        unbalance_mA=None, margin_mA=0, background_mA=(0, 0, 0), is_dynamic=meter >= 0,
        meter=meter, counts_export=False, fuse_type=None, fuse_rated_mA=0,
    )  # fmt: skip


def _tuning() -> Tuning:
    """The defaults of the site file, but that raises wait for nothing: a site soon at rest."""
    seconds = {
        "peak_hold_ns": 10, "raise_delay_ns": 15, "trim_ns": 60, "raise_every_ns": 0,
        "meter_stale_ns": 3, "soft_start_ns": 0, "unused_ns": 60, "wake_ns": 120,
        "retry_ns": 1800, "car_follow_ns": 6, "min_on_ns": 300, "min_off_ns": 300,
        "rotate_ns": 1800, "stagger_ns": 0,
    }  # fmt: skip
    return Tuning(
        **{name: value_s * NS_PER_S for name, value_s in seconds.items()},
        ramp_mA_per_s=100_000, deadband_mA=500, admit_margin_mA=1000, healthy_scans=10,
    )  # fmt: skip
