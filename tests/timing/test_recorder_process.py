"""The recorder as a process: killed under load, stopped, on a full disk, before its site."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hw.sim.scenario import Scenario
from loadctl.errors import NotRunning
from loadctl.image import MAX_EVENTS
from loadctl.journal.notes import Note, Source
from loadctl.journal.place import Place
from loadctl.journal.reading import Asked, JournalFile, Span
from loadctl.runtime import LOCK
from tests.support.journal_site import FakeSite
from tests.support.running_site import ENV, LOADCTL, running_site, site_text

pytestmark = pytest.mark.timing

WITHIN_s = 30
NUMBERS_PER_s = 60
RING = MAX_EVENTS


class Recorder:
    """A process of `loadctl recorder`."""

    def __init__(self, runtime_dir: Path, state_dir: Path, *options: str) -> None:
        self.err = state_dir.parent / f"recorder-{time.monotonic_ns()}"
        command = [*LOADCTL, "recorder", "--runtime-dir", str(runtime_dir)]
        command += ["--state-dir", str(state_dir), *options]
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(command, env=ENV, stderr=err)

    def said(self) -> str:
        return self.err.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_s)


@contextmanager
def recorder(site: FakeSite, *options: str) -> Iterator[Recorder]:
    found = Recorder(site.runtime_dir, site.state_dir, "--flush-s", "0.5", *options)
    try:
        yield found
    finally:
        found.kill()


class Load:
    """A scan that tells numbered events and publishes, in a thread of this process; never more
    events than the ring holds beside those that `may_tell` knows to be stored."""

    def __init__(self, site: FakeSite) -> None:
        self.site = site
        self.n_most = RING
        self._must_stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._must_stop.wait(1 / NUMBERS_PER_s):
            self.site.now_ns = time.monotonic_ns()
            if self.site.n_told < self.n_most:
                self.site.number()
            self.site.charger(0, "C", 6_000 + self.site.n_told % 10_000, 5_900)
            self.site.publish()

    def may_tell(self, found: list[int]) -> None:
        self.n_most = len(found) + RING

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._must_stop.set()
        self._thread.join()


def until(is_so: Callable[[], bool], words: Callable[[], str] = lambda: "") -> None:
    end_s = time.monotonic() + WITHIN_s
    while not is_so():
        assert time.monotonic() < end_s, words()
        time.sleep(0.05)


def stored(site: FakeSite) -> list[int]:
    """Nothing as long as there is no journal, or only the beginning of one."""
    try:
        return site.numbers() if site.place.journal.exists() else []
    except NotRunning:
        return []


@pytest.fixture
def site(tmp_path: Path) -> FakeSite:
    found = FakeSite(tmp_path)
    found.now_ns = time.monotonic_ns()
    found.start()
    return found


@pytest.mark.parametrize(
    "n_kills", [15, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1_800)])]
)
def test_recorder_killed_under_load_loses_nothing_that_the_ring_holds_and_nothing_is_twice(
    site: FakeSite, n_kills: int
) -> None:
    chance = random.Random(n_kills)
    with Load(site) as load:
        for _ in range(n_kills):
            one = Recorder(site.runtime_dir, site.state_dir, "--flush-s", "0.2")
            until(lambda one=one: "records to" in one.said())
            time.sleep(0.8 * chance.random())
            one.kill()
            load.may_tell(stored(site))
        with recorder(site) as last:
            until(lambda: stored(site) == list(range(site.n_told)), last.said)
            first = site.n_told
            load.n_most = 10**9
            until(lambda: stored(site)[-1] > first + NUMBERS_PER_s, last.said)
            assert last.stop() == 0
    found = site.numbers()
    missed = sum(row.first for row in site.notes(Note.EVENTS_MISSED))
    assert len(set(found)) == len(found)
    assert found == sorted(found)
    assert len(found) + missed == found[-1] + 1
    assert missed == 0
    assert len(site.notes(Note.RECORDER_KILLED)) > n_kills / 4
    assert list(site.place.path.glob("*damaged*")) == []
    journal = site.reading()
    seconds = [row.utc_ms // 1_000 for row in journal.history("second", Span())]
    journal.close()
    assert len(set(seconds)) == len(seconds) > n_kills / 4


def test_recorder_power_cut_at_any_instant_leaves_a_journal_that_opens(
    site: FakeSite, tmp_path: Path
) -> None:
    """The process stands still while its files are copied: what a disk holds that writes in
    order. Then the memory that goes with them is gone, and the end of the log may be torn."""
    chance = random.Random(1)
    with Load(site), recorder(site) as one:
        until(lambda: len(stored(site)) > 20, one.said)
        for turn in range(25):
            time.sleep(chance.random() / 4)
            before = stored(site)
            one.process.send_signal(signal.SIGSTOP)
            copy = copied(site, tmp_path / f"cut{turn}")
            one.process.send_signal(signal.SIGCONT)
            wal = copy.place.path / "journal.sqlite-wal"
            is_torn = turn % 2 and wal.exists() and wal.stat().st_size
            if is_torn:
                os.truncate(wal, chance.randrange(wal.stat().st_size))
            found = stored(copy)
            assert found == list(range(len(found)))
            if not is_torn:
                assert len(found) >= len(before)
            copy.now_ns = time.monotonic_ns()
            copy.journal().drain(copy.now_ns)
            assert copy.numbers()[: len(found)] == found
            assert list(copy.place.path.glob("*damaged*")) == []
            if found:
                assert "ended without a last flush" in copy.said[0]


def copied(site: FakeSite, directory: Path) -> FakeSite:
    copy = FakeSite(directory, site.tables)
    for name in ("journal.sqlite", "journal.sqlite-wal"):
        if (site.place.path / name).exists():
            shutil.copy(site.place.path / name, copy.place.path / name)
    return copy


def test_recorder_on_a_full_disk_says_so_once_and_catches_up_when_there_is_room(
    site: FakeSite,
) -> None:
    """Files that may not grow stand in for the disk: the writes of the process fail."""
    site.number()
    site.publish()
    with recorder(site) as one:
        until(lambda: stored(site) == [0], one.said)
        size = site.place.journal.with_name("journal.sqlite-wal").stat().st_size
        pid = one.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        while "tried again every 10 s" not in one.said():
            site.now_ns = time.monotonic_ns()
            site.number()
            site.publish()
            time.sleep(0.1)
        assert one.process.poll() is None
        lines = [line for line in one.said().splitlines() if "tried again every 10 s" in line]
        assert len(lines) == 1
        assert "journal.sqlite: " in lines[0]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        until(lambda: "written again" in one.said(), one.said)
        until(lambda: stored(site) == list(range(site.n_told)), one.said)
    assert len(site.notes(Note.NOT_STORED)) == 1
    assert site.notes(Note.EVENTS_MISSED) == []


def test_recorder_waits_for_its_site_follows_its_restarts_and_ends_on_sigterm(
    tmp_path: Path,
) -> None:
    site = FakeSite(tmp_path)
    (site.site_dir.path / LOCK).unlink()
    with recorder(site) as one:
        until(lambda: "no site runs under" in one.said(), one.said)
        assert "waits for it" in one.said()
        (site.site_dir.path / LOCK).touch()
        site.now_ns = time.monotonic_ns()
        site.start()
        for turn in range(3):
            site.number()
            site.publish()
            until(lambda turn=turn: stored(site) == list(range(turn + 1)), one.said)
            site.start()
        assert one.stop() == 0
    assert not site.place.journal.with_name("journal.sqlite-wal").exists()
    assert [row.kind for row in site.rows()][-1] == Note.RECORDER_STOPPED


def test_recorder_told_to_stop_while_it_waits_ends_at_once(tmp_path: Path) -> None:
    site = FakeSite(tmp_path)
    (site.site_dir.path / LOCK).unlink()
    with recorder(site) as one:
        until(lambda: "waits for it" in one.said(), one.said)
        assert one.stop() == 0


def test_recorder_whose_state_directory_cannot_be_written_says_so_and_ends(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    command = [*LOADCTL, "recorder", "--runtime-dir", str(tmp_path)]
    command += ["--state-dir", str(tmp_path / "file" / "state")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV, timeout=WITHIN_s)
    assert done.returncode == 2
    expected = f"state directory {tmp_path / 'file' / 'state'}: Not a directory; choose one with"
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_recorder_beside_another_one_is_refused(site: FakeSite) -> None:
    with recorder(site) as one:
        until(lambda: site.place.journal.exists(), one.said)
        with recorder(site) as other:
            assert other.process.wait(WITHIN_s) == 2
            assert "another recorder writes here" in other.said()


def test_recorder_of_a_real_site_has_its_scan_its_guard_and_its_history(tmp_path: Path) -> None:
    """The scan is killed meanwhile; what it said before, and what the next says, is there."""
    text = site_text(tmp_path / "sim" / "bus-one")
    with running_site(tmp_path, text, Scenario(1)) as running:
        one = Recorder(running.runtime_dir, tmp_path / "state", "--flush-s", "0.5")
        found = running.until(lambda status: status["mode"] == "run")
        os.kill(found["scan"]["pid"], signal.SIGKILL)
        running.until(
            lambda status: status["mode"] == "run" and status["scan"]["pid"] != found["scan"]["pid"]
        )
        time.sleep(3)
        assert one.stop() == 0, one.said()
    journal = JournalFile(Place(tmp_path / "state" / "rig").journal)
    rows = [row for _, row in journal.events(Asked())]
    texts = [row.text for row in rows]
    assert texts.count("scan started") == 2
    assert texts.count("mode start -> run") == 2
    assert "the scan ended with signal 9" in texts
    assert {row.source for row in rows} == {*Source}
    keys = [(row.source, row.teller, row.n) for row in rows if row.source != Source.RECORDER]
    assert len(set(keys)) == len(keys)
    seconds = list(journal.history("second", Span()))
    assert len(seconds) >= 3
    journal.close()


def test_recorder_process_loads_neither_pydantic_nor_rich() -> None:
    """It runs beside the site on a small gateway, for years."""
    code = "import sys, loadctl.cli.recorder; print(*(m for m in sys.modules if '.' not in m))"
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV)
    assert {"pydantic", "rich", "tomlkit", "pyarrow"} & set(done.stdout.split()) == set()
