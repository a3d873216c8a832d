"""The reference of the site file as a page, made from the models: key, type, unit, default, bounds.

Owns the page docs/site-file-reference.md, which nobody writes by hand; `scripts/reference` does.
What the keys are for together is explained in docs/site-file.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from loadctl.site.model import NAMED_TABLES, SINGLE_TABLES, ExternalTable, FuseTable, Table

HEAD = """\
# Site file reference

Every key of a site file, made from the program by `scripts/reference`. What belongs together,
complete examples and what `loadctl check` makes of a file: [The site file](site-file.md).

*number, or three* is one number for all three phases, or a list of three for L1, L2, L3. A key
whose default is *required* must be there; *none* means that it may be left out. Keys and tables
that are not named here are refused.
"""
COLUMNS = ("key", "type", "unit", "default", "bounds", "meaning")
# By the end of a key; the longer one first.
UNITS = {"_A_per_s": "A/s", "_ms": "ms", "_kW": "kW", "_A": "A", "_V": "V", "_s": "s"}
INLINE: dict[str, type[Table]] = {"fuse": FuseTable, "external": ExternalTable}
TYPES = {"number": "number", "integer": "whole number", "boolean": "true, false", "string": "text"}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind, model in SINGLE_TABLES.items():
        parts += section(f"[{kind}]", model)
    for kind, model in NAMED_TABLES.items():
        parts += section(f"[{kind}.NAME]", model)
    for key, model in INLINE.items():
        parts += section(f"{key} = {{ ... }} of a circuit", model)
    return "\n".join(parts)


def section(title: str, model: type[Table]) -> list[str]:
    properties = model.model_json_schema()["properties"]
    lines = [f"## {title}", "", row(COLUMNS), row(["---"] * len(COLUMNS))]
    lines += [row(cells(key, properties[key], field)) for key, field in model.model_fields.items()]
    return [*lines, ""]


def row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def cells(key: str, schema: dict[str, Any], field: FieldInfo) -> list[str]:
    if not field.description:
        raise SystemExit(f"{key}: has no description in loadctl/site/model.py")
    meaning = " ".join(field.description.split())
    return [
        f"`{key}`",
        type_of(key, schema),
        unit_of(key),
        default_of(field),
        bounds_of(schema),
        meaning,
    ]


def parts_of(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema itself, or what stands beside null where the key is optional."""
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]


def type_of(key: str, schema: dict[str, Any]) -> str:
    (part,) = parts_of(schema)
    if key in INLINE:
        return "table, below"
    if "const" in part or "enum" in part:
        return quoted(part.get("enum", [part.get("const")]))
    if part["type"] != "array":
        return TYPES[part["type"]]
    if "enum" in part["items"]:
        return f"list of {quoted(part['items']['enum'])}"
    return "number, or three"


def quoted(words: list[str]) -> str:
    return ", ".join(f'`"{word}"`' for word in words)


def unit_of(key: str) -> str:
    return next((unit for end, unit in UNITS.items() if key.endswith(end)), "")


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return f"{field.default:g}"


def bounds_of(schema: dict[str, Any]) -> str:
    (part,) = parts_of(schema)
    inner = part.get("items", part)
    if "minimum" in inner and "maximum" in inner:
        return f"{inner['minimum']:g} to {inner['maximum']:g}".replace("1e+06", "1000000")
    if part.get("type") == "array":
        return f"{part['minItems']} to {part['maxItems']} entries, each once"
    return ""


def main(words: list[str]) -> int:
    """Write the page to the path given; with `--check` say 1 where it differs."""
    *options, path = words
    text = page()
    if options == ["--check"]:
        return int(not Path(path).exists() or Path(path).read_text() != text)
    Path(path).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
