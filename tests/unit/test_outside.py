"""What status and top say of limits from outside."""

from __future__ import annotations

from typing import Any

import pytest

from loadctl.answers import summary
from loadctl.cli.view import details, limit_lines
from loadctl.outside import external_of, external_words, span_words
from loadctl.tables import Tables
from tests.support import screens
from tests.support.core_sites import NS_PER_S, VOLTAGE_mV, attached, charger, circuit, site

NOW_ns = 10_000 * NS_PER_S
HOUR_ns = 3600 * NS_PER_S


def found(
    limit_mA: Any = None,
    power_W: int | None = None,
    until_ns: int | None = None,
    *,
    is_told: bool = True,
    now_ns: int = NOW_ns,
    **changes: Any,
) -> dict[str, Any] | None:
    """What is shown of a circuit that was told this at NOW_ns, as the core sees it at now_ns."""
    words = {"takes_external": True, "loss_mA": (10_000,) * 3, **changes}
    tables: Tables = site([circuit("main", 63_000, **words)], [charger("a")])
    core = attached(tables)
    if is_told:
        core.external_limit(0, limit_mA, power_W, until_ns, NOW_ns)
    assert core.step(now_ns) == 0
    return external_of(tables.circuits[0], core.circuit(0), VOLTAGE_mV, now_ns)


def words(*args: Any, **changes: Any) -> str:
    external = found(*args, **changes)
    assert external is not None
    return external_words(external)


def test_circuit_that_takes_none_has_none() -> None:
    assert found(is_told=False, takes_external=False, loss_mA=None) is None


def test_json_of_a_limit() -> None:
    assert found((20_000, 20_000, 16_000), 4_200, NOW_ns + HOUR_ns, now_ns=NOW_ns + NS_PER_S) == {
        "state": "limit",
        "limit_A": [20.0, 20.0, 16.0],
        "limit_kW": 4.2,
        "is_of_chargers": False,
        "is_guaranteed_minimum": False,
        "for_s": 3599.0,
        "heard_s": 1.0,
    }


def test_json_where_nothing_counts() -> None:
    assert found() == {
        "state": "free",
        "limit_A": None,
        "limit_kW": None,
        "is_of_chargers": False,
        "is_guaranteed_minimum": False,
        "for_s": None,
        "heard_s": 0.0,
    }


def test_limit_says_what_counts_and_for_how_long() -> None:
    assert words((0, 0, 0)) == "0 A until the next command"
    until_ns = NOW_ns + 2 * HOUR_ns
    assert words((16_000, 9_000, 63_000), until_ns=until_ns) == "16 / 9 / 63 A for 2 h 0 min more"
    assert words((0, 0, 0), 0, NOW_ns + 30 * NS_PER_S) == "0 A and 0 kW for 30 s more"
    assert words() == ""
    assert words((63_000,) * 3) == ""  # its own limit is no higher


@pytest.mark.parametrize("power_W", [1, 1_380, 4_200, 7_560, 10_500, 23_000, 63_001])
def test_power_is_shown_as_it_was_commanded(power_W: int) -> None:
    external = found(power_W=power_W)
    assert external is not None
    assert external["limit_kW"] == power_W / 1000


def test_guaranteed_minimum_is_named() -> None:
    changes = {"guaranteed_W": 7_560}
    assert words(None, 0, **changes) == (
        "7.56 kW of chargers, the guaranteed minimum until the next command"
    )
    assert words(None, 9_000, **changes) == "9 kW of chargers until the next command"


def test_lost_and_expired_say_so() -> None:
    assert words(is_told=False) == "10 A: its source was never heard"
    late_ns = NOW_ns + 61 * NS_PER_S
    lost = words(now_ns=late_ns, loss_after_ns=60 * NS_PER_S)
    assert lost == "10 A: its source was for 61 s not heard"
    assert words((0, 0, 0), until_ns=NOW_ns + 1, now_ns=late_ns) == (
        "10 A: the last command has run out"
    )
    assert words(is_told=False, loss_mA=(63_000,) * 3) == (
        "its own limits count: its source was never heard"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119.4, "119 s"), (120, "2 min"), (7_140, "119 min"), (7_200, "2 h 0 min"),
     (90_000, "25 h 0 min"), (5_430, "90 min")],
)  # fmt: skip
def test_span_is_said_as_roughly_as_wanted(seconds: float, text: str) -> None:
    assert span_words(seconds) == text


def test_screen_shows_a_limit_that_counts_and_no_other() -> None:
    circuits = {
        "main": screens.circuit(external=found((0, 0, 0))),
        "garage": screens.circuit(external=found()),
        "shed": screens.circuit(),
    }
    status = screens.status(circuits=circuits)
    line = " LIMIT main: 0 A until the next command"
    assert screens.plain(limit_lines(status)) == [line]
    assert line in screens.plain(details(status, 100))


def test_building_above_a_limit_from_outside_is_no_cable_in_danger() -> None:
    circuits = {"main": screens.circuit(0.0, 20.0, own_limit_A=[63.0] * 3)}
    assert summary(screens.status(circuits=circuits))[0] == (
        "safe: main L3 carries at most 44 A of 63 A"
    )
