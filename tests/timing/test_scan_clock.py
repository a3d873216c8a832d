"""Sleeping in real time: never early, signals handled, other threads free to run."""

import signal
import threading

import pytest

from loadctl._clock import monotonic_ns, sleep_until

MS_ns = 1_000_000

pytestmark = pytest.mark.timing


def test_clock_sleep_until_never_returns_early() -> None:
    for _ in range(20):
        until_ns = monotonic_ns() + MS_ns
        assert sleep_until(until_ns) >= until_ns


def test_clock_sleep_lets_other_threads_run() -> None:
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(monotonic_ns()))
    until_ns = monotonic_ns() + 50 * MS_ns
    thread.start()
    woke_ns = sleep_until(until_ns)
    thread.join()
    assert seen[0] < woke_ns


def test_clock_signal_during_sleep_runs_its_handler_and_sleeps_on() -> None:
    caught: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: caught.append(monotonic_ns()))
    try:
        until_ns = monotonic_ns() + 30 * MS_ns
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        woke_ns = sleep_until(until_ns)
    finally:
        signal.signal(signal.SIGALRM, old)
    assert len(caught) == 1
    assert caught[0] < until_ns <= woke_ns
