"""Warm fuses at their edges: what heats them, which reasons they change."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.order import Action
from loadctl.law.reason import Reason
from loadctl.law.session import Pause

from loadctl.tables import ChargerRow
from tests.support.core_sites import FAILSAFE, NS_PER_S, charger, circuit, meter, site
from tests.support.still import NOW_ns, Still

FUSE = {"fuse_type": "gG", "fuse_rated_mA": 40_000}
HEAT_FULL = 1 << 28
COOL_fx = HEAT_FULL * 65 // 100


def fused(
    *rows: ChargerRow,
    phases: tuple[int, ...] = (0,),
    loads_mA: tuple[int, int, int] = (20_000,) * 3,
    mode: int = 1,
    limit_mA: int = 63_000,
    **main: Any,
) -> Still:
    """Below a fuse of 40 A that has to cool on these phases."""
    row = circuit("main", limit_mA, is_dynamic=True, meter=0, **{**FUSE, **main})
    held = Still(site([row], list(rows), [meter("m")], raise_every_ns=1), mode=mode)
    fuse = held.circuits[0]
    fuse.has_heat_at, fuse.heat_at_ns = True, NOW_ns
    for p in range(3):
        fuse.is_cooling[p] = p in phases
        fuse.heat_fx[p] = COOL_fx + 1000 if p in phases else 0
    held.read(0, loads_mA)
    return held


def said(held: Still, i: int = 0) -> tuple[int, int, int]:
    held.step()
    row = held.chargers[i]
    return row.reason, row.has_binding, row.binding_kind


@pytest.mark.parametrize(("heat_fx", "is_cooling"), [(COOL_fx, 1), (COOL_fx - 1, 0)])
def test_fuse_has_cooled_below_its_threshold(heat_fx: int, is_cooling: int) -> None:
    held = fused(charger("a"))
    held.circuits[0].heat_fx[0] = heat_fx
    held.step()
    assert (held.circuits[0].heat_fx[0], held.circuits[0].is_cooling[0]) == (heat_fx, is_cooling)


@pytest.mark.parametrize(("load_mA", "heat_fx"), [(0, 0), (1, 1), (-1, 1)])
@pytest.mark.parametrize("rated_mA", [40_000, 1_000_000])
def test_any_load_warms_a_cold_fuse_and_none_does_not(
    rated_mA: int, load_mA: int, heat_fx: int
) -> None:
    loads_mA = (load_mA,) * 3
    held = fused(charger("a"), phases=(), loads_mA=loads_mA, fuse_rated_mA=rated_mA)
    held.circuits[0].heat_at_ns = NOW_ns - NS_PER_S
    held.step()
    main = held.circuits[0]
    assert list(main.heat_fx) == [heat_fx] * 3
    assert list(main.heat_permille) == [heat_fx] * 3


FULL_mA = 56_560  # 100 % in the end


def warmed(heat_fx: int, load_mA: int, span_ms: int = 1000) -> int:
    """The heat of L1 after this load."""
    held = fused(charger("a"), phases=(), loads_mA=(load_mA, 0, 0))
    main = held.circuits[0]
    main.heat_fx[0], main.heat_at_ns = heat_fx, NOW_ns - span_ms * 1_000_000
    held.step()
    return int(main.heat_fx[0])


def test_more_than_eight_times_the_full_load_heats_as_eight_times() -> None:
    seven, most = warmed(0, 7 * FULL_mA), warmed(0, 8 * FULL_mA)
    assert seven < warmed(0, 15 * FULL_mA // 2) < warmed(0, 8 * FULL_mA - 1) <= most
    assert warmed(0, 17 * FULL_mA // 2) == warmed(0, 20 * FULL_mA) == most


def test_heating_is_rounded_up_however_little_is_lost() -> None:
    """Some spans bring an odd number of parts nearer: then a difference can be chosen of which
    they make a whole number of parts and the least rest that there is."""
    span_ms = next(k for k in range(1000, 1100) if warmed(0, FULL_mA, k) % 2 == 1)
    gone_fx = warmed(0, FULL_mA, span_ms)
    lacks_fx = pow(gone_fx, -1, HEAT_FULL)
    parts, rest = divmod(lacks_fx * gone_fx, HEAT_FULL)
    assert rest == 1
    assert warmed(HEAT_FULL - lacks_fx, FULL_mA, span_ms) == HEAT_FULL - lacks_fx + parts + 1


def test_fuse_of_which_nothing_is_known_is_as_warm_as_may_be_without_cooling() -> None:
    """In its first scan, whatever flows then: no time has passed."""
    held = fused(charger("a"), phases=(), loads_mA=(62_000,) * 3)
    main = held.circuits[0]
    main.has_heat_at = False
    for p in range(3):
        main.heat_fx[p] = HEAT_FULL * 75 // 100
    held.step()
    assert list(main.heat_fx) == [HEAT_FULL * 75 // 100] * 3
    assert list(main.is_cooling) == [0, 0, 0]
    assert (main.has_heat_at, main.heat_at_ns) == (1, NOW_ns)


def test_fuse_without_a_meter_stays_cold_where_nothing_can_flow() -> None:
    held = Still(site([circuit("main", 63_000, **FUSE)], [charger("a")]))
    held.set(0, 0)
    main = held.circuits[0]
    main.has_heat_at, main.heat_at_ns = True, NOW_ns - 10 * NS_PER_S
    for p in range(3):
        main.heat_fx[p] = 0
    held.step()
    assert list(main.heat_fx) == [0, 0, 0]


def test_heat_stays_where_the_load_keeps_it() -> None:
    """At the heat that its load leads to nothing rounds it up any further."""
    held = fused(charger("a"), phases=(), loads_mA=(56_560,) * 3)
    main = held.circuits[0]
    main.heat_at_ns = NOW_ns - NS_PER_S
    for p in range(3):
        main.heat_fx[p] = HEAT_FULL
    held.step()
    assert list(main.heat_fx) == [HEAT_FULL] * 3


def test_power_is_shared_as_ever_below_a_warm_fuse() -> None:
    """Whatever the background: 50 A of it on the phase that has to cool."""
    row = charger("a", phases=(1,), max_mA=32_000, rated_mA=32_000)
    held = fused(row, charger("b", phases=(0,)), loads_mA=(56_000, 0, 0), limit_W=15_180)
    held.set(0, 8000, 0)
    held.set(1, 6000, 6000)
    held.step()
    main = held.circuits[0]
    assert main.is_held_back == 1
    # 66 A over the phases, less 50 A of background and 6 A of b.
    assert main.background_mA[0] == 50_000
    a, b = held.chargers
    assert (a.share_high_mA, b.share_high_mA) == (10_000, 6000)
    assert (a.reason, a.binding_kind) == (Reason.FULL, 3)


def test_raise_that_waits_for_another_reason_says_that_one() -> None:
    held = fused(charger("a", phases=(0,)), loads_mA=(28_000, 0, 0))
    held.set(0, 6000, 0)
    held.circuits[0].raise_after_ns[0] = NOW_ns + 1
    assert said(held) == (Reason.WAITS_AFTER_CUT, 1, 0)


def test_session_that_the_limit_itself_pauses_says_the_limit() -> None:
    held = fused(charger("a", phases=(0,)), loads_mA=(64_000, 0, 0))
    row = held.set(0, 6000, 0)
    assert said(held) == (Reason.NO_ROOM_FOR_MINIMUM, 1, 0)
    assert (row.action, row.action_mA, row.pause) == (Action.ACTION_TAKE, 0, Pause.PAUSE_LIMIT)


def test_start_that_another_phase_has_no_room_for_says_that_one() -> None:
    held = fused(charger("a", phases=(1,)), loads_mA=(20_000, 60_000, 0))
    held.set(0, 0)
    assert said(held) == (Reason.NO_ROOM_FOR_MINIMUM, 1, 1)


def test_outside_run_a_warm_fuse_changes_no_reason() -> None:
    held = fused(charger("a", phases=(0,)), mode=FAILSAFE)
    held.set(0, 0)
    assert said(held) == (Reason.CONTROLLER_MODE, 0, 0)
