"""One fault after the other on a garage of two cars: what happens, what the site does, and that it
is as before when the fault is over. Whole scan, real bytes, virtual time."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from hw.sim.fault import KINDS, Fault
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.modes import RUN
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.fault_stories import Overseer, run_watched
from tests.support.scan_rig import VirtualRig
from tests.support.sim_sites import metered_site

WELL_s = 90  # both cars share what the building leaves
AGAIN_s = 180  # the longest until everything is as before
HOUSE_mA = 8_000
SHARE_mA = 12_000  # (32 - 8) / 2
ROUNDING_mA = 100  # of meter and boxes, one step
FALLBACK_mA = 6_000
LATE_ns = 300 * NS_PER_MS  # past the timeout, and not just when the next one is awaited
METER_KINDS = ("frozen", "nan", "all_ones", "phase_missing", "voltage")


def garage() -> Tables:
    """32 A, declared background 20 A: two failsafe currents of 6 A fit beside it."""
    tables = metered_site(2)
    tuning = dataclasses.replace(tables.tuning, trim_ns=5 * NS_PER_S, min_off_ns=20 * NS_PER_S)
    return dataclasses.replace(tables, tuning=tuning)


class Garage:
    """A garage where both cars charge at their share."""

    def __init__(self, directory: Path) -> None:
        house = Load("constant", (HOUSE_mA,) * 3)
        cars = (Visit("bay1", 0, take_mA=32_000), Visit("bay2", 0, take_mA=32_000))
        scenario = Scenario(loads={"main": house}, visits=cars, logs_writes=True)
        self.rig = VirtualRig(garage(), scenario, directory)
        self.overseer = Overseer(self.rig.site)
        self.run(WELL_s)
        self.assert_shared()

    def run(self, span_s: float) -> None:
        run_watched(self.rig, round(span_s * NS_PER_S))

    def strike(self, kind: str, who: str, for_s: float | None = None, **values: Any) -> None:
        for_ns = None if for_s is None else round(for_s * NS_PER_S)
        self.rig.site.inject(Fault(kind, who, for_ns, **values))

    def draws_mA(self) -> list[int]:
        outlets = self.rig.site.plant.outlets
        for outlet in outlets.values():
            outlet.advance(self.rig.clock.now_ns())
        return [outlets[i].draw_mA for i in range(2)]

    def written_mA(self, charger: str, since_s: float) -> list[int]:
        """What the charger was told in the last seconds, acknowledged or not."""
        since_ns = self.rig.clock.now_ns() - round(since_s * NS_PER_S)
        written = self.rig.site.written
        return [
            e["setpoint_mA"] for e in written if e["charger"] == charger and e["at_ns"] >= since_ns
        ]

    def assert_shared(self) -> None:
        assert SHARE_mA - ROUNDING_mA <= min(self.draws_mA())
        assert max(self.draws_mA()) <= SHARE_mA

    def longest_above_s(self) -> float:
        assert self.overseer.still_above() == []
        return max((s.span_ns / NS_PER_S for s in self.overseer.stretches), default=0.0)

    def assert_recovers(self) -> None:
        """No raise without room, no missed cycle, and both cars have their share again."""
        self.run(AGAIN_s)
        scan = self.rig.snapshot()["scan"]
        assert (scan["mode"], scan["missed"]) == (RUN, 0)
        assert [v for v in self.rig.site.violations() if not v["rests_on_lies"]] == []
        self.assert_shared()


@pytest.fixture
def site(tmp_path: Path) -> Garage:
    return Garage(tmp_path)


# the line


LINE_KINDS = [
    ("silence", "deaf"),
    ("silence", "mute"),
    ("crc", ""),
    ("late", ""),
    ("foreign", "address"),
    ("foreign", "function"),
    ("foreign", "count"),
    ("noise", "before"),
    ("noise", "instead"),
]


@pytest.mark.parametrize(("kind", "form"), LINE_KINDS)
def test_charger_without_answers_keeps_its_room_and_the_others_do_not_get_it(
    site: Garage, kind: str, form: str
) -> None:
    site.strike(kind, "charger.bay1", 60, form=form, late_ns=LATE_ns)
    site.run(30)
    assert set(site.written_mA("bay1", 20)) == {FALLBACK_mA}  # probed by min(last, failsafe) only
    assert max(site.written_mA("bay2", 20)) <= SHARE_mA
    site.run(29)
    assert site.draws_mA()[0] == FALLBACK_mA  # by the probe where it hears, else by its watchdog
    site.assert_recovers()
    assert site.longest_above_s() == 0


@pytest.mark.parametrize(("kind", "form"), LINE_KINDS)
def test_meter_without_answers_ends_raises_at_once_and_makes_the_circuit_static(
    site: Garage, kind: str, form: str
) -> None:
    before = site.rig.site.report()["raises"]
    site.strike(kind, "meter.grid", 60, form=form, late_ns=LATE_ns)
    site.run(20)
    assert site.rig.site.report()["raises"] == before
    assert site.draws_mA() == [FALLBACK_mA, FALLBACK_mA]  # (32 - 20) / 2
    site.assert_recovers()
    assert site.longest_above_s() == 0


def test_every_second_reply_damaged_everywhere_keeps_the_limit_and_the_period(site: Garage) -> None:
    site.strike("crc", "bus.one", 120, share_percent=50)
    site.run(120)
    site.assert_recovers()
    assert site.longest_above_s() == 0


@pytest.mark.parametrize(
    ("kind", "values"), [("babble", {"every_ns": 15 * NS_PER_MS}), ("unplug", {})]
)
def test_bus_that_is_gone_leaves_the_chargers_to_their_watchdogs(
    site: Garage, kind: str, values: dict[str, Any]
) -> None:
    site.strike(kind, "bus.one", 60, **values)
    site.run(50)
    assert max(site.draws_mA()) <= FALLBACK_mA
    site.assert_recovers()
    assert site.longest_above_s() == 0


# the meter


@pytest.mark.parametrize("kind", METER_KINDS)
def test_meter_that_cannot_be_right_is_believed_for_no_longer_than_it_takes_to_see(
    site: Garage, kind: str
) -> None:
    site.strike(kind, "meter.grid", 60)
    site.run(20)
    assert site.draws_mA() == [FALLBACK_mA, FALLBACK_mA]
    site.run(35)
    assert site.draws_mA() == [FALLBACK_mA, FALLBACK_mA]
    site.assert_recovers()
    assert site.longest_above_s() == 0


# the chargers


@pytest.mark.parametrize("for_s", [None, 5, 60])
def test_rebooted_charger_that_wakes_at_16_A_is_brought_down_in_time(
    site: Garage, for_s: float | None
) -> None:
    """Detection: its next status block, or the probe that it answers."""
    site.strike("reboot", "charger.bay1", for_s, setpoint_mA=32_000)
    site.run((for_s or 0) + 20)
    assert site.rig.core.charger(0)["is_armed"]
    outlet = site.rig.site.plant.outlets[0]
    assert (outlet.fallback_mA, outlet.watchdog_ns) == (FALLBACK_mA, 30 * NS_PER_S)
    site.assert_recovers()
    assert site.longest_above_s() <= 2 + 1 + 6.5


def test_rebooted_charger_that_wakes_as_the_factory_left_it_is_armed_again(site: Garage) -> None:
    site.strike("reboot", "charger.bay1")
    site.run(30)
    outlet = site.rig.site.plant.outlets[0]
    assert (outlet.fallback_mA, outlet.watchdog_ns) == (FALLBACK_mA, 30 * NS_PER_S)
    site.assert_recovers()


@pytest.mark.parametrize(
    ("kind", "form", "detection_s"),
    [
        ("refuse", "", 0.5),  # known in the scan that tells it
        ("ignore", "setpoint", 0.5 + 6.5 + 0.5),  # known after its follow time
        ("ignore", "all", 0.5 + 6.5 + 0.5),
    ],
)
def test_charger_that_does_not_come_down_makes_others_pause_and_is_starved(
    site: Garage, kind: str, form: str, detection_s: float
) -> None:
    """The building rises by 12 A: nothing but bay2's 12 A is there to give."""
    site.strike(kind, "charger.bay1", 120, form=form)
    site.rig.site.plant._loads[0] = Load("constant", (20_000,) * 3)
    site.run(14)
    assert (site.draws_mA()[0] >= SHARE_mA - ROUNDING_mA, site.draws_mA()[1]) == (True, 0)
    site.run(60)
    assert site.draws_mA()[0] == FALLBACK_mA
    site.rig.site.plant._loads[0] = Load("constant", (HOUSE_mA,) * 3)
    site.run(60)
    site.assert_recovers()
    car_follows_s = 0.5 + 3
    assert site.longest_above_s() <= detection_s + 0.5 + car_follows_s


def test_every_kind_of_fault_is_tested_here() -> None:
    tested = {kind for kind, _ in LINE_KINDS} | set(METER_KINDS)
    assert tested | {"babble", "unplug", "reboot", "ignore", "refuse"} == set(KINDS)
