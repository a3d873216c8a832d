"""The same recorded calls give the same bytes: again, on every level of optimisation, and by
another compiler."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from tests.support import variants
from tests.support.recording import Recording, play, record_story

N_EVENTS = 15


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return [record_story(seed, N_EVENTS) for seed in range(40)]


def first_difference(recordings: list[Recording], played: dict[str, list[str]]) -> str:
    for recording in recordings:
        digests = played[recording.name]
        for k, (expected, found) in enumerate(zip(recording.digests, digests, strict=True)):
            if expected != found:
                return f"{recording.name}: run {k} of the law differs"
    return ""


def test_recordings_hold_many_scans_and_what_the_core_was_told(recordings: list[Recording]) -> None:
    told = {name for recording in recordings for name, _ in recording.calls}
    assert told >= {
        "set_mode", "meter_read", "charger_status", "charger_armed", "step", "take_done",
        "confirm", "give_done", "refreshed", "probe_done",
    }  # fmt: skip
    assert sum(len(recording.digests) for recording in recordings) > 5000


def test_recording_played_again_gives_the_same_bytes(recordings: list[Recording]) -> None:
    played = {recording.name: play(recording) for recording in recordings}
    assert first_difference(recordings, played) == ""


@pytest.mark.sweep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_recording_played_by_variant_gives_the_same_bytes(
    name: str, recordings: list[Recording], tmp_path: Path
) -> None:
    variants.build(variants.VARIANTS[name], tmp_path)
    (tmp_path / "recordings").write_bytes(pickle.dumps(recordings))
    said = json.loads(variants.run(tmp_path, "tests.support.recording", "recordings"))
    assert Path(said["core"]).is_relative_to(tmp_path)
    assert first_difference(recordings, said["digests"]) == ""


def test_digests_tell_one_mA_at_one_meter(recordings: list[Recording]) -> None:
    """The comparison's own test: a reading that differs by 1 mA shows in the run that follows."""
    recording = recordings[0]
    reads = [
        k
        for k, (name, args) in enumerate(recording.calls)
        if name == "meter_read" and args[2] is not None
    ]
    at = reads[len(reads) // 2]
    name, (meter_i, code, current_mA, *rest) = recording.calls[at]
    changed = (name, (meter_i, code, (current_mA[0] + 1, *current_mA[1:]), *rest))
    calls = [*recording.calls[:at], changed, *recording.calls[at + 1 :]]
    n_before = sum(name in ("step", "confirm") for name, _ in recording.calls[:at])
    other = play(Recording(recording.name, recording.tables, calls))
    assert first_difference([recording], {recording.name: other}) == (
        f"{recording.name}: run {n_before} of the law differs"
    )
