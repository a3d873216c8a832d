"""Who hangs below which circuit, and the background each circuit must be ready for.

Arithmetic on plain rows, for proof and risks.
"""

from __future__ import annotations

from loadctl.tables import Phases, Tables
from loadctl.units import N_PHASES


class Tree:
    """The supply tree of a site by index, every circuit with all that hangs below it."""

    def __init__(self, tables: Tables) -> None:
        self.children: list[list[int]] = [[] for _ in tables.circuits]
        self.chargers_below: list[list[int]] = [[] for _ in tables.circuits]
        self.worst_background_mA: list[Phases] = [row.background_mA for row in tables.circuits]
        for charger_i, charger in enumerate(tables.chargers):
            circuit_i = charger.circuit
            while circuit_i >= 0:
                self.chargers_below[circuit_i].append(charger_i)
                circuit_i = tables.circuits[circuit_i].parent
        for circuit_i in reversed(range(len(tables.circuits))):  # children before their parents
            parent_i = tables.circuits[circuit_i].parent
            if parent_i >= 0:
                self.children[parent_i].insert(0, circuit_i)
                self._lift_background(parent_i, circuit_i)

    def _lift_background(self, parent_i: int, circuit_i: int) -> None:
        """What is behind a sub-circuit is behind its parent too: its worst is at least as high."""
        parent_mA, own_mA = self.worst_background_mA[parent_i], self.worst_background_mA[circuit_i]
        worst = [max(parent_mA[phase], own_mA[phase]) for phase in range(N_PHASES)]
        self.worst_background_mA[parent_i] = worst[0], worst[1], worst[2]
