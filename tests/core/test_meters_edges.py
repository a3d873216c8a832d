"""Meters at the edges of what is believed: one more or one less decides."""

from __future__ import annotations

from typing import Any

import pytest
from loadctl.law.meters import Quality

from tests.support.core_sites import (
    BAD_FRAME,
    GOOD,
    IMPLAUSIBLE,
    NO_ANSWER,
    NS_PER_S,
    charger,
    circuit,
    meter,
    site,
)
from tests.support.still import NOW_ns, Still

TRUSTED, MISSING, DOUBTED, FROZEN = (
    Quality.TRUSTED, Quality.MISSING, Quality.IMPLAUSIBLE, Quality.FROZEN,
)  # fmt: skip
HALF_s = NS_PER_S // 2


def garage(lag_ns: int = 0, draw_lag_ns: int = 0, **changes: Any) -> Still:
    """Chargers 0 and 1 below the meter, 1 under a sub-circuit; 2 beside it."""
    circuits = [
        circuit("main", 100_000),
        circuit("grid", 100_000, 0, is_dynamic=True, meter=0, background_mA=50_000),
        circuit("sub", 100_000, 1),
    ]
    rows = [
        charger("a", 1), charger("b", 2, has_measured_current=changes.pop("is_measured", True)),
        charger("c", 0, draw_lag_ns=draw_lag_ns),
    ]  # fmt: skip
    return Still(site(circuits, rows, [meter("grid", lag_ns)], **changes))


def fill(row: Any, **values: Any) -> None:
    for name, value in values.items():
        if isinstance(value, tuple):
            getattr(row, name)[:] = value
        else:
            setattr(row, name, value)


# A meter that was read every half second, changed each time, and has stood still since.
LIVELY = {
    "n_reads": (24, 24),
    "n_flickers": (24, 24),
    "longest_ns": (HALF_s, HALF_s),
    "stood_ns": (12 * NS_PER_S, 12 * NS_PER_S),
}


def judged(still: Still, same_ns: int, **values: Any) -> int:
    row = still.read(0, 20_000)
    fill(row, **{**LIVELY, "changed_at_ns": NOW_ns - same_ns, **values})
    still.step()
    assert row.trusted_at_ns == (NOW_ns - same_ns if row.quality == FROZEN else NOW_ns)
    return int(row.quality)


@pytest.mark.parametrize(
    ("lag_ns", "stale_ns", "longest_ns", "frozen_from_ns"),
    [
        # Four times the longest stillness, in whichever part it was.
        (0, 3 * NS_PER_S, (HALF_s, HALF_s), 2 * NS_PER_S),
        (0, 3 * NS_PER_S, (600_000_000, HALF_s), 2_400_000_000),
        (0, 3 * NS_PER_S, (HALF_s, 700_000_000), 2_800_000_000),
        # A second beyond the lag of the meter, at most what makes it stale.
        (0, 3 * NS_PER_S, (1, 1), NS_PER_S),
        (NS_PER_S, 3 * NS_PER_S, (1, 1), 2 * NS_PER_S),
        (5 * NS_PER_S, 3 * NS_PER_S, (1, 1), 3 * NS_PER_S),
        # Nothing that was read just now stands still.
        (0, 0, (0, 0), 1),
    ],
)
def test_frozen_from(
    lag_ns: int, stale_ns: int, longest_ns: tuple[int, int], frozen_from_ns: int
) -> None:
    for same_ns, quality in ((frozen_from_ns - 1, TRUSTED), (frozen_from_ns, FROZEN)):
        still = garage(lag_ns, meter_stale_ns=stale_ns)
        assert judged(still, same_ns, longest_ns=longest_ns) == quality


@pytest.mark.parametrize(
    ("values", "quality"),
    [
        # The longest stillness is at most twice the mean one, over both parts.
        ({"longest_ns": (NS_PER_S, 0), "stood_ns": (24 * NS_PER_S, 0)}, FROZEN),
        ({"longest_ns": (NS_PER_S, 0), "stood_ns": (0, 24 * NS_PER_S)}, FROZEN),
        ({"longest_ns": (NS_PER_S, 0), "stood_ns": (24 * NS_PER_S - 1, 0)}, TRUSTED),
        ({"longest_ns": (0, NS_PER_S), "stood_ns": (0, 24 * NS_PER_S - 1)}, TRUSTED),
        # 24 changes are enough, however many reads there were ...
        ({"n_reads": (100, 100), "n_flickers": (12, 12)}, FROZEN),
        ({"n_reads": (100, 100), "n_flickers": (12, 11)}, TRUSTED),
        # ... else nine of ten reads, of at least 16.
        ({"n_reads": (8, 8), "n_flickers": (8, 8)}, FROZEN),
        ({"n_reads": (8, 7), "n_flickers": (8, 7)}, TRUSTED),
        ({"n_reads": (0, 20), "n_flickers": (0, 18)}, FROZEN),
        ({"n_reads": (0, 20), "n_flickers": (0, 17)}, TRUSTED),
        ({"n_reads": (20, 0), "n_flickers": (18, 0)}, FROZEN),
        ({"n_reads": (16, 1), "n_flickers": (14, 1)}, TRUSTED),
    ],
)
def test_meter_that_changes_at_a_steady_pace(values: dict[str, Any], quality: int) -> None:
    assert judged(garage(), 10 * NS_PER_S, **values) == quality


def test_frozen_meter_stays_so_until_a_value_changes() -> None:
    still = garage()
    assert judged(still, 10 * NS_PER_S, is_frozen=True, n_flickers=(0, 0)) == FROZEN
    still.read(0, 20_000, NOW_ns + 1)
    still.step(NOW_ns + 1)
    assert still.meters[0].quality == FROZEN
    still.read(0, 20_001, NOW_ns + 2)
    still.step(NOW_ns + 2)
    assert still.meters[0].quality == TRUSTED


def test_quality_without_a_good_value_of_this_scan() -> None:
    still = garage()
    still.step()
    assert still.meters[0].quality == MISSING  # never read
    still.core.meter_read(0, IMPLAUSIBLE, (1, 1, 1), None, None, NOW_ns)
    still.step()
    assert still.meters[0].quality == DOUBTED
    still.step()  # not tried again
    assert still.meters[0].quality == MISSING
    for code in (NO_ANSWER, BAD_FRAME):
        still.read(0, 1)
        still.core.meter_read(0, code, None, None, None, NOW_ns)
        still.step()
        assert still.meters[0].quality == MISSING
    still.read(0, 1)
    still.step()
    assert still.meters[0].quality == TRUSTED
    still.step()  # good, but of the scan before
    assert still.meters[0].quality == MISSING


# Contradiction: below, two chargers draw; the base is what they drew when the meter had stood.
OLD_ns = 2 * NS_PER_S
COARSE = {"n_flickers": (0, 0), "n_reads": (60, 60)}


def contradicted(still: Still, same_ns: int = 60 * NS_PER_S, **values: Any) -> Any:
    base = {"has_base": True, "n_based": 2, "base_mA": (14_000, 14_000, 14_000)}
    judged(still, same_ns, **{**COARSE, **base, **values})
    return still.meters[0]


@pytest.mark.parametrize(("lag_ns", "draw_lag_ns"), [(0, 0), (NS_PER_S, 0), (0, NS_PER_S)])
@pytest.mark.parametrize("moved_mA", [2000, -2000])
@pytest.mark.parametrize("p", range(3))
def test_draws_that_moved_by_2_A_contradict_a_meter_that_did_not(
    lag_ns: int, draw_lag_ns: int, moved_mA: int, p: int
) -> None:
    base_mA = tuple(14_000 - moved_mA if q == p else 14_000 for q in range(3))
    old_ns = OLD_ns + lag_ns + draw_lag_ns
    for since_ns, quality in ((old_ns - 1, TRUSTED), (old_ns, FROZEN)):
        still = garage(lag_ns, draw_lag_ns)
        still.set(0, 6000)
        still.set(1, 8000)
        still.set(2, 16_000)
        values = {"differs": True, "differs_since_ns": NOW_ns - since_ns}
        row = contradicted(still, base_mA=base_mA, **values)
        assert (row.quality, row.differs, row.differs_since_ns) == (quality, 1, NOW_ns - since_ns)


@pytest.mark.parametrize("moved_mA", [1999, -1999, 0])
def test_draws_that_moved_by_less_contradict_nothing(moved_mA: int) -> None:
    still = garage()
    still.set(0, 6000)
    still.set(1, 8000 + moved_mA)
    row = contradicted(still, differs=True, differs_since_ns=NOW_ns - 60 * NS_PER_S)
    assert (row.quality, row.differs) == (TRUSTED, 0)


def test_contradiction_begins_when_the_draws_move() -> None:
    still = garage()
    still.set(0, 6000)
    still.set(1, 10_000)
    row = contradicted(still, differs=False, differs_since_ns=NOW_ns - 60 * NS_PER_S)
    assert (row.quality, row.differs, row.differs_since_ns) == (TRUSTED, 1, NOW_ns)


@pytest.mark.parametrize(("same_ns", "has_base"), [(OLD_ns - 1, 0), (OLD_ns, 1)])
def test_base_is_taken_once_the_meter_stood_for_longer_than_samples_are_old(
    same_ns: int, has_base: int
) -> None:
    still = garage()
    still.set(0, 6000)
    still.set(1, 8000)
    row = contradicted(still, same_ns, has_base=False, base_mA=(0, 0, 0), n_based=0, differs=True)
    assert row.has_base == has_base
    assert row.differs == (not has_base)
    assert list(row.base_mA) == [14_000 * has_base] * 3
    assert row.n_based == 2 * has_base


def test_base_is_taken_anew_when_other_chargers_are_seen() -> None:
    still = garage()
    still.set(0, 6000)
    still.set(1, 8000)
    since = {"differs": True, "differs_since_ns": NOW_ns - 60 * NS_PER_S}
    row = contradicted(still, n_based=1, base_mA=(6000, 6000, 6000), **since)
    assert (row.quality, row.n_based, list(row.base_mA)) == (TRUSTED, 2, [14_000] * 3)
    assert row.differs == 0


@pytest.mark.parametrize(
    "why", ["its draw is not measured", "it was never sampled", "it is silent", "it is not below"]
)
def test_what_counts_as_seen_below_a_meter(why: str) -> None:
    """Only charger 0 is seen; the other one below is not, and charger 2 never is."""
    still = garage(is_measured=why != "its draw is not measured")
    still.set(0, 6000)
    other = still.set(2 if why == "it is not below" else 1, 8000)
    if why == "it is not below":
        still.chargers[1].n_samples = 0
    elif why == "it was never sampled":
        other.n_samples = 0
    elif why == "it is silent":
        other.is_silent = True
    row = contradicted(still, has_base=False)
    assert (row.n_based, list(row.base_mA)) == (1, [6000] * 3)


# Voltages: 70 and 130 % of 230 V.
LOW_mV, HIGH_mV = 161_000, 299_000


@pytest.mark.parametrize(
    ("voltage_mV", "is_believed"),
    [
        ((LOW_mV, LOW_mV, LOW_mV), True),
        ((HIGH_mV, HIGH_mV, HIGH_mV), True),
        ((230_000, 230_000, LOW_mV - 1), False),
        ((230_000, HIGH_mV + 1, 230_000), False),
        ((LOW_mV - 1, 230_000, 230_000), False),
        # None anywhere: it measures no voltages.
        ((0, 0, 0), True),
        ((HIGH_mV + 1,) * 3, True),
    ],
)
def test_voltages_of_phases_that_chargers_use(
    voltage_mV: tuple[int, int, int], is_believed: bool
) -> None:
    still = garage()
    still.core.meter_read(0, GOOD, (1, 2, 3), None, voltage_mV, NOW_ns)
    still.step()
    row = still.meters[0]
    assert row.quality == (TRUSTED if is_believed else DOUBTED)
    assert row.n_implausible == (not is_believed)
    assert row.code == (GOOD if is_believed else IMPLAUSIBLE)
    assert row.has_value == is_believed


def test_phase_that_nobody_uses_may_have_no_voltage_until_it_had_one() -> None:
    circuits = [circuit("main", 100_000, is_dynamic=True, meter=0)]
    rows = [charger("a", phases=(0,)), charger("b", phases=(2,))]
    still = Still(site(circuits, rows, [meter("grid")]))
    for voltage_mV, n_implausible in (
        ((230_000, 0, 230_000), 0),
        ((230_000, 0, 0), 1),
        ((230_000, 230_000, 230_000), 1),
        ((230_000, 0, 230_000), 2),
        ((0, 0, 0), 3),
    ):
        still.core.meter_read(0, GOOD, (1, 2, 3), None, voltage_mV, NOW_ns)
        assert still.meters[0].n_implausible == n_implausible
