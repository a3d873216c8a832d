"""The site file that a running site came from: where it lies, and what stood in it.

Kept in the runtime directory by `run`, so that what is tuned later can be judged against it and
saved into it. Commands only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadctl.errors import LoadctlError, NotRunning
from loadctl.runtime import SiteDir
from loadctl.site.load import Site


@dataclass(frozen=True, slots=True)
class Source:
    """`saved_hash` is of the text that was last saved over it; "" where none was."""

    path: str
    maps_dirs: tuple[str, ...]
    text: str
    saved_hash: str = ""

    def is_as_known(self, text: str) -> bool:
        """Whether a file holds what this site was started with, or what was saved since."""
        return text == self.text or text_hash(text) == self.saved_hash

    def keep_in(self, site_dir: SiteDir) -> None:
        new = site_dir.source.with_suffix(".new")
        new.write_text(json.dumps(dataclasses.asdict(self)))
        new.replace(site_dir.source)

    def with_saved(self, text: str) -> Source:
        return dataclasses.replace(self, saved_hash=text_hash(text))


def source_of(site: Site, maps_dirs: Sequence[Path]) -> Source:
    folders = tuple(str(folder.absolute()) for folder in maps_dirs)
    return Source(str(site.path.absolute()), folders, site.text)


def read_source(site_dir: SiteDir) -> Source:
    try:
        raw = json.loads(site_dir.source.read_text())
    except FileNotFoundError:
        raise NotRunning(
            f"{site_dir.path.name}: nobody knows the site file that it was started with; start it"
            " with loadctl run"
        ) from None
    except (OSError, ValueError) as error:
        raise LoadctlError(f"{site_dir.source}: {error}") from None
    return Source(raw["path"], tuple(raw["maps_dirs"]), raw["text"], raw["saved_hash"])


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
