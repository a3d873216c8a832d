"""One site with every shipped model of another maker, driven by the whole scan in virtual time."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from hw.sim.faults import Fate, Faults
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.site.load import load_site
from tests.support.scan_rig import S_ns, VirtualRig

SITE = Path(__file__).resolve().parents[2] / "docs/examples/every-model.toml"
MENNEKES, SETPOINT, HEARTBEAT = 50, 0x0302, 0x0D00


class Listener:
    """Writes down every request as bytes."""

    def __init__(self, behind: Faults) -> None:
        self.behind = behind
        self.requests: list[bytes] = []

    def fate(self, request: bytes, now_ns: int) -> Fate:
        self.requests.append(request)
        return self.behind.fate(request, now_ns)


def rig_of(tmp_path: Path) -> VirtualRig:
    tables = load_site(SITE).tables
    visits = tuple(
        Visit(charger.name, 0, take_mA=32_000, follow_ns=S_ns, rise_ns=S_ns, wake_ns=S_ns)
        for charger in tables.chargers
    )
    loads = {"main": Load("constant", (20_000, 22_000, 24_000))}
    return VirtualRig(tables, Scenario(loads=loads, visits=visits), tmp_path)


def of_charger(rig: VirtualRig, key: str) -> list[Any]:
    return [charger[key] for charger in rig.snapshot()["chargers"]]


def test_every_model_is_armed_charges_and_is_measured(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.run_for(240 * S_ns)
    assert of_charger(rig, "is_armed") == [1, 1, 1, 1]
    assert rig.setpoints_mA() == [16_000, 32_000, 32_000, 16_000]
    assert of_charger(rig, "draw_mA") == [
        [16_000] * 3,
        [0] * 3,  # one current transformer: not measured
        [32_000] * 3,
        [16_000] * 3,
    ]
    assert [meter["code"] for meter in rig.snapshot()["meters"]] == [1, 1, 1]


def test_every_model_left_alone_falls_to_what_check_promised(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.run_for(240 * S_ns)
    outlets = rig.site.plant.outlets
    longest_s = 30 + 5 + 1  # the Terra's watchdog, the hold of a box, the car
    for outlet in outlets.values():
        outlet.advance(rig.clock.now_ns() + longest_s * S_ns)
    assert [outlet.draw_mA for outlet in outlets.values()] == [6_000, 6_000, 0, 6_000]


def test_mennekes_is_never_told_nought_and_each_heartbeat_follows_a_setpoint(
    tmp_path: Path,
) -> None:
    rig = rig_of(tmp_path)
    line = rig.site.lines[1]
    listener = Listener(line.faults)
    line.faults = listener
    rig.run_for(120 * S_ns)
    writes = [
        (struct.unpack_from(">H", request, 2)[0], request)
        for request in listener.requests
        if request[0] == MENNEKES and request[1] in (6, 16)
    ]
    told = [struct.unpack(">f", request[7:11])[0] for at, request in writes if at == SETPOINT]
    assert min(told) >= 1.0
    assert max(told) == 16.0
    beats = [i for i, (at, _) in enumerate(writes) if at == HEARTBEAT]
    assert len(beats) > 120 // 10
    assert {writes[i - 1][0] for i in beats} == {SETPOINT}
    assert {writes[i][1][4:6] for i in beats} == {b"\x55\xaa"}


def test_silent_scan_is_noticed_by_the_mennekes_within_its_ten_seconds(tmp_path: Path) -> None:
    rig = rig_of(tmp_path)
    rig.run_for(240 * S_ns)
    outlet = rig.site.plant.outlets[3]
    outlet.advance(rig.clock.now_ns() + 5 * S_ns)  # refreshed within a third of its time
    assert outlet.is_expired is False
    outlet.advance(rig.clock.now_ns() + 11 * S_ns)
    assert outlet.is_expired is True
