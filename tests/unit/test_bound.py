"""The bound of a takeover: its parts to the nanosecond, by hand from bytes and maps."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from hw.devices import parse_map
from loadctl.bound import is_shared, takeover_bounds
from tests.support.builders import make_bus, make_charger, make_tables, maps_of
from tests.support.site_files import GARAGE, changed, in_table, site_of

SILENT_ns = -(-7 * 11 * 1_000_000_000 // (2 * 19_200))


def bytes_ns(n_bytes: int) -> int:
    return -(-n_bytes * 11 * 1_000_000_000 // 19_200)


def test_bound_of_the_garage_counts_every_part(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    (bound,) = takeover_bounds(site.tables, site.maps)
    assert bound.detect_ns == 1_500_000_000
    assert bound.reap_ns == 50_000_000
    # The longest reply: 10 ms turnaround, 49 bytes of the meter's longer read; no gap but 3.5
    # characters.
    assert bound.silence_ns == 10_000_000 + bytes_ns(49) + SILENT_ns
    # Two writes by function 6, 8 bytes each way, each given up after 80 ms.
    assert bound.writes_ns == 2 * (SILENT_ns + 2 * bytes_ns(8) + 80_000_000)
    assert bound.total_ns == 1_550_000_000 + bound.silence_ns + bound.writes_ns


def test_bound_follows_missed_limit_and_period(tmp_path: Path) -> None:
    text = changed(('name = "Test garage"', 'name = "x"\nperiod_ms = 400\nmissed_limit = 5'))
    site = site_of(tmp_path, text)
    assert takeover_bounds(site.tables, site.maps)[0].detect_ns == 2_000_000_000


def test_bound_overrides_of_the_bus_count(tmp_path: Path) -> None:
    text = changed(('frame = "8E1"', 'frame = "8E1"\nturnaround_ms = 30\ntimeout_ms = 90'))
    site = site_of(tmp_path, text)
    (bound,) = takeover_bounds(site.tables, site.maps)
    assert bound.silence_ns == 30_000_000 + bytes_ns(49) + SILENT_ns
    assert bound.writes_ns == 2 * (SILENT_ns + 2 * bytes_ns(8) + 90_000_000)


def test_bound_isolated_charger_gets_no_write(tmp_path: Path) -> None:
    site = site_of(tmp_path, GARAGE.replace("failsafe_A = 10", "failsafe_A = 10\nisolated = true"))
    (bound,) = takeover_bounds(site.tables, site.maps)
    assert bound.writes_ns == SILENT_ns + 2 * bytes_ns(8) + 80_000_000


def test_bound_gap_of_a_device_stands_in_the_silence_and_not_between_others(tmp_path: Path) -> None:
    text = in_table("meter.grid", ("reference-meter", "eastron-sdm630"))
    site = site_of(tmp_path, text)
    (bound,) = takeover_bounds(site.tables, site.maps)
    # 20 registers of the longer read: 45 bytes after 20 ms, then the 100 ms that the meter wants.
    assert bound.silence_ns == 20_000_000 + bytes_ns(45) + 100_000_000
    assert bound.writes_ns == 2 * (SILENT_ns + 2 * bytes_ns(8) + 80_000_000)


@pytest.mark.parametrize(
    ("port", "shared"),
    [
        ("/dev/ttyUSB0", True),
        ("socket://10.0.0.7:4001", True),
        ("SOCKET://10.0.0.7:4001", True),
        ("rfc2217://10.0.0.7:4001", False),
        ("loop://", False),
        ("spy:///dev/ttyUSB0", False),
    ],
)
def test_port_is_shared_where_a_descriptor_can_be_handed_over(port: str, shared: bool) -> None:
    assert is_shared(port) is shared


def fast_ns(n_bytes: int) -> int:
    return -(-n_bytes * 11 * 1_000_000_000 // 57_600)


def test_bound_counts_a_write_by_function_16_and_its_kick() -> None:
    tables = make_tables(
        buses=[make_bus(baud=57_600, frame="8N2")],
        meters=[],
        chargers=[make_charger("bay1", "mennekes-amtron-compact2", address=50)],
    )
    (bound,) = takeover_bounds(tables, maps_of(tables))
    # 13 bytes out and 8 back, then 8 and 8; each after 1.75 ms and given up after 120 ms.
    assert bound.writes_ns == 2 * 121_750_000 + fast_ns(13) + 3 * fast_ns(8)
    # Twenty registers, 45 bytes, 50 ms after the request.
    assert bound.silence_ns == 50_000_000 + fast_ns(45) + 1_750_000


def test_bound_outlets_at_one_address_stand_apart_by_their_gap() -> None:
    rows = [make_charger(f"bay{i}", "heidelberg-ec", address=i) for i in (11, 12)]
    apart = make_tables(meters=[], chargers=rows)
    raw = copy.deepcopy(apart.maps["heidelberg-ec"])
    raw["connectors"] = {"count": 2, "stride": 200, "confidence": "H"}
    maps = {"heidelberg-ec": parse_map(raw, "twin")}
    one_box = replace(rows[1], address=11, connector=2)
    together = make_tables(meters=[], chargers=[rows[0], one_box])
    one_write_ns = SILENT_ns + 2 * bytes_ns(8) + 80_000_000
    assert takeover_bounds(apart, maps)[0].writes_ns == 2 * one_write_ns
    assert (
        takeover_bounds(together, maps)[0].writes_ns == 2 * one_write_ns + 100_000_000 - SILENT_ns
    )


def test_bound_gap_that_the_bus_wants_stands_before_each_write() -> None:
    tables = make_tables(n_chargers=2)
    maps = maps_of(tables)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    raw["timing"] |= {"gap_ms": 50, "gap_scope": "bus"}
    maps["reference-meter"] = parse_map(raw, "slow")
    (bound,) = takeover_bounds(tables, maps)
    assert bound.writes_ns == 2 * (50_000_000 + 2 * bytes_ns(8) + 80_000_000)


def test_bound_bus_without_chargers_writes_nothing() -> None:
    tables = make_tables(buses=[make_bus("one"), make_bus("two")], n_chargers=2)
    one, two = takeover_bounds(tables, maps_of(tables))
    assert (one.writes_ns > 0, two.writes_ns, two.silence_ns) == (True, 0, SILENT_ns)


def test_bound_silence_is_as_long_as_the_reply_to_joined_blocks() -> None:
    tables = make_tables(n_chargers=1)
    raw = copy.deepcopy(tables.maps["reference-meter"])
    raw["blocks"] = {
        "first": {"read": 4, "address": 0, "count": 12, "confidence": "H"},
        "second": {"read": 4, "address": 12, "count": 10, "confidence": "H"},
    }
    maps = maps_of(tables) | {"reference-meter": parse_map(raw, "two blocks")}
    (bound,) = takeover_bounds(tables, maps)
    assert bound.silence_ns == 10_000_000 + bytes_ns(5 + 2 * 22) + SILENT_ns
