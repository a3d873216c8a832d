"""`loadctl limit`: what it says of what was taken, and why of what was not, with its exit code."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result

from loadctl import runtime
from loadctl.cli.main import cli
from loadctl.commands import Commands
from loadctl.control import Server
from loadctl.errors import CheckRefused, NotRunning, UsageError
from loadctl.external import External
from loadctl.guardside import ExternalCommand
from loadctl.tables import Tables, dump
from loadctl.tuned import Tuned
from tests.support.builders import make_circuit, make_tables

MAIN = make_circuit("main", 63, takes_external=True, loss_mA=(10_000,) * 3)
HOUSE = make_circuit(
    "house", 63, parent=0, takes_external=True, loss_W=4_200, guaranteed_W=7_560,
    loss_after_ns=60_000_000_000,
)  # fmt: skip
TABLES = make_tables(2, name="home", circuits=[MAIN, HOUSE, make_circuit("shed", parent=0)])


class RunningSite:
    """A site directory that is locked, with a socket that is drained as a scan would."""

    def __init__(self, directory: Path, running: Tables) -> None:
        self.commands: list[tuple[int, ExternalCommand]] = []
        self.site_dir, self.lock_fd = runtime.claim(directory, "home")
        self.site_dir.tables.write_text(dump(TABLES))
        self.server = Server(self.site_dir.control)
        self.inbox = Commands(self.server, running, cast(External, self), cast(Tuned, None))
        self.must_stop = threading.Event()
        self.thread = threading.Thread(target=self._drain)
        self.thread.start()

    def command(self, circuit_i: int, command: ExternalCommand) -> None:
        self.commands.append((circuit_i, command))

    def stop_scan(self) -> None:
        self.must_stop.set()
        self.thread.join()
        self.server.close()

    def close(self) -> None:
        self.stop_scan()
        os.close(self.lock_fd)

    def _drain(self) -> None:
        while not self.must_stop.wait(0.001):
            self.inbox.drain(0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunningSite]:
    found = RunningSite(tmp_path, TABLES)
    yield found
    found.close()


def limit(tmp_path: Path, *words: str) -> Result:
    command = ["limit", *words, "--runtime-dir", str(tmp_path)]
    return CliRunner().invoke(cli, command, catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "command", "text"),
    [
        (
            ["main", "--amps", "10.0009"],
            (0, ExternalCommand((10_000,) * 3, None, None, 0)),
            "accepted: main: 10 A, until the next command",
        ),
        (
            ["main", "--amps", "0", "--for", "2h"],
            (0, ExternalCommand((0, 0, 0), None, 7_200_000_000_000, 0)),
            "accepted: main: 0 A, for 2 h 0 min",
        ),
        (
            ["main", "--amps", "16, 10,80", "--kw", "4.2", "--for", "90"],
            (0, ExternalCommand((16_000, 10_000, 80_000), 4_200, 90_000_000_000, 0)),
            "accepted: main: 16 / 10 / 80 A and 4.2 kW, for 90 s; its own limit of 63 A stays",
        ),
        (
            ["main", "--clear"],
            (0, ExternalCommand(None, None, None, 0)),
            "accepted: main: no limit from outside, until the next command",
        ),
        (
            ["house", "--clear"],
            (1, ExternalCommand(None, None, None, 0)),
            "accepted: house: no limit from outside, while it is repeated within 60 s",
        ),
        (
            ["house", "--kw", "0"],
            (1, ExternalCommand(None, 0, None, 0)),
            "accepted: house: 7.56 kW of chargers, the guaranteed minimum, for 0 kW, while it is"
            " repeated within 60 s",
        ),
        (
            ["house", "--kw", "9"],
            (1, ExternalCommand(None, 9_000, None, 0)),
            "accepted: house: 9 kW of chargers, while it is repeated within 60 s",
        ),
    ],
)
def test_limit_is_taken_and_said_in_words(
    tmp_path: Path,
    site: RunningSite,
    words: list[str],
    command: tuple[int, ExternalCommand],
    text: str,
) -> None:
    result = limit(tmp_path, *words)
    assert (result.exit_code, result.output) == (0, text + "\n")
    assert site.commands == [command]


def test_limit_json_says_what_counts(tmp_path: Path, site: RunningSite) -> None:
    words = ["house", "--kw", "5", "--amps", "20", "--for", "1h", "--site", "home", "--json"]
    assert json.loads(limit(tmp_path, *words).output) == {
        "circuit": "house",
        "accepted": True,
        "limit_A": [20.0, 20.0, 20.0],
        "limit_kW": 5.0,
        "counts_kW": 7.56,
        "for_s": 3600.0,
    }
    assert len(site.commands) == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["main"], "give --amps, --kw or both; or --clear alone, with --for if it ends"),
        (["main", "--clear", "--kw", "0"], "give --amps, --kw or both; or --clear alone"),
        (["man", "--kw", "1"], "there is no circuit 'man'; there are: main, house, shed"),
        (["shed", "--kw", "1"], "circuit 'shed' takes no limits from outside; external = "),
        (["main", "--amps", "-1"], "--amps: -1 A is not within 0 to 10000 A"),
        (["main", "--amps", "0,10000.001,0"], "--amps: 10000.001 A is not within 0 to 10000 A"),
        (["main", "--kw", "-0.001"], "--kw: -0.001 kW is not within 0 to 10000 kW"),
        (["main", "--kw", "10001"], "--kw: 10001 kW is not within 0 to 10000 kW"),
        (["main", "--kw", "1", "--for", "745h"], "--for: 2682000 s is not within 0 to 2678400 s"),
    ],
)
def test_limit_that_breaks_a_bound_is_not_sent(
    tmp_path: Path, site: RunningSite, words: list[str], text: str
) -> None:
    with pytest.raises(UsageError) as refused:
        limit(tmp_path, *words)
    assert str(refused.value).startswith(text)
    assert refused.value.exit_code == 2
    assert site.commands == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--amps", "ten"], "'ten' is no number of amps"),
        (["--amps", "nan"], "'nan' is no number of amps"),
        (["--amps", "1,2"], "'1,2' is neither one number nor three, such as 10 or 10,10,16"),
        (["--kw", "inf"], "'inf' is no number of kilowatts"),
        (["--kw", "1", "--for", "0s"], "'0s' is not above 0 s"),
        (["--kw", "1", "--for", "soon"], "'soon' is no duration"),
    ],
)
def test_limit_word_that_is_no_number_is_refused(
    tmp_path: Path, site: RunningSite, words: list[str], text: str
) -> None:
    result = limit(tmp_path, "main", *words)
    assert result.exit_code == 2
    assert text in result.output
    assert site.commands == []


def test_limit_for_a_site_that_runs_another_file_by_now_is_refused(tmp_path: Path) -> None:
    other = make_tables(2, name="home", circuits=[MAIN])
    object.__setattr__(other, "site_hash", "feedfeedfeedfeed")
    site = RunningSite(tmp_path, other)
    with pytest.raises(CheckRefused, match="started anew meanwhile") as refused:
        limit(tmp_path, "main", "--kw", "0")
    assert refused.value.exit_code == 1
    assert site.commands == []
    site.close()


def test_limit_where_nothing_runs_exits_5(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"^no site runs under"):
        limit(tmp_path, "main", "--kw", "0")
    site = RunningSite(tmp_path, TABLES)
    site.close()
    with pytest.raises(NotRunning, match=r"^home: not running$") as refused:
        limit(tmp_path, "main", "--kw", "0", "--site", "home")
    assert refused.value.exit_code == 5


def test_limit_while_the_guard_alone_holds_the_site_exits_5(tmp_path: Path) -> None:
    site = RunningSite(tmp_path, TABLES)
    site.stop_scan()
    with pytest.raises(NotRunning, match=r"^home: no scan takes commands now$"):
        limit(tmp_path, "main", "--kw", "0")
    os.close(site.lock_fd)
