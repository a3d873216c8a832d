"""What a replay shows beside its verdict: the curves, the marks, and what other values would do."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hw.sim.fault import Fault
from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.cli.replay import replay
from loadctl.errors import CoreFault
from loadctl.flight.incident import Incident
from loadctl.flight.replay import Played, Range, find
from loadctl.flight.series import Series, chargers_of
from loadctl.flight.settings import chosen
from loadctl.live import names_of
from loadctl.tables import Tables
from loadctl.tuning import Slots
from tests.support.core_sites import attached
from tests.support.flights import Flight
from tests.support.scan_rig import S_ns, START_ns
from tests.support.sim_sites import metered_site

HOUSE_mA = 8_000
SILENT_AT_ns = 100 * S_ns
SPAN_s = 200


def garage() -> Tables:
    tables = metered_site(2, takes_external=True, loss_mA=(32_000,) * 3)
    tuning = dataclasses.replace(tables.tuning, ramp_mA_per_s=1_000, peak_hold_ns=10 * S_ns)
    return dataclasses.replace(tables, tuning=tuning)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cars of 32 A behind 32 A; one charger falls silent for half a minute."""
    house = Load("constant", (HOUSE_mA,) * 3)
    cars = (Visit("bay1", 0, take_mA=32_000), Visit("bay2", 20 * S_ns, take_mA=32_000))
    silence = Fault("silence", "charger.bay2", 30 * S_ns, at_ns=SILENT_AT_ns)
    scenario = Scenario(loads={"main": house}, visits=cars, faults=(silence,))
    taped = Flight(garage(), scenario, tmp_path_factory.mktemp("site"))
    taped.run(50 * S_ns)
    taped.rig.core.external_limit(0, (20_000,) * 3, None, None, taped.rig.clock.now_ns())
    taped.run((SPAN_s - 50) * S_ns)
    return taped.end()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(replay, [str(argument) for argument in arguments])


def asked(recorded: Path, *settings: str) -> dict[str, Any]:
    options = [word for setting in settings for word in ("--set", setting)]
    result = run(recorded, *options, "--json")
    assert result.exit_code == 0, result.exception
    said: dict[str, Any] = json.loads(result.output)
    assert said["equal"]
    return said["asked"]


# curves


def test_curves_hold_what_the_core_knew(recorded: Path) -> None:
    incident = Incident(find(recorded), Range())
    incident.run()
    curves = {
        what: [pair for pair in incident.series.circuit(0, what, 0) if pair is not None]
        for what in ("limit", "meter", "background", "granted")
    }
    assert set(curves["limit"]) == {(32_000, 32_000), (20_000, 20_000)}
    assert max(high for _, high in curves["granted"]) >= 22_000
    assert max(high for _, high in curves["meter"]) <= 33_000
    assert (HOUSE_mA, HOUSE_mA) in curves["background"]
    setpoints = [pair for pair in incident.series.charger(0, "setpoint") if pair is not None]
    draws = [pair for pair in incident.series.charger(0, "draw") if pair is not None]
    assert max(high for _, high in setpoints) >= max(high for _, high in draws) > 11_000


def block_at(setpoint_mA: int) -> bytearray:
    """A plant block in which the one charger was found with this setpoint."""
    core = attached(metered_site(1))
    block = bytearray(core.plant_bytes)
    core.attach(block)
    core.charger_armed(0, True, setpoint_mA)
    return block


def test_no_peak_is_lost_in_a_stretch() -> None:
    usual, peak = block_at(0), block_at(6_000)
    series = Series([0], [3], 1, 0, 100 * S_ns, 2)
    for k in range(100):
        series.take(peak if k == 33 else usual, k * S_ns)
    assert series.charger(0, "setpoint") == [(0, 6_000), (0, 0)]
    assert series.circuit(0, "meter", 0) == [None, None]  # nothing was read
    assert series.offered() == [6_000 * 3 * 1_000]


def test_long_step_between_samples_is_a_gap_in_what_was_offered() -> None:
    block = block_at(6_000)
    series = Series([0], [3], 1, 0, 1_000 * S_ns, 10)
    for at_s in (1, 2, 500, 501):
        series.take(block, at_s * S_ns)
    assert series.offered() == [2 * 6_000 * 3 * 1_000]


def test_block_of_another_site_is_refused() -> None:
    core = attached(metered_site(1))
    with pytest.raises(ValueError, match="another site"):
        chargers_of(bytes(core.plant_bytes), 1, 1, 2)


# the picture


def test_picture_is_whole_and_names_everybody(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "incident.svg"
    assert run(recorded, "--plot", path).exit_code == 0
    root = ElementTree.fromstring(path.read_text())
    words = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"main L1", "main L2", "main L3", "bay1", "bay2", "limit", "draw"} <= set(words)
    marks = [word for word in words if re.match(r"\d+  \d\d:\d\d:\d\d  ", word)]
    assert [mark.split("  ", 2)[2] for mark in marks] == [
        "mode start", "the recording begins", "mode run", "from outside, main: 20 A",
        "bay2 is silent", "bay2 answers again",
    ]  # fmt: skip


def test_picture_of_a_part_shows_only_that(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.html"
    result = run(recorded, "--from", 190, "--to", 230, "--plot", path)
    assert result.exit_code == 0
    text = path.read_text()
    assert text.startswith("<!doctype html>")
    assert "bay2 is silent" in text
    assert "mode run" not in text


def test_picture_of_another_kind_is_refused(recorded: Path, tmp_path: Path) -> None:
    result = run(recorded, "--plot", tmp_path / "a.pdf")
    assert "must end in .svg or .html" in str(result.exception)
    result = run(recorded, "--plot", tmp_path / "none" / "a.svg")
    assert "No such file or directory" in str(result.exception)


# other values


def test_other_core_with_the_same_values_decides_the_same(recorded: Path) -> None:
    ramp_A = garage().tuning.ramp_mA_per_s / 1_000
    said = asked(recorded, f"tuning.ramp_A_per_s={ramp_A}")
    assert said["first"] is None
    for row in said["chargers"].values():
        assert row["different_scans"] == 0
        assert row["offered_kWh"] == row["would_be_offered_kWh"] > 0


def test_slower_ramp_would_have_offered_less(recorded: Path) -> None:
    said = asked(recorded, "tuning.ramp_A_per_s=0.1")
    rows = said["chargers"].values()
    offered, would = (
        sum(row[key] for row in rows) for key in ("offered_kWh", "would_be_offered_kWh")
    )
    assert would < 0.9 * offered
    assert "every car behaves as it was recorded" in said["note"]
    assert said["circuits"]["main"]["would_be_limit_A"] == [20.0, 20.0, 20.0]


def test_cars_take_no_more_than_the_other_core_allows(recorded: Path) -> None:
    """Else it would starve them all for what they took under another setpoint."""
    incident = Incident(find(recorded), Range(), ["tuning.ramp_A_per_s=0.1"])
    incident.run()
    other = incident.other
    assert other is not None
    assert other.core is not None
    for i in range(2):
        state = other.core.charger(i)
        assert (state["n_starves"], state["is_stubborn"], state["over_mA"]) == (0, 0, 0)


def test_words_of_other_values(recorded: Path) -> None:
    output = run(recorded, "--set", "tuning.ramp_A_per_s=0.1").output
    assert "With tuning.ramp_A_per_s=0.1:" in output
    assert "every car behaves as it was recorded" in output
    assert re.search(r"bay1: another setpoint in \d+ % of the scans; offered", output)
    output = run(recorded, "--set", "tuning.ramp_A_per_s=1").output
    assert "No setpoint would have been another." in output


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tuning.ramp=3", "--set tuning.ramp: there is no such key; the nearest is tuning."),
        ("tuning.ramp_A_per_s", "write KEY=VALUE"),
        ("charger.bay9.max_A=10", "there is no such key; the nearest is charger.bay"),
        ("tuning.ramp_A_per_s=fast", "'fast' is no number"),
        ("tuning.peak_hold_s=3000", "3000 is not within 1 s to 600 s"),
        ("tuning.peak_hold_s=3", "3 s is below 8.5 s, its floor on this site: status age"),
        ("charger.bay1.max_A=40", "40 A is above 32 A"),
        ("circuit.main.limit_A=33", "33 A is above 32 A"),
    ],
)
def test_value_that_cannot_be_is_refused_with_its_bound(
    recorded: Path, setting: str, words: str
) -> None:
    result = run(recorded, "--set", setting)
    assert words in str(result.exception)


def test_lower_maximum_of_one_charger_holds_that_one(recorded: Path) -> None:
    said = asked(recorded, "charger.bay1.max_A=8")["chargers"]
    assert said["bay1"]["would_be_offered_kWh"] < said["bay1"]["offered_kWh"]
    incident = Incident(find(recorded), Range(), ["charger.bay1.max_A=8"])
    incident.run()
    assert incident.other_series is not None
    curve = [pair for pair in incident.other_series.charger(0, "setpoint") if pair is not None]
    assert max(high for _, high in curve) == 8_000


def test_lower_limit_of_a_circuit_would_have_bound(recorded: Path) -> None:
    said = asked(recorded, "circuit.main.limit_A=26")["circuits"]["main"]
    assert said["would_be_limit_A"] == [20, 20, 20]  # from outside
    incident = Incident(find(recorded), Range(to_scan=90), ["circuit.main.limit_A=26"])
    incident.run()
    row = incident.asked()
    assert row is not None
    assert row["circuits"]["main"]["would_be_limit_A"] == [26, 26, 26]


def test_only_what_was_asked_for_is_chosen() -> None:
    tables = garage()
    names = names_of(Slots(tables))
    found = chosen(tables, ["tuning.ramp_A_per_s=0.5", "tuning.healthy_scans=4"])
    assert found == {
        names["tuning.ramp_A_per_s"].slots[0]: 500, names["tuning.healthy_scans"].slots[0]: 4
    }  # fmt: skip


def test_what_was_tuned_meanwhile_counts_but_for_what_is_asked(tmp_path: Path) -> None:
    tables = garage()
    slots = names_of(Slots(tables))
    ramp, most = slots["tuning.ramp_A_per_s"].slots[0], slots["charger.bay1.max_A"].slots[0]
    house = Load("constant", (HOUSE_mA,) * 3)
    cars = (Visit("bay1", 0, take_mA=32_000),)
    taped = Flight(tables, Scenario(loads={"main": house}, visits=cars), tmp_path)
    taped.run(30 * S_ns)
    taped.rig.core.retune([(ramp, 5_000), (most, 9_000)])
    with pytest.raises(CoreFault):
        taped.rig.core.retune([(ramp, -1)])
    taped.run(60 * S_ns)
    folder = taped.end()
    played = json.loads(run(folder, "--json").output)
    assert (played["equal"], played["scans"]) == (True, 180)
    rows = asked(folder, "tuning.ramp_A_per_s=0.2")["chargers"]
    assert rows["bay1"]["would_be_offered_kWh"] < rows["bay1"]["offered_kWh"]
    incident = Incident(find(folder), Range(), ["tuning.ramp_A_per_s=0.2"])
    incident.run()
    other = incident.other
    assert other is not None
    assert other.core is not None
    assert other.core.site()["tuning"]["ramp_mA_per_s"] == 200
    assert other.core.charger(0)["live_max_mA"] == 9_000
    assert "tuned: tuning.ramp_A_per_s 5 A/s" in incident.plot(Played())


def test_plot_reaches_over_what_is_asked_for(recorded: Path) -> None:
    incident = Incident(find(recorded), Range(from_scan=100, to_scan=200))
    span_s = (incident.frame.to_ns - incident.frame.from_ns) / S_ns
    assert 49 <= span_s <= 51
    assert incident.frame.from_ns >= START_ns + 49 * S_ns
