"""The shipped models of other makers, byte for byte: requests and replies are written out from what
the makers say, not from the maps."""

from __future__ import annotations

import math
import struct

import pytest

from hw.devices import (
    ChargerValues,
    MeterValues,
    arming_steps,
    decode_charger,
    decode_meter,
    decode_setpoint,
    kick_exchange,
    measure_exchanges,
    read_setpoint_exchange,
    setpoint_exchange,
)
from hw.wire import Exchange
from tests.support.builders import shipped_map

B23 = shipped_map("abb-b23")
IEM = shipped_map("schneider-iem3155")
TERRA = shipped_map("abb-terra-ac")
MENNEKES = shipped_map("mennekes-amtron-compact2")
OBO = shipped_map("obo-ion")


def blocks_of(model: str, address: int) -> list[Exchange]:
    return [step.exchange for step in measure_exchanges(shipped_map(model), address)]


def written(exchange: Exchange | None) -> tuple[int, int, int, str]:
    """Function, register, count and the values in hex."""
    assert exchange is not None
    return exchange.function, exchange.register, exchange.count, exchange.values.hex()


# ABB B23


def b23_payload(
    currents: tuple[int, int, int] = (1234, 0, 2000),
    voltages: tuple[int, int, int] = (2301, 2299, 2310),
    powers: tuple[int, int, int] = (283_900, 0, -462_000),
) -> bytes:
    """U1-3, three line voltages, I1-3, the neutral, total power, P1-3."""
    head = struct.pack(">10I", *voltages, 4000, 4000, 4000, *currents, 0)
    return head + struct.pack(">4i", sum(powers), *powers)


def test_b23_is_read_in_one_block_of_28_holding_registers_from_5b00() -> None:
    assert blocks_of("abb-b23", 7) == [Exchange(7, 3, 0x5B00, 28)]


def test_b23_values_are_hundredths_of_amps_and_watts_and_tenths_of_volts() -> None:
    assert decode_meter(B23, {"values": b23_payload()}) == MeterValues(
        current_mA=(12_340, 0, 20_000),
        power_W=(2_839, 0, -4_620),
        voltage_mV=(230_100, 229_900, 231_000),
    )


@pytest.mark.parametrize(
    "payload",
    [
        b23_payload(currents=(1234, 0xFFFFFFFF, 2000)),
        b23_payload(voltages=(2301, 0xFFFFFFFF, 2310)),
        b23_payload(voltages=(2301, 5001, 2310)),
        b23_payload()[:-4] + b"\x7f\xff\xff\xff",
        b23_payload()[:-2],
    ],
    ids=["current missing", "voltage missing", "voltage absurd", "power missing", "short"],
)
def test_b23_reading_with_a_missing_or_absurd_value_is_not_believed(payload: bytes) -> None:
    assert decode_meter(B23, {"values": payload}) is None


# Schneider iEM3155


def iem_payload(
    currents: tuple[float, ...] = (12.5, 0.0, 7.25),
    voltages: tuple[float, ...] = (230.0, 229.0, 231.0),
    powers_kW: tuple[float, ...] = (2.875, 0.0, -1.5),
) -> bytes:
    """62 registers from 2999: I at 0, U at 28, P at 54 and their sum, floats."""
    data = bytearray(124)
    struct.pack_into(">3f", data, 0, *currents)
    struct.pack_into(">3f", data, 2 * 28, *voltages)
    struct.pack_into(">4f", data, 2 * 54, *powers_kW, sum(powers_kW))
    return bytes(data)


def test_iem3155_is_read_in_one_block_of_62_from_2999() -> None:
    assert blocks_of("schneider-iem3155", 3) == [Exchange(3, 3, 2999, 62)]


def test_iem3155_powers_are_kilowatts() -> None:
    assert decode_meter(IEM, {"values": iem_payload()}) == MeterValues(
        current_mA=(12_500, 0, 7_250),
        power_W=(2_875, 0, -1_500),
        voltage_mV=(230_000, 229_000, 231_000),
    )


@pytest.mark.parametrize(
    "payload",
    [
        iem_payload(currents=(12.5, math.nan, 7.25)),
        iem_payload(voltages=(230.0, math.nan, 231.0)),
        iem_payload(voltages=(230.0, 231.0, 501.0)),
        iem_payload(powers_kW=(0.0, 0.0, math.nan)),
    ],
    ids=["current missing", "voltage missing", "voltage absurd", "power missing"],
)
def test_iem3155_reading_with_one_missing_phase_is_not_believed(payload: bytes) -> None:
    assert decode_meter(IEM, {"values": payload}) is None


def test_iem3155_current_against_the_direction_counts_as_its_magnitude() -> None:
    values = decode_meter(IEM, {"values": iem_payload(currents=(-12.5, 0.0, 7.25))})
    assert values is not None
    assert values.current_mA == (12_500, 0, 7_250)


# ABB Terra AC


def terra_payload(state_word: int = 0x0400, currents_mA: tuple[int, ...] = (15_900, 0, 1)) -> bytes:
    """23 registers from 400A: lock, state, active limit, I1-3, U1-3, power, energy, timeout."""
    data = struct.pack(">3I3I3I2I", 0, state_word, 16_000, *currents_mA, 2300, 2300, 2300, 3600, 9)
    return data + struct.pack(">H", 30)


def test_terra_status_is_one_block_of_23_from_400a() -> None:
    assert blocks_of("abb-terra-ac", 1) == [Exchange(1, 3, 0x400A, 23)]


@pytest.mark.parametrize(
    ("state_word", "letter"),
    [
        (0x0000, "A"),
        (0x0100, "B"),
        (0x0200, "B"),
        (0x0300, "C"),
        (0x0400, "C"),
        (0x8400, "C"),  # bit 15: a current limit is active
        (0x04FF, "C"),
        (0x0500, "B"),
    ],
)
def test_terra_state_is_bits_8_to_14(state_word: int, letter: str) -> None:
    assert decode_charger(TERRA, {"status": terra_payload(state_word)}) == ChargerValues(
        state=letter, current_mA=(15_900, 0, 1), setpoint_mA=None
    )


def test_terra_state_that_is_not_known_is_not_believed() -> None:
    assert decode_charger(TERRA, {"status": terra_payload(0x0600)}) is None


def test_terra_setpoint_is_two_registers_of_milliamps_by_function_16() -> None:
    assert written(setpoint_exchange(TERRA, 1, 1, 16_000)) == (16, 0x4100, 2, "00003e80")
    assert written(setpoint_exchange(TERRA, 1, 1, 32_000)) == (16, 0x4100, 2, "00007d00")
    assert written(setpoint_exchange(TERRA, 1, 1, 0)) == (16, 0x4100, 2, "00000000")
    assert read_setpoint_exchange(TERRA, 1, 1) is None


def test_terra_watchdog_is_written_in_one_register_and_read_back_in_another() -> None:
    (step,) = arming_steps(TERRA, 1, 1, 0)
    assert step.read == Exchange(1, 3, 0x4020, 1)
    assert step.expected == b"\x00\x1e"
    assert written(step.write) == (6, 0x4106, 1, "001e")


def test_terra_is_fed_by_reads_and_falls_to_nothing() -> None:
    assert TERRA.watchdog is not None
    assert TERRA.watchdog.fed_by == "reads"
    assert TERRA.fallback is not None
    assert TERRA.fallback.fixed_mA == 0
    assert kick_exchange(TERRA, 1, 1) is None


# Mennekes AMTRON Compact 2.0s


def mennekes_payload(currents: tuple[float, ...] = (13.5, 0.0, 13.25)) -> bytes:
    return struct.pack(">10f", *currents, 230.0, 230.0, 230.0, 3105.0, 0.0, 3047.5, 6152.5)


def test_mennekes_status_is_its_state_and_twenty_registers_from_0500() -> None:
    assert blocks_of("mennekes-amtron-compact2", 50) == [
        Exchange(50, 3, 0x0100, 1),
        Exchange(50, 3, 0x0500, 20),
    ]


def test_mennekes_status_in_letters_and_milliamps() -> None:
    payloads = {"state": b"\x00\x05", "values": mennekes_payload()}
    assert decode_charger(MENNEKES, payloads) == ChargerValues("C", (13_500, 0, 13_250), None)


@pytest.mark.parametrize(("raw", "letter"), list(enumerate("FABBBCFF")))
def test_mennekes_states(raw: int, letter: str) -> None:
    values = decode_charger(MENNEKES, {"state": struct.pack(">H", raw)})
    assert values is not None
    assert values.state == letter


def test_mennekes_setpoint_is_a_float_by_function_16() -> None:
    assert written(setpoint_exchange(MENNEKES, 50, 1, 6_000)) == (16, 0x0302, 2, "40c00000")
    assert written(setpoint_exchange(MENNEKES, 50, 1, 10_000)) == (16, 0x0302, 2, "41200000")


def test_mennekes_pauses_with_a_current_that_is_never_nought() -> None:
    assert written(setpoint_exchange(MENNEKES, 50, 1, 0)) == (16, 0x0302, 2, "3f800000")  # 1.0


@pytest.mark.parametrize("setpoint_mA", [0, *range(6_000, 32_001, 100)])
def test_mennekes_no_setpoint_lifts_the_limit_or_passes_what_was_meant(setpoint_mA: int) -> None:
    exchange = setpoint_exchange(MENNEKES, 50, 1, setpoint_mA)
    (value_A,) = struct.unpack(">f", exchange.values)
    low_A, high_A = (0.01, 5.99) if setpoint_mA == 0 else (setpoint_mA / 1000 - 1e-5, 32.0)
    assert low_A <= value_A <= high_A
    assert value_A * 1000 <= max(setpoint_mA, 1_000)


def test_mennekes_setpoint_that_reads_nought_is_no_limit_and_not_believed() -> None:
    assert decode_setpoint(MENNEKES, bytes(4)) is None
    assert decode_setpoint(MENNEKES, struct.pack(">f", 1.0)) == 0
    assert decode_setpoint(MENNEKES, struct.pack(">f", 16.0)) == 16_000
    assert decode_setpoint(MENNEKES, struct.pack(">f", math.nan)) is None


def test_mennekes_heartbeat_is_55aa_to_0d00() -> None:
    assert written(kick_exchange(MENNEKES, 50, 1)) == (6, 0x0D00, 1, "55aa")
    assert MENNEKES.watchdog is not None
    assert (MENNEKES.watchdog.fed_by, MENNEKES.watchdog.timeout_ns) == ("kick", 10_000_000_000)


@pytest.mark.parametrize(("fallback_mA", "raw"), [(0, "0001"), (6_000, "0006"), (16_000, "0010")])
def test_mennekes_fallback_is_never_nought_and_read_back_at_030e(
    fallback_mA: int, raw: str
) -> None:
    release, fallback = arming_steps(MENNEKES, 50, 1, fallback_mA)
    assert (release.read, release.expected) == (Exchange(50, 3, 0x0D05, 1), b"\x00\x01")
    assert written(release.write) == (6, 0x0D05, 1, "0001")
    assert fallback.read == Exchange(50, 3, 0x030E, 1)
    assert fallback.expected.hex() == raw
    assert written(fallback.write) == (6, 0x073A, 1, raw)


def test_mennekes_wants_five_seconds_between_changes_and_five_minutes_of_pause() -> None:
    assert MENNEKES.setpoint is not None
    assert MENNEKES.setpoint.min_change_ns == 5_000_000_000
    assert MENNEKES.setpoint.min_pause_ns == 300_000_000_000


# OBO Ion


def test_obo_status_is_one_block_of_twelve_from_5_without_phase_currents() -> None:
    assert blocks_of("obo-ion", 101) == [Exchange(101, 3, 5, 12)]
    payload = struct.pack(">12H", 1, 16, 2300, 158, 3634, 0, 2, 0, 0, 0, 32, 16)
    assert decode_charger(OBO, {"status": payload}) == ChargerValues("C", None, None)
    assert OBO.has_measured_current is False


@pytest.mark.parametrize(("raw", "letter"), list(enumerate("ABCDF")))
def test_obo_states(raw: int, letter: str) -> None:
    payload = struct.pack(">12H", 1, 16, 2300, 0, 0, 0, raw, 0, 0, 0, 32, 16)
    values = decode_charger(OBO, {"status": payload})
    assert values is not None
    assert values.state == letter


def test_obo_setpoint_is_whole_amps_rounded_down() -> None:
    assert written(setpoint_exchange(OBO, 101, 1, 16_900)) == (6, 6, 1, "0010")
    assert written(setpoint_exchange(OBO, 101, 1, 0)) == (6, 6, 1, "0000")
    assert read_setpoint_exchange(OBO, 101, 1) == Exchange(101, 3, 6, 1)


def test_obo_is_armed_with_fallback_before_the_watchdog_that_the_factory_left_off() -> None:
    fallback, watchdog = arming_steps(OBO, 101, 1, 6_000)
    assert written(fallback.write) == (6, 30, 1, "0006")
    assert fallback.read == Exchange(101, 3, 30, 1)
    assert written(watchdog.write) == (6, 28, 1, "3a98")  # 15 000 ms
    assert watchdog.expected == b"\x3a\x98"
