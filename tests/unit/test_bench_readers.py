"""What the benchmark of readers makes of its rounds."""

import pytest

from bench.readers import compared, turns
from loadctl.image import SPANS


def test_rounds_are_pairs_that_change_their_order() -> None:
    assert turns(6) == [False, True, True, False, False, True]


def test_ratio_is_the_median_over_pairs_so_that_a_busy_minute_counts_once() -> None:
    with_them = turns(6)
    whole = {False: 100, True: 102}
    rounds = [[10 * whole[is_with]] * 50 for is_with in with_them]
    rounds[2], rounds[3] = [9_000] * 50, [1_000] * 50  # the host was busy in a round with readers
    spans = [[n for one in rounds for n in one] for _ in SPANS]
    found = compared(spans, with_them, 50)
    assert found["whole"]["ratio"] == pytest.approx(1.02)
    assert found["whole"]["without_ms"] == pytest.approx(0.001)
    assert found["whole"]["with_ms"] == pytest.approx(0.00102)
    assert found["wake"]["ratio_of_all_scans"] == pytest.approx(9.0)


def test_ratio_is_of_the_p99_of_a_round() -> None:
    calm = [1_000] * 99
    spans = [[*calm, 5_000, *calm, 7_000] for _ in SPANS]
    assert compared(spans, turns(2), 100)["wake"]["ratio"] == pytest.approx(1.4)
