"""The site file on disk beside the site that runs: read, compared, checked as a whole, noted when
saved.

Commands only.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hw.toml_text import parsed, read_text
from loadctl.errors import CheckRefused, ConfigError
from loadctl.live import LiveSite, Name, file_value, names_of
from loadctl.runtime import SiteDir
from loadctl.site.load import Site, site_of
from loadctl.site.places import find_places
from loadctl.site.problems import Problems
from loadctl.site.proof import prove
from loadctl.site.save import edited
from loadctl.tuning import NOTHING, Slots


class Merged(NamedTuple):
    """A site file with what was changed in it."""

    text: str
    written: list[Name]
    kept: dict[Name, list[int]]  # what somebody wrote by hand and does not count yet


@contextmanager
def alone(site_dir: SiteDir) -> Iterator[None]:
    """Nobody else saves this site meanwhile: two at once would not know each other's file."""
    fd = os.open(site_dir.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            said = f"{site_dir.path.name}: somebody else is saving just now; try again"
            raise CheckRefused(said) from None
        yield
    finally:
        os.close(fd)


def merged(live: LiveSite, path: Path, text: str) -> Merged:
    """The text with what was asked for until the end, checked as a whole.

    In a file that only this site has written, what else differs from what is in force was saved
    once and is taken back. In any other it was written by hand and stays.
    """
    is_ours = live.source.is_as_known(text)
    stale = differing(live, values_in(live, path, text)) if is_ours else []
    names = [name for name in live.names.values() if is_lasting(live, name) or name in stale]
    new = edited(text, file_values(live, names), path)
    found = values_in(live, path, new)
    others = [name for name in differing(live, found) if name not in names]
    if is_ours and others:  # a floor does not lift them any more
        names += others
        new = edited(new, file_values(live, others), path)
    site = loaded(live, path, new)
    prove(site.tables, site.maps).require()
    kept = {} if is_ours else {name: [found[slot] for slot in name.slots] for name in others}
    return Merged(new, names, kept)


def file_values(live: LiveSite, names: list[Name]) -> dict[tuple[str, ...], object]:
    return {live.path(name): file_value(name.key, lasting(live, name)) for name in names}


def loaded(live: LiveSite, path: Path, text: str) -> Site:
    problems = Problems(str(path), find_places(text))
    return site_of(path, text, parsed(path, text), problems, live.tables.maps)


def values_on_disk(live: LiveSite) -> dict[int, int]:
    """The values of the site file as it lies there now; none where it is gone or broken."""
    path = Path(live.source.path)
    try:
        return values_in(live, path, read_text(path))
    except ConfigError:
        return {}


def values_in(live: LiveSite, path: Path, text: str) -> dict[int, int]:
    """The values of a site file; none where it is broken, or of other chargers and circuits."""
    try:
        slots = Slots(loaded(live, path, text).tables)
    except ConfigError:
        return {}
    return dict(enumerate(slots.site)) if list(names_of(slots)) == list(live.names) else {}


def differing(live: LiveSite, found: dict[int, int]) -> list[Name]:
    """What of a site file is not in force now, nor will be once what holds for a time is over."""
    counts = lasting_counts(live)
    return [
        name
        for name in live.names.values()
        if any(found.get(slot, counts[slot]) != counts[slot] for slot in name.slots)
    ]


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


def lasting_counts(live: LiveSite) -> list[int]:
    """The same of all slots, as they count: lifted to their floors."""
    return live.slots.lifted([v for name in live.names.values() for v in lasting(live, name)])


def note_saved(live: LiveSite, text: str) -> str:
    """So that the next save knows its own; a line to say where that cannot be."""
    try:
        live.source.with_saved(text).keep_in(live.site_dir)
    except OSError:
        return f"{live.site_dir.source} cannot be written: the next save will need --force"
    return ""
