"""The recorder's drain and the rings of a site: nothing lost, nothing twice, a gap is a gap."""

from pathlib import Path

import pytest

from loadctl.errors import LoadctlError
from loadctl.events import Event
from loadctl.guard.words import Happening
from loadctl.image import MAX_EVENTS
from loadctl.journal.notes import Note, Source
from loadctl.journal.rings import Ring
from loadctl.journal.sql import Store
from loadctl.link import MAX_LINK_EVENTS
from tests.support.journal_site import (
    BOOT,
    FakeSite,
    FakeWall,
    S_ns,
    START_ns,
    UTC_ms,
    small_tables,
)

START_MS = START_ns // 1_000_000


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    found = FakeSite(tmp_path)
    found.start()
    return found


def test_journal_row_holds_all_of_an_event_and_its_words(site: FakeSite) -> None:
    site.image.event(Event.CHARGER_SILENT, 1, 2, 0, START_ns - S_ns, 0, 0)
    site.publish()
    site.journal().drain(START_ns)
    row = next(row for row in site.rows() if row.source == Source.SCAN)
    assert (row.kind, row.who_i, row.who, row.first) == (Event.CHARGER_SILENT, 1, "bay2", 2)
    assert row.text == "bay2 does not answer"
    assert row.source == Source.SCAN
    assert row.mono_ns == START_ns - S_ns
    assert row.utc_ms == UTC_ms + START_MS - 1_000


def test_journal_four_numbers_are_kept(site: FakeSite) -> None:
    site.image.event(Event.GATE_DROP, 0, 1, 2, START_ns, 3, -4)
    site.publish()
    site.journal().drain(START_ns)
    row = next(row for row in site.rows() if row.kind == Event.GATE_DROP)
    assert (row.first, row.second, row.third, row.fourth) == (1, 2, 3, -4)


def test_journal_kind_that_this_version_does_not_know_is_kept_with_its_numbers(
    site: FakeSite,
) -> None:
    site.event(9_999, 0, 5, 6)
    site.publish()
    site.journal().drain(START_ns)
    assert [row.text for row in site.rows() if row.kind == 9_999] == ["event 9999: 5, 6"]


@pytest.mark.parametrize(
    ("kind", "first"), [(Event.TUNED, 999), (Event.REBOOTED, 99), (Event.SLOWEST, 99)]
)
def test_journal_numbers_that_this_version_does_not_know_are_kept(
    site: FakeSite, kind: Event, first: int
) -> None:
    site.event(kind, 0, first, 6)
    site.publish()
    site.journal().drain(START_ns)
    assert [row.text for row in site.rows() if row.kind == kind] == [f"event {kind}: {first}, 6"]


@pytest.mark.parametrize(("fourth", "user"), [(0, "root"), (-2, "uid 4294967294")])
def test_journal_tuning_names_the_user(site: FakeSite, fourth: int, user: str) -> None:
    site.image.event(Event.TUNED, -1, 1, 2_000, START_ns, 1_000, fourth)
    site.publish()
    site.journal().drain(START_ns)
    assert [row.user for row in site.rows() if row.kind == Event.TUNED] == [user]


def test_journal_guard_tells_too_with_the_names_of_its_chargers(site: FakeSite) -> None:
    site.start_guard()
    site.link.event(Happening.UNANSWERED, 1, 0, 0, START_ns)
    site.journal().drain(START_ns)
    row = next(row for row in site.rows() if row.source == Source.GUARD)
    assert (row.who, row.text) == ("bay2", "bay2: failsafe setpoint not acknowledged")


def test_journal_drained_again_and_again_has_each_event_once(site: FakeSite) -> None:
    journal = site.journal()
    for _ in range(30):
        for _ in range(20):
            site.number()
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(0.25)
    assert site.numbers() == list(range(600))


def test_journal_next_recorder_goes_on_after_the_last_event(site: FakeSite) -> None:
    """Killed or stopped, with as many events meanwhile as the ring holds."""
    for turn in range(4):
        journal = site.journal()
        for _ in range(MAX_EVENTS):
            site.number()
        site.publish()
        journal.drain(site.now_ns)
        if turn % 2:
            journal.close()
        site.pass_s(1)
    assert site.numbers() == list(range(4 * MAX_EVENTS))
    assert site.notes(Note.EVENTS_MISSED) == []


@pytest.mark.parametrize("n_more", [1, 300])
def test_journal_ring_that_ran_over_is_a_gap_with_its_count_and_times(
    site: FakeSite, n_more: int
) -> None:
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    stored_ms = site.rows()[-1].utc_ms
    site.pass_s(7_200)
    for _ in range(MAX_EVENTS + n_more):
        site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    missed = site.notes(Note.EVENTS_MISSED)
    assert [row.first for row in missed] == [n_more]
    assert missed[0].since_utc_ms == stored_ms
    assert missed[0].text.startswith(f"{n_more} events of the scan are missing")
    assert site.numbers() == [0, *range(1 + n_more, 1 + n_more + MAX_EVENTS)]


def test_journal_ring_of_the_guard_that_ran_over_is_a_gap_too(site: FakeSite) -> None:
    site.start_guard()
    for i in range(MAX_LINK_EVENTS + 10):
        site.link.event(Happening.PORT_LOST, 0, i, 0, START_ns)
    site.journal().drain(START_ns)
    kept = [row.first for row in site.rows() if row.source == Source.GUARD]
    missed = site.notes(Note.EVENTS_MISSED)
    assert [row.first for row in missed] == [MAX_LINK_EVENTS + 10 - len(kept)]
    assert missed[0].text.startswith(f"{missed[0].first} events of the guard")
    assert kept == list(range(missed[0].first, MAX_LINK_EVENTS + 10))


def test_journal_last_words_of_a_scan_are_read_from_the_file_that_was_replaced(
    site: FakeSite,
) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    site.number()
    site.publish()
    site.start()
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert site.numbers() == [0, 1]
    assert site.notes(Note.END_UNSEEN) == []


def test_journal_scan_that_ended_unseen_is_said_and_the_new_one_begins_at_its_first(
    site: FakeSite,
) -> None:
    for _ in range(3):
        site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    site.start()
    for _ in range(5):
        site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    assert site.numbers() == list(range(8))
    unseen = site.notes(Note.END_UNSEEN)
    assert len(unseen) == 1
    assert "may be missing" in unseen[0].text
    assert unseen[0].since_utc_ms == UTC_ms + START_MS


def test_journal_fresh_scan_of_the_same_process_number_is_another_scan(site: FakeSite) -> None:
    """Both images here are of this very process."""
    site.number()
    site.publish()
    journal = site.journal()
    journal.drain(site.now_ns)
    site.start()
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert site.numbers() == [0, 1]


def test_journal_waits_for_a_scan_that_has_published_nothing(site: FakeSite) -> None:
    site.site_dir.image.unlink()
    journal = site.journal()
    journal.drain(site.now_ns)
    assert [row.kind for row in site.rows()] == [Note.RECORDER_STARTED]
    site.start()
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert site.numbers() == [0]


def test_journal_beginning_and_end_of_a_recorder_are_events(site: FakeSite) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    journal.close()
    kinds = [row.kind for row in site.rows() if row.source == Source.RECORDER]
    assert kinds == [Note.RECORDER_STARTED, Note.RECORDER_STOPPED]
    assert site.said == []


def test_journal_recorder_that_ended_without_a_last_flush_is_said(site: FakeSite) -> None:
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    site.pass_s(60)
    site.journal().drain(site.now_ns)
    killed = site.notes(Note.RECORDER_KILLED)
    assert len(killed) == 1
    assert killed[0].since_utc_ms == UTC_ms + START_MS
    assert len(site.said) == 1
    assert "ended without a last flush; stored up to" in site.said[0]


# clocks


@pytest.mark.parametrize("moved_ms", [3_600_000, -86_400_000])
def test_journal_wall_clock_that_is_set_is_an_event_and_both_times_are_kept(
    site: FakeSite, moved_ms: int
) -> None:
    journal = site.journal()
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    site.pass_s(10)
    site.wall.now_offset_ms += moved_ms
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    rows = {row.first: row for row in site.rows() if row.kind == 30}
    assert rows[1].mono_ns - rows[0].mono_ns == 10 * S_ns
    assert rows[1].utc_ms - rows[0].utc_ms == 10_000 + moved_ms
    jumps = site.notes(Note.CLOCK_SET)
    assert [row.first for row in jumps] == [moved_ms]
    assert ("forward" if moved_ms > 0 else "back") in jumps[0].text


def test_journal_wall_clock_that_was_set_while_nobody_recorded_is_an_event_too(
    site: FakeSite,
) -> None:
    site.journal().drain(site.now_ns)
    site.wall.now_offset_ms += 5_000
    site.journal().drain(site.now_ns)
    assert [row.first for row in site.notes(Note.CLOCK_SET)] == [5_000]


def test_journal_wall_clock_that_is_read_a_little_off_is_not_set(site: FakeSite) -> None:
    journal = site.journal()
    for off_ms in (0, 40, -40, 20):
        site.wall.now_offset_ms = UTC_ms + off_ms
        journal.drain(site.now_ns)
    assert site.notes(Note.CLOCK_SET) == []


def test_journal_after_a_reboot_goes_on_with_the_new_clock(site: FakeSite) -> None:
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    site.wall = FakeWall("boot-2", UTC_ms + 50_000_000)
    site.now_ns = 5 * S_ns
    site.start()
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    rows = [row for row in site.rows() if row.kind == 30]
    assert [row.utc_ms for row in rows] == [UTC_ms + START_MS, UTC_ms + 50_005_000]
    assert site.notes(Note.CLOCK_SET) == []
    store = Store(site.place.journal)
    assert [era.boot for era in store.eras().values()][-1] == "boot-2" != BOOT
    store.close()


@pytest.mark.parametrize("damage", [b"", b'{"site": {"na', b"\xff\xfe{}"])
def test_journal_tables_that_are_damaged_are_said_to_be(site: FakeSite, damage: bytes) -> None:
    site.site_dir.tables.write_bytes(damage)
    with pytest.raises(LoadctlError, match=r"tables\.json: is damaged \(.*\); start the site anew"):
        site.journal().drain(site.now_ns)


def test_journal_tables_of_another_version_are_an_error_that_does_not_stay(
    site: FakeSite,
) -> None:
    good = site.site_dir.tables.read_text()
    site.site_dir.tables.write_text(good.replace('"weight"', '"other"'))
    journal = site.journal()
    with pytest.raises(LoadctlError, match="written by another version"):
        journal.drain(site.now_ns)
    site.site_dir.tables.write_text(good)
    journal.drain(site.now_ns)
    assert [row.kind for row in site.rows()] == [Note.RECORDER_STARTED]


def test_journal_image_of_another_version_is_an_error_that_does_not_stay(site: FakeSite) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    good = site.site_dir.image.read_bytes()
    bad = bytearray(good)
    bad[8] ^= 1  # the layout's hash
    (site.site_dir.path / "other").write_bytes(bytes(bad))
    (site.site_dir.path / "other").rename(site.site_dir.image)
    with pytest.raises(LoadctlError, match="use the version that runs"):
        journal.drain(site.now_ns)
    site.start()
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert site.numbers() == [0]


def eras_of(site: FakeSite) -> int:
    store = Store(site.place.journal)
    try:
        return len(store.eras())
    finally:
        store.close()


def test_journal_tables_of_a_new_guard_beside_an_old_image_cost_no_era_at_each_look(
    site: FakeSite,
) -> None:
    """Between the start of a changed site's guard and the first scan it may take long."""
    site.publish()
    journal = site.journal()
    journal.drain(site.now_ns)
    before = eras_of(site)
    site.tables = small_tables(3)
    site.start_guard()
    for _ in range(20):
        site.pass_s(0.25)
        journal.drain(site.now_ns)
    assert eras_of(site) == before
    site.start()
    for _ in range(5):
        site.pass_s(1)
        site.publish()
        journal.drain(site.now_ns)
    assert eras_of(site) == before + 1
    site.tables = small_tables(4)
    site.start()
    journal.drain(site.now_ns)  # no second of it yet
    assert eras_of(site) == before + 1


def test_journal_scan_that_was_killed_while_it_published_does_not_hide_the_next(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    old = journal._followers[0]._open
    assert old is not None

    def torn() -> Ring:
        raise LoadctlError("no whole scan in 8 tries")

    monkeypatch.setattr(old, "ring", torn)
    site.start()
    site.number()
    site.publish()
    with pytest.raises(LoadctlError, match="no whole scan"):
        journal.drain(site.now_ns)
    journal.drain(site.now_ns)
    assert site.numbers() == [0]
