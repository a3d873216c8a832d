"""One exchange on the bus, byte for byte and ns for ns: replies, faults, deadlines, gaps, echo."""

import pytest

from hw.wire import READ_HOLDING, READ_INPUT, WRITE_MANY, WRITE_ONE, Code, Exchange, Patience, Reply
from tests.support.rtu_frames import answer, frame, read_reply, refusal, request_frame
from tests.support.virtual_line import LINE, MS, PATIENCE, VirtualBus

READ = Exchange(1, READ_INPUT, 7, 3)
READ_PAYLOAD = bytes.fromhex("000700080009")
READ_REPLY = read_reply(1, READ_INPUT, READ_PAYLOAD)
OTHER = Exchange(2, READ_INPUT, 7, 3)
WRITE_6 = Exchange(1, WRITE_ONE, 100, 1, b"\x00\xa0")
WRITE_16 = Exchange(1, WRITE_MANY, 100, 2, b"\x00\xa0\x00\xa1")
REQUEST_ns = LINE.bytes_ns(8)
T0 = 1_000 * MS


def well(request: bytes):
    return [(5 * MS, answer(request))]


def replying(*arrivals):
    return VirtualBus(lambda request: list(arrivals))


# well devices


@pytest.mark.parametrize("address", [1, 247, 255])
def test_read_any_address_that_boxes_use_is_asked(address: int) -> None:
    assert VirtualBus(well).ask(Exchange(address, READ_INPUT, 7, 3)).payload == READ_PAYLOAD


@pytest.mark.parametrize("function", [READ_HOLDING, READ_INPUT])
def test_read_well_device_gives_raw_registers_and_exact_times(function: int) -> None:
    rig = VirtualBus(well)
    exchange = Exchange(1, function, 7, 3)
    reply = rig.ask(exchange)
    assert reply == Reply(Code.GOOD, READ_PAYLOAD, 0, T0, T0 + REQUEST_ns + 5 * MS)
    assert rig.serial.requests == [(T0, request_frame(exchange))]
    assert rig.bus.counters(1).good == 1
    assert rig.bus.counters(1).worst_turnaround_ns == 5 * MS


@pytest.mark.parametrize("write", [WRITE_6, WRITE_16])
def test_write_acknowledged_exactly_is_good_without_payload(write: Exchange) -> None:
    rig = VirtualBus(well)
    reply = rig.ask(write)
    assert (reply.code, reply.payload) == (Code.GOOD, b"")
    assert rig.serial.requests == [(T0, request_frame(write))]


def test_read_reply_in_pieces_is_put_together() -> None:
    rig = replying((5 * MS, READ_REPLY[:1]), (6 * MS, READ_REPLY[1:4]), (9 * MS, READ_REPLY[4:]))
    assert rig.ask(READ).payload == READ_PAYLOAD


def test_read_of_125_registers_fits_the_buffer() -> None:
    rig = VirtualBus(well)
    reply = rig.ask(Exchange(1, READ_HOLDING, 0, 125))
    assert (reply.code, len(reply.payload)) == (Code.GOOD, 250)


# refusals


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 11, 200])
def test_refusal_any_code_ends_at_its_fifth_byte(code: int) -> None:
    rig = replying((5 * MS, refusal(1, READ_INPUT, code)))
    reply = rig.ask(READ)
    assert reply == Reply(Code.REFUSED, b"", code, T0, T0 + REQUEST_ns + 5 * MS)
    assert rig.bus.counters(1).refused == 1
    assert rig.bus.counters(1).last_error == f"the device refused with exception {code}"


def test_refusal_leaves_the_device_free_for_another_exchange_in_the_scan() -> None:
    rig = replying((5 * MS, refusal(1, READ_INPUT, 2)))
    rig.ask(READ)
    assert rig.ask(READ).code == Code.REFUSED


def test_refusal_with_wrong_crc_is_a_bad_frame() -> None:
    rig = replying((5 * MS, refusal(1, READ_INPUT, 2)[:4] + b"\x00"))
    assert rig.ask(READ).code == Code.BAD_FRAME


def test_refusal_of_another_function_is_a_bad_frame() -> None:
    rig = replying((5 * MS, refusal(1, READ_HOLDING, 2)))
    assert rig.ask(READ).code == Code.BAD_FRAME


def test_refusal_from_another_device_is_a_bad_frame() -> None:
    rig = replying((5 * MS, refusal(2, READ_INPUT, 2)))
    assert rig.ask(READ).code == Code.BAD_FRAME


# silences and broken replies


def test_silence_is_given_up_a_timeout_after_the_end_of_the_request() -> None:
    rig = replying()
    reply = rig.ask(READ)
    assert reply == Reply(Code.NO_ANSWER, b"", 0, T0, T0 + REQUEST_ns + 80 * MS)
    assert rig.bus.counters(1).no_answer == 1


def test_first_byte_just_before_the_timeout_is_waited_for_to_its_end() -> None:
    rig = replying((80 * MS - 1, READ_REPLY[:1]), (80 * MS + LINE.bytes_ns(10), READ_REPLY[1:]))
    assert rig.ask(READ).payload == READ_PAYLOAD


def test_first_byte_after_the_timeout_is_no_answer() -> None:
    assert replying((80 * MS + 1, READ_REPLY)).ask(READ).code == Code.NO_ANSWER


GOOD_6 = answer(request_frame(WRITE_6))


@pytest.mark.parametrize(
    ("exchange", "reply"),
    [
        (READ, b"\x00" + READ_REPLY),  # noise before
        (READ, READ_REPLY[:-1]),  # truncated
        (READ, READ_REPLY[:1]),
        (READ, READ_REPLY[:-1] + b"\xff"),  # wrong CRC
        (READ, read_reply(2, READ_INPUT, READ_PAYLOAD)),  # another device
        (READ, read_reply(1, READ_HOLDING, READ_PAYLOAD)),  # another function
        (READ, frame(1, READ_INPUT, 4, READ_PAYLOAD)),  # byte count does not say what came
        (READ, frame(1, READ_INPUT, 8, READ_PAYLOAD)),
        (READ, read_reply(1, READ_INPUT, READ_PAYLOAD[:4])),  # fewer registers
        (READ, read_reply(1, READ_INPUT, READ_PAYLOAD + b"\x00\x00")),  # more registers
        (WRITE_6, frame(1, WRITE_ONE, b"\x00\x65\x00\xa0")),  # another register
        (WRITE_6, frame(1, WRITE_ONE, b"\x00\x64\x00\xa1")),  # another value
        (WRITE_16, frame(1, WRITE_MANY, b"\x00\x65\x00\x02")),  # another register
        (WRITE_16, frame(1, WRITE_MANY, b"\x00\x64\x00\x01")),  # another count
        (WRITE_6, GOOD_6[:-1] + b"\xff"),
    ],
)
def test_reply_that_is_not_exactly_right_is_a_bad_frame(exchange: Exchange, reply: bytes) -> None:
    rig = replying((5 * MS, reply))
    answered = rig.ask(exchange)
    assert (answered.code, answered.payload) == (Code.BAD_FRAME, b"")
    assert rig.bus.counters(1).bad_frame == 1


@pytest.mark.parametrize(
    "arrivals",
    [
        [(5 * MS, b"\x00" + READ_REPLY)],
        [(5 * MS, READ_REPLY[:-2])],
        [(5 * MS, read_reply(9, READ_INPUT, READ_PAYLOAD)), (15 * MS, READ_REPLY)],
        [(5 * MS, b"\x55" * 40)],
        [],
    ],
)
def test_bus_after_any_broken_reply_reads_the_next_device_well(arrivals) -> None:
    rig = VirtualBus(lambda request: arrivals if request[0] == 1 else well(request))
    assert rig.ask(READ).code in (Code.BAD_FRAME, Code.NO_ANSWER)
    assert rig.ask(OTHER).payload == READ_PAYLOAD


def test_bus_after_a_broken_reply_drains_past_turnaround_and_reply() -> None:
    rig = VirtualBus(lambda request: [(1 * MS, b"\x55" * 11)] if request[0] == 1 else well(request))
    assert rig.ask(READ).ended_at_ns == T0 + REQUEST_ns + 1 * MS
    drained_ns = T0 + REQUEST_ns + 10 * MS + LINE.bytes_ns(11)
    assert rig.ask(OTHER).begun_at_ns == drained_ns + LINE.silent_ns


def test_device_that_failed_gets_no_second_exchange_in_this_scan() -> None:
    rig = replying()
    rig.ask(READ)
    ended_at_ns = rig.clock.at_ns
    reply = rig.ask(WRITE_6)
    assert reply == Reply(Code.NOT_SENT, b"", 0, ended_at_ns, ended_at_ns)
    assert rig.bus.counters(1).last_not_sent == "failed in this scan already"
    rig.bus.new_scan()
    assert rig.ask(WRITE_6).code == Code.NO_ANSWER
    assert len(rig.serial.requests) == 2


# deadlines


def test_deadline_too_short_for_the_exchange_sends_nothing() -> None:
    rig = VirtualBus(well)
    need_ns = LINE.bytes_ns(8) + LINE.bytes_ns(11) + 10 * MS
    reply = rig.ask(READ, within_ns=need_ns - 1)
    assert reply == Reply(Code.NOT_SENT, b"", 0, T0, T0)
    assert rig.serial.requests == []
    assert rig.bus.counters(1).not_sent == 1
    assert rig.ask(READ, within_ns=need_ns).code == Code.GOOD


def test_deadline_counts_the_silence_still_due() -> None:
    rig = VirtualBus(well)
    rig.ask(OTHER)
    need_ns = LINE.silent_ns + LINE.bytes_ns(8) + LINE.bytes_ns(11) + 10 * MS
    assert rig.ask(READ, within_ns=need_ns - 1).code == Code.NOT_SENT
    assert rig.ask(READ, within_ns=need_ns).code == Code.GOOD


def test_deadline_while_waiting_for_the_first_byte_ends_the_exchange() -> None:
    rig = replying()
    reply = rig.ask(READ, within_ns=40 * MS)
    assert (reply.code, reply.ended_at_ns) == (Code.NO_ANSWER, T0 + 40 * MS)


def test_deadline_while_receiving_ends_the_exchange() -> None:
    rig = replying((5 * MS, READ_REPLY[:3]), (60 * MS, READ_REPLY[3:]))
    reply = rig.ask(READ, within_ns=40 * MS)
    assert (reply.code, reply.ended_at_ns) == (Code.BAD_FRAME, T0 + 40 * MS)


def test_truncated_reply_is_given_up_a_reply_after_the_timeout() -> None:
    rig = replying((5 * MS, READ_REPLY[:3]))
    assert rig.ask(READ).ended_at_ns == T0 + REQUEST_ns + 80 * MS + LINE.bytes_ns(11)
    assert rig.bus.counters(1).last_error == "3 of 11 bytes came"


def test_wake_after_the_latest_start_sends_nothing() -> None:
    rig = VirtualBus(well)
    rig.ask(OTHER)
    sleep_until = rig.clock.sleep_until
    rig.clock.sleep_until = lambda at_ns: sleep_until(at_ns + 30 * MS)  # type: ignore[method-assign]
    assert rig.ask(READ, within_ns=50 * MS).code == Code.NOT_SENT
    assert len(rig.serial.requests) == 1


def test_overrides_of_the_bus_replace_those_of_the_map() -> None:
    rig = VirtualBus(lambda request: [], timeout_ns=30 * MS, turnaround_ns=20 * MS)
    need_ns = LINE.bytes_ns(8) + LINE.bytes_ns(11) + 20 * MS
    assert rig.ask(READ, within_ns=need_ns - 1).code == Code.NOT_SENT
    assert rig.ask(READ).ended_at_ns == T0 + REQUEST_ns + 30 * MS


# silence, gaps, stray bytes


def test_silence_of_three_and_a_half_characters_precedes_the_next_request() -> None:
    rig = VirtualBus(well)
    ended_at_ns = rig.ask(READ).ended_at_ns
    assert rig.ask(OTHER).begun_at_ns == ended_at_ns + 2_005_209


def test_silence_that_is_over_costs_nothing() -> None:
    rig = VirtualBus(well)
    rig.ask(READ)
    rig.clock.at_ns += 3 * MS
    assert rig.ask(OTHER).begun_at_ns == rig.serial.requests[0][0] + REQUEST_ns + 8 * MS


@pytest.mark.parametrize("spoil", [0, 1])
def test_silence_is_kept_by_the_port_alone_never_by_a_sleep_of_minimalmodbus(
    spoil: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_s: float) -> None:
        raise AssertionError("slept")

    monkeypatch.setattr("minimalmodbus.time.sleep", fail)
    rig = VirtualBus(lambda request: [(5 * MS, answer(request)[:-1] + bytes((spoil,)))])
    for _ in range(3):
        rig.bus.new_scan()
        rig.ask(READ)
    assert len(rig.serial.requests) == 3


def test_gap_of_a_device_holds_only_messages_to_it() -> None:
    slow = Patience(10 * MS, 80 * MS, gap_ns=100 * MS, gap_on_bus=False)
    rig = VirtualBus(well)
    first = rig.ask(READ, slow)
    assert rig.ask(OTHER, slow).begun_at_ns == first.ended_at_ns + LINE.silent_ns
    assert rig.ask(READ, slow).begun_at_ns == first.ended_at_ns + 100 * MS


def test_gap_on_the_bus_holds_every_message() -> None:
    shy = Patience(10 * MS, 80 * MS, gap_ns=50 * MS, gap_on_bus=True)
    rig = VirtualBus(well)
    first = rig.ask(READ, shy)
    second = rig.ask(OTHER, PATIENCE)
    assert second.begun_at_ns == first.ended_at_ns + 50 * MS
    assert rig.ask(READ, shy).begun_at_ns == second.ended_at_ns + 50 * MS


def test_gap_that_does_not_fit_before_the_deadline_sends_nothing() -> None:
    slow = Patience(10 * MS, 80 * MS, gap_ns=100 * MS, gap_on_bus=False)
    rig = VirtualBus(well)
    ended_at_ns = rig.ask(READ, slow).ended_at_ns
    reply = rig.ask(READ, slow, within_ns=100 * MS)
    assert (reply.code, reply.ended_at_ns) == (Code.NOT_SENT, ended_at_ns)
    assert rig.bus.counters(1).last_not_sent == "does not fit before the deadline"


def test_input_is_flushed_immediately_before_the_first_byte() -> None:
    rig = VirtualBus(well)
    rig.ask(READ)
    assert rig.serial.log == ["flush", "write"]


def test_byte_that_arrives_in_the_silence_is_not_part_of_the_reply() -> None:
    rig = VirtualBus(well)
    rig.ask(OTHER)
    rig.serial.send_in(1 * MS, b"\x00")
    reply = rig.ask(READ)
    assert reply.payload == READ_PAYLOAD
    assert rig.bus.n_stray_bytes == 1


def test_bytes_still_coming_in_hold_the_request_until_the_line_is_silent() -> None:
    rig = VirtualBus(well)
    for at_ms in range(5):
        rig.serial.send_in(at_ms * MS, b"\xaa")
    reply = rig.ask(READ)
    assert reply.code == Code.GOOD
    assert reply.begun_at_ns >= T0 + 4 * MS + LINE.silent_ns


def test_line_that_never_falls_silent_is_talked_to_all_the_same() -> None:
    rig = VirtualBus(well)
    for at_ms in range(400):
        rig.serial.send_in(at_ms * MS, b"\xaa")
    reply = rig.ask(READ)
    assert reply.code == Code.BAD_FRAME
    assert reply.begun_at_ns <= T0 + LINE.bytes_ns(READ.reply_bytes) + LINE.silent_ns


# echo


def test_echo_declared_is_read_back_and_the_reply_found_behind_it() -> None:
    rig = VirtualBus(well, has_echo=True)
    rig.serial.echoes = True
    assert rig.ask(READ).payload == READ_PAYLOAD
    assert rig.ask(WRITE_6).code == Code.GOOD


@pytest.mark.parametrize("index", range(8))
def test_echo_that_differs_in_one_byte_is_a_bad_frame(index: int) -> None:
    def collide(request: bytes):
        spoilt = bytearray(request)
        spoilt[index] ^= 0x10
        return [(0, bytes(spoilt)), (5 * MS, answer(request))]

    rig = VirtualBus(collide, has_echo=True)
    assert rig.ask(READ).code == Code.BAD_FRAME


def test_echo_that_is_cut_short_is_a_bad_frame() -> None:
    rig = VirtualBus(lambda request: [(0, request[:5])], has_echo=True)
    assert rig.ask(READ).code == Code.BAD_FRAME
    assert rig.bus.counters(1).last_error == "5 of 8 bytes of echo came"


def test_echo_without_a_reply_is_no_answer_even_to_a_write_of_function_6() -> None:
    rig = VirtualBus(lambda request: [], has_echo=True)
    rig.serial.echoes = True
    assert rig.ask(WRITE_6).code == Code.NO_ANSWER


def test_echo_declared_but_absent_is_no_answer() -> None:
    rig = VirtualBus(lambda request: [], has_echo=True)
    assert rig.ask(READ).code == Code.NO_ANSWER
    assert rig.bus.counters(1).last_error == "no echo of the request"


SET_ECHO = "where the adapter echoes always, set echo = true for this bus"


def test_echo_not_declared_is_named_and_acknowledges_no_write() -> None:
    rig = VirtualBus(lambda request: [])
    rig.serial.echoes = True
    assert rig.ask(READ).code == Code.BAD_FRAME
    assert rig.bus.counters(1).last_error == f"the request came back: {SET_ECHO}"
    for _ in range(3):  # however often: what comes back is never more than the request
        rig.bus.new_scan()
        assert rig.ask(WRITE_6).code == Code.BAD_FRAME
        assert rig.bus.counters(1).last_error == f"this may be an echo: {SET_ECHO}"


def test_echo_not_declared_before_every_reply_stays_found() -> None:
    rig = VirtualBus(well)
    rig.serial.echoes = True
    for exchange in (READ, WRITE_16, WRITE_6, READ, WRITE_6):
        rig.bus.new_scan()
        rig.clock.at_ns += 2_000 * MS  # nothing of before is on the line or may still come
        assert rig.ask(exchange).code == Code.BAD_FRAME


@pytest.mark.parametrize(
    ("proof", "reply"),
    [
        (READ, None),
        (OTHER, None),  # of any device: the adapter is the same
        (WRITE_16, None),
        (READ, refusal(1, READ_INPUT, 2)),
        (WRITE_6, refusal(1, WRITE_ONE, 4)),
    ],
)
def test_echo_once_counts_until_a_reply_that_cannot_stand_behind_one(
    proof: Exchange, reply: bytes | None
) -> None:
    rig = VirtualBus(well)
    rig.serial.echoes = True
    rig.ask(READ)
    rig.serial.echoes = False
    rig.clock.at_ns += 2_000 * MS
    rig.bus.new_scan()
    assert rig.ask(WRITE_6).code == Code.BAD_FRAME
    rig.clock.at_ns += 2_000 * MS
    rig.bus.new_scan()
    if reply is not None:
        rig.serial.respond = lambda request: [(5 * MS, reply)]
    assert rig.ask(proof).code in (Code.GOOD, Code.REFUSED)
    rig.serial.respond = well
    assert rig.ask(WRITE_6).code == Code.GOOD


def test_echo_now_and_then_acknowledges_no_write_before_another_reply() -> None:
    rig = VirtualBus(well)
    for _ in range(3):
        rig.clock.at_ns += 2_000 * MS
        rig.bus.new_scan()
        rig.serial.echoes = True
        assert rig.ask(READ).code == Code.BAD_FRAME
        rig.serial.echoes = False
        rig.clock.at_ns += 2_000 * MS
        rig.bus.new_scan()
        assert rig.ask(WRITE_6).code == Code.BAD_FRAME
        rig.clock.at_ns += 2_000 * MS
        rig.bus.new_scan()
        assert rig.ask(READ).code == Code.GOOD
        assert rig.ask(WRITE_6).code == Code.GOOD


# what is no exchange at all


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange(1, 5, 0, 1, b"\xff\x00"),
        Exchange(1, 1, 0, 1),
        Exchange(1, WRITE_ONE, 0, 2, b"\x00\x00\x00\x00"),
        Exchange(1, WRITE_ONE, 0, 1),
        Exchange(1, WRITE_MANY, 0, 2, b"\x00\x00"),
        Exchange(1, READ_INPUT, 0, 1, b"\x00\x00"),
        Exchange(0, WRITE_ONE, 0, 1, b"\x00\x00"),
        Exchange(256, READ_INPUT, 0, 1),
    ],
)
def test_exchange_that_no_table_can_mean_is_an_error_not_a_frame(exchange: Exchange) -> None:
    rig = VirtualBus(well)
    with pytest.raises(ValueError, match=r"exchange that a bus can do|not 1 to 255"):
        rig.ask(exchange)
    assert rig.serial.requests == []
