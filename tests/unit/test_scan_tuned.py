"""Tuning a running site: from a socket through a whole scan to the wire, in virtual time."""

from __future__ import annotations

import os
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.commands import Commands
from loadctl.control import (
    RECORD_BYTES,
    Adopt,
    Answer,
    Change,
    Code,
    Field,
    Server,
    pack_adopt,
    pack_change,
    unpack_answer,
)
from loadctl.events import Event
from loadctl.modes import FAILSAFE, RUN
from loadctl.status import event_line
from loadctl.tables import Tables, signed_hash
from loadctl.tuning import KEYS, Layer
from tests.support import sim_sites
from tests.support.scan_rig import FakeGuarded, MS_ns, S_ns, VirtualRig

PERIOD_ns = 500 * MS_ns
N_CHARGERS = 3
BUILDING_mA = 2_000
NUMBERS = {key.label: number for number, key in KEYS.items()}


def garage(**charger: object) -> Tables:
    tables = sim_sites.metered_site(N_CHARGERS, limit_mA=(63_000,) * 3)
    tuning = replace(tables.tuning, trim_ns=5 * S_ns, min_off_ns=0)
    words: Any = {"max_mA": 16_000, **charger}
    rows = tuple(replace(row, **words) for row in tables.chargers)
    return replace(tables, tuning=tuning, chargers=rows)


def change(label: str, who: int, value: int | None) -> Change:
    return Change(NUMBERS[label], who, value)


class TunedRig(VirtualRig):
    """A rig with a control socket and somebody who tunes."""

    def __init__(self, directory: Path, guarded: FakeGuarded | None = None, **charger: object):
        visits = tuple(Visit(f"bay{i + 1}", 0) for i in range(N_CHARGERS))
        loads = {"main": Load("constant", (BUILDING_mA,) * 3)}
        super().__init__(
            garage(**charger), Scenario(loads=loads, visits=visits), directory, guarded
        )
        self.server = Server(directory / "control", lambda: 0)
        self.scan.commands = Commands(
            self.server, self.tables, self.field.external, self.field.tuned
        )
        self.peer = self.connect()
        self.serial = 0

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        peer.connect(str(self.server.path))
        peer.setblocking(False)
        return peer

    def say(self, *changes: Change, span_ns: int | None = None, n: int | None = None) -> None:
        self.serial += 1
        site_hash = signed_hash(self.tables)
        for each in changes:
            self.peer.send(pack_change(each, self.serial, site_hash))
        n_changes = len(changes) if n is None else n
        self.peer.send(pack_adopt(Adopt(n_changes, span_ns), self.serial, site_hash))

    def answers(self, peer: socket.socket | None = None) -> list[Answer]:
        found: list[Answer] = []
        while True:
            try:
                data = (peer or self.peer).recv(RECORD_BYTES)
            except BlockingIOError:
                return found
            answer = unpack_answer(data, self.serial)
            assert answer is not None
            found.append(answer)

    def tune(self, *changes: Change, span_ns: int | None = None) -> Answer:
        """Say it, let one scan end, and tell what became of the whole."""
        self.say(*changes, span_ns=span_ns)
        self.pass_one()
        return self.answers()[-1]

    def settle(self) -> None:
        self.run_for(60 * S_ns)
        assert min(self.setpoints_mA()) > 15_000

    def words(self) -> list[str]:
        events = [event for event in self.snapshot()["events"] if event["kind"] // 10 == 6]
        return [event_line(self.tables, event) for event in events]

    def close(self) -> None:
        self.peer.close()
        self.server.close()


@pytest.fixture
def rig(tmp_path: Path) -> TunedRig:
    return TunedRig(tmp_path)


def test_lowered_maximum_is_taken_in_the_next_scan_and_falls_back_in_time(rig: TunedRig) -> None:
    rig.settle()
    assert rig.tune(change("max_A", 0, 10_000), span_ns=60 * S_ns) == Answer(Code.ACCEPTED)
    heard_at_ns = rig.clock.now_ns()
    rig.pass_one()
    told = {frame.address: frame.value for frame in rig.tap.setpoints(heard_at_ns)}
    assert told[11] == 100
    assert rig.setpoints_mA()[0] == 10_000
    rig.run_for(58 * S_ns)
    assert rig.setpoints_mA()[0] == 10_000
    rig.run_for(60 * S_ns)
    assert rig.setpoints_mA()[0] > 15_000
    assert rig.words() == [
        f"bay1 max_A 16 -> 10 by uid {os.getuid()}",
        "bay1 max_A 10 -> 16: its time is over",
    ]
    rig.close()


def test_several_keys_count_from_the_same_scan_on_or_none_does(rig: TunedRig) -> None:
    rig.settle()
    good = [change("limit_A L1", 0, 40_000), change("priority", 2, 5), change("trim_s", -1, 10**9)]
    assert rig.tune(*good) == Answer(Code.ACCEPTED)
    rig.pass_one()
    snapshot = rig.snapshot()
    assert snapshot["circuits"][0]["live_limit_mA"] == [40_000, 63_000, 63_000]
    assert snapshot["circuits"][0]["limit_mA"] == [40_000, 63_000, 63_000]
    assert snapshot["chargers"][2]["live_priority"] == 5
    assert snapshot["site"]["tuning"]["trim_ns"] == 10**9
    assert len(rig.events(Event.TUNED)) == 3
    # min_A above max_A: each alone would do
    bad = [change("weight", 1, 9), change("max_A", 0, 8_000), change("min_A", 0, 10_000)]
    answer = rig.tune(*bad)
    assert answer == Answer(Code.BREAKS_RULE, Field.VALUE, NUMBERS["min_A"], 0)
    rig.pass_one()
    assert [c["live_weight"] for c in rig.snapshot()["chargers"]] == [1, 1, 1]
    assert rig.setpoints_mA()[2] > 10_000
    assert len(rig.events(Event.TUNED)) == 3
    rig.close()


def test_lowered_limit_cuts_in_the_next_scan_and_lowers_failsafe_currents(rig: TunedRig) -> None:
    """27 A less 20 A declared leave room for the failsafe current of one."""
    rig.settle()
    lower = [change(f"limit_A L{p}", 0, 27_000) for p in (1, 2, 3)]
    assert rig.tune(*lower) == Answer(Code.ACCEPTED)
    rig.pass_one()
    assert sum(rig.setpoints_mA()) <= 27_000 - BUILDING_mA
    assert [rig.guarded.failsafe_mA[i] for i in range(N_CHARGERS)] == [6_000, 0, 0]
    rig.tune(*(each._replace(value=None) for each in lower))
    rig.pass_one()
    assert [rig.guarded.failsafe_mA[i] for i in range(N_CHARGERS)] == [6_000] * 3
    rig.close()


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        (change("max_A", 0, 16_100), Answer(Code.BREAKS_RULE, Field.VALUE, NUMBERS["max_A"], 0)),
        (change("max_A", 0, 5_900), Answer(Code.OUT_OF_BOUNDS, Field.VALUE, 6_000, 1_000_000)),
        (change("max_A", 0, 10_050), Answer(Code.OUT_OF_BOUNDS, Field.STEP, 100, 100)),
        (change("max_A", 3, 10_000), Answer(Code.NO_SUCH_KEY)),
        (change("max_A", -1, 10_000), Answer(Code.NO_SUCH_KEY)),
        (change("limit_A L2", 0, 63_001),
         Answer(Code.BREAKS_RULE, Field.VALUE, NUMBERS["limit_A L2"], 0)),
        (change("peak_hold_s", -1, 5 * S_ns),
         Answer(Code.BREAKS_RULE, Field.VALUE, NUMBERS["peak_hold_s"], -1)),
        (change("weight", 0, 0), Answer(Code.OUT_OF_BOUNDS, Field.VALUE, 1, 1_000)),
        (Change(99, 0, 1), Answer(Code.NO_SUCH_KEY)),
    ],
)  # fmt: skip
def test_change_out_of_bounds_changes_nothing(rig: TunedRig, wrong: Change, answer: Answer) -> None:
    rig.say(change("weight", 1, 7), wrong)
    rig.pass_one()
    answers = rig.answers()
    assert answer in answers
    assert answers[-1].code is not Code.ACCEPTED
    rig.pass_one()
    assert rig.snapshot()["chargers"][1]["live_weight"] == 1
    assert rig.words() == []
    rig.close()


def test_disabled_charger_gets_nothing_is_armed_and_comes_back(rig: TunedRig) -> None:
    rig.settle()
    assert rig.tune(change("enable", 1, 0)) == Answer(Code.ACCEPTED)
    rig.pass_one()
    assert rig.setpoints_mA()[1] == 0
    charger = rig.snapshot()["chargers"][1]
    assert (charger["is_armed"], charger["reason"], charger["failsafe_mA"]) == (1, 60, 0)
    rig.run_for(60 * S_ns)
    assert rig.setpoints_mA()[1] == 0
    rig.tune(change("enable", 1, None))
    rig.run_for(120 * S_ns)
    assert rig.setpoints_mA()[1] > 15_000
    rig.close()


def test_raised_minimum_pauses_for_a_moment_and_starts_anew(tmp_path: Path) -> None:
    rig = TunedRig(tmp_path, failsafe_mA=0)
    rig.settle()
    lower = [change(f"limit_A L{p}", 0, 24_000) for p in (1, 2, 3)]
    assert rig.tune(*lower) == Answer(Code.ACCEPTED)
    rig.run_for(60 * S_ns)
    assert max(rig.setpoints_mA()) < 8_000
    assert rig.tune(*(change("min_A", i, 8_000) for i in range(3))) == Answer(Code.ACCEPTED)
    rig.run_for(200 * S_ns)
    assert rig.scan.missed == 0
    assert sorted(rig.setpoints_mA())[0] == 0
    assert sorted(rig.setpoints_mA())[1] >= 8_000
    rig.close()


def test_raised_minimum_in_failsafe_mode_leaves_the_scan_sound(tmp_path: Path) -> None:
    """Those that stand below their new minimum are brought down to 0, whatever was acknowledged."""
    rig = TunedRig(tmp_path, failsafe_mA=8_000, fallback_mA=8_000)
    rig.run_for(20 * S_ns)
    rig.tap.mute = {11}
    rig.run_for(PERIOD_ns)
    for _ in range(rig.tables.site.missed_limit):
        rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
        rig.pass_one()
    rig.pass_one()
    assert rig.scan.mode == FAILSAFE
    assert rig.tune(*(change("min_A", i, 8_000) for i in range(3))) == Answer(Code.ACCEPTED)
    rig.run_for(3 * S_ns)
    rig.tap.mute = set()
    rig.run_for(30 * S_ns)
    assert rig.scan.mode == RUN
    assert all(setpoint_mA == 0 or setpoint_mA >= 8_000 for setpoint_mA in rig.setpoints_mA())
    rig.close()


def test_scan_that_is_started_anew_keeps_what_was_tuned_from_its_first_frame_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = TunedRig(tmp_path / "first")
    first.settle()
    assert first.tune(change("max_A", 0, 8_000)) == Answer(Code.ACCEPTED)
    assert first.tune(change("enable", 1, 0), span_ns=90 * S_ns) == Answer(Code.ACCEPTED)
    first.run_for(5 * S_ns)
    first.close()
    guarded = first.guarded
    assert len(guarded.tuned()) == 2
    guarded.told.update(dict.fromkeys(range(N_CHARGERS), 16_000))  # as if the takes were lost
    second = TunedRig(tmp_path / "second", guarded)
    second.run_for(20 * S_ns)
    assert max(f.value for f in second.tap.setpoints(address=11)) <= 80
    assert second.setpoints_mA()[1] == 0
    second.run_for(100 * S_ns)
    assert second.setpoints_mA()[0] == 8_000
    assert second.words() == []  # its clock begins anew: the end is still to come
    second.run_for(90 * S_ns)
    assert second.words() == ["bay2 enable no -> yes: its time is over"]
    assert second.setpoints_mA()[1] > 15_000
    second.close()


def test_peer_that_hangs_up_before_it_adopts_changes_nothing(rig: TunedRig) -> None:
    rig.peer.send(pack_change(change("weight", 0, 9), 1, signed_hash(rig.tables)))
    rig.pass_one()
    rig.peer.close()
    rig.pass_one()
    rig.peer = rig.connect()
    rig.peer.send(pack_adopt(Adopt(1, None), 1, signed_hash(rig.tables)))
    rig.pass_one()
    rig.serial = 1
    assert rig.answers() == [Answer(Code.INCOMPLETE)]
    assert rig.snapshot()["chargers"][0]["live_weight"] == 1
    rig.close()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_changes_that_are_not_as_many_as_said_are_not_adopted(rig: TunedRig, n: int) -> None:
    rig.say(change("weight", 0, 9), change("weight", 1, 9), n=n)
    rig.pass_one()
    assert rig.answers()[-1] == Answer(Code.INCOMPLETE, most=2)
    rig.pass_one()
    assert rig.words() == []
    rig.close()


def test_changes_of_another_serial_are_none_of_these(rig: TunedRig) -> None:
    site_hash = signed_hash(rig.tables)
    rig.peer.send(pack_change(change("weight", 0, 9), 7, site_hash))
    rig.peer.send(pack_change(change("weight", 1, 9), 8, site_hash))
    rig.peer.send(pack_adopt(Adopt(1, None), 8, site_hash))
    rig.pass_one()
    rig.pass_one()
    assert [c["live_weight"] for c in rig.snapshot()["chargers"]] == [1, 9, 1]
    rig.close()


def test_for_a_time_lies_above_for_good_and_for_good_ends_it(rig: TunedRig) -> None:
    rig.tune(change("weight", 0, 3))
    rig.tune(change("weight", 0, 5), span_ns=10 * S_ns)
    assert rig.field.tuned.layers == {
        rig.field.tuned.slots.slot_of(NUMBERS["weight"], 0): Layer(
            3, 5, rig.field.tuned.layers[next(iter(rig.field.tuned.layers))].until_ns
        )
    }
    rig.run_for(11 * S_ns)
    assert rig.words()[-1] == "bay1 weight 5 -> 3: its time is over"
    rig.tune(change("weight", 0, 5), span_ns=10 * S_ns)
    rig.tune(change("weight", 0, 4))
    rig.run_for(20 * S_ns)
    assert rig.words()[-1] == f"bay1 weight 5 -> 4 by uid {os.getuid()}"
    assert rig.snapshot()["chargers"][0]["live_weight"] == 4
    rig.close()


def test_floor_lifts_what_comes_to_lie_below_it_and_lets_it_down_again(rig: TunedRig) -> None:
    site_ns = rig.tables.tuning.peak_hold_ns
    rig.tune(change("car_follow_s", -1, 60 * S_ns))
    rig.pass_one()
    lifted_ns = rig.snapshot()["site"]["tuning"]["peak_hold_ns"]
    assert lifted_ns > 60 * S_ns
    rig.tune(change("car_follow_s", -1, None))
    rig.pass_one()
    assert rig.snapshot()["site"]["tuning"]["peak_hold_ns"] == site_ns
    rig.close()


def test_healthy_scans_are_those_that_were_tuned(tmp_path: Path) -> None:
    rig = TunedRig(tmp_path)
    assert rig.tune(change("healthy_scans", -1, 40)) == Answer(Code.ACCEPTED)
    rig.run_for(15 * S_ns)
    assert rig.scan.mode != RUN
    rig.run_for(10 * S_ns)
    assert rig.scan.mode == RUN
    rig.close()


def test_garbage_never_stops_a_scan_nor_changes_anything(rig: TunedRig) -> None:
    """Random bytes, wrong sizes, and bodies of any content behind a good header."""
    rng = random.Random("tune")
    head = pack_change(change("weight", 0, 9), 1, signed_hash(rig.tables))
    before = [rig.field.tuned.layers, list(rig.field.tuned.counts)]
    for _ in range(60):
        for _ in range(4):
            data = rng.randbytes(rng.choice((1, 20, 63, 64, 65, 200)))
            if rng.random() < 0.6:
                data = head[:6] + bytes([rng.choice((1, 2, 3)), 0]) + head[8:20] + rng.randbytes(44)
            rig.peer.send(data)
        rig.pass_one()
        while True:
            try:
                answer = rig.peer.recv(RECORD_BYTES)
            except BlockingIOError:
                break
            assert int.from_bytes(answer[20:24], "little", signed=True) != Code.ACCEPTED
    assert [rig.field.tuned.layers, list(rig.field.tuned.counts)] == before
    assert rig.scan.missed == 0
    rig.close()
