"""Versions of loadctl beside each other: made, tried on the sites, switched by one symlink.

A version is a virtual environment below /opt/loadctl/versions, named after version and content of
its wheel; a half-made one has no `complete` in it and is made again. Needs no network: everything
comes from a directory of wheels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from layout import CONFIG, CURRENT, MAPS, SITE_GLOB, VERSIONS, Record
from machine import InstallError, Machine

COMPLETE = "complete"
LAST_LINES = 12


def wheel_of(wheels: Path) -> Path:
    found = sorted(wheels.glob("loadctl-*.whl"))
    if len(found) != 1:
        raise InstallError(f"{wheels}: {len(found)} wheels of loadctl, expected one")
    return found[0]


def name_of(wheel: Path) -> str:
    """Such as 0.1.0-3f2a9c1e: another build of one version is another version here."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()[:8]
    return f"{wheel.name.split('-')[1]}-{digest}"


def make(machine: Machine, record: Record, wheels: Path, packaging: Path) -> str:
    """Make the version of these wheels, unless it is there; its name."""
    wheel = wheel_of(wheels)
    name = name_of(wheel)
    folder = record.make_dir(VERSIONS) / name
    if (folder / COMPLETE).exists():
        return name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        quiet(sys.executable, "-m", "venv", str(folder))
        pip = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        quiet(*pip, "install", "--no-index", "--find-links", str(wheels), str(wheel))
        skipped = shutil.ignore_patterns("__pycache__", ".*", "wheels")
        shutil.copytree(packaging, folder / "packaging", ignore=skipped)
        docs = packaging.parent / "docs"
        if docs.is_dir():
            shutil.copytree(docs, folder / "docs")
        (folder / COMPLETE).touch()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return name


def quiet(*words: str) -> None:
    """Run a command; InstallError with the end of what it said where it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        said = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
        raise InstallError(f"{' '.join(words)}: exit code {done.returncode}\n{said}")


def require_sites(machine: Machine, name: str) -> list[str]:
    """Every site of this machine must be one that the version would run; their names."""
    command = str(machine.path(VERSIONS / name / "bin/loadctl"))
    maps = ["--maps", str(machine.path(MAPS))]
    sites = sorted(machine.path(CONFIG).glob(SITE_GLOB))
    for site in sites:
        words = [command, "check", str(site), *maps]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise InstallError(
                f"{site}: refused by {name}, nothing is changed\n{done.stderr.strip()}"
            )
    return [site.stem for site in sites]


def current(machine: Machine) -> str | None:
    link = machine.path(CURRENT)
    return Path(os.readlink(link)).name if link.is_symlink() else None


def switch(machine: Machine, name: str | None) -> None:
    """In one step: there is always a whole version behind the link. None: there was none before."""
    link = machine.path(CURRENT)
    if name is None:
        link.unlink(missing_ok=True)
        return
    set_link(link, Path("versions") / name)


def set_link(link: Path, target: Path) -> None:
    beside = link.with_name(link.name + ".new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    os.replace(beside, link)


def drop(machine: Machine, name: str) -> None:
    remove(machine.path(VERSIONS / name))


def remove(folder: Path) -> None:
    """What is left of it, should this be interrupted, does not count as made."""
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def is_whole(machine: Machine, name: str) -> bool:
    return (machine.path(VERSIONS / name) / COMPLETE).exists()


def drop_others(machine: Machine, kept: str) -> None:
    """All that nobody uses: a guard starts its scans with the version that it runs itself."""
    for folder in machine.path(VERSIONS).iterdir():
        if folder.name == kept:
            continue
        pids = users_of(folder)
        if pids:
            words = ", ".join(map(str, pids))
            print(f"left, in use by process {words}: {folder}; the next upgrade removes it")
        else:
            remove(folder)


def users_of(folder: Path) -> list[int]:
    """Processes that were started from a version, or have loaded anything of it."""
    words = os.fsencode(folder) + b"/"
    pids = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "maps"):
            try:
                has_it = words in (process / name).read_bytes()
            except OSError:  # it has ended, or is not ours to see
                continue
            if has_it:
                pids.append(int(process.name))
                break
    return sorted(pids)
