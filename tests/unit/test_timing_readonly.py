"""The read-only wire: what passes it, and that everything else does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Scenario
from hw.wire import (
    READ_HOLDING,
    READ_INPUT,
    WRITE_MANY,
    WRITE_ONE,
    Code,
    Exchange,
    Patience,
    Reply,
)
from loadctl.field import Field
from loadctl.timing.readonly import ReadOnlyWire, readable_addresses, unread_chargers
from tests.support.builders import make_charger, make_tables
from tests.support.scan_rig import S_ns, VirtualRig
from tests.support.sim_sites import metered_site

PATIENCE = Patience(10_000_000, 80_000_000, 0, False)
READ = Exchange(1, READ_INPUT, 0, 2)


class Heard:
    """A wire that writes down what reaches it."""

    is_open = True
    hears_itself = False

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.n_scans = 0

    def now_ns(self) -> int:
        return 7

    def new_scan(self) -> None:
        self.n_scans += 1

    def transact(self, exchange: Exchange, patience: Patience, deadline_ns: int) -> Reply:
        self.exchanges.append(exchange)
        return Reply(Code.GOOD, b"", 0, 1, 2)


@pytest.mark.parametrize("function", [READ_HOLDING, READ_INPUT])
def test_read_of_a_device_that_may_be_read_passes(function: int) -> None:
    heard = Heard()
    wire = ReadOnlyWire(heard, {1})
    exchange = replace(READ, function=function, alternate=READ)
    assert wire.transact(exchange, PATIENCE, 0).code is Code.GOOD
    assert (heard.exchanges, wire.n_denied) == ([exchange], 0)


@pytest.mark.parametrize(
    "exchange",
    [
        Exchange(1, WRITE_ONE, 0, 1, b"\0\0"),
        Exchange(1, WRITE_MANY, 0, 1, b"\0\0"),
        Exchange(1, 5, 0, 1),
        Exchange(1, 15, 0, 1),
        Exchange(1, 8, 0, 1),
        Exchange(1, 23, 0, 1),
        replace(READ, values=b"\0\0\0\0"),
        replace(READ, address=2),
        replace(READ, alternate=replace(READ, function=WRITE_ONE)),
        replace(READ, alternate=replace(READ, address=2)),
    ],
)
def test_anything_else_is_not_sent(exchange: Exchange) -> None:
    heard = Heard()
    wire = ReadOnlyWire(heard, {1})
    assert wire.transact(exchange, PATIENCE, 0) == Reply(Code.NOT_SENT, b"", 0, 7, 7)
    assert (heard.exchanges, wire.n_denied) == ([], 1)


def test_what_is_no_exchange_passes() -> None:
    heard = Heard()
    wire = ReadOnlyWire(heard, ())
    wire.new_scan()
    assert (heard.n_scans, wire.is_open, wire.now_ns()) == (1, True, 7)


FED = ("any", "reads", "writes", "kick")


def chargers_fed_by(*kinds: str | None) -> Any:
    return make_tables(
        chargers=[
            make_charger(
                f"bay{i}",
                address=10 + i,
                watchdog_ns=None if kind is None else 30 * S_ns,
                watchdog_fed_by=kind,
            )
            for i, kind in enumerate(kinds)
        ]
    )


def test_boxes_whose_watchdog_a_read_feeds_are_left_alone_unless_asked_for() -> None:
    tables = chargers_fed_by(*FED, None)
    assert readable_addresses(tables, 0, reads_chargers=False) == {1, 12, 13, 14}
    assert unread_chargers(tables, reads_chargers=False) == ["bay0", "bay1"]
    assert readable_addresses(tables, 0, reads_chargers=True) == {1, 10, 11, 12, 13, 14}
    assert unread_chargers(tables, reads_chargers=True) == []


def test_box_is_left_alone_when_one_of_its_outlets_is() -> None:
    tables = chargers_fed_by("writes", "any")
    shared = tuple(
        replace(row, address=10, connector=i + 1) for i, row in enumerate(tables.chargers)
    )
    tables = replace(tables, chargers=shared)
    assert readable_addresses(tables, 0, reads_chargers=False) == {1}


@pytest.mark.parametrize("reads_chargers", [False, True])
def test_whole_scans_on_a_read_only_wire_read_and_never_write(
    tmp_path: Path, reads_chargers: bool
) -> None:
    """Cars wait at boxes that would have to be armed; the scan goes on for a minute."""
    tables = metered_site(2)
    visits = tuple(Visit(row.name, 0) for row in tables.chargers)
    rig = VirtualRig(tables, Scenario(visits=visits), tmp_path)
    wires = [
        ReadOnlyWire(wire, readable_addresses(tables, bus_i, reads_chargers))
        for bus_i, wire in enumerate(rig.site.wires)
    ]
    field = Field(tables, rig.maps, rig.plan, wires, rig.site.runner, rig.core, rig.gate, rig.image)
    rig.scan.field = rig.field = field
    rig.run_for(60 * S_ns)
    functions = {frame.function for frame in rig.tap.frames}
    assert functions <= {READ_HOLDING, READ_INPUT}
    assert len(rig.tap.since(0, address=1)) >= 100
    assert sum(wire.n_denied for wire in wires) > 0
    assert rig.site.violations() == []
