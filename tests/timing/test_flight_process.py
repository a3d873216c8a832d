"""The tape of a real scan: kill -9 in the middle of its work leaves whole records, and one gap."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loadctl.flight.files import Gap
from loadctl.flight.replay import Replay, find
from loadctl.flight.writer import FlightWriter
from loadctl.runtime import SiteDir, find_site
from tests.support.running_site import Running

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

DRAIN_s = 0.25


def drain_until(writer: FlightWriter, is_done: Callable[[], bool], longest_s: float) -> None:
    end_s = time.monotonic() + longest_s
    while not is_done() and time.monotonic() < end_s:
        writer.drain(time.monotonic_ns())
        time.sleep(DRAIN_s)


def test_killed_scan_leaves_a_recording_that_replays_and_a_gap(
    running: Running, tmp_path: Path
) -> None:
    site_dir: SiteDir = find_site([running.runtime_dir], None)
    folder = tmp_path / "recordings"
    writer = FlightWriter(site_dir, folder, chunk_s=1)
    drain_until(writer, lambda: False, 4)
    old = writer.source
    assert old is not None
    scan_pid = old.ring.born[0]
    os.kill(scan_pid, signal.SIGKILL)
    drain_until(
        writer,
        lambda: writer.source is not None and writer.source.ring.born[0] != scan_pid,
        20,
    )
    drain_until(writer, lambda: False, 6)
    writer.close()
    recording = find(folder)
    played = Replay(recording).run()
    assert (played.differences, played.n_unplayed, recording.notes) == ([], 0, [])
    assert [Gap(meta.gap) for meta in recording.metas if meta.gap] == [Gap.BEGAN, Gap.RESTARTED]
    pids = [meta.born_pid for meta in recording.metas]
    assert pids[0] == scan_pid != pids[-1]
    assert played.n_scans > 20
    assert recording.metas[0].first_sequence == 0
