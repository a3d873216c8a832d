"""The story that a simulated site plays: building load, cars, losses, seed.

Owns the description and its ready-made stories. Plain frozen data that goes to other processes as
JSON; loads are pure functions of time, so every process works them out by itself and agrees.
"""

from __future__ import annotations

import dataclasses
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hw.sim.fault import Fault
from hw.sim.outlet import Visit
from loadctl.units import NS_PER_S

if TYPE_CHECKING:
    from loadctl.tables import Tables

Phases = tuple[int, int, int]

# An apartment house over a day, percent between its least and its highest load, hour by hour.
NIGHT_PERCENT = (14, 9, 6, 4, 3, 8)
MORNING_PERCENT = (30, 55, 48, 36, 33, 38)
AFTERNOON_PERCENT = (52, 44, 36, 37, 45, 66)
EVENING_PERCENT = (90, 100, 92, 72, 48, 27)
HOURLY_PERCENT = NIGHT_PERCENT + MORNING_PERCENT + AFTERNOON_PERCENT + EVENING_PERCENT
PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """Load of a circuit that neither a charger nor a sub-circuit explains. Negative is export.

    constant  `low_mA` for ever
    steps     `steps[k]` during the k-th `every_ns`, over and over
    random    each phase anew every `every_ns`, evenly between low and high
    building  an apartment house over a day of 24 x `every_ns`, with its kettles
    """

    kind: str
    low_mA: Phases
    high_mA: Phases = (0, 0, 0)
    every_ns: int = 15 * NS_PER_S
    steps: tuple[Phases, ...] = ()
    seed: int = 1

    def at_mA(self, since_ns: int) -> Phases:
        if self.kind == "constant":
            return self.low_mA
        index = max(since_ns, 0) // self.every_ns
        if self.kind == "steps":
            return self.steps[index % len(self.steps)]
        if self.kind == "random":
            return self._between(*(noise_ppm(self.seed, index, phase) for phase in range(3)))
        share_ppm = self._curve_ppm(since_ns)
        kettle = 60 * index + max(since_ns, 0) % self.every_ns * 60 // self.every_ns
        noises = (noise_ppm(self.seed, kettle, phase) * 15 // 100 for phase in range(3))
        return self._between(*(share_ppm * 85 // 100 + noise for noise in noises))

    def _curve_ppm(self, since_ns: int) -> int:
        hour, rest_ns = divmod(max(since_ns, 0), self.every_ns)
        here, there = HOURLY_PERCENT[hour % 24], HOURLY_PERCENT[(hour + 1) % 24]
        return (here * self.every_ns + (there - here) * rest_ns) * PPM // (100 * self.every_ns)

    def _between(self, *shares_ppm: int) -> Phases:
        low, high = self.low_mA, self.high_mA
        one, two, three = (low[p] + (high[p] - low[p]) * shares_ppm[p] // PPM for p in range(3))
        return (one, two, three)


@dataclass(frozen=True, slots=True)
class Losses:
    """How often the line misbehaves, in exchanges per million. A delayed reply begins `delay_ns`
    too late at most."""

    request_ppm: int = 0
    reply_ppm: int = 0
    delay_ppm: int = 0
    delay_ns: int = 0
    garble_ppm: int = 0  # one bit of the reply arrives wrong


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str = "quiet"
    seed: int = 1
    loads: dict[str, Load] = dataclasses.field(default_factory=dict)  # by circuit; missing: none
    visits: tuple[Visit, ...] = ()
    losses: Losses = Losses()
    turnaround_ns: int | None = None  # None: the longest that bus or map allow
    power_on_mA: int = 0  # setpoint with which every box starts
    faults: tuple[Fault, ...] = ()
    logs_writes: bool = False  # keep a log of every setpoint write

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def load_scenario_json(text: str) -> Scenario:
    raw = json.loads(text)
    loads = {name: Load(**_tuples(load)) for name, load in raw.pop("loads").items()}
    visits = tuple(Visit(**_tuples(visit)) for visit in raw.pop("visits"))
    faults = tuple(Fault(**fault) for fault in raw.pop("faults"))
    losses = Losses(**raw.pop("losses"))
    return Scenario(loads=loads, visits=visits, losses=losses, faults=faults, **raw)


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    return {k: _tuple(v) for k, v in raw.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value


def noise_ppm(seed: int, index: int, phase: int) -> int:
    """An even number in 0..PPM that depends on its arguments only (splitmix64)."""
    mask = (1 << 64) - 1
    z = (seed * 0x9E3779B97F4A7C15 + index * 0xBF58476D1CE4E5B9 + phase * 0x94D049BB133111EB) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return ((z ^ (z >> 31)) * (PPM + 1)) >> 64


def demo_scenario(tables: Tables, seed: int = 1) -> Scenario:
    """Good to look at: cars arrive in turn, the building steps up and down every 15 s."""
    shares = (30, 45, 30, 90, 55, 20, 75, 40)  # percent of the declared worst case
    loads = {}
    for name, own_mA in _declared_own_mA(tables).items():
        if any(own_mA):
            steps = tuple(_scaled(own_mA, percent) for percent in shares)
            loads[name] = Load("steps", steps[0], steps=steps)
    takes_A, follows_s = (32, 16, 13, 32, 10, 20), (1, 3, 5, 2, 6, 4)
    visits = []
    for i, charger in enumerate(tables.chargers):
        terminals = ((0, 1, 2), (0,), (0, 1, 2), (0, 1))[i % 4]
        visits.append(
            Visit(
                charger=charger.name,
                arrive_ns=(1 + 3 * i) * NS_PER_S,
                leave_ns=(90 + 7 * i) * NS_PER_S if i % 3 == 2 else None,
                take_mA=takes_A[(i + seed - 1) % 6] * 1000,
                terminals=tuple(t for t in terminals if t < len(charger.phases)),
                follow_ns=follows_s[(i + seed - 1) % 6] * NS_PER_S,
            )
        )
    return Scenario("demo", seed, loads, tuple(visits))


def random_scenario(tables: Tables, seed: int, losses: Losses | None = None) -> Scenario:
    """Anything that may happen within what the site file declares: for soaks."""
    dice = random.Random(seed)
    loads = {}
    for name, own_mA in _declared_own_mA(tables).items():
        every_ns = dice.choice((2, 7, 20, 45)) * NS_PER_S
        loads[name] = Load(
            "random", _scaled(own_mA, 5), own_mA, every_ns, seed=dice.randrange(1 << 30)
        )
    visits = []
    for charger in tables.chargers:
        at_s = dice.randint(0, 60)
        for _ in range(4):
            stay_s = dice.randint(20, 600)
            n_used = dice.choice((1, 2, 3, 3))
            visits.append(
                Visit(
                    charger=charger.name,
                    arrive_ns=at_s * NS_PER_S,
                    leave_ns=(at_s + stay_s) * NS_PER_S,
                    take_mA=dice.choice((6_000, 10_000, 13_500, 16_000, 20_000, 32_000)),
                    terminals=tuple(range(min(n_used, len(charger.phases)))),
                    follow_ns=dice.randint(0, 12_000) * 1_000_000,
                    rise_ns=dice.randint(0, 4_000) * 1_000_000,
                    wake_ns=dice.randint(0, 20_000) * 1_000_000,
                )
            )
            at_s += stay_s + dice.randint(1, 120)
    return Scenario("random", seed, loads, tuple(visits), losses or Losses())


def _declared_own_mA(tables: Tables) -> dict[str, Phases]:
    """Per circuit the declared background less that of its direct sub-circuits, never below 0."""
    own = {}
    for i, circuit in enumerate(tables.circuits):
        below = [c.background_mA for c in tables.circuits if c.parent == i]
        one, two, three = (
            max(circuit.background_mA[p] - sum(row[p] for row in below), 0) for p in range(3)
        )
        own[circuit.name] = (one, two, three)
    return own


def _scaled(phases_mA: Phases, percent: int) -> Phases:
    one, two, three = (mA * percent // 100 for mA in phases_mA)
    return (one, two, three)
