"""Chargers that cannot be armed: they are granted nothing, and brought down all the same."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hw.wire import Code, Exchange, Patience, Reply
from loadctl.events import Event
from loadctl.status import event_line, status_of
from tests.support.scan_rig import FakeGuarded, S_ns, VirtualRig
from tests.unit.test_field import BAY1, garage, story
from tests.unit.test_field_faults import asked


def answers(rig: VirtualRig, is_it: Callable[[Exchange], bool], code: Code = Code.REFUSED) -> None:
    """The first box answers such a request with an exception, or not at all; nothing is done."""
    wire = rig.site.wires[0]
    transact = wire.transact

    def answered(exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        if exchange.address != BAY1 or not is_it(exchange):
            return transact(exchange, patience, deadline_ns)
        return Reply(code, b"", 2 * (code is Code.REFUSED), wire.now_ns(), wire.now_ns())

    wire.transact = answered


def unarmable(rig: VirtualRig) -> VirtualRig:
    """The fallback register of the first box does not keep what is written."""
    steps = rig.field.chargers[0].arming.steps
    steps[0] = steps[0]._replace(expected=b"\x12\x34")
    return rig


def woken(path: Path, power_on_mA: int = 16_000) -> VirtualRig:
    return VirtualRig(garage(2), replace(story(2), power_on_mA=power_on_mA), path)


def values(rig: VirtualRig, since_ns: int = 0) -> set[int]:
    return {frame.value for frame in rig.tap.setpoints(since_ns, BAY1)}


@pytest.mark.parametrize(("power_on_mA", "told"), [(16_000, 60), (6_000, 60), (0, 0)])
def test_field_charger_that_cannot_be_armed_is_brought_down_and_held_there(
    tmp_path: Path, power_on_mA: int, told: int
) -> None:
    """To the lower of what is in force and its failsafe current, in the scan after it failed; it
    still counts at its rating."""
    rig = unarmable(woken(tmp_path, power_on_mA))
    rig.run_for(60 * S_ns)
    frames = rig.tap.setpoints(address=BAY1)
    assert {frame.value for frame in frames} == {told}
    assert rig.scans_of(frames)[0] <= 2
    assert rig.guarded.told[0] == told * 100
    gaps_ns = [b.at_ns - a.at_ns for a, b in itertools.pairwise(frames)]
    assert max(gaps_ns) < 10 * S_ns  # it is refreshed as any other
    assert min(gaps_ns) > 4 * S_ns
    charger = rig.core.charger(0)
    assert (charger["is_armed"], charger["reserve_mA"]) == (0, rig.tables.chargers[0].rated_mA)
    assert [event["who"] for event in rig.events(Event.NOT_ARMED)] == [0]
    assert rig.snapshot()["scan"]["gate_drops"] == 0
    since_ns = rig.clock.now_ns()
    assert rig.scan.bring_down() == []
    assert values(rig, since_ns) == {told}


@pytest.mark.parametrize("function", [3, 6])
def test_field_charger_that_refuses_to_be_armed_is_brought_down(
    tmp_path: Path, function: int
) -> None:
    rig = woken(tmp_path)
    answers(rig, lambda exchange: (exchange.function, exchange.register) == (function, 102))
    rig.run_for(5 * S_ns)
    assert values(rig) == {60}
    (event,) = rig.events(Event.NOT_ARMED)
    assert event_line(rig.tables, event) == (
        "bay1 cannot be armed: register 102 (fallback_A) is refused (exception 2)"
    )


def test_field_charger_whose_setpoint_cannot_be_read_is_paused(tmp_path: Path) -> None:
    rig = woken(tmp_path)
    answers(rig, lambda exchange: (exchange.function, exchange.register) == (3, 100))
    rig.run_for(5 * S_ns)
    assert values(rig) == {0}
    (event,) = rig.events(Event.NOT_ARMED)
    assert event_line(rig.tables, event).endswith(
        "register 100 (setpoint) is refused (exception 2)"
    )
    assert rig.scan.bring_down() == []


def test_field_charger_without_a_readable_setpoint_that_cannot_be_armed_is_paused(
    tmp_path: Path,
) -> None:
    rig = unarmable(woken(tmp_path))
    rig.field.chargers[0].arming.read_setpoint = None
    rig.run_for(5 * S_ns)
    assert values(rig) == {0}


def test_field_charger_that_cannot_be_armed_and_falls_silent_is_paused_by_its_probes(
    tmp_path: Path,
) -> None:
    """Nothing is read of it any more, so what it has is not known."""
    rig = woken(tmp_path)
    answers(rig, lambda exchange: exchange.register == 102, Code.REFUSED)
    answers(
        rig, lambda exchange: (exchange.function, exchange.register) == (3, 100), Code.NO_ANSWER
    )
    rig.pass_one()
    rig.tap.dead.add(BAY1)
    since_ns = rig.clock.now_ns()
    rig.run_for(5 * S_ns)
    assert {frame.function for frame in rig.tap.since(since_ns, BAY1)} == {6}
    assert values(rig, since_ns) == {0}


def test_field_setpoint_that_is_refused_is_told_again_later_each_time(tmp_path: Path) -> None:
    rig = unarmable(woken(tmp_path))
    answers(rig, lambda exchange: (exchange.function, exchange.register) == (6, 100))
    rig.run_for(50 * S_ns)
    times_ns = [event["at_ns"] for event in rig.events(Event.REFUSED)]
    gaps_s = [(b - a) / S_ns for a, b in itertools.pairwise(times_ns)]
    assert gaps_s == pytest.approx([2, 4, 8, 16], abs=0.6)
    rig.run_for(600 * S_ns)
    n_tries = len(rig.events(Event.REFUSED)) - len(times_ns)
    assert 10 <= n_tries <= 30
    assert rig.scan.bring_down() == ["bay1"]


def test_field_charger_that_cannot_be_armed_follows_a_failsafe_that_was_lowered(
    tmp_path: Path,
) -> None:
    rig = unarmable(woken(tmp_path))
    rig.run_for(5 * S_ns)
    core = asked(rig)
    core.failsafes_mA = [0, 6_000]
    since_ns = rig.clock.now_ns()
    rig.pass_one()
    assert values(rig, since_ns) == {0}


def test_field_charger_that_fails_to_be_armed_again_is_told_again(tmp_path: Path) -> None:
    """It may have restarted meanwhile."""
    rig = unarmable(woken(tmp_path))
    rig.run_for(58 * S_ns)
    station = rig.field.chargers[0]
    n_failed = station.arming.n_failed
    while station.arming.n_failed == n_failed:
        rig.pass_one()
    since_ns = rig.clock.now_ns()
    rig.run_for(1 * S_ns)
    assert values(rig, since_ns) == {60}
    assert len(rig.events(Event.NOT_ARMED)) == 1


def test_field_charger_that_cannot_be_armed_gets_nothing_while_it_is_starved(
    tmp_path: Path,
) -> None:
    rig = unarmable(woken(tmp_path))
    core = asked(rig)
    rig.pass_one()
    core.starving_now = [0]
    rig.pass_one()
    since_ns = rig.clock.now_ns()
    rig.run_for(70 * S_ns)
    assert rig.tap.since(since_ns, BAY1) == []
    assert rig.scan.bring_down() == ["bay1"]
    assert rig.tap.since(since_ns, BAY1) == []


def test_field_setpoint_that_is_read_never_lifts_the_last_one(tmp_path: Path) -> None:
    """It holds 16 A and refuses the 6 A that it was told by an earlier scan."""
    guarded = FakeGuarded()
    guarded.told[0] = 6_000
    rig = VirtualRig(garage(2), replace(story(2), power_on_mA=16_000), tmp_path, guarded)
    unarmable(rig)
    answers(rig, lambda exchange: (exchange.function, exchange.register) == (6, 100))
    rig.run_for(20 * S_ns)
    assert {event["first"] for event in rig.events(Event.REFUSED)} == {6_000}
    assert guarded.told[0] == 6_000
    assert rig.snapshot()["scan"]["gate_drops"] == 0


@pytest.mark.parametrize(("failsafe_mA", "told"), [(8_000, 70), (6_000, 0)])
def test_field_setpoint_off_the_sites_range_is_brought_down_too(
    tmp_path: Path, failsafe_mA: int, told: int
) -> None:
    """7 A stand in a box whose minimum is 8 A; a failsafe current below that is a pause."""
    tables = garage(2)
    rows = tuple(replace(r, min_mA=8_000, failsafe_mA=failsafe_mA) for r in tables.chargers)
    scenario = replace(story(2), power_on_mA=7_000)
    rig = unarmable(VirtualRig(replace(tables, chargers=rows), scenario, tmp_path))
    rig.run_for(5 * S_ns)
    assert values(rig) == {told}
    assert rig.snapshot()["scan"]["gate_drops"] == 0


def test_field_charger_that_cannot_be_armed_and_answers_again_is_not_called_silent(
    tmp_path: Path,
) -> None:
    rig = unarmable(woken(tmp_path))
    rig.run_for(5 * S_ns)
    rig.tap.dead.add(BAY1)
    rig.run_for(5 * S_ns)
    assert shown(rig) == (True, "silent")
    rig.tap.dead.clear()
    rig.run_for(5 * S_ns)
    assert shown(rig) == (False, "not_armed")
    assert values(rig) == {60}


def shown(rig: VirtualRig) -> tuple[bool, str]:
    charger = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns())["chargers"]["bay1"]
    return charger["is_silent"], charger["rule"]
