"""Records of the control socket: what they hold comes back, and nothing else is one."""

from __future__ import annotations

import struct

import pytest

from loadctl.control import (
    MOST_POWER_W,
    RECORD_BYTES,
    Adopt,
    Answer,
    Change,
    Code,
    Field,
    Kind,
    Limit,
    MOST_LIMIT_mA,
    MOST_SPAN_ns,
    limit_bounds,
    pack_adopt,
    pack_answer,
    pack_change,
    pack_limit,
    unpack,
    unpack_adopt,
    unpack_answer,
    unpack_change,
    unpack_limit,
)

HASH = -0x7123_4567_89AB_CDEF
ZERO = Limit(0, (0, 0, 0), None, None)


@pytest.mark.parametrize(
    "limit",
    [
        ZERO,
        Limit(4095, None, 0, None),
        Limit(3, (1, 2, 3), 4, 5),
        Limit(1, None, None, None),
        Limit(1, None, None, MOST_SPAN_ns),
        Limit(1, (MOST_LIMIT_mA,) * 3, MOST_POWER_W, 1),
        Limit(-1, (-1, -2, -3), -4, -5),  # what is out of bounds arrives as it is
    ],
)
def test_record_of_a_limit_comes_back_as_it_went(limit: Limit) -> None:
    data = pack_limit(limit, 0xFFFF_FFFF, HASH)
    assert len(data) == RECORD_BYTES
    record = unpack(data)
    assert record is not None
    assert (record.kind, record.serial, record.site_hash) == (Kind.LIMIT, 0xFFFF_FFFF, HASH)
    assert unpack_limit(record.body) == limit


def test_record_has_its_bytes_where_they_were_first_laid_out() -> None:
    """Commands and scans of different versions talk to each other: places never move."""
    data = pack_limit(Limit(7, (1, 2, 3), 4, 5), 6, HASH)
    assert data == b"ldct" + struct.pack("=HHIqiI3iiq", 1, 1, 6, HASH, 7, 7, 1, 2, 3, 4, 5) + bytes(
        12
    )


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES - 1, RECORD_BYTES + 1, 1000])
def test_record_of_another_size_is_none(size: int) -> None:
    assert unpack(pack_limit(ZERO, 1, HASH)[:size].ljust(size, b"\0")) is None


@pytest.mark.parametrize("at", range(6))
def test_record_of_another_magic_or_version_is_none(at: int) -> None:
    data = bytearray(pack_limit(ZERO, 1, HASH))
    data[at] ^= 1
    assert unpack(bytes(data)) is None


@pytest.mark.parametrize("at", range(32, RECORD_BYTES - 20))
def test_limit_with_bytes_where_zeros_belong_is_none(at: int) -> None:
    """A later version may give them a meaning: an older scan must not take them for nothing."""
    body = bytearray(pack_limit(ZERO, 1, HASH)[20:])
    body[at] = 1
    assert unpack_limit(bytes(body)) is None


@pytest.mark.parametrize("bit", range(3, 32))
def test_limit_with_an_unknown_flag_is_none(bit: int) -> None:
    body = bytearray(pack_limit(ZERO, 1, HASH)[20:])
    body[4 + bit // 8] |= 1 << bit % 8
    assert unpack_limit(bytes(body)) is None


def test_answer_comes_back_as_it_went() -> None:
    answer = Answer(Code.OUT_OF_BOUNDS, Field.SPAN_ns, 1, MOST_SPAN_ns)
    data = pack_answer(answer, Kind.LIMIT, 9, HASH)
    assert len(data) == RECORD_BYTES
    assert unpack_answer(data, 9) == answer


def test_answer_to_another_record_is_none_but_a_refusal_to_talk_at_all() -> None:
    assert unpack_answer(pack_answer(Answer(Code.ACCEPTED), 1, 8, HASH), 9) is None
    refused = Answer(Code.NOT_ALLOWED)
    assert unpack_answer(pack_answer(refused, 0, 0, 0), 9) == refused


@pytest.mark.parametrize(("code", "field"), [(99, 0), (-1, 0), (0, 99)])
def test_answer_of_a_later_version_is_none(code: int, field: int) -> None:
    data = pack_limit(ZERO, 9, HASH)[:20] + struct.pack("=iiqq", code, field, 0, 0) + bytes(20)
    assert unpack_answer(data, 9) is None


@pytest.mark.parametrize(
    ("limit", "answer"),
    [
        (ZERO, Answer(Code.ACCEPTED)),
        (Limit(0, None, None, None), Answer(Code.ACCEPTED)),
        (
            Limit(0, (0, 0, -1), None, None),
            Answer(Code.OUT_OF_BOUNDS, Field.LIMIT_mA, 0, MOST_LIMIT_mA),
        ),
        (
            Limit(0, (0, MOST_LIMIT_mA + 1, 0), None, None),
            Answer(Code.OUT_OF_BOUNDS, Field.LIMIT_mA, 0, MOST_LIMIT_mA),
        ),
        (Limit(0, (MOST_LIMIT_mA,) * 3, MOST_POWER_W, MOST_SPAN_ns), Answer(Code.ACCEPTED)),
        (Limit(0, None, -1, None), Answer(Code.OUT_OF_BOUNDS, Field.POWER_W, 0, MOST_POWER_W)),
        (
            Limit(0, None, MOST_POWER_W + 1, None),
            Answer(Code.OUT_OF_BOUNDS, Field.POWER_W, 0, MOST_POWER_W),
        ),
        (Limit(0, None, 0, 0), Answer(Code.OUT_OF_BOUNDS, Field.SPAN_ns, 1, MOST_SPAN_ns)),
        (
            Limit(0, None, 0, MOST_SPAN_ns + 1),
            Answer(Code.OUT_OF_BOUNDS, Field.SPAN_ns, 1, MOST_SPAN_ns),
        ),
    ],
)
def test_limit_out_of_bounds_names_the_number_and_its_bounds(limit: Limit, answer: Answer) -> None:
    assert limit_bounds(limit) == answer


@pytest.mark.parametrize(
    "change",
    [
        Change(1, -1, 0),
        Change(36, 2**31 - 1, 2**62),
        Change(-(2**31), 4, -(2**62)),
        Change(5, -1, None),
    ],
)
def test_record_of_a_change_comes_back_as_it_went(change: Change) -> None:
    data = pack_change(change, 5, HASH)
    record = unpack(data)
    assert record is not None
    assert (len(data), record.kind, record.serial) == (RECORD_BYTES, Kind.TUNE, 5)
    assert unpack_change(record.body) == change


@pytest.mark.parametrize("adopt", [Adopt(1, None), Adopt(64, 1), Adopt(-1, MOST_SPAN_ns)])
def test_record_of_an_adoption_comes_back_as_it_went(adopt: Adopt) -> None:
    record = unpack(pack_adopt(adopt, 5, HASH))
    assert record is not None
    assert record.kind == Kind.ADOPT
    assert unpack_adopt(record.body) == adopt


def test_records_of_changes_have_their_bytes_where_they_were_first_laid_out() -> None:
    head = struct.pack("=HHIq", 1, 2, 6, HASH)
    assert pack_change(Change(31, 2, 8_000), 6, HASH) == (
        b"ldct" + head + struct.pack("=iiiq", 1, 31, 2, 8_000) + bytes(24)
    )
    head = struct.pack("=HHIq", 1, 3, 6, HASH)
    assert pack_adopt(Adopt(2, 5), 6, HASH) == (
        b"ldct" + head + struct.pack("=iq", 2, 5) + bytes(32)
    )


@pytest.mark.parametrize("at", range(20, RECORD_BYTES - 20))
def test_change_with_bytes_where_zeros_belong_is_none(at: int) -> None:
    body = bytearray(pack_change(Change(31, 2, 8_000), 6, HASH)[20:])
    body[at] = 1
    assert unpack_change(bytes(body)) is None


@pytest.mark.parametrize("at", range(12, RECORD_BYTES - 20))
def test_adoption_with_bytes_where_zeros_belong_is_none(at: int) -> None:
    body = bytearray(pack_adopt(Adopt(1, None), 6, HASH)[20:])
    body[at] = 1
    assert unpack_adopt(bytes(body)) is None


@pytest.mark.parametrize("has_value", [-1, 2, 256])
def test_change_that_neither_has_a_value_nor_has_none_is_none(has_value: int) -> None:
    assert unpack_change(struct.pack("=iiiq", has_value, 31, 0, 0) + bytes(24)) is None


def test_change_back_that_has_a_value_is_none() -> None:
    assert unpack_change(struct.pack("=iiiq", 0, 31, 0, 1) + bytes(24)) is None
