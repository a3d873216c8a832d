"""Backgrounds at their edges: whose draws bound them, and which values count in which scan."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.core_sites import GOOD, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

STALE = 2
SECOND_ns = NS_PER_S


def nested(n_meters: int, **row: Any) -> Still:
    """One charger in a circuit below main, which has a meter of its own where there are two."""
    sub = {"meter": 1} if n_meters == 2 else {}
    circuits = [circuit("main", 90_000, is_dynamic=True, meter=0), circuit("sub", 90_000, 0, **sub)]
    meters = [meter("m"), meter("n")][:n_meters]
    return Still(site(circuits, [charger("a", 1, **row)], meters))


def calm(held: Still, low_mA: int) -> Any:
    """Main has been at this background by known draws for as long as it is judged by."""
    main = held.circuits[0]
    main.n_dips, main.dip_at_ns = 6, NOW_ns
    for k in range(18):
        main.calm_mA[k] = low_mA
        main.dip_mA[k] = 1 << 29
    return main


def test_what_is_not_measured_below_a_sub_circuit_counts_as_background_at_once() -> None:
    held = nested(1, has_measured_current=False)
    held.set(0, 10_000)
    main = calm(held, 0)
    held.read(0, 10_000)
    held.step()
    assert list(main.background_mA) == [10_000] * 3


def test_meter_of_a_sub_circuit_bounds_what_is_known_to_be_drawn_there() -> None:
    """3 A by its meter, whatever its charger may draw since it was last sampled."""
    held = nested(2)
    row = held.set(0, 16_000, 16_000)
    for k in range(8):
        row.sample_at_ns[k] = NOW_ns - 11 * SECOND_ns
    main = calm(held, 0)
    for at_ns in (NOW_ns - SECOND_ns, NOW_ns):
        held.core.meter_read(0, GOOD, (20_000,) * 3, None, None, at_ns)
        held.core.meter_read(1, GOOD, (3000,) * 3, None, None, at_ns)
    held.step()
    assert list(main.background_low_mA) == [17_000] * 3


def test_value_read_after_the_step_counts_from_the_next_one_on() -> None:
    """Until then nothing is known of what is drawn below that meter."""
    held = nested(2, has_measured_current=False)
    held.set(0, 16_000)
    for at_ns in (NOW_ns - SECOND_ns, NOW_ns):
        held.core.meter_read(1, GOOD, (10_000,) * 3, None, None, at_ns)
    held.read(0, 20_000)
    held.step()
    main = held.circuits[0]
    assert list(main.background_rigorous_mA) == [10_000] * 3
    held.core.meter_read(1, GOOD, (10_000,) * 3, None, None, NOW_ns)
    held.confirm()
    assert list(main.background_rigorous_mA) == [20_000] * 3


def test_background_of_before_its_meter_was_lost_is_forgotten() -> None:
    """Also where its chargers may have drawn more than they were known to."""
    main_row = circuit("main", 90_000, is_dynamic=True, meter=0)
    held = Still(site([main_row], [charger("a")], [meter("m")]))
    row = held.set(0, 16_000, 0)
    for k in range(8):
        row.sample_at_ns[k] = NOW_ns - SECOND_ns
    main = calm(held, 0)
    main.source, main.dip_at_ns, main.dip_i = STALE, NOW_ns - 5 * SECOND_ns, 0
    held.read(0, 20_000)
    held.step()
    assert (main.n_dips, list(main.background_mA)) == (1, [20_000] * 3)


@pytest.mark.parametrize(("later_ns", "n_parts"), [(SECOND_ns - 1, 1), (SECOND_ns, 2)])
def test_first_part_of_a_background_lasts_as_long_as_the_others(
    later_ns: int, n_parts: int
) -> None:
    main_row = circuit("main", 90_000, is_dynamic=True, meter=0)
    held = Still(site([main_row], [charger("a")], [meter("m")]))
    for at_ns in (NOW_ns, NOW_ns + later_ns):
        held.read(0, 20_000, at_ns)
        held.step(at_ns)
    assert held.circuits[0].n_dips == n_parts


def test_new_part_of_the_counts_of_a_meter_begins_with_nothing() -> None:
    held = nested(1)
    held.read(0, 5000)
    held.step()
    row = held.meters[0]
    row.part_at_ns = NOW_ns - 30 * SECOND_ns
    row.longest_ns[0] = row.stood_ns[0] = 7
    row.n_reads[0], row.n_flickers[0] = 9, 8
    held.read(0, 5000)
    counts = [row.longest_ns, row.stood_ns, row.n_reads, row.n_flickers]
    assert [count[0] for count in counts] == [0, 0, 1, 0]
    assert [count[1] for count in counts] == [7, 7, 9, 8]
