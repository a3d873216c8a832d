"""Typing of the tape; `tape.pyx` holds the words on each call."""

from typing_extensions import Buffer

from loadctl._core import Core
from loadctl.flight.ring import RingWriter
from loadctl.tables import Tables

def hash_block(block: Buffer) -> int: ...
def most_words(tables: Tables) -> int: ...
def ring_words(tables: Tables) -> int: ...

class Tape(Core):
    """Not derived from it in truth, which is closed: it has all its calls."""

    def __init__(self, core: Core, ring: RingWriter, most: int) -> None: ...
    def cut(self, ended_at_ns: int) -> None: ...
