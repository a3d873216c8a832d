"""One bus in the hands of the guard, on a pseudo-terminal: what each charger hears, and in which
order. Real threads, real bytes; nothing here waits longer than the wire does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hw.clock import MonotonicClock
from hw.opening import open_port
from hw.wire import Line
from loadctl.guard.frames import boxes_of
from loadctl.guard.takeover import BusHolder
from loadctl.guard.words import Happening
from loadctl.link import Link
from loadctl.tables import ChargerRow
from loadctl.units import NS_PER_MS, NS_PER_S
from tests.support.builders import make_bus, make_charger, make_tables, maps_of
from tests.support.pty_boxes import PtyBoxes
from tests.support.running_site import ENV

pytestmark = pytest.mark.timing

LINE = Line(115_200, "8E1")
SILENCE_ns = 20 * NS_PER_MS
SETPOINT = 100


class Rig:
    """Chargers at addresses 2, 3, ...; the scan has told each what `told_mA` says."""

    def __init__(
        self, directory: Path, chargers: list[ChargerRow], told_mA: list[int | None]
    ) -> None:
        path = directory / "bus"
        registers = {
            row.address: {SETPOINT: (mA or 0) // 100}
            for row, mA in zip(chargers, told_mA, strict=True)
        }
        self.boxes = PtyBoxes(path, registers)
        row = make_bus(port=str(path), baud=LINE.baud, timeout_ns=60 * NS_PER_MS)
        tables = make_tables(chargers=chargers, buses=[row], meters=[])
        self.link = Link.create(directory / "link", len(chargers), 1)
        for charger_i, setpoint_mA in enumerate(told_mA):
            if setpoint_mA is not None:
                self.link.tell(charger_i, setpoint_mA)
        self.path = path
        self.holder = BusHolder(
            0,
            row,
            boxes_of(tables, maps_of(tables), 0),
            open_port(str(path), LINE, directory, False),
            directory,
            SILENCE_ns,
            self.link,
            MonotonicClock(),
        )

    def take(self) -> None:
        self.holder.take()
        self.until(lambda: self.holder.is_verified)

    def until(self, is_so: Callable[[], bool], within_s: float = 10) -> None:
        end_s = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < end_s
            time.sleep(0.002)

    def close(self) -> None:
        self.holder.end()
        self.boxes.close()

    def kinds(self) -> list[tuple[Happening, int]]:
        return [(note.kind, note.who) for note in self.holder.notes]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def made(told_mA: list[int | None], **changes: dict[str, Any]) -> Rig:
        """`changes`: by charger name, bay1 and so on."""
        names = [f"bay{i + 1}" for i in range(len(told_mA))]
        chargers = [
            make_charger(name, **{"address": 2 + i, **changes.get(name, {})})
            for i, name in enumerate(names)
        ]
        rigs.append(Rig(tmp_path, chargers, told_mA))
        return rigs[-1]

    yield made
    for rig in rigs:
        rig.close()


def test_takeover_writes_each_charger_down_the_largest_decrease_first(
    make: Callable[..., Rig],
) -> None:
    rig = make([8_000, 16_000, 6_000, 0], bay3={"failsafe_mA": 0})
    rig.take()
    assert rig.boxes.setpoint_writes() == [(3, 60), (4, 0), (2, 60), (5, 0)]
    assert [rig.link.told_mA(i) for i in range(4)] == [6_000, 6_000, 0, 0]
    assert rig.holder.unanswered == []


def test_takeover_never_raises_a_charger_below_its_failsafe(make: Callable[..., Rig]) -> None:
    rig = make([0, 3_000], bay1={"failsafe_mA": 10_000}, bay2={"failsafe_mA": 10_000})
    rig.take()
    assert rig.boxes.setpoint_writes() == [(3, 0), (2, 0)]


def test_takeover_uses_the_lower_failsafe_of_the_scan(make: Callable[..., Rig]) -> None:
    rig = make([16_000, 16_000])
    rig.link.set_failsafe(1, 0)
    rig.take()
    assert rig.boxes.setpoint_writes() == [(3, 0), (2, 60)]


def test_takeover_never_believes_a_failsafe_above_the_site_file(make: Callable[..., Rig]) -> None:
    rig = make([16_000])
    rig.link.set_failsafe(0, 12_000)
    rig.take()
    assert rig.boxes.setpoint_writes() == [(2, 60)]


def test_takeover_leaves_the_starved_and_the_isolated_alone(make: Callable[..., Rig]) -> None:
    rig = make([16_000, 16_000, 16_000], bay3={"is_isolated": True})
    rig.link.set_starved(0, True)
    rig.take()
    time.sleep(1.2)  # a probe of the silent would have gone out
    assert {message.address for message in rig.boxes.messages} == {3}


def test_takeover_reads_a_setpoint_that_was_never_known_and_does_not_raise_it(
    make: Callable[..., Rig],
) -> None:
    rig = make([None, None, None])
    rig.boxes.registers = {2: {SETPOINT: 70}, 3: {SETPOINT: 0}, 4: {SETPOINT: 65}}
    rig.boxes.deaf.add(4)
    rig.take()
    assert rig.boxes.setpoint_writes()[:3] == [(2, 60), (3, 0), (4, 0)]
    assert [rig.link.told_mA(i) for i in range(3)] == [6_000, 0, None]


def test_takeover_charger_that_does_not_answer_is_probed_by_the_same_write_only(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000, 16_000])
    rig.boxes.deaf.add(2)
    rig.take()
    rig.until(lambda: rig.boxes.setpoint_writes().count((2, 60)) == 4)
    assert [m for m in rig.boxes.messages if m.address == 2 and not m.is_write] == []
    assert rig.kinds() == [(Happening.UNANSWERED, 0)]
    assert [box.index for box in rig.holder.unanswered] == [0]
    rig.boxes.deaf.clear()
    rig.until(lambda: rig.holder.unanswered == [])


def test_takeover_told_is_lowered_before_the_frame_leaves(make: Callable[..., Rig]) -> None:
    rig = make([16_000])
    rig.boxes.deaf.add(2)
    rig.take()
    assert rig.link.told_mA(0) == 6_000


def test_takeover_register_that_holds_more_than_was_written_is_written_again(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000])
    rig.boxes.after_write[2, SETPOINT] = 160
    rig.take()
    assert rig.boxes.setpoint_writes() == [(2, 60), (2, 60)]
    note = rig.holder.notes[0]
    assert (note.kind, note.first, note.second) == (Happening.REWRITTEN, 16_000, 6_000)


def test_takeover_register_that_holds_less_is_not_raised_afterwards(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000], bay1={"watchdog_ns": 600 * NS_PER_MS})
    rig.boxes.after_write[2, SETPOINT] = 0
    rig.take()
    rig.boxes.after_write.clear()
    rig.until(lambda: len(rig.boxes.setpoint_writes()) == 3)
    assert rig.boxes.setpoint_writes() == [(2, 60), (2, 0), (2, 0)]
    assert rig.link.told_mA(0) == 0


def test_takeover_is_silent_for_as_long_as_a_reply_may_still_come(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000])
    began_ns = time.monotonic_ns()
    rig.take()
    assert rig.holder.down_at_ns - began_ns >= SILENCE_ns


def test_held_charger_is_fed_within_a_third_of_its_watchdog(make: Callable[..., Rig]) -> None:
    rig = make([6_000], bay1={"watchdog_ns": 1_200 * NS_PER_MS})
    rig.take()
    time.sleep(2)
    n_writes = len(rig.boxes.setpoint_writes())
    assert n_writes >= 1 + 2_000 // 400  # a third of 1.2 s
    assert n_writes <= 1 + 2_000 // 200 + 1  # and no storm


def test_kick_follows_an_acknowledged_setpoint_and_only_that(make: Callable[..., Rig]) -> None:
    rig = make([16_000, 16_000], bay1=KICKED, bay2=KICKED)
    rig.boxes.deaf.add(3)
    rig.take()
    rows = rig.holder.boxes
    assert rows[0].kick is not None
    kick = rows[0].kick.exchange
    kicked = [m.address for m in rig.boxes.messages if m.is_write and m.register == kick.register]
    assert kicked == [2]
    heard = [(m.is_write, m.register) for m in rig.boxes.messages if m.address == 2][:2]
    assert heard == [(True, rows[0].write.exchange.register), (True, kick.register)]


KICKED = {"model": "mennekes-amtron-compact2"}


def test_parked_bus_refreshes_what_is_due_soon_and_then_says_nothing(
    make: Callable[..., Rig],
) -> None:
    rig = make([6_000, 6_000], bay2={"watchdog_ns": 3 * NS_PER_S})
    rig.take()
    time.sleep(0.35)  # more than a quarter of a third of 3 s, and less than half of it
    before = len(rig.boxes.messages)
    rig.holder.park()
    rig.until(lambda: rig.holder.is_parked)
    assert [m.address for m in rig.boxes.messages[before:]] == [3]
    n_messages = len(rig.boxes.messages)
    time.sleep(1.2)
    assert len(rig.boxes.messages) == n_messages
    rig.holder.hold()
    rig.until(lambda: len(rig.boxes.messages) > n_messages)


def test_bus_that_was_never_taken_says_nothing(make: Callable[..., Rig]) -> None:
    rig = make([16_000])
    time.sleep(0.7)
    assert rig.boxes.messages == []
    assert rig.holder.is_parked is True


def test_port_that_hangs_up_is_closed_at_once_and_taken_over_when_it_is_back(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000])
    rig.take()
    rig.boxes.close()
    rig.holder.lose()
    rig.until(lambda: rig.holder.port is None)
    assert rig.holder.is_down is True
    again = PtyBoxes(rig.path, {2: {SETPOINT: 160}})
    rig.boxes = again
    rig.until(lambda: again.setpoint_writes() == [(2, 60)], within_s=3)  # no refresh is due yet
    assert rig.holder.n_opened == 2
    assert rig.kinds()[-2:] == [(Happening.PORT_LOST, 0), (Happening.PORT_BACK, 0)]


def test_takeover_of_a_bus_without_its_port_does_not_keep_the_others_waiting(
    make: Callable[..., Rig],
) -> None:
    rig = make([16_000])
    rig.boxes.close()
    rig.path.unlink()
    rig.holder.lose()
    rig.until(lambda: rig.holder.port is None)
    rig.take()
    assert [box.index for box in rig.holder.unanswered] == [0]


SHORT = {"watchdog_ns": 2 * NS_PER_S, "failsafe_mA": 6_000, "fallback_mA": 6_000}


def quiet_rig(directory: Path, **changes: Any) -> Rig:
    """Two chargers at 16 A with watchdogs of 2 s; the first will not come down."""
    rows = [make_charger(f"bay{i}", address=1 + i, **{**SHORT, **changes}) for i in (1, 2)]
    return Rig(directory, rows, [16_000, 16_000])


def heard_by_first(rig: Rig) -> int:
    return sum(message.address == 2 for message in rig.boxes.messages)


def silence_of_first_s(rig: Rig) -> float:
    """How long nothing more comes to the first, from the moment that it is starved."""
    rig.until(lambda: (Happening.STARVED, 0) in rig.kinds())
    n_heard, begun_s = heard_by_first(rig), time.monotonic()
    rig.until(lambda: heard_by_first(rig) > n_heard)
    return time.monotonic() - begun_s


def test_charger_that_refuses_its_failsafe_setpoint_is_left_to_its_own_watchdog(
    tmp_path: Path,
) -> None:
    rig = quiet_rig(tmp_path)
    rig.boxes.stubborn.add(2)
    rig.take()
    assert heard_by_first(rig) == 2  # the write, and once more
    assert rig.holder.unanswered[0].index == 0
    rig.boxes.stubborn.clear()
    assert 2.2 < silence_of_first_s(rig) < 3
    rig.until(lambda: rig.holder.unanswered == [], within_s=4)
    rig.close()


def test_charger_that_acknowledges_and_holds_more_is_left_to_its_own_watchdog(
    tmp_path: Path,
) -> None:
    rig = quiet_rig(tmp_path)
    rig.boxes.after_write[2, SETPOINT] = 160
    rig.take()
    del rig.boxes.after_write[2, SETPOINT]
    assert 2.2 < silence_of_first_s(rig) < 3
    rig.until(lambda: rig.holder.unanswered == [], within_s=4)
    rig.close()


def test_charger_whose_fallback_is_no_less_is_asked_again_and_again(tmp_path: Path) -> None:
    rig = quiet_rig(tmp_path, fallback_mA=16_000)
    rig.boxes.stubborn.add(2)
    rig.take()
    rig.until(lambda: heard_by_first(rig) >= 4, within_s=4)
    assert (Happening.STARVED, 0) not in rig.kinds()
    rig.close()


def test_outlets_of_a_box_that_does_not_obey_are_left_alone_together(tmp_path: Path) -> None:
    rows = [make_charger(f"bay{i}", address=2, **SHORT) for i in (1, 2)]
    rig = Rig(tmp_path, rows, [16_000, 16_000])
    rig.boxes.stubborn.add(2)
    rig.take()
    assert 2.0 < silence_of_first_s(rig) < 3
    rig.close()


def test_each_further_try_on_a_charger_that_refuses_comes_much_later(tmp_path: Path) -> None:
    """Each one may feed its watchdog at what it has."""
    rig = quiet_rig(tmp_path)
    rig.boxes.stubborn.add(2)
    rig.take()
    assert 2.2 < silence_of_first_s(rig) < 3
    n_heard = heard_by_first(rig)
    time.sleep(6)  # the next one is due after 9.6 s
    assert heard_by_first(rig) == n_heard
    rig.close()


AUDIT = """
import sys, threading
from pathlib import Path
from tests.timing.test_guard_takeover import audited
audited(Path(sys.argv[1]))
"""


def audited(directory: Path) -> None:
    """A whole takeover, refresh and parking under an audit hook; runs in a process of its own."""
    rows = [make_charger(f"bay{i}", address=1 + i) for i in (1, 2, 3)]
    rows[2] = make_charger("bay3", address=4, **KICKED)
    rig = Rig(directory, rows, [16_000, None, 16_000])
    rig.boxes.deaf.add(3)
    seen: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("import", "open", "socket.connect", "os.listdir", "exec", "compile"):
            seen.append(f"{event} {arguments!r} in {threading.current_thread().name}")

    sys.addaudithook(hook)
    rig.take()
    rig.holder.park()
    rig.until(lambda: rig.holder.is_parked)
    found = list(seen)
    sys.stdout.write("\n".join(found))
    rig.close()


def test_takeover_imports_nothing_and_opens_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", AUDIT, str(tmp_path)], capture_output=True, text=True, env=ENV
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ""
