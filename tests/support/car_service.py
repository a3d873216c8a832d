"""Who waits for a place and who has one: read off the setpoints that boxes received."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.car_loop import CarLoop


@dataclass(frozen=True)
class Turn:
    """One time that a charger had more than nothing; `until_ns` is None while it still has."""

    charger_i: int
    from_ns: int
    until_ns: int | None


class Service:
    """Follows a loop scan by scan: who asks since when, and how many at most beside it."""

    def __init__(self, loop: CarLoop) -> None:
        self.loop = loop
        n = len(loop.cars)
        self.asks_since_ns: list[int | None] = [None] * n
        self.most_asking = [0] * n  # of its tier, while it has waited
        self.waits: list[tuple[int, int, int]] = []  # (charger, how long, most asking meanwhile)
        self.n_served_scans = 0
        self.n_scans = 0

    def run(self, seconds: float) -> None:
        until_ns = self.loop.now_ns + int(seconds * 1e9)
        while self.loop.now_ns < until_ns:
            self.loop.scan()
            self.note()

    def note(self) -> None:
        """An asking car waits while its setpoint is 0; what it gets ends its wait."""
        loop = self.loop
        self.n_scans += 1
        self.n_served_scans += sum(car.setpoint_mA > 0 for car in loop.cars)
        asking = [i for i, car in enumerate(loop.cars) if car.is_plugged and not car.is_full]
        for i, car in enumerate(loop.cars):
            since_ns = self.asks_since_ns[i]
            if i not in asking:
                self.asks_since_ns[i] = None
                self.most_asking[i] = 0
            elif car.setpoint_mA > 0:
                if since_ns is not None:
                    self.waits.append((i, loop.now_ns - since_ns, self.most_asking[i]))
                self.asks_since_ns[i] = None
                self.most_asking[i] = 0
            else:
                if since_ns is None:
                    self.asks_since_ns[i] = loop.now_ns - loop.period_ns
                tier = [k for k in asking if self._tier(k) == self._tier(i)]
                self.most_asking[i] = max(self.most_asking[i], len(tier))

    def _tier(self, i: int) -> int:
        return self.loop.tables.chargers[i].priority

    def all_waits(self) -> list[tuple[int, int, int]]:
        """Those that are over, and those that still last."""
        lasting = [
            (i, self.loop.now_ns - since_ns, self.most_asking[i])
            for i, since_ns in enumerate(self.asks_since_ns)
            if since_ns is not None
        ]
        return self.waits + lasting


def turns(loop: CarLoop, from_ns: int = 0) -> list[Turn]:
    """In the order in which they began; those that had begun before `from_ns` are left out."""
    began: dict[int, int] = {}
    found = []
    for at_ns, i, before_mA, after_mA in loop.plant.writes:
        if before_mA == 0 and after_mA > 0:
            began[i] = at_ns
        elif after_mA == 0 and i in began:
            found.append(Turn(i, began.pop(i), at_ns))
    found += [Turn(i, at_ns, None) for i, at_ns in began.items()]
    return sorted(
        (turn for turn in found if turn.from_ns >= from_ns), key=lambda turn: turn.from_ns
    )


def pauses_ns(loop: CarLoop) -> list[tuple[int, int, int]]:
    """(charger, from, until): each time from nothing after something, to something again."""
    last: dict[int, int] = {}
    found = []
    for at_ns, i, before_mA, after_mA in loop.plant.writes:
        if after_mA == 0 and before_mA > 0:
            last[i] = at_ns
        elif before_mA == 0 and after_mA > 0 and i in last:
            found.append((i, last.pop(i), at_ns))
    return found


def n_contactor_moves(loop: CarLoop, from_ns: int = 0) -> list[int]:
    """How often each contactor has opened or closed since."""
    moves = [0] * len(loop.cars)
    for at_ns, i, before_mA, after_mA in loop.plant.writes:
        moves[i] += at_ns >= from_ns and (before_mA == 0) != (after_mA == 0)
    return moves
