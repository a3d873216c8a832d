"""A recording made here is answered the same by the core compiled in other ways, and an hour with
faults is answered the same at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import loadctl
from loadctl.flight.replay import Replay, find
from tests.support import variants
from tests.support.flights import faulty_flight
from tests.support.scan_rig import S_ns

SEEDS = (11, 12, 13)


def build_whole(name: str, directory: Path) -> None:
    """The variant's own core and law; every other compiled module is that of this tree."""
    variants.build(variants.VARIANTS[name], directory)
    here = Path(loadctl.__file__).parent
    for module in here.rglob(f"*{variants.SUFFIX}"):
        place = directory / "loadctl" / module.relative_to(here)
        if not place.exists():
            shutil.copy(module, place)


@pytest.mark.sweep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_recording_is_answered_the_same_by_variant(name: str, tmp_path: Path) -> None:
    taped = faulty_flight(SEEDS[0], 300 * S_ns, tmp_path)
    taped.run(300 * S_ns)
    folder = taped.end()
    variant = tmp_path / "variant"
    build_whole(name, variant)
    said = json.loads(variants.run(variant, "tests.support.flights", str(folder)))
    assert Path(said["core"]).is_relative_to(variant)
    assert (said["scans"], said["differences"]) == (300, [])


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", SEEDS)
def test_hour_with_faults_is_answered_the_same(seed: int, tmp_path: Path) -> None:
    taped = faulty_flight(seed, 3_600 * S_ns, tmp_path)
    taped.run(3_600 * S_ns)
    recording = find(taped.end())
    played = Replay(recording).run()
    assert (played.n_scans, played.differences, played.n_unplayed) == (3_600, [], 0)
    assert recording.notes == []
