"""What sdist and wheel hold: every file of ours that is needed there, and no other."""

import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.support.wheelhouse import ROOT

pytestmark = pytest.mark.timeout(600)

SOURCE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".toml"}


def tracked(*folders: str) -> set[str]:
    """Sources of the tree, by what they are: none is generated."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if (path.suffix in SOURCE_SUFFIXES or path.name == "py.typed")
    }


def in_sdist(sdist: Path) -> set[str]:
    with tarfile.open(sdist) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
    return {str(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in names}


def in_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_sdist_holds_every_source_and_nothing_else(sdist: Path) -> None:
    found = {name for name in in_sdist(sdist) if not name.startswith("loadctl.egg-info/")}
    beside = {
        "LICENSE",
        "MANIFEST.in",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "requirements/run.lock",
        "setup.cfg",
        "setup.py",
    }
    packaging = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "packaging").rglob("*")
        if path.is_file() and not {"__pycache__", "wheels", ".mypy_cache"} & set(path.parts)
    }
    assert found == tracked("loadctl", "hw") | packaging | beside


def test_the_wheel_holds_every_module_compiled_and_no_source_of_one(wheel: Path) -> None:
    sources = tracked("loadctl", "hw")
    compiled = {name.removesuffix(".pyx") for name in sources if name.endswith(".pyx")}
    found = in_wheel(wheel)
    libraries = {name for name in found if name.endswith(".so")}
    assert {name.partition(".")[0] for name in libraries} == compiled
    assert found - libraries == {name for name in sources if not name.endswith(".pyx")}
