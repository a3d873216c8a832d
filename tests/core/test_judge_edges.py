"""The judge at its edges: probes, gives that are covered just so, and who is worth a look."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason

from loadctl.tables import ChargerRow
from tests.support.core_sites import NO_ANSWER, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

GIVE, PROBE = Action.ACTION_GIVE, Action.ACTION_PROBE
QUICK = {"soft_start_ns": 0, "ramp_mA_per_s": 1_000_000, "deadband_mA": 0}


def static(limit_mA: int | tuple[int, int, int], *rows: ChargerRow, **changes: Any) -> Still:
    return Still(site([circuit("main", limit_mA, **changes)], list(rows), **QUICK))


def wide(name: str, **changes: Any) -> ChargerRow:
    return charger(name, **{"max_mA": 32_000, "rated_mA": 32_000, **changes})


# Probes
def silent(held: Still, setpoint_mA: int = 10_000, **state: Any) -> Any:
    row = held.set(0, setpoint_mA)
    row.is_silent = True
    for name, value in state.items():
        setattr(row, name, value)
    held.step()
    return row


@pytest.mark.parametrize(
    ("failsafe_mA", "setpoint_mA", "probe_mA"),
    [(6000, 10_000, 6000), (16_000, 10_000, 10_000), (0, 10_000, 0), (6000, 0, 0)],
)
def test_probe_is_min_of_last_and_failsafe(
    failsafe_mA: int, setpoint_mA: int, probe_mA: int
) -> None:
    held = static(100_000, charger("a", failsafe_mA=failsafe_mA))
    row = silent(held, setpoint_mA)
    assert (row.action, row.action_mA) == (PROBE, probe_mA)
    assert held.core.probe_mA(0) == probe_mA


def test_charger_that_answers_is_not_probed() -> None:
    held = static(100_000, charger("a", failsafe_mA=8000))
    held.set(0, 10_000)
    held.step()
    assert held.chargers[0].action != PROBE
    # Asked for all the same it is what a probe would be.
    for setpoint_mA, probe_mA in ((10_000, 8000), (7000, 7000)):
        held.chargers[0].setpoint_mA = setpoint_mA
        held.chargers[0].action_mA = 5
        assert held.core.probe_mA(0) == probe_mA


@pytest.mark.parametrize(
    ("row", "state"), [({}, {"is_starving": True, "starve_until_ns": NOW_ns + 1}),
                       ({}, {"is_armed": False}), ({"is_isolated": True}, {})],
)  # fmt: skip
def test_who_is_not_probed(row: dict[str, Any], state: dict[str, Any]) -> None:
    held = static(100_000, charger("a", **row))
    assert silent(held, **state).action == 0


@pytest.mark.parametrize(
    ("fallback_mA", "probe_mA"),
    [(8000, 8000), (7950, 7900), (6000, 6000), (5999, 0), (12_000, 10_000)],
)
def test_probe_raises_nothing_where_limits_do_not_hold(fallback_mA: int, probe_mA: int) -> None:
    """Reserves of 16 A under 16 A leave no room, but pass nothing; under 15.999 A they do."""
    for limit_mA, expected_mA in ((16_000, 10_000), (15_999, probe_mA)):
        held = static(limit_mA, charger("a", failsafe_mA=16_000, fallback_mA=fallback_mA))
        assert silent(held, ceiling_mA=16_000).action_mA == expected_mA


@pytest.mark.parametrize(("is_read", "probe_mA"), [(True, 10_000), (False, 8000)])
@pytest.mark.parametrize("c", [0, 1])
def test_probe_raises_nothing_where_limits_cannot_be_seen(
    c: int, is_read: bool, probe_mA: int
) -> None:
    circuits = [circuit("main", 100_000), circuit("sub", 100_000, 0)]
    metered = {"is_dynamic": True, "meter": 0, "background_mA": 1000}
    circuits[c] = circuit(f"c{c}", 100_000, c - 1, **metered)
    row = charger("a", 1, failsafe_mA=16_000, fallback_mA=8000)
    held = Still(site(circuits, [row], [meter("m")]))
    held.read(0, 10_000)
    held.step(NOW_ns - 1)
    if is_read:
        held.read(0, 10_000)
    assert silent(held).action_mA == probe_mA


# Gives: a is raised beside b, whose ceiling is what the test says at confirm.
def given_mA(held: Still, setpoint_mA: int, other_mA: int, **state: Any) -> int:
    row = held.set(0, setpoint_mA)
    held.set(1, 0)
    held.chargers[1].state = 1  # no car
    held.step()
    assert row.action == GIVE
    held.chargers[1].ceiling_mA = other_mA
    for name, value in state.items():
        setattr(row, name, value)
    assert held.confirm() == 0
    assert row.is_start == (row.action == GIVE and setpoint_mA == 0)
    assert row.grant_mA == row.action_mA
    return int(row.action_mA) if row.action == GIVE else 0


@pytest.mark.parametrize(
    ("setpoint_mA", "other_mA", "to_mA", "is_trimmed"),
    [
        (10_000, 8000, 32_000, False),
        (10_000, 8001, 31_900, True),
        (10_000, 29_900, 10_100, True),
        (10_000, 29_901, 0, True),
        (10_000, 30_000, 0, True),
        (10_000, 30_001, 0, True),
        (0, 34_000, 6000, False),
        (0, 34_001, 0, True),
    ],
)
def test_give_is_trimmed_to_what_is_covered(
    setpoint_mA: int, other_mA: int, to_mA: int, is_trimmed: bool
) -> None:
    """40 A for both; what the other one may still take is not covered."""
    held = static(40_000, wide("a"), wide("b"))
    if setpoint_mA == 0:
        is_trimmed = to_mA == 0
    assert given_mA(held, setpoint_mA, other_mA) == to_mA
    row = held.chargers[0]
    assert (row.reason == Reason.WAITS_FOR_PROOF) == is_trimmed
    if is_trimmed:
        assert (row.has_binding, row.binding_circuit, row.binding_kind) == (1, 0, 0)
    assert row.action_mA == (to_mA or setpoint_mA)


@pytest.mark.parametrize(
    ("state", "to_mA"),
    [
        # What it may take already is its own.
        ({"ceiling_mA": 20_000}, 30_000),
        # What it takes beyond a setpoint it will take beyond the next one too.
        ({"over_mA": 500}, 29_500),
    ],
)
def test_give_counts_from_the_reserve(state: dict[str, Any], to_mA: int) -> None:
    assert given_mA(static(40_000, wide("a"), wide("b")), 10_000, 10_000, **state) == to_mA


@pytest.mark.parametrize(
    ("limits", "other_phases", "to_mA"),
    [
        ({"limit_mA": (90_000, 90_000, 40_000)}, (2,), 20_000),
        ({"limit_mA": (90_000, 40_000, 90_000)}, (2,), 32_000),
        # 13.8 kW are 60 A over the phases: 20 A of one phase leave 40 A for three.
        ({"limit_mA": 90_000, "limit_W": 13_800}, (0,), 13_300),
    ],
)
def test_give_keeps_to_every_limit(
    limits: dict[str, Any], other_phases: tuple[int, ...], to_mA: int
) -> None:
    held = static(limits.pop("limit_mA"), wide("a"), wide("b", phases=other_phases), **limits)
    assert given_mA(held, 6000, 20_000) == to_mA


def test_nested_give_keeps_to_limits_of_every_circuit_above() -> None:
    circuits = [circuit("main", 40_000), circuit("sub", 60_000, 0)]
    rows = [wide("a", circuit_i=1), wide("b")]
    held = Still(site(circuits, rows, **QUICK))
    assert given_mA(held, 6000, 20_000) == 20_000
    row = held.chargers[0]
    assert (row.reason, row.binding_circuit) == (Reason.WAITS_FOR_PROOF, 0)


@pytest.mark.parametrize("what", ["silent", "disarmed", "neither"])
def test_give_to_one_that_cannot_be_reached_any_more_is_dropped(what: str) -> None:
    held = static(40_000, wide("a"))
    row = held.set(0, 10_000)
    held.step()
    assert row.action == GIVE
    if what == "silent":
        held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    elif what == "disarmed":
        held.core.charger_armed(0, False, None)
    held.confirm()
    if what == "neither":
        assert row.action == GIVE
        return
    assert (row.action, row.action_mA, row.grant_mA) == (0, 10_000, 10_000)
    assert held.core.gives() == []


def test_start_to_one_that_fell_silent_is_no_start_any_more() -> None:
    held = static(40_000, wide("a"))
    held.set(0, 0)
    held.step()
    assert held.chargers[0].is_start == 1
    held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    held.confirm()
    assert (held.chargers[0].is_start, held.chargers[0].action) == (0, 0)


def test_takes_and_probes_stand_when_their_charger_falls_silent() -> None:
    held = static(8000, charger("a", failsafe_mA=16_000))
    row = held.set(0, 10_000)
    held.step()
    assert row.action == Action.ACTION_TAKE
    held.core.charger_answered(0, NO_ANSWER, NOW_ns)
    held.confirm()
    assert (row.action, row.action_mA) == (Action.ACTION_TAKE, 8000)


@pytest.mark.parametrize(
    ("left_mA", "expected_mA"),
    [
        (41_900, [6100, 6000, 6000]),
        (42_000, [6000, 6000, 6000]),
        (42_001, [11_900, 0, 6000]),
        (47_900, [6100, 0, 6000]),
        (48_000, [6000, 0, 6000]),
        (48_001, [11_900, 0, 0]),
    ],
)
def test_starts_are_judged_before_raises_and_each_by_tier_and_file(
    left_mA: int, expected_mA: list[int]
) -> None:
    """60 A for all, and one whose car has left may still take what its ceiling says."""
    rows = [wide("old"), wide("new"), wide("first", priority=1), wide("left")]
    held = static(60_000, *rows)
    for i, setpoint_mA in enumerate((6000, 0, 0, 0)):
        held.set(i, setpoint_mA)
    held.chargers[3].state = 1
    held.step()
    assert [row.action for row in held.chargers] == [GIVE, GIVE, GIVE, 0]
    held.chargers[3].ceiling_mA = left_mA
    held.confirm()
    assert [row.action_mA for row in held.chargers[:3]] == expected_mA


# Looks: a draws 10 A, sampled two seconds ago; b asks. Without a look the 10 A count twice, as
# background and as a's reserve: 26 A hold the start of b beside them, one mA less does not.
UNPROVEN = {"is_unproven": True, "ceiling_mA": 11_000, "acknowledged_at_ns": NOW_ns}


def looked_at(
    limit_mA: int = 25_999,
    load_mA: int | tuple[int, int, int] = 10_000,
    row: dict[str, Any] | None = None,
    main: dict[str, Any] | None = None,
    draws_mA: tuple[int, int, int] = (10_000, 10_000, 10_000),
    b_state: int = 3,
    **state: Any,
) -> bool:
    metered = {"is_dynamic": True, "meter": 0, "background_mA": 10_000, **(main or {})}
    rows = [
        charger("a", **{"max_mA": 10_000, **(row or {})}),
        charger("b", has_measured_current=False),
    ]
    held = Still(site([circuit("main", limit_mA, **metered)], rows, [meter("m")], **QUICK))
    a = held.set(0, 10_000)
    a.draw_mA[:] = draws_mA
    a.sample_mA[:3] = draws_mA
    a.sample_at_ns[0] = NOW_ns - 2 * NS_PER_S
    held.set(1, 0)
    held.chargers[1].state = b_state
    for name, value in state.items():
        setattr(a, name, value)
    held.read(0, load_mA)
    held.step()
    assert held.chargers[1].needs_look == 0
    assert held.core.looks() == [0] * a.needs_look
    return bool(a.needs_look)


@pytest.mark.parametrize(
    ("changes", "is_looked_at"),
    [
        ({}, True),
        ({"limit_mA": 26_000}, False),  # all fits anyway
        ({"b_state": 1}, False),  # nobody asks
        # Nothing to be read, or nobody who could be.
        ({"row": {"is_isolated": True}}, False),
        ({"row": {"has_measured_current": False}}, False),
        ({"is_silent": True}, False),
        ({"is_armed": False}, False),
        # One that took nothing, and is known to be allowed no more, stands in nobody's way.
        ({"draws_mA": (0, 0, 0)}, False),
        ({"draws_mA": (1, 0, 0)}, True),
        ({"draws_mA": (0, 1, 0)}, True),
        ({"draws_mA": (0, 0, 1)}, True),
        ({"draws_mA": (0, 0, 0), "n_samples": 0}, True),
        ({"draws_mA": (0, 0, 0), **UNPROVEN}, True),
        # Where no meter tells background from draw only a proof can come of it.
        ({"limit_mA": 15_999, "main": {"is_dynamic": False, "background_mA": 0}}, False),
        (
            {"limit_mA": 16_000, "main": {"is_dynamic": False, "background_mA": 0}} | UNPROVEN,
            True,
        ),
    ],
)
def test_who_stands_in_the_way_of_a_give_is_worth_a_look(
    changes: dict[str, Any], is_looked_at: bool
) -> None:
    assert looked_at(**changes) == is_looked_at


def test_sample_that_is_fresh_needs_no_look() -> None:
    """One before the meter value and its exchange, one after."""
    for age_ns, is_looked_at in ((0, False), (-1, False), (1, True)):
        ages = {"n_samples": 2, "sample_i": 1}
        main = circuit("main", 25_999, is_dynamic=True, meter=0, background_mA=10_000)
        rows = [charger("a", max_mA=10_000), charger("b", has_measured_current=False)]
        held = Still(site([main], rows, [meter("m")], **QUICK))
        a = held.set(0, 10_000)
        held.set(1, 0)
        for name, value in ages.items():
            setattr(a, name, value)
        a.sample_mA[:6] = [10_000] * 6
        a.sample_at_ns[:2] = [NOW_ns - NS_PER_S, NOW_ns - age_ns]
        a.draw_mA[:] = [10_000] * 3
        held.read(0, 12_000)
        held.step()
        assert a.needs_look == is_looked_at


@pytest.mark.parametrize(
    ("load_mA", "phases", "is_looked_at"),
    [
        (26_001, (0, 1, 2), True),
        (26_000, (0, 1, 2), False),
        ((0, 0, 26_001), (0, 1, 2), True),
        ((0, 26_001, 0), (0, 2), False),
        ((0, 26_001, 0), (2, 1), True),
    ],
)
def test_below_a_meter_above_its_limit_every_draw_is_worth_a_look(
    load_mA: Any, phases: tuple[int, ...], is_looked_at: bool
) -> None:
    row = {"phases": phases}
    assert looked_at(26_000, load_mA, row, b_state=1) == is_looked_at


@pytest.mark.parametrize(("c", "is_looked_at"), [(0, True), (1, True), (2, False)])
def test_meter_above_its_limit_counts_for_all_below_it(c: int, is_looked_at: bool) -> None:
    circuits = [circuit("main", 90_000), circuit("sub", 90_000, 0), circuit("beside", 90_000, 0)]
    circuits[c] = circuit(
        f"c{c}", 20_000, circuits[c].parent, is_dynamic=True, meter=0, background_mA=1
    )
    held = Still(site(circuits, [charger("a", 1)], [meter("m")]))
    a = held.set(0, 10_000)
    a.sample_at_ns[0] = NOW_ns - 2 * NS_PER_S
    held.read(0, 20_001)
    held.step()
    assert a.needs_look == is_looked_at


def test_looks_come_by_draw() -> None:
    main = circuit("main", 50_000, is_dynamic=True, meter=0, background_mA=1)
    held = Still(site([main], [charger("x")] * 3, [meter("m")]))
    for i, draws_mA in enumerate(((9000, 0, 0), (0, 9000, 1), (3001, 3001, 3000))):
        row = held.set(i, 10_000)
        row.draw_mA[:] = draws_mA
        row.sample_at_ns[0] = NOW_ns - 2 * NS_PER_S
    held.read(0, 50_001)
    held.step()
    assert held.core.looks() == [2, 1, 0]
