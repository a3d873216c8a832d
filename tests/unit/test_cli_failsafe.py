"""What `loadctl failsafe` goes by: the file, what ran last, and how long ago that was."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli import failsafe as command
from loadctl.cli import run as run_command
from loadctl.cli.main import cli
from loadctl.errors import BusError, CheckRefused, ConfigError, NotRunning, UsageError
from loadctl.guard.rescue import Outcome
from loadctl.link import Link
from loadctl.tables import Tables
from tests.support.builders import make_tables
from tests.support.site_files import one_bay

SITE_DIR = runtime.SiteDir(Path("nowhere"))


def reader_of(age_ms: float | None) -> Callable[[runtime.SiteDir], object]:
    class Reader:
        def __init__(self, site_dir: runtime.SiteDir) -> None:
            if age_ms is None:
                raise NotRunning("no image")

        def read(self, now_ns: int) -> dict[str, float | None]:
            return {"age_ms": age_ms}

    return Reader


@pytest.mark.parametrize(
    ("age_ms", "is_fresh"),
    [(0, True), (60_000, True), (60_001, False), (-1, False), (None, False)],
)
def test_failsafe_believes_last_setpoints_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, age_ms: float | None, is_fresh: bool
) -> None:
    """Below 0: the machine was started anew since."""
    monkeypatch.setattr(command, "StatusReader", reader_of(age_ms))
    assert command.is_fresh(SITE_DIR) is is_fresh


def test_failsafe_takes_last_setpoints_from_the_link_only_where_they_are_known(
    tmp_path: Path,
) -> None:
    tables = make_tables()
    site_dir = runtime.SiteDir(tmp_path)
    link = Link.create(site_dir.link, len(tables.chargers), len(tables.circuits))
    link.tell(0, 11_000)
    with command.link_of(site_dir, tables, is_known=True) as found:
        assert found.told_mA(0) == 11_000
    with command.link_of(site_dir, tables, is_known=False) as found:
        assert found.told_mA(0) is None
    site_dir.link.write_bytes(b"torn")
    with command.link_of(site_dir, tables, is_known=True) as found:
        assert found.told_mA(0) is None


def test_failsafe_of_a_file_with_mistakes_keeps_its_name(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[site]\nname = "Rig"\nperiod = 3\n')
    name, tables, why = command.site_and_tables(file, ())
    assert (name, tables, type(why)) == ("Rig", None, ConfigError)
    for text in ("[site", "[site]\nperiod_ms = 500\n"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            command.site_and_tables(file, ())


def test_failsafe_reads_what_ran_last_or_nothing(tmp_path: Path) -> None:
    site_dir = runtime.SiteDir(tmp_path)
    assert command.last_tables(site_dir) is None
    site_dir.tables.write_text('{"site": 3}')
    assert command.last_tables(site_dir) is None
    site_dir.tables.write_text(plain.dump(make_tables()))
    assert command.last_tables(site_dir) == make_tables()


def test_failsafe_says_of_each_charger_what_became_of_it() -> None:
    tables = make_tables()
    name = tables.chargers[0].name
    said = [
        command.outcome_words(tables, Outcome(0, 6_000, *facts))
        for facts in (
            (True, False, ""),
            (False, False, ""),
            (False, True, ""),
            (False, False, "port /dev/x: no such device"),
        )
    ]
    assert said == [
        f"{name}: 6 A acknowledged",
        f"{name}: 6 A not acknowledged",
        f"{name}: does not obey; nothing is sent, its own watchdog brings it down",
        f"{name}: port /dev/x: no such device",
    ]


def test_failsafe_counts_one_that_is_left_to_its_watchdog_as_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the end of `run` does."""
    outcomes = [Outcome(0, 6_000, False, True, "")]
    monkeypatch.setattr(command, "bring_down", lambda *_: outcomes)
    with pytest.raises(BusError, match="1 of 1 chargers did not acknowledge"):
        failsafe_of(tmp_path, background_A=10)


# what it goes by


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Tables]:
    """The tables by which chargers would be brought down."""
    found: list[Tables] = []

    def bring_down(tables: Tables, *_: object) -> list[Outcome]:
        found.append(tables)
        return []

    monkeypatch.setattr(command, "bring_down", bring_down)
    return found


def failsafe_of(folder: Path, background_A: int) -> str:
    (folder / "site.toml").write_text(one_bay("/dev/null", background_A=background_A))
    words = ["failsafe", str(folder / "site.toml"), "--runtime-dir", str(folder / "run")]
    done = CliRunner().invoke(cli, words)
    if done.exception is not None:
        raise done.exception
    return done.stderr


def test_failsafe_of_a_file_whose_proof_does_not_hold_is_0_A_for_everybody(
    tmp_path: Path, told: list[Tables]
) -> None:
    """Its failsafe currents were never proven; a start with it was refused, too."""
    said = failsafe_of(tmp_path, background_A=27)
    assert [charger.failsafe_mA for charger in told[0].chargers] == [0]
    assert said.startswith("warning: every charger to 0 A, for circuit.main L1: failsafe proof:")
    assert said.count("\n") == 1


def test_failsafe_of_a_file_whose_proof_does_not_hold_is_that_of_the_last_run(
    tmp_path: Path, told: list[Tables]
) -> None:
    assert failsafe_of(tmp_path, background_A=10) == ""
    site_dir = runtime.SiteDir(tmp_path / "run" / runtime.slug("Rig"))
    site_dir.tables.write_text(plain.dump(told[0]))
    said = failsafe_of(tmp_path, background_A=27)
    assert told[1] == told[0]
    assert [charger.failsafe_mA for charger in told[1].chargers] == [6_000]
    assert said.startswith("warning: as it ran last, for circuit.main L1: failsafe proof:")


def test_failsafe_does_not_go_by_the_tables_of_another_site() -> None:
    tables, why = make_tables(), CheckRefused("no proof", "no proof either")
    other = dataclasses.replace(tables, site=dataclasses.replace(tables.site, name="other"))
    found, warning = command.chosen(tables.site.name, tables, other, why)
    assert {charger.failsafe_mA for charger in found.chargers} == {0}
    assert warning == "every charger to 0 A, for no proof"
    with pytest.raises(ConfigError, match="no such key"):
        command.chosen(tables.site.name, None, other, ConfigError("no such key"))


def test_failsafe_by_hand_sees_the_site_of_the_service(
    tmp_path: Path, told: list[Tables], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root with a runtime directory of its own."""
    monkeypatch.setattr(run_command, "become_guard", lambda *_: None)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    monkeypatch.setattr(runtime, "SYSTEM_DIR", tmp_path / "system")
    file = tmp_path / "site.toml"
    file.write_text(one_bay("/dev/null", background_A=10))
    _, lock_fd = runtime.claim(tmp_path / "system", "Rig")
    for name in ("failsafe", "run"):
        done = CliRunner().invoke(cli, [name, str(file)])
        assert isinstance(done.exception, UsageError), name
        assert "runs already" in str(done.exception)
    assert told == []
    os.close(lock_fd)
    assert CliRunner().invoke(cli, ["failsafe", str(file)]).exit_code == 0
    assert len(told) == 1
