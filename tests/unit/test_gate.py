"""The second judge: refuses what is not in the table, and every raise that does not fit."""

import random
from typing import Any

import pytest

from loadctl.gate import Gate
from loadctl.tables import Tables
from tests.support.builders import make_charger, make_circuit, make_tables

NOTHING = (0, 0, 0)


def two_chargers(**circuit: Any) -> Tables:
    chargers = [make_charger("a"), make_charger("b")]
    return make_tables(circuits=[make_circuit(limit_A=32, **circuit)], chargers=chargers)


def gate_at(tables: Tables, told_mA: list[int], backgrounds_mA: list[Any]) -> Gate:
    """A gate that knows what everybody was told; reserves are just that."""
    gate = Gate(tables)
    for charger_i, setpoint_mA in enumerate(told_mA):
        gate.found(charger_i, setpoint_mA)
    gate.open(told_mA, backgrounds_mA)
    return gate


# the charger's own table


def test_gate_sweep_of_every_value_lets_only_the_table_through() -> None:
    row = make_charger("a", min_mA=6_000, max_mA=16_000, step_mA=500)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    allowed = set()
    for setpoint_mA in range(-2_000, 70_000, 50):
        gate = gate_at(tables, [16_000], [NOTHING])
        if gate.allows(0, setpoint_mA):
            allowed.add(setpoint_mA)
    assert allowed == {0, *range(6_000, 16_001, 500)}


def test_gate_sweep_of_lowering_frames_is_judged_by_the_table_too() -> None:
    tables = make_tables(circuits=[make_circuit(limit_A=32)], chargers=[make_charger("a")])
    allowed = set()
    for setpoint_mA in range(-100, 16_001, 50):
        gate = Gate(tables)
        gate.found(0, 32_000)  # whatever comes is lower
        if gate.allows(0, setpoint_mA):
            allowed.add(setpoint_mA)
    assert allowed == {0, *range(6_000, 16_001, 100)}


@pytest.mark.parametrize("charger_i", [-1, 2, 99])
def test_gate_charger_that_does_not_exist_is_refused(charger_i: int) -> None:
    gate = gate_at(two_chargers(), [0, 0], [NOTHING])
    assert gate.allows(charger_i, 0) is False


def test_gate_isolated_charger_gets_no_frame_at_all() -> None:
    row = make_charger("a", is_isolated=True)
    gate = Gate(make_tables(circuits=[make_circuit(limit_A=32)], chargers=[row]))
    assert gate.allows(0, 0) is False


# what is a raise


def test_gate_fresh_gate_lets_a_pause_through_and_nothing_else() -> None:
    gate = Gate(two_chargers())
    assert gate.allows(0, 6_000) is False
    assert gate.allows(0, 0) is True


def test_gate_closed_lets_lower_and_equal_through_but_no_raise() -> None:
    gate = gate_at(two_chargers(), [10_000, 10_000], [NOTHING])
    gate.close()
    assert gate.allows(0, 10_000) is True
    assert gate.allows(0, 8_000) is True
    assert gate.allows(0, 8_100) is False


def test_gate_allowed_raise_that_was_not_reported_is_judged_again() -> None:
    gate = gate_at(two_chargers(), [8_000, 8_000], [NOTHING])
    assert gate.allows(0, 10_000) is True
    gate.close()
    assert gate.allows(0, 10_000) is False


def test_gate_raise_that_left_may_be_repeated() -> None:
    gate = gate_at(two_chargers(), [8_000, 8_000], [NOTHING])
    assert gate.allows(0, 10_000) is True
    gate.left(0, 10_000)
    gate.close()
    assert gate.allows(0, 10_000) is True


def test_gate_decrease_counts_at_once_even_when_not_reported() -> None:
    gate = gate_at(two_chargers(), [10_000, 10_000], [NOTHING])
    assert gate.allows(0, 6_000) is True
    gate.close()
    assert gate.allows(0, 10_000) is False


def test_gate_decrease_that_never_left_is_taken_back() -> None:
    gate = gate_at(two_chargers(), [10_000, 10_000], [NOTHING])
    assert gate.allows(0, 6_000) is True
    gate.held_back(0)
    gate.close()
    assert gate.allows(0, 10_000) is True
    assert gate.allows(0, 10_100) is False


def test_gate_raise_that_never_left_is_not_what_the_charger_was_told() -> None:
    gate = gate_at(two_chargers(), [6_000, 6_000], [NOTHING])
    assert gate.allows(0, 10_000) is True
    gate.held_back(0)
    gate.close()
    assert gate.allows(0, 6_000) is True
    assert gate.allows(0, 10_000) is False


def test_gate_unknown_background_lets_no_raise_through() -> None:
    gate = gate_at(two_chargers(), [6_000, 6_000], [None])
    assert gate.allows(0, 6_100) is False
    assert gate.allows(0, 6_000) is True


# what fits; limit 32 A


@pytest.mark.parametrize(
    ("background_A", "margin_A", "fits_mA"),
    [
        (0, 0, 16_000),  # 16 beside 16
        (1, 0, 15_000),
        (1, 1, 14_000),
        (10, 0, 6_000),
        (10.1, 0, None),  # not even the minimum
    ],
)
def test_gate_raise_fits_up_to_the_limit_and_not_one_step_more(
    background_A: float, margin_A: int, fits_mA: int | None
) -> None:
    background_mA = int(background_A * 1000)
    tables = two_chargers(margin_mA=margin_A * 1000)
    allowed = [
        setpoint_mA
        for setpoint_mA in range(6_000, 16_001, 100)
        if gate_at(tables, [0, 16_000], [(background_mA,) * 3]).allows(0, setpoint_mA)
    ]
    assert (max(allowed) if allowed else None) == fits_mA


def test_gate_raise_is_judged_by_reserve_not_by_what_was_told() -> None:
    gate = gate_at(two_chargers(), [6_000, 6_000], [NOTHING])
    gate.open([6_000, 24_000], [NOTHING])  # b was told 6 A and may still draw 24 A
    assert gate.allows(0, 8_000) is True
    assert gate.allows(0, 8_100) is False


def test_gate_raise_below_its_own_reserve_needs_no_more_room() -> None:
    gate = gate_at(two_chargers(), [6_000, 16_000], [NOTHING])
    gate.open([16_000, 16_000], [NOTHING])
    assert gate.allows(0, 16_000) is True


def test_gate_second_raise_of_a_scan_sees_the_first() -> None:
    gate = gate_at(two_chargers(), [8_000, 8_000], [(10_000, 10_000, 10_000)])
    assert gate.allows(0, 14_000) is True  # 10 + 14 + 8 = 32
    assert gate.allows(1, 8_100) is False


def test_gate_one_phase_in_use_that_is_full_refuses_and_an_unused_one_does_not() -> None:
    tables = make_tables(
        circuits=[make_circuit(limit_A=32)],
        chargers=[make_charger("a", phases=(1,)), make_charger("b", phases=(1,))],
    )
    assert gate_at(tables, [6_000, 6_000], [(40_000, 0, 40_000)]).allows(0, 6_100) is True
    assert gate_at(tables, [6_000, 6_000], [(0, 20_000, 0)]).allows(0, 6_100) is False


def test_gate_parent_circuit_that_is_full_refuses() -> None:
    tables = make_tables(
        circuits=[make_circuit(limit_A=20), make_circuit("garage", 32, parent=0)],
        chargers=[make_charger("a", circuit=1), make_charger("b", circuit=0)],
    )
    gate = gate_at(tables, [6_000, 12_000], [NOTHING, NOTHING])
    assert gate.allows(0, 8_000) is True
    assert gate.allows(0, 8_100) is False


def test_gate_sibling_circuit_that_is_full_does_not_matter() -> None:
    tables = make_tables(
        circuits=[
            make_circuit(limit_A=99),
            make_circuit("left", 32, parent=0),
            make_circuit("right", 32, parent=0),
        ],
        chargers=[make_charger("a", circuit=1), make_charger("b", circuit=2)],
    )
    gate = gate_at(tables, [6_000, 6_000], [NOTHING, NOTHING, (32_000,) * 3])
    assert gate.allows(0, 16_000) is True
    assert gate.allows(1, 6_100) is False


def test_gate_total_power_counts_all_phases_of_all_chargers_and_background() -> None:
    # 230 V * (3 * 6 + 3 * 8 + 3 * 2) A = 11 040 W
    tables = two_chargers(limit_W=11_040)
    gate = gate_at(tables, [6_000, 6_000], [(2_000, 2_000, 2_000)])
    assert gate.allows(0, 8_100) is False
    assert gate.allows(0, 8_000) is True


def test_gate_limit_of_zero_is_a_limit() -> None:
    for zero in ({"limit_W": 0}, {"limit_mA": (0, 0, 0)}):
        assert gate_at(two_chargers(**zero), [0, 0], [NOTHING]).allows(0, 6_000) is False
    tables = make_tables(
        circuits=[make_circuit(limit_A=32, unbalance_mA=0)],
        chargers=[make_charger("a", phases=(0,))],
    )
    assert gate_at(tables, [0], [NOTHING]).allows(0, 6_000) is False


def test_gate_unbalance_sums_those_that_use_one_phase_and_not_the_other() -> None:
    tables = make_tables(
        circuits=[make_circuit(limit_A=99, unbalance_mA=20_000)],
        chargers=[
            make_charger("a", phases=(0,)),
            make_charger("b", phases=(0, 1)),
            make_charger("c", phases=(0, 1, 2)),
        ],
    )
    # L1 and not L3: a + b; c uses all three and never counts
    gate = gate_at(tables, [6_000, 12_000, 16_000], [NOTHING])
    assert gate.allows(0, 8_100) is False
    assert gate.allows(0, 8_000) is True
    gate = gate_at(tables, [6_000, 12_000, 6_000], [NOTHING])
    assert gate.allows(2, 16_000) is True


def test_gate_random_sites_never_let_a_sum_through_that_a_plain_sum_refuses() -> None:
    """The obvious sum, written out once more, on random trees and random orders of raises."""
    rng = random.Random(11)
    n_allowed = n_refused = 0
    for _ in range(300):
        n_circuits, n_chargers = rng.randint(1, 4), rng.randint(1, 8)
        circuits = [
            make_circuit(
                f"c{i}",
                parent=-1 if i == 0 else rng.randrange(i),
                limit_mA=tuple(rng.choice((10_000, 20_000, 32_000, 50_000)) for _ in range(3)),
                margin_mA=rng.choice((0, 1_000)),
                limit_W=rng.choice((None, 15_000, 30_000)),
                unbalance_mA=rng.choice((None, 12_000, 20_000)),
            )
            for i in range(n_circuits)
        ]
        chargers = [
            make_charger(
                f"x{i}",
                circuit=rng.randrange(n_circuits),
                phases=tuple(rng.sample(range(3), rng.choice((1, 2, 3)))),
            )
            for i in range(n_chargers)
        ]
        tables = make_tables(circuits=circuits, chargers=chargers)
        told_mA = [rng.choice((0, 6_000, 8_000)) for _ in chargers]
        reserves_mA = [value_mA + rng.choice((0, 0, 4_000)) for value_mA in told_mA]
        backgrounds_mA = [tuple(rng.choice((0, 3_000)) for _ in range(3)) for _ in circuits]
        gate = gate_at(tables, told_mA, backgrounds_mA)
        gate.open(reserves_mA, backgrounds_mA)
        for _ in range(12):
            charger_i, setpoint_mA = rng.randrange(n_chargers), rng.randrange(6_000, 16_001, 500)
            if setpoint_mA <= told_mA[charger_i]:
                continue
            after_mA = list(reserves_mA)
            after_mA[charger_i] = max(after_mA[charger_i], setpoint_mA)
            expected = plainly_fits(tables, after_mA, backgrounds_mA, charger_i)
            assert gate.allows(charger_i, setpoint_mA) is expected
            if expected:
                reserves_mA = after_mA
            n_allowed += expected
            n_refused += not expected
    assert n_allowed > 300
    assert n_refused > 300


def plainly_fits(tables: Tables, reserves_mA: list[int], backgrounds: list[Any], who: int) -> bool:
    circuit_i = tables.chargers[who].circuit
    while circuit_i >= 0:
        circuit = tables.circuits[circuit_i]
        below = [i for i, c in enumerate(tables.chargers) if is_below(tables, c.circuit, circuit_i)]
        for p in tables.chargers[who].phases:
            load_mA = backgrounds[circuit_i][p] + circuit.margin_mA
            load_mA += sum(reserves_mA[i] for i in below if p in tables.chargers[i].phases)
            if load_mA > circuit.limit_mA[p]:
                return False
            for q in range(3):
                if circuit.unbalance_mA is None or q in tables.chargers[who].phases:
                    continue
                rows = [(i, tables.chargers[i].phases) for i in below]
                one_sided_mA = sum(reserves_mA[i] for i, ph in rows if p in ph and q not in ph)
                if one_sided_mA > circuit.unbalance_mA:
                    return False
        total_mA = sum(backgrounds[circuit_i])
        total_mA += sum(reserves_mA[i] * len(tables.chargers[i].phases) for i in below)
        if circuit.limit_W is not None and total_mA * 230 > circuit.limit_W * 1000:
            return False
        circuit_i = circuit.parent
    return True


def is_below(tables: Tables, circuit_i: int, top_i: int) -> bool:
    while circuit_i >= 0:
        if circuit_i == top_i:
            return True
        circuit_i = tables.circuits[circuit_i].parent
    return False


# limits from outside


def outside(**circuit: Any) -> Tables:
    return two_chargers(takes_external=True, loss_mA=(99_000,) * 3, **circuit)


def test_gate_raise_above_a_current_from_outside_is_dropped() -> None:
    gate = gate_at(outside(margin_mA=1_000), [6_000, 6_000], [(2_000, 2_000, 2_000)])
    gate.limit(0, (32_000, 17_000, 32_000), None)
    assert gate.allows(0, 8_100) is False
    assert gate.allows(0, 8_000) is True
    assert gate.allows(1, 6_100) is False


def test_gate_current_from_outside_binds_only_who_uses_its_phase() -> None:
    rows = [make_charger("a", phases=(0,)), make_charger("b", phases=(1,))]
    main = make_circuit(limit_A=32, takes_external=True, loss_mA=(0, 0, 0))
    gate = gate_at(make_tables(circuits=[main], chargers=rows), [0, 0], [NOTHING])
    gate.limit(0, (0, 32_000, 0), None)
    assert gate.allows(0, 6_000) is False
    assert gate.allows(1, 6_000) is True


def test_gate_power_from_outside_counts_the_background() -> None:
    gate = gate_at(outside(), [6_000, 6_000], [(2_000, 2_000, 2_000)])
    gate.limit(0, None, 11_040)  # 230 V * (3 * 6 + 3 * 8 + 3 * 2) A
    assert gate.allows(0, 8_100) is False
    assert gate.allows(0, 8_000) is True


def test_gate_power_of_chargers_alone_leaves_the_background_out() -> None:
    gate = gate_at(outside(guaranteed_W=0), [6_000, 6_000], [(2_000, 2_000, 2_000)])
    gate.limit(0, None, 9_660)  # 230 V * 3 * (6 + 8) A
    assert gate.allows(0, 8_100) is False
    assert gate.allows(0, 8_000) is True
    assert gate.allows(1, 6_100) is False


def test_gate_before_the_first_word_from_outside_holds_what_counts_at_loss() -> None:
    for loss in ({"loss_mA": (11_999,) * 3}, {"loss_mA": None, "loss_W": 8_279}):
        tables = two_chargers(takes_external=True, **loss)
        gate = gate_at(tables, [6_000, 0], [NOTHING])
        assert gate.allows(1, 6_000) is False
        gate.limit(0, None, None)
        assert gate.allows(1, 6_000) is True


def test_gate_limit_from_outside_raises_no_limit_of_the_circuit() -> None:
    gate = gate_at(outside(), [16_000, 6_000], [(16_000, 0, 0)])
    gate.limit(0, (99_000,) * 3, 99_000)
    assert gate.allows(1, 6_100) is False


def test_gate_zero_from_outside_drops_every_raise_and_lets_decreases_through() -> None:
    for words in (((0, 0, 0), None), (None, 0)):
        gate = gate_at(outside(), [8_000, 0], [NOTHING])
        gate.limit(0, *words)
        assert gate.allows(1, 6_000) is False
        assert gate.allows(0, 6_000) is True


# what was tuned


def test_raise_keeps_to_the_range_that_was_tuned() -> None:
    row = make_charger("a", min_mA=6_000, max_mA=16_000, step_mA=500)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    allowed = set()
    for setpoint_mA in range(0, 20_000, 500):
        gate = gate_at(tables, [0], [NOTHING])
        gate.tune_charger(0, 8_000, 12_000, True)
        if gate.allows(0, setpoint_mA):
            allowed.add(setpoint_mA)
    assert allowed == {0, *range(8_000, 12_001, 500)}


def test_what_raises_nobody_passes_also_beside_the_tuned_range() -> None:
    """One that stands where it may not be raised to any more is refreshed and brought down."""
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[make_charger("a")])
    gate = gate_at(tables, [14_000], [NOTHING])
    gate.tune_charger(0, 8_000, 12_000, True)
    assert [gate.allows(0, mA) for mA in (14_000, 13_000, 7_000, 6_000, 5_900)] == (
        [True, True, True, True, False]
    )


def test_minimum_below_the_site_file_passes_once_it_was_tuned() -> None:
    row = make_charger("a", min_mA=8_000)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    gate = gate_at(tables, [16_000], [NOTHING])
    assert not gate.allows(0, 6_000)
    gate.tune_charger(0, 6_000, 16_000, True)
    assert gate.allows(0, 6_000)


def test_what_was_told_below_a_minimum_that_came_back_may_be_told_again() -> None:
    """Else a charger that was told 6 A before could not even be probed; a raise keeps to 8 A."""
    row = make_charger("a", min_mA=8_000)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    gate = gate_at(tables, [16_000], [NOTHING])
    gate.tune_charger(0, 6_000, 16_000, True)
    assert gate.allows(0, 6_000)
    gate.left(0, 6_000)
    gate.tune_charger(0, 8_000, 16_000, True)
    assert [gate.allows(0, mA) for mA in (6_000, 7_000, 5_900)] == [True, False, False]


@pytest.mark.parametrize(("found_mA", "is_allowed"), [(6_000, True), (5_900, False)])
def test_what_an_earlier_scan_told_may_be_told_again(found_mA: int, is_allowed: bool) -> None:
    row = make_charger("a", min_mA=8_000)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    gate = Gate(tables)
    gate.found(0, found_mA)
    assert gate.allows(0, found_mA) == is_allowed
    assert gate.allows(0, 0)


def test_disabled_charger_is_not_raised_and_may_be_brought_down() -> None:
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[make_charger("a")])
    gate = gate_at(tables, [10_000], [NOTHING])
    gate.tune_charger(0, 6_000, 16_000, False)
    assert [gate.allows(0, mA) for mA in (10_100, 10_000, 6_000, 0, 6_000)] == (
        [False, True, True, True, False]
    )


def test_charger_that_the_site_file_disables_is_not_raised() -> None:
    row = make_charger("a", is_enabled=False)
    tables = make_tables(circuits=[make_circuit(limit_A=99)], chargers=[row])
    assert not gate_at(tables, [0], [NOTHING]).allows(0, 6_000)


@pytest.mark.parametrize(
    ("limit_mA", "margin_mA", "most_mA"),
    [
        ((32_000,) * 3, 0, 16_000),
        ((32_000, 24_000, 32_000), 0, 8_000),
        ((32_000,) * 3, 3_000, 13_000),
        ((99_000,) * 3, 0, 16_000),  # never above the site file, whatever it is told
    ],
)
def test_raise_keeps_to_the_limit_and_margin_that_were_tuned(
    limit_mA: tuple[int, int, int], margin_mA: int, most_mA: int
) -> None:
    tables = make_tables(
        circuits=[make_circuit(limit_A=32)],
        chargers=[make_charger("a"), make_charger("b", max_mA=32_000)],
    )
    for setpoint_mA, is_allowed in ((most_mA, True), (most_mA + 100, False)):
        gate = gate_at(tables, [10_000, 0], [(6_000,) * 3])
        gate.tune_circuit(0, limit_mA, margin_mA)
        assert gate.allows(1, setpoint_mA) is is_allowed


def test_margin_is_never_below_the_site_file_and_counts_below_limits_from_outside() -> None:
    tables = two_chargers(margin_mA=2_000, takes_external=True, loss_mA=(20_000,) * 3)
    gate = gate_at(tables, [6_000, 0], [NOTHING])
    gate.tune_circuit(0, (32_000,) * 3, 0)
    assert not gate.allows(1, 12_100)
    gate.tune_circuit(0, (32_000,) * 3, 4_000)
    assert not gate.allows(1, 10_100)
    assert gate.allows(1, 10_000)
