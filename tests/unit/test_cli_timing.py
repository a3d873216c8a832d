"""`loadctl timing`: what it refuses before it starts anything."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from loadctl.cli.main import cli
from loadctl.errors import CheckRefused, LoadctlError, UsageError
from tests.support.site_files import GARAGE, write_site


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-bus", "--site", "x.toml"], "--no-bus: has no site"),
        (["--read-chargers"], "--read-chargers: only with --site"),
        (["--no-bus", "--for", "1000h"], "--for: more than"),
        (["--no-bus", "--period-ms", "9.9"], "--period-ms: 9.9 ms is below 10 ms"),
        (["--no-bus", "--period-ms", "nan"], "--period-ms: nan is no number"),
        (["--no-bus", "--html", "/nowhere/x.html"], "--html: /nowhere is no directory"),
    ],
)
def test_timing_words_that_do_not_go_together_are_refused(words: list[str], says: str) -> None:
    result = CliRunner().invoke(cli, ["timing", *words])
    assert isinstance(result.exception, UsageError)
    assert says in str(result.exception)


def test_timing_of_a_period_that_the_bus_plan_does_not_fit_is_refused() -> None:
    result = CliRunner().invoke(cli, ["timing", "--period-ms", "60"])
    assert isinstance(result.exception, CheckRefused)
    assert "bus.garage" in str(result.exception)


def test_timing_of_a_site_whose_port_is_missing_is_a_bus_error(tmp_path: Path) -> None:
    path = write_site(tmp_path, GARAGE.replace("/dev/ttyUSB0", str(tmp_path / "none")))
    words = ["timing", "--site", str(path), "--runtime-dir", str(tmp_path / "rt")]
    result = CliRunner().invoke(cli, words)
    assert isinstance(result.exception, LoadctlError)
    assert result.exception.exit_code == 4
    assert str(tmp_path / "none") in str(result.exception)
