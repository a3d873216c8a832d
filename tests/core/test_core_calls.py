"""Every call of the core, on a block whose fields the test writes and reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loadctl._core import Core
from loadctl.errors import CoreFault
from tests.support.core_sites import (
    BAD_FRAME,
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NOT_SENT,
    REFUSED,
    charger,
    circuit,
    meter,
    site,
    tuning,
)
from tests.support.still import NOW_ns, Still, structs

TAKE, GIVE, PROBE = 1, 2, 3


def tables(n: int = 3, **row: Any) -> Any:
    circuits = [circuit("main", 90_000, loss_W=1, takes_external=True), circuit("sub", 90_000, 0)]
    rows = [charger(f"x{i}", **row) for i in range(n)]
    return site(circuits, rows, [meter("m"), meter("n")])


CALLS: dict[str, Callable[[Core], object]] = {
    "set_tuning": lambda core: core.set_tuning(tuning()),
    "retune": lambda core: core.retune([]),
    "set_mode": lambda core: core.set_mode(1),
    "meter_read": lambda core: core.meter_read(0, GOOD, (1, 1, 1), None, None, 1),
    "charger_status": lambda core: core.charger_status(0, GOOD, "C", None, None, 1),
    "charger_armed": lambda core: core.charger_armed(0, True, 0),
    "charger_answered": lambda core: core.charger_answered(0, GOOD, 1),
    "step": lambda core: core.step(1),
    "confirm": lambda core: core.confirm(1),
    "takes": lambda core: core.takes(),
    "gives": lambda core: core.gives(),
    "looks": lambda core: core.looks(),
    "take_done": lambda core: core.take_done(0, GOOD, 1),
    "give_done": lambda core: core.give_done(0, GOOD, 1),
    "refreshed": lambda core: core.refreshed(0, GOOD, 1),
    "probe_mA": lambda core: core.probe_mA(0),
    "probe_done": lambda core: core.probe_done(0, GOOD, 1),
    "settle": lambda core: core.settle([True] * 3),
    "site": lambda core: core.site(),
    "circuit": lambda core: core.circuit(0),
    "meter": lambda core: core.meter(0),
    "charger": lambda core: core.charger(0),
    "starving": lambda core: core.starving(),
    "failsafe_mA": lambda core: core.failsafe_mA(),
    "seen_backgrounds_mA": lambda core: core.seen_backgrounds_mA(),
    "latch_background": lambda core: core.latch_background(0, (1, 1, 1)),
    "external_limit": lambda core: core.external_limit(0, None, None, None, 1),
    "cooling": lambda core: core.cooling(),
    "reserves_mA": lambda core: core.reserves_mA(),
    "used_phases": lambda core: core.used_phases(),
    "backgrounds_high_mA": lambda core: core.backgrounds_high_mA(),
}


def test_every_call_is_looked_at() -> None:
    names = {name for name in dir(Core) if not name.startswith("_")}
    assert names - {"attach", "plant_bytes"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_works_without_a_block(name: str) -> None:
    with pytest.raises(CoreFault, match=r"^plant block: none is attached$"):
        CALLS[name](Core(tables()))


@pytest.mark.parametrize("i", [-1, 3])
@pytest.mark.parametrize(
    "call",
    [
        lambda core, i: core.charger_status(i, GOOD, "C", None, None, 1),
        lambda core, i: core.charger_armed(i, True, 0),
        lambda core, i: core.charger_answered(i, GOOD, 1),
        lambda core, i: core.take_done(i, GOOD, 1),
        lambda core, i: core.refreshed(i, GOOD, 1),
        lambda core, i: core.probe_mA(i),
        lambda core, i: core.probe_done(i, GOOD, 1),
        lambda core, i: core.charger(i),
    ],
)
def test_charger_that_is_not_there(call: Callable[[Core, int], object], i: int) -> None:
    with pytest.raises(CoreFault, match=f"^charger index: {i} of 3$"):
        call(Still(tables()).core, i)


@pytest.mark.parametrize("i", [-1, 2])
def test_meter_or_circuit_that_is_not_there(i: int) -> None:
    core = Still(tables()).core
    with pytest.raises(CoreFault, match=f"^meter index: {i} of 2$"):
        core.meter_read(i, GOOD, (1, 1, 1), None, None, 1)
    with pytest.raises(CoreFault, match=f"^meter index: {i} of 2$"):
        core.meter(i)
    with pytest.raises(CoreFault, match=f"^circuit index: {i} of 2$"):
        core.circuit(i)
    with pytest.raises(CoreFault, match=f"^circuit index: {i} of 2$"):
        core.latch_background(i, (1, 1, 1))


def test_first_and_last_of_everything_are_there() -> None:
    held = Still(tables())
    for row in (held.circuits[1], held.meters[1], held.chargers[2]):
        for name, _ in row._fields_:
            if not hasattr(getattr(row, name), "__len__"):
                setattr(row, name, 0)
    held.circuits[1].source = held.meters[1].code = held.chargers[2].code = 3
    assert (held.core.circuit(1)["source"], held.core.circuit(0)["source"]) == (3, 0)
    assert (held.core.meter(1)["code"], held.core.meter(0)["code"]) == (3, 0)
    assert (held.core.charger(2)["code"], held.core.charger(0)["code"]) == (3, 0)
    held.site.scan_i = 77
    assert held.core.site()["scan_i"] == 77


# The block
def test_attached_block_is_held_until_another_one_is() -> None:
    core = Core(tables())
    block = bytearray(core.plant_bytes)
    core.attach(block)
    with pytest.raises(BufferError):
        block.append(0)
    core.attach(bytearray(core.plant_bytes))
    block.append(0)


@pytest.mark.parametrize("offset", [1, 4, 7])
def test_block_off_the_grid_of_8_bytes_is_refused(offset: int) -> None:
    core = Core(tables())
    size = core.plant_bytes
    block = memoryview(bytearray(size + 16))
    assert core.attach(block[8 : 8 + size]) is None
    with pytest.raises(CoreFault, match=r"^plant block: begins at 0x[0-9a-f]+, not at a multiple"):
        core.attach(block[offset : offset + size])


@pytest.mark.parametrize("more", [-8, -1, 1, 8])
def test_block_of_another_size_is_refused(more: int) -> None:
    core = Core(tables())
    size = core.plant_bytes
    with pytest.raises(CoreFault, match=f"^plant block: {size + more} bytes, not {size}$"):
        core.attach(bytearray(size + more))


@pytest.mark.parametrize("name", ["n_circuits", "n_meters", "n_chargers"])
def test_block_that_counts_otherwise_is_of_another_site(name: str) -> None:
    core = Core(tables())
    plant = bytearray(core.plant_bytes)
    core.attach(plant)
    setattr(structs()["site_t"].from_buffer(plant), name, 7)
    with pytest.raises(CoreFault, match=r"^plant block: circuits, meters, chargers \(.*7.*\) of"):
        Core(tables()).attach(plant)


def test_fresh_block_is_a_start_of_this_site() -> None:
    core = Core(
        site(
            [circuit("main", (1, 2, 3), background_mA=(4, 5, 6)), circuit("sub", 7, 0)],
            [
                charger("a", failsafe_mA=6050, rated_mA=20_000),
                charger("b", is_isolated=True),
                charger("c", failsafe_mA=5999),
                charger("d", failsafe_mA=32_000),
            ],
        )
    )
    core.attach(bytearray(core.plant_bytes))
    assert (core.site()["is_ready"], core.site()["mode"], core.site()["has_stepped"]) == (1, 0, 0)
    assert [core.charger(i)["failsafe_mA"] for i in range(4)] == [6000, 6000, 0, 16_000]
    assert [core.charger(i)["reserve_mA"] for i in range(4)] == [20_000, 0, 16_000, 16_000]
    assert core.circuit(0)["background_mA"] == [4, 5, 6]
    assert (core.circuit(0)["limit_mA"], core.circuit(1)["limit_mA"]) == ([1, 2, 3], [7, 7, 7])


@pytest.mark.parametrize("mode", [0, 3])
def test_modes(mode: int) -> None:
    held = Still(tables())
    held.core.set_mode(mode)
    assert held.site.mode == mode
    for beyond in (-1, 4):
        with pytest.raises(CoreFault, match=f"^mode: {beyond} is not within 0 to 3$"):
            held.core.set_mode(beyond)
    assert held.site.mode == mode


# Status blocks
@pytest.mark.parametrize(
    ("phases", "current_mA", "draw_mA"),
    [
        ((0, 1, 2), (1, 2, 3), [1, 2, 3]),
        ((2, 0, 1), (1, 2, 3), [2, 3, 1]),
        ((1,), (1, 2, 3), [0, 1, 0]),
        ((2, 1), (1, 2, 3), [0, 2, 1]),
        ((0, 1, 2), (-1, 0, 1), [0, 0, 1]),
    ],
)
def test_current_on_terminals_is_kept_by_grid_phase(
    phases: tuple[int, ...], current_mA: tuple[int, int, int], draw_mA: list[int]
) -> None:
    held = Still(tables(phases=phases))
    row = held.chargers[0]
    row.draw_mA[:] = [9, 9, 9]
    held.core.charger_status(0, GOOD, "C", current_mA, None, NOW_ns + 5)
    assert list(row.draw_mA) == draw_mA
    assert (row.status_at_ns, row.has_status, row.code) == (NOW_ns + 5, 1, GOOD)


@pytest.mark.parametrize(("state", "code"), [(None, 0), ("A", 1), ("B", 2), ("F", 6)])
@pytest.mark.parametrize("setpoint_mA", [None, 0, 7000])
def test_state_and_setpoint_of_a_status_block(
    state: str | None, code: int, setpoint_mA: int | None
) -> None:
    held = Still(tables())
    row = held.chargers[1]
    row.has_status, row.n_samples, row.reported_mA = 0, 0, 5
    held.core.charger_status(1, GOOD, state, None, setpoint_mA, NOW_ns)
    assert (row.state, row.has_reported) == (code, setpoint_mA is not None)
    assert (row.reported_mA, row.n_samples, row.has_status) == (setpoint_mA or 0, 0, 1)


def test_current_of_one_that_measures_none_is_not_kept() -> None:
    held = Still(tables(has_measured_current=False))
    row = held.chargers[0]
    row.n_samples = 0
    held.core.charger_status(0, GOOD, "C", (1, 2, 3), None, NOW_ns)
    assert (row.n_samples, list(row.draw_mA)) == (0, [0, 0, 0])


@pytest.mark.parametrize("code", [NO_ANSWER, BAD_FRAME, REFUSED, NOT_SENT, IMPLAUSIBLE])
def test_status_block_that_is_not_good_says_only_so(code: int) -> None:
    held = Still(tables())
    row = held.chargers[0]
    row.status_at_ns = 5
    held.core.charger_status(0, code, "A", (1, 2, 3), 7000, NOW_ns)
    assert (row.code, row.state, row.status_at_ns, row.has_reported) == (code, 3, 5, 0)


# Orders
def test_takes_come_by_what_they_free() -> None:
    held = Still(tables(n=4))
    orders = ((TAKE, 6000, 9000), (TAKE, 0, 6000), (GIVE, 0, 16_000), (TAKE, 6000, 9001))
    for row, (action, action_mA, reserve_mA) in zip(held.chargers, orders, strict=True):
        row.action, row.action_mA, row.reserve_mA = action, action_mA, reserve_mA
    assert held.core.takes() == [(1, 0), (3, 6000), (0, 6000)]


def test_gives_come_by_tier_and_file_once_they_are_confirmed() -> None:
    circuits = [circuit("main", 90_000)]
    rows = [charger(f"x{i}", priority=priority) for i, priority in enumerate((0, 2, 0, 1))]
    held = Still(site(circuits, rows))
    for row, action_mA in zip(held.chargers, (6000, 7000, 8000, 9000), strict=True):
        row.action, row.action_mA = GIVE, action_mA
    assert held.core.gives() == []
    held.site.is_confirmed = 1
    assert held.core.gives() == [(1, 7000), (3, 9000), (0, 6000), (2, 8000)]
    held.chargers[3].action = TAKE
    assert held.core.gives() == [(1, 7000), (0, 6000), (2, 8000)]
    held.step()
    assert held.core.gives() == []  # those of the scan before do not stand any more


@pytest.mark.parametrize(("action", "done"), [(TAKE, "take_done"), (GIVE, "give_done")])
def test_write_that_was_ordered_is_taken_in_and_no_other(action: int, done: str) -> None:
    held = Still(tables())
    row = held.set(0, 8000)
    for ordered in (0, TAKE, GIVE, PROBE):
        row.action, row.action_mA, row.code = ordered, 9000, 0
        if ordered == action:
            getattr(held.core, done)(0, GOOD, NOW_ns)
            assert (row.setpoint_mA, row.acknowledged_at_ns, row.code) == (9000, NOW_ns, GOOD)
            row.setpoint_mA = 8000
        else:
            with pytest.raises(
                CoreFault, match=r"^charger 0: reports a write that was not ordered"
            ):
                getattr(held.core, done)(0, GOOD, NOW_ns)
            assert (row.setpoint_mA, row.code) == (8000, 0)


def test_refresh_writes_the_setpoint_again() -> None:
    held = Still(tables())
    row = held.set(0, 8000)
    row.is_acknowledged, row.action, row.action_mA = 0, PROBE, 6000
    held.core.refreshed(0, REFUSED, NOW_ns)
    assert (row.code, row.is_acknowledged, row.setpoint_mA) == (REFUSED, 0, 8000)
    held.core.refreshed(0, GOOD, NOW_ns)
    assert (row.code, row.is_acknowledged, row.setpoint_mA) == (GOOD, 1, 8000)


def test_refresh_of_a_silent_one_is_a_probe() -> None:
    held = Still(tables())
    row = held.set(0, 8000)
    row.is_silent, row.action, row.action_mA = 1, PROBE, 6000
    held.core.refreshed(0, GOOD, NOW_ns)
    assert (row.code, row.is_silent, row.setpoint_mA) == (GOOD, 0, 6000)


@pytest.mark.parametrize(("code", "is_silent"), [(GOOD, 0), (REFUSED, 1)])
def test_probe(code: int, is_silent: int) -> None:
    held = Still(tables())
    row = held.set(0, 8000)
    row.is_silent, row.action, row.action_mA = 1, PROBE, 6000
    held.core.probe_done(0, code, NOW_ns)
    assert (row.code, row.is_silent, row.setpoint_mA) == (code, is_silent, 6000)
    assert row.is_acknowledged == (code == GOOD)


# At rest
@pytest.mark.parametrize("n", [2, 4])
def test_wants_of_another_number_are_refused(n: int) -> None:
    with pytest.raises(CoreFault, match=f"^wants: {n} of 3 chargers$"):
        Still(tables()).core.settle([True] * n)


def test_settle_asks_who_wants() -> None:
    held = Still(tables())
    held.core.external_limit(0, None, None, None, NOW_ns)
    assert held.core.settle([True, False, 1]) == 0
    assert [row.grant_mA for row in held.chargers] == [16_000, 0, 16_000]
    assert held.core.settle([False] * 3) == 0
    assert [row.is_admitted for row in held.chargers] == [0, 0, 0]


# What is asked for
def test_lists_by_charger_and_circuit() -> None:
    held = Still(tables())
    for i, row in enumerate(held.chargers):
        row.is_starving, row.failsafe_mA, row.reserve_mA = i != 1, 100 * i, 1000 * i
    for c, row in enumerate(held.circuits):
        row.background_rigorous_mA[:] = [c, 10 * c, 20 * c + 1]
        row.is_cooling[:] = [c, 0, 1 - c]
    assert held.core.starving() == [0, 2]
    assert held.core.failsafe_mA() == [0, 100, 200]
    assert held.core.reserves_mA() == [0, 1000, 2000]
    assert held.core.backgrounds_high_mA() == [(0, 0, 1), (1, 10, 21)]
    assert held.core.cooling() == [(0, 2), (1, 0)]


def test_backgrounds_that_were_seen() -> None:
    held = Still(tables())
    held.core.latch_background(1, (5, 0, 7))
    assert held.core.seen_backgrounds_mA() == [None, (5, 0, 7)]


@pytest.mark.parametrize(
    ("phases", "unused", "expected"),
    [
        ((0, 1, 2), 0, (0, 1, 2)),
        ((0, 1, 2), 0b010, (0, 2)),
        ((2, 0), 0, (0, 2)),
        ((2, 0), 0b100, (0,)),
        ((1,), 0b101, (1,)),
    ],
)
def test_phases_that_are_used(
    phases: tuple[int, ...], unused: int, expected: tuple[int, ...]
) -> None:
    held = Still(tables(phases=phases))
    held.chargers[1].unused_phases = unused
    assert [tuple(used) for used in held.core.used_phases()][1] == expected


@pytest.mark.parametrize(
    ("limit_mA", "power_W", "until_ns"),
    [((1, 2, 3), None, None), (None, 2300, 9), ((4, 5, 6), 0, 8), (None, None, None)],
)
def test_limit_from_outside_replaces_all_of_the_one_before(
    limit_mA: Any, power_W: int | None, until_ns: int | None
) -> None:
    held = Still(tables())
    held.core.external_limit(0, (7, 8, 9), 690, 5, 6)
    held.core.external_limit(0, limit_mA, power_W, until_ns, NOW_ns)
    row = held.circuits[0]
    assert (row.external_has_current, row.external_has_power) == (
        limit_mA is not None, power_W is not None,
    )  # fmt: skip
    assert list(row.external_mA) == list(limit_mA or (0, 0, 0))
    assert row.external_power_mA == (power_W or 0) * 1000 // 230
    assert (row.external_ends, row.external_until_ns) == (until_ns is not None, until_ns or 0)
    assert (row.external_is_heard, row.external_heard_at_ns) == (1, NOW_ns)
