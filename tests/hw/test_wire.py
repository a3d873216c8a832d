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
    crc16,
    exchange_ns,
    failed_ns,
)


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
