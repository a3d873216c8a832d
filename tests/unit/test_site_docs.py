"""The page on the site file says every key and bound that the models have; its examples pass."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadctl.cli.main import cli
from loadctl.site.model import NAMED_TABLES, SINGLE_TABLES, Table

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "site-file.md").read_text()
EXAMPLES = [p for p in sorted((DOCS / "examples").glob("*.toml")) if "snapshot" not in p.name]
TABLES = {**SINGLE_TABLES, **{f"{kind}.NAME": model for kind, model in NAMED_TABLES.items()}}


def rows_of(section: str) -> dict[str, str]:
    """The line of each key in the section of the page with this heading."""
    text = PAGE.partition(f"## [{section}]\n")[2].partition("\n## ")[0]
    rows = {}
    for line in re.findall(r"^\| `.*$", text, re.MULTILINE):
        first, _, rest = line.removeprefix("| ").partition(" | ")
        for key in re.findall(r"`(\w+)`", first):
            rows[key] = rest
    return rows


def bounds_of(schema: dict[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest number of a field, looking into lists and optional fields."""
    for part in (schema, *schema.get("anyOf", []), schema.get("items", {})):
        if "minimum" in part and "maximum" in part:
            return part["minimum"], part["maximum"]
    return None


@pytest.mark.parametrize("section", TABLES)
def test_docs_section_has_each_key_once_and_no_other(section: str) -> None:
    model: type[Table] = TABLES[section]
    assert list(rows_of(section)) == list(model.model_fields)


@pytest.mark.parametrize("section", TABLES)
def test_docs_bounds_and_defaults_are_those_of_the_models(section: str) -> None:
    rows = rows_of(section)
    schema = TABLES[section].model_json_schema()["properties"]
    shared = {"address"} if section == "charger.NAME" else set()
    for key, field in schema.items():
        bounds = bounds_of(field)
        if bounds is not None and key not in shared:
            assert rows[key].startswith(f"{bounds[0]:g} to {bounds[1]:.0f}"), key
        default = field.get("default")
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert rows[key].split(" | ")[1] == f"{default:g}", key


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_docs_example_passes_check(path: Path) -> None:
    result = CliRunner().invoke(cli, ["check", str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.output)["refusals"] == []


def test_docs_example_snapshot_is_answered() -> None:
    examples = DOCS / "examples"
    words = [str(examples / "two-floors.toml"), str(examples / "two-floors.snapshot.toml")]
    result = CliRunner().invoke(cli, ["whatif", *words, "--json"], catch_exceptions=False)
    chargers = json.loads(result.output)["chargers"]
    assert {name: charger["grant_A"] for name, charger in chargers.items()} == {
        "u1": 16.0,
        "u2": 16.0,
        "l1": 31.8,
        "l2": 0.0,
    }
