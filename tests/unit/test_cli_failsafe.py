"""What `loadctl failsafe` goes by: the file, what ran last, and how long ago that was."""

from collections.abc import Callable
from pathlib import Path

import pytest

from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli import failsafe as command
from loadctl.errors import ConfigError, NotRunning
from loadctl.guard.rescue import Outcome
from loadctl.link import Link
from tests.support.builders import make_tables

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
