"""The ring of records: nobody reads half of one, and who was too slow is told."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import pytest

from loadctl.errors import LoadctlError
from loadctl.flight.ring import PLANT_LAYOUT_HASH, RingReader, RingWriter

N_WORDS = 64
COUNTERS_AT = 52  # behind six int64 and the pid


def make(path: Path, n_words: int = N_WORDS) -> tuple[RingWriter, RingReader]:
    writer = RingWriter(path / "flight", n_words, 11, 12, 13)
    return writer, RingReader(path / "flight")


def push(writer: RingWriter, *values: int) -> bool:
    return writer.push_words(array("q", values))


def read(reader: RingReader) -> list[int] | None:
    found = reader.read()
    return None if found is None else list(memoryview(found).cast("q"))


def counters(path: Path) -> tuple[int, ...]:
    """Of words that may be half written, and of whole ones."""
    return struct.unpack_from("<II", (path / "flight").read_bytes(), COUNTERS_AT)


def set_counters(path: Path, writing_to: int, written_to: int) -> None:
    """Into the file that is mapped."""
    with (path / "flight").open("r+b") as file:
        file.seek(COUNTERS_AT)
        file.write(struct.pack("<II", writing_to, written_to))


def test_head_says_whose_it_is(tmp_path: Path) -> None:
    _, reader = make(tmp_path)
    assert (reader.site_hash, reader.born[1], reader.period_ns) == (11, 12, 13)
    assert reader.layout_hash == PLANT_LAYOUT_HASH


def test_records_come_once_and_in_order_over_many_rounds(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    written, seen = [], []
    for k in range(500):
        record = [k] * (1 + k % 17)
        assert push(writer, *record)
        written += record
        if k % 3 == 0:
            found = read(reader)
            assert found is not None
            seen += found
    seen += read(reader) or []
    assert seen == written
    assert read(reader) == []


def test_full_ring_is_read_and_one_word_more_is_an_overrun(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    for k in range(N_WORDS // 8):
        push(writer, *[k] * 8)
    assert read(reader) == [k for k in range(N_WORDS // 8) for _ in range(8)]
    for k in range(N_WORDS // 8):
        push(writer, *[k] * 8)
    push(writer, 99)
    assert read(reader) is None
    push(writer, 100)
    assert read(reader) == [100]


def test_words_that_may_be_half_written_are_not_believed(tmp_path: Path) -> None:
    """A writer that is killed while it writes a record over old ones leaves `writing_to` ahead."""
    writer, reader = make(tmp_path)
    for k in range(N_WORDS // 8):
        push(writer, *[k] * 8)
    assert counters(tmp_path) == (N_WORDS, N_WORDS)
    set_counters(tmp_path, N_WORDS + 8, N_WORDS)
    assert read(reader) is None


def test_record_longer_than_the_ring_is_not_pushed(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    assert not push(writer, *range(N_WORDS + 1))
    assert read(reader) == []
    assert push(writer, *range(N_WORDS))
    assert read(reader) == list(range(N_WORDS))


def test_first_record_is_there_until_it_is_written_over(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    assert reader.from_first()
    push(writer, *range(60))
    assert reader.from_first()
    assert read(reader) == list(range(60))
    push(writer, *range(5))
    assert not reader.from_first()


def test_later_reader_goes_on_where_another_was(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    push(writer, 1, 2, 3)
    read(reader)
    push(writer, 4, 5)
    later = RingReader(tmp_path / "flight")
    later.go_on_from(reader.position)
    assert read(later) == [4, 5]
    later.from_newest()
    assert read(later) == []


def test_counters_go_round_without_a_gap(tmp_path: Path) -> None:
    """They are 32 bits wide, which a site fills in some weeks."""
    writer, reader = make(tmp_path)
    near = 2**32 - N_WORDS // 2
    set_counters(tmp_path, near, near)
    reader.from_newest()
    for k in range(20):
        push(writer, *[k] * 5)
        assert read(reader) == [k] * 5
    assert counters(tmp_path) == (100 - N_WORDS // 2,) * 2
    for _ in range(20):
        push(writer, *range(5))
    assert read(reader) is None


def test_new_ring_leaves_readers_of_the_old_one_theirs(tmp_path: Path) -> None:
    writer, reader = make(tmp_path)
    push(writer, 1)
    _, other = make(tmp_path)
    push(writer, 2)
    assert read(reader) == [1, 2]
    assert read(other) == []


@pytest.mark.parametrize("content", [b"", b"x" * 40, bytes(600)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flight"
    path.write_bytes(content)
    with pytest.raises((LoadctlError, ValueError), match=r"flight ring|empty"):
        RingReader(path)


def test_size_must_be_a_power_of_two(tmp_path: Path) -> None:
    with pytest.raises(LoadctlError, match="power of two"):
        RingWriter(tmp_path / "flight", 100, 0, 0, 0)
