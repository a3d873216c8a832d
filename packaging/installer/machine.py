"""The machine that loadctl is installed on, or a directory that stands for it (`--root`).

Owns every command that changes more than files: accounts, services, device rules. Below a directory
none of them is run, each is only said, and nobody becomes the owner of anything.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from pathlib import Path

ACCOUNT = "loadctl"
SERIAL_GROUP = "dialout"
# Tells an account that the installer made from one that was there before.
ACCOUNT_NOTE = "loadctl service account"
UNITS = ("loadctl@*.service", "loadctl-recorder@*.service", "loadctl-metrics.service")
# Commands that talk to a daemon, and what tells that it runs: not so in a container, or in an image
# that is being made.
MANAGERS = {"systemctl": Path("/run/systemd/system"), "udevadm": Path("/run/udev/control")}


class InstallError(Exception):
    """One line for a person; nothing was changed, or it was put back."""


class Machine:
    """`root` is None for the machine itself."""

    def __init__(self, root: Path | None) -> None:
        self.root = root

    def path(self, place: str | Path) -> Path:
        """Where an absolute path lies."""
        place = Path(place)
        return place if self.root is None else self.root / place.relative_to("/")

    def run(self, *words: str) -> int:
        """The exit code of a command that may fail."""
        if self.root is not None:
            print("would run:", *words)
            return 0
        manager = MANAGERS.get(words[0])
        if shutil.which(words[0]) is None or (manager is not None and not manager.exists()):
            print("left out, nothing here does that:", *words)
            return 0
        return subprocess.run(words).returncode

    def must(self, *words: str) -> None:
        if self.run(*words) != 0:
            raise InstallError(f"{' '.join(words)}: failed")

    def own(self, path: Path, group: str, mode: int, user: str = "root") -> None:
        path.chmod(mode)
        if self.root is None:
            os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)

    # accounts

    def make_account(self) -> None:
        """The group, the user in it, and the user's way to serial ports."""
        if self.root is not None or not has_group(ACCOUNT):
            self.must("groupadd", "--system", ACCOUNT)
        if self.root is not None or not has_user(ACCOUNT):
            self.must(
                "useradd", "--system", "--gid", ACCOUNT, "--no-create-home",
                "--home-dir", "/var/lib/loadctl", "--shell", "/usr/sbin/nologin",
                "--comment", ACCOUNT_NOTE, ACCOUNT,
            )  # fmt: skip
        if self.root is not None or has_group(SERIAL_GROUP):
            self.must("usermod", "--append", "--groups", SERIAL_GROUP, ACCOUNT)

    def drop_account(self) -> None:
        """Only one that the installer made; it stays where something still runs under it."""
        is_ours = has_user(ACCOUNT) and pwd.getpwnam(ACCOUNT).pw_gecos == ACCOUNT_NOTE
        if self.root is not None or is_ours:
            self.run("userdel", ACCOUNT)
        if self.root is not None or (is_ours and has_group(ACCOUNT)):
            self.run("groupdel", ACCOUNT)

    # services and devices

    def services(self) -> list[str]:
        """Instances of ours that run or try to, sites before what reads them."""
        if self.root is not None or not MANAGERS["systemctl"].exists():
            return []
        listed = subprocess.run(
            ["systemctl", "list-units", "--plain", "--no-legend", "--all", *UNITS],
            capture_output=True,
            text=True,
        )
        rows = [line.split() for line in listed.stdout.splitlines()]
        names = [row[0] for row in rows if len(row) > 2 and row[2] in ("active", "activating")]
        return sorted(names, key=lambda name: (not name.startswith("loadctl@"), name))

    def reload(self) -> None:
        """Let the service manager and the device manager read their files again."""
        self.run("systemctl", "daemon-reload")
        self.run("udevadm", "control", "--reload")
        for subsystem in ("usb-serial", "tty", "misc"):
            self.run("udevadm", "trigger", f"--subsystem-match={subsystem}")

    def load_modules(self) -> None:
        self.run("modprobe", "--all", "--quiet", "usbserial", "cdc_acm")


def has_user(name: str) -> bool:
    return any(row.pw_name == name for row in pwd.getpwall())


def has_group(name: str) -> bool:
    return any(row.gr_name == name for row in grp.getgrall())
