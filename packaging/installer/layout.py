"""What lies where: the files and directories of an installation, and the list of them.

Pure but for `Record`, which is kept on the machine as `installed.json`: without it nobody would
know, at the end, which directories had been there before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from machine import ACCOUNT, InstallError, Machine

OPT = Path("/opt/loadctl")
VERSIONS = OPT / "versions"
CURRENT = OPT / "current"
RECORD = OPT / "installed.json"
CONFIG = Path("/etc/loadctl")
MAPS = CONFIG / "maps"
STATE = Path("/var/lib/loadctl")
RUNTIME = Path("/run/loadctl")
UNIT_DIR = Path("/etc/systemd/system")
COMMAND = Path("/usr/local/bin/loadctl")
SITE_GLOB = "*.toml"

# Symlinks: what stands there, and where it leads.
LINKS = {
    COMMAND: CURRENT / "bin/loadctl",
    OPT / "uninstall": CURRENT / "packaging/uninstall",
}
# Directories of data: mode, user. Group is always ours.
DATA_DIRS = {
    CONFIG: (0o750, "root"),
    MAPS: (0o750, "root"),
    STATE: (0o750, ACCOUNT),
}


def files_of(packaging: Path) -> dict[Path, bytes]:
    """Every file outside /opt, with its content."""
    found = {UNIT_DIR / unit.name: unit.read_bytes() for unit in (packaging / "units").iterdir()}
    udev = packaging / "udev"
    rules = udev / "70-loadctl.rules"
    found[Path("/etc/udev/rules.d") / rules.name] = rules.read_bytes()
    found[Path("/etc/modules-load.d/loadctl.conf")] = (udev / "modules.conf").read_bytes()
    return found


class Record:
    """Directories and files that the installer made, in the order it made them; `previous` is the
    version that an upgrade which has not ended goes back to."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._path = machine.path(RECORD)
        self.dirs: list[str] = []
        self.files: list[str] = []
        self.previous: str | None = None
        if self._path.exists():
            kept = json.loads(self._path.read_text())
            self.dirs, self.files = kept["dirs"], kept["files"]
            self.previous = kept.get("previous")

    def refuse_others(self, places: Iterable[Path]) -> None:
        """What somebody else put into a place of ours is neither written nor ever removed."""
        for place in places:
            path = self._machine.path(place)
            if str(place) not in self.files and (path.exists() or path.is_symlink()):
                raise InstallError(f"{path}: there already, not of an installation; move it away")

    def upgrade_from(self, name: str | None) -> None:
        """Kept until the upgrade has ended (None), for one that is interrupted to be resumed."""
        self.previous = name
        self.save()

    def make_dir(self, place: Path) -> Path:
        """With its parents; what was there already is not ours."""
        for one in reversed((place, *place.parents)):
            path = self._machine.path(one)
            if not path.exists():
                path.mkdir(mode=0o755)
                self.dirs.append(str(one))
        self.save()
        return self._machine.path(place)

    def add_file(self, place: Path) -> Path:
        self.make_dir(place.parent)
        if str(place) not in self.files:
            self.files.append(str(place))
            self.save()
        return self._machine.path(place)

    def save(self) -> None:
        if self._path.parent.exists():
            kept = {"dirs": self.dirs, "files": self.files, "previous": self.previous}
            beside = self._path.with_name(self._path.name + ".new")
            beside.write_text(json.dumps(kept, indent=1) + "\n")
            os.replace(beside, self._path)
