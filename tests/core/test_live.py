"""Live values: what the core lets be changed, that it counts as if it had been so from the start,
and that the block alone carries it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from loadctl.law.reason import Reason

from loadctl._core import Core
from loadctl.errors import CoreFault
from loadctl.tables import Tables
from loadctl.tuning import N_TUNING, TUNING_KEYS, Slots
from tests.core.test_work_arrays import Beside, story, tiers_site
from tests.support.core_bench import Bench
from tests.support.core_sites import (
    FAILSAFE,
    NS_PER_S,
    RUN,
    START,
    attached,
    charger,
    circuit,
    meter,
    random_site,
    site,
)
from tests.support.still import NOW_ns, Still

MIN, MAX, PRIORITY, WEIGHT, ENABLE, NEVER_PAUSE = range(31, 37)
L1, L2, L3, MARGIN = range(21, 25)


def garage(n: int = 3, **row: Any) -> Tables:
    rows = [charger(f"c{i}", **row) for i in range(n)]
    main = circuit("main", 90_000, background_mA=20_000, margin_mA=500)
    return site([main, circuit("sub", (40_000, 50_000, 60_000), 0)], rows)


def slot(tables: Tables, number: int, who: int) -> int:
    found = Slots(tables).slot_of(number, who)
    assert found is not None
    return found


def retuned(tables: Tables, *changes: tuple[int, int, int]) -> Core:
    """A fresh core with these (number, who, value)."""
    core = attached(tables)
    core.retune([(slot(tables, number, who), value) for number, who, value in changes])
    return core


# what is taken and what is not


@pytest.mark.parametrize(
    ("number", "who", "good", "bad", "text"),
    [
        (MIN, 0, 1, 0, "charger.c0.min_mA: 0 is not within 1 to 10000000"),
        (MIN, 0, 6_000, 6_001, "charger.c0.failsafe_mA: 6000 is not within 6100 to 16000,"
                               " minimum and maximum"),
        (MAX, 1, 16_000, 16_100, "charger.c1.max_mA: 16100 is not within 6000 to 16000"),
        (MAX, 1, 6_000, 5_999, "charger.c1.max_mA: 5900 is not within 6000 to 16000"),
        (PRIORITY, 2, 2**31 - 1, 2**31, "charger.c2.priority: 2147483648 is not within"),
        (PRIORITY, 2, -(2**31), -(2**31) - 1, "charger.c2.priority: -2147483649 is not within"),
        (WEIGHT, 2, 1, 0, "charger.c2.weight: 0 is not within 1 to 10000"),
        (WEIGHT, 2, 10_000, 10_001, "charger.c2.weight: 10001 is not within 1 to 10000"),
        (ENABLE, 0, 0, 2, "charger.c0.is_enabled: 2 is not within 0 to 1"),
        (ENABLE, 0, 1, -1, "charger.c0.is_enabled: -1 is not within 0 to 1"),
        (NEVER_PAUSE, 0, 1, 2, "charger.c0.never_pause: 2 is not within 0 to 1"),
        (L1, 1, 40_000, 40_001, "circuit.sub.limit_mA: 40001 is not within 0 to 40000"),
        (L2, 1, 50_000, 50_001, "circuit.sub.limit_mA: 50001 is not within 0 to 50000"),
        (L3, 1, 0, -1, "circuit.sub.limit_mA: -1 is not within 0 to 60000"),
        (MARGIN, 0, 500, 499, "circuit.main.margin_mA: 499 is not within 500 to 10000000"),
        (MARGIN, 0, 10**7, 10**7 + 1, "circuit.main.margin_mA: 10000001 is not within"),
        (3, -1, 1, 0, "tuning.ramp_mA_per_s: 0 is not within 1 to 10000000"),
        (1, -1, 10**15, 10**15 + 1, "tuning.peak_hold_ns: 1000000000000001 is not within 0 to"),
        (4, -1, 10**7, 10**7 + 1, "tuning.deadband_mA: 10000001 is not within 0 to 10000000"),
    ],
)  # fmt: skip
def test_value_is_taken_up_to_its_bound_and_refused_with_it(
    number: int, who: int, good: int, bad: int, text: str
) -> None:
    tables = garage()
    retuned(tables, (number, who, good))
    with pytest.raises(CoreFault, match=f"^{text}"):
        retuned(tables, (number, who, bad))


def test_slots_of_the_core_are_those_of_the_table_of_keys() -> None:
    tables = garage()
    slots = Slots(tables)
    for at in range(slots.n):
        key, who = slots.place_of(at)
        value = slots.site[at] + (1 if key.number in (MARGIN, WEIGHT, PRIORITY) or at < N_TUNING
                                  else 0)  # fmt: skip
        value = {ENABLE: 0, NEVER_PAUSE: 1, MIN: 5_000, MAX: 9_000}.get(key.number, value)
        value -= key.number in (L1, L2, L3)
        core = attached(tables)
        core.retune([(at, value)])
        assert live_values(core, tables) == [*slots.site[:at], value, *slots.site[at + 1 :]]
        assert slots.slot_of(key.number, who) == at


def live_values(core: Core, tables: Tables) -> list[int]:
    found = list(core.site()["tuning"].values())
    for c in range(len(tables.circuits)):
        row = core.circuit(c)
        found += [*row["live_limit_mA"], row["live_margin_mA"]]
    for i in range(len(tables.chargers)):
        row = core.charger(i)
        found += [row[f"live_{name}"] for name in ("min_mA", "max_mA", "priority", "weight")]
        found += [row["is_enabled"], row["live_never_pause"]]
    return found


@pytest.mark.parametrize("at", [-1, 18 + 2 * 4 + 3 * 6])
def test_slot_that_does_not_exist_is_refused(at: int) -> None:
    with pytest.raises(CoreFault, match=f"^slot: {at} is not within 0 to 43$"):
        attached(garage()).retune([(at, 1)])


def test_change_is_taken_whole_or_not_at_all() -> None:
    tables = garage()
    core = Core(tables)
    block = bytearray(core.plant_bytes)
    core.attach(block)
    before = bytes(block)
    good = [(WEIGHT, 1, 2), (L1, 0, 50_000), (5, -1, 1), (PRIORITY, 2, 4)]
    bad = [(MAX, 0, 16_001)]
    changes = [(slot(tables, n, who), value) for n, who, value in (*good, *bad)]
    changes[-1] = (changes[-1][0], 16_100)
    with pytest.raises(CoreFault):
        core.retune(changes)
    assert bytes(block) == before
    core.retune(changes[:-1])
    assert bytes(block) != before


def test_values_of_one_charger_are_judged_together_and_the_last_of_a_slot_counts() -> None:
    tables = garage(failsafe_mA=0)
    core = retuned(tables, (MAX, 0, 7_000))
    with pytest.raises(CoreFault, match=r"max_mA: 7000 is not within 8000 to 16000$"):
        core.retune([(slot(tables, MIN, 0), 8_000)])
    core.retune([(slot(tables, MIN, 0), 8_000), (slot(tables, MAX, 0), 12_000)])
    core.retune([(slot(tables, WEIGHT, 0), 7), (slot(tables, WEIGHT, 0), 3)])
    assert core.charger(0)["live_weight"] == 3


@pytest.mark.parametrize(("failsafe_mA", "is_good"), [(6_000, True), (0, False)])
def test_never_pause_needs_a_failsafe_current_of_its_minimum(
    failsafe_mA: int, is_good: bool
) -> None:
    tables = garage(failsafe_mA=failsafe_mA)
    if is_good:
        assert retuned(tables, (NEVER_PAUSE, 0, 1)).charger(0)["live_never_pause"] == 1
    else:
        with pytest.raises(CoreFault, match=r"^charger.c0.never_pause: failsafe_mA, 0, is below"):
            retuned(tables, (NEVER_PAUSE, 0, 1))


def test_site_that_has_it_so_itself_may_keep_what_a_change_may_not_bring() -> None:
    tables = garage(failsafe_mA=0, never_pause=True)
    assert retuned(tables, (WEIGHT, 0, 2)).charger(0)["live_never_pause"] == 1


# it counts as if it had been so from the start


def other_rows(rng: random.Random, tables: Tables) -> tuple[Tables, list[tuple[int, int]]]:
    """The same site with other values, and the changes that lead there."""
    slots = Slots(tables)
    changes: dict[int, int] = {}
    circuits, chargers = list(tables.circuits), list(tables.chargers)
    for c, row in enumerate(circuits):
        if rng.random() < 0.5:
            limits = [max(0, mA - rng.choice((0, 1, 1_000, 7_777))) for mA in row.limit_mA]
            margin_mA = row.margin_mA + rng.choice((0, 1, 2_000))
            circuits[c] = replace(
                row, limit_mA=(limits[0], limits[1], limits[2]), margin_mA=margin_mA
            )
            first = slots.slot_of(L1, c) or 0
            changes |= dict(zip(range(first, first + 4), (*limits, margin_mA), strict=True))
    for i, was in enumerate(chargers):
        if rng.random() < 0.7:
            row = replace(
                was,
                min_mA=rng.choice((was.min_mA, 6_000, 7_000)),
                max_mA=rng.choice((was.max_mA, was.min_mA, was.max_mA - 1_000)),
                priority=rng.choice((was.priority, -1, 3)),
                weight=rng.choice((was.weight, 1, 5)),
                is_enabled=rng.random() < 0.8,
            )
            if not is_within(row, was):
                continue
            chargers[i] = row
            first = slots.slot_of(MIN, i) or 0
            values = (row.min_mA, row.max_mA, row.priority, row.weight, int(row.is_enabled))
            changes |= dict(zip(range(first, first + 5), values, strict=True))
    found = list(changes.items())
    rng.shuffle(found)
    return replace(tables, circuits=tuple(circuits), chargers=tuple(chargers)), found


def is_within(row: Any, was: Any) -> bool:
    """By its own words: on the grid, and the failsafe current stays what it was."""
    least, most = (-(-row.min_mA // row.step_mA), row.max_mA // row.step_mA)
    was_least, was_most = (-(-was.min_mA // was.step_mA), was.max_mA // was.step_mA)
    failsafe = row.failsafe_mA // row.step_mA
    counts = [min(failsafe, m) if min(failsafe, m) >= n else 0
              for n, m in ((least, most), (was_least, was_most))]  # fmt: skip
    return least <= most and counts[0] == counts[1]


@pytest.mark.parametrize("seed", range(60))
def test_retuned_core_settles_as_one_that_was_configured_so(seed: int) -> None:
    rng = random.Random(f"settles {seed}")
    tables = random_site(rng)
    other, changes = other_rows(rng, tables)
    core, fresh = attached(tables), attached(other)
    core.retune(changes)
    n = len(tables.chargers)
    for _ in range(3):
        wants = [rng.random() < 0.8 for _ in range(n)]
        for each in (core, fresh):
            assert each.settle(wants) == 0
        assert [core.charger(i) for i in range(n)] == [fresh.charger(i) for i in range(n)]
    core.retune([(at, value) for at, value in enumerate(Slots(tables).site)])
    back = attached(tables)
    for each in (core, back):
        each.settle([True] * n)
    assert [core.charger(i) for i in range(n)] == [back.charger(i) for i in range(n)]


@pytest.mark.parametrize("seed", range(8))
def test_core_that_has_just_taken_over_goes_on_alike_whatever_is_tuned(seed: int) -> None:
    rng = random.Random(f"beside tuned {seed}")
    tables = tiers_site()
    loop = story(seed, tables, rng)
    beside: Any = loop.core
    assert isinstance(beside, Beside)
    for k in range(10):
        loop.run(rng.choice((2, 5, 10, 30)))
        if k % 4 == 3:
            beside.retune(list(enumerate(Slots(tables).site)))
        else:
            beside.retune(other_rows(rng, tables)[1])
            times = [at for at in range(N_TUNING) if TUNING_KEYS[at].unit == "s"]
            beside.retune([(rng.choice(times), rng.choice((1, 10 * NS_PER_S)))])
        loop.core.set_mode(FAILSAFE if k == 5 else RUN)
    assert beside.n_orders > 20


def test_block_that_holds_what_cannot_be_is_refused() -> None:
    tables = garage()
    core = Core(tables)
    block = bytearray(core.plant_bytes)
    core.attach(block)
    held = Still(tables)
    assert held.core.plant_bytes == len(block)
    for row, name, value in (
        (held.chargers[0], "live_weight", 0),
        (held.circuits[1], "live_margin_mA", -1),
        (held.site.tuning, "ramp_mA_per_s", 0),
    ):
        before = getattr(row, name)
        setattr(row, name, value)
        with pytest.raises(CoreFault, match=r"^plant block: .*is not within"):
            Core(tables).attach(held.block)
        setattr(row, name, before)
    Core(tables).attach(held.block)


# what it does


@pytest.mark.parametrize(
    ("setpoint_mA", "failsafe_mA", "taken_mA"), [(8_000, 8_000, None), (7_900, 8_000, 0)]
)
def test_outside_run_one_below_its_new_minimum_is_brought_to_0(
    setpoint_mA: int, failsafe_mA: int, taken_mA: int | None
) -> None:
    tables = garage(failsafe_mA=failsafe_mA, fallback_mA=failsafe_mA)
    held = Still(tables, FAILSAFE)
    held.set(0, setpoint_mA)
    held.core.retune([(slot(tables, MIN, 0), 8_000)])
    assert held.step() == 0
    taken = dict(held.core.takes())
    assert taken.get(0) == taken_mA


def test_setpoint_below_its_new_minimum_that_was_not_acknowledged_is_sound() -> None:
    tables = garage(failsafe_mA=8_000, fallback_mA=8_000)
    held = Still(tables, FAILSAFE)
    held.set(0, 7_000).is_acknowledged = False
    held.core.retune([(slot(tables, MIN, 0), 8_000)])
    assert held.step() == 0
    assert dict(held.core.takes())[0] == 0


@pytest.mark.parametrize(("cap_mA", "grant_mA"), [(7_000, 9_000), (9_500, 9_500)])
def test_cap_below_a_raised_minimum_keeps_nobody_out(cap_mA: int, grant_mA: int) -> None:
    tables = garage(failsafe_mA=0)
    held = Still(tables)
    row = held.set(0, 12_000, 5_000)
    row.has_cap, row.cap_mA, row.cap_at_ns, row.session = True, cap_mA, NOW_ns, 3
    row.session_since_ns = row.drew_at_ns = NOW_ns
    held.core.retune([(slot(tables, MIN, 0), 9_000)])
    assert held.step() == 0
    assert row.action_mA == grant_mA


@pytest.mark.parametrize(
    ("number", "value", "reported_mA", "reserve_mA"),
    [
        (MIN, 9_000, 8_000, 8_000),  # what the site file's minimum allows is no pause
        (MIN, 9_000, 5_900, 0),
        (MIN, 5_000, 5_500, 5_500),
        (MIN, 5_000, 4_900, 0),
    ],
)
def test_box_that_says_that_more_is_in_force_is_believed(
    number: int, value: int, reported_mA: int, reserve_mA: int
) -> None:
    tables = garage(failsafe_mA=0)
    held = Still(tables)
    row = held.set(0, 0, 0)
    row.has_reported, row.reported_mA = True, reported_mA
    held.core.retune([(slot(tables, number, 0), value)])
    assert held.step() == 0
    assert row.reserve_mA >= reserve_mA
    assert (row.reserve_mA > 0) == (reserve_mA > 0)


def test_disabled_charger_is_taken_to_0_and_says_so() -> None:
    tables = garage()
    held = Still(tables)
    held.set(0, 10_000)
    held.core.retune([(slot(tables, ENABLE, 0), 0)])
    assert held.step() == 0
    row = held.chargers[0]
    assert dict(held.core.takes())[0] == 0
    assert (row.reason, row.pause, row.off_since_ns) == (Reason.DISABLED, 5, NOW_ns)
    assert (row.was_paused, row.failsafe_mA, row.is_armed) == (1, 0, 1)
    assert held.chargers[1].failsafe_mA == 6_000


def test_disabled_charger_without_current_was_not_paused() -> None:
    tables = garage()
    held = Still(tables)
    row = held.set(0, 0)
    row.state = 1
    held.core.retune([(slot(tables, ENABLE, 0), 0)])
    assert held.step() == 0
    assert (row.reason, row.was_paused) == (Reason.DISABLED, 0)


@pytest.mark.parametrize(
    ("is_isolated", "reason"), [(False, Reason.DISABLED), (True, Reason.ISOLATED)]
)
def test_disabled_charger_settles_at_0(is_isolated: bool, reason: Reason) -> None:
    tables = garage(2, is_isolated=is_isolated, is_enabled=False)
    core = attached(tables)
    assert core.settle([True, True]) == 0
    assert [(core.charger(i)["grant_mA"], core.charger(i)["reason"]) for i in range(2)] == (
        [(0, reason)] * 2
    )


def failsafes_mA(held: Still) -> list[int]:
    assert held.step() == 0
    return [row.failsafe_mA for row in held.chargers]


@pytest.mark.parametrize(
    ("changes", "failsafe_mA"),
    [
        ([], [6_000] * 3),
        ([(L1, 0, 38_000)], [6_000] * 3),  # 3 x 6 A + 20 A
        ([(L1, 0, 37_999)], [6_000, 6_000, 0]),
        ([(L2, 0, 31_999)], [6_000, 0, 0]),
        ([(L3, 0, 0)], [0, 0, 0]),
        ([(L3, 0, 37_999), (PRIORITY, 2, 1)], [6_000, 0, 6_000]),
        ([(L3, 0, 37_999), (NEVER_PAUSE, 2, 1)], [6_000, 0, 6_000]),
        ([(L3, 0, 37_999), (ENABLE, 0, 0)], [0, 6_000, 6_000]),  # one brought to 0 counts 0
        ([(MARGIN, 0, 60_000)], [6_000] * 3),  # the proof knows no margin
    ],
)
def test_lowered_limit_lowers_failsafe_targets(
    changes: list[tuple[int, int, int]], failsafe_mA: list[int]
) -> None:
    tables = garage()
    held = Still(tables)
    held.core.retune([(slot(tables, *place), value) for *place, value in changes])
    assert failsafes_mA(held) == failsafe_mA


@pytest.mark.parametrize(
    ("state", "others_mA"),
    [({}, [6_000, 6_000]), ({"is_silent": True}, [6_000, 0]), ({"is_armed": False}, [6_000, 0])],
)
def test_disabled_charger_counts_nothing_in_the_proof_only_while_it_can_be_told(
    state: dict[str, bool], others_mA: list[int]
) -> None:
    tables = garage()
    held = Still(tables)
    for name, value in state.items():
        setattr(held.chargers[0], name, value)
    held.core.retune([(slot(tables, L3, 0), 37_999), (slot(tables, ENABLE, 0), 0)])
    assert failsafes_mA(held) == [0, *others_mA]


def test_lowered_limit_of_one_phase_is_not_the_end_of_the_others() -> None:
    """A limit that is too low by itself for the proof lowers nothing while it is as it was."""
    main = circuit("main", (30_000, 90_000, 90_000), background_mA=20_000)
    tables = site([main], [charger(f"c{i}") for i in range(3)])
    held = Still(tables)
    held.core.retune([(slot(tables, L2, 0), 80_000)])
    assert failsafes_mA(held) == [6_000] * 3
    held.core.retune([(slot(tables, L1, 0), 29_999)])
    assert failsafes_mA(held) == [6_000, 0, 0]
    held.core.retune([(slot(tables, L1, 0), 30_000)])
    assert failsafes_mA(held) == [6_000] * 3
    held = Still(tables)
    held.core.retune([(slot(tables, L1, 0), 29_999)])
    assert failsafes_mA(held) == [6_000, 0, 0]


def test_tiers_follow_a_changed_priority_in_the_next_scan() -> None:
    main = circuit("main", 20_000, is_dynamic=True, meter=0)
    tables = site([main], [charger(f"c{i}", failsafe_mA=0) for i in range(2)], [meter("grid")],
                  raise_delay_ns=0, soft_start_ns=0, stagger_ns=0)  # fmt: skip
    bench = Bench(tables, 0, RUN)
    bench.settle_in(0, 90)
    assert bench.setpoints_mA == [10_000, 10_000]
    bench.core.retune([(slot(tables, PRIORITY, 1), 1)])
    bench.settle_in(0, 120)
    assert bench.setpoints_mA == [6_000, 14_000]
    bench.core.retune([(slot(tables, PRIORITY, 1), 0), (slot(tables, WEIGHT, 0), 3)])
    bench.settle_in(0, 120)
    assert bench.setpoints_mA[0] > 13_000


# minima that move under a setpoint


def lowered(mode: int = RUN, **row: Any) -> Still:
    """A minimum of 8 A in the site file that was lowered to 6 A."""
    tables = garage(min_mA=8000, failsafe_mA=8000, fallback_mA=8000, **row)
    held = Still(tables, mode)
    held.core.retune([(slot(tables, MIN, 0), 6000)])
    return held


def fall_back(held: Still) -> None:
    held.core.retune([(slot(held.tables, MIN, 0), 8000)])


@pytest.mark.parametrize("reported_mA", [6000, 7000])
def test_what_a_box_says_is_in_force_counts_also_below_a_minimum_that_came_back(
    reported_mA: int,
) -> None:
    """Told 0 A and deaf: it may still draw what its minimum allowed before."""
    held = lowered(has_measured_current=False)
    row = held.set(0, 0)
    row.ceiling_mA, row.is_unproven = reported_mA, True
    row.acknowledged_at_ns = NOW_ns - 25 * NS_PER_S
    row.has_reported, row.reported_mA, row.status_at_ns = True, reported_mA, NOW_ns - NS_PER_S
    fall_back(held)
    held.step()
    assert row.reserve_mA == reported_mA


@pytest.mark.parametrize("mode", [START, RUN, FAILSAFE])
def test_probe_below_a_minimum_that_was_raised_is_a_pause(mode: int) -> None:
    held = lowered(mode)
    row = held.set(0, 7000)
    row.is_silent = True
    assert held.step() == 0
    assert (row.action_mA, held.core.probe_mA(0)) == (7000, 7000)
    fall_back(held)
    assert held.step() == 0
    assert (row.action_mA, held.core.probe_mA(0)) == (0, 0)


def test_setpoint_below_a_raised_minimum_of_one_without_a_status_is_a_pause() -> None:
    held = lowered()
    row = held.set(0, 7000)
    row.has_status = row.is_acknowledged = False
    fall_back(held)
    assert held.step() == 0
    assert row.action_mA == 0


def test_raised_minimum_pauses_as_any_other_pause() -> None:
    """It does not come back before min_off_s."""
    held = lowered()
    row = held.set(0, 7000)
    fall_back(held)
    held.step()
    assert (row.action_mA, row.was_paused, row.off_since_ns) == (0, 1, NOW_ns)


def test_disabled_charger_does_not_wait() -> None:
    tables = garage()
    held = Still(tables)
    row = held.set(0, 0)
    row.is_waiting, row.waits_since_ns = True, NOW_ns - 5_000 * NS_PER_S
    held.core.retune([(slot(tables, ENABLE, 0), 0)])
    held.step()
    assert row.is_waiting == 0
    held.core.retune([(slot(tables, ENABLE, 0), 1)])
    held.step()
    assert (row.is_waiting, row.waits_since_ns) == (1, NOW_ns)
