"""`loadctl events` and `loadctl export`: what they answer, and what they refuse in one line."""

import csv
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

from loadctl import runtime
from loadctl.cli.events import in_order
from loadctl.cli.main import cli
from loadctl.cli.recorder import Named, is_elsewhere, name_of
from loadctl.cli.times import parse_time
from loadctl.errors import ConfigError, LoadctlError, NotRunning, UsageError
from loadctl.events import Event
from loadctl.guard.words import Happening
from loadctl.journal import files, place
from loadctl.journal.clock import WallClock
from loadctl.journal.lines import note_row
from loadctl.journal.notes import Note
from loadctl.journal.reading import Asked, JournalFile
from loadctl.journal.sql import EraRow
from tests.support.journal_site import FakeSite, S_ns, START_ns, UTC_ms

AT_ms = UTC_ms + START_ns // 1_000_000
AT = datetime.fromtimestamp(AT_ms / 1_000, UTC)


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    """A scan with three events, ten seconds apart, recorded; then a fourth that is not."""
    found = FakeSite(tmp_path)
    found.wall.boot = WallClock().boot
    found.start()
    journal = found.journal()
    for kind, who in ((Event.CHARGER_SILENT, 0), (Event.CHARGER_BACK, 0), (Event.ARMED, 1)):
        found.event(kind, who)
        found.charger(0, "C", 10_000, 9_900)
        found.meter(0, [20_000, 21_000, 22_000])
        found.publish()
        journal.drain(found.now_ns)
        found.pass_s(10)
    found.event(Event.STARVED, 1)
    found.publish()
    return found


def run(site: FakeSite, *words: str) -> Result:
    dirs = ["--state-dir", str(site.state_dir), "--runtime-dir", str(site.runtime_dir)]
    return CliRunner().invoke(cli, [*words, *dirs])


def texts(site: FakeSite, *options: str) -> list[str]:
    done = run(site, "events", "--json", *options)
    assert done.exit_code == 0, done.output
    return [row["text"] for row in json.loads(done.stdout)["events"] if row["source"] == "scan"]


ALL = ["bay1 does not answer", "bay1 answers again", "bay2 armed"]


# events


def test_events_come_from_the_journal_and_what_is_not_there_yet_from_the_ring(
    site: FakeSite,
) -> None:
    found = texts(site)
    assert sorted(found) == sorted(
        [*ALL, "bay2 does not follow: no message, so that its own watchdog acts"]
    )


def test_events_without_a_recorder_come_from_the_ring(site: FakeSite) -> None:
    site.place.journal.unlink()
    assert texts(site)[:3] == ALL


def test_events_without_a_site_come_from_the_journal(site: FakeSite) -> None:
    for path in site.site_dir.path.iterdir():
        path.unlink()
    assert texts(site) == ALL


def test_events_of_a_span_are_those_from_its_begin_to_before_its_end(site: FakeSite) -> None:
    at = [(AT + timedelta(seconds=s)).isoformat() for s in (10, 20)]
    assert texts(site, "--since", at[0], "--until", at[1]) == ALL[1:2]
    assert texts(site, "--until", at[1]) == ALL[:2]


def test_events_of_a_charger_and_of_a_kind(site: FakeSite) -> None:
    assert texts(site, "--charger", "bay1") == ALL[:2]
    assert texts(site, "--kind", "charger-silent", "--kind", "armed") == [ALL[0], ALL[2]]
    assert texts(site, "--charger", "bay2", "--kind", "charger_silent") == []


def test_events_n_shows_the_last(site: FakeSite) -> None:
    assert texts(site, "-n", "1", "--charger", "bay1") == ALL[1:2]


def test_events_line_has_local_time_who_tells_it_and_the_words(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.site_dir.image.unlink()
    done = run(site, "events", "--charger", "bay1")
    local = AT.astimezone()
    assert done.stdout.splitlines()[0] == (
        f"{local:%Y-%m-%d %H:%M:%S}.000  scan      bay1 does not answer"
    )


def test_events_json_has_both_times_and_all_numbers(site: FakeSite) -> None:
    done = run(site, "events", "--json", "--kind", "charger_silent")
    (row,) = json.loads(done.stdout)["events"]
    assert row == {
        "at_utc": f"{AT:%Y-%m-%dT%H:%M:%S}.000Z",
        "monotonic_ns": START_ns,
        "source": "scan",
        "kind": "charger_silent",
        "who": "bay1",
        "text": "bay1 does not answer",
        "numbers": [0, 0, 0, 0],
        "user": None,
        "since_utc": None,
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--charger", "bay9"], "'bay9' is none of bay1, bay2, grid, main"),
        (["--kind", "nothing"], "'nothing' is none of armed, "),
        (["--since", "yesterday"], "'yesterday' is no time; write for example 2h, 02:13"),
        (["--since", "25:61"], "'25:61' is no time"),
        (["--since", "1h", "--until", "2h"], "--since: is not before --until"),
    ],
)
def test_events_what_cannot_be_meant_is_refused(
    site: FakeSite, options: list[str], words: str
) -> None:
    done = run(site, "events", *options)
    said = str(done.exception) if isinstance(done.exception, LoadctlError) else done.output
    assert words in said
    is_ours = isinstance(done.exception, UsageError)
    assert is_ours or done.exit_code == 2


def test_events_with_neither_journal_nor_site_says_so(tmp_path: Path) -> None:
    done = run(FakeSite(tmp_path), "events", "--site", "other")
    assert isinstance(done.exception, NotRunning)
    assert "no journal, and site 'other' is not known" in str(done.exception)


def test_events_of_tuning_name_the_user(site: FakeSite) -> None:
    site.image.event(60, 0, 1, 2, site.now_ns, 3, 0)
    site.publish()
    done = run(site, "events", "--json")
    assert [row["user"] for row in json.loads(done.stdout)["events"]].count("root") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-03-02T10:00:00+00:00"),
        ("1.5 h", "2026-03-02T10:30:00+00:00"),
        ("3d", "2026-02-27T12:00:00+00:00"),
        ("2026-03-01T02:13:00Z", "2026-03-01T02:13:00+00:00"),
        ("2026-03-01 02:13+02:00", "2026-03-01T00:13:00+00:00"),
        ("nonsense", None),
        ("99:00", None),
    ],
)
def test_times_as_people_write_them(text: str, expected: str | None) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    found = parse_time(text, now)
    assert (None if found is None else found.astimezone(UTC).isoformat()) == expected


@pytest.mark.parametrize(("hour", "days_ago"), [(2, 0), (23, 1)])
def test_times_of_the_clock_are_the_latest_that_were(hour: int, days_ago: int) -> None:
    now = datetime(2026, 3, 2, 12).astimezone()
    found = parse_time(f"{hour:02d}:13", now)
    assert found == datetime(2026, 3, 2 - days_ago, hour, 13).astimezone()


# export


def exported(site: FakeSite, what: str, *options: str) -> list[dict[str, Any]]:
    """By way of CSV and of Parquet, which say the same."""
    out = site.state_dir.parent
    for suffix in ("csv", "parquet"):
        done = run(site, "export", what, "--to", str(out / f"out.{suffix}"), *options)
        assert done.exit_code == 0, done.output
    with (out / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(out / "out.parquet").to_pylist()
    assert [[text_of(value) for value in row.values()] for row in table] == [
        list(row.values()) for row in rows
    ]
    assert [path.name for path in out.glob("*.part")] == []
    return rows


def text_of(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1_000:03d}Z"
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def test_export_events(site: FakeSite) -> None:
    rows = exported(site, "events")
    scan = [row for row in rows if row["source"] == "scan"]
    assert [row["text"] for row in scan] == ALL
    assert scan[0]["at_utc"] == f"{AT:%Y-%m-%dT%H:%M:%S}.000Z"
    assert scan[0]["kind"] == "charger_silent"


def test_export_history_has_units_in_its_names_and_empty_cells_for_what_is_not_there(
    site: FakeSite,
) -> None:
    rows = exported(site, "history")
    assert len(rows) == 3
    assert rows[0]["bay1.setpoint_A"] == "10.0"
    assert rows[0]["bay1.L3.draw_A"] == "9.9"
    assert rows[0]["main.L2.meter_A"] == "21.0"
    assert rows[0]["bay2.L1.draw_A"] == rows[0]["bay2.state"] == ""
    for name in rows[0]:
        assert name.endswith(("_utc", "_A", ".state", ".reason")), name


def test_export_of_a_span(site: FakeSite) -> None:
    since = (AT + timedelta(seconds=10)).isoformat()
    assert len(exported(site, "history", "--since", since)) == 2
    assert len(exported(site, "history", "--until", since)) == 1


def test_export_minutes_and_sessions(site: FakeSite) -> None:
    site.record(site.journal(), 130)
    minutes = exported(site, "minutes")
    assert len(minutes) >= 2
    assert {"main.L1.meter_max_A", "bay1.L1.draw_mean_A", "seconds_s"} <= set(minutes[0])
    (session,) = exported(site, "sessions")
    assert session["charger"] == "bay1"
    assert session["end_utc"] == ""
    assert float(session["energy_kWh"]) > 0


def test_export_of_nothing_is_a_file_with_names(site: FakeSite) -> None:
    assert exported(site, "history", "--until", "2000-01-01") == []


def test_export_replaces_the_old_file_only_when_the_new_one_is_whole(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.state_dir.parent / "out.csv"
    path.write_text("old")

    def broken(value: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(files, "_text", broken)
    done = run(site, "export", "events", "--to", str(path))
    assert isinstance(done.exception, ZeroDivisionError)
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir() if "part" in entry.name] == []


def test_export_without_pyarrow_says_how_to_get_it(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run(site, "export", "events", "--to", str(site.state_dir / "out.parquet"))
    assert isinstance(done.exception, UsageError)
    assert "pip install 'loadctl[parquet]'" in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.xlsx", "out.xlsx ends neither in .csv nor in .parquet"),
        ("missing/out.csv", "No such file or directory"),
    ],
)
def test_export_to_where_it_cannot_is_refused(site: FakeSite, name: str, words: str) -> None:
    done = run(site, "export", "events", "--to", str(site.state_dir / name))
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


def test_export_without_a_journal_says_who_writes_one(tmp_path: Path) -> None:
    done = run(FakeSite(tmp_path), "export", "events", "--to", str(tmp_path / "out.csv"))
    assert isinstance(done.exception, NotRunning)
    assert "`loadctl recorder` writes one" in str(done.exception)


# the recorder


def test_recorder_takes_the_name_of_a_site_or_its_file(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[site]\nname = "Harbour garage"\n')
    assert name_of(str(path)) == "Harbour garage"
    assert name_of("Harbour garage") == "Harbour garage"
    path.write_text("[bus]\n")
    with pytest.raises(ConfigError, match=r"no site file with a site\.name"):
        name_of(str(path))
    with pytest.raises(ConfigError, match="No such file"):
        name_of(str(tmp_path / "other.toml"))


# where it is


def test_place_is_what_was_told_else_that_of_systemd_else_the_systems_else_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path / 'systemd'}:/elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(place, "SYSTEM_DIR", tmp_path / "system")
    assert place.state_dir(tmp_path / "told") == tmp_path / "told"
    assert place.state_dir(None) == tmp_path / "systemd"
    monkeypatch.delenv("STATE_DIRECTORY")
    assert place.state_dir(None) == tmp_path / "system"
    monkeypatch.setattr(place, "SYSTEM_DIR", tmp_path / "no" / "such")
    assert place.state_dir(None) == tmp_path / "xdg" / "loadctl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place.state_dir(None) == tmp_path / ".local" / "state" / "loadctl"


def test_place_of_several_sites_must_be_chosen(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / place.JOURNAL).touch()
    assert place.need_place(tmp_path, "two").path == tmp_path / "two"
    assert place.need_place(tmp_path, None, "one").path == tmp_path / "one"
    with pytest.raises(UsageError, match="journals of several sites: one, two"):
        place.need_place(tmp_path, None)
    with pytest.raises(NotRunning, match="no journal of site 'three'"):
        place.need_place(tmp_path, "three")


def test_place_has_one_recorder_at_a_time(tmp_path: Path) -> None:
    place.hold(tmp_path / "one")
    with pytest.raises(UsageError, match="another recorder writes here"):
        place.hold(tmp_path / "one")


# a clock that is off, and a recorder that goes on meanwhile


def test_events_after_a_clock_that_was_ahead_show_what_came_last(site: FakeSite) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    site.wall.now_offset_ms += 7 * 86_400_000
    for _ in range(60):
        site.number()
    site.publish()
    journal.drain(site.now_ns)
    site.pass_s(60)
    site.wall.now_offset_ms -= 7 * 86_400_000
    site.event(Event.CHARGER_SILENT, 1)
    site.publish()
    journal.drain(site.now_ns)
    site.event(Event.CHARGER_BACK, 1)
    site.publish()
    assert texts(site, "-n", "4") == ["bay2 does not answer", "bay2 answers again"]  # and two notes
    site.site_dir.image.unlink()
    assert texts(site, "-n", "10")[-1] == "bay2 does not answer"
    reading = site.reading()
    newest = [number for number, _ in reading.events(Asked())][-1]
    assert reading.last_event() == newest
    reading.close()


def test_events_that_are_stored_between_two_looks_are_in_one_of_them(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = JournalFile.recorded

    def late(journal: JournalFile) -> Any:
        site.journal().drain(site.now_ns)
        return recorded(journal)

    monkeypatch.setattr(JournalFile, "recorded", late)
    assert len([text for text in texts(site) if text.startswith("bay2 does not follow")]) == 1


def test_events_are_in_the_order_of_each_boot(site: FakeSite) -> None:
    """Scan before guard in the file, whatever happened first; a boot after another."""
    site.start_guard()
    site.link.event(Happening.PORT_LOST, 0, 1, 0, START_ns - 5 * S_ns)
    journal = site.journal()
    site.pass_s(1)
    site.publish()
    journal.drain(site.now_ns)
    rows = json.loads(run(site, "events", "--json").stdout)["events"]
    at_ns = [row["monotonic_ns"] for row in rows]
    assert at_ns == sorted(at_ns)
    assert rows[0]["source"] == "guard"


def test_in_order_puts_the_rings_behind_another_boot() -> None:
    row = note_row(Note.RECORDER_STARTED, EraRow(3, "one", 0, 0), 900)
    ring = note_row(Note.RECORDER_STARTED, EraRow(0, "two", 0, 0), 5)
    assert in_order([row, ring], {3: "one", 0: "two"}) == [row, ring]
    assert in_order([row, ring], {3: "two", 0: "two"}) == [ring, row]


def test_export_reads_events_as_it_writes_them(site: FakeSite) -> None:
    reading = site.reading()
    assert iter(found := reading.events(Asked())) is found
    assert len(list(found)) == len(site.rows())
    reading.close()


@pytest.mark.parametrize("text", ["99999999999d", "9" * 400 + "h", "0001-01-01", "3000000d"])
def test_times_before_all_years_are_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_time(text, datetime(2026, 3, 2, 12, tzinfo=UTC)) is None
    finally:
        monkeypatch.undo()
        time.tzset()


def test_recorder_follows_a_site_file_that_gives_another_name(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('[site]\nname = "One"\n')
    named = Named(str(path))
    assert not is_elsewhere([tmp_path], named, "One")
    path.write_text('[site]\nname = "The other"\n')
    assert not is_elsewhere([tmp_path], named, "One")  # it does not run yet
    assert named.name == "The other"
    _, lock_fd = runtime.claim(tmp_path, "The other")
    assert is_elsewhere([tmp_path], named, "One")
    os.close(lock_fd)
    path.write_text("[site")
    named.look()
    assert named.name == "The other"
