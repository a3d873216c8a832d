"""The core asks for no memory in a scan: every call of the C library's allocator is counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests/support/allocations.c"


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    library = tmp_path_factory.mktemp("allocations") / "allocations.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-fno-builtin", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-P", "-m", "tests.support.allocations"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(run.stdout)


def test_counter_sees_a_deliberate_malloc(counts: dict[str, int]) -> None:
    assert counts["deliberate"] == 1


def test_scans_that_were_counted_ordered_something(counts: dict[str, int]) -> None:
    assert counts["orders"] > 54


@pytest.mark.parametrize("name", ["step", "confirm", "share"])
def test_core_allocates_nothing(counts: dict[str, int], name: str) -> None:
    assert counts[name] == 0
