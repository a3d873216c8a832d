"""Records: what the tape notes, how it is packed, and that nothing gets lost on the way."""

from __future__ import annotations

import contextlib
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadctl._core import Core
from loadctl.control import MOST_PEERS, MOST_RECORDS_PER_SCAN, MOST_STAGED
from loadctl.errors import CoreFault, LoadctlError
from loadctl.flight.calls import CALLS, NAMES
from loadctl.flight.code import pack, unpack
from loadctl.flight.player import Player, header
from loadctl.flight.ring import RingReader, RingWriter
from loadctl.flight.tape import Tape, hash_block, most_words, ring_words
from tests.support.core_sites import tuning
from tests.support.sim_sites import metered_site

INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.one_of(st.integers(-5, 40), INT64, st.integers(2**40, 2**50))
ARGUMENT = st.one_of(
    st.none(),
    NUMBER,
    st.sampled_from("ABCDEF"),
    st.tuples(NUMBER, NUMBER, NUMBER),
    st.lists(NUMBER, max_size=9).map(tuple),
    st.lists(st.tuples(NUMBER, NUMBER), max_size=5),
    st.builds(lambda k: tuning(peak_hold_ns=k), st.integers(0, 2**40)),
)
CALL = st.tuples(st.sampled_from(sorted(CALLS)), st.lists(ARGUMENT, max_size=12))
PAIRS = st.lists(st.tuples(NUMBER, NUMBER), max_size=4)


class AnyCore:
    """Takes every call and answers what it was told to; `heard` is what came."""

    plant_bytes = 8 * 400

    def __init__(self, answers: list[Any] | None = None) -> None:
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.answers = iter(answers or [])
        for name in CALLS:
            setattr(self, name, self._call(name))

    def _call(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.heard.append((name, arguments))
            answer = next(self.answers, None)
            if answer == "refused":
                raise CoreFault("no")
            return answer

        return call

    def attach(self, plant: Any) -> None:
        self.plant = plant


def taped(core: Any, path: Path, n_words: int = 1 << 16, most: int = 4000) -> tuple[Tape, Any]:
    tape = Tape(core, RingWriter(path, n_words, 0, 0, 500_000_000), most)
    tape.attach(bytearray(core.plant_bytes))
    return tape, RingReader(path)


def read_words(reader: RingReader) -> memoryview:
    found = reader.read()
    assert found is not None
    return memoryview(found).cast("q")


@settings(max_examples=60, deadline=None)
@given(
    scans=st.lists(st.lists(CALL, max_size=8), min_size=1, max_size=6),
    answers=st.lists(st.one_of(st.none(), NUMBER, PAIRS, st.just("refused")), max_size=30),
)
def test_what_is_played_is_what_was_told(
    scans: list[list[tuple[str, list[Any]]]], answers: list[Any], tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("ring") / "flight"
    told = AnyCore(answers)
    tape, reader = taped(told, path)
    for k, calls in enumerate(scans):
        for name, arguments in calls:
            with contextlib.suppress(CoreFault):
                getattr(tape, name)(*arguments)
        tape.cut(k * 500_000_000)
    words = read_words(reader)
    again = memoryview(unpack(pack(words), len(words))).cast("q")
    assert list(again) == list(words)
    heard = AnyCore(answers)
    assert Player(heard).play(again, 0) is None
    assert heard.heard == told.heard


def test_every_call_that_changes_the_plant_is_noted(tmp_path: Path) -> None:
    """A call that the core has and the tape does not know would be missing in every recording."""
    reads = {
        "takes", "gives", "looks", "probe_mA", "starving", "failsafe_mA", "seen_backgrounds_mA",
        "cooling", "site", "circuit", "meter", "charger", "reserves_mA", "used_phases",
        "backgrounds_high_mA",
    }  # fmt: skip
    beside = {"attach", "plant_bytes", "settle"}  # before the first scan; of `whatif`
    answered = {"takes", "gives"}
    border = {name for name in dir(Core) if not name.startswith("_")}
    assert border - reads - beside == set(CALLS) - answered
    assert len(NAMES) == len(CALLS)


def test_tape_has_every_call_of_the_core(tmp_path: Path) -> None:
    tape, _ = taped(Core(metered_site()), tmp_path / "flight")
    assert {name for name in dir(Core) if not name.startswith("_")} <= set(dir(tape))


def test_record_carries_scan_times_and_hash_of_the_block(tmp_path: Path) -> None:
    core = Core(metered_site())
    tape, reader = taped(core, tmp_path / "flight")
    plant = bytearray(core.plant_bytes)
    tape.attach(plant)
    tape.set_mode(1)
    assert tape.step(7 * 10**12) == 0
    tape.cut(7 * 10**12 + 5)
    head = header(read_words(reader), 0)
    assert (head["sequence"], head["scan_i"], head["n_calls"], head["flags"]) == (0, 1, 2, 0)
    assert (head["base_ns"], head["ended_at_ns"]) == (7 * 10**12, 7 * 10**12 + 5)
    assert head["hash"] == hash_block(plant)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 8, 399])
def test_hash_tells_every_bit(at: int) -> None:
    block = bytearray(8 * 400)
    seen = {hash_block(block)}
    for bit in range(64):
        struct.pack_into("<Q", block, 8 * at, 1 << bit)
        seen.add(hash_block(block))
    assert len(seen) == 65


def test_record_that_does_not_fit_is_marked_and_holds_nothing(tmp_path: Path) -> None:
    tape, reader = taped(AnyCore(), tmp_path / "flight", most=40)
    for i in range(20):
        tape.charger_answered(i, 1, 2)
    tape.cut(1)
    tape.charger_answered(3, 1, 2)
    tape.cut(2)
    words = read_words(reader)
    first = header(words, 0)
    assert (first["n_words"], first["flags"], first["n_calls"]) == (9, 1, 0)
    second = header(words, first["n_words"])
    assert (second["flags"], second["n_calls"], second["sequence"]) == (0, 1, 1)


def test_longest_scan_of_a_site_fits(tmp_path: Path) -> None:
    tables = metered_site()
    tape, reader = taped(AnyCore(), tmp_path / "flight", 1 << 16, most_words(tables))
    three, at_ns = (2**31 - 1,) * 3, 2**50
    tape.step(at_ns)
    for m in range(len(tables.meters)):
        for _ in range(2):
            tape.meter_read(m, 1, three, three, three, at_ns)
    for i in range(len(tables.chargers)):
        for _ in range(2):
            tape.charger_status(i, 1, "C", three, 6000, at_ns)
            tape.charger_answered(i, 1, at_ns)
        for write in (tape.take_done, tape.give_done, tape.refreshed, tape.probe_done):
            write(i, 1, at_ns)
        tape.charger_armed(i, False, None)
        tape.charger_armed(i, True, 6000)
    n_slots = 18 + 4 * len(tables.circuits) + 6 * len(tables.chargers)
    tape.retune([(slot, at_ns) for slot in range(n_slots)])  # of an earlier scan, taken over
    for _ in range(MOST_PEERS):
        tape.retune([(slot, at_ns) for slot in range(MOST_STAGED)])
    for _ in range(MOST_RECORDS_PER_SCAN - MOST_PEERS):
        tape.external_limit(0, three, 4_000, at_ns, at_ns)
    tape.cut(at_ns)
    assert header(read_words(reader), 0)["flags"] == 0
    assert ring_words(tables) >= 4 * most_words(tables)


def test_bytes_that_are_no_records_are_refused_not_read_beyond() -> None:
    record = array("q", [11, 0, 1, 0, 0, 0, 0, 1, 0, 3 | 1 << 8 | 1 << 12, 7])
    packed = pack(memoryview(record))
    assert list(memoryview(unpack(packed, 11)).cast("q")) == list(record)
    for end in range(len(packed)):
        with pytest.raises(LoadctlError):
            unpack(packed[:end], 11)
    for n_words in (0, 10, 12):
        with pytest.raises(LoadctlError):
            unpack(packed, n_words)


def some_records() -> bytes:
    shapes = [3 | 2 << 8 | 1 << 12 | 4 << 15, 20 | 1 << 8 | 2 << 12 | 1 << 50, 30 | 2 << 50]
    record = [9 + 5 + 3 + 4, 0, 1, 2**50, 2**50 + 7, -1, 0, 3, -2]
    record += [shapes[0], 7, 1, 2, 3, shapes[1], 2**50, 0, shapes[2], 1, 4, 6000]
    return pack(memoryview(array("q", record * 3)))


@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=6),
    n_words=st.sampled_from([0, 21, 62, 63, 64, 200]),
)
def test_any_changed_bytes_are_refused_or_read(
    changes: list[tuple[int, int]], n_words: int
) -> None:
    data = bytearray(some_records())
    for at, value in changes:
        data[at % len(data)] = value
    try:
        words = unpack(data, n_words)
    except LoadctlError:
        return
    assert len(words) == 8 * n_words


def test_numbers_of_every_length_come_back() -> None:
    shape = 1 | 1 << 8 | 1 << 12
    values = [sign * (1 << bit) + more for bit in range(63) for sign in (1, -1) for more in (0, 1)]
    record = array("q", [9 + 2 * len(values), 0, 0, 0, 0, 0, 0, len(values), 0])
    for value in values:
        record.extend([shape, value])
    assert list(memoryview(unpack(pack(memoryview(record)), len(record))).cast("q")) == list(record)
