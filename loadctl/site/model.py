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
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class SiteTable(Table):
    name: Name
    period_ms: Annotated[int, Field(ge=50, le=2_000)] = 500
    missed_limit: Annotated[int, Field(ge=2, le=20)] = 3
    voltage_V: Annotated[float, Field(ge=100, le=300)] = 230


class BusTable(Table):
    port: Name
    baud: Annotated[int, Field(ge=1_200, le=1_000_000)]
    frame: Literal["8N1", "8N2", "8E1", "8E2", "8O1", "8O2"]
    turnaround_ms: Annotated[float, Field(ge=0, le=5_000)] | None = None
    timeout_ms: Annotated[float, Field(ge=1, le=5_000)] | None = None
    echo: bool = False  # the adapter hears its own bytes
    rs485_mode: bool = False  # let the kernel switch the direction of the driver


class FuseTable(Table):
    type: Literal["gG", "B", "C", "D"]
    rated_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_A)]


class ExternalTable(Table):
    """What counts while no command from outside does: one of the first two at least."""

    at_loss_A: ThreeLoadsA | None = None
    at_loss_kW: Annotated[float, Field(ge=0, le=MOST_A)] | None = None
    timeout_s: Annotated[float, Field(ge=1, le=86_400)] | None = None  # None: is never lost


class CircuitTable(Table):
    parent: Name | None = None
    limit_A: ThreeLimitsA
    limit_kW: Annotated[float, Field(ge=1, le=MOST_A)] | None = None
    fuse: FuseTable | None = None
    unbalance_A: Annotated[float, Field(ge=0, le=MOST_A)] | None = None
    mode: Literal["static", "dynamic"]
    meter: Name | None = None
    background_A: ThreeLoadsA
    margin_A: Annotated[float, Field(ge=0, le=MOST_A)] = 0
    counts_export: bool = False  # let what flows back to the grid make room for charging
    external: ExternalTable | None = None  # limits from outside are taken, and lower its own
    enwg14a: bool = False  # their kW are of the chargers alone, with a guaranteed minimum


class MeterTable(Table):
    bus: Name
    model: Name
    address: Annotated[int, Field(ge=1, le=255)]


class ChargerTable(Table):
    bus: Name
    model: Name
    address: Annotated[int, Field(ge=1, le=255)]
    connector: Annotated[int, Field(ge=1, le=16)] = 1
    circuit: Name
    phases: Annotated[list[PhaseName], Field(min_length=1, max_length=N_PHASES)]
    min_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)]
    max_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)]
    failsafe_A: Annotated[float, Field(ge=0, le=MOST_CHARGER_A)]
    rated_A: Annotated[float, Field(ge=LEAST_LIMIT_A, le=MOST_CHARGER_A)] | None = None
    priority: Annotated[int, Field(ge=-1_000, le=1_000)] = 0
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1
    never_pause: bool = False
    enable: bool = True  # false: armed and counted, and given nothing
    unprotected: Accept | None = None
    unmeasured: Accept | None = None
    isolated: bool = False


class TuningTable(Table):
    peak_hold_s: Annotated[float, Field(ge=1, le=600)] = 10
    raise_delay_s: Annotated[float, Field(ge=0, le=3_600)] = 15
    ramp_A_per_s: Annotated[float, Field(ge=0.1, le=100)] = 2
    deadband_A: Annotated[float, Field(ge=0, le=10)] = 0.5
    trim_s: Annotated[float, Field(ge=0, le=3_600)] = 60
    raise_every_s: Annotated[float, Field(ge=0, le=3_600)] = 5
    meter_stale_s: Annotated[float, Field(ge=0.1, le=60)] = 3
    soft_start_s: Annotated[float, Field(ge=0, le=600)] = 40
    unused_s: Annotated[float, Field(ge=5, le=3_600)] = 60
    wake_s: Annotated[float, Field(ge=5, le=3_600)] = 120
    retry_s: Annotated[float, Field(ge=5, le=86_400)] = 1_800
    car_follow_s: Annotated[float, Field(ge=5, le=60)] = 6
    min_on_s: Annotated[float, Field(ge=0, le=86_400)] = 300
    min_off_s: Annotated[float, Field(ge=0, le=86_400)] = 300
    admit_margin_A: Annotated[float, Field(ge=0, le=100)] = 1
    rotate_s: Annotated[float, Field(ge=5, le=86_400)] = 1_800
    healthy_scans: Annotated[int, Field(ge=1, le=10_000)] = 10
    stagger_s: Annotated[float, Field(ge=0, le=1_800)] = 10


# The tables of a file. Those that stand in TOML as [kind.NAME] hold one such table per name.
SINGLE_TABLES: dict[str, type[Table]] = {"site": SiteTable, "tuning": TuningTable}
NAMED_TABLES: dict[str, type[Table]] = {
    "bus": BusTable,
    "circuit": CircuitTable,
    "meter": MeterTable,
    "charger": ChargerTable,
}
