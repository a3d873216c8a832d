"""`loadctl tune save` and `diff`: what comes to stand in the site file, and what does not."""

from __future__ import annotations

import fcntl
import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadctl.errors import CheckRefused, ConfigError, LoadctlError
from loadctl.site import save as save_module
from loadctl.site.save import edited, write_over
from tests.support.tuned_site import TunedSite
from tests.unit.test_cli_tune import TEXT, tune, tune_json


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TunedSite]:
    found = TunedSite(tmp_path, TEXT)
    yield found
    found.close()


def test_save_writes_these_values_and_leaves_every_other_byte(site: TunedSite) -> None:
    tune(site, "set", "charger.bay2.max_A=10.5", "circuit.main.limit_A=60,60,50",
         "tuning.ramp_A_per_s=3", "charger.bay2.enable=false", "tuning.trim_s=5")  # fmt: skip
    tune(site, "set", "--for", "1h", "charger.bay1.max_A=8")
    site.path.chmod(0o640)
    said = tune(site, "save")
    assert said == (
        f"saved in {site.path}: tuning.ramp_A_per_s, tuning.trim_s, circuit.main.limit_A,"
        " charger.bay2.max_A, charger.bay2.enable\n"
    )
    head, bay2 = TEXT.split("[charger.bay2]")
    expected = (
        head.replace("limit_A = 63     # the fuse", "limit_A = [60, 60, 50]     # the fuse")
        .replace("ramp_A_per_s = 10\n", "ramp_A_per_s = 3\n")
        .replace("healthy_scans = 3\n", "healthy_scans = 3\ntrim_s = 5\n")
        + "[charger.bay2]"
        + bay2.replace("max_A = 16 ", "max_A = 10.5 ")
    )
    saved = site.path.read_text()
    assert saved.replace("enable = false\n", "") == expected
    assert saved.count("enable = false\n") == 1
    assert stat.S_IMODE(site.path.stat().st_mode) == 0o640
    assert sorted(path.name for path in site.path.parent.iterdir()) == ["rt", "site.toml"]


def test_save_keeps_a_byte_order_mark(tmp_path: Path) -> None:
    site = TunedSite(tmp_path, "\ufeff" + TEXT)
    try:
        tune(site, "set", "charger.bay1.max_A=8")
        tune(site, "save")
        before = ("\ufeff" + TEXT).encode()
        head, mark, rest = before.partition(b"[charger.bay1]")
        assert site.path.read_bytes() == head + mark + rest.replace(b"= 16", b"= 8", 1)
        tune(site, "set", "charger.bay1.max_A=9")
        tune(site, "save")  # it knows its own file
        assert site.path.read_bytes().startswith(b"\xef\xbb\xbf# the garage")
    finally:
        site.close()


def test_save_knows_its_own_file_and_none_that_somebody_else_wrote(site: TunedSite) -> None:
    tune(site, "set", "charger.bay1.max_A=8")
    tune(site, "save")
    tune(site, "set", "charger.bay1.max_A=9")
    tune(site, "save")
    by_hand = site.path.read_text() + "# by hand\n"
    site.path.write_text(by_hand)
    tune(site, "set", "charger.bay1.max_A=10")
    with pytest.raises(CheckRefused, match="was changed since the site was started; look at it"):
        tune(site, "save")
    assert site.path.read_text() == by_hand
    tune(site, "save", "--force")
    assert site.path.read_text() == by_hand.replace("max_A = 9 ", "max_A = 10 ")


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        (("max_A = 16", "max_A = 1600"), "charger.bay1.max_A: 1600 A is above 1000 A"),
        (("background_A = 20", "background_A = 60"), "failsafe proof"),
        (("[charger.bay1]", "[charger.bay1"), "site.toml"),
    ],
)
def test_save_refuses_what_would_not_start(
    site: TunedSite, by_hand: tuple[str, str], said: str
) -> None:
    text = TEXT.replace(*by_hand)
    site.path.write_text(text)
    tune(site, "set", "charger.bay2.weight=2")
    with pytest.raises((ConfigError, CheckRefused), match=said):
        tune(site, "save", "--force")
    assert site.path.read_text() == text


def test_save_into_another_file_is_for_one_with_the_same_text(site: TunedSite) -> None:
    tune(site, "set", "charger.bay1.max_A=8")
    other = site.path.with_name("other.toml")
    with pytest.raises(ConfigError, match="No such file"):
        tune(site, "save", str(other))
    other.write_text(TEXT)
    tune(site, "save", str(other))
    assert "max_A = 8 " in other.read_text()
    assert site.path.read_text() == TEXT
    assert tune_json(site, "diff")["charger.bay1.max_A"]["is_saved"] is False


def test_save_keeps_a_symbolic_link(site: TunedSite) -> None:
    real = site.path.with_name("real.toml")
    site.path.rename(real)
    site.path.symlink_to(real.name)
    tune(site, "set", "charger.bay1.max_A=8")
    tune(site, "save")
    assert site.path.is_symlink()
    assert "max_A = 8 " in real.read_text()


def test_save_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "site.toml"
    path.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LoadctlError, match=r"site.toml: not saved: No space left on device$"):
        write_over(path, "new", "old")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["site.toml"]


def test_edited_text_gets_a_table_that_it_lacks() -> None:
    text = "[site]\nname = 'x' # y\n"
    new = edited(text, {("tuning", "trim_s"): 5}, Path("x"))
    assert new.startswith(text)
    assert new.removeprefix(text).split() == ["[tuning]", "trim_s", "=", "5"]


# text


LINES = """\
# the whole
[tuning]
trim_s = 5 # five

# what comes now
[circuit.main]
limit_A = [  # of each phase
    63,  # measured
    63,
    50.5, # worn
]  # end
#[circuit.off]

# below
[charger.bay1]
max_A = 16
"""


def changed(text: str, value: Any, *path: str) -> str:
    return edited(text, {path: value}, Path("x"))


@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_new_key_stands_behind_the_last_of_its_table(eol: str) -> None:
    text = LINES.replace("\n", eol)
    expected = LINES.replace("five\n", "five\nunused_s = 7\n").replace("\n", eol)
    assert changed(text, 7, "tuning", "unused_s") == expected
    expected = LINES.replace("end\n", "end\nmargin_A = 1\n").replace("\n", eol)
    assert changed(text, 1, "circuit", "main", "margin_A") == expected
    assert changed(text, 2, "charger", "bay1", "weight") == text + f"weight = 2{eol}"
    assert changed(text[: -len(eol)], 2, "charger", "bay1", "weight") == text + f"weight = 2{eol}"


def test_new_key_in_a_table_of_comments_alone_stands_first() -> None:
    text = "[tuning]\n# all as usual\n\n# next\n[site]\n"
    assert changed(text, 7, "tuning", "trim_s") == text.replace("]\n#", "]\ntrim_s = 7\n#")


@pytest.mark.parametrize(
    "text",
    [
        "charger.a.max_A = 16 # x\n# y\n[site]\n",
        "[charger]\na.max_A = 16 # x\n# y\n[site]\n",
        "[charger]\na = {max_A = 16} # x\n# y\n[site]\n",
        "[charger.a]\nmax_A = 16 # x\n# y\n[site]\n# z\n[charger.b]\nmax_A = 10\n",
    ],
)
def test_new_key_in_other_ways_to_write_a_table(text: str) -> None:
    new = changed(text, 2, "charger", "a", "weight")
    assert tomllib.loads(new)["charger"]["a"] == {"max_A": 16, "weight": 2}
    lines = [line for line in new.splitlines() if "weight" not in line]
    assert set(lines) <= set(text.splitlines())
    assert new.index("weight") < new.index("# y")


@pytest.mark.parametrize("value", [[60, 61, 50], [60, 60, 60], 60])
def test_array_over_several_lines_keeps_them_and_its_comments(value: Any) -> None:
    one, two, three = value if isinstance(value, list) else [value] * 3
    expected = (
        LINES.replace("    63,  #", f"    {one},  #")
        .replace("    63,\n", f"    {two},\n")
        .replace("    50.5,", f"    {three},")
    )
    assert changed(LINES, value, "circuit", "main", "limit_A") == expected


# what is on disk beside what is in force


def test_what_was_saved_and_reverted_since_is_said_and_taken_back(site: TunedSite) -> None:
    tune(site, "set", "charger.bay1.max_A=8")
    tune(site, "save")
    tune(site, "revert")
    assert tune(site, "diff") == "charger.bay1.max_A  16 A, from the next start on 8 A\n"
    assert tune_json(site, "diff") == {
        "charger.bay1.max_A": {
            "value": 16, "site_value": 16, "for_s": None, "disk_value": 8, "is_saved": False,
        }
    }  # fmt: skip
    assert tune(site, "save") == f"saved in {site.path}: charger.bay1.max_A\n"
    assert site.path.read_text() == TEXT
    assert tune(site, "diff") == "nothing differs from the site file\n"
    assert tune(site, "save") == f"saved in {site.path}: nothing differs\n"


def test_what_was_reverted_is_taken_back_before_the_file_is_judged(tmp_path: Path) -> None:
    """Beside the new minimum the maximum that was saved once would break a rule."""
    text = TEXT.replace("failsafe_A = 6", "failsafe_A = 0")
    site = TunedSite(tmp_path, text)
    tune(site, "set", "charger.bay1.max_A=7")
    tune(site, "save")
    tune(site, "revert")
    tune(site, "set", "charger.bay1.min_A=8")
    tune(site, "save")
    assert site.path.read_text() == text.replace("min_A = 6\n", "min_A = 8\n", 1)
    site.close()


def test_what_was_written_by_hand_is_kept_and_said(site: TunedSite) -> None:
    by_hand = TEXT.replace("[charger.bay2]\n", "[charger.bay2]\nweight = 3\n")
    site.path.write_text(by_hand)
    tune(site, "set", "charger.bay1.max_A=8")
    assert tune(site, "diff").splitlines()[-1] == "charger.bay2.weight  1, from the next start on 3"
    assert tune(site, "save", "--force").splitlines() == [
        f"saved in {site.path}: charger.bay1.max_A",
        "kept as written by hand: charger.bay2.weight 3",
    ]
    assert site.path.read_text() == by_hand.replace("max_A = 16 ", "max_A = 8 ", 1)


def test_value_that_a_floor_lifts_counts_as_saved(site: TunedSite) -> None:
    tune(site, "set", "tuning.car_follow_s=40")
    tune(site, "save")
    assert tune(site, "diff").splitlines() == ["tuning.car_follow_s  6 s -> 40 s, saved"]


def test_value_that_a_floor_lifted_at_the_start_is_written_once_the_floor_is_gone(
    tmp_path: Path,
) -> None:
    text = TEXT.replace("[tuning]\n", "[tuning]\npeak_hold_s = 10\ncar_follow_s = 40\n")
    site = TunedSite(tmp_path, text)
    tune(site, "set", "tuning.car_follow_s=6")
    said = tune(site, "save")
    assert said == f"saved in {site.path}: tuning.car_follow_s, tuning.peak_hold_s\n"
    assert "peak_hold_s = 42.5\ncar_follow_s = 6\n" in site.path.read_text()
    site.close()


# others


def test_file_that_changes_while_it_is_saved_is_left_alone(
    site: TunedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = save_module._give

    def meanwhile(*words: int) -> bool:
        site.path.write_text(TEXT + "# mine\n")
        return give(*words)

    monkeypatch.setattr(save_module, "_give", meanwhile)
    tune(site, "set", "charger.bay1.max_A=8")
    with pytest.raises(LoadctlError, match=r"not saved: it was changed meanwhile; look at it$"):
        tune(site, "save")
    assert site.path.read_text() == TEXT + "# mine\n"
    assert sorted(path.name for path in site.path.parent.iterdir()) == ["rt", "site.toml"]


def test_two_saves_at_once_are_one_too_many(site: TunedSite) -> None:
    fd = os.open(site.site_dir.path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    tune(site, "set", "charger.bay1.max_A=8")
    with pytest.raises(CheckRefused, match="somebody else is saving just now; try again"):
        tune(site, "save")
    os.close(fd)
    assert site.path.read_text() == TEXT
    tune(site, "save")


class Owners:
    """Stands for a user who may give files to these groups, and to another user or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, gids: set[int], *, is_root: bool) -> None:
        self.gids, self.is_root = gids, is_root
        self.given: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
        monkeypatch.setattr(os, "fchown", self.fchown)

    def fchown(self, fd: int, uid: int, gid: int) -> None:
        if (uid != -1 and not self.is_root) or gid not in self.gids:
            raise PermissionError(1, "Operation not permitted")
        self.given.append((uid, gid))


@pytest.mark.parametrize("is_root", [True, False])
def test_save_keeps_the_group_and_the_owner_where_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_root: bool
) -> None:
    path = tmp_path / "site.toml"
    path.write_text("old")
    status = path.stat()
    owners = Owners(monkeypatch, {status.st_gid}, is_root=is_root)
    write_over(path, "new", "old")
    assert path.read_text() == "new"
    assert owners.given == [(status.st_uid if is_root else -1, status.st_gid)]


def test_file_of_a_group_that_it_would_lose_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "site.toml"
    path.write_text("old")
    gid = path.stat().st_gid
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result((0,) * 5 + (gid + 1,) + (0,) * 4))
    Owners(monkeypatch, set(), is_root=False)
    with pytest.raises(LoadctlError, match=rf"not saved: it belongs to group {gid}, and this user"):
        write_over(path, "new", "old")
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["site.toml"]
