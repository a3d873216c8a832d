"""What the processes of one simulated site tell each other: a flat run of int64 slots.

Who writes what: the process that serves a charger writes that charger's slots; the process that
serves a meter writes the meter's slots and the background slots of its circuits; every process
writes its own bus slots; that of the first bus (the keeper) writes the load slots. Nobody else
writes there, everybody may read. A slot is one aligned 8-byte store. Rows of several slots may be
seen half new, which is why a process publishes before it replies: what a master was told is never
newer than the board.
"""

from __future__ import annotations

import mmap
import os
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadctl.tables import Tables

DRAW_FIELDS = ("draw_L1_mA", "draw_L2_mA", "draw_L3_mA")
CHARGER_FIELDS = (*DRAW_FIELDS, "could_mA", "in_force_mA", "written", "believed_mA", "unused")
CIRCUIT_FIELDS = ("met_L1_mA", "met_L2_mA", "met_L3_mA", "met_at_ns", "met_count")
LOAD_FIELDS = ("worst_load_mA", "worst_limit_mA", "worst_phase", "worst_at_ns", "above_ns")
METER_FIELDS = ("asked", "answered")
BUS_FIELDS = ("requests", "replies", "lost", "ignored", "raises", "takes", "same", "violations")
SLOT_BYTES = 8


class Board:
    """Rows over the slots: `board.charger(i)` and so on give the offset of a row's first slot."""

    def __init__(self, tables: Tables, path: Path | None = None) -> None:
        """Slots of this process alone, or of all that map the same file (made when missing)."""
        self._n_chargers = len(tables.chargers)
        self._n_circuits = len(tables.circuits)
        self._n_meters = len(tables.meters)
        self.n_slots = (
            self._n_chargers * len(CHARGER_FIELDS)
            + self._n_circuits * (len(CIRCUIT_FIELDS) + len(LOAD_FIELDS))
            + self._n_meters * len(METER_FIELDS)
            + len(tables.buses) * len(BUS_FIELDS)
        )
        self._map: mmap.mmap | None = None
        if path is None:
            self.slots = memoryview(array("q", bytes(self.n_slots * SLOT_BYTES)))
            return
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self.n_slots * SLOT_BYTES)
            self._map = mmap.mmap(descriptor, self.n_slots * SLOT_BYTES)
        finally:
            os.close(descriptor)
        self.slots = memoryview(self._map).cast("q")

    def close(self) -> None:
        self.slots.release()
        if self._map is not None:
            self._map.close()

    def charger(self, charger_i: int) -> int:
        return charger_i * len(CHARGER_FIELDS)

    def circuit(self, circuit_i: int) -> int:
        return self._n_chargers * len(CHARGER_FIELDS) + circuit_i * len(CIRCUIT_FIELDS)

    def load(self, circuit_i: int) -> int:
        return self.circuit(self._n_circuits) + circuit_i * len(LOAD_FIELDS)

    def meter(self, meter_i: int) -> int:
        return self.load(self._n_circuits) + meter_i * len(METER_FIELDS)

    def bus(self, bus_i: int) -> int:
        return self.meter(self._n_meters) + bus_i * len(BUS_FIELDS)

    def row(self, offset: int, fields: tuple[str, ...]) -> dict[str, int]:
        return {name: self.slots[offset + i] for i, name in enumerate(fields)}
