"""What is shown of the keys of a running site: their values, bounds and ends.

Pure; reads nothing, changes nothing.
"""

from __future__ import annotations

from typing import Any

from loadctl.live import LiveSite, Name, amount, amounts, file_value, plain_value
from loadctl.outside import span_words
from loadctl.tuning import NOTHING
from loadctl.units import s_from_ns


def values_of(values: list[int], name: Name) -> list[int]:
    return [values[slot] for slot in name.slots]


def until_ns(live: LiveSite, name: Name, now_ns: int) -> int | None:
    """When the first of its values falls back."""
    layers = [live.layers.get(slot, NOTHING) for slot in name.slots]
    ends = [layer.until_ns for layer in layers if layer.timed is not None]
    return min((end_ns for end_ns in ends if end_ns > now_ns), default=None)


def line_of(live: LiveSite, name: Name, now_ns: int) -> str:
    """One line: what counts, until when, what the site file says, bounds, default."""
    key = name.key
    counts, site = values_of(live.counts, name), values_of(live.slots.site, name)
    parts = [f"{name.text} = {amounts(key, counts)}"]
    end_ns = until_ns(live, name, now_ns)
    if end_ns is not None:
        parts.append(f"for {span_words(s_from_ns(end_ns - now_ns))} more")
    if counts != site:
        parts.append(f"site file {amounts(key, site)}")
    bounds = [live.rules.bound(slot, live.counts) for slot in name.slots]
    if key.unit != "yes":
        least = amounts(key, [bound.least for bound in bounds])
        parts.append(f"{least} to {amounts(key, [bound.most for bound in bounds])}")
    if key.default is not None:
        parts.append(f"default {amount(key, key.default)}")
    return ", ".join(parts)


def meaning(name: Name) -> str:
    return name.key.does + (f"; {name.key.depends}" if name.key.depends else "")


def as_dict(live: LiveSite, name: Name, now_ns: int) -> dict[str, Any]:
    key, end_ns = name.key, until_ns(live, name, now_ns)
    bounds = [live.rules.bound(slot, live.counts) for slot in name.slots]
    return {
        "value": file_value(key, values_of(live.counts, name)),
        "site_value": file_value(key, values_of(live.slots.site, name)),
        "default": None if key.default is None else plain_value(key, key.default),
        "least": file_value(key, [bound.least for bound in bounds]),
        "most": file_value(key, [bound.most for bound in bounds]),
        "unit": None if key.unit in ("", "yes") else key.unit,
        "does": key.does,
        "depends": key.depends,
        "for_s": None if end_ns is None else round(s_from_ns(end_ns - now_ns), 1),
    }


def diff_of(live: LiveSite, name: Name, on_disk: dict[int, int], now_ns: int) -> dict[str, Any]:
    end_ns = until_ns(live, name, now_ns)
    return {
        "value": file_value(name.key, values_of(live.counts, name)),
        "site_value": file_value(name.key, values_of(live.slots.site, name)),
        "for_s": None if end_ns is None else round(s_from_ns(end_ns - now_ns), 1),
        "is_saved": [on_disk.get(slot) for slot in name.slots] == lasting(live, name),
    }


def is_lasting(live: LiveSite, name: Name) -> bool:
    """Whether anything was asked for until the end."""
    return any(live.layers.get(slot, NOTHING).live is not None for slot in name.slots)


def lasting(live: LiveSite, name: Name) -> list[int]:
    """Its values without what holds for a time only."""
    layers = [live.layers.get(slot, NOTHING) for slot in name.slots]
    return [
        live.slots.site[slot] if layer.live is None else layer.live
        for slot, layer in zip(name.slots, layers, strict=True)
    ]
