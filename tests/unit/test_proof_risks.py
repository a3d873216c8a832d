"""What stands beside the proof: transition, power return, tolerance, watchdogs, doubtful facts."""

import dataclasses
from pathlib import Path

import pytest

from loadctl.site.proof import prove
from loadctl.site.risks import fuse_text, largest_grants_mA, transition_mA
from loadctl.site.tree import Tree
from loadctl.tables import CircuitRow
from tests.support.site_files import changed, in_table, site_of, write_map

QUIET = changed(("background_A = 40", "background_A = 0"))


def warnings_of(tmp_path: Path, text: str) -> tuple[str, ...]:
    site = site_of(tmp_path, text)
    return prove(site.tables, site.maps).warnings


def test_risks_of_a_generous_site_are_none(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, QUIET) == ()


def test_largest_grants_stop_at_the_circuits_below_and_at_the_margin(tmp_path: Path) -> None:
    site = site_of(tmp_path, changed(("limit_A = 63", "limit_A = 40")))
    tree = Tree(site.tables)
    # bay1 16 A and bay2 32 A on L2, but the garage lets 40 - 5 A through
    assert [largest_grants_mA(site.tables, tree, 1, phase) for phase in range(3)] == [
        16_000,
        35_000,
        16_000,
    ]
    assert largest_grants_mA(site.tables, tree, 0, 1) == 35_000


def test_largest_grants_of_a_static_circuit_leave_room_for_its_background(tmp_path: Path) -> None:
    text = in_table("circuit.garage", ("background_A = 0", "background_A = 30"))
    site = site_of(tmp_path, text)
    assert largest_grants_mA(site.tables, Tree(site.tables), 1, 1) == 28_000


def test_largest_grants_where_export_counts_are_not_bounded_by_the_limit(tmp_path: Path) -> None:
    text = changed(("limit_A = 100", "limit_A = 30\ncounts_export = true"))
    site = site_of(tmp_path, text)
    assert largest_grants_mA(site.tables, Tree(site.tables), 0, 1) == 48_000


def test_transition_adds_grants_of_a_quiet_building_to_its_worst(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    # both charge at their maxima on L2: 16 + 32 + 40 A
    assert transition_mA(site.tables, Tree(site.tables), 0, 1) == 88_000


def test_transition_counts_paused_boxes_that_rise_to_their_fallback(tmp_path: Path) -> None:
    text = changed(("limit_A = 100", "limit_A = 37"), ("background_A = 40", "background_A = 0"))
    site = site_of(tmp_path, text)
    # 32 A of room: bay2 charges at 32 A and bay1, paused, rises to 6 A
    assert transition_mA(site.tables, Tree(site.tables), 0, 1) == 38_000


def test_transition_above_the_limit_names_share_seconds_fuse_and_remedy(tmp_path: Path) -> None:
    text = changed(
        ("limit_A = 100", 'limit_A = 80\nfuse = { type = "gG", rated_A = 80 }'),
    )
    assert warnings_of(tmp_path, text) == (
        "circuit.main L2: transition: without the controller up to 88 A, 110 % of the limit, for"
        " 36.5 s; 110 % of gG 80 A, which holds 125 % for 2 h (usual figures, not verified); lower"
        " max_A, or shorten the watchdog time of bay1",
        "circuit.main L2: power return: boxes may wake up at their hardware rating, together up to"
        " 88 A, 110 % of the limit, until each is armed; lower the current that is set in the"
        " boxes, and say so in rated_A",
    )


def test_transition_with_an_unprotected_box_lasts_until_someone_comes(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="watchdog fallback")
    text = in_table(
        "charger.bay1",
        ("reference-charger", "box"),
        ("failsafe_A = 6", 'failsafe_A = 6\nunprotected = "accept"'),
        text=changed(("limit_A = 100", "limit_A = 80")),
    )
    found = warnings_of(tmp_path, text)
    assert found[0] == (
        "circuit.main L2: transition: without the controller up to 88 A, 110 % of the limit, until"
        " someone comes, for bay1 has no watchdog; no fuse is given to judge it by; lower max_A"
    )
    assert found[-1] == ("charger.bay1.unprotected: accepted: no watchdog, counts its rating, 16 A")


def test_power_return_counts_ratings_and_not_maxima(tmp_path: Path) -> None:
    text = changed(("rated_A = 32", "rated_A = 60"), text=QUIET)
    assert warnings_of(tmp_path, text) == (
        "circuit.garage L2: power return: boxes may wake up at their hardware rating, together up"
        " to 76 A, 120 % of the limit, until each is armed; lower the current that is set in the"
        " boxes, and say so in rated_A",
    )


def test_pilot_tolerance_is_compared_with_the_margin(tmp_path: Path) -> None:
    enough = in_table("circuit.garage", ("margin_A = 5", "margin_A = 1.2"), text=QUIET)
    assert warnings_of(tmp_path, enough) == ()
    short = in_table("circuit.garage", ("margin_A = 5", "margin_A = 1.199"), text=QUIET)
    assert warnings_of(tmp_path, short) == (
        "circuit.garage.margin_A: 1.199 A is below 1.2 A, by which 2 cars on one phase may exceed"
        " what they are told (pilot tolerance, 0.6 A a car)",
    )


@pytest.mark.parametrize(("fed_by", "what"), [("reads", "reads"), ("any", "messages of any kind")])
def test_watchdog_that_reads_feed_is_told_once_per_model(
    tmp_path: Path, fed_by: str, what: str
) -> None:
    write_map(tmp_path, "box", ('fed_by = "writes"', f'fed_by = "{fed_by}"'))
    assert warnings_of(tmp_path, QUIET.replace("reference-charger", "box")) == (
        f"model box: {what} keep its watchdog quiet: it protects against a gateway that is silent,"
        " not against one that still reads and no longer writes (bay1, bay2)",
    )


def test_watchdog_time_below_three_periods_is_told(tmp_path: Path) -> None:
    write_map(tmp_path, "box", ("timeout_s = 30", "timeout_s = 1"))
    found = warnings_of(
        tmp_path, in_table("charger.bay1", ("reference-charger", "box"), text=QUIET)
    )
    assert found[0] == (
        "charger.bay1: its watchdog time, 1 s, is below 1.5 s, 3 periods; shorten site.period_ms"
    )


def test_takeover_that_may_come_after_a_watchdog_is_told(tmp_path: Path) -> None:
    """It falls after 12 s: a third of that, missed_limit periods of 500 ms, and the writes."""
    write_map(tmp_path, "box", ("timeout_s = 30", "timeout_s = 12"))
    text = in_table("charger.bay1", ("reference-charger", "box"), text=QUIET)
    name = 'name = "Test garage"\n'
    in_time = changed((name, f"{name}missed_limit = 15\n"), text=text)
    assert not any("takeover" in line for line in warnings_of(tmp_path, in_time))
    late = changed((name, f"{name}missed_limit = 16\n"), text=text)
    found = [line for line in warnings_of(tmp_path, late) if "takeover" in line]
    assert len(found) == 1
    assert "12.3 s, not below its watchdog time of 12 s" in found[0]


def test_fallback_that_differs_from_the_failsafe_current_is_told(tmp_path: Path) -> None:
    old = 'register = "fallback_A"\nmin_A = 6\nmax_A = 80'
    write_map(tmp_path, "box", (old, "fixed_A = 12"))
    text = in_table("charger.bay1", ("reference-charger", "box"), text=QUIET)
    assert warnings_of(tmp_path, text) == (
        "charger.bay1.failsafe_A: 6 A, but by itself the box falls to 12 A; the proof counts that",
    )
    write_map(tmp_path, "box", (old, "fixed_A = 0"))
    text = changed(("failsafe_A = 6", "failsafe_A = 6\nnever_pause = true"), text=text)
    assert warnings_of(tmp_path, text) == (
        "charger.bay1.never_pause: by itself the box falls to 0 A, below min_A, 6 A",
    )


def test_doubtful_facts_of_a_map_are_named(tmp_path: Path) -> None:
    site = site_of(tmp_path, QUIET)
    doubtful = dataclasses.replace(
        site.maps["reference-charger"], doubts=("timing.gap_ms", "setpoint.hold_s")
    )
    maps = {**site.maps, "reference-charger": doubtful}
    assert prove(site.tables, maps).warnings == (
        "model reference-charger: check on a bench before it guards a fuse: timing.gap_ms,"
        " setpoint.hold_s",
    )


def fused(fuse_type: str | None, rated_mA: int) -> CircuitRow:
    limits_mA = (100_000, 100_000, 100_000)
    return CircuitRow(
        name="main",
        parent=-1,
        limit_mA=limits_mA,
        limit_W=None,
        unbalance_mA=None,
        margin_mA=0,
        background_mA=(0, 0, 0),
        is_dynamic=False,
        meter=-1,
        counts_export=False,
        fuse_type=fuse_type,
        fuse_rated_mA=rated_mA,
    )


BETWEEN_GG = "between the 125 % that it holds and the 160 % that operate it within"
BETWEEN_MCB = "between the 113 % that it holds and the 145 % that operate it within"


@pytest.mark.parametrize(
    ("fuse_type", "rated_mA", "load_mA", "text"),
    [
        ("gG", 63_000, 78_750, "125 % of gG 63 A, which holds 125 % for 1 h"),
        ("gG", 100_000, 126_000, f"126 % of gG 100 A, {BETWEEN_GG} 2 h"),
        ("gG", 200_000, 322_000, "161 % of gG 200 A, above the 160 % that operate it within 3 h"),
        ("gG", 500_000, 2_000_000, "400 % of gG 500 A, above the 160 % that operate it within 4 h"),
        ("C", 63_000, 71_000, "112 % of C 63 A, which holds 113 % for 1 h"),
        ("C", 80_000, 116_000, f"145 % of C 80 A, {BETWEEN_MCB} 2 h"),
        ("B", 16_000, 47_999, "299 % of B 16 A, above the 145 % that operate it within 1 h"),
        ("B", 16_000, 48_000, "300 % of B 16 A, above 300 %, where it may trip at once"),
        ("C", 16_000, 79_999, "499 % of C 16 A, above the 145 % that operate it within 1 h"),
        ("D", 16_000, 160_000, "1000 % of D 16 A, above 1000 %, where it may trip at once"),
    ],
)
def test_fuse_text_places_a_current_on_the_curve(
    fuse_type: str, rated_mA: int, load_mA: int, text: str
) -> None:
    assert fuse_text(fused(fuse_type, rated_mA), load_mA) == f"{text} (usual figures, not verified)"


def test_fuse_text_without_a_fuse_says_so() -> None:
    assert fuse_text(fused(None, 0), 1) == "no fuse is given to judge it by"
