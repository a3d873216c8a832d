"""Wheels of loadctl and of what it needs, without a network: built from an sdist, or packed again
from the packages of this environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("loadctl", "hw", "packaging", "requirements")
TOP_FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
NOT_SOURCES = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "wheels")


def build_sdist(work: Path) -> Path:
    """From a copy of the sources: what the developer's tree has generated is not in it."""
    tree = work / "tree"
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=NOT_SOURCES)
    for name in TOP_FILES:
        shutil.copy(ROOT / name, tree / name)
    setup(tree, "sdist", "--dist-dir", str(work))
    (found,) = work.glob("loadctl-*.tar.gz")
    return found


def build_wheel(sdist: Path, work: Path) -> Path:
    """From the sdist alone."""
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "unpacked", filter="data")
    (tree,) = (work / "unpacked").iterdir()
    setup(tree, "bdist_wheel", "--dist-dir", str(work))
    (found,) = work.glob("loadctl-*.whl")
    return found


def setup(tree: Path, *words: str) -> None:
    environment = {**os.environ, "LOADCTL_BUILD": "quick"}
    environment.pop("LOADCTL_BENCH", None)
    command = [sys.executable, "setup.py", "--quiet", *words]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]


def pack_needed(wheel: Path, folder: Path) -> None:
    """A wheel of every package that this one needs, and of those that they need."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    todo = needed(re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE))
    done: set[str] = set()
    while todo:
        one = todo.pop()
        if one not in done:
            done.add(one)
            found = distribution(one)
            pack(found, folder)
            todo += needed(found.requires or [])


def needed(requirements: list[str]) -> list[str]:
    """Names of what must be there on this Python: those with a condition are for other cases."""
    return [re.split(r"[^\w.-]", row)[0] for row in requirements if ";" not in row]


def pack(found: Distribution, folder: Path) -> None:
    """Scripts are left out: they belong to the environment that they were installed into."""
    tags = re.findall(r"^Tag: (.*)$", found.read_text("WHEEL") or "", re.MULTILINE)
    tag = next(tag for tag in tags if not tag.startswith("py2-"))
    name = found.metadata["Name"].replace("-", "_")
    path = folder / f"{name}-{found.version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in found.files or []:
            is_left_out = file.parts[0] == ".." or "__pycache__" in file.parts
            if not is_left_out and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                archive.write(str(file.locate()), str(file))
