"""The simulated site of a measurement, and the story that it plays.

Owns the site file `garage.toml`, the building that climbs in steps so that each step asks for a
decrease, and the site without any bus. Plain data; starts nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.site.load import Site, load_site
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S

SITE_FILE = "garage.toml"
SIMULATED_PORT = 'port = "simulated"'
# A step is 1 A for each charger: more than the tolerance below which a fall proves nothing.
LOW_mA, HIGH_mA, STEP_mA = 10_000, 146_000, 8_000
# A step comes 0.3 of a period later in the scan each time, and when the answer to the one before it
# has been proven: until then the core may take the excess for cars that have not followed yet.
STEP_PERIODS_MIN, STEP_SETTLED_ns = 4, 2 * NS_PER_S
STEP_LATER = (3, 10)
CALM_ns = 28 * NS_PER_S  # at the bottom, until all that was held back is shared again
FOLLOW_ns = 200 * NS_PER_MS


def load_garage(folder: Path, period_ns: int | None) -> Site:
    """The site of `garage.toml` with the port that its simulation in this folder will have."""
    text = resources.files("loadctl.timing").joinpath(SITE_FILE).read_text()
    path = folder / SITE_FILE
    path.write_text(
        text.replace(SIMULATED_PORT, f"port = {json.dumps(str(folder / 'bus-garage'))}")
    )
    site = load_site(path)
    if period_ns is None:
        return site
    return replace(site, tables=at_period(site.tables, period_ns))


def at_period(tables: Tables, period_ns: int) -> Tables:
    return replace(tables, site=replace(tables.site, period_ns=period_ns))


def without_buses(tables: Tables, period_ns: int) -> Tables:
    """A site of one fixed circuit and nothing on it: its image is all that a scan has to do."""
    main = replace(tables.circuits[0], is_dynamic=False, meter=-1)
    site = replace(tables.site, name="The loop alone")
    bare = replace(tables, site=site, buses=(), circuits=(main,), meters=(), chargers=(), maps={})
    return at_period(bare, period_ns)


def step_every_ns(period_ns: int) -> int:
    n_periods = max(STEP_PERIODS_MIN, -(-STEP_SETTLED_ns // period_ns))
    return n_periods * period_ns + period_ns * STEP_LATER[0] // STEP_LATER[1]


def building(period_ns: int) -> Load:
    """Calm at the bottom, then up step by step, over and over."""
    every_ns = step_every_ns(period_ns)
    calm = [LOW_mA] * max(1, CALM_ns // every_ns)
    climb = range(LOW_mA + STEP_mA, HIGH_mA + 1, STEP_mA)
    steps = tuple((mA, mA, mA) for mA in (*calm, *climb))
    return Load("steps", steps[0], every_ns=every_ns, steps=steps)


def story(tables: Tables) -> Scenario:
    visits = tuple(
        Visit(row.name, 0, take_mA=row.max_mA, follow_ns=FOLLOW_ns, rise_ns=FOLLOW_ns)
        for row in tables.chargers
    )
    loads = {tables.circuits[0].name: building(tables.site.period_ns)}
    return Scenario("timing", 1, loads, visits, logs_writes=True)
