"""Limits from outside as the scan takes them: what was commanded, and what of it counts now.

Hands every command to the core, which judges by itself what counts; tells the gate, by its own
reckoning on the same clock, so that the second judge does not hear of it from the first; keeps the
command in the link, where a scan that is started anew finds it; and writes an event when something
changes. Runs in the scan's main thread.
"""

from __future__ import annotations

from typing import NamedTuple

from loadctl._core import Core
from loadctl.events import Event
from loadctl.gate import Gate
from loadctl.guardside import ExternalCommand, GuardSide
from loadctl.image import Writer
from loadctl.tables import CircuitRow, Phases, Tables


class Counts(NamedTuple):
    """What counts from outside now, and why: the event of coming to it."""

    why: Event
    limit_mA: Phases | None
    power_W: int | None


class External:
    """All circuits of a site."""

    def __init__(
        self, tables: Tables, core: Core, gate: Gate, image: Writer, guarded: GuardSide
    ) -> None:
        self.circuits = tables.circuits
        self.core = core
        self.gate = gate
        self.image = image
        self.guarded = guarded
        self._taking = [i for i, row in enumerate(tables.circuits) if row.takes_external]
        self._commands: list[ExternalCommand | None] = [None] * len(tables.circuits)
        self._counted = {i: counts(tables.circuits[i], None, 0) for i in self._taking}

    def take_over(self) -> None:
        """Go on with what an earlier scan of this site was told."""
        for circuit_i in self._taking:
            command = self.guarded.external(circuit_i)
            if command is not None:
                self._keep(circuit_i, command)

    def command(self, circuit_i: int, command: ExternalCommand) -> None:
        """Take in a command that is within its bounds, for a circuit that takes one."""
        self.guarded.set_external(circuit_i, command)
        self._keep(circuit_i, command)

    def begin(self, now_ns: int) -> None:
        """Tell the gate what counts in this scan."""
        for circuit_i in self._taking:
            now = counts(self.circuits[circuit_i], self._commands[circuit_i], now_ns)
            if now != self._counted[circuit_i]:
                self._counted[circuit_i] = now
                self.gate.limit(circuit_i, now.limit_mA, now.power_W)
                least_mA = -1 if now.limit_mA is None else min(now.limit_mA)
                power_W = -1 if now.power_W is None else now.power_W
                self.image.event(now.why, circuit_i, least_mA, power_W, now_ns)

    def _keep(self, circuit_i: int, command: ExternalCommand) -> None:
        self._commands[circuit_i] = command
        self.core.external_limit(circuit_i, *command)


def counts(row: CircuitRow, command: ExternalCommand | None, now_ns: int) -> Counts:
    """What counts from outside on one circuit at this time."""
    if command is None:
        return Counts(Event.EXTERNAL_LOST, row.loss_mA, row.loss_W)
    if command.until_ns is not None and now_ns >= command.until_ns:
        return Counts(Event.EXTERNAL_EXPIRED, row.loss_mA, row.loss_W)
    power_W = command.power_W
    if power_W is not None and row.guaranteed_W is not None:
        power_W = max(power_W, row.guaranteed_W)
    is_silent = row.loss_after_ns is not None and (
        now_ns - command.heard_at_ns >= row.loss_after_ns
    )
    if is_silent and command.until_ns is None:
        return Counts(Event.EXTERNAL_LOST, row.loss_mA, row.loss_W)
    if is_silent:
        limit_mA = lower_of(command.limit_mA, row.loss_mA)
        powers_W = [value_W for value_W in (power_W, row.loss_W) if value_W is not None]
        return Counts(Event.EXTERNAL_LOST, limit_mA, min(powers_W, default=None))
    if command.limit_mA is None and power_W is None:
        return Counts(Event.EXTERNAL_FREE, None, None)
    return Counts(Event.EXTERNAL_LIMIT, command.limit_mA, power_W)


def lower_of(one_mA: Phases | None, other_mA: Phases | None) -> Phases | None:
    if one_mA is None or other_mA is None:
        return one_mA or other_mA
    first_mA, second_mA, third_mA = (min(pair) for pair in zip(one_mA, other_mA, strict=True))
    return first_mA, second_mA, third_mA
