"""What is held back below a warm fuse, until it has cooled."""

from __future__ import annotations

from loadctl.reasons import CONTROLLER_MODE, COOLS_DOWN, FULL
from loadctl.tables import ChargerRow
from tests.support.core_bench import Bench
from tests.support.core_sites import (
    FAILSAFE,
    GOOD,
    NO_ANSWER,
    PERIOD_ns,
    charger,
    circuit,
    meter,
    site,
    three,
)

# A limit above the rating of the fuse, which no site file may have, warms it by itself.


def fused_bench(
    *cars: ChargerRow, limit_mA: int = 63_000, rated_mA: int = 50_000, **changes: object
) -> Bench:
    """Behind a type C whose warmth is not known, beside a building."""
    row = circuit(
        "main", limit_mA, is_dynamic=True, meter=0, fuse_type="C", fuse_rated_mA=rated_mA, **changes
    )
    return Bench(site([row], list(cars), [meter("grid")], stagger_ns=0, soft_start_ns=0))


def big_car(name: str) -> ChargerRow:
    return charger(name, max_mA=32_000, rated_mA=32_000)


def until_warm(bench: Bench, background_mA: int) -> None:
    """Cars as they like beside this background, until the fuse has to cool, and the cut after."""
    for _ in range(600):
        if bench.core.cooling():
            break
        bench.settle_in(background_mA, 1)
    bench.settle_in(background_mA, 10)
    assert bench.core.cooling() == [(0, 0), (0, 1), (0, 2)]


def test_a_warm_fuse_lowers_what_is_shared_until_it_has_cooled() -> None:
    bench = fused_bench(big_car("a"), big_car("b"))
    until_warm(bench, 10_000)
    assert bench.setpoints_mA == [18_800, 18_700]  # 0.95 of 50 A, less 10 A
    assert {bench.charger(i)["reason"] for i in range(2)} == {COOLS_DOWN}
    assert {bench.charger(i)["binding_kind"] for i in range(2)} == {0}
    assert bench.circuit(0)["limit_mA"] == [63_000] * 3
    assert bench.circuit(0)["is_held_back"]
    bench.settle_in(10_000, 310)
    assert bench.core.cooling() == []
    assert not bench.circuit(0)["is_held_back"]
    bench.settle_in(10_000, 60)
    assert bench.setpoints_mA == [26_500, 26_500]
    assert {bench.charger(i)["reason"] for i in range(2)} == {FULL}


def test_a_site_that_asks_for_too_much_for_ever_stays_below_what_trips() -> None:
    bench = fused_bench(big_car("a"), big_car("b"))
    seen, warm_scans = [], 0
    for _ in range(3600):
        bench.settle_in(10_000, 2)
        seen.append(bench.circuit(0)["heat_permille"][0])
        warm_scans += bool(bench.core.cooling())
    assert max(seen) <= 760
    assert min(seen[200:]) >= 640
    assert 0.3 < warm_scans / 3600 < 0.9


def test_a_warm_fuse_pauses_no_running_session() -> None:
    """Minima that fit the limit and not what shares keep to: none is taken away."""
    bench = fused_bench(big_car("a"), big_car("b"), big_car("c"))
    bench.settle_in(45_000, 30)
    assert bench.setpoints_mA == [6_000] * 3
    until_warm(bench, 45_000)
    for _ in range(100):
        bench.settle_in(45_000, 1)
        assert bench.setpoints_mA == [6_000] * 3


def test_a_warm_fuse_stops_nobody_who_draws_more_than_told() -> None:
    """Pilot tolerance above minima: the meter is judged by the limit alone."""
    bench = fused_bench(big_car("a"), big_car("b"), big_car("c"))
    bench.settle_in(44_000, 30)
    for _ in range(400):
        bench.draws_mA = [setpoint_mA + 300 for setpoint_mA in bench.setpoints_mA]
        bench.loads_mA = [44_000 + sum(bench.draws_mA)]
        bench.scan()
        assert min(bench.setpoints_mA) >= 6_000
    assert bench.core.cooling()


def test_nothing_starts_below_a_warm_fuse() -> None:
    bench = fused_bench(big_car("a"), big_car("b"))
    bench.states[1] = "A"
    until_warm(bench, 31_000)
    bench.states[1] = "C"
    bench.settle_in(31_000, 100)
    assert bench.setpoints_mA == [16_500, 0]
    assert bench.charger(1)["reason"] == COOLS_DOWN
    bench.settle_in(31_000, 230)
    assert bench.setpoints_mA == [16_000, 16_000]


def test_one_that_waits_does_not_push_out_one_that_runs() -> None:
    """A car of a higher tier whose minimum fits the limit, not what shares keep to, waits."""
    bench = fused_bench(big_car("low"), charger("high", priority=1))
    bench.states[1] = "A"
    until_warm(bench, 50_000)
    bench.states[1] = "C"
    bench.settle_in(50_000, 100)
    assert bench.setpoints_mA == [6_000, 0]
    assert bench.charger(1)["reason"] == COOLS_DOWN


def test_only_minima_of_those_who_can_be_commanded_are_kept_free() -> None:
    """Of a silent one all that is reserved has been taken off already."""
    bench = fused_bench(big_car("a"), big_car("b"), big_car("silent"))
    until_warm(bench, 31_000)
    bench.core.charger_answered(2, NO_ANSWER, bench.now_ns)
    bench.are_read = {0, 1}
    bench.settle_in(31_000, 60)
    assert bench.core.cooling()
    assert bench.setpoints_mA == [6_000, 6_000, 6_000]


def test_a_start_that_a_warm_fuse_keeps_from_is_not_blamed_on_a_limit_from_outside() -> None:
    bench = fused_bench(
        big_car("a"), big_car("b"), takes_external=True, loss_mA=(60_000, 60_000, 60_000)
    )
    bench.states[1] = "A"
    until_warm(bench, 31_000)
    bench.states[1] = "C"
    bench.settle_in(31_000, 20)
    assert bench.circuit(0)["limit_mA"] == [60_000] * 3
    assert [bench.charger(i)["reason"] for i in range(2)] == [COOLS_DOWN, COOLS_DOWN]


def test_a_fuse_that_is_larger_than_the_limit_by_enough_holds_no_share_back() -> None:
    bench = fused_bench(big_car("a"), big_car("b"), rated_mA=67_000)
    warm_up(bench, 150_000)
    bench.settle_in(10_000, 60)
    assert bench.core.cooling() != []
    assert not bench.circuit(0)["is_held_back"]
    assert bench.setpoints_mA == [26_500, 26_500]
    assert bench.charger(0)["reason"] == FULL


def warm_up(bench: Bench, load_mA: int) -> None:
    """A building beyond what any cut of cars can bring down."""
    bench.settle_in(10_000, 60)
    for _ in range(10):
        bench.core.meter_read(0, GOOD, three(load_mA), None, None, bench.now_ns)
        assert bench.core.step(bench.now_ns) == 0
        bench.now_ns += 5 * PERIOD_ns


def test_only_the_warm_phase_is_held_back() -> None:
    cars = [charger(f"x{p}", phases=(p,), max_mA=63_000, rated_mA=63_000) for p in range(3)]
    bench = fused_bench(*cars)
    bench.states[2] = "A"
    for _ in range(400):
        bench.draws_mA = bench.setpoints_mA
        bench.loads_mA = [(bench.draws_mA[0], min(bench.draws_mA[1], 30_000), 0)]
        bench.scan()
        if bench.core.cooling():
            break
    bench.scan(10)
    assert bench.core.cooling() == [(0, 0)]
    assert bench.setpoints_mA == [47_500, 63_000, 0]
    bench.states[2] = "C"
    bench.scan(10)
    assert bench.setpoints_mA[2] >= 6_000


def test_a_warm_fuse_changes_nothing_outside_run() -> None:
    bench = fused_bench(big_car("a"), big_car("b"), big_car("c"))
    until_warm(bench, 45_000)
    bench.core.set_mode(FAILSAFE)
    bench.settle_in(45_000, 20)
    assert bench.core.cooling()
    assert not bench.circuit(0)["is_held_back"]
    assert bench.setpoints_mA == [6_000] * 3
    assert {bench.charger(i)["reason"] for i in range(3)} == {CONTROLLER_MODE}
