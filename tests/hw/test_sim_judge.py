"""The outside judge: each bound by itself, at the limit and one milliampere above it."""

import dataclasses
import json
from typing import Any

import pytest

from hw.sim.faults import Fate
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.virtual import VirtualSite
from hw.wire import Exchange, Patience
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS as MS
from loadctl.units import NS_PER_S as S
from tests.support.builders import make_charger, make_circuit, make_tables
from tests.support.sim_sites import metered_site

PATIENCE = Patience(10 * MS, 80 * MS, 0, False)
CARS = tuple(
    Visit(f"bay{i}", 0, take_mA=32_000, follow_ns=4 * S, rise_ns=0, wake_ns=0) for i in (1, 2, 3)
)


class Story:
    """Writes setpoints to a site in virtual time and counts what the judge says."""

    def __init__(self, tables: Tables, scenario: Scenario) -> None:
        self.virtual = VirtualSite(tables, scenario)

    def _transact(self, exchange: Exchange) -> None:
        wire = self.virtual.wires[0]
        wire.transact(exchange, PATIENCE, wire.now_ns() + S)
        self.virtual.runner.run([])

    def meter(self) -> None:
        self._transact(Exchange(1, 4, 0, 20))

    def write(self, bay: int, current_A: float) -> int:
        """The number of violations so far."""
        raw = round(current_A * 10).to_bytes(2, "big")
        self._transact(Exchange(10 + bay, 6, 100, 1, raw))
        return int(self.virtual.report()["n_violations"])

    def wait(self, at_s: float) -> None:
        self.virtual.clock.sleep_until(int(at_s * S))

    def last(self) -> dict[str, Any]:
        return self.virtual.violations()[-1]


def load(*phases_mA: int) -> Load:
    return Load("constant", phases_mA[:3])  # type: ignore[arg-type]


def story(mA: int, *, n: int = 2, load_mA: int = 0, **changes: Any) -> Story:
    tables = metered_site(n, limit_mA=(mA,) * 3, **changes)
    loads = {"main": load(load_mA, load_mA, load_mA)}
    told = Story(tables, Scenario(loads=loads, visits=CARS[:n]))
    told.meter()
    return told


@pytest.mark.parametrize(("limit_mA", "n_violations"), [(26_000, 0), (25_999, 1)])
def test_raise_counts_all_chargers_and_the_background(limit_mA: int, n_violations: int) -> None:
    told = story(limit_mA, load_mA=10_000)
    assert told.write(1, 6) == 0
    assert told.write(2, 10) == n_violations


def test_violation_tells_all_that_it_rests_on() -> None:
    told = story(25_999, load_mA=10_000)
    told.write(1, 6)
    told.wait(1)
    told.write(2, 10)
    at_ns = told.last().pop("at_ns")
    assert S < at_ns < 2 * S
    bound = {"circuit": "main", "total": 26_000, "limit": 25_999, "unit": "mA"}
    assert json.loads(json.dumps(told.last())) == {
        "charger": "bay2",
        "before_mA": 0,
        "written_mA": 0,
        "setpoint_mA": 10_000,
        "misfits": [{**bound, "bound": phase} for phase in ("L1", "L2", "L3")],
        "background_mA": {"main": [10_000] * 3},
        "could_mA": {"bay1": 6_000, "bay2": 10_000},
        "draw_mA": {"bay1": [6_000] * 3, "bay2": [0] * 3},
        "liars_mA": {},
        "rests_on_lies": False,
    }


def test_charger_that_has_not_come_down_counts_at_its_old_setpoint() -> None:
    told = story(20_000)
    told.write(1, 14)
    told.wait(2)
    told.write(1, 6)
    assert told.write(2, 14) == 1
    assert told.last()["could_mA"] == {"bay1": 14_000, "bay2": 14_000}


def test_charger_that_came_down_counts_at_its_new_setpoint() -> None:
    told = story(20_000)
    told.write(1, 14)
    told.wait(2)
    told.write(1, 6)
    told.wait(7)
    told.meter()
    assert told.write(2, 14) == 0


def test_lower_or_equal_setpoint_is_never_a_violation() -> None:
    told = story(5_000)
    assert told.write(1, 8) == 1
    assert told.write(1, 8) == 1
    assert told.write(1, 6) == 1
    row = told.virtual.report()["buses"]["one"]
    assert (row["raises"], row["same"], row["takes"]) == (1, 1, 1)


def test_raise_below_an_old_setpoint_is_judged_too() -> None:
    told = story(10_000, load_mA=0)
    told.write(1, 10)
    told.write(1, 0)
    told.write(2, 0)
    assert told.write(2, 6) == 1


def test_phases_are_judged_each_by_itself() -> None:
    rows = [
        make_charger(f"bay{i}", address=10 + i, max_mA=32_000, phases=(i - 1,)) for i in (1, 2, 3)
    ]
    main = make_circuit(is_dynamic=True, meter=0, limit_mA=(32_000, 32_000, 20_000))
    tables = make_tables(circuits=[main], chargers=rows)
    told = Story(tables, Scenario(loads={"main": load(0, 20_000, 0)}))
    told.meter()
    assert told.write(1, 32) == 0
    assert told.write(2, 12) == 0
    assert told.write(2, 12.1) == 1
    assert [m["bound"] for m in told.last()["misfits"]] == ["L2"]
    assert told.write(3, 20) == 1
    assert told.write(3, 20.1) == 2


def test_every_circuit_above_is_judged() -> None:
    rows = [
        make_charger("bay1", address=11, max_mA=32_000, circuit=1),
        make_charger("bay2", address=12, max_mA=32_000, circuit=0),
    ]
    circuits = [make_circuit(limit_A=30), make_circuit("garage", 20, parent=0)]
    told = Story(make_tables(circuits=circuits, chargers=rows), Scenario())
    assert told.write(1, 20) == 0
    assert told.write(2, 10) == 0
    assert told.write(2, 10.1) == 1
    assert [m["circuit"] for m in told.last()["misfits"]] == ["main"] * 3
    told.write(2, 0)
    told.wait(8)
    assert told.write(1, 20.1) == 2
    assert [m["circuit"] for m in told.last()["misfits"]] == ["garage"] * 3
    told.write(1, 0)
    told.wait(16)
    assert told.write(2, 12) == 2
    assert told.write(1, 18.1) == 3
    assert [m["circuit"] for m in told.last()["misfits"]] == ["main"] * 3


@pytest.mark.parametrize(("limit_W", "n_violations"), [(11_040, 0), (11_039, 1)])
def test_kilowatts_are_judged(limit_W: int, n_violations: int) -> None:
    told = story(63_000, n=1, load_mA=6_000, limit_W=limit_W)
    assert told.write(1, 10) == n_violations  # 16 A on three phases at 230 V


@pytest.mark.parametrize(("unbalance_mA", "n_violations"), [(16_000, 0), (15_999, 1)])
def test_unbalance_counts_who_uses_one_phase_and_not_the_other(
    unbalance_mA: int, n_violations: int
) -> None:
    rows = [
        make_charger("bay1", address=11, phases=(0,)),
        make_charger("bay2", address=12, phases=(0, 1)),
        make_charger("bay3", address=13, phases=(2,)),
        make_charger("bay4", address=14, max_mA=32_000),
    ]
    main = make_circuit(limit_A=99, unbalance_mA=unbalance_mA)
    told = Story(make_tables(circuits=[main], chargers=rows), Scenario())
    told.write(4, 32)
    told.write(3, 6)
    told.write(2, 10)  # with bay1 it uses L1 and not L3
    assert told.write(1, 6) == n_violations
    if n_violations:
        assert [m["bound"] for m in told.last()["misfits"]] == ["unbalance L1-L3"]


def test_background_is_that_of_the_last_meter_reply() -> None:
    tables = metered_site(1, limit_mA=(20_000,) * 3)
    steps = Load("steps", (0, 0, 0), every_ns=S, steps=((5_000,) * 3, (9_000,) * 3))
    told = Story(tables, Scenario(loads={"main": steps}))
    told.meter()
    told.wait(1.1)
    assert told.write(1, 15) == 0
    told.write(1, 0)
    told.meter()
    assert told.write(1, 15) == 1


def test_background_of_a_lost_meter_reply_does_not_count() -> None:
    told = story(20_000, load_mA=5_000)
    line = told.virtual.lines[0]
    before = told.virtual.report()["meters"]["grid"]
    line.faults = LoseReplies()
    told.meter()
    after = told.virtual.report()["meters"]["grid"]
    assert (before, after) == ({"asked": 1, "answered": 1}, {"asked": 2, "answered": 1})


class LoseReplies:
    def fate(self, request: bytes, now_ns: int) -> Fate:
        return Fate(loses_reply=True)


def test_background_never_metered_is_the_declared_one() -> None:
    told = Story(metered_site(1, limit_mA=(26_000,) * 3), Scenario())
    assert told.write(1, 6) == 0
    assert told.write(1, 6.1) == 1
    assert told.last()["background_mA"] == {"main": [20_000] * 3}


@pytest.mark.parametrize(("at_s", "n_violations"), [(2.9, 0), (3.1, 1)])
def test_background_of_a_silent_meter_becomes_the_declared_one(
    at_s: float, n_violations: int
) -> None:
    told = story(32_000, n=1)
    told.wait(at_s)
    assert told.write(1, 20) == n_violations


def static_site(**changes: Any) -> Tables:
    main = make_circuit(limit_A=20, background_mA=(8_000,) * 3, **changes)
    return make_tables(circuits=[main], chargers=[make_charger("bay1", address=11)])


def test_background_of_a_static_circuit_is_the_declared_one() -> None:
    told = Story(static_site(), Scenario(loads={"main": load(1, 1, 1)}))
    assert told.write(1, 12) == 0
    assert told.write(1, 12.1) == 1


def test_background_of_a_static_circuit_with_a_meter_is_the_declared_one() -> None:
    told = Story(static_site(meter=0), Scenario())
    told.meter()
    assert told.write(1, 12) == 0
    assert told.write(1, 12.1) == 1


def test_car_that_came_down_a_moment_ago_counts_at_its_new_setpoint() -> None:
    quick = dataclasses.replace(CARS[0], follow_ns=20 * MS)
    told = Story(metered_site(2, limit_mA=(20_000,) * 3), Scenario(visits=(quick,)))
    told.meter()
    told.write(1, 14)
    told.wait(2)
    told.write(1, 6)
    clock, eight_bytes_ns = told.virtual.clock, told.virtual.wires[0].line.bytes_ns(8)
    asked_ns = clock.now_ns() - 10 * MS - eight_bytes_ns
    down_ns = asked_ns + 520 * MS  # the box holds a setpoint for 500 ms
    clock.sleep_until(down_ns - 20 * MS - eight_bytes_ns)
    told.meter()  # looks at the plant 20 ms before
    assert told.write(2, 14) == 0
    assert clock.now_ns() < down_ns + 50 * MS


def test_box_after_expiry_is_raised_by_its_old_setpoint() -> None:
    tables = metered_site(1, limit_mA=(10_000,) * 3)
    tables = dataclasses.replace(
        tables, circuits=(dataclasses.replace(tables.circuits[0], background_mA=(0, 0, 0)),)
    )
    told = Story(tables, Scenario())
    told.meter()
    told.write(1, 10)
    told.wait(31)
    assert told.write(1, 10) == 0
    assert told.virtual.report()["raises"] == 2


def test_fullest_moment_and_time_above_the_limit_are_noted() -> None:
    tables = metered_site(1, limit_mA=(20_000, 30_000, 30_000))
    steps = ((5_000, 5_000, 5_000), (24_000, 28_000, 5_000), (5_000, 29_000, 5_000))
    told = Story(
        tables, Scenario(loads={"main": Load("steps", (0, 0, 0), every_ns=S, steps=steps)})
    )
    for tick in range(30):
        told.wait(tick / 10)
        told.virtual.lines[0].tick(told.virtual.clock.now_ns())
    assert told.virtual.report()["circuits"]["main"] == {
        "worst_load_A": 24.0,
        "limit_A": 20.0,
        "phase": "L1",
        "at_s": 1.0,
        "above_s": 1.0,
    }
