"""The core compiled in other ways: the C of this tree's build, by another compiler or level.

A variant is a directory with a copy of the package `loadctl` whose core and law are compiled anew.
A process that has it first in PYTHONPATH runs that core, and everything else from this tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
VARIANTS = {
    "gcc -O0": ("gcc", "-O0"),
    "gcc -O2": ("gcc", "-O2"),
    "gcc -O3 -march=native": ("gcc", "-O3", "-march=native"),
    "clang -O2": ("clang", "-O2"),
}


def sources() -> list[Path]:
    """The generated C of the core and the law, which must be that of the sources beside it."""
    found = []
    for path in [ROOT / "loadctl" / "_core.pyx", *sorted((ROOT / "loadctl" / "law").glob("*.pyx"))]:
        generated = path.with_suffix(".c")
        assert generated.stat().st_mtime >= path.stat().st_mtime, f"{generated}: build first"
        found.append(generated)
    return found


def build(command: tuple[str, ...], directory: Path) -> None:
    """Fill a directory with the package, its core and law compiled with this command."""
    shutil.copytree(
        ROOT / "loadctl",
        directory / "loadctl",
        ignore=lambda _, names: [n for n in names if n.endswith((".so", ".c", ".pyx"))],
    )
    include = sysconfig.get_path("include")

    def compile_one(source: Path) -> None:
        module = directory / source.relative_to(ROOT).with_suffix(SUFFIX)
        subprocess.run(
            [*command, "-w", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(module)],
            check=True,
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(compile_one, sources()))


def run(directory: Path, *arguments: str) -> str:
    """What a module says that is run with the variant in place of this tree's build."""
    environment = {**os.environ, "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        env=environment, cwd=directory, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout
