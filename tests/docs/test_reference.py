"""The reference of the site file is that of the models, and what it says is true."""

from pydantic import ValidationError

from loadctl.site.model import NAMED_TABLES, SINGLE_TABLES, ChargerTable, TuningTable
from tests.support import site_reference
from tests.support.pages import ROOT

PAGE = ROOT / "docs/site-file-reference.md"


def test_the_reference_is_fresh() -> None:
    """Else `scripts/reference` writes it anew."""
    assert PAGE.read_text() == site_reference.page()
    assert site_reference.main(["--check", str(PAGE)]) == 0


def test_the_reference_names_every_key_of_every_table_once() -> None:
    page = PAGE.read_text()
    for kind, model in {**SINGLE_TABLES, **NAMED_TABLES}.items():
        title = f"## [{kind}]\n" if kind in SINGLE_TABLES else f"## [{kind}.NAME]\n"
        section = page.partition(title)[2].partition("\n## ")[0]
        keys = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert keys == list(model.model_fields)


def test_the_reference_says_unit_default_and_bounds() -> None:
    rows = {
        line.split("`")[1]: [cell.strip() for cell in line.split("|")[2:-2]]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| `")
    }
    assert rows["ramp_A_per_s"] == ["number", "A/s", "2", "0.1 to 100"]
    assert rows["phases"] == [
        'list of `"L1"`, `"L2"`, `"L3"`',
        "",
        "required",
        "1 to 3 entries, each once",
    ]
    assert rows["at_loss_A"] == ["number, or three", "A", "none", "0 to 10000"]
    assert rows["baud"] == ["whole number", "", "required", "1200 to 1000000"]
    assert rows["never_pause"] == ["true, false", "", "false", ""]


def test_a_value_past_a_bound_of_the_reference_is_refused() -> None:
    TuningTable(ramp_A_per_s=100)
    for value in (0.09, 100.1):
        try:
            TuningTable(ramp_A_per_s=value)
        except ValidationError:
            continue
        raise AssertionError(value)
    assert ChargerTable.model_fields["phases"].is_required()
