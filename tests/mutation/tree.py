"""A mutated copy of the tree, built once with all mutants in it.

What cannot be compiled is found by halving and left out; the rest is one build. Lives below
`build/`, never touches the sources, and compiles again only the modules whose text has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.operators import Key, Ledger, Mutant
from tests.mutation.source import Module, find_constants, mutate, mutate_pxd

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
TREE = ROOT / "build" / "mutation" / "tree"
COPIED = ("loadctl", "hw", "tests", "docs", "scripts", "pyproject.toml")
TROUBLE = TREE.parent / "trouble.json"
BOARD = "law/mutants"
N_MARKS = 32768  # as in board.pxd
DIRECTIVES = "cdivision=True,boundscheck=False,wraparound=False,initializedcheck=False"
# A variable whose assignment is left out is always the same, and nothing that a rule could mean:
# what is not given would be anything, also what the compiler takes for granted.
COMPILE = ("-O1", "-w", "-fPIC", "-shared", "-ftrivial-auto-var-init=pattern")

Say = Callable[[str], None]


@dataclass
class Build:
    """The mutants of the build, and those that no compiler takes."""

    mutants: list[Mutant]
    left_out: list[Mutant] = field(default_factory=list)


def read_modules() -> list[Module]:
    package = ROOT / "loadctl"
    paths = [*sorted((package / "law").glob("*.pyx")), package / "_core.pyx"]
    return [
        Module(
            str(path.relative_to(package)), path.read_text(), path.with_suffix(".pxd").read_text()
        )
        for path in paths
    ]


@dataclass
class Trouble:
    """Mutants that are not built as the others are; kept, because to find them takes long."""

    unwatched: frozenset[Key] = frozenset()
    left_out: frozenset[Key] = frozenset()

    @classmethod
    def load(cls) -> Trouble:
        if not TROUBLE.exists():
            return cls()
        held = json.loads(TROUBLE.read_text())
        return cls(*(frozenset(map(tuple, held[name])) for name in ("unwatched", "left_out")))

    def add(self, keys: frozenset[Key]) -> None:
        """What fails is first built without watching it, then not at all."""
        self.left_out |= keys & self.unwatched
        self.unwatched |= keys
        kept = {"unwatched": sorted(self.unwatched), "left_out": sorted(self.left_out)}
        TROUBLE.write_text(json.dumps(kept))


def write_texts(modules: list[Module], trouble: Trouble) -> tuple[Ledger, dict[str, str]]:
    """All mutants, and the text of every file that they are in."""
    ledger = Ledger(unwatched=trouble.unwatched, left_out=trouble.left_out)
    constants = {module.file: find_constants(module, ledger) for module in modules}
    shared = {
        constant.name: constant.use
        for of_module in constants.values()
        for constant in of_module
        if constant.file.endswith(".pxd")
    }
    texts = {}
    for module in modules:
        own = constants[module.file]
        texts[module.file] = mutate(module, own, shared, ledger)
        texts[module.pxd_file] = mutate_pxd(module, own)
    return ledger, texts


def build(jobs: int, say: Say) -> Build:
    modules = read_modules()
    copy_tree([module.file for module in modules])
    trouble = Trouble.load()
    while True:
        ledger, texts = write_texts(modules, trouble)
        assert ledger.last < N_MARKS, "board.pxd has no room for so many"
        for file, text in texts.items():
            write_if_changed(TREE / "loadctl" / file, text)
        with ThreadPoolExecutor(jobs) as pool:
            files = [f"{BOARD}.pyx", *(module.file for module in modules)]
            results = pool.map(lambda file: (file, compile_module(file, say)), files)
            failed = [file for file, is_good in results if not is_good]
        if not failed:
            everything, _ = write_texts(modules, Trouble(trouble.unwatched))
            left_out = [m for m in everything.mutants if m.key in trouble.left_out]
            return Build(ledger.mutants, left_out)
        assert f"{BOARD}.pyx" not in failed, "the guards do not compile"
        for file in failed:
            trouble.add(not_compiling(modules, file, trouble, say))


def copy_tree(mutated: list[str]) -> None:
    """Everything that tests need, as it is now; the modules that are mutated keep their build."""
    TREE.mkdir(parents=True, exist_ok=True)
    kept = {TREE / "loadctl" / file for file in mutated}
    kept |= {path.with_suffix(".pxd") for path in kept}
    kept_builds = {str(path.with_suffix("")) for path in kept}
    seen = set()
    for name in COPIED:
        source = ROOT / name
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            to = TREE / path.relative_to(ROOT)
            if path.is_dir() or "__pycache__" in path.parts or path.suffix in (".c", ".html"):
                continue
            if to in kept or (path.suffix == ".so" and str(to).split(".")[0] in kept_builds):
                continue
            seen.add(to)
            to.parent.mkdir(parents=True, exist_ok=True)
            if not to.exists() or to.read_bytes() != path.read_bytes():
                shutil.copyfile(path, to)
    for path in TREE.rglob("test_*.py"):
        if path not in seen:
            path.unlink()
    for suffix in (".pxd", ".pyx"):
        text = (HERE / f"board{suffix}").read_text()
        write_if_changed(TREE / "loadctl" / f"{BOARD}{suffix}", text)


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def compile_module(file: str, say: Say) -> bool:
    """True when it is built; nothing is done where the build is that of this very text."""
    path = TREE / "loadctl" / file
    library = path.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
    stamp = path.with_suffix(".built")
    state = _state(path)
    if library.exists() and stamp.exists() and stamp.read_text() == state:
        return True
    say(f"compiling {file}")
    stamp.unlink(missing_ok=True)
    if not (_cython(path) and _gcc(path, library)):
        return False
    stamp.write_text(state)
    return True


def _state(path: Path) -> str:
    """What a build depends on: its own text, and every declaration that it may take in."""
    texts = [path.read_bytes(), " ".join(COMPILE).encode(), DIRECTIVES.encode()]
    texts += [pxd.read_bytes() for pxd in sorted((TREE / "loadctl").rglob("*.pxd"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _cython(path: Path) -> bool:
    command = [sys.executable, "-P", "-m", "cython", "-3", "-X", DIRECTIVES]
    return _runs([*command, str(path.relative_to(TREE))])


def _gcc(path: Path, library: Path) -> bool:
    include = sysconfig.get_path("include")
    source = str(path.with_suffix(".c"))
    return _runs(["gcc", *COMPILE, f"-I{include}", source, "-o", str(library)])


def _runs(command: list[str]) -> bool:
    done = subprocess.run(command, cwd=TREE, capture_output=True, env=os.environ, check=False)
    return done.returncode == 0


def not_compiling(modules: list[Module], file: str, trouble: Trouble, say: Say) -> frozenset[Key]:
    """The mutants of one module that keep it from compiling, found by halving."""
    ledger, _ = write_texts(modules, trouble)
    files = (file, file.removesuffix(".pyx") + ".pxd")
    keys = list(dict.fromkeys(m.key for m in ledger.mutants if m.module in files))
    say(f"{file} does not compile: looking for the mutants that it cannot take")

    def compiles_with(some: list[Key]) -> bool:
        others = frozenset(key for key in keys if key not in set(some))
        _, texts = write_texts(modules, Trouble(trouble.unwatched, trouble.left_out | others))
        path = TREE / "loadctl" / file
        path.write_text(texts[file])
        return _cython(path) and _gcc(path, path.with_suffix(".tried"))

    def bad_ones(some: list[Key]) -> list[Key]:
        if compiles_with(some):
            return []
        if len(some) == 1:
            return some
        half = len(some) // 2
        return bad_ones(some[:half]) + bad_ones(some[half:])

    assert compiles_with([]), f"{file} does not compile without any mutant"
    return frozenset(bad_ones(keys))
