"""Cars with habits: a charging point and the car at it, event by event in virtual time.

Currents in mA, time in ns. The box obeys a setpoint at once and lets its watchdog act; the car
follows late, in its own grid, a little above or never; it sleeps, wakes, takes less, uses fewer
phases, becomes full. Every span is drawn from the story's own `random.Random`. A car remembers
what it drew, so that a meter with lag can be asked about the past.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from loadctl.tables import ChargerRow, Phases
from tests.support.core_sites import NS_PER_S

Span = tuple[int, int]
UNSEEN_ns = 3 * NS_PER_S  # a status is read every two seconds
NEVER_ns = 10**18
EVER_mA = 63000
N_REMEMBERED = 64
TOLERANCE_mA = 600  # of the pilot signal
UNFELT_ns = 12 * NS_PER_S  # the follow time of the sites of these stories


def span_s(first_s: float, last_s: float) -> Span:
    return int(first_s * NS_PER_S), int(last_s * NS_PER_S)


@dataclass(frozen=True)
class Habits:
    """What a car does with what it is offered. From each span one value is drawn every time."""

    follows_ns: Span = (0, 2 * NS_PER_S)  # a lower offer that it feels; hold of the box included
    rises_ns: Span = (0, 2 * NS_PER_S)
    wakes_ns: Span = (0, 0)  # from the first current offered until it takes all of it
    grid_mA: int = 1  # it takes whole multiples of this
    over_mA: int = 0  # it takes this much more than it may
    takes_mA: int = EVER_mA  # its own limit
    uses: int = 3  # phases that it uses, of those that the charger has
    needs_As: int | None = None  # charge per phase after which it is full
    is_stubborn: bool = False  # never takes less than it takes, except nothing when paused
    is_sleeper: bool = False  # once paused it does not wake before it was unplugged
    shows_C: bool = False  # state C also while it takes nothing, until it is full


PLAIN = Habits()


@dataclass
class Car:
    """`plan` holds what happens by itself: (when, "plug" | "unplug" | "takes" | "uses", value)."""

    row: ChargerRow
    rng: random.Random
    habits: Habits
    setpoint_mA: int
    plan: list[tuple[int, str, int]] = field(default_factory=list)
    visits: list[tuple[int, int]] = field(default_factory=list)  # plugged in from, until
    obeyed_mA: int = 0  # the offer that has reached the car
    takes_mA: int = 0
    uses: int = 3
    is_plugged: bool = False
    is_awake: bool = False
    is_full: bool = False
    is_lost: bool = False  # a sleeper that was paused
    is_dead: bool = False  # the box does not answer
    wakes_at_ns: int = NEVER_ns
    fed_at_ns: int = 0
    due: list[tuple[int, int]] = field(default_factory=list)  # (from when, setpoint)
    drawn: list[tuple[int, Phases]] = field(default_factory=lambda: [(0, (0, 0, 0))])
    amount_mA: int = 0
    charged_mAns: int = 0
    counted_at_ns: int = 0
    seen_at_ns: int = 0
    left_at_ns: int = -NEVER_ns

    def __post_init__(self) -> None:
        self.obeyed_mA = self.setpoint_mA
        self.takes_mA = self.habits.takes_mA
        self.uses = self.habits.uses
        self.watchdog_ns = self.row.watchdog_ns or NEVER_ns

    @property
    def state(self) -> str:
        if not self.is_plugged:
            return "A"
        return "C" if self.is_awake or (self.habits.shows_C and not self.is_full) else "B"

    @property
    def phases(self) -> tuple[int, ...]:
        """Grid phases that the car can draw on: all of the charger's while none is there. Nobody
        plugs another one in within the time that the first one's leaving takes to be read."""
        is_as_before = self.seen_at_ns - self.left_at_ns < UNSEEN_ns
        return self.row.phases[: self.uses] if self.is_plugged or is_as_before else self.row.phases

    # what others do to it

    def receive(self, setpoint_mA: int, at_ns: int) -> None:
        self.advance(at_ns)
        self.fed_at_ns = at_ns
        self._set(setpoint_mA, at_ns)

    def plug(self, at_ns: int) -> None:
        self._do(at_ns, "plug", 0)

    def unplug(self, at_ns: int) -> None:
        self._do(at_ns, "unplug", 0)

    def rouse(self, at_ns: int) -> None:
        """Somebody wakes it by hand: it charges while it is offered current."""
        self.advance(at_ns)
        self.is_lost = self.is_full = False
        if self.obeyed_mA > 0:
            self._do(at_ns, "wake", 0)

    def will(self, events: Iterable[tuple[int, str, int]]) -> None:
        self.plan = sorted([*self.plan, *events])

    # what is seen of it

    def draw_at_mA(self, at_ns: int) -> Phases:
        """By grid phase, now or within the last few seconds."""
        self.advance(at_ns)
        for from_ns, draw_mA in reversed(self.drawn):
            if from_ns <= at_ns:
                return draw_mA
        raise AssertionError(f"asked about {at_ns} ns, remembers from {self.drawn[0][0]} ns")

    def charged_As(self, at_ns: int) -> int:
        """Charge per phase since it was plugged in."""
        self.advance(at_ns)
        all_mAns = self.charged_mAns + self.amount_mA * (at_ns - self.counted_at_ns)
        return all_mAns // (1000 * NS_PER_S)

    def may_draw_mA(self) -> int:
        """The highest offer that it has not come down from yet, as far as it takes it: one that
        takes whole amps has come down from 11.8 A to 11.5 A at 11 A. Tolerances are left out."""
        kept_mA = self.amount_mA if self.habits.is_stubborn else 0
        grid_mA = self.habits.grid_mA
        offers_mA = [value_mA for _, value_mA in self.due]
        taken_mA = [offer_mA // grid_mA * grid_mA for offer_mA in (self.obeyed_mA, *offers_mA)]
        return max(self.setpoint_mA, kept_mA, *taken_mA)

    # what happens

    def advance(self, at_ns: int) -> None:
        while True:
            when_ns, what, value = self._next()
            if when_ns > at_ns:
                self.seen_at_ns = at_ns
                return
            self._do(when_ns, what, value)

    def _next(self) -> tuple[int, str, int]:
        """The next thing that happens by itself; of those at one time, the first named here."""
        when_ns, what, value = NEVER_ns, "", 0
        if self.due:
            (when_ns, value), what = self.due[0], "obey"
        if self.wakes_at_ns < when_ns:
            when_ns, what, value = self.wakes_at_ns, "wake", 0
        if self.plan and self.plan[0][0] < when_ns:
            when_ns, what, value = self.plan[0]
        if self.setpoint_mA != self.row.fallback_mA:
            fires_at_ns = self.fed_at_ns + self.watchdog_ns
            if fires_at_ns < when_ns:
                when_ns, what, value = fires_at_ns, "fall", self.row.fallback_mA
        if self.habits.needs_As is not None and self.amount_mA > 0:
            rest_mAns = self.habits.needs_As * 1000 * NS_PER_S - self.charged_mAns
            full_at_ns = self.counted_at_ns + -(-max(0, rest_mAns) // self.amount_mA)
            if full_at_ns < when_ns:
                when_ns, what, value = full_at_ns, "fill", 0
        return when_ns, what, value

    def _do(self, at_ns: int, what: str, value: int) -> None:
        self.charged_mAns += self.amount_mA * (at_ns - self.counted_at_ns)
        self.counted_at_ns = at_ns
        if self.plan and self.plan[0] == (at_ns, what, value):
            self.plan.pop(0)
        getattr(self, f"_{what}")(value, at_ns)
        self._note(at_ns)

    def _obey(self, value_mA: int, at_ns: int) -> None:
        self.due.pop(0)
        before_mA, self.obeyed_mA = self.obeyed_mA, value_mA
        if value_mA == 0:
            self.is_lost = self.is_lost or (self.habits.is_sleeper and self.is_awake)
            self.is_awake = False
            self.wakes_at_ns = NEVER_ns
        elif before_mA == 0:
            self._fall_asleep(at_ns)

    def _fall_asleep(self, at_ns: int) -> None:
        """Offered current: it will wake, unless it is full or lost."""
        self.wakes_at_ns = NEVER_ns
        if self.is_plugged and not self.is_full and not self.is_lost and self.obeyed_mA > 0:
            self.wakes_at_ns = at_ns + self.rng.randint(*self.habits.wakes_ns)

    def _wake(self, _: int, at_ns: int) -> None:
        self.is_awake = True
        self.wakes_at_ns = NEVER_ns

    def _plug(self, _: int, at_ns: int) -> None:
        self.is_plugged = True
        self.is_awake = self.is_full = self.is_lost = False
        self.charged_mAns = 0
        self.visits.append((at_ns, NEVER_ns))
        self._fall_asleep(at_ns)

    def _unplug(self, _: int, at_ns: int) -> None:
        # What is still on its way waits for the box alone, no longer for this car.
        self.due = [(min(when_ns, at_ns + self.row.hold_ns), mA) for when_ns, mA in self.due]
        self.is_plugged = self.is_awake = False
        self.left_at_ns = at_ns
        if self.visits:
            self.visits[-1] = (self.visits[-1][0], at_ns)
        self.wakes_at_ns = NEVER_ns

    def _takes(self, value_mA: int, at_ns: int) -> None:
        """A car that changes what it takes looks at its offer anew: no measurement could tell
        whether it came down to a setpoint by itself."""
        self.takes_mA = value_mA
        while self.due:
            self._obey(self.due[0][1], at_ns)
        if value_mA == 0:
            self._fill(0, at_ns)
        elif self.is_full:
            self.is_full = False
            self._fall_asleep(at_ns)

    def _uses(self, value: int, at_ns: int) -> None:
        self.uses = value

    def _fill(self, _: int, at_ns: int) -> None:
        self.is_full = True
        self.is_awake = False
        self.wakes_at_ns = NEVER_ns

    def _fall(self, value_mA: int, at_ns: int) -> None:
        self._set(value_mA, at_ns)

    def _set(self, setpoint_mA: int, at_ns: int) -> None:
        if setpoint_mA == self.setpoint_mA:
            return
        first_ns, last_ns = self.habits.rises_ns
        if setpoint_mA < self.setpoint_mA:
            first_ns, last_ns = self.habits.follows_ns
            if self.amount_mA <= setpoint_mA + TOLERANCE_mA:
                # What it does not feel no measurement can show: no car is slower there.
                first_ns, last_ns = min(first_ns, UNFELT_ns), min(last_ns, UNFELT_ns)
        from_ns = at_ns + self.rng.randint(first_ns, last_ns)
        if self.due:
            from_ns = max(from_ns, self.due[-1][0])
        self.due.append((from_ns, setpoint_mA))
        self.setpoint_mA = setpoint_mA

    def _note(self, at_ns: int) -> None:
        """Work out what it draws from now on."""
        before_mA, self.amount_mA = self.amount_mA, 0
        if self.is_awake and self.obeyed_mA > 0:
            most_mA = self.obeyed_mA + self.habits.over_mA
            if self.habits.is_stubborn:
                most_mA = max(most_mA, before_mA)
            most_mA = min(most_mA, self.takes_mA)
            self.amount_mA = most_mA // self.habits.grid_mA * self.habits.grid_mA
        used = self.row.phases[: self.uses]
        draw_mA = tuple(self.amount_mA if p in used else 0 for p in range(3))
        if draw_mA != self.drawn[-1][1]:
            self.drawn.append((at_ns, (draw_mA[0], draw_mA[1], draw_mA[2])))
            if len(self.drawn) > 2 * N_REMEMBERED:
                del self.drawn[:N_REMEMBERED]
