"""A meter whose replies come in a later scan than their request: none passes for the value of now,
and no raise leaves on one while the building rises. Whole scan, real bytes, virtual time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hw.sim.fault import Fault
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.wire import Code
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.scan_rig import VirtualRig
from tests.support.sim_sites import metered_site

METER_ADDRESS = 1
PERIOD_ns = 500 * NS_PER_MS
NOTHING_mA = (0, 0, 0)
RISE_mA = (13_000, 13_000, 13_000)


def rig_with_rise_at(rise_ns: int, directory: Path) -> VirtualRig:
    """Two cars on 32 A that may be raised in every scan, until the building takes 13 A."""
    tables = metered_site(2)
    tuning = dataclasses.replace(tables.tuning, raise_every_ns=0, raise_delay_ns=0)
    steps = (NOTHING_mA, RISE_mA, RISE_mA, RISE_mA)
    scenario = Scenario(
        loads={"main": Load("steps", NOTHING_mA, every_ns=rise_ns, steps=steps)},
        visits=tuple(Visit(f"bay{i}", 0, take_mA=32_000) for i in (1, 2)),
    )
    return VirtualRig(dataclasses.replace(tables, tuning=tuning), scenario, directory)


@pytest.mark.parametrize(
    ("late_ns", "share_percent", "for_ns"),
    [
        (PERIOD_ns, 100, None),
        (PERIOD_ns - 5 * NS_PER_MS, 100, None),
        (2 * PERIOD_ns, 100, None),
        (PERIOD_ns, 40, None),
        (PERIOD_ns, 100, 1_100 * NS_PER_MS),
    ],
)
def test_meter_late_by_whole_periods_while_the_building_rises_leads_to_no_raise_without_room(
    late_ns: int, share_percent: int, for_ns: int | None, tmp_path: Path
) -> None:
    found = []
    for rise_ms in range(20_000, 34_000, 1_000):
        directory = tmp_path / str(rise_ms)
        directory.mkdir()
        rig = rig_with_rise_at(rise_ms * NS_PER_MS, directory)
        rig.run_for(15 * NS_PER_S)
        assert rig.site.report()["raises"] > 0
        begin_ns = 0 if for_ns is None else rise_ms * NS_PER_MS - 15 * NS_PER_S - for_ns // 2
        fault = Fault(
            "late",
            "meter.grid",
            for_ns,
            begin_ns,
            late_ns=late_ns,
            share_percent=share_percent,
        )
        rig.site.inject(fault)
        rig.run_for(25 * NS_PER_S)
        found += rig.site.violations()
    assert found == []


@pytest.mark.parametrize("share_percent", [30, 100])
def test_scan_with_a_meter_late_by_any_delay_never_stamps_an_old_value(
    share_percent: int, tmp_path: Path
) -> None:
    """From none to three periods; a reading is known by its voltages, which flicker."""
    rig = rig_with_rise_at(20 * NS_PER_S, tmp_path)
    (talk,) = rig.field.buses
    device = rig.site.lines[0].devices[METER_ADDRESS]
    heard_at_ns: dict[tuple[int, int, int], int] = {}
    ages_ns = []
    reply_of, read = device.reply, talk.read

    def stamped(request: bytes, now_ns: int) -> bytes | None:
        reply = reply_of(request, now_ns)
        assert reply is not None
        volts = [int.from_bytes(reply[at : at + 4], "big") for at in (15, 19, 23)]
        heard_at_ns[volts[0], volts[1], volts[2]] = now_ns
        return reply

    def watched() -> None:
        begun_at_ns = talk.wire.now_ns()
        read()
        for result in talk.meter_results:
            if result.code is Code.GOOD:
                assert result.values is not None
                assert result.values.voltage_mV is not None
                ages_ns.append(begun_at_ns - heard_at_ns[result.values.voltage_mV])

    device.reply = stamped  # type: ignore[method-assign]
    talk.read = watched  # type: ignore[method-assign]
    rig.run_for(5 * NS_PER_S)
    for late_ms in range(1, 1_502, 10):
        fault = Fault(
            "late", "meter.grid", late_ns=late_ms * NS_PER_MS, share_percent=share_percent
        )
        rig.site.inject(fault)
        rig.run_for(4 * NS_PER_S)
        rig.site.clear("meter.grid")
        rig.run_for(2 * NS_PER_S)
    assert len(ages_ns) > 500
    assert max(ages_ns) < 0
    assert rig.site.violations() == []
