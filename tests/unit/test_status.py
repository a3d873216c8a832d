"""What `status` says, made from the image of a scan in virtual time."""

import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from loadctl.law.meters import Quality

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl import runtime
from loadctl import tables as plain
from loadctl.answers import summary
from loadctl.cli.main import cli
from loadctl.cli.view import details
from loadctl.errors import NotRunning
from loadctl.events import Event
from loadctl.guard.words import CAUSE_WORDS, Cause, Happening, State
from loadctl.image import SPANS
from loadctl.link import Link
from loadctl.status import StatusReader, status_of
from tests.support import screens, sim_sites
from tests.support.builders import make_bus
from tests.support.scan_rig import MS_ns, S_ns, START_ns, VirtualRig

GUARD_KEYS = {
    "pid",
    "state",
    "cause",
    "since_s",
    "takeovers",
    "restarts",
    "next_restart_s",
    "last_takeover_ms",
    "last_restart_ms",
}


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
    assert (found["site"], found["mode"], found["mode_reason"]) == ("simulated", "run", "")
    assert set(found["guard"]) == GUARD_KEYS
    assert set(found["guard"].values()) == {None}
    scan = found["scan"]
    assert (scan["pid"], scan["period_ms"], scan["scans"], scan["missed"]) == (
        os.getpid(),
        500,
        80,
        0,
    )
    assert rig.plan.give_at_ns / 1e6 <= scan["worst_scan_ms"] <= rig.plan.give_end_ns / 1e6
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
        (reserved_mA + min(rigorous_mA, held_mA)) / 1000
        for reserved_mA, rigorous_mA, held_mA in zip(
            circuit["reserved_mA"],
            circuit["background_rigorous_mA"],
            circuit["background_mA"],
            strict=True,
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
    assert (bay2["is_starved"], bay2["arming"]) == (False, "checks its settings")


def test_status_circuit_says_its_alarm(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 5 * S_ns)
    snapshot = rig.snapshot()
    assert status_at(rig)["circuits"]["main"]["alarm"] is None
    snapshot["circuits"][0] |= {"is_alarmed": 1, "seen_background_mA": [20_000, 22_500, 21_000]}
    main = status_of(rig.tables, snapshot, 0)["circuits"]["main"]
    assert main["alarm"] == "background of 22.5 A seen on L2, declared are 20 A"
    assert main["seen_background_A"] == [20.0, 22.5, 21.0]


def test_status_circuit_says_how_warm_its_fuse_is(tmp_path: Path) -> None:
    fused = sim_sites.metered_site(2, fuse_type="B", fuse_rated_mA=32_000)
    rig = VirtualRig(fused, Scenario(), tmp_path)
    rig.run_for(5 * S_ns)
    main = status_at(rig)["circuits"]["main"]
    assert 70 < main["fuse_percent"][0] < 75  # since the threshold that every start begins at
    assert main["cooling"] is None
    snapshot = rig.snapshot()
    changes = {"is_cooling": [0, 1, 1], "heat_permille": [610, 781, 655], "is_held_back": 0}
    snapshot["circuits"][0] |= changes
    words = "L2 at 78.1 %, L3 at 65.5 % of what trips the fuse: no starts"
    main = status_of(rig.tables, snapshot, 0)["circuits"]["main"]
    assert main["fuse_percent"] == [61.0, 78.1, 65.5]
    assert main["cooling"] == words
    snapshot["circuits"][0]["is_held_back"] = 1
    main = status_of(rig.tables, snapshot, 0)["circuits"]["main"]
    assert main["cooling"] == f"{words}, shares keep to 30.4 A"


def test_status_circuit_without_a_fuse_has_no_heat(tmp_path: Path) -> None:
    main = status_at(rig_at(tmp_path, 5 * S_ns))["circuits"]["main"]
    assert (main["fuse_percent"], main["cooling"]) == (None, None)


def test_warm_fuse_is_an_event_by_phase_and_so_is_its_cooling(tmp_path: Path) -> None:
    fused = sim_sites.metered_site(1, fuse_type="B", fuse_rated_mA=32_000)
    rig = VirtualRig(fused, Scenario(), tmp_path)
    rig.run_for(2 * S_ns)
    for phases in ([(0, 0), (0, 2)], [(0, 2)], []):
        rig.field.core = Cooling(rig.core, phases)  # type: ignore[assignment]
        rig.pass_one()
        rig.pass_one()
    found = [(e["kind"], e["who"], e["first"]) for e in rig.snapshot()["events"]]
    assert [event for event in found if event[0] >= Event.FUSE_WARM] == [
        (Event.FUSE_WARM, 0, 0),
        (Event.FUSE_WARM, 0, 2),
        (Event.FUSE_COOLED, 0, 0),
        (Event.FUSE_COOLED, 0, 2),
    ]
    texts = [event["text"] for event in status_at(rig)["events"]]
    assert "the fuse of main L3 is too warm: less is shared, nothing starts" in texts
    assert "the fuse of main L3 has cooled" in texts


class Cooling:
    """The real core, with these phases as those that have to cool."""

    def __init__(self, core: Any, phases: list[tuple[int, int]]) -> None:
        self.core, self.phases = core, phases

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def cooling(self) -> list[tuple[int, int]]:
        return self.phases


def test_status_meter_says_its_quality_in_a_word(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 5 * S_ns)
    assert status_at(rig)["meters"]["grid"]["quality"] == "good"
    rig.tap.dead.add(1)
    rig.pass_one()
    found = status_at(rig)["meters"]["grid"]
    assert (found["quality"], found["current_A"]) == ("silent", [5.0, 5.0, 5.0])


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (Quality.TRUSTED, "good"),
        (Quality.IMPLAUSIBLE, "implausible"),
        (Quality.FROZEN, "frozen"),
    ],
)
def test_status_meter_that_was_read_is_what_the_law_makes_of_it(
    tmp_path: Path, quality: int, words: str
) -> None:
    rig = rig_at(tmp_path, 5 * S_ns)
    snapshot = rig.snapshot()
    snapshot["meters"][0]["quality"] = quality
    assert status_of(rig.tables, snapshot, 0)["meters"]["grid"]["quality"] == words


@pytest.mark.parametrize(("age_ns", "is_stale"), [(1_500 * MS_ns, False), (1_501 * MS_ns, True)])
def test_status_image_older_than_three_periods_is_stale(
    tmp_path: Path, age_ns: int, is_stale: bool
) -> None:
    found = status_at(rig_at(tmp_path, 5 * S_ns), age_ns)
    assert found["is_stale"] is is_stale
    assert (summary(found)[0] == "STALE: the last scan is 1.5 s old") is is_stale


# the guard


def link_at(
    path: Path, state: State, cause: Cause = Cause.NONE, scan_pid: int | None = None
) -> Any:
    """What a guard with our own pid says, 2 s after its state began."""
    link = Link.create(path / "link", 2, 1)
    scan_pid = os.getpid() if scan_pid is None else scan_pid
    link.state(state, cause, START_ns, START_ns + 7 * S_ns, os.getpid(), scan_pid)
    link.count(3, 2, 80 * MS_ns, 1_250 * MS_ns)
    return link


@pytest.mark.parametrize(
    ("state", "cause", "mode", "reason"),
    [
        (State.WATCHING, Cause.NONE, "run", ""),
        (State.STARTING, Cause.NONE, "start", "the scan starts"),
        (
            State.TAKEOVER,
            Cause.SCAN_LATE,
            "failsafe",
            "the guard takes the buses over: the scan was late",
        ),
        (
            State.HOLDING,
            Cause.SCAN_ENDED,
            "failsafe",
            "the guard holds the buses at failsafe: the scan ended",
        ),
        (
            State.STABLE,
            Cause.SCAN_ENDED,
            "failsafe",
            "the guard holds the buses at failsafe and waits before it starts the scan again:"
            " the scan ended",
        ),
        (State.STOPPING, Cause.STOP, "stop", "stopping: told to stop"),
    ],
)
def test_status_mode_is_that_of_whoever_holds_the_buses(
    tmp_path: Path, state: State, cause: Cause, mode: str, reason: str
) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    link = link_at(tmp_path, state, cause).snapshot()
    found = status_of(rig.tables, rig.snapshot(), START_ns + 2 * S_ns, link)
    assert (found["mode"], found["mode_reason"]) == (mode, reason)
    assert found["guard"] == {
        "pid": os.getpid(),
        "state": state.name.lower(),
        "cause": CAUSE_WORDS[cause],
        "since_s": 2.0,
        "takeovers": 3,
        "restarts": 2,
        "next_restart_s": 5.0,
        "last_takeover_ms": 80.0,
        "last_restart_ms": 1250.0,
    }


def test_status_of_a_scan_that_has_not_published_yet_is_start(tmp_path: Path) -> None:
    """The image is still that of the scan before, which was in RUN."""
    rig = rig_at(tmp_path, 10 * S_ns)
    link = link_at(tmp_path, State.WATCHING, scan_pid=os.getpid() + 1).snapshot()
    found = status_of(rig.tables, rig.snapshot(), START_ns, link)
    assert (found["mode"], found["mode_reason"]) == ("start", "the scan starts")


def test_status_mode_of_the_scan_has_its_reason(tmp_path: Path) -> None:
    found = status_at(rig_at(tmp_path, 2 * S_ns))
    assert (found["mode"], found["mode_reason"]) == ("start", "arming and 4 of 10 good scans")


def test_status_events_of_scan_and_guard_are_in_the_order_of_their_time(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    link = link_at(tmp_path, State.WATCHING)
    armed_ns = rig.events(Event.ARMED)[0]["at_ns"]
    link.event(Happening.SCAN_LATE, -1, 1_500, 0, armed_ns - 1)
    link.event(Happening.REWRITTEN, 1, 9_000, 6_000, armed_ns + 1)
    link.event(Happening.PORT_LOST, 0, 0, 0, rig.clock.now_ns())
    found = status_of(rig.tables, rig.snapshot(), rig.clock.now_ns(), link.snapshot())
    texts = [event["text"] for event in found["events"]]
    assert texts[:2] == ["no completed scan for 1500 ms", "bay1 armed"]
    assert "bay2: held 9000 mA, 6000 mA written again" in texts
    assert texts[-1] == "bus one: port lost"
    assert found["events"][-1]["age_s"] == 0.0


def site_with(tmp_path: Path, rig: VirtualRig) -> runtime.SiteDir:
    found = runtime.SiteDir(tmp_path)
    found.tables.write_text(plain.dump(rig.tables))
    return found


def test_status_reader_follows_the_image_once_its_new_writer_has_published(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    reader = StatusReader(site_with(tmp_path, rig))
    assert reader.read(0)["scan"]["scans"] == 20
    following = VirtualRig(rig.tables, Scenario(), tmp_path)  # a new file, nothing in it yet
    assert reader.read(0)["scan"]["scans"] == 20
    following.pass_one()
    assert reader.read(0)["scan"]["scans"] == 1


def test_status_reader_shows_the_last_scan_while_files_are_missing(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    site_dir = site_with(tmp_path, rig)
    reader = StatusReader(site_dir)
    reader.read(0)
    site_dir.image.unlink()
    site_dir.tables.unlink()
    assert reader.read(0)["scan"]["scans"] == 20


def test_status_reader_takes_the_word_of_a_living_guard_only(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    reader = StatusReader(site_with(tmp_path, rig))
    link = link_at(tmp_path, State.HOLDING)
    assert reader.read(START_ns)["mode"] == "failsafe"
    ended = subprocess.Popen(["true"])
    ended.wait()
    link.state(State.HOLDING, Cause.NONE, 0, 0, ended.pid, 0)
    assert reader.read(START_ns)["mode"] == "run"
    assert reader.read(START_ns)["guard"]["pid"] is None


def test_status_before_the_first_scan_says_what_the_guard_does(tmp_path: Path) -> None:
    link_at(tmp_path, State.STARTING)
    with pytest.raises(NotRunning, match="nothing published yet; the scan starts"):
        StatusReader(runtime.SiteDir(tmp_path)).read(0)


def test_summary_says_is_it_safe_what_binds_and_is_it_punctual(tmp_path: Path) -> None:
    found = status_at(rig_at(tmp_path, 40 * S_ns))
    lines = summary(found)
    most_A = found["circuits"]["main"]["may_carry_A"][2]
    assert lines[0] == f"safe: main L3 carries at most {most_A:g} A of 32 A"
    assert lines[1].startswith(("nothing binds", "binds: main L"))
    assert lines[2].startswith("timing: 80 scans of 500 ms, 0 missed, worst ")


def test_summary_of_a_settled_site_on_two_buses_is_safe_in_every_scan(tmp_path: Path) -> None:
    """Its meter and the status blocks on the other bus are read side by side, so that in each scan
    one charger has no sample after the meter's value."""
    tables = sim_sites.metered_site(4)
    tables = replace(
        tables,
        buses=(make_bus("one", port="a"), make_bus("two", port="b")),
        chargers=tuple(replace(row, bus=1) for row in tables.chargers),
    )
    load = Load("constant", (18_000,) * 3)
    visits = tuple(Visit(f"bay{i}", 0) for i in (1, 2))
    rig = VirtualRig(tables, Scenario(loads={"main": load}, visits=visits), tmp_path)
    rig.run_for(60 * S_ns)
    assert rig.setpoints_mA() == [7_000, 7_000, 0, 0]  # full, by the meter: 18 + 2 x 7 = 32 A
    for _ in range(16):
        rig.pass_one()
        found = status_at(rig)
        assert summary(found)[0] == "safe: main L3 carries at most 32 A of 32 A"
        assert found["circuits"]["main"]["may_carry_A"] == [32.0] * 3


def test_status_shows_percentiles_of_every_span_since_the_scan_was_started(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 60 * S_ns)
    spans = status_at(rig)["scan"]["spans_ms"]
    assert list(spans) == list(SPANS)
    assert {tuple(span) for span in spans.values()} == {("p50", "p99", "p999", "max")}
    rig.clock.stalls[rig.pacer.grid_at_ns] = 60_000_000
    rig.run_for(S_ns)
    found = status_at(rig)["scan"]
    assert spans["wake"] == {"p50": 0.0, "p99": 0.0, "p999": 0.0, "max": 0.0}
    # One of 122 wake-ups is within the last hundredth and beyond the last thousandth.
    usual_ms = 0.001024  # the end of the first bin
    wake = {"p50": usual_ms, "p99": usual_ms, "p999": 60.0, "max": 60.0}
    assert found["spans_ms"]["wake"] == wake
    assert found["wake_us"]["max"] == 60_000


def test_status_page_lists_every_span_with_its_percentiles(tmp_path: Path) -> None:
    status = status_at(rig_at(tmp_path, 4 * S_ns))
    status["scan"]["spans_ms"]["whole"] = {"p50": 300, "p99": 310.5, "p999": 320, "max": 321.1234}
    lines = screens.plain(details(status, 100))
    at = next(i for i, line in enumerate(lines) if line.startswith(" time of, ms"))
    assert lines[at].split()[-4:] == ["p50", "p99", "p99.9", "worst"]
    assert [line.split()[0] for line in lines[at + 1 :]] == list(SPANS)
    assert lines[-1].split() == ["whole", "300.000", "310.500", "320.000", "321.123"]


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
        StatusReader(found).read(0)
    os.close(fd)


def test_status_shows_what_the_guard_wrote_while_it_holds_the_buses(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    link = link_at(tmp_path, State.HOLDING)
    link.tell(1, 4_500)
    names = [row.name for row in rig.tables.chargers]
    before = status_of(rig.tables, rig.snapshot(), START_ns)["chargers"]
    held = status_of(rig.tables, rig.snapshot(), START_ns, link.snapshot())["chargers"]
    assert held[names[1]]["setpoint_A"] == 4.5
    assert held[names[0]]["setpoint_A"] == before[names[0]]["setpoint_A"]
    assert held[names[0]]["reason"] == "held at failsafe by the guard"
    link.state(State.WATCHING, Cause.NONE, START_ns, 0, os.getpid(), 0)
    watched = status_of(rig.tables, rig.snapshot(), START_ns, link.snapshot())["chargers"]
    assert watched == before


def test_status_of_a_scan_that_measures_no_more_calls_nothing_safe(tmp_path: Path) -> None:
    rig = rig_at(tmp_path, 10 * S_ns)
    now_ns = START_ns + 30 * S_ns
    alone = status_of(rig.tables, rig.snapshot(), now_ns)
    assert summary(alone)[1].startswith("not measured for ")
    assert {meter["quality"] for meter in alone["meters"].values()} == {"not read any more"}
    assert min(meter["age_ms"] for meter in alone["meters"].values()) > 15_000
    held = status_of(
        rig.tables, rig.snapshot(), now_ns, link_at(tmp_path, State.HOLDING).snapshot()
    )
    assert summary(held)[1].endswith("the guard keeps what the proof of check has covered")
