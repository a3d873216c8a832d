"""The bus plan as a picture: every slot once, in order, where the plan has it; 80 columns."""

import itertools
from dataclasses import replace

import pytest

from loadctl.plan import Plan, make_plan
from loadctl.tables import Tables
from loadctl.timeline import COLUMNS, GIVE, READ, TAKE, spans_of, timeline_dict, timeline_lines
from loadctl.units import NS_PER_MS
from tests.support.builders import make_bus, make_charger, make_meter, make_tables, maps_of


def plan_of(tables: Tables) -> Plan:
    return make_plan(tables, maps_of(tables))


def two_buses() -> Tables:
    bays = [make_charger(f"bay{i}", address=i + 2) for i in range(8)]
    lots = [make_charger(f"lot{i}", "heidelberg-ec", address=i + 2, bus=1) for i in range(2)]
    return make_tables(
        meters=[make_meter()],
        chargers=[*bays, *lots],
        buses=[make_bus("one"), make_bus("two")],
        period_ms=700,
    )


@pytest.mark.parametrize("tables", [make_tables(8), make_tables(1), two_buses()])
def test_timeline_slots_follow_each_other_within_their_phase(tables: Tables) -> None:
    plan = plan_of(tables)
    for bus in plan.buses:
        spans = spans_of(plan, bus)
        for one, other in itertools.pairwise(spans):
            assert one.begin_ns < one.end_ns <= other.begin_ns
            assert one.phase != other.phase or one.end_ns == other.begin_ns
        for phase, first_ns, last_ns in (
            (READ, 0, plan.read_end_ns),
            (TAKE, 0, plan.take_end_ns),
            (GIVE, plan.give_at_ns, plan.give_end_ns),
        ):
            mine = [span for span in spans if span.phase == phase]
            assert all(first_ns <= span.begin_ns and span.end_ns <= last_ns for span in mine)


def test_timeline_of_a_lone_bus_has_all_of_its_busy_time_and_no_slot_twice() -> None:
    tables = make_tables(8)
    plan = plan_of(tables)
    (bus,) = plan.buses
    spans = spans_of(plan, bus)
    assert sum(span.end_ns - span.begin_ns for span in spans) == bus.busy_ns + (
        bus.n_gives_per_scan - bus.n_refreshes_per_scan
    ) * (bus.setpoint_slots[0].worst_ns)
    setpoints = [span.what for span in spans if span.what.startswith("setpoint")]
    assert setpoints == [f"setpoint bay{i}" for i in range(1, 9)]


def test_timeline_in_words() -> None:
    tables = make_tables(8)
    assert timeline_lines(plan_of(tables), tables) == [
        "bus bus, 19200 8E1          from  to ms 0                   250              500",
        "  meter grid, given up       0.0  112.4 #########...............................",
        "  2 of 8 statuses          112.4  162.7 ........###===..........................",
        "  one more timeout         162.7  232.7 .............######.....................",
        "  8 setpoints              235.7  405.1 ..................###############.......",
        "  probe                    405.1  426.3 ................................###.....",
        "  2 raises or refreshes    428.3  470.6 ..................................####..",
    ]


def test_timeline_keeps_to_the_width_of_a_terminal_whatever_the_names() -> None:
    meter = make_meter("the-grid-meter-in-the-basement-of-the-second-house")
    tables = make_tables(2, meters=[meter], period_ms=2_000)
    lines = timeline_lines(plan_of(tables), tables)
    assert {len(line) for line in lines} == {COLUMNS}
    assert "  meter the-grid-meter-i~" in lines[1]


def test_timeline_shows_the_gap_that_no_order_avoids() -> None:
    tables = make_tables(chargers=[make_charger("bay1", "heidelberg-ec")], period_ms=700)
    plan = plan_of(tables)
    (bus,) = plan.buses
    (gap,) = [span for span in spans_of(plan, bus) if span.what == "gaps of devices"]
    assert gap.end_ns - gap.begin_ns == bus.gap_ns == 100 * NS_PER_MS


def test_timeline_for_a_machine_has_every_slot_with_its_times() -> None:
    tables = make_tables(1)
    plan = plan_of(tables)
    found = timeline_dict(plan, plan.buses[0])
    assert [(slot["phase"], slot["what"]) for slot in found] == [
        ("read", "meter grid"),
        ("read", "a status block"),
        ("read", "one more timeout"),
        ("take", "setpoint bay1"),
        ("take", "probe"),
        ("give", "a raise or a refresh"),
    ]
    assert found[0]["from_ms"] == 0
    assert found[-1]["from_ms"] == round(plan.give_at_ns / NS_PER_MS, 3)


def test_timeline_bar_of_a_slot_covers_its_time() -> None:
    tables = replace(make_tables(0), chargers=())
    plan = plan_of(tables)
    (line,) = timeline_lines(plan, tables)[1:]
    bar = line[40:]
    assert bar.count("#") == -(-plan.buses[0].meter_slots[0].failed_ns * 40 // plan.period_ns)
