"""The grid of the scan: absolute, skipping, counting."""

import random

import pytest

from loadctl.pacer import ON_TIME, Pace, Pacer

PERIOD_ns = 500
START_ns = 10_000


@pytest.mark.parametrize(
    ("took_ns", "pace", "next_grid_ns"),
    [
        # complete before the next grid point, or exactly on it
        (0, ON_TIME, 10_500),
        (1, ON_TIME, 10_500),
        (499, ON_TIME, 10_500),
        (500, ON_TIME, 10_500),
        # an overrun is one missed cycle, however short
        (501, Pace(1, 0), 11_000),
        (999, Pace(1, 0), 11_000),
        (1_000, Pace(1, 0), 11_000),
        # ... and however long: the rest is skipped
        (1_001, Pace(1, 1), 11_500),
        (1_500, Pace(1, 1), 11_500),
        (5_250, Pace(1, 9), 15_500),
    ],
)
def test_pacer_scan_of_given_length_misses_and_skips(
    took_ns: int, pace: Pace, next_grid_ns: int
) -> None:
    pacer = Pacer(PERIOD_ns, START_ns)
    assert pacer.completed(START_ns + took_ns) == pace
    assert pacer.grid_at_ns == next_grid_ns


@pytest.mark.parametrize(
    ("late_ns", "pace", "grid_ns"),
    [
        (-1, ON_TIME, 10_000),
        (0, ON_TIME, 10_000),
        (499, ON_TIME, 10_000),
        (500, Pace(1, 0), 10_500),
        (999, Pace(1, 0), 10_500),
        (1_250, Pace(1, 1), 11_000),
    ],
)
def test_pacer_late_wake_skips_whole_periods(late_ns: int, pace: Pace, grid_ns: int) -> None:
    pacer = Pacer(PERIOD_ns, START_ns)
    assert pacer.woke(START_ns + late_ns) == pace
    assert pacer.grid_at_ns == grid_ns
    assert pacer.next_at_ns == grid_ns + PERIOD_ns


def test_pacer_stall_of_one_and_a_half_periods_in_the_scan_is_one_miss() -> None:
    pacer = Pacer(PERIOD_ns, START_ns)
    assert pacer.completed(START_ns + 150 + 750) == Pace(1, 0)
    assert pacer.woke(pacer.grid_at_ns) == ON_TIME


def test_pacer_stall_of_one_and_a_half_periods_while_asleep_is_one_miss() -> None:
    pacer = Pacer(PERIOD_ns, START_ns)
    assert pacer.completed(START_ns + 150) == ON_TIME
    assert pacer.woke(START_ns + 450 + 750) == Pace(1, 0)
    assert pacer.completed(START_ns + 450 + 750 + 150) == ON_TIME


def test_pacer_any_story_stays_on_the_grid_and_loses_no_period() -> None:
    rng = random.Random(7)
    pacer = Pacer(PERIOD_ns, START_ns)
    now_ns, n_scans, n_lost, last_grid_ns = START_ns, 0, 0, START_ns - PERIOD_ns
    for _ in range(10_000):
        now_ns = max(now_ns, pacer.grid_at_ns) + rng.choice((0, 0, 1, 3, 499, 500, 501, 1_700))
        woke = pacer.woke(now_ns)
        assert (pacer.grid_at_ns - START_ns) % PERIOD_ns == 0
        assert pacer.grid_at_ns > last_grid_ns  # never two scans on one grid point
        assert pacer.grid_at_ns <= now_ns
        last_grid_ns = pacer.grid_at_ns
        now_ns += rng.choice((0, 1, 100, 499, 500, 501, 2_222))
        done = pacer.completed(now_ns)
        assert pacer.grid_at_ns >= now_ns  # never in the past: no burst
        n_scans += 1
        n_lost += sum(woke) + sum(done)
    assert n_scans + n_lost == (pacer.grid_at_ns - START_ns) // PERIOD_ns
