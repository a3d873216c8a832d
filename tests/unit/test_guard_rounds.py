"""The guard's rounds with everything around them faked: what is done, in which order."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadctl.errors import EXIT_BUS, EXIT_GOOD, CoreFault
from loadctl.guard import process
from loadctl.guard.feed import Feed
from loadctl.guard.process import Guard
from loadctl.guard.watch import Terms, Watch
from loadctl.guard.words import Happening, State
from loadctl.link import Link
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.builders import make_tables

BEGIN_ns = 100 * NS_PER_S
PERIOD_ns = 500 * NS_PER_MS


class FakeHolder:
    """A bus that is written, read back and parked at once. It has nothing that touches the port: a
    round that does would wait for the kernel's threads, behind a scan that never waits."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.bus_i = 0
        self.boxes: list[Any] = []
        self.unanswered: list[Any] = []
        self.notes: list[Any] = []
        self.port_lock = threading.Lock()
        self.n_opened, self.fds = 1, (7, 7)
        self.is_alive = self.is_down = self.is_verified = self.is_parked = True
        self.down_at_ns = self.alive_at_ns = BEGIN_ns

    def __getattr__(self, name: str) -> Any:
        if name not in ("take", "hold", "park", "sync", "lose"):
            raise AttributeError(name)
        return lambda: self.log.append(name)


class FakeChannel:
    def __init__(self) -> None:
        self.sent: list[tuple[int, int, int]] = []

    def receive(self) -> list[Any]:
        return []

    def send_port(self, *words: int) -> bool:
        self.sent.append(words)
        return True


class FakeChild:
    def __init__(self) -> None:
        self.pid = 4711
        self.exit_code: int | None = None
        self.dies = True
        self.channel = FakeChannel()
        self.signals: list[int] = []

    def reap(self) -> int | None:
        return self.exit_code

    def send(self, number: int) -> None:
        self.signals.append(number)

    def wait_ended(self, span_ns: int) -> bool:
        self.exit_code = -9 if self.dies else None
        return self.dies

    def close(self) -> None:
        pass


class Rig:
    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.children: list[FakeChild] = []
        monkeypatch.setattr(process, "spawn", self._spawn)
        monkeypatch.setattr(process, "say", lambda line: self.said.append(line))
        self.said: list[str] = []
        self.fails = False
        self.now_ns = BEGIN_ns
        tables = make_tables(n_chargers=2)
        self.link = Link.create(directory / "link", 2, 1)
        self.holder = FakeHolder()
        self.watch = Watch(Terms(PERIOD_ns, 3, NS_PER_S, NS_PER_S), BEGIN_ns)
        holders: Any = [self.holder]
        feed = Feed({}, None)
        self.guard = Guard(
            tables, self.link, holders, self.watch, feed, ["m"], [], lambda: self.now_ns
        )
        self.guard._do(self.watch.begin(BEGIN_ns), BEGIN_ns)

    def _spawn(self, *_: Any) -> FakeChild:
        if self.fails:
            raise OSError(12, "Cannot allocate memory")
        self.children.append(FakeChild())
        return self.children[-1]

    def round(self, after_ns: int = 0) -> None:
        self.now_ns += after_ns
        self.guard.round(self.now_ns)

    def kinds(self) -> list[int]:
        return [event["kind"] for event in self.link.snapshot()["events"]]


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tmp_path, monkeypatch)


def test_rounds_scan_that_is_ready_gets_the_token_and_a_clean_slate_of_the_starved(
    rig: Rig,
) -> None:
    rig.link.set_starved(1, True)
    rig.round()
    assert rig.link.is_starved(1) is True
    rig.link.ready(1)
    rig.round()
    assert (rig.link.token(), rig.link.is_starved(1)) == (1, False)
    assert rig.link.guard_beat() == 2


def test_rounds_frames_are_kept_up_to_date_at_each_heartbeat_and_only_then(rig: Rig) -> None:
    rig.link.ready(1)
    for _ in range(4):
        rig.round()
    rig.link.beat()
    for _ in range(4):
        rig.round()
    assert rig.holder.log == ["sync", "sync"]


def test_rounds_late_scan_loses_the_token_is_killed_and_the_buses_are_taken(rig: Rig) -> None:
    rig.link.ready(1)
    rig.round()
    rig.round(4 * PERIOD_ns)
    assert rig.link.token() == 0
    assert rig.children[0].signals == [9]
    assert rig.holder.log[-1] == "take"
    assert rig.kinds()[-2:] == [Happening.SCAN_LATE, Happening.TAKEN_OVER]
    assert "guard: no completed scan for 2000 ms" in rig.said
    snapshot = rig.link.snapshot()
    assert (snapshot["state"], snapshot["n_takeovers"]) == (State.TAKEOVER, 1)


def test_rounds_scan_that_does_not_die_is_said_and_the_buses_are_taken_all_the_same(
    rig: Rig,
) -> None:
    rig.link.ready(1)
    rig.round()
    rig.children[0].dies = False
    rig.round(4 * PERIOD_ns)
    rig.round()
    rig.round(NS_PER_S)
    assert Happening.NOT_REAPED in rig.kinds()
    assert rig.holder.log[-1] == "take"
    assert len(rig.children) == 1


def test_rounds_port_that_was_opened_again_is_sent_to_the_scan_once(rig: Rig) -> None:
    rig.round()
    rig.holder.n_opened, rig.holder.fds = 2, (8, 9)
    rig.round()
    rig.round()
    assert rig.children[0].channel.sent == [(0, 9, 8)]


def test_rounds_scan_that_cannot_even_be_started_is_held_and_tried_again(rig: Rig) -> None:
    rig.children[0].exit_code = 1
    rig.fails = True
    rig.round()
    rig.round()
    rig.round()
    assert "guard: the scan cannot be started: Cannot allocate memory" in rig.said
    rig.round()
    rig.fails = False
    rig.round(5 * NS_PER_S)
    rig.round()
    assert len(rig.children) == 2
    rig.link.ready(rig.watch.generation)
    rig.round()
    assert rig.holder.log[-1] == "park"


@pytest.mark.parametrize(
    ("scan_code", "numbers", "exit_code"), [(0, (3, 0), EXIT_GOOD), (1, (1, 2), EXIT_BUS)]
)
def test_rounds_stop_tells_how_many_are_at_failsafe(
    rig: Rig, scan_code: int, numbers: tuple[int, int], exit_code: int
) -> None:
    """A scan that ended well saw all of them acknowledge; otherwise the guard has asked, and one
    that is starved has not acknowledged either."""
    rig.holder.boxes = [
        SimpleNamespace(is_acknowledged=i == 0, is_starved=i == 2) for i in range(3)
    ]
    rig.holder.unanswered = rig.holder.boxes[1:2]
    rig.link.ready(1)
    rig.round()
    rig.guard.must_stop = True
    rig.round()
    rig.children[0].exit_code = scan_code
    rig.round()
    rig.round()
    last = rig.link.snapshot()["events"][-1]
    assert (last["kind"], last["first"], last["second"]) == (Happening.STOPPED, *numbers)
    assert rig.watch.exit_code == exit_code


def test_rounds_bus_whose_thread_has_ended_ends_the_guard(rig: Rig) -> None:
    rig.holder.is_alive = False
    with pytest.raises(CoreFault, match="the thread of bus bus has ended"):
        rig.round()


def test_rounds_words_come_after_deeds_because_a_terminal_may_keep_its_writer_waiting(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.link.ready(1)
    rig.round()
    done_before: list[bool] = []
    monkeypatch.setattr(process, "say", lambda line: done_before.append("take" in rig.holder.log))
    rig.round(4 * PERIOD_ns)
    assert done_before
    assert all(done_before)
