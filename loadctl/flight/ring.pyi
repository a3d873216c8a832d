"""Typing of the ring of records; `ring.pyx` holds the words on each call."""

import os

from typing_extensions import Buffer

PLANT_LAYOUT_HASH: int

class RingWriter:
    def __init__(
        self,
        path: str | os.PathLike[str],
        n_words: int,
        site_hash: int,
        born_at_ns: int,
        period_ns: int,
    ) -> None: ...
    def push_words(self, record: Buffer) -> bool: ...

class RingReader:
    path: str
    position: int
    layout_hash: int
    site_hash: int
    born: tuple[int, int]
    period_ns: int

    def __init__(self, path: str | os.PathLike[str]) -> None: ...
    def from_first(self) -> bool: ...
    def from_newest(self) -> None: ...
    def go_on_from(self, position: int) -> None: ...
    def read(self) -> bytearray | None: ...
