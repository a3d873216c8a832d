"""The kernel equals linear programs: sequential max-min with HiGHS, rounded to steps."""

from __future__ import annotations

import pytest

from tests.support.core_sites import charger, circuit, site
from tests.support.programs import optimum_mA
from tests.support.reference import limits_of
from tests.support.share_checks import equals_program, what_is_wrong
from tests.support.sweep import sweep


@pytest.mark.sweep
@pytest.mark.timeout(900)
def test_kernel_equals_linear_programs_on_random_sites() -> None:
    assert sweep(equals_program, range(10_000)) == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_kernel_equals_linear_programs_on_many_random_sites() -> None:
    assert sweep(equals_program, range(10_000, 110_000)) == []


def test_programs_raise_in_proportion_to_weight_until_each_is_stopped() -> None:
    rows = [
        charger("slow", 1, weight=1),
        charger("fast", 1, weight=2, max_mA=32000),
        charger("free", 0, max_mA=20000),
    ]
    tables = site([circuit("main", 63000), circuit("sub", 30000, parent=0)], rows)
    expected_mA = {0: 10000.0, 1: 20000.0, 2: 20000.0}
    assert optimum_mA(tables, [0, 1, 2]) == pytest.approx(expected_mA, abs=1e-6)


def test_check_sees_a_step_left_one_too_many_and_one_too_few() -> None:
    """The check's own test: the right grants pass, and each wrong one is told."""
    tables = site([circuit("main", 20000)], [charger("a"), charger("b")])
    limits = limits_of(tables)
    floors = {0: 10000, 1: 10000}
    assert what_is_wrong(tables, limits, {0: 10000, 1: 10000}, floors) == ""
    assert "has 9900 mA of 10000" in what_is_wrong(tables, limits, {0: 10100, 1: 9900}, floors)
    left = {0: 9900, 1: 9900}
    assert "room for a step of 100" in what_is_wrong(tables, limits, left, left)
    assert "20100 mA is above" in what_is_wrong(tables, limits, {0: 10100, 1: 10000}, floors)
