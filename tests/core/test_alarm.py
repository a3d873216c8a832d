"""Background above the declared one, and what failsafe means outside RUN."""

from __future__ import annotations

from typing import Any

from tests.support.core_bench import Bench
from tests.support.core_sites import FAILSAFE, RUN, START, charger, circuit, meter, site


def garage(declared_mA: int = 20000, mode: int = RUN, **changes: Any) -> Bench:
    """Three chargers of 6 A failsafe, tiers 0, 1, 0, under 40 A with 20 A declared."""
    main = circuit(
        "main", 40000, is_dynamic=True, meter=0, background_mA=declared_mA, margin_mA=1000
    )
    rows = [charger(f"c{i}", priority=i % 2, **changes) for i in range(3)]
    return Bench(site([main], rows, [meter("grid")]), mode=mode)


def hold(bench: Bench, background_mA: int, seconds: float) -> None:
    for k in range(int(seconds * 2)):
        bench.draws_mA = bench.setpoints_mA
        load_mA = background_mA + sum(bench.draws_mA)
        bench.loads_mA = [(load_mA, load_mA, load_mA - k % 2)]  # no meter stands quite still
        bench.scan()


def test_background_that_stays_above_the_declared_is_latched_with_its_highest() -> None:
    bench = garage()
    hold(bench, 21000, 4)
    assert bench.core.seen_backgrounds_mA() == [None]
    hold(bench, 21000, 4)
    assert bench.core.seen_backgrounds_mA() == [(21000, 21000, 20999)]
    hold(bench, 5000, 60)
    assert bench.core.seen_backgrounds_mA() == [(21000, 21000, 20999)]
    assert bench.circuit(0)["is_alarmed"] == 1


def test_short_peak_is_no_alarm() -> None:
    bench = garage()
    hold(bench, 10000, 10)
    hold(bench, 30000, 3)
    hold(bench, 10000, 10)
    assert bench.core.seen_backgrounds_mA() == [None]


def test_targets_fall_only_where_the_proof_does_not_hold_lowest_tier_and_last_first() -> None:
    bench = garage()
    hold(bench, 22000, 8)  # 22 + 18 = 40: still holds
    assert bench.core.failsafe_mA() == [6000, 6000, 6000]
    hold(bench, 22100, 13)
    assert bench.core.failsafe_mA() == [6000, 6000, 0]
    hold(bench, 29000, 13)
    assert bench.core.failsafe_mA() == [0, 6000, 0]
    hold(bench, 39000, 13)
    assert bench.core.failsafe_mA() == [0, 0, 0]


def test_charger_that_is_never_paused_keeps_its_target_longest() -> None:
    main = circuit("main", 40000, is_dynamic=True, meter=0, background_mA=20000)
    rows = [charger("c0", never_pause=True), charger("c1", priority=5), charger("c2")]
    bench = Bench(site([main], rows, [meter("grid")]))
    hold(bench, 30000, 8)
    assert bench.core.failsafe_mA() == [6000, 0, 0]


def test_charger_in_doubt_explains_any_load() -> None:
    bench = garage()
    bench.core.charger_answered(0, 2, bench.now_ns)
    hold(bench, 30000, 20)
    assert bench.core.seen_backgrounds_mA() == [None]


def test_latched_background_of_an_earlier_scan_counts_at_once() -> None:
    bench = garage()
    bench.core.latch_background(0, (30000, 0, 0))
    bench.scan()
    assert bench.core.failsafe_mA() == [0, 6000, 0]
    assert bench.core.seen_backgrounds_mA() == [(30000, 0, 0)]


def test_static_share_of_a_dead_meter_leaves_room_for_what_was_seen() -> None:
    bench = garage()
    hold(bench, 27000, 8)
    bench.loads_mA = [None]
    bench.run(60)
    assert sum(bench.setpoints_mA) == 40000 - 1000 - 27000


def test_failsafe_mode_uses_the_lowered_target() -> None:
    bench = garage()
    hold(bench, 10000, 60)
    bench.core.latch_background(0, (30000, 30000, 30000))
    bench.core.set_mode(FAILSAFE)
    hold(bench, 10000, 1)
    assert bench.setpoints_mA == [0, 6000, 0]


def test_start_keeps_min_of_found_and_failsafe_while_neighbours_are_not_armed() -> None:
    """Neighbours that may draw 32 A each are no reason to stop a car at its failsafe current."""
    main = circuit("main", 40000, is_dynamic=True, meter=0, background_mA=20000)
    rows = [charger(f"c{i}", max_mA=32000, rated_mA=32000) for i in range(3)]
    bench = Bench(site([main], rows, [meter("grid")]), setpoint_mA=None, mode=START)
    bench.core.charger_armed(0, True, 12800)
    bench.draws_mA = [12800, 0, 0]
    bench.loads_mA = [22800]
    assert bench.scan().takes == {0: 6000}
    bench.draws_mA = [6000, 0, 0]
    bench.loads_mA = [16000]
    for _ in range(20):
        assert bench.scan().takes == {}
    assert bench.setpoints_mA[0] == 6000


def test_meter_above_the_limit_cuts_below_failsafe_outside_run() -> None:
    bench = garage(mode=RUN)
    hold(bench, 10000, 60)
    bench.core.set_mode(FAILSAFE)
    hold(bench, 10000, 20)
    assert bench.setpoints_mA == [6000, 6000, 6000]
    bench.draws_mA = [6000] * 3
    bench.loads_mA = [45000]
    bench.scan()
    assert sum(bench.setpoints_mA) <= 18000 - 5000


def test_failsafe_mode_pauses_nobody_and_leaving_it_raises_one_after_the_other() -> None:
    bench = garage()
    hold(bench, 1000, 60)
    assert bench.setpoints_mA == [12600, 12700, 12700] or sum(bench.setpoints_mA) == 38000
    bench.core.set_mode(FAILSAFE)
    hold(bench, 1000, 2)
    assert bench.setpoints_mA == [6000, 6000, 6000]
    bench.core.set_mode(RUN)
    risen: dict[int, int] = {}
    for k in range(120):
        bench.draws_mA = bench.setpoints_mA
        bench.loads_mA = [1000 + sum(bench.draws_mA)]
        for i in bench.scan().gives:
            risen.setdefault(i, k)
    assert len(set(risen.values())) == 3  # each at its own offset


def test_dead_charger_hides_no_more_than_its_rating() -> None:
    bench = garage(rated_mA=20000)
    bench.states[0] = "A"
    hold(bench, 5000, 60)
    assert bench.charger(0)["reserve_mA"] == 0
    bench.core.charger_answered(0, 2, bench.now_ns)
    hold(bench, 39900, 8)
    assert bench.core.seen_backgrounds_mA() == [None]
    hold(bench, 40100, 8)
    assert bench.core.seen_backgrounds_mA() == [(20100, 20100, 20099)]


def test_proof_is_redone_with_what_each_may_fall_to() -> None:
    """Failsafe 0 and fallback 6 A count 6 A; where there is no watchdog, the rating counts."""
    main = circuit("main", 40000, is_dynamic=True, meter=0, background_mA=20000)
    rows = [charger("c0"), charger("c1", failsafe_mA=0), charger("c2", watchdog_ns=None)]
    bench = Bench(site([main], rows, [meter("grid")]))
    bench.core.latch_background(0, (20001, 0, 0))
    bench.scan()
    assert bench.core.failsafe_mA() == [6000, 0, 0]  # 6 + 6 + 16 + 20.001 > 40, then 32.001
    bench.core.latch_background(0, (28001, 0, 0))
    bench.scan()
    assert bench.core.failsafe_mA() == [0, 0, 0]


def test_power_limit_is_proven_again_too() -> None:
    """27.6 kW at 230 V are 120 A over the phases: three times 18 A and 66 A fit."""
    main = circuit("main", 100000, is_dynamic=True, meter=0, background_mA=20000, limit_W=27600)
    rows = [charger(f"c{i}") for i in range(3)]
    bench = Bench(site([main], rows, [meter("grid")]))
    bench.core.latch_background(0, (26000, 0, 0))
    bench.scan()
    assert bench.core.failsafe_mA() == [6000, 6000, 6000]
    bench.core.latch_background(0, (26001, 0, 0))
    bench.scan()
    assert bench.core.failsafe_mA() == [6000, 6000, 0]


def test_start_meter_above_its_limit_cuts_its_excess_and_no_more() -> None:
    """One is not armed, and may draw 32 A: no reason to pause those who are at 6 A."""
    main = circuit("main", 40000, is_dynamic=True, meter=0, background_mA=20000)
    rows = [charger(f"c{i}", max_mA=32000, rated_mA=32000, min_mA=3000) for i in range(3)]
    bench = Bench(site([main], rows, [meter("grid")]), setpoint_mA=None, mode=START)
    for i in (0, 1):
        bench.core.charger_armed(i, True, 6000)
    bench.draws_mA = [6000, 6000, 0]
    bench.loads_mA = [30000]
    bench.run(20)
    assert bench.setpoints_mA[:2] == [6000, 6000]
    bench.loads_mA = [42000]
    bench.scan()
    assert bench.setpoints_mA[:2] == [5000, 5000]


def test_start_lowered_target_bounds_what_a_found_setpoint_may_keep() -> None:
    bench = Bench(
        site([circuit("main", 40000, background_mA=20000)], [charger(f"c{i}") for i in range(3)]),
        setpoint_mA=None, mode=START,
    )  # fmt: skip
    bench.core.latch_background(0, (26000, 26000, 26000))
    assert bench.core.step(bench.now_ns) == 0
    for i in range(3):
        bench.core.charger_armed(i, True, 16000)
    assert bench.scan().takes == {0: 6000, 1: 6000, 2: 0}


def test_cars_that_follow_their_raises_are_no_background() -> None:
    """A circuit of chargers only: samples read before the meter are behind all the way up."""
    main = circuit("main", 90000, is_dynamic=True, meter=0, background_mA=0)
    rows = [charger(f"c{i}", max_mA=32000, rated_mA=32000) for i in range(2)]
    bench = Bench(site([main], rows, [meter("grid")], ramp_mA_per_s=600, raise_every_ns=0))
    bench.are_looked_at = False
    for k in range(120):
        bench.are_read = {k % 2} if k % 4 < 2 else set()
        bench.loads_mA = [sum(bench.setpoints_mA)]
        bench.scan()
        bench.draws_mA = bench.setpoints_mA
    assert max(bench.setpoints_mA) > 16000
    assert bench.core.seen_backgrounds_mA() == [None]


def test_meter_that_has_not_changed_since_the_start_latches_nothing() -> None:
    """The scan was started anew while its meter stood still, and cars came down to failsafe."""
    bench = garage(declared_mA=0)
    bench.draws_mA = [6000] * 3
    bench.loads_mA = [38000]
    bench.run(30)
    assert bench.core.seen_backgrounds_mA() == [None]
    bench.loads_mA = [38001]
    bench.run(30)
    assert bench.core.seen_backgrounds_mA() != [None]
