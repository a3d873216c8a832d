"""Seconds, minutes and sessions: what is kept of a site's currents, and what they add up to."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loadctl.journal.columns import history_table, minutes_table, sessions_table
from loadctl.journal.fold import HOLD_s
from loadctl.journal.notes import Note
from loadctl.journal.reading import HistoryRow, Span
from loadctl.journal.shape import shape_of
from tests.support.builders import make_charger, make_circuit, make_tables
from tests.support.journal_site import (
    FakeSite,
    FakeWall,
    S_ns,
    SELDOM_ns,
    START_ns,
    UTC_ms,
    small_tables,
)

START_s = START_ns // 1_000_000_000
FIRST_ms = UTC_ms + START_s * 1_000
# A charger on three phases at 10 A and 230 V.
POWER_W = 6_900


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    found = FakeSite(tmp_path)
    found.start()
    return found


def rows_of(site: FakeSite, table: str, span: Span | None = None) -> list[HistoryRow]:
    journal = site.reading()
    try:
        return list(journal.history(table, span or Span()))
    finally:
        journal.close()


def sessions_of(site: FakeSite) -> list[dict[str, Any]]:
    journal = site.reading()
    try:
        table = sessions_table(journal, Span())
        names = [column.name for column in table.columns]
        return [dict(zip(names, row, strict=True)) for row in table.rows]
    finally:
        journal.close()


def dicts_of(site: FakeSite, table: str) -> list[dict[str, Any]]:
    journal = site.reading()
    try:
        make = history_table if table == "second" else minutes_table
        found = make(journal, Span())
        names = [column.name for column in found.columns]
        return [dict(zip(names, row, strict=True)) for row in found.rows]
    finally:
        journal.close()


def kWh(seconds: int) -> float:
    """What POWER_W comes to."""
    return round(POWER_W * seconds / 3_600_000, 3)


# seconds


def test_history_second_holds_what_the_image_said(site: FakeSite) -> None:
    site.set(
        "circuit",
        0,
        limit_mA=[63_000, 62_000, 61_000],
        background_mA=[1, 2, 3],
        headroom_mA=[4, 5, 6],
        granted_mA=[7, 8, 9],
    )
    site.meter(0, [-1_500, 20_000, 30_000])
    site.charger(0, "C", 16_000, 15_900)
    site.set("charger", 0, reason=2)
    site.publish()
    site.journal().drain(site.now_ns)
    row = dicts_of(site, "second")[0]
    assert [row[f"main.L{p}.limit_A"] for p in (1, 2, 3)] == [63, 62, 61]
    assert [row[f"main.L{p}.background_A"] for p in (1, 2, 3)] == [0.001, 0.002, 0.003]
    assert [row[f"main.L{p}.headroom_A"] for p in (1, 2, 3)] == [0.004, 0.005, 0.006]
    assert [row[f"main.L{p}.granted_A"] for p in (1, 2, 3)] == [0.007, 0.008, 0.009]
    assert [row[f"main.L{p}.meter_A"] for p in (1, 2, 3)] == [-1.5, 20, 30]
    assert (row["bay1.setpoint_A"], row["bay1.L2.draw_A"]) == (16, 15.9)
    assert (row["bay1.state"], row["bay1.reason"]) == ("C", 2)


def test_history_value_that_is_not_there_is_none_and_never_zero(site: FakeSite) -> None:
    """No meter value, an old one, a charger that is silent, one whose status was never read."""
    site.charger(0, "C", 16_000, 15_900)
    site.charger(1, "?")
    site.set("charger", 0, is_silent=1)
    site.publish()
    journal = site.journal()
    journal.drain(site.now_ns)
    site.meter(0, [1, 2, 3])
    site.pass_s(3)  # meter_stale_s of this site
    site.publish()
    journal.drain(site.now_ns)
    for row in dicts_of(site, "second"):
        assert row["main.L1.meter_A"] is None
        assert row["bay1.L1.draw_A"] is None
        assert row["bay2.L1.draw_A"] is None
        assert row["bay2.state"] is None


def test_history_has_one_row_a_second_however_often_it_is_drained(site: FakeSite) -> None:
    journal = site.journal()
    for _ in range(41):
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(0.25)
    assert [row.utc_ms for row in rows_of(site, "second")] == [
        FIRST_ms + 1_000 * i for i in range(11)
    ]


def test_history_nothing_new_is_no_row(site: FakeSite) -> None:
    journal = site.journal()
    for _ in range(4):
        journal.drain(site.now_ns)
        site.pass_s(1)
    assert len(rows_of(site, "second")) == 1


def test_history_many_rows_come_back_as_they_were(site: FakeSite) -> None:
    """Through several blocks of packed rows, and a recorder that begins in the midst of one."""
    said = []

    def each(second: int) -> None:
        site.charger(0, "C", 6_000 + 37 * second, 5_000 + second % 3)
        said.append(6_000 + 37 * second)

    site.record(site.journal(flush_ns=SELDOM_ns), 100, each)
    site.record(site.journal(flush_ns=SELDOM_ns), 100, each)
    at = shape_of(site.tables).charger_at(0)
    assert [row.values[at] for row in rows_of(site, "second")] == [
        6_000 + 37 * second for second in (*range(100), *range(100))
    ]
    some = rows_of(site, "second", Span(FIRST_ms + 70_000, FIRST_ms + 75_000))
    assert [row.utc_ms for row in some] == [FIRST_ms + 1_000 * i for i in range(70, 75)]


def test_history_after_a_set_clock_shows_both_times(site: FakeSite) -> None:
    journal = site.journal(flush_ns=SELDOM_ns)
    site.record(journal, 3)
    site.wall.now_offset_ms -= 3_600_000
    site.record(journal, 3)
    at_ms = [row.utc_ms - FIRST_ms for row in rows_of(site, "second")]
    assert at_ms == [0, 1_000, 2_000, -3_597_000, -3_596_000, -3_595_000]
    some = rows_of(site, "second", Span(FIRST_ms - 3_596_000, FIRST_ms + 1_000))
    assert [row.utc_ms - FIRST_ms for row in some] == [0, -3_596_000, -3_595_000]


def test_history_time_without_rows_is_a_gap_with_its_length_and_beginning(site: FakeSite) -> None:
    journal = site.journal(flush_ns=SELDOM_ns)
    site.record(journal, 10)
    site.pass_s(100)
    site.record(site.journal(flush_ns=SELDOM_ns), 10)
    gaps = site.notes(Note.HISTORY_GAP)
    assert [row.first for row in gaps] == [101]
    assert gaps[0].since_utc_ms == FIRST_ms + 9_000
    assert gaps[0].text == "no history for 101 s"
    assert len(rows_of(site, "second")) == 20


def test_history_across_a_reboot_is_a_gap_by_the_wall_clock(site: FakeSite) -> None:
    site.record(site.journal(flush_ns=SELDOM_ns), 10)
    site.wall = FakeWall("boot-2", UTC_ms + START_s * 1_000 + 70_000)
    site.now_ns = 0
    site.start()
    site.record(site.journal(flush_ns=SELDOM_ns), 2)
    assert [row.first for row in site.notes(Note.HISTORY_GAP)] == [61]


def test_history_short_pauses_of_a_slow_scan_are_no_gap(tmp_path: Path) -> None:
    site = FakeSite(tmp_path, small_tables(period_ms=2_000))
    site.start()
    journal = site.journal()
    for _ in range(10):
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(4)
    assert site.notes(Note.HISTORY_GAP) == []


def test_history_of_a_site_file_that_changed_keeps_both_shapes(site: FakeSite) -> None:
    site.charger(1, "C", 9_000)
    site.record(site.journal(flush_ns=SELDOM_ns), 3)
    site.tables = small_tables(3)
    site.start()
    site.charger(2, "C", 7_000)
    site.record(site.journal(flush_ns=SELDOM_ns), 3)
    rows = dicts_of(site, "second")
    assert [row["bay2.setpoint_A"] for row in rows] == [9, 9, 9, 0, 0, 0]
    assert [row["bay3.setpoint_A"] for row in rows] == [None, None, None, 7, 7, 7]


# minutes


def test_history_minute_holds_mean_and_maximum(site: FakeSite) -> None:
    """Begins at a whole minute of UTC, and counts only what was measured."""
    site.pass_s((60_000 - FIRST_ms % 60_000) / 1_000)

    def each(second: int) -> None:
        site.charger(0, "C", 10_000 + 100 * second, 6_000 if second < 30 else None)
        site.meter(0, [-3_000 - second, -1_000, 5_000])
        if second >= 20:
            site.set("meter", 0, has_value=0)

    site.record(site.journal(flush_ns=SELDOM_ns), 61, each)
    (row,) = dicts_of(site, "minute")
    assert row["seconds_s"] == 60
    assert row["bay1.setpoint_mean_A"] == 12.95
    assert row["bay1.setpoint_max_A"] == 15.9
    assert (row["bay1.L1.draw_mean_A"], row["bay1.L1.draw_max_A"]) == (6, 6)
    assert row["main.L1.meter_mean_A"] == -3.009  # of -3.0095, to whole mA
    assert row["main.L1.meter_max_A"] == -3
    assert row["main.L2.meter_max_A"] == -1
    assert row["bay2.L1.draw_max_A"] is None


@pytest.mark.parametrize("split", [1, 30, 59, 61, 119])
def test_history_minutes_do_not_depend_on_when_the_recorder_was_killed(
    tmp_path: Path, split: int
) -> None:
    found = []
    for parts in ((200,), (split, 200 - split)):
        site = FakeSite(tmp_path / str(len(parts)))
        site.start()
        seen = iter(range(200))

        def each(second: int, site: FakeSite = site, seen: Iterator[int] = seen) -> None:
            n = next(seen)
            site.charger(0, "C" if n > 20 else "A", 60 * n, 50 * n)

        for n_seconds in parts:
            site.record(site.journal(flush_ns=SELDOM_ns), n_seconds, each)
        rows = [(row.utc_ms, row.values) for row in rows_of(site, "minute")]
        found.append((rows, sessions_of(site)))
    assert found[0] == found[1]
    assert len(found[0][0]) == 3


# sessions


class Recorded(FakeSite):
    """With one recorder at a time, that a test may replace."""

    def __init__(self, directory: Path, **charger: Any) -> None:
        super().__init__(
            directory,
            make_tables(
                meters=[],
                circuits=[make_circuit("main")],
                chargers=[make_charger("bay1", **charger)],
            ),
        )
        self.start()
        self.restart()

    def stays(self, seconds: int, letter: str, setpoint_mA: int = 0, draw_mA: int = -1) -> None:
        self.charger(0, letter, setpoint_mA, None if draw_mA < 0 else draw_mA)
        self.record(self.open_journal, seconds)

    def restart(self) -> None:
        """What was recorded so far is stored, and nothing else is known to the next."""
        self.open_journal = self.journal(flush_ns=SELDOM_ns)


def test_session_goes_from_plug_in_to_plug_out_with_its_energy(tmp_path: Path) -> None:
    site = Recorded(tmp_path)
    site.stays(10, "A", 0, 0)
    site.stays(120, "B", 6_000, 0)
    site.stays(720, "C", 10_000, 10_000)
    site.stays(60, "B", 10_000, 0)
    site.stays(70, "A", 0, 0)
    (session,) = sessions_of(site)
    assert session["charger"] == "bay1"
    assert session["is_begin_seen"] is True
    assert session["energy_kWh"] == kWh(720)
    assert (session["is_estimated"], session["estimated_kWh"]) == (False, 0)
    assert session["max_A"] == 10
    assert (session["charging_min"], session["waiting_min"]) == (12, 3)
    assert session["missing_min"] == 0
    assert session["end_utc"] - session["begin_utc"] == timedelta(seconds=900)


def test_session_without_measured_current_is_estimated_from_the_setpoint(tmp_path: Path) -> None:
    """On the phases that the charger has, and only while its car may charge."""
    site = Recorded(tmp_path, has_measured_current=False, phases=(1,))
    site.stays(10, "A")
    site.stays(60, "B", 10_000)
    site.stays(720, "C", 10_000)
    site.stays(70, "A")
    (session,) = sessions_of(site)
    assert session["energy_kWh"] == session["estimated_kWh"] == 0.46
    assert session["is_estimated"] is True
    assert (session["charging_min"], session["waiting_min"]) == (12, 1)


def test_session_survives_scan_and_recorder(tmp_path: Path) -> None:
    """Killed in the middle of minutes; the scan is back after some seconds, so is the recorder."""
    site = Recorded(tmp_path)
    site.stays(5, "A", 0, 0)
    for _ in range(6):
        site.stays(143, "C", 10_000, 10_000)
        site.restart()
        site.pass_s(HOLD_s - 9)
        site.start()
    site.stays(1, "C", 10_000, 10_000)
    site.stays(70, "A", 0, 0)
    (session,) = sessions_of(site)
    assert session["energy_kWh"] == kWh(6 * (143 + 6) + 1)
    assert session["missing_min"] == 0
    assert session["is_begin_seen"] is True


def test_session_counts_no_energy_for_a_time_that_nobody_saw(tmp_path: Path) -> None:
    site = Recorded(tmp_path)
    site.stays(5, "A", 0, 0)
    site.stays(400, "C", 10_000, 10_000)
    site.pass_s(7_199)
    site.restart()
    site.stays(400, "C", 10_000, 10_000)
    site.stays(70, "A", 0, 0)
    (session,) = sessions_of(site)
    assert session["energy_kWh"] == kWh(799)  # the last second before belongs to the gap
    assert session["missing_min"] == 120


def test_session_of_a_car_that_was_there_before_has_no_seen_beginning(tmp_path: Path) -> None:
    site = Recorded(tmp_path)
    site.stays(130, "C", 10_000, 10_000)
    (session,) = sessions_of(site)
    assert session["is_begin_seen"] is False
    assert session["end_utc"] is None


def test_session_that_began_while_nobody_saw_has_no_seen_beginning(tmp_path: Path) -> None:
    site = Recorded(tmp_path)
    site.stays(10, "A", 0, 0)
    site.pass_s(HOLD_s)
    site.stays(130, "C", 10_000, 10_000)
    (session,) = sessions_of(site)
    assert session["is_begin_seen"] is False


def test_session_is_neither_begun_nor_ended_by_a_state_that_is_not_known(tmp_path: Path) -> None:
    site = Recorded(tmp_path)
    site.stays(60, "A", 0, 0)
    site.stays(60, "?")
    site.stays(60, "C", 10_000, 10_000)
    site.stays(60, "?")
    site.stays(60, "E")
    site.stays(60, "C", 10_000, 10_000)
    site.stays(130, "A", 0, 0)
    assert len(sessions_of(site)) == 1


def test_session_of_a_charger_that_left_the_site_file_is_ended(site: FakeSite) -> None:
    site.charger(1, "C", 10_000, 10_000)
    site.record(site.journal(flush_ns=SELDOM_ns), 130)
    site.tables = small_tables(1)
    site.start()
    site.record(site.journal(flush_ns=SELDOM_ns), 130)
    (session,) = sessions_of(site)
    assert session["charger"] == "bay2"
    assert session["end_utc"] is not None


def test_session_counts_no_energy_of_a_charger_that_does_not_answer(tmp_path: Path) -> None:
    """Its last state and setpoint stand in the image for as long as it is silent."""
    site = Recorded(tmp_path, has_measured_current=False)
    site.stays(5, "A")
    site.stays(60, "C", 10_000)
    site.set("charger", 0, is_silent=1)
    site.record(site.open_journal, 600)
    assert dicts_of(site, "second")[-1]["bay1.state"] is None
    site.set("charger", 0, is_silent=0)
    site.stays(60, "C", 10_000)
    site.stays(70, "A")
    (session,) = sessions_of(site)
    assert session["energy_kWh"] == kWh(120)
    assert session["missing_min"] == 10


@pytest.mark.parametrize("letter", ["E", "F"])
def test_session_is_not_begun_by_a_fault_of_a_box(tmp_path: Path, letter: str) -> None:
    site = Recorded(tmp_path)
    site.stays(5, "A", 0, 0)
    site.stays(130, letter, 0, 0)
    assert sessions_of(site) == []


@pytest.mark.parametrize("quality", [2, 3])
def test_history_meter_that_is_not_believed_has_no_value(site: FakeSite, quality: int) -> None:
    """Implausible, or frozen: it is read in every scan."""
    site.meter(0, [1, 2, 3])
    site.set("meter", 0, quality=quality)
    site.publish()
    site.journal().drain(site.now_ns)
    assert dicts_of(site, "second")[0]["main.L1.meter_A"] is None


def test_history_meter_is_as_old_as_what_was_last_believed_of_it(site: FakeSite) -> None:
    """By the tuning that is in force, not that of the site file."""
    journal = site.journal()
    site.meter_stale(5 * S_ns)
    site.meter(0, [1_000, 2, 3])
    began_ns = site.now_ns
    for _ in range(7):
        site.set("meter", 0, at_ns=site.now_ns, trusted_at_ns=began_ns)
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(1)
    assert [row["main.L1.meter_A"] for row in dicts_of(site, "second")] == [1] * 5 + [None] * 2
