"""`loadctl top` on terminals that are slow, small, resized, and left for a while."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadctl.cli.live import LEAST_FRAME_BYTES
from loadctl.cli.paint import CLEAR, ENTER
from tests.support.scan_rig import MS_ns
from tests.support.terminal import Shell, Terminal
from tests.support.vt import Screen
from tests.support.watched_site import WatchedSite

pytestmark = pytest.mark.timing

BYTES_PER_s_AT_9600 = 960
LEFT = b"\x1b[?1049l"


@contextmanager
def changing(site: WatchedSite) -> Iterator[None]:
    """Scans go on as long as it is entered, ten a second."""
    is_over = threading.Event()

    def scan() -> None:
        while not is_over.wait(0.1):
            site.rig.run_for(500 * MS_ns)
            site.publish()

    thread = threading.Thread(target=scan)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[WatchedSite]:
    found = WatchedSite(tmp_path)
    yield found
    found.end()


@contextmanager
def watching(
    site: WatchedSite, *options: str, kind: type[Terminal] = Terminal
) -> Iterator[Terminal]:
    terminal = kind("top", "--runtime-dir", str(site.folder), *options)
    try:
        terminal.until(b"q quit")
        yield terminal
    finally:
        terminal.close()


def test_top_never_sends_more_than_a_slow_line_carries(site: WatchedSite) -> None:
    with changing(site), watching(site, "--baud", "9600") as top:
        seconds = [len(top.take_for(1.0)) for _ in range(6)]
        assert max(seconds) <= BYTES_PER_s_AT_9600, seconds
        assert sum(seconds[2:]) / 4 <= BYTES_PER_s_AT_9600 / 2, seconds
        lines = shown(top).lines()
        assert lines[0].startswith(" RUN") or lines[0].startswith(" START")
        assert lines[-1].startswith(" q quit")
        assert [line for line in lines if line.startswith(" bay1 ")]


def test_top_begins_no_faster_than_its_line(site: WatchedSite) -> None:
    terminal = Terminal("top", "--runtime-dir", str(site.folder), "--baud", "1200")
    try:
        terminal.until(ENTER)
        n_frames = 2 * 4 + 2
        assert len(terminal.take_for(2.0)) <= n_frames * LEAST_FRAME_BYTES
    finally:
        terminal.close()


def test_top_draws_anew_when_its_terminal_is_resized(site: WatchedSite) -> None:
    with watching(site) as top:
        top.resize(40, 10)
        top.until(CLEAR)
        top.take_for(0.6)
        seen = Screen(40, 10)
        seen.feed(top.drawn.rpartition(CLEAR)[2])
        assert seen.lines()[-1].startswith(" q quit")
        top.press(b"q")
        assert top.ended() == 0


def test_top_on_a_line_that_does_not_say_its_size_takes_80_by_24(site: WatchedSite) -> None:
    with watching(site) as top:
        top.resize(0, 0)
        assert top.take_for(1.0)
        assert CLEAR not in top.drawn  # it had that size before


def test_top_gives_the_terminal_back_on_ctrl_z_and_draws_anew_after_fg(site: WatchedSite) -> None:
    with watching(site, kind=Shell) as shell:
        assert not shell.is_cooked()
        shell.press(b"\x1a")
        shell.until(b"is stopped")
        assert shell.is_cooked()
        assert shell.drawn.rindex(LEFT) < shell.drawn.rindex(b"is stopped")
        assert shell.take_for(0.7) == b""
        shell.press(b"\n")
        shell.until(ENTER, times=2)
        shell.until(b"q quit", times=2)
        assert not shell.is_cooked()
        shell.press(b"q")
        shell.until(b"is over")
        assert shell.ended() == 0
        assert shell.is_cooked()


def test_top_that_is_stopped_from_elsewhere_draws_anew(site: WatchedSite) -> None:
    with watching(site) as top:
        top.process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)
        top.process.send_signal(signal.SIGCONT)
        top.until(ENTER, times=2)
        top.until(b"q quit", times=2)
        top.press(b"q")
        assert top.ended() == 0


def test_top_takes_cursor_keys_and_orders(site: WatchedSite) -> None:
    with watching(site) as top:
        for keys, words in ((b"s", "most current"), (b"\x1b[B\x1b[6~\x1b[Hs", "longest wait")):
            top.press(keys)
            end_s = time.monotonic() + 10
            while not shown(top).lines()[-1].endswith(words):
                assert time.monotonic() < end_s, shown(top).lines()
                top.take_for(0.1)
        top.press(b"q")
        assert top.ended() == 0


def shown(top: Terminal) -> Screen:
    seen = Screen(80, 24)
    seen.feed(top.drawn.partition(ENTER)[2])
    return seen
