"""What seconds add up to: minutes with mean and maximum, and sessions with their energy.

Pure and exact: fed the same rows of seconds again, from the same beginning, both give the same
result. So a recorder that was killed goes on from the seconds in its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import NamedTuple

from loadctl.journal.shape import (
    CIRCUIT,
    DRAW_AT,
    HAS_DRAW_AT,
    HAS_METER_AT,
    METER_AT,
    REASON_AT,
    STATE_A,
    STATE_AT,
    STATES_PLUGGED,
    Shape,
)
from loadctl.units import N_PHASES

# What was seen last counts on for this long; what comes later is a time of which nothing is known.
# A scan that is killed is back within about six seconds.
HOLD_s = 15
CHARGES_AT_mA = 1_000
STATES_CHARGING = (3, 4)  # C and D, as in the plant block
LOW_mA = -(2**31)  # below every current


class Sample(NamedTuple):
    """One second of a site. `at_s` is monotonic, within the boot of its era."""

    number: int  # of its row: era and second
    boot: str
    at_s: int
    utc_ms: int
    shape: Shape
    values: Sequence[int]


class MinuteFold:
    """Adds up the seconds of one minute."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.n_seconds = 0
        self._sums = [0] * shape.n_values
        self._maxima = [LOW_mA] * shape.n_values
        self._last: Sequence[int] = ()

    def add(self, values: Sequence[int]) -> None:
        self.n_seconds += 1
        self._last = values
        self._sums = list(map(add, self._sums, values))
        self._maxima = list(map(max, self._maxima, self._without_gaps(values)))

    def _without_gaps(self, values: Sequence[int]) -> list[int]:
        """A missing value is no 0 that could be the highest."""
        found = list(values)
        none = [LOW_mA] * N_PHASES
        for circuit_i in range(len(self.shape.circuits)):
            at = self.shape.circuit_at(circuit_i)
            if not values[at + HAS_METER_AT]:
                found[at + METER_AT : at + METER_AT + N_PHASES] = none
        for charger_i in range(len(self.shape.chargers)):
            at = self.shape.charger_at(charger_i)
            if not values[at + HAS_DRAW_AT]:
                found[at + DRAW_AT : at + DRAW_AT + N_PHASES] = none
        return found

    def values(self) -> list[int]:
        """The row of this minute."""
        found = [self.n_seconds]
        for circuit_i in range(len(self.shape.circuits)):
            at = self.shape.circuit_at(circuit_i)
            n_meter = self._sums[at + HAS_METER_AT]
            counts = [self.n_seconds] * METER_AT + [n_meter] * N_PHASES
            found += [self._mean(at + i, counts[i]) for i in range(CIRCUIT - 1)]
            found += [self._maximum(at + i, counts[i]) for i in range(CIRCUIT - 1)]
            found.append(n_meter)
        for charger_i in range(len(self.shape.chargers)):
            at = self.shape.charger_at(charger_i)
            n_draw = self._sums[at + HAS_DRAW_AT]
            draws = range(at + DRAW_AT, at + DRAW_AT + N_PHASES)
            found += [self._mean(at, self.n_seconds), self._maximum(at, self.n_seconds)]
            found += [self._mean(i, n_draw) for i in draws]
            found += [self._maximum(i, n_draw) for i in draws]
            found += [n_draw, self._last[at + STATE_AT], self._last[at + REASON_AT]]
        return found

    def _mean(self, at: int, count: int) -> int:
        return (2 * self._sums[at] + count) // (2 * count) if count else 0

    def _maximum(self, at: int, count: int) -> int:
        return self._maxima[at] if count else 0


@dataclass(slots=True)
class Session:
    """From plug-in to plug-out of one car. Energies are in uW s: mA times mV times seconds."""

    number: int
    charger: str
    begin_utc_ms: int
    is_begin_seen: bool  # the charger was seen without a car just before
    end_utc_ms: int | None = None
    measured_uWs: int = 0
    estimated_uWs: int = 0  # from the setpoint, where nothing is measured
    max_mA: int = 0
    charging_s: int = 0
    waiting_s: int = 0
    missing_s: int = 0  # of which nothing is known; no energy is counted for them


class SessionFold:
    """Follows the status letters of all chargers. `touched` holds what changed since it was last
    emptied."""

    def __init__(self, sessions: Sequence[Session], next_number: int) -> None:
        self.open = {session.charger: session for session in sessions}
        self.touched: dict[int, Session] = {}
        self._next_number = next_number
        self._before: Sample | None = None

    def begin_after(self, sample: Sample) -> None:
        """The last sample that `sessions` already hold."""
        self._before = sample

    def add(self, sample: Sample) -> None:
        before, self._before = self._before, sample
        span_s = 0 if before is None else _span_s(before, sample)
        for name in [name for name in self.open if name not in sample.shape.chargers]:
            self._end(name, sample.utc_ms if before is None else before.utc_ms)
        for charger_i, name in enumerate(sample.shape.chargers):
            if name in self.open:
                self._count(self.open[name], before, span_s)
            state = sample.values[sample.shape.charger_at(charger_i) + STATE_AT]
            if state == STATE_A and name in self.open:
                self._end(name, sample.utc_ms)
            elif state in STATES_PLUGGED and name not in self.open:
                self._begin(name, sample, before if span_s <= HOLD_s else None)

    def _begin(self, name: str, sample: Sample, before: Sample | None) -> None:
        is_seen = before is not None and _state(before, name) == STATE_A
        session = Session(self._next_number, name, sample.utc_ms, is_seen)
        self._next_number += 1
        self.open[name] = self.touched[session.number] = session

    def _end(self, name: str, utc_ms: int) -> None:
        session = self.open.pop(name)
        session.end_utc_ms = utc_ms
        self.touched[session.number] = session

    def _count(self, session: Session, before: Sample | None, span_s: int) -> None:
        """What was seen before holds until now, unless that is long ago."""
        self.touched[session.number] = session
        if before is None or span_s > HOLD_s or session.charger not in before.shape.chargers:
            session.missing_s += span_s
            return
        charger_i = before.shape.chargers.index(session.charger)
        at = before.shape.charger_at(charger_i)
        if before.values[at + STATE_AT] == 0:  # it did not answer: what it took, nobody knows
            session.missing_s += span_s
            return
        setpoint_mA, *draw_mA = before.values[at : at + HAS_DRAW_AT]
        is_connected = before.values[at + STATE_AT] in STATES_CHARGING
        if before.values[at + HAS_DRAW_AT]:
            highest_mA = max(draw_mA)
            session.measured_uWs += sum(draw_mA) * before.shape.voltage_mV * span_s
        else:
            highest_mA = setpoint_mA if is_connected else 0
            n_phases = before.shape.n_phases[charger_i]
            session.estimated_uWs += highest_mA * n_phases * before.shape.voltage_mV * span_s
        session.max_mA = max(session.max_mA, highest_mA)
        if is_connected and highest_mA >= CHARGES_AT_mA:
            session.charging_s += span_s
        else:
            session.waiting_s += span_s


def _state(sample: Sample, name: str) -> int:
    if name not in sample.shape.chargers:
        return 0
    return sample.values[sample.shape.charger_at(sample.shape.chargers.index(name)) + STATE_AT]


def _span_s(before: Sample, sample: Sample) -> int:
    """Between two samples: monotonic within one boot, else by the wall clock, which may be off."""
    if before.boot == sample.boot:
        return sample.at_s - before.at_s
    return max(0, (sample.utc_ms - before.utc_ms) // 1_000)
