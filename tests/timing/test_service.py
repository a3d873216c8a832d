"""The lines of the systemd unit, run by hand on a simulated site: it says that it is ready and
well, listens on no network, shows its files to its group alone, and its stop action brings every
charger down.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hw.sim.site import SimSite
from loadctl import runtime
from loadctl.site.load import load_site
from tests.support.running_site import ENV, ROOT, charging, site_text, wait_gone, wait_unlocked

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

UNIT = ROOT / "packaging/units/loadctl@.service"
N_CHARGERS = 2
SCENARIO = charging(N_CHARGERS, logs_writes=True)
READY_WITHIN_s = 60
LISTENS = "0A"


def unit() -> dict[str, str]:
    """The last value of each key of [Service]."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def words_of(line: str, folder: Path) -> list[str]:
    """A command of the unit for instance `rig`, with directories of the test's own."""
    places = {
        "/opt/loadctl/current/bin/loadctl": f"{sys.executable} -P -m loadctl",
        "/etc/loadctl": str(folder / "etc"),
        "/run/loadctl": str(folder / "run"),
        "%i": "rig",
        "$LOADCTL_RUN_OPTIONS": "",
    }
    for place, ours in places.items():
        line = line.replace(place, ours)
    return shlex.split(line.removeprefix("-"))


class Service(NamedTuple):
    folder: Path
    process: subprocess.Popen[bytes]
    notify: socket.socket
    simulated: SimSite

    def heard(self, wanted: bytes, within_s: float) -> list[bytes]:
        """What came on the notify socket up to a word."""
        end_s = time.monotonic() + within_s
        found: list[bytes] = []
        while not found or found[-1] != wanted:
            assert self.process.poll() is None, (self.folder / "stderr").read_text()
            self.notify.settimeout(max(0.01, end_s - time.monotonic()))
            found.append(self.notify.recv(4096))
        return found

    @property
    def scan_pid(self) -> int:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        (pid,) = map(int, path.read_text().split())
        return pid

    def setpoints_mA(self) -> dict[str, int]:
        return {entry["charger"]: entry["setpoint_mA"] for entry in self.simulated.written()}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """As the service manager starts it: notify socket, watchdog time, umask."""
    (tmp_path / "etc/maps").mkdir(parents=True)
    site = tmp_path / "etc/rig.toml"
    site.write_text(site_text(tmp_path / "sim" / "bus-one", N_CHARGERS))
    settings = unit()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        SimSite(load_site(site).tables, SCENARIO, tmp_path / "sim") as simulated,
        (tmp_path / "stderr").open("wb") as stderr,
    ):
        notify.bind(str(tmp_path / "notify"))
        environment = {**ENV, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        environment["WATCHDOG_USEC"] = str(int(settings["WatchdogSec"]) * 1_000_000)
        process = subprocess.Popen(
            words_of(settings["ExecStart"], tmp_path),
            env=environment,
            stdout=stderr,
            stderr=stderr,
            umask=int(settings["UMask"], 8),
            cwd="/",
        )
        found = Service(tmp_path, process, notify, simulated)
        try:
            yield found
        finally:
            process.kill()
            process.wait()
            wait_unlocked(tmp_path / "run", 10)


def network_sockets(pid: int) -> list[str]:
    """Sockets of a process by which anybody could reach it: what listens, what takes datagrams."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the look itself
            target = os.readlink(entry)
            if target.startswith("socket:["):
                inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        path = Path(f"/proc/{pid}/net/{name}")
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            row = line.split()
            if row[9] in inodes and (row[3] == LISTENS or not name.startswith("tcp")):
                found.append(f"{name} {row[1]}")
    return found


def test_the_search_for_open_ports_finds_one_of_each_kind() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        datagrams.bind(("127.0.0.1", 0))
        found = network_sockets(os.getpid())
    assert sorted(row.split()[0] for row in found) == ["tcp", "udp"]


def test_service_is_ready_fed_and_reached_by_its_socket_alone(service: Service) -> None:
    said = service.heard(b"READY=1", READY_WITHIN_s)
    assert said[-1] == b"READY=1"
    assert b"WATCHDOG=1" in service.heard(b"WATCHDOG=1", 10)
    for pid in (service.process.pid, service.scan_pid):
        assert network_sockets(pid) == []
    site_dir = runtime.find_site([service.folder / "run"], "rig")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in site_dir.path.iterdir()}
    assert modes.pop("control") == 0o660
    assert {mode & 0o027 for mode in modes.values()} == {0}  # others: nothing, the group: to read
    assert stat.S_IMODE(site_dir.path.stat().st_mode) == 0o750

    service.process.send_signal(signal.SIGTERM)
    service.notify.settimeout(10)
    while (heard := service.notify.recv(4096)) != b"STOPPING=1":
        assert heard.startswith((b"WATCHDOG=1", b"STATUS="))
    assert service.process.wait(20) == 0


def test_stop_action_brings_everybody_down_when_guard_and_scan_were_killed(
    service: Service,
) -> None:
    service.heard(b"READY=1", READY_WITHIN_s)
    end_s = time.monotonic() + READY_WITHIN_s
    while not (found := service.setpoints_mA()) or min(found.values()) <= 6_000:
        assert time.monotonic() < end_s, found
        time.sleep(0.05)
    scan_pid = service.scan_pid
    os.kill(service.process.pid, signal.SIGSTOP)  # it must not take over
    os.kill(scan_pid, signal.SIGKILL)
    wait_gone(scan_pid, 5)
    service.process.kill()
    service.process.wait()
    wait_unlocked(service.folder / "run", 5)
    assert min(service.setpoints_mA().values()) > 6_000
    done = subprocess.run(
        words_of(unit()["ExecStopPost"], service.folder), env=ENV, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert service.setpoints_mA() == {"bay1": 6_000, "bay2": 6_000}
