"""The recorder's loop: each drain on its own, a failure said once, a last flush of all."""

import os
import signal

import pytest

from loadctl.errors import LoadctlError
from loadctl.journal.loop import STOP_SIGNALS, RETRY_ns, Round, run, stoppable


class FakeDrain:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.drained_at_ns: list[int] = []
        self.n_closed = 0

    def drain(self, now_ns: int) -> None:
        self.drained_at_ns.append(now_ns)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.n_closed += 1
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), LoadctlError("full")])
def test_loop_goes_on_with_the_others_when_a_drain_fails(error: Exception) -> None:
    bad, good = FakeDrain(), FakeDrain()
    bad.error = error
    said: list[str] = []
    turns = iter([False, False, False, True])
    run([bad, good], lambda: next(turns), said.append)
    assert len(good.drained_at_ns) == 4
    assert (bad.n_closed, good.n_closed) == (1, 1)
    assert len(bad.drained_at_ns) == 1
    assert said[0] == f"{error}; tried again every 10 s"


def test_loop_says_a_failure_once_and_again_when_it_comes_back() -> None:
    drain = FakeDrain()
    said: list[str] = []
    one = Round(drain, said.append)
    errors = [OSError("one"), OSError("one"), OSError("two"), None, OSError("two")]
    for turn, error in enumerate(errors):
        drain.error = error
        one.drain(turn * RETRY_ns)
    assert [words.split(";")[0] for words in said] == ["one", "two", "two"]


def test_loop_tries_a_drain_that_failed_again_after_a_while() -> None:
    drain = FakeDrain()
    drain.error = OSError("full")
    one = Round(drain, lambda words: None)
    for at_ns in (0, 1, RETRY_ns - 1, RETRY_ns, RETRY_ns + 1, 2 * RETRY_ns):
        one.drain(at_ns)
    assert drain.drained_at_ns == [0, RETRY_ns, 2 * RETRY_ns]


def test_loop_does_not_hide_an_error_of_its_own_making() -> None:
    drain = FakeDrain()
    drain.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        Round(drain, lambda words: None).drain(0)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_sleep_is_ended_by_a_signal_and_by_nothing_else(number: int) -> None:
    before = signal.getsignal(number)
    with stoppable() as sleep:
        assert sleep(1_000_000) is False
        os.kill(os.getpid(), number)
        assert sleep(60_000_000_000) is True
        assert sleep(60_000_000_000) is True
    assert signal.getsignal(number) is before
