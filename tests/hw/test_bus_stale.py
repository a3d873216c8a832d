"""A late reply never passes for the value of now, where a meter is read in two forms.

The meter answers with the time at which it was asked. Every delay from none to three periods.
"""

import dataclasses
from collections.abc import Callable, Iterable

import pytest

from hw.bus import Bus
from hw.descriptor import FdSerial
from hw.devices import decode_meter, measure_exchanges
from hw.sim.faults import Fate
from hw.sim.scenario import Scenario
from hw.sim.virtual import VirtualSite
from hw.wire import READ_INPUT, Code, Exchange, Reply
from loadctl.units import NS_PER_S
from tests.support.builders import make_meter, make_tables, shipped_map
from tests.support.rtu_frames import answer, read_reply, refusal
from tests.support.sim_sites import metered_site
from tests.support.virtual_fd import VirtualFd
from tests.support.virtual_line import LINE, MS, PATIENCE, VirtualBus, VirtualClock

PERIOD_ns = 500 * MS
LONGER = Exchange(1, READ_INPUT, 0, 22)
METER = Exchange(1, READ_INPUT, 0, 20, alternate=LONGER)
OTHER = Exchange(2, READ_INPUT, 100, 3)
DELAYS_ms = range(0, 1_501, 10)
N_SCANS = 14

Late = Callable[[int], bool]
LATE: dict[str, Late] = {
    "the first": lambda n: n == 0,
    "the third": lambda n: n == 2,
    "two in a row": lambda n: n in (2, 3),
    "two with one between": lambda n: n in (2, 4),
    "every second": lambda n: n % 2 == 0,
    "every third": lambda n: n % 3 == 2,
    "from the third on": lambda n: n >= 2,
    "every one": lambda n: True,
}


class StampingMeter:
    """Registers that hold the time of the request. `is_late(n)`: whether the n-th reply is."""

    def __init__(self, is_late: Late, delay_ns: int) -> None:
        self.is_late = is_late
        self.delay_ns = delay_ns
        self.now_ns: Callable[[], int] = lambda: 0
        self.asked: list[int] = []  # counts
        self.refuses: Late = lambda n: False

    def __call__(self, request: bytes) -> list[tuple[int, bytes]]:
        if request[0] != METER.address:
            return [(5 * MS, answer(request))]
        count = int.from_bytes(request[4:6], "big")
        n = len(self.asked)
        self.asked.append(count)
        delay_ns = self.delay_ns if self.is_late(n) else 5 * MS
        if self.refuses(n):
            return [(delay_ns, refusal(METER.address, METER.function, 4))]
        payload = self.now_ns().to_bytes(8, "big").ljust(2 * count, b"\0")
        return [(delay_ns, read_reply(METER.address, METER.function, payload))]


def measured_at_ns(reply: Reply) -> int:
    return int.from_bytes(reply.payload[:8], "big")


def orders() -> Iterable[tuple[Exchange, ...]]:
    """The meter first, then last: it is not asked at the same point of every scan."""
    while True:
        yield METER, OTHER
        yield OTHER, METER


def run_scans(bus: Bus, clock: VirtualClock | VirtualFd, n_scans: int = N_SCANS) -> list[Code]:
    """Codes of the meter; every good reply must have been measured after its request began."""
    codes = []
    start_ns = clock.now_ns()
    for scan, order in zip(range(n_scans), orders(), strict=False):
        clock.sleep_until(start_ns + scan * PERIOD_ns)
        bus.new_scan()
        for exchange in order:
            reply = bus.transact(exchange, PATIENCE, start_ns + (scan + 1) * PERIOD_ns)
            if exchange is METER:
                codes.append(reply.code)
                if reply.code is Code.GOOD:
                    assert measured_at_ns(reply) >= reply.begun_at_ns
    return codes


def scanned(meter: StampingMeter, n_scans: int = N_SCANS) -> list[Code]:
    rig = VirtualBus(meter)
    meter.now_ns = rig.clock.now_ns
    return run_scans(rig.bus, rig.clock, n_scans)


@pytest.mark.parametrize("which", LATE)
def test_meter_in_two_forms_late_by_any_delay_is_never_stamped_as_new(which: str) -> None:
    for delay_ms in DELAYS_ms:
        codes = scanned(StampingMeter(LATE[which], delay_ms * MS))
        if delay_ms <= 50:
            assert codes == [Code.GOOD] * N_SCANS


@pytest.mark.parametrize("which", LATE)
def test_meter_in_two_forms_on_a_real_descriptor_is_never_stamped_as_new(which: str) -> None:
    for delay_ms in DELAYS_ms:
        meter = StampingMeter(LATE[which], delay_ms * MS)
        line = VirtualFd(meter)
        meter.now_ns = lambda line=line: line.at_ns  # type: ignore[misc]
        bus = Bus(
            "garage",
            "fake",
            LINE,
            late_ns=2 * PERIOD_ns,
            clock=line,
            opener=lambda line=line: (FdSerial(line.fd), ()),  # type: ignore[misc]
        )
        bus.open()
        run_scans(bus, line, 10)
        bus.close()
        line.close()


def test_meter_in_two_forms_that_refuses_late_is_never_stamped_as_new() -> None:
    """The late refusal passes for that of the read that follows, whose own reply is late too."""
    for delay_ms in DELAYS_ms:
        meter = StampingMeter(lambda n: n in (1, 2), delay_ms * MS)
        meter.refuses = lambda n: n == 1
        scanned(meter)


def test_meter_in_two_forms_is_read_in_the_usual_one_and_after_a_loss_in_the_other() -> None:
    meter = StampingMeter(lambda n: n == 1, 3_600 * NS_PER_S)
    codes = scanned(meter, 8)
    assert codes == [Code.GOOD, Code.NO_ANSWER] + [Code.GOOD] * 6
    assert meter.asked == [20, 20, 22, 22, 22, 20, 20, 20]


def test_meter_in_two_forms_that_lost_both_is_not_asked_until_the_first_is_over() -> None:
    meter = StampingMeter(lambda n: n in (1, 2), 3_600 * NS_PER_S)
    rig = VirtualBus(meter)
    meter.now_ns = rig.clock.now_ns
    codes = run_scans(rig.bus, rig.clock, 8)
    lost, held = [Code.NO_ANSWER] * 2, [Code.NOT_SENT] * 2
    assert codes == [Code.GOOD, *lost, *held, *[Code.GOOD] * 3]
    assert meter.asked == [20, 20, 22, 20, 20, 20]
    assert (
        rig.bus.counters(1).last_not_sent
        == "a late reply to an earlier read could be taken for this one"
    )


@pytest.mark.parametrize("turnaround_ms", [10, 80])
def test_longer_read_that_fails_is_over_when_the_usual_one_would_be_if_turnaround_leaves_room(
    turnaround_ms: int,
) -> None:
    """A reply that begins just before it is given up and then runs to its full length."""
    patience = PATIENCE._replace(turnaround_ns=turnaround_ms * MS)
    rig = VirtualBus(lambda request: [])
    reply_ns = {form: LINE.bytes_ns(form.reply_bytes) for form in (METER, LONGER)}
    took_ns = []
    for form in (METER, LONGER):
        rig.bus.new_scan()
        rig.clock.at_ns += 100 * MS
        reply = rig.ask(METER, patience)
        assert rig.serial.requests[-1][1][5] == form.count
        took_ns.append(reply.ended_at_ns - reply.begun_at_ns + reply_ns[form])
    extra_ns = {10: 0, 80: reply_ns[LONGER] - reply_ns[METER]}[turnaround_ms]
    assert took_ns[1] - took_ns[0] == extra_ns


class Scripted:
    """The fate of the n-th exchange with the meter."""

    def __init__(self, is_late: Late, delay_ns: int) -> None:
        self.is_late = is_late
        self.delay_ns = delay_ns
        self.n_asked = 0

    def fate(self, request: bytes, now_ns: int) -> Fate:
        if request[0] != METER.address:
            return Fate()
        self.n_asked += 1
        return Fate(late_ns=self.delay_ns if self.is_late(self.n_asked - 1) else 0)


@pytest.mark.parametrize("which", LATE)
def test_simulated_meter_late_by_any_delay_is_never_stamped_as_new(which: str) -> None:
    """On the simulated wire, which keeps the rules of the real one, and a simulated meter."""
    for delay_ms in DELAYS_ms:
        site = VirtualSite(metered_site(1), Scenario(), start_ns=NS_PER_S)
        wire, device = site.wires[0], site.lines[0].devices[METER.address]
        site.lines[0].faults = Scripted(LATE[which], delay_ms * MS)
        heard_at_ns: dict[bytes, int] = {}  # its voltages flicker: no two readings are the same
        reply_of = device.reply

        def stamped(request: bytes, now_ns: int) -> bytes | None:
            reply = reply_of(request, now_ns)  # noqa: B023
            assert reply is not None
            heard_at_ns[reply[3:43]] = now_ns  # noqa: B023
            return reply

        device.reply = stamped  # type: ignore[method-assign]
        for scan in range(N_SCANS):
            site.clock.sleep_until(NS_PER_S + scan * PERIOD_ns)
            wire.new_scan()
            reply = wire.transact(METER, PATIENCE, NS_PER_S + (scan + 1) * PERIOD_ns)
            if reply.code is Code.GOOD:
                assert heard_at_ns[reply.payload[:40]] >= reply.begun_at_ns


def test_simulated_wire_keeps_the_rules_of_refusals_and_of_the_longer_read() -> None:
    site = VirtualSite(metered_site(1), Scenario(), start_ns=NS_PER_S)
    wire, device = site.wires[0], site.lines[0].devices[METER.address]
    site.lines[0].faults = Scripted(lambda n: n < 2, 3_600 * NS_PER_S)
    took_ns, codes = [], []
    for scan in range(8):
        if scan == 5:
            device.reply = lambda request, now_ns: refusal(1, READ_INPUT, 4)
        site.clock.sleep_until(NS_PER_S + scan * PERIOD_ns)
        wire.new_scan()
        reply = wire.transact(METER, PATIENCE, NS_PER_S + (scan + 1) * PERIOD_ns)
        codes.append(reply.code)
        took_ns.append(reply.ended_at_ns - reply.begun_at_ns)
    extra_ns = LINE.bytes_ns(LONGER.reply_bytes) - LINE.bytes_ns(METER.reply_bytes)
    assert took_ns[0] - took_ns[1] == extra_ns
    lost, held = [Code.NO_ANSWER] * 2, [Code.NOT_SENT] * 2
    assert codes == [*lost, *held, Code.GOOD, *[Code.REFUSED] * 3]  # nothing is open any more


def test_simulated_wire_takes_a_refusal_for_that_of_the_lost_read() -> None:
    site = VirtualSite(metered_site(1), Scenario(), start_ns=NS_PER_S)
    wire, device = site.wires[0], site.lines[0].devices[METER.address]
    site.lines[0].faults = Scripted(lambda n: n == 0, 3_600 * NS_PER_S)
    codes = []
    for scan in range(4):
        if scan == 1:
            device.reply = lambda request, now_ns: refusal(1, READ_INPUT, 4)
        site.clock.sleep_until(NS_PER_S + scan * PERIOD_ns)
        wire.new_scan()
        codes.append(wire.transact(METER, PATIENCE, NS_PER_S + (scan + 1) * PERIOD_ns).code)
    assert codes == [Code.NO_ANSWER, Code.REFUSED, Code.NOT_SENT, Code.NOT_SENT]


@pytest.mark.parametrize(
    ("model", "usual", "longer"), [("reference-meter", 20, 22), ("eastron-sdm630", 18, 20)]
)
def test_simulated_meter_answers_both_forms_with_the_same_values(
    model: str, usual: int, longer: int
) -> None:
    meters = [make_meter(model=model)]
    site = VirtualSite(make_tables(n_chargers=1, meters=meters), Scenario(), start_ns=NS_PER_S)
    (step,) = measure_exchanges(shipped_map(model), meters[0].address)
    assert step.exchange.alternate is not None
    forms = [dataclasses.replace(step.exchange, alternate=None), step.exchange.alternate]
    replies = [site.wires[0].transact(form, PATIENCE, 2 * NS_PER_S) for form in forms]
    assert [len(reply.payload) // 2 for reply in replies] == [usual, longer]
    first, second = (decode_meter(shipped_map(model), {step.what: r.payload}) for r in replies)
    assert first is not None
    assert first == second


def test_meter_in_one_form_late_by_a_period_is_stamped_as_new() -> None:
    """What the second form is for: without it nobody can tell."""
    meter = StampingMeter(lambda n: True, PERIOD_ns + 5 * MS)
    rig = VirtualBus(meter)
    meter.now_ns = rig.clock.now_ns
    usual = dataclasses.replace(METER, alternate=None)
    replies = []
    for scan in range(3):
        rig.clock.sleep_until(NS_PER_S + scan * PERIOD_ns)
        rig.bus.new_scan()
        replies.append(rig.ask(usual))
    assert replies[2].code is Code.GOOD
    assert replies[2].begun_at_ns - measured_at_ns(replies[2]) == PERIOD_ns
