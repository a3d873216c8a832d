"""The journal file under everything that may happen to it: power loss, damage, a full disk, age."""

import random
import shutil
import sqlite3
from dataclasses import astuple
from pathlib import Path

import pytest

from loadctl.errors import LoadctlError
from loadctl.journal import sql
from loadctl.journal.history import FOLDED
from loadctl.journal.notes import Note
from loadctl.journal.pack import BLOCK, Packer, Unpacker
from loadctl.journal.reading import Span
from loadctl.journal.repair import move_aside, save_rows
from loadctl.journal.sql import AGED_EVENTS, AGED_MINUTES, AGED_SECONDS, Bounds, Store
from loadctl.journal.writer import JournalError
from tests.support.journal_site import FakeSite, SELDOM_ns

FULL_PAGES = 40


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    found = FakeSite(tmp_path)
    found.start()
    return found


def busy(site: FakeSite, second: int) -> None:
    """A second of a site with events and changing currents."""
    for _ in range(3):
        site.number()
    site.charger(0, "C", 6_000 + 7 * second, 6_000 + 5 * second)


def seconds_of(site: FakeSite) -> int:
    journal = site.reading()
    try:
        return len(list(journal.history("second", Span())))
    finally:
        journal.close()


# power loss


def test_journal_copied_at_any_instant_opens_and_has_everything_that_was_stored(
    site: FakeSite, tmp_path: Path
) -> None:
    """The files as they lie on the disk, without the memory that goes with them."""
    journal = site.journal()
    for second in range(25):
        busy(site, second)
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(1)
        copy = copied(site, tmp_path / f"cut{second}")
        assert copy.numbers() == list(range(3 * (second + 1)))
        copy.journal().drain(site.now_ns)
        assert len(copy.notes(Note.RECORDER_KILLED)) == 1
        assert "ended without a last flush; stored up to" in copy.said[0]


@pytest.mark.parametrize("seed", range(12))
def test_journal_whose_last_write_was_torn_loses_only_its_tail(
    site: FakeSite, tmp_path: Path, seed: int
) -> None:
    """The log is cut, or holds rubbish, from some byte on."""
    journal = site.journal()
    for second in range(12):
        busy(site, second)
        site.publish()
        journal.drain(site.now_ns)
        site.pass_s(1)
    copy = copied(site, tmp_path / "cut")
    wal = copy.place.path / "journal.sqlite-wal"
    whole = wal.read_bytes()
    chance = random.Random(seed)
    at = chance.randrange(len(whole) // 2, len(whole))
    rubbish = chance.randbytes(len(whole) - at) if seed % 2 else b""
    wal.write_bytes(whole[:at] + rubbish)
    found = copy.numbers()
    assert found == list(range(len(found)))
    assert len(found) > 3
    copy.journal().drain(site.now_ns)
    assert copy.numbers()[: len(found)] == found
    # What was cut off is still in the ring: here even that is not lost.
    copy.site_dir.tables.write_bytes(site.site_dir.tables.read_bytes())
    shutil.copy(site.site_dir.image, copy.site_dir.image)
    copy.journal().drain(site.now_ns)
    assert copy.numbers() == list(range(36))


def copied(site: FakeSite, directory: Path) -> FakeSite:
    """The same site after a power cut: no shared memory, no image."""
    copy = FakeSite(directory, site.tables)
    copy.wall = site.wall
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        if (site.place.path / name).exists():
            shutil.copy(site.place.path / name, copy.place.path / name)
    return copy


def test_journal_commit_waits_for_the_disk_and_its_log_is_bounded(site: FakeSite) -> None:
    """No test can pull the plug: these are the settings that SQLite's promise rests on."""
    site.journal().drain(site.now_ns)
    store = Store(site.place.journal)
    names = ("journal_mode", "synchronous", "auto_vacuum", "wal_autocheckpoint")
    found = [store.db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    store.close()
    assert found == ["wal", 2, 2, 500]


def test_journal_failure_within_a_transaction_leaves_nothing_of_it(site: FakeSite) -> None:
    journal = site.journal()
    journal.drain(site.now_ns)
    store = Store(site.place.journal)
    with pytest.raises(sqlite3.IntegrityError):
        half_done(store)
    assert store.meta(FOLDED) == 0
    store.close()


def half_done(store: Store) -> None:
    with store.transaction():
        store.set_meta(FOLDED, 5)
        store.put_seconds([(1, b""), (1, b"")])


# damage


def damaged_page(site: FakeSite, table: str) -> None:
    """Overwrite one page in the midst of a table."""
    db = sqlite3.connect(site.place.journal)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    try:
        pages = [
            row[0]
            for row in db.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,)
            )
        ]
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no dbstat")
    finally:
        db.close()
    assert len(pages) > 2, f"{table} is too small for this test"
    page = pages[len(pages) // 2]
    with site.place.journal.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xa5" * 4_096)


def filled(site: FakeSite, seconds: int = 200) -> None:
    journal = site.journal(flush_ns=SELDOM_ns)
    site.record(journal, seconds, lambda second: busy(site, second))
    journal.close()


@pytest.mark.parametrize("table", ["event", "second"])
def test_journal_that_is_damaged_is_kept_aside_and_saved_from(site: FakeSite, table: str) -> None:
    filled(site, 600)
    n_events, n_seconds = len(site.numbers()), seconds_of(site)
    assert (n_events, n_seconds) == (1_800, 600)
    damaged_page(site, table)
    bytes_before = site.place.journal.read_bytes()
    journal = site.journal()
    journal.drain(site.now_ns)
    kept = list(site.place.path.glob("journal.damaged-*.sqlite"))
    assert len(kept) == 1
    assert kept[0].read_bytes() == bytes_before
    assert "damaged" in site.said[0]
    assert f"kept as {kept[0].name}" in site.said[0]
    replaced = site.notes(Note.JOURNAL_REPLACED)
    assert len(replaced) == 1
    assert replaced[0].first > 1_500
    found = set(site.numbers())
    if table == "event":  # what was on that page is gone, on either side of it is not
        assert {0, 1_799} < found < set(range(1_800))
    else:
        assert found == set(range(1_800))
        assert 400 < seconds_of(site) < 600
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert 1_800 in site.numbers()


def test_journal_that_is_no_database_at_all_is_kept_aside(site: FakeSite) -> None:
    site.place.journal.write_bytes(b"not a database, whatever its name says" * 200)
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    assert site.numbers() == [0]
    assert "0 rows saved" in site.said[0]
    assert len(list(site.place.path.glob("journal.damaged-*.sqlite"))) == 1


def test_journal_that_breaks_while_it_is_written_is_replaced_as_well(site: FakeSite) -> None:
    filled(site, 600)
    journal = site.journal()
    journal.drain(site.now_ns)
    raw = sqlite3.connect(site.place.journal)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()
    with site.place.journal.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * 4_096 * 20)
    other = site.journal(flush_ns=0)
    other._failed_at_ns = site.now_ns  # so that it does not look through the file first
    for _ in range(4):
        site.pass_s(20)
        site.number()
        site.publish()
        try:
            other.drain(site.now_ns)
        except JournalError:
            continue
    assert site.n_told - 1 in site.numbers()
    assert len(list(site.place.path.glob("journal.damaged-*.sqlite"))) == 1


def test_journal_of_a_later_version_is_refused_and_not_touched(site: FakeSite) -> None:
    site.journal().drain(site.now_ns)
    raw = sqlite3.connect(site.place.journal)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(LoadctlError, match="schema 99, this loadctl knows those up to 1"):
        site.journal().drain(site.now_ns)
    assert list(site.place.path.glob("journal.damaged-*")) == []


def test_journal_of_an_earlier_version_is_led_forward(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(site, 5)
    step = ("ALTER TABLE event ADD COLUMN extra INTEGER", "CREATE TABLE another (id INTEGER)")
    monkeypatch.setattr(sql, "STEPS", (*sql.STEPS, step))
    site.number()
    site.publish()
    site.journal().drain(site.now_ns)
    assert site.numbers() == list(range(16))
    raw = sqlite3.connect(site.place.journal)
    assert raw.execute("PRAGMA user_version").fetchone() == (2,)
    assert raw.execute("SELECT extra FROM event LIMIT 1").fetchone() == (None,)
    raw.close()


# a full disk


def test_journal_on_a_full_disk_says_so_and_goes_on_when_there_is_room(site: FakeSite) -> None:
    """A bound on the pages of the file stands in for the disk."""
    journal = site.journal()
    journal.drain(site.now_ns)
    assert journal._store is not None
    journal._store.db.execute(f"PRAGMA max_page_count = {FULL_PAGES}")
    with pytest.raises(JournalError, match="full"):
        site.record(journal, 2_000, lambda second: busy(site, second))
    stored = site.numbers()
    assert stored == list(range(len(stored)))
    site.pass_s(30)
    site.number()
    site.publish()
    journal.drain(site.now_ns)
    assert site.numbers() == list(range(site.n_told))
    assert [row.first for row in site.notes(Note.NOT_STORED)] == [30]
    assert [row.first for row in site.notes(Note.HISTORY_GAP)] == [31]
    assert site.said[-1].endswith("written again")


# bounds


def aged(site: FakeSite, n_rows: int, table: str) -> Store:
    """A store with rows of history, one each second or minute, the last just before now."""
    site.now_ns += 200_000 * 10**9
    site.publish()
    site.journal().drain(site.now_ns)
    store = Store(site.place.journal)
    era = max(store.eras())
    packer = Packer()
    last = store.last_second() & sql.N_MASK
    if table == "minute":
        last = sql.row_utc_ms("second", store.last_second(), store.eras()) // 60_000
    with store.transaction():
        store.db.execute(f"DELETE FROM {table}")
        found = [(era << 32 | n, packer.pack(n, [n, 1])) for n in range(last - n_rows, last)]
        store.db.executemany(f"INSERT INTO {table} VALUES (?, ?)", found)
        store.recount(table)
    return store


def n_rows_of(store: Store, table: str) -> int:
    return int(store.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def now_ms(site: FakeSite) -> int:
    return site.now_ns // 1_000_000 + site.wall.now_offset_ms


@pytest.mark.parametrize(("table", "a_day"), [("second", 86_400), ("minute", 1_440)])
def test_pruning_keeps_history_to_its_rows(site: FakeSite, table: str, a_day: int) -> None:
    """At most so many at a time; then what comes goes out at the other end."""
    excess = sql.ROWS_AT_ONCE + 700
    store = aged(site, a_day + excess, table)
    bounds = Bounds(second_days=1, minute_days=1)
    for left in (700, 0, 0):
        with store.transaction():
            store.prune(bounds, 0)
        assert n_rows_of(store, table) == store.count(table) == a_day + left
    oldest = store.db.execute(f"SELECT min(id) FROM {table}").fetchone()[0]
    newest = store.db.execute(f"SELECT max(id) FROM {table}").fetchone()[0]
    assert newest - oldest == a_day - 1
    store.close()


@pytest.mark.parametrize(("table", "at_once"), [("second", AGED_SECONDS), ("minute", AGED_MINUTES)])
def test_pruning_by_age_is_slow_enough_for_a_clock_that_is_wrong_for_a_while(
    site: FakeSite, table: str, at_once: int
) -> None:
    """A clock ten years ahead takes a few rows a minute, not everything at once."""
    store = aged(site, 2_000, table)
    later_ms = now_ms(site) + 3_650 * sql.DAY_ms
    for turn in range(1, 4):
        with store.transaction():
            store.prune(Bounds(), later_ms)
        assert n_rows_of(store, table) == 2_000 - turn * at_once
    with store.transaction():
        store.prune(Bounds(), now_ms(site))
    assert n_rows_of(store, table) == 2_000 - 3 * at_once
    store.close()


def test_pruning_keeps_events_to_rows_and_age(site: FakeSite) -> None:
    filled(site, 500)
    store = Store(site.place.journal)
    n_events = n_rows_of(store, "event")
    with store.transaction():
        store.prune(Bounds(event_rows=1_000), now_ms(site))
    assert n_rows_of(store, "event") == 1_000
    with store.transaction():
        store.prune(Bounds(), now_ms(site) + 731 * sql.DAY_ms)
    assert n_rows_of(store, "event") == 1_000 - AGED_EVENTS
    assert site.numbers()[-1] == 1_499
    assert n_events > 1_500
    store.close()


def test_pruning_happens_while_recording_and_pages_are_used_again(site: FakeSite) -> None:
    """Hours with a bound of few events: the file grows no further."""
    journal = site.journal(flush_ns=20 * 10**9, bounds=Bounds(event_rows=1_000))
    sizes = []
    for _ in range(4):
        site.record(journal, 420, lambda second: busy(site, second))
        sizes.append(site.place.journal.stat().st_size)
    store = Store(site.place.journal)
    assert n_rows_of(store, "event") <= 1_000 + 3 * 60 + 60
    store.close()
    assert sizes[3] - sizes[2] < (sizes[1] - sizes[0]) / 2 + 40 * 4_096


def test_shrinking_gives_free_pages_back_a_few_at_a_time(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "FREE_PAGES_KEPT", 50)
    monkeypatch.setattr(sql, "FREE_PAGES_AT_ONCE", 20)
    store = aged(site, 40_000, "second")
    with store.transaction():
        store.db.execute("DELETE FROM second WHERE id < (SELECT max(id) FROM second)")
    free = store.db.execute("PRAGMA freelist_count").fetchone()[0]
    assert free > sql.FREE_PAGES_KEPT
    for _ in range(100):
        before = store.db.execute("PRAGMA freelist_count").fetchone()[0]
        store.shrink()
        after = store.db.execute("PRAGMA freelist_count").fetchone()[0]
        assert before - after <= sql.FREE_PAGES_AT_ONCE + 2
    assert store.db.execute("PRAGMA freelist_count").fetchone()[0] <= sql.FREE_PAGES_KEPT
    store.close()


# packed rows


def test_packed_rows_come_back_in_any_block_and_not_without_their_key() -> None:
    chance = random.Random(7)
    rows = {n: [chance.randrange(-(2**31), 2**31) for _ in range(50)] for n in range(200)}
    packer, unpacker = Packer(), Unpacker()
    bodies = {n: packer.pack(n, values) for n, values in rows.items()}
    assert {n: unpacker.unpack(body) for n, body in bodies.items()} == rows
    late = Unpacker()
    assert [late.unpack(bodies[n]) for n in (BLOCK + 1, BLOCK + 2)] == [None, None]
    assert late.unpack(bodies[2 * BLOCK]) == rows[2 * BLOCK]
    assert late.unpack(b"\x01rubbish") is None


def test_packed_row_that_hardly_changed_is_small() -> None:
    packer = Packer()
    values = list(range(10_000, 10_240))
    first = packer.pack(0, values)
    values[17] += 3
    assert len(packer.pack(1, values)) * 10 < len(first)


def test_journal_eras_that_no_row_refers_to_go(site: FakeSite) -> None:
    filled(site, 5)
    store = Store(site.place.journal)
    (era,) = [era for era in store.eras().values() if era.shape]
    with store.transaction():
        for number in range(100, 200):
            store.put_era(era._replace(id=number))
        store.prune(Bounds(), now_ms(site))
    assert set(store.eras()) == {era.id, 199}
    store.close()


def test_journal_of_damaged_files_only_the_newest_two_are_kept(site: FakeSite) -> None:
    for turn in range(4):
        site.place.journal.write_bytes(b"not a database, whatever its name says" * 200)
        site.pass_s(10)
        site.publish()
        journal = site.journal()
        journal.drain(site.now_ns)
        journal.close()
        kept = sorted(site.place.path.glob("journal.damaged-*"))
        assert len(kept) == min(turn + 1, 2)
        assert kept[-1].name in site.said[-1]


def test_journal_that_lost_how_far_it_was_folded_counts_nothing_twice(site: FakeSite) -> None:
    filled(site, 300)
    journal = site.reading()
    before = [astuple(session) for session in journal.sessions(Span())]
    journal.close()
    store = Store(site.place.journal)
    assert store.meta(FOLDED) > 0
    with store.transaction():
        store.db.execute("DELETE FROM meta")
    store.close()
    path = site.place.journal
    aside = move_aside(path, "then")
    saved = Store(path)
    save_rows(aside, saved, site.said.append)
    saved.close()
    other = site.journal()
    other.drain(site.now_ns)
    other.close()
    journal = site.reading()
    after = [astuple(session) for session in journal.sessions(Span())]
    journal.close()
    assert len(before) == 1
    assert after == before
