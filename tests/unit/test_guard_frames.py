"""What the guard may say: min(last, failsafe) on the charger's own steps, as finished frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hw.wire import crc16
from loadctl.guard.frames import Box, boxes_of, by_decrease
from loadctl.units import NS_PER_S
from tests.support.builders import make_bus, make_charger, make_tables, maps_of, shipped_map


@dataclass
class Words:
    """What the link says, by charger."""

    told: dict[int, int] = field(default_factory=dict)
    failsafe: dict[int, int] = field(default_factory=dict)
    starved: set[int] = field(default_factory=set)

    def told_mA(self, charger_i: int) -> int | None:
        return self.told.get(charger_i)

    def failsafe_mA(self, charger_i: int) -> int | None:
        return self.failsafe.get(charger_i)

    def is_starved(self, charger_i: int) -> bool:
        return charger_i in self.starved


def box(model: str = "reference-charger", **changes: Any) -> Box:
    return Box(0, make_charger("bay1", model, **changes), shipped_map(model), make_bus())


def with_crc(*body: int) -> bytes:
    return bytes(body) + crc16(bytes(body))


@pytest.mark.parametrize(
    ("told_mA", "failsafe_mA", "target_mA"),
    [
        (16_000, None, 6_000),
        (6_000, None, 6_000),
        (5_999, None, 0),  # below the least current of the box: a pause
        (0, None, 0),
        (16_000, 0, 0),
        (16_000, 10_000, 6_000),  # never above the site file
        (6_050, 6_000, 6_000),
    ],
)
def test_frames_target_is_the_lower_of_last_and_failsafe(
    told_mA: int, failsafe_mA: int | None, target_mA: int
) -> None:
    found = box()
    words = Words({0: told_mA}, {} if failsafe_mA is None else {0: failsafe_mA})
    found.sync(words)
    assert found.target_mA == target_mA
    raw = target_mA // 100
    assert found.write.request == with_crc(2, 6, 0, 100, 0, raw)


def test_frames_value_lies_on_the_steps_of_the_box() -> None:
    found = box(failsafe_mA=9_000)
    found.sync(Words({0: 7_777}))
    assert (found.target_mA, found.write.request) == (7_700, with_crc(2, 6, 0, 100, 0, 77))


def test_frames_pause_is_the_box_own_value_for_it() -> None:
    """A setpoint of 0.0 means something else to this one."""
    found = box("mennekes-amtron-compact2", failsafe_mA=0)
    found.sync(Words({0: 16_000}))
    assert found.target_mA == 0
    assert found.write.exchange.values == b"\x3f\x80\x00\x00"
    assert found.kick is not None
    assert found.kick.request == with_crc(2, 6, 0x0D, 0x00, 0x55, 0xAA)


def test_frames_read_back_is_ready_where_the_register_can_be_read() -> None:
    found = box()
    assert found.read_back is not None
    assert found.read_back.request == with_crc(2, 3, 0, 100, 0, 1)
    assert found.read_back.exchange.reply_bytes == 7
    assert (found.found(b"\x00\x3c"), found.found(b"\x00")) == (6_000, None)
    assert found.kick is None


def test_frames_word_that_cannot_be_read_leaves_the_last_known_value() -> None:
    found = box()
    found.sync(Words({0: 3_000}))
    found.sync(Words())
    assert (found.told_mA, found.target_mA) == (3_000, 0)


def test_frames_charger_that_was_never_known_begins_with_what_was_found() -> None:
    found = box()
    assert (found.told_mA, found.target_mA) == (None, 0)
    found.begin_with(16_000)
    assert found.target_mA == 6_000
    found.begin_with(None)
    assert found.target_mA == 0


def test_frames_value_that_was_lowered_elsewhere_is_not_raised_again() -> None:
    found = box()
    found.sync(Words({0: 16_000}))
    found.lower_to(0)
    assert found.target_mA == 0
    found.lower_to(16_000)
    assert found.target_mA == 0


def test_frames_refresh_is_a_third_of_the_watchdog_and_ten_seconds_at_most() -> None:
    assert box(watchdog_ns=15 * NS_PER_S).refresh_ns == 5 * NS_PER_S
    assert box(watchdog_ns=60 * NS_PER_S).refresh_ns == 10 * NS_PER_S
    assert box(watchdog_ns=None).refresh_ns == 10 * NS_PER_S


def test_frames_of_a_bus_leave_out_other_buses_and_isolated_boxes() -> None:
    tables = make_tables(
        buses=[make_bus("one"), make_bus("two")],
        meters=[],
        chargers=[
            make_charger("a", address=2),
            make_charger("b", address=3, bus=1),
            make_charger("c", address=4, is_isolated=True),
            make_charger("d", address=5),
        ],
    )
    maps = maps_of(tables)
    assert [found.index for found in boxes_of(tables, maps, 0)] == [0, 3]
    assert [found.index for found in boxes_of(tables, maps, 1)] == [1]


def test_frames_largest_decrease_goes_first_the_unknown_count_as_everything() -> None:
    tables = make_tables(n_chargers=4, meters=[])
    found = boxes_of(tables, maps_of(tables), 0)
    for one in found:
        one.sync(Words({0: 8_000, 1: 16_000, 3: 16_000}))
    assert [one.index for one in by_decrease(found)] == [2, 1, 3, 0]
