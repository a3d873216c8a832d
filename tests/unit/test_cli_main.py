"""The `loadctl` command around every other one: what it makes of an output that takes nothing."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from loadctl.cli import main as module
from loadctl.cli.params import DURATION_ns
from loadctl.units import NS_PER_S
from tests.support.site_files import changed, write_site

LOADCTL = [sys.executable, "-m", "loadctl"]
FULL = Path("/dev/full")


def into_full(*arguments: str) -> tuple[int, str]:
    with FULL.open("w") as full:
        done = subprocess.run([*LOADCTL, *arguments], stdout=full, stderr=-1, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", [["devices"], ["devices", "--json"], ["--help"]])
def test_output_that_cannot_be_written_is_one_line(command: list[str]) -> None:
    said = "the output cannot be written: No space left on device\n"
    assert into_full(*command) == (1, said)


def test_output_without_a_reader_ends_in_silence() -> None:
    command = [*LOADCTL, "devices", "--json"]
    done = subprocess.Popen(command, stdout=-1, stderr=-1)
    assert done.stdout is not None
    done.stdout.close()
    assert (done.communicate()[1], done.returncode) == (b"", 1)


def test_check_into_a_full_disk_is_one_line(tmp_path: Path) -> None:
    code, said = into_full("check", str(write_site(tmp_path, changed())))
    assert code == 1
    assert said.splitlines()[-1] == "the output cannot be written: No space left on device"
    assert "Traceback" not in said


def test_other_errors_of_files_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere")

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(module.cli, "main", fails)
    with pytest.raises(PermissionError):
        module.main()


@pytest.mark.parametrize(
    ("text", "span_s"), [("2d", 172_800), ("0.5 d", 43_200), ("31d", 2_678_400), ("90", 90)]
)
def test_duration_in_days_and_in_seconds_alone(text: str, span_s: int) -> None:
    assert DURATION_ns.convert(text, None, None) == span_s * NS_PER_S
