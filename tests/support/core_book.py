"""What a stranger knows of a conversation with the core: his own book of what was sent and read.

Nothing here asks the core what it believes. A book is lenient where the law is strict: it forgets
at the earliest moment that the design allows, so that the core must never know less than it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loadctl._core import Core
from loadctl.tables import ChargerRow, CircuitRow, Phases, Tables, Tuning
from tests.support.core_sites import BAD_FRAME, GOOD, NEVER, NO_ANSWER, NOT_SENT
from tests.support.reference import PAIRS, chain

NEVER_LEFT = (NEVER, NOT_SENT)
UNANSWERED = (NO_ANSWER, BAD_FRAME)
MOST_SAMPLES = 50
KIND_POWER = 3
KIND_CHARGERS = 10
PILOT_TOLERANCE_mA = 600
CHARGES_mA, IDLE_mA, IDLE_ns = 5_000, 500, 60 * 10**9


@dataclass
class ChargerBook:
    """Every setpoint that may still be in force, and every draw that was read."""

    row: ChargerRow
    may_mA: int  # the highest of all sent since the last proof
    told_mA: int = 0
    is_armed: bool = False
    is_silent: bool = False
    is_acknowledged: bool = False
    acknowledged_at_ns: int = 0
    has_seen_above: bool = False
    raised_at_ns: int | None = None
    samples: list[tuple[int, Phases]] = field(default_factory=list)
    idle_since_ns: dict[int, int] = field(default_factory=dict)  # by phase
    unused: set[int] = field(default_factory=set)  # phases that its car does not use
    has_left: bool = False  # no car when last read

    def written(self, value_mA: int, code: int, at_ns: int) -> None:
        if code in NEVER_LEFT:
            return
        self.may_mA = max(self.may_mA, value_mA)
        if code == GOOD:
            if value_mA != self.told_mA or not self.is_acknowledged:
                self.acknowledged_at_ns = at_ns
                self.has_seen_above = False
            if value_mA > self.told_mA:
                self.raised_at_ns = at_ns
            self.told_mA = value_mA
        else:
            self.told_mA = min(self.told_mA, value_mA)
        self.is_acknowledged = code == GOOD
        self.answered(code)

    def answered(self, code: int) -> None:
        if code in UNANSWERED:
            self.is_silent = True
            self.may_mA = max(self.may_mA, self.row.fallback_mA)
            self.who_knows()

    def who_knows(self) -> None:
        """It may be another car by now."""
        self.idle_since_ns.clear()
        self.unused.clear()

    def note_phases(self, draw_mA: Phases, at_ns: int) -> None:
        for p in self.row.phases:
            if draw_mA[p] >= IDLE_mA:
                self.unused.discard(p)
            if draw_mA[p] >= IDLE_mA or max(draw_mA) < CHARGES_mA:
                self.idle_since_ns.pop(p, None)
            elif at_ns - self.idle_since_ns.setdefault(p, at_ns) >= IDLE_ns:
                self.unused.add(p)

    def sampled(self, draw_mA: Phases, at_ns: int) -> None:
        self.note_phases(draw_mA, at_ns)
        self.samples = [*self.samples[-MOST_SAMPLES:], (at_ns, draw_mA)]
        if self.is_acknowledged and at_ns > self.acknowledged_at_ns:
            if max(draw_mA) > self.told_mA + PILOT_TOLERANCE_mA:
                self.has_seen_above = True
            elif self.has_seen_above:
                self.proven()

    def passed(self, now_ns: int, tuning: Tuning) -> None:
        """The follow time, without a sample above the setpoint, is a proof."""
        if self.has_left:
            self.who_knows()
        follow_ns = self.row.hold_ns + tuning.car_follow_ns
        is_kept = self.is_acknowledged and not self.is_silent and not self.has_seen_above
        if is_kept and now_ns - self.acknowledged_at_ns >= follow_ns:
            self.proven()

    def proven(self) -> None:
        self.may_mA = self.told_mA
        self.has_seen_above = False

    def armed(self, told_mA: int) -> None:
        if self.is_armed and not self.is_silent:
            return
        self.is_armed, self.is_silent, self.is_acknowledged = True, False, False
        self.who_knows()
        self.told_mA = told_mA
        self.may_mA = max(self.may_mA, self.row.rated_mA)

    def disarmed(self) -> None:
        self.is_armed = False
        self.may_mA = max(self.may_mA, self.row.rated_mA)

    def starved(self) -> None:
        """Its own fallback has acted."""
        self.may_mA = max(self.told_mA, self.row.fallback_mA)
        self.is_acknowledged = self.has_seen_above = False
        self.samples = []

    def least_draw_mA(self, p: int, from_ns: int, to_ns: int) -> int:
        """What it drew for sure all the time from one moment to another."""
        before = [at_ns for at_ns, _ in self.samples if at_ns <= from_ns]
        if not before or self.is_silent or self.samples[-1][0] < to_ns:
            return 0
        return min(draw_mA[p] for at_ns, draw_mA in self.samples if at_ns >= before[-1])


@dataclass
class MeterBook:
    read_at_ns: int | None = None  # good, whether believed or not
    changed_at_ns: int = 0  # since when its values are these
    is_fresh: bool = False  # read in this scan
    load_mA: Phases = (0, 0, 0)
    before_mA: Phases | None = None


@dataclass
class Told:
    """The last word from outside about a circuit."""

    limit_mA: Phases | None
    power_W: int | None
    until_ns: int | None
    at_ns: int


class InForce(NamedTuple):
    """What a circuit may carry now, by phase and in watts, and what its chargers may take."""

    limit_mA: Phases
    power_W: int | None
    chargers_W: int | None


def in_force(row: CircuitRow, told: Told | None, now_ns: int) -> InForce:
    """The limits of the file, lowered by what counts from outside."""
    most_mA, most_W, chargers_W = row.limit_mA, row.limit_W, None
    if not row.takes_external:
        return InForce(most_mA, most_W, chargers_W)
    is_over = told is not None and told.until_ns is not None and now_ns >= told.until_ns
    is_lost = told is None or (
        row.loss_after_ns is not None and now_ns - told.at_ns >= row.loss_after_ns
    )
    words: list[tuple[Phases | None, int | None]] = []
    if is_over or is_lost:
        words.append((row.loss_mA, row.loss_W))
    if told is not None and not is_over and (not is_lost or told.until_ns is not None):
        least_W = row.guaranteed_W or 0
        power_W = None if told.power_W is None else max(told.power_W, least_W)
        words.append((told.limit_mA, power_W))
    for limit_mA, power_W in words:
        a, b, d = map(min, most_mA, limit_mA or most_mA)
        most_mA = (a, b, d)
        if power_W is not None and row.guaranteed_W is not None:
            chargers_W = power_W if chargers_W is None else min(power_W, chargers_W)
        elif power_W is not None:
            most_W = power_W if most_W is None else min(power_W, most_W)
    return InForce(most_mA, most_W, chargers_W)


Counts = dict[tuple[int, int], dict[int, int]]


def counts_of(tables: Tables, used_phases: tuple[tuple[int, ...], ...]) -> Counts:
    """By circuit and kind of every limit: how often each charger counts in it."""
    counts: Counts = {}
    for c in range(len(tables.circuits)):
        below = {i: used for i, used in enumerate(used_phases) if c in chain(tables, i)}
        for p in range(3):
            counts[c, p] = {i: 1 for i, used in below.items() if p in used}
        counts[c, KIND_POWER] = {i: len(used) for i, used in below.items()}
        counts[c, KIND_CHARGERS] = counts[c, KIND_POWER]
        for k, (p, q) in enumerate(PAIRS):
            only = {i: 1 for i, used in below.items() if p in used and q not in used}
            counts[c, KIND_POWER + 1 + k] = only
    return counts


class Book:
    """Stands between a caller and the core: forwards, writes down, and can play it all again."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.tuning = tables.tuning
        self.core = Core(tables)
        self.block = bytearray(self.core.plant_bytes)
        self.core.attach(self.block)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.told: dict[int, Told] = {}
        self.in_force = [in_force(row, None, 0) for row in tables.circuits]
        self._counts: dict[tuple[tuple[int, ...], ...], Counts] = {}
        self.meters = [MeterBook() for _ in tables.meters]
        self.chargers = [ChargerBook(row, row.rated_mA) for row in tables.chargers]
        self.orders: dict[int, int] = {}
        self.starving_since_ns: dict[int, int] = {}
        self.first_step_at_ns: int | None = None
        self.now_ns = 0
        self.mode = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """What only reads."""
        reading: Callable[..., Any] = getattr(self.core, name)
        return reading

    def _tell(self, name: str, *args: Any) -> Any:
        self.calls.append((name, args))
        return getattr(self.core, name)(*args)

    def change_core(self) -> None:
        """Go on with another core: all that this one knows stands in the block."""
        self.core = Core(self.tables)
        self.block = bytearray(self.block)
        self.core.attach(self.block)

    def told_again(self) -> bytearray:
        """The block of a single core that was told the same."""
        core = Core(self.tables)
        block = bytearray(core.plant_bytes)
        core.attach(block)
        for name, args in self.calls:
            getattr(core, name)(*args)
        return block

    @property
    def counts(self) -> Counts:
        used = tuple(self.core.used_phases())
        if used not in self._counts:
            self._counts[used] = counts_of(self.tables, used)
        return self._counts[used]

    # inputs

    def external_limit(
        self, c: int, limit_mA: Phases | None, power_W: int | None, until_ns: int | None, at_ns: int
    ) -> None:
        self._tell("external_limit", c, limit_mA, power_W, until_ns, at_ns)
        self.told[c] = Told(limit_mA, power_W, until_ns, at_ns)

    def set_mode(self, mode: int) -> None:
        self.mode = mode
        self._tell("set_mode", mode)

    def set_tuning(self, tuning: Tuning) -> None:
        self.tuning = tuning
        self._tell("set_tuning", tuning)

    def meter_read(self, m: int, code: int, current_mA: Any, *rest: Any) -> None:
        meter, at_ns = self.meters[m], rest[-1]
        if code == GOOD and current_mA is not None:
            meter.before_mA = None if meter.read_at_ns is None else meter.load_mA
            if current_mA != meter.before_mA:
                meter.changed_at_ns = at_ns
            meter.read_at_ns, meter.is_fresh, meter.load_mA = at_ns, True, current_mA
        self._tell("meter_read", m, code, current_mA, *rest)

    def charger_status(self, i: int, code: int, state: Any, current_mA: Any, *rest: Any) -> None:
        row, book = self.tables.chargers[i], self.chargers[i]
        book.answered(code)
        if code == GOOD:
            book.has_left = state == "A"
        if code == GOOD and current_mA is not None and row.has_measured_current:
            draw_mA = [0, 0, 0]
            for terminal, p in enumerate(row.phases):
                draw_mA[p] = max(0, current_mA[terminal])
            book.sampled((draw_mA[0], draw_mA[1], draw_mA[2]), rest[-1])
        self._tell("charger_status", i, code, state, current_mA, *rest)

    def charger_answered(self, i: int, code: int, at_ns: int) -> None:
        self.chargers[i].answered(code)
        self._tell("charger_answered", i, code, at_ns)

    def charger_armed(self, i: int, is_armed: bool, setpoint_mA: int | None) -> None:
        self._tell("charger_armed", i, is_armed, setpoint_mA)
        if is_armed:
            self.chargers[i].armed(self.core.charger(i)["setpoint_mA"])
        else:
            self.chargers[i].disarmed()

    # the scan

    def step(self, now_ns: int) -> int:
        self.now_ns = now_ns
        if self.first_step_at_ns is None:
            self.first_step_at_ns = now_ns
        for book in self.chargers:
            book.passed(now_ns, self.tuning)
        self.in_force = [
            in_force(row, self.told.get(c), now_ns) for c, row in enumerate(self.tables.circuits)
        ]
        result: int = self._tell("step", now_ns)
        self._follow_starving()
        return result

    def _follow_starving(self) -> None:
        starving = set(self.core.starving())
        for i in set(self.starving_since_ns) - starving:
            row, since_ns = self.tables.chargers[i], self.starving_since_ns.pop(i)
            assert row.watchdog_ns is not None
            assert self.now_ns - since_ns >= row.watchdog_ns * 12 // 10
            self.chargers[i].starved()
        for i in starving - set(self.starving_since_ns):
            self.starving_since_ns[i] = self.now_ns
            self.chargers[i].answered(NO_ANSWER)

    def takes(self) -> list[tuple[int, int]]:
        self.orders = dict(self.core.takes())
        return list(self.orders.items())

    def take_done(self, i: int, code: int, at_ns: int) -> None:
        self._tell("take_done", i, code, at_ns)
        self.chargers[i].written(self.orders[i], code, at_ns)

    def confirm(self, now_ns: int) -> int:
        result: int = self._tell("confirm", now_ns)
        return result

    def gives(self) -> list[tuple[int, int]]:
        self.orders = dict(self.core.gives())
        return list(self.orders.items())

    def give_done(self, i: int, code: int, at_ns: int) -> None:
        self._tell("give_done", i, code, at_ns)
        self.chargers[i].written(self.orders[i], code, at_ns)

    def refreshed(self, i: int, code: int, at_ns: int) -> None:
        self._tell("refreshed", i, code, at_ns)
        self.chargers[i].written(self.chargers[i].told_mA, code, at_ns)

    def probe_done(self, i: int, code: int, at_ns: int) -> None:
        value_mA = self.core.probe_mA(i)
        self._tell("probe_done", i, code, at_ns)
        self.chargers[i].written(value_mA, code, at_ns)
        if code == GOOD:
            self.chargers[i].is_silent = False

    def scan_is_over(self) -> None:
        for meter in self.meters:
            meter.is_fresh = False
