"""The commands of docs/ and of the README: found, run, and compared with what a page shows.

How a fenced block is marked is said in docs/README.md, section "About these pages".
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITHIN_s = 60
FENCE = re.compile(r"^```(.*)$")
KNOWN_INFO = ("sh", "text", "toml", "json", "ini", "yaml", "promql", "python")


@dataclass(frozen=True)
class Block:
    """One fenced block; `shown` is the text block that follows a command, if one does."""

    page: str
    line: int
    info: tuple[str, ...]
    text: str
    shown: str | None = None

    @property
    def is_command(self) -> bool:
        return self.info[:1] == ("sh",)

    @property
    def is_run(self) -> bool:
        return self.is_command and "norun" not in self.info

    def needs(self, what: str) -> bool:
        return self.is_run and what in self.info

    @property
    def exit_code(self) -> int:
        codes = [word.removeprefix("exit=") for word in self.info if word.startswith("exit=")]
        return int(codes[0]) if codes else 0


def blocks_of(path: Path) -> list[Block]:
    """Every fenced block in its order; ValueError for one that does not end."""
    found: list[Block] = []
    began, info, lines = 0, "", []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = FENCE.match(line)
        if fence is not None and not began:
            began, info, lines = number, fence[1].strip(), []
        elif fence is not None:
            block = Block(path.name, began, tuple(info.split()), "\n".join(lines))
            if block.info == ("text",) and found and found[-1].is_command:
                before = found.pop()
                shown = Block(before.page, before.line, before.info, before.text, block.text)
                found.append(shown)
            found.append(block)
            began = 0
        elif began:
            lines.append(line)
    if began:
        raise ValueError(f"{path}:{began}: a fenced block that does not end")
    return found


def environment(folder: Path) -> dict[str, str]:
    """Where a page's commands find a site, and where they may write: below one directory."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "LOADCTL"))}
    run = folder / "run"
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder / "home"),
        "XDG_RUNTIME_DIR": str(run),
        "RUN": str(run / "loadctl"),
        "STATE_DIRECTORY": str(folder / "state"),
        "CONFIGURATION_DIRECTORY": str(folder / "etc"),
        "SITE": str(folder / "etc/demo.toml"),
        "COLUMNS": "100",
    }


def run(block: Block, folder: Path, environment: dict[str, str]) -> str:
    """What the block printed, errors included; AssertionError where it did not go as the page says.

    Whatever it left in the background is ended.
    """
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=WITHIN_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    where = f"{block.page}:{block.line}"
    assert process.returncode == block.exit_code, f"{where}: {process.returncode}\n{output}"
    missing = missing_lines(block.shown or "", output)
    assert missing == [], f"{where}: not printed: {missing}\n{output}"
    return output


def missing_lines(shown: str, output: str) -> list[str]:
    """Lines of a page whose words stand in no line of the output in this order. Words with a digit
    or with `...` in them stand for anything."""
    printed = [line.split() for line in output.splitlines()]
    return [
        line
        for line in shown.splitlines()
        if not any(holds(words, stable_words(line)) for words in printed) and stable_words(line)
    ]


def stable_words(line: str) -> list[str]:
    return [word for word in line.split() if "..." not in word and not re.search(r"\d", word)]


def holds(words: list[str], wanted: list[str]) -> bool:
    rest = iter(words)
    return all(word in rest for word in wanted)
