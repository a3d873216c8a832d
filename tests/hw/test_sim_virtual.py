"""Buses in virtual time: exact times, the rules of the real bus, the outcomes of the real one."""

import random
from collections.abc import Callable

import pytest

from hw.sim.faults import Fate, SeededLosses
from hw.sim.outlet import Visit
from hw.sim.scenario import Losses, Scenario, random_scenario
from hw.sim.virtual import VirtualSite, VirtualWire
from hw.wire import Code, Exchange, Line, Patience, exchange_ns
from loadctl.units import NS_PER_MS as MS
from loadctl.units import NS_PER_S as S
from tests.support.builders import make_bus, make_charger, make_tables
from tests.support.sim_sites import metered_site
from tests.support.virtual_line import VirtualBus

LINE = Line(19_200, "8E1")
PATIENCE = Patience(10 * MS, 80 * MS, 0, False)
METER = Exchange(1, 4, 0, 20)
STATUS = Exchange(11, 4, 0, 5)
WRITE = Exchange(11, 6, 100, 1, bytes((0, 60)))


class Scripted:
    """The fate of each exchange in turn, then well."""

    def __init__(self, *fates: Fate) -> None:
        self._fates = list(fates)

    def fate(self, request: bytes, now_ns: int) -> Fate:
        return self._fates.pop(0) if self._fates else Fate()


def wire_of(*fates: Fate, n_chargers: int = 2) -> VirtualWire:
    virtual = VirtualSite(metered_site(n_chargers), Scenario(), start_ns=S)
    virtual.lines[0].faults = Scripted(*fates)
    return virtual.wires[0]


def codes(wire: VirtualWire, *exchanges: Exchange, within_ns: int = S) -> list[Code]:
    return [wire.transact(e, PATIENCE, wire.now_ns() + within_ns).code for e in exchanges]


def test_exchange_takes_exactly_the_wire_time_and_the_turnaround() -> None:
    wire = wire_of()
    first = wire.transact(STATUS, PATIENCE, 2 * S)
    assert (first.code, first.begun_at_ns) == (Code.GOOD, S)
    wire_ns = LINE.bytes_ns(8) + 10 * MS + LINE.bytes_ns(15)
    assert first.ended_at_ns == S + wire_ns
    second = wire.transact(WRITE, PATIENCE, 2 * S)
    assert second.begun_at_ns == first.ended_at_ns + LINE.silent_ns
    assert second.ended_at_ns == first.ended_at_ns + exchange_ns(LINE, WRITE, 10 * MS)


def test_turnaround_is_that_of_the_scenario_the_bus_or_the_map_in_this_order() -> None:
    def taken_ns(bus_ns: int | None, scenario_ns: int | None) -> int:
        chargers = [make_charger("bay1", address=11)]
        buses = [make_bus(turnaround_ns=bus_ns)]
        tables = make_tables(buses=buses, meters=[], chargers=chargers)
        virtual = VirtualSite(tables, Scenario(turnaround_ns=scenario_ns))
        reply = virtual.wires[0].transact(STATUS, Patience(50 * MS, 80 * MS, 0, False), S)
        return reply.ended_at_ns - LINE.bytes_ns(8) - LINE.bytes_ns(15)

    assert taken_ns(None, None) == 10 * MS
    assert taken_ns(7 * MS, None) == 7 * MS
    assert taken_ns(7 * MS, 3 * MS) == 3 * MS


@pytest.mark.parametrize(("slack_ns", "code"), [(0, Code.GOOD), (-1, Code.NOT_SENT)])
def test_exchange_that_does_not_fit_before_the_deadline_is_not_sent(
    slack_ns: int, code: Code
) -> None:
    wire = wire_of()
    wire_ns = exchange_ns(LINE, STATUS, 10 * MS) - LINE.silent_ns
    reply = wire.transact(STATUS, PATIENCE, S + wire_ns + slack_ns)
    assert reply.code is code
    n_requests = wire.slaves.plant.board.slots[wire.slaves.plant.board.bus(0)]
    assert n_requests == (1 if code is Code.GOOD else 0)


def test_lost_request_is_no_answer_at_the_timeout_and_changes_nothing() -> None:
    wire = wire_of(Fate(loses_request=True))
    reply = wire.transact(WRITE, PATIENCE, 2 * S)
    assert (reply.code, reply.ended_at_ns) == (Code.NO_ANSWER, S + LINE.bytes_ns(8) + 80 * MS)
    assert wire.slaves.plant.outlets[0].setpoint_mA == 0


def test_lost_reply_is_no_answer_and_the_setpoint_is_in_force() -> None:
    wire = wire_of(Fate(loses_reply=True))
    assert codes(wire, WRITE) == [Code.NO_ANSWER]
    assert wire.slaves.plant.outlets[0].setpoint_mA == 6_000


def test_no_answer_ends_at_the_deadline_when_that_is_sooner() -> None:
    wire = wire_of(Fate(loses_request=True))
    assert wire.transact(WRITE, PATIENCE, S + 50 * MS).ended_at_ns == S + 50 * MS


def test_flipped_bit_is_a_bad_frame() -> None:
    assert codes(wire_of(Fate(flips=4)), STATUS) == [Code.BAD_FRAME]


def test_reply_that_is_not_over_at_the_deadline_is_a_bad_frame_then() -> None:
    wire = wire_of(Fate(late_ns=5 * MS))
    deadline_ns = S + exchange_ns(LINE, STATUS, 10 * MS) - LINE.silent_ns
    reply = wire.transact(STATUS, PATIENCE, deadline_ns)
    assert (reply.code, reply.ended_at_ns) == (Code.BAD_FRAME, deadline_ns)


def test_line_is_drained_past_the_longest_reply_after_a_bad_frame() -> None:
    wire = wire_of(Fate(flips=4))
    refused = Exchange(11, 4, 0, 100)
    assert codes(wire, refused) == [Code.BAD_FRAME]
    begun_at_ns = wire.transact(METER, PATIENCE, 2 * S).begun_at_ns
    assert begun_at_ns == S + exchange_ns(LINE, refused, 10 * MS)


def test_refusal_brings_its_code_and_ends_early() -> None:
    wire = wire_of()
    reply = wire.transact(Exchange(11, 4, 0, 100), PATIENCE, 2 * S)
    assert (reply.code, reply.exception_code) == (Code.REFUSED, 2)
    assert reply.ended_at_ns == S + LINE.bytes_ns(8) + 10 * MS + LINE.bytes_ns(5)


def test_nobody_at_an_address_is_no_answer() -> None:
    assert codes(wire_of(), Exchange(99, 4, 0, 1)) == [Code.NO_ANSWER]


def test_device_that_did_not_answer_gets_no_second_exchange_in_this_scan() -> None:
    wire = wire_of(Fate(loses_request=True))
    assert codes(wire, STATUS, STATUS, METER) == [Code.NO_ANSWER, Code.NOT_SENT, Code.GOOD]
    wire.new_scan()
    assert codes(wire, STATUS) == [Code.GOOD]


def test_read_of_another_register_is_held_back_while_a_late_reply_may_come() -> None:
    wire = wire_of(Fate(loses_reply=True))
    assert codes(wire, Exchange(11, 3, 100, 1)) == [Code.NO_ANSWER]
    other = Exchange(11, 3, 101, 1)
    wire.new_scan()
    assert codes(wire, other, STATUS) == [Code.NOT_SENT, Code.GOOD]


def test_reply_later_than_the_timeout_is_not_taken_for_the_next_one() -> None:
    wire = wire_of(Fate(late_ns=75 * MS))
    assert codes(wire, STATUS, Exchange(12, 4, 0, 5)) == [Code.NO_ANSWER, Code.BAD_FRAME]


def test_reply_later_than_the_deadline_is_flushed_before_the_next_scan() -> None:
    wire = wire_of(Fate(late_ns=75 * MS))
    assert codes(wire, STATUS) == [Code.NO_ANSWER]
    wire._clock.sleep_until(2 * S)
    wire.new_scan()
    assert codes(wire, METER, STATUS) == [Code.GOOD, Code.GOOD]


@pytest.mark.parametrize(("gap_on_bus", "other_waits_ns"), [(False, 0), (True, 100 * MS)])
def test_gap_is_kept_by_the_device_or_by_the_bus(gap_on_bus: bool, other_waits_ns: int) -> None:
    wire = wire_of()
    slow = Patience(10 * MS, 80 * MS, 100 * MS, gap_on_bus)
    first = wire.transact(STATUS, slow, 2 * S)
    other = wire.transact(METER, PATIENCE, 2 * S)
    again = wire.transact(STATUS, slow, 2 * S)
    waits_ns = max(other_waits_ns, LINE.silent_ns)
    assert other.begun_at_ns == first.ended_at_ns + waits_ns
    since_ns = other.ended_at_ns if gap_on_bus else first.ended_at_ns
    assert again.begun_at_ns == since_ns + 100 * MS


def test_counters_say_what_became_of_every_exchange() -> None:
    wire = wire_of(Fate(loses_request=True))
    codes(wire, STATUS, STATUS)
    wire.new_scan()
    codes(wire, STATUS, WRITE, Exchange(11, 4, 0, 100))
    seen = wire.counters(11)
    assert (seen.good, seen.no_answer, seen.not_sent, seen.refused) == (2, 1, 1, 1)


def test_runner_starts_every_bus_at_once_and_joins_at_the_latest() -> None:
    buses = [make_bus("one"), make_bus("two", baud=9_600)]
    chargers = [make_charger("bay1", address=11), make_charger("bay2", address=12, bus=1)]
    tables = make_tables(buses=buses, meters=[], chargers=chargers)
    virtual = VirtualSite(tables, Scenario(), start_ns=S)
    begun_ns, ended_ns = [], []

    def job(wire: VirtualWire, address: int) -> Callable[[], None]:
        def run() -> None:
            reply = wire.transact(Exchange(address, 4, 0, 5), PATIENCE, wire.now_ns() + S)
            begun_ns.append(reply.begun_at_ns)
            ended_ns.append(reply.ended_at_ns)

        return run

    one, two = virtual.wires
    virtual.runner.run([job(one, 11), job(two, 12)])
    assert begun_ns == [S, S]
    assert virtual.clock.now_ns() == one.now_ns() == two.now_ns() == max(ended_ns)
    assert ended_ns[1] > ended_ns[0]


def test_two_runs_of_one_story_are_equal() -> None:
    def story() -> tuple[object, list[Code]]:
        tables = metered_site(4)
        losses = Losses(30_000, 30_000, 30_000, 200 * MS, 10_000)
        virtual = VirtualSite(tables, random_scenario(tables, 3, losses))
        return virtual.report(), [reply.code for reply in scans(virtual.wires[0], 50)]

    assert story() == story()


def test_rates_of_losses_come_out_as_asked() -> None:
    tables = metered_site(1)
    virtual = VirtualSite(tables, Scenario(losses=Losses(request_ppm=100_000, reply_ppm=100_000)))
    wire = virtual.wires[0]
    seen = []
    for _ in range(2_000):
        wire.new_scan()
        seen += codes(wire, METER)
    lost = seen.count(Code.NO_ANSWER) / len(seen)
    assert 0.17 < lost < 0.21  # 1 - 0.9 * 0.9 = 0.19
    assert virtual.report()["buses"]["one"]["lost"] == seen.count(Code.NO_ANSWER)


def scans(wire: VirtualWire, n: int) -> list:
    replies = []
    for _ in range(n):
        wire.new_scan()
        end_ns = wire.now_ns() + 400 * MS
        replies += [wire.transact(e, PATIENCE, end_ns) for e in some_exchanges(len(replies))]
    return replies


def some_exchanges(seed: int) -> list[Exchange]:
    dice = random.Random(seed)
    some = [METER]
    for _ in range(8):
        address = dice.choice((11, 12, 13))
        some.append(
            dice.choice(
                (
                    Exchange(address, 4, 0, 5),
                    Exchange(address, 3, dice.randint(100, 102), 1),
                    Exchange(address, 6, 100, 1, dice.randint(60, 160).to_bytes(2, "big")),
                    Exchange(address, 16, 100, 1, dice.randint(60, 160).to_bytes(2, "big")),
                    Exchange(address, 4, 0, 99),
                )
            )
        )
    return some


@pytest.mark.parametrize("seed", range(6))
def test_virtual_wire_and_real_bus_make_the_same_of_the_same_devices(seed: int) -> None:
    """Two copies of one site, one behind the real `Bus` on a port in virtual time: same exchanges,
    same fates, and the outcome, the payload and the time taken must agree."""
    tables = metered_site(3)
    losses = Losses(60_000, 60_000, 0, 0, 30_000)
    virtual, twin = (VirtualSite(tables, Scenario(seed=seed, losses=losses), S) for _ in range(2))

    def respond(request: bytes) -> list[tuple[int, bytes]]:
        answer = twin.lines[0].hear(request, real.clock.at_ns + LINE.bytes_ns(len(request)))
        if answer is None:
            return []
        first, rest = answer.data[:1], answer.data[1:]
        return [
            (answer.after_ns + LINE.bytes_ns(1), first),
            (answer.after_ns + LINE.bytes_ns(len(answer.data)), rest),
        ]

    real = VirtualBus(respond)
    wire = virtual.wires[0]
    for scan in range(40):
        start_ns = (scan + 2) * S
        real.clock.sleep_until(start_ns)
        virtual.clock.sleep_until(start_ns)
        real.bus.new_scan()
        wire.new_scan()
        for exchange in some_exchanges(100 * seed + scan):
            want = real.bus.transact(exchange, PATIENCE, start_ns + 600 * MS)
            got = wire.transact(exchange, PATIENCE, start_ns + 600 * MS)
            where = (scan, exchange)
            assert (where, got.code, got.payload) == (where, want.code, want.payload)
            if got.code is not Code.BAD_FRAME:
                taken_ns = want.ended_at_ns - want.begun_at_ns
                assert (where, got.ended_at_ns - got.begun_at_ns) == (where, taken_ns)
            lag_ns = max(real.clock.at_ns, wire.now_ns())
            real.clock.sleep_until(lag_ns)
            virtual.clock.sleep_until(lag_ns)


def test_meter_and_chargers_on_two_buses_share_one_plant() -> None:
    buses = [make_bus("one"), make_bus("two")]
    tables = make_tables(buses=buses, chargers=[make_charger("bay1", address=11, bus=1)])
    car = Visit("bay1", 0, follow_ns=0, rise_ns=0, wake_ns=0)
    virtual = VirtualSite(tables, Scenario(visits=(car,)))
    virtual.wires[1].transact(WRITE, PATIENCE, S)
    virtual.clock.sleep_until(2 * S)
    reply = virtual.wires[0].transact(METER, PATIENCE, 3 * S)
    assert reply.payload[:12].hex() == f"{6_000:08x}" * 3


def test_fates_follow_from_the_seed_and_differ_from_bus_to_bus() -> None:
    def fates(seed: int, bus_i: int) -> list[Fate]:
        faults = SeededLosses(Losses(request_ppm=500_000), seed, bus_i)
        return [faults.fate(b"", 0) for _ in range(40)]

    assert fates(1, 0) == fates(1, 0)
    assert fates(1, 0) != fates(2, 0)
    assert fates(1, 0) != fates(1, 1)
