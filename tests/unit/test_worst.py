"""New worst cases: what is told of them, and that the ring is not flooded."""

import random
from pathlib import Path

from hw.sim.scenario import Scenario
from loadctl.events import Event, event_text
from loadctl.image import SPANS
from loadctl.scan import READ, STEP, WAKE, WHOLE
from loadctl.worst import WARM_UP_SCANS, Worst
from tests.support.scan_rig import MS_ns, S_ns, VirtualRig
from tests.support.sim_sites import metered_site

PERIOD_ns = 500 * MS_ns
LOOK = SPANS.index("look")


def test_worst_is_told_only_after_the_warm_up() -> None:
    worst = Worst(PERIOD_ns)
    assert not worst.is_new(WHOLE, 100 * MS_ns, WARM_UP_SCANS - 1)
    assert not worst.is_new(WHOLE, 100 * MS_ns, WARM_UP_SCANS)
    assert worst.is_new(WHOLE, 126 * MS_ns, WARM_UP_SCANS)


def test_worst_is_told_again_only_when_longer_by_a_quarter_and_by_a_part_of_the_period() -> None:
    worst = Worst(PERIOD_ns)
    told = [
        span_ns // MS_ns
        for span_ns in (n * MS_ns for n in (1, 5, 6, 7, 11, 12, 40, 50, 51, 63, 64))
        if worst.is_new(READ, span_ns, WARM_UP_SCANS)
    ]
    assert told == [1, 7, 40, 51, 64]


def test_worst_of_each_span_is_its_own_and_the_look_has_none() -> None:
    worst = Worst(PERIOD_ns)
    assert [worst.is_new(what, MS_ns, WARM_UP_SCANS) for what in (WAKE, STEP)] == [True, True]
    assert not worst.is_new(LOOK, PERIOD_ns, WARM_UP_SCANS)


def test_worst_of_a_restless_day_are_few() -> None:
    """Spans that grow and grow, up to a hundred periods: fewer than the ring has room for."""
    dice = random.Random(5)
    worst = Worst(PERIOD_ns)
    n_told = 0
    for scan_i in range(50_000):
        span_ns = int(10_000 * 5_000_000 ** (dice.random() * scan_i / 50_000))
        n_told += worst.is_new(WHOLE, span_ns, scan_i)
    assert 5 <= n_told <= 60


def test_scan_that_takes_longer_than_ever_is_an_event(tmp_path: Path) -> None:
    rig = VirtualRig(metered_site(1), Scenario(), tmp_path)
    rig.run_for((WARM_UP_SCANS + 10) * PERIOD_ns)
    assert rig.events(Event.SLOWEST) == []
    rig.clock.stalls[rig.pacer.grid_at_ns] = 60 * MS_ns
    rig.run_for(5 * S_ns)
    found = [(event["first"], event["second"], event["who"]) for event in rig.events(Event.SLOWEST)]
    assert found == [(WAKE, 60_000, -1)]


def test_scan_that_stood_still_for_an_hour_is_an_event_too(tmp_path: Path) -> None:
    """More microseconds than a number of an event holds."""
    rig = VirtualRig(metered_site(1), Scenario(), tmp_path)
    rig.run_for((WARM_UP_SCANS + 10) * PERIOD_ns)
    rig.clock.stalls[rig.pacer.grid_at_ns] = 3_600 * S_ns
    rig.run_for(5 * S_ns)
    found = {event["first"]: event["second"] for event in rig.events(Event.SLOWEST)}
    assert found[WAKE] == 2**31 - 1


def test_slowest_is_said_in_words_with_a_fitting_unit() -> None:
    texts = [
        event_text(Event.SLOWEST, "", what, us, ()) for what, us in ((WAKE, 850), (7, 412_345))
    ]
    assert texts == [
        "the wake-up took 850 us, longer than ever",
        "a whole scan took 412.3 ms, longer than ever",
    ]
