"""Cython source as logical lines, and their expressions in a form that Python's own parser reads.

The house style of this code is what makes this enough: one statement a line, blocks on lines of
their own. What is read differently keeps its length, so that every position holds in the source:
a cast and an address-of become a unary operator of the same binding.
"""

from __future__ import annotations

import ast
import io
import keyword
import token
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

BLANKS = (token.NL, token.COMMENT, token.INDENT, token.DEDENT, token.ENCODING, token.ENDMARKER)
OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True)
class Token:
    text: str
    begin: int  # in the logical line
    end: int
    is_name: bool
    depth: int  # of brackets around it


@dataclass(frozen=True)
class Line:
    """One logical line without its indentation and what follows its last token."""

    text: str
    begin: int  # in the source
    row: int
    indent: int
    tokens: tuple[Token, ...]

    @property
    def end(self) -> int:
        return self.begin + len(self.text)

    @property
    def word(self) -> str:
        return self.tokens[0].text

    @property
    def is_head(self) -> bool:
        return self.tokens[-1].text == ":"

    @property
    def is_text(self) -> bool:
        """A docstring."""
        return len(self.tokens) == 1 and self.text[0] in "\"'rbf"


def logical_lines(source: str) -> list[Line]:
    starts = [0]
    for row in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    lines: list[Line] = []
    held: list[tokenize.TokenInfo] = []
    for info in tokenize.generate_tokens(io.StringIO(source).readline):
        if info.type == token.NEWLINE:
            lines.append(_line(source, held, starts))
            held = []
        elif info.type not in BLANKS:
            held.append(info)
    return lines


def _line(source: str, held: list[tokenize.TokenInfo], starts: list[int]) -> Line:
    def at(place: tuple[int, int]) -> int:
        return starts[place[0] - 1] + place[1]

    begin, end = at(held[0].start), at(held[-1].end)
    depth = 0
    tokens = []
    for info in held:
        depth -= info.string in CLOSING
        is_name = info.type == token.NAME and not keyword.iskeyword(info.string)
        tokens.append(
            Token(info.string, at(info.start) - begin, at(info.end) - begin, is_name, depth)
        )
        depth += info.string in OPENING
    return Line(source[begin:end], begin, held[0].start[0], held[0].start[1], tuple(tokens))


def plain(line: Line) -> str:
    """The text of a line as Python: casts and address-of as `~`, what is formatted as mere text,
    everything in its place."""
    text = list(line.text if line.text.isascii() else line.text.encode("ascii", "replace").decode())
    for begin, end in _prefixes(line.tokens):
        text[begin:end] = "~" + " " * (end - begin - 1)
    for item in line.tokens:
        if item.text[:2] in ('f"', "f'"):
            text[item.begin] = " "
    return "".join(text)


def _prefixes(tokens: tuple[Token, ...]) -> Iterator[tuple[int, int]]:
    for k, item in enumerate(tokens):
        if k > 0 and _ends_operand(tokens[k - 1]):
            continue
        if item.text == "&":
            yield item.begin, item.end
        elif item.text == "<":
            close = next(j for j in range(k, len(tokens)) if tokens[j].text == ">")
            yield item.begin, tokens[close].end


def _ends_operand(item: Token) -> bool:
    return item.is_name or item.text in CLOSING or item.text[0].isdigit() or item.text[-1] in "\"'"


class Parsed:
    """A syntax tree and where its nodes stand in the text."""

    def __init__(self, text: str, tree: ast.AST) -> None:
        self.tree = tree
        self.text = text
        self._starts = [0]
        for row in text.split("\n"):
            self._starts.append(self._starts[-1] + len(row) + 1)

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = self._starts[node.lineno - 1] + node.col_offset
        return begin, self._starts[node.end_lineno - 1] + node.end_col_offset


def parse_statement(line: Line) -> tuple[Parsed, ast.stmt]:
    text = plain(line)
    tree = ast.parse(text).body[0]
    return Parsed(text, tree), tree


def parse_expression(line: Line, begin: int, end: int) -> tuple[Parsed, ast.expr]:
    """The expression that stands between two places of a line; never at its first character."""
    before = "".join("\n" if c == "\n" else " " for c in plain(line)[: begin - 1])
    text = "(" + before + plain(line)[begin:end] + "\n)"
    tree = ast.parse(text, mode="eval").body
    return Parsed(text, tree), tree
