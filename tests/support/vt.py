"""A terminal as a grid of cells: enough of one to see what a painter's bytes come to."""

from __future__ import annotations

import re

from rich.cells import get_character_cell_size

TOKEN = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])|\r|\n|[^\x1b]", re.DOTALL)


class Screen:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.x = self.y = 0
        self.pen = ""
        self.clear()

    def clear(self) -> None:
        self.cells = [[(" ", "")] * self.width for _ in range(self.height)]

    def feed(self, data: bytes) -> None:
        text = data.decode()
        at = 0
        while at < len(text):
            token = TOKEN.match(text, at)
            assert token is not None, text[at : at + 20]
            self._do(token)
            at = token.end()

    def _do(self, token: re.Match[str]) -> None:
        private, numbers, letter = token.groups()
        if letter is None:
            self._put(token[0])
        elif letter == "H":
            y, x = (int(n) for n in (numbers or "1;1").split(";"))
            assert 1 <= y <= self.height
            assert 1 <= x <= self.width
            self.x, self.y = x - 1, y - 1
        elif letter == "K":
            self.cells[self.y][self.x :] = [(" ", "")] * (self.width - self.x)
        elif letter == "J":
            self.clear()
        elif letter == "m":
            self.pen = (numbers or "").removeprefix("0;")
        else:
            assert private, f"unknown {token[0]!r}"

    def _put(self, character: str) -> None:
        if character in "\r\n":
            self.x = 0 if character == "\r" else self.x
            return
        n_cells = get_character_cell_size(character)
        assert self.x + n_cells <= self.width, "beyond the right edge"
        if n_cells == 0:
            at = self.x - 1 if self.cells[self.y][self.x - 1][0] else self.x - 2
            text, pen = self.cells[self.y][at]
            self.cells[self.y][at] = (text + character, pen)
            return
        is_seen = character != " " or "7" in self.pen.split(";")
        self.cells[self.y][self.x] = (character, self.pen if is_seen else "")
        for k in range(1, n_cells):
            self.cells[self.y][self.x + k] = ("", self.pen)
        self.x += n_cells

    def lines(self) -> list[str]:
        return ["".join(text for text, _ in row).rstrip() for row in self.cells]

    def styles(self, y: int) -> list[str]:
        return [pen for _, pen in self.cells[y]]
