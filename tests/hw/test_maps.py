"""Every row of every shipped map, and every rule that a map of one's own can break."""

from __future__ import annotations

import copy
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from hw.devices import decode_raw, encode_raw, load_maps, parse_map
from hw.registers import believable_range, raw_floor, type_range
from loadctl.errors import ConfigError
from tests.support.builders import shipped_map, shipped_maps

MODELS = sorted(shipped_maps())
REGISTERS = [(model, name) for model in MODELS for name in shipped_maps()[model]["registers"]]


def charger() -> dict[str, Any]:
    return copy.deepcopy(shipped_maps()["reference-charger"])


def meter() -> dict[str, Any]:
    return copy.deepcopy(shipped_maps()["reference-meter"])


def lines_of(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_map(raw, "x.toml")
    return list(caught.value.lines)


def test_shipped_models_are_these():
    assert MODELS == [
        "abb-b23",
        "abb-terra-ac",
        "eastron-sdm630",
        "heidelberg-ec",
        "mennekes-amtron-compact2",
        "obo-ion",
        "reference-charger",
        "reference-meter",
        "schneider-iem3155",
    ]


@pytest.mark.parametrize(("model", "name"), REGISTERS)
def test_register_of_a_shipped_map_encodes_what_it_decodes(model: str, name: str):
    register = shipped_map(model).registers[name]
    low, high = believable_range(register)
    for raw in (low, high, (low + high) // 2):
        payload = encode_raw(register, raw)
        assert len(payload) == 2 * register.count
        assert decode_raw(register, payload) == raw


@pytest.mark.parametrize("model", MODELS)
def test_map_survives_the_json_of_the_tables(model: str):
    raw = shipped_maps()[model]
    assert parse_map(json.loads(json.dumps(raw)), model) == shipped_map(model)


@pytest.mark.parametrize("type_name", ["u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"])
@pytest.mark.parametrize("words", ["high", "low"])
def test_register_of_every_type_and_order_encodes_what_it_decodes(type_name: str, words: str):
    raw = charger()
    row: dict[str, Any] = {"address": 500, "read": 3, "type": type_name, "confidence": "H"}
    if type_name[1:] != "16":
        row["words"] = words
    raw["registers"]["extra"] = row
    register = parse_map(raw, "x.toml").registers["extra"]
    for value in (0, 1, 1000):
        assert decode_raw(register, encode_raw(register, value)) == value


def test_register_with_low_word_first_swaps_words_not_bytes():
    raw = charger()
    raw["registers"]["extra"] = {
        "address": 500, "read": 3, "type": "u32", "words": "low", "confidence": "H",
    }  # fmt: skip
    register = parse_map(raw, "x.toml").registers["extra"]
    assert encode_raw(register, 0x01020304) == bytes((3, 4, 1, 2))


def test_register_of_some_bits_is_the_number_in_them():
    raw = charger()
    raw["registers"]["state"]["bits"] = [4, 6]
    state = parse_map(raw, "x.toml").registers["state"]
    assert encode_raw(state, 5) == b"\x00\x50"
    assert decode_raw(state, b"\xff\xdf") == 5
    assert believable_range(state) == (0, 7)


def test_raw_floor_of_a_float_is_never_above_the_value():
    raw = charger()
    raw["registers"]["extra"] = {
        "address": 500, "read": 3, "type": "f32", "words": "high", "confidence": "H",
    }  # fmt: skip
    register = parse_map(raw, "x.toml").registers["extra"]
    value = Fraction(101, 10)  # the nearest float is 10.1000003...
    found = raw_floor(register, value)
    assert Fraction(found) <= value
    assert math.isclose(found, 10.1, rel_tol=1e-6)


def test_confidence_of_a_map_is_the_lowest_that_guards_a_fuse():
    assert shipped_map("reference-charger").confidence == "H"
    assert shipped_map("eastron-sdm630").confidence == "L"  # the age of its values is assumed
    assert "timing.lag_ms" in shipped_map("eastron-sdm630").doubts
    raw = charger()
    raw["registers"]["fallback_A"]["confidence"] = "M"
    assert parse_map(raw, "x.toml").confidence == "M"
    raw = charger()
    raw["serial"]["confidence"] = "L"  # a wrong speed is silence, not a wrong current
    assert parse_map(raw, "x.toml").confidence == "H"


def put(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *tables, key = path.split("/")
    for table in tables:
        raw = raw[table]
    raw[key] = value
    return raw


NEW_ROW = {"address": 101, "read": 3, "type": "u16", "confidence": "H"}
BROKEN = [
    # path, value, the one line it leads to
    ("format", 2, "format: 2 is not within 1 to 1"),
    ("id", "Ref_1", "id: 'Ref_1' is not lower-case letters, digits and single hyphens"),
    ("colour", 1, "colour: unknown key"),
    ("sources", [], "sources: a map without a source guards no fuse: name at least one"),
    ("sources", [{"document": "x"}], "sources[0].revision: missing"),
    ("serial/bauds", [9600, 50], "serial.bauds: 50 is not within 300 to 1000000 baud"),
    ("serial/bauds", [9600, 9600], "serial.bauds: [9600, 9600] must name at least one, each once"),
    ("serial/frames", ["8X1"],
     "serial.frames: '8X1' is not data bits, parity and stop bits as in 8E1"),
    ("serial/addresses", [0, 247], "serial.addresses: 0 to 247 is not within 1 to 255"),
    ("serial/addresses", [1, 256], "serial.addresses: 1 to 256 is not within 1 to 255"),
    ("timing/turnaround", 5, "timing.turnaround: unknown key; nearest: turnaround_ms"),
    ("timing/timeout_ms", 5, "timing.timeout_ms: 5 is below turnaround_ms = 10"),
    ("timing/gap_ms", -1, "timing.gap_ms: -1 is not within 0 to 10000"),
    ("timing/gap_scope", "site", "timing.gap_scope: 'site' is none of device, bus"),
    ("timing/confidence", {"lag_ms": "L"}, "timing.confidence.turnaround_ms: missing"),
    ("registers/state/confidence", "X", "registers.state.confidence: 'X' is none of H, M, L"),
    ("registers/state/type", "u8",
     "registers.state.type: 'u8' is none of u16, i16, u32, i32, u64, i64, f32, f64"),
    ("registers/state/words", "high", "registers.state.words: u16 is one word and has no order"),
    ("registers/state/scael", 1, "registers.state.scael: unknown key; nearest: scale"),
    ("registers/setpoint_A/scale", 0, "registers.setpoint_A.scale: 0 is not above 0"),
    ("registers/setpoint_A/scale", "ten", "registers.setpoint_A.scale: 'ten' is not a number"),
    ("registers/setpoint_A/plausible", [80, 0], "registers.setpoint_A.plausible: 80 is above 0"),
    ("registers/setpoint_A/plausible", [0, 7000],
     "registers.setpoint_A.plausible: 7000 A is outside what u16 x 0.1 can hold"),
    ("registers/setpoint_A/write", 7,
     "registers.setpoint_A.write: function 7 does not write a u16"),
    ("registers/setpoint_A/factory", 70000, "registers.setpoint_A.factory: 70000 is no raw u16"),
    ("registers/state/write", 6,
     "registers.state.read: input registers (function 4) cannot be written: use two rows"),
    ("registers/extra", NEW_ROW, "registers.extra.address: 101 is also in watchdog_s"),
    ("registers/extra", NEW_ROW | {"address": 65536},
     "registers.extra.address: 65536 is not within 0 to 65535"),
    ("registers/extra_mA", NEW_ROW | {"address": 900},
     "registers.extra_mA: the name ends in 'mA', which is no unit here; nearest: A"),
    ("registers/bad__name", NEW_ROW | {"address": 900},
     "registers.bad__name: 'bad__name' is not letters and digits joined by single underscores"),
    ("blocks/status/count", 126, "blocks.status.count: 126 is not within 1 to 125"),
    ("blocks/status/read", 5, "blocks.status.read: 5 is not within 3 to 4"),
    ("setpoint/min_A", 6.05, "setpoint.min_A: 6.05 A is not a multiple of step_A = 0.1 A"),
    ("setpoint/max_A", 79.99, "setpoint.max_A: 79.99 A is not a multiple of step_A = 0.1 A"),
    ("setpoint/max_A", 81, "setpoint.max_A: 81 is outside setpoint_A, which takes 0 to 80"),
    ("setpoint/min_A", 80.5, "setpoint.min_A: 80.5 A is above max_A = 80 A"),
    ("setpoint/step_A", "0.05",
     "setpoint.step_A: 0.05 is not a multiple of setpoint_A's scale 0.1"),
    ("setpoint/pause_raw", 60, "setpoint.pause_raw: 60 is a setpoint of min_A = 6 A or more"),
    ("setpoint/min_pause_s", -1, "setpoint.min_pause_s: -1 is not within 0 to 3600"),
    ("watchdog/read_back", "fallback_A",
     "watchdog.read_back: fallback_A is in A, not in s"),
    ("fallback/read_back", "current_1_A",
     "fallback.read_back: current_1_A has another type or scale than fallback_A"),
    ("registers/state/bits", [8, 16], "registers.state.bits: 8 to 16 is not within 0 to 15"),
    ("registers/extra", NEW_ROW | {"address": 500, "write": 6, "bits": [0, 7]},
     "registers.extra.bits: are a plain number in an unsigned register that is only read"),
    ("registers/setpoint_A/bits", [0, 7], "registers.setpoint_A.bits: are a plain number in an"
     " unsigned register that is only read"),
    ("setpoint/pause_raw", 65536, "setpoint.pause_raw: 65536 is no raw u16"),
    ("setpoint/register", "setpont_A",
     "setpoint.register: no register 'setpont_A'; nearest: setpoint_A"),
    ("setpoint/register", "current_1_A", "setpoint.register: current_1_A cannot be written"),
    ("setpoint/register", "watchdog_s", "setpoint.register: watchdog_s is in s, not in A"),
    ("watchdog/fed_by", "hope", "watchdog.fed_by: 'hope' is none of any, reads, writes, kick"),
    ("watchdog/fed_by", "kick", "watchdog.kick_register: missing"),
    ("watchdog/timeout_s", 0, "watchdog.timeout_s: 0 is not above 0"),
    ("watchdog/timeout_s", 30.5,
     "watchdog.timeout_s: 30.5 is not a multiple of watchdog_s's scale 1"),
    ("watchdog/timeout_s", 4000,
     "watchdog.timeout_s: 4000 is outside watchdog_s, which takes 1 to 3600"),
    ("fallback/max_A", 90, "fallback.max_A: 90 is outside fallback_A, which takes 0 to 80"),
    ("rating/rated_A", 0, "rating.rated_A: 0 is not above 0"),
    ("rating/rated_A", "16.0005", "rating.rated_A: 16.0005 A is finer than 1 mA"),
    ("states/2", "G", "states.2: 'G' is none of A, B, C, D, E, F"),
    ("states/two", "C", "states.two: is not a raw state within 0 to 65535"),
    ("connectors", {"count": 2, "stride": 0, "confidence": "H"},
     "connectors.stride: 0 puts 2 connectors on the same registers"),
    ("arming", [{"register": "state", "raw": 70000, "confidence": "H"}],
     "arming[0].raw: 70000 is no raw u16"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "line"), BROKEN)
def test_broken_rule_is_named_with_file_path_and_bound(path: str, value: Any, line: str):
    raw = charger()
    put(raw, path, value)
    found = lines_of(raw)
    assert [one for one in found if one.startswith(f"x.toml: {line}")], found


def test_block_that_cuts_a_register_in_two_is_refused():
    raw = meter()
    raw["blocks"]["values"]["count"] = 19
    assert "x.toml: blocks.values: cuts frequency_Hz in two" in lines_of(raw)


def test_block_that_holds_no_register_is_refused():
    raw = charger()
    raw["blocks"]["empty"] = {"read": 3, "address": 7000, "count": 4, "confidence": "H"}
    assert lines_of(raw) == ["x.toml: blocks.empty: holds no register that function 3 reads"]


def test_meter_without_three_currents_is_refused():
    raw = meter()
    del raw["registers"]["current_2_A"]
    assert lines_of(raw) == [
        "x.toml: blocks: must hold all of current_1_A .. current_3_A or none",
        "x.toml: blocks: a meter's must hold current_1_A, current_2_A and current_3_A",
    ]


def test_measured_current_without_bounds_is_refused():
    raw = meter()
    del raw["registers"]["current_1_A"]["plausible"]
    assert lines_of(raw) == [
        "x.toml: registers.current_1_A.plausible: needs bounds within 2147483.647 A"
    ]


def test_measured_current_that_fits_no_int32_is_refused():
    raw = meter()
    raw["registers"]["current_1_A"]["plausible"] = [0, 2_147_484]
    assert lines_of(raw) == [
        "x.toml: registers.current_1_A.plausible: needs bounds within 2147483.647 A"
    ]


def test_narrow_current_without_bounds_is_refused_too():
    raw = charger()
    del raw["registers"]["current_3_A"]["plausible"]
    assert "registers.current_3_A.plausible: needs bounds" in lines_of(raw)[0]


def test_value_of_two_words_is_not_written_by_function_6():
    raw = charger()
    raw["registers"]["setpoint_A"] |= {"type": "u32", "words": "high", "address": 200}
    assert lines_of(raw) == ["x.toml: registers.setpoint_A.write: function 6 does not write a u32"]


@pytest.mark.parametrize(
    ("section", "name"), [("fallback", "fallback_A"), ("watchdog", "watchdog_s")]
)
def test_register_that_arming_cannot_read_back_is_refused(section: str, name: str):
    raw = charger()
    del raw["registers"][name]["read"]
    assert lines_of(raw) == [f"x.toml: {section}.register: {name} cannot be read back"]


def test_meter_with_a_setpoint_is_refused():
    raw = meter()
    raw["setpoint"] = charger()["setpoint"]
    assert lines_of(raw)[0].startswith("x.toml: setpoint: unknown key")


def test_fallback_without_a_watchdog_is_refused():
    raw = charger()
    del raw["watchdog"]
    assert lines_of(raw) == ["x.toml: fallback: nothing leads to it without [watchdog]"]


def test_states_without_a_state_register_are_refused():
    raw = charger()
    del raw["registers"]["state"]
    assert lines_of(raw) == [
        "x.toml: states: go with a register named state that a block holds, and it with them"
    ]


def test_all_broken_rules_are_named_at_once():
    raw = charger()
    raw["timing"]["gap_ms"] = -1
    raw["setpoint"]["register"] = "nothing"
    raw["colour"] = "red"
    assert [line.split(": ")[1] for line in lines_of(raw)] == [
        "timing.gap_ms",
        "setpoint.register",
        "colour",
    ]


def test_section_that_is_no_table_is_one_line():
    raw = charger()
    raw["rating"] = 80
    assert "x.toml: rating: 80 is not a table" in lines_of(raw)


def copy_of(model: str, directory: Path, file_name: str, **changes: str) -> Path:
    text = (Path(__file__).parents[2] / "hw" / "maps" / f"{model}.toml").read_text()
    for old, new in changes.items():
        text = text.replace(f'{old} = "{model}"', f'{old} = "{new}"')
    path = directory / file_name
    path.write_text(text)
    return path


def test_directory_of_maps_adds_a_model(tmp_path: Path):
    copy_of("reference-meter", tmp_path, "my-meter.toml", id="my-meter")
    found = load_maps([tmp_path])
    assert sorted(set(found) - set(MODELS)) == ["my-meter"]


def test_directory_of_maps_that_repeats_a_shipped_id_is_refused(tmp_path: Path):
    path = copy_of("reference-meter", tmp_path, "reference-meter.toml")
    with pytest.raises(ConfigError, match="id: 'reference-meter' is already in") as caught:
        load_maps([tmp_path])
    assert str(caught.value).startswith(str(path))


def test_map_in_a_file_of_another_name_is_refused(tmp_path: Path):
    copy_of("reference-meter", tmp_path, "other.toml", id="my-meter")
    with pytest.raises(ConfigError, match="id: 'my-meter' is not the file's name 'other'"):
        load_maps([tmp_path])


def test_row_that_stands_twice_in_a_file_is_refused_with_its_line(tmp_path: Path):
    path = copy_of("reference-meter", tmp_path, "my-meter.toml", id="my-meter")
    row = "power_1_W = { address = 60, read = 4, type = 'u16', confidence = 'H' }\n"
    path.write_text(path.read_text().replace("[registers]\n", f"[registers]\n{row}"))
    with pytest.raises(ConfigError, match=r"my-meter\.toml: .*line \d+"):
        load_maps([tmp_path])


def test_missing_directory_of_maps_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such directory of device maps"):
        load_maps([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("type_name", "low", "high"),
    [
        ("u16", 0, 65535),
        ("i16", -32768, 32767),
        ("u32", 0, 2**32 - 1),
        ("i64", -(2**63), 2**63 - 1),
    ],
)
def test_type_range_of_integers(type_name: str, low: int, high: int):
    assert type_range(type_name) == (low, high)


def test_meter_frequency_in_a_block_needs_a_plausible_range():
    raw = meter()
    del raw["registers"]["frequency_Hz"]["plausible"]
    (line,) = lines_of(raw)
    assert line.startswith("x.toml: registers.frequency_Hz.plausible: needs bounds within ")


@pytest.mark.parametrize(
    ("alternate_count", "lines"),
    [
        (20, ["x.toml: blocks.values.alternate_count: 20 is not above count 20"]),
        (21, ["x.toml: blocks.values.alternate_count: cuts serial_number in two"]),
        (24, ["x.toml: blocks.values.alternate_count: reads 22, which no register holds"]),
        (126, ["x.toml: blocks.values.alternate_count: 126 is not within 1 to 125"]),
    ],
)
def test_alternate_count_that_the_table_does_not_bear_is_refused(
    alternate_count: int, lines: list[str]
):
    raw = copy.deepcopy(shipped_maps()["reference-meter"])
    raw["blocks"]["values"]["alternate_count"] = alternate_count
    assert lines_of(raw)[:1] == lines


def test_map_with_a_byte_order_mark_is_the_same_map(tmp_path: Path):
    path = copy_of("reference-meter", tmp_path, "my-meter.toml", id="my-meter")
    plain = load_maps([tmp_path])["my-meter"]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_maps([tmp_path])["my-meter"] == plain


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'format = 1\nname = "B\xf6x"', ":2: is no UTF-8 text, at byte 20; save it as UTF-8"),
        (
            b"format = " + b"9" * 5000,
            ":1: 999999999999... has 5000 digits, above 4300: no number here is that large",
        ),
        (b"format = " + b"[" * 5000, ": lists or tables nested too deeply"),
    ],
)
def test_map_that_cannot_be_read_is_one_line(tmp_path: Path, raw: bytes, said: str):
    path = tmp_path / "other-box.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load_maps([tmp_path])
    assert caught.value.lines == (f"{path}{said}",)
