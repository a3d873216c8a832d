"""Every settled case as a person would ask for it: a site file and a snapshot, through `whatif`.

The same cases go to the core directly in tests/core; here the whole way is judged: TOML, compile,
core, JSON. The sums that judge "no step that fits is left" are this file's own.
"""

import json
import os
import subprocess
import sys
import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadctl.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
CASES = tomllib.loads((Path(__file__).parent / "settled.toml").read_text())["case"]
PHASES = ("L1", "L2", "L3")
STEP_mA = 100
VOLTAGE_V = 230


def three_A(value: Any) -> list[float]:
    return value if isinstance(value, list) else [value] * 3


def site_text(case: dict[str, Any]) -> str:
    """The case as a site file: every circuit dynamic with a meter of its own."""
    head = '[site]\nname = "Settled"\n\n[bus.b]\nport = "/dev/null"\nbaud = 19200\nframe = "8E1"\n'
    blocks = [head]
    for circuit_i, circuit in enumerate(case["circuits"]):
        name = circuit["name"]
        keys = {k: v for k, v in circuit.items() if k not in {"name", "load_A"}}
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        lines += ['mode = "dynamic"', f'meter = "{name}"', "background_A = 0"]
        blocks.append("\n".join([f"[circuit.{name}]", *lines, ""]))
        address = f"address = {200 + circuit_i}"
        blocks.append(f'[meter.{name}]\nbus = "b"\nmodel = "reference-meter"\n{address}\n')
    for charger_i, charger in enumerate(case["chargers"]):
        keys = {"phases": list(PHASES), "min_A": 6, "max_A": 16, "failsafe_A": 0, **charger}
        lines = [f"{k} = {json.dumps(v)}" for k, v in keys.items() if k not in {"name", "wants"}]
        lines += ['bus = "b"', 'model = "reference-charger"', f"address = {1 + charger_i}"]
        blocks.append("\n".join([f"[charger.{charger['name']}]", *lines, ""]))
    return "\n".join(blocks)


def snapshot_text(case: dict[str, Any]) -> str:
    """Nobody draws yet: what the meters read is the building."""
    blocks = [
        f"[meter.{circuit['name']}]\ncurrent_A = {three_A(circuit.get('load_A', 0))}\n"
        for circuit in case["circuits"]
    ]
    for charger in case["chargers"]:
        if charger.get("wants", True):
            name = charger["name"]
            blocks.append(f'[charger.{name}]\nstate = "B"\ncurrent_A = [0.0, 0.0, 0.0]\n')
    return "\n".join(blocks)


def write_case(directory: Path, case: dict[str, Any]) -> tuple[str, str]:
    site, snapshot = directory / "site.toml", directory / "snapshot.toml"
    site.write_text(site_text(case))
    snapshot.write_text(snapshot_text(case))
    return str(site), str(snapshot)


def fits(case: dict[str, Any], grants_mA: dict[str, int]) -> bool:
    """Whether these grants keep every limit of the case, summed the slow and obvious way."""
    parent = {circuit["name"]: circuit.get("parent") for circuit in case["circuits"]}
    for circuit in case["circuits"]:
        below = []
        for charger in case["chargers"]:
            at = charger["circuit"]
            while at is not None and at != circuit["name"]:
                at = parent[at]
            if at is not None:
                below.append((grants_mA[charger["name"]], charger.get("phases", list(PHASES))))
        load_mA = [round(1000 * load_A) for load_A in three_A(circuit.get("load_A", 0))]
        for phase, limit_A, background_mA in zip(
            PHASES, three_A(circuit["limit_A"]), load_mA, strict=True
        ):
            if sum(x for x, used in below if phase in used) + background_mA > 1000 * limit_A:
                return False
        total_mA = sum(x * len(used) for x, used in below) + sum(load_mA)
        if total_mA * VOLTAGE_V > 1_000_000 * circuit.get("limit_kW", float("inf")):
            return False
        for p, q in permutations(PHASES, 2):
            one_sided_mA = sum(x for x, used in below if p in used and q not in used)
            if one_sided_mA > 1000 * circuit.get("unbalance_A", float("inf")):
                return False
    return True


def judge(case: dict[str, Any], answer: dict[str, Any]) -> None:
    """Each grant within a step of what is expected, every limit kept, and no step left over."""
    grants_mA = {
        name: round(1000 * charger["grant_A"]) for name, charger in answer["chargers"].items()
    }
    off_mA = {
        name: grants_mA[name] - round(1000 * expected_A)
        for name, expected_A in case["expect"].items()
    }
    assert [name for name, by_mA in off_mA.items() if abs(by_mA) > STEP_mA] == [], grants_mA
    assert grants_mA.keys() == case["expect"].keys()
    assert fits(case, grants_mA) is True
    could_take = [
        charger["name"]
        for charger in case["chargers"]
        if grants_mA[charger["name"]] > 0
        and grants_mA[charger["name"]] + STEP_mA <= 1000 * charger.get("max_A", 16)
        and fits(case, {**grants_mA, charger["name"]: grants_mA[charger["name"]] + STEP_mA})
    ]
    assert could_take == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_whatif_settled_case_gives_the_expected_grants(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    result = CliRunner().invoke(
        cli, ["whatif", *write_case(tmp_path, case), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0
    judge(case, json.loads(result.output))


def test_whatif_settled_case_as_a_process_gives_the_same(tmp_path: Path) -> None:
    case = CASES[0]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "loadctl", "whatif", *write_case(tmp_path, case), "--json"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    judge(case, json.loads(done.stdout))
