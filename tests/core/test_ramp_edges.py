"""The ramp at its edges: which raise is proposed in this scan, and what others wait for."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason

from tests.support.core_sites import FAILSAFE, NS_PER_S, START, charger, circuit, meter, site
from tests.support.still import LONG_AGO_ns, NOW_ns, Still

MS = 1_000_000


def still(limit_mA: int = 100_000, tunings: dict[str, int] | None = None, **row: Any) -> Still:
    """One charger of 6 to 32 A under a static limit."""
    rows = [charger("a", **{"max_mA": 32_000, "rated_mA": 32_000, **row})]
    return Still(site([circuit("main", limit_mA)], rows, **tunings or {}))


def proposed_mA(held: Still, setpoint_mA: int, **state: Any) -> tuple[int, int]:
    """The setpoint that is proposed, and the reason; the present one where nothing is."""
    row = held.set(0, setpoint_mA)
    for name, value in state.items():
        setattr(row, name, value)
    assert held.step() == 0
    assert row.action == (Action.ACTION_GIVE if row.action_mA > setpoint_mA else 0)
    assert row.is_start == (setpoint_mA == 0 and row.action_mA > 0)
    return row.action_mA, row.reason


@pytest.mark.parametrize(
    ("limit_mA", "setpoint_mA", "to_mA"),
    [
        (20_000, 8000, 20_000),
        (8000, 8000, 8000),
        # A session starts at its minimum, whatever there is.
        (20_000, 0, 6000),
        (5999, 0, 0),
    ],
)
def test_raise_to_the_share(limit_mA: int, setpoint_mA: int, to_mA: int) -> None:
    assert proposed_mA(still(limit_mA), setpoint_mA)[0] == to_mA


RAISED = {"has_raised": True}


@pytest.mark.parametrize(
    ("state", "to_mA", "reason"),
    [
        # Its own offset after a start.
        ({"raise_after_ns": NOW_ns + 1}, 8000, Reason.WAITS_FOR_TURN),
        ({"raise_after_ns": NOW_ns}, 20_000, Reason.FULL),
        # Every five seconds.
        ({**RAISED, "raised_at_ns": NOW_ns - 5 * NS_PER_S + 1}, 8000, Reason.RAMPS_UP),
        # As far as the budget goes: that is what keeps it from more, and not its share.
        ({**RAISED, "raised_at_ns": NOW_ns - 5 * NS_PER_S}, 18_000, Reason.RAMPS_UP),
        ({**RAISED, "raised_at_ns": NOW_ns - 6 * NS_PER_S + 1}, 19_900, Reason.RAMPS_UP),
        ({**RAISED, "raised_at_ns": NOW_ns - 6 * NS_PER_S}, 20_000, Reason.FULL),
        ({"has_raised": False, "raised_at_ns": NOW_ns}, 20_000, Reason.FULL),
        # 40 s at its minimum.
        ({"on_since_ns": NOW_ns - 40 * NS_PER_S + 1}, 8000, Reason.STARTS_SOFTLY),
        ({"on_since_ns": NOW_ns - 40 * NS_PER_S}, 20_000, Reason.FULL),
        # That lasts longer than the time between raises.
        ({**RAISED, "raised_at_ns": NOW_ns, "on_since_ns": NOW_ns}, 8000, Reason.STARTS_SOFTLY),
    ],
)
def test_what_a_raise_waits_for(state: dict[str, Any], to_mA: int, reason: int) -> None:
    assert proposed_mA(still(20_000), 8000, **state) == (to_mA, reason)


@pytest.mark.parametrize(
    ("limit_mA", "soft_start_s", "reason"),
    [
        (20_000, 40, Reason.STARTS_SOFTLY),
        (6100, 40, Reason.STARTS_SOFTLY),
        (6000, 40, Reason.FULL),
        (20_000, 0, Reason.RAMPS_UP),
        (6000, 0, Reason.FULL),
    ],
)
def test_start_at_the_minimum_says_why_it_is_no_more(
    limit_mA: int, soft_start_s: int, reason: int
) -> None:
    held = still(limit_mA, {"soft_start_ns": soft_start_s * NS_PER_S})
    assert proposed_mA(held, 0) == (6000, reason)


def test_start_waits_for_the_turn_but_not_for_the_soft_start() -> None:
    assert proposed_mA(still(), 0, on_since_ns=NOW_ns)[0] == 6000
    assert proposed_mA(still(), 0, raise_after_ns=NOW_ns + 1) == (0, Reason.WAITS_FOR_TURN)


@pytest.mark.parametrize(("every_s", "min_change_s", "pause_s"), [(5, 0, 5), (5, 8, 8), (9, 8, 9)])
def test_box_that_wants_more_time_between_changes_gets_it(
    every_s: int, min_change_s: int, pause_s: int
) -> None:
    for early_ns, to_mA in ((1, 8000), (0, 20_000)):
        tunings = {"raise_every_ns": every_s * NS_PER_S, "ramp_mA_per_s": 100_000}
        held = still(20_000, tunings, min_change_ns=min_change_s * NS_PER_S)
        at_ns = NOW_ns - pause_s * NS_PER_S + early_ns
        assert proposed_mA(held, 8000, has_raised=True, raised_at_ns=at_ns)[0] == to_mA


@pytest.mark.parametrize(
    ("gap_mA", "state", "to_mA"),
    [
        # The deadband of 0.5 A.
        (500, {}, 8500),
        (499, {}, 8000),
        # Within it for a minute is enough.
        (499, {"is_below": True, "below_since_ns": NOW_ns - 60 * NS_PER_S + 1}, 8000),
        (499, {"is_below": True, "below_since_ns": NOW_ns - 60 * NS_PER_S}, 8499),
        (1, {"is_below": True, "below_since_ns": LONG_AGO_ns}, 8001),
        (499, {"is_below": False, "below_since_ns": LONG_AGO_ns}, 8000),
    ],
)
def test_gap_that_is_worth_a_raise(gap_mA: int, state: dict[str, Any], to_mA: int) -> None:
    reached_mA, reason = proposed_mA(still(8000 + gap_mA, step_mA=1), 8000, **state)
    assert (reached_mA, reason == Reason.CLOSE_ENOUGH) == (to_mA, to_mA == 8000)


@pytest.mark.parametrize(
    ("gap_mA", "was_below", "is_below", "since_ns"),
    [
        (499, 0, 1, NOW_ns),
        (499, 1, 1, 7),
        (1, 0, 1, NOW_ns),
        (0, 1, 0, 7),
        (500, 1, 0, 7),
    ],
)
def test_since_when_the_gap_is_small(
    gap_mA: int, was_below: int, is_below: int, since_ns: int
) -> None:
    held = still(8000 + gap_mA, step_mA=1)
    proposed_mA(held, 8000, is_below=was_below, below_since_ns=7)
    assert held.chargers[0].is_below == is_below
    assert held.chargers[0].below_since_ns == since_ns


@pytest.mark.parametrize(
    ("ago_ns", "to_mA"),
    [
        # 2 A a second, saved up: 10 A after 5 s, one step more after 50 ms more.
        (5 * NS_PER_S, 18_000),
        (5050 * MS - 1, 18_000),
        (5050 * MS, 18_100),
        (60 * NS_PER_S, 32_000),
    ],
)
def test_budget_of_the_ramp(ago_ns: int, to_mA: int) -> None:
    held = still()
    assert proposed_mA(held, 8000, has_raised=True, raised_at_ns=NOW_ns - ago_ns)[0] == to_mA


@pytest.mark.parametrize("state", [{}, {"has_raised": True, "raised_at_ns": LONG_AGO_ns}])
def test_budget_is_that_of_1000_s_at_most(state: dict[str, Any]) -> None:
    held = still(tunings={"ramp_mA_per_s": 1}, step_mA=1)
    assert proposed_mA(held, 8000, **state)[0] == 9000


def test_budget_below_one_step_is_saved_up() -> None:
    held = still(tunings={"ramp_mA_per_s": 10}, step_mA=1000, min_mA=1000)
    at_ns = NOW_ns - 99 * NS_PER_S
    state = {"has_raised": True, "raised_at_ns": at_ns}
    assert proposed_mA(held, 8000, **state) == (8000, Reason.RAMPS_UP)
    held = still(tunings={"ramp_mA_per_s": 10}, step_mA=1000, min_mA=1000)
    assert proposed_mA(held, 8000, has_raised=True, raised_at_ns=at_ns - NS_PER_S)[0] == 9000


def test_offsets_after_a_start_are_spread_over_the_stagger() -> None:
    held = Still(site([circuit("main", 100_000)], [charger("x")] * 4))
    held.site.is_running = False
    held.step()
    offsets_ns = [row.raise_after_ns - NOW_ns for row in held.chargers]
    assert offsets_ns == [0, 2_500 * MS, 5_000 * MS, 7_500 * MS]
    assert [row.action for row in held.chargers] == [2, 0, 0, 0]
    held.step(NOW_ns + 1)  # runs already: the offsets stay
    assert held.chargers[1].raise_after_ns == NOW_ns + 2_500 * MS


@pytest.mark.parametrize("mode", [START, FAILSAFE])
def test_outside_run_there_are_no_offsets_and_no_raises(mode: int) -> None:
    held = Still(site([circuit("main", 100_000)], [charger("x")]), mode=mode)
    held.set(0, 6000)
    held.step()
    row = held.chargers[0]
    assert (row.raise_after_ns, row.action, row.reason) == (0, 0, Reason.CONTROLLER_MODE)
    assert held.site.is_running == 0


# A sub-circuit with a meter of its own below a static one; the charger uses L2 and L3.
def nested(**row: Any) -> Still:
    circuits = [
        circuit("main", 100_000),
        circuit("sub", 100_000, 0, is_dynamic=True, meter=0, background_mA=50_000),
        circuit("leaf", 100_000, 1),
        circuit("beside", 100_000, 0, is_dynamic=True, meter=1, background_mA=50_000),
    ]
    rows = [charger("a", 2, phases=(1, 2), **row)]
    held = Still(site(circuits, rows, [meter("m"), meter("n")], peak_hold_ns=0))
    held.meters[0].has_value = True
    held.meters[0].trusted_at_ns = NOW_ns
    return held


def test_raise_waits_for_the_meter_of_any_circuit_above() -> None:
    held = nested()
    held.set(0, 8000)
    held.step()
    row = held.chargers[0]
    assert (row.action, row.reason) == (0, Reason.WAITS_FOR_METER)
    assert (row.binding_circuit, row.binding_kind) == (1, 1)
    held.read(0, 20_000, NOW_ns)
    held.step()
    assert row.action == Action.ACTION_GIVE


@pytest.mark.parametrize("c", range(4))
@pytest.mark.parametrize("p", range(3))
def test_raise_waits_after_a_cut_on_a_circuit_phase_that_it_uses(c: int, p: int) -> None:
    is_above = c < 3 and p in (1, 2)
    for early_ns in (0, 1):
        held = nested()
        held.read(0, 20_000)
        held.set(0, 8000)
        held.circuits[c].raise_after_ns[p] = NOW_ns + early_ns
        held.step()
        row = held.chargers[0]
        if is_above and early_ns:
            assert (row.action, row.reason) == (0, Reason.WAITS_AFTER_CUT)
            assert (row.binding_circuit, row.binding_kind) == (c, p)
        else:
            assert row.action == Action.ACTION_GIVE
