"""The screen of a site, drawn from a made status at given sizes: the words that matter, exactly."""

from typing import Any

import pytest
from rich.text import Text

from loadctl.cli.columns import ASCII_GLYPHS, Glyphs
from loadctl.cli.rows import bar, state_of
from loadctl.cli.view import acts_lines, screen
from tests.support import screens
from tests.support.screens import plain

SIZES = [(20, 6), (40, 12), (60, 14), (80, 24), (80, 30), (120, 40), (200, 60)]


def drawn(status: dict[str, Any], width: int = 80, height: int = 24, **more: Any) -> list[str]:
    return plain(screen(status, width, height, **more))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("n_chargers", [1, 6, 60])
def test_screen_at_any_size_never_wraps_and_never_runs_over(
    width: int, height: int, n_chargers: int
) -> None:
    found = screens.status(n_chargers, site="A garage with quite a long name of its own")
    lines = drawn(found, width, height, footer=[Text("q quit")])
    assert len(lines) <= height
    assert [line for line in lines if Text(line).cell_len > width] == []
    assert [line for line in lines if "\n" in line] == []
    assert lines[-1] == "q quit"


@pytest.mark.parametrize("height", range(4, 26))
@pytest.mark.parametrize("n_chargers", [1, 2, 6])
@pytest.mark.parametrize("n_circuits", [1, 2, 5])
def test_heading_stands_above_a_row_or_not_at_all(
    height: int, n_chargers: int, n_circuits: int
) -> None:
    found = screens.status(n_chargers)
    circuits = {f"c{i}": screens.circuit() for i in range(n_circuits)}
    lines = drawn({**found, "circuits": circuits}, 40, height, footer=[Text("q quit")])
    for i, line in enumerate(lines):
        first = line.split()[:1]
        if first == ["circuit"]:
            assert lines[i + 1].startswith(" c")
        if first == ["charger"]:
            assert lines[i + 1].startswith(" bay")


def test_screen_of_40_by_10_shows_circuits_instead_of_their_heading() -> None:
    lines = drawn(screens.status(6), 40, 10, footer=[Text("q quit")])
    assert [line for line in lines if line.startswith(" circuit")] == []
    assert [line for line in lines if "circuits, the fullest at" in line] != []


def test_screen_of_80_by_24_says_safe_binds_acts_first_and_shows_everything() -> None:
    lines = drawn(screens.status())
    assert lines[0].startswith(" RUN   Demo garage ")
    assert lines[0].endswith(" 0.3 s old")
    assert lines[1].startswith(" safe: garage L")
    assert lines[2].startswith(" binds: garage L1 (6 chargers)")
    assert lines[3] == " acts: the scan (pid 701); the guard (pid 700) watches"
    assert " ".join(lines[4].split()) == "circuit ▒ building (peak held) █ chargers at most A limit"
    assert lines[5].startswith(" main     L1  ▒▒▒")
    assert lines[5].endswith("  41.7     63")
    assert lines[8].startswith(" garage   L1  ███")
    assert lines[11] == " meter grid  27.2 / 34.0 / 42.6 A  good"
    assert lines[12] == " bus garage  open, 36 % busy"
    assert lines[14].split() == ["bay1", "charging", "8.0", "7.5", "garage", "L1", "full"]
    assert lines[-2] == "     3 s ago  meter grid gives no value"


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (84, "charger state set A draw A may draw why"),
        (80, "charger state set A draw A why"),
        (47, "charger state set A draw A why"),
        (46, "charger state set A draw A"),
        (28, "charger set A draw A"),
        (20, "charger set A"),
    ],
)
def test_charger_columns_in_a_narrow_terminal_go_by_importance(width: int, columns: str) -> None:
    heads = [line for line in drawn(screens.status(), width) if line.startswith(" charger")]
    assert heads[0].split() == columns.split()


def test_circuit_bar_goes_before_the_numbers() -> None:
    lines = drawn(screens.status(), 30)
    assert lines[4].split() == ["circuit", "at", "most", "A", "limit"]
    assert lines[5].split() == ["main", "L1", "41.7", "63"]


def test_chargers_that_do_not_fit_are_counted_and_those_in_trouble_are_shown() -> None:
    found = screens.status(40)
    found["chargers"]["bay33"] = screens.charger(is_silent=True, state=None, draw_A=None)
    for i in range(34, 41):
        found["chargers"][f"bay{i}"] = screens.charger(state="A")
    lines = drawn(found)
    (rest,) = [line for line in lines if line.startswith(" and ")]
    shown = [line for line in lines if line.startswith(" bay")]
    assert shown[-1].split()[:2] == ["bay33", "silent"]
    n_left = 40 - len(shown)
    assert rest == f" and {n_left} more: {n_left - 7} charging, 7 no car"


def test_circuits_in_a_low_terminal_show_their_fullest_phase() -> None:
    found = screens.status()
    found["circuits"] = {f"c{i}": screens.circuit() for i in range(6)}
    found["circuits"]["c4"]["granted_A"] = [1.0, 2.0, 39.0]
    lines = drawn(found)
    rows = [line.split() for line in lines if line.startswith(" c")]
    assert rows[0][0] == "circuit"
    assert [rows[5][0], rows[5][1], *rows[5][-2:]] == ["c4", "L3", "24.0", "40"]
    found["circuits"] |= {f"d{i}": screens.circuit() for i in range(10)}
    lines = drawn(found)
    assert [line for line in lines if line.startswith(" c4")]
    (rest,) = [line for line in lines if "more circuits" in line]
    assert rest.endswith("the fullest at 60 %")


def test_screen_gives_no_line_to_a_part_that_cannot_use_it() -> None:
    assert len(drawn(screens.status(), 80, 18)) == 18
    assert len(drawn(screens.status(), 80, 23)) == 23


def test_screen_with_room_has_air_and_the_timing() -> None:
    lines = drawn(screens.status(), 120, 40)
    assert lines.count("") == 5
    assert lines[-1].startswith(" timing: 74 scans of 500 ms, 0 missed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pid": None}, " acts: the scan (pid 701); no guard watches it"),
        (
            {"state": "takeover", "cause": "the scan ended"},
            " acts: the guard (pid 700), the scan ended\n"
            "       it writes min(last, failsafe) to every charger",
        ),
        (
            {"state": "holding", "cause": "the scan was late", "since_s": 3.2},
            " acts: the guard (pid 700), the scan was late\n"
            "       it holds every charger at min(last, failsafe), 3.2 s",
        ),
        (
            {"state": "stable", "cause": "the scan ended", "since_s": 8.0, "next_restart_s": 51.6},
            " acts: the guard (pid 700), the scan ended\n"
            "       it holds every charger at min(last, failsafe), 8.0 s; restart in 52 s",
        ),
    ],
)
def test_acts_lines_say_who_holds_the_buses(changes: dict[str, Any], words: str) -> None:
    lines = plain(acts_lines(screens.status(guard=screens.guard(**changes))))
    assert "\n".join(lines) == words


@pytest.mark.parametrize("is_stale", [False, True])
@pytest.mark.parametrize("state", ["watching", "takeover", "holding", "stable"])
def test_screen_keeps_its_shape_whoever_acts(state: str, is_stale: bool) -> None:
    guard = screens.guard(state=state, cause="the scan ended")
    lines = drawn(screens.status(guard=guard, is_stale=is_stale, age_ms=2000.0))
    assert lines[4].startswith(" circuit")
    if is_stale:
        assert lines[1] == " STALE: the last scan is 2.0 s old"


def test_screen_of_a_site_that_is_gone_says_that_nobody_acts() -> None:
    found = screens.status(mode="not running", is_running=False, is_stale=True, age_ms=4200.0)
    lines = drawn(found)
    assert lines[0].startswith(" NOT RUNNING   Demo garage")
    assert lines[1] == " STALE: the last scan is 4.2 s old"
    assert " acts: nobody; each charger falls to its own fallback" in lines


def test_headline_gives_the_reason_of_the_mode() -> None:
    found = screens.status(mode="failsafe", mode_reason="3 overruns")
    assert drawn(found)[0].startswith(" FAILSAFE   Demo garage  3 overruns ")
    found["mode_reason"] = "because of everything that " * 5
    line = drawn(found)[0]
    assert line.startswith(" FAILSAFE   Demo garage  because of everything ")
    assert line.endswith("…  0.3 s old")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "A"}, "no car"),
        ({"state": "B"}, "plugged"),
        ({"state": "C"}, "charging"),
        ({"state": "F"}, "fault"),
        ({"state": None}, "-"),
        ({"is_armed": False}, "not armed"),
        ({"is_armed": False, "is_silent": True}, "silent"),
        ({"is_silent": True, "is_starved": True}, "starved"),
    ],
)
def test_charger_state_says_trouble_before_what_the_car_does(
    changes: dict[str, Any], words: str
) -> None:
    assert state_of(screens.charger(**changes))[0] == words


def test_devices_that_are_not_well_come_first_where_room_is_short() -> None:
    found = screens.status(12)
    found["meters"] = {f"m{i}": screens.meter() for i in range(8)}
    found["meters"]["m6"] = screens.meter(quality="frozen")
    found["buses"]["far"] = screens.bus(is_open=False)
    lines = drawn(found, 80, 26)
    named = [line for line in lines if line.startswith((" meter", " bus", " and"))]
    assert named[:2] == [
        " meter m6  27.2 / 34.0 / 42.6 A  frozen",
        " bus far  port lost",
    ]
    assert named[-1] == f" and {10 - len(named) + 1} more meters and buses, all well"
    assert " 10 meters and buses, 2 of them not well" in drawn(found, 80, 12)


def test_meter_without_any_value_says_why() -> None:
    found = screens.status()
    found["meters"]["grid"] = screens.meter(current_A=None, age_ms=None, quality="silent")
    assert [line for line in drawn(found) if line.startswith(" meter grid  silent")]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_alarm_of_a_circuit_stands_before_everything_else(width: int) -> None:
    found = screens.status()
    words = "background of 30 A seen on L1, 4 A above the declared"
    found["circuits"]["main"]["alarm"] = words
    lines = drawn(found, width)
    assert lines[1].startswith(" ALARM main: background of 30 A")
    assert (lines[1] == f" ALARM main: {words}") is (width >= 80)
    assert len(lines) == 24 or width == 120


def test_fuse_that_has_to_cool_is_named_below_alarms() -> None:
    found = screens.status()
    assert [line for line in drawn(found) if "WARM" in line] == []
    words = "L2 at 78.1 % of what trips the fuse: no starts, shares keep to 30 A"
    found["circuits"]["main"] |= {"cooling": words, "alarm": "background"}
    assert drawn(found)[1:3] == [" ALARM main: background", f" WARM main {words}"]


def test_bus_with_silent_chargers_counts_them() -> None:
    found = screens.status(buses={"garage": screens.bus(silent_chargers=2)})
    assert " bus garage  open, 36 % busy, 2 silent" in drawn(found)


@pytest.mark.parametrize(
    ("background_A", "granted_A", "most_A", "cells", "style"),
    [
        (10, 20, 30, "▒▒████··", "green"),
        (10, 28, 38, "▒▒██████", "yellow"),
        (40, 20, 35, "▒▒▒▒████", "yellow"),  # the building's peak has passed: full, not over
        (10, 20, 41, "▒▒████··", "red"),
        (10, 60, 70, "████████", "red"),
        (-10, 20, 10, "████····", "green"),
    ],
)
def test_bar_is_building_then_chargers_and_red_where_too_much_could_flow(
    background_A: float, granted_A: float, most_A: float, cells: str, style: str
) -> None:
    found = screens.circuit(
        background_A=background_A, granted_A=[granted_A] * 3, may_carry_A=[most_A] * 3
    )
    drawn_bar = bar(found, 1, 8, Glyphs())
    assert drawn_bar.plain == cells
    spans = [str(span.style) for span in drawn_bar.spans]
    assert style in spans
    assert ("red" in spans) is (style == "red")
    assert bar(found, 1, 8, ASCII_GLYPHS).plain == cells.translate(str.maketrans("▒█·", "=#."))


def test_bar_of_a_phase_without_supply_says_so() -> None:
    assert bar(screens.circuit(limit_A=0.0), 0, 12, Glyphs()).plain == "0 A allowed "


def test_screen_in_ascii_has_no_other_character() -> None:
    for line in drawn(screens.status(site="x" * 200), glyphs=ASCII_GLYPHS):
        line.encode("ascii")
