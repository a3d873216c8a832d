"""Broken rules of a TOML file, in words: one line each with file, line, path, value and bound.

Owns the wording. Collects everything that is wrong instead of stopping at the first; what pydantic
says about a table is translated here. Used for the site file and for the snapshots of `whatif`.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
import typing
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hw import toml_text
from loadctl.errors import ConfigError
from loadctl.site.places import Path, Places, find_places
from loadctl.units import N_PHASES, PHASE_NAMES

UNIT_WORDS = {
    "A": "amps",
    "kW": "kilowatts",
    "V": "volts",
    "s": "seconds",
    "ms": "milliseconds",
    "A_per_s": "amps per second",
}
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
UNIT = re.compile(r"_(A_per_s|kW|ms|A|V|s)$")
PLACE_IN_TOML_ERROR = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
NUMBER_WITH_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(A|kW|V|s|ms)?\s*", re.IGNORECASE)

HUGE = 10**15  # no bound is near

LAST_LINE = 1 << 30  # what has no place in the file is told last

Model = typing.TypeVar("Model", bound=BaseModel)


class Problems:
    """What is wrong with one file, in the order of its lines."""

    def __init__(self, file: str, places: Places) -> None:
        self.file = file
        self.places = places
        self.found: list[tuple[int, str]] = []

    def add(self, path: Path, text: str) -> None:
        line = self.places.line_of(path)
        where = self.file if line is None else f"{self.file}:{line}"
        parts = [where] if self.file else []  # no file: what is judged is written in none
        words = ": ".join([*parts, path_text(path), text])
        self.found.append((line or LAST_LINE, words))

    def raise_if_any(self) -> None:
        """Stop with every line, sorted by place and each only once."""
        if self.found:
            lines = [text for _, text in sorted(self.found, key=lambda item: item[0])]
            raise ConfigError(*dict.fromkeys(lines))


def read_toml(path: FilePath) -> tuple[str, dict[str, Any], Problems]:
    """Text, values and an empty list of problems of a TOML file; a file that is none is refused."""
    text = toml_text.read_text(path)
    places = find_places(text)
    problems = Problems(str(path), places)
    try:
        return text, toml_text.values_of(text), problems
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_toml_error_text(path, text, places, str(error))) from None
    except ValueError:
        for line, words in toml_text.long_numbers(text):
            problems.add(places.path_at(line), words)
        problems.raise_if_any()
        raise
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables nested too deeply") from None


def validate(
    model: type[Model], raw: object, path: Path, problems: Problems, example: str
) -> Model | None:
    """One table as its model, or None with what is wrong added to the problems."""
    if not isinstance(raw, dict):
        problems.add(path, f"{shown(raw)} is no table; write it as {example}")
        return None
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for item_path, text in _in_words(error.errors(include_url=False), raw, model):
            problems.add((*path, *item_path), text)
        return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, whatever its case."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.55)
    return by_lower[close[0]] if close else None


def unknown_key_text(key: str, known: Iterable[str]) -> str:
    names = list(known)
    meant = nearest(key, names)
    if meant is None:
        return f"no such key; known here: {', '.join(names)}"
    unit = UNIT.search(meant)
    in_unit = f", in {UNIT_WORDS[unit[1]]}" if unit else ""
    return f"no such key; the nearest is {meant}{in_unit}"


def unknown_name_text(kind: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if not names:
        return f"there is no {kind} {quoted(name)}; the file has no {kind} at all"
    meant = nearest(name, names)
    if meant is None:
        return f"there is no {kind} {quoted(name)}; known: {', '.join(names)}"
    return f"there is no {kind} {quoted(name)}; the nearest is {quoted(meant)}"


def path_text(path: Path) -> str:
    """A path as TOML writes it: a name that is no bare key stands in quotes."""
    parts = [str(part) for part in path]
    return ".".join(part if BARE_KEY.fullmatch(part) else quoted(part) for part in parts)


def number_text(value: float | int | Decimal) -> str:
    """A number as a person writes it: no exponent, no trailing zeros; the first digits of one that
    nobody means."""
    if value >= HUGE or value <= -HUGE:
        return f"{value:g}" if isinstance(value, float) else f"{Decimal(value):f}"[:12] + "..."
    text = f"{Decimal(str(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quoted(text: str) -> str:
    """Text in quotes, on one line and harmless to a terminal whatever it holds."""
    inside = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in inside)


def shown(value: object) -> str:
    """A value as it looks in TOML, cut to a readable length."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value if len(value) <= 40 else f"{value[:37]}...")
    if isinstance(value, int | float):
        return number_text(value)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "a table" if isinstance(value, dict) else str(value)


def _toml_error_text(path: FilePath, text: str, places: Places, message: str) -> str:
    match = PLACE_IN_TOML_ERROR.search(message)
    if match is None:
        return f"{path}: {message}"
    if places.repeated and ("twice" in message or "overwrite" in message):
        name, line = places.repeated[0]
        first = places.lines[name]
        return f"{path}:{line}: {path_text(name)}: is there already, in line {first}"
    what = message[: match.start()]
    what = what[0].lower() + what[1:]
    if match[1] is None:
        return f"{path}:{len(text.splitlines())}: not TOML: {what}, at the end of the file"
    return f"{path}:{match[1]}: not TOML: {what}, at column {match[2]}"


def _in_words(
    details: list[ErrorDetails], raw: dict[str, Any], model: type[BaseModel]
) -> list[tuple[Path, str]]:
    """Path and text of each finding. A key that is missing because it stands there misspelt is
    one mistake, not two, and one number for three phases is one mistake, not three."""
    misspelt = {
        (*item["loc"][:-1], nearest(str(item["loc"][-1]), _keys_at(model, item["loc"][:-1])))
        for item in details
        if item["type"] == "extra_forbidden"
    }
    found: list[tuple[Path, str]] = []
    for item in details:
        path: Path = item["loc"]
        if item["type"] == "missing" and path in misspelt:
            continue
        text = _finding_text(item, model)
        if isinstance(path[-1], int):
            if isinstance(item["input"], int | float) and isinstance(_at(raw, path[:-1]), list):
                text = f"{PHASE_NAMES[path[-1] % N_PHASES]}: {text}"
            path = path[:-1]
        found.append((path, text))
    return found


def _at(raw: object, path: Path) -> object:
    """What stands there in the file, inside tables of tables."""
    for part in path:
        raw = raw[part] if isinstance(raw, dict) else None
    return raw


def _finding_text(item: ErrorDetails, model: type[BaseModel]) -> str:
    path = item["loc"]
    key = next(str(part) for part in reversed(path) if not isinstance(part, int))
    unit = UNIT.search(key)
    in_unit = f" {unit[1].replace('_per_', '/')}" if unit else ""
    value = shown(item["input"])
    bounds = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return unknown_key_text(key, _keys_at(model, path[:-1]))
        case "missing":
            return "missing"
        case "greater_than_equal":
            return f"{value}{in_unit} is below {number_text(bounds['ge'])}{in_unit}"
        case "less_than_equal":
            return f"{value}{in_unit} is above {number_text(bounds['le'])}{in_unit}"
        case "float_type" | "int_type" | "finite_number":
            return _no_number_text(item["input"], key, is_whole=item["type"] == "int_type")
        case "string_type":
            return f'{value} is no text; write {key} = "..."'
        case "string_too_short":
            return "is empty"
        case "bool_type":
            return f"{value} is neither true nor false"
        case "literal_error":
            expected = bounds["expected"].replace(chr(39), chr(34))
            among = "one of " if " or " in expected else ""
            return f"{value} is not {among}{expected}"
        case "list_type":
            return f"{value} is no list; write {key} = [...]"
        case "too_short" | "too_long":
            return _length_text(bounds)
        case "model_type":
            return f"{value} is no table; write {key} = {{ ... }}"
    return f"{value}: {item['msg']}"


def _no_number_text(value: object, key: str, *, is_whole: bool) -> str:
    if isinstance(value, float):
        return f"{value} is no whole number" if is_whole else f"{value} is no number to count with"
    if (
        isinstance(value, int) and abs(value) >= HUGE
    ):  # so large that it does not fit a float either
        return f"{shown(value)} is too large to count with"
    wanted = "whole number" if is_whole else "number"
    unit = UNIT.search(key)
    of_unit = f" of {UNIT_WORDS[unit[1]]}" if unit else ""
    text = f"{shown(value)} is no {wanted}{of_unit}"
    match = NUMBER_WITH_UNIT.fullmatch(value) if isinstance(value, str) else None
    fits = (
        match is not None and unit is not None and (match[2] or unit[1]).lower() == unit[1].lower()
    )
    return f"{text}; write {key} = {match[1]}" if match is not None and fits else text


def _length_text(bounds: dict[str, Any]) -> str:
    n_entries = bounds["actual_length"]
    if bounds.get("min_length") == N_PHASES:
        return f"{n_entries} numbers; write one for all phases, or three for L1, L2, L3"
    return f"{n_entries} entries; write one to {N_PHASES}"


def _keys_at(model: type[BaseModel], table: Path) -> list[str]:
    """The keys that a table inside a model may have."""
    for part in table:
        annotation = model.model_fields[str(part)].annotation
        model = next(
            kind
            for kind in (annotation, *typing.get_args(annotation))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return list(model.model_fields)
