"""mbpoll, on libmodbus, reads and writes the simulated devices on their pseudo-terminal."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from hw.sim.site import SimSite
from tests.support.sim_sites import metered_site

MBPOLL = shutil.which("mbpoll")

pytestmark = pytest.mark.skipif(
    MBPOLL is None, reason="mbpoll is not installed (Debian package mbpoll): interop not checked"
)

SCENARIO = Scenario(
    loads={"main": Load("constant", (10_000, 7_500, -3_000))},
    visits=(Visit("bay1", 0, take_mA=13_000, follow_ns=0, rise_ns=0, wake_ns=0),),
    turnaround_ns=10_000_000,
)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    with SimSite(metered_site(2), SCENARIO, tmp_path) as simulated:
        yield simulated.ports["one"]


def mbpoll(port: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One poll, addresses from 0, as on the wire."""
    line = ["-m", "rtu", "-b", "19200", "-P", "even", "-0", "-1", "-o", "1"]
    assert MBPOLL is not None
    return subprocess.run(
        [MBPOLL, *line, *arguments[:-1], port, *arguments[-1].split()],
        capture_output=True,
        text=True,
        timeout=20,
    )


def values(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The values of lines such as `[100]:  160`."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for row in done.stdout.splitlines() if row.startswith("[")]
    return [row.split(":", 1)[1].strip() for row in rows]


def test_mbpoll_reads_the_meter(port: str) -> None:
    done = mbpoll(port, "-a", "1", "-t", "3:int", "-B", "-r", "0", "-c", "10", "")
    numbers = [int(value) for value in values(done)]
    voltages_mV = numbers[3:6]  # they flicker by 0.4 V
    assert numbers[:3] + numbers[6:] == [10_000, 7_500, 3_000, 2_300, 1_725, -690, 50_000]
    assert min(voltages_mV) >= 230_000 - 400
    assert max(voltages_mV) <= 230_000 + 400


def test_mbpoll_writes_a_setpoint_and_the_car_follows(port: str) -> None:
    done = mbpoll(port, "-a", "11", "-t", "4", "-r", "100", "100")
    assert (done.returncode, "Written 1 references." in done.stdout) == (0, True)
    done = mbpoll(port, "-a", "11", "-t", "4", "-r", "100", "-c", "1", "")
    assert values(done) == ["100"]
    done = mbpoll(port, "-a", "11", "-t", "3", "-r", "4", "-c", "1", "")
    assert values(done) == ["100"]


def test_mbpoll_reads_the_status_of_an_empty_bay(port: str) -> None:
    done = mbpoll(port, "-a", "12", "-t", "3", "-r", "0", "-c", "5", "")
    assert values(done) == ["0"] * 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-a", "12", "-t", "3", "-r", "9", "-c", "1", ""), "Illegal data address"),
        (("-a", "12", "-t", "4", "-r", "100", "30"), "Illegal data value"),
        (("-a", "12", "-t", "0", "-r", "0", "-c", "1", ""), "Illegal function"),
        (("-a", "99", "-t", "3", "-r", "0", "-c", "1", ""), "timed out"),
    ],
)
def test_mbpoll_is_told_what_a_real_box_would_tell(
    port: str, arguments: tuple[str, ...], words: str
) -> None:
    done = mbpoll(port, *arguments)
    assert words.lower() in (done.stdout + done.stderr).lower()
