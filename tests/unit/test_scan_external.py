"""A limit from outside: from a socket through a whole scan to the wire, in virtual time."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from hw.sim.outlet import Visit
from hw.sim.scenario import Load, Scenario
from loadctl.commands import Commands
from loadctl.control import (
    RECORD_BYTES,
    Answer,
    Code,
    Limit,
    Server,
    pack_limit,
    unpack_answer,
)
from loadctl.events import Event
from loadctl.modes import FAILSAFE, RUN
from loadctl.tables import Tables, signed_hash
from tests.support import sim_sites
from tests.support.scan_rig import FakeGuarded, MS_ns, S_ns, VirtualRig

PERIOD_ns = 500 * MS_ns
N_CHARGERS = 3
BUILDING_mA = 2_000
NONE = Limit(0, None, None, None)
ZERO = Limit(0, (0, 0, 0), None, None)


def garage(**main: object) -> Tables:
    """Three chargers below 63 A that takes limits from outside; at loss 10 A are left."""
    words = {"limit_mA": (63_000,) * 3, "takes_external": True, "loss_mA": (10_000,) * 3, **main}
    tables = sim_sites.metered_site(N_CHARGERS, **words)
    tuning = replace(tables.tuning, trim_ns=5 * S_ns, min_off_ns=0)
    return replace(tables, tuning=tuning)


class OpenRig(VirtualRig):
    """A rig with a control socket and somebody who talks on it."""

    def __init__(self, directory: Path, guarded: FakeGuarded | None = None, **main: object) -> None:
        visits = tuple(Visit(f"bay{i + 1}", 0) for i in range(N_CHARGERS))
        loads = {"main": Load("constant", (BUILDING_mA,) * 3)}
        super().__init__(garage(**main), Scenario(loads=loads, visits=visits), directory, guarded)
        self.server = Server(directory / "control")
        self.scan.commands = Commands(
            self.server, self.tables, self.field.external, self.field.tuned
        )
        self.peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.peer.connect(str(directory / "control"))
        self.peer.setblocking(False)

    def say(self, limit: Limit) -> None:
        self.peer.send(pack_limit(limit, 1, signed_hash(self.tables)))

    def answer(self) -> Answer | None:
        return unpack_answer(self.peer.recv(RECORD_BYTES), 1)

    def free(self) -> None:
        """Nothing counts from outside, and every car has come to rest."""
        self.say(NONE)
        self.run_for(60 * S_ns)
        assert self.answer() == Answer(Code.ACCEPTED)
        assert min(self.setpoints_mA()) > 15_000

    def close(self) -> None:
        self.peer.close()
        self.server.close()


@pytest.fixture
def rig(tmp_path: Path) -> OpenRig:
    return OpenRig(tmp_path)


def test_zero_stops_everyone_in_one_scan_and_its_end_leaves_what_counts_at_loss(
    rig: OpenRig,
) -> None:
    rig.free()
    rig.say(ZERO._replace(span_ns=60 * S_ns))
    rig.pass_one()
    assert rig.answer() == Answer(Code.ACCEPTED)
    heard_at_ns = rig.clock.now_ns()
    rig.pass_one()
    told = {frame.address: frame.value for frame in rig.tap.setpoints(heard_at_ns)}
    assert told == {11: 0, 12: 0, 13: 0}
    assert rig.setpoints_mA() == [0, 0, 0]
    rig.run_for(58 * S_ns)
    assert rig.setpoints_mA() == [0, 0, 0]
    assert rig.snapshot()["circuits"][0]["limit_mA"] == [0, 0, 0]
    rig.run_for(2 * S_ns)
    assert rig.snapshot()["circuits"][0]["limit_mA"] == [10_000] * 3
    rig.run_for(60 * S_ns)
    assert sorted(rig.setpoints_mA()) == [0, 0, 8_000]
    events = [event for event in rig.snapshot()["events"] if event["kind"] // 10 == 4]
    assert [(event["kind"], event["first"]) for event in events] == [
        (Event.EXTERNAL_FREE, -1),
        (Event.EXTERNAL_LIMIT, 0),
        (Event.EXTERNAL_EXPIRED, 10_000),
    ]
    rig.close()


def test_source_never_heard_leaves_what_counts_at_loss_from_the_start_on(rig: OpenRig) -> None:
    rig.run_for(60 * S_ns)
    assert rig.scan.mode == RUN
    assert sorted(rig.setpoints_mA()) == [0, 0, 8_000]
    assert max(setpoint_mA for _, setpoint_mA in rig.guarded.tells) <= 8_000
    rig.close()


def test_source_that_falls_silent_is_lost(tmp_path: Path) -> None:
    rig = OpenRig(tmp_path, loss_after_ns=5 * S_ns)
    for _ in range(120):
        rig.say(NONE)
        rig.run_for(PERIOD_ns)
        assert rig.answer() == Answer(Code.ACCEPTED)
    assert min(rig.setpoints_mA()) > 15_000
    rig.run_for(6 * S_ns)
    assert sum(rig.setpoints_mA()) <= 8_000
    assert len(rig.events(Event.EXTERNAL_LOST)) == 1
    rig.close()


def test_limit_holds_in_failsafe_mode_where_the_failsafe_currents_do_not_fit_it(
    rig: OpenRig,
) -> None:
    rig.free()
    rig.say(Limit(0, (27_000,) * 3, None, None))
    rig.run_for(5 * S_ns)
    assert min(rig.setpoints_mA()) > 8_000
    for _ in range(rig.tables.site.missed_limit):
        rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
        rig.pass_one()
    rig.pass_one()
    assert rig.scan.mode == FAILSAFE
    assert rig.setpoints_mA() == [6_000, 0, 0]  # 27 A less 20 A declared
    rig.close()


def test_limit_of_zero_is_taken_in_failsafe_mode(rig: OpenRig) -> None:
    rig.free()
    for _ in range(rig.tables.site.missed_limit):
        rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
        rig.pass_one()
    rig.pass_one()
    assert (rig.scan.mode, rig.setpoints_mA()) == (FAILSAFE, [6_000] * 3)
    rig.say(ZERO)
    rig.pass_one()
    rig.pass_one()
    assert (rig.scan.mode, rig.setpoints_mA()) == (FAILSAFE, [0, 0, 0])
    rig.close()


def test_guard_is_told_of_the_lowered_failsafe_currents(rig: OpenRig) -> None:
    """20 A less 20 A declared leave room for nobody, 27 A for one, 63 A for all."""
    for limit_mA, failsafe_mA in (
        (20_000, [0, 0, 0]),
        (27_000, [6_000, 0, 0]),
        (63_000, [6_000, 6_000, 6_000]),
    ):
        rig.say(Limit(0, (limit_mA,) * 3, None, None))
        rig.run_for(2 * PERIOD_ns)
        assert [rig.guarded.failsafe_mA[i] for i in range(N_CHARGERS)] == failsafe_mA
    rig.close()


def test_scan_that_ends_under_a_limit_brings_everyone_down_within_it(rig: OpenRig) -> None:
    rig.free()
    rig.say(ZERO)
    rig.run_for(5 * S_ns)
    since_ns = rig.clock.now_ns()
    assert rig.scan.bring_down() == []
    assert {frame.value for frame in rig.tap.setpoints(since_ns)} == {0}
    rig.close()


def test_scan_that_is_started_anew_keeps_to_the_limit_from_its_first_frame_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = OpenRig(tmp_path / "first")
    first.free()
    first.say(ZERO)
    first.run_for(5 * S_ns)
    first.close()
    guarded = first.guarded
    assert guarded.commands[0].limit_mA == (0, 0, 0)
    guarded.told.update(dict.fromkeys(range(N_CHARGERS), 16_000))  # as if the takes were lost
    second = OpenRig(tmp_path / "second", guarded)
    second.run_for(60 * S_ns)
    assert second.setpoints_mA() == [0, 0, 0]
    after_first = second.tap.setpoints(second.tap.setpoints()[0].at_ns + 2 * PERIOD_ns)
    assert {frame.value for frame in after_first} == {0}
    second.close()


def test_garbage_and_floods_neither_stop_nor_delay_a_scan(rig: OpenRig) -> None:
    rig.free()
    others = []
    for _ in range(20):
        other = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        other.setblocking(False)
        try:
            other.connect(str(rig.server.path))
            for n in (1, 64, 65, 500):
                other.send(bytes(n))
        except BlockingIOError:
            pass
        others.append(other)
        rig.pass_one()
    assert rig.scan.missed == 0
    assert rig.scan.mode == RUN
    assert min(rig.setpoints_mA()) > 15_000
    for other in others:
        other.close()
    rig.close()


def test_overrun_scan_takes_no_commands(rig: OpenRig) -> None:
    rig.free()
    rig.say(ZERO)
    rig.clock.stalls[rig.pacer.grid_at_ns] = PERIOD_ns
    rig.pass_one()
    with pytest.raises(BlockingIOError):
        rig.answer()
    rig.pass_one()
    rig.pass_one()
    assert rig.answer() == Answer(Code.ACCEPTED)
    rig.close()


def test_raise_above_the_limit_is_dropped_by_the_gate_whatever_the_core_says(
    rig: OpenRig,
) -> None:
    """The core is told that there is no limit, the gate is not."""
    rig.free()
    rig.say(ZERO)
    rig.run_for(5 * S_ns)
    rig.core.external_limit(0, None, None, None, rig.clock.now_ns())
    since_ns = rig.clock.now_ns()
    rig.run_for(60 * S_ns)
    assert {frame.value for frame in rig.tap.setpoints(since_ns)} == {0}
    assert len(rig.events(Event.GATE_DROP)) > 0
    rig.close()
