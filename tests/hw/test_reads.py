"""The ways to read a device: what may be joined, what is left out, and what it all decodes to."""

import copy
from typing import Any

import pytest

from hw.devices import decode_charger, decode_meter, measure_exchanges, parse_map
from hw.reads import READ_OVER_MAX, ways_to_read
from tests.support.builders import shipped_map, shipped_maps

TWO = {
    "first": {"read": 4, "address": 0, "count": 12, "confidence": "H"},
    "second": {"read": 4, "address": 12, "count": 8, "confidence": "H"},
}


def meter_with(blocks: dict[str, Any], *without: str, **rows: Any) -> Any:
    raw = copy.deepcopy(shipped_maps()["reference-meter"])
    raw["blocks"] = blocks
    for name in without:
        del raw["registers"][name]
    raw["registers"] |= rows
    return parse_map(raw, "changed")


def reads(device_map: Any) -> list[tuple[int, int, int]]:
    return [
        (step.exchange.function, step.exchange.register, step.exchange.count)
        for step in measure_exchanges(device_map, 1)
    ]


def test_reads_blocks_that_touch_are_one_request() -> None:
    usual, own, *_ = ways_to_read(meter_with(TWO))
    assert (reads(usual), reads(own)) == ([(4, 0, 20)], [(4, 0, 12), (4, 12, 8)])


def test_reads_registers_between_two_blocks_are_read_over_where_the_table_knows_all_of_them() -> (
    None
):
    blocks = {"first": TWO["first"], "second": {**TWO["second"], "address": 18, "count": 2}}
    assert reads(ways_to_read(meter_with(blocks))[0]) == [(4, 0, 20)]
    unknown = meter_with(blocks, "power_1_W", "power_2_W", "power_3_W")
    assert reads(ways_to_read(unknown)[0]) == [(4, 0, 12), (4, 18, 2)]


@pytest.mark.parametrize("n_between", [READ_OVER_MAX, READ_OVER_MAX + 2])
def test_reads_no_more_is_read_over_than_a_request_costs(n_between: int) -> None:
    row = {"read": 4, "type": "u32", "words": "high", "confidence": "H"}
    n_rows = n_between // 2
    rows = {f"other_{i}": {**row, "address": 22 + 2 * i} for i in range(n_rows)}
    last = {**row, "address": 22 + n_between, "confidence": "H"}
    blocks = {
        "first": {"read": 4, "address": 0, "count": 22, "confidence": "H"},
        "second": {"read": 4, "address": 22 + n_between, "count": 2, "confidence": "H"},
    }
    found = reads(ways_to_read(meter_with(blocks, **rows, last=last))[0])
    assert len(found) == (1 if n_between <= READ_OVER_MAX else 2)


def test_reads_no_request_is_longer_than_a_reply_can_carry() -> None:
    row = {"read": 4, "type": "u16", "confidence": "H"}
    rows = {f"other_{i}": {**row, "address": 22 + i} for i in range(104)}
    for last, n_reads in ((124, 1), (125, 2)):
        blocks = {
            "first": {"read": 4, "address": 0, "count": 110, "confidence": "H"},
            "second": {"read": 4, "address": 110, "count": last - 109, "confidence": "H"},
        }
        assert len(reads(ways_to_read(meter_with(blocks, **rows))[0])) == n_reads


def test_reads_blocks_of_two_functions_or_with_a_longer_form_stay_as_they_are() -> None:
    longer = {"first": TWO["first"], "second": {**TWO["second"], "alternate_count": 10}}
    assert len(ways_to_read(meter_with(longer))[0].blocks) == 2
    held = {"address": 12, "read": 3, "type": "u16", "confidence": "H"}
    blocks = {"first": TWO["first"], "second": {**TWO["second"], "read": 3, "count": 1}}
    assert len(ways_to_read(meter_with(blocks, held=held))[0].blocks) == 2


def test_reads_joined_blocks_decode_to_the_same_values() -> None:
    own = meter_with(TWO)
    usual = ways_to_read(own)[0]
    payload = b"".join(value.to_bytes(4, "big", signed=True) for value in range(1000, 1010))
    (name,) = [step.what for step in measure_exchanges(usual, 1)]
    apart = {"first": payload[:24], "second": payload[24:]}
    found = decode_meter(usual, {name: payload})
    assert found is not None or decode_meter(own, apart) is None
    assert found == decode_meter(own, apart)


def test_reads_after_a_refusal_only_what_is_needed_is_read_and_then_one_value_at_a_time() -> None:
    ways = ways_to_read(shipped_map("eastron-sdm630"))
    assert [reads(way) for way in ways] == [
        [(4, 0, 18)],
        [(4, 6, 6)],
        [(4, 6, 2), (4, 8, 2), (4, 10, 2)],
    ]
    ways = ways_to_read(shipped_map("heidelberg-ec"))
    assert [reads(way) for way in ways[1:]] == [
        [(4, 5, 4)],
        [(4, 5, 1), (4, 6, 1), (4, 7, 1), (4, 8, 1)],
    ]


def test_reads_single_values_decode_to_what_the_block_says_of_them() -> None:
    box = shipped_map("heidelberg-ec")
    (block,) = measure_exchanges(box, 1)
    words = [6, 100, 101, 102, 250, 230, 231, 232, 1, 0]
    payload = b"".join(word.to_bytes(2, "big") for word in words)
    whole = decode_charger(box, {block.what: payload})
    singly = ways_to_read(box)[-1]
    parts = {}
    for step in measure_exchanges(singly, 1):
        at = 2 * (step.exchange.register - 5)
        parts[step.what] = payload[at : at + 2 * step.exchange.count]
    assert whole is not None
    assert decode_charger(singly, parts) == whole


@pytest.mark.parametrize("model", sorted(shipped_maps()))
def test_reads_every_shorter_read_fits_the_slot_of_the_usual_reading(model: str) -> None:
    usual, *shorter = ways_to_read(shipped_map(model))
    longest = max(step.exchange.reply_bytes for step in measure_exchanges(usual, 1))
    for way in shorter:
        for step in measure_exchanges(way, 1):
            assert step.exchange.reply_bytes <= longest
            assert step.exchange.request_bytes == 8


@pytest.mark.parametrize("model", sorted(shipped_maps()))
def test_reads_nothing_outside_the_table_but_what_the_map_itself_reads_over(model: str) -> None:
    device_map = shipped_map(model)
    for way in ways_to_read(device_map)[1:]:
        known = {
            (register.read_function, at)
            for register in device_map.registers.values()
            for at in range(register.address, register.address + register.count)
        }
        for function, register, count in reads(way):
            assert {(function, at) for at in range(register, register + count)} <= known
