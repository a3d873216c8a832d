"""Backups come back whole; whatever is wrong with one, or in its way, nothing is changed."""

import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from loadctl import backup as archive
from loadctl import runtime
from loadctl.cli.main import cli
from loadctl.errors import EXIT_USAGE

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
SITE = (EXAMPLES / "home-14a.toml").read_text()
N_ROWS = 500
ENDLESS = b'{"format": 1e999, "files": [], "version": "", "made_at": ""}'


class Gateway(NamedTuple):
    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "etc"

    @property
    def journal(self) -> Path:
        return self.folder / "state" / runtime.slug("Home") / archive.JOURNAL

    def run(self, command: str, file: Path) -> Any:
        words = [command, str(file), "--config-dir", str(self.config)]
        words += ["--state-dir", str(self.folder / "state")]
        if command == "restore":
            words += ["--runtime-dir", str(self.folder / "run")]
        return CliRunner().invoke(cli, words)

    def tree(self) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(self.folder.rglob("*"))
        }


def open_journal(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    journal = sqlite3.connect(path, isolation_level=None)
    journal.execute("PRAGMA journal_mode=WAL")
    journal.execute("CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, words TEXT)")
    return journal


def rows_of(path: Path) -> int:
    journal = sqlite3.connect(path)
    (count,) = journal.execute("SELECT count(*) FROM events").fetchone()
    journal.close()
    return int(count)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    found = Gateway(tmp_path / "gateway")
    (found.config / "maps").mkdir(parents=True)
    (found.config / "home.toml").write_text(SITE)
    (found.config / "home.env").write_text('LOADCTL_RUN_OPTIONS="--cpu 1"\n')
    (found.config / "maps/own.toml").write_text("# a map\n")
    journal = open_journal(found.journal)
    journal.execute("BEGIN")
    journal.executemany("INSERT INTO events (words) VALUES (?)", [("x" * 50,)] * N_ROWS)
    journal.execute("COMMIT")
    journal.close()
    return found


@pytest.fixture
def made(gateway: Gateway, tmp_path: Path) -> Path:
    file = tmp_path / "backup.tar.gz"
    result = gateway.run("backup", file)
    assert result.exit_code == 0, result.output
    return file


def change_everything(gateway: Gateway) -> None:
    (gateway.config / "home.toml").write_text(SITE.replace("limit_A = 35", "limit_A = 40"))
    (gateway.config / "maps/own.toml").unlink()
    (gateway.config / "other.toml").write_text("not in the backup")
    gateway.journal.write_bytes(b"lost")
    gateway.journal.with_name("journal.sqlite-wal").write_bytes(b"log of the lost one")


def test_backup_comes_back_byte_for_byte_and_what_it_replaces_is_kept(
    gateway: Gateway, made: Path
) -> None:
    change_everything(gateway)
    result = gateway.run("restore", made)
    assert result.exit_code == 0, result.output
    assert (gateway.config / "home.toml").read_text() == SITE
    assert (gateway.config / "home.env").read_text() == 'LOADCTL_RUN_OPTIONS="--cpu 1"\n'
    assert (gateway.config / "maps/own.toml").read_text() == "# a map\n"
    assert (gateway.config / "other.toml").read_text() == "not in the backup"
    assert rows_of(gateway.journal) == N_ROWS
    (kept,) = gateway.config.glob("replaced-*")
    assert "limit_A = 40" in (kept / "home.toml").read_text()
    (kept,) = gateway.journal.parent.glob("replaced-*")
    assert (kept / "journal.sqlite").read_bytes() == b"lost"
    assert (kept / "journal.sqlite-wal").read_bytes() == b"log of the lost one"
    assert not gateway.journal.with_name("journal.sqlite-wal").exists()


def test_backup_goes_onto_an_empty_gateway(gateway: Gateway, made: Path, tmp_path: Path) -> None:
    other = Gateway(tmp_path / "other")
    other.config.mkdir(parents=True)
    (other.folder / "state").mkdir()
    assert other.run("restore", made).exit_code == 0
    assert (other.config / "maps/own.toml").read_text() == "# a map\n"
    assert rows_of(other.journal) == N_ROWS


def test_backup_of_a_journal_in_use_holds_what_was_committed(
    gateway: Gateway, tmp_path: Path
) -> None:
    journal = open_journal(gateway.journal)
    journal.execute("INSERT INTO events (words) VALUES ('in the log, not yet in the file')")
    journal.execute("BEGIN IMMEDIATE")
    journal.execute("INSERT INTO events (words) VALUES ('not committed')")
    file = tmp_path / "backup.tar.gz"
    assert gateway.run("backup", file).exit_code == 0
    journal.close()
    with archive.unpacked(file) as (_, copies):
        name = f"journals/{runtime.slug('Home')}/journal.sqlite"
        assert rows_of(copies[name]) == N_ROWS + 1


def test_restore_of_a_site_with_mistakes_is_done_and_said(gateway: Gateway, tmp_path: Path) -> None:
    (gateway.config / "home.toml").write_text('[site]\nname = "Home"\nperiode = 3\n')
    file = tmp_path / "backup.tar.gz"
    assert gateway.run("backup", file).exit_code == 0
    result = gateway.run("restore", file)
    assert result.exit_code == 0
    assert "`loadctl check` refuses it" in result.output


def test_backup_of_nothing_is_refused(tmp_path: Path) -> None:
    result = Gateway(tmp_path / "empty").run("backup", tmp_path / "backup.tar.gz")
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])


# what is refused, and that it changes nothing

Members = list[tuple[tarfile.TarInfo, bytes]]


def members_of(file: Path) -> Members:
    with tarfile.open(file) as opened:
        found = []
        for header in opened.getmembers():
            content = opened.extractfile(header)
            assert content is not None
            found.append((header, content.read()))
        return found


def pack(file: Path, members: Members) -> None:
    with tarfile.open(file, "w:gz") as target:
        for header, content in members:
            header.size = len(content)
            target.addfile(header, io.BytesIO(content))


def changed(members: Members, position: int, content: bytes) -> None:
    members[position] = (members[position][0], content)


def edited_manifest(members: Members, edit: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads(members[0][1])
    edit(manifest)
    changed(members, 0, json.dumps(manifest).encode())


def renamed(members: Members, name: str) -> None:
    """The first file gets another name, in the manifest too."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"][0]["name"] = name

    edited_manifest(members, edit)
    members[1][0].name = name


def one_byte(members: Members) -> None:
    content = members[1][1]
    changed(members, 1, bytes([content[0] ^ 1]) + content[1:])


def broken_journal(members: Members) -> None:
    """Damaged before the backup was made: the manifest's hash is right."""
    position = next(i for i, (header, _) in enumerate(members) if "journal" in header.name)
    content = bytearray(members[position][1])
    content[4096 + 8 : 4096 + 600] = b"\xff" * 592
    changed(members, position, bytes(content))
    digest = archive.hashlib.sha256(bytes(content)).hexdigest()

    def edit(manifest: dict[str, Any]) -> None:
        manifest["files"][position - 1]["sha256"] = digest

    edited_manifest(members, edit)


def symlink(members: Members) -> None:
    members[1][0].type = tarfile.SYMTYPE
    members[1][0].linkname = "/etc/passwd"
    changed(members, 1, b"")


def stranger(members: Members) -> None:
    members.append((tarfile.TarInfo("sites/more.toml"), b""))


DAMAGES: dict[str, tuple[Callable[[Members], None], str]] = {
    "one byte": (one_byte, "not what its manifest says"),
    "a file less": (lambda members: members.pop(), "missing or not in its place"),
    "a file more": (stranger, "more than its manifest names"),
    "no manifest": (lambda members: members.pop(0), "does not begin with manifest.json"),
    "way up": (lambda members: renamed(members, "sites/../../outside.toml"), "not a name"),
    "absolute": (lambda members: renamed(members, "/tmp/outside.toml"), "not a name"),
    "hidden": (lambda members: renamed(members, "sites/.toml"), "not a name"),
    "deep": (lambda members: changed(members, 0, b"[" * 100_000), "damaged"),
    "endless": (
        lambda members: changed(members, 0, ENDLESS),
        "damaged",
    ),
    "newer": (
        lambda members: edited_manifest(members, lambda manifest: manifest.update(format=2)),
        "format 2",
    ),
    "twice": (
        lambda members: edited_manifest(
            members, lambda manifest: manifest["files"].append(manifest["files"][0])
        ),
        "twice",
    ),
    "symlink": (symlink, "missing or not in its place"),
    "journal": (broken_journal, "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_restore_of_a_damaged_archive_changes_nothing(
    name: str, gateway: Gateway, made: Path
) -> None:
    change_everything(gateway)
    before = gateway.tree()
    damage, words = DAMAGES[name]
    members = members_of(made)
    damage(members)
    pack(made, members)
    result = gateway.run("restore", made)
    assert result.exit_code == 1
    assert words in result.stderr or words in str(result.exception)
    assert gateway.tree() == before


def test_restore_of_a_torn_archive_changes_nothing(gateway: Gateway, made: Path) -> None:
    before = gateway.tree()
    whole = made.read_bytes()
    for n_bytes in (0, 10, len(whole) // 2, len(whole) * 3 // 4):
        made.write_bytes(whole[:n_bytes])
        result = gateway.run("restore", made)
        assert (result.exit_code, gateway.tree()) == (1, before), n_bytes


def test_restore_of_an_archive_that_does_not_unpack_says_damaged(
    gateway: Gateway, made: Path
) -> None:
    whole, before = made.read_bytes(), gateway.tree()
    for position in range(20, len(whole) - 8, len(whole) // 20):
        made.write_bytes(whole[:position] + b"\xff" * 8 + whole[position + 8 :])
        result = gateway.run("restore", made)
        assert isinstance(result.exception, archive.BackupError), (position, result.exception)
        assert gateway.tree() == before


def test_restore_is_refused_while_the_site_runs(gateway: Gateway, made: Path) -> None:
    _, lock_fd = runtime.hold(gateway.folder / "run", "Home")
    before = gateway.tree()
    result = gateway.run("restore", made)
    assert (type(result.exception).__name__, gateway.tree()) == ("UsageError", before)
    os.close(lock_fd)
    assert gateway.run("restore", made).exit_code == 0


def test_restore_is_refused_while_a_recorder_has_the_journal_open(
    gateway: Gateway, made: Path
) -> None:
    journal = open_journal(gateway.journal)
    before = gateway.tree()
    result = gateway.run("restore", made)
    assert f"in use by process {os.getpid()}" in str(result.exception)
    assert result.exception is not None
    assert getattr(result.exception, "exit_code", None) == EXIT_USAGE
    assert gateway.tree() == before
    journal.close()
    assert gateway.run("restore", made).exit_code == 0


@pytest.mark.parametrize("n_good", range(8))
def test_restore_that_fails_on_the_way_puts_everything_back(
    gateway: Gateway, made: Path, monkeypatch: pytest.MonkeyPatch, n_good: int
) -> None:
    """Eight renames: three old files and the log of one move aside, four new ones into place."""
    change_everything(gateway)
    before = gateway.tree()
    rename, n_done = os.rename, 0

    def failing(source: Path, target: Path) -> None:
        nonlocal n_done
        if n_done == n_good:
            n_done += 1
            raise OSError(28, "No space left on device", str(target))
        n_done += 1
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    result = gateway.run("restore", made)
    monkeypatch.undo()
    assert "nothing is changed" in str(result.exception)
    assert gateway.tree() == before


# a directory that belongs to the service, which must not lead root elsewhere


def test_restore_writes_nothing_through_a_link_that_stands_there(
    gateway: Gateway, made: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("of root")
    gateway.journal.with_name("journal.sqlite.restored").symlink_to(victim)
    assert gateway.run("restore", made).exit_code == 0
    assert victim.read_text() == "of root"
    assert rows_of(gateway.journal) == N_ROWS


def test_restore_refuses_a_folder_that_is_a_link(
    gateway: Gateway, made: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    gateway.journal.parent.rename(elsewhere)
    gateway.journal.parent.symlink_to(elsewhere)
    before = gateway.tree()
    result = gateway.run("restore", made)
    assert "a symbolic link, expected a directory" in str(result.exception)
    assert gateway.tree() == before
    assert not [path for path in elsewhere.iterdir() if "restored" in path.name]


def test_restore_moves_nothing_into_a_folder_that_it_did_not_make(
    gateway: Gateway, made: Path
) -> None:
    (gateway.journal.parent / "replaced-now").mkdir()
    before = gateway.tree()
    places = archive.Places(gateway.config, gateway.config / "maps", gateway.folder / "state")
    with (
        archive.unpacked(made) as (_, copies),
        pytest.raises(archive.BackupError, match=r"replaced-now: File exists; nothing is changed"),
    ):
        archive.put_back(copies, places, "now")
    assert gateway.tree() == before
