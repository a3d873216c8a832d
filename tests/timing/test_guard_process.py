"""Guard and scan as processes on simulated lines: whoever dies, every charger comes down, and the
site comes back by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hw.devices import parse_map
from hw.sim.fault import Fault
from hw.sim.site import SimSite
from loadctl import tables as plain
from loadctl.bound import takeover_bounds
from loadctl.guard.words import State
from loadctl.link import Link
from loadctl.runtime import SiteDir, claim, find_site
from loadctl.site.load import load_site
from loadctl.units import NS_PER_MS, NS_PER_S, ms_from_ns
from tests.support.running_site import (
    ENV,
    Running,
    charging,
    is_alive,
    running_site,
    site_text,
    wait_gone,
    wait_unlocked,
)

pytestmark = [pytest.mark.timing, pytest.mark.timeout(120)]

N_CHARGERS = 3
FAILSAFE_mA = 6_000
SCENARIO = charging(N_CHARGERS, logs_writes=True)
GRACE_ns = 20 * NS_PER_MS  # the simulated line wakes late, too


def rig(directory: Path, *options: str) -> Any:
    text = site_text(directory / "sim" / "bus-one", N_CHARGERS)
    return running_site(directory, text, SCENARIO, *options)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with rig(tmp_path) as started:
        started.until_raised()
        yield started


def last_failsafe_ns(running: Running, since_ns: int, within_ns: int = 10 * NS_PER_S) -> int:
    """When the last charger was first told its failsafe current, counted from `since_ns`."""
    first_ns: dict[str, int] = {}
    while len(first_ns) < N_CHARGERS:
        assert time.monotonic_ns() - since_ns < within_ns, (first_ns, running.said())
        for entry in running.simulated.written():
            if entry["at_ns"] >= since_ns and entry["setpoint_mA"] <= FAILSAFE_mA:
                first_ns.setdefault(entry["charger"], entry["at_ns"])
        time.sleep(0.005)
    return max(first_ns.values()) - since_ns


def bound_ns(running: Running) -> int:
    tables = plain.load(find_site([running.runtime_dir], None).tables.read_text())
    maps = {name: parse_map(raw, name) for name, raw in tables.maps.items()}
    return max(bound.total_ns for bound in takeover_bounds(tables, maps))


def no_raise_ns(running: Running, since_ns: int, until_ns: int) -> bool:
    """Whether nothing above failsafe was written between two points of time."""
    return all(
        entry["setpoint_mA"] <= FAILSAFE_mA
        for entry in running.simulated.written()
        if since_ns <= entry["at_ns"] < until_ns
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_guard_scan_dies_or_hangs_every_charger_is_at_failsafe_in_time_and_the_site_recovers(
    running: Running, number: int
) -> None:
    before = running.until_raised()
    died_ns = time.monotonic_ns()
    os.kill(before["scan"]["pid"], number)
    took_ns = last_failsafe_ns(running, died_ns)
    allowed_ns = bound_ns(running) + GRACE_ns
    after = running.until_raised(before["scan"]["pid"])
    guard = after["guard"]
    print(
        f"{signal.Signals(number).name}: last failsafe {ms_from_ns(took_ns):.0f} ms after,"
        f" allowed {ms_from_ns(allowed_ns):.0f} ms, takeover {guard['last_takeover_ms']} ms,"
        f" restart {guard['last_restart_ms']} ms,"
        f" raised again after {(time.monotonic_ns() - died_ns) / NS_PER_S:.1f} s"
    )
    assert took_ns <= allowed_ns
    assert (guard["takeovers"], guard["restarts"], guard["pid"]) == (1, 1, running.process.pid)
    assert after["scan"]["pid"] != before["scan"]["pid"]
    assert running.simulated.report()["n_violations"] == 0
    assert f"guard: failsafe setpoints: {N_CHARGERS} acknowledged, 0 not" in running.said()


def test_guard_killed_the_scan_notices_within_two_seconds_writes_failsafe_and_ends(
    running: Running,
) -> None:
    pid = running.until_raised()["scan"]["pid"]
    died_ns = time.monotonic_ns()
    running.process.kill()
    running.process.wait()
    took_ns = last_failsafe_ns(running, died_ns)
    gone_s = wait_gone(pid, 5)
    print(f"failsafe {ms_from_ns(took_ns):.0f} ms after the guard was killed, ended {gone_s:.2f} s")
    assert took_ns <= 2 * NS_PER_S + bound_ns(running)
    assert "the guard is gone: the scan ends" in running.said()
    wait_unlocked(running.runtime_dir, 2)


def test_guard_stopped_the_scan_writes_failsafe_and_ends_and_the_guard_comes_back(
    running: Running,
) -> None:
    pid = running.until_raised()["scan"]["pid"]
    stopped_ns = time.monotonic_ns()
    running.process.send_signal(signal.SIGSTOP)
    took_ns = last_failsafe_ns(running, stopped_ns)
    wait_gone(pid, 5)
    print(f"failsafe {ms_from_ns(took_ns):.0f} ms after the guard was stopped")
    assert took_ns <= 2 * NS_PER_S + bound_ns(running)
    assert "the guard is silent for" in running.said()
    running.process.send_signal(signal.SIGCONT)
    after = running.until(lambda f: f["scan"]["pid"] != pid and f["mode"] == "run")
    assert after["guard"]["takeovers"] == 1
    assert "guard: the scan ended with code 1" in running.said()


def test_guard_told_to_stop_asks_the_scan_and_ends_well(running: Running) -> None:
    pid = running.until_raised()["scan"]["pid"]
    told_ns = time.monotonic_ns()
    running.process.terminate()
    assert running.process.wait(5) == 0
    assert last_failsafe_ns(running, told_ns) < 2 * NS_PER_S
    assert is_alive(pid) is False
    assert "guard: stopped" in running.said()


def test_guard_told_to_stop_while_the_scan_hangs_writes_failsafe_itself_and_ends_well(
    running: Running,
) -> None:
    pid = running.until_raised()["scan"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    told_ns = time.monotonic_ns()
    running.process.terminate()
    assert running.process.wait(5) == 0
    last_failsafe_ns(running, told_ns)
    assert is_alive(pid) is False
    chargers = running.simulated.report()["chargers"]
    assert [charger["in_force_mA"] for charger in chargers.values()] == [6_000] * N_CHARGERS


def test_guard_told_to_stop_while_it_holds_the_buses_ends_well(tmp_path: Path) -> None:
    with rig(tmp_path, "--crash-limit", "1", "--crash-window-s", "60") as running:
        os.kill(running.until_raised()["scan"]["pid"], signal.SIGKILL)
        running.until(lambda found: found["guard"]["state"] == "stable")
        running.process.terminate()
        assert running.process.wait(5) == 0
        assert f"guard: stopped: {N_CHARGERS} chargers at failsafe, 0 did not" in running.said()


def test_guard_crash_loop_stays_at_failsafe_feeds_the_chargers_and_tries_again(
    tmp_path: Path,
) -> None:
    with rig(tmp_path, "--crash-limit", "2", "--crash-window-s", "12") as running:
        first_pid = running.until_raised()["scan"]["pid"]
        os.kill(first_pid, signal.SIGKILL)
        second_pid = running.until_raised(first_pid)["scan"]["pid"]
        died_ns = time.monotonic_ns()
        os.kill(second_pid, signal.SIGKILL)
        found = running.until(lambda found: found["guard"]["state"] == "stable")
        assert found["mode"] == "failsafe"
        assert "guard: 2 scans ended: failsafe, the next start is in 12 s" in running.said()
        after = running.until_raised(second_pid)
        assert time.monotonic_ns() - died_ns > 12 * NS_PER_S
        assert no_raise_ns(running, died_ns, died_ns + 12 * NS_PER_S)
        refreshed = [e for e in running.simulated.written() if e["at_ns"] > died_ns + 3 * NS_PER_S]
        held = [e for e in refreshed if e["at_ns"] < died_ns + 12 * NS_PER_S]
        # Half of a third of 30 s: once or twice in the nine seconds.
        assert {e["charger"] for e in held} == {f"bay{i}" for i in range(1, N_CHARGERS + 1)}
        assert after["guard"]["restarts"] == 2


def test_guard_port_that_was_pulled_is_opened_again_for_both_without_a_takeover(
    running: Running,
) -> None:
    before = running.until_raised()
    running.simulated.inject(Fault("unplug", "bus.one", for_ns=3 * NS_PER_S))
    running.until(lambda found: found["buses"]["one"]["is_open"] is False)
    after = running.until(lambda f: f["buses"]["one"]["is_open"] and f["mode"] == "run")
    assert after["scan"]["pid"] == before["scan"]["pid"]
    assert after["guard"]["takeovers"] == 0
    running.until_raised()
    assert "guard: one: port lost" in running.said()
    assert "guard: one: port open again" in running.said()
    # The guard's own copy is the new one, too.
    died_ns = time.monotonic_ns()
    os.kill(after["scan"]["pid"], signal.SIGKILL)
    assert last_failsafe_ns(running, died_ns) <= bound_ns(running) + GRACE_ns


def test_guard_port_that_is_pulled_while_the_scan_is_dead_is_taken_over_when_it_is_back(
    tmp_path: Path,
) -> None:
    with rig(tmp_path, "--crash-limit", "1", "--crash-window-s", "60") as running:
        pid = running.until_raised()["scan"]["pid"]
        running.simulated.inject(Fault("unplug", "bus.one", for_ns=3 * NS_PER_S))
        os.kill(pid, signal.SIGKILL)
        died_ns = time.monotonic_ns()
        assert last_failsafe_ns(running, died_ns) < 6 * NS_PER_S
        found = running.until(lambda found: found["guard"]["state"] == "stable")
        assert found["mode"] == "failsafe"


AUDITED = """
import sys, threading
from loadctl.guard import process
from loadctl.guard.__main__ import main

seen = []
is_on = False


def hook(event, arguments):
    if is_on and event in ("import", "open", "socket.connect", "compile", "exec"):
        seen.append(f"{event} {arguments!r} in {threading.current_thread().name}")


def run(guard, before=process.Guard.run):
    global is_on
    is_on = True
    try:
        return before(guard)
    finally:
        is_on = False


process.Guard.run = run
sys.addaudithook(hook)
out, *arguments = sys.argv[1:]
code = main(arguments)
open(out, "w").write("\\n".join(seen))
sys.exit(code)
"""


def test_guard_imports_and_opens_nothing_from_its_first_round_to_its_end(tmp_path: Path) -> None:
    """Through a start, a takeover, a restart, a hand-back and a stop."""
    path = tmp_path / "site.toml"
    path.write_text(site_text(tmp_path / "sim" / "bus-one", N_CHARGERS))
    tables = load_site(path).tables
    with SimSite(tables, SCENARIO, tmp_path / "sim") as simulated:
        site_dir, lock_fd = claim(tmp_path / "rt", tables.site.name)
        os.close(lock_fd)
        site_dir.tables.write_text(plain.dump(tables))
        command = [sys.executable, "-P", "-c", AUDITED, str(tmp_path / "seen")]
        command += ["--tables", str(site_dir.tables), "--runtime-dir", str(site_dir.path)]
        with (tmp_path / "stderr").open("wb") as stderr:
            process = subprocess.Popen(command, env=ENV, stderr=stderr)
        running = Running(process, simulated, path, tmp_path / "rt")
        pid = until_watched(running, 0)
        os.kill(pid, signal.SIGKILL)
        until_watched(running, pid)
        process.terminate()
        assert process.wait(10) == 0, running.said()
    assert (tmp_path / "seen").read_text() == ""


def until_watched(running: Running, after_pid: int) -> int:
    """The pid of a scan at work, other than the one named: by the link, no lock is held here."""
    path = SiteDir(running.runtime_dir / "rig").link
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        if path.exists():
            found = Link.open_readonly(path).snapshot()
            if found["state"] == State.WATCHING and found["scan_pid"] != after_pid:
                return int(found["scan_pid"])
        time.sleep(0.05)
    raise AssertionError(running.said())
