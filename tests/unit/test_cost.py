"""What a site costs in processor time: sums exactly, and that something is measured."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadctl import cost
from loadctl.cli.check import busy_warnings, cost_lines
from loadctl.cli.main import cli
from loadctl.plan import make_plan
from tests.support.builders import make_charger, make_meter, make_tables, maps_of
from tests.support.descriptors import came_since, open_descriptors
from tests.support.site_files import GARAGE, write_site

SPENT = cost.Cost(exchange_us=500.0, exchanges_per_s=33.0, scan_us=1_000.0, scans_per_s=2.0)


def test_cost_adds_exchanges_and_scans_to_a_share_of_one_core() -> None:
    assert SPENT.percent == pytest.approx(100 * (33 * 0.0005 + 2 * 0.001))


def test_cost_counts_meters_statuses_setpoints_and_heartbeats_of_each_scan() -> None:
    chargers = [
        make_charger("one"),
        make_charger("two", address=3, is_isolated=True),
        make_charger("kicked", "mennekes-amtron-compact2", address=4),
    ]
    tables = make_tables(chargers=chargers, meters=[make_meter()], period_ms=500)
    kicked = maps_of(tables)["mennekes-amtron-compact2"]
    per_scan = 1 + 2 + bool(kicked.blocks) + 2
    assert cost.exchange_rate(tables, maps_of(tables)) == 2 * per_scan


def test_cost_of_a_site_is_measured_here() -> None:
    tables = make_tables(8)
    spent = cost.measure(tables, maps_of(tables), make_plan(tables, maps_of(tables)))
    assert spent is not None
    assert spent.exchange_us > 1
    assert spent.scan_us > 1
    assert (spent.exchanges_per_s, spent.scans_per_s) == (34, 2)


def test_cost_without_a_pseudo_terminal_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise OSError("out of pty devices")

    monkeypatch.setattr(cost.os, "openpty", refuse)
    tables = make_tables(1)
    assert cost.measure(tables, maps_of(tables), make_plan(tables, maps_of(tables))) is None
    assert cost_lines(None)[0].startswith("could not be measured")


def test_cost_leaves_no_descriptor_open() -> None:
    cost.exchange_cpu_ns()
    before = open_descriptors()
    cost.exchange_cpu_ns()
    assert came_since(before) == {}


@pytest.mark.parametrize(("exchange_us", "n_warnings"), [(14_900.0, 0), (15_100.0, 1)])
def test_check_warns_above_half_a_core(exchange_us: float, n_warnings: int) -> None:
    spent = cost.Cost(exchange_us, exchanges_per_s=33.0, scan_us=4_000.0, scans_per_s=2.0)
    warnings = busy_warnings(spent)
    assert len(warnings) == n_warnings
    if n_warnings:
        assert "51 % of one core, more than 50 %" in warnings[0]


def test_check_prints_what_the_site_costs_and_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_site(tmp_path, GARAGE)
    heavy = cost.Cost(exchange_us=20_000.0, exchanges_per_s=40.0, scan_us=500.0, scans_per_s=2.0)
    monkeypatch.setattr(cost, "measure", lambda *_: heavy)
    output = CliRunner().invoke(cli, ["check", str(path)]).output
    assert "  at most 80.1 % of one core for the scan; the guard beside it comes on top" in output
    assert "  40 exchanges a second of 20000 us each, 2 scans a second of 500 us" in output
    assert "would be busy with the scan for 80 % of one core" in output
