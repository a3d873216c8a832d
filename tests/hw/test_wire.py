"""Wire arithmetic: characters, silences, frame lengths, the CRC, the sums the plan is made of."""

import pytest

from hw.wire import (
    READ_HOLDING,
    READ_INPUT,
    WRITE_MANY,
    WRITE_ONE,
    Code,
    Exchange,
    Line,
    check_reply,
    crc16,
    exchange_ns,
    failed_ns,
    rtu_frame,
)
from tests.support.rtu_frames import answer, frame, read_reply, refusal


@pytest.mark.parametrize(
    ("frame", "bits"), [("8N1", 10), ("8E1", 11), ("8O1", 11), ("8N2", 11), ("8E2", 12)]
)
def test_line_frame_gives_bits_per_character(frame: str, bits: int) -> None:
    assert Line(9600, frame).bits_per_char == bits


def test_line_bytes_ns_rounds_up_to_whole_ns() -> None:
    assert Line(19200, "8E1").bytes_ns(1) == 572_917  # 572 916.67
    assert Line(19200, "8E1").bytes_ns(8) == 4_583_334
    assert Line(9600, "8N1").bytes_ns(0) == 0


@pytest.mark.parametrize(
    ("baud", "frame", "silent_ns"),
    [
        (9600, "8N1", 3_645_834),
        (19200, "8E1", 2_005_209),
        (19200, "8N1", 1_822_917),
        (38400, "8E1", 1_750_000),  # fixed above 19200 baud
        (115200, "8N1", 1_750_000),
    ],
)
def test_line_silent_ns_is_three_and_a_half_characters_or_fixed(
    baud: int, frame: str, silent_ns: int
) -> None:
    assert Line(baud, frame).silent_ns == silent_ns


@pytest.mark.parametrize(
    ("exchange", "request_bytes", "reply_bytes"),
    [
        (Exchange(1, READ_HOLDING, 0, 1), 8, 7),
        (Exchange(1, READ_INPUT, 0, 18), 8, 41),
        (Exchange(1, READ_INPUT, 0, 125), 8, 255),
        (Exchange(1, WRITE_ONE, 0, 1, b"\x00\x01"), 8, 8),
        (Exchange(1, WRITE_MANY, 0, 2, b"\x00\x01\x00\x02"), 13, 8),
    ],
)
def test_exchange_knows_the_length_of_both_frames(
    exchange: Exchange, request_bytes: int, reply_bytes: int
) -> None:
    assert (exchange.request_bytes, exchange.reply_bytes) == (request_bytes, reply_bytes)


def test_exchange_ns_is_silence_request_turnaround_reply() -> None:
    line = Line(19200, "8E1")
    read = Exchange(1, READ_INPUT, 0, 3)
    assert exchange_ns(line, read, 10_000_000) == 2_005_209 + 4_583_334 + 10_000_000 + 6_302_084
    assert failed_ns(line, read, 80_000_000) == 2_005_209 + 4_583_334 + 80_000_000 + 6_302_084


@pytest.mark.parametrize(
    ("body", "crc"),
    [
        ("01 04 00 00 00 01", "31 ca"),
        ("01 03 00 00 00 0a", "c5 cd"),
        ("11 03 00 6b 00 03", "76 87"),
    ],
)
def test_crc16_known_frames_give_known_bytes(body: str, crc: str) -> None:
    assert crc16(bytes.fromhex(body)) == bytes.fromhex(crc)


def test_code_numbers_are_those_the_core_counts_on() -> None:
    assert [(code.name, int(code)) for code in Code] == [
        ("NEVER", 0),
        ("GOOD", 1),
        ("NO_ANSWER", 2),
        ("BAD_FRAME", 3),
        ("REFUSED", 4),
        ("NOT_SENT", 5),
        ("IMPLAUSIBLE", 6),
    ]


# frames


FRAMES = [
    # from the specification's own examples, checksum by another implementation
    (Exchange(17, READ_HOLDING, 107, 3), "1103006b00037687"),
    (Exchange(1, READ_INPUT, 8, 1), "010400080001b008"),
    (Exchange(17, WRITE_ONE, 1, 1, b"\x00\x03"), "1106000100039a9b"),
    (Exchange(17, WRITE_MANY, 1, 2, b"\x00\x0a\x01\x02"), "11100001000204000a0102c6f0"),
]


@pytest.mark.parametrize(("exchange", "expected"), FRAMES)
def test_rtu_frame_is_that_of_the_specification(exchange: Exchange, expected: str) -> None:
    assert rtu_frame(exchange).hex() == expected


@pytest.mark.parametrize(("exchange", "_frame"), FRAMES)
def test_rtu_frame_has_the_length_that_the_plan_counts(exchange: Exchange, _frame: str) -> None:
    assert len(rtu_frame(exchange)) == exchange.request_bytes


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange(1, 5, 0, 1, b"\xff\x00"),
        Exchange(1, WRITE_ONE, 0, 2, bytes(4)),
        Exchange(1, WRITE_ONE, 0, 1, b""),
        Exchange(1, WRITE_MANY, 0, 2, bytes(3)),
        Exchange(1, READ_INPUT, 0, 1, bytes(2)),
    ],
)
def test_rtu_frame_of_what_no_bus_can_do_is_a_value_error(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match=r"^not an exchange that a bus can do"):
        rtu_frame(exchange)


READ_3 = Exchange(1, READ_HOLDING, 7, 3)
WRITE_6 = Exchange(1, WRITE_ONE, 100, 1, b"\x00\xa0")
WRITE_16 = Exchange(1, WRITE_MANY, 100, 2, b"\x00\xa0\x00\xa1")


@pytest.mark.parametrize("exchange", [READ_3, WRITE_6, WRITE_16])
def test_check_reply_of_a_well_device_is_good(exchange: Exchange) -> None:
    payload = b"" if exchange.is_write else bytes.fromhex("000700080009")
    assert check_reply(exchange, answer(rtu_frame(exchange))) == (Code.GOOD, payload, 0)


@pytest.mark.parametrize("exchange", [READ_3, WRITE_6, WRITE_16])
def test_check_reply_with_any_bit_turned_is_never_good(exchange: Exchange) -> None:
    whole = answer(rtu_frame(exchange))
    for bit in range(8 * len(whole)):
        turned = bytearray(whole)
        turned[bit // 8] ^= 1 << bit % 8
        assert check_reply(exchange, bytes(turned)) == (Code.BAD_FRAME, b"", 0)


@pytest.mark.parametrize("exchange", [READ_3, WRITE_6, WRITE_16])
def test_check_reply_of_any_other_length_is_never_good(exchange: Exchange) -> None:
    whole = answer(rtu_frame(exchange))
    for data in [whole[:n] for n in range(len(whole))] + [whole + b"\0", b"\0" + whole]:
        assert check_reply(exchange, data) == (Code.BAD_FRAME, b"", 0)


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (READ_3, read_reply(2, READ_HOLDING, bytes(6))),
        (READ_3, read_reply(1, READ_INPUT, bytes(6))),
        (READ_3, read_reply(1, READ_HOLDING, bytes(4))),
        (READ_3, frame(1, READ_HOLDING, 5, bytes(6))),
        (WRITE_6, frame(1, WRITE_ONE, b"\x00\x65\x00\xa0")),
        (WRITE_6, frame(1, WRITE_ONE, b"\x00\x64\x00\xa1")),
        (WRITE_16, frame(1, WRITE_MANY, b"\x00\x65\x00\x02")),
        (WRITE_16, frame(1, WRITE_MANY, b"\x00\x64\x00\x01")),
        (WRITE_6, refusal(2, WRITE_ONE, 2)),
        (WRITE_6, refusal(1, WRITE_MANY, 2)),
        (WRITE_6, refusal(1, WRITE_ONE, 2) + b"\0"),
    ],
)
def test_check_reply_to_another_request_is_a_bad_frame(exchange: Exchange, reply: bytes) -> None:
    assert check_reply(exchange, reply) == (Code.BAD_FRAME, b"", 0)


@pytest.mark.parametrize("code", [1, 2, 4, 5, 6, 11])
def test_check_reply_refused_names_the_exception(code: int) -> None:
    assert check_reply(WRITE_16, refusal(1, WRITE_MANY, code)) == (Code.REFUSED, b"", code)
