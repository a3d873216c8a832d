"""The kernel clocks, read and slept on. Past times only: real waiting is for tests/timing."""

import time

from loadctl._clock import boottime_ns, monotonic_ns, sleep_until


def test_clock_monotonic_is_the_clock_of_python() -> None:
    before_ns = time.monotonic_ns()
    here_ns = monotonic_ns()
    after_ns = time.monotonic_ns()
    assert before_ns <= here_ns <= after_ns


def test_clock_boottime_is_the_clock_of_python() -> None:
    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    here_ns = boottime_ns()
    after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before_ns <= here_ns <= after_ns


def test_clock_sleep_until_a_past_time_returns_the_present_time() -> None:
    before_ns = time.monotonic_ns()
    assert sleep_until(before_ns - 1) >= before_ns
    assert sleep_until(-5) >= before_ns


def test_clock_sleep_keeps_the_seconds_of_its_stamp() -> None:
    """Only the nanosecond field read back would stamp every wake within the first second."""
    before_ns = time.monotonic_ns()
    assert before_ns > 1_000_000_000
    assert 0 <= sleep_until(before_ns) - before_ns < 1_000_000_000
