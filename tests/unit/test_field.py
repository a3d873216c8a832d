"""The phases on simulated buses in virtual time: what is on the wire, when, and to whom."""

import itertools
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.virtual import VirtualWire
from hw.wire import Code, Reply
from loadctl.events import Event
from loadctl.modes import RUN
from loadctl.runner import ThreadRunner
from loadctl.tables import Tables
from tests.support import sim_sites
from tests.support.builders import make_meter
from tests.support.scan_rig import FakeGuarded, MS_ns, S_ns, VirtualRig

METER, BAY1, BAY2 = 1, 11, 12
WATCHDOG_REGISTER, FALLBACK_REGISTER = 101, 102
SETTLED_ns = 100 * S_ns


def garage(n_chargers: int) -> Tables:
    """One meter, one circuit of 32 A; small differences are trimmed soon."""
    tables = sim_sites.metered_site(n_chargers)
    return replace(tables, tuning=replace(tables.tuning, trim_ns=5 * S_ns))


def story(n_cars: int, background_A: int = 5, **changes: object) -> Scenario:
    visits = tuple(Visit(f"bay{i + 1}", 0) for i in range(n_cars))
    load = Load("constant", (background_A * 1000,) * 3)
    return replace(Scenario(loads={"main": load}, visits=visits), **changes)


def rig_of(path: Path, n_chargers: int = 2, tables: Tables | None = None) -> VirtualRig:
    return VirtualRig(tables or garage(n_chargers), story(n_chargers), path)


@pytest.fixture
def rig(tmp_path: Path) -> VirtualRig:
    """Two chargers whose cars share 27 A, long settled: 13.5 A each."""
    settled = rig_of(tmp_path)
    settled.run_for(SETTLED_ns)
    assert settled.setpoints_mA() == [13_500, 13_500]
    return settled


def test_field_tells_every_bus_where_its_spare_time_ends(rig: VirtualRig) -> None:
    rig.field.begin(7 * S_ns)
    (bus,) = rig.field.buses
    assert bus.read_free_at_ns == 7 * S_ns + rig.plan.read_end_ns - rig.plan.buses[0].timeout_ns
    assert bus.give_at_ns == 7 * S_ns + rig.plan.give_at_ns


# a well site


def test_field_well_site_settles_at_its_share_without_a_fault(rig: VirtualRig) -> None:
    seen = rig.snapshot()
    assert rig.site.violations() == []
    assert (seen["scan"]["missed"], seen["scan"]["gate_drops"]) == (0, 0)
    assert seen["scan"]["slow_replies"] == 0
    assert seen["scan"]["mode"] == RUN
    assert len(rig.guarded.beats_at_ns) == seen["scan"]["scans"] == SETTLED_ns // (500 * MS_ns)


def test_field_every_meter_is_read_in_every_scan(rig: VirtualRig) -> None:
    scans = Counter(rig.scans_of(rig.tap.since(0, METER)))
    assert set(scans.values()) == {1}
    assert len(scans) == 200


@pytest.mark.parametrize("n_chargers", [2, 8])
def test_field_no_status_is_older_than_two_seconds(tmp_path: Path, n_chargers: int) -> None:
    rig = rig_of(tmp_path, n_chargers)
    rig.run_for(3 * S_ns)
    for _ in range(20):
        rig.pass_one()
        seen = rig.snapshot()
        oldest_ns = min(charger["status_at_ns"] for charger in seen["chargers"])
        assert seen["scan"]["published_at_ns"] - oldest_ns <= 2 * S_ns


def test_field_charger_gets_at_most_one_setpoint_in_a_scan(tmp_path: Path) -> None:
    rig = VirtualRig(
        garage(4),
        replace(
            story(4), loads={"main": Load("random", (0,) * 3, (25_000,) * 3, every_ns=7 * S_ns)}
        ),
        tmp_path,
    )
    rig.run_for(120 * S_ns)
    for address in range(11, 15):
        frames = rig.tap.setpoints(address=address)
        assert len(frames) > 5
        assert set(Counter(rig.scans_of(frames)).values()) == {1}
    assert rig.site.violations() == []


def test_field_unchanged_setpoint_is_written_within_a_third_of_the_watchdog_time(
    rig: VirtualRig,
) -> None:
    rig.run_for(100 * S_ns)
    for address in (BAY1, BAY2):
        times_ns = [f.at_ns for f in rig.tap.setpoints(rig.clock.now_ns() - 100 * S_ns, address)]
        gaps_ns = [b - a for a, b in itertools.pairwise(times_ns)]
        assert max(gaps_ns) <= 10 * S_ns  # watchdog 30 s
        assert min(gaps_ns) >= 4 * S_ns  # and not in every scan


def test_field_raises_leave_at_the_give_point_and_not_before(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.run_for(30 * S_ns)
    raised = [f for a in (BAY1, BAY2) for f in _raises(rig, a)]
    assert len(raised) >= 4
    for frame in raised:
        in_scan_ns = frame.at_ns % (500 * MS_ns)
        assert rig.plan.give_at_ns < in_scan_ns <= rig.plan.give_end_ns


def _raises(rig: VirtualRig, address: int) -> list[object]:
    frames = rig.tap.setpoints(address=address)
    return [b for a, b in itertools.pairwise(frames) if b.value > a.value]


# arming


def test_field_arming_writes_a_register_only_when_it_differs(rig: VirtualRig) -> None:
    """The box wakes up with a fallback of 0 A and a watchdog of 30 s; wanted are 6 A and 30 s."""
    writes = [(f.register, f.value) for f in rig.tap.since(0, BAY1) if f.function == 6]
    assert writes[0] == (FALLBACK_REGISTER, 60)
    assert [register for register, _ in writes].count(FALLBACK_REGISTER) == 1
    assert WATCHDOG_REGISTER not in [register for register, _ in writes]


def test_field_first_setpoint_is_not_above_failsafe_or_what_the_box_held(tmp_path: Path) -> None:
    for power_on_A, first in ((32, 60), (0, 0)):
        scenario = replace(story(2), power_on_mA=power_on_A * 1000)
        rig = VirtualRig(garage(2), scenario, tmp_path)
        rig.run_for(10 * S_ns)
        assert rig.tap.setpoints(address=BAY1)[0].value <= first


def test_field_charger_that_cannot_be_armed_is_not_written_again_and_again(tmp_path: Path) -> None:
    """Its fallback register does not keep what is written."""
    rig = rig_of(tmp_path)
    steps = rig.field.chargers[0].arming.steps
    steps[0] = steps[0]._replace(expected=b"\x12\x34")
    rig.run_for(20 * S_ns)
    assert [event["who"] for event in rig.events(Event.NOT_ARMED)] == [0]
    writes = [f for f in rig.tap.since(0, BAY1) if f.register == FALLBACK_REGISTER]
    assert [f.function for f in writes].count(6) == 1


# a setpoint that is known from before


def restarted(path: Path, told_mA: dict[int, int], n_chargers: int = 2) -> VirtualRig:
    """A scan that begins where the guard holds the boxes at these setpoints."""
    guarded = FakeGuarded()
    guarded.told.update(told_mA)
    scenario = replace(story(n_chargers), power_on_mA=10_000)
    return VirtualRig(garage(n_chargers), scenario, path, guarded)


def test_field_known_setpoints_are_written_in_the_first_scan_before_any_arming(
    tmp_path: Path,
) -> None:
    rig = restarted(tmp_path, {0: 10_000, 1: 0})
    rig.pass_one()
    for address, value in ((BAY1, 60), (BAY2, 0)):
        frames = [f for f in rig.tap.since(0, address) if f.function != 4]
        assert (frames[0].is_setpoint, frames[0].value) == (True, value)
        assert FALLBACK_REGISTER in [f.register for f in frames[1:]]
    assert rig.guarded.tells[:2] == [(0, 6_000), (0, 6_000)]  # before its frame, and after
    assert rig.guarded.told == {0: 6_000, 1: 0}
    rig.run_for(4 * SETTLED_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]
    assert rig.snapshot()["scan"]["gate_drops"] == 0
    assert rig.site.violations() == []


def test_field_known_setpoints_that_do_not_fit_one_scan_follow_in_the_next(tmp_path: Path) -> None:
    rig = restarted(tmp_path, dict.fromkeys(range(8), 10_000), 8)
    rig.field.plan = replace(rig.plan, take_end_ns=250 * MS_ns)
    rig.pass_one()
    n_first = len(rig.tap.setpoints())
    assert 0 < n_first < 8
    while len(rig.tap.setpoints()) < 8:
        rig.pass_one()
    frames = rig.tap.setpoints()[:8]
    assert sorted(f.address for f in frames) == list(range(11, 19))
    for frame in frames:
        own = rig.tap.since(0, frame.address)
        armed = [f for f in own if f.function == 3]
        assert all(f.at_ns > frame.at_ns for f in armed)


def test_field_known_setpoints_are_written_in_the_order_of_their_decrease(tmp_path: Path) -> None:
    rig = restarted(tmp_path, {0: 7_000, 1: 10_000, 2: 0}, 3)
    rig.pass_one()
    assert [f.address for f in rig.tap.setpoints()] == [12, 11, 13]


def test_field_known_setpoints_are_kept_up_while_a_charger_cannot_be_armed(tmp_path: Path) -> None:
    """The core, which does not know of them, hears only that the box answers."""
    rig = restarted(tmp_path, {0: 10_000})
    steps = rig.field.chargers[0].arming.steps
    steps[0] = steps[0]._replace(expected=b"\x12\x34")
    rig.run_for(40 * S_ns)
    times_ns = [f.at_ns for f in rig.tap.setpoints(address=BAY1)]
    assert {f.value for f in rig.tap.setpoints(address=BAY1)} == {60}
    assert max(b - a for a, b in itertools.pairwise(times_ns)) <= 10 * S_ns
    assert rig.core.charger(0)["is_acknowledged"] == 0


def test_field_guard_is_told_what_an_armed_charger_was_found_to_hold(tmp_path: Path) -> None:
    rig = VirtualRig(garage(2), replace(story(2), power_on_mA=10_000), tmp_path)
    rig.run_for(5 * S_ns)
    assert dict(reversed(rig.guarded.tells)) == {0: 10_000, 1: 10_000}  # the first of each


def test_field_known_setpoint_of_a_silent_charger_is_what_it_is_probed_with(
    tmp_path: Path,
) -> None:
    rig = restarted(tmp_path, {0: 10_000})
    rig.tap.dead.add(BAY1)
    rig.run_for(5 * S_ns)
    first, *probes = rig.tap.since(0, BAY1)
    assert first.function == 4  # the status block that found it silent
    assert {(f.is_setpoint, f.value) for f in probes} == {(True, 60)}
    rig.tap.dead.clear()
    rig.run_for(4 * SETTLED_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]


# silence


def test_field_dead_charger_is_probed_once_a_scan_with_its_failsafe_and_nothing_else(
    rig: VirtualRig,
) -> None:
    rig.tap.dead.add(BAY1)
    died_ns = rig.clock.now_ns()
    rig.run_for(20 * S_ns)
    frames = rig.tap.since(died_ns, BAY1)[1:]  # the first is what found it dead
    assert {(f.is_setpoint, f.value) for f in frames} == {(True, 60)}
    assert set(Counter(rig.scans_of(frames)).values()) == {1}
    assert len(frames) >= 38
    assert rig.snapshot()["scan"]["missed"] == 0
    assert [event["who"] for event in rig.events(Event.CHARGER_SILENT)] == [0]


def test_field_dead_charger_that_was_paused_is_probed_with_the_pause(tmp_path: Path) -> None:
    rig = VirtualRig(garage(2), story(1), tmp_path)  # no car at bay2
    rig.run_for(SETTLED_ns)
    rig.tap.dead.add(BAY2)
    died_ns = rig.clock.now_ns()
    rig.run_for(10 * S_ns)
    assert {f.value for f in rig.tap.since(died_ns, BAY2)[1:]} == {0}


def test_field_one_probe_a_scan_serves_all_dead_chargers_in_turn(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, 4)
    rig.run_for(SETTLED_ns)
    rig.tap.dead.update(range(11, 15))
    rig.run_for(5 * S_ns)
    since_ns = rig.clock.now_ns()
    rig.run_for(8 * S_ns)
    frames = rig.tap.since(since_ns)
    probes = [frame for frame in frames if frame.address != METER]
    assert set(Counter(rig.scans_of(probes)).values()) == {1}
    assert set(Counter(f.address for f in probes).values()) == {4}
    assert rig.snapshot()["scan"]["missed"] == 0


def test_field_dead_charger_that_was_never_armed_is_probed_with_a_read(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.tap.dead.add(BAY1)
    rig.run_for(10 * S_ns)
    assert {f.function for f in rig.tap.since(0, BAY1)} <= {3, 4}
    rig.tap.dead.clear()
    rig.run_for(100 * S_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]
    assert rig.site.violations() == []


def test_field_charger_that_is_back_is_armed_again_before_its_first_raise(rig: VirtualRig) -> None:
    rig.tap.dead.add(BAY1)
    rig.run_for(5 * S_ns)
    rig.tap.dead.clear()
    back_ns = rig.clock.now_ns()
    rig.run_for(100 * S_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]
    frames = rig.tap.since(back_ns, BAY1)
    first_raise = next(i for i, f in enumerate(frames) if f.is_setpoint and f.value > 60)
    before = [(f.function, f.register) for f in frames[:first_raise]]
    assert (3, FALLBACK_REGISTER) in before
    assert (3, WATCHDOG_REGISTER) in before
    assert (6, FALLBACK_REGISTER) not in before  # it still holds: not written again
    assert rig.site.violations() == []


def test_field_reply_lost_for_ever_is_a_silence_and_never_a_raise(rig: VirtualRig) -> None:
    """The box hears and obeys; we only cannot know it."""
    rig.tap.mute.add(BAY1)
    since_ns = rig.clock.now_ns()
    rig.run_for(20 * S_ns)
    assert {f.value for f in rig.tap.setpoints(since_ns, BAY1)} == {60}
    assert rig.site.violations() == []


def test_field_dead_meter_is_asked_in_two_scans_of_four_and_nothing_is_raised(
    tmp_path: Path,
) -> None:
    rig = rig_of(tmp_path)
    rig.run_for(8 * S_ns)
    rig.tap.dead.add(METER)
    since_ns = rig.clock.now_ns()
    before_mA = rig.setpoints_mA()
    rig.run_for(2 * S_ns)
    # in either form, then not until no late reply to the first can come
    assert [frame.value for frame in rig.tap.since(since_ns, METER)] == [20, 22]
    assert [
        after <= before for after, before in zip(rig.setpoints_mA(), before_mA, strict=True)
    ] == [True, True]
    assert [event["who"] for event in rig.events(Event.METER_SILENT)] == [0]
    rig.tap.dead.clear()
    rig.run_for(S_ns)
    assert [event["who"] for event in rig.events(Event.METER_BACK)] == [0]


def test_field_meter_that_failed_goes_after_the_one_that_answers(tmp_path: Path) -> None:
    tables = garage(2)
    tables = replace(tables, meters=(*tables.meters, make_meter("spare", address=2)))
    rig = VirtualRig(tables, story(2), tmp_path)
    rig.run_for(S_ns)
    assert [f.address for f in rig.tap.since(rig.clock.now_ns() - S_ns)][:2] == [1, 2]
    rig.tap.dead.add(1)
    rig.pass_one()
    since_ns = rig.clock.now_ns()
    rig.pass_one()
    assert [f.address for f in rig.tap.since(since_ns)][:2] == [2, 1]


def test_field_everything_dead_misses_no_cycle(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, 8)
    rig.run_for(SETTLED_ns)
    rig.tap.dead.update((METER, *range(11, 19)))
    rig.run_for(30 * S_ns)
    assert rig.snapshot()["scan"]["missed"] == 0
    assert rig.snapshot()["buses"][0]["n_silent"] == 8


# the gate


def test_field_frame_that_the_gate_refuses_is_not_on_the_wire(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.gate.allows = lambda charger_i, setpoint_mA: setpoint_mA == 0  # type: ignore[method-assign]
    rig.run_for(30 * S_ns)
    assert {f.value for f in rig.tap.setpoints()} == {0}
    assert rig.snapshot()["scan"]["gate_drops"] > 0
    assert rig.events(Event.GATE_DROP)[0]["who"] == 0


# the way out


def test_field_bring_down_leaves_each_charger_at_the_lower_of_setpoint_and_failsafe(
    tmp_path: Path,
) -> None:
    rig = VirtualRig(garage(3), story(2), tmp_path)  # no car at bay3
    rig.run_for(SETTLED_ns)
    since_ns = rig.clock.now_ns()
    assert rig.scan.bring_down() == []
    values = {f.address: f.value for f in rig.tap.setpoints(since_ns)}
    assert values == {11: 60, 12: 60, 13: 0}
    assert rig.snapshot()["scan"]["mode"] == 3


def test_field_bring_down_tries_again_and_names_who_does_not_acknowledge(rig: VirtualRig) -> None:
    rig.tap.dead.add(BAY1)
    since_ns = rig.clock.now_ns()
    assert rig.scan.bring_down() == ["bay1"]
    counts = Counter(f.address for f in rig.tap.setpoints(since_ns))
    assert counts == {BAY1: 3, BAY2: 1}


def cut_off(rig: VirtualRig, span_ns: int) -> None:
    """The cable is out: nothing is sent, and the meter's circuit turns static at 20 A."""
    wire = rig.site.wires[0]
    transact = wire.transact
    wire.transact = lambda exchange, patience, deadline_ns: Reply(
        Code.NOT_SENT, b"", 0, wire.now_ns(), wire.now_ns()
    )
    rig.run_for(span_ns)
    wire.transact = transact


def test_field_takes_that_never_left_do_not_stop_the_refreshes(rig: VirtualRig) -> None:
    cut_off(rig, 5 * S_ns)
    back_ns = rig.clock.now_ns()
    rig.run_for(60 * S_ns)
    assert rig.snapshot()["scan"]["gate_drops"] == 0
    assert rig.setpoints_mA() == [13_500, 13_500]
    for address in (BAY1, BAY2):
        times_ns = [f.at_ns for f in rig.tap.setpoints(back_ns, address)]
        gaps_ns = [b - a for a, b in itertools.pairwise([back_ns, *times_ns])]
        assert max(gaps_ns) < 10 * S_ns


def test_field_pauses_that_never_left_do_not_stop_the_way_out(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, tables=sim_sites.metered_site(2, background_mA=(31_000,) * 3))
    rig.run_for(SETTLED_ns)
    cut_off(rig, 5 * S_ns)
    assert rig.core.charger(0)["grant_mA"] == 0
    since_ns = rig.clock.now_ns()
    assert rig.scan.bring_down() == []
    assert {f.address: f.value for f in rig.tap.setpoints(since_ns)} == {11: 60, 12: 60}


def test_field_bring_down_leaves_a_charger_of_unknown_setpoint_alone_and_names_it(
    tmp_path: Path,
) -> None:
    rig = rig_of(tmp_path)
    assert rig.scan.bring_down() == ["bay1", "bay2"]
    assert rig.events(Event.STOPPED)[0]["first"] == 2
    assert rig.tap.frames == []


# threads


def test_thread_runner_runs_all_jobs_side_by_side_and_returns_when_all_are_done() -> None:
    meet = threading.Barrier(3, timeout=10)
    names: list[str] = []

    def job() -> None:
        meet.wait()
        names.append(threading.current_thread().name)

    runner = ThreadRunner(["a", "b", "c"])
    runner.run([job, job, job])
    assert sorted(names) == ["bus a", "bus b", "bus c"]
    runner.close()


def test_thread_runner_error_of_a_job_is_raised_after_all_are_done() -> None:
    done: list[int] = []

    def bad() -> None:
        raise ValueError("bus a broke")

    runner = ThreadRunner(["a", "b"])
    with pytest.raises(ValueError, match="bus a broke"):
        runner.run([bad, lambda: done.append(1)])
    assert done == [1]
    runner.run([lambda: done.append(2), lambda: done.append(3)])  # it still works
    assert sorted(done) == [1, 2, 3]
    runner.close()


def test_field_closed_port_makes_all_its_chargers_silent_at_once(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers on a port that is gone: the watchdogs behind it run all the same."""
    monkeypatch.setattr(VirtualWire, "is_open", property(lambda wire: False))
    cut_off(rig, 500 * MS_ns)
    assert [charger["is_silent"] for charger in rig.snapshot()["chargers"]] == [1, 1]
    monkeypatch.undo()
    back_ns = rig.clock.now_ns()
    rig.run_for(5 * S_ns)
    for address in (BAY1, BAY2):
        first = rig.tap.since(back_ns, address)[0]
        assert (first.is_setpoint, first.value) == (True, 60)
        assert (3, FALLBACK_REGISTER) in [
            (f.function, f.register) for f in rig.tap.since(back_ns, address)
        ]


def test_field_port_that_is_gone_makes_its_chargers_silent_before_the_step(
    rig: VirtualRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    inner = rig.core.step

    class StepSpy:
        def __getattr__(self, name: str) -> object:
            return getattr(rig.core, name)

        def step(self, now_ns: int) -> int:
            seen.append([rig.core.charger(i)["is_silent"] for i in range(2)])
            return inner(now_ns)

    rig.scan.core = StepSpy()  # type: ignore[assignment]
    read = rig.field.buses[0].read

    def lost_in_read() -> None:
        read()
        monkeypatch.setattr(VirtualWire, "is_open", property(lambda wire: False))

    rig.field.buses[0].read = lost_in_read  # type: ignore[method-assign]
    rig.pass_one()
    assert seen == [[1, 1]]
