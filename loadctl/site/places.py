"""Where in a TOML text each key stands, so that an error can name its line.

tomllib gives values without places. This walks the text once, statement by statement, and notes
the line of every table header and key. It judges nothing: tomllib has done that.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

from hw.toml_text import MARK

Path = tuple[str | int, ...]

KEY_PART = re.compile(r"""\s*(?:([A-Za-z0-9_-]+)|"((?:[^"\\]|\\.)*)"|'([^']*)')\s*""")
STRING_OR_COMMENT = re.compile(
    r'"""(?P<ml_basic>)|\'\'\'(?P<ml_literal>)|"(?:[^"\\]|\\.)*"|\'[^\']*\'|(?P<comment>\#.*)'
)
MULTILINE_END = {"ml_basic": '"""', "ml_literal": "'''"}


@dataclass(slots=True)
class Places:
    """Line numbers by path, and the paths that a text declares twice (second line)."""

    lines: dict[Path, int] = field(default_factory=dict)
    declared: set[Path] = field(default_factory=set)
    repeated: list[tuple[Path, int]] = field(default_factory=list)

    def line_of(self, path: Path) -> int | None:
        """The line of this key, or of the nearest table around it that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def path_at(self, line: int) -> Path:
        """The key whose value stands in this line; () where there is none."""
        return max(
            (path for path, at in self.lines.items() if at <= line),
            key=lambda path: (self.lines[path], len(path)),
            default=(),
        )

    def note(self, path: Path, line: int) -> None:
        if path in self.declared:
            self.repeated.append((path, line))
        self.declared.add(path)
        for length in range(1, len(path) + 1):
            self.lines.setdefault(path[:length], line)


def find_places(text: str) -> Places:
    """Note the line of every header and key of a TOML text."""
    places = Places()
    table: Path = ()
    open_string = ""  # what ends the multi-line string that we are in
    depth = 0  # of brackets that a value has open
    for number, line in enumerate(text.removeprefix(MARK).split("\n"), start=1):
        rest = line
        if not open_string and depth == 0:
            header = re.match(r"\s*(\[\[?)", line)
            if header:
                table = _dotted(line[header.end() :])
                if header[1] == "[":
                    places.note(table, number)
                else:
                    places.lines.setdefault(table, number)
                continue
            key = _dotted(line)
            if not key:
                continue
            places.note((*table, *key), number)
            rest = line.partition("=")[2]
        open_string, depth = _after(rest, open_string, depth)
    return places


def _dotted(text: str) -> Path:
    """The parts of the dotted key that `text` begins with; () where it begins with none."""
    parts: list[str] = []
    at = 0
    while match := KEY_PART.match(text, at):
        bare, escaped, literal = match.groups()
        parts.append(bare or literal or _unescaped(escaped or ""))
        at = match.end()
        if not text.startswith(".", at):
            break
        at += 1
    return tuple(parts)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        unescaped: str = tomllib.loads(f'key = "{text}"')["key"]
    except tomllib.TOMLDecodeError:  # told by whoever reads the file as TOML
        return text
    return unescaped


def _after(text: str, open_string: str, depth: int) -> tuple[str, int]:
    """The multi-line string and the depth of brackets that are open after `text`."""
    while text:
        if open_string:
            _, end, text = text.partition(open_string)
            if end:
                open_string = ""
            continue
        match = STRING_OR_COMMENT.search(text)
        plain = text[: match.start()] if match else text
        depth += sum(plain.count(c) for c in "[{") - sum(plain.count(c) for c in "]}")
        if match is None or match["comment"] is not None:
            break
        text = text[match.end() :]
        open_string = MULTILINE_END.get(match.lastgroup or "", "")
    return open_string, max(0, depth)
