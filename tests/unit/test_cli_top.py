"""`loadctl top`: what it says of a site that runs, stops, hangs and comes back while it watches."""

import io
import os
import pty
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.text import Text

from loadctl import runtime
from loadctl.cli import live
from loadctl.cli.columns import ASCII_GLYPHS, Glyphs
from loadctl.cli.keyboard import Keyboard, keys_of
from loadctl.cli.main import cli
from loadctl.cli.top import Watch
from loadctl.errors import NotRunning
from loadctl.runtime import SiteDir
from tests.support.scan_rig import S_ns
from tests.support.screens import plain
from tests.support.watched_site import WatchedSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WatchedSite]:
    found = WatchedSite(tmp_path)
    yield found
    found.end()


def top(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["top", "--runtime-dir", str(folder), *arguments])


def test_top_without_a_site_ends_with_code_five_and_one_line(tmp_path: Path) -> None:
    done = top(tmp_path)
    assert isinstance(done.exception, NotRunning)
    assert (done.exception.exit_code, str(done.exception)) == (5, f"no site runs under {tmp_path}")
    assert done.output == ""


def test_top_of_a_site_that_has_ended_points_to_status(site: WatchedSite) -> None:
    site.end()
    done = top(site.folder, "--site", "rig")
    assert isinstance(done.exception, NotRunning)
    assert str(done.exception) == "rig: not running; see `loadctl status`"


def test_view_without_a_terminal_prints_each_frame_once_and_at_once() -> None:
    file = io.StringIO()
    with live.View(Console(file=file), prints_all=True) as view:
        view.show([Text("one"), Text("more")])
        assert file.getvalue() == "one\nmore\n"
        view.show([Text("two")])
    assert file.getvalue() == "one\nmore\n\ntwo\n"


def test_view_without_a_terminal_else_prints_the_last_frame() -> None:
    file = io.StringIO()
    with live.View(Console(file=file)) as view:
        view.show([Text("one")])
        view.show([Text("two")])
        assert file.getvalue() == ""
    assert file.getvalue() == "two\n"


def test_top_into_a_pipe_prints_its_screen(site: WatchedSite) -> None:
    done = top(site.folder, "--for", "0.1s")
    assert (done.exit_code, done.exception) == (0, None)
    assert done.output.startswith(" RUN   rig")
    assert " bay1 " in done.output
    assert "q quit" not in done.output


def test_watch_of_a_site_that_ends_says_so_and_goes_on(site: WatchedSite) -> None:
    watch = Watch(site.site_dir)
    now_ns = site.publish()
    assert watch.look(now_ns)["is_running"] is True
    site.end()
    assert watch.look(now_ns + S_ns)["is_running"] is True  # the image is fresh
    later_ns = time.monotonic_ns() + 3 * S_ns
    found = watch.look(later_ns)
    assert (found["is_running"], found["is_stale"], found["mode"]) == (False, True, "not running")
    assert found["age_ms"] > 2900


def test_watch_of_a_site_whose_files_vanish_keeps_the_last_status(
    site: WatchedSite,
) -> None:
    watch = Watch(site.site_dir)
    now_ns = site.publish()
    watch.look(now_ns)
    site.end()
    site.start()  # another start removes what the earlier one left
    found = watch.look(now_ns + 2 * S_ns)
    assert found["is_running"] is True
    assert (found["is_stale"], found["age_ms"]) == (True, pytest.approx(2000, abs=1))


def test_watch_of_a_site_that_has_published_nothing_yet_is_one_line(tmp_path: Path) -> None:
    site_dir, fd = runtime.claim(tmp_path, "rig")
    view = live.View(Console(file=io.StringIO()))
    lines = plain(Watch(site_dir).lines(time.monotonic_ns(), view, ()))
    assert lines == [" rig: nothing published yet"]
    os.close(fd)


def test_watch_asks_for_the_lock_only_when_the_image_is_old_and_once_a_second(
    site: WatchedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SiteDir] = []
    monkeypatch.setattr(SiteDir, "is_locked", lambda self: asked.append(self) or True)
    watch = Watch(site.site_dir)
    now_ns = site.publish()
    for quarter in range(6):  # 1.5 s: three periods, not yet stale
        watch.look(now_ns + quarter * S_ns // 4)
    assert asked == []
    for quarter in range(8, 16):
        watch.look(now_ns + quarter * S_ns // 4)
    assert len(asked) == 2


# the terminal


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"Km", ["k", "m"]),
        (b"\x1b[A\x1b[B\x1bOA", ["up", "down", "up"]),
        (b"\x1b[5~\x1b[6~j", ["pageup", "pagedown", "j"]),
        (b"\x1b[H\x1b[4~", ["home", "end"]),
        (b"\x1b[1;5Ck", ["k"]),
        (b"\x1bOPs", ["s"]),
        (b"\x1b", []),
        (b" \r\n\t", []),
        (b"\xff\xfe", []),
    ],
)
def test_keys_are_letters_and_cursor_keys_by_name(data: bytes, keys: list[str]) -> None:
    assert keys_of(data) == keys


def test_keyboard_without_a_terminal_has_no_keys_and_is_no_error() -> None:
    with Keyboard(io.StringIO("q")) as keyboard:
        assert not keyboard.has_keys
        assert keyboard.pressed(0) == []
    with open(os.devnull) as nothing, Keyboard(nothing) as keyboard:
        assert not keyboard.has_keys


@pytest.mark.parametrize(("encoding", "glyphs"), [("utf-8", Glyphs()), ("ascii", ASCII_GLYPHS)])
def test_glyphs_are_those_that_the_terminal_can_show(
    encoding: str, glyphs: Glyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert live.glyphs_for(console) == glyphs


@pytest.mark.parametrize(("baud", "n_bytes"), [(300, 64), (9_600, 192), (115_200, 2_304)])
def test_frame_is_what_a_line_carries_between_two_frames(baud: int, n_bytes: int) -> None:
    assert live.frame_bytes(baud) == n_bytes


def test_pseudo_terminal_has_no_speed_and_neither_has_what_is_none() -> None:
    outer, inner = pty.openpty()
    assert live.line_baud(inner) is None
    os.close(outer)
    os.close(inner)
    with open(os.devnull) as nothing:
        assert live.line_baud(nothing.fileno()) is None


@pytest.mark.parametrize(
    ("kind", "glyphs"),
    [
        ("xterm", Glyphs()),
        ("vt220", ASCII_GLYPHS),
        ("linux", Glyphs(ramp=ASCII_GLYPHS.ramp)),
    ],
)
def test_glyphs_are_those_of_the_kind_of_terminal(
    kind: str, glyphs: Glyphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", kind)
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert live.glyphs_for(console) == glyphs
