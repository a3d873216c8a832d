"""What `status` says, made from the image of a scan in virtual time."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl import runtime
from loadctl import tables as plain
from loadctl.cli.main import cli
from loadctl.errors import NotRunning
from loadctl.status import StatusReader, status_of, summary
from tests.support import sim_sites
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig


def rig_at(path: Path, span_ns: int, background_A: int = 5) -> VirtualRig:
    """Two chargers; a car at the first only, which takes 10 A at most."""
    load = Load("constant", (background_A * 1000,) * 3)
    visits = (Visit("bay1", 0, take_mA=10_000),)
    rig = VirtualRig(sim_sites.metered_site(2), Scenario(loads={"main": load}, visits=visits), path)
    rig.run_for(span_ns)
    return rig


def status_at(rig: VirtualRig, age_ns: int = 0) -> dict[str, Any]:
    snapshot = rig.snapshot()
    return status_of(rig.tables, snapshot, snapshot["scan"]["published_at_ns"] + age_ns)


def test_status_has_what_a_machine_is_promised(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 40 * S_ns)
    found = json.loads(json.dumps(status_at(rig, 120 * MS_ns)))
    assert (found["site"], found["mode"], found["guard"]) == ("simulated", "run", {"pid": None})
    scan = found["scan"]
    assert (scan["pid"], scan["period_ms"], scan["scans"], scan["missed"]) == (
        os.getpid(),
        500,
        80,
        0,
    )
    assert scan["worst_scan_ms"] == pytest.approx(rig.plan.give_end_ns / 1e6, abs=5)
    bay1, bay2 = found["chargers"]["bay1"], found["chargers"]["bay2"]
    assert bay1["setpoint_A"] == rig.setpoints_mA()[0] / 1000
    assert (bay1["draw_A"], bay1["state"]) == ([10.0, 10.0, 10.0], "C")
    assert (bay2["setpoint_A"], bay2["draw_A"], bay2["state"]) == (0.0, [0.0, 0.0, 0.0], "A")
    assert (bay2["reason"], bay2["binding"]) == ("no car", "")
    main = found["circuits"]["main"]
    assert main["limit_A"] == [32.0, 32.0, 32.0]
    circuit = rig.snapshot()["circuits"][0]
    assert main["background_A"] == [mA / 1000 for mA in circuit["background_mA"]]
    assert main["headroom_A"] == [32.0 - background_A for background_A in main["background_A"]]
    assert main["may_carry_A"] == [
        (reserved_mA + background_mA) / 1000
        for reserved_mA, background_mA in zip(
            circuit["reserved_mA"], circuit["background_rigorous_mA"], strict=True
        )
    ]
    assert main["granted_A"] == [bay1["setpoint_A"]] * 3
    assert found["meters"]["grid"]["current_A"] == [15.0, 15.0, 15.0]
    assert found["buses"]["one"]["is_open"] is True
    assert (found["age_ms"], found["is_stale"]) == (120, False)


def test_status_charger_that_was_not_read_has_neither_state_nor_draw(tmp_path: Path) -> None:
    rig = VirtualRig(sim_sites.metered_site(2), Scenario(), tmp_path)
    rig.tap.dead.add(12)
    rig.run_for(5 * S_ns)
    bay2 = status_at(rig)["chargers"]["bay2"]
    assert (bay2["state"], bay2["draw_A"], bay2["is_silent"]) == (None, None, True)
    assert bay2["unanswered"] > 0


@pytest.mark.parametrize(("age_ns", "is_stale"), [(1_500 * MS_ns, False), (1_501 * MS_ns, True)])
def test_status_image_older_than_three_periods_is_stale(
    tmp_path: Path, age_ns: int, is_stale: bool
) -> None:
    found = status_at(rig_at(tmp_path, 5 * S_ns), age_ns)
    assert found["is_stale"] is is_stale
    assert (summary(found)[0] == "STALE: the last scan is 1.5 s old") is is_stale


def test_summary_says_is_it_safe_what_binds_and_is_it_punctual(tmp_path: Path) -> None:
    found = status_at(rig_at(tmp_path, 40 * S_ns))
    lines = summary(found)
    most_A = found["circuits"]["main"]["may_carry_A"][2]
    assert lines[0] == f"safe: main L3 carries at most {most_A:g} A of 32 A"
    assert lines[1].startswith(("nothing binds", "binds: main L"))
    assert lines[2].startswith("timing: 80 scans of 500 ms, 0 missed, worst ")


def test_summary_before_anything_is_proven_says_so(tmp_path: Path) -> None:
    lines = summary(status_at(rig_at(tmp_path, 2 * S_ns)))
    assert lines[0].startswith("not proven yet: main L")
    assert lines[0].endswith("; nothing rises")


def test_summary_of_a_circuit_that_may_carry_too_much_is_over(tmp_path: Path) -> None:
    found = status_at(rig_at(tmp_path, 40 * S_ns))
    found["circuits"]["main"]["may_carry_A"] = [30.0, 33.5, 31.0]
    assert summary(found)[0] == (
        "over: main L2 could carry 33.5 A of 32 A until chargers have followed"
    )


def test_summary_names_real_time_settings_that_were_refused(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 2 * S_ns)
    rig.image.setting(0, 2, 1)
    rig.image.setting(4, 1, 0)
    rig.pass_one()
    lines = summary(status_at(rig))
    assert lines[-1] == "  SCHED_FIFO: refused, Operation not permitted"
    assert [s["what"] for s in status_at(rig)["real_time"]] == [
        "SCHED_FIFO",
        "no garbage collection",
    ]


# the command


@pytest.fixture
def site_dir(tmp_path: Path) -> Any:
    """The directory of a site that runs: its lock is held, its image was just published."""
    found, fd = runtime.claim(tmp_path / "rt", "simulated")
    rig = rig_at(found.path, 5 * S_ns)
    tables = replace(rig.tables, site=replace(rig.tables.site, name="simulated"))
    found.tables.write_text(plain.dump(tables))
    rig.image.publish(time.monotonic_ns())
    yield found, fd
    if fd is not None and found.is_locked():
        os.close(fd)


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["status", *arguments])


def test_status_command_prints_one_object_for_a_machine(site_dir: Any, tmp_path: Path) -> None:
    done = invoke("--runtime-dir", str(tmp_path / "rt"), "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["site"], found["is_running"], found["is_stale"]) == ("simulated", True, False)


def test_status_command_for_a_person_names_chargers_and_answers_first(
    site_dir: Any, tmp_path: Path
) -> None:
    done = invoke("--runtime-dir", str(tmp_path / "rt"), "--site", "simulated")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(("safe:", "not proven yet:", "over:"))
    assert "bay1" in done.stdout
    assert "no car" in done.stdout


def test_status_command_of_a_dead_site_shows_its_last_scan_and_refuses(
    site_dir: Any, tmp_path: Path
) -> None:
    os.close(site_dir[1])
    done = invoke("--runtime-dir", str(tmp_path / "rt"))
    assert isinstance(done.exception, NotRunning)
    assert str(done.exception).startswith("simulated: not running; its last scan was ")
    assert "bay1" in done.stdout
    site_dir[0].image.unlink()
    done = invoke("--runtime-dir", str(tmp_path / "rt"))
    assert isinstance(done.exception, NotRunning)


def test_status_command_without_any_site_has_exit_code_five(tmp_path: Path) -> None:
    done = invoke("--runtime-dir", str(tmp_path))
    assert isinstance(done.exception, NotRunning)
    assert done.exception.exit_code == 5


def test_status_reader_before_the_first_scan_says_nothing_is_published(tmp_path: Path) -> None:
    found, fd = runtime.claim(tmp_path, "one")
    with pytest.raises(NotRunning, match="one: nothing published yet"):
        StatusReader(found)
    os.close(fd)
