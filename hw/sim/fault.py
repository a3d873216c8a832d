"""One fault of a simulated site, and what kinds of faults there are.

Owns the words: kinds, whom they may strike, which values they take and their bounds. Plain frozen
data that goes to other processes as JSON. What a fault does is written in `hw/sim/troubles.py`;
files of faults are read by `hw/sim/fault_file.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loadctl.errors import ConfigError
from loadctl.units import NS_PER_MS

if TYPE_CHECKING:
    from loadctl.tables import Tables

BUS, METER, CHARGER = "bus", "meter", "charger"


@dataclass(frozen=True, slots=True)
class Kind:
    """`forms`: variants of the kind, the usual one first. `values`: fields of Fault that it uses
    beside `at_ns` and `for_ns`."""

    strikes: tuple[str, ...]
    forms: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


ALL = (BUS, METER, CHARGER)
KINDS = {
    # on the line, by exchange
    "silence": Kind(ALL, ("deaf", "mute"), ("share_percent",)),
    "crc": Kind(ALL, (), ("share_percent",)),
    "late": Kind(ALL, (), ("share_percent", "late_ns")),
    "foreign": Kind(ALL, ("address", "function", "count"), ("share_percent",)),
    "noise": Kind(ALL, ("before", "instead"), ("share_percent",)),
    # the line itself
    "babble": Kind((BUS,), (), ("every_ns",)),
    "unplug": Kind((BUS,)),
    # what a meter answers
    "frozen": Kind((METER,)),
    "nan": Kind((METER,)),
    "all_ones": Kind((METER,)),
    "phase_missing": Kind((METER,), (), ("phase",)),
    "voltage": Kind((METER,), (), ("phase", "voltage_mV")),
    # what a charger does
    "reboot": Kind((CHARGER,), (), ("setpoint_mA", "fallback_mA", "watchdog_ns")),
    "refuse": Kind((CHARGER,), (), ("exception",)),
    "ignore": Kind((CHARGER,), ("setpoint", "all")),
}
MOST_ns = 7 * 24 * 3600 * 1000 * NS_PER_MS
BOUNDS: dict[str, tuple[int, int]] = {
    "at_ns": (0, MOST_ns),
    "for_ns": (0, MOST_ns),
    "share_percent": (1, 100),
    "late_ns": (NS_PER_MS, 60_000 * NS_PER_MS),
    "every_ns": (10 * NS_PER_MS, 60_000 * NS_PER_MS),
    "phase": (0, 2),
    "voltage_mV": (0, 1_000_000),
    "setpoint_mA": (0, 200_000),
    "fallback_mA": (0, 200_000),
    "watchdog_ns": (0, 3_600_000 * NS_PER_MS),
    "exception": (1, 255),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`who`: "bus.NAME" (then everybody on it), "meter.NAME" or "charger.NAME" (all outlets of the
    box, but for ignore). `for_ns` None: until cleared; a reboot then takes no time at all.
    `at_ns` counts from the start of the scenario, of a fault that is injected from that moment."""

    kind: str
    who: str
    for_ns: int | None = None
    at_ns: int = 0
    form: str = ""  # "": the usual one
    share_percent: int = 100  # of the exchanges
    late_ns: int = 500 * NS_PER_MS  # a reply begins this much after its time
    every_ns: int = 50 * NS_PER_MS  # from burst to burst
    phase: int | None = None  # 0, 1, 2; None: L1 is missing, all have that voltage
    voltage_mV: int = 500_000
    exception: int = 4
    setpoint_mA: int | None = None  # what a box starts with; None: as at the start of the scenario
    fallback_mA: int | None = None  # None: as it left the factory
    watchdog_ns: int | None = None

    @property
    def form_or_usual(self) -> str:
        forms = KINDS[self.kind].forms
        return self.form or (forms[0] if forms else "")

    def to_plain(self) -> dict[str, Any]:
        """Only what differs from the usual."""
        plain = dataclasses.asdict(self)
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        return {key: value for key, value in plain.items() if value != usual[key]}


def who_kind(who: str) -> str:
    return who.split(".", 1)[0]


def names_of(tables: Tables) -> dict[str, int]:
    """Everybody that a fault may strike, with the row of the bus that it is on."""
    names = {f"{BUS}.{bus.name}": i for i, bus in enumerate(tables.buses)}
    names |= {f"{METER}.{meter.name}": meter.bus for meter in tables.meters}
    return names | {f"{CHARGER}.{charger.name}": charger.bus for charger in tables.chargers}


def problems_of(fault: Fault, names: dict[str, int]) -> Iterator[tuple[str, str]]:
    """What is wrong with a fault: the field, and words for it."""
    kind = KINDS.get(fault.kind)
    if kind is None:
        yield "kind", f'"{fault.kind}" is no kind of fault; known: {", ".join(KINDS)}'
        return
    if fault.who not in names:
        yield "who", f'there is no "{fault.who}" on this site; known: {", ".join(names)}'
    elif who_kind(fault.who) not in kind.strikes:
        yield "who", f'"{fault.who}" cannot have {fault.kind}; only a {" or ".join(kind.strikes)}'
    if fault.form and fault.form not in kind.forms:
        known = f"known: {', '.join(kind.forms)}" if kind.forms else "this kind has none"
        yield "form", f'"{fault.form}" is no form of {fault.kind}; {known}'
    for field, (low, high) in BOUNDS.items():
        value = getattr(fault, field)
        if value is not None and not low <= value <= high:
            yield field, f"{value} is outside {low} to {high}"


def bus_of(who: str, tables: Tables) -> int:
    """The row of the bus that somebody is on; ConfigError where there is no such one."""
    names = names_of(tables)
    if who not in names:
        raise ConfigError(f'there is no "{who}" on this site; known: {", ".join(names)}')
    return names[who]


def check(fault: Fault, tables: Tables) -> int:
    """The row of the bus that a fault is on; ConfigError with one line for everything wrong."""
    names = names_of(tables)
    lines = [f"fault.{field}: {words}" for field, words in problems_of(fault, names)]
    if lines:
        raise ConfigError(*lines)
    return names[fault.who]
