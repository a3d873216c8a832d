"""`loadctl recorder` beside a running site leaves a flight recording that replays."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from loadctl.flight.replay import Replay, find
from tests.support.running_site import ENV, LOADCTL, charging, running_site, site_text

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]


def test_recorder_leaves_a_recording_that_replays(tmp_path: Path) -> None:
    text = site_text(tmp_path / "sim" / "bus-one", period_ms=400, baud=19_200)
    with running_site(tmp_path, text, charging()) as running:
        running.until_raised()
        options = [
            "--runtime-dir",
            str(running.runtime_dir),
            "--state-dir",
            str(tmp_path / "state"),
        ]
        recorder = subprocess.Popen([*LOADCTL, "recorder", *options], env=ENV)
        time.sleep(6)
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(20) == 0
    (folder,) = (tmp_path / "state").glob("*/flight")
    recording = find(folder)
    assert recording.metas[0].first_sequence == 0
    played = Replay(recording).run()
    assert (played.differences, played.n_unplayed, recording.notes) == ([], 0, [])
    assert played.n_scans > 10
