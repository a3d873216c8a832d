"""What timed tests share: a site that charges, and children that hear ctrl-c."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_site import Running, charging, running_site, site_text


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """In the background of a shell SIGINT is ignored, and who is started from here would, too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Two chargers, two cars, a site that has raised both above their failsafe current."""
    text = site_text(tmp_path / "sim" / "bus-one", period_ms=400, baud=19_200)
    with running_site(tmp_path, text, charging()) as started:
        started.until_raised()
        yield started
