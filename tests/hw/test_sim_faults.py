"""Every kind of fault on a simulated bus in virtual time: what the master sees, what the box does,
and that it is over when it is over."""

from dataclasses import replace

import pytest

from hw.devices import decode_meter, measure_exchanges, parse_map
from hw.sim.fault import KINDS, Fault, check
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario, load_scenario_json
from hw.sim.virtual import VirtualSite
from hw.wire import Code, Exchange, Patience, Reply
from loadctl.errors import ConfigError
from loadctl.units import NS_PER_MS as MS
from loadctl.units import NS_PER_S as S
from tests.support.builders import make_bus, make_charger, make_tables, with_map_changes
from tests.support.sim_sites import metered_site

PATIENCE = Patience(10 * MS, 80 * MS, 0, False)
METER = Exchange(1, 4, 0, 20)
STATUS = Exchange(11, 4, 0, 5)
SETPOINT = Exchange(11, 3, 100, 3)  # with watchdog and fallback
OTHER = Exchange(12, 4, 0, 5)
GOOD, NO_ANSWER, BAD_FRAME = Code.GOOD, Code.NO_ANSWER, Code.BAD_FRAME
LOAD = Load("constant", (10_000, 11_000, 12_000))
CAR = Visit("bay1", 0, follow_ns=0, rise_ns=0, wake_ns=0)


def write(setpoint_A: int, address: int = 11) -> Exchange:
    return Exchange(address, 6, 100, 1, (10 * setpoint_A).to_bytes(2, "big"))


class Bench:
    def __init__(self, *faults: Fault, n_chargers: int = 2, **changes: object) -> None:
        scenario = Scenario(loads={"main": LOAD}, visits=(CAR,), faults=faults, logs_writes=True)
        self.virtual = VirtualSite(metered_site(n_chargers), replace(scenario, **changes))
        self.wire = self.virtual.wires[0]

    def at(self, at_s: float) -> None:
        self.virtual.clock.sleep_until(round(at_s * S))

    def ask(self, *exchanges: Exchange) -> list[Reply]:
        replies = []
        for exchange in exchanges:
            self.wire.new_scan()
            deadline_ns = self.wire.now_ns() + S
            replies.append(self.wire.transact(exchange, PATIENCE, deadline_ns))
        return replies

    def codes(self, *exchanges: Exchange) -> list[Code]:
        return [reply.code for reply in self.ask(*exchanges)]

    def outlet(self):
        outlet = self.virtual.plant.outlets[0]
        outlet.advance(self.wire.now_ns())
        return outlet

    def setpoint_read_A(self) -> float:
        (reply,) = self.ask(SETPOINT)
        return int.from_bytes(reply.payload[:2], "big") / 10

    def meter_values(self):
        device_map = parse_map(self.virtual.tables.maps["reference-meter"], "test")
        (step,) = measure_exchanges(device_map, 1)
        (reply,) = self.ask(step.exchange)
        return decode_meter(device_map, {step.what: reply.payload})


LINE_FAULTS = [
    (Fault("silence", "charger.bay1"), NO_ANSWER, 0),
    (Fault("silence", "charger.bay1", form="mute"), NO_ANSWER, 9_000),
    (Fault("crc", "charger.bay1"), BAD_FRAME, 9_000),
    (Fault("late", "charger.bay1"), NO_ANSWER, 9_000),
    (Fault("foreign", "charger.bay1"), BAD_FRAME, 9_000),
    (Fault("foreign", "charger.bay1", form="function"), BAD_FRAME, 9_000),
    (Fault("foreign", "charger.bay1", form="count"), BAD_FRAME, 9_000),
    (Fault("noise", "charger.bay1"), BAD_FRAME, 9_000),
    (Fault("noise", "charger.bay1", form="instead"), BAD_FRAME, 9_000),
]


@pytest.mark.parametrize(("fault", "code", "setpoint_mA"), LINE_FAULTS)
def test_fault_of_the_line_spoils_the_exchange_of_its_device_while_it_lasts(
    fault: Fault, code: Code, setpoint_mA: int
) -> None:
    bench = Bench(replace(fault, at_ns=2 * S, for_ns=2 * S))
    assert bench.codes(STATUS, OTHER) == [GOOD, GOOD]
    bench.at(2.5)
    assert bench.codes(write(9), OTHER) == [code, GOOD]
    assert bench.outlet().setpoint_mA == setpoint_mA
    bench.at(3.3)  # past a late reply to the first
    assert bench.codes(STATUS) == [code]
    bench.at(4.5)
    assert bench.codes(STATUS, OTHER, write(7)) == [GOOD, GOOD, GOOD]


@pytest.mark.parametrize("fault", [fault for fault, _, _ in LINE_FAULTS])
def test_fault_of_the_line_on_a_bus_strikes_everybody(fault: Fault) -> None:
    bench = Bench(replace(fault, who="bus.one"))
    assert GOOD not in bench.codes(STATUS, OTHER, METER)


def test_fault_begins_and_ends_at_its_times() -> None:
    bench = Bench(Fault("crc", "charger.bay1", for_ns=2 * S, at_ns=1 * S))
    asked_ns = bench.wire.line.silent_ns + bench.wire.line.bytes_ns(8)
    for at_ns, code in (
        (S - asked_ns - MS, GOOD),
        (S, BAD_FRAME),
        (3 * S - asked_ns - 10 * MS, BAD_FRAME),
        (3 * S, GOOD),
    ):
        bench.virtual.clock.sleep_until(at_ns)
        assert (at_ns, bench.codes(STATUS)) == (at_ns, [code])


def test_share_of_the_exchanges_that_is_struck_is_as_asked() -> None:
    bench = Bench(Fault("crc", "meter.grid", share_percent=30))
    codes = bench.codes(*[METER] * 1_000)
    assert 260 < codes.count(BAD_FRAME) < 340


def test_two_runs_of_the_same_faults_are_equal() -> None:
    def story() -> list[Code]:
        faults = [replace(fault, share_percent=40) for fault, _, _ in LINE_FAULTS]
        return Bench(*faults).codes(*[STATUS] * 100)

    assert story() == story()
    assert len(set(story())) > 1


def test_late_reply_within_the_timeout_is_taken() -> None:
    bench = Bench(Fault("late", "charger.bay1", late_ns=60 * MS))
    (reply,) = bench.ask(STATUS)
    line = bench.wire.line
    want_ns = line.bytes_ns(8) + 70 * MS + line.bytes_ns(15)
    assert (reply.code, reply.ended_at_ns - reply.begun_at_ns) == (GOOD, want_ns)


def test_babble_destroys_exchanges_that_it_falls_into() -> None:
    bench = Bench(Fault("babble", "bus.one", for_ns=S, every_ns=100 * MS))
    seen = []
    for k in range(5):  # bursts begin at 0, 100, 200 ms: before, during and behind an exchange
        bench.virtual.clock.sleep_until(k * 200 * MS + 30 * MS * k)
        seen += bench.codes(STATUS)
    assert seen == [BAD_FRAME, GOOD, GOOD, BAD_FRAME, GOOD]
    bench.at(2)
    assert bench.codes(*[STATUS] * 20) == [GOOD] * 20


def test_unplugged_bus_sends_nothing_and_is_open_again_afterwards() -> None:
    bench = Bench(Fault("unplug", "bus.one", for_ns=S, at_ns=S))
    bench.at(1.5)
    assert (bench.wire.is_open, bench.codes(METER, write(9))) == (False, [Code.NOT_SENT] * 2)
    assert bench.wire.counters(1).not_sent == 1
    bench.at(2.5)
    assert (bench.wire.is_open, bench.codes(METER, STATUS)) == (True, [GOOD, GOOD])
    assert bench.outlet().setpoint_mA == 0


# meters


def test_frozen_meter_answers_its_last_values_until_it_is_well() -> None:
    steps = Load("steps", (0, 0, 0), every_ns=S, steps=((5_000,) * 3, (6_000,) * 3, (7_000,) * 3))
    bench = Bench(loads={"main": steps})
    first = bench.meter_values()
    bench.virtual.inject(Fault("frozen", "meter.grid", for_ns=3 * S))
    for at_s in (1.1, 2.1):
        bench.at(at_s)
        assert bench.meter_values() == first
    bench.at(4.1)
    later = bench.meter_values()
    assert (first.current_mA, later.current_mA) == ((5_000,) * 3, (6_000,) * 3)
    assert first.voltage_mV != later.voltage_mV


def test_frozen_meter_is_believed_by_the_judge() -> None:
    """A master cannot know better, so what it does on these values is judged by them."""
    steps = Load("steps", (0, 0, 0), every_ns=S, steps=((5_000,) * 3, (30_000,) * 3))
    bench = Bench(loads={"main": steps})
    bench.ask(METER)
    bench.virtual.inject(Fault("frozen", "meter.grid"))
    bench.at(1.1)
    bench.ask(METER)
    judge = bench.virtual.lines[0].judge
    assert judge.background_mA(0, bench.wire.now_ns()) == (5_000,) * 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("nan", "meter.grid"), "ffffffff" * 6),
        (Fault("all_ones", "meter.grid"), "ffff" * 20),
    ],
)
def test_meter_without_values_is_implausible(fault: Fault, words: str) -> None:
    bench = Bench(replace(fault, for_ns=S))
    (reply,) = bench.ask(METER)
    assert (reply.code, reply.payload.hex()[: len(words)]) == (GOOD, words)
    assert bench.meter_values() is None
    at = bench.virtual.board.circuit(0)
    assert bench.virtual.board.slots[at + 4] == 0  # the judge does not take it for heard
    bench.at(1.1)
    assert bench.meter_values().current_mA == (10_000, 11_000, 12_000)
    assert bench.virtual.board.slots[at + 4] == 1


def test_missing_phase_shows_neither_current_nor_voltage_nor_power() -> None:
    bench = Bench(Fault("phase_missing", "meter.grid", phase=1))
    values = bench.meter_values()
    assert values.current_mA == (10_000, 0, 12_000)
    assert values.power_W == (2_300, 0, 2_760)
    assert values.voltage_mV[1] == 0
    assert min(values.voltage_mV[0], values.voltage_mV[2]) > 229_000


def test_wrong_voltage_is_on_one_phase_or_on_all() -> None:
    one = Bench(Fault("voltage", "meter.grid", phase=2, voltage_mV=80_000)).meter_values()
    assert (one.voltage_mV[2], one.voltage_mV[0] > 229_000) == (80_000, True)
    assert one.current_mA == (10_000, 11_000, 12_000)
    every = Bench(Fault("voltage", "meter.grid", voltage_mV=280_000)).meter_values()
    assert every.voltage_mV == (280_000,) * 3


# chargers


def test_rebooted_charger_is_gone_and_back_with_its_power_on_values() -> None:
    bench = Bench()
    arming = [Exchange(11, 6, 101, 1, (20).to_bytes(2, "big")), write(16)]
    bench.codes(*arming, Exchange(11, 6, 102, 1, (60).to_bytes(2, "big")))
    bench.at(1)
    assert bench.outlet().draw_mA == 16_000
    bench.virtual.inject(Fault("reboot", "charger.bay1", for_ns=2 * S))
    assert bench.codes(STATUS, OTHER) == [NO_ANSWER, GOOD]
    assert (bench.outlet().draw_mA, bench.outlet().could_mA()) == (0, 0)
    bench.at(3.1)
    (reply,) = bench.ask(SETPOINT)
    assert reply.payload.hex() == "0000" + "001e" + "0000"  # 0 A, 30 s, 0 A: as the map says
    outlet = bench.outlet()
    assert (outlet.setpoint_mA, outlet.watchdog_ns, outlet.fallback_mA) == (0, 30 * S, 0)


def test_rebooted_charger_offers_what_it_was_given_for_power_on() -> None:
    bench = Bench()
    fault = Fault(
        "reboot",
        "charger.bay1",
        for_ns=2 * S,
        setpoint_mA=13_000,
        fallback_mA=7_000,
        watchdog_ns=9 * S,
    )
    bench.virtual.inject(fault)
    bench.codes(STATUS)
    assert (bench.outlet().draw_mA, bench.outlet().could_mA()) == (0, 13_000)
    bench.at(2.5)
    (reply,) = bench.ask(SETPOINT)
    assert reply.payload.hex() == "0082" + "0009" + "0046"
    assert (bench.outlet().draw_mA, bench.outlet().could_mA()) == (13_000, 13_000)
    bench.at(2 + 8.5)
    assert bench.outlet().in_force_mA == 13_000
    bench.at(2 + 9.5)
    assert bench.outlet().in_force_mA == 7_000  # its own watchdog, counted from power-on


def test_watchdog_of_a_charger_without_power_does_not_run() -> None:
    bench = Bench()
    bench.virtual.inject(Fault("reboot", "charger.bay1", for_ns=60 * S, setpoint_mA=13_000))
    bench.at(50)
    assert bench.codes(STATUS) == [NO_ANSWER]
    bench.at(61)
    bench.codes(STATUS)
    assert bench.outlet().in_force_mA == 13_000


def test_rebooted_charger_has_its_other_settings_from_the_factory_too() -> None:
    chargers = [make_charger("bay1", model="obo-ion", address=11)]
    virtual = VirtualSite(make_tables(meters=[], chargers=chargers), Scenario())
    read = Exchange(11, 3, 5, 1)

    def enable() -> str:
        virtual.wires[0].new_scan()
        return virtual.wires[0].transact(read, PATIENCE, 10 * S).payload.hex()

    patience = Patience(50 * MS, 120 * MS, 0, False)
    assert virtual.wires[0].transact(Exchange(11, 6, 5, 1, bytes(2)), patience, S).code is GOOD
    assert enable() == "0000"
    virtual.inject(Fault("reboot", "charger.bay1"))
    assert enable() == "0001"


def test_only_the_outlet_that_is_named_ignores_its_setpoints() -> None:
    tables = make_tables(
        meters=[],
        chargers=[
            make_charger("left", address=11, connector=1),
            make_charger("right", address=11, connector=2),
        ],
    )
    connectors = {"count": 2, "stride": 200, "confidence": "H"}
    tables = with_map_changes(tables, "reference-charger", "connectors", **connectors)
    virtual = VirtualSite(tables, Scenario(faults=(Fault("ignore", "charger.right"),)))
    for register in (100, 300):
        exchange = Exchange(11, 6, register, 1, (90).to_bytes(2, "big"))
        assert virtual.wires[0].transact(exchange, PATIENCE, S).code is GOOD
    outlets = virtual.plant.outlets
    assert [outlets[i].setpoint_mA for i in range(2)] == [9_000, 0]


def test_babbler_is_quiet_when_it_is_over() -> None:
    bench = Bench(Fault("babble", "bus.one", for_ns=S, every_ns=100 * MS))
    bench.codes(STATUS)
    times_ns = [at_ns for at_ns, _ in bench.virtual.lines[0].troubles.bursts(250 * MS, 9 * S)]
    assert times_ns == [k * 100 * MS for k in range(3, 10)]


def test_reboot_without_a_time_misses_no_message() -> None:
    bench = Bench()
    assert bench.codes(write(16)) == [GOOD]
    bench.virtual.inject(Fault("reboot", "charger.bay1"))
    assert bench.codes(STATUS) == [GOOD]
    assert (bench.setpoint_read_A(), bench.outlet().in_force_mA) == (0, 0)


def test_clearing_a_reboot_brings_the_charger_back() -> None:
    bench = Bench()
    bench.virtual.inject(Fault("reboot", "charger.bay1", for_ns=60 * S))
    assert bench.codes(STATUS) == [NO_ANSWER]
    bench.virtual.clear("charger.bay1")
    assert bench.codes(STATUS) == [GOOD]


def test_refused_write_brings_its_code_and_changes_nothing() -> None:
    bench = Bench(Fault("refuse", "charger.bay1", for_ns=S, exception=6))
    (reply,) = bench.ask(write(9))
    assert (reply.code, reply.exception_code) == (Code.REFUSED, 6)
    assert (bench.codes(STATUS), bench.outlet().setpoint_mA) == ([GOOD], 0)
    bench.at(1.1)
    assert bench.codes(write(9)) == [GOOD]
    assert bench.outlet().setpoint_mA == 9_000


def test_ignored_write_is_acknowledged_and_read_back_but_changes_nothing() -> None:
    bench = Bench()
    bench.codes(write(16))
    bench.virtual.inject(Fault("ignore", "charger.bay1", for_ns=2 * S))
    bench.at(1)
    assert bench.codes(write(6)) == [GOOD]
    assert bench.setpoint_read_A() == 6
    outlet = bench.outlet()
    assert (outlet.in_force_mA, outlet.draw_mA, outlet.could_mA()) == (16_000,) * 3
    bench.at(2.1)
    assert bench.outlet().in_force_mA == 16_000  # the write is gone for good
    bench.codes(write(6))
    assert bench.outlet().in_force_mA == 6_000


def test_ignored_write_feeds_the_watchdog_and_does_not_end_the_fallback() -> None:
    bench = Bench(n_chargers=1)
    bench.codes(write(16), Exchange(11, 6, 102, 1, (60).to_bytes(2, "big")))
    bench.virtual.inject(Fault("ignore", "charger.bay1"))
    for at_s in range(0, 60, 10):
        bench.at(at_s)
        bench.codes(write(6))
    assert bench.outlet().in_force_mA == 16_000  # starved it is not
    bench.at(50 + 31)
    bench.codes(write(10))
    assert bench.outlet().in_force_mA == 6_000
    bench.virtual.clear("charger.bay1", "ignore")
    bench.codes(write(10))
    assert bench.outlet().in_force_mA == 10_000


@pytest.mark.parametrize(("form", "fallback_mA"), [("setpoint", 6_000), ("all", 0)])
def test_ignored_arming_is_read_back_right_but_not_in_force(form: str, fallback_mA: int) -> None:
    bench = Bench(Fault("ignore", "charger.bay1", form=form))
    bench.codes(Exchange(11, 6, 102, 1, (60).to_bytes(2, "big")))
    (reply,) = bench.ask(SETPOINT)
    assert reply.payload[4:].hex() == "003c"
    assert bench.outlet().fallback_mA == fallback_mA


# the judge


def test_charger_is_a_liar_from_an_ignored_write_until_it_obeyed() -> None:
    bench = Bench()
    bench.codes(write(16))
    bench.virtual.inject(Fault("ignore", "charger.bay1"))
    assert (bench.codes(write(16)), bench.outlet().is_lying) == ([GOOD], False)
    assert (bench.codes(write(6)), bench.outlet().is_lying) == ([GOOD], True)
    assert (bench.outlet().believed_mA(), bench.outlet().could_mA()) == (6_000, 16_000)
    bench.virtual.clear("charger.bay1")
    assert bench.outlet().is_lying
    bench.codes(write(6))
    assert bench.outlet().is_lying  # its hold of half a second is not over
    bench.at(3)
    assert not bench.outlet().is_lying
    assert bench.outlet().believed_mA() == 6_000


def test_rebooted_charger_is_a_liar_until_it_obeyed() -> None:
    bench = Bench()
    bench.codes(write(6))
    bench.virtual.inject(Fault("reboot", "charger.bay1", setpoint_mA=16_000))
    bench.at(1)
    outlet = bench.outlet()
    assert (outlet.draw_mA, outlet.could_mA(), outlet.believed_mA()) == (16_000, 16_000, 6_000)
    bench.codes(write(6))
    bench.at(3)
    assert not bench.outlet().is_lying


@pytest.mark.parametrize(("other_A", "is_lie"), [(20, True), (21, False)])
def test_violation_says_whether_it_rests_on_lies(other_A: int, is_lie: bool) -> None:
    bench = Bench()  # background 12 A of 32 A on L3
    bench.codes(METER, write(10))
    bench.virtual.inject(Fault("ignore", "charger.bay1"))
    bench.codes(write(0), METER, write(other_A, address=12))
    (violation,) = bench.virtual.violations()
    assert (violation["charger"], violation["liars_mA"]) == ("bay2", {"bay1": 0})
    assert violation["rests_on_lies"] is is_lie


@pytest.mark.parametrize(("again_A", "is_lie"), [(21, True), (22, False)])
def test_raise_that_was_ignored_before_is_none_for_the_master(again_A: int, is_lie: bool) -> None:
    bench = Bench()  # background 12 A of 32 A on L3
    bench.codes(METER, write(6))
    bench.virtual.inject(Fault("ignore", "charger.bay1"))
    bench.codes(write(21))
    bench.virtual.clear("charger.bay1")
    bench.codes(write(again_A))
    (violation,) = bench.virtual.violations()
    assert violation["rests_on_lies"] is is_lie


def test_raise_out_of_the_fallback_to_an_older_setpoint_is_a_raise() -> None:
    bench = Bench()
    bench.codes(METER, write(16))
    bench.at(31)
    bench.codes(METER, write(20, address=12), write(16))
    (violation,) = bench.virtual.violations()
    assert (violation["charger"], violation["before_mA"]) == ("bay1", 0)
    assert violation["rests_on_lies"] is False


def test_spoiled_reply_of_the_meter_is_not_what_the_judge_goes_by() -> None:
    bench = Bench(Fault("crc", "meter.grid"))
    bench.codes(METER)
    assert bench.virtual.report()["meters"]["grid"] == {"asked": 1, "answered": 0}


def test_ignored_raise_is_counted_as_written_and_not_judged() -> None:
    bench = Bench(Fault("ignore", "charger.bay1"))
    bench.codes(METER, write(32))
    report = bench.virtual.report()
    assert (report["setpoints_written"], report["raises"], report["violations"]) == (1, 0, [])


# injecting, clearing, noting


def test_injected_fault_begins_at_once_or_after_its_time() -> None:
    bench = Bench()
    bench.at(5)
    bench.virtual.inject(Fault("crc", "charger.bay1"))
    bench.virtual.inject(Fault("silence", "meter.grid", at_ns=S))
    assert bench.codes(STATUS, METER) == [BAD_FRAME, GOOD]
    bench.at(6.1)
    assert bench.codes(METER) == [NO_ANSWER]


def test_clear_ends_one_kind_or_everything_of_one_or_of_all_on_the_bus() -> None:
    def bench() -> Bench:
        made = Bench()
        for fault in (
            Fault("crc", "charger.bay1"),
            Fault("refuse", "charger.bay1"),
            Fault("silence", "charger.bay2"),
        ):
            made.virtual.inject(fault)
        return made

    def left(who: str, kind: str = "") -> list[str]:
        made = bench()
        made.virtual.clear(who, kind)
        return [fault.kind for fault in made.virtual.lines[0].troubles.active]

    assert left("charger.bay1", "crc") == ["refuse", "silence"]
    assert left("charger.bay1") == ["silence"]
    assert left("meter.grid") == ["crc", "refuse", "silence"]
    assert left("bus.one") == []


def test_begins_and_ends_are_noted_with_their_times() -> None:
    bench = Bench(Fault("crc", "charger.bay1", for_ns=2 * S, at_ns=S))
    bench.at(4)
    bench.ask(METER)
    want = [
        {"kind": "fault", "at_ns": at_ns, "who": "charger.bay1", "fault": "crc", "is_on": is_on}
        for at_ns, is_on in ((S, True), (3 * S, False))
    ]
    assert bench.virtual.faults == want


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("crcs", "bus.one"), 'fault.kind: "crcs" is no kind of fault; known: silence, crc'),
        (Fault("crc", "bus.two"), 'fault.who: there is no "bus.two" on this site; known: bus.one'),
        (Fault("frozen", "bus.one"), 'fault.who: "bus.one" cannot have frozen; only a meter'),
        (Fault("crc", "bus.one", form="x"), 'fault.form: "x" is no form of crc'),
        (Fault("noise", "bus.one", form="x"), "no form of noise; known: before, instead"),
        (Fault("crc", "bus.one", share_percent=0), "fault.share_percent: 0 is outside 1 to 100"),
    ],
)
def test_fault_that_cannot_be_is_refused(fault: Fault, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(fault, metered_site(2))
    assert said in caught.value.lines[0]


def test_clearing_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'^there is no "charger\.x" on this site'):
        Bench().virtual.clear("charger.x")


def test_scenario_with_faults_goes_through_json_unchanged() -> None:
    faults = tuple(Fault(kind, "bus.one", for_ns=S) for kind in KINDS)
    scenario = Scenario(faults=faults, logs_writes=True)
    assert load_scenario_json(scenario.dump()) == scenario
    assert Fault(**faults[0].to_plain()) == faults[0]


# the log of writes


def test_every_setpoint_write_is_logged_with_its_arrival_and_whether_it_was_acknowledged() -> None:
    bench = Bench()
    first, _, _ = bench.ask(write(9), STATUS, METER)
    bench.virtual.inject(Fault("refuse", "charger.bay1"))
    bench.ask(write(10))
    bench.virtual.clear("charger.bay1")
    bench.virtual.inject(Fault("silence", "charger.bay1"))
    bench.ask(write(11))
    bench.virtual.inject(Fault("crc", "charger.bay2"))
    bench.ask(write(12, address=12), write(90))
    written = bench.virtual.written
    assert written[0]["at_ns"] == first.begun_at_ns + bench.wire.line.bytes_ns(8)
    assert [(e["charger"], e["setpoint_mA"], e["acknowledged"]) for e in written] == [
        ("bay1", 9_000, True),
        ("bay1", 10_000, False),
        ("bay1", 11_000, False),
        ("bay2", 12_000, False),
    ]


def test_writes_are_logged_only_when_asked_for() -> None:
    bench = Bench(logs_writes=False)
    bench.ask(write(9))
    assert bench.virtual.written == []


def test_fault_strikes_only_its_own_bus_and_all_outlets_of_a_box() -> None:
    buses = [make_bus("one"), make_bus("two")]
    chargers = [
        make_charger("bay1", bus=0, address=11),
        make_charger("bay2", bus=1, address=11),
    ]
    tables = make_tables(buses=buses, meters=[], chargers=chargers)
    faults = (Fault("crc", "bus.two"), Fault("refuse", "charger.bay1"))
    virtual = VirtualSite(tables, Scenario(faults=faults))
    codes = [wire.transact(write(9), PATIENCE, S).code for wire in virtual.wires]
    assert codes == [Code.REFUSED, BAD_FRAME]
    assert len(virtual.faults) == 2
