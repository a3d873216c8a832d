"""Replay: equal where nothing was changed; one changed bit is reported at its scan."""

from __future__ import annotations

import json
import random
import zlib
from array import array
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loadctl._core import Core
from loadctl.cli.replay import replay
from loadctl.errors import LoadctlError
from loadctl.flight.calls import CALLS
from loadctl.flight.files import FRAME, MARK, META, chunk_bytes, chunk_of, frames, read_head
from loadctl.flight.player import Player, header
from loadctl.flight.replay import Replay, find
from loadctl.flight.tape import hash_block
from tests.support.flights import faulty_flight, files
from tests.support.scan_rig import S_ns

SEED = 2
HEAD_WORDS, SUM_AT = 9, 8
MINUTES = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of some minutes with faults."""
    taped = faulty_flight(SEED, MINUTES * 60 * S_ns, tmp_path_factory.mktemp("site"))
    taped.run(MINUTES * 60 * S_ns)
    return taped.end()


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.flight"
    path.write_bytes(next(files(recorded)).read_bytes())
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(replay, [str(argument) for argument in arguments])


def chunks(path: Path) -> list[tuple[int, int, bytes]]:
    with path.open("rb") as file:
        read_head(file, path.name)
        return [(frame.at, frame.end, frame.body or b"") for frame in frames(file)]


def rewrite(path: Path, words_of: dict[int, array[int]]) -> None:
    """Put other words into chunks, with sums that are right for them."""
    data, at = b"", 0
    raw = path.read_bytes()
    for k, (begin, end, body) in enumerate(chunks(path)):
        data += raw[at:begin]
        if k in words_of:
            chunk = chunk_of(body)
            data += chunk_bytes(chunk.meta, chunk.plant, memoryview(words_of[k]))
        else:
            data += raw[begin:end]
        at = end
    path.write_bytes(data)


def record_at(words: array[int], record_i: int) -> int:
    at = 0
    for _ in range(record_i):
        at += words[at]
    return at


def find_call(words: array[int], at: int, name: str) -> int:
    """The word that a call of this name begins with, in the record that begins there."""
    k, end = at + HEAD_WORDS, at + words[at]
    while k < end:
        shape = words[k]
        types = [shape >> (12 + 3 * n) & 7 for n in range(shape >> 8 & 15)]
        if shape & 255 == CALLS[name]:
            return k
        k += 1
        for kind in types:
            k += {0: 0, 4: 3}.get(kind, 1)
        answer = shape >> 50 & 3
        k += 1 if answer == 1 else 1 + 2 * words[k] if answer == 2 else 0
    raise LookupError(name)


def with_right_sum(words: array[int], at: int) -> None:
    """The sum of a record is the hash of its calls."""
    calls = words[at + HEAD_WORDS : at + words[at]]
    words[at + SUM_AT] = hash_block(calls.tobytes())


def test_untouched_recording_is_equal(recorded: Path) -> None:
    result = run(recorded)
    assert result.exit_code == 0
    assert result.output.splitlines()[0].startswith("EQUAL")
    assert f"{MINUTES * 60} scans in 1 file: scan 1 at" in result.output


def flip(path: Path, chunk_i: int, record_i: int, name: str, word: int, bit: int) -> int:
    """Change one bit of one argument and make every sum right again; the scan that it is in."""
    words = array("q", chunk_of(chunks(path)[chunk_i][2]).words)
    at = record_at(words, record_i)
    words[find_call(words, at, name) + word] ^= 1 << bit
    with_right_sum(words, at)
    rewrite(path, {chunk_i: words})
    return header(memoryview(words), at)["scan_i"]


@pytest.mark.parametrize("chunk_i", [0, 1, 3])
@pytest.mark.parametrize("bit", [0, 4, 9])
def test_one_changed_bit_of_a_meter_is_found_by_the_core_at_its_scan(
    copied: Path, chunk_i: int, bit: int
) -> None:
    """Word 3 of the call is the current on L1."""
    scan_i = flip(copied, chunk_i, 40, "meter_read", 3, bit)
    played = Replay(find(copied)).run()
    first = played.differences[0]
    assert (first.scan_i, first.what, first.detail["is_changed"]) == (scan_i, "plant", False)
    assert len(played.differences) == 1  # the next chunk begins with the recorded block again
    result = run(copied)
    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith("DIFFERENT")
    assert f"scan {scan_i} at" in result.output


def test_one_changed_bit_of_the_time_is_found_at_its_scan(copied: Path) -> None:
    scan_i = flip(copied, 1, 30, "step", 1, 3)
    assert Replay(find(copied)).run().differences[0].scan_i == scan_i


def test_fields_that_differ_are_named_where_the_next_block_shows_them(copied: Path) -> None:
    flip(copied, 1, 63, "meter_read", 3, 9)
    lines = Replay(find(copied)).run().fields[0]
    assert lines[0] == "the plant block before scan 129 differs:"
    now = {line.partition(":")[0]: line.partition(": recorded ")[2] for line in lines[1:]}
    recorded, answered = map(int, now["meter.grid.current_mA[0]"].split(", now "))
    assert abs(recorded - answered) == 1 << 9


def test_difference_that_passes_is_said_to(copied: Path) -> None:
    flip(copied, 1, 10, "meter_read", 3, 0)
    lines = Replay(find(copied)).run().fields[0]
    assert lines == ["the plant block before scan 129 is as recorded again"]


def test_setpoint_that_was_answered_otherwise_is_named(copied: Path) -> None:
    words = array("q", chunk_of(chunks(copied)[1][2]).words)
    at, k = 0, None
    while k is None and at < len(words):
        call = find_call(words, at, "takes")
        if words[call + 1]:
            k = call
        else:
            at += words[at]
    assert k is not None, "the story has a decrease in this minute"
    words[k + 3] += 100
    with_right_sum(words, at)
    rewrite(copied, {1: words})
    scan_i = header(memoryview(words), at)["scan_i"]
    line = next(line for line in run(copied).output.splitlines() if "decreases" in line)
    assert line.startswith(f"scan {scan_i} at")
    assert f"{words[k + 3] / 1000:g} A, now " in line or f"{words[k + 3] / 1000:g} A" in line


@pytest.mark.parametrize("seed", range(20))
def test_any_changed_bit_of_what_was_told_is_reported_at_its_scan(copied: Path, seed: int) -> None:
    """Also one that the core does not care for: each record has a sum over its calls."""
    dice = random.Random(seed)
    chunk_i = dice.randrange(MINUTES)
    words = array("q", chunk_of(chunks(copied)[chunk_i][2]).words)
    at = record_at(words, dice.randrange(40))
    call = find_call(words, at, dice.choice(["meter_read", "charger_status", "step"]))
    words[call + 1] ^= 1 << dice.randrange(31)
    scan_i = header(memoryview(words), at)["scan_i"]
    rewrite(copied, {chunk_i: words})
    first = Replay(find(copied)).run().differences[0]
    assert (first.scan_i, first.detail["is_changed"]) == (scan_i, True)
    assert run(copied).output.splitlines()[0].startswith("CHANGED")


def test_changed_record_that_the_core_answers_the_same_is_said(copied: Path) -> None:
    words = array("q", chunk_of(chunks(copied)[1][2]).words)
    at = record_at(words, 5)
    words[at + SUM_AT] ^= 1
    rewrite(copied, {1: words})
    played = Replay(find(copied)).run()
    assert [d.what for d in played.differences] == ["sum"]
    assert played.n_scans == MINUTES * 60


@pytest.mark.parametrize("seed", range(5))
def test_damaged_byte_is_called_damage_and_the_rest_is_played(copied: Path, seed: int) -> None:
    begin, end, _ = chunks(copied)[1]
    data = bytearray(copied.read_bytes())
    data[random.Random(seed).randrange(begin + FRAME.size, end)] ^= 1 << (seed % 8)
    copied.write_bytes(data)
    result = run(copied)
    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith("DAMAGED")
    assert f"the file is damaged at byte {begin}" in result.output
    played = Replay(find(copied)).run()
    assert (played.differences, played.n_unplayed) == ([], 0)
    n_lost = MINUTES * 60 - played.n_scans
    assert 55 <= n_lost <= 66


@pytest.mark.parametrize("at", range(0, META.size, 13))
def test_damaged_head_of_a_chunk_is_called_damage(copied: Path, at: int) -> None:
    """Times and numbers of scans are under the same sum as the records."""
    begin, _, _ = chunks(copied)[1]
    data = bytearray(copied.read_bytes())
    data[begin + FRAME.size + at] ^= 1
    copied.write_bytes(data)
    recording = find(copied)
    assert [note.kind for note in recording.notes] == ["damaged"]
    assert len(recording.metas) == MINUTES - 1


@pytest.mark.parametrize("seed", range(15))
def test_rubbish_with_right_sums_is_refused_in_words(copied: Path, seed: int) -> None:
    """Bytes that no tape writes: no crash, no endless loop, one line."""
    dice = random.Random(seed)
    begin, end, body = chunks(copied)[1]
    inner = bytearray(zlib.decompress(body[META.size :]))
    for _ in range(dice.randrange(1, 20)):
        inner[dice.randrange(len(inner))] = dice.randrange(256)
    changed = body[: META.size] + zlib.compress(bytes(inner))
    data = copied.read_bytes()
    frame = FRAME.pack(MARK, len(changed), zlib.crc32(changed)) + changed
    copied.write_bytes(data[:begin] + frame + data[end:])
    result = run(copied)
    assert result.exit_code == 1
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("arguments", [[], ["--from", "02:13"], ["--to", "5"]])
def test_recording_without_a_whole_chunk_says_so(copied: Path, arguments: list[str]) -> None:
    begin, end, _ = chunks(copied)[0]
    whole = copied.read_bytes()
    copied.write_bytes(whole[: end - 1])
    torn = f"copy.flight: its last {end - 1 - begin} bytes are torn"
    assert str(run(copied, *arguments).exception) == f"there is no scan to replay: {torn}"
    copied.write_bytes(whole[:begin])
    said = "there is no scan to replay: the recording ends behind its head"
    assert str(run(copied, *arguments).exception) == said


# a part of it


def test_range_of_scans(recorded: Path) -> None:
    said = json.loads(run(recorded, "--from", 70, "--to", 130, "--json").output)
    assert (said["equal"], said["scans"]) == (True, 61)
    assert (said["first"]["scan"], said["last"]["scan"]) == (70, 130)


def test_range_of_times(recorded: Path) -> None:
    whole = json.loads(run(recorded, "--json").output)
    begin, end = whole["first"]["at"], whole["last"]["at"]
    said = json.loads(run(recorded, "--from", begin, "--to", end, "--json").output)
    assert said["scans"] in (MINUTES * 60 - 1, MINUTES * 60)
    of_day = datetime.fromisoformat(begin) + timedelta(seconds=100)
    said = json.loads(run(recorded, "--to", f"{of_day:%H:%M:%S}", "--json").output)
    assert said["scans"] in (99, 100, 101)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "99999"], "nothing was recorded between --from and --to"),
        (["--from", "noon"], "neither a scan number nor a time"),
        (["--from", "2030-01-01T10:00", "--to", "2029-01-01T10:00"], "is before --from"),
    ],
)
def test_bad_range_is_one_clear_line(recorded: Path, arguments: list[str], words: str) -> None:
    result = run(recorded, *arguments)
    assert result.exit_code == 1
    assert words in str(result.exception)


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert str(path) in str(run(path).exception)
    (tmp_path / "x.flight").write_bytes(b"no recording")
    assert "no flight file of loadctl" in str(run(tmp_path / "x.flight").exception)


def test_json_names_the_difference(copied: Path) -> None:
    scan_i = flip(copied, 1, 63, "meter_read", 3, 9)
    said = json.loads(run(copied, "--json").output)
    assert said["equal"] is False
    first = said["differences"][0]
    assert (first["scan"], first["what"], first["file"]) == (scan_i, "plant", copied.name)
    assert first["fields"]


def test_player_knows_that_a_record_is_cut_short(recorded: Path) -> None:
    recording = find(recorded)
    words = chunk_of(chunks(next(files(recorded)))[0][2]).words
    tables = recording.files[0][1].tables
    assert Player(Core(tables)).play(words, 0) is None
    with pytest.raises(LoadctlError, match="are left"):
        Player(Core(tables)).play(words[:-1], 0)
