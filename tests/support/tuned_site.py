"""A site whose commands are taken in as by a scan, without its buses: for commands that tune."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from loadctl import runtime
from loadctl._core import Core
from loadctl.commands import Commands
from loadctl.control import Server
from loadctl.external import External
from loadctl.gate import Gate
from loadctl.image import Reader, Writer
from loadctl.link import Link
from loadctl.site.load import load_site
from loadctl.site.source import source_of
from loadctl.tables import dump, signed_hash
from loadctl.tuned import Tuned
from loadctl.tuning import Layer, n_slots
from tests.support.scan_rig import FakeGuarded


class Linked(FakeGuarded):
    """What was tuned goes to a real link."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link

    def set_tuned(self, layers: Mapping[int, Layer]) -> None:
        self.link.set_tuned([(slot, *layer) for slot, layer in layers.items()])


class TunedSite:
    """`rt` below the directory is its runtime directory, `path` its site file."""

    def __init__(self, directory: Path, text: str) -> None:
        self.path = directory / "site.toml"
        self.path.write_text(text)
        self.runtime_dir = directory / "rt"
        site = load_site(self.path)
        self.tables = tables = site.tables
        self.site_dir, self.lock_fd = runtime.claim(self.runtime_dir, tables.site.name)
        self.site_dir.tables.write_text(dump(tables))
        source_of(site, []).keep_in(self.site_dir)
        counts = (len(tables.chargers), len(tables.circuits))
        self.link = Link.create(self.site_dir.link, *counts, n_slots(counts[1], counts[0]))
        self.core = Core(tables)
        self.image = Writer(
            self.site_dir.image, len(tables.buses), len(tables.circuits), len(tables.meters),
            len(tables.chargers), self.core.plant_bytes, signed_hash(tables), 1,
        )  # fmt: skip
        self.core.attach(self.image.plant)
        self.image.publish(time.monotonic_ns())
        self.tuned = Tuned(
            tables, site.maps, self.core, Gate(tables), self.image, Linked(self.link)
        )
        self.server = Server(self.site_dir.control, lambda: 0)
        self.inbox = Commands(self.server, tables, cast(External, None), self.tuned)
        self.must_stop = threading.Event()
        self.thread = threading.Thread(target=self._drain, daemon=True)
        self.thread.start()

    def _drain(self) -> None:
        while not self.must_stop.wait(0.001):
            now_ns = time.monotonic_ns()
            self.tuned.begin(now_ns)
            self.inbox.drain(now_ns)
            self.image.publish(now_ns)

    def events(self) -> list[dict[str, int]]:
        found: list[dict[str, int]] = Reader(self.site_dir.image).snapshot()["events"]
        return found

    def close(self) -> None:
        self.must_stop.set()
        self.thread.join()
        self.server.close()
        os.close(self.lock_fd)
