"""What is shown of the keys of a running site: their values, bounds and ends.

Pure; reads nothing, changes nothing.
"""

from __future__ import annotations

from typing import Any

from loadctl.live import LiveSite, Name, amount, amounts, file_value, plain_value
from loadctl.outside import span_words
from loadctl.saving import lasting_counts
from loadctl.site.proof import prove
from loadctl.tuning import FIRST_LIMIT, NOTHING, Bound
from loadctl.units import PHASE_NAMES, s_from_ns


def values_of(values: list[int], name: Name) -> list[int]:
    return [values[slot] for slot in name.slots]


def until_ns(live: LiveSite, name: Name, now_ns: int) -> int | None:
    """When the first of its values falls back."""
    layers = [live.layers.get(slot, NOTHING) for slot in name.slots]
    ends = [layer.until_ns for layer in layers if layer.timed is not None]
    return min((end_ns for end_ns in ends if end_ns > now_ns), default=None)


def bounds_of(live: LiveSite) -> list[Bound]:
    """Of every slot; a limit is not below what the failsafe proof counts on its phase."""
    found = [live.rules.bound(slot, live.counts) for slot in range(live.slots.n)]
    circuits = [row.name for row in live.tables.circuits]
    for row in prove(live.tables, live.maps).rows:
        if row.what in PHASE_NAMES:
            number = FIRST_LIMIT + PHASE_NAMES.index(row.what)
            slot = live.slots.slot_of(number, circuits.index(row.circuit))
            assert slot is not None, "the proof is of circuits of this site"
            needed_mA = row.chargers_milli + row.background_milli
            found[slot] = found[slot]._replace(least=max(found[slot].least, needed_mA))
    return found


def line_of(live: LiveSite, name: Name, bounds: list[Bound], now_ns: int) -> str:
    """One line: what counts, until when, what the site file says, bounds, default."""
    key = name.key
    counts, site = values_of(live.counts, name), values_of(live.slots.site, name)
    parts = [f"{name.text} = {amounts(key, counts)}"]
    end_ns = until_ns(live, name, now_ns)
    if end_ns is not None:
        parts.append(f"for {span_words(s_from_ns(end_ns - now_ns))} more")
    if counts != site:
        parts.append(f"site file {amounts(key, site)}")
    found = [bounds[slot] for slot in name.slots]
    if key.unit != "yes":
        least = amounts(key, [bound.least for bound in found])
        parts.append(f"{least} to {amounts(key, [bound.most for bound in found])}")
    if key.default is not None:
        parts.append(f"default {amount(key, key.default)}")
    return ", ".join(parts)


def meaning(name: Name) -> str:
    return name.key.does + (f"; {name.key.depends}" if name.key.depends else "")


def as_dict(live: LiveSite, name: Name, bounds: list[Bound], now_ns: int) -> dict[str, Any]:
    key, end_ns = name.key, until_ns(live, name, now_ns)
    found = [bounds[slot] for slot in name.slots]
    return {
        "value": file_value(key, values_of(live.counts, name)),
        "site_value": file_value(key, values_of(live.slots.site, name)),
        "default": None if key.default is None else plain_value(key, key.default),
        "least": file_value(key, [bound.least for bound in found]),
        "most": file_value(key, [bound.most for bound in found]),
        "unit": None if key.unit in ("", "yes") else key.unit,
        "does": key.does,
        "depends": key.depends,
        "for_s": None if end_ns is None else round(s_from_ns(end_ns - now_ns), 1),
    }


def diff_of(live: LiveSite, name: Name, on_disk: dict[int, int], now_ns: int) -> dict[str, Any]:
    end_ns, counts = until_ns(live, name, now_ns), lasting_counts(live)
    found = [on_disk[slot] for slot in name.slots] if on_disk else None
    return {
        "value": file_value(name.key, values_of(live.counts, name)),
        "site_value": file_value(name.key, values_of(live.slots.site, name)),
        "for_s": None if end_ns is None else round(s_from_ns(end_ns - now_ns), 1),
        "disk_value": None if found is None else file_value(name.key, found),
        "is_saved": found == values_of(counts, name),
    }
