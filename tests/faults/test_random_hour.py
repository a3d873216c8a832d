"""Random faults of all kinds on random sites, whole scan, real bytes, virtual time.

For every circuit and phase, the longest time above the limit is at most

    detection + one scan + follow time

where detection is how long the worst fault nearby may hide what has happened from the controller,
or keep it from acting. That time and its reason stand in DETECTION below. Nothing else is excused:
no missed cycle, no raise without room unless it rests on a box that acknowledges what it does not
obey, and four minutes after the last fault the site runs and charges.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from hw.sim.fault import Fault, who_kind
from loadctl.modes import RUN
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.builders import TUNING
from tests.support.fault_stories import (
    Overseer,
    Stretch,
    random_fault_site,
    random_fault_story,
    run_watched,
)
from tests.support.scan_rig import VirtualRig

PERIOD_ns = NS_PER_S
LOOK_ns = 250 * NS_PER_MS  # the overseer's own grain, at both ends of a stretch
FOLLOW_ns = 500 * NS_PER_MS + 6 * NS_PER_S  # hold of the reference charger, and its car
WATCHDOG_ns = 30 * NS_PER_S
STARVE_ns = WATCHDOG_ns * 12 // 10
STALE_ns = TUNING.meter_stale_ns
STATUS_ns = 2 * NS_PER_S  # the oldest that a status block gets

# Nobody is ill: the meter is read once a period.
WELL_ns = PERIOD_ns

# A fault that strikes the meter, by any of the ways to give no value: static after meter_stale_s,
# which is seen in the scan after that.
METER_GONE_ns = STALE_ns + PERIOD_ns

# Nobody can tell a charger anything: its own watchdog acts.
CHARGER_GONE_ns = WATCHDOG_ns

# It does not obey: known after its follow time, then starved until its own watchdog has acted.
DEAF_ns = FOLLOW_ns + PERIOD_ns + STARVE_ns

DETECTION = {
    "silence": {"meter": METER_GONE_ns, "charger": CHARGER_GONE_ns, "bus": CHARGER_GONE_ns},
    "crc": {"meter": METER_GONE_ns, "charger": CHARGER_GONE_ns, "bus": CHARGER_GONE_ns},
    "late": {"meter": METER_GONE_ns, "charger": CHARGER_GONE_ns, "bus": CHARGER_GONE_ns},
    "foreign": {"meter": METER_GONE_ns, "charger": CHARGER_GONE_ns, "bus": CHARGER_GONE_ns},
    "noise": {"meter": METER_GONE_ns, "charger": CHARGER_GONE_ns, "bus": CHARGER_GONE_ns},
    "babble": {"bus": CHARGER_GONE_ns},
    "unplug": {"bus": CHARGER_GONE_ns},
    # The same voltages twice are suspicious, and for meter_stale_s they are no proof.
    "frozen": {"meter": METER_GONE_ns + PERIOD_ns},
    "nan": {"meter": METER_GONE_ns},
    "all_ones": {"meter": METER_GONE_ns},
    "phase_missing": {"meter": METER_GONE_ns},
    "voltage": {"meter": METER_GONE_ns},
    # Back with more than it was told: seen in its next status block, past its hold.
    "reboot": {"charger": STATUS_ns + PERIOD_ns},
    "refuse": {"charger": DEAF_ns},
    "ignore": {"charger": DEAF_ns},
}

# A fault is over when the last silent charger of its bus was probed and armed again.
AFTER_ns = 10 * NS_PER_S

QUICK_ns, QUICK = 600 * NS_PER_S, (1, 2, 3)
HOUR_ns, LONG = 3_600 * NS_PER_S, (101, 102, 103, 104, 105, 106)


def near(stretch: Stretch, faults: tuple[Fault, ...]) -> Iterator[Fault]:
    for fault in faults:
        over_ns = fault.at_ns + (fault.for_ns or 0) + AFTER_ns
        if fault.at_ns <= stretch.end_ns and stretch.begin_ns <= over_ns:
            yield fault


def longest_ns(stretch: Stretch, faults: tuple[Fault, ...]) -> int:
    """The most that this stretch may last, with the faults that are near."""
    times = [DETECTION[fault.kind][who_kind(fault.who)] for fault in near(stretch, faults)]
    return max(times, default=WELL_ns) + PERIOD_ns + FOLLOW_ns + LOOK_ns


def play(seed: int, span_ns: int, directory: Path) -> None:
    tables = random_fault_site(random.Random(seed))
    story = random_fault_story(tables, seed, span_ns)
    rig = VirtualRig(tables, story, directory)
    overseer = Overseer(rig.site)
    run_watched(rig, span_ns)
    too_long = [
        f"{stretch}: {[(f.kind, f.form, f.who, f.at_ns) for f in near(stretch, story.faults)]}"
        for stretch in overseer.stretches
        if stretch.span_ns > longest_ns(stretch, story.faults)
    ]
    assert (too_long, overseer.still_above()) == ([], []), f"seed {seed}"
    raised = [v for v in rig.site.violations() if not v["rests_on_lies"]]
    assert raised == [], f"seed {seed}"
    check_recovered(rig, tables, seed)


def check_recovered(rig: VirtualRig, tables: Tables, seed: int) -> None:
    """In RUN, without a missed cycle, everybody armed and answering, and cars are charging."""
    scan = rig.snapshot()["scan"]
    assert (scan["mode"], scan["missed"]) == (RUN, 0), f"seed {seed}"
    states = [rig.core.charger(i) for i in range(len(tables.chargers))]
    unwell = [i for i, state in enumerate(states) if state["is_silent"] or not state["is_armed"]]
    assert unwell == [], f"seed {seed}"
    assert sum(sum(rig.site.plant.draw_mA(i)) for i in range(len(states))) > 0, f"seed {seed}"


@pytest.mark.parametrize("seed", QUICK)
def test_ten_minutes_of_random_faults_keep_the_limit(seed: int, tmp_path: Path) -> None:
    play(seed, QUICK_ns, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", LONG)
def test_hour_of_random_faults_keeps_the_limit(seed: int, tmp_path: Path) -> None:
    play(seed, HOUR_ns, tmp_path)
