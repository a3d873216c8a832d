"""What a scan makes of the arguments that its guard gives it."""

import fcntl
import os
from pathlib import Path

import pytest

from loadctl.errors import UsageError
from loadctl.start import arguments, ended, find_guard, port_fds
from tests.support.builders import make_bus, make_tables

TWO = make_tables(n_chargers=1, buses=[make_bus("one"), make_bus("two")])
PATHS = ["--tables", "t", "--runtime-dir", "r"]


def test_start_by_hand_has_no_ports_and_no_guard() -> None:
    args = arguments(PATHS)
    assert port_fds(args.port_fds, TWO) == [(-1, -1), (-1, -1)]
    assert find_guard(args, TWO, [(-1, -1)] * 2) is None


def test_start_inherited_ports_are_not_handed_on() -> None:
    read_fd, write_fd = os.pipe()
    os.set_inheritable(read_fd, True)
    assert port_fds(f"{read_fd}:{write_fd},-1:-1", TWO) == [(read_fd, write_fd), (-1, -1)]
    assert fcntl.fcntl(read_fd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
    os.close(read_fd)
    os.close(write_fd)


@pytest.mark.parametrize(
    ("text", "words"),
    [("-1:-1", "1 ports, 2 buses"), ("5,6", "'5' is not LOCK:DATA"), ("a:b,1:2", "'a:b' is not")],
)
def test_start_ports_that_cannot_be_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        port_fds(text, TWO)


def test_start_with_half_a_guard_is_refused(tmp_path: Path) -> None:
    args = arguments([*PATHS, "--link", str(tmp_path / "link")])
    with pytest.raises(UsageError, match="--link: needs --generation"):
        find_guard(args, TWO, [])


def test_start_scan_without_its_guard_ends_with_a_code_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (ended(""), ended("the guard is gone")) == (0, 1)
    assert capsys.readouterr().err == "the guard is gone: the scan ends\n"
