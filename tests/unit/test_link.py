"""The block that guard and scan share: every word there and back, and what a torn one reads as."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadctl import link as link_module
from loadctl.errors import LoadctlError
from loadctl.link import MAX_LINK_EVENTS, Link


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "link"


def test_link_of_a_fresh_guard_knows_nothing(path: Path) -> None:
    link = Link.create(path, 3, 2)
    assert (link.token(), link.scan_beat(), link.guard_beat(), link.ready_generation()) == (0,) * 4
    assert [link.told_mA(i) for i in range(3)] == [None] * 3
    assert [link.failsafe_mA(i) for i in range(3)] == [None] * 3
    assert [link.is_starved(i) for i in range(3)] == [False] * 3
    assert [link.seen_background_mA(i) for i in range(2)] == [None] * 2
    assert [link.external(i) for i in range(2)] == [None] * 2
    assert link.snapshot()["events"] == []


def test_link_carries_the_words_of_the_scan_to_the_guard(path: Path) -> None:
    guard = Link.create(path, 3, 2)
    scan = Link.open(path)
    scan.tell(0, 0)
    scan.tell(2, 16_000)
    scan.set_failsafe(1, 6_000)
    scan.set_starved(1, True)
    scan.set_seen_background(1, (1, 2, 3))
    scan.beat()
    scan.ready(7)
    assert [guard.told_mA(i) for i in range(3)] == [0, None, 16_000]
    assert [guard.failsafe_mA(i) for i in range(3)] == [None, 6_000, None]
    assert [guard.is_starved(i) for i in range(3)] == [False, True, False]
    assert [guard.seen_background_mA(i) for i in range(2)] == [None, (1, 2, 3)]
    assert (guard.scan_beat(), guard.ready_generation()) == (1, 7)
    scan.forget(2)
    assert guard.told_mA(2) is None


def test_link_carries_token_and_heartbeat_of_the_guard_to_the_scan(path: Path) -> None:
    guard = Link.create(path, 1, 1)
    scan = Link.open(path)
    guard.give_token(3)
    guard.guard_beat_once()
    guard.guard_beat_once()
    assert (scan.token(), scan.guard_beat()) == (3, 2)
    guard.take_token()
    assert scan.token() == 0


def charger_word_at(path: Path, charger_i: int, field: int) -> int:
    return link_module.SIZES["header"] + charger_i * link_module.SIZES["charger"] + 4 * field


@pytest.mark.parametrize("bit", range(0, 64, 5))
def test_link_told_word_with_any_bit_wrong_reads_as_unknown(path: Path, bit: int) -> None:
    link = Link.create(path, 2, 1)
    link.tell(1, 13_700)
    at = charger_word_at(path, 1, 0)
    whole = bytearray(path.read_bytes())
    whole[at + bit // 8] ^= 1 << bit % 8
    with path.open("r+b") as file:
        file.write(whole)
    assert link.told_mA(1) is None
    assert link.told_mA(0) is None


def test_link_told_word_of_another_charger_is_not_believed(path: Path) -> None:
    link = Link.create(path, 2, 1)
    link.tell(0, 13_700)
    whole = bytearray(path.read_bytes())
    first, second = charger_word_at(path, 0, 0), charger_word_at(path, 1, 0)
    whole[second : second + 8] = whole[first : first + 8]
    with path.open("r+b") as file:
        file.write(whole)
    assert (link.told_mA(0), link.told_mA(1)) == (13_700, None)


def test_link_torn_failsafe_word_reads_as_zero(path: Path) -> None:
    """It was set, so the row's own may be too high: nothing is lower than 0."""
    link = Link.create(path, 1, 1)
    link.set_failsafe(0, 6_000)
    at = charger_word_at(path, 0, 2)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\x01")
    assert link.failsafe_mA(0) == 0


def test_link_counters_wrap_at_32_bits(path: Path) -> None:
    link = Link.create(path, 1, 1)
    whole = path.read_bytes()
    link.beat()
    at = next(i for i, byte in enumerate(path.read_bytes()) if byte != whole[i])
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 4)
    assert link.scan_beat() == 2**32 - 1
    link.beat()
    assert link.scan_beat() == 0


def test_link_snapshot_says_what_the_guard_says_of_itself(path: Path) -> None:
    link = Link.create(path, 1, 1)
    link.state(3, 1, 1_000, 2_000, 11, 12)
    link.count(4, 5, 6_000, 7_000)
    link.event(4, -1, 900, 0, 950)
    found = Link.open_readonly(path).snapshot()
    wanted = {
        "state": 3,
        "cause": 1,
        "since_ns": 1_000,
        "next_restart_at_ns": 2_000,
        "guard_pid": 11,
        "scan_pid": 12,
        "n_takeovers": 4,
        "n_restarts": 5,
        "last_takeover_ns": 6_000,
        "last_restart_ns": 7_000,
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["events"] == [{"at_ns": 950, "kind": 4, "who": -1, "first": 900, "second": 0}]


def test_link_ring_keeps_the_newest_events_in_order(path: Path) -> None:
    link = Link.create(path, 1, 1)
    for i in range(MAX_LINK_EVENTS + 3):
        link.event(1, -1, i, 0, i)
    events = link.snapshot()["events"]
    assert [event["first"] for event in events] == list(range(4, MAX_LINK_EVENTS + 3))


def test_link_for_reading_refuses_every_write(path: Path) -> None:
    Link.create(path, 1, 1)
    link = Link.open_readonly(path)
    for write in (
        lambda: link.beat(),
        lambda: link.tell(0, 0),
        lambda: link.set_failsafe(0, 0),
        lambda: link.set_starved(0, True),
        lambda: link.forget(0),
        lambda: link.ready(1),
        lambda: link.give_token(1),
        lambda: link.take_token(),
        lambda: link.guard_beat_once(),
        lambda: link.set_seen_background(0, (0, 0, 0)),
        lambda: link.set_external(0, None, None, None, 0),
        lambda: link.state(0, 0, 0, 0, 0, 0),
        lambda: link.count(0, 0, 0, 0),
        lambda: link.event(0, 0, 0, 0, 0),
    ):
        with pytest.raises(LoadctlError, match="opened for reading only"):
            write()


def test_link_refuses_what_is_out_of_range(path: Path) -> None:
    link = Link.create(path, 1, 1)
    with pytest.raises(IndexError, match="charger 1 of 1"):
        link.tell(1, 0)
    with pytest.raises(IndexError, match="circuit -1 of 1"):
        link.set_seen_background(-1, (0, 0, 0))
    with pytest.raises(ValueError, match="setpoint -1 mA is below 0"):
        link.tell(0, -1)


def test_link_file_that_is_none_is_refused(path: Path) -> None:
    path.write_bytes(b"short")
    with pytest.raises(LoadctlError, match="5 bytes are no link of a guard"):
        Link.open(path)
    path.write_bytes(bytes(4_096))
    with pytest.raises(LoadctlError, match="not a link of this version of loadctl"):
        Link.open(path)
    Link.create(path, 1, 1)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(LoadctlError, match="its header says otherwise"):
        Link.open(path)


def test_link_layout_has_no_padding() -> None:
    for name, value in link_module.layout().items():
        n_bytes = 0
        for field, found in value.items():
            count = len(found) if isinstance(found, list) else 1
            is_wide = field.endswith("_ns") or field in WIDE
            n_bytes += count * (8 if is_wide else 4)
        assert (name, n_bytes) == (name, link_module.SIZES[name])


WIDE = ("magic", "layout_hash", "n_takeovers", "n_restarts", "live", "timed")


@pytest.mark.parametrize(
    "command",
    [
        ((0, 0, 0), None, None, 1),
        (None, 0, None, 1),
        ((1, 2, 3), 4, 2**60, 2**61),
        (None, None, None, 0),
        (None, None, 0, 0),
    ],
)
def test_link_keeps_what_was_said_from_outside_for_the_next_scan(
    path: Path, command: tuple[Any, ...]
) -> None:
    Link.create(path, 1, 3)
    Link.open(path).set_external(1, (7, 7, 7), 7, 7, 7)
    Link.open(path).set_external(1, *command)
    found = Link.open(path)
    assert [found.external(i) for i in range(3)] == [None, command, None]
    assert found.seen_background_mA(1) is None


def test_link_command_that_was_torn_by_a_kill_was_never_heard(path: Path) -> None:
    """What it holds is written before the word that says so, and that word is cleared first."""
    link = Link.create(path, 0, 1)
    link.set_external(0, (7, 7, 7), None, None, 7)
    with pytest.raises(OverflowError):
        link.set_external(0, (8, 8, 2**40), None, None, 8)
    assert link.external(0) is None


def test_link_keeps_what_was_tuned_for_the_next_scan(path: Path) -> None:
    link = Link.create(path, 1, 1, 5)
    assert link.tuned() == []
    link.set_tuned([(0, 7, None, 0), (4, None, -3, 99)])
    link.set_tuned([(1, 0, 2**40, 5)])
    assert Link.open(path).tuned() == [(0, 7, None, 0), (1, 0, 2**40, 5), (4, None, -3, 99)]
    link.set_tuned([(0, None, None, 0), (4, 1, None, 0)])
    assert Link.open_readonly(path).tuned() == [(1, 0, 2**40, 5), (4, 1, None, 0)]


def test_link_change_that_was_not_written_to_its_end_is_none(path: Path) -> None:
    """What a kill leaves in the middle of a change lies in the half that does not count."""
    link = Link.create(path, 1, 1, 5)
    link.set_tuned([(0, 1, None, 0), (1, 1, None, 0)])

    def half() -> Iterator[tuple[int, int | None, int | None, int]]:
        yield (0, 2, None, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.set_tuned(half())
    assert Link.open(path).tuned() == [(0, 1, None, 0), (1, 1, None, 0)]
    link.set_tuned([(1, 3, None, 0)])
    assert Link.open(path).tuned() == [(0, 1, None, 0), (1, 3, None, 0)]


@pytest.mark.parametrize("slot", [-1, 5])
def test_link_slot_that_does_not_exist_is_refused(path: Path, slot: int) -> None:
    link = Link.create(path, 1, 1, 5)
    with pytest.raises(IndexError, match=f"^slot {slot} of 5$"):
        link.set_tuned([(slot, 1, None, 0)])
    assert link.tuned() == []


def test_link_opened_for_reading_takes_no_change(path: Path) -> None:
    Link.create(path, 1, 1, 5)
    with pytest.raises(LoadctlError, match="opened for reading only"):
        Link.open_readonly(path).set_tuned([])


def test_link_orders_what_was_tuned_for_machines_that_do_not() -> None:
    """A second change's rows must not pass the word of the first, nor the reader's second look its
    rows; the machine that this runs on may keep that order by itself."""
    source = (Path(link_module.__file__).parent / "link.pyx").read_text()
    write = source.partition("def set_tuned(")[2].partition("    # whoever")[0]
    assert re.search(r"tuned_bank\).*\bfence\(\).*memcpy.*store_release", write, re.DOTALL)
    read = source.partition("def tuned(")[2].partition("def _tuned_rows_of")[0]
    assert re.search(r"_tuned_rows_of.*\bfence\(\).*load_acquire", read, re.DOTALL)
