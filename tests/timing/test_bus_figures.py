"""What must hold of the time on a bus, in virtual time: short forms here, long ones on request."""

from pathlib import Path

import pytest

from bench import bus
from loadctl.units import NS_PER_S

HOUR_s = 3_600


@pytest.mark.parametrize("turnaround_ms", [None, 10, 2])
def test_bus_time_of_one_sdm630_and_eight_heidelbergs_is_used(
    tmp_path: Path, turnaround_ms: int | None
) -> None:
    used = bus.efficiency(tmp_path, 19_200, turnaround_ms, n_scans=60, **bus.HEIDELBERG)
    assert used.mean >= 0.95
    if turnaround_ms is None:  # as the maps say
        assert used.worst >= 0.95


def test_bus_time_at_115200_is_used(tmp_path: Path) -> None:
    for turnaround_ms in (None, 2):
        used = bus.efficiency(tmp_path, 115_200, turnaround_ms, n_scans=60)
        assert (used.mean >= 0.90, used.worst >= 0.90) == (True, True)


@pytest.mark.parametrize("turnaround_ms", [None, 10, 5, 2])
def test_six_boxes_with_gaps_take_hardly_longer_than_the_wire(
    tmp_path: Path, turnaround_ms: int | None
) -> None:
    assert bus.six_boxes(tmp_path, turnaround_ms) <= 1.15


def check_kept(kept: bus.Kept) -> None:
    assert kept.missed == 0
    assert kept.n_with_timeout > kept.n_scans / 20
    assert kept.worst_ms <= kept.predicted_ms
    assert kept.worst_take_ms <= kept.predicted_take_ms
    assert kept.ratio <= 1.25


SITES = [
    {"n_chargers": 8, "period_ms": 500},
    {"n_chargers": 8, "period_ms": 700, **bus.HEIDELBERG},
    {"n_chargers": 5, "n_buses": 3, "period_ms": 500},
]


@pytest.mark.parametrize("site", SITES)
def test_plan_is_never_exceeded_by_faults_that_it_counts_and_hardly_larger_than_the_worst(
    tmp_path: Path, site: dict[str, object]
) -> None:
    check_kept(bus.kept_plan(tmp_path, 1, 240 * NS_PER_S, **site))


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("site", SITES)
def test_plan_is_never_exceeded_in_an_hour_of_faults_that_it_counts(
    tmp_path: Path, site: dict[str, object]
) -> None:
    check_kept(bus.kept_plan(tmp_path, 2, HOUR_s * NS_PER_S, **site))


@pytest.mark.parametrize("site", SITES)
def test_last_decrease_is_on_the_wire_within_a_period_and_a_scan(
    tmp_path: Path, site: dict[str, object]
) -> None:
    found = bus.reaction(tmp_path, 20, **site)
    assert found["within"] == found["trials"] == 20


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("site", SITES)
def test_last_decrease_is_on_the_wire_in_time_a_thousand_times(
    tmp_path: Path, site: dict[str, object]
) -> None:
    found = bus.reaction(tmp_path, 1_000, **site)
    assert found["within"] == found["trials"] == 1_000


def test_dead_device_takes_one_timeout_of_a_scan(tmp_path: Path) -> None:
    worst_ms, timeout_ms, most = bus.dead_device_ms(tmp_path)
    assert (worst_ms <= timeout_ms, most) == (True, 1)


def test_dead_bus_costs_the_other_nothing(tmp_path: Path) -> None:
    beside_well, beside_dead = bus.dead_bus(tmp_path)
    assert beside_well == beside_dead
    assert min(len(said) for said in beside_well) >= 9  # a whole scan's talk
