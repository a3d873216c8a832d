"""No test file leaves this process other than it was: what one leaves, a later one trips over."""

import gc
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

ENDS_WITHIN_s = 10  # a thread that was told to end may be in a look-up or a read


class Manners:
    """The settings that a site in operation changes, and threads, which go on with their work."""

    def __init__(self) -> None:
        self.settings = self._now()
        self.threads = set(threading.enumerate())

    def _now(self) -> dict[str, object]:
        return {
            "scheduler": os.sched_getscheduler(0),
            "CPUs": os.sched_getaffinity(0),
            "garbage collection": gc.isenabled(),
            "switch interval": sys.getswitchinterval(),
        }

    def check(self, path: Path) -> None:
        left = [thread for thread in threading.enumerate() if thread not in self.threads]
        for thread in left:
            thread.join(ENDS_WITHIN_s)
        names = [thread.name for thread in left if thread.is_alive()]
        assert names == [], f"{path} left threads"
        assert self._now() == self.settings, f"{path} left other settings"


manners = pytest.StashKey[Manners]()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.stash[manners] = Manners()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    yield
    if nextitem is None or nextitem.path != item.path:
        item.session.stash[manners].check(item.path)
