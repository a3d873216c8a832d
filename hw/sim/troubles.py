"""The faults that are at work on one simulated bus: when each begins and ends, and what it does.

Owns the schedule, the fate of an exchange under the faults of the line, and the handing of faults
of a device to that device. No I/O and no clock: the time comes with every call and moves only
forward. Same seed, same faults, same requests: same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hw.sim.fault import BUS, Fault, who_kind
from hw.sim.faults import Fate
from hw.sim.outlet import NEVER_ns
from hw.sim.rtu import with_crc
from hw.wire import WRITE_FUNCTIONS

ON_THE_LINE = ("silence", "crc", "late", "foreign", "noise")
BURST_BYTES = 12
NOISE_BYTES_MAX = 20
OTHER_ADDRESS_MAX = 247


class Afflicted(Protocol):
    """A device that can have faults of its own. `names` are those that strike it."""

    names: frozenset[str]

    def fall_ill(self, fault: Fault, now_ns: int) -> None: ...
    def get_well(self, fault: Fault, now_ns: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Spell:
    """One fault with its times; `number` is its place in the order of arrival."""

    number: int
    fault: Fault
    begin_ns: int
    end_ns: int


class Troubles:
    """Faults of one bus. `note` is told of every begin and end, as a dictionary."""

    def __init__(
        self,
        devices: Iterable[Afflicted],
        seed: int,
        note: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._devices = list(devices)
        self._seed = seed
        self._dice = random.Random(seed)
        self._note = note or (lambda entry: None)
        self._n_spells = 0
        self._waiting: list[Spell] = []
        self._active: list[Spell] = []
        self._next_ns = NEVER_ns

    # from outside

    def add(self, fault: Fault, now_ns: int) -> None:
        """Let a fault begin `at_ns` from now."""
        begin_ns = now_ns + fault.at_ns
        for_ns = 0 if fault.for_ns is None and fault.kind == "reboot" else fault.for_ns
        end_ns = NEVER_ns if for_ns is None else begin_ns + for_ns
        self._n_spells += 1
        self._waiting.append(Spell(self._n_spells, fault, begin_ns, end_ns))
        self._plan()

    def clear(self, who: str, kind: str, now_ns: int) -> None:
        """End what `who` has; an empty `kind` is every kind. A bus stands for all that is on it."""
        for spell in list(self._active):
            is_his = spell.fault.who == who or who_kind(who) == BUS
            if is_his and kind in ("", spell.fault.kind):
                self._end(spell, now_ns)
        self._plan()

    def advance(self, now_ns: int) -> None:
        """Begin and end what is due, in the order of the times."""
        while self._next_ns <= now_ns:
            ending = min(self._active, key=lambda spell: spell.end_ns, default=None)
            begin = min(self._waiting, key=lambda spell: spell.begin_ns, default=None)
            if begin is not None and (ending is None or begin.begin_ns <= ending.end_ns):
                self._waiting.remove(begin)
                self._begin(begin)
            elif ending is not None:
                self._end(ending, ending.end_ns)
            self._plan()

    @property
    def active(self) -> list[Fault]:
        return [spell.fault for spell in self._active]

    def _plan(self) -> None:
        times = [spell.begin_ns for spell in self._waiting]
        self._next_ns = min([*times, *(spell.end_ns for spell in self._active)], default=NEVER_ns)

    def _begin(self, spell: Spell) -> None:
        self._active.append(spell)
        for device in self._devices:
            if spell.fault.who in device.names:
                device.fall_ill(spell.fault, spell.begin_ns)
        self._tell(spell, spell.begin_ns, True)

    def _end(self, spell: Spell, now_ns: int) -> None:
        self._active.remove(spell)
        for device in self._devices:
            if spell.fault.who in device.names:
                device.get_well(spell.fault, now_ns)
        self._tell(spell, now_ns, False)

    def _tell(self, spell: Spell, at_ns: int, is_on: bool) -> None:
        fault = spell.fault
        entry = {"at_ns": at_ns, "who": fault.who, "fault": fault.kind, "is_on": is_on}
        self._note({"kind": "fault", **entry})

    # what the line does

    @property
    def is_unplugged(self) -> bool:
        return any(spell.fault.kind == "unplug" for spell in self._active)

    def fate(self, names: frozenset[str], fate: Fate) -> Fate:
        """What befalls this exchange, beside what would befall it anyway."""
        for spell in self._active:
            fault = spell.fault
            if fault.kind in ON_THE_LINE and fault.who in names:
                # Thrown for every exchange, so that one fault does not shift the others' luck.
                is_struck = self._dice.randrange(100) < fault.share_percent
                if is_struck:
                    fate = self._struck(fault, fate)
        return fate

    def _struck(self, fault: Fault, fate: Fate) -> Fate:
        form = fault.form_or_usual
        if fault.kind == "silence":
            if form == "deaf":
                return fate._replace(loses_request=True)
            return fate._replace(loses_reply=True)
        if fault.kind == "crc":
            return fate._replace(flips=fate.flips or 1 << self._dice.randrange(8))
        if fault.kind == "late":
            return fate._replace(late_ns=max(fate.late_ns, fault.late_ns))
        if fault.kind == "foreign":
            return fate._replace(foreign=form)
        noise = self._dice.randbytes(1 + self._dice.randrange(NOISE_BYTES_MAX))
        return fate._replace(noise=noise, is_drowned=form == "instead")

    def bursts(self, from_ns: int, to_ns: int) -> Iterator[tuple[int, bytes]]:
        """Bytes that come without being asked for, at or after `from_ns` and before `to_ns`."""
        for spell in self._active:
            if spell.fault.kind != "babble":
                continue
            every_ns = spell.fault.every_ns
            k = max(-(-(from_ns - spell.begin_ns) // every_ns), 0)
            while (at_ns := spell.begin_ns + k * every_ns) < min(to_ns, spell.end_ns):
                dice = random.Random(f"{self._seed} {spell.number} {k}")
                yield at_ns, dice.randbytes(BURST_BYTES)
                k += 1

    @property
    def is_babbling(self) -> bool:
        return any(spell.fault.kind == "babble" for spell in self._active)


def spoiled(reply: bytes, fate: Fate) -> bytes:
    """The bytes of a reply as they come out at the other end."""
    if fate.foreign:
        reply = foreign_reply(reply, fate.foreign)
    if fate.flips:
        middle = len(reply) // 2
        damaged = bytes((reply[middle] ^ fate.flips,))
        reply = reply[:middle] + damaged + reply[middle + 1 :]
    return fate.noise if fate.is_drowned else fate.noise + reply


def foreign_reply(reply: bytes, form: str) -> bytes:
    """A whole and valid frame that is not the reply: of another address, of another function, or
    with another number of registers (of a write: to another register)."""
    address, function, body = reply[0], reply[1], reply[2:-2]
    if form == "address":
        address = address + 1 if address < OTHER_ADDRESS_MAX else 1
    elif form == "function":
        function = {3: 4, 4: 3, 6: 16, 16: 6}.get(function, function ^ 1)
    elif function in WRITE_FUNCTIONS:
        body = (int.from_bytes(body[:2], "big") ^ 1).to_bytes(2, "big") + body[2:]
    elif function < 0x80:
        body = bytes((body[0] + 2,)) + body[1:] + bytes(2)
    else:
        body += bytes(1)
    return with_crc(bytes((address, function)) + body)
