"""What the field makes of boxes that forget or do not follow, in virtual time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw.sim.fault import Fault
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code, Exchange, rtu_frame
from loadctl.events import Event, Sign
from loadctl.modes import FAILSAFE
from loadctl.stations import ChargerStation
from tests.support import sim_sites
from tests.support.builders import make_bus, make_charger, shipped_map
from tests.support.scan_rig import FakeGuarded, MS_ns, S_ns, VirtualRig

BAY1, BAY2 = 11, 12
WATCHDOG_REGISTER, FALLBACK_REGISTER = 101, 102
SETTLED_ns = 100 * S_ns
PERIOD_ns = 500 * MS_ns


@pytest.fixture
def rig(tmp_path: Path) -> VirtualRig:
    """Two chargers whose cars share 27 A, long settled: 13.5 A each."""
    tables = sim_sites.metered_site(2)
    tables = replace(tables, tuning=replace(tables.tuning, trim_ns=5 * S_ns))
    visits = (Visit("bay1", 0), Visit("bay2", 0))
    scenario = Scenario(loads={"main": Load("constant", (5_000,) * 3)}, visits=visits)
    settled = VirtualRig(tables, scenario, tmp_path)
    settled.run_for(SETTLED_ns)
    assert settled.setpoints_mA() == [13_500, 13_500]
    return settled


def reboot(rig: VirtualRig, charger_i: int, setpoint_mA: int, fallback_mA: int) -> None:
    """So fast that it misses no message; it wakes up with these values."""
    for register, value_mA in ((100, setpoint_mA), (FALLBACK_REGISTER, fallback_mA)):
        data = (value_mA // 100).to_bytes(2, "big")
        request = rtu_frame(Exchange(BAY1 + charger_i, 6, register, 1, data))
        rig.site.lines[0].hear(request, rig.clock.now_ns())
    rig.tap.frames.clear()


# found


def test_field_box_that_woke_up_above_its_setpoint_is_told_its_failsafe_and_armed_anew(
    rig: VirtualRig,
) -> None:
    reboot(rig, 0, 32_000, 0)
    since_ns = rig.clock.now_ns()
    rig.run_for(2 * S_ns)
    assert [(e["who"], e["first"]) for e in rig.events(Event.REBOOTED)] == [(0, Sign.SETPOINT)]
    frames = [f for f in rig.tap.since(since_ns, BAY1) if f.function != 4]
    assert (frames[0].is_setpoint, frames[0].value) == (True, 60)
    assert [(f.function, f.value) for f in frames if f.register == FALLBACK_REGISTER] == [
        (3, 1),
        (6, 60),
        (3, 1),
    ]
    assert rig.field.chargers[0].arming.is_armed is True
    assert len(rig.events(Event.ARMED)) == 3
    rig.run_for(4 * SETTLED_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]
    assert len(rig.events(Event.REBOOTED)) == 1


def test_field_rebooted_box_counts_at_its_rating_until_it_is_armed(rig: VirtualRig) -> None:
    reboot(rig, 0, 32_000, 0)
    reserves_mA: set[int] = set()
    inner = rig.core.step

    class StepSpy:
        def __getattr__(self, name: str) -> object:
            return getattr(rig.core, name)

        def step(self, now_ns: int) -> int:
            result = inner(now_ns)
            if rig.events(Event.REBOOTED) or not rig.field.chargers[0].was_armed:
                reserves_mA.add(rig.core.reserves_mA()[0])
            return result

    rig.scan.core = StepSpy()  # type: ignore[assignment]
    rig.run_for(2 * S_ns)
    assert min(reserves_mA) == rig.tables.chargers[0].rated_mA


def test_field_box_that_forgot_only_its_fallback_is_found_within_a_minute(
    rig: VirtualRig,
) -> None:
    """Its setpoint was written again before anybody saw it: only the setting tells."""
    reboot(rig, 0, 13_500, 0)
    since_ns = rig.clock.now_ns()
    rig.run_for(62 * S_ns)
    assert [(e["who"], e["first"]) for e in rig.events(Event.REBOOTED)] == [(0, Sign.SETTING)]
    assert rig.events(Event.REBOOTED)[0]["at_ns"] - since_ns <= 61 * S_ns
    assert rig.site.plant.outlets[0].fallback_mA == 6_000
    writes = [f.value for f in rig.tap.since(since_ns, BAY1) if f[2:4] == (6, FALLBACK_REGISTER)]
    assert writes == [60]


@pytest.mark.parametrize(("draw_mA", "signs"), [(15_500, []), (15_501, [Sign.DRAW])])
def test_field_box_that_draws_above_a_proven_setpoint_is_armed_anew(
    rig: VirtualRig, draw_mA: int, signs: list[Sign]
) -> None:
    """What it shows as in force is what it was told; its car takes more."""
    station = rig.field.chargers[0]
    rig.field._judge_status(station, 13_500, (0, 0, draw_mA), rig.clock.now_ns())
    rig.pass_one()
    assert [e["first"] for e in rig.events(Event.REBOOTED)] == signs
    assert len(rig.events(Event.ARMED)) == 2 + len(signs)


def test_field_box_that_draws_above_a_setpoint_not_proven_yet_is_no_reboot(
    rig: VirtualRig,
) -> None:
    """A car that was told to take less may take seconds to follow."""
    rig.core.charger_armed(0, False, None)
    rig.field._judge_status(rig.field.chargers[0], 13_500, (0, 0, 32_000), rig.clock.now_ns())
    rig.pass_one()
    assert rig.events(Event.REBOOTED) == []


def test_field_settings_are_read_again_once_a_minute_and_cost_no_write(rig: VirtualRig) -> None:
    since_ns = rig.clock.now_ns()
    rig.run_for(120 * S_ns)
    for address in (BAY1, BAY2):
        for register in (WATCHDOG_REGISTER, FALLBACK_REGISTER):
            frames = [f for f in rig.tap.since(since_ns, address) if f.register == register]
            assert {f.function for f in frames} == {3}
            assert len(frames) == 2
    assert rig.events(Event.REBOOTED) == []


# starving


class AskedCore:
    """The real core, with other answers where the test has them."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.starving_now: list[int] = []
        self.failsafes_mA = [6_000, 6_000]
        self.seen_mA: list[tuple[int, int, int] | None] = [None]
        self.latched: list[tuple[int, tuple[int, int, int]]] = []
        self.answers: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def starving(self) -> list[int]:
        return self.starving_now

    def failsafe_mA(self) -> list[int]:
        return self.failsafes_mA

    def seen_backgrounds_mA(self) -> list[tuple[int, int, int] | None]:
        return self.seen_mA

    def latch_background(self, circuit_i: int, seen_mA: tuple[int, int, int]) -> None:
        self.latched.append((circuit_i, seen_mA))

    def charger_answered(self, charger_i: int, code: int, at_ns: int) -> None:
        self.answers.append((charger_i, code))
        self.core.charger_answered(charger_i, code, at_ns)


def asked(rig: VirtualRig) -> AskedCore:
    core = AskedCore(rig.core)
    rig.field.core = core  # type: ignore[assignment]
    return core


def test_field_starving_charger_gets_no_message_from_that_scan_on(rig: VirtualRig) -> None:
    core = asked(rig)
    core.starving_now = [0]
    rig.pass_one()  # its status block was read before the step that decided it
    since_ns = rig.clock.now_ns()
    rig.run_for(70 * S_ns)  # refreshes, status blocks and audits were all due
    assert rig.tap.since(since_ns, BAY1) == []
    assert rig.guarded.starved == {0}
    assert [e["who"] for e in rig.events(Event.STARVED)] == [0]
    assert rig.events(Event.CHARGER_SILENT) == []
    assert rig.snapshot()["devices"][1]["is_starved"] == 1
    assert len(rig.tap.since(since_ns, BAY2)) > 100
    assert rig.scan.bring_down() == ["bay1"]
    assert rig.tap.since(since_ns, BAY1) == []


def test_field_charger_after_its_starve_is_probed_by_a_write_and_armed_anew(
    rig: VirtualRig,
) -> None:
    core = asked(rig)
    core.starving_now = [0]
    rig.run_for(36 * S_ns)
    core.starving_now = []
    since_ns = rig.clock.now_ns()
    rig.run_for(3 * S_ns)
    frames = rig.tap.since(since_ns, BAY1)
    assert (frames[0].is_setpoint, frames[0].value) == (True, 60)
    assert {f.register for f in frames if f.function == 3} >= {FALLBACK_REGISTER}
    assert rig.guarded.starved == set()
    assert [e["who"] for e in rig.events(Event.STARVED_OVER)] == [0]
    assert [e["who"] for e in rig.events(Event.CHARGER_BACK)] == [0]


def test_field_outlets_at_one_address_starve_together_and_the_core_is_told(
    rig: VirtualRig,
) -> None:
    core = asked(rig)
    for station in rig.field.chargers:  # as if both hung on one box
        station.row = replace(station.row, address=BAY1)
    core.starving_now = [1]
    rig.pass_one()
    assert [station.is_starved for station in rig.field.chargers] == [True, True]
    assert rig.guarded.starved == {0, 1}
    assert (0, Code.NO_ANSWER) in core.answers
    assert (1, Code.NO_ANSWER) not in core.answers


def test_field_starve_of_the_scan_before_is_over_for_the_guard_too(tmp_path: Path) -> None:
    guarded = FakeGuarded()
    guarded.starved = {0, 1}
    VirtualRig(sim_sites.metered_site(2), Scenario(), tmp_path, guarded).pass_one()
    assert guarded.starved == set()


# failsafe currents, backgrounds above the declared


def test_field_failsafe_of_the_core_is_handed_on_and_used(rig: VirtualRig) -> None:
    core = asked(rig)
    rig.pass_one()
    assert rig.guarded.failsafe_mA == {0: 6_000, 1: 6_000}
    core.failsafes_mA = [0, 6_000]
    rig.pass_one()
    assert rig.guarded.failsafe_mA == {0: 0, 1: 6_000}
    since_ns = rig.clock.now_ns()
    rig.scan.bring_down()
    assert {f.address: f.value for f in rig.tap.setpoints(since_ns)} == {BAY1: 0, BAY2: 60}


def test_field_background_above_the_declared_is_handed_to_the_guard(rig: VirtualRig) -> None:
    core = asked(rig)
    core.seen_mA = [(21_000, 20_000, 20_000)]
    rig.pass_one()
    assert rig.guarded.seen_mA == {0: (21_000, 20_000, 20_000)}


def test_field_latched_background_is_known_again_after_a_restart(tmp_path: Path) -> None:
    guarded = FakeGuarded()
    guarded.seen_mA[0] = (21_000, 20_000, 20_000)
    rig = VirtualRig(sim_sites.metered_site(2), Scenario(), tmp_path, guarded)
    core = asked(rig)
    rig.pass_one()
    assert core.latched == [(0, (21_000, 20_000, 20_000))]


# a status block against the setpoint

HOLD_ns = 500 * MS_ns
AT_ns, SOON_ns, LATER_ns = 10 * S_ns, 10 * S_ns + HOLD_ns, 11 * S_ns


def station_at(setpoint_mA: int) -> ChargerStation:
    """Acknowledged at AT_ns."""
    row = make_charger("x", hold_ns=HOLD_ns)
    station = ChargerStation(0, 0, row, shipped_map("reference-charger"), make_bus())
    station.wrote(setpoint_mA, Code.GOOD, AT_ns)
    return station


@pytest.mark.parametrize(
    ("shown", "is_reboot"),
    [
        ([(10_000, LATER_ns), (10_601, LATER_ns)], True),
        ([(10_000, LATER_ns), (10_600, LATER_ns)], False),  # boxes round
        ([(10_000, LATER_ns), (6_000, LATER_ns)], False),  # hot, or limited from outside
        ([(6_000, LATER_ns), (16_000, LATER_ns)], True),
        ([(16_000, LATER_ns)], False),  # it never obeyed: that is no reboot, that is deaf
        ([(10_000, SOON_ns), (16_000, LATER_ns)], False),  # too soon to say that it obeys
        ([(10_000, LATER_ns), (None, LATER_ns)], False),
    ],
)
def test_station_shows_a_reboot_only_after_it_was_seen_at_its_setpoint(
    shown: list[tuple[int | None, int]], is_reboot: bool
) -> None:
    station = station_at(10_000)
    results = [station.shows_other_setpoint(in_force_mA, at_ns) for in_force_mA, at_ns in shown]
    assert results[-1] is is_reboot
    assert not any(results[:-1])


def test_station_that_gets_another_setpoint_must_be_seen_at_it_again() -> None:
    station = station_at(16_000)
    station.shows_other_setpoint(16_000, LATER_ns)
    station.wrote(16_000, Code.GOOD, LATER_ns)  # a refresh changes nothing
    assert station.was_seen_at_setpoint is True
    station.wrote(6_000, Code.GOOD, LATER_ns)
    assert station.shows_other_setpoint(16_000, LATER_ns + 2 * S_ns) is False


def test_station_that_was_not_acknowledged_shows_nothing() -> None:
    station = station_at(10_000)
    station.shows_other_setpoint(10_000, LATER_ns)
    station.wrote(6_000, Code.REFUSED, LATER_ns)
    assert station.shows_other_setpoint(10_000, LATER_ns + S_ns) is False


# the whole story, with the real core


def test_field_charger_that_ignores_what_it_acknowledges_is_starved_and_comes_back(
    rig: VirtualRig,
) -> None:
    """Its car keeps 13.5 A after it was told less; watchdog 30 s, fallback 6 A."""
    rig.site.inject(Fault("ignore", "charger.bay1"))
    rig.modes.mode, rig.modes.n_good = FAILSAFE, -1_000  # it stays so: bay1 is told 6 A
    told_ns = rig.clock.now_ns()
    rig.run_for(30 * S_ns)
    starved = rig.events(Event.STARVED)
    assert [event["who"] for event in starved] == [0]
    assert starved[0]["at_ns"] - told_ns <= 10 * S_ns  # follow time of 6.5 s, age of its status
    rig.run_for(30 * S_ns)
    over_ns = rig.events(Event.STARVED_OVER)[0]["at_ns"]
    assert over_ns - starved[0]["at_ns"] >= 36 * S_ns
    rig.run_for(10 * S_ns)
    first = rig.tap.since(starved[0]["at_ns"] + PERIOD_ns, BAY1)[0]
    assert (first.at_ns >= over_ns, first.is_setpoint, first.value) == (True, True, 60)
    assert rig.site.plant.outlets[0].draw_mA == 6_000


def test_field_box_that_loses_power_for_a_moment_is_found_and_served_again(
    rig: VirtualRig,
) -> None:
    """Too short to miss a message; it wakes up at 32 A with a fallback of 32 A."""
    fault = Fault("reboot", "charger.bay2", setpoint_mA=32_000, fallback_mA=32_000)
    rig.site.inject(fault)
    rig.run_for(61 * S_ns)
    assert [e["who"] for e in rig.events(Event.REBOOTED)] == [1]
    assert rig.site.plant.outlets[1].fallback_mA == 6_000
    rig.run_for(4 * SETTLED_ns)
    assert rig.setpoints_mA() == [13_500, 13_500]
