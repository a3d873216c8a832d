"""The bound of a takeover: its parts to the nanosecond, by hand from bytes and maps."""

from pathlib import Path

import pytest

from loadctl.bound import is_shared, takeover_bounds
from tests.support.site_files import GARAGE, changed, in_table, site_of

SILENT_ns = -(-7 * 11 * 1_000_000_000 // (2 * 19_200))


def bytes_ns(n_bytes: int) -> int:
    return -(-n_bytes * 11 * 1_000_000_000 // 19_200)


def test_bound_of_the_garage_counts_every_part(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    (bound,) = takeover_bounds(site.tables, site.maps)
    assert bound.detect_ns == 1_500_000_000
    assert bound.reap_ns == 50_000_000
    # The longest reply: 10 ms turnaround, 45 bytes of the meter; no gap but 3.5 characters.
    assert bound.silence_ns == 10_000_000 + bytes_ns(45) + SILENT_ns
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
    assert bound.silence_ns == 30_000_000 + bytes_ns(45) + SILENT_ns
    assert bound.writes_ns == 2 * (SILENT_ns + 2 * bytes_ns(8) + 90_000_000)


def test_bound_isolated_charger_gets_no_write(tmp_path: Path) -> None:
    site = site_of(tmp_path, GARAGE.replace("failsafe_A = 10", "failsafe_A = 10\nisolated = true"))
    (bound,) = takeover_bounds(site.tables, site.maps)
    assert bound.writes_ns == SILENT_ns + 2 * bytes_ns(8) + 80_000_000


def test_bound_gap_of_a_device_stands_in_the_silence_and_not_between_others(tmp_path: Path) -> None:
    text = in_table("meter.grid", ("reference-meter", "eastron-sdm630"))
    site = site_of(tmp_path, text)
    (bound,) = takeover_bounds(site.tables, site.maps)
    # 18 registers: 41 bytes after 20 ms, then the 100 ms that the meter wants.
    assert bound.silence_ns == 20_000_000 + bytes_ns(41) + 100_000_000
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
