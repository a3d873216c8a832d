"""`loadctl whatif`: what a snapshot may say, and the answer in its exact shape."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from loadctl.cli.main import cli
from loadctl.errors import ConfigError
from tests.support.site_files import GARAGE, changed, in_table, write_map, write_site

IDLE_METER = "[meter.grid]\ncurrent_A = 0\n"


def run(tmp_path: Path, snapshot: str, *words: str, site: str = GARAGE) -> Result:
    path = tmp_path / "snapshot.toml"
    path.write_text(snapshot)
    site_path = write_site(tmp_path, site)
    command = ["whatif", str(site_path), str(path), *words]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


def answer(tmp_path: Path, snapshot: str, site: str = GARAGE, *words: str) -> dict[str, Any]:
    result = run(tmp_path, snapshot, "--json", *words, site=site)
    assert result.exit_code == 0
    loaded: dict[str, Any] = json.loads(result.output)
    return loaded


def grants_A(tmp_path: Path, snapshot: str, site: str = GARAGE, *words: str) -> dict[str, float]:
    chargers = answer(tmp_path, snapshot, site, *words)["chargers"]
    return {name: charger["grant_A"] for name, charger in chargers.items()}


def test_snapshot_with_a_byte_order_mark_is_the_same_snapshot(tmp_path: Path) -> None:
    snapshot = "[meter.grid]\ncurrent_A = 50\n"
    assert answer(tmp_path, "\ufeff" + snapshot) == answer(tmp_path, snapshot)


def test_whatif_answer_has_exactly_the_documented_shape(tmp_path: Path) -> None:
    snapshot = """
[meter.grid]
current_A = [72.0004, 8.5, 9.0]

[charger.bay1]
state = "C"
current_A = [10.0, 10.0, 10.0]
setpoint_A = 10.0
"""
    assert answer(tmp_path, snapshot) == {
        "chargers": {
            "bay1": {"grant_A": 16.0, "reason": "at its own maximum", "binding": ""},
            "bay2": {"grant_A": 0.0, "reason": "no car", "binding": ""},
        },
        "circuits": {
            "main": {
                "limit_A": [100.0, 100.0, 100.0],
                "background_A": [62.001, 0.0, 0.0],
                "headroom_A": [32.999, 95.0, 95.0],
                "granted_A": [16.0, 16.0, 16.0],
            },
            "garage": {
                "limit_A": [63.0, 63.0, 63.0],
                "background_A": [0.0, 0.0, 0.0],
                "headroom_A": [58.0, 58.0, 58.0],
                "granted_A": [16.0, 16.0, 16.0],
            },
        },
    }


def test_whatif_binding_names_circuit_and_phase(tmp_path: Path) -> None:
    snapshot = '[meter.grid]\ncurrent_A = [0, 70, 0]\n[charger.bay2]\nstate = "B"\n'
    found = answer(tmp_path, snapshot)["chargers"]["bay2"]
    assert found == {"grant_A": 25.0, "reason": "main L2 full", "binding": "main L2"}


def test_whatif_charger_that_is_not_named_has_no_car(tmp_path: Path) -> None:
    snapshot = IDLE_METER + '[charger.bay2]\nstate = "B"\n'
    assert grants_A(tmp_path, snapshot) == {"bay1": 0.0, "bay2": 32.0}


@pytest.mark.parametrize(
    ("state", "grant_A"),
    [("A", 0.0), ("B", 16.0), ("C", 16.0), ("D", 16.0), ("E", 0.0), ("F", 0.0)],
)
def test_whatif_state_decides_who_wants(tmp_path: Path, state: str, grant_A: float) -> None:
    snapshot = IDLE_METER + f'[charger.bay1]\nstate = "{state}"\n'
    assert grants_A(tmp_path, snapshot)["bay1"] == grant_A


def test_whatif_dynamic_circuit_without_its_meter_answers_as_stale(tmp_path: Path) -> None:
    text = changed(("background_A = 40", "background_A = [40, 85, 40]"))
    found = answer(tmp_path, '[charger.bay2]\nstate = "B"\n', text)
    assert found["circuits"]["main"]["background_A"] == [40.0, 85.0, 40.0]
    assert found["chargers"]["bay2"]["grant_A"] == 10.0


def test_whatif_measured_draw_is_taken_off_the_meter_on_the_phases_it_uses(tmp_path: Path) -> None:
    rotated = changed(('["L1", "L2", "L3"]', '["L2", "L3", "L1"]'))
    snapshot = """
[meter.grid]
current_A = [50.0, 50.0, 50.0]
[charger.bay1]
state = "C"
current_A = [9.0, 8.0, 7.0]
setpoint_A = 10.0
"""
    found = answer(tmp_path, snapshot, rotated)
    assert found["circuits"]["main"]["background_A"] == [43.0, 41.0, 42.0]


def test_whatif_draw_that_is_not_given_stays_in_the_background(tmp_path: Path) -> None:
    snapshot = '[meter.grid]\ncurrent_A = 50\n[charger.bay1]\nstate = "C"\nsetpoint_A = 10\n'
    found = answer(tmp_path, snapshot)
    assert found["circuits"]["main"]["background_A"] == [50.0, 50.0, 50.0]


def test_whatif_terminals_without_a_wire_draw_nothing(tmp_path: Path) -> None:
    snapshot = '[meter.grid]\ncurrent_A = 50\n[charger.bay2]\nstate = "C"\ncurrent_A = [5, 4, 3]\n'
    found = answer(tmp_path, snapshot)
    assert found["circuits"]["main"]["background_A"] == [50.0, 45.0, 50.0]


def test_whatif_isolated_charger_gets_nothing(tmp_path: Path) -> None:
    text = changed(("failsafe_A = 6", "failsafe_A = 6\nisolated = true"))
    snapshot = IDLE_METER + '[charger.bay1]\nstate = "B"\n'
    assert grants_A(tmp_path, snapshot, text)["bay1"] == 0.0


def test_whatif_applies_neither_proof_nor_plan_and_opens_no_port(tmp_path: Path) -> None:
    text = changed(("background_A = 40", "background_A = 99"), ("19200", "1200"))
    snapshot = IDLE_METER + '[charger.bay1]\nstate = "B"\n'
    assert grants_A(tmp_path, snapshot, text)["bay1"] == 16.0


def test_whatif_takes_maps_of_its_own(tmp_path: Path) -> None:
    maps = write_map(tmp_path, "box", ('step_A = "0.1"', "step_A = 1"))
    text = in_table("charger.bay1", ("reference-charger", "box"))
    snapshot = '[meter.grid]\ncurrent_A = 84.5\n[charger.bay1]\nstate = "B"\n'
    assert grants_A(tmp_path, snapshot, text, "--maps", str(maps))["bay1"] == 10.0


def test_whatif_without_json_prints_two_tables(tmp_path: Path) -> None:
    snapshot = '[meter.grid]\ncurrent_A = [0, 70, 0]\n[charger.bay2]\nstate = "B"\n'
    assert run(tmp_path, snapshot).output.splitlines() == [
        "charger      grant  bound by              reason",
        "bay1           0 A  -                     no car",
        "bay2          25 A  main L2               main L2 full",
        "",
        "circuit          limit   building       left    granted",
        "main     L1      100 A        0 A       95 A        0 A",
        "         L2      100 A       70 A       25 A       25 A",
        "         L3      100 A        0 A       95 A        0 A",
        "garage   L1       63 A        0 A       58 A        0 A",
        "         L2       63 A        0 A       58 A       25 A",
        "         L3       63 A        0 A       58 A        0 A",
    ]


MISTAKES = [
    ("[charger.by1]\n", '1: charger.by1: there is no charger "by1"; the nearest is "bay1"'),
    ("[meter.gird]\n", '1: meter.gird: there is no meter "gird"; the nearest is "grid"'),
    ("[chargers.bay1]\n", "1: chargers: no such key; the nearest is charger"),
    ("[meter.grid]\n", "1: meter.grid.current_A: missing"),
    (
        "[meter.grid]\ncurrent = 3\n",
        "2: meter.grid.current: no such key; the nearest is current_A, in amps",
    ),
    (
        "[meter.grid]\ncurrent_A = [1, 2]\n",
        "2: meter.grid.current_A: 2 numbers; write one for all phases, or three for L1, L2, L3",
    ),
    ("[meter.grid]\ncurrent_A = [1, -2, 3]\n", "2: meter.grid.current_A: L2: -2 A is below 0 A"),
    (
        '[charger.bay1]\nstate = "c"\n',
        '2: charger.bay1.state: "c" is not one of "A", "B", "C", "D", "E" or "F"',
    ),
    (
        '[charger.bay1]\nsetpoint_A = "10 A"\n',
        '2: charger.bay1.setpoint_A: "10 A" is no number of amps; write setpoint_A = 10',
    ),
    (
        "[charger.bay1]\nsetpoint_mA = 10\n",
        "2: charger.bay1.setpoint_mA: no such key; the nearest is setpoint_A, in amps",
    ),
    (
        "[circuit.main]\nlimit_A = 10\n",
        "1: circuit.main: the site file gives it no external table: it takes no limit from outside",
    ),
    ("[circuit.main]\nlimit_kW = -1\n", "2: circuit.main.limit_kW: -1 kW is below 0 kW"),
    ("charger = 3\n", "1: charger: 3 is no table; write [charger.NAME]"),
    ("[charger]\nbay1 = 3\n", "2: charger.bay1: 3 is no table; write it as [charger.NAME]"),
]


@pytest.mark.parametrize(("snapshot", "message"), MISTAKES)
def test_whatif_snapshot_with_a_mistake_gives_one_line(
    tmp_path: Path, snapshot: str, message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        run(tmp_path, snapshot)
    assert refused.value.lines == (f"{tmp_path}/snapshot.toml:{message}",)
    assert refused.value.exit_code == 3


def test_whatif_snapshot_that_is_not_there_gives_its_path(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    with pytest.raises(ConfigError, match=r"nope\.toml: No such file or directory$"):
        CliRunner().invoke(
            cli, ["whatif", str(site), str(tmp_path / "nope.toml")], catch_exceptions=False
        )


def test_whatif_measured_draw_is_the_draw_whatever_a_sub_meter_reads(tmp_path: Path) -> None:
    """A sub-meter above its declared background shows building, not a car measured at 0."""
    site = (
        GARAGE.replace('mode = "static"', 'mode = "dynamic"\nmeter = "wing"')
        + """
[meter.wing]
bus = "rs485"
model = "reference-meter"
address = 9
"""
    )
    snapshot = """
[meter.grid]
current_A = 20
[meter.wing]
current_A = 20
[charger.bay1]
state = "B"
current_A = [0, 0, 0]
setpoint_A = 16
"""
    circuits = answer(tmp_path, snapshot, site)["circuits"]
    assert circuits["main"]["background_A"] == [20.0, 20.0, 20.0]


def test_whatif_charger_with_a_fault_says_so(tmp_path: Path) -> None:
    snapshot = IDLE_METER + '[charger.bay1]\nstate = "F"\n'
    assert answer(tmp_path, snapshot)["chargers"]["bay1"]["reason"] == "charger reports a fault"


OUTSIDE = changed(
    ("limit_A = 63", "limit_A = 63\nexternal = { at_loss_A = 0 }"),
)
BOTH = IDLE_METER + '[charger.bay1]\nstate = "C"\n[charger.bay2]\nstate = "C"\n'


def test_whatif_limit_from_outside_bounds_and_is_named(tmp_path: Path) -> None:
    snapshot = BOTH + "[circuit.garage]\nlimit_A = 25.0009\n"
    found = answer(tmp_path, snapshot, OUTSIDE)
    assert found["circuits"]["garage"]["limit_A"] == [25.0, 25.0, 25.0]
    assert found["chargers"]["bay2"] == {
        "grant_A": 10.0,
        "reason": "garage L2 full (external limit)",
        "binding": "garage L2",
    }


def test_whatif_zero_from_outside_stops_everyone(tmp_path: Path) -> None:
    found = answer(tmp_path, BOTH + "[circuit.garage]\nlimit_kW = 0\n", OUTSIDE)["chargers"]
    assert found["bay1"] == {
        "grant_A": 0.0,
        "reason": "garage kW has no room for its minimum (external limit)",
        "binding": "garage kW",
    }


def test_whatif_circuit_that_is_not_named_has_lost_its_source(tmp_path: Path) -> None:
    assert grants_A(tmp_path, BOTH, OUTSIDE) == {"bay1": 0.0, "bay2": 0.0}


def test_whatif_empty_table_is_no_limit_from_outside(tmp_path: Path) -> None:
    assert grants_A(tmp_path, BOTH + "[circuit.garage]\n", OUTSIDE) == {"bay1": 16.0, "bay2": 32.0}


def test_whatif_guaranteed_minimum_is_left_to_the_chargers(tmp_path: Path) -> None:
    """7.56 kW are 32.8 A over the phases: 3 x 8.2 A leave 8.2 A on one."""
    site = changed(("at_loss_A = 0 }", "at_loss_A = 63 }\nenwg14a = true"), text=OUTSIDE)
    found = answer(tmp_path, BOTH + "[circuit.garage]\nlimit_kW = 0\n", site)["chargers"]
    assert [found["bay1"]["grant_A"], found["bay2"]["grant_A"]] == [8.2, 8.2]
    assert found["bay1"]["reason"] == "garage charger kW full (external limit)"
