"""Real-time settings: applied where allowed, always reported, in a process of their own."""

import errno
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadctl import realtime
from loadctl.image import MAX_SETTINGS
from loadctl.realtime import APPLIED, NOT_ASKED, REFUSED, SETTINGS, RealTime

ROOT = Path(__file__).resolve().parents[2]
APPLY = """
import gc, json, os, sys
from loadctl.realtime import RealTime
found = RealTime().apply(int(sys.argv[1]), 0 if sys.argv[2] == "pinned" else None)
print(json.dumps({
    "applied": [list(one) for one in found],
    "gc": gc.isenabled(), "interval": sys.getswitchinterval(), "frozen": gc.get_freeze_count(),
    "slack": int(open("/proc/self/timerslack_ns").read()),
    "policy": os.sched_getscheduler(0), "cpus": len(os.sched_getaffinity(0)),
}))
"""


def applied_in_a_process(priority: int, pinned: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", APPLY, str(priority), pinned],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_realtime_every_setting_has_a_place_in_the_image() -> None:
    assert len(SETTINGS) <= MAX_SETTINGS


def test_realtime_applies_what_needs_no_rights_and_reports_every_setting() -> None:
    found = applied_in_a_process(0, "free")
    states = dict(zip(SETTINGS, found["applied"], strict=True))
    assert states["SCHED_FIFO"] == [NOT_ASKED, 0]
    assert states["CPU affinity"] == [NOT_ASKED, 0]
    assert states["no garbage collection"] == [APPLIED, 0]
    assert states["switch interval"] == [APPLIED, 0]
    assert states["timer slack"] == [APPLIED, 0]
    assert found["slack"] == 1
    assert found["gc"] is False
    assert found["interval"] == pytest.approx(0.0001)
    assert found["frozen"] > 1_000
    assert states["memory lock"][0] in (APPLIED, REFUSED)
    assert states["CPU latency request"][0] in (APPLIED, REFUSED)


def test_realtime_asked_for_fifo_and_a_cpu_has_them_or_says_why_not() -> None:
    found = applied_in_a_process(10, "pinned")
    states = dict(zip(SETTINGS, found["applied"], strict=True))
    has_fifo = states["SCHED_FIFO"] == [APPLIED, 0]
    assert (found["policy"] == os.SCHED_FIFO) is has_fifo
    assert states["SCHED_FIFO"] in ([APPLIED, 0], [REFUSED, errno.EPERM])
    assert states["CPU affinity"] == [APPLIED, 0]
    assert found["cpus"] == 1


def test_realtime_refused_setting_is_reported_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setattr(realtime, "lock_memory", refuse)
    monkeypatch.setattr(realtime, "stop_collector", lambda: None)
    monkeypatch.setattr(realtime, "DMA_LATENCY_PATH", "/nonexistent/latency")
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    monkeypatch.setattr(realtime, "tighten_timers", lambda: None)
    found = RealTime().apply(40, 0)
    assert [one.state for one in found] == [REFUSED] * 4 + [APPLIED] * 3
    assert [one.error for one in found[:4]] == [errno.EPERM] * 3 + [errno.ENOENT]
    assert realtime.words(0, *found[0]) == "SCHED_FIFO: refused, Operation not permitted"
    assert realtime.words(4, *found[4]) == "no garbage collection: applied"
    assert realtime.words(1, NOT_ASKED, 0) == "CPU affinity: not asked for"


def test_realtime_latency_request_stays_open_and_asks_for_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latency"
    path.touch()
    monkeypatch.setattr(realtime, "DMA_LATENCY_PATH", str(path))
    settings = RealTime()
    settings._hold_latency()
    assert settings.latency_fd is not None
    os.fstat(settings.latency_fd)
    os.close(settings.latency_fd)
    assert path.read_bytes() == bytes(4)


@pytest.mark.parametrize(("scan", "guard"), [(40, 50), (0, 0), (1, 11), (95, 99), (98, 99)])
def test_realtime_guard_stands_above_the_scan_where_the_scan_is_asked_to_be_fifo(
    scan: int, guard: int
) -> None:
    assert realtime.guard_priority(scan) == guard


def test_realtime_reset_on_fork_is_asked_for_at_the_same_priority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int, int]] = []

    def note(pid: int, policy: int, param: os.sched_param) -> None:
        asked.append((pid, policy, param.sched_priority))

    monkeypatch.setattr(os, "sched_setscheduler", note)
    assert realtime.reset_on_fork(0) == (NOT_ASKED, 0)
    assert realtime.reset_on_fork(50) == (APPLIED, 0)
    assert asked == [(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 50)]


@pytest.mark.parametrize(
    ("caps", "limits", "may"),
    [
        ("0000000000004000", (0, 0), True),  # CAP_IPC_LOCK
        ("0000000000000000", (8 << 20, 8 << 20), False),
        ("0000000000000000", (8 << 20, 1 << 30), True),  # the soft limit can be raised
        ("0000000000000000", (-1, -1), True),
    ],
)
def test_realtime_memory_is_locked_only_where_the_limit_lets_it_grow(
    caps: str, limits: tuple[int, int], may: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lock under a small limit would make an allocation in the middle of a scan fail."""
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapEff:\t{caps}\n")
    monkeypatch.setattr(realtime, "PROC_STATUS_PATH", str(status))
    monkeypatch.setattr(realtime.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(realtime.resource, "setrlimit", lambda *_: None)
    assert realtime.may_lock_memory() is may


def test_realtime_what_this_user_could_have_is_tried_in_another_process() -> None:
    before = (os.sched_getscheduler(0), sys.getswitchinterval(), gc.isenabled())
    found = realtime.could_have(10, 0)
    assert len(found) == len(SETTINGS)
    assert found[SETTINGS.index("no garbage collection")] == (APPLIED, 0)
    assert found[SETTINGS.index("SCHED_FIFO")] in ((APPLIED, 0), (REFUSED, errno.EPERM))
    assert (os.sched_getscheduler(0), sys.getswitchinterval(), gc.isenabled()) == before


def test_realtime_cpu_that_is_not_there_is_refused_with_its_reason() -> None:
    found = realtime.could_have(0, 4_000)
    assert found[SETTINGS.index("SCHED_FIFO")] == (NOT_ASKED, 0)
    assert found[SETTINGS.index("CPU affinity")] == (REFUSED, errno.EINVAL)


def test_realtime_every_refusal_that_can_be_mended_says_how() -> None:
    assert len(realtime.REMEDIES) == len(SETTINGS)
    assert "LimitRTPRIO=99" in realtime.remedy(0, REFUSED)
    assert [realtime.remedy(i, APPLIED) for i in range(len(SETTINGS))] == [""] * len(SETTINGS)
