"""What the field makes of the core's orders: gate, deadlines, and what the core is told of each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code
from loadctl.arming import Stage
from loadctl.events import Event
from tests.support import sim_sites
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig

BAY1, BAY2 = 11, 12
Orders = list[tuple[int, int]]


class OrderingCore:
    """The real core, whose takes and gives are those of the test; writes down what it is told."""

    def __init__(self, core: Any) -> None:
        self.core = core
        self.told: list[tuple[Any, ...]] = []
        self.take_orders: Orders = []
        self.give_orders: Orders = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        inner: Callable[..., Any] = getattr(self.core, name)
        if name not in ("refreshed", "charger_answered"):
            return inner

        def noted(*arguments: Any) -> Any:
            self.told.append((name, *arguments[:2]))
            return inner(*arguments)

        return noted

    def takes(self) -> Orders:
        return self.take_orders

    def gives(self) -> Orders:
        self.told.append(("gives",))
        return self.give_orders

    def take_done(self, charger_i: int, code: int, at_ns: int) -> None:
        self.told.append(("take_done", charger_i, code))

    def give_done(self, charger_i: int, code: int, at_ns: int) -> None:
        self.told.append(("give_done", charger_i, code))


class Case:
    """Two armed chargers at 6 A on 32 A with 5 A of background; orders come from the test."""

    def __init__(self, path: Path) -> None:
        load = Load("constant", (5_000,) * 3)
        visits = (Visit("bay1", 0), Visit("bay2", 0))
        tables = sim_sites.metered_site(2)
        self.rig = VirtualRig(tables, Scenario(loads={"main": load}, visits=visits), path)
        while min(self.rig.setpoints_mA() if self.rig.scan.scans else [0]) < 6_000:
            self.rig.pass_one()
        while self.rig.core.reserves_mA() != [6_000, 6_000]:
            self.rig.pass_one()
        self.core = OrderingCore(self.rig.core)
        self.rig.field.core = self.core  # type: ignore[assignment]

    def pass_with(self, takes: Orders | None = None, gives: Orders | None = None) -> Any:
        """One pass; the setpoint frames in it as (address, A * 10), and what the core was told."""
        self.core.take_orders, self.core.give_orders = takes or [], gives or []
        self.core.told.clear()
        since_ns = self.rig.clock.now_ns()
        self.rig.pass_one()
        frames = [(f.address, f.value) for f in self.rig.tap.setpoints(since_ns)]
        return frames, [t for t in self.core.told if t[0] in ("take_done", "give_done")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_field_take_and_give_are_sent_and_reported(case: Case) -> None:
    frames, told = case.pass_with(takes=[(0, 0)], gives=[(1, 7_000)])
    assert frames == [(BAY1, 0), (BAY2, 70)]
    assert told == [("take_done", 0, Code.GOOD), ("give_done", 1, Code.GOOD)]


def test_field_give_that_does_not_fit_is_dropped_by_the_gate_and_reported(case: Case) -> None:
    frames, told = case.pass_with(gives=[(0, 16_000), (1, 16_000)])  # 5 + 16 + 6 fits, 5 + 32 not
    assert frames == [(BAY1, 160)]
    assert told == [("give_done", 1, Code.NOT_SENT), ("give_done", 0, Code.GOOD)]
    assert [(e["who"], e["first"]) for e in case.rig.events(Event.GATE_DROP)] == [(1, 16_000)]


def test_field_raise_among_the_takes_is_dropped_though_the_last_scan_had_room(case: Case) -> None:
    case.pass_with(gives=[(0, 7_000)])  # the gate was open
    frames, told = case.pass_with(takes=[(1, 7_000)])
    assert frames == []
    assert told == [("take_done", 1, Code.NOT_SENT)]


def test_field_give_that_left_is_no_raise_when_it_is_repeated(case: Case) -> None:
    case.pass_with(gives=[(0, 7_000)])
    frames, _ = case.pass_with(takes=[(0, 7_000)])
    assert frames == [(BAY1, 70)]


def test_field_charger_that_was_taken_from_is_not_given_to_in_the_same_scan(case: Case) -> None:
    frames, told = case.pass_with(takes=[(0, 0)], gives=[(0, 6_000)])
    assert frames == [(BAY1, 0)]
    assert told == [("take_done", 0, Code.GOOD), ("give_done", 0, Code.NOT_SENT)]


def test_field_order_to_a_silent_charger_is_not_sent_beside_its_probe(case: Case) -> None:
    case.rig.tap.dead.add(BAY1)
    case.rig.run_for(3 * S_ns)
    assert case.rig.field.chargers[0].is_silent is True
    frames, told = case.pass_with(takes=[(0, 0)])
    assert frames == [(BAY1, 60)]  # the probe
    assert told == [("take_done", 0, Code.NOT_SENT)]


def test_field_give_to_a_charger_that_is_being_armed_again_is_not_sent(case: Case) -> None:
    case.rig.field.chargers[0].arming.stage = Stage.CHECK
    case.rig.field.buses[0]._arm = lambda: None  # type: ignore[method-assign]
    frames, told = case.pass_with(gives=[(0, 7_000)])
    assert frames == []
    assert told == [("give_done", 0, Code.NOT_SENT)]


@pytest.mark.parametrize("stalls_at_give_point", [False, True])
def test_field_scan_that_cannot_be_in_time_sends_takes_and_no_gives(
    case: Case, stalls_at_give_point: bool
) -> None:
    offset_ns = case.rig.plan.give_at_ns * stalls_at_give_point
    case.rig.clock.stalls[case.rig.pacer.grid_at_ns + offset_ns] = 450 * MS_ns
    frames, told = case.pass_with(takes=[(0, 0)], gives=[(1, 7_000)])
    assert frames == [(BAY1, 0)]
    assert told == [("take_done", 0, Code.GOOD)]


def test_field_late_by_a_period_gives_nothing_though_the_time_would_do(case: Case) -> None:
    case.rig.clock.stalls[case.rig.pacer.grid_at_ns] = 500 * MS_ns
    frames, _ = case.pass_with(gives=[(1, 7_000)])
    assert frames == []


def test_field_phases_end_at_the_deadlines_of_the_plan(case: Case) -> None:
    rig, plan = case.rig, case.rig.plan
    bus = rig.field.buses[0]
    ends_ns = []
    grid_at_ns = rig.pacer.grid_at_ns

    def spied(name: str) -> Callable[[], None]:
        inner: Callable[[], None] = getattr(bus, name)

        def phase() -> None:
            ends_ns.append((name, bus.deadline_ns - grid_at_ns))
            inner()

        return phase

    for name in ("read", "take", "look", "give"):
        setattr(bus, name, spied(name))
    rig.pass_one()
    assert ends_ns == [
        ("read", plan.read_end_ns),
        ("take", plan.take_end_ns),
        ("look", plan.take_end_ns),  # what is left until the raises are judged
        ("give", plan.give_end_ns),
    ]


def test_field_probe_is_reported_before_the_raises_are_judged(case: Case) -> None:
    case.rig.tap.dead.add(BAY1)
    case.rig.run_for(3 * S_ns)
    case.rig.tap.dead.clear()
    case.pass_with()
    names = [told[0] for told in case.core.told]
    assert ("refreshed", 0, Code.GOOD) in case.core.told
    assert names.index("refreshed") < names.index("gives")


def test_field_first_write_is_the_failsafe_where_the_box_held_more(tmp_path: Path) -> None:
    """The gate knows what was found in the box: bringing it down is no raise."""
    tables = sim_sites.metered_site(1)
    main = replace(tables.circuits[0], limit_mA=(200_000,) * 3)
    scenario = Scenario(visits=(Visit("bay1", 0),), power_on_mA=32_000)
    rig = VirtualRig(replace(tables, circuits=(main,)), scenario, tmp_path)
    rig.run_for(4 * S_ns)
    assert rig.tap.setpoints()[0].value == 60
    assert rig.snapshot()["scan"]["gate_drops"] == 0
