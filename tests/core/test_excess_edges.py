"""What a meter shows above a limit, at its edges: what explains it, what is cut for it."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.reason import Reason

from tests.support.core_sites import NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

FINE = {"min_mA": 1000, "step_mA": 1, "failsafe_mA": 1000, "fallback_mA": 1000}
LIMIT_mA = 50_000


def below_meter(*rows: Any, lag_ns: int = 0, **main: Any) -> Still:
    values = {"is_dynamic": True, "meter": 0, "background_mA": LIMIT_mA, **main}
    return Still(site([circuit("main", LIMIT_mA, **values)], list(rows), [meter("m", lag_ns)]))


def later(row: Any) -> Any:
    """Nothing is raised here now."""
    row.raise_after_ns = NOW_ns + 1
    return row


def power_W(phases_mA: int) -> int:
    """What so much over the phases is at 230 V."""
    return phases_mA * 230 // 1000


def test_power_above_its_limit_is_cut_from_what_each_draws_on_its_phases() -> None:
    """30 A over the phases are allowed, 31 A are read. a draws 8 A on three, b 4 A on one."""
    rows = [charger("a", **FINE), charger("b", phases=(1,), **FINE)]
    held = below_meter(*rows, limit_W=power_W(30_000))
    later(held.set(0, 8000))
    later(held.set(1, 4000))
    held.read(0, (9000, 13_000, 9000))
    held.step()
    # 28 A less 1 A: three phases of a and one of b.
    shares_mA = [row.share_low_mA for row in held.chargers]
    assert 3 * shares_mA[0] + shares_mA[1] == 27_000


def sampled(row: Any, *samples: tuple[int, int]) -> None:
    """Draws on L2, oldest first, each so many ms ago."""
    row.n_samples, row.sample_i = len(samples), len(samples) - 1
    for slot, (ago_ms, draw_mA) in enumerate(samples):
        row.sample_at_ns[slot] = NOW_ns - ago_ms * NS_PER_S // 1000
        row.sample_mA[3 * slot + 1] = row.draw_mA[1] = draw_mA


def test_power_of_one_phase_is_cut_from_what_it_draws_there() -> None:
    """1 A too much, of 6 A that are drawn by one that may draw 10 A."""
    held = below_meter(charger("a", phases=(1,), **FINE), limit_W=power_W(20_000))
    row = later(held.set(0, 10_000, 6000))
    sampled(row, (1000, 6000))
    held.read(0, (5000, 11_000, 5000))
    held.step()
    assert row.share_low_mA == 5000


def test_power_still_to_be_followed_is_that_of_the_phases_that_are_used() -> None:
    """a came down from 8 A to 6 A on one phase: of 3 A too much it explains two."""
    held = below_meter(charger("a", phases=(1,), **FINE), limit_W=power_W(20_000), lag_ns=NS_PER_S)
    row = later(held.set(0, 6000))
    row.ceiling_mA, row.is_unproven, row.acknowledged_at_ns = 12_000, True, NOW_ns - NS_PER_S // 3
    sampled(row, (500, 8000), (100, 6000))
    held.read(0, (6000, 11_000, 6000))
    held.step()
    assert row.share_low_mA == 5000


def test_raise_that_waited_before_explains_nothing_of_what_is_read_now() -> None:
    held = below_meter(charger("a", **FINE))
    row = held.set(0, 6000)
    row.raise_after_ns = NOW_ns + NS_PER_S
    held.read(0, 10_000)
    held.step()
    assert row.share_high_mA == 16_000
    held.read(0, 51_000, NOW_ns + 1)
    held.step(NOW_ns + 1)
    assert list(held.circuits[0].is_above) == [1, 1, 1]
    assert row.share_low_mA == 5000


def test_draw_of_a_moment_ago_explains_nothing_where_the_setpoint_is_not_acknowledged() -> None:
    """a took 9 A before its last sample of 6 A. Whether it follows is not known."""
    for is_acknowledged in (True, False):
        held = below_meter(charger("a", **FINE), lag_ns=5 * NS_PER_S)
        row = later(held.set(0, 6000))
        row.is_acknowledged = is_acknowledged
        row.n_samples, row.sample_i = 2, 1
        for slot, (ago_s, draw_mA) in enumerate(((2, 9000), (1, 6000))):
            row.sample_at_ns[slot] = NOW_ns - ago_s * NS_PER_S
            for p in range(3):
                row.sample_mA[3 * slot + p] = draw_mA
        held.read(0, 51_000)
        held.step()
        assert list(held.circuits[0].is_above) == [not is_acknowledged] * 3


def test_sample_of_one_that_is_silent_does_not_say_that_it_followed() -> None:
    """b, silent, came down to 6 A from 10 A: what is 3 A too much may be its own, whatever it took
    when it was last heard."""
    rows = [charger("a", **FINE), charger("b", **FINE)]
    held = below_meter(*rows)
    held.set(0, 6000)
    b = held.set(1, 6000)
    b.ceiling_mA = b.reserve_mA = 10_000
    b.is_unproven = b.is_silent = True
    b.acknowledged_at_ns = NOW_ns - NS_PER_S
    held.read(0, 53_000)
    held.step()
    assert list(held.circuits[0].is_above) == [0, 0, 0]


@pytest.mark.parametrize(("state", "is_cut"), [({}, False), ({"is_armed": False}, True)])
def test_empty_box_cuts_others_where_its_settings_are_not_known(
    state: dict[str, Any], is_cut: bool
) -> None:
    """16 A are reserved for b, who has no car, beside 10 A of a under 20 A."""
    held = Still(site([circuit("main", 20_000)], [charger("a"), charger("b")]))
    a = later(held.set(0, 10_000))
    b = held.set(1, 0)
    b.state, b.ceiling_mA, b.reserve_mA = 1, 16_000, 16_000
    b.is_unproven, b.acknowledged_at_ns = True, NOW_ns
    for name, value in state.items():
        setattr(b, name, value)
    held.step()
    assert (a.action_mA == 0) == is_cut


def test_of_limits_that_are_equally_full_the_nearest_is_named_also_beside_a_peak() -> None:
    """A peak leaves 5 A of the main circuit: the session keeps its 6 A, all that its own has."""
    circuits = [circuit("main", LIMIT_mA, is_dynamic=True, meter=0), circuit("sub", 6000, 0)]
    held = Still(site(circuits, [charger("a", 1)], [meter("m")]))
    row = later(held.set(0, 6000))
    main = held.circuits[0]
    main.n_peaks, main.peak_at_ns = 1, NOW_ns
    for p in range(3):
        main.peak_mA[p] = 45_000
    held.read(0, 16_000)
    row.raise_after_ns = 0
    held.step()
    assert list(main.background_mA) == [45_000] * 3
    assert (row.share_low_mA, row.share_high_mA) == (6000, 6000)
    assert (row.reason, row.binding_circuit, row.binding_kind) == (Reason.FULL, 1, 0)
