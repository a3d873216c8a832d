"""Other values for a replay: `tuning.x=y` checked as the site file would be, and put into tables.

Owns which keys can be asked for. A value below the floor of the site is refused, as it would be
refused while running. Commands only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from loadctl.errors import ConfigError, UsageError
from loadctl.site.compile import floors, tuning_row_of
from loadctl.site.model import TuningTable
from loadctl.site.places import find_places
from loadctl.site.problems import Problems, unknown_key_text, validate
from loadctl.tables import Tables
from loadctl.units import NS_PER_S

TUNING = "tuning."


def changed(tables: Tables, settings: Sequence[str]) -> Tables:
    """The same site with these values."""
    values: dict[str, object] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.startswith(TUNING):
            raise UsageError(f"--set {setting}: write tuning.KEY=VALUE")
        name = key.removeprefix(TUNING)
        if name not in TuningTable.model_fields:
            known = list(TuningTable.model_fields)
            raise UsageError(f"--set {key}: {unknown_key_text(name, known)}")
        values[name] = _number(key, text)
    table = _checked(values)
    row = tuning_row_of(table)
    names = {row_name(name) for name in values}
    tuning = dataclasses.replace(tables.tuning, **{name: getattr(row, name) for name in names})
    result = dataclasses.replace(tables, tuning=tuning)
    _check_floors(result, names)
    return result


def row_name(key: str) -> str:
    """The field of the plain row that a key of [tuning] becomes."""
    if key.endswith("_A") or "_A_per" in key:
        return key.replace("_A", "_mA")
    return f"{key[:-2]}_ns" if key.endswith("_s") else key


def _number(key: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--set {key}: {text!r} is no number") from None


def _checked(values: dict[str, object]) -> TuningTable:
    problems = Problems("--set", find_places(""))
    table = validate(TuningTable, values, ("tuning",), problems, "[tuning]")
    try:
        problems.raise_if_any()
    except ConfigError as error:
        raise UsageError("\n".join(error.lines)) from None
    assert table is not None, "a table that is None left a problem"
    return table


def _check_floors(tables: Tables, names: set[str]) -> None:
    for floor in floors(tables):
        value_ns = getattr(tables.tuning, floor.field)
        if floor.field in names and value_ns < floor.least_ns:
            raise UsageError(
                f"--set tuning.{floor.key}: {value_ns / NS_PER_S:g} s is below"
                f" {floor.least_ns / NS_PER_S:g} s: {floor.why}"
            )
