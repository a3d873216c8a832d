"""One simulated outlet: the box's electronics, its watchdog, and the car plugged into it.

Owns what becomes of a setpoint between its arrival and the current that flows. Events are applied
in the order of their times, so the result does not depend on how often it is asked. Knows no
registers and no clock; the time is always an argument.

What a car does:
    offered more than it draws     after `rise_ns` (after `wake_ns` from a standstill) it goes to
                                   what is offered at that moment
    told less than it draws        after `follow_ns` it goes there, or to what is offered by then
                                   where that is more
    told less, but still more      it may rise to the older offer for another BELIEF_ns
    than it draws
    offered less than 6 A          draws nothing
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

LEAST_PILOT_mA = 6_000  # below it the control pilot can offer nothing
BELIEF_ns = 5_000_000_000  # the longest that a car may act on an offer that was lowered
NEVER_ns = 1 << 62


@dataclass(frozen=True, slots=True)
class Visit:
    """One car at one charger. Times count from the start of the scenario."""

    charger: str
    arrive_ns: int
    leave_ns: int | None = None  # None: stays
    take_mA: int = 16_000  # the most that it takes on each phase, whatever is offered
    terminals: tuple[int, ...] = (0, 1, 2)  # of the charger's terminals, those the car uses
    follow_ns: int = 3_000_000_000
    rise_ns: int = 1_000_000_000
    wake_ns: int = 3_000_000_000


@dataclass(slots=True)
class BoxFacts:
    """What does not change about a box."""

    rated_mA: int
    hold_ns: int
    power_on_setpoint_mA: int
    power_on_fallback_mA: int
    power_on_watchdog_ns: int  # 0: off, or the box has none
    lag_ns: int = 0  # how old a current is that the box shows


class Outlet:
    """State and events of one outlet. `advance` must be called before anything is read."""

    def __init__(self, facts: BoxFacts, visits: tuple[Visit, ...], start_ns: int) -> None:
        self.facts = facts
        self.at_ns = start_ns
        self.setpoint_mA = facts.power_on_setpoint_mA  # as written last
        self.fallback_mA = facts.power_on_fallback_mA
        self.watchdog_ns = facts.power_on_watchdog_ns
        self.fed_at_ns = start_ns
        self.is_expired = False
        self._is_setpoint_fresh = False  # written since the watchdog expired
        self.pilot_mA = self._clamped(self.setpoint_mA)
        self._held: deque[tuple[int, int]] = deque()  # (due, current): on its way to the pilot
        self._visits = deque(
            (start_ns + v.arrive_ns, NEVER_ns if v.leave_ns is None else start_ns + v.leave_ns, v)
            for v in sorted(visits, key=lambda v: v.arrive_ns)
        )
        self.car: Visit | None = None
        self._leave_at_ns = NEVER_ns
        self.allowed_mA = 0  # what the car takes itself to be allowed
        self._falls: deque[tuple[int, int]] = deque()  # (due, current), due in order
        self._rise_at_ns = NEVER_ns
        self.is_off = False
        self.is_deaf = False  # acknowledges setpoints and does not obey them
        self.told_mA = self.setpoint_mA  # the last that was acknowledged, obeyed or not
        self._is_doubtful = False  # was deaf or switched off, and may draw by that still
        self._has_obeyed = False  # since then
        self._flowed: deque[tuple[int, tuple[int, int, int]]] = deque()  # (from, on each terminal)

    # what reaches the box

    def write_setpoint(self, setpoint_mA: int, now_ns: int) -> None:
        self.advance(now_ns)
        self.told_mA = setpoint_mA
        if self.is_deaf:
            if setpoint_mA != self.setpoint_mA:
                self._is_doubtful, self._has_obeyed = True, False
            return
        self._has_obeyed = True
        self.setpoint_mA = setpoint_mA
        if self.is_expired:
            self._is_setpoint_fresh = True
        else:
            self._command(setpoint_mA)

    def write_watchdog(self, watchdog_ns: int, now_ns: int) -> None:
        self.advance(now_ns)
        self.watchdog_ns = watchdog_ns
        self.fed_at_ns = self.at_ns

    def write_fallback(self, fallback_mA: int, now_ns: int) -> None:
        self.advance(now_ns)
        self.fallback_mA = fallback_mA
        if self.is_expired:
            self._command(fallback_mA)

    def feed(self, now_ns: int) -> None:
        """A message that keeps the watchdog quiet. After an expiry it ends the fallback, but
        only if a setpoint was written since."""
        self.advance(now_ns)
        self.fed_at_ns = self.at_ns
        if self.is_expired and self._is_setpoint_fresh:
            self.is_expired = False
            self._is_setpoint_fresh = False
            self._command(self.setpoint_mA)

    def power_off(self, setpoint_mA: int, fallback_mA: int, watchdog_ns: int, now_ns: int) -> None:
        """The box is gone, and its pilot with it; the values are those that it will wake with."""
        self.advance(now_ns)
        self.setpoint_mA, self.fallback_mA, self.watchdog_ns = setpoint_mA, fallback_mA, watchdog_ns
        self.is_off = self._is_doubtful = True
        self._has_obeyed = False
        self.is_expired = self._is_setpoint_fresh = False
        self._held.clear()
        self._falls.clear()
        self.pilot_mA = self.allowed_mA = 0
        self._rise_at_ns = NEVER_ns

    def power_on(self, now_ns: int) -> None:
        self.advance(now_ns)
        self.is_off = False
        self.fed_at_ns = self.at_ns
        self._set_pilot(self._clamped(self.setpoint_mA))

    # what can be seen

    @property
    def is_lying(self) -> bool:
        """Whether box or car may still draw more than who wrote the last setpoint must believe."""
        if self._is_doubtful and not (self.is_off or self.is_deaf):
            self._is_doubtful = not self._has_obeyed or self.could_mA() > self.in_force_mA
        return self._is_doubtful

    def believed_mA(self) -> int:
        """The most that it must be believed to draw by who cannot see that it does not obey."""
        could_mA = self.could_mA()
        return min(could_mA, self._clamped(self.told_mA)) if self.is_lying else could_mA

    @property
    def in_force_mA(self) -> int:
        """What the box is told to allow at present: its setpoint, or its fallback after expiry."""
        return self._clamped(self.fallback_mA if self.is_expired else self.setpoint_mA)

    @property
    def draw_mA(self) -> int:
        """Current on each terminal that the car uses."""
        if self.car is None or self.allowed_mA < LEAST_PILOT_mA:
            return 0
        return min(self.allowed_mA, self.car.take_mA)

    @property
    def state(self) -> str:
        if self.car is None:
            return "A"
        return "C" if self.draw_mA > 0 else "B"

    def terminal_mA(self) -> tuple[int, int, int]:
        if self.car is None:
            return (0, 0, 0)
        draw_mA, used = self.draw_mA, self.car.terminals
        return (draw_mA * (0 in used), draw_mA * (1 in used), draw_mA * (2 in used))

    def shown_mA(self) -> tuple[int, int, int]:
        """On each terminal, as the box answers: what flowed its lag ago."""
        if self.facts.lag_ns == 0:
            return self.terminal_mA()
        self._note_flow()
        return self._flowed[0][1]

    def could_mA(self) -> int:
        """The most that box and car may still draw if no further frame arrives."""
        able_mA = max(self.in_force_mA, self.pilot_mA, *(mA for _, mA in self._held))
        if self._is_setpoint_fresh:
            able_mA = max(able_mA, self._clamped(self.setpoint_mA))
        if self.car is not None:
            able_mA = max(able_mA, self.allowed_mA)
        if self.watchdog_ns and self.at_ns >= self.fed_at_ns + self._worry_ns():
            able_mA = max(able_mA, self._clamped(self.fallback_mA))
        return able_mA

    def _worry_ns(self) -> int:
        """From when on after its last feed a coming fallback counts: a follow time before it fires,
        but never sooner than half its time (a healthy master has fed it long before)."""
        follow_ns = self.facts.hold_ns + 6_000_000_000
        return max(self.watchdog_ns - follow_ns, self.watchdog_ns // 2)

    # events

    def advance(self, now_ns: int) -> None:
        """Apply everything due up to `now_ns`, in the order of its times."""
        while True:
            self._note_flow()
            at_ns, apply = self._next()
            if at_ns > now_ns:
                break
            self.at_ns = max(self.at_ns, at_ns)
            apply()
        self.at_ns = max(self.at_ns, now_ns)

    def _note_flow(self) -> None:
        """Keep what flows from now on, and what has flowed since its lag ago."""
        if self.facts.lag_ns == 0:
            return
        flows_mA = self.terminal_mA()
        if not self._flowed or self._flowed[-1][1] != flows_mA:
            self._flowed.append((self.at_ns, flows_mA))
        while len(self._flowed) > 1 and self._flowed[1][0] <= self.at_ns - self.facts.lag_ns:
            self._flowed.popleft()

    def _next(self) -> tuple[int, Callable[[], None]]:
        expiry_ns = NEVER_ns
        if self.watchdog_ns and not self.is_expired and not self.is_off:
            expiry_ns = self.fed_at_ns + self.watchdog_ns
        return min(
            (self._held[0][0] if self._held else NEVER_ns, self._pilot_moves),
            (expiry_ns, self._expire),
            (self._leave_at_ns, self._leave),
            (self._falls[0][0] if self._falls else NEVER_ns, self._fall),
            (self._rise_at_ns, self._rise),
            (self._visits[0][0] if self._visits and self.car is None else NEVER_ns, self._arrive),
            key=lambda event: event[0],
        )

    def _command(self, current_mA: int) -> None:
        current_mA = self._clamped(current_mA)
        if self.facts.hold_ns:
            self._held.append((self.at_ns + self.facts.hold_ns, current_mA))
        else:
            self._set_pilot(current_mA)

    def _pilot_moves(self) -> None:
        _, current_mA = self._held.popleft()
        self._set_pilot(current_mA)

    def _set_pilot(self, current_mA: int) -> None:
        self.pilot_mA = current_mA
        car = self.car
        if car is None:
            return
        if current_mA < self.allowed_mA:
            is_above = self.draw_mA > current_mA
            delay_ns = car.follow_ns if is_above else min(car.follow_ns, BELIEF_ns)
            due_ns = self.at_ns + delay_ns
            if self._falls:
                due_ns = max(due_ns, self._falls[-1][0])
            self._falls.append((due_ns, current_mA))
            if delay_ns == 0:
                self._fall()
        self._plan_rise()

    def _fall(self) -> None:
        _, current_mA = self._falls.popleft()
        self.allowed_mA = min(self.allowed_mA, max(current_mA, self.pilot_mA))
        self._plan_rise()

    def _plan_rise(self) -> None:
        if self.car is None or self.pilot_mA <= self.allowed_mA:
            self._rise_at_ns = NEVER_ns
        elif self._rise_at_ns == NEVER_ns:
            asleep = self.allowed_mA < LEAST_PILOT_mA
            self._rise_at_ns = self.at_ns + (self.car.wake_ns if asleep else self.car.rise_ns)

    def _rise(self) -> None:
        self._rise_at_ns = NEVER_ns
        self.allowed_mA = self.pilot_mA

    def _arrive(self) -> None:
        _, self._leave_at_ns, self.car = self._visits.popleft()
        self.allowed_mA = 0
        self._falls.clear()
        self._rise_at_ns = NEVER_ns
        self._plan_rise()

    def _leave(self) -> None:
        self.car = None
        self._leave_at_ns = NEVER_ns
        self.allowed_mA = 0
        self._falls.clear()
        self._rise_at_ns = NEVER_ns

    def _expire(self) -> None:
        self.is_expired = True
        self._is_setpoint_fresh = False
        self._command(self.fallback_mA)

    def _clamped(self, current_mA: int) -> int:
        return min(max(current_mA, 0), self.facts.rated_mA)
