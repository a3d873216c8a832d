"""The table of what can be tuned: keys, bounds and defaults as in the site file, and the rules that
values keep together."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest

from loadctl.site.model import ChargerTable, CircuitTable, TuningTable
from loadctl.tables import Tables, Tuning
from loadctl.tuning import (
    CAR_FOLLOW,
    CHARGER_KEYS,
    CIRCUIT_KEYS,
    HEALTHY_SCANS,
    KEYS,
    N_CHARGER,
    N_TUNING,
    NOTHING,
    TUNING_KEYS,
    Bound,
    Key,
    Layer,
    Rules,
    Slots,
    ends_after,
    first_broken,
    fresh_layers,
    in_force,
    n_slots,
    number_words,
    values_at,
)
from loadctl.units import NS_PER_S
from tests.support.builders import (
    make_charger,
    make_circuit,
    make_tables,
    maps_of,
    with_map_changes,
)

S = NS_PER_S
MODELS: dict[str, Any] = {
    "tuning": TuningTable,
    "circuit": CircuitTable,
    "charger": ChargerTable,
}


def bounds_of(key: Key) -> tuple[float, float]:
    """What the model of the site file says."""
    field = MODELS[key.table].model_fields[key.name]
    metadata = field.metadata
    if key.name == "limit_A":  # of each phase
        metadata = field.annotation.__args__[0].__metadata__[0].metadata
    found = {type(each).__name__: each for each in metadata}
    return found["Ge"].ge, found["Le"].le


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: f"{key.table}-{key.label}")
def test_bounds_and_defaults_are_those_of_the_site_file(key: Key) -> None:
    field = MODELS[key.table].model_fields[key.name]
    if key.unit == "yes":
        assert (key.least, key.most) == (0, 1)
    else:
        least, most = bounds_of(key)
        assert (key.least / key.per_unit, key.most / key.per_unit) == (least, most)
    default = None if field.is_required() else field.default
    assert (None if key.default is None else key.default / key.per_unit) == default


def test_keys_of_the_tuning_stand_in_the_order_of_its_row() -> None:
    fields = [field.name for field in dataclasses.fields(Tuning)]
    units = {"s": ("_s", "_ns"), "A": ("_A", "_mA"), "A/s": ("_A_per_s", "_mA_per_s")}
    for key, field in zip(TUNING_KEYS, fields, strict=True):
        shown, inside = units.get(key.unit, ("", ""))
        assert key.name.removesuffix(shown) + inside == field
    assert fields[CAR_FOLLOW] == "car_follow_ns"
    assert fields[HEALTHY_SCANS] == "healthy_scans"


def test_numbers_of_keys_never_change() -> None:
    """They stand in events and records."""
    assert [key.number for key in TUNING_KEYS] == list(range(1, 19))
    assert [(key.number, key.label) for key in CIRCUIT_KEYS] == [
        (21, "limit_A L1"), (22, "limit_A L2"), (23, "limit_A L3"), (24, "margin_A"),
    ]  # fmt: skip
    assert [(key.number, key.name) for key in CHARGER_KEYS] == [
        (31, "min_A"), (32, "max_A"), (33, "priority"), (34, "weight"), (35, "enable"),
        (36, "never_pause"),
    ]  # fmt: skip


def garage(**charger: Any) -> Tables:
    words = {"max_mA": 16_000, **charger}
    return make_tables(
        chargers=[make_charger(f"bay{i}", address=2 + i, **words) for i in range(2)],
        circuits=[
            make_circuit("main", 63, is_dynamic=True, meter=0, margin_mA=1_000),
            make_circuit("sub", 40, parent=0),
        ],
    )


def rules_of(tables: Tables) -> Rules:
    return Rules(Slots(tables), maps_of(tables))


def test_slot_and_place_are_each_others_inverse() -> None:
    slots = Slots(garage())
    assert slots.n == n_slots(2, 2) == len(slots.site)
    for slot in range(slots.n):
        key, who = slots.place_of(slot)
        assert slots.slot_of(key.number, who) == slot


@pytest.mark.parametrize(
    ("number", "who"),
    [(0, -1), (19, -1), (1, 0), (20, 0), (25, 0), (21, -1), (21, 2), (37, 0), (31, 2), (31, -1)],
)
def test_slot_of_what_there_is_not_is_none(number: int, who: int) -> None:
    assert Slots(garage()).slot_of(number, who) is None


def bound_of(rules: Rules, number: int, who: int, **other: int) -> Bound:
    values = list(rules.slots.site)
    for name, value in other.items():
        at = rules.slots.slot_of(NUMBERS[name], who)
        assert at is not None
        values[at] = value
    slot = rules.slots.slot_of(number, who)
    assert slot is not None
    return rules.bound(slot, values)


NUMBERS = {key.name: key.number for key in KEYS.values()}
SITE = "what the site file says"


def test_bounds_that_follow_from_the_site_file() -> None:
    rules = rules_of(garage())
    assert bound_of(rules, 21, 0) == Bound(6_000, 63_000, "", SITE)
    assert bound_of(rules, 23, 1) == Bound(6_000, 40_000, "", SITE)
    assert bound_of(rules, 24, 0) == Bound(1_000, 10_000_000, SITE, "")
    assert bound_of(rules, 32, 1) == Bound(6_000, 16_000, "min_A", SITE)
    assert bound_of(rules, 34, 1) == Bound(1, 1_000)
    assert bound_of(rules, 5, -1) == Bound(0, 3_600 * S)


def test_bounds_that_follow_from_the_other_values_of_a_charger() -> None:
    rules = rules_of(garage())
    assert bound_of(rules, 31, 0) == Bound(6_000, 6_000, "", "failsafe_A")
    rules = rules_of(garage(failsafe_mA=0))
    assert bound_of(rules, 31, 0, max_A=9_000) == Bound(6_000, 9_000, "", "max_A")
    assert bound_of(rules, 32, 0, min_A=8_000) == Bound(8_000, 16_000, "min_A", SITE)
    assert bound_of(rules, 36, 0) == Bound(0, 0, "", "failsafe_A is below min_A")
    rules = rules_of(garage(failsafe_mA=10_000, fallback_mA=10_000))
    assert bound_of(rules, 32, 0) == Bound(10_000, 16_000, "failsafe_A", SITE)
    assert bound_of(rules, 31, 0, max_A=10_000) == Bound(6_000, 10_000, "", "max_A")
    assert bound_of(rules, 36, 0) == Bound(0, 1)


def test_minimum_is_never_below_what_the_device_takes() -> None:
    tables = with_map_changes(garage(failsafe_mA=0), "reference-charger", "setpoint", min_A=8)
    least = Bound(8_000, 16_000, "the least that reference-charger takes", "max_A")
    assert bound_of(rules_of(tables), 31, 0) == least


def test_floors_bind_what_is_set_and_follow_the_time_that_a_car_may_take() -> None:
    rules = rules_of(garage())
    floor = bound_of(rules, 1, -1)
    assert floor.least_why.startswith("its floor on this site: status age 2 s + meter lag")
    slower = bound_of(rules, 1, -1, car_follow_s=rules.slots.site[CAR_FOLLOW] + 7 * S)
    assert slower.least == floor.least + 7 * S
    assert bound_of(rules, 7, -1) == Bound(S, 60 * S, "its floor on this site: 2 periods", "")


def test_floors_lift_what_lies_below_them() -> None:
    slots = Slots(garage())
    values = list(slots.site)
    assert slots.lifted(values) == values
    values[CAR_FOLLOW] = 60 * S
    lifted = slots.lifted(values)
    assert lifted[0] > 60 * S
    assert lifted[1:] == values[1:]


@pytest.mark.parametrize(
    ("number", "value", "step"), [(31, 6_050, 100), (32, 6_100, 0), (21, 6_050, 0), (34, 3, 0)]
)
def test_currents_of_chargers_stand_on_their_step(number: int, value: int, step: int) -> None:
    rules = rules_of(garage())
    slot = rules.slots.slot_of(number, 0)
    assert slot is not None
    assert rules.on_grid(slot, value) == step


# layers


def test_value_in_force_is_the_timed_one_until_its_end_then_the_lasting_one() -> None:
    assert in_force(1, NOTHING, 5) == 1
    assert in_force(1, Layer(live=2), 5) == 2
    layer = Layer(live=2, timed=3, until_ns=10)
    assert [in_force(1, layer, at_ns) for at_ns in (0, 9, 10)] == [3, 3, 2]
    assert in_force(1, Layer(timed=0, until_ns=10), 9) == 0
    assert in_force(1, Layer(live=0), 9) == 0


def test_what_is_said_last_counts() -> None:
    layers = {4: Layer(live=2, timed=3, until_ns=10)}
    assert fresh_layers(layers, [(4, 5)], 20) == {4: Layer(live=2, timed=5, until_ns=20)}
    assert fresh_layers(layers, [(4, 5)], None) == {4: Layer(live=5)}
    assert fresh_layers(layers, [(4, None)], None) == {4: NOTHING}
    assert fresh_layers(layers, [(4, 6), (4, None), (4, 7)], None) == {4: Layer(live=7)}
    assert values_at([0] * 6, layers, 9) == [0, 0, 0, 0, 3, 0]
    assert ends_after(layers, 9) == [10]
    assert ends_after(layers, 10) == []


def test_rules_hold_also_when_something_falls_back() -> None:
    """A minimum of 10 A would do beside the 16 A of now, but not beside the 8 A beneath them."""
    tables = garage(failsafe_mA=0)
    rules = rules_of(tables)
    low, high = (rules.slots.slot_of(number, 0) or 0 for number in (31, 32))
    layers = {high: Layer(live=8_000, timed=16_000, until_ns=100)}
    fresh = {low: Layer(live=10_000)}
    broken = first_broken(rules, {**layers, **fresh}, fresh, 0)
    assert broken is not None
    assert broken.slot in (low, high)
    fresh = {low: Layer(timed=10_000, until_ns=100)}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is None
    fresh = {low: Layer(timed=10_000, until_ns=101)}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is not None


def test_what_falls_back_elsewhere_costs_a_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = rules_of(garage())
    fresh = {rules.slots.first_charger + 1: Layer(live=10_000)}
    elsewhere = range(rules.slots.first_charger + N_CHARGER, rules.slots.n)
    n_judged = []
    for n in (0, len(elsewhere)):
        others = {
            slot: Layer(timed=rules.slots.site[slot], until_ns=100 + slot) for slot in elsewhere[:n]
        }
        judged: list[int] = []
        bound = rules.bound

        def counted(slot: int, values: Sequence[int], to: list[int] = judged) -> Bound:
            to.append(slot)
            return Rules.bound(rules, slot, values)

        monkeypatch.setattr(rules, "bound", counted)
        assert first_broken(rules, {**others, **fresh}, fresh, 0) is None
        monkeypatch.setattr(rules, "bound", bound)
        n_judged.append(len(judged))
    assert n_judged[0] == n_judged[1] > 0


def test_every_time_at_which_something_falls_back_is_looked_at() -> None:
    """Against the slow way: all values of the site, at every end of any of them."""
    rules = rules_of(garage(failsafe_mA=0))
    rng, found = random.Random(1), set()
    first = rules.slots.first_charger
    for _ in range(400):
        layers: dict[int, Layer] = {}
        for slot in range(first, rules.slots.n):
            if (slot - first) % N_CHARGER < 2 and rng.random() < 0.7:  # min_A and max_A
                timed, live = (rng.choice((6_000, 8_000, 16_000)) for _ in range(2))
                layers[slot] = rng.choice(
                    (Layer(live, timed, rng.randrange(1, 6)), Layer(None, timed, 3), Layer(live))
                )
        fresh = {slot: layers[slot] for slot in layers if rng.random() < 0.4}
        slow = [
            rules.broken(values_at(rules.slots.site, layers, at_ns), fresh)
            for at_ns in (0, *ends_after(layers, 0))
        ]
        is_broken = first_broken(rules, layers, fresh, 0) is not None
        assert is_broken == any(broken is not None for broken in slow)
        found.add((is_broken, slow[0] is None))
    assert found == {(False, True), (True, True), (True, False)}


def test_what_goes_back_to_the_site_file_is_judged_beside_the_rest() -> None:
    rules = rules_of(garage(failsafe_mA=0))
    low, high = (rules.slots.slot_of(number, 0) or 0 for number in (31, 32))
    layers = {low: Layer(live=6_000), high: Layer(live=6_500)}
    tables = garage(failsafe_mA=0, min_mA=8_000)
    rules = rules_of(tables)
    fresh = {low: NOTHING}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is not None
    fresh = {low: NOTHING, high: NOTHING}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is None


def test_time_that_goes_back_is_lifted_not_refused() -> None:
    rules = rules_of(garage())
    layers = {0: Layer(live=100 * S), CAR_FOLLOW: Layer(live=60 * S)}
    fresh = {0: NOTHING}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is None
    fresh = {0: Layer(live=20 * S)}
    assert first_broken(rules, {**layers, **fresh}, fresh, 0) is not None


@pytest.mark.parametrize(
    ("number", "value", "words"),
    [
        (1, 15_500_000_000, "15.5"),
        (1, 0, "0"),
        (32, 10_000, "10"),
        (32, 8_500, "8.5"),
        (33, -100, "-100"),
        (34, 10, "10"),
        (35, 1, "yes"),
        (36, 0, "no"),
    ],
)
def test_numbers_in_words(number: int, value: int, words: str) -> None:
    assert number_words(KEYS[number], value) == words


def test_slots_of_the_tuning_come_first() -> None:
    assert N_TUNING == 18
    assert Slots(garage()).place_of(18)[0].number == 21
