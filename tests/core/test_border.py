"""The border of the core: what it refuses, what it promises about its block, and its words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from loadctl.law.order import Action, Mode
from loadctl.law.reason import Reason

from loadctl import reasons
from loadctl._core import Core
from loadctl.errors import CoreFault
from loadctl.tables import Tables
from tests.support.core_sites import (
    GOOD,
    NS_PER_S,
    RUN,
    attached,
    charger,
    circuit,
    meter,
    site,
    tuning,
)
from tests.support.stories import disturb, random_story


def small(**row: Any) -> Tables:
    return site([circuit("main", 32000)], [charger("a", **row)])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"min_mA": 0}, "charger.a.min_mA: 0 is not within 1 to 10000000"),
        ({"max_mA": 5000}, "charger.a.max_mA: 5000 is not within 6000 to 10000000"),
        ({"min_mA": 6500, "max_mA": 6900, "step_mA": 1000}, "charger.a.max_mA: 6000 is not with"),
        ({"step_mA": 0}, "charger.a.step_mA: 0 is not within 1 to 10000000"),
        ({"weight": 0}, "charger.a.weight: 0 is not within 1 to 10000"),
        ({"phases": (0, 0)}, r"charger.a.phases: \(0, 0\) is not one to three different phases"),
        ({"phases": (3,)}, "charger.a.phases: 3 is not within 0 to 2"),
        ({"phases": ()}, r"charger.a.phases: \(\) is not one to three different phases"),
        ({"rated_mA": -1}, "charger.a.rated_mA: -1 is not within 0 to 10000000"),
        ({"hold_ns": -1}, "charger.a.hold_ns: -1 is not within 0 to"),
    ],
)
def test_core_charger_out_of_bounds_is_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(CoreFault, match=f"^{text}"):
        Core(small(**changes))


@pytest.mark.parametrize(
    ("circuits", "text"),
    [
        ([circuit("a", -1)], "circuit.a.limit_mA: -1 is not within 0 to 10000000"),
        ([circuit("a", 1, parent=0)], "circuit.a.parent: 0 does not stand before it"),
        ([circuit("a", 1), circuit("b", 1)], "circuit.b.parent: -1 does not stand before it"),
        ([circuit("a", 1), circuit("b", 1, 1)], "circuit.b.parent: 1 does not stand before it"),
        ([circuit("a", 1, is_dynamic=True)], "circuit.a.meter: a dynamic circuit needs one"),
        ([circuit("a", 1, meter=3)], "circuit.a.meter: 3 is not within -1 to -1"),
        ([], "circuit count: 0 is not within 1 to 4096"),
    ],
)
def test_core_circuit_out_of_bounds_is_refused(circuits: list[Any], text: str) -> None:
    with pytest.raises(CoreFault, match=f"^{text}"):
        Core(site(circuits, []))


def test_core_without_a_block_refuses_every_call() -> None:
    with pytest.raises(CoreFault, match=r"^plant block: none is attached"):
        Core(small()).step(1)


def test_attach_block_of_another_size_is_refused() -> None:
    core = Core(small())
    with pytest.raises(CoreFault, match=r"^plant block: 8 bytes, not "):
        core.attach(bytearray(8))


def test_attach_block_of_another_site_is_refused() -> None:
    core = Core(small())
    block = bytearray(core.plant_bytes)
    core.attach(block)
    other = Core(site([circuit("main", 1), circuit("s", 1, 0)], []))
    padded = bytearray(other.plant_bytes)
    padded[: min(len(block), len(padded))] = block[: len(padded)]
    with pytest.raises(CoreFault, match=r"of another site$"):
        other.attach(padded)


def test_attach_block_of_zeros_becomes_a_fresh_start() -> None:
    core = attached(small())
    assert core.site()["mode"] == Mode.MODE_START
    assert core.site()["n_chargers"] == 1
    assert core.site()["tuning"]["peak_hold_ns"] == 10 * NS_PER_S
    assert core.charger(0)["reserve_mA"] == 16000


def test_attach_block_in_use_keeps_its_state() -> None:
    core = Core(small())
    block = bytearray(core.plant_bytes)
    core.attach(block)
    core.set_mode(RUN)
    core.charger_armed(0, True, 6000)
    again = Core(small())
    again.attach(block)
    assert again.site()["mode"] == RUN
    assert again.charger(0)["setpoint_mA"] == 6000


def test_attach_releases_the_block_that_was_attached_before() -> None:
    core = Core(small())
    first = bytearray(core.plant_bytes)
    core.attach(first)
    core.attach(bytearray(core.plant_bytes))
    first.append(0)


def test_plant_bytes_are_the_sum_of_the_structs() -> None:
    one = site([circuit("main", 1)], [])
    assert Core(one).plant_bytes % 8 == 0
    with_charger = Core(site([circuit("main", 1)], [charger("a")])).plant_bytes
    with_two = Core(site([circuit("main", 1)], [charger("a"), charger("b")])).plant_bytes
    assert with_two - with_charger == with_charger - Core(one).plant_bytes


@pytest.mark.parametrize("mode", [-1, 4])
def test_set_mode_that_does_not_exist_is_refused(mode: int) -> None:
    with pytest.raises(CoreFault, match=f"^mode: {mode} is not within 0 to 3"):
        attached(small()).set_mode(mode)


@pytest.mark.parametrize(
    ("name", "value"), [("ramp_mA_per_s", 0), ("peak_hold_ns", -1), ("stagger_ns", 10**16)]
)
def test_set_tuning_out_of_bounds_is_refused(name: str, value: int) -> None:
    with pytest.raises(CoreFault, match=f"^tuning.{name}: {value} is not within"):
        attached(small()).set_tuning(dataclasses.replace(tuning(), **{name: value}))


def test_set_tuning_refused_changes_nothing() -> None:
    core = attached(small())
    with pytest.raises(CoreFault):
        core.set_tuning(dataclasses.replace(tuning(), peak_hold_ns=1, ramp_mA_per_s=0))
    assert core.site()["tuning"]["peak_hold_ns"] == 10 * NS_PER_S


@pytest.mark.parametrize("i", [-1, 1])
def test_index_out_of_range_is_refused(i: int) -> None:
    core = attached(small())
    with pytest.raises(CoreFault, match=f"^charger index: {i} of 1"):
        core.charger(i)
    with pytest.raises(CoreFault, match=f"^meter index: {i} of 0"):
        core.meter_read(i, GOOD, None, None, None, 0)
    with pytest.raises(CoreFault, match=f"^circuit index: {i} of 1"):
        core.circuit(i)


def test_write_that_was_not_ordered_is_refused() -> None:
    core = attached(small())
    with pytest.raises(CoreFault, match=r"^charger 0: reports a write that was not ordered"):
        core.give_done(0, GOOD, 1)


def test_settle_wants_of_another_length_is_refused() -> None:
    with pytest.raises(CoreFault, match=r"^wants: 2 of 1 chargers"):
        attached(small()).settle([True, True])


def test_step_time_that_went_back_is_a_result_not_good() -> None:
    core = attached(small())
    assert core.step(2 * NS_PER_S) == 0
    assert core.step(NS_PER_S) == 1
    assert core.confirm(NS_PER_S) == 1


def test_limits_off_the_step_grid_are_rounded_to_the_safe_side() -> None:
    core = attached(small(min_mA=6050, max_mA=13990, step_mA=100))
    core.settle([True])
    assert core.charger(0)["grant_mA"] == 13900
    tight = attached(site([circuit("main", 6090)], [charger("a", min_mA=6050)]))
    tight.settle([True])
    assert tight.charger(0)["grant_mA"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_same_block_and_same_calls_give_the_same_bytes(seed: int) -> None:
    """Two cores, one told the story from the start, one put on the block halfway: equal bytes."""
    blocks = []
    for is_swapped in (False, True):
        loop = random_story(seed)
        block = bytearray(loop.core.plant_bytes)
        loop.core.attach(block)
        loop.core.set_mode(RUN)
        for _ in range(12):
            loop.run(10)
            disturb(loop)
            if is_swapped:
                loop.core = Core(loop.tables)
                loop.core.attach(block)
        blocks.append(bytes(block))
    assert blocks[0] == blocks[1]


def test_reason_words_are_those_of_the_codes() -> None:
    codes = {name: int(code) for name, code in Reason.__members__.items()}
    assert {name: getattr(reasons, name) for name in codes} == codes
    texts = [reasons.reason_text(code, "garage", 1) for code in codes.values()]
    assert len(set(texts)) == len(texts)
    assert not [text for text in texts if text.startswith("reason ")]


def test_action_codes_are_stable() -> None:
    assert [int(action) for action in Action] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("garage", 1, "garage L2"),
        ("main", 3, "main kW"),
        ("main", 4, "main unbalance L1-L2"),
        ("main", 9, "main unbalance L3-L2"),
        (None, 0, ""),
    ],
)
def test_binding_text_names_circuit_and_limit(name: str | None, kind: int, text: str) -> None:
    assert reasons.binding_text(name, kind) == text


def test_reason_text_of_a_full_phase() -> None:
    assert reasons.reason_text(reasons.FULL, "main", 1) == "main L2 full"


def test_state_letters_follow_the_codes() -> None:
    core = attached(site([circuit("main", 1)], [charger("a")], [meter("m")]))
    for letter in "ABCDEF":
        core.charger_status(0, GOOD, letter, None, None, 1)
        assert reasons.state_letter(core.charger(0)["state"]) == letter
    core.charger_status(0, GOOD, None, None, None, 1)
    assert reasons.state_letter(core.charger(0)["state"]) == "?"
