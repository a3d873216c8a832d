"""Typing of the player; `player.pyx` holds the words on each call."""

from typing import Any

from typing_extensions import Buffer

from loadctl._core import Core
from loadctl.flight.calls import Listener
from loadctl.flight.series import Series

def header(words: Buffer, at: int) -> dict[str, int]: ...

class Player:
    core: Core
    plant: bytearray

    def __init__(self, core: Core) -> None: ...
    def load(self, plant: Buffer) -> None: ...
    def play(
        self,
        words: Buffer,
        at: int,
        series: Series | None = None,
        listener: Listener | None = None,
        compares: bool = True,
    ) -> dict[str, Any] | None: ...
