"""cyclictest: its command line and its report."""

from pathlib import Path

import pytest

from loadctl.timing import cyclictest
from loadctl.timing.cyclictest import CyclictestFailed, Slice

MS_ns = 1_000_000
REPORT = {"thread": {"0": {"histogram": {"30000": 2, "9000": 1}, "cycles": 5, "max": 2_000_000}}}


def test_cyclictest_report_gives_samples_in_order_and_counts_what_is_above() -> None:
    assert cyclictest.parse(REPORT) == Slice((9_000, 30_000, 30_000), 2, 2_000_000)


def test_cyclictest_slices_are_pooled_with_those_above_as_their_longest() -> None:
    slices = [Slice((1, 2), 0, 2), Slice((3,), 2, 50)]
    assert cyclictest.pooled(slices) == [1, 2, 3, 50, 50]


def test_cyclictest_is_asked_for_the_same_period_policy_and_priority() -> None:
    path = Path("/t/report")
    words = cyclictest.command("cyclictest", 10 * MS_ns, 3_000 * MS_ns, 80, 1, True, path)
    assert words == [
        *("cyclictest", "-q", "-N", "-t1", "-i10000", "-l300", "-h1000000", "--json=/t/report"),
        *("-p80", "--policy=fifo", "-m", "-a1"),
    ]
    words = cyclictest.command("cyclictest", 10 * MS_ns, 3_000 * MS_ns, 0, None, False, path)
    assert words[8:] == ["--policy=other"]


def test_cyclictest_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "cyclictest"
    program.write_text("#!/bin/sh\necho 'no rights' >&2\necho more >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(CyclictestFailed, match=r"^cyclictest failed with exit code 3: no rights$"):
        cyclictest.run([str(program)], MS_ns, tmp_path / "report")


def test_cyclictest_whose_report_is_another_is_said_so(tmp_path: Path) -> None:
    program = tmp_path / "cyclictest"
    program.write_text(f"#!/bin/sh\necho '{{}}' > {tmp_path}/report\n")
    program.chmod(0o755)
    with pytest.raises(CyclictestFailed, match="its report cannot be read"):
        cyclictest.run([str(program)], MS_ns, tmp_path / "report")


def test_cyclictest_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CyclictestFailed, match="No such file"):
        cyclictest.run([str(tmp_path / "none")], MS_ns, tmp_path / "report")
