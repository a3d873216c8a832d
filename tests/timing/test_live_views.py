"""Views on a real terminal, and a demo that fails and recovers by a script of keys."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.watched_site import WatchedSite

pytestmark = pytest.mark.timing

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
LOADCTL = [sys.executable, "-P", "-m", "loadctl"]
WITHIN_s = 15.0
FAILSAFE_mA = 6_000


class Terminal:
    """A command on a terminal of its own; `drawn` is every byte that it wrote."""

    def __init__(self, *arguments: str) -> None:
        self.outer, self.inner = pty.openpty()
        fcntl.ioctl(self.inner, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\x00\x00\x00\x00")  # 24 x 80
        self.before = termios.tcgetattr(self.inner)
        self.drawn = b""
        inner = self.inner
        self.process = subprocess.Popen(
            [*LOADCTL, *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env=ENV,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(inner, termios.TIOCSCTTY, 0),
        )
        os.set_blocking(self.outer, False)

    def until(self, words: bytes) -> None:
        self._read_until(lambda: words in self.drawn)

    def ended(self) -> int:
        self._read_until(lambda: self.process.poll() is not None)
        self._read()
        return int(self.process.returncode)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.inner) == self.before

    def _read_until(self, is_so: Any) -> None:
        end_s = time.monotonic() + WITHIN_s
        while not is_so():
            assert time.monotonic() < end_s, self.drawn[-2000:].decode(errors="replace")
            self._read()
            time.sleep(0.02)

    def _read(self) -> None:
        try:
            while data := os.read(self.outer, 65536):
                self.drawn += data
        except (BlockingIOError, OSError):
            return

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.outer)
        os.close(self.inner)


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Terminal]:
    site = WatchedSite(tmp_path)
    terminal = Terminal("top", "--runtime-dir", str(tmp_path))
    try:
        terminal.until(b"q quit")
        yield terminal
    finally:
        terminal.close()
        site.end()


def test_top_on_a_terminal_draws_on_its_own_screen_and_takes_single_keys(top: Terminal) -> None:
    assert b"\x1b[?1049h" in top.drawn
    mode = termios.tcgetattr(top.inner)
    assert not mode[3] & (termios.ICANON | termios.ECHO)
    os.write(top.outer, b"\x1b[Axq")
    assert top.ended() == 0
    assert top.is_as_before()
    assert b"\x1b[?1049l" in top.drawn
    assert b"\x1b[2J" not in top.drawn.split(b"\x1b[?1049h")[1].split(b"q quit")[1]  # no flicker


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_top_ended_by_a_signal_leaves_the_terminal_as_it_was(top: Terminal, number: int) -> None:
    top.process.send_signal(number)
    assert top.ended() == 0
    assert top.is_as_before()
    assert top.drawn.rindex(b"\x1b[?1049l") > top.drawn.rindex(b"q quit")
    assert b"Traceback" not in top.drawn


def test_top_takes_ctrl_c_and_no_key_that_would_leave_the_terminal_as_it_is(top: Terminal) -> None:
    os.write(top.outer, b"\x1a\x1c")  # ctrl-z, ctrl-\\
    time.sleep(0.5)
    assert top.process.poll() is None
    os.write(top.outer, b"\x03")
    assert top.ended() == 0
    assert top.is_as_before()


def play(folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [*LOADCTL, "demo", "--dir", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**ENV, **env}, stdin=subprocess.DEVNULL
    )


def test_demo_by_script_falls_to_failsafe_and_runs_again_and_hears_a_mute_meter(
    tmp_path: Path,
) -> None:
    done = play(tmp_path, "--json", "--script", "26s k, 36s m, 41s m, 45s q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["faults"], found["raises_without_room"]) == ([], 0)
    assert found["keys"] == {"k": 1, "m": 2}
    assert (found["takeovers"], found["restarts"]) == (1, 1)
    killed, muted, unmuted = found["acts"]
    modes = [words for words, _ in killed["seen"] if words in ("FAILSAFE", "START", "RUN")]
    assert modes[-1] == "RUN"
    assert "FAILSAFE" in modes
    assert dict(killed["seen"])["RUN"] < 15
    assert muted["seen"][0][0] == "grid silent"
    assert unmuted["seen"][0][0] == "grid good"
    # The wire itself: every charger was told its failsafe current within the bound that was said.
    within_s = float(killed["expect"].split("within ")[1].split(" s;")[0])
    written = [
        json.loads(line)
        for line in (tmp_path / "sim" / "written-garage.jsonl").read_text().splitlines()
    ]
    for name in ("bay1", "bay2", "bay3", "bay4", "bay5", "visitor"):
        after = [w for w in written if w["charger"] == name and w["at_ns"] > killed["at_ns"]]
        assert after[0]["setpoint_mA"] <= FAILSAFE_mA
        assert (after[0]["at_ns"] - killed["at_ns"]) / 1e9 <= within_s
    assert max(w["setpoint_mA"] for w in written if w["at_ns"] < killed["at_ns"]) > FAILSAFE_mA


def test_demo_where_the_terminal_knows_only_ascii_is_no_traceback(tmp_path: Path) -> None:
    done = play(tmp_path, "--for", "1s", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert " circuit      = building # chargers" in done.stdout
    assert "setpoints written" in done.stdout


def test_status_on_an_ascii_terminal_shows_a_mark_for_what_it_lacks(tmp_path: Path) -> None:
    site = WatchedSite(tmp_path, "Müller")
    done = subprocess.run(
        [*LOADCTL, "status", "--runtime-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**ENV, "PYTHONIOENCODING": "ascii"},
    )
    site.end()
    assert (done.returncode, done.stderr) == (0, "")
    assert " RUN   M?ller" in done.stdout
