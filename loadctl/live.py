"""A running site as commands tune it: its keys by name, what was asked for, what counts now.

Reads site file, tables, link and image in the runtime directory; judges a change by the rules of
the site file before anybody is asked. Changes nothing itself. Commands only, never the scan.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from hw.devices import DeviceMap, parse_map
from hw.toml_text import values_of
from loadctl import tables as plain
from loadctl.errors import CheckRefused, ConfigError, NotRunning, UsageError
from loadctl.image import Reader
from loadctl.link import Link
from loadctl.runtime import SiteDir
from loadctl.site.load import site_of
from loadctl.site.places import Places
from loadctl.site.problems import Problems, nearest
from loadctl.site.proof import prove
from loadctl.site.source import Source, read_source
from loadctl.tables import Tables
from loadctl.tuning import (
    CIRCUIT,
    FIRST_LIMIT,
    TUNING,
    Broken,
    Key,
    Layer,
    Rules,
    Slots,
    first_broken,
    fresh_layers,
    in_force,
    number_words,
)
from loadctl.units import N_PHASES

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Name:
    """A key as people write it, and its slots: three for the limits of a circuit, else one."""

    text: str
    key: Key
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LiveSite:
    site_dir: SiteDir
    tables: Tables
    maps: dict[str, DeviceMap]
    source: Source
    rules: Rules
    names: dict[str, Name]
    layers: dict[int, Layer]
    counts: list[int]  # in force, as the image says

    @property
    def slots(self) -> Slots:
        return self.rules.slots

    def find(self, text: str) -> Name:
        name = self.names.get(text)
        if name is None:
            meant = nearest(text, self.names)
            hint = f"the nearest is {meant}" if meant else "loadctl tune list names them"
            raise UsageError(f"there is no key {text!r}; {hint}")
        return name

    def fresh(self, changes: Mapping[int, int | None], until_ns: int | None) -> dict[int, Layer]:
        return fresh_layers(self.layers, changes.items(), until_ns)

    def judge(self, fresh: Mapping[int, Layer], now_ns: int) -> tuple[str, ...]:
        """CheckRefused with the bound that is broken; else what to know of the change."""
        layers = {**self.layers, **fresh}
        broken = first_broken(self.rules, layers, fresh, now_ns)
        if broken is not None:
            value = in_force(self.slots.site[broken.slot], layers.get(broken.slot, Layer()), now_ns)
            raise CheckRefused(self.broken_text(broken, value))
        lasting = {slot: Layer(live=layer.live) for slot, layer in layers.items()}
        self._judge_as_file(lasting, now_ns)
        return self._judge_as_file(layers, now_ns)

    def _judge_as_file(self, layers: Mapping[int, Layer], now_ns: int) -> tuple[str, ...]:
        """The whole way that a site file goes, with these values in it."""
        values = {}
        for slot, layer in layers.items():
            site = self.slots.site[slot]
            value = in_force(site, layer, now_ns)
            if value != site:
                values[slot] = value
        raw = self.with_values(values_of(self.source.text), values)
        problems = Problems("", Places())
        try:
            site = site_of(
                Path(self.source.path), self.source.text, raw, problems, self.tables.maps
            )
            prove(site.tables, site.maps).require()
        except (ConfigError, CheckRefused) as error:
            raise CheckRefused(error.lines[0]) from None  # the others say it of other phases
        return tuple(line for line in site.warnings if line.startswith("tuning."))

    def with_values(self, raw: dict[str, Any], values: Mapping[int, int]) -> dict[str, Any]:
        """A site file's values with these in their places; what a phase lacks is filled up."""
        raw = copy.deepcopy(raw)
        for name in self.names.values():
            if any(slot in values for slot in name.slots):
                numbers = [values.get(slot, self.slots.site[slot]) for slot in name.slots]
                table = raw.setdefault(name.key.table, {})
                if name.key.table != TUNING:
                    table = table[self._owner(name)]
                table[name.key.name] = file_value(name.key, numbers)
        return raw

    def _owner(self, name: Name) -> str:
        key, who = self.slots.place_of(name.slots[0])
        rows = self.tables.circuits if key.table == CIRCUIT else self.tables.chargers
        return rows[who].name

    def path(self, name: Name) -> tuple[str, ...]:
        """Where it stands in the site file."""
        if name.key.table == TUNING:
            return (TUNING, name.key.name)
        return (name.key.table, self._owner(name), name.key.name)

    def name_of(self, slot: int) -> Name:
        return next(name for name in self.names.values() if slot in name.slots)

    def broken_text(self, broken: Broken, value: int) -> str:
        """One line: what, value, bound, and why it is there."""
        name, key = self.name_of(broken.slot), self.slots.place_of(broken.slot)[0]
        phase = f" {key.label.rpartition(' ')[2]}" if len(name.slots) > 1 else ""
        is_low = value < broken.bound.least
        bound = broken.bound.least if is_low else broken.bound.most
        why = broken.bound.least_why if is_low else broken.bound.most_why
        if key.unit == "yes":
            return f"{name.text}: {number_words(key, value)}: {why}"
        side = "below" if is_low else "above"
        text = f"{name.text}{phase}: {amount(key, value)} is {side} {amount(key, bound)}"
        return f"{text}, {why}" if why else text


def open_live(site_dir: SiteDir) -> LiveSite:
    if not site_dir.is_locked():
        raise NotRunning(f"{site_dir.path.name}: not running")
    tables = plain.load_file(site_dir.tables)
    slots = Slots(tables)
    maps = {model: parse_map(raw, model) for model, raw in tables.maps.items()}
    rules = Rules(slots, maps)
    try:
        link = Link.open_readonly(site_dir.link)
        counts = counts_of(Reader(site_dir.image).snapshot())
    except FileNotFoundError:
        raise NotRunning(f"{site_dir.path.name}: is about to start") from None
    layers = {slot: Layer(live, timed, end_ns) for slot, live, timed, end_ns in link.tuned()}
    source = read_source(site_dir)
    return LiveSite(site_dir, tables, maps, source, rules, names_of(slots), layers, counts)


def names_of(slots: Slots) -> dict[str, Name]:
    """Every key of a site, in the order of its slots."""
    found = {}
    for slot in range(slots.n):
        key, who = slots.place_of(slot)
        if key.table == TUNING:
            text = f"{TUNING}.{key.name}"
        else:
            rows = slots.tables.circuits if key.table == CIRCUIT else slots.tables.chargers
            text = f"{key.table}.{rows[who].name}.{key.name}"
        phase = key.number - FIRST_LIMIT
        if not 0 < phase < N_PHASES:
            n = N_PHASES if phase == 0 else 1
            found[text] = Name(text, key, tuple(range(slot, slot + n)))
    return found


def counts_of(snapshot: Mapping[str, Any]) -> list[int]:
    """The values in force by slot, from the image."""
    tuning, circuits, chargers = (
        snapshot["site"]["tuning"],
        snapshot["circuits"],
        snapshot["chargers"],
    )
    return [
        *tuning.values(),
        *(
            value
            for row in circuits
            for value in (*row["live_limit_mA"], row["live_margin_mA"])
        ),
        *(
            row[field]
            for row in chargers
            for field in (
                "live_min_mA", "live_max_mA", "live_priority", "live_weight", "is_enabled",
                "live_never_pause",
            )
        ),
    ]  # fmt: skip


# numbers as people write them


def parse_values(name: Name, text: str) -> list[int]:
    """The numbers of one key: "10", for a limit also "10,10,16", true or false for a switch."""
    words = [word.strip() for word in text.strip().strip("[]").split(",")]
    if len(words) not in {1, len(name.slots)}:
        most = f", or {len(name.slots)} such as 10,10,16," if len(name.slots) > 1 else ""
        raise UsageError(f"{name.text}: {text!r}: one number{most} is meant")
    numbers = [parse_number(name, word) for word in words]
    return numbers * len(name.slots) if len(numbers) == 1 else numbers


def parse_number(name: Name, word: str) -> int:
    key = name.key
    if key.unit == "yes":
        if word.lower() not in (*YES, *NO):
            raise UsageError(f"{name.text}: {word!r} is neither true nor false")
        return int(word.lower() in YES)
    try:
        number = Decimal(word)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise UsageError(f"{name.text}: {word!r} is no number{_in_unit(key)}")
    # Far out of bounds in the larger unit already: there may be no number for the product.
    number = number * key.per_unit if -key.most <= number <= key.most else Decimal("Infinity")
    if key.per_unit == 1 and number.is_finite() and number.to_integral_value() != number:
        raise UsageError(f"{name.text}: {word!r} is no whole number")
    if not key.least <= number <= key.most:
        least, most = amount(key, key.least), amount(key, key.most)
        raise CheckRefused(f"{name.text}: {word} is not within {least} to {most}")
    return int(-(-number // 1)) if key.rounds_up else int(number // 1)


def _in_unit(key: Key) -> str:
    return {"s": " of seconds", "A": " of amps", "A/s": " of amps per second"}.get(key.unit, "")


def amount(key: Key, value: int) -> str:
    """A number with its unit."""
    return number_words(key, value) + ("" if key.unit in ("", "yes") else f" {key.unit}")


def amounts(key: Key, values: Sequence[int]) -> str:
    """One number where all phases are equal."""
    if len(set(values)) == 1:
        return amount(key, values[0])
    return ", ".join(number_words(key, value) for value in values) + f" {key.unit}"


def plain_value(key: Key, value: int) -> bool | int | float:
    """A value as TOML and JSON write it."""
    if key.unit == "yes":
        return bool(value)
    whole, rest = divmod(value, key.per_unit)
    return whole if not rest else float(Decimal(value) / key.per_unit)


def file_value(key: Key, values: Sequence[int]) -> Any:
    found = [plain_value(key, value) for value in values]
    return found[0] if len(set(values)) == 1 else found
