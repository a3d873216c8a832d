"""Why a charger has its current: sentences, from made statuses and from scans in virtual time."""

from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl import reasons
from loadctl.status import HELD_BY_GUARD, status_of
from loadctl.why import REMEDIES, why_charger, why_circuit
from tests.support import screens, sim_sites
from tests.support.scan_rig import S_ns, VirtualRig


def told(status: dict[str, Any], name: str = "bay1") -> str:
    return " ".join(why_charger(status, name))


def status_with(**changes: Any) -> dict[str, Any]:
    return screens.status(
        3,
        chargers={f"bay{i}": screens.charger() for i in (2, 3)}
        | {"bay1": screens.charger(**changes)},
    )


def test_every_rule_has_a_word_of_what_would_change_it() -> None:
    assert set(REMEDIES) == set(reasons.RULE_NAMES.values()) - {"unknown"} | {HELD_BY_GUARD}


def test_full_phase_is_a_sum_that_adds_up() -> None:
    found = status_with(setpoint_A=8.5, reserve_A=8.5, draw_A=[8.3, 8.2, 8.3])
    found["circuits"]["garage"] |= {
        "limit_A": [40.0] * 3,
        "margin_A": 1.0,
        "background_A": [14.5] * 3,
        "headroom_A": [24.5] * 3,
        "background_from": "meter",
    }
    lines = why_charger(found, "bay1")
    assert lines[0] == (
        "bay1 (garage, L1 L2 L3) may draw 8.5 A, for 3 min now; draws 8.3 A. It takes 6 to 16 A."
    )
    assert lines[1:] == [
        "Why: garage L1 full.",
        "garage L1: 40 A limit - 1 A margin - 14.5 A building (highest of 15 s) = 24.5 A for"
        " chargers.",
        "Others may draw 16 A (bay2 8, bay3 8), bay1 8.5 A; nothing is free.",
        "More comes when the building or another charger on garage L1 takes less.",
    ]


def test_sum_counts_what_a_charger_may_still_draw_and_only_those_on_the_phase_and_below() -> None:
    found = status_with(setpoint_A=8.0)
    found["circuits"]["garage"]["headroom_A"] = [40.0] * 3
    found["chargers"]["bay2"] |= {"setpoint_A": 6.0, "reserve_A": 14.0}
    found["chargers"]["bay3"] |= {"phases": ["L2"]}
    found["chargers"]["far"] = screens.charger(circuit="main")
    assert "Others may draw 14 A (bay2 14), bay1 8 A; 18 A are free." in told(found)
    found["circuits"]["garage"]["headroom_A"] = [20.0] * 3
    assert "; 2 A too many: someone has to come down, or a peak to pass." in told(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "own_maximum", "binding": ""}, "More only with a higher max_A"),
        ({"rule": "no_room_for_minimum"}, "It starts when 6 A are free on garage L1."),
        ({"rule": "no_car"}, "when a car is plugged in"),
        ({"rule": "silent", "reserve_A": 32.0}, "it counts as able to draw 32 A"),
        ({"rule": "waits_after_pause"}, "when garage L1 has had room for its minimum of 6 A"),
        ({"rule": "rests_after_pause", "binding": ""}, "when min_off_s is over"),
        ({"rule": "waits_for_proof"}, "told to take less are seen to"),
        ({"rule": "meter_silent"}, "when the meter of garage is read again"),
        ({"rule": "takes_less"}, "by 2 A every two minutes"),
        ({"rule": "cools_down"}, "The fuse of garage was too warm"),
        ({"rule": "full_from_outside"}, "the limit from outside ends"),
        ({"rule": "controller_mode"}, "back in mode run"),
        ({"rule": "does_not_follow"}, "takes more than it is told"),
        ({"rule": HELD_BY_GUARD}, "when the scan runs again"),
        ({"rule": "a_rule_of_a_later_version"}, "Why: garage L1 full."),
    ],
)
def test_each_family_of_rules_says_what_would_give_more(
    changes: dict[str, Any], words: str
) -> None:
    assert words in told(status_with(**changes))


def test_limits_that_are_no_phase_are_told_by_their_own_number() -> None:
    found = status_with(binding_kind="kW")
    found["circuits"]["garage"] |= {
        "limit_kW": 27.6,
        "charger_limit_kW": 11.0,
        "unbalance_A": 20.0,
    }
    assert "garage may carry 27.6 kW over its phases." in told(found)
    found["chargers"]["bay1"]["binding_kind"] = "charger kW"
    assert "All chargers of garage together may take 11 kW." in told(found)
    found["chargers"]["bay1"]["binding_kind"] = "unbalance L1-L3"
    assert "garage on L1 and not on L3 may take 20 A together (unbalance_A)." in told(found)


def test_who_waits_is_told_place_time_and_turn() -> None:
    found = status_with(
        setpoint_A=0.0, rule="waits_for_place", place=2, turn_in_s=480.0, waits_s=720.0
    )
    assert "It waits for 12 min, place 2, turn in about 8 min." in told(found)
    found = status_with(rule="no_room_for_minimum", waits_s=30.0)
    assert "It waits for 30 s, garage L1 full." in told(found)


def test_stale_status_is_said_before_the_cause() -> None:
    found = status_with()
    found |= {"is_stale": True, "age_ms": 42_000.0}
    assert why_charger(found, "bay1")[1] == "That was 42 s ago: nobody has looked since."


def test_unmeasured_and_unused_phases_are_said() -> None:
    found = status_with(draw_A=None, setpoint_since_s=None, unused_phases=["L2", "L3"])
    assert "may draw 8 A; what it draws is not measured." in told(found)
    assert "Its car does not use L2 and L3." in told(found)


def test_circuit_tells_each_phase_and_whom_it_holds() -> None:
    found = status_with()
    found["circuits"]["garage"] |= {"alarm": "background of 30 A seen on L1", "limit_kW": 20.0}
    lines = why_circuit(found, "garage")
    assert lines[0] == "garage below main: what it carries is not measured."
    assert lines[1] == (
        "L1: carries 24.0 A of 40 A; building 0 A (declared), chargers 24 A, at the very most 24 A."
    )
    assert "It may carry 20 kW." in lines
    assert "ALARM: background of 30 A seen on L1." in lines
    assert lines[-1] == "It holds back bay2, bay3, bay1."
    assert why_circuit(found, "main")[-1] == "It holds nobody back."


# from the image of a scan


def test_charger_of_a_full_circuit_in_virtual_time(tmp_path: Path) -> None:
    visits = (Visit("bay1", 0, take_mA=32_000), Visit("bay2", 0, take_mA=32_000))
    load = Load("constant", (5_000,) * 3)
    tables = sim_sites.metered_site(2, margin_mA=1_000)
    rig = VirtualRig(tables, Scenario(loads={"main": load}, visits=visits), tmp_path)
    rig.run_for(120 * S_ns)
    snapshot = rig.snapshot()
    found = status_of(rig.tables, snapshot, rig.clock.now_ns())
    words = told(found)
    assert "main L1: 32 A limit - 1 A margin - 5 A building (highest of 15 s) = 26 A" in words
    assert "Others may draw 13 A (bay2 13), bay1 13 A; nothing is free." in words
    assert found["circuits"]["main"]["load_A"] == [31.0, 31.0, 31.0]
    assert found["circuits"]["main"]["load_is_measured"] is True
    assert found["chargers"]["bay1"]["rule"] == "full"


def test_car_that_waits_for_its_place_has_place_turn_and_time_in_virtual_time(
    tmp_path: Path,
) -> None:
    visits = tuple(Visit(f"bay{i}", 0, take_mA=32_000) for i in (1, 2, 3))
    load = Load("constant", (18_000,) * 3)
    rig = VirtualRig(
        sim_sites.metered_site(3), Scenario(loads={"main": load}, visits=visits), tmp_path
    )
    rig.run_for(120 * S_ns)
    found = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns())
    (bay3,) = [c for c in found["chargers"].values() if c["place"] is not None]
    assert (bay3["rule"], bay3["place"], bay3["setpoint_A"]) == ("waits_for_place", 1, 0.0)
    assert 100 < bay3["waits_s"] <= 120
    assert bay3["turn_in_s"] == pytest.approx(1800 - bay3["waits_s"], abs=30)
    later = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns() + 60 * S_ns)
    (same,) = [c for c in later["chargers"].values() if c["place"] is not None]
    assert same["turn_in_s"] == pytest.approx(bay3["turn_in_s"] - 60)
    assert same["waits_s"] == pytest.approx(bay3["waits_s"] + 60)
