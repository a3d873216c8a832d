"""The heat of fuses: against the closed form, and what is held back until one has cooled."""

from __future__ import annotations

import math
import random

import pytest

from loadctl._core import Core
from loadctl.law.fuse import HOLDS_AND_OPERATES, TYPES, fuse
from tests.support.core_sites import (
    GOOD,
    NO_ANSWER,
    NS_PER_S,
    RUN,
    START,
    attached,
    charger,
    circuit,
    meter,
    site,
    three,
)

HOUR_s = 3600
RATED_A = (6, 16, 32, 40, 63, 80, 100, 160, 250, 400, 630, 10_000)
FULL_FX = 1 << 28


class Warm:
    """One fused circuit behind a meter, stepped with any current for any time."""

    def __init__(self, fuse_type: str, rated_A: int, mode: int = RUN) -> None:
        self.rated_mA = rated_A * 1000
        row = circuit(
            "main", self.rated_mA, is_dynamic=True, meter=0, fuse_type=fuse_type,
            fuse_rated_mA=self.rated_mA,
        )  # fmt: skip
        self.core: Core = attached(site([row], [charger("x")], [meter("grid")]))
        self.core.set_mode(mode)
        self.device = fuse(fuse_type, self.rated_mA)
        self.now_ns = 10 * NS_PER_S
        self.read(0)

    def read(self, load_mA: int) -> None:
        self.core.meter_read(0, GOOD, three(load_mA), None, None, self.now_ns)
        assert self.core.step(self.now_ns) == 0

    def carry(self, load_mA: int, seconds: float, step_s: float = 1.0) -> None:
        for _ in range(round(seconds / step_s)):
            self.now_ns += round(step_s * NS_PER_S)
            self.read(load_mA)

    def cold(self) -> Warm:
        self.carry(0, 1000 * HOUR_s, 1000 * HOUR_s)
        assert self.heat == 0
        return self

    def seconds_until_full(self, load_mA: int, most_s: float, step_s: float = 1.0) -> float:
        for n in range(1, math.ceil(most_s / step_s) + 1):
            self.carry(load_mA, step_s, step_s)
            if self.heat >= 1:
                return n * step_s
        return math.inf

    @property
    def heat(self) -> float:
        return float(self.core.circuit(0)["heat_fx"][0]) / FULL_FX

    @property
    def is_cooling(self) -> bool:
        return bool(self.core.circuit(0)["is_cooling"][0])

    def end(self, load_mA: float) -> float:
        return (load_mA / self.device.full_mA) ** 2


# figures


def time_to_full_s(fuse_type: str, rated_A: int, thousandths: int) -> float:
    """The closed form, from cold."""
    device = fuse(fuse_type, rated_A * 1000)
    end = (thousandths * rated_A / device.full_mA) ** 2
    return -math.log1p(-1 / end) * device.time_constant_ms / 1000


@pytest.mark.parametrize("fuse_type", TYPES)
def test_full_current_is_the_geometric_mean_of_holding_and_operating(fuse_type: str) -> None:
    holds, operates = HOLDS_AND_OPERATES[fuse_type]
    assert fuse(fuse_type, 1_000_000).full_mA == math.floor(math.sqrt(holds * operates)) * 1000


@pytest.mark.parametrize(
    ("fuse_type", "rated_A", "thousandths", "reaches_s"),
    [
        # an MCB at 2.55 of its rating: the longest that the standard allows
        ("B", 6, 2550, 60), ("C", 32, 2550, 60), ("C", 33, 2550, 120), ("D", 125, 2550, 120),
        # gG at 1.6: a quarter of the conventional time
        ("gG", 16, 1600, 900), ("gG", 63, 1600, 900), ("gG", 64, 1600, 1800),
        ("gG", 160, 1600, 1800), ("gG", 161, 1600, 2700), ("gG", 400, 1600, 2700),
        ("gG", 401, 1600, 3600),
    ],
)  # fmt: skip
def test_time_constant_is_the_longest_whole_one_that_reaches_full_in_time(
    fuse_type: str, rated_A: int, thousandths: int, reaches_s: int
) -> None:
    time_s = time_to_full_s(fuse_type, rated_A, thousandths)
    longer = 1 + 1000 / fuse(fuse_type, rated_A * 1000).time_constant_ms
    assert time_s <= reaches_s < time_s * longer * 1.001


@pytest.mark.parametrize("fuse_type", TYPES)
@pytest.mark.parametrize("rated_A", RATED_A)
def test_operating_current_reaches_full_within_the_conventional_time(
    fuse_type: str, rated_A: int
) -> None:
    warm = Warm(fuse_type, rated_A).cold()
    expected_s = time_to_full_s(fuse_type, rated_A, HOLDS_AND_OPERATES[fuse_type][1])
    seconds = warm.seconds_until_full(warm.device.operates_mA, 2 * expected_s, step_s=2)
    assert seconds == pytest.approx(expected_s, abs=2.5)
    assert seconds < warm.device.conventional_h * HOUR_s / 3


@pytest.mark.parametrize("fuse_type", TYPES)
@pytest.mark.parametrize("rated_A", RATED_A)
def test_holding_current_never_reaches_full(fuse_type: str, rated_A: int) -> None:
    warm = Warm(fuse_type, rated_A).cold()
    warm.carry(warm.device.holds_mA, 20 * HOUR_s, step_s=20)
    assert warm.core.circuit(0)["heat_permille"] == [780 if fuse_type != "gG" else 782] * 3


def test_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^fuse type: 'aM' is none of gG, B, C, D$"):
        fuse("aM", 63_000)


# the accumulator against the exponential


@pytest.mark.parametrize("step_s", [0.05, 0.1, 0.5, 1, 10])
@pytest.mark.parametrize(("fuse_type", "rated_A"), [("C", 16), ("C", 63), ("gG", 63), ("gG", 500)])
def test_heating_and_cooling_follow_the_exponential(
    fuse_type: str, rated_A: int, step_s: float
) -> None:
    warm = Warm(fuse_type, rated_A).cold()
    tau_s = warm.device.time_constant_ms / 1000
    heat = 0.0
    for load_A, seconds in ((1.3 * rated_A, 300), (0.4 * rated_A, 200), (2 * rated_A, 60)):
        load_mA = round(load_A * 1000)
        warm.carry(load_mA, seconds, step_s)
        heat = warm.end(load_mA) + (heat - warm.end(load_mA)) * math.exp(-seconds / tau_s)
        assert warm.heat == pytest.approx(heat, rel=3e-4)


@pytest.mark.parametrize("seconds", [0, 0.001, 0.7, 30, 206, 999, 3600, 7 * HOUR_s, 10**6])
def test_one_step_of_any_length_is_the_exponential(seconds: float) -> None:
    warm = Warm("B", 16)
    before, end = warm.heat, warm.end(21_000)
    warm.carry(21_000, seconds, seconds or 1)
    expected = end + (before - end) * math.exp(-seconds / 206)
    assert warm.heat == pytest.approx(expected, abs=2e-4 * (end - before) + 1e-8)


def test_uneven_periods_lose_no_time() -> None:
    even, uneven = Warm("C", 63).cold(), Warm("C", 63).cold()
    even.carry(80_000, 300, 1)
    for _ in range(300):
        uneven.carry(80_000, 0.3337, 0.3337)
        uneven.carry(80_000, 0.6663, 0.6663)
    assert uneven.heat == pytest.approx(even.heat, rel=1e-5)


def test_more_current_is_never_cooler() -> None:
    rng = random.Random(5)
    for fuse_type, rated_A in (("C", 16), ("gG", 500)):
        less, more = Warm(fuse_type, rated_A), Warm(fuse_type, rated_A)
        for _ in range(3000):
            step_s = rng.choice((0.05, 0.5, 2, 60))
            load_mA = rng.choice((0, 1, rng.randint(0, 2 * less.rated_mA)))
            less.carry(load_mA, step_s, step_s)
            more.carry(load_mA + rng.choice((0, 1, 500)), step_s, step_s)
            assert more.heat >= less.heat


def test_a_steady_current_is_approached_from_both_sides_and_never_passed() -> None:
    for step_s in (0.05, 1, 1000):
        below, above = Warm("C", 63).cold(), Warm("C", 63).cold()
        above.carry(200_000, 3600, 3600)
        last_below, last_above = below.heat, above.heat
        for _ in range(500):
            below.carry(70_000, step_s, step_s)
            above.carry(70_000, step_s, step_s)
            assert last_below <= below.heat <= above.heat <= last_above
            last_below, last_above = below.heat, above.heat
        assert below.heat <= below.end(70_000) + 1e-5
        assert above.heat >= above.end(70_000) - 1e-5


def test_currents_beyond_all_bounds_keep_within_arithmetic() -> None:
    for fuse_type, rated_A in (("B", 6), ("gG", 10_000)):
        warm = Warm(fuse_type, rated_A).cold()
        warm.carry(2_147_483_647, 20 * HOUR_s, 5 if rated_A == 6 else 600)
        most = min(64.0, warm.end(2_147_483_647))
        assert warm.heat == pytest.approx(most, rel=1e-3)
        assert warm.core.circuit(0)["heat_permille"][0] == math.ceil(warm.heat * 1000)
        warm.carry(0, HOUR_s * 30, HOUR_s)
        assert warm.heat < 1e-4


def test_current_that_flows_back_heats_as_well() -> None:
    there, back = Warm("C", 63).cold(), Warm("C", 63).cold()
    there.carry(80_000, 100)
    back.carry(-80_000, 100)
    assert back.heat == there.heat > 0.2


# excursions


@pytest.mark.parametrize(("rated_A", "most"), [(32, 0.05), (63, 0.025)])
def test_one_late_car_barely_warms_a_breaker(rated_A: int, most: float) -> None:
    """15 s at what trips it, after hours at its rating."""
    warm = Warm("C", rated_A)
    warm.carry(warm.rated_mA, 5 * HOUR_s, 10)
    before = warm.heat
    warm.carry(warm.device.operates_mA, 15)
    assert 0 < warm.heat - before < most
    assert not warm.is_cooling


def test_excursions_that_come_again_and_again_warm_it() -> None:
    warm = Warm("C", 63)
    warm.carry(63_000, 5 * HOUR_s, 10)
    n = 0
    while not warm.is_cooling:
        warm.carry(warm.device.operates_mA, 15)
        warm.carry(63_000, 15)
        n += 1
    assert n == 8


# thresholds


def test_begins_at_the_threshold_without_cooling_and_any_more_makes_it_cool() -> None:
    warm = Warm("C", 63, mode=START)
    assert warm.core.circuit(0)["heat_permille"] == [750] * 3
    assert not warm.is_cooling
    warm.carry(70_000, 1)
    assert warm.is_cooling


def test_a_threshold_begins_and_a_lower_one_ends_it() -> None:
    warm = Warm("C", 63).cold()
    seen = []
    for load_mA in (90_000, 60_000):
        for _ in range(1200):
            was_cooling = warm.is_cooling
            warm.carry(load_mA, 1)
            if warm.is_cooling != was_cooling:
                seen.append((warm.is_cooling, warm.core.circuit(0)["heat_permille"][0]))
            if load_mA > 70_000 and warm.is_cooling:
                break
    assert seen == [(True, 751), (False, 650)]


def test_rated_current_for_ever_lets_it_cool_and_never_warns() -> None:
    for fuse_type in TYPES:
        warm = Warm(fuse_type, 63)
        warm.carry(70_000, 200)
        warm.carry(100_000, 60)
        assert warm.is_cooling
        warm.carry(63_000, 3 * HOUR_s, 5)
        assert not warm.is_cooling


# without a meter


def unmetered(mode: int = RUN, **changes: object) -> Core:
    row = circuit(
        "main", 63_000, background_mA=(10_000, 20_000, 40_000), fuse_type="C",
        fuse_rated_mA=63_000, **changes,
    )  # fmt: skip
    core = attached(site([row], [charger("x"), charger("y", phases=(2,))], [meter("grid")]))
    core.set_mode(mode)
    return core


def heats(core: Core, seconds: int) -> list[float]:
    core.step(NS_PER_S)
    core.step((1 + seconds) * NS_PER_S)
    return [heat_fx / FULL_FX for heat_fx in core.circuit(0)["heat_fx"]]


def test_without_a_meter_the_most_that_may_flow_counts() -> None:
    """The declared background and, of chargers that nobody has heard of, their rating."""
    ends = [(load_A / 80.64) ** 2 for load_A in (26, 36, 72)]
    assert heats(unmetered(), 10**7) == pytest.approx(ends, abs=1e-5)


def test_without_a_meter_measured_draws_count() -> None:
    core = unmetered()
    for i in range(2):
        core.charger_armed(i, True, 0)
    core.step(NS_PER_S)
    for at_ns in (8 * 10**14, 8 * 10**14 + NS_PER_S):
        core.charger_status(0, GOOD, "C", (5_000, 6_000, 7_000), None, at_ns)
        core.charger_status(1, GOOD, "C", (1_500, 0, 0), None, at_ns)
        core.step(at_ns)
    ends = [(load_A / 80.64) ** 2 for load_A in (15, 26, 48.5)]
    assert [heat / FULL_FX for heat in core.circuit(0)["heat_fx"]] == pytest.approx(ends, abs=1e-4)


def test_a_meter_that_is_not_read_counts_as_none() -> None:
    core = unmetered(is_dynamic=True, meter=0)
    core.meter_read(0, GOOD, (0, 0, 0), None, None, NS_PER_S)
    core.step(NS_PER_S)
    core.meter_read(0, NO_ANSWER, None, None, None, 2 * NS_PER_S)
    core.step(10**16)
    ends = [(load_A / 80.64) ** 2 for load_A in (26, 36, 72)]
    assert [heat / FULL_FX for heat in core.circuit(0)["heat_fx"]] == pytest.approx(ends, abs=1e-5)


def test_in_start_an_unmetered_fuse_keeps_the_threshold() -> None:
    assert heats(unmetered(START), 10**6) == [0.75] * 3


def test_a_circuit_without_a_fuse_has_no_heat() -> None:
    core = attached(site([circuit("main", 10_000)], [charger("x")]))
    core.set_mode(RUN)
    core.step(NS_PER_S)
    core.step(10**15)
    assert core.circuit(0)["heat_fx"] == [0, 0, 0]
    assert core.cooling() == []
