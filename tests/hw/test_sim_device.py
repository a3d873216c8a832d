"""Simulated devices, byte by byte: request in, reply out."""

import dataclasses

import pytest

from hw.devices import arming_steps, decode_charger, decode_meter, measure_exchanges, parse_map
from hw.sim.outlet import Visit
from hw.sim.rtu import with_crc
from hw.sim.scenario import Load, Scenario
from hw.sim.virtual import VirtualSite
from hw.wire import Exchange, rtu_frame
from loadctl.tables import Tables
from loadctl.units import NS_PER_S as S
from tests.support.builders import make_charger, make_tables, with_map_changes
from tests.support.sim_sites import metered_site

LOAD = Load("constant", (10_000, 0, -3_500))
CAR = Visit("bay1", 0, take_mA=32_000, follow_ns=0, rise_ns=0, wake_ns=0)


class Bench:
    """One site whose devices are asked directly."""

    def __init__(self, tables: Tables, scenario: Scenario) -> None:
        self.virtual = VirtualSite(tables, scenario)
        self.devices = {d.address: d for line in self.virtual.lines for d in line.devices.values()}

    def ask(self, hexed: str, at_ns: int = 0) -> str | None:
        request = with_crc(bytes.fromhex(hexed))
        return self.raw(request, at_ns)

    def raw(self, request: bytes, at_ns: int = 0) -> str | None:
        reply = self.devices[request[0]].reply(request, at_ns)
        return None if reply is None else reply.hex()

    def payload(self, exchange: Exchange, at_ns: int = 0) -> bytes:
        reply = self.raw(rtu_frame(exchange), at_ns)
        assert reply is not None
        return bytes.fromhex(reply)[3:-2]


def crc(hexed: str) -> str:
    return with_crc(bytes.fromhex(hexed)).hex()


@pytest.fixture
def bench() -> Bench:
    return Bench(metered_site(2), Scenario(loads={"main": LOAD}, visits=(CAR,)))


# chargers

WRITE_16_A = "0b06006400a0"
STATUS = "0b0400000005"


def test_setpoint_write_is_echoed_and_read_back(bench: Bench) -> None:
    assert bench.ask(WRITE_16_A) == crc(WRITE_16_A)
    assert bench.ask("0b0300640001") == crc("0b030200a0")


def test_setpoint_write_of_many_is_acknowledged(bench: Bench) -> None:
    assert bench.ask("0b10006400010200a0") == crc("0b1000640001")
    assert bench.ask("0b0300640001") == crc("0b030200a0")


def test_write_of_many_covers_several_registers(bench: Bench) -> None:
    # 16 A, watchdog 20 s, fallback 6 A
    assert bench.ask("0b10006400030600a00014003c") == crc("0b1000640003")
    assert bench.ask("0b0300640003") == crc("0b030600a00014003c")
    outlet = bench.virtual.plant.outlets[0]
    assert (outlet.setpoint_mA, outlet.watchdog_ns, outlet.fallback_mA) == (16_000, 20 * S, 6_000)


def test_status_block_tells_state_draw_and_setpoint_in_force(bench: Bench) -> None:
    assert bench.ask(STATUS) == crc("0b040a" + "0001" + "0000" * 4)
    bench.ask(WRITE_16_A, S)
    # state C, three times 16.00 A, 16.0 A in force
    assert bench.ask(STATUS, 2 * S) == crc("0b040a" + "0002" + "0640" * 3 + "00a0")


def test_status_decodes_to_what_flows(bench: Bench) -> None:
    bench.ask(WRITE_16_A)
    device_map = parse_map(bench.virtual.tables.maps["reference-charger"], "test")
    (step,) = measure_exchanges(device_map, 11)
    values = decode_charger(device_map, {step.what: bench.payload(step.exchange, S)})
    assert values == ("C", (16_000, 16_000, 16_000), 16_000)


@pytest.mark.parametrize(
    ("request_hex", "exception_code"),
    [
        ("0b0100000001", 1),  # coils
        ("0b2b0e0100", 1),  # device identification
        ("0b0300000001", 2),  # an input register as a holding one
        ("0b0400000006", 2),  # one past the block
        ("0b060000" + "0001", 2),  # not writable
        ("0b0601f40001", 2),  # not there
        ("0b0300640000", 3),  # none
        ("0b030064007e", 3),  # 126 registers
        ("0b060064003b", 3),  # 5.9 A
        ("0b0600640321", 3),  # 80.1 A
        ("0b0600650000", 3),  # watchdog 0 s is outside its range
        ("0b06006600" + "1e", 3),  # fallback 3 A
        ("0b10006400020200a0", 3),  # says two registers, brings one
        ("0b10006400020400a00000", 3),  # the second value is outside its range
    ],
)
def test_wrong_request_is_refused_as_a_box_would(
    bench: Bench, request_hex: str, exception_code: int
) -> None:
    function = int(request_hex[2:4], 16) | 0x80
    assert bench.ask(request_hex) == crc(f"0b{function:02x}{exception_code:02x}")


def test_refused_write_changes_nothing(bench: Bench) -> None:
    bench.ask(WRITE_16_A)
    bench.ask("0b10006400020200a0")
    bench.ask("0b1000640002040064" + "0000")  # 10 A, and a watchdog of 0 s that is refused
    assert bench.virtual.plant.outlets[0].setpoint_mA == 16_000


@pytest.mark.parametrize(
    "frame",
    [
        with_crc(bytes.fromhex(WRITE_16_A))[:-1] + b"\x00",
        bytes.fromhex(WRITE_16_A),
        b"\x0b",
    ],
)
def test_damaged_request_meets_silence(bench: Bench, frame: bytes) -> None:
    assert bench.raw(frame) is None


def test_broadcast_and_other_addresses_meet_silence(bench: Bench) -> None:
    other = with_crc(bytes.fromhex("0c" + STATUS[2:]))
    assert bench.devices[11].reply(other, 0) is None
    line = bench.virtual.lines[0]
    assert line.hear(with_crc(bytes.fromhex("00" + WRITE_16_A[2:])), 0) is None


def test_factory_values_stand_in_the_registers_at_power_on(bench: Bench) -> None:
    assert bench.ask("0b0300640003") == crc("0b0306" + "0000" + "001e" + "0000")
    outlet = bench.virtual.plant.outlets[0]
    assert (outlet.setpoint_mA, outlet.watchdog_ns, outlet.fallback_mA) == (0, 30 * S, 0)


def test_box_may_start_at_a_setpoint_of_the_scenario() -> None:
    bench = Bench(metered_site(1), Scenario(power_on_mA=13_000))
    assert bench.ask("0b0300640001") == crc("0b03020082")


def test_arming_leaves_the_box_as_the_map_wants_it(bench: Bench) -> None:
    device_map = parse_map(bench.virtual.tables.maps["reference-charger"], "test")
    for step in arming_steps(device_map, 11, 1, 6_000):
        assert step.write is not None
        bench.raw(rtu_frame(step.write))
        assert bench.payload(step.read) == step.expected
    outlet = bench.virtual.plant.outlets[0]
    assert (outlet.watchdog_ns, outlet.fallback_mA) == (30 * S, 6_000)


FALLBACK_6_A = "0b060066003c"


@pytest.mark.parametrize(
    ("fed_by", "feeds"),
    [
        ("writes", {WRITE_16_A}),
        ("reads", {STATUS}),
        ("any", {WRITE_16_A, STATUS, FALLBACK_6_A, "0b0300000001"}),
    ],
)
def test_watchdog_is_fed_by_what_the_map_says(fed_by: str, feeds: set[str]) -> None:
    for request_hex in (WRITE_16_A, STATUS, FALLBACK_6_A, "0b0300000001"):
        tables = with_map_changes(metered_site(1), "reference-charger", "watchdog", fed_by=fed_by)
        bench = Bench(tables, Scenario())
        bench.ask(request_hex, 10 * S)
        outlet = bench.virtual.plant.outlets[0]
        outlet.advance(30 * S)
        assert (request_hex, outlet.is_expired) == (request_hex, request_hex not in feeds)


def test_watchdog_fed_by_a_kick_wants_the_right_value() -> None:
    tables = with_map_changes(
        metered_site(1),
        "reference-charger",
        "watchdog",
        fed_by="kick",
        kick_register="kick",
        kick_raw=0x55AA,
    )
    kick = {"address": 110, "write": 6, "type": "u16", "confidence": "H"}
    tables = with_map_changes(tables, "reference-charger", "registers", kick=kick)
    for value, is_expired in (("55aa", False), ("55ab", True)):
        bench = Bench(tables, Scenario())
        bench.ask(f"0b06006e{value}", 10 * S)
        outlet = bench.virtual.plant.outlets[0]
        outlet.advance(30 * S)
        assert outlet.is_expired is is_expired


def test_two_connectors_on_one_address_are_two_outlets() -> None:
    rows = [make_charger(f"bay{i}", address=11, connector=i) for i in (1, 2)]
    connectors = {"count": 2, "stride": 200, "confidence": "H"}
    tables = make_tables(meters=[], chargers=rows)
    tables = with_map_changes(tables, "reference-charger", "connectors", **connectors)
    bench = Bench(tables, Scenario())
    bench.ask("0b06006400a0")
    bench.ask("0b06012c0050")  # register 300
    assert [bench.virtual.plant.outlets[i].setpoint_mA for i in (0, 1)] == [16_000, 8_000]
    assert bench.ask("0b04" + "00c8" + "0005") == crc("0b040a" + "0000" * 4 + "0050")


def test_pause_is_the_raw_value_of_the_map_and_no_other() -> None:
    tables = with_map_changes(metered_site(1), "reference-charger", "setpoint", pause_raw=1)
    bench = Bench(tables, Scenario(power_on_mA=10_000))
    assert bench.ask("0b0600640000") == crc("0b8603")
    assert bench.ask("0b0600640001") == crc("0b0600640001")
    assert bench.virtual.plant.outlets[0].setpoint_mA == 0


def test_isolated_charger_answers_nobody() -> None:
    tables = make_tables(meters=[], chargers=[make_charger("bay1", address=11, is_isolated=True)])
    line = VirtualSite(tables, Scenario()).lines[0]
    assert line.hear(with_crc(bytes.fromhex(STATUS)), 0) is None


# meters


def test_meter_shows_the_circuit_with_magnitude_and_sign(bench: Bench) -> None:
    device_map = parse_map(bench.virtual.tables.maps["reference-meter"], "test")
    (step,) = measure_exchanges(device_map, 1)
    values = decode_meter(device_map, {step.what: bench.payload(step.exchange)})
    assert values is not None
    assert (values.current_mA, values.power_W) == ((10_000, 0, 3_500), (2_300, 0, -805))


def test_meter_voltages_flicker_every_200_ms_within_400_mV(bench: Bench) -> None:
    device_map = parse_map(bench.virtual.tables.maps["reference-meter"], "test")
    (step,) = measure_exchanges(device_map, 1)

    def voltages_mV(at_ns: int) -> tuple[int, ...]:
        values = decode_meter(device_map, {step.what: bench.payload(step.exchange, at_ns)})
        assert values is not None
        return values.voltage_mV

    seen = [voltages_mV(i * S // 5) for i in range(100)]
    assert voltages_mV(100 * S // 5 - 1) == seen[-1]
    assert len(set(seen)) == 100
    every = [voltage_mV for voltages in seen for voltage_mV in voltages]
    assert 229_600 <= min(every) < 229_650
    assert 230_350 < max(every) <= 230_400


def test_meter_shows_draws_on_their_grid_phases() -> None:
    tables = metered_site(1)
    rotated = dataclasses.replace(tables.chargers[0], phases=(2, 0, 1))
    tables = dataclasses.replace(tables, chargers=(rotated,))
    car = Visit("bay1", 0, terminals=(0,), follow_ns=0, rise_ns=0, wake_ns=0)
    bench = Bench(tables, Scenario(loads={"main": LOAD}, visits=(car,)))
    bench.ask(WRITE_16_A)
    assert bench.ask("0104000000" + "06", S) == crc(
        "01040c" + f"{10_000:08x}" + f"{0:08x}" + f"{12_500:08x}"
    )


def test_meter_refuses_writes(bench: Bench) -> None:
    assert bench.ask("010600000001") == crc("018601")


@pytest.mark.parametrize(
    ("type_name", "words", "scale", "value_hex"),
    [
        ("u32", "low", "0.001", "27100000"),  # 10 000, low word first
        ("f32", "high", "1", "41200000"),  # 10.0
        ("f32", "low", "1", "00004120"),
        ("i32", "high", "0.01", "000003e8"),
    ],
)
def test_values_are_encoded_by_type_scale_and_word_order(
    type_name: str, words: str, scale: str, value_hex: str
) -> None:
    tables = metered_site(1)
    row = tables.maps["reference-meter"]["registers"]["current_1_A"]
    changed = {**row, "type": type_name, "words": words, "scale": scale}
    tables = with_map_changes(tables, "reference-meter", "registers", current_1_A=changed)
    bench = Bench(tables, Scenario(loads={"main": LOAD}))
    assert bench.ask("010400000002") == crc("010404" + value_hex)


@pytest.mark.parametrize(
    ("load_mA", "raw"),
    [(3_504, 350), (3_505, 351), (3_506, 351), (700_000, 65_535)],
)
def test_value_is_rounded_to_the_nearest_raw_and_held_within_the_type(
    load_mA: int, raw: int
) -> None:
    tables = metered_site(1)
    row = tables.maps["reference-meter"]["registers"]["current_1_A"]
    changed = {k: v for k, v in row.items() if k != "words"}
    changed |= {"type": "u16", "scale": "0.01", "plausible": [0, 655]}
    tables = with_map_changes(tables, "reference-meter", "registers", current_1_A=changed)
    bench = Bench(tables, Scenario(loads={"main": Load("constant", (load_mA, 0, 0))}))
    assert bench.ask("010400000001") == crc("010402" + f"{raw:04x}")
