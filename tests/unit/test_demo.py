"""The demo's keys, scripts and story: what a press does, what is said of it, what was seen."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from hw.sim.fault import Fault
from loadctl.bound import takeover_bounds
from loadctl.cli import demo
from loadctl.cli.acts import KEYS, Acts, Crashes, Said, busiest, is_child
from loadctl.cli.story import SCRIPT, Story
from loadctl.cli.view import screen
from loadctl.site.load import load_site
from loadctl.units import NS_PER_S
from tests.support import screens
from tests.support.screens import plain

ME = (os.getpid(), os.getppid())  # a process and its parent, as scan and guard


class FakeSim:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def inject(self, fault: Fault) -> None:
        self.told.append(("inject", fault.kind, fault.who))

    def clear(self, who: str, kind: str = "") -> None:
        self.told.append(("clear", kind, who))


class Rig:
    """The demo's own site, with nobody behind it."""

    def __init__(self) -> None:
        site = load_site(Path(demo.__file__).with_name(demo.DEMO_SITE))
        self.sim = FakeSim()
        self.killed: list[tuple[int, int]] = []
        bounds = takeover_bounds(site.tables, site.maps)
        self.bound_s = bounds[0].total_ns / NS_PER_S
        self.acts = Acts(
            self.sim,
            site.tables,
            bounds,
            Crashes(3, 60),
            lambda pid, number: self.killed.append((pid, number)),
        )
        names = [row.name for row in site.tables.chargers]
        chargers = {name: screens.charger() for name in names}
        chargers["visitor"]["setpoint_A"] = 16.0
        chargers["bay4"]["setpoint_A"] = 9.0
        scan = {**screens.status()["scan"], "pid": ME[0]}
        guard = screens.guard(pid=ME[1])
        self.status = screens.status(chargers=chargers, scan=scan, guard=guard)

    def press(self, key: str, at_s: float = 0.0) -> Said:
        said = self.acts.press(key, self.status, int(at_s * NS_PER_S))
        assert said is not None
        return said


def test_killed_scan_is_told_with_its_pid_and_the_times_that_follow() -> None:
    rig = Rig()
    said = rig.press("k")
    assert rig.killed == [(ME[0], signal.SIGKILL)]
    assert said.did == f"killed the scan (SIGKILL, pid {ME[0]})"
    assert said.expect == f"failsafe to all within {rig.bound_s - 1.5:.1f} s; RUN in about 6 s"


def test_hung_scan_is_found_by_its_missed_periods() -> None:
    rig = Rig()
    said = rig.press("s")
    assert rig.killed == [(ME[0], signal.SIGSTOP)]
    assert said.did == f"hung the scan (SIGSTOP, pid {ME[0]}): late after 1.5 s"
    assert said.expect.startswith(f"failsafe to all within {rig.bound_s:.1f} s; ")


def test_third_scan_lost_within_the_window_is_the_crash_loop() -> None:
    rig = Rig()
    expected = [rig.press("k", at_s).expect.split("; ")[1] for at_s in (0, 30, 59, 120)]
    assert expected == [
        "RUN in about 6 s",
        "RUN in about 11 s",
        "3 in 60 s: no RUN for 60 s",
        "RUN in about 6 s",
    ]


def test_scans_lost_further_apart_than_the_window_are_no_loop() -> None:
    rig = Rig()
    for at_s in (0, 40, 80, 120, 160):
        assert "no RUN" not in rig.press("k", at_s).expect


@pytest.mark.parametrize("key", ["k", "s"])
def test_scan_that_is_not_the_guards_own_is_left_alone(key: str) -> None:
    rig = Rig()
    rig.status["guard"]["pid"] = ME[0]  # not the parent of that process
    assert rig.press(key).is_done is False
    rig.status["guard"]["pid"] = ME[1]
    rig.status["guard"]["state"] = "holding"
    assert rig.press(key).is_done is False
    assert rig.killed == []


def test_child_is_known_by_its_parent_only() -> None:
    assert is_child(*ME)
    assert not is_child(ME[0], ME[0])
    assert not is_child(2**22 + 1, ME[0])


@pytest.mark.parametrize(
    ("key", "kind", "who"),
    [
        ("m", "silence", "meter.grid"),
        ("f", "frozen", "meter.grid"),
        ("u", "unplug", "bus.garage"),
        ("b", "ignore", "charger.bay4"),
    ],
)
def test_key_pressed_twice_lets_a_fault_loose_and_ends_it(key: str, kind: str, who: str) -> None:
    rig = Rig()
    rig.press(key)
    assert rig.acts.active_keys == {key}
    rig.press(key)
    assert rig.sim.told == [("inject", kind, who), ("clear", kind, who)]
    assert rig.acts.active_keys == set()


def test_deaf_charger_that_gets_well_is_the_one_that_was_struck() -> None:
    rig = Rig()
    rig.press("b")
    rig.status["chargers"]["bay1"]["setpoint_A"] = 32.0
    rig.press("b")
    assert [who for _, _, who in rig.sim.told] == ["charger.bay4"] * 2


def test_rebooted_charger_is_the_busiest() -> None:
    rig = Rig()
    assert rig.press("r").did == "visitor reboots: silent for 4 s, then its own values"
    assert rig.sim.told == [("inject", "reboot", "charger.visitor")]
    assert busiest(rig.status) == "visitor"


def test_everything_that_is_still_broken_is_mended_at_the_end() -> None:
    rig = Rig()
    rig.press("m")
    rig.press("u")
    rig.acts.clear()
    assert rig.sim.told[2:] == [
        ("clear", "silence", "meter.grid"),
        ("clear", "unplug", "bus.garage"),
    ]


def test_key_that_stands_for_nothing_does_nothing() -> None:
    rig = Rig()
    assert rig.acts.press("x", rig.status, 0) is None
    assert rig.acts.press("q", rig.status, 0) is None


@pytest.mark.parametrize("key", [key.key for key in KEYS if key.key != "q"])
def test_every_expectation_fits_a_line_of_80(key: str) -> None:
    rig = Rig()
    for _ in range(3):
        said = rig.press(key)
        assert len(f"   expect  {said.expect}") <= 80
        assert len(f"   0 s ago  {said.did}") <= 80


# the script


def test_script_is_key_presses_in_the_order_of_their_times() -> None:
    found = SCRIPT.convert("15s m, 5s k,0.5min q", None, None)
    assert found == ((5 * NS_PER_S, "k"), (15 * NS_PER_S, "m"), (30 * NS_PER_S, "q"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("5s x", "'x' is no key; there are k s m f u b r q"),
        ("5s", "'5s' is no step; write for example 5s k"),
        ("", "'' is no step; write for example 5s k"),
        ("5s k, ", "'' is no step; write for example 5s k"),
        ("soon k", "'soon' is no duration; write for example 20s, 10min, 2h or 3d"),
    ],
)
def test_script_that_cannot_be_meant_is_refused(script: str, words: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        SCRIPT.convert(script, None, None)
    assert caught.value.message == words


# the story


def lines(story: Story, at_s: float, width: int = 80) -> list[str]:
    return plain(story.lines(width, int(at_s * NS_PER_S), set()))


def test_story_before_any_key_shows_the_keys() -> None:
    shown = lines(Story(), 0)
    assert shown[0] == " k kill  s hang  m mute  f freeze  u unplug  b deaf  r reboot  q quit"
    assert shown[1] == " press a key: watch the site fall and recover"
    assert len(shown) == 4
    assert lines(Story(), 0, 120)[0].startswith(" k kill scan   s hang scan   m mute meter ")


def test_story_tells_what_was_done_expected_and_seen_with_its_times() -> None:
    story = Story()
    before = screens.guard(takeovers=1, last_takeover_ms=99.0)
    story.look(screens.status(guard=before), 0)
    story.begin("k", Said("killed the scan", "failsafe"), 10 * NS_PER_S)
    assert lines(story, 10)[3] == "     seen  nothing yet"
    taking = screens.guard(state="takeover", takeovers=2, last_takeover_ms=99.0)
    story.look(screens.status(mode="failsafe", guard=taking), 10_200_000_000)
    holding = screens.guard(state="holding", takeovers=2, last_takeover_ms=163.5)
    story.look(screens.status(mode="failsafe", guard=holding), 10_500_000_000)
    running = screens.guard(takeovers=2, last_takeover_ms=163.5)
    story.look(screens.status(mode="start", guard=running), 11_000_000_000)
    story.look(screens.status(guard=running), 15_300_000_000)
    assert lines(story, 16)[1:] == [
        "   6 s ago  killed the scan",
        "   expect  failsafe",
        "     seen  FAILSAFE +0.2 s, all told in 0.16 s +0.5 s, START +1.0 s, RUN +5.3 s",
    ]


def test_story_in_a_narrow_terminal_keeps_what_was_seen_last() -> None:
    story = Story()
    story.look(screens.status(), 0)
    story.begin("k", Said("killed", "failsafe"), 0)
    for second, mode in enumerate(("failsafe", "start", "run", "failsafe", "start", "run")):
        story.look(screens.status(mode=mode), second * NS_PER_S)
    assert lines(story, 6, 40)[3] == "     seen  START +4.0 s, RUN +5.0 s"


def test_story_tells_of_many_silent_chargers_once() -> None:
    story = Story()
    found = screens.status()
    story.look(found, 0)
    story.begin("u", Said("unplugged", "silence"), 0)
    silent = {name: screens.charger(is_silent=True) for name in found["chargers"]}
    lost = {"garage": screens.bus(is_open=False)}
    meters = {"grid": screens.meter(quality="silent")}
    story.look({**found, "chargers": silent, "buses": lost, "meters": meters}, NS_PER_S)
    back = {**silent, "bay1": screens.charger()}
    story.look({**found, "chargers": back}, 2 * NS_PER_S)
    story.look(found, 3 * NS_PER_S)
    assert [words for words, _ in story.acts[0].seen] == [
        "grid silent",
        "garage port lost",
        "6 silent",
        "grid good",
        "garage port open",
        "none silent",
    ]


def test_key_without_an_effect_is_remarked_upon_and_keeps_the_story() -> None:
    story = Story()
    story.look(screens.status(), 0)
    story.begin("k", Said("killed", "failsafe"), 0)
    story.begin("k", Said("there is no scan", "wait", False), NS_PER_S)
    assert lines(story, 2)[:2] == [" k: there is no scan; wait", "   2 s ago  killed"]
    assert lines(story, 5)[0].startswith(" k kill ")
    assert len(story.acts) == 1


# the command


def test_demo_with_a_bad_script_is_a_usage_error() -> None:
    command = [sys.executable, "-P", "-m", "loadctl", "demo", "--script", "5s x"]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert done.returncode == 2
    assert "'x' is no key" in done.stderr


def test_demo_summary_counts_what_happened() -> None:
    words = demo.summary(
        {
            "scans": 79,
            "missed": 0,
            "worst_scan_ms": 472.2,
            "setpoints_written": 94,
            "raises": 11,
            "takes": 12,
            "raises_without_room": 0,
            "takeovers": 1,
            "restarts": 1,
            "last_takeover_ms": 163.5,
            "worst_circuit": {
                "circuit": "main",
                "phase": "L2",
                "load_A": 55.0,
                "limit_A": 63.0,
                "above_limit_s": 0.0,
            },
        }
    )
    assert words.splitlines() == [
        "79 scans, 0 missed, worst 472.2 ms",
        "94 setpoints written: 11 raises, 12 takes; raises without room: 0",
        "takeovers by the guard: 1; the last told every charger in 0.16 s",
        "fullest: main L2 with 55 A of 63 A, 0 s above the limit",
    ]


def test_screen_of_the_demo_keeps_to_24_lines_with_its_story() -> None:
    story = Story()
    rig = Rig()
    story.look(rig.status, 0)
    story.begin("k", rig.press("k"), 0)
    shown = plain(screen(rig.status, 80, 24, footer=story.lines(80, NS_PER_S, set())))
    assert len(shown) == 24
    assert len([line for line in shown if line.startswith("          L3  ")]) == 2  # every phase
    assert shown[-3].endswith(f"killed the scan (SIGKILL, pid {ME[0]})")
