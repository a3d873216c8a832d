"""A site for those who watch one: its lock is held, its image is published when wanted."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from hw.sim.scenario import Scenario
from loadctl import runtime
from loadctl import tables as plain_tables
from tests.support import sim_sites
from tests.support.scan_rig import S_ns, VirtualRig


class WatchedSite:
    def __init__(self, folder: Path, shown_name: str = "rig") -> None:
        self.folder = folder
        self.start()
        self.rig = VirtualRig(sim_sites.metered_site(2), Scenario(), self.site_dir.path)
        self.rig.run_for(5 * S_ns)
        named = replace(self.rig.tables.site, name=shown_name)
        tables = replace(self.rig.tables, site=named)
        self.site_dir.tables.write_text(plain_tables.dump(tables))
        self.publish()

    def publish(self) -> int:
        now_ns = time.monotonic_ns()
        self.rig.image.publish(now_ns)
        return now_ns

    def start(self) -> None:
        self.site_dir, self.lock_fd = runtime.claim(self.folder, "rig")

    def end(self) -> None:
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
        self.lock_fd = -1
