"""The bytes that change a screen: they come to the right picture, are few, and never too many."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from hw.sim.scenario import Scenario, demo_scenario
from loadctl.cli.look import Look
from loadctl.cli.paint import Painter, cells_of, sgr
from loadctl.cli.view import screen
from loadctl.status import Status, status_of
from tests.support import screens, sim_sites
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig
from tests.support.vt import Screen

STYLES = ["", "bold", "dim", "red", "bold red", "yellow", "bold green reverse", "blue"]
FRAMES_PER_s = 4
# What a console of 9600 baud carries is 960 bytes a second.
STEADY_BYTES_PER_s = 300
FRAME_BYTES_AT_9600 = 192

spans = st.tuples(st.text("ab▒█ 車é\u0301", max_size=12), st.sampled_from(STYLES))
lines = st.lists(spans, max_size=4).map(lambda parts: Text.assemble(*parts))
screens_of_lines = st.lists(st.lists(lines, max_size=5), min_size=1, max_size=5)


def wanted(frame: list[Text], width: int, height: int) -> list[list[tuple[str, str]]]:
    rows = [cells_of(line, width, has_colour=True) for line in frame[:height]]
    return rows + [[(" ", "")] * width] * (height - len(rows))


@given(screens_of_lines, st.integers(3, 20))
@settings(max_examples=100, deadline=None)
def test_frames_come_to_the_picture_that_was_wanted(frames: list[list[Text]], width: int) -> None:
    painter, seen = Painter(width, 4), Screen(width, 4)
    for frame in frames:
        seen.feed(painter.frame(frame))
        assert seen.cells == wanted(frame, width, 4)
        assert seen.pen == ""
        assert painter.frame(frame) == b""


@given(screens_of_lines, st.integers(3, 20), st.integers(64, 120))
@settings(max_examples=100, deadline=None)
def test_frames_of_bounded_length_come_to_the_same_picture_in_the_end(
    frames: list[list[Text]], width: int, most_bytes: int
) -> None:
    painter, seen = Painter(width, 4, most_bytes=most_bytes), Screen(width, 4)
    for frame in frames:
        part = painter.frame(frame)
        assert len(part) <= most_bytes
        seen.feed(part)
    for _ in range(60):
        if not painter.is_behind:
            break
        seen.feed(painter.frame(frames[-1]))
    assert seen.cells == wanted(frames[-1], width, 4)


def test_slow_line_is_shared_by_all_rows_though_the_first_ones_change_all_the_time() -> None:
    painter, seen = Painter(40, 10, most_bytes=64), Screen(40, 10)
    for i in range(40):
        busy = [Text(f"{i % 10}" * 40) for _ in range(9)]
        seen.feed(painter.frame([*busy, Text("the last row")]))
    assert seen.lines()[-1] == "the last row"


def test_one_changed_cell_costs_a_move_and_a_character() -> None:
    painter = Painter(80, 24)
    painter.frame([Text("load 31.4 A", "bold")])
    assert painter.frame([Text("load 31.5 A", "bold")]) == b"\x1b[1;9H\x1b[0;1m5\x1b[m"
    assert painter.frame([Text("load")]) == b"\x1b[1;1Hload\x1b[K"


def test_sync_wraps_only_what_changes() -> None:
    painter = Painter(80, 24, syncs=True)
    first = painter.frame([Text("x")])
    assert (first[:8], first[-8:]) == (b"\x1b[?2026h", b"\x1b[?2026l")
    assert painter.frame([Text("x")]) == b""


def test_without_colour_what_is_red_is_bold() -> None:
    assert sgr(["bold", "red"], True) == "1;31"
    assert sgr(["green", "red"], True) == "31"
    assert sgr(["red"], False) == "1"
    assert sgr(["yellow"], False) == ""
    assert sgr(["dim", "blue"], False) == "2"


def test_encoding_that_lacks_a_character_gets_a_mark() -> None:
    assert b"?" in Painter(10, 1, encoding="ascii").frame([Text("é")])


# a whole screen


def moments(folder: Path, span_s: int) -> list[Status]:
    """A garage of eight in which cars come and go, four times a second."""
    tables = sim_sites.metered_site(8)
    rig = VirtualRig(tables, demo_scenario(tables), folder)
    found = []
    while len(found) < span_s * FRAMES_PER_s:
        rig.pass_one()
        snapshot = rig.snapshot()
        for part in range(2):
            now_ns = snapshot["scan"]["published_at_ns"] + part * 250 * MS_ns
            found.append(status_of(tables, snapshot, now_ns))
    return found


@pytest.fixture(scope="module")
def statuses(tmp_path_factory: pytest.TempPathFactory) -> list[Status]:
    return moments(tmp_path_factory.mktemp("moments"), 60)


def frames(statuses: list[Status], painter: Painter, seen: Screen) -> list[int]:
    look, sizes = Look(), []
    for i, status in enumerate(statuses):
        look.now_ns = i * S_ns // FRAMES_PER_s
        look.history.note(status, look.now_ns)
        lines = screen(status, painter.width, painter.height, None, [Text(" q quit")], look)
        data = painter.frame(lines)
        seen.feed(data)
        sizes.append(len(data))
    return sizes


def test_steady_state_takes_a_third_of_a_console_of_9600_baud(statuses: list[Status]) -> None:
    sizes = frames(statuses, Painter(80, 24), Screen(80, 24))
    steady = sizes[10 * FRAMES_PER_s :]
    assert 4 * sum(steady) / len(steady) < STEADY_BYTES_PER_s
    assert sizes[0] < 3_000


def test_no_frame_is_longer_than_a_slow_line_carries(statuses: list[Status]) -> None:
    painter, seen = Painter(80, 24, most_bytes=FRAME_BYTES_AT_9600), Screen(80, 24)
    sizes = frames(statuses, painter, seen)
    assert max(sizes) <= FRAME_BYTES_AT_9600
    assert seen.lines()[-1] == " q quit"
    assert not painter.is_behind


@pytest.mark.parametrize("site", [sim_sites.metered_site(1)])
def test_screen_of_a_scan_without_cars_is_still(site: Any, tmp_path: Path) -> None:
    """Only its age and the seconds since events change."""
    rig = VirtualRig(site, Scenario(), tmp_path)
    rig.run_for(30 * S_ns)
    found = [status_of(site, rig.snapshot(), rig.clock.now_ns())]
    for _ in range(8):
        rig.pass_one()
        found.append(status_of(site, rig.snapshot(), rig.clock.now_ns()))
    sizes = frames(found, Painter(80, 24), Screen(80, 24))
    assert max(sizes[1:]) < 200


def test_every_style_of_a_screen_is_one_that_is_painted() -> None:
    """A word that the painter does not know would vanish."""
    found = screens.status(3, is_stale=True)
    found["circuits"]["main"] |= {"alarm": "too much", "cooling": "L1"}
    found["chargers"]["bay1"]["is_silent"] = True
    for line in screen(found, 80, 24, look=Look()):
        for style in (line.style, *(span.style for span in line.spans)):
            assert len(sgr(str(style).split(), True).split(";")) == len(str(style).split()) or (
                not str(style)
            )
