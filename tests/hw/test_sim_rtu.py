"""Frames as a slave cuts them out of what arrives."""

from hw.sim.rtu import RequestFinder, crc16, is_whole, request_length, with_crc

READ = with_crc(bytes.fromhex("010400000002"))
WRITE_MANY = with_crc(bytes.fromhex("0b100064000102003c"))
SILENT_ns = 2_000_000


def finder() -> RequestFinder:
    return RequestFinder(SILENT_ns)


def test_crc_of_the_standards_example_is_right() -> None:
    assert crc16(bytes.fromhex("0207")) == 0x1241
    assert with_crc(bytes.fromhex("0104000a0001")).hex() == "0104000a000111c8"


def test_length_of_a_request_is_known_from_its_head() -> None:
    assert request_length(READ[:2]) == 8
    assert request_length(WRITE_MANY[:6]) is None
    assert request_length(WRITE_MANY[:7]) == 11
    assert request_length(bytes.fromhex("012b")) is None


def test_request_in_one_piece_is_found_at_once() -> None:
    assert finder().feed(READ, 5) == [(5, READ)]


def test_request_in_pieces_begins_with_the_first() -> None:
    cut = finder()
    assert cut.feed(READ[:3], 5) == []
    assert cut.feed(READ[3:], 900) == [(5, READ)]


def test_pieces_with_a_silence_between_are_no_request() -> None:
    cut = finder()
    assert cut.feed(READ[:3], 0) == []
    assert cut.feed(READ[3:], SILENT_ns) == []


def test_noise_before_a_request_spoils_it_and_the_next_one_is_found() -> None:
    cut = finder()
    assert cut.feed(b"\x00" + READ, 0) == []
    assert cut.feed(READ, SILENT_ns + 1) == [(SILENT_ns + 1, READ)]


def test_wrong_checksum_is_dropped_after_the_silence() -> None:
    cut = finder()
    broken = READ[:-1] + bytes((READ[-1] ^ 1,))
    assert cut.feed(broken, 0) == []
    assert cut.silence(SILENT_ns) == []
    assert cut.silent_at_ns is None


def test_unknown_function_ends_with_the_silence() -> None:
    request = with_crc(bytes.fromhex("012b0e0100"))
    cut = finder()
    assert cut.feed(request, 7) == []
    assert cut.silent_at_ns == 7 + SILENT_ns
    assert cut.silence(7 + SILENT_ns - 1) == []
    assert cut.silence(7 + SILENT_ns) == [(7, request)]


def test_two_requests_at_once_are_both_found() -> None:
    assert [frame for _, frame in finder().feed(READ + WRITE_MANY, 0)] == [READ, WRITE_MANY]


def test_whole_needs_address_function_and_checksum() -> None:
    assert (is_whole(b""), is_whole(READ[:-1]), is_whole(READ)) == (False, False, True)
