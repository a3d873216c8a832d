"""Views on a real terminal, and a demo that fails and recovers by a script of keys."""

import json
import os
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import ENV, LOADCTL, Terminal
from tests.support.watched_site import WatchedSite

pytestmark = pytest.mark.timing

FAILSAFE_mA = 6_000


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


def test_top_into_a_pipe_shows_each_frame_at_once_and_ends_with_its_reader(tmp_path: Path) -> None:
    site = WatchedSite(tmp_path)
    command = [*LOADCTL, "top", "--runtime-dir", str(tmp_path)]
    top = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    try:
        assert top.stdout is not None
        assert top.stdout.readline().startswith(b" RUN   rig")
        assert top.poll() is None
        top.stdout.close()
        _, said = top.communicate(timeout=10)
        assert (top.returncode, said) == (1, b"")
    finally:
        top.kill()
        top.wait()
        site.end()


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
