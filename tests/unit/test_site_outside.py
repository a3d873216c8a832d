"""Limits from outside in the site file: rows, the guaranteed minimum, what check says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadctl.cli.main import cli
from loadctl.site.enwg14a import minimum_W
from loadctl.site.outside import outside_lines, outside_warnings
from loadctl.tables import Tables, dump, load
from tests.support.site_files import changed, in_table, site_of, write_site

LOST = "external = { at_loss_A = [63, 0, 10.0009], at_loss_kW = 4.2, timeout_s = 60 }"


def tables_of(tmp_path: Path, words: str, *changes: tuple[str, str]) -> Tables:
    """The garage with these lines in [circuit.main]."""
    text = changed(("limit_A = 100\n", f"limit_A = 100\n{words}\n"), *changes)
    return site_of(tmp_path, text).tables


def test_outside_keys_become_their_fields(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, LOST)
    row = tables.circuits[0]
    assert row.takes_external
    assert row.loss_mA == (63_000, 0, 10_000)
    assert (row.loss_W, row.loss_after_ns, row.guaranteed_W) == (4_200, 60_000_000_000, None)
    assert not tables.circuits[1].takes_external
    assert load(dump(tables)) == tables


def test_outside_zero_is_zero_and_absent_is_none(tmp_path: Path) -> None:
    row = tables_of(tmp_path, "external = { at_loss_kW = 0 }").circuits[0]
    assert (row.loss_mA, row.loss_W, row.loss_after_ns) == (None, 0, None)


# BK6-22-300: 4.2 kW + (n - 1) x GZF x 4.2 kW
@pytest.mark.parametrize(
    ("n", "power_W"),
    [
        (0, 0), (1, 4_200), (2, 7_560), (3, 10_500), (4, 13_020), (5, 15_120), (6, 16_800),
        (7, 18_060), (8, 18_900), (9, 19_320), (10, 21_210), (50, 96_810),
    ],
)  # fmt: skip
def test_minimum_of_so_many_devices(n: int, power_W: int) -> None:
    assert minimum_W(n) == power_W


def test_guaranteed_minimum_counts_the_boxes_of_more_than_4200_W_below(tmp_path: Path) -> None:
    """bay1 takes 11 kW on three phases, bay2 7.36 kW on one."""
    words = "external = { at_loss_kW = 4.2 }\nenwg14a = true"
    assert tables_of(tmp_path, words).circuits[0].guaranteed_W == 7_560
    small = in_table(
        "charger.bay2",
        ("max_A = 32\nrated_A = 32", "max_A = 16\nrated_A = 16"),
        text=changed(("limit_A = 100\n", f"limit_A = 100\n{words}\n")),
    )
    assert site_of(tmp_path, small).tables.circuits[0].guaranteed_W == 4_200
    off = ("failsafe_A = 6", "failsafe_A = 6\nisolated = true")
    assert tables_of(tmp_path, words, off).circuits[0].guaranteed_W == 4_200


def test_guaranteed_minimum_counts_only_what_hangs_below_its_own_circuit(tmp_path: Path) -> None:
    words = "external = { at_loss_kW = 4.2 }\nenwg14a = true"
    text = changed(('parent = "main"\n', f'parent = "main"\n{words}\n'))
    moved = in_table("charger.bay2", ('circuit = "garage"', 'circuit = "main"'), text=text)
    assert site_of(tmp_path, moved).tables.circuits[1].guaranteed_W == 4_200


def test_check_says_what_counts_without_a_command(tmp_path: Path) -> None:
    assert outside_lines(tables_of(tmp_path, LOST)) == [
        "main: without a command 63 / 0 / 10 A and 4.2 kW; its source is lost after 60 s"
    ]
    words = "external = { at_loss_A = 10 }\nenwg14a = true"
    assert outside_lines(tables_of(tmp_path, words)) == [
        "main: without a command 10 A; its source may be silent for ever; EnWG 14a: kW of the"
        " chargers alone, a command counts at least 7.56 kW"
    ]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("at_loss_A = 15.9", "16 A on L2, above at_loss_A, 15.9 A"),
        ("at_loss_kW = 6.439", "6.44 kW, above at_loss_kW, 6.439 kW"),
    ],
)
def test_check_warns_of_fallbacks_above_what_counts_at_loss(
    tmp_path: Path, words: str, text: str
) -> None:
    tables = tables_of(tmp_path, f"external = {{ {words} }}")
    assert outside_warnings(tables) == [
        f"circuit.main.external: boxes that nobody talks to fall to {text}; no limit from outside"
        " reaches them then"
    ]


@pytest.mark.parametrize("words", ["at_loss_A = 16", "at_loss_kW = 6.44"])
def test_check_does_not_warn_of_fallbacks_that_fit(tmp_path: Path, words: str) -> None:
    assert outside_warnings(tables_of(tmp_path, f"external = {{ {words} }}")) == []


def test_check_prints_and_lists_limits_from_outside(tmp_path: Path) -> None:
    text = changed(("limit_A = 100\n", f"limit_A = 100\n{LOST}\n"))
    path = str(write_site(tmp_path, text))
    lines = CliRunner().invoke(cli, ["check", path]).output.splitlines()
    at = lines.index("Limits from outside")
    assert lines[at + 1].startswith("  main: without a command 63 / 0 / 10 A and 4.2 kW;")
    report = json.loads(CliRunner().invoke(cli, ["check", path, "--json"]).output)
    assert report["external"] == {
        "main": {
            "at_loss_A": [63.0, 0.0, 10.0],
            "at_loss_kW": 4.2,
            "timeout_s": 60.0,
            "guaranteed_kW": None,
        }
    }
    assert any(words.startswith("circuit.main.external: boxes") for words in report["warnings"])
