"""The scan as a whole in virtual time: order of a pass, overruns, modes, sleep, faults."""

from dataclasses import replace
from pathlib import Path

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.errors import CoreFault
from loadctl.events import Event
from loadctl.modes import FAILSAFE, RUN, START, Reason
from loadctl.start import drive
from loadctl.tables import Tables
from tests.support import sim_sites
from tests.support.scan_rig import MS_ns, S_ns, START_ns, VirtualRig

PERIOD_ns = 500 * MS_ns
HEALTHY_SCANS = 10
SETTLED_ns = 40 * S_ns


def garage(n_chargers: int = 2) -> Tables:
    """One meter, one circuit of 32 A; small differences are trimmed soon."""
    tables = sim_sites.metered_site(n_chargers)
    return replace(tables, tuning=replace(tables.tuning, trim_ns=5 * S_ns))


def rig_with(path: Path, load: Load, n_chargers: int = 2, follow_ns: int = 3 * S_ns) -> VirtualRig:
    visits = tuple(Visit(f"bay{i + 1}", 0, follow_ns=follow_ns) for i in range(n_chargers))
    return VirtualRig(garage(n_chargers), Scenario(loads={"main": load}, visits=visits), path)


def settled(path: Path, n_chargers: int = 2) -> VirtualRig:
    rig = rig_with(path, Load("constant", (5_000,) * 3), n_chargers)
    rig.run_for(SETTLED_ns)
    return rig


# the order of a pass


def test_scan_calls_its_phases_in_this_order(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    calls: list[str] = []
    for name in ("begin", "read", "take", "look", "give", "keep"):
        _spy(rig.field, name, calls)
    rig.scan.core = _SpyCore(rig.core, calls)  # type: ignore[assignment]
    rig.pass_one()
    assert calls == ["begin", "read", "step", "take", "look", "confirm", "give", "keep"]


def _spy(target: object, name: str, calls: list[str]) -> None:
    inner = getattr(target, name)

    def called(*args: object) -> object:
        calls.append(name)
        return inner(*args)

    setattr(target, name, called)


class _SpyCore:
    """The real core, with a note of what was called, or another result."""

    def __init__(self, core: object, calls: list[str], **results: int) -> None:
        self.core, self.calls, self.results = core, calls, results
        self.times: list[int] = []

    def step(self, now_ns: int) -> int:
        self.calls.append("step")
        self.times.append(now_ns)
        return self.core.step(now_ns) or self.results.get("step", 0)  # type: ignore[attr-defined]

    def confirm(self, now_ns: int) -> int:
        self.calls.append("confirm")
        self.times.append(now_ns)
        result: int = self.core.confirm(now_ns)  # type: ignore[attr-defined]
        return result or self.results.get("confirm", 0)

    def set_mode(self, mode: int) -> None:
        self.core.set_mode(mode)  # type: ignore[attr-defined]


def test_scan_law_sees_one_time_only_that_of_the_wake(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    spy = rig.scan.core = _SpyCore(rig.core, [])  # type: ignore[assignment]
    grid_at_ns = rig.pacer.grid_at_ns
    rig.pass_one()
    assert spy.times == [grid_at_ns, grid_at_ns]


def test_scan_publishes_each_pass_with_its_spans(tmp_path: Path) -> None:
    rig = rig_with(tmp_path, Load("constant", (5_000,) * 3))
    for n_scans in (1, 2, 3):
        rig.pass_one()
        seen = rig.snapshot()
        assert (seen["scan"]["scans"], len(rig.guarded.beats_at_ns)) == (n_scans, n_scans)
        spans = seen["scan"]["spans"]
        assert [sum(span["bins"]) for span in spans.values()] == [n_scans] * 8
        assert spans["whole"]["last_ns"] == seen["scan"]["published_at_ns"] - (
            START_ns + (n_scans - 1) * PERIOD_ns
        )


# a building step


def test_scan_building_step_is_answered_in_the_scan_that_reads_it(tmp_path: Path) -> None:
    """Four cars on 100 A; the building rises by 40 A."""
    tables = replace(garage(4), circuits=(replace(garage(4).circuits[0], limit_mA=(100_000,) * 3),))
    steps = ((40_000,) * 3, (80_000,) * 3)
    load = Load("steps", (0,) * 3, every_ns=60 * S_ns + 100 * MS_ns, steps=steps)
    visits = tuple(Visit(f"bay{i + 1}", 0) for i in range(4))
    rig = VirtualRig(tables, Scenario(loads={"main": load}, visits=visits), tmp_path)
    rig.run_for(60 * S_ns)
    before_mA = rig.setpoints_mA()
    assert sum(before_mA) > 55_000
    rig.pass_one()  # reads the meter before the step
    assert rig.setpoints_mA() == before_mA
    since_ns = rig.clock.now_ns()
    rig.pass_one()
    seen = rig.snapshot()
    assert seen["meters"][0]["current_mA"][0] > 120_000
    assert sum(rig.setpoints_mA()) <= 20_000
    takes = rig.tap.setpoints(since_ns)
    assert {f.at_ns // PERIOD_ns for f in takes} == {(since_ns + PERIOD_ns) // PERIOD_ns}
    assert rig.site.violations() == []


# overruns


def test_scan_stall_of_one_and_a_half_periods_is_one_miss_and_gives_nothing(
    tmp_path: Path,
) -> None:
    rig = rig_with(tmp_path, Load("constant", (5_000,) * 3))
    rig.run_for(8 * S_ns)  # in the middle of the first raises
    before = rig.snapshot()
    n_beats = len(rig.guarded.beats_at_ns)
    raised_mA = rig.setpoints_mA()
    give_at_ns = rig.pacer.grid_at_ns + rig.plan.give_at_ns
    rig.clock.stalls[give_at_ns] = 3 * PERIOD_ns // 2
    rig.pass_one()
    after = rig.snapshot()
    assert after["scan"]["missed"] == before["scan"]["missed"] + 1
    assert after["scan"]["skipped"] == 1  # 276 ms + 750 ms reach into a third period
    assert len(rig.guarded.beats_at_ns) == n_beats
    assert after["scan"]["scans"] == before["scan"]["scans"] + 1
    assert rig.setpoints_mA() == raised_mA
    assert [event["first"] for event in rig.events(Event.OVERRUN)] == [1]
    rig.pass_one()
    assert len(rig.guarded.beats_at_ns) == n_beats + 1


def test_scan_long_stall_counts_one_miss_and_the_rest_as_skipped(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    give_at_ns = rig.pacer.grid_at_ns + rig.plan.give_at_ns
    rig.clock.stalls[give_at_ns] = 10 * PERIOD_ns
    rig.pass_one()
    scan = rig.snapshot()["scan"]
    assert (scan["missed"], scan["skipped"]) == (1, 9)


def test_scan_late_wake_is_one_miss_and_no_burst_follows(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    before = rig.snapshot()["scan"]
    grid_at_ns = rig.pacer.grid_at_ns
    rig.clock.stalls[grid_at_ns] = 3 * PERIOD_ns // 2
    rig.pass_one()
    rig.pass_one()
    scan = rig.snapshot()["scan"]
    assert (scan["missed"] - before["missed"], scan["skipped"]) == (1, 0)
    assert (scan["started_at_ns"] - START_ns) % PERIOD_ns == 0
    assert scan["started_at_ns"] == grid_at_ns + 2 * PERIOD_ns


def test_scan_that_began_a_period_late_is_an_overrun_though_it_ends_in_time(
    tmp_path: Path,
) -> None:
    rig = settled(tmp_path)
    before = rig.snapshot()
    n_beats = len(rig.guarded.beats_at_ns)
    rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
    rig.pass_one()
    after = rig.snapshot()
    assert after["scan"]["missed"] == before["scan"]["missed"] + 1
    assert len(rig.guarded.beats_at_ns) == n_beats
    assert rig.modes.n_overruns == 1


def test_scan_in_a_hurry_probes_who_is_silent_and_looks_at_nobody(tmp_path: Path) -> None:
    rig = settled(tmp_path, 4)
    rig.tap.dead.add(11)
    rig.run_for(5 * S_ns)
    rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
    since_ns = rig.clock.now_ns()
    rig.pass_one()
    n_meters, n_statuses = 1, rig.plan.buses[0].n_status_per_scan
    frames = rig.tap.since(since_ns)
    assert len([frame for frame in frames if frame.function == 4]) == n_meters + n_statuses
    assert len([frame for frame in frames if frame.address == 11]) == 1


@pytest.mark.parametrize("stalls_at_give", [True, False])
def test_scan_after_a_missed_cycle_gives_nothing_and_beats_without_waiting_for_the_give_point(
    tmp_path: Path, stalls_at_give: bool
) -> None:
    """However long a stall below two periods is, the guard of three periods stays calm."""
    rig = rig_with(tmp_path, Load("constant", (5_000,) * 3))
    rig.run_for(8 * S_ns)  # in the middle of the first raises
    raised_mA = rig.setpoints_mA()
    stall_at_ns = rig.pacer.grid_at_ns + (rig.plan.give_at_ns if stalls_at_give else 0)
    rig.clock.stalls[stall_at_ns] = 600 * MS_ns
    rig.pass_one()
    begun_ns = rig.pacer.grid_at_ns
    rig.pass_one()
    assert begun_ns < rig.guarded.beats_at_ns[-1] < begun_ns + rig.plan.give_at_ns
    before_ns, after_ns = rig.guarded.beats_at_ns[-2:]
    assert after_ns - before_ns < 3 * PERIOD_ns
    assert rig.setpoints_mA() == raised_mA


def test_scan_overrun_sends_its_takes(tmp_path: Path) -> None:
    """The step comes with a scan that began too late to be complete in time."""
    load = Load("steps", (0,) * 3, every_ns=SETTLED_ns, steps=((5_000,) * 3, (25_000,) * 3))
    rig = rig_with(tmp_path, load)
    rig.run_for(SETTLED_ns)
    before_mA = rig.setpoints_mA()
    rig.clock.stalls[rig.pacer.grid_at_ns] = 400 * MS_ns
    rig.pass_one()
    assert rig.snapshot()["scan"]["missed"] == 1
    assert sum(rig.setpoints_mA()) < sum(before_mA)
    assert sum(rig.setpoints_mA()) <= 7_000


def test_scan_missed_limit_overruns_are_failsafe_and_healthy_scans_lead_out(
    tmp_path: Path,
) -> None:
    rig = settled(tmp_path)
    assert min(rig.setpoints_mA()) > 6_000
    for n_missed in (1, 2, 3):
        rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
        rig.pass_one()
        assert rig.snapshot()["scan"]["mode"] == (FAILSAFE if n_missed == 3 else RUN)
    rig.pass_one()
    assert rig.setpoints_mA() == [6_000, 6_000]
    for _ in range(HEALTHY_SCANS - 2):
        rig.pass_one()
        assert rig.snapshot()["scan"]["mode"] == FAILSAFE
    rig.pass_one()
    assert rig.snapshot()["scan"]["mode"] == RUN
    changes = [(event["first"], event["second"]) for event in rig.events(Event.MODE)]
    assert changes == [(START, RUN), (RUN, FAILSAFE), (FAILSAFE, RUN)]
    assert rig.site.violations() == []


# the guard


def test_scan_beats_once_for_each_good_pass(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    assert len(rig.guarded.beats_at_ns) == SETTLED_ns // PERIOD_ns
    rig.clock.stalls[rig.pacer.grid_at_ns + rig.plan.give_at_ns] = PERIOD_ns
    rig.pass_one()
    assert len(rig.guarded.beats_at_ns) == SETTLED_ns // PERIOD_ns  # an overrun is no proof of life


def test_scan_whose_guard_is_gone_ends_without_another_pass_and_brings_everyone_down(
    tmp_path: Path,
) -> None:
    rig = settled(tmp_path)
    assert min(rig.setpoints_mA()) > 6_000
    scans, since_ns = rig.scan.scans, rig.clock.now_ns()
    rig.guarded.gone_words = "the guard is silent for 1.4 s"
    drive(rig.scan)
    assert rig.scan.gone_words == "the guard is silent for 1.4 s"
    assert rig.scan.scans == scans
    assert {f.address: f.value for f in rig.tap.since(since_ns)} == {11: 60, 12: 60}
    assert rig.snapshot()["scan"]["mode_reason"] == Reason.GUARD_GONE


# sleep


@pytest.mark.parametrize(("asleep_ns", "mode"), [(PERIOD_ns - 1, RUN), (PERIOD_ns, START)])
def test_scan_machine_that_slept_a_period_goes_back_to_start(
    tmp_path: Path, asleep_ns: int, mode: int
) -> None:
    rig = settled(tmp_path)
    rig.clock.suspended_ns = asleep_ns
    rig.pass_one()
    assert rig.snapshot()["scan"]["mode"] == mode
    assert len(rig.events(Event.SLEPT)) == (1 if mode == START else 0)


def test_scan_machine_that_slept_arms_its_chargers_again_and_runs_on(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    n_armed = len(rig.events(Event.ARMED))
    rig.clock.suspended_ns = 3600 * S_ns
    rig.run_for(400 * S_ns)  # boxes of unknown state count at their rating: cars were paused
    assert len(rig.events(Event.ARMED)) == n_armed + 2
    assert len(rig.events(Event.SLEPT)) == 1
    assert rig.snapshot()["scan"]["mode"] == RUN
    assert min(rig.setpoints_mA()) > 6_000
    assert rig.site.violations() == []


# faults


@pytest.mark.parametrize("call", ["step", "confirm"])
def test_scan_core_result_that_is_not_good_brings_everyone_down_and_raises(
    tmp_path: Path, call: str
) -> None:
    rig = settled(tmp_path)
    rig.scan.core = _SpyCore(rig.core, [], **{call: 7})  # type: ignore[assignment]
    since_ns = rig.clock.now_ns()
    with pytest.raises(CoreFault, match="core: result 7"):
        drive(rig.scan)
    assert {f.address: f.value for f in rig.tap.setpoints(since_ns)} == {11: 60, 12: 60}
    assert [event["first"] for event in rig.events(Event.CORE_FAULT)] == [7]
    assert rig.snapshot()["scan"]["mode_reason"] == Reason.FAULT


def test_scan_exception_of_a_bus_thread_brings_everyone_down_and_goes_on(tmp_path: Path) -> None:
    rig = settled(tmp_path)

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    rig.field.buses[0].read = broken  # type: ignore[method-assign]
    since_ns = rig.clock.now_ns()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        drive(rig.scan)
    assert {f.address: f.value for f in rig.tap.setpoints(since_ns)} == {11: 60, 12: 60}


def test_scan_told_to_stop_finishes_its_pass_and_brings_everyone_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = settled(tmp_path)
    before = rig.snapshot()["scan"]["scans"]
    inner = rig.field.look

    def look(is_hurried: bool) -> None:
        rig.scan.must_stop = True
        rig.tap.dead.add(12)
        inner(is_hurried)

    rig.field.look = look  # type: ignore[method-assign]
    drive(rig.scan)
    seen = rig.snapshot()
    assert seen["scan"]["scans"] == before + 1
    assert seen["scan"]["mode"] == 3
    assert seen["scan"]["mode_reason"] == Reason.TOLD_TO_STOP
    assert capsys.readouterr().err == "bay2: failsafe current not acknowledged\n"
    assert rig.events(Event.STOPPED)[0]["first"] == 1


def test_scan_told_to_stop_raises_nothing_any_more(tmp_path: Path) -> None:
    rig = settled(tmp_path)
    assert rig.scan._give_terms(rig.clock.now_ns())[0] is True
    rig.scan.must_stop = True
    assert rig.scan._give_terms(rig.clock.now_ns())[0] is False
