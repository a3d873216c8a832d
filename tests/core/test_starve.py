"""Chargers that hear and do not obey: the others make room, and their own watchdog is let act."""

from __future__ import annotations

from typing import Any

from tests.support.core_bench import Bench
from tests.support.core_sites import NS_PER_S, REFUSED, charger, circuit, meter, site

# hold 5 s and car 6 s: followed by 11 s, or not; watchdog 15 s, starved for max(18, 15 + 11) s.
FOLLOW_s, STARVE_s = 11, 26


def garage(n: int = 2, limit_mA: int = 32000, **changes: Any) -> Bench:
    """Everyone at 16 A under a dynamic circuit of 32 A, with no other load."""
    main = circuit("main", limit_mA, is_dynamic=True, meter=0)
    rows = [charger(f"c{i}", **{"fallback_mA": 6000, **changes}) for i in range(n)]
    bench = Bench(site([main], rows, [meter("grid")]))
    bench.settle_in(0)
    assert bench.setpoints_mA == [16000] * n
    return bench


def deafen(bench: Bench, background_mA: int = 12000) -> None:
    """The building takes 12 A: cut to 10 A each; charger 0 acknowledges and goes on at 16 A."""
    for _ in range(2):
        bench.draws_mA = [16000, bench.setpoints_mA[1]]
        bench.loads_mA = [background_mA + sum(bench.draws_mA)]
        bench.scan()


def go_on(bench: Bench, seconds: float, background_mA: int = 12000) -> None:
    for _ in range(int(seconds * 2)):
        bench.draws_mA = [16000, bench.setpoints_mA[1]]
        bench.loads_mA = [background_mA + sum(bench.draws_mA)]
        bench.are_read = {i for i in (0, 1) if not bench.charger(i)["is_silent"]}
        bench.scan()


def test_others_make_room_within_follow_time_and_a_scan() -> None:
    bench = garage()
    deafen(bench, 6000)
    assert bench.setpoints_mA == [13000, 13000]
    go_on(bench, FOLLOW_s - 1.5, 6000)
    assert bench.setpoints_mA == [13000, 13000]
    go_on(bench, 2.5, 6000)
    assert bench.core.starving() == [0]
    assert bench.setpoints_mA[1] == 32000 - 6000 - 16000


def test_starved_gets_no_take_no_probe_and_says_so() -> None:
    bench = garage()
    deafen(bench)
    go_on(bench, FOLLOW_s + 1)
    bench.probed = {0}
    scan = bench.scan()
    assert bench.core.starving() == [0]
    assert (scan.probes, 0 in scan.takes, 0 in scan.gives) == ({}, False, False)
    assert bench.charger(0)["reason"] == 22
    assert bench.charger(0)["is_silent"] == 1


def test_starve_lasts_until_its_fallback_was_followed() -> None:
    bench = garage()
    deafen(bench)
    go_on(bench, FOLLOW_s + 1)
    left_s = (bench.charger(0)["starve_until_ns"] - bench.now_ns) / NS_PER_S
    go_on(bench, left_s - 0.5)
    assert bench.core.starving() == [0]
    assert bench.charger(0)["reserve_mA"] == 16000
    go_on(bench, 1.5)
    assert bench.core.starving() == []
    assert bench.charger(0)["is_silent"] == 1
    assert left_s + 1 >= STARVE_s - 1


def fall_back(bench: Bench, seconds: float, are_read: set[int]) -> None:
    """Its fallback of 6 A acts."""
    for _ in range(int(seconds * 2)):
        bench.draws_mA = [6000, bench.setpoints_mA[1]]
        bench.loads_mA = [6000 + sum(bench.draws_mA)]
        bench.are_read = are_read
        bench.scan()


def test_completed_starve_leaves_what_was_seen_of_it_until_less_is_seen() -> None:
    bench = garage()
    deafen(bench, 6000)
    go_on(bench, FOLLOW_s + 1, 6000)
    fall_back(bench, STARVE_s + 60, {1})  # it never answers again
    assert bench.core.starving() == []
    assert bench.charger(0)["reserve_mA"] == 16000
    bench.probed = {0}
    fall_back(bench, 2, {0, 1})
    assert bench.charger(0)["reserve_mA"] == 13000  # what it was told before


def test_no_two_samples_span_a_starve() -> None:
    """In the scan that samples it first after its starve all that the meter reads beyond the other
    one is background: its fallback may have acted when the meter was read."""
    bench = garage()
    deafen(bench, 6000)
    go_on(bench, FOLLOW_s + 1, 6000)
    bench.probed = {0}
    until_ns = bench.charger(0)["starve_until_ns"]
    seen = []
    while len(seen) < 3:
        go_on(bench, 0.5, 6000)
        row = bench.charger(0)
        if row["sample_at_ns"][row["sample_i"]] >= until_ns:
            seen.append(bench.core.backgrounds_high_mA()[0][0])
    assert (seen[0], seen[2]) == (6000 + 16000, 6000)


def test_completed_starve_of_one_that_is_not_measured_leaves_what_it_was_told() -> None:
    bench = garage(limit_mA=100000, has_measured_current=False)
    bench.loads_mA = [77000 + 32000]
    bench.reported_mA = [16000, None]
    bench.scan()
    assert bench.setpoints_mA == [11500, 11500]
    bench.loads_mA = [100000]
    bench.run(FOLLOW_s + 1)
    assert (bench.core.starving(), bench.charger(0)["reserve_mA"]) == ([0], 16000)
    bench.are_read = {1}
    bench.run(STARVE_s + 1)
    assert bench.core.starving() == []
    assert bench.charger(0)["reserve_mA"] == 11500


def test_one_that_took_more_all_through_its_starve_is_counted_at_its_draw_at_once() -> None:
    """Starving it again helps as little: that is tried after ten minutes."""
    bench = garage()
    deafen(bench)
    go_on(bench, FOLLOW_s + 1)
    bench.probed = {0}
    go_on(bench, STARVE_s + 1)
    assert bench.charger(0)["is_silent"] == 0
    assert bench.charger(0)["setpoint_mA"] == 6000
    go_on(bench, 1)
    assert bench.charger(0)["is_overdue"] == 1
    assert bench.charger(0)["reserve_mA"] == 16000
    go_on(bench, 600 - FOLLOW_s)
    assert bench.charger(0)["n_starves"] == 1
    go_on(bench, FOLLOW_s)
    assert bench.core.starving() == [0]
    assert bench.charger(0)["n_starves"] == 2


def test_without_watchdog_nothing_is_starving_and_others_make_room() -> None:
    bench = garage(watchdog_ns=None)
    deafen(bench, 6000)
    go_on(bench, FOLLOW_s + 2, 6000)
    assert bench.core.starving() == []
    assert bench.charger(0)["is_overdue"] == 1
    assert bench.setpoints_mA[1] == 10000


def test_fallback_not_below_what_it_takes_is_no_cure() -> None:
    bench = garage(fallback_mA=16000)
    deafen(bench)
    go_on(bench, FOLLOW_s + 2)
    assert bench.core.starving() == []


def test_outlets_of_one_address_starve_together() -> None:
    bench = garage(address=7)
    deafen(bench)
    go_on(bench, FOLLOW_s + 2)
    assert bench.core.starving() == [0, 1]


def test_refused_decreases_starve_after_the_follow_time() -> None:
    bench = garage()
    bench.codes = {0: REFUSED}
    deafen(bench)
    go_on(bench, FOLLOW_s - 2)
    assert bench.core.starving() == []
    go_on(bench, 3)
    assert bench.core.starving() == [0]


def test_accepted_decrease_ends_the_count_of_refusals() -> None:
    bench = garage()
    bench.codes = {0: REFUSED}
    deafen(bench)
    go_on(bench, FOLLOW_s - 3)
    bench.codes = {}
    bench.draws_mA[0] = 10000
    for _ in range(20):
        bench.draws_mA = bench.setpoints_mA
        bench.loads_mA = [12000 + sum(bench.draws_mA)]
        bench.scan()
    assert bench.charger(0)["is_refusing"] == 0
    assert bench.core.starving() == []


def test_box_that_reports_more_in_force_counts_at_that_and_starves() -> None:
    """It measures nothing: only what it says of itself shows that it does not obey."""
    bench = garage(limit_mA=100000, has_measured_current=False)
    bench.loads_mA = [80000 + 32000]
    bench.reported_mA = [16000, None]
    bench.scan()
    assert bench.setpoints_mA[0] == 10000
    bench.run(FOLLOW_s - 1)
    assert bench.charger(0)["reserve_mA"] == 16000
    assert bench.core.starving() == []
    bench.run(2.5)
    assert bench.core.starving() == [0]


def test_further_decreases_give_one_that_does_not_obey_no_more_time() -> None:
    """The building rises a little every few seconds; each rise is a new, lower setpoint."""
    bench = garage(limit_mA=100000)
    for k in range(int((FOLLOW_s + 1) * 2)):
        bench.draws_mA = [16000, bench.setpoints_mA[1]]
        bench.loads_mA = [70000 + 300 * (k // 4) + sum(bench.draws_mA)]
        bench.scan()
    assert bench.core.starving() == [0]
    assert 70000 + 300 * 5 + 16000 + bench.setpoints_mA[1] <= 100000


def test_one_that_follows_each_of_many_decreases_late_is_not_taken_for_deaf() -> None:
    bench = garage(limit_mA=100000)
    told_mA: list[int] = [16000] * 14
    for k in range(80):
        told_mA.append(bench.setpoints_mA[0])
        bench.draws_mA = [told_mA[-14], bench.setpoints_mA[1]]  # seven seconds behind
        bench.loads_mA = [70000 + 300 * min(k // 4, 15) + sum(bench.draws_mA)]
        bench.scan()
        assert bench.core.starving() == []
        assert bench.charger(0)["is_overdue"] == 0


def test_refused_refresh_counts_at_least_the_fallback_at_once() -> None:
    """Refused writes need not feed its watchdog: a paused box may be on its way to its fallback."""
    bench = garage()
    bench.states = ["A", "C"]
    bench.draws_mA = [0, 16000]
    bench.loads_mA = [16000]
    bench.run(60)
    assert (bench.setpoints_mA[0], bench.charger(0)["reserve_mA"]) == (0, 0)
    bench.core.refreshed(0, REFUSED, bench.now_ns)
    assert bench.charger(0)["reserve_mA"] == 6000
    assert bench.charger(0)["is_silent"] == 0
    bench.codes = {0: REFUSED}
    bench.run(FOLLOW_s + 2)
    assert bench.core.starving() == []  # its fallback would not lower it
    bench.codes = {}
    bench.run(2 * FOLLOW_s + 1)
    assert bench.charger(0)["reserve_mA"] == 0


def test_pause_that_is_reported_as_less_than_its_minimum_is_a_pause() -> None:
    bench = garage(limit_mA=100000, has_measured_current=False)
    bench.states = ["A", "C"]
    bench.reported_mA = [1000, None]
    bench.run(60)
    assert (bench.setpoints_mA[0], bench.charger(0)["reserve_mA"]) == (0, 0)


def test_setpoint_that_is_reported_rounded_up_is_proven() -> None:
    bench = garage(limit_mA=100000, has_measured_current=False)
    bench.loads_mA = [80600 + 32000]
    bench.reported_mA = [16000, None]
    bench.scan()
    assert bench.setpoints_mA[0] == 9700
    bench.reported_mA = [10000, None]
    bench.loads_mA = [80600 + 19400]
    bench.run(2 * FOLLOW_s + 1)
    assert (bench.charger(0)["is_unproven"], bench.charger(0)["reserve_mA"]) == (0, 9700)


def test_one_is_paused_beside_a_deaf_one_and_the_other_gets_what_is_left() -> None:
    """Beside 16 A that nobody can lower 11 A are left: one minimum fits, two do not. Once the deaf
    one has fallen back there is room for more; who was paused waits for its time, and then all have
    their shares."""
    main = circuit("main", 60000, is_dynamic=True, meter=0, background_mA=33000)
    bench = Bench(site([main], [charger(f"c{i}") for i in range(3)], [meter("grid")]))
    bench.settle_in(12000)
    assert bench.setpoints_mA == [16000] * 3
    bench.probed = {2}
    story: list[list[int]] = []
    for k in range(900):
        own_mA = 16000 if k < 60 else 6000  # its watchdog has fired
        bench.draws_mA = [*bench.setpoints_mA[:2], own_mA]
        bench.loads_mA = [33000 + sum(bench.draws_mA)]
        bench.are_read = {i for i in range(3) if not bench.charger(i)["is_silent"]}
        bench.scan()
        if not story or story[-1] != bench.setpoints_mA[:2]:
            story.append(bench.setpoints_mA[:2])
        assert k < 24 or 33000 + sum(bench.setpoints_mA[:2]) + own_mA <= 60000
    assert story[:2] == [[9000, 9000], [9000, 0]]
    raised_mA = [a_mA for a_mA, b_mA in story[1 : story.index([16000, 0]) + 1] if b_mA == 0]
    assert raised_mA == sorted(raised_mA)
    assert bench.setpoints_mA == [9000, 9000, 9000]


def test_further_decreases_give_a_box_that_says_more_no_more_time() -> None:
    """It measures nothing; the building rises a little every few seconds."""
    bench = garage(limit_mA=100000, has_measured_current=False)
    bench.reported_mA = [16000, None]
    for k in range(4):
        bench.loads_mA = [104000 + 1000 * k]
        bench.scan()
        bench.loads_mA = [100000]
        bench.run(2)
        assert bench.core.starving() == []
    bench.run(2)
    assert bench.setpoints_mA == [12500, 12500]
    assert bench.core.starving() == [0]
