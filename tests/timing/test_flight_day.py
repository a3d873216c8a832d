"""A day of recording, from ten minutes of it: how large, how long to replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import flight

pytestmark = pytest.mark.timing

RECORDED_s = 600
MB_A_DAY_AT_MOST = 60
REPLAY_s_A_DAY_AT_MOST = 20


@pytest.mark.timeout(600)
def test_day_of_32_chargers_twice_a_second_is_small_and_quickly_replayed(tmp_path: Path) -> None:
    found = flight.measure(tmp_path, RECORDED_s)
    print(found)
    assert found["recorded"]["scans"] == RECORDED_s * 1_000 // flight.PERIOD_ms
    assert found["replayed"]["equal"]
    assert found["recorded"]["MB_a_day"] <= MB_A_DAY_AT_MOST
    assert found["replayed"]["s_a_day"] <= REPLAY_s_A_DAY_AT_MOST
