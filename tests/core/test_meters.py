"""Meters that are silent, lie, or stand still."""

from __future__ import annotations

import random

import pytest

from loadctl.tables import Phases
from tests.support.core_bench import Bench
from tests.support.core_sites import IMPLAUSIBLE, NO_ANSWER, NS_PER_S, charger, circuit, meter, site

METER, STALE, HELD = 1, 2, 3
TRUSTED, MISSING, LIES, FROZEN = range(4)
MAINS: Phases = (230_000, 231_000, 229_000)


def garage(lag_s: int = 1, phases: tuple[int, ...] = (0, 1, 2)) -> Bench:
    main = circuit("main", 50000, is_dynamic=True, meter=0, background_mA=30000)
    rows = [charger(f"c{i}", phases=phases) for i in range(2)]
    return Bench(site([main], rows, [meter("grid", lag_s * NS_PER_S)]))


def quality(bench: Bench) -> int:
    found: int = bench.core.meter(0)["quality"]
    return found


def flicker(bench: Bench, seconds: float, seed: int = 1) -> None:
    dice = random.Random(seed)
    for _ in range(int(seconds * 2)):
        bench.voltages_mV = [tuple(v + dice.randrange(-400, 400) for v in MAINS)]  # type: ignore[list-item]
        bench.draws_mA = bench.setpoints_mA
        bench.loads_mA = [10000 + sum(bench.draws_mA)]
        bench.scan()


def test_dead_meter_no_raise_from_the_first_missed_read_and_static_after_stale_time() -> None:
    bench = garage()
    flicker(bench, 8)
    assert 0 < sum(bench.setpoints_mA) < 32000  # still on their way up
    bench.loads_mA = [None]
    before = bench.setpoints_mA
    for _ in range(5):
        assert bench.scan().gives == {}
        assert (quality(bench), bench.circuit(0)["source"]) == (MISSING, HELD)
    assert bench.setpoints_mA == before
    bench.run(60)
    assert bench.circuit(0)["source"] == STALE
    assert bench.setpoints_mA == [10000, 10000]  # 50 A less the declared 30 A
    flicker(bench, 60)
    assert (quality(bench), bench.circuit(0)["source"]) == (TRUSTED, METER)
    assert bench.setpoints_mA == [16000, 16000]


def test_implausible_reply_counts_as_none() -> None:
    bench = garage()
    flicker(bench, 30)
    bench.core.meter_read(0, IMPLAUSIBLE, None, None, None, bench.now_ns)
    assert bench.core.step(bench.now_ns) == 0
    assert (quality(bench), bench.circuit(0)["source"]) == (LIES, HELD)


@pytest.mark.parametrize(
    "voltage_mV", [(230_000, 0, 229_000), (230_000, 231_000, 400_000), (0, 0, 0)]
)
def test_lost_or_impossible_voltage_is_not_believed(voltage_mV: Phases) -> None:
    bench = garage()
    flicker(bench, 30)
    bench.voltages_mV = [voltage_mV]
    bench.scan()
    assert (quality(bench), bench.circuit(0)["source"]) == (LIES, HELD)
    bench.run(4)
    assert bench.circuit(0)["source"] == STALE
    flicker(bench, 1)
    assert quality(bench) == TRUSTED


def test_meter_that_never_showed_a_voltage_measures_none() -> None:
    bench = garage()
    bench.voltages_mV = [(0, 0, 0)]
    bench.scan()
    assert quality(bench) == TRUSTED


def test_phase_without_voltage_that_nobody_uses_is_no_lie() -> None:
    bench = garage(phases=(0,))
    bench.voltages_mV = [(230_000, 0, 0)]
    bench.scan()
    assert quality(bench) == TRUSTED


def test_phase_without_voltage_that_chargers_use_is_one_from_the_start() -> None:
    bench = garage()
    bench.voltages_mV = [(230_000, 0, 230_000)]
    bench.scan()
    assert quality(bench) == LIES


def test_meter_that_stops_flickering_is_frozen_then_static_and_recovers() -> None:
    bench = garage(lag_s=1)
    flicker(bench, 30)
    for _ in range(3):
        bench.scan()
        assert quality(bench) == TRUSTED
    seen = []
    for _ in range(6):
        scan = bench.scan()
        assert scan.gives == {}
        seen.append((quality(bench), bench.circuit(0)["source"]))
    assert seen == [(FROZEN, HELD)] * 2 + [(FROZEN, STALE)] * 4
    bench.run(120)
    assert quality(bench) == FROZEN
    flicker(bench, 0.5)
    assert (quality(bench), bench.circuit(0)["source"]) == (TRUSTED, METER)


def test_honest_constants_are_never_frozen() -> None:
    bench = garage()
    bench.voltages_mV = [MAINS]
    bench.draws_mA = [16000, 16000]
    bench.loads_mA = [42000]
    for _ in range(600):
        bench.scan()
        assert quality(bench) == TRUSTED


def test_load_that_changed_now_and_then_and_rests_is_not_frozen() -> None:
    """Building steps show in currents; only voltages are known never to rest."""
    bench = garage()
    bench.voltages_mV = [MAINS]
    for k in range(40):
        bench.loads_mA = [10000 + 100 * k]
        bench.scan()
    bench.run(60)
    assert quality(bench) == TRUSTED


def test_meter_that_does_not_move_while_draws_do_is_frozen() -> None:
    bench = garage(lag_s=1)
    bench.settle_in(10000)
    assert bench.loads_mA == [(42000, 42000, 42000)]
    bench.run(20)
    bench.draws_mA = [10000, 16000]
    bench.run(3)
    assert quality(bench) == TRUSTED
    bench.run(1)
    assert (quality(bench), bench.circuit(0)["source"]) == (FROZEN, STALE)
    bench.loads_mA = [36000]
    bench.scan()
    assert quality(bench) == TRUSTED


def test_small_moves_of_draws_contradict_nothing() -> None:
    bench = garage()
    bench.draws_mA = [16000, 16000]
    bench.loads_mA = [42000]
    bench.run(20)
    bench.draws_mA = [14100, 16000]
    bench.run(60)
    assert quality(bench) == TRUSTED


def test_frozen_stays_frozen_when_one_below_falls_silent_and_while_values_are_the_same() -> None:
    bench = garage(lag_s=1)
    bench.settle_in(10000)
    bench.run(20)
    bench.draws_mA = [10000, 16000]
    bench.run(5)
    bench.core.charger_answered(1, NO_ANSWER, bench.now_ns)
    bench.are_read = {0}
    for _ in range(40):
        assert bench.scan().gives == {}
        assert (quality(bench), bench.circuit(0)["source"]) == (FROZEN, STALE)


@pytest.mark.parametrize("between", [None, (230_000, 231_000, 400_000)])
def test_frozen_values_that_come_again_after_none_or_wrong_ones_are_still_frozen(
    between: Phases | None,
) -> None:
    bench = garage(lag_s=1)
    flicker(bench, 30)
    bench.run(4)
    frozen_mA, frozen_mV = bench.loads_mA, bench.voltages_mV
    assert quality(bench) == FROZEN
    if between is None:
        bench.loads_mA = [None]
    else:
        bench.voltages_mV = [between]
    bench.run(25)
    assert quality(bench) == (MISSING if between is None else LIES)
    bench.loads_mA, bench.voltages_mV = frozen_mA, frozen_mV
    for _ in range(10):
        assert bench.scan().gives == {}
        assert quality(bench) == FROZEN


@pytest.mark.parametrize(
    ("voltage_mV", "found"),
    [(161_000, TRUSTED), (160_999, LIES), (299_000, TRUSTED), (299_001, LIES)],
)
def test_voltage_bounds_are_70_and_130_percent(voltage_mV: int, found: int) -> None:
    bench = garage()
    bench.voltages_mV = [(230_000, voltage_mV, 230_000)]
    bench.scan()
    assert quality(bench) == found


@pytest.mark.parametrize(("digit_mV", "every"), [(100, 1), (1000, 1), (1000, 3)])
def test_honest_meter_of_coarse_digits_is_never_frozen(digit_mV: int, every: int) -> None:
    """Mains that wander by some 0.1 V, shown in digits of 0.1 or 1 V, renewed every few scans."""
    bench = garage(lag_s=1)
    dice = random.Random(digit_mV + every)
    volts_mV = list(MAINS)
    bench.draws_mA = [10000, 10000]
    bench.loads_mA = [30000]
    for k in range(7200):
        walk_mV = [dice.gauss(0, 120) for _ in MAINS]
        pull_mV = [(m - v) * 0.02 for v, m in zip(volts_mV, MAINS, strict=True)]
        volts_mV = [v + w + p for v, w, p in zip(volts_mV, walk_mV, pull_mV, strict=True)]
        if k % every == 0:
            shown = [round(v / digit_mV) * digit_mV for v in volts_mV]
            bench.voltages_mV = [(shown[0], shown[1], shown[2])]
        bench.scan()
        assert quality(bench) == TRUSTED, k


@pytest.mark.parametrize("gap_scans", [1, 3, 20])
def test_lost_reads_before_do_not_hide_that_a_meter_stands_still(gap_scans: int) -> None:
    bench = garage()
    flicker(bench, 40)
    loads_mA, bench.loads_mA = bench.loads_mA, [None]
    bench.scan(gap_scans)
    bench.loads_mA = loads_mA
    flicker(bench, 15, seed=2)
    bench.run(4)
    assert quality(bench) == FROZEN


@pytest.mark.parametrize("dead_s", [30, 70, 600])
def test_meter_that_freezes_soon_after_a_long_silence_is_frozen(dead_s: int) -> None:
    bench = garage()
    flicker(bench, 60)
    loads_mA, bench.loads_mA = bench.loads_mA, [None]
    bench.run(dead_s)
    bench.loads_mA = loads_mA
    flicker(bench, 2, seed=3)
    bench.run(4)
    assert quality(bench) == FROZEN
