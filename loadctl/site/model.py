"""The site file as pydantic sees it: every key, its type and its bounds, one class per table.

Owns what one table can say by itself; what several tables must agree on is in `rules.py`. Amps,
seconds and milliseconds live here and end at `compile.py`. Only commands import it, never the scan.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from loadctl.units import N_PHASES

PhaseName = Literal["L1", "L2", "L3"]
Accept = Literal["accept"]

LEAST_LIMIT_A = 6  # IEC 61851-1 knows no current below it: a circuit that allows less feeds no car
MOST_A = 10_000
MOST_CHARGER_A = 1_000


def spread(value: object) -> object:
    """One number stands for all three phases."""
    return value if isinstance(value, list) else [value] * N_PHASES


LimitA = Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_A)]
LoadA = Annotated[float, Field(ge=0, le=MOST_A)]
ThreeLimitsA = Annotated[
    list[LimitA], BeforeValidator(spread), Field(min_length=N_PHASES, max_length=N_PHASES)
]
ThreeLoadsA = Annotated[
    list[LoadA], BeforeValidator(spread), Field(min_length=N_PHASES, max_length=N_PHASES)
]
Name = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,  # docs/site-file-reference.md is made of them
    )


class SiteTable(Table):
    name: Name
    """What people call the site."""
    period_ms: Annotated[int, Field(ge=50, le=2_000)] = 500
    """The period of the scan."""
    missed_limit: Annotated[int, Field(ge=2, le=20)] = 3
    """So many scans too late, and the site goes to its failsafe currents."""
    voltage_V: Annotated[float, Field(ge=100, le=300)] = 230
    """Phase to neutral; converts every kW."""


class BusTable(Table):
    port: Name
    """A path such as /dev/ttyUSB0, or any URL of pyserial: socket://10.0.0.7:4001 is RTU over
    TCP.
    """
    baud: Annotated[int, Field(ge=1_200, le=1_000_000)]
    """One speed for all: every device on the bus must take it."""
    frame: Literal["8N1", "8N2", "8E1", "8E2", "8O1", "8O2"]
    """Data bits, parity and stop bits; likewise for all."""
    turnaround_ms: Annotated[float, Field(ge=0, le=5_000)] | None = None
    """The longest time that a device here takes to begin its reply; else as the maps say."""
    timeout_ms: Annotated[float, Field(ge=1, le=5_000)] | None = None
    """When a reply that has not begun is given up, not below the turnaround; else as the maps
    say.
    """
    echo: bool = False
    """The adapter hears its own bytes."""
    rs485_mode: bool = False
    """Let the kernel switch the direction of the driver."""


class FuseTable(Table):
    type: Literal["gG", "B", "C", "D"]
    """Its characteristic."""
    rated_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_A)]
    """Its rating; for the thermal model and the warnings of check."""


class ExternalTable(Table):
    """What counts while no command from outside does: one of the first two at least."""

    at_loss_A: ThreeLoadsA | None = None
    """What counts while no command does, per phase; one of the two must be there."""
    at_loss_kW: Annotated[float, Field(ge=0, le=MOST_A)] | None = None
    """Likewise, as power; of the chargers alone with `enwg14a`."""
    timeout_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """The source is lost when it was not heard for so long; without it, never."""


class CircuitTable(Table):
    parent: Name | None = None
    """The circuit that feeds this one; the root has none."""
    limit_A: ThreeLimitsA
    """What it may carry, per phase; not above the rating of its fuse."""
    limit_kW: Annotated[float, Field(ge=1, le=MOST_A)] | None = None
    """Most total power, at `voltage_V`."""
    fuse: FuseTable | None = None
    """Figures of its fuse."""
    unbalance_A: Annotated[float, Field(ge=0, le=MOST_A)] | None = None
    """For any two phases: what chargers that use the one and not the other may sum to."""
    mode: Literal["static", "dynamic"]
    """static: the declared background is subtracted. dynamic: what the meter says."""
    meter: Name | None = None
    """The meter that measures this circuit and only this one; needed when dynamic."""
    background_A: ThreeLoadsA
    """Worst case of all that is not a charger behind this circuit, sub-circuits included, per
    phase.
    """
    margin_A: Annotated[float, Field(ge=0, le=MOST_A)] = 0
    """Kept free."""
    counts_export: bool = False
    """What flows back to the grid makes room for charging; needs a meter with signed power."""
    external: ExternalTable | None = None
    """Limits from outside are taken here, and what counts without one."""
    enwg14a: bool = False
    """German EnWG 14a: kW from outside are of the chargers alone, with a guaranteed minimum."""


class MeterTable(Table):
    bus: Name
    """The bus that it is on."""
    model: Name
    """A meter of `loadctl devices`."""
    address: Annotated[int, Field(ge=1, le=255)]
    """One address of a bus is one device; as the model allows."""


class ChargerTable(Table):
    bus: Name
    """The bus that it is on."""
    model: Name
    """A charger of `loadctl devices`."""
    address: Annotated[int, Field(ge=1, le=255)]
    """One address of a bus is one device; as the model allows."""
    connector: Annotated[int, Field(ge=1, le=16)] = 1
    """The outlet, where a charger has several on one address."""
    circuit: Name
    """The circuit that it hangs on."""
    phases: Annotated[list[PhaseName], Field(min_length=1, max_length=N_PHASES)]
    """The grid phase on terminals 1, 2, 3; one entry for a single-phase box."""
    min_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)]
    """The least that it charges with, on a step that the model takes."""
    max_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)]
    """The most that it is ever told; likewise, and not above its rating."""
    failsafe_A: Annotated[float, Field(ge=0, le=MOST_CHARGER_A)]
    """What it is brought down to when the controller cannot vouch for more: 0, or at least
    `min_A`.
    """
    rated_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)] | None = None
    """What its hardware can draw whatever it is told; else as the map says."""
    priority: Annotated[int, Field(ge=-1_000, le=1_000)] = 0
    """Higher is served first."""
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Its share beside others of its priority."""
    never_pause: bool = False
    """Keeps its minimum before all others; `failsafe_A` must then be at least `min_A`."""
    enable: bool = True
    """false: it is given no current, and is still armed and counted."""
    unprotected: Accept | None = None
    """Run it although it has no watchdog of its own."""
    unmeasured: Accept | None = None
    """Run it below a dynamic circuit although it measures no current and has no sub-meter."""
    isolated: bool = False
    """Switched off for good: counts nothing, is never talked to."""


class TuningTable(Table):
    peak_hold_s: Annotated[float, Field(ge=1, le=600)] = 10
    """How long a peak of the building keeps room; floor: status age, lags, follow time."""
    raise_delay_s: Annotated[float, Field(ge=0, le=3_600)] = 15
    """No raise on a circuit phase for so long after a cut, and at least while peaks are held."""
    ramp_A_per_s: Annotated[float, Field(ge=0.1, le=100)] = 2
    """How fast setpoints rise."""
    deadband_A: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Smaller raises wait for `trim_s`."""
    trim_s: Annotated[float, Field(ge=0, le=3_600)] = 60
    """How long smaller raises wait."""
    raise_every_s: Annotated[float, Field(ge=0, le=3_600)] = 5
    """At most one raise per charger in this time."""
    meter_stale_s: Annotated[float, Field(ge=0.1, le=60)] = 3
    """A meter silent or implausible for so long makes its circuit static; floor: two periods."""
    soft_start_s: Annotated[float, Field(ge=0, le=600)] = 40
    """A session starts at its minimum for so long."""
    unused_s: Annotated[float, Field(ge=5, le=3_600)] = 60
    """Current that is not used for so long is shared again."""
    wake_s: Annotated[float, Field(ge=5, le=3_600)] = 120
    """A car that does not draw for so long is done."""
    retry_s: Annotated[float, Field(ge=5, le=86_400)] = 1_800
    """How often a car that is done is asked again."""
    car_follow_s: Annotated[float, Field(ge=5, le=60)] = 6
    """How long a car may take to obey; the hold of the box is added."""
    min_on_s: Annotated[float, Field(ge=0, le=86_400)] = 300
    """A running session keeps its place for so long."""
    min_off_s: Annotated[float, Field(ge=0, le=86_400)] = 300
    """A paused one comes back no sooner; floor: what the maps want."""
    admit_margin_A: Annotated[float, Field(ge=0, le=100)] = 1
    """And only where so much more than its minimum fits."""
    rotate_s: Annotated[float, Field(ge=5, le=86_400)] = 1_800
    """When not all can be served, places change hands so often."""
    healthy_scans: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Good scans in a row before the site leaves failsafe."""
    stagger_s: Annotated[float, Field(ge=0, le=1_800)] = 10
    """Within this time after a start each charger leaves failsafe at its own moment."""


# The tables of a file. Those that stand in TOML as [kind.NAME] hold one such table per name.
SINGLE_TABLES: dict[str, type[Table]] = {"site": SiteTable, "tuning": TuningTable}
NAMED_TABLES: dict[str, type[Table]] = {
    "bus": BusTable,
    "circuit": CircuitTable,
    "meter": MeterTable,
    "charger": ChargerTable,
}
