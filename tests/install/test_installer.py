"""The installer in a directory that stands for a gateway: what it lays down, how it upgrades, what
it leaves. Services are those of a machine that only remembers what it was asked.
"""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.wheelhouse import ROOT

pytestmark = pytest.mark.timeout(600)  # the first one builds; on a busy machine for minutes

PACKAGING = ROOT / "packaging"
EXAMPLE = ROOT / "docs/examples/two-floors.toml"


def packaged(script: str, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """As a person calls it; the Python of the tests stands for that of the machine."""
    folder = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        [PACKAGING / script, "--root", root, *words],
        capture_output=True,
        text=True,
        env=environment,
    )


def tree(root: Path) -> dict[str, tuple[str, str]]:
    """Kind and mode, and content or target, of everything below."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[str(path.relative_to(root))] = ("link", os.readlink(path))
        elif stat.S_ISDIR(mode):
            found[str(path.relative_to(root))] = (f"dir {mode & 0o777:o}", "")
        else:
            content = path.read_bytes().hex() if "versions" not in path.parts else ""
            found[str(path.relative_to(root))] = (f"file {mode & 0o777:o}", content)
    return found


def outside_versions(root: Path) -> dict[str, tuple[str, str]]:
    return {name: what for name, what in tree(root).items() if "/versions/" not in name}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with things of its own in some of the places."""
    found = tmp_path / "root"
    for folder in ("etc/systemd/system", "usr/local/bin", "var/lib", "run"):
        (found / folder).mkdir(parents=True)
    (found / "etc/systemd/system/other.service").write_text("not ours")
    (found / "usr/local/bin/other").write_text("not ours")
    return found


@pytest.fixture(scope="session")
def installed_once(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One installation that tests copy: the environment takes seconds to make."""
    root = tmp_path_factory.mktemp("installed")
    done = packaged("install", root, "--wheels", str(wheels))
    assert done.returncode == 0, done.stderr
    return root


def command_in(root: Path) -> list[str]:
    return [str(root / "opt/loadctl/current/bin/loadctl")]


def test_installed_loadctl_checks_a_site_and_lists_devices_from_anywhere(
    installed_once: Path, tmp_path: Path
) -> None:
    """In a fresh environment that has only what the wheels hold."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    for words in (["check", str(EXAMPLE)], ["devices"]):
        done = subprocess.run(
            [*command_in(installed_once), *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert str(ROOT) not in done.stdout.replace(str(EXAMPLE), "")
    assert "reference-charger" in done.stdout


def test_install_lays_down_units_rules_directories_and_the_command(installed_once: Path) -> None:
    found = outside_versions(installed_once)
    units = sorted(path.name for path in (PACKAGING / "units").iterdir())
    files = [name for name, (kind, _) in found.items() if kind == "file 644"]
    assert sorted(files) == sorted(
        [
            *(f"etc/systemd/system/{unit}" for unit in units),
            "etc/modules-load.d/loadctl.conf",
            "etc/udev/rules.d/70-loadctl.rules",
            "opt/loadctl/installed.json",
        ]
    )
    links = {name: target for name, (kind, target) in found.items() if kind == "link"}
    (version,) = (path.name for path in (installed_once / "opt/loadctl/versions").iterdir())
    assert links == {
        "opt/loadctl/current": f"versions/{version}",
        "opt/loadctl/uninstall": "/opt/loadctl/current/packaging/uninstall",
        "usr/local/bin/loadctl": "/opt/loadctl/current/bin/loadctl",
    }
    assert (installed_once / "opt/loadctl/current/packaging/uninstall").exists()
    for folder in ("etc/loadctl", "etc/loadctl/maps", "var/lib/loadctl"):
        assert found[folder] == ("dir 750", ""), folder


def test_install_again_changes_nothing(installed_once: Path, wheels: Path) -> None:
    before = tree(installed_once)
    done = packaged("install", installed_once, "--wheels", str(wheels))
    assert done.returncode == 0, done.stderr
    assert tree(installed_once) == before


def test_install_without_the_wheels_that_it_needs_leaves_no_version(
    root: Path, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    shutil.copy(wheel, tmp_path / "few")
    done = packaged("install", root, "--wheels", str(tmp_path / "few"))
    assert (done.returncode, "No matching distribution" in done.stderr) == (1, True)
    assert list((root / "opt/loadctl/versions").iterdir()) == []
    assert not (root / "opt/loadctl/current").exists()


# upgrades


@pytest.fixture
def builds(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories of wheels: the same version with another content is another version to the
    installer. The wheels are empty, `installer` makes something of them."""
    folders = (tmp_path / "older", tmp_path / "newer")
    for folder in folders:
        folder.mkdir()
        (folder / "loadctl-0.1.0-py3-none-any.whl").write_text(folder.name)
    return folders


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The installer, with an environment that is made at once: its command is that of the tests."""
    monkeypatch.syspath_prepend(str(PACKAGING / "installer"))
    path = PACKAGING / "installer/__main__.py"
    spec = importlib.util.spec_from_file_location("loadctl_installer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def quiet(*words: str) -> None:
        if words[1:3] == ("-m", "venv"):
            command = Path(words[3]) / "bin/loadctl"
            command.parent.mkdir(parents=True)
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m loadctl "$@"\n')
            command.chmod(0o755)

    monkeypatch.setattr(module.versions, "quiet", quiet)
    yield module
    for name in ("machine", "layout", "versions"):
        sys.modules.pop(name)


class Remembering:
    """Makes a machine of the installer one with services; `bad` do not become ready with a version
    that `is_bad` names."""

    def __init__(self, installer: ModuleType, root: Path) -> None:
        self.said: list[tuple[str, ...]] = []
        self.running = ["loadctl@floors.service", "loadctl-recorder@floors.service"]
        self.bad: dict[str, str] = {}
        self.installer = installer
        self.machine: Any = installer.Machine(root)
        self.machine.run = self.run
        self.machine.services = lambda: list(self.running)

    def run(self, *words: str) -> int:
        self.said.append((self.version or "none", *words))
        return int(words[:2] == ("systemctl", "restart") and self.bad.get(words[2]) == self.version)

    @property
    def version(self) -> str | None:
        version: str | None = self.installer.versions.current(self.machine)
        return version

    @property
    def restarts(self) -> list[tuple[str, str]]:
        """With which version behind the link, and of what."""
        return [(row[0], row[3]) for row in self.said if row[1:3] == ("systemctl", "restart")]


@pytest.fixture
def gateway(installer: ModuleType, root: Path, builds: tuple[Path, Path]) -> Remembering:
    """With the older build, and a site that runs."""
    found = Remembering(installer, root)
    installer.install(found.machine, builds[0])
    shutil.copy(EXAMPLE, root / "etc/loadctl/floors.toml")
    found.said.clear()
    return found


@pytest.fixture
def newer(builds: tuple[Path, Path]) -> Path:
    return builds[1]


def test_upgrade_restarts_each_service_once_with_the_new_version(
    gateway: Remembering, newer: Path
) -> None:
    before = gateway.version
    gateway.installer.install(gateway.machine, newer)
    after = gateway.version
    assert after not in (None, before)
    assert gateway.restarts == [
        (after, "loadctl@floors.service"),
        (after, "loadctl-recorder@floors.service"),
    ]
    assert [path.name for path in gateway.machine.path("/opt/loadctl/versions").iterdir()] == [
        after
    ]
    gateway.said.clear()
    gateway.installer.install(gateway.machine, newer)
    assert gateway.restarts == []  # nothing new, nobody is disturbed


def test_upgrade_goes_back_where_a_site_does_not_become_ready(
    gateway: Remembering, newer: Path
) -> None:
    root, before = gateway.machine.root, gateway.version
    unit = root / "etc/systemd/system/loadctl@.service"
    unit.write_text("# the unit of the version before\n")
    whole = tree(root)
    (wheel,) = newer.glob("loadctl-*.whl")
    new = gateway.installer.versions.name_of(wheel)
    gateway.bad = {"loadctl@floors.service": new}
    with pytest.raises(Exception, match="did not become ready") as refused:
        gateway.installer.install(gateway.machine, newer)
    assert f"back to {before}" in str(refused.value)
    assert gateway.version == before
    assert gateway.restarts == [
        (new, "loadctl@floors.service"),
        (new, "loadctl-recorder@floors.service"),
        (before, "loadctl@floors.service"),
        (before, "loadctl-recorder@floors.service"),
    ]
    assert tree(root) == whole


def test_upgrade_that_refuses_a_site_of_this_machine_changes_nothing(
    gateway: Remembering, newer: Path
) -> None:
    root = gateway.machine.root
    site = root / "etc/loadctl/floors.toml"
    site.write_text(EXAMPLE.read_text().replace("limit_A = 40", "limit_A = 10"))
    before = tree(root)
    with pytest.raises(Exception, match="nothing is changed"):
        gateway.installer.install(gateway.machine, newer)
    assert gateway.restarts == []
    assert tree(root) == before


def interrupt(gateway: Remembering, newer: Path, word: str) -> None:
    """An upgrade whose terminal goes away at the first command with that word."""
    run = gateway.machine.run

    def interrupted(*words: str) -> int:
        if word in words:
            raise KeyboardInterrupt
        return int(run(*words))

    gateway.machine.run = interrupted
    with pytest.raises(KeyboardInterrupt):
        gateway.installer.install(gateway.machine, newer)
    gateway.machine.run = run
    gateway.said.clear()


@pytest.mark.parametrize("word", ["modprobe", "daemon-reload", "restart"])
def test_upgrade_that_was_interrupted_is_ended_by_the_next(
    gateway: Remembering, newer: Path, word: str
) -> None:
    before = gateway.version
    interrupt(gateway, newer, word)
    after = gateway.version
    assert (gateway.machine.path("/opt/loadctl/versions") / str(before)).exists()
    gateway.installer.install(gateway.machine, newer)
    assert gateway.version == after != before
    assert gateway.restarts == [
        (after, "loadctl@floors.service"),
        (after, "loadctl-recorder@floors.service"),
    ]
    assert [path.name for path in gateway.machine.path("/opt/loadctl/versions").iterdir()] == [
        after
    ]
    gateway.said.clear()
    gateway.installer.install(gateway.machine, newer)
    assert gateway.restarts == []  # it has ended


def test_upgrade_that_was_interrupted_still_goes_back_to_where_it_began(
    gateway: Remembering, newer: Path
) -> None:
    """With the units of that version, which the interrupted one had written over."""
    root, before = gateway.machine.root, gateway.version
    unit = "packaging/units/loadctl@.service"
    old_unit = root / "opt/loadctl/current" / unit
    old_unit.write_text("# the unit of the version before\n")
    (root / "etc/systemd/system/loadctl@.service").write_text(old_unit.read_text())
    whole = tree(root)
    interrupt(gateway, newer, "restart")
    new = gateway.version
    gateway.bad = {"loadctl@floors.service": str(new)}
    with pytest.raises(Exception, match=f"back to {before}"):
        gateway.installer.install(gateway.machine, newer)
    assert gateway.restarts[-2:] == [
        (before, "loadctl@floors.service"),
        (before, "loadctl-recorder@floors.service"),
    ]
    assert tree(root) == whole


def test_upgrade_leaves_a_version_that_a_process_still_uses(
    gateway: Remembering, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a guard, which starts its scans with it."""
    old = gateway.machine.path("/opt/loadctl/versions") / str(gateway.version)
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", str(old / "bin/python")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as user:
        gateway.installer.install(gateway.machine, newer)
        user.communicate()
    assert old.exists()
    assert f"left, in use by process {user.pid}: {old}" in capsys.readouterr().out
    gateway.said.clear()
    gateway.installer.install(gateway.machine, newer)
    assert not old.exists()
    assert gateway.restarts == []


# files of others


@pytest.mark.parametrize("place", ["usr/local/bin/loadctl", "etc/systemd/system/loadctl@.service"])
def test_install_neither_writes_nor_removes_a_file_of_somebody_else(
    installer: ModuleType, root: Path, builds: tuple[Path, Path], place: str
) -> None:
    (root / place).write_text("not ours")
    before = tree(root)
    machine = Remembering(installer, root).machine
    with pytest.raises(Exception, match=f"{place}: there already"):
        installer.install(machine, builds[0])
    assert tree(root) == before


# the end


def test_uninstall_removes_nothing_where_a_site_does_not_stop(
    gateway: Remembering,
) -> None:
    before = tree(gateway.machine.root)
    gateway.machine.run = lambda *words: int(words[:2] == ("systemctl", "stop"))
    with pytest.raises(Exception, match=r"loadctl-recorder@floors.service did not stop"):
        gateway.installer.uninstall(gateway.machine, is_purge=False)
    assert tree(gateway.machine.root) == before


def test_uninstall_asks_what_becomes_of_the_data(root: Path) -> None:
    done = packaged("uninstall", root)
    assert (done.returncode, "--keep-data --purge" in done.stderr) == (2, True)


def test_uninstall_leaves_what_was_there_before(
    installer: ModuleType, root: Path, builds: tuple[Path, Path]
) -> None:
    before = tree(root)
    gateway = Remembering(installer, root)
    installer.install(gateway.machine, builds[0])
    shutil.copy(EXAMPLE, root / "etc/loadctl/floors.toml")
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "loadctl@floors.service").symlink_to("/etc/systemd/system/loadctl@.service")
    (root / "run/loadctl").mkdir()
    gateway.said.clear()

    installer.uninstall(gateway.machine, is_purge=False)
    kept = {name: what for name, what in tree(root).items() if name not in before}
    assert sorted(kept) == [
        "etc/loadctl",
        "etc/loadctl/floors.toml",
        "etc/loadctl/maps",
        "var/lib/loadctl",
    ]
    stops = [row[3] for row in gateway.said if row[1:3] == ("systemctl", "stop")]
    assert stops == ["loadctl-recorder@floors.service", "loadctl@floors.service"]
    assert not [row for row in gateway.said if row[1] == "userdel"]
    with pytest.raises(Exception, match="nothing is installed"):
        installer.uninstall(gateway.machine, is_purge=True)

    installer.install(gateway.machine, builds[1])
    assert (root / "etc/loadctl/floors.toml").read_text() == EXAMPLE.read_text()
    gateway.said.clear()
    installer.uninstall(gateway.machine, is_purge=True)
    assert tree(root) == before
    assert [row[1:] for row in gateway.said if row[1].endswith("del")] == [
        ("userdel", "loadctl"),
        ("groupdel", "loadctl"),
    ]
