"""What takes in changes: whom it tells of them, and what a sender may keep with it."""

from __future__ import annotations

import socket
from typing import Any, cast

from loadctl.commands import Commands
from loadctl.control import (
    MOST_STAGED,
    Adopt,
    Answer,
    Change,
    Code,
    Field,
    MOST_SPAN_ns,
    Peer,
    Server,
    pack_adopt,
    pack_change,
    unpack_answer,
)
from loadctl.errors import CoreFault
from loadctl.events import Event
from loadctl.external import External
from loadctl.gate import Gate
from loadctl.image import Writer
from loadctl.tables import Tables, signed_hash
from loadctl.tuned import Tuned
from tests.support.builders import make_charger, make_circuit, make_tables, maps_of
from tests.support.core_sites import attached
from tests.support.scan_rig import FakeGuarded

NOW_ns = 5_000_000_000
WEIGHT, MIN, MAX, ENABLE, L2, MARGIN = 34, 31, 32, 35, 22, 24
TABLES = make_tables(
    chargers=[make_charger(f"bay{i}", address=2 + i) for i in range(2)],
    circuits=[
        make_circuit("main", 63, is_dynamic=True, meter=0),
        make_circuit("sub", 40, parent=0),
    ],
)


class Ring:
    """Stands for the image: remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[int, ...]] = []

    def event(self, *words: int) -> None:
        self.events.append(words)


class Rig:
    """Commands over a real core and a real gate, and one who sends."""

    def __init__(self, uid: int = 1000, tables: Tables = TABLES) -> None:
        self.core, self.gate, self.ring = attached(tables), Gate(tables), Ring()
        self.tables, self.guarded = tables, FakeGuarded()
        self.tuned = Tuned(
            tables, maps_of(tables), self.core, self.gate, cast(Writer, self.ring), self.guarded
        )
        self.inbox = Commands(cast(Server, None), tables, cast(External, None), self.tuned)
        self.inbox.now_ns = NOW_ns
        self.peer = Peer(cast(socket.socket, None), uid)

    def send(self, record: bytes, serial: int = 1) -> Answer:
        answer = unpack_answer(self.inbox.answer_to(record, self.peer), serial)
        assert answer is not None
        return answer

    def stage(self, change: Change, serial: int = 1) -> Answer:
        return self.send(pack_change(change, serial, signed_hash(self.tables)), serial)

    def adopt(self, n: int, span_ns: int | None = None, serial: int = 1) -> Answer:
        return self.send(pack_adopt(Adopt(n, span_ns), serial, signed_hash(self.tables)), serial)


def test_gate_is_told_what_counts_of_circuits_and_chargers() -> None:
    rig = Rig()
    for change in (Change(L2, 1, 30_000), Change(MARGIN, 1, 700), Change(MAX, 1, 9_000),
                   Change(ENABLE, 0, 0), Change(5, -1, 0)):  # fmt: skip
        assert rig.stage(change) == Answer(Code.ACCEPTED)
    assert rig.adopt(5) == Answer(Code.ACCEPTED)
    assert rig.gate.own == [((63_000,) * 3, 0), ((40_000, 30_000, 40_000), 700)]
    assert rig.gate.range == [(6_000, 16_000, False), (6_000, 9_000, True)]


def test_event_holds_key_values_and_user() -> None:
    for uid, held in ((1000, 1000), (2**31 - 1, 2**31 - 1), (2**31, -(2**31)), (2**32 - 2, -2)):
        rig = Rig(uid)
        rig.stage(Change(WEIGHT, 1, 3))
        rig.adopt(1)
        assert rig.ring.events == [(Event.TUNED, 1, WEIGHT, 3, NOW_ns, 1, held)]


def test_what_the_core_refuses_is_refused_and_nothing_is_kept() -> None:
    """It knows bounds that the rules do not."""

    class Refuses:
        def retune(self, changes: object) -> None:
            raise CoreFault("no")

    rig = Rig()
    rig.tuned.core = cast(Any, Refuses())
    rig.stage(Change(WEIGHT, 1, 3))
    assert rig.adopt(1) == Answer(Code.BREAKS_RULE, Field.NONE, WEIGHT, 1)
    assert (rig.ring.events, rig.guarded.layers, rig.tuned.layers) == ([], {}, {})


def test_changes_are_adopted_once() -> None:
    rig = Rig()
    rig.stage(Change(WEIGHT, 1, 3))
    assert rig.adopt(1) == Answer(Code.ACCEPTED)
    assert rig.adopt(1) == Answer(Code.INCOMPLETE)
    assert rig.adopt(0) == Answer(Code.INCOMPLETE)
    rig.stage(Change(WEIGHT, 1, 4), serial=2)
    assert rig.adopt(1, serial=3) == Answer(Code.INCOMPLETE)
    assert rig.adopt(1, serial=2) == Answer(Code.INCOMPLETE)
    assert rig.core.charger(1)["live_weight"] == 3


def test_sender_keeps_a_bounded_number_of_changes() -> None:
    rig = Rig()
    for _ in range(MOST_STAGED):
        assert rig.stage(Change(WEIGHT, 1, 3)) == Answer(Code.ACCEPTED)
    assert rig.stage(Change(WEIGHT, 1, 3)) == Answer(Code.TOO_MANY, most=MOST_STAGED)
    assert len(rig.peer.staged) == MOST_STAGED


def test_time_of_a_change_has_bounds() -> None:
    for span_ns, code in (
        (1, Code.ACCEPTED), (MOST_SPAN_ns, Code.ACCEPTED),
        (-1, Code.OUT_OF_BOUNDS), (MOST_SPAN_ns + 1, Code.OUT_OF_BOUNDS),
    ):  # fmt: skip
        rig = Rig()
        rig.stage(Change(WEIGHT, 1, 3))
        assert rig.adopt(1, span_ns).code is code
        assert rig.core.charger(1)["live_weight"] == (3 if code is Code.ACCEPTED else 1)


def test_end_is_on_the_clock_of_the_scan_and_the_link_forgets_it_then() -> None:
    rig = Rig()
    rig.stage(Change(WEIGHT, 1, 3))
    rig.adopt(1, 100)
    rig.tuned.begin(NOW_ns + 99)
    assert rig.core.charger(1)["live_weight"] == 3
    rig.tuned.begin(NOW_ns + 100)
    assert rig.core.charger(1)["live_weight"] == 1
    assert rig.guarded.tuned() == {}
    assert rig.ring.events[-1] == (Event.FELL_BACK, 1, WEIGHT, 1, NOW_ns + 100, 3, 0)
    rig.tuned.begin(NOW_ns + 101)
    assert len(rig.ring.events) == 2


def test_new_scan_goes_on_without_what_ended_while_none_ran() -> None:
    """Beside what had ended, what was adopted after that may be no whole."""
    tables = make_tables(chargers=[make_charger(f"bay{i}", failsafe_mA=0) for i in range(2)])
    rig = Rig(tables=tables)
    rig.stage(Change(MAX, 1, 8_000))
    rig.adopt(1, 100)
    rig.inbox.now_ns = NOW_ns + 100  # its end has passed, and no scan has begun since
    rig.stage(Change(MIN, 1, 10_000), serial=2)
    assert rig.adopt(1, serial=2) == Answer(Code.ACCEPTED)
    again = Rig(tables=tables)
    again.tuned.guarded = rig.guarded
    again.tuned.take_over(NOW_ns + 200)
    live = again.core.charger(1)
    assert (live["live_min_mA"], live["live_max_mA"]) == (10_000, 16_000)
    again.tuned.begin(NOW_ns + 200)
    assert {slot: layer.timed for slot, layer in rig.guarded.tuned().items()} == {
        again.tuned.slots.slot_of(MIN, 1): None
    }
    assert [words[0] for words in again.ring.events] == [Event.FELL_BACK]


def test_scan_that_is_refused_what_an_earlier_one_was_asked_for_begins_as_the_site_file_says() -> (
    None
):
    rig = Rig()
    rig.stage(Change(WEIGHT, 1, 3))
    rig.adopt(1)
    again = Rig()
    again.tuned.guarded = rig.guarded

    class Refuses:
        def retune(self, changes: list[tuple[int, int]]) -> None:
            raise CoreFault("no")

    again.tuned.core = cast(Any, Refuses())
    again.tuned.take_over(NOW_ns)
    assert (rig.guarded.tuned(), again.tuned.layers) == ({}, {})
    assert [words[:3] for words in again.ring.events] == [(Event.FELL_BACK, 1, WEIGHT)]
