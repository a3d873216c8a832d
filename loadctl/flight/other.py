"""What would have happened with other values: a second core beside the one that is played.

Owns that core. It is told what was recorded, as far as that did not depend on what it decided: its
own orders count as carried out as the recorded ones were, and otherwise as acknowledged. No car
reacts to it: a car takes what it was recorded to take, and never more than this core allows it;
what it takes less is missing at the meters above it. So it shows what would have been offered, not
what a car would have made of more. Commands only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hw.wire import Code
from loadctl._core import Core
from loadctl.errors import CoreFault, UsageError
from loadctl.flight.series import Series, chargers_of
from loadctl.flight.settings import Chosen
from loadctl.tables import Phases, Tables, Tuning

Done = tuple[int, int]  # code, time


class Other:
    """Listens to a replay. `chosen` are the values that count here whatever was tuned."""

    def __init__(self, tables: Tables, chosen: Chosen, series: Series | None = None) -> None:
        self.tables = tables
        self.chosen = chosen
        self.series = series
        self.core: Core | None = None
        self.block = bytearray()
        self.n_scans = 0
        self.first_at_ns: int | None = None  # monotonic, of the first difference
        self.n_different = [0] * len(tables.chargers)
        self._recorded: list[tuple[int, Phases, bool]] = []  # at the end of the scan before
        self._own: list[tuple[int, Phases, bool]] = []
        self._takes: list[tuple[int, int]] = []
        self._gives: list[tuple[int, int]] = []
        self._done: dict[tuple[str, int], Done] = {}
        self._now_ns = 0
        self._below = [_chargers_below(tables, m) for m in range(len(tables.meters))]
        self._ways: dict[str, Callable[..., None]] = {
            "set_tuning": self._set_tuning,
            "retune": self._retune,
            "meter_read": self._meter_read,
            "charger_status": self._charger_status,
            "charger_armed": self._charger_armed,
            "step": self._step,
            "confirm": self._confirm,
            "takes": lambda: None,
            "gives": self._ask_gives,
            "take_done": self._take_done,
            "give_done": self._give_done,
        }

    # what a listener is told

    def enter(self, tables: Tables, plant: bytes, follows: bool) -> None:
        """Begin from a recorded block, unless this is where the calls so far have led anyway."""
        if self.core is not None and follows:
            return
        self.core = Core(self.tables)
        self.block = bytearray(plant)
        self.core.attach(self.block)
        self._retune([])
        self._recorded = self._own = self._chargers(self.block)

    def call(self, name: str, arguments: tuple[Any, ...], said: Any, has_raised: bool) -> None:
        assert self.core is not None
        if has_raised:
            return  # it changed nothing
        way = self._ways.get(name) or getattr(self.core, name)
        way(*arguments)

    def scan(self, ended_at_ns: int, plant: bytearray) -> None:
        """The end of a scan; `plant` is the block as recorded."""
        assert self.core is not None
        for i, _ in self._gives:
            self.core.give_done(i, *self._done.get(("give", i), (Code.GOOD, self._now_ns)))
        self._takes, self._gives = [], []
        self._done.clear()
        self._recorded, self._own = self._chargers(plant), self._chargers(self.block)
        self.n_scans += 1
        for i, (one, other) in enumerate(zip(self._recorded, self._own, strict=True)):
            if one[0] != other[0]:
                self.n_different[i] += 1
                if self.first_at_ns is None:
                    self.first_at_ns = ended_at_ns
        if self.series is not None:
            self.series.take(self.block, ended_at_ns)

    # calls that do not go on as they are

    def _set_tuning(self, tuning: Tuning) -> None:
        assert self.core is not None
        self.core.set_tuning(tuning)
        self._retune([])

    def _retune(self, changes: Sequence[tuple[int, int]]) -> None:
        """What was tuned while running counts, but not where something else was asked for."""
        assert self.core is not None
        try:
            self.core.retune(list({**dict(changes), **self.chosen}.items()))
        except CoreFault as error:
            raise UsageError(f"--set: with what was tuned while running: {error}") from None

    def _meter_read(self, meter_i: int, code: int, current_mA: Phases | None, *more: Any) -> None:
        assert self.core is not None
        if current_mA is not None:
            less_mA = [0, 0, 0]
            for i in self._below[meter_i]:
                (_, draw_mA, _), (setpoint_mA, _, _) = self._recorded[i], self._own[i]
                for p in range(3):
                    less_mA[p] += max(0, draw_mA[p] - setpoint_mA)
            if any(less_mA):
                one, two, three = (max(0, current_mA[p] - less_mA[p]) for p in range(3))
                current_mA = (one, two, three)
        self.core.meter_read(meter_i, code, current_mA, *more)

    def _charger_status(
        self,
        charger_i: int,
        code: int,
        state: str | None,
        current_mA: Phases | None,
        setpoint_mA: int | None,
        at_ns: int,
    ) -> None:
        assert self.core is not None
        own_mA = self._own[charger_i][0]
        if current_mA is not None:
            one, two, three = (min(mA, own_mA) for mA in current_mA)
            current_mA = (one, two, three)
        setpoint_mA = self._as_own(charger_i, setpoint_mA)
        self.core.charger_status(charger_i, code, state, current_mA, setpoint_mA, at_ns)

    def _charger_armed(self, charger_i: int, is_armed: bool, setpoint_mA: int | None) -> None:
        assert self.core is not None
        self.core.charger_armed(charger_i, is_armed, self._as_own(charger_i, setpoint_mA))

    def _as_own(self, charger_i: int, setpoint_mA: int | None) -> int | None:
        """A box that shows what it was told shows what this core told it."""
        is_told = setpoint_mA == self._recorded[charger_i][0]
        return self._own[charger_i][0] if is_told else setpoint_mA

    def _step(self, now_ns: int) -> None:
        assert self.core is not None
        self._now_ns = now_ns
        self.core.step(now_ns)
        self._takes = self.core.takes()

    def _take_done(self, charger_i: int, code: int, at_ns: int) -> None:
        self._done["take", charger_i] = (code, at_ns)

    def _give_done(self, charger_i: int, code: int, at_ns: int) -> None:
        self._done["give", charger_i] = (code, at_ns)

    def _confirm(self, now_ns: int) -> None:
        assert self.core is not None
        for i, _ in self._takes:
            self.core.take_done(i, *self._done.get(("take", i), (Code.GOOD, self._now_ns)))
        self.core.confirm(now_ns)

    def _ask_gives(self) -> None:
        assert self.core is not None
        self._gives = self.core.gives()

    def _chargers(self, block: bytes | bytearray) -> list[tuple[int, Phases, bool]]:
        tables = self.tables
        counts = (len(tables.circuits), len(tables.meters), len(tables.chargers))
        return chargers_of(block, *counts)


def _chargers_below(tables: Tables, meter_i: int) -> list[int]:
    """Chargers behind any circuit that this meter measures."""
    metered = {c for c, row in enumerate(tables.circuits) if row.meter == meter_i}
    found = []
    for i, charger in enumerate(tables.chargers):
        circuit = charger.circuit
        while circuit >= 0 and circuit not in metered:
            circuit = tables.circuits[circuit].parent
        if circuit >= 0:
            found.append(i)
    return found
