"""What befalls an exchange on its way: the one place where the line is made to misbehave.

A `Faults` is asked once for every whole request to a device that exists, and answers with the
`Fate` of the exchange. Faults that begin and end (`hw/sim/troubles.py`) add to it. Same seed and
same requests: same fates.
"""

from __future__ import annotations

import random
from typing import NamedTuple, Protocol

from hw.sim.scenario import PPM, Losses, Scenario


class Fate(NamedTuple):
    loses_request: bool = False  # the device never hears it
    loses_reply: bool = False  # the device does what it was told, and nobody learns of it
    late_ns: int = 0  # the reply begins this much after its time
    flips: int = 0  # bits that arrive wrong in the middle byte of the reply
    foreign: str = ""  # another whole frame comes in its place: of another "address" and so on
    noise: bytes = b""  # comes right before the reply
    is_drowned: bool = False  # only the noise comes

    @property
    def spoils_reply(self) -> bool:
        """Whether what arrives is not the reply."""
        return self.loses_reply or bool(self.flips or self.foreign or self.noise)


WELL = Fate()


class Faults(Protocol):
    def fate(self, request: bytes, now_ns: int) -> Fate: ...


class NoFaults:
    def fate(self, request: bytes, now_ns: int) -> Fate:
        return WELL


class SeededLosses:
    """Each exchange by itself, by the rates of the scenario."""

    def __init__(self, losses: Losses, seed: int, bus_i: int) -> None:
        self._losses = losses
        self._dice = random.Random(seed * 1_000 + bus_i)

    def fate(self, request: bytes, now_ns: int) -> Fate:
        losses, dice = self._losses, self._dice
        # All dice are thrown every time, so that one rate does not shift the others' luck.
        request_ppm, reply_ppm, delay_ppm, garble_ppm = (dice.randrange(PPM) for _ in range(4))
        late_ns, flips = dice.randrange(losses.delay_ns + 1), 1 << dice.randrange(8)
        return Fate(
            loses_request=request_ppm < losses.request_ppm,
            loses_reply=reply_ppm < losses.reply_ppm,
            late_ns=late_ns if delay_ppm < losses.delay_ppm else 0,
            flips=flips if garble_ppm < losses.garble_ppm else 0,
        )


def faults_for(scenario: Scenario, bus_i: int) -> Faults:
    if scenario.losses == Losses():
        return NoFaults()
    return SeededLosses(scenario.losses, scenario.seed, bus_i)
