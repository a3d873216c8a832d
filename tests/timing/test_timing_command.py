"""`loadctl timing` as a person runs it: a stall is one missed cycle, a real site is only read."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadctl import runtime
from tests.support.pty_boxes import PtyBoxes
from tests.support.running_site import ENV, LOADCTL, charging, running_site, site_text

pytestmark = pytest.mark.timing

SPAN_KEYS = {"min", "p50", "p99", "p999", "max", "n"}


def timing(*words: str | Path, env: dict[str, str] = ENV) -> subprocess.CompletedProcess[str]:
    command = [*LOADCTL, "timing", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)


def no_bus(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return timing("--no-bus", "--no-cyclictest", *words)


def test_stall_of_one_and_a_half_periods_is_exactly_one_missed_cycle() -> None:
    """At 200 ms a busy machine adds no miss of its own."""
    done = no_bus("--for", "4s", "--period-ms", "200", "--inject-stall", "--json")
    found = json.loads(done.stdout)
    assert (found["stalls_injected"], found["missed"], found["skipped"]) == (1, 1, 0)
    assert found["scans"] == 20
    assert 300 <= found["scan_ms"]["max"] < 400
    assert found["scan_ms"]["p50"] < 200
    assert found["verdict"]["holds"] is False
    assert done.returncode == 0


def test_loop_without_a_bus_answers_with_every_number_that_was_promised(tmp_path: Path) -> None:
    html_path = tmp_path / "report.html"
    done = no_bus("--for", "3s", "--period-ms", "100", "--json", "--html", html_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["wake_us"]) == set(found["scan_ms"]) == SPAN_KEYS
    assert found["wake_us"]["min"] >= 0
    assert found["wake_us"]["p50"] <= found["wake_us"]["p99"] <= found["wake_us"]["max"]
    assert (found["scans"], found["missed"], found["gc_runs"]) == (30, 0, 0)
    assert (found["read_ms"], found["reaction_ms"], found["cyclictest"]) == (None, None, None)
    assert found["cyclictest_words"] == "not asked for"
    assert found["verdict"]["holds"] is True
    check_page(html_path.read_text())


def check_page(text: str) -> None:
    """Whole, self-contained, with its plots."""
    assert text.count("<svg") == text.count("</svg>") == 5
    assert "http" not in text
    assert "<script" not in text
    body = text[text.index("<body>") : text.index("</body>") + len("</body>")]
    plots = [plot for plot in ET.fromstring(body).iter() if plot.tag == "svg"]
    assert [len(list(plot.iter("rect"))) > 0 for plot in plots] == [True] * 5


def test_text_report_ends_with_the_verdict_and_shows_an_overflow_bar() -> None:
    done = no_bus("--for", "2s", "--period-ms", "100")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("This gateway holds 100 ms with a margin of ")
    assert sum(line.strip().startswith("from ") for line in lines) == 2
    assert "missed cycles: 0, further periods skipped: 0" in lines


def test_stress_and_cyclictest_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    """A PATH with nothing on it; the administrator's directories are looked at all the same."""
    env = {**ENV, "PATH": str(tmp_path)}
    words = ("--no-bus", "--for", "2s", "--period-ms", "100", "--stress", "--json")
    found = json.loads(timing(*words, env=env).stdout)
    assert found["stress"] == "stress-ng is not installed: measured without stress"
    assert (found["scans"], found["missed"]) == (20, 0)
    assert found["cyclictest"] is None
    assert found["cyclictest_words"] == "not installed (package rt-tests)"


def test_simulated_site_is_measured_from_wake_to_reaction() -> None:
    done = timing("--for", "12s", "--no-cyclictest", "--json")
    found = json.loads(done.stdout)
    assert (found["kind"], found["period_ms"], found["scans"]) == ("simulated", 500, 24)
    for key in ("wake_us", "read_ms", "step_ms", "write_ms", "scan_ms", "reaction_ms"):
        assert found[key]["max"] > 0, key
    reaction = found["reaction"]
    assert reaction["trials"] >= 3
    assert (reaction["unanswered"], reaction["within_bound"]) == (0, reaction["trials"])
    assert found["gc_runs"] == 0


# on the ports of a site


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[PtyBoxes]:
    """A meter and two chargers that have yet to be armed, as registers on a pseudo-terminal."""
    meter = {6: 0x0003, 7: 0x8270, 8: 0x0003, 9: 0x8270, 10: 0x0003, 11: 0x8270}
    found = PtyBoxes(tmp_path / "port", {1: meter, 11: {}, 12: {}})
    with found:
        yield found


@pytest.mark.parametrize("more", [(), ("--read-chargers",)])
def test_real_site_is_read_and_never_written_to(
    boxes: PtyBoxes, tmp_path: Path, more: tuple[str, ...]
) -> None:
    path = tmp_path / "site.toml"
    path.write_text(site_text(tmp_path / "port"))
    done = timing(
        *("--site", path, "--runtime-dir", tmp_path / "rt", "--for", "6s", "--no-cyclictest"),
        *(*more, "--json"),
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["scans"]) == ("read-only", 20)
    assert found["read_ms"]["max"] > 0
    assert {message.address for message in boxes.messages} == {1, 11, 12}
    assert [message for message in boxes.messages if message.is_write] == []
    assert {request[1] for request in boxes.requests} <= {3, 4}


def test_site_that_runs_is_refused_by_its_locks_and_goes_on(tmp_path: Path) -> None:
    with running_site(tmp_path, site_text(tmp_path / "sim" / "bus-one"), charging(1)) as running:
        running.until(lambda found: found["mode"] == "run")
        words: tuple[Any, ...] = ("--site", running.site_path, "--for", "1s")
        same = timing(*words, "--runtime-dir", running.runtime_dir)
        assert (same.returncode, same.stdout) == (2, "")
        assert "site 'rig' runs already" in same.stderr
        elsewhere = timing(*words, "--runtime-dir", tmp_path / "elsewhere")
        assert (elsewhere.returncode, elsewhere.stdout) == (4, "")
        assert "is locked by another program" in elsewhere.stderr
        found = running.json()
        assert (found["mode"], found["guard"]["takeovers"]) == ("run", 0)


def test_site_is_free_again_after_it_was_measured(boxes: PtyBoxes, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(site_text(tmp_path / "port"))
    timing("--site", path, "--runtime-dir", tmp_path / "rt", "--for", "1s", "--no-cyclictest")
    _, fd = runtime.claim(tmp_path / "rt", "rig")
    os.close(fd)
