"""The site as plain tables: what the site file is compiled to, once, before anything runs.

Scan, guard, plan and gate read these rows and nothing else; importing this module pulls in neither
pydantic nor click. Rows are in file order, circuits with every parent before its children.
Indices refer to these orders; -1 is "none". `dump` and `load` carry them to another process as
JSON, unchanged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass
from pathlib import Path

from loadctl.errors import LoadctlError

Phases = tuple[int, int, int]
Row = typing.TypeVar("Row")


@dataclass(frozen=True, slots=True)
class SiteRow:
    name: str
    period_ns: int
    missed_limit: int
    voltage_mV: int


@dataclass(frozen=True, slots=True)
class BusRow:
    name: str
    port: str
    baud: int
    frame: str
    turnaround_ns: int | None  # overrides of the maps
    timeout_ns: int | None
    has_echo: bool
    uses_rs485_mode: bool


@dataclass(frozen=True, slots=True)
class CircuitRow:
    name: str
    parent: int  # -1: the root
    limit_mA: Phases
    limit_W: int | None
    unbalance_mA: int | None
    margin_mA: int
    background_mA: Phases  # declared worst case
    is_dynamic: bool
    meter: int  # -1: none
    counts_export: bool
    fuse_type: str | None  # "gG", "B", "C", "D"
    fuse_rated_mA: int
    takes_external: bool = False  # limits from outside may lower those above
    loss_mA: Phases | None = None  # what counts without a command from outside that is in force
    loss_W: int | None = None
    loss_after_ns: int | None = None  # how long their source may be silent; None: for ever
    guaranteed_W: int | None = None  # EnWG 14a: power from outside is of chargers alone, and counts
    # at least so much


@dataclass(frozen=True, slots=True)
class MeterRow:
    name: str
    bus: int
    model: str
    address: int
    lag_ns: int


@dataclass(frozen=True, slots=True)
class ChargerRow:
    name: str
    bus: int
    model: str
    address: int
    connector: int  # 1 for the first
    circuit: int
    phases: tuple[int, ...]  # grid phase (0, 1, 2) on terminals 1, 2, 3; one entry: single-phase
    min_mA: int
    max_mA: int
    step_mA: int
    failsafe_mA: int
    fallback_mA: int  # what arming programs; the fixed value; rated_mA where there is no watchdog
    rated_mA: int
    priority: int
    weight: int
    never_pause: bool
    is_unprotected: bool
    is_unmeasured_accepted: bool
    is_isolated: bool  # switched off for good
    has_measured_current: bool
    hold_ns: int
    min_change_ns: int
    watchdog_ns: int | None  # None: the box has none
    watchdog_fed_by: str | None
    min_pause_ns: int = 0  # least time that the box wants between a pause and the next current
    is_enabled: bool = True  # may be given current at all
    draw_lag_ns: int = 0  # how old a measured current may be when it is answered


@dataclass(frozen=True, slots=True)
class Tuning:
    """Values of [tuning]; everything that can be changed while running."""

    peak_hold_ns: int
    raise_delay_ns: int
    ramp_mA_per_s: int
    deadband_mA: int
    trim_ns: int
    raise_every_ns: int
    meter_stale_ns: int
    soft_start_ns: int
    unused_ns: int
    wake_ns: int
    retry_ns: int
    car_follow_ns: int
    min_on_ns: int
    min_off_ns: int
    admit_margin_mA: int
    rotate_ns: int
    healthy_scans: int
    stagger_ns: int


@dataclass(frozen=True, slots=True)
class Tables:
    """`maps` holds the TOML of every map in use, as parsed, so that nothing is read twice;
    `site_hash` covers the site file and those maps."""

    site: SiteRow
    buses: tuple[BusRow, ...]
    circuits: tuple[CircuitRow, ...]
    meters: tuple[MeterRow, ...]
    chargers: tuple[ChargerRow, ...]
    tuning: Tuning
    maps: dict[str, dict[str, typing.Any]]
    site_hash: str


def dump(tables: Tables) -> str:
    return json.dumps(dataclasses.asdict(tables), sort_keys=True)


def load(text: str) -> Tables:
    raw = json.loads(text)
    return Tables(
        site=_row(SiteRow, raw["site"]),
        buses=tuple(_row(BusRow, row) for row in raw["buses"]),
        circuits=tuple(_row(CircuitRow, row) for row in raw["circuits"]),
        meters=tuple(_row(MeterRow, row) for row in raw["meters"]),
        chargers=tuple(_row(ChargerRow, row) for row in raw["chargers"]),
        tuning=_row(Tuning, raw["tuning"]),
        maps=raw["maps"],
        site_hash=raw["site_hash"],
    )


def load_file(path: Path) -> Tables:
    """What a site left in its runtime directory, which may be of a version with other rows."""
    try:
        return load(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise LoadctlError(f"{path}: is damaged ({error}); start the site anew") from error
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        words = str(error) or type(error).__name__
        raise LoadctlError(f"{path}: written by another version ({words})") from error


def _row(row_type: type[Row], raw: dict[str, typing.Any]) -> Row:
    """JSON knows no tuples: every list of a row was one."""
    return row_type(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})


def signed_hash(tables: Tables) -> int:
    """The hash of the site as image and records carry it: 64 bits with a sign."""
    value = int(tables.site_hash, 16)
    return value - (1 << 64) if value >> 63 else value


def hash_of(*parts: str) -> str:
    """Short identity of site file and maps, shown by status and check."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
