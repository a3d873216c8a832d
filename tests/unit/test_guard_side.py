"""The scan's side of the link: what it tells, and when its guard counts as gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hw.handover import PortChannel, PortSource
from loadctl.guarded import Guarded, silent_after_ns
from loadctl.guardside import ExternalCommand, GuardSide
from loadctl.link import Link
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.descriptors import came_since, open_descriptors

PERIOD_ns = 500 * NS_PER_MS
SILENT_ns = 950 * NS_PER_MS
BEGIN_ns = 7 * NS_PER_S


class Rig(NamedTuple):
    guard: Link
    guard_end: PortChannel
    guarded: Guarded


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    guard = Link.create(tmp_path / "link", 2, 1)
    guard_end, scan_end = PortChannel.pair()
    sources = [PortSource(i, -1, scan_end) for i in range(2)]
    link = Link.open(tmp_path / "link")
    yield Rig(guard, guard_end, Guarded(link, scan_end, sources, 3, PERIOD_ns, BEGIN_ns))
    guard_end.close()
    scan_end.close()


@pytest.mark.parametrize(
    ("period_ms", "silent_ms"), [(100, 1_750), (500, 950), (725, 500), (1_000, 500), (2_000, 500)]
)
def test_guarded_silence_is_known_within_two_seconds(period_ms: int, silent_ms: int) -> None:
    assert silent_after_ns(period_ms * NS_PER_MS) == silent_ms * NS_PER_MS


@pytest.mark.parametrize("period_ms", [100, 200, 250, 300, 400, 500, 600, 700, 750, 900, 1_000])
def test_guarded_guard_that_falls_silent_at_any_moment_is_found_in_time(
    tmp_path: Path, period_ms: int
) -> None:
    period_ns = period_ms * NS_PER_MS
    for last_ms in range(0, 2 * period_ms, 50):
        guard = Link.create(tmp_path / "link", 1, 1)
        channel, other = PortChannel.pair()
        link = Link.open(tmp_path / "link")
        guarded = Guarded(link, channel, [], 1, period_ns, 0)
        at_ms = 0
        while not guarded.gone(at_ms * NS_PER_MS):
            assert at_ms - last_ms <= 2_000
            for beat_ms in range(at_ms, at_ms + period_ms, 50):
                if beat_ms <= last_ms:
                    guard.guard_beat_once()
            at_ms += period_ms
        assert at_ms - last_ms <= 2_000
        channel.close()
        other.close()


def test_guarded_beat_that_changes_keeps_the_guard_well(rig: Rig) -> None:
    for i in range(1, 10):
        rig.guard.guard_beat_once()
        assert rig.guarded.gone(BEGIN_ns + i * SILENT_ns) == ""


def test_guarded_beat_unchanged_for_as_long_as_allowed_is_a_silent_guard(rig: Rig) -> None:
    assert rig.guarded.gone(BEGIN_ns + SILENT_ns - 1) == ""
    assert rig.guarded.gone(BEGIN_ns + SILENT_ns) == "the guard is silent for 0.95 s"


def test_guarded_channel_at_its_end_is_a_guard_that_is_gone(rig: Rig) -> None:
    rig.guard_end.close()
    assert rig.guarded.gone(BEGIN_ns) == "the guard is gone"


def test_guarded_token_is_that_of_its_own_generation_only(rig: Rig) -> None:
    found = []
    for generation in (0, 2, 3, 4):
        rig.guard.give_token(generation)
        found.append(rig.guarded.has_token())
    assert found == [False, False, True, False]
    rig.guarded.ready()
    assert rig.guard.ready_generation() == 3


def test_guarded_tells_the_guard_what_the_scan_says(rig: Rig) -> None:
    guarded: GuardSide = rig.guarded
    guarded.beat()
    guarded.tell(1, 9_000)
    guarded.set_failsafe(1, 0)
    guarded.set_starved(0, True)
    guarded.set_seen_background(0, (1, 2, 3))
    link = rig.guard
    assert (link.scan_beat(), link.told_mA(1), link.failsafe_mA(1)) == (1, 9_000, 0)
    assert (link.is_starved(0), link.seen_background_mA(0)) == (True, (1, 2, 3))
    assert (guarded.told_mA(1), guarded.told_mA(0)) == (9_000, None)
    assert guarded.seen_background_mA(0) == (1, 2, 3)
    command = ExternalCommand((0, 0, 0), None, 9, 4)
    assert guarded.external(0) is None
    guarded.set_external(0, command)
    assert (link.external(0), guarded.external(0)) == (command, command)


def test_guarded_new_port_reaches_the_source_of_its_bus(rig: Rig) -> None:
    read_fd, write_fd = os.pipe()
    assert rig.guard_end.send_port(1, read_fd, read_fd) is True
    rig.guarded.ports()
    first, second = rig.guarded.sources
    assert (first.has_new, second.has_new) == (False, True)
    taken = second.take()
    assert taken is not None
    os.write(write_fd, b"x")
    assert os.read(taken, 1) == b"x"
    for fd in (read_fd, write_fd, taken):
        os.close(fd)


def test_guarded_lock_of_a_network_port_is_kept_the_older_one_closed(rig: Rig) -> None:
    read_fd, write_fd = os.pipe()
    before = open_descriptors()
    for _ in range(3):
        rig.guard_end.send_port(0, read_fd, write_fd)
        rig.guarded.ports()
        taken = rig.guarded.sources[0].take()
        assert taken is not None
        os.close(taken)
    assert len(came_since(before)) == 1
    os.close(read_fd)
    os.close(write_fd)


def test_guarded_port_of_a_bus_that_is_not_there_is_closed(rig: Rig) -> None:
    read_fd, write_fd = os.pipe()
    before = open_descriptors()
    rig.guard_end.send_port(9, read_fd, write_fd)
    rig.guarded.ports()
    assert came_since(before) == {}
    os.close(read_fd)
    os.close(write_fd)
