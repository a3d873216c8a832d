"""The site file on disk beside the site that runs: read, checked as a whole, noted when saved.

Commands only.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from loadctl.errors import ConfigError
from loadctl.live import LiveSite
from loadctl.site.load import Site, site_of
from loadctl.site.places import find_places
from loadctl.site.problems import Problems
from loadctl.site.proof import prove
from loadctl.tuning import Slots


def read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is no UTF-8 text") from None


def check(live: LiveSite, path: Path, text: str) -> None:
    """What will be started from this file has to keep every rule."""
    site = loaded(live, path, text)
    prove(site.tables, site.maps).require()


def loaded(live: LiveSite, path: Path, text: str) -> Site:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    return site_of(path, text, raw, Problems(str(path), find_places(text)), live.tables.maps)


def values_on_disk(live: LiveSite) -> dict[int, int]:
    """The values of the site file as it lies there now; none where it is gone or broken."""
    path = Path(live.source.path)
    try:
        slots = Slots(loaded(live, path, read_text(path)).tables)
    except ConfigError:
        return {}
    if slots.n != live.slots.n:
        return {}
    return dict(enumerate(slots.site))


def note_saved(live: LiveSite, text: str) -> str:
    """So that the next save knows its own; a line to say where that cannot be."""
    try:
        live.source.with_saved(text).keep_in(live.site_dir)
    except OSError:
        return f"{live.site_dir.source} cannot be written: the next save will need --force"
    return ""
