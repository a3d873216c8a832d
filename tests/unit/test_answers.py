"""`loadctl status` as a person reads it: the answers, the page at several widths, one charger."""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from loadctl.answers import answers, names_text, nearest_name
from loadctl.cli.main import cli
from loadctl.cli.show import show_prose
from loadctl.cli.view import details
from loadctl.errors import NotRunning, UsageError
from tests.support import screens
from tests.support.watched_site import WatchedSite

# What machines were promised; keys are added, never taken away.
CHARGER_KEYS = {
    "setpoint_A", "draw_A", "state", "reason", "binding", "reserve_A", "is_armed", "arming",
    "is_silent", "is_starved", "reboots", "unanswered", "reads",
    "circuit", "phases", "min_A", "max_A", "failsafe_A", "priority", "rule", "binding_circuit",
    "binding_kind", "reason_for_s", "place", "turn_in_s", "waits_s", "setpoint_since_s", "cap_A",
    "unused_phases",
}  # fmt: skip
CIRCUIT_KEYS = {
    "limit_A", "own_limit_A", "background_A", "headroom_A", "granted_A", "may_carry_A",
    "seen_background_A", "alarm", "fuse_percent", "cooling", "external",
    "parent", "meter", "is_dynamic", "margin_A", "limit_kW", "charger_limit_kW", "unbalance_A",
    "background_from", "load_A", "load_is_measured", "peak_hold_s",
}  # fmt: skip
TOP_KEYS = {
    "site", "site_hash", "mode", "mode_reason", "age_ms", "is_stale", "is_running", "scan",
    "guard", "chargers", "circuits", "meters", "buses", "real_time", "events",
}  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WatchedSite]:
    found = WatchedSite(tmp_path)
    yield found
    found.end()


def status(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["status", "--runtime-dir", str(folder), *arguments])


def test_json_has_every_key_that_was_promised(site: WatchedSite) -> None:
    found = json.loads(status(site.folder, "--json").output)
    assert set(found) >= TOP_KEYS
    assert set(found["chargers"]["bay1"]) >= CHARGER_KEYS
    assert set(found["circuits"]["main"]) >= CIRCUIT_KEYS


def test_status_of_one_charger_is_sentences_and_as_json_an_object(site: WatchedSite) -> None:
    done = status(site.folder, "bay2")
    assert done.exit_code == 0
    assert done.output.startswith("bay2 (main, L1 L2 L3) may draw 0 A")
    assert "Why: failsafe current, nothing is raised now." in done.output
    found = json.loads(status(site.folder, "bay2", "--json").output)
    assert (found["name"], found["kind"], found["rule"]) == ("bay2", "charger", "controller_mode")
    assert found["why"][0].startswith("bay2 (main")
    found = json.loads(status(site.folder, "main", "--json").output)
    assert (found["kind"], found["limit_A"]) == ("circuit", [32.0] * 3)


@pytest.mark.parametrize(("typo", "meant"), [("bay22", "bay2"), ("Bay1", "bay1"), ("mian", "main")])
def test_typo_is_answered_with_the_nearest_name(site: WatchedSite, typo: str, meant: str) -> None:
    done = status(site.folder, typo)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).endswith(f"no charger or circuit '{typo}'; the nearest is {meant}")


def test_name_that_is_like_none_is_answered_with_all(site: WatchedSite) -> None:
    done = status(site.folder, "xyzzy")
    assert str(done.exception).endswith("; there are bay1, bay2, main")


def test_status_of_one_charger_of_a_site_that_ended_says_so_with_code_five(
    site: WatchedSite,
) -> None:
    site.end()
    done = status(site.folder, "bay1", "--site", "rig")
    assert isinstance(done.exception, NotRunning)
    assert "nobody has looked since" in done.output


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_page_into_a_pipe_has_prose_and_heading_within_80_columns(
    site: WatchedSite, columns: int
) -> None:
    env = {"COLUMNS": str(columns), "PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-P", "-m", "loadctl", "status", "--runtime-dir", str(site.folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    lines = done.stdout.splitlines()
    heading = next(i for i, line in enumerate(lines) if line.startswith(" RUN "))
    assert max(len(line) for line in lines[: heading + 1]) <= 80
    # Refusals of real-time settings are long: they go on below, and none is cut.
    assert " ".join(" ".join(lines[:heading]).split()).count("timing:") == 1


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_prose_is_wrapped_between_words_and_never_between_number_and_unit(columns: int) -> None:
    line = "limited: bay1 8.5 A, bay2 16 A: main L2 full; turn in 20 min, 42 kW, 100 %, " * 3
    console = Console(
        file=io.StringIO(), width=columns, force_terminal=True, highlight=False, no_color=True
    )
    show_prose(console, [line])
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(len(part) for part in lines) <= min(columns, 80)
    assert [part for part in lines[1:] if not part.startswith("  ")] == []
    assert " ".join(" ".join(lines).split()) == line.strip()
    assert [part for part in lines if part.strip().startswith(("A", "min", "kW", "%"))] == []


@pytest.mark.parametrize("width", [40, 60, 80])
def test_details_keep_to_the_width_of_a_terminal(width: int) -> None:
    for line in details(screens.status(9), width):
        assert line.cell_len <= width


def test_answers_are_in_the_order_in_which_they_are_asked() -> None:
    found = screens.status(3)
    found["chargers"]["bay2"] |= {
        "setpoint_A": 0.0, "rule": "waits_for_place", "place": 1, "turn_in_s": 480.0,
        "waits_s": 720.0, "binding": "", "binding_circuit": None,
    }  # fmt: skip
    found["chargers"]["bay3"] |= {"rule": "takes_less", "reason": "car takes less", "binding": ""}
    assert answers(found) == [
        "safe: garage L3 carries at most 24 A of 40 A",
        "binds: garage L1, 40 A: building 0 A, chargers 24 A; holds back bay1",
        "waits: bay2 for 12 min, place 1, turn in about 8 min",
        "limited: bay1 8 A: garage L1 full",
        "limited: bay3 8 A: car takes less",
        "timing: 74 scans of 500 ms, 0 missed, worst 451.4 ms, woken 75 us late at most",
    ]


def test_answers_when_nothing_is_wrong_say_so() -> None:
    found = screens.status(1)
    found["chargers"]["bay1"] |= {"rule": "own_maximum", "binding": "", "binding_circuit": None}
    assert answers(found)[1:4] == [
        "nothing binds: no limit holds a charger back",
        "waits: nobody",
        "limited: nobody",
    ]


def test_alarms_come_right_after_the_safety() -> None:
    found = screens.status(2, is_stale=True)
    found["circuits"]["main"] |= {"alarm": "background of 30 A seen", "cooling": "L1 at 78 %"}
    found["chargers"]["bay2"]["is_silent"] = True
    found["meters"]["grid"]["quality"] = "frozen"
    found["buses"]["garage"]["is_open"] = False
    assert answers(found)[:7] == [
        "STALE: the last scan is 0.3 s old",
        "not measured for 0 s: nobody knows what flows",
        "ALARM main: background of 30 A seen",
        "WARM main: L1 at 78 %",
        "no answer: bay2; counted at what they may draw unasked",
        "meter grid: frozen",
        "bus garage: port lost",
    ]


def test_those_who_wait_are_in_the_order_of_their_turns() -> None:
    found = screens.status(3)
    found["chargers"]["bay1"] |= {"place": None, "waits_s": 900.0, "rule": "no_room_for_minimum"}
    found["chargers"]["bay2"] |= {"place": 2, "waits_s": 10.0, "turn_in_s": 2000.0}
    found["chargers"]["bay3"] |= {"place": 1, "waits_s": 20.0, "turn_in_s": 200.0}
    waits = [line.split()[1] for line in answers(found) if line.startswith("waits")]
    assert waits == ["bay3", "bay2", "bay1"]


def test_many_names_are_counted() -> None:
    assert names_text(["a", "b", "c", "d", "e"]) == "a, b, c, d, e"
    assert names_text(["a", "b", "c", "d", "e", "f"]) == "a, b, c, d and 2 more"


@pytest.mark.parametrize(("word", "meant"), [("bey1", "bay1"), ("GARAGE", "garage"), ("q", None)])
def test_nearest_name(word: str, meant: str | None) -> None:
    assert nearest_name(word, ["bay1", "garage"]) == meant
