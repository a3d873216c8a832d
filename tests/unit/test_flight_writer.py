"""Flight files: what they hold after restarts, kills, full disks and power loss."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from loadctl.errors import LoadctlError, UsageError
from loadctl.flight import files as flight_format
from loadctl.flight.files import (
    FRAME,
    HEAD,
    META,
    Damaged,
    Gap,
    chunk_of,
    frames,
    meta_of,
    read_head,
    unpacked,
)
from loadctl.flight.replay import Played, Recording, Replay, find
from loadctl.flight.ring import RingWriter
from loadctl.flight.tape import Tape, most_words, ring_words
from loadctl.tables import signed_hash
from tests.support.flights import Flight, WALL_ns, faulty_flight, files
from tests.support.scan_rig import S_ns, START_ns

SEED = 1
MINUTES = 5


def flight(path: Path, **values: float) -> Flight:
    return faulty_flight(SEED, 3_600 * S_ns, path, **values)


def play(folder: Path) -> tuple[Recording, Played]:
    recording = find(folder)
    return recording, Replay(recording).run()


def gaps(recording: Recording) -> list[Gap]:
    return [Gap(meta.gap) for meta in recording.metas if meta.gap]


def assert_seamless(recording: Recording) -> None:
    for before, after in itertools.pairwise(recording.metas):
        assert after.first_sequence == before.last_sequence + 1


def test_every_scan_is_recorded_and_every_byte_answered_again(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(MINUTES * 60 * S_ns)
    recording, played = play(taped.end())
    assert (played.n_scans, played.differences, recording.notes) == (MINUTES * 60, [], [])
    assert gaps(recording) == [Gap.BEGAN]
    assert_seamless(recording)
    assert [meta.first_scan for meta in recording.metas][:1] == [1]
    assert all(meta.has_plant for meta in recording.metas)
    assert len(recording.metas) == MINUTES


def test_block_that_is_published_is_the_one_after_its_record(tmp_path: Path) -> None:
    """Commands that are taken in after publishing belong to the next record."""
    taped = flight(tmp_path, chunk_s=3)
    rig = taped.rig

    class Commands:
        """Says something new after every scan."""

        def drain(self, now_ns: int, spare_ns: int = 0) -> None:
            rig.core.latch_background(0, (now_ns // S_ns % 1000,) * 3)

    rig.scan.commands = Commands()
    for _ in range(60):
        rig.pass_one()
        taped.writer.drain(rig.clock.now_ns())
    recording, played = play(taped.end())
    assert (played.n_scans, played.differences, played.n_unplayed) == (60, [], 0)
    assert len([meta for meta in recording.metas if meta.has_plant]) > 10


def test_record_is_in_the_ring_before_its_block_is_published(tmp_path: Path) -> None:
    """Who sees a block finds the calls that led to it: else no chunk could begin with it."""
    taped = flight(tmp_path)
    rig = taped.rig
    taped.run(3 * S_ns)
    seen = []

    class Watched:
        def cut(self, ended_at_ns: int) -> None:
            rig.core.cut(ended_at_ns)  # type: ignore[attr-defined]
            seen.append((rig.core.site()["scan_i"], rig.snapshot()["site"]["scan_i"]))

    rig.scan.tape = Watched()
    rig.pass_one()
    assert seen == [(4, 3)]
    rig.scan.bring_down()
    assert seen == [(4, 3), (4, 4)]


def test_late_writer_begins_with_the_first_record_that_the_ring_still_has(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(60 * S_ns, drains=False)
    taped.run(30 * S_ns)
    recording, played = play(taped.end())
    assert played.n_scans == 90
    assert recording.metas[0].first_sequence == 0


def test_killed_writer_goes_on_without_a_gap(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(150 * S_ns)
    taped.writer = taped.new_writer()  # the one before is gone, with what it had not written
    taped.run(90 * S_ns)
    recording, played = play(taped.end())
    assert (played.n_scans, played.differences, gaps(recording)) == (240, [], [Gap.BEGAN])
    assert_seamless(recording)
    assert len(recording.files) == 1


def test_writer_that_is_away_for_longer_than_the_ring_says_so(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(90 * S_ns)
    taped.writer.close()
    taped.writer = taped.new_writer()
    n_calls = most_words(taped.rig.tables) // 8  # of four words each: half of a record
    for _ in range(ring_words(taped.rig.tables) // (4 * n_calls)):
        for _ in range(n_calls):
            taped.rig.core.charger_answered(0, 1, 0)
        taped.rig.pass_one()
    taped.run(90 * S_ns)
    recording, played = play(taped.end())
    assert gaps(recording) == [Gap.BEGAN, Gap.OVERRUN]
    assert (played.differences, played.n_unplayed) == ([], 0)


def test_counter_that_went_round_is_not_taken_for_the_first_record(tmp_path: Path) -> None:
    """After some weeks the ring's 32 bits begin anew, in the middle of a plant's life."""
    taped = flight(tmp_path)
    taped.run(30 * S_ns, drains=False)
    with (tmp_path / "flight").open("r+b") as file:
        file.seek(52)  # both counters, behind six int64 and the pid
        file.write(bytes(8))
    taped.run(90 * S_ns)
    recording, played = play(taped.end())
    assert gaps(recording) == [Gap.OVERRUN]
    assert (played.differences, played.n_unplayed) == ([], 0)


def test_scan_that_is_started_anew_begins_a_new_file_and_a_gap(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(100 * S_ns)
    taped.rig.field.read()  # killed in the middle of a pass: what it was told is in no record
    taped.restart()
    taped.run(80 * S_ns)
    recording, played = play(taped.end())
    assert gaps(recording) == [Gap.BEGAN, Gap.RESTARTED]
    assert (played.n_scans, played.differences, played.n_unplayed) == (180, [], 0)
    assert len(recording.files) == 2
    assert [note.kind for note in played.notes] == ["began", "gap"]


def test_record_that_did_not_fit_is_a_gap_and_what_follows_is_played(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(30 * S_ns)
    for _ in range(4 * most_words(taped.rig.tables)):
        taped.rig.core.charger_answered(0, 1, 0)
    taped.run(60 * S_ns)
    recording, played = play(taped.end())
    assert gaps(recording) == [Gap.BEGAN, Gap.UNFIT]
    assert (played.differences, played.n_unplayed) == ([], 0)
    assert played.n_scans >= 85


# what a disk does


def cut_off(path: Path, n_bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - n_bytes)


@pytest.mark.parametrize("n_bytes", [1, 40, 700])
def test_torn_tail_is_said_and_the_rest_played(tmp_path: Path, n_bytes: int) -> None:
    taped = flight(tmp_path)
    taped.run(MINUTES * 60 * S_ns)
    folder = taped.end()
    path = next(files(folder))
    cut_off(path, n_bytes)
    recording, played = play(folder)
    assert [note.kind for note in recording.notes] == ["torn"]
    assert (played.n_scans, played.is_equal) == (recording.metas[-1].last_scan, True)
    assert recording.metas[-1].last_scan >= (MINUTES - 1) * 60


def test_power_loss_at_any_byte_keeps_every_whole_chunk(tmp_path: Path) -> None:
    taped = flight(tmp_path, chunk_s=20)
    taped.run(100 * S_ns)
    path = next(files(taped.end()))
    data = path.read_bytes()
    with path.open("rb") as file:
        read_head(file, "")
        begin = file.tell()
        ends = [frame.end for frame in frames(file)]
    for size in range(begin, len(data), 97):
        path.write_bytes(data[:size])
        with path.open("rb") as file:
            read_head(file, "")
            whole = [frame for frame in frames(file) if frame.body is not None]
        assert len(whole) == sum(end <= size for end in ends)


@pytest.mark.parametrize("n_torn", [0, 50_000])
def test_writer_cuts_a_torn_tail_off_and_goes_on(tmp_path: Path, n_torn: int) -> None:
    """A tail may be longer than what is written over it."""
    taped = flight(tmp_path, chunk_s=20)
    taped.run(100 * S_ns)
    path = next(files(taped.folder))
    cut_off(path, 33)
    with path.open("ab") as file:
        file.write(bytes(n_torn))
    taped.writer = taped.new_writer()
    taped.run(60 * S_ns)
    recording, played = play(taped.end())
    assert (played.n_scans, played.differences, recording.notes) == (160, [], [])


def test_full_disk_is_raised_once_a_chunk_and_recording_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taped = flight(tmp_path, chunk_s=10)
    taped.run(30 * S_ns)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        n_raised = 0
        for _ in range(20):
            try:
                taped.run(2 * S_ns)
            except OSError:
                n_raised += 1
        assert 1 <= n_raised <= 5
    taped.run(40 * S_ns)
    recording, played = play(taped.end())
    assert gaps(recording) == [Gap.BEGAN, Gap.NOT_WRITTEN]
    assert (played.differences, played.n_unplayed, recording.notes) == ([], 0, [])


# bounds


def test_files_rotate_by_time_and_each_stands_for_itself(tmp_path: Path) -> None:
    taped = flight(tmp_path, chunk_s=10, rotate_s=60)
    taped.run(MINUTES * 60 * S_ns)
    paths = list(files(taped.end()))
    assert len(paths) == MINUTES
    recording, played = play(taped.folder)
    assert (played.n_scans, played.differences) == (MINUTES * 60, [])
    assert_seamless(recording)
    for path in paths:
        one, alone = play(path)
        assert (alone.n_unplayed, alone.differences) == (0, [])
        assert alone.n_scans == sum(meta.n_records for meta in one.metas)


def test_oldest_files_go_when_all_are_too_large(tmp_path: Path) -> None:
    keep_bytes = 40_000
    taped = flight(tmp_path, chunk_s=5, keep_bytes=keep_bytes)
    largest = 0
    for _ in range(40):
        taped.run(15 * S_ns)
        largest = max(largest, sum(path.stat().st_size for path in files(taped.folder)))
    assert keep_bytes // 2 < largest <= keep_bytes
    recording, played = play(taped.end())
    assert recording.metas[-1].last_scan == 600
    assert recording.metas[0].first_scan > 1
    assert (played.differences, played.n_unplayed) == ([], 0)


def test_old_files_go(tmp_path: Path) -> None:
    taped = flight(tmp_path, chunk_s=5, rotate_s=20, keep_s=60)
    for _ in range(12):
        taped.run(15 * S_ns)
        now_s = taped.writer.wall_ns() / S_ns
        newest = list(files(taped.folder))[-1]
        os.utime(newest, (now_s, now_s))
    ages_s = [taped.writer.wall_ns() / S_ns - path.stat().st_mtime for path in files(taped.folder)]
    assert max(ages_s) <= 60 + 20
    assert len(ages_s) >= 3


# what is refused


def change_head(path: Path, change: Callable[[list], None]) -> None:  # type: ignore[type-arg]
    data = path.read_bytes()
    head = list(HEAD.unpack_from(data))
    change(head)
    path.write_bytes(HEAD.pack(*head) + data[HEAD.size :])


def test_file_of_another_layout_is_refused_with_both_named(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(10 * S_ns)
    path = next(files(taped.end()))
    change_head(path, lambda head: head.__setitem__(3, 0x1234))
    ours = f"{flight_format.PLANT_LAYOUT_HASH & (2**64 - 1):016x}"
    with pytest.raises(UsageError, match=rf"layout 0000000000001234, this loadctl has {ours}"):
        find(path)


def test_file_of_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(10 * S_ns)
    path = next(files(taped.end()))
    change_head(path, lambda head: head.__setitem__(1, 2))
    with pytest.raises(UsageError, match=r"version 2 of the format, this loadctl reads 1"):
        find(path)


def test_ring_of_another_layout_is_refused(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    with (tmp_path / "flight").open("r+b") as file:
        file.seek(8)
        file.write(bytes(8))
    with pytest.raises(LoadctlError, match="another version"):
        taped.writer.drain(0)


def test_ring_of_another_site_is_waited_out(tmp_path: Path) -> None:
    """`tables.json` is written anew a moment before the scan of a changed site starts."""
    taped = flight(tmp_path)
    tables = dataclasses.replace(taped.rig.tables, site_hash="00000000000000aa")
    RingWriter(tmp_path / "flight", 1 << 12, signed_hash(tables), 5, S_ns)
    taped.writer.drain(START_ns)
    assert taped.writer.source is None
    assert not taped.folder.exists()


def test_no_site_at_all_is_waited_for(tmp_path: Path) -> None:
    taped = flight(tmp_path / "", chunk_s=5)
    shutil.move(tmp_path / "flight", tmp_path / "elsewhere")
    taped.run(20 * S_ns)
    assert not taped.folder.exists()
    shutil.move(tmp_path / "elsewhere", tmp_path / "flight")
    taped.run(20 * S_ns)
    _, played = play(taped.end())
    assert played.n_scans == 40


def test_size_of_the_heads_is_fixed() -> None:
    """They are read from files of other builds."""
    assert (HEAD.size, FRAME.size, META.size) == (36, 12, 104)
    assert meta_of(bytes(META.size)).gap == 0


def test_tape_alone_costs_no_file(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    assert isinstance(taped.rig.core, Tape)
    taped.run(5 * S_ns, drains=False)
    assert not taped.folder.exists()


# clocks that are off, and files that are none


def left_files(taped: Flight, n: int, age_s: int = 3_600) -> list[Path]:
    """Recordings of an earlier writer, one an hour; the last is of just now."""
    taped.folder.mkdir(exist_ok=True)
    now_s = (WALL_ns + taped.rig.clock.now_ns()) // S_ns
    paths = [taped.folder / f"20251101T{i:06d}Z.flight" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(b"a recording")
        at_s = now_s - (n - i) * age_s
        os.utime(path, (at_s, at_s))
    return paths


def test_clock_that_is_ahead_for_a_minute_takes_few_files(tmp_path: Path) -> None:
    taped = flight(tmp_path, chunk_s=30, keep_s=7 * 86_400)
    left = left_files(taped, 100)
    taped.run(10 * S_ns)
    ahead_ns = [30 * 86_400 * S_ns]
    taped.writer.wall_ns = lambda: WALL_ns + taped.rig.clock.now_ns() + ahead_ns[0]
    taped.run(65 * S_ns)
    ahead_ns[0] = 0
    taped.run(65 * S_ns)
    gone = [path for path in left if not path.exists()]
    assert gone == left[: len(gone)]  # the oldest
    assert 1 <= len(gone) <= 3


def test_files_that_are_too_old_go_one_a_chunk(tmp_path: Path) -> None:
    taped = flight(tmp_path, chunk_s=10, keep_s=60)
    left = left_files(taped, 20)
    taped.run(125 * S_ns)
    n_left = sum(path.exists() for path in left)
    assert 20 - 13 <= n_left <= 20 - 7  # a chunk ends with the first look after its time


def test_boot_without_a_clock_keeps_the_files_of_this_boot(tmp_path: Path) -> None:
    """The wall clock begins at 1970 and is set by the network a while later."""
    taped = flight(tmp_path, chunk_s=5, rotate_s=20, keep_s=7 * 86_400)
    taped.writer.wall_ns = taped.rig.clock.now_ns
    taped.run(90 * S_ns)
    before = list(files(taped.folder))
    for path in before:
        os.utime(path, (0, 0))
    assert len(before) >= 4
    taped.writer.wall_ns = lambda: WALL_ns + taped.rig.clock.now_ns()
    taped.run(60 * S_ns)
    assert [path for path in before if not path.exists()] == []


def test_files_of_this_writer_go_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    """By their size; those after the clock was set back have the lower names."""
    taped = flight(tmp_path, chunk_s=5, keep_bytes=40_000)
    left = left_files(taped, 3)
    taped.run(40 * S_ns)
    early = [path for path in files(taped.folder) if path not in left]
    taped.writer.wall_ns = taped.rig.clock.now_ns
    taped.run(400 * S_ns)
    assert [path for path in [*left, *early] if path.exists()] == []
    recording, played = play(taped.end())
    assert recording.metas
    assert (played.differences, played.n_unplayed) == ([], 0)


def test_killed_writer_goes_on_in_its_file_whatever_the_names_say(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(150 * S_ns)
    (own,) = files(taped.folder)
    (tmp_path / "other").mkdir()
    other = Flight(taped.rig.tables, taped.scenario, tmp_path / "other")
    other.run(70 * S_ns)
    shutil.copy(next(files(other.end())), taped.folder / "20991231T000000Z.flight")
    (taped.folder / "20991231T000001Z.flight").touch()
    taped.writer = taped.new_writer()
    taped.run(90 * S_ns)
    taped.end()
    recording, played = play(own)
    assert (played.n_scans, played.differences, gaps(recording)) == (240, [], [Gap.BEGAN])
    assert_seamless(recording)


def test_file_on_a_full_disk_that_got_no_chunk_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is beyond the bounds goes: it may be what the disk is full of."""
    taped = flight(tmp_path, chunk_s=10, keep_s=60)
    left = left_files(taped, 3)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            taped.run(60 * S_ns)
    assert list(files(taped.folder)) == left[1:]


def test_head_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taped = flight(tmp_path, chunk_s=10)
    taped.folder.mkdir()
    synced = []
    fsync = os.fsync

    def seen(fd: int) -> None:
        synced.append((os.path.isdir(f"/proc/self/fd/{fd}"), os.fstat(fd).st_size))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", seen)
    taped.run(20 * S_ns)
    assert [is_folder for is_folder, _ in synced[:2]] == [False, True]
    assert synced[0][1] > HEAD.size


@pytest.mark.parametrize("kind", ["empty", "cut", "old"])
def test_file_that_cannot_be_read_is_left_out_of_a_folder_and_refused_alone(
    tmp_path: Path, kind: str
) -> None:
    taped = flight(tmp_path)
    taped.run(70 * S_ns)
    good = next(files(taped.end()))
    bad = taped.folder / "20200101T000000Z.flight"
    shutil.copy(good, bad)
    if kind == "old":
        change_head(bad, lambda head: head.__setitem__(3, 0x1234))
    else:
        bad.write_bytes(good.read_bytes()[: 0 if kind == "empty" else HEAD.size + 50])
    with pytest.raises(UsageError, match=rf"^{bad.name}: "):
        find(bad)
    recording, played = play(taped.folder)
    assert [(note.kind, note.where) for note in recording.notes] == [("skipped", bad.name)]
    assert (played.n_scans, played.is_equal) == (70, True)
    good.unlink()
    with pytest.raises(UsageError, match=rf"nothing in it can be read; {bad.name}"):
        find(taped.folder)


def test_file_with_tables_of_another_version_is_one_line(tmp_path: Path) -> None:
    taped = flight(tmp_path)
    taped.run(70 * S_ns)
    path = next(files(taped.end()))
    with path.open("rb") as file:
        head = read_head(file, path.name)
        rest = file.read()
    head.more["tables"]["tuning"]["new_ns"] = 5
    packed = zlib.compress(json.dumps(head.more).encode())
    numbers = (head.layout_hash, head.site_hash, zlib.crc32(packed))
    begin = HEAD.pack(flight_format.MAGIC, head.version, len(packed), *numbers)
    path.write_bytes(begin + packed + rest)
    with pytest.raises(UsageError, match=rf"{path.name}: its tables are of another version"):
        find(path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(1_000_000))
    assert len(unpacked(packed, 1_000_000)) == 1_000_000
    for data, most in ((packed, 999_999), (packed + b"x", 1_000_000), (packed[:-9], 1_000_000)):
        with pytest.raises(ValueError, match="length"):
            unpacked(data, most)
    meta = meta_of(bytes(META.size))._replace(n_words=flight_format.CHUNK_MOST_WORDS + 1)
    body = META.pack(*meta) + zlib.compress(bytes(flight_format.CHUNK_MOST_WORDS))
    with pytest.raises(Damaged, match="words cannot be in it"):
        chunk_of(body)
