"""A scan as a child: what it inherits, how its end is known."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import textwrap
from pathlib import Path

import pytest

from loadctl.guard.child import Child, spawn
from loadctl.units import NS_PER_S

LONG_ns = 20 * NS_PER_S
WORDS = "import json, os, sys"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`child_of_test` stands in for the scan; a test writes what it does."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "child_of_test.py"


def started(module: Path, text: str, port_fds: list[tuple[int, int]], kept: list[int]) -> Child:
    module.write_text(textwrap.dedent(text))
    out = str(module.with_name("said"))
    return spawn(["child_of_test", out], 4, port_fds, kept)


def test_child_exit_code_and_signal_are_told_apart(module: Path) -> None:
    child = started(module, "raise SystemExit(7)", [], [])
    assert child.wait_ended(LONG_ns) is True
    assert (child.exit_code, child.reap()) == (7, 7)
    child.send(signal.SIGKILL)  # reaped: nobody is there to get it
    child.close()
    child = started(module, "import time; time.sleep(60)", [], [])
    assert child.reap() is None
    assert child.wait_ended(0) is False
    child.send(signal.SIGKILL)
    assert child.wait_ended(LONG_ns) is True
    assert child.exit_code == -signal.SIGKILL
    child.close()


def test_child_that_is_stopped_has_not_ended(module: Path) -> None:
    child = started(module, "import time; time.sleep(60)", [], [])
    child.send(signal.SIGSTOP)
    assert child.wait_ended(50_000_000) is False
    child.send(signal.SIGKILL)
    assert child.wait_ended(LONG_ns) is True
    child.close()


def test_child_inherits_ports_channel_and_kept_locks_and_nothing_else(
    module: Path, tmp_path: Path
) -> None:
    fds = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT, 0o600) for name in "abcd"]
    text = f"""
    {WORDS}
    found = dict(argv=sys.argv[2:], fds=sorted(map(int, os.listdir("/proc/self/fd"))),
                 group=os.getpgid(0) == os.getpid(), flags=[sys.flags.safe_path])
    open(sys.argv[1], "w").write(json.dumps(found))
    """
    ports = [(fds[0], fds[0]), (-1, -1), (fds[1], fds[2])]
    child = started(module, text, ports, [fds[3]])
    assert child.wait_ended(LONG_ns) is True
    found = json.loads(module.with_name("said").read_text())
    channel_fd = int(found["argv"][-1])
    assert found["argv"] == [
        "--generation",
        "4",
        "--port-fds",
        f"{fds[0]}:{fds[0]},-1:-1,{fds[1]}:{fds[2]}",
        "--channel-fd",
        str(channel_fd),
    ]
    assert {*fds, channel_fd} - {*found["fds"]} == set()
    child.close()
    without = started(module, text, [], [])
    assert without.wait_ended(LONG_ns) is True
    usual = json.loads(module.with_name("said").read_text())["fds"]
    assert len(found["fds"]) == len(usual) + len(fds)
    assert (found["group"], found["flags"]) == (True, [True])
    flags = [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds]
    assert flags == [fcntl.FD_CLOEXEC] * 4
    for fd in fds:
        os.close(fd)
    without.close()


def test_child_channel_ends_with_the_child(module: Path) -> None:
    child = started(module, "", [], [])
    assert child.wait_ended(LONG_ns) is True
    assert child.channel.receive() == []
    assert child.channel.is_closed is True
    child.close()


def test_child_hears_the_signals_that_the_guard_handles(module: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child = started(module, "import time; time.sleep(60)", [], [])
        child.send(signal.SIGTERM)
        assert child.wait_ended(LONG_ns) is True
        assert child.exit_code == -signal.SIGTERM
        child.close()
    finally:
        signal.signal(signal.SIGTERM, before)
