"""The runtime directory: one running instance per site, and finding it."""

import fcntl
import os
from pathlib import Path

import pytest

from hw.lock import lock_port
from loadctl import runtime
from loadctl.errors import NotRunning, UsageError


def test_runtime_default_is_the_users_directory_then_the_systems(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert runtime.default_dir() == Path("/run/user/7/loadctl")
    assert runtime.search_dirs(None) == [Path("/run/user/7/loadctl"), Path("/run/loadctl")]
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert runtime.default_dir() == Path("/run/loadctl")
    assert runtime.search_dirs(None) == [Path("/run/loadctl")]
    assert runtime.search_dirs(Path("/x")) == [Path("/x")]


@pytest.mark.parametrize(
    ("name", "start"), [("garage", "garage"), ("Harbour garage", "harbour-garage-"), ("../..", "")]
)
def test_runtime_slug_is_a_plain_directory_name(name: str, start: str) -> None:
    found = runtime.slug(name)
    assert found.startswith(start)
    assert "/" not in found
    assert found.strip(".") == found != ""


def test_runtime_names_that_read_alike_get_different_directories() -> None:
    assert len({runtime.slug(name) for name in ("a b", "a-b", "A B", "a_b")}) == 4


def test_runtime_second_instance_of_a_site_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    site_dir, fd = runtime.claim(tmp_path, "one")
    assert site_dir.is_locked() is True
    with pytest.raises(UsageError, match="site 'one' runs already"):
        runtime.claim(tmp_path, "one")
    _, other = runtime.claim(tmp_path, "two")
    os.close(other)
    os.close(fd)
    assert site_dir.is_locked() is False
    _, fd = runtime.claim(tmp_path, "one")
    os.close(fd)


def test_runtime_claim_removes_what_an_earlier_run_left(tmp_path: Path) -> None:
    site_dir, fd = runtime.claim(tmp_path, "one")
    site_dir.image.write_text("old")
    site_dir.tables.write_text("old")
    os.close(fd)
    _, fd = runtime.claim(tmp_path, "one")
    assert (site_dir.image.exists(), site_dir.tables.exists()) == (False, False)
    os.close(fd)


def test_runtime_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"runtime directory .*: Not a directory; choose one"):
        runtime.claim(tmp_path / "file", "one")


def test_runtime_finds_the_one_site_that_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="no site runs under"):
        runtime.find_site([tmp_path, tmp_path / "missing"], None)
    first, first_fd = runtime.claim(tmp_path, "one")
    assert runtime.find_site([tmp_path], None) == first
    second, second_fd = runtime.claim(tmp_path, "two")
    with pytest.raises(UsageError, match=r"several sites run under .*: one, two; choose one"):
        runtime.find_site([tmp_path], None)
    assert runtime.find_site([tmp_path], "two") == second
    os.close(first_fd)
    assert runtime.find_site([tmp_path], None) == second
    assert runtime.running_sites([tmp_path]) == [second]
    os.close(second_fd)


def test_runtime_site_by_name_or_directory_even_when_it_does_not_run(tmp_path: Path) -> None:
    site_dir, fd = runtime.claim(tmp_path, "Harbour garage")
    os.close(fd)
    assert runtime.find_site([tmp_path], "Harbour garage") == site_dir
    assert runtime.find_site([tmp_path], site_dir.path.name) == site_dir
    with pytest.raises(NotRunning, match=r"site 'harbour' is not known .*; there are: harbour-"):
        runtime.find_site([tmp_path], "harbour")


def test_runtime_site_by_its_file(tmp_path: Path) -> None:
    site_dir, lock_fd = runtime.claim(tmp_path, "Harbour garage")
    os.close(lock_fd)
    file = tmp_path / "harbour.toml"
    file.write_text('[site]\nname = "Harbour garage"\nno_such_key = 1\n')
    assert runtime.find_site([tmp_path], str(file)) == site_dir
    for text in ("", "[site", "[site]\nname = 3\n"):
        file.write_text(text)
        with pytest.raises(UsageError, match="no site file, or one without a name"):
            runtime.find_site([tmp_path], str(file))


def test_runtime_image_of_a_dead_site_is_found_when_nothing_runs(tmp_path: Path) -> None:
    site_dir, fd = runtime.claim(tmp_path, "one")
    os.close(fd)
    with pytest.raises(NotRunning):
        runtime.find_site([tmp_path], None)
    site_dir.image.touch()
    assert runtime.find_site([tmp_path], None) == site_dir


def test_directory_in_memory_is_told_from_one_on_a_disk() -> None:
    assert runtime.is_in_memory(Path("/dev/shm")) is True
    assert runtime.is_in_memory(Path("/proc")) is False


def test_runtime_site_that_runs_under_another_directory_is_refused(tmp_path: Path) -> None:
    dirs = [tmp_path / "user", tmp_path / "system"]
    there, there_fd = runtime.claim(dirs[1], "one")
    with pytest.raises(UsageError, match=f"runs already .lock {there.path}/lock"):
        runtime.claim(dirs[0], "one", dirs)
    os.close(there_fd)
    _, fd = runtime.claim(dirs[0], "one", dirs)
    os.close(fd)


def test_runtime_directory_of_the_last_start_is_found(tmp_path: Path) -> None:
    dirs = [tmp_path / "user", tmp_path / "system"]
    assert runtime.where_last(dirs, "one") == dirs[0]
    for top, at_s in ((dirs[1], 1_000), (dirs[0], 900)):
        site_dir, fd = runtime.claim(top, "one")
        os.close(fd)
        site_dir.tables.touch()
        os.utime(site_dir.tables, (at_s, at_s))
    assert runtime.where_last(dirs, "one") == dirs[1]


def test_runtime_network_ports_of_a_user_are_locked_where_the_service_locks_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "user"))
    monkeypatch.setattr(runtime, "SYSTEM_DIR", tmp_path / "system")
    mine = runtime.SiteDir(runtime.default_dir() / "one")
    assert mine.lock_dir == runtime.default_dir()  # no service was ever here
    (tmp_path / "system").mkdir()
    assert mine.lock_dir == tmp_path / "system"
    assert runtime.SiteDir(tmp_path / "chosen/one").lock_dir == tmp_path / "chosen"


def test_runtime_lock_is_opened_for_reading_alone(tmp_path: Path) -> None:
    """Whoever may read a lock that another user made can hold it."""
    _, fd = runtime.hold(tmp_path, "one")
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_runtime_files_that_root_makes_belong_to_the_owner_of_the_directory(
    tmp_path: Path,
) -> None:
    os.chown(tmp_path, 1_234, 1_235)
    site_dir, fd = runtime.hold(tmp_path, "one")
    os.close(fd)
    os.close(lock_port("socket://gate:4001", tmp_path))
    made = (site_dir.path, site_dir.path / "lock", tmp_path / "gate_4001.lock")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1_234, 1_235)}
