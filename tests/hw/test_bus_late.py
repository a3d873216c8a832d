"""A reply that comes too late never becomes the value of another register, whatever its delay."""

import pytest

from hw.wire import READ_INPUT, WRITE_MANY, WRITE_ONE, Code, Exchange
from tests.support.rtu_frames import answer
from tests.support.virtual_line import MS, PATIENCE, VirtualBus

PERIOD_ns = 500 * MS
CURRENTS = Exchange(1, READ_INPUT, 100, 3)
POWERS = Exchange(1, READ_INPUT, 200, 3)
STATUS = Exchange(2, READ_INPUT, 100, 3)
SETPOINT = Exchange(2, WRITE_ONE, 500, 1, b"\x00\x3c")
LIMIT = Exchange(1, WRITE_ONE, 300, 1, b"\x00\x10")
SCAN = (CURRENTS, LIMIT, POWERS, STATUS, SETPOINT)


def true_payload(exchange: Exchange) -> bytes:
    """What `answer` says: each register holds its own number."""
    if exchange.is_write:
        return b""
    registers = range(exchange.register, exchange.register + exchange.count)
    return b"".join(register.to_bytes(2, "big") for register in registers)


class SlowDevice:
    """Each reply by itself late by `delay_of(n)`, in whatever order that gives."""

    def __init__(self, delay_of) -> None:
        self.delay_of = delay_of
        self.n_asked = 0

    def __call__(self, request: bytes):
        if request[0] != 1:
            return [(5 * MS, answer(request))]
        delay_ns = self.delay_of(self.n_asked)
        self.n_asked += 1
        return [] if delay_ns is None else [(delay_ns, answer(request))]


def run_scans(rig: VirtualBus, exchanges, n_scans: int) -> list[Code]:
    """Run fixed-period scans; every good read must hold its own register numbers."""
    codes = []
    start_ns = rig.clock.at_ns
    for scan in range(n_scans):
        rig.clock.sleep_until(start_ns + scan * PERIOD_ns)
        rig.bus.new_scan()
        for exchange in exchanges:
            reply = rig.bus.transact(
                exchange, patience=PATIENCE, deadline_ns=start_ns + (scan + 1) * PERIOD_ns
            )
            codes.append(reply.code)
            if reply.code is Code.GOOD:
                assert reply.payload == true_payload(exchange)
            else:
                assert reply.payload == b""
    return codes


@pytest.mark.parametrize("asked", [0, 2])
def test_one_late_reply_any_delay_never_becomes_another_register(asked: int) -> None:
    for delay_ms in range(1_001):
        device = SlowDevice(lambda n, d=delay_ms: d * MS if n == asked else 5 * MS)
        codes = run_scans(VirtualBus(device), SCAN, 8)
        assert codes[-4:] == [Code.GOOD] * 4


def test_every_reply_late_by_the_same_delay_never_becomes_another_register() -> None:
    for delay_ms in range(1_001):
        device = SlowDevice(lambda n, d=delay_ms: d * MS)
        run_scans(VirtualBus(device), SCAN, 10)


def test_every_second_reply_late_never_becomes_another_register() -> None:
    for delay_ms in range(0, 1_001, 3):
        device = SlowDevice(lambda n, d=delay_ms: d * MS if n % 2 else 5 * MS)
        run_scans(VirtualBus(device), SCAN, 10)


def test_late_from_some_scan_on_never_becomes_another_register() -> None:
    for delay_ms in range(0, 1_001, 3):
        device = SlowDevice(lambda n, d=delay_ms: None if n == 2 else d * MS if n > 2 else 5 * MS)
        run_scans(VirtualBus(device), SCAN, 12)


def test_second_register_asked_for_the_first_time_after_a_loss_waits() -> None:
    rig = VirtualBus(SlowDevice(lambda n: PERIOD_ns + 5 * MS))
    codes = run_scans(rig, (CURRENTS,), 4)
    assert codes == [Code.NO_ANSWER, Code.GOOD, Code.GOOD, Code.GOOD]
    assert rig.ask(POWERS).code == Code.NOT_SENT
    assert (
        rig.bus.counters(1).last_not_sent
        == "a late reply to an earlier read could be taken for this one"
    )


def test_lost_reply_of_the_only_block_is_read_again_in_the_next_scan() -> None:
    rig = VirtualBus(SlowDevice(lambda n: None if n == 1 else 5 * MS))
    codes = run_scans(rig, (CURRENTS, STATUS), 4)
    assert codes[0::2] == [Code.GOOD, Code.NO_ANSWER, Code.GOOD, Code.GOOD]


def test_lost_reply_of_one_of_two_like_blocks_rests_both_for_two_periods() -> None:
    rig = VirtualBus(SlowDevice(lambda n: None if n == 2 else 5 * MS))
    codes = run_scans(rig, (CURRENTS, POWERS), 6)
    assert codes == [
        *(Code.GOOD, Code.GOOD),
        *(Code.NO_ANSWER, Code.NOT_SENT),
        *(Code.NOT_SENT, Code.NOT_SENT),
        *(Code.NOT_SENT, Code.NOT_SENT),
        *(Code.GOOD, Code.GOOD),
        *(Code.GOOD, Code.GOOD),
    ]


def test_late_acknowledgement_of_function_16_never_acknowledges_other_values() -> None:
    high = Exchange(1, WRITE_MANY, 5, 2, b"\x41\x80\x00\x00")
    low = Exchange(1, WRITE_MANY, 5, 2, b"\x40\xc0\x00\x00")
    for delay_ms in range(90, 1_001):
        device = SlowDevice(lambda n, d=delay_ms: d * MS if n == 0 else None)
        rig = VirtualBus(device)
        assert run_scans(rig, (high,), 1) == [Code.NO_ANSWER]
        rig.clock.sleep_until(1_000 * MS + PERIOD_ns)
        codes = run_scans(rig, (low,), 3)
        assert Code.GOOD not in codes
        assert device.n_asked == 4  # the decrease goes out all the same


def test_write_of_function_16_after_a_lost_one_is_trusted_two_periods_later() -> None:
    high = Exchange(1, WRITE_MANY, 5, 2, b"\x41\x80\x00\x00")
    low = Exchange(1, WRITE_MANY, 5, 2, b"\x40\xc0\x00\x00")
    rig = VirtualBus(SlowDevice(lambda n: None if n == 0 else 5 * MS))
    run_scans(rig, (high,), 1)
    rig.clock.sleep_until(1_000 * MS + PERIOD_ns)
    codes = run_scans(rig, (low,), 3)
    assert codes == [Code.BAD_FRAME, Code.BAD_FRAME, Code.GOOD]
