"""Bringing a site down that nobody runs: no bus waits for the port of another."""

import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hw.opening import OpenPort
from loadctl.errors import BusError
from loadctl.guard import rescue
from loadctl.link import Link
from loadctl.tables import Tables
from tests.support.builders import make_bus, make_charger, make_tables, maps_of

WITHIN_s = 5


class FakeHolder:
    """Of a bus whose chargers acknowledge at once."""

    taken: ClassVar[list[int]] = []
    serial_is_told = threading.Event()
    is_verified = is_alive = True

    def __init__(self, bus_i: int, row: Any, boxes: list[Any], port: OpenPort, *_: object) -> None:
        self.bus_i, self.boxes, self.row = bus_i, boxes, row

    def take(self) -> None:
        self.taken.append(self.bus_i)
        for box in self.boxes:
            box.is_acknowledged = True
        if "://" not in self.row.port:
            self.serial_is_told.set()

    def end(self) -> None:
        pass


@pytest.fixture
def holder(monkeypatch: pytest.MonkeyPatch) -> type[FakeHolder]:
    FakeHolder.taken, FakeHolder.serial_is_told = [], threading.Event()
    monkeypatch.setattr(rescue, "BusHolder", FakeHolder)
    return FakeHolder


def site_of(*ports: str) -> Tables:
    buses = [make_bus(f"bus{i}", port=port) for i, port in enumerate(ports)]
    chargers = [make_charger(f"bay{i}", bus=i, address=i + 1) for i in range(len(ports))]
    return make_tables(buses=buses, meters=[], chargers=chargers)


def bring_down(tables: Tables, folder: Path) -> list[rescue.Outcome]:
    link = Link.create(folder / "link", len(tables.chargers), len(tables.circuits))
    return rescue.bring_down(tables, maps_of(tables), folder, link)


def test_rescue_tells_serial_buses_before_a_port_on_a_network_has_opened(
    holder: type[FakeHolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dead one stands first in the file."""

    def open_port(url: str, *_: object) -> OpenPort:
        if "://" in url and holder.serial_is_told.wait(WITHIN_s):
            raise BusError(f"port {url}: no connection")
        return OpenPort(0, 0, ())

    monkeypatch.setattr(rescue, "open_port", open_port)
    outcomes = bring_down(site_of("socket://dead:1", "/dev/one", "/dev/two"), tmp_path)
    assert holder.taken == [1, 2]
    assert [(row.is_acknowledged, row.why) for row in outcomes] == [
        (False, "port socket://dead:1: no connection"),
        (True, ""),
        (True, ""),
    ]


def test_rescue_opens_ports_on_a_network_side_by_side(
    holder: type[FakeHolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_here = threading.Barrier(3, timeout=WITHIN_s)

    def open_port(url: str, *_: object) -> OpenPort:
        all_here.wait()
        return OpenPort(0, 0, ())

    monkeypatch.setattr(rescue, "open_port", open_port)
    outcomes = bring_down(site_of("socket://a:1", "socket://b:1", "socket://c:1"), tmp_path)
    assert sorted(holder.taken) == [0, 1, 2]
    assert all(row.is_acknowledged for row in outcomes)


def test_rescue_ends_what_it_began_when_a_port_fails_in_an_odd_way(
    holder: type[FakeHolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []

    def open_port(url: str, *_: object) -> OpenPort:
        if url == "/dev/odd":
            raise RuntimeError("odd")
        return OpenPort(0, 0, ())

    monkeypatch.setattr(rescue, "open_port", open_port)
    monkeypatch.setattr(holder, "end", lambda self: ended.append(self.bus_i))
    with pytest.raises(RuntimeError, match="odd"):
        bring_down(site_of("/dev/one", "/dev/odd"), tmp_path)
    assert (holder.taken, ended) == ([0], [0])
