"""Which late scans fell into time that the host took."""

from pathlib import Path

import pytest

from loadctl.timing import stolen
from loadctl.timing.stolen import AROUND_ns, Sample, n_in_stolen_time, sample, stolen_ns

MS_ns = 1_000_000
SAMPLES = [Sample(1_000 * MS_ns, 50), Sample(1_050 * MS_ns, 50), Sample(1_100 * MS_ns, 60)]


def test_stolen_is_what_the_count_grew_by() -> None:
    assert (stolen_ns(SAMPLES), stolen_ns([]), stolen_ns(SAMPLES[:1])) == (10, 0, 0)


def test_what_is_taken_in_the_break_between_two_rounds_is_none_of_a_scan() -> None:
    later = [Sample(at_ns + 5_000 * MS_ns, n + 900) for at_ns, n in SAMPLES]
    samples = [*SAMPLES, *later]
    assert stolen_ns(samples) == 20
    assert n_in_stolen_time(samples, [3_000 * MS_ns], [3_001 * MS_ns]) == 0


@pytest.mark.parametrize(
    ("started_ms", "ended_ms", "n"),
    [(1_060, 1_070, 1), (800, 949, 0), (800, 950, 1), (1_200, 1_300, 1), (1_201, 1_300, 0)],
)
def test_scan_during_growth_or_close_by_counts(started_ms: int, ended_ms: int, n: int) -> None:
    assert AROUND_ns == 100 * MS_ns
    assert n_in_stolen_time(SAMPLES, [started_ms * MS_ns], [ended_ms * MS_ns]) == n


def test_sample_reads_the_eighth_count_of_all_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stat"
    path.write_text("cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    monkeypatch.setattr(stolen, "STAT_PATH", str(path))
    assert sample().stolen_ns == 800 * MS_ns
    path.write_text("cpu  1 2 3\n")  # an old kernel knows of none
    assert sample().stolen_ns == 0
