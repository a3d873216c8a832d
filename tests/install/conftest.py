"""One sdist, one wheel of it and one directory of wheels for all tests here: a build takes long."""

from pathlib import Path

import pytest

from tests.support import wheelhouse


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheelhouse.build_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheelhouse.build_wheel(sdist, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheels(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a gateway without a network installs from."""
    folder = tmp_path_factory.mktemp("wheels")
    wheelhouse.pack_needed(wheel, folder)
    (folder / wheel.name).write_bytes(wheel.read_bytes())
    return folder
