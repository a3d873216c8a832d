"""Every bound that the rules rely on: what stands at it is taken, one beyond it is refused."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from loadctl._core import Core
from loadctl.errors import CoreFault
from loadctl.tables import SiteRow, Tables, Tuning
from tests.support.core_sites import PERIOD_ns, attached, charger, circuit, meter, site, tuning

MOST = 10_000_000  # mA and W
MOST_OF_CIRCUIT_mA = 100_000_000
SPAN_ns = 10**15
WIDE = {"max_mA": MOST}


def refused(tables: Tables) -> str:
    """What the core says of these tables; nothing where it takes them."""
    try:
        Core(tables)
    except CoreFault as error:
        return str(error)
    return ""


def with_charger(**changes: Any) -> Tables:
    return site([circuit("main", 1), circuit("sub", 1, 0)], [charger("a", **changes)])


def with_circuit(**changes: Any) -> Tables:
    limit_mA = changes.pop("limit_mA", 1)
    return site([circuit("main", limit_mA, **changes)], [], [meter("m"), meter("n")])


@pytest.mark.parametrize(
    ("name", "low", "high", "others"),
    [
        ("circuit_i", 0, 1, {}),
        ("weight", 1, 10_000, {}),
        ("step_mA", 1, MOST, {"min_mA": 1, **WIDE}),
        ("min_mA", 1, MOST, {"step_mA": 1, **WIDE}),
        ("max_mA", 6000, MOST, {"step_mA": 1}),
        ("failsafe_mA", 0, MOST, {}),
        ("fallback_mA", 0, MOST, {}),
        ("rated_mA", 0, MOST, {}),
        ("hold_ns", 0, SPAN_ns, {}),
        ("draw_lag_ns", 0, SPAN_ns, {}),
        ("watchdog_ns", 1, SPAN_ns, {}),
        ("min_change_ns", 0, SPAN_ns, {}),
        ("priority", -(2**31), 2**31 - 1, {}),
    ],
)
def test_charger_bounds(name: str, low: int, high: int, others: dict[str, Any]) -> None:
    said = name.removesuffix("_i")
    for value in (low, high):
        assert refused(with_charger(**{**others, name: value})) == ""
    for value in (low - 1, high + 1):
        text = refused(with_charger(**{**others, name: value}))
        assert text == f"charger.a.{said}: {value} is not within {low} to {high}"


@pytest.mark.parametrize(
    ("min_mA", "max_mA", "step_mA", "text"),
    [
        # The least that stands on the grid is the least that a maximum, on the grid, may be.
        (6001, 6100, 100, ""),
        (6001, 6099, 100, "charger.a.max_mA: 6000 is not within 6100 to 10000000"),
        (6100, 6100, 100, ""),
        (6100, 6099, 100, "charger.a.max_mA: 6000 is not within 6100 to 10000000"),
        (1, 99, 100, "charger.a.max_mA: 0 is not within 100 to 10000000"),
        (1, 100, 100, ""),
    ],
)
def test_maximum_on_the_grid_is_at_least_the_minimum_on_it(
    min_mA: int, max_mA: int, step_mA: int, text: str
) -> None:
    assert refused(with_charger(min_mA=min_mA, max_mA=max_mA, step_mA=step_mA)) == text


@pytest.mark.parametrize(
    ("phases", "text"),
    [
        ((0,), ""),
        ((2, 1), ""),
        ((2, 0, 1), ""),
        ((), "() is not one to three different phases"),
        ((1, 1), "(1, 1) is not one to three different phases"),
        ((0, 1, 2, 3), "(0, 1, 2, 3) is not one to three different phases"),
        ((-1,), "-1 is not within 0 to 2"),
        ((0, 3), "3 is not within 0 to 2"),
    ],
)
def test_phases(phases: tuple[int, ...], text: str) -> None:
    assert refused(with_charger(phases=phases)) == (text and f"charger.a.phases: {text}")


@pytest.mark.parametrize(
    ("name", "low", "high", "others"),
    [
        ("limit_mA", 0, MOST_OF_CIRCUIT_mA, {}),
        ("background_mA", 0, MOST_OF_CIRCUIT_mA, {}),
        ("margin_mA", 0, MOST, {}),
        ("limit_W", 0, MOST, {}),
        ("unbalance_mA", 0, MOST, {}),
        ("meter", -1, 1, {}),
        ("fuse_rated_mA", 1000, MOST, {"fuse_type": "gG"}),
        ("loss_mA", 0, MOST, {"takes_external": True}),
        ("loss_W", 0, MOST, {"takes_external": True}),
        ("guaranteed_W", 0, MOST, {"takes_external": True, "loss_W": 1}),
        ("loss_after_ns", 1, SPAN_ns, {"takes_external": True, "loss_W": 1}),
    ],
)
def test_circuit_bounds(name: str, low: int, high: int, others: dict[str, Any]) -> None:
    for value in (low, high):
        assert refused(with_circuit(**{**others, name: _phases(name, value)})) == ""
    for value in (low - 1, high + 1):
        text = refused(with_circuit(**{**others, name: _phases(name, value)}))
        assert text == f"circuit.main.{name}: {value} is not within {low} to {high}"


def _phases(name: str, value: int) -> Any:
    return (1, 1, value) if name in ("limit_mA", "background_mA", "loss_mA") else value


@pytest.mark.parametrize("p", range(3))
@pytest.mark.parametrize("name", ["limit_mA", "background_mA", "loss_mA"])
def test_bounds_hold_on_every_phase(name: str, p: int) -> None:
    values = tuple(-1 if q == p else 1 for q in range(3))
    others = {"takes_external": True} if name == "loss_mA" else {}
    text = refused(with_circuit(**{**others, name: values}))
    most_mA = MOST if name == "loss_mA" else MOST_OF_CIRCUIT_mA
    assert text == f"circuit.main.{name}: -1 is not within 0 to {most_mA}"


@pytest.mark.parametrize(
    ("parents", "text"),
    [
        ([-1, 0, 1], ""),
        ([-1, 0, 0], ""),
        ([0], "circuit.c0.parent: 0 does not stand before it"),
        ([-2], "circuit.c0.parent: -2 does not stand before it"),
        ([-1, -1], "circuit.c1.parent: -1 does not stand before it"),
        ([-1, -2], "circuit.c1.parent: -2 does not stand before it"),
        ([-1, 1], "circuit.c1.parent: 1 does not stand before it"),
        ([-1, 2, 0], "circuit.c1.parent: 2 does not stand before it"),
    ],
)
def test_parents_stand_before_their_children_and_one_is_the_root(
    parents: list[int], text: str
) -> None:
    rows = [circuit(f"c{k}", 1, parent) for k, parent in enumerate(parents)]
    assert refused(site(rows, [])) == text


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"is_dynamic": True}, "circuit.main.meter: a dynamic circuit needs one"),
        ({"is_dynamic": True, "meter": 0}, ""),
        ({"meter": 0}, ""),
        (
            {"takes_external": True},
            "circuit.main: takes limits from outside, and nothing counts without them",
        ),
        ({"takes_external": True, "loss_mA": (0, 0, 0)}, ""),
        ({"takes_external": True, "loss_W": 0}, ""),
        (
            {"guaranteed_W": 0},
            "circuit.main.guaranteed_W: the circuit takes no limits from outside",
        ),
    ],
)
def test_what_a_circuit_needs_beside(changes: dict[str, Any], text: str) -> None:
    assert refused(with_circuit(**changes)) == text


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "circuit count: 0 is not within 1 to 4096"),
        (1, ""),
        (4096, ""),
        (4097, "circuit count: 4097 is not within 1 to 4096"),
    ],
)
def test_number_of_circuits(n: int, text: str) -> None:
    assert refused(site([circuit(f"c{k}", 1, k - 1) for k in range(n)], [])) == text


@pytest.mark.parametrize(
    ("n", "text"), [(16384, ""), (16385, "charger count: 16385 is not within 0 to 16384")]
)
def test_number_of_chargers(n: int, text: str) -> None:
    assert refused(site([circuit("main", 1)], [charger("a")] * n)) == text


@pytest.mark.parametrize(
    ("voltage_mV", "text"),
    [
        (0, "site.voltage_mV: 0 is not within 1 to 1000000"),
        (1, ""),
        (1_000_000, ""),
        (1_000_001, "site.voltage_mV: 1000001 is not within 1 to 1000000"),
    ],
)
def test_voltage(voltage_mV: int, text: str) -> None:
    tables = with_circuit()
    assert refused(replace(tables, site=SiteRow("test", PERIOD_ns, 3, voltage_mV))) == text


@pytest.mark.parametrize(
    ("lag_ns", "text"),
    [
        (-1, "meter.m.lag_ns: -1 is not within 0 to 1000000000000000"),
        (0, ""),
        (SPAN_ns, ""),
        (SPAN_ns + 1, f"meter.m.lag_ns: {SPAN_ns + 1} is not within 0 to {SPAN_ns}"),
    ],
)
def test_lag_of_a_meter(lag_ns: int, text: str) -> None:
    assert refused(site([circuit("main", 1)], [], [meter("m", lag_ns)])) == text


@pytest.mark.parametrize("name", [field.name for field in fields(Tuning)])
def test_tuning_bounds(name: str) -> None:
    low = 1 if name == "ramp_mA_per_s" else 0
    high = MOST if name in ("ramp_mA_per_s", "deadband_mA", "admit_margin_mA") else SPAN_ns
    core = attached(with_charger())
    for value in (low, high):
        core.set_tuning(replace(tuning(), **{name: value}))
        assert core.site()["tuning"][name] == value
    for value in (low - 1, high + 1):
        with pytest.raises(CoreFault, match=f"^tuning.{name}: {value} is not within"):
            core.set_tuning(replace(tuning(), **{name: value}))
    assert core.site()["tuning"][name] == high


def external(**changes: Any) -> Tables:
    rows = [circuit("main", 1, loss_W=1, takes_external=True, **changes), circuit("sub", 1, 0)]
    return site(rows, [])


@pytest.mark.parametrize(
    ("circuit_i", "limit_mA", "power_W", "text"),
    [
        (-1, None, None, "circuit index: -1 is not within 0 to 1"),
        (2, None, None, "circuit index: 2 is not within 0 to 1"),
        (1, None, None, "external limit of circuit.sub: the circuit takes none"),
        (0, (0, 0, 0), None, ""),
        (0, (MOST, MOST, MOST), None, ""),
        (0, (0, 0, -1), None, f"external limit of circuit.main: -1 is not within 0 to {MOST}"),
        (0, (0, MOST + 1, 0), None, "external limit of circuit.main: 10000001 is not within"),
        (0, None, 0, ""),
        (0, None, MOST, ""),
        (0, None, -1, f"external limit of circuit.main: -1 is not within 0 to {MOST}"),
        (0, None, MOST + 1, "external limit of circuit.main: 10000001 is not within"),
    ],
)
def test_limits_from_outside(circuit_i: int, limit_mA: Any, power_W: int | None, text: str) -> None:
    core = attached(external())
    if not text:
        core.external_limit(circuit_i, limit_mA, power_W, None, 0)
        return
    with pytest.raises(CoreFault, match=f"^{text}"):
        core.external_limit(circuit_i, limit_mA, power_W, None, 0)


def test_core_frees_what_it_has_allocated() -> None:
    """A block of work space that is written beyond its end would be found when it is freed."""
    for n in (1, 2, 5):
        rows = [charger(f"x{i}", phases=(i % 3,)) for i in range(n)]
        core = Core(site([circuit("main", 10_000, unbalance_mA=5000, limit_W=5000)], rows))
        core.attach(bytearray(core.plant_bytes))
        core.settle([True] * n)
        del core
