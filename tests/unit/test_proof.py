"""The failsafe proof: which sums are made, when they hold to the mA, and what a refusal says."""

import dataclasses
from pathlib import Path

import pytest

from loadctl.errors import CheckRefused
from loadctl.site.proof import Proof, proof_lines, prove
from tests.support.site_files import GARAGE, changed, in_table, site_of, write_map


def proof_of(tmp_path: Path, text: str = GARAGE) -> Proof:
    site = site_of(tmp_path, text)
    return prove(site.tables, site.maps)


def sums(proof: Proof) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {
        (row.circuit, row.what): (row.chargers_milli, row.background_milli, row.limit_milli)
        for row in proof.rows
    }


def test_proof_sums_each_phase_of_each_circuit(tmp_path: Path) -> None:
    assert sums(proof_of(tmp_path)) == {
        ("main", "L1"): (6_000, 40_000, 100_000),
        ("main", "L2"): (16_000, 40_000, 100_000),
        ("main", "L3"): (6_000, 40_000, 100_000),
        ("garage", "L1"): (6_000, 0, 63_000),
        ("garage", "L2"): (16_000, 0, 63_000),
        ("garage", "L3"): (6_000, 0, 63_000),
    }


def test_proof_that_fits_exactly_holds(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, changed(("background_A = 40", "background_A = 84")))
    assert proof.refusals == ()
    assert proof.holds
    proof.require()


def test_proof_one_mA_too_much_is_refused_with_the_sum_and_what_to_lower(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, changed(("background_A = 40", "background_A = 84.001")))
    line = (
        "circuit.main L2: failsafe proof: 100.001 A (chargers 16 A + background 84.001 A) is above"
        " the limit of 100 A by 0.001 A; lower failsafe_A of bay2 (10 A), failsafe_A of bay1 (6 A),"
        " or background_A"
    )
    assert proof.refusals == (line,)
    with pytest.raises(CheckRefused) as refused:
        proof.require()
    assert refused.value.lines == (line,)
    assert refused.value.exit_code == 1


def test_proof_margin_does_not_count(tmp_path: Path) -> None:
    text = changed(("background_A = 40\nmargin_A = 5", "background_A = 84\nmargin_A = 50"))
    assert proof_of(tmp_path, text).holds


def test_proof_power_counts_every_phase_of_chargers_and_building(tmp_path: Path) -> None:
    # (3 x 6 A + 10 A + 3 x 40 A) x 230 V = 34.04 kW
    good = proof_of(tmp_path, changed(("limit_A = 100", "limit_A = 100\nlimit_kW = 34.04")))
    assert sums(good)["main", "power"] == (6_440, 27_600, 34_040)
    assert good.holds
    bad = proof_of(tmp_path, changed(("limit_A = 100", "limit_A = 100\nlimit_kW = 34.039")))
    assert bad.refusals == (
        "circuit.main power: failsafe proof: 34.04 kW (chargers 6.44 kW + background 27.6 kW) is"
        " above the limit of 34.039 kW by 0.001 kW; lower failsafe_A of bay2 (10 A), failsafe_A of"
        " bay1 (6 A), or background_A",
    )


def test_proof_power_rounds_a_load_up_to_the_watt(tmp_path: Path) -> None:
    text = changed(("limit_A = 100", "limit_A = 100\nlimit_kW = 50"), ("d_A = 40", "d_A = 40.001"))
    # 120.003 A x 230 V = 27600.69 W
    assert sums(proof_of(tmp_path, text))["main", "power"] == (6_440, 27_601, 50_000)


def test_proof_unbalance_counts_chargers_that_use_one_phase_and_not_the_other(
    tmp_path: Path,
) -> None:
    good = proof_of(tmp_path, changed(("limit_A = 100", "limit_A = 100\nunbalance_A = 10")))
    assert sums(good)["main", "L2 beyond L1"] == (10_000, 0, 10_000)
    assert good.holds
    bad = proof_of(tmp_path, changed(("limit_A = 100", "limit_A = 100\nunbalance_A = 9.999")))
    assert bad.refusals == (
        "circuit.main L2 beyond L1: failsafe proof: 10 A (chargers 10 A) is above the limit of"
        " 9.999 A by 0.001 A; lower failsafe_A of bay2 (10 A)",
    )


def test_proof_fallback_above_the_failsafe_current_is_what_counts(tmp_path: Path) -> None:
    old = 'register = "fallback_A"\nmin_A = 6\nmax_A = 80'
    write_map(tmp_path, "box", (old, "fixed_A = 12"))
    proof = proof_of(tmp_path, in_table("charger.bay1", ("reference-charger", "box")))
    assert sums(proof)["garage", "L1"] == (12_000, 0, 63_000)


def test_proof_fallback_below_the_failsafe_current_does_not_help(tmp_path: Path) -> None:
    old = 'register = "fallback_A"\nmin_A = 6\nmax_A = 80'
    write_map(tmp_path, "box", (old, "fixed_A = 0"))
    proof = proof_of(tmp_path, in_table("charger.bay1", ("reference-charger", "box")))
    assert sums(proof)["garage", "L1"] == (6_000, 0, 63_000)


def test_proof_box_without_watchdog_counts_its_rating_and_must_be_accepted(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="watchdog fallback")
    text = in_table("charger.bay1", ("reference-charger", "box"))
    proof = proof_of(tmp_path, text)
    assert sums(proof)["garage", "L1"] == (16_000, 0, 63_000)
    assert proof.refusals == (
        "charger.bay1.unprotected: box has no watchdog: without the controller it keeps its last"
        ' setpoint for ever, and counts 16 A; write unprotected = "accept" to run it so',
    )
    accepted = changed(("failsafe_A = 6", 'failsafe_A = 6\nunprotected = "accept"'), text=text)
    assert proof_of(tmp_path, accepted).refusals == ()


def test_proof_rating_counts_and_not_the_maximum(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="watchdog fallback")
    text = in_table(
        "charger.bay1",
        ("reference-charger", "box"),
        ("max_A = 16", 'max_A = 10\nunprotected = "accept"'),
        ("rated_A = 16\n", ""),
    )
    assert sums(proof_of(tmp_path, text))["garage", "L1"] == (80_000, 0, 63_000)


def test_proof_isolated_charger_counts_nothing_and_needs_no_watchdog(tmp_path: Path) -> None:
    write_map(tmp_path, "box", without="watchdog fallback")
    text = in_table(
        "charger.bay1",
        ("reference-charger", "box"),
        ("failsafe_A = 6", "failsafe_A = 6\nisolated = true"),
    )
    proof = proof_of(tmp_path, text)
    assert sums(proof)["garage", "L1"] == (0, 0, 63_000)
    assert proof.holds


def test_proof_background_of_a_sub_circuit_counts_in_its_parents_too(tmp_path: Path) -> None:
    text = in_table("circuit.garage", ("background_A = 0", "background_A = [0, 45, 0]"))
    proof = proof_of(tmp_path, text)
    assert sums(proof)["main", "L2"] == (16_000, 45_000, 100_000)


def unmeasured(tmp_path: Path, text: str) -> tuple[str, ...]:
    """Refusals of a site whose bay1 measures no current."""
    site = site_of(tmp_path, text)
    bay1 = dataclasses.replace(site.tables.chargers[0], has_measured_current=False)
    chargers = (bay1, *site.tables.chargers[1:])
    return prove(dataclasses.replace(site.tables, chargers=chargers), site.maps).refusals


def test_proof_unmeasured_charger_below_a_dynamic_circuit_is_refused(tmp_path: Path) -> None:
    assert unmeasured(tmp_path, GARAGE) == (
        "charger.bay1.unmeasured: reference-charger measures no current and circuit.main is"
        ' dynamic; give it a circuit of its own with a meter, or write unmeasured = "accept"',
    )


def test_proof_unmeasured_charger_that_is_accepted_passes(tmp_path: Path) -> None:
    text = changed(("failsafe_A = 6", 'failsafe_A = 6\nunmeasured = "accept"'))
    assert unmeasured(tmp_path, text) == ()


def test_proof_unmeasured_charger_behind_a_sub_meter_passes(tmp_path: Path) -> None:
    text = changed(('mode = "static"', 'mode = "static"\nmeter = "sub"'))
    text += '[meter.sub]\nbus = "rs485"\nmodel = "reference-meter"\naddress = 9\n'
    assert unmeasured(tmp_path, text) == ()


def test_proof_unmeasured_charger_on_static_circuits_passes(tmp_path: Path) -> None:
    assert unmeasured(tmp_path, changed(('mode = "dynamic"', 'mode = "static"'))) == ()


def test_proof_lines_show_every_sum_and_mark_what_does_not_hold(tmp_path: Path) -> None:
    proof = proof_of(tmp_path, changed(("background_A = 40", "background_A = [0, 85, 0]")))
    assert proof_lines(proof) == [
        "circuit         chargers   background        limit        spare",
        "main     L1          6 A          0 A        100 A         94 A",
        "         L2         16 A         85 A        100 A         -1 A  DOES NOT HOLD",
        "         L3          6 A          0 A        100 A         94 A",
        "garage   L1          6 A          0 A         63 A         57 A",
        "         L2         16 A          0 A         63 A         47 A",
        "         L3          6 A          0 A         63 A         57 A",
    ]
