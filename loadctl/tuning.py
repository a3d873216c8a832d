"""What of a site can be tuned while it runs: every key with its unit, bounds, meaning, and place.

Owns the table of keys, the numbering of slots that core, link and records share, the bounds that a
site gives each of them, and the rules that they must keep together: the command judges by these
before it asks, the scan again before it adopts. Pure integers (ns, mA, plain numbers); imports
neither pydantic nor click. A key's number stands in records and events: it never changes its
meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from hw.devices import DeviceMap
from loadctl.slots import STATUS_AGE_MAX_ns
from loadctl.tables import ChargerRow, CircuitRow, Tables, Tuning
from loadctl.units import N_PHASES, NS_PER_S, PHASE_NAMES, LEAST_CHARGING_mA, s_from_ns

TUNING, CIRCUIT, CHARGER = "tuning", "circuit", "charger"
mA_PER_A = 1_000
MOST_mA = 10_000_000
FIRST_LIMIT = 21  # number of limit_A on L1; L2 and L3 follow
STALE_PERIODS = 2  # one lost reply alone does not make a meter stale


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the site file. A limit per phase is three keys, L1 first."""

    number: int
    table: str
    name: str
    unit: str  # "s", "A", "A/s"; "" for a plain number, "yes" for true or false
    least: int  # in numbers, on every site
    most: int
    default: int | None  # None: the site file must say it
    does: str
    depends: str = ""
    rounds_up: bool = False  # loads and times that must not come out shorter

    @property
    def per_unit(self) -> int:
        return {"s": NS_PER_S, "A": mA_PER_A, "A/s": mA_PER_A}.get(self.unit, 1)

    @property
    def label(self) -> str:
        """Its name, with the phase where it is one of three."""
        phase = self.number - FIRST_LIMIT
        return f"{self.name} {PHASE_NAMES[phase]}" if 0 <= phase < N_PHASES else self.name

    @property
    def per_event(self) -> int:
        """Events hold ms instead of ns."""
        return 1_000_000 if self.unit == "s" else 1


def _s(
    number: int, name: str, least_s: float, most_s: int, default_s: float, does: str, depends: str
) -> Key:
    least, most, default = (round(value * NS_PER_S) for value in (least_s, most_s, default_s))
    return Key(number, TUNING, name, "s", least, most, default, does, depends)


# In the order of `loadctl.tables.Tuning`.
TUNING_KEYS = (
    _s(1, "peak_hold_s", 1, 600, 10,
       "how long the highest background is kept free after it was seen",
       "not below status age + meter lag + follow time"),
    _s(2, "raise_delay_s", 0, 3_600, 15,
       "how long nothing is raised on a circuit phase after a cut there",
       "at least peak_hold_s counts"),
    Key(3, TUNING, "ramp_A_per_s", "A/s", 100, 100_000, 2_000,
        "how fast a charger may rise", "a rise waits until one step of the charger fits"),
    Key(4, TUNING, "deadband_A", "A", 0, 10_000, 500,
        "a rise smaller than this waits for trim_s", "trim_s"),
    _s(5, "trim_s", 0, 3_600, 60,
       "how long a rise below deadband_A waits", "deadband_A"),
    _s(6, "raise_every_s", 0, 3_600, 5,
       "least time between two raises of one charger", "not below min_change of its map"),
    _s(7, "meter_stale_s", 0.1, 60, 3,
       "how long a meter may be silent before its circuit counts its declared background",
       "not below two periods"),
    _s(8, "soft_start_s", 0, 600, 40,
       "how long a session stays at its minimum first", ""),
    _s(9, "unused_s", 5, 3_600, 60,
       "how long a car may take less before the rest is shared again", "min_A stays"),
    _s(10, "wake_s", 5, 3_600, 120,
       "how long a car may take nothing before it counts as done", "retry_s"),
    _s(11, "retry_s", 5, 86_400, 1_800,
       "how often a car that is done is offered current again", "at least wake_s counts"),
    _s(12, "car_follow_s", 5, 60, 6,
       "how long a car may take to obey a lower setpoint, on top of its charger's hold",
       "raises the floor of peak_hold_s"),
    _s(13, "min_on_s", 0, 86_400, 300,
       "how long a session keeps its place before others get it", "a limit outranks it"),
    _s(14, "min_off_s", 0, 86_400, 300,
       "how long a paused session stays off", "not below the pause that a map asks for"),
    Key(15, TUNING, "admit_margin_A", "A", 0, 100_000, 1_000,
        "room beyond its minimum that a paused session waits for", "min_A", rounds_up=True),
    _s(16, "rotate_s", 5, 86_400, 1_800,
       "after how long the unserved get the place of another", "priority: within a tier"),
    Key(17, TUNING, "healthy_scans", "", 1, 10_000, 10,
        "good scans in a row before anything is raised after a start or failsafe", "period_ms"),
    _s(18, "stagger_s", 0, 1_800, 10,
       "within which time chargers leave failsafe, each at its own offset", ""),
)  # fmt: skip
_LIMIT = "the most that the circuit may carry on this phase"
_LIMIT_BY = "never above the site file; not below what the failsafe proof needs"
CIRCUIT_KEYS = (
    *(
        Key(FIRST_LIMIT + phase, CIRCUIT, "limit_A", "A", LEAST_CHARGING_mA, MOST_mA, None,
            _LIMIT, _LIMIT_BY)
        for phase in range(N_PHASES)
    ),
    Key(24, CIRCUIT, "margin_A", "A", 0, MOST_mA, 0,
        "what shares leave free below the limit", "never below the site file", rounds_up=True),
)  # fmt: skip
CHARGER_KEYS = (
    Key(31, CHARGER, "min_A", "A", LEAST_CHARGING_mA, 1_000_000, None,
        "the least that a car is given, or 0", "its model; failsafe_A is 0 or at least this",
        rounds_up=True),
    Key(32, CHARGER, "max_A", "A", LEAST_CHARGING_mA, 1_000_000, None,
        "the most that a car is given", "never above the site file; not below min_A, failsafe_A"),
    Key(33, CHARGER, "priority", "", -1_000, 1_000, 0,
        "its tier: higher ones are served first", ""),
    Key(34, CHARGER, "weight", "", 1, 1_000, 1,
        "its part of what its tier shares", "beside the weights of its tier"),
    Key(35, CHARGER, "enable", "yes", 0, 1, 1,
        "whether it is given current at all", "disabled it is still armed and counted"),
    Key(36, CHARGER, "never_pause", "yes", 0, 1, 0,
        "keep its minimum before all others", "failsafe_A must be at least min_A"),
)  # fmt: skip
KEYS = {key.number: key for key in (*TUNING_KEYS, *CIRCUIT_KEYS, *CHARGER_KEYS)}
N_TUNING, N_CIRCUIT, N_CHARGER = len(TUNING_KEYS), len(CIRCUIT_KEYS), len(CHARGER_KEYS)
CAR_FOLLOW = 11  # slot of car_follow_s
HEALTHY_SCANS = 16
_MARGIN = 3  # within the slots of a circuit
_MIN, _MAX, _ENABLE, _NEVER_PAUSE = 0, 1, 4, 5  # within those of a charger
_FIELDS = tuple(field.name for field in dataclasses.fields(Tuning))


class Bound(NamedTuple):
    """Both ends of what a value may be on this site, and why they are where they are."""

    least: int
    most: int
    least_why: str = ""
    most_why: str = ""


class Broken(NamedTuple):
    """A rule that values break: the slot, the bound that it is not within."""

    slot: int
    bound: Bound


class Floor(NamedTuple):
    """A value of [tuning] that may not be lower on this site, and why."""

    key: str  # in the file
    field: str  # of the row
    least_ns: int
    why: str


def floors(tables: Tables, car_follow_ns: int | None = None) -> list[Floor]:
    """What the safety argument needs of [tuning], beyond the bounds that hold on every site."""
    if car_follow_ns is None:
        car_follow_ns = tables.tuning.car_follow_ns
    lag_ns = max((meter.lag_ns for meter in tables.meters), default=0)
    draw_lag_ns = max((charger.draw_lag_ns for charger in tables.chargers), default=0)
    hold_ns = max((charger.hold_ns for charger in tables.chargers), default=0)
    follow_ns = hold_ns + car_follow_ns
    parts = [("status age", STATUS_AGE_MAX_ns), ("meter lag", lag_ns), ("follow time", follow_ns)]
    if draw_lag_ns > 0:
        parts.insert(1, ("charger lag", draw_lag_ns))
    peak_ns = sum(part_ns for _, part_ns in parts)
    peak_why = " + ".join(f"{what} {s_from_ns(part_ns):g} s" for what, part_ns in parts)
    stale_ns = STALE_PERIODS * tables.site.period_ns
    pause_ns = max((charger.min_pause_ns for charger in tables.chargers), default=0)
    return [
        Floor("peak_hold_s", "peak_hold_ns", peak_ns, peak_why),
        Floor("meter_stale_s", "meter_stale_ns", stale_ns, f"{STALE_PERIODS} periods"),
        Floor("min_off_s", "min_off_ns", pause_ns, "the pause that a charger's map asks for"),
    ]


class Slots:
    """The place of every key of one site: the tuning, then each circuit's, then each charger's."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.n_circuits, self.n_chargers = len(tables.circuits), len(tables.chargers)
        self.first_charger = N_TUNING + N_CIRCUIT * self.n_circuits
        self.n = n_slots(self.n_circuits, self.n_chargers)
        self.site = [
            *(getattr(tables.tuning, field) for field in _FIELDS),
            *(value for row in tables.circuits for value in _of_circuit(row)),
            *(value for row in tables.chargers for value in _of_charger(row)),
        ]

    def slot_of(self, number: int, who: int) -> int | None:
        """None where there is no such key, or nobody of that index."""
        key = KEYS.get(number)
        if key is None:
            return None
        if key.table == TUNING:
            return number - TUNING_KEYS[0].number if who == -1 else None
        if key.table == CIRCUIT:
            if not 0 <= who < self.n_circuits:
                return None
            return N_TUNING + N_CIRCUIT * who + number - CIRCUIT_KEYS[0].number
        if not 0 <= who < self.n_chargers:
            return None
        return self.first_charger + N_CHARGER * who + number - CHARGER_KEYS[0].number

    def place_of(self, slot: int) -> tuple[Key, int]:
        """The key of a slot, and whose it is; -1 for the tuning."""
        if slot < N_TUNING:
            return TUNING_KEYS[slot], -1
        if slot < self.first_charger:
            who, k = divmod(slot - N_TUNING, N_CIRCUIT)
            return CIRCUIT_KEYS[k], who
        who, k = divmod(slot - self.first_charger, N_CHARGER)
        return CHARGER_KEYS[k], who

    def beside(self, slot: int) -> range:
        """The slots of the same charger."""
        first = slot - (slot - self.first_charger) % N_CHARGER
        return range(first, first + N_CHARGER)

    def lifted(self, values: Sequence[int]) -> list[int]:
        """Values of [tuning] below a floor count as the floor, as in the site file."""
        found = list(values)
        for floor in floors(self.tables, found[CAR_FOLLOW]):
            slot = _FIELDS.index(floor.field)
            found[slot] = max(found[slot], floor.least_ns)
        return found


class Rules:
    """What values of one site must keep, beside the bounds of each key."""

    def __init__(self, slots: Slots, maps: Mapping[str, DeviceMap]) -> None:
        self.slots = slots
        self.circuits = slots.tables.circuits
        self.chargers = slots.tables.chargers
        self._device_mA = [_least_of(maps[row.model]) for row in self.chargers]

    def bound(self, slot: int, values: Sequence[int]) -> Bound:
        """What this slot may hold beside the other values."""
        key, who = self.slots.place_of(slot)
        if key.table == TUNING:
            for floor in floors(self.slots.tables, values[CAR_FOLLOW]):
                if floor.key == key.name and floor.least_ns > key.least:
                    why = f"its floor on this site: {floor.why}"
                    return Bound(floor.least_ns, key.most, why)
            return Bound(key.least, key.most)
        if key.table == CIRCUIT:
            site = self.slots.site[slot]
            if slot == self._first(slot) + _MARGIN:
                return Bound(site, key.most, "what the site file says")
            return Bound(key.least, site, "", "what the site file says")
        return self._bound_of_charger(key, who, slot, values)

    def _bound_of_charger(self, key: Key, who: int, slot: int, values: Sequence[int]) -> Bound:
        row, first = self.chargers[who], self._first(slot)
        failsafe_mA = row.failsafe_mA
        if slot == first + _MIN:
            most = Bound(0, values[first + _MAX], "", "max_A")
            if 0 < failsafe_mA < most.most:
                most = Bound(0, failsafe_mA, "", "failsafe_A")
            device_mA = self._device_mA[who]
            if device_mA > key.least:
                return most._replace(least=device_mA, least_why=f"the least that {row.model} takes")
            return most._replace(least=key.least)
        if slot == first + _MAX:
            least, why = max((values[first + _MIN], "min_A"), (failsafe_mA, "failsafe_A"))
            return Bound(least, self.slots.site[slot], why, "what the site file says")
        if slot == first + _NEVER_PAUSE and failsafe_mA < values[first + _MIN]:
            return Bound(0, 0, "", "failsafe_A is below min_A")
        return Bound(key.least, key.most)

    def on_grid(self, slot: int, value: int) -> int:
        """The step that a value does not stand on; 0 where it does."""
        key, who = self.slots.place_of(slot)
        if key.table == CHARGER and key.unit == "A":
            step_mA = self.chargers[who].step_mA
            return step_mA if value % step_mA else 0
        return 0

    def broken(self, values: Sequence[int], touched: Iterable[int]) -> Broken | None:
        """The first rule that these values break, among those that `touched` have a part in."""
        for near in dict.fromkeys(near for slot in sorted(touched) for near in self._near(slot)):
            bound = self.bound(near, values)
            if not bound.least <= values[near] <= bound.most:
                return Broken(near, bound)
        return None

    def _first(self, slot: int) -> int:
        """Where the slots of the same circuit or charger begin."""
        if slot < self.slots.first_charger:
            return slot - (slot - N_TUNING) % N_CIRCUIT
        return self.slots.beside(slot).start

    def _near(self, slot: int) -> Sequence[int]:
        """The slot itself first, then those whose bounds follow from it."""
        if slot < self.slots.first_charger:
            return (slot,)
        first = self._first(slot)
        return (slot, first + _MIN, first + _MAX, first + _NEVER_PAUSE)


def n_slots(n_circuits: int, n_chargers: int) -> int:
    return N_TUNING + N_CIRCUIT * n_circuits + N_CHARGER * n_chargers


def _of_circuit(row: CircuitRow) -> tuple[int, ...]:
    return (*row.limit_mA, row.margin_mA)


def _of_charger(row: ChargerRow) -> tuple[int, ...]:
    return (
        row.min_mA,
        row.max_mA,
        row.priority,
        row.weight,
        int(row.is_enabled),
        int(row.never_pause),
    )


def _least_of(device_map: DeviceMap) -> int:
    assert device_map.setpoint is not None, "the map of a charger has a setpoint"
    return device_map.setpoint.min_mA


def number_words(key: Key, value: int) -> str:
    """A value as a person writes it, without its unit: "10.5", "yes"."""
    if key.unit == "yes":
        return "yes" if value else "no"
    number = Decimal(value) / key.per_unit
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


# what was asked for, in layers


class Layer(NamedTuple):
    """What was asked for in one slot: for good (until the site stops), and for a time above it."""

    live: int | None = None
    timed: int | None = None
    until_ns: int = 0  # valid with `timed`


NOTHING = Layer()


def in_force(site: int, layer: Layer, now_ns: int) -> int:
    """The value that counts at this time, before floors."""
    if layer.timed is not None and now_ns < layer.until_ns:
        return layer.timed
    return site if layer.live is None else layer.live


def set_in(layer: Layer, value: int, until_ns: int | None) -> Layer:
    """For good it replaces what holds for a time, too: the last word counts."""
    if until_ns is None:
        return Layer(live=value)
    return layer._replace(timed=value, until_ns=until_ns)


def values_at(site: Sequence[int], layers: Mapping[int, Layer], now_ns: int) -> list[int]:
    values = list(site)
    for slot, layer in layers.items():
        values[slot] = in_force(site[slot], layer, now_ns)
    return values


def ends_after(layers: Mapping[int, Layer], now_ns: int) -> list[int]:
    """When something falls back, soonest first."""
    ends = {layer.until_ns for layer in layers.values() if layer.timed is not None}
    return sorted(end_ns for end_ns in ends if end_ns > now_ns)


def first_broken(
    rules: Rules, layers: Mapping[int, Layer], fresh: Mapping[int, Layer], now_ns: int
) -> Broken | None:
    """The first rule that `fresh` among these layers breaks, now or when something falls back.

    A floor of [tuning] binds what is set below it, and lifts what only comes to lie below it. The
    bounds of a circuit stand still. Those of a charger follow from its own values, so only what
    falls back among these is looked at, however much else holds for a time.
    """
    site = rules.slots.site
    values = values_at(site, layers, now_ns)
    touched = {slot for slot, layer in fresh.items() if layer != NOTHING or slot >= N_TUNING}
    broken = rules.broken(values, touched)
    if broken is not None:
        return broken
    of_chargers: dict[range, list[int]] = {}
    for slot in sorted(touched):
        if slot >= rules.slots.first_charger:
            of_chargers.setdefault(rules.slots.beside(slot), []).append(slot)
    for beside, slots in of_chargers.items():
        own = {slot: layers[slot] for slot in beside if slot in layers}
        for end_ns in ends_after(own, now_ns):
            for slot, layer in own.items():
                values[slot] = in_force(site[slot], layer, end_ns)
            broken = rules.broken(values, slots)
            if broken is not None:
                return broken
    return None


def fresh_layers(
    layers: Mapping[int, Layer], changes: Iterable[tuple[int, int | None]], until_ns: int | None
) -> dict[int, Layer]:
    """What the slots of these changes hold afterwards; a value of None forgets all of a slot."""
    fresh: dict[int, Layer] = {}
    for slot, value in changes:
        layer = fresh.get(slot, layers.get(slot, NOTHING))
        fresh[slot] = NOTHING if value is None else set_in(layer, value, until_ns)
    return fresh
