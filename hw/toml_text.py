"""A TOML file as people save it: with a byte order mark or without, and why it cannot be read.

The text that is handed out keeps the mark, so that what is written back is what was there. Pure but
for the reading itself; commands only.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from loadctl.errors import ConfigError

MARK = "\ufeff"  # Notepad puts it before the first line
SHOWN_DIGITS = 12


def read_text(path: Path) -> str:
    """The whole text; ConfigError in one line where there is none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    at, end = len(raw), len(raw)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        at = error.start
    if b"\0" in raw:  # what UTF-16 makes of plain letters would be UTF-8 too
        at = min(at, raw.index(b"\0"))
    if at == end:
        return text
    line = raw.count(b"\n", 0, at) + 1
    raise ConfigError(f"{path}:{line}: is no UTF-8 text, at byte {at}; save it as UTF-8")


def values_of(text: str, **options: Any) -> dict[str, Any]:
    """As tomllib does: ValueError also for a number of too many digits, RecursionError."""
    return tomllib.loads(text.removeprefix(MARK), **options)


def parsed(path: Path, text: str, **options: Any) -> dict[str, Any]:
    """The same with every error as a ConfigError, for files whose keys have no places."""
    try:
        return values_of(text, **options)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except ValueError:
        lines = [f"{path}:{line}: {words}" for line, words in long_numbers(text)]
        raise ConfigError(*lines) from None
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables nested too deeply") from None


def long_numbers(text: str) -> list[tuple[int, str]]:
    """Line and words for each number that has more digits than Python turns into one: the time
    that takes grows with their square."""
    most = sys.get_int_max_str_digits()
    long_number = re.compile(rf"[0-9](?:_?[0-9]){{{most},}}")
    return [
        (
            number,
            f"{match[0][:SHOWN_DIGITS]}... has {len(match[0].replace('_', ''))} digits, above"
            f" {most}: no number here is that large",
        )
        for number, line in enumerate(text.split("\n"), start=1)
        for match in long_number.finditer(line)
    ]
