"""The process image: layout, what a reader sees, and what it refuses to see."""

import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadctl import image
from loadctl.errors import LoadctlError

ROOT = Path(__file__).resolve().parents[2]
N_BUSES, N_CIRCUITS, N_METERS, N_CHARGERS = 2, 2, 1, 3
HEADER_LAYOUT_HASH_AT = 8


def plant_bytes(n_circuits: int, n_meters: int, n_chargers: int) -> int:
    sizes = image.SIZES
    return (
        sizes["site"]
        + n_circuits * sizes["circuit"]
        + n_meters * sizes["meter"]
        + n_chargers * sizes["charger"]
    )


def writer_at(path: Path) -> image.Writer:
    return image.Writer(
        path,
        N_BUSES,
        N_CIRCUITS,
        N_METERS,
        N_CHARGERS,
        plant_bytes(N_CIRCUITS, N_METERS, N_CHARGERS),
        0x0123456789ABCDEF,
        500_000_000,
    )


def leaves(value: Any) -> list[int]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [value]


# layout


@pytest.mark.parametrize("name", sorted(image.SIZES))
def test_image_struct_has_no_implicit_padding(name: str) -> None:
    """The pattern has no zero byte, so the length of a value is the width of its field."""
    widths = [8 if value.bit_length() > 32 else 4 for value in leaves(image.layout()[name])]
    assert sum(widths) == image.SIZES[name]
    assert image.SIZES[name] % 8 == 0


def test_image_layout_hash_covers_names_order_places_and_widths() -> None:
    """Each field of each struct shows in the text that is hashed, with a value of its own place."""
    scan = image.layout()["scan"]
    assert list(scan)[:3] == ["published_at_ns", "started_at_ns", "period_ns"]
    pattern = bytes(1 + i % 127 for i in range(64))
    assert scan["started_at_ns"] == struct.unpack_from("<q", pattern, 8)[0]
    assert "ceiling_mA" in image.layout()["charger"]


# what a reader sees


def test_image_snapshot_holds_what_was_published(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "image")
    writer.scan(1_000, 7, 2, 3, 1)
    writer.span(image.SPANS.index("read"), 4_000)
    writer.span(image.SPANS.index("read"), 3_000)
    writer.setting(0, 2, 1)
    writer.gate_drop()
    writer.slow_reply()
    writer.bus(1, 40, True, 2)
    writer.bus(1, 30, True, 1)
    writer.exchange(0, 1, 0, 9_000, 77)
    writer.exchange(0, 1, 0, 8_000, 88)
    writer.exchange(3, 4, 6, 8_000, 99)
    writer.device(3, True, 5, True)
    writer.rebooted(3)
    writer.why(3, 4, 5)
    writer.publish(1_234)
    seen = image.Reader(tmp_path / "image").snapshot()
    scan = seen["scan"]
    assert (scan["scans"], scan["missed"], scan["skipped"]) == (7, 2, 3)
    assert (scan["mode"], scan["pid"], scan["period_ns"]) == (1, os.getpid(), 500_000_000)
    assert (scan["started_at_ns"], scan["published_at_ns"]) == (1_000, 1_234)
    assert (scan["gate_drops"], scan["slow_replies"]) == (1, 1)
    assert scan["spans"]["read"]["worst_ns"] == 4_000
    assert scan["spans"]["read"]["last_ns"] == 3_000
    assert scan["spans"]["read"]["total_ns"] == 7_000
    assert sum(scan["spans"]["read"]["bins"]) == 2
    assert (scan["setting_state"][0], scan["setting_errno"][0]) == (2, 1)
    assert seen["buses"][1] == {"busy_ns": 30, "worst_busy_ns": 40, "is_open": 1, "n_silent": 1}
    assert seen["devices"][0]["n_good"] == 2
    assert seen["devices"][0]["worst_ns"] == 9_000
    assert seen["devices"][0]["good_at_ns"] == 88
    assert (seen["devices"][3]["n_refused"], seen["devices"][3]["exception_code"]) == (1, 6)
    assert (seen["devices"][3]["is_silent"], seen["devices"][3]["arming"]) == (1, 5)
    assert (seen["devices"][3]["is_starved"], seen["devices"][3]["n_reboots"]) == (1, 1)
    assert [scan[f"mode_{name}"] for name in ("reason", "first", "second")] == [3, 4, 5]
    assert seen["site_hash"] == "0123456789abcdef"
    assert (len(seen["circuits"]), len(seen["meters"]), len(seen["chargers"])) == (2, 1, 3)


def test_image_plant_is_the_private_copy_and_shows_after_publish(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "image")
    writer.publish(1)
    reader = image.Reader(tmp_path / "image")
    struct.pack_into("<q", writer.plant, 0, 555)  # site_t.now_ns
    assert reader.snapshot()["site"]["now_ns"] == 0
    writer.publish(2)
    assert reader.snapshot()["site"]["now_ns"] == 555
    writer.publish(3)
    assert reader.snapshot()["site"]["now_ns"] == 555  # the other slot has it too


def test_image_every_charger_is_read_from_its_own_place(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "image")
    sizes = image.SIZES
    first = sizes["site"] + N_CIRCUITS * sizes["circuit"] + N_METERS * sizes["meter"]
    for charger_i in range(N_CHARGERS):
        struct.pack_into("<q", writer.plant, first + charger_i * sizes["charger"], 10 + charger_i)
    writer.publish(1)
    seen = image.Reader(tmp_path / "image").snapshot()
    assert [charger["status_at_ns"] for charger in seen["chargers"]] == [10, 11, 12]


@pytest.mark.parametrize(
    ("code", "counter"),
    [
        (1, "n_good"),
        (2, "n_no_answer"),
        (3, "n_bad_frame"),
        (4, "n_refused"),
        (5, "n_not_sent"),
        (6, "n_implausible"),
    ],
)
def test_image_exchange_counts_each_code_in_its_own_counter(
    tmp_path: Path, code: int, counter: str
) -> None:
    writer = writer_at(tmp_path / "image")
    writer.exchange(2, code, 0, 1, 1)
    writer.publish(1)
    device = image.Reader(tmp_path / "image").snapshot()["devices"][2]
    assert device["code"] == code
    assert {name: device[name] for name in device if name.startswith("n_") and device[name]} == {
        counter: 1
    }


def test_image_events_come_oldest_first_and_the_ring_keeps_the_newest(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "image")
    for event_i in range(image.MAX_EVENTS + 5):
        writer.event(3, 1, event_i, -event_i, 100 + event_i, 7, -event_i)
    writer.publish(1)
    seen = image.Reader(tmp_path / "image").snapshot()
    assert seen["n_events"] == image.MAX_EVENTS + 5
    assert len(seen["events"]) == image.MAX_EVENTS
    assert seen["events"][0]["first"] == 5
    assert seen["events"][-1] == {
        "at_ns": 100 + image.MAX_EVENTS + 4,
        "scan": 0,
        "kind": 3,
        "who": 1,
        "first": image.MAX_EVENTS + 4,
        "second": -(image.MAX_EVENTS + 4),
        "third": 7,
        "fourth": -(image.MAX_EVENTS + 4),
    }


@pytest.mark.parametrize("what", ["bus", "device", "rebooted", "exchange", "span", "setting"])
@pytest.mark.parametrize("index", [-1, 99])
def test_image_index_out_of_range_is_refused(tmp_path: Path, what: str, index: int) -> None:
    writer = writer_at(tmp_path / "image")
    calls: dict[str, Any] = {
        "bus": lambda: writer.bus(index, 0, True, 0),
        "device": lambda: writer.device(index, True, 0, False),
        "rebooted": lambda: writer.rebooted(index),
        "exchange": lambda: writer.exchange(index, 1, 0, 0, 0),
        "span": lambda: writer.span(index, 0),
        "setting": lambda: writer.setting(index, 0, 0),
    }
    with pytest.raises(IndexError):
        calls[what]()


# histograms


def test_image_histogram_bins_cover_every_span_once_and_in_order(tmp_path: Path) -> None:
    ends_ns = [image.bin_end_ns(bin_i) for bin_i in range(192)]
    assert ends_ns == sorted(set(ends_ns))
    assert ends_ns[0] == 1024
    for bin_i in (0, 1, 7, 8, 15, 16, 100, 150, 190):
        writer = writer_at(tmp_path / "image")
        writer.span(0, ends_ns[bin_i] - 1)
        writer.span(0, ends_ns[bin_i])
        writer.publish(1)
        bins = image.Reader(tmp_path / "image").snapshot()["scan"]["spans"]["wake"]["bins"]
        assert [i for i, count in enumerate(bins) if count] == [bin_i, bin_i + 1]


def test_image_histogram_keeps_spans_beyond_one_second_and_beyond_its_end(tmp_path: Path) -> None:
    writer = writer_at(tmp_path / "image")
    for span_ns in (-1, 1_200_000_000, 10**15):
        writer.span(7, span_ns)
    writer.publish(1)
    whole = image.Reader(tmp_path / "image").snapshot()["scan"]["spans"]["whole"]
    assert whole["worst_ns"] == 10**15
    used = [i for i, count in enumerate(whole["bins"]) if count]
    assert used[0] == 0
    assert used[2] == 191
    assert image.bin_end_ns(used[1] - 1) <= 1_200_000_000 < image.bin_end_ns(used[1])


def test_image_percentile_is_the_end_of_the_bin_and_never_above_the_worst() -> None:
    bins = [0] * 192
    bins[2], bins[10] = 990, 10
    span = {"bins": bins, "worst_ns": 10_500}
    assert image.percentile_ns(span, 500) == 3 * 1024
    assert image.percentile_ns(span, 990) == 3 * 1024
    assert image.percentile_ns(span, 991) == 10_500
    assert image.percentile_ns({"bins": [0] * 192, "worst_ns": 0}, 500) == 0


# what a reader refuses


def test_image_before_the_first_publish_says_so(tmp_path: Path) -> None:
    writer_at(tmp_path / "image")
    with pytest.raises(LoadctlError, match="nothing published yet"):
        image.Reader(tmp_path / "image").snapshot()


def test_image_of_another_layout_is_refused_with_both_hashes(tmp_path: Path) -> None:
    writer_at(tmp_path / "image").publish(1)
    raw = bytearray((tmp_path / "image").read_bytes())
    raw[HEADER_LAYOUT_HASH_AT] ^= 1
    (tmp_path / "other").write_bytes(raw)
    with pytest.raises(LoadctlError, match=r"written with layout [0-9a-f]{16}, this loadctl reads"):
        image.Reader(tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "no process image"), (b"x" * 4096, "no process image of loadctl")]
)
def test_image_file_that_is_none_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(LoadctlError, match=words):
        image.Reader(tmp_path / "image")


def test_image_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    writer_at(tmp_path / "image").publish(1)
    raw = (tmp_path / "image").read_bytes()
    (tmp_path / "image").write_bytes(raw[:-8])
    with pytest.raises(LoadctlError, match="its header says otherwise"):
        image.Reader(tmp_path / "image")


def test_image_plant_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadctlError, match="plant block: 8 bytes"):
        image.Writer(tmp_path / "image", 1, 1, 1, 1, 8, 0, 1)


# two processes

HAMMER = """
import struct, sys
from loadctl import image
sizes = image.SIZES
n = int(sys.argv[2])
plant_bytes = sizes["site"] + sizes["circuit"] + n * sizes["charger"]
writer = image.Writer(sys.argv[1], 1, 1, 0, n, plant_bytes, 0, 1)
n_words = len(writer.plant) // 4
scan_i = 0
print("ready", flush=True)
while True:
    scan_i = (scan_i + 1) % 1_000_000
    writer.plant[:] = struct.pack("<i", scan_i) * n_words
    writer.scan(scan_i, scan_i, scan_i, scan_i, scan_i)
    writer.publish(scan_i)
"""


@pytest.fixture
def hammered(tmp_path: Path) -> Any:
    """A process that publishes as fast as it can, every word of the plant the scan's own number."""
    command = [sys.executable, "-P", "-c", HAMMER, str(tmp_path / "image"), "100"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process, tmp_path / "image"
    process.kill()
    process.wait()
    process.stdout.close()


def whole_snapshot(reader: image.Reader) -> dict[str, Any]:
    while True:
        try:
            return reader.snapshot()
        except LoadctlError as error:  # nothing like the pace of a scan: it may run out of tries
            words = str(error)
        assert re.search("nothing published yet|no whole scan", words)


def test_image_hammered_by_its_writer_never_shows_a_mixed_scan(hammered: Any) -> None:
    _, path = hammered
    reader = image.Reader(path)
    numbers = []
    for _ in range(300):
        seen = whole_snapshot(reader)
        plant = (seen["site"], seen["circuits"], seen["chargers"])
        words = {word for part in plant for word in words32(leaves(part))}
        assert words == {seen["scan"]["scans"]}
        assert seen["scan"]["published_at_ns"] == seen["scan"]["mode"] == seen["scan"]["scans"]
        numbers.append(seen["scan"]["scans"])
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 100  # it really was writing meanwhile


def words32(values: list[int]) -> set[int]:
    """Both halves of wide values; every number here fits the lower one."""
    return {half for v in values for half in ((v >> 32, v & 0xFFFFFFFF) if v >> 32 else (v,))}


def test_image_of_a_killed_writer_keeps_its_last_whole_scan(hammered: Any) -> None:
    process, path = hammered
    reader = image.Reader(path)
    whole_snapshot(reader)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    seen = reader.snapshot()
    assert image.Reader(path).snapshot() == seen
    assert {word for charger in seen["chargers"] for word in words32(leaves(charger))} == {
        seen["scan"]["scans"]
    }


def test_image_of_a_new_writer_leaves_the_old_one_to_its_readers(tmp_path: Path) -> None:
    old = writer_at(tmp_path / "image")
    old.publish(1)
    reader = image.Reader(tmp_path / "image")
    writer_at(tmp_path / "image").publish(2)
    assert reader.snapshot()["scan"]["published_at_ns"] == 1
    assert image.Reader(tmp_path / "image").snapshot()["scan"]["published_at_ns"] == 2
