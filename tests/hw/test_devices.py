"""Exchanges and decoding, byte for byte, on the shipped maps."""

from __future__ import annotations

import copy
import struct
from typing import Any

import pytest

from hw.devices import (
    ChargerValues,
    DeviceMap,
    MeterValues,
    Step,
    arming_steps,
    decode_charger,
    decode_meter,
    decode_setpoint,
    kick_exchange,
    measure_exchanges,
    parse_map,
    patience,
    read_setpoint_exchange,
    setpoint_exchange,
    setpoint_floor_mA,
)
from hw.wire import Exchange
from loadctl.errors import ConfigError
from tests.support.builders import shipped_map, shipped_maps

METER = shipped_map("reference-meter")
SDM630 = shipped_map("eastron-sdm630")
CHARGER = shipped_map("reference-charger")
HEIDELBERG = shipped_map("heidelberg-ec")


def changed(model: str, **sections: dict[str, Any]) -> DeviceMap:
    raw = copy.deepcopy(shipped_maps()[model])
    for name, section in sections.items():
        raw[name] = raw.get(name, {}) | section
    return parse_map(raw, "x.toml")


def meter_payload(
    current_mA: tuple[int, ...] = (10_000, 20_000, 30_000),
    power_W: tuple[int, ...] = (2_300, 4_600, -6_900),
    frequency_mHz: int = 50_000,
) -> bytes:
    return struct.pack(">6I3iI", *current_mA, 230_000, 231_000, 232_000, *power_W, frequency_mHz)


def sdm630_payload(currents_A: tuple[float, ...] = (1.5, 2.0, 0.0)) -> bytes:
    return struct.pack(">9f", 230.0, 231.5, 229.0, *currents_A, 345.0, -460.0, 0.0)


# what is read


def test_measure_exchanges_of_a_meter_are_one_block_of_twenty_registers():
    longer = Exchange(7, 4, 0, 22)
    assert measure_exchanges(METER, 7) == [Step("values", Exchange(7, 4, 0, 20, alternate=longer))]


def test_meter_reading_of_either_length_is_the_same_and_of_no_other():
    payload = meter_payload()
    usual = decode_meter(METER, {"values": payload})
    assert usual is not None
    assert decode_meter(METER, {"values": payload + b"\0\0\0\7"}) == usual
    assert decode_meter(METER, {"values": payload + b"\0\0"}) is None
    assert decode_meter(METER, {"values": payload + bytes(6)}) is None


def test_meter_without_an_alternate_has_readings_of_one_length():
    raw = copy.deepcopy(shipped_maps()["reference-meter"])
    del raw["blocks"]["values"]["alternate_count"]
    one = parse_map(raw, "x.toml")
    assert measure_exchanges(one, 7) == [Step("values", Exchange(7, 4, 0, 20))]
    assert decode_meter(one, {"values": meter_payload()}) is not None
    assert decode_meter(one, {"values": meter_payload() + bytes(4)}) is None


def test_alternate_of_a_second_outlet_is_moved_with_its_block():
    two = changed(
        "reference-charger",
        connectors={"count": 2, "stride": 200, "confidence": "H"},
        registers={"extra": {"address": 5, "read": 4, "type": "u16", "confidence": "H"}},
        blocks={
            "status": {"read": 4, "address": 0, "count": 5, "alternate_count": 6, "confidence": "H"}
        },
    )
    longer = Exchange(5, 4, 200, 6)
    assert measure_exchanges(two, 5, 2) == [
        Step("status", Exchange(5, 4, 200, 5, alternate=longer))
    ]


def test_measure_exchanges_of_the_heidelberg_are_its_status_block():
    assert measure_exchanges(HEIDELBERG, 3) == [Step("status", Exchange(3, 4, 5, 10))]


def test_connector_two_moves_every_register_by_the_stride():
    two = changed("reference-charger", connectors={"count": 2, "stride": 200, "confidence": "H"})
    assert measure_exchanges(two, 5, 2) == [Step("status", Exchange(5, 4, 200, 5))]
    assert setpoint_exchange(two, 5, 2, 6_000) == Exchange(5, 6, 300, 1, b"\x00\x3c")
    assert read_setpoint_exchange(two, 5, 2) == Exchange(5, 3, 300, 1)
    assert [step.read.register for step in arming_steps(two, 5, 2, 0)] == [302, 301]


def test_connector_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="connector 2 is not within 1 to 1"):
        measure_exchanges(CHARGER, 5, 2)


# meters


def test_meter_values_are_exact_in_mA_W_and_mV():
    assert decode_meter(METER, {"values": meter_payload()}) == MeterValues(
        current_mA=(10_000, 20_000, 30_000),
        power_W=(2_300, 4_600, -6_900),
        voltage_mV=(230_000, 231_000, 232_000),
    )


def test_float_meter_values_round_up():
    assert decode_meter(SDM630, {"values": sdm630_payload((1.5, 10.1, 0.0))}) == MeterValues(
        current_mA=(1_500, 10_101, 0),  # 10.1 as a float is 10.1000003
        power_W=(345, -460, 0),
        voltage_mV=(230_000, 231_500, 229_000),
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, 2000.5])
def test_float_current_that_cannot_be_true_makes_the_meter_implausible(bad: float):
    assert decode_meter(SDM630, {"values": sdm630_payload((1.0, bad, 1.0))}) is None


def test_all_ones_are_implausible():
    assert decode_meter(SDM630, {"values": b"\xff" * 36}) is None
    assert decode_meter(METER, {"values": b"\xff" * 40}) is None


def test_current_above_its_plausible_range_makes_the_meter_implausible():
    at_bound = decode_meter(METER, {"values": meter_payload((2_000_000, 0, 0))})
    assert at_bound is not None
    assert at_bound.current_mA == (2_000_000, 0, 0)
    assert decode_meter(METER, {"values": meter_payload((2_000_001, 0, 0))}) is None


def test_power_of_minus_one_watt_is_believed():
    found = decode_meter(METER, {"values": meter_payload(power_W=(-1, -1, -1))})
    assert found is not None
    assert found.power_W == (-1, -1, -1)


def test_frequency_that_cannot_be_true_makes_the_meter_implausible():
    assert decode_meter(METER, {"values": meter_payload(frequency_mHz=0)}) is None


@pytest.mark.parametrize("n_bytes", [0, 38, 42])
def test_payload_of_another_length_is_implausible(n_bytes: int):
    assert decode_meter(METER, {"values": bytes(n_bytes)}) is None


def test_meter_without_its_block_has_no_values():
    assert decode_meter(METER, {}) is None


def test_signed_current_counts_by_magnitude_and_rounds_up():
    rows = {
        f"current_{i + 1}_A": {
            "address": 2 * i,
            "read": 4,
            "type": "i32",
            "words": "high",
            "scale": "0.0003",
            "plausible": [-100, 100],
            "confidence": "H",
        }
        for i in range(3)
    }
    signed = changed("reference-meter", registers=rows)
    payload = struct.pack(">3i", -1, 1, -10) + meter_payload()[12:]
    found = decode_meter(signed, {"values": payload})
    assert found is not None
    assert found.current_mA == (1, 1, 3)


def test_low_word_first_values_are_decoded_in_place():
    row = shipped_maps()["reference-meter"]["registers"]["current_2_A"]
    low = changed("reference-meter", registers={"current_2_A": row | {"words": "low"}})
    payload = bytearray(meter_payload((1, 0x00010002, 3)))
    payload[4:8] = bytes((0x00, 0x02, 0x00, 0x01))
    found = decode_meter(low, {"values": bytes(payload)})
    assert found is not None
    assert found.current_mA == (1, 0x00010002, 3)
    assert found.voltage_mV == (230_000, 231_000, 232_000)


# chargers


def status(state: int, *rest: int) -> dict[str, bytes]:
    return {"status": struct.pack(f">{1 + len(rest)}H", state, *rest)}


def test_charger_status_is_exact():
    assert decode_charger(CHARGER, status(2, 1_000, 999, 0, 160)) == ChargerValues(
        state="C", current_mA=(10_000, 9_990, 0), setpoint_mA=16_000
    )


def test_charger_status_with_an_unknown_state_is_implausible():
    assert decode_charger(CHARGER, status(6, 0, 0, 0, 0)) is None


def test_charger_status_with_an_implausible_current_is_implausible():
    assert decode_charger(CHARGER, status(2, 0, 0xFFFF, 0, 0)) is None


def test_charger_without_its_status_says_nothing():
    assert decode_charger(CHARGER, {}) == ChargerValues(None, None, None)


@pytest.mark.parametrize(
    ("raw", "letter"),
    [(2, "A"), (3, "A"), (4, "B"), (5, "B"), (6, "C"), (7, "C"), (8, "C"), (9, "E"), (10, "F"),
     (11, "F")],
)  # fmt: skip
def test_heidelberg_state_becomes_a_letter(raw: int, letter: str):
    payload = status(raw, 61, 62, 0, 250, 230, 230, 230, 1, 2800)
    assert decode_charger(HEIDELBERG, payload) == ChargerValues(letter, (6_100, 6_200, 0), None)


@pytest.mark.parametrize(("board_degC", "power_VA"), [(0x8000, 0), (250, 0xFFFF)])
def test_value_that_means_no_value_is_implausible_without_bounds(board_degC: int, power_VA: int):
    payload = status(6, 61, 62, 0, board_degC, 230, 230, 230, 1, power_VA)
    assert decode_charger(HEIDELBERG, payload) is None


@pytest.mark.parametrize(("board_degC", "power_VA"), [(0x8001, 0), (0xFFFF, 0xFFFE)])
def test_value_beside_the_one_that_means_no_value_is_believed(board_degC: int, power_VA: int):
    payload = status(6, 61, 62, 0, board_degC, 230, 230, 230, 1, power_VA)
    assert decode_charger(HEIDELBERG, payload) is not None


# setpoints


def test_setpoint_is_written_in_the_units_of_the_box():
    assert setpoint_exchange(CHARGER, 9, 1, 16_000) == Exchange(9, 6, 100, 1, b"\x00\xa0")
    assert setpoint_exchange(HEIDELBERG, 9, 1, 16_000) == Exchange(9, 6, 261, 1, b"\x00\xa0")


def test_setpoint_rounds_down_to_the_step():
    assert setpoint_exchange(CHARGER, 9, 1, 6_099).values == b"\x00\x3c"
    coarse = changed("reference-charger", setpoint={"step_A": 2})
    assert setpoint_exchange(coarse, 9, 1, 9_999).values == b"\x00\x50"


def test_setpoint_zero_is_the_pause_value_of_the_box():
    assert setpoint_exchange(CHARGER, 9, 1, 0).values == b"\x00\x00"
    odd = changed("reference-charger", setpoint={"pause_raw": 10})
    assert setpoint_exchange(odd, 9, 1, 0).values == b"\x00\x0a"


@pytest.mark.parametrize("wanted_mA", [-1, 1, 5_999, 16_001, 32_000])
def test_setpoint_off_the_table_is_refused(wanted_mA: int):
    with pytest.raises(ConfigError, match=r"is neither 0 nor within 6\.0 to 16\.0 A"):
        setpoint_exchange(HEIDELBERG, 9, 1, wanted_mA)


def test_no_setpoint_whatever_leaves_the_table():
    allowed = {0, *range(60, 161)}
    for wanted_mA in range(-500, 20_000, 37):
        try:
            exchange = setpoint_exchange(HEIDELBERG, 9, 1, wanted_mA)
        except ConfigError:
            continue
        raw = int.from_bytes(exchange.values, "big")
        assert raw in allowed
        assert raw * 100 <= wanted_mA


@pytest.mark.parametrize(
    ("wanted_mA", "floor_mA"),
    [(0, 0), (5_999, 0), (6_000, 6_000), (6_199, 6_100), (16_000, 16_000), (99_000, 16_000)],
)
def test_setpoint_floor_is_the_highest_of_the_table_that_is_not_above(
    wanted_mA: int, floor_mA: int
):
    assert setpoint_floor_mA(HEIDELBERG, wanted_mA) == floor_mA


def test_float_setpoint_is_never_above_what_was_granted():
    row = {
        "address": 770,
        "read": 3,
        "write": 16,
        "type": "f32",
        "words": "high",
        "confidence": "H",
    }
    floats = changed("reference-charger", registers={"setpoint_A": row})
    exchange = setpoint_exchange(floats, 9, 1, 10_100)
    assert (exchange.function, exchange.count) == (16, 2)
    (value_A,) = struct.unpack(">f", exchange.values)
    assert 10.099 < value_A <= 10.1


def test_setpoint_is_read_from_its_register():
    assert read_setpoint_exchange(HEIDELBERG, 4, 1) == Exchange(4, 3, 261, 1)
    assert decode_setpoint(HEIDELBERG, b"\x00\x64") == 10_000
    assert decode_setpoint(HEIDELBERG, b"\x00\x00") == 0


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x00\xa1", b"", b"\x00"])
def test_setpoint_that_cannot_be_true_is_none(payload: bytes):
    assert decode_setpoint(HEIDELBERG, payload) is None


def test_setpoint_zero_of_a_box_with_its_own_pause_value_is_not_a_pause():
    odd = changed("reference-charger", setpoint={"pause_raw": 10})
    assert decode_setpoint(odd, b"\x00\x0a") == 0
    assert decode_setpoint(odd, b"\x00\x00") is None


def test_setpoint_register_that_cannot_be_read_has_no_read():
    row = {"address": 100, "write": 6, "type": "u16", "scale": "0.1", "confidence": "H"}
    mute = changed("reference-charger", registers={"setpoint_A": row})
    assert read_setpoint_exchange(mute, 4, 1) is None


def test_meter_takes_no_setpoint():
    with pytest.raises(ConfigError, match="reference-meter: a meter takes no setpoint"):
        setpoint_exchange(METER, 4, 1, 0)


# arming and watchdog


def test_arming_of_the_heidelberg_keeps_it_awake_then_fallback_then_watchdog():
    steps = arming_steps(HEIDELBERG, 2, 1, 6_000)
    assert [(step.what, step.expected) for step in steps] == [
        ("standby_control", b"\x00\x04"),
        ("fallback_A", b"\x00\x3c"),
        ("watchdog_s", b"\x3a\x98"),
    ]
    assert steps[2].read == Exchange(2, 3, 257, 1)
    assert steps[2].write == Exchange(2, 6, 257, 1, b"\x3a\x98")


def test_arming_with_a_fallback_of_zero_writes_its_pause_value():
    assert arming_steps(CHARGER, 2, 1, 0)[0].expected == b"\x00\x00"
    one = changed("reference-charger", fallback={"pause_raw": 1})
    assert arming_steps(one, 2, 1, 0)[0].expected == b"\x00\x01"


@pytest.mark.parametrize("fallback_mA", [5_900, 16_100])
def test_fallback_off_the_table_is_refused(fallback_mA: int):
    with pytest.raises(ConfigError, match=r"fallback .* A is neither 0 nor within 6\.0 to 16\.0 A"):
        arming_steps(HEIDELBERG, 2, 1, fallback_mA)


def test_arming_of_a_register_that_cannot_be_written_only_checks_it():
    row = {"address": 101, "read": 3, "type": "u16", "confidence": "H"}
    fixed = changed("reference-charger", registers={"watchdog_s": row})
    step = arming_steps(fixed, 2, 1, 6_000)[1]
    assert (step.expected, step.write) == (b"\x00\x1e", None)


def test_kicked_watchdog_has_a_kick():
    rows = {"kick": {"address": 400, "write": 6, "type": "u16", "confidence": "H"}}
    kicked = changed(
        "reference-charger",
        registers=rows,
        watchdog={"fed_by": "kick", "kick_register": "kick", "kick_raw": 0x55AA},
    )
    assert kick_exchange(kicked, 2, 1) == Exchange(2, 6, 400, 1, b"\x55\xaa")
    assert kick_exchange(CHARGER, 2, 1) is None


# patience


def test_patience_is_that_of_the_map():
    assert patience(SDM630) == (20_000_000, 80_000_000, 100_000_000, False)


def test_patience_takes_the_overrides_of_the_bus():
    assert patience(SDM630, 5_000_000, 40_000_000)[:2] == (5_000_000, 40_000_000)


def test_patience_never_gives_up_before_the_turnaround():
    assert patience(SDM630, 90_000_000)[:2] == (90_000_000, 90_000_000)
    assert patience(SDM630, None, 5_000_000)[:2] == (20_000_000, 20_000_000)
