"""What lies where: the files and directories of an installation, and the list of them.

Pure but for `Record`, which is kept on the machine as `installed.json`: without it nobody would
know, at the end, which directories had been there before.
"""

from __future__ import annotations

import json
from pathlib import Path

from machine import ACCOUNT, Machine

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
    """Directories and files that the installer made, in the order it made them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._path = machine.path(RECORD)
        self.dirs: list[str] = []
        self.files: list[str] = []
        if self._path.exists():
            kept = json.loads(self._path.read_text())
            self.dirs, self.files = kept["dirs"], kept["files"]

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
            text = json.dumps({"dirs": self.dirs, "files": self.files}, indent=1)
            self._path.write_text(text + "\n")
