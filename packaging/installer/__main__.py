"""Installs, upgrades and removes loadctl on a gateway: `packaging/install` and `uninstall`.

Standard library only, no network. An upgrade is the same as an installation: the new version is
made beside the old one and has to accept every site file before anything is switched; a site is
then restarted once, and everything is put back where one does not become ready.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import versions
from layout import (
    CONFIG,
    DATA_DIRS,
    LINKS,
    OPT,
    RECORD,
    RUNTIME,
    STATE,
    UNIT_DIR,
    VERSIONS,
    Record,
    files_of,
)
from machine import ACCOUNT, InstallError, Machine, has_user

PACKAGING = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loadctl's installer", description=__doc__)
    parser.add_argument(
        "--root", type=Path, help="a directory in place of this machine: for a look, and for tests"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("install", help="install or upgrade")
    one.add_argument("--wheels", type=Path, default=PACKAGING / "wheels")
    other = commands.add_parser("uninstall", help="remove")
    data = other.add_mutually_exclusive_group(required=True)
    data.add_argument("--keep-data", action="store_true", help=f"leave {CONFIG} and {STATE}")
    data.add_argument("--purge", action="store_true", help="remove site files and journals too")
    for each in (one, other):
        each.add_argument("--root", type=Path, help=argparse.SUPPRESS, default=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    os.umask(0o022)
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise InstallError(f"Python {sys.version.split()[0]} is too old, loadctl needs 3.11")
        if args.root is None and os.geteuid() != 0:
            raise InstallError("only root can install; use sudo, or --root DIR for a look")
        machine = Machine(args.root.resolve() if args.root is not None else None)
        if args.command == "install":
            install(machine, args.wheels.resolve())
        else:
            uninstall(machine, is_purge=args.purge)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def install(machine: Machine, wheels: Path) -> None:
    """Make, try, switch, restart; back to the version before where that does not work out.

    One that was interrupted is resumed by the next, whatever that one installs: it restarts what
    runs, and goes back to where the interrupted one began.
    """
    record = Record(machine)
    files = files_of(PACKAGING)
    record.refuse_others([*files, *LINKS])
    record.make_dir(OPT)
    machine.make_account()
    for place, (mode, user) in DATA_DIRS.items():
        machine.own(record.make_dir(place), ACCOUNT, mode, user)
    name, now = versions.make(machine, record, wheels, PACKAGING), versions.current(machine)
    is_resumed = record.previous is not None and versions.is_whole(machine, record.previous)
    before = record.previous if is_resumed else now
    try:
        sites = versions.require_sites(machine, name)
    except InstallError:
        if name not in (now, before):
            versions.drop(machine, name)
        raise
    record.upgrade_from(before)
    old_files = write_files(machine, record, files)
    must_restart = name != now or is_resumed or bool(old_files)
    if is_resumed and before is not None:  # some were written by the one that was interrupted
        earlier = files_of(machine.path(VERSIONS / before / "packaging"))
        old_files = {place: earlier.get(place) for place in files}
    versions.switch(machine, name)
    for place, target in LINKS.items():
        versions.set_link(record.add_file(place), target)
    machine.load_modules()
    machine.reload()
    failed = restart(machine) if must_restart else []
    if failed and before is not None:
        put_back(machine, old_files)
        versions.switch(machine, before)
        machine.reload()
        still_failed = restart(machine)
        record.upgrade_from(None)
        versions.drop_others(machine, before)
        words = f"{', '.join(failed)} did not become ready with {name}: back to {before}"
        if still_failed:
            words += f"; {', '.join(still_failed)} did not come back: see journalctl -u"
        raise InstallError(words)
    record.upgrade_from(None)  # first: a version that is half removed is nothing to go back to
    versions.drop_others(machine, name)
    print(f"loadctl {name} is installed" + (f", before {before}" if before else ""))
    for site in sites:
        print(f"  site {site}: {CONFIG}/{site}.toml")
    if not sites:
        print(f"next: write {CONFIG}/SITE.toml, then systemctl enable --now loadctl@SITE")


def write_files(
    machine: Machine, record: Record, files: dict[Path, bytes]
) -> dict[Path, bytes | None]:
    """What stood there before, of the files that are different now; None: nothing."""
    before: dict[Path, bytes | None] = {}
    for place, content in files.items():
        path = record.add_file(place)
        old = path.read_bytes() if path.exists() else None
        if old != content:
            before[place] = old
            path.write_bytes(content)
        path.chmod(0o644)
    return before


def put_back(machine: Machine, old_files: dict[Path, bytes | None]) -> None:
    for place, content in old_files.items():
        if content is None:
            machine.path(place).unlink(missing_ok=True)
        else:
            machine.path(place).write_bytes(content)


def restart(machine: Machine) -> list[str]:
    """One restart of each service that runs; those that did not become ready."""
    return [name for name in machine.services() if machine.run("systemctl", "restart", name) != 0]


def uninstall(machine: Machine, is_purge: bool) -> None:
    """Stop, then remove what the record names; data only where that was asked for."""
    if not machine.path(RECORD).exists():
        raise InstallError(f"{machine.path(OPT)}: nothing is installed there")
    record = Record(machine)
    for name in reversed(machine.services()):
        if machine.run("systemctl", "stop", name) != 0:
            raise InstallError(f"{name} did not stop, see journalctl -u; nothing is removed")
    for link in machine.path(UNIT_DIR).glob("*.wants/loadctl*.service"):  # what was enabled
        link.unlink()
        remove_if_empty(link.parent)
    for file in record.files:
        machine.path(file).unlink(missing_ok=True)
    shutil.rmtree(machine.path(RUNTIME), ignore_errors=True)
    shutil.rmtree(machine.path(VERSIONS), ignore_errors=True)
    versions.switch(machine, None)
    if is_purge:
        for place in (CONFIG, STATE):
            shutil.rmtree(machine.path(place), ignore_errors=True)
        for folder in machine.path(UNIT_DIR).glob("loadctl*.service.d"):
            shutil.rmtree(folder)
        machine.drop_account()
    machine.path(RECORD).unlink()
    kept_dirs = [] if is_purge else [str(place) for place in DATA_DIRS]
    for made in reversed(record.dirs):
        if made not in kept_dirs:
            remove_if_empty(machine.path(made))
    machine.reload()
    kept = [str(place) for place in (CONFIG, STATE) if machine.path(place).exists()]
    if kept or (machine.root is None and has_user(ACCOUNT)):
        kept.append(f"user {ACCOUNT}")
    print("loadctl is removed" + (f"; left: {', '.join(kept)}" if kept else ""))


def remove_if_empty(path: Path) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


if __name__ == "__main__":
    sys.exit(main())
