"""Limits from outside on the scan's side: what counts when, and that both judges agree on it."""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from loadctl.events import Event, event_text
from loadctl.external import Counts, External, counts
from loadctl.gate import Gate
from loadctl.guardside import ExternalCommand
from loadctl.image import Writer
from loadctl.tables import Tables
from tests.support.core_sites import NS_PER_S, VOLTAGE_mV, attached, charger, circuit, site
from tests.support.scan_rig import FakeGuarded

MINUTE_ns = 60 * NS_PER_S
T0_ns = 1000 * NS_PER_S
LOSS_mA = (16000, 10000, 16000)
ZERO = ExternalCommand((0, 0, 0), None, None, T0_ns)


def garage(**changes: Any) -> Tables:
    words = {"takes_external": True, "loss_mA": LOSS_mA, **changes}
    main = circuit("main", 63000, limit_W=40000, **words)
    return site([main, circuit("sub", 32000, 0)], [charger("a"), charger("b", 1)])


class Ring:
    """Stands for the image: remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[int, ...]] = []

    def event(self, *words: int) -> None:
        self.events.append(words)


class Rig:
    """The taker of commands between a real core and a real gate."""

    def __init__(self, tables: Tables, guarded: FakeGuarded | None = None) -> None:
        self.core = attached(tables)
        self.gate = Gate(tables)
        self.ring = Ring()
        self.guarded = guarded or FakeGuarded()
        self.external = External(
            tables, self.core, self.gate, cast(Writer, self.ring), self.guarded
        )


def test_before_anything_is_heard_the_value_at_loss_counts_without_an_event() -> None:
    rig = Rig(garage(loss_W=9000))
    rig.external.begin(T0_ns)
    assert rig.gate.outside == [(LOSS_mA, 9000), (None, None)]
    assert rig.ring.events == []


def test_command_reaches_core_gate_link_and_ring() -> None:
    rig = Rig(garage())
    command = ExternalCommand((20000, 12000, 30000), 15000, T0_ns + MINUTE_ns, T0_ns)
    rig.external.command(0, command)
    rig.external.begin(T0_ns)
    assert rig.core.step(T0_ns) == 0
    assert rig.core.circuit(0)["limit_mA"] == [20000, 12000, 30000]
    assert rig.gate.outside[0] == ((20000, 12000, 30000), 15000)
    assert rig.guarded.commands == {0: command}
    assert rig.ring.events == [(Event.EXTERNAL_LIMIT, 0, 12000, 15000, T0_ns)]


def test_same_command_again_is_no_event() -> None:
    rig = Rig(garage())
    for k in range(5):
        rig.external.command(0, ZERO._replace(heard_at_ns=T0_ns + k * NS_PER_S))
        rig.external.begin(T0_ns + k * NS_PER_S)
    assert rig.ring.events == [(Event.EXTERNAL_LIMIT, 0, 0, -1, T0_ns)]


def test_each_change_is_an_event_when_it_comes_to_count() -> None:
    rig = Rig(garage(loss_after_ns=MINUTE_ns))
    rig.external.command(0, ZERO._replace(until_ns=T0_ns + 2 * NS_PER_S))
    for at_ns in (T0_ns, T0_ns + NS_PER_S, T0_ns + 2 * NS_PER_S, T0_ns + 3 * NS_PER_S):
        rig.external.begin(at_ns)
    freed = ExternalCommand(None, None, None, T0_ns + 4 * NS_PER_S)
    rig.external.command(0, freed)
    rig.external.begin(T0_ns + 4 * NS_PER_S)
    rig.external.begin(T0_ns + 4 * NS_PER_S + MINUTE_ns)
    assert rig.ring.events == [
        (Event.EXTERNAL_LIMIT, 0, 0, -1, T0_ns),
        (Event.EXTERNAL_EXPIRED, 0, 10000, -1, T0_ns + 2 * NS_PER_S),
        (Event.EXTERNAL_FREE, 0, -1, -1, T0_ns + 4 * NS_PER_S),
        (Event.EXTERNAL_LOST, 0, 10000, -1, T0_ns + 4 * NS_PER_S + MINUTE_ns),
    ]


def test_scan_that_is_started_anew_goes_on_with_what_was_commanded() -> None:
    guarded = FakeGuarded()
    Rig(garage(), guarded).external.command(0, ZERO._replace(until_ns=T0_ns + MINUTE_ns))
    again = Rig(garage(), guarded)
    again.external.take_over()
    again.external.begin(T0_ns + 1)
    assert again.core.step(T0_ns + 1) == 0
    assert again.core.circuit(0)["limit_mA"] == [0, 0, 0]
    assert again.gate.outside[0] == ((0, 0, 0), None)
    again.external.begin(T0_ns + MINUTE_ns)
    assert again.core.step(T0_ns + MINUTE_ns) == 0
    assert again.core.circuit(0)["limit_mA"] == list(LOSS_mA)
    assert again.gate.outside[0] == (LOSS_mA, None)


def test_circuit_that_takes_nothing_any_more_does_not_go_on_with_it() -> None:
    guarded = FakeGuarded()
    guarded.commands[1] = ZERO
    rig = Rig(garage(), guarded)
    rig.external.take_over()
    rig.external.begin(T0_ns)
    assert rig.gate.outside[1] == (None, None)


def test_guaranteed_minimum_lifts_a_command_and_not_the_value_at_loss() -> None:
    row = garage(loss_mA=None, loss_W=1000, guaranteed_W=7560).circuits[0]
    zero_W = ExternalCommand(None, 0, None, T0_ns)
    assert counts(row, zero_W, T0_ns) == Counts(Event.EXTERNAL_LIMIT, None, 7560)
    assert counts(row, None, T0_ns) == Counts(Event.EXTERNAL_LOST, None, 1000)


@pytest.mark.parametrize("seed", range(300))
def test_gate_and_core_agree_on_what_counts(seed: int) -> None:
    """Each by its own rule: in force is the lower of the circuit's own and what counts."""
    rng = random.Random(seed)
    tables = garage(
        loss_mA=rng.choice((LOSS_mA, (0, 0, 0), None)),
        loss_W=rng.choice((0, 4200, 39000)),
        loss_after_ns=rng.choice((None, MINUTE_ns)),
        guaranteed_W=rng.choice((None, None, 0, 7560)),
    )
    rig = Rig(tables)
    now_ns = T0_ns
    for _ in range(30):
        if rng.random() < 0.4:
            until_ns = rng.choice((None, now_ns + rng.choice((1, MINUTE_ns // 2, 3 * MINUTE_ns))))
            limit_mA = rng.choice((None, (0, 0, 0), (20000, 70000, 5000)))
            power_W = rng.choice((None, 0, 5000, 30000, 50000))
            rig.external.command(0, ExternalCommand(limit_mA, power_W, until_ns, now_ns))
        now_ns += rng.choice((1, NS_PER_S, MINUTE_ns // 2, MINUTE_ns))
        rig.external.begin(now_ns)
        assert rig.core.step(now_ns) == 0
        found = rig.core.circuit(0)
        limit_mA, power_W = rig.gate.outside[0]
        assert found["limit_mA"] == [min(63000, mA) for mA in limit_mA or (63000,) * 3]
        power_mA = None if power_W is None else power_W * 1_000_000 // VOLTAGE_mV
        own_mA = 40000 * 1_000_000 // VOLTAGE_mV
        if tables.circuits[0].guaranteed_W is None:
            assert found["power_limit_mA"] == min(own_mA, own_mA if power_mA is None else power_mA)
        else:
            assert found["power_limit_mA"] == own_mA
            assert bool(found["has_charger_power_limit"]) == (power_mA is not None)
            assert found["charger_power_limit_mA"] == (power_mA or 0)


@pytest.mark.parametrize(
    ("kind", "first", "second", "text"),
    [
        (Event.EXTERNAL_LIMIT, 10500, -1, "main is limited from outside to 10.5 A"),
        (Event.EXTERNAL_LIMIT, 0, 0, "main is limited from outside to 0 A and 0 kW"),
        (Event.EXTERNAL_FREE, -1, -1, "main is not limited from outside"),
        (Event.EXTERNAL_LOST, -1, 4200, "main hears nothing from outside any more: 4.2 kW counts"),
        (
            Event.EXTERNAL_EXPIRED,
            6000,
            -1,
            "main: the limit from outside has run out: 6 A counts",
        ),
    ],
)
def test_event_says_what_counts(kind: Event, first: int, second: int, text: str) -> None:
    assert event_text(kind, "main", first, second, ()) == text
