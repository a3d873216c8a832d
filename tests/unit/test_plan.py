"""The bus plan by mental arithmetic: at 19200 8E1 a character is 11 bits, 572.917 us.

Slots are worked out here by hand, from bytes, silence, turnaround and timeout, not by calling the
plan's own helpers.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from hw.devices import DeviceMap, parse_map
from loadctl.errors import CheckRefused
from loadctl.plan import CONFIRM_ns, KEEP_ns, Plan, STEP_ns, describe, make_plan
from loadctl.tables import Tables
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.builders import (
    make_bus,
    make_charger,
    make_meter,
    make_tables,
    maps_of,
)

CHAR_ns = 11 * NS_PER_S / 19_200
SILENT_ns = 3.5 * CHAR_ns
GATEWAY_ns = STEP_ns + CONFIRM_ns + KEEP_ns

# 8 bytes out and 8 back; 8 out and 5 + 2 * 5 back; 8 out and 5 + 2 * 20 back
WRITE_ns = SILENT_ns + 16 * CHAR_ns + 10 * NS_PER_MS
STATUS_ns = SILENT_ns + 23 * CHAR_ns + 10 * NS_PER_MS
METER_FAILED_ns = SILENT_ns + 53 * CHAR_ns + 80 * NS_PER_MS
TIMEOUT_ns = 70 * NS_PER_MS


def plan_of(tables: Tables) -> Plan:
    return make_plan(tables, maps_of(tables))


def refusal_of(tables: Tables, maps: dict[str, DeviceMap] | None = None) -> str:
    with pytest.raises(CheckRefused) as caught:
        make_plan(tables, maps or maps_of(tables))
    assert len(caught.value.lines) == 1
    return caught.value.lines[0]


def changed_maps(tables: Tables, **timing: Any) -> dict[str, DeviceMap]:
    """The maps of a site with other [timing] in all of them."""
    maps = {}
    for model, raw in tables.maps.items():
        raw = copy.deepcopy(raw)
        raw["timing"] |= timing
        maps[model] = parse_map(raw, model)
    return maps


def near(value_ns: float) -> Any:
    return pytest.approx(value_ns, abs=100)  # every exchange rounds its wire time up to 1 ns


def test_plan_of_one_meter_and_eight_chargers_adds_up_and_fits_500_ms():
    plan = plan_of(make_tables(n_chargers=8))
    (bus,) = plan.buses
    assert bus.n_status_per_scan == 2
    read_ns = METER_FAILED_ns + 2 * STATUS_ns + TIMEOUT_ns
    assert plan.read_end_ns == near(read_ns)
    assert plan.take_end_ns == near(read_ns + STEP_ns + 9 * WRITE_ns)
    assert plan.give_at_ns == near(read_ns + STEP_ns + 9 * WRITE_ns + CONFIRM_ns)
    assert bus.busy_ns == near(read_ns + 10 * WRITE_ns)
    assert bus.n_gives_per_scan == 2
    assert plan.worst_scan_ns == near(read_ns + 11 * WRITE_ns + GATEWAY_ns)
    assert plan.worst_scan_ns < 480 * NS_PER_MS


def test_plan_with_an_sdm630_and_eight_chargers_fits_500_ms():
    meters = [make_meter(model="eastron-sdm630")]
    plan = plan_of(make_tables(n_chargers=8, meters=meters))
    assert plan.worst_scan_ns <= 500 * NS_PER_MS
    failed_ns = SILENT_ns + 49 * CHAR_ns + 80 * NS_PER_MS
    assert plan.buses[0].meter_slots[0].failed_ns == near(failed_ns)


def test_plan_of_the_harbour_garage_fits_500_ms():
    bus = make_bus("garage", turnaround_ns=20 * NS_PER_MS, timeout_ns=80 * NS_PER_MS)
    bay = make_charger("bay1", "heidelberg-ec")
    tables = make_tables(buses=[bus], meters=[make_meter(model="eastron-sdm630")], chargers=[bay])
    plan = plan_of(tables)
    assert plan.worst_scan_ns <= 500 * NS_PER_MS
    assert plan.buses[0].n_status_per_scan == 1
    assert plan.buses[0].gap_ns == 100 * NS_PER_MS  # status, then the setpoint of the same box


def test_plan_counts_every_meter_as_given_up():
    one = plan_of(make_tables(n_chargers=2))
    two = plan_of(make_tables(n_chargers=2, meters=[make_meter(), make_meter("sub", address=9)]))
    assert two.read_end_ns - one.read_end_ns == near(METER_FAILED_ns)


def test_plan_has_room_for_one_more_timeout():
    plan = plan_of(make_tables(n_chargers=1))
    assert plan.buses[0].timeout_ns == TIMEOUT_ns
    assert plan.read_end_ns == near(METER_FAILED_ns + STATUS_ns + TIMEOUT_ns)
    quick = plan_of(make_tables(n_chargers=1, buses=[make_bus(timeout_ns=10 * NS_PER_MS)]))
    assert quick.buses[0].timeout_ns == 0


def test_plan_has_a_probe_slot_only_where_there_is_a_charger():
    assert plan_of(make_tables(n_chargers=1)).buses[0].probe_slot is not None
    assert plan_of(make_tables(n_chargers=0)).buses[0].probe_slot is None


def test_plan_gives_an_isolated_charger_no_slot():
    tables = make_tables(
        chargers=[make_charger("on"), make_charger("off", address=3, is_isolated=True)]
    )
    (bus,) = plan_of(tables).buses
    assert [slot.what for slot in bus.setpoint_slots] == ["setpoint on"]
    assert [slot.what for slot in bus.status_slots] == ["status on"]


@pytest.mark.parametrize(
    ("n_chargers", "period_ms", "n_status", "age_s"),
    [
        (1, 500, 1, 0.5),
        (4, 500, 1, 2.0),
        (5, 500, 2, 1.5),
        (8, 500, 2, 2.0),
        (8, 700, 4, 1.4),
        (8, 1000, 4, 2.0),
        (8, 1100, 8, 1.1),
        (8, 2000, 8, 2.0),
    ],
)
def test_plan_reads_the_fewest_statuses_that_stay_within_two_seconds(
    n_chargers: int, period_ms: int, n_status: int, age_s: float
):
    (bus,) = plan_of(make_tables(n_chargers, period_ms=period_ms)).buses
    assert (bus.n_status_per_scan, bus.status_age_ns / NS_PER_S) == (n_status, age_s)


def test_plan_with_a_period_above_two_seconds_is_refused():
    line = refusal_of(make_tables(1, period_ms=2001))
    assert line == "site.period_ms: 2001.0 ms lets status blocks grow older than 2000.0 ms"


def test_plan_moves_nobody_where_that_would_not_help() -> None:
    """A single charger that does not fit the period fits no other bus either."""
    tables = make_tables(1, period_ms=500)
    line = refusal_of(tables, changed_maps(tables, timeout_ms=900))
    assert "another bus" not in line


def test_plan_that_does_not_fit_names_slot_excess_and_remedies():
    line = refusal_of(make_tables(n_chargers=12))
    assert line == (
        "bus.bus: slot 'setpoint bay12' does not fit: the worst-case scan of 564.3 ms is 64.3 ms"
        " longer than site.period_ms = 500; would fit with site.period_ms = 590"
        " or bus.bus.baud = 38400 (460.6 ms) or the last 4 of 12 chargers on another bus"
        " (454.5 ms then)"
    )


def test_plan_remedies_do_what_they_say():
    tables = make_tables(n_chargers=12)
    longer = replace(tables, site=replace(tables.site, period_ns=590 * NS_PER_MS))
    assert plan_of(longer).worst_scan_ns <= 590 * NS_PER_MS
    almost = replace(tables, site=replace(tables.site, period_ns=580 * NS_PER_MS))
    assert "580" in refusal_of(almost)
    faster = replace(tables, buses=(make_bus(baud=38_400),))
    assert plan_of(faster).worst_scan_ns <= 500 * NS_PER_MS
    fewer = replace(tables, chargers=tables.chargers[:8])
    assert plan_of(fewer).worst_scan_ns <= 500 * NS_PER_MS
    one_more = replace(tables, chargers=tables.chargers[:9])
    assert "slot 'give'" in refusal_of(one_more)


def test_plan_offers_no_speed_that_a_device_does_not_know():
    bays = [make_charger(f"bay{i}", "heidelberg-ec", address=i) for i in range(2, 16)]
    line = refusal_of(make_tables(chargers=bays))
    assert "baud" not in line
    assert "site.period_ms = " in line


def test_plan_refuses_exactly_below_its_worst_case():
    tables = make_tables(n_chargers=2)
    (bus,) = plan_of(tables).buses
    needed_ns = bus.busy_ns + GATEWAY_ns
    just = replace(tables, site=replace(tables.site, period_ns=needed_ns))
    assert plan_of(just).margin_ns == 0
    short = replace(tables, site=replace(tables.site, period_ns=needed_ns - 1))
    with pytest.raises(CheckRefused):
        plan_of(short)


def test_plan_never_has_more_gives_than_chargers_and_leaves_time_free():
    roomy = plan_of(make_tables(n_chargers=3, period_ms=1000))
    assert roomy.buses[0].n_gives_per_scan == 3
    tight = plan_of(make_tables(n_chargers=8))
    assert tight.margin_ns >= 500 * NS_PER_MS // 25
    assert tight.margin_ns < 500 * NS_PER_MS // 25 + WRITE_ns


def test_plan_has_give_slots_for_the_refreshes_of_short_watchdogs():
    # A third of 3 s is two scans of 500 ms, but one of 600 ms.
    changes = {"watchdog_ns": 3 * NS_PER_S}
    (few,) = plan_of(make_tables(n_chargers=4, charger_changes=changes)).buses
    assert few.n_refreshes_per_scan == 2
    assert few.n_gives_per_scan >= 2
    every = make_tables(n_chargers=8, period_ms=600, charger_changes=changes)
    assert "slot 'give' does not fit" in refusal_of(every)
    assert plan_of(make_tables(n_chargers=8, period_ms=600)).buses[0].n_refreshes_per_scan == 1


def test_plan_refuses_a_watchdog_that_one_scan_cannot_feed():
    tables = make_tables(n_chargers=1, charger_changes={"watchdog_ns": 1_499 * NS_PER_MS})
    assert refusal_of(tables) == (
        "charger.bay1: a third of its watchdog time is 499.7 ms, less than site.period_ms = 500"
    )


def test_plan_refuses_a_timeout_shorter_than_a_turnaround():
    tables = make_tables(n_chargers=0, buses=[make_bus(timeout_ns=9 * NS_PER_MS)])
    assert refusal_of(tables) == (
        "bus.bus: timeout_ms: 9 ms gives grid up before its turnaround of 10 ms"
    )


def test_plan_counts_the_turnaround_of_the_bus_in_every_slot():
    base = plan_of(make_tables(n_chargers=2))
    slow = plan_of(make_tables(n_chargers=2, buses=[make_bus(turnaround_ns=15 * NS_PER_MS)]))
    # one status, two setpoints, probe, give; the meter and the one more timeout end as before
    added_ns = slow.buses[0].busy_ns - base.buses[0].busy_ns
    assert added_ns == (5 - 1) * 5 * NS_PER_MS


def test_plan_counts_a_gap_on_the_bus_in_every_slot():
    tables = make_tables(n_chargers=2, period_ms=1000)
    base = make_plan(tables, maps_of(tables))
    gapped = make_plan(tables, changed_maps(tables, gap_ms=20, gap_scope="bus"))
    # meter, status, two setpoints, probe, give: each begins after 20 ms instead of 3.5 characters
    added_ns = 6 * (20 * NS_PER_MS - SILENT_ns)
    assert gapped.buses[0].busy_ns - base.buses[0].busy_ns == near(added_ns)
    assert gapped.buses[0].gap_ns == 0


def test_plan_spends_the_gap_of_a_device_on_telling_others():
    waits_ns = []
    for n_chargers in (1, 2, 3, 4):
        tables = make_tables(n_chargers=n_chargers, period_ms=600)
        plan = make_plan(tables, changed_maps(tables, gap_ms=90))
        assert plan.buses[0].n_status_per_scan == (1 if n_chargers < 4 else 2)
        waits_ns.append(plan.buses[0].gap_ns)
    # Whoever was read last is told last: all the other takes fill its gap.
    assert waits_ns == [near(90 * NS_PER_MS - others * WRITE_ns) for others in range(4)]


def test_plan_without_a_meter_waits_for_the_gap_after_the_last_give():
    tables = make_tables(n_chargers=1, meters=[])
    plan = make_plan(tables, changed_maps(tables, gap_ms=60))
    assert plan.buses[0].gap_ns == 60 * NS_PER_MS + (60 * NS_PER_MS - KEEP_ns)


def test_plan_of_two_buses_has_the_longest_of_each_phase_and_one_more_timeout():
    bays = [make_charger(f"bay{i}", address=i + 2) for i in range(8)]
    others = [make_charger(f"lot{i}", address=i + 2, bus=1) for i in range(8)]
    meters = [make_meter(), make_meter("lot", bus=1)]
    tables = make_tables(
        meters=meters, chargers=[*bays, *others], buses=[make_bus("one"), make_bus("two")]
    )
    plan = plan_of(tables)
    alone = plan_of(make_tables(n_chargers=8))
    assert plan.worst_scan_ns == alone.worst_scan_ns
    assert [bus.busy_ns for bus in plan.buses] == [alone.buses[0].busy_ns] * 2


def test_plan_of_a_meter_bus_and_a_charger_bus_meets_between_the_phases():
    bays = [make_charger(f"bay{i}", address=i + 2, bus=1) for i in range(8)]
    tables = make_tables(chargers=bays, buses=[make_bus("one"), make_bus("two")])
    plan = plan_of(tables)
    # read: the meter, 112.4 ms, is longer than two statuses and one more timeout on the other bus
    assert plan.read_end_ns == near(2 * STATUS_ns + TIMEOUT_ns)
    assert plan.take_end_ns == near(METER_FAILED_ns + 9 * WRITE_ns + TIMEOUT_ns + STEP_ns)


def test_plan_of_two_buses_may_spend_the_timeout_before_the_longest_take():
    bays = [make_charger(f"bay{i}", address=i + 2, bus=1) for i in range(8)]
    tables = make_tables(
        chargers=[make_charger("lot"), *bays],
        buses=[make_bus("one"), make_bus("two", timeout_ns=10 * NS_PER_MS)],
    )
    plan = plan_of(tables)
    read_ns = METER_FAILED_ns + STATUS_ns + TIMEOUT_ns
    assert plan.read_end_ns == near(read_ns)
    assert plan.take_end_ns == near(read_ns + 9 * WRITE_ns + STEP_ns)


def test_plan_without_refreshes_still_has_a_give_slot():
    needed_ns = plan_of(make_tables(n_chargers=2)).buses[0].busy_ns + GATEWAY_ns
    tables = make_tables(n_chargers=2, charger_changes={"watchdog_ns": None})
    (bus,) = plan_of(replace(tables, site=replace(tables.site, period_ns=needed_ns))).buses
    assert (bus.n_refreshes_per_scan, bus.n_gives_per_scan) == (0, 1)


def test_plan_counts_the_gap_between_two_blocks_of_one_meter():
    tables = make_tables(n_chargers=0)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    raw["timing"]["gap_ms"] = 60
    raw["blocks"] = {
        "first": {"read": 4, "address": 0, "count": 12, "confidence": "H"},
        "second": {"read": 4, "address": 18, "count": 2, "confidence": "H"},
    }
    for phase in (1, 2, 3):
        del raw["registers"][f"power_{phase}_W"]  # so that nothing is known between the two
    (bus,) = make_plan(tables, {"reference-meter": parse_map(raw, "two blocks")}).buses
    first_ns = SILENT_ns + 37 * CHAR_ns + 10 * NS_PER_MS
    second_failed_ns = 60 * NS_PER_MS + 17 * CHAR_ns + 80 * NS_PER_MS
    assert bus.meter_slots[0].failed_ns == near(first_ns + second_failed_ns)


@pytest.mark.parametrize(("gap_ms", "is_refused"), [(130, False), (160, True)])
def test_plan_refuses_a_reading_whose_parts_lie_too_far_apart(gap_ms: int, is_refused: bool):
    """Two reads of 31.2 and 19.7 ms, the silence before and the gap between."""
    tables = make_tables(n_chargers=0)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    raw["timing"]["gap_ms"] = gap_ms
    raw["blocks"] = {
        "first": {"read": 4, "address": 0, "count": 12, "confidence": "H"},
        "second": {"read": 4, "address": 18, "count": 2, "confidence": "H"},
    }
    for phase in (1, 2, 3):
        del raw["registers"][f"power_{phase}_W"]
    maps = {"reference-meter": parse_map(raw, "two blocks")}
    if not is_refused:
        assert make_plan(tables, maps).margin_ns > 0
        return
    with pytest.raises(CheckRefused) as refused:
        make_plan(tables, maps)
    assert refused.value.lines == (
        "bus.bus: meter grid: its 2 reads take 212.9 ms, more than 200 ms: their values would not"
        " belong together",
    )


def test_plan_counts_blocks_that_touch_as_one_read():
    tables = make_tables(n_chargers=0)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    raw["blocks"] = {
        "first": {"read": 4, "address": 0, "count": 10, "confidence": "H"},
        "second": {"read": 4, "address": 10, "count": 10, "confidence": "H"},
    }
    (bus,) = make_plan(tables, {"reference-meter": parse_map(raw, "two blocks")}).buses
    assert bus.meter_slots[0].worst_ns == near(SILENT_ns + 53 * CHAR_ns + 10 * NS_PER_MS)


def test_plan_counts_the_kick_after_a_setpoint():
    tables = make_tables(n_chargers=1)
    raw = copy.deepcopy(tables.maps["reference-charger"])
    raw["registers"]["kick"] = {"address": 400, "write": 6, "type": "u16", "confidence": "H"}
    raw["watchdog"] |= {"fed_by": "kick", "kick_register": "kick", "kick_raw": 1}
    maps = maps_of(tables) | {"reference-charger": parse_map(raw, "kicked")}
    assert make_plan(tables, maps).buses[0].setpoint_slots[0].worst_ns == near(2 * WRITE_ns)


def test_plan_needs_no_other_device_to_fill_a_gap_on_the_bus():
    tables = make_tables(n_chargers=1, period_ms=1000)
    maps = changed_maps(tables, gap_ms=60, gap_scope="bus")
    assert make_plan(tables, maps).buses[0].gap_ns == 0


def test_plan_in_words_ends_with_worst_case_and_margin():
    tables = make_tables(n_chargers=8)
    assert describe(plan_of(tables), tables) == [
        "bus bus, 19200 8E1",
        "  1 meter, each given up                        112.4 ms",
        "  2 of 8 status blocks, none older than 2 s      50.4 ms",
        "  one more timeout                               70.0 ms",
        "  8 setpoints, decreases                        169.4 ms",
        "  1 probe of a silent charger                    21.2 ms",
        "  2 raises or refreshes                          42.3 ms",
        "read ends at the latest after                   232.7 ms",
        "take ends at the latest after                   426.3 ms",
        "gives begin after                               428.3 ms",
        "gives end at the latest after                   470.6 ms",
        "worst-case scan, the gateway's own time in it   475.6 ms",
        "period                                          500.0 ms",
        "margin, 4 % of the period                        24.4 ms",
    ]


def test_plan_slot_of_a_meter_is_no_longer_for_its_longer_read_where_turnaround_leaves_room():
    tables = make_tables(n_chargers=1)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    del raw["blocks"]["values"]["alternate_count"]
    without = maps_of(tables) | {"reference-meter": parse_map(raw, "one form")}
    plans = [make_plan(tables, maps) for maps in (maps_of(tables), without)]
    assert plans[0].worst_scan_ns == plans[1].worst_scan_ns
    assert plans[0].buses[0].meter_slots[0].failed_ns == near(METER_FAILED_ns)


@pytest.mark.parametrize(("turnaround_ms", "room_ms"), [(77, 3), (79, 1), (80, 0)])
def test_plan_counts_what_of_the_longer_read_the_turnaround_leaves_no_room_for(
    turnaround_ms: int, room_ms: int
):
    """It is 4 bytes longer and given up after 80 ms."""
    tables = make_tables(n_chargers=1)
    maps = maps_of(tables)
    maps |= {
        "reference-meter": changed_maps(tables, turnaround_ms=turnaround_ms)["reference-meter"]
    }
    slot = make_plan(tables, maps).buses[0].meter_slots[0]
    assert slot.failed_ns == near(METER_FAILED_ns + max(0, 4 * CHAR_ns - room_ms * NS_PER_MS))
