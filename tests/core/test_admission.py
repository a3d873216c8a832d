"""Who is admitted at rest: nobody left out fits; and how many, beside the most there could be.

Run with `-s` to see the table.
"""

from __future__ import annotations

import sys

import pytest

from tests.support.admission import admission, most_admitted, table, what_is_unfair
from tests.support.core_sites import charger, circuit, settled_mA, site
from tests.support.reference import limits_of
from tests.support.sweep import gather


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_nobody_left_out_fits_on_random_sites() -> None:
    found = gather(admission, range(2000))
    sys.stdout.writelines(f"{line}\n" for line in ("", *table(found)))
    assert [f"seed {one.seed}: {one.said}" for one in found if one.said] == []
    assert [one.seed for one in found if one.n_admitted > one.n_possible] == []


def test_program_admits_three_that_stand_behind_one() -> None:
    """One on all phases comes first and takes the room of three on one phase each."""
    rows = [charger("wide"), *(charger(f"x{p}", phases=(p,)) for p in range(3))]
    tables = site([circuit("main", 6000)], rows)
    assert most_admitted(tables, limits_of(tables)) == 3
    assert settled_mA(tables, [True] * 4) == [6000, 0, 0, 0]


def test_program_admits_nobody_below_a_background_above_the_limit() -> None:
    tables = site(
        [circuit("main", 20000), circuit("sub", 6000, 0, background_mA=7000)],
        [charger("under", 1), charger("free", 0)],
    )
    assert most_admitted(tables, limits_of(tables)) == 1


def test_check_sees_one_left_out_and_a_lower_tier_served_first() -> None:
    """The check's own test: each wrong choice is told."""
    rows = [charger("low"), charger("high", priority=1), charger("last")]
    tables = site([circuit("main", 12000)], rows)
    limits = limits_of(tables)
    assert what_is_unfair(tables, limits, {0, 1}) == ""
    assert what_is_unfair(tables, limits, {1}) == "charger 0: left out with room"
    assert what_is_unfair(tables, limits, {0, 2}) == "charger 1: left out with room"
    assert what_is_unfair(tables, limits, {0, 1, 2}) == "charger 2: admitted without room"
