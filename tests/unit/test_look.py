"""What top shows besides the moment: history as small bars, scrolling, other orders."""

from typing import Any

import pytest
from rich.text import Text

from loadctl.answers import waits_line
from loadctl.cli.columns import ASCII_GLYPHS, Glyphs
from loadctl.cli.history import N_COLUMNS, COLUMN_ns, History, part_of, spark
from loadctl.cli.look import Look
from loadctl.cli.view import screen
from tests.support import screens
from tests.support.screens import plain

NOW_ns = 1_000 * COLUMN_ns


def noted(*loads_A: float | None) -> History:
    """One column each, the last now; None: nothing fresh was seen."""
    history = History()
    for i, load_A in enumerate(loads_A):
        found = screens.status(1, is_stale=load_A is None)
        found["circuits"]["main"]["load_A"] = [load_A or 0.0] * 3
        found["chargers"]["bay1"] |= {"draw_A": [1.0, load_A or 0.0, 2.0], "max_A": 16.0}
        history.note(found, NOW_ns + (i - len(loads_A) + 1) * COLUMN_ns)
    return history


def test_history_is_the_part_of_the_limit_with_gaps_where_nothing_was_seen() -> None:
    history = noted(6.3, None, 63.0)
    values = history.values(("circuit", "main", 1), 5, NOW_ns)
    assert values == [None, None, pytest.approx(0.1), None, 1.0]
    charger = history.values(("charger", "bay1", 0), 3, NOW_ns)
    assert charger == [6.3 / 16, None, 63.0 / 16]
    assert history.values(("charger", "gone", 0), 2, NOW_ns) == [None, None]


def test_column_keeps_its_highest_value() -> None:
    history = noted(20.0)
    for load_A in (63.0, 10.0):
        found = screens.status(1)
        found["circuits"]["main"]["load_A"] = [load_A] * 3
        history.note(found, NOW_ns + COLUMN_ns // 2)
    assert history.values(("circuit", "main", 0), 1, NOW_ns) == [1.0]


def test_history_of_an_unmeasured_charger_is_its_setpoint() -> None:
    history = History()
    found = screens.status(1)
    found["chargers"]["bay1"] |= {"draw_A": None, "setpoint_A": 8.0, "max_A": 16.0}
    history.note(found, NOW_ns)
    assert history.values(("charger", "bay1", 0), 1, NOW_ns) == [0.5]


def test_history_is_bounded() -> None:
    history = noted(*[5.0] * (N_COLUMNS + 9))
    assert history.values(("circuit", "main", 0), N_COLUMNS + 1, NOW_ns)[0] is None


@pytest.mark.parametrize(("value_A", "limit_A", "part"), [(5, 0, 2.0), (0, 0, 0.0), (-3, 10, 0.0)])
def test_part_of_a_limit_of_zero_and_of_export(value_A: float, limit_A: float, part: float) -> None:
    assert part_of(value_A, limit_A) == part


def test_spark_is_red_only_above_the_limit() -> None:
    values = [None, 0.0, 0.5, 0.95, 1.0, 1.2]
    line = spark(values, Glyphs(), has_limit=True)
    assert line.plain == " ▁▅███"
    assert [str(span.style) for span in line.spans] == ["yellow", "yellow", "red"]
    assert spark(values, ASCII_GLYPHS, has_limit=False).plain == " _=###"
    assert spark(values, ASCII_GLYPHS, has_limit=False).spans == []


# on the screen


def drawn(found: dict[str, Any], look: Look, width: int = 80, height: int = 24) -> list[str]:
    return plain(screen(found, width, height, None, [Text("foot")], look))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
@pytest.mark.parametrize("height", [6, 12, 24, 40])
def test_screen_with_history_keeps_to_its_size(width: int, height: int) -> None:
    look = Look(noted(20.0, 40.0), NOW_ns)
    for n_chargers in (1, 6, 60):
        lines = drawn(screens.status(n_chargers), look, width, height)
        assert len(lines) <= height
        assert [line for line in lines if Text(line).cell_len > width] == []


def test_history_stands_beside_circuits_and_chargers_at_80_columns() -> None:
    lines = drawn(screens.status(6), Look(noted(31.5, 63.0), NOW_ns))
    head = next(line for line in lines if line.startswith(" circuit"))
    assert head.split()[-1] == "history"
    assert next(line for line in lines if line.startswith(" main")).endswith("▅█")
    heads = next(line for line in lines if line.startswith(" charger")).split()
    assert heads == ["charger", "state", "set", "A", "draw", "A", "drawn", "why"]


def test_history_goes_before_the_reason_and_that_before_the_numbers() -> None:
    look = Look(noted(20.0), NOW_ns)
    at_60 = [line for line in drawn(screens.status(2), look, 60) if line.startswith(" charger")]
    assert at_60[0].split() == ["charger", "state", "set", "A", "draw", "A", "why"]
    at_40 = [line for line in drawn(screens.status(2), look, 40) if line.startswith(" charger")]
    assert at_40[0].split() == ["charger", "state", "set", "A", "draw", "A"]


def shown(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines if line.startswith(" bay")]


def test_scrolling_shows_the_asked_for_chargers_and_stops_at_either_end() -> None:
    found, look = screens.status(40), Look()
    first = shown(drawn(found, look))
    for key in ("down", "down"):
        look.press(key)
    lines = drawn(found, look)
    assert shown(lines)[0] == "bay3"
    n = len(shown(lines))
    assert f" 3 to {n + 2} of 40 chargers" in lines
    look.press("pagedown")
    assert shown(drawn(found, look))[0] == f"bay{n + 2}"
    for _ in range(60):
        look.press("down")
    assert shown(drawn(found, look))[-1] == "bay40"
    look.press("up")
    assert shown(drawn(found, look))[-1] == "bay39"
    look.press("end")
    assert shown(drawn(found, look))[-1] == "bay40"
    for _ in range(60):
        look.press("pageup")
    assert shown(drawn(found, look))[0] == "bay1"
    look.press("home")
    assert shown(drawn(found, look)) == first


def test_scrolling_where_all_fit_moves_nothing() -> None:
    found, look = screens.status(4), Look()
    before = drawn(found, look)
    look.press("down")
    assert drawn(found, look) == before


def test_other_orders() -> None:
    found, look = screens.status(3), Look()
    found["chargers"]["bay2"]["setpoint_A"] = 16.0
    found["chargers"]["bay3"]["waits_s"] = 60.0
    assert shown(drawn(found, look)) == ["bay1", "bay2", "bay3"]
    look.press("sort")
    assert shown(drawn(found, look)) == ["bay2", "bay1", "bay3"]
    look.press("sort")
    assert shown(drawn(found, look)) == ["bay3", "bay1", "bay2"]
    look.press("sort")
    assert look.order == "site file"


def test_keys_that_mean_nothing_are_let_pass() -> None:
    look = Look()
    look.press("x")
    assert (look.offset, look.order) == (None, "site file")


def test_who_waits_stands_beside_what_binds() -> None:
    found = screens.status(2)
    assert waits_line(found) == ""
    waiting = {"place": 1, "waits_s": 60.0, "turn_in_s": 480.0}
    found["chargers"]["bay2"] |= waiting
    lines = drawn(found, Look())
    assert lines[2] == " binds: garage L1 (2 chargers); waits: bay2, turn in about 8 min"
    assert lines[4].startswith(" circuit")
    found["chargers"]["bay1"] |= {**waiting, "place": None}
    assert waits_line(found) == "waits: bay2, turn in about 8 min and 1 more"


def test_ascii_screen_with_history_has_no_other_character() -> None:
    look = Look(noted(20.0, 70.0), NOW_ns)
    for line in plain(screen(screens.status(), 120, 40, ASCII_GLYPHS, (), look)):
        line.encode("ascii")
