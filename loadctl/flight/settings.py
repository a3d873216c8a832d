"""Other values for a replay: named and checked as `loadctl tune` does it on a running site.

Owns how the values that are asked for become slots of the core. Commands only.
"""

from __future__ import annotations

from collections.abc import Sequence

from hw.devices import parse_map
from loadctl.errors import CheckRefused, UsageError
from loadctl.live import amount, names_of, parse_values
from loadctl.site.problems import nearest
from loadctl.tables import Tables
from loadctl.tuning import Rules, Slots

Chosen = dict[int, int]  # value by slot


def chosen(tables: Tables, settings: Sequence[str]) -> Chosen:
    """What is asked for, as `Core.retune` takes it; refused with the bound that it breaks."""
    slots = Slots(tables)
    names = names_of(slots)
    values = list(slots.site)
    found: Chosen = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        name = names.get(key.strip())
        if not equals:
            raise UsageError(f"--set {setting}: write KEY=VALUE, such as tuning.ramp_A_per_s=1")
        if name is None:
            meant = nearest(key, names)
            hint = f"; the nearest is {meant}" if meant else ""
            raise UsageError(f"--set {key}: there is no such key{hint}")
        try:
            found.update(zip(name.slots, parse_values(name, text), strict=True))
        except CheckRefused as error:
            raise UsageError(f"--set {error}") from None
    for slot, value in found.items():
        values[slot] = value
    rules = Rules(slots, {model: parse_map(raw, model) for model, raw in tables.maps.items()})
    broken = rules.broken(values, found)
    if broken is not None:
        key_of, _ = slots.place_of(broken.slot)
        text = next(name.text for name in names.values() if broken.slot in name.slots)
        value, bound = values[broken.slot], broken.bound
        is_low = value < bound.least
        side, limit = ("below", bound.least) if is_low else ("above", bound.most)
        why = bound.least_why if is_low else bound.most_why
        words = f"{amount(key_of, value)} is {side} {amount(key_of, limit)}"
        raise UsageError(f"--set {text}: {words}{f', {why}' if why else ''}")
    return found
