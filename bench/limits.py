"""A bench site as the peers see it: flat lists of who counts in which limit, in mA.

Phase limits only: the bench sites have no others.
"""

from __future__ import annotations

from dataclasses import dataclass

from loadctl.tables import Tables


@dataclass(frozen=True)
class Limits:
    caps_mA: list[int]
    of_charger: list[list[int]]  # limits that a charger counts in, once each

    @property
    def of_limit(self) -> list[list[int]]:
        """Chargers that count in a limit."""
        below: list[list[int]] = [[] for _ in self.caps_mA]
        for i, mine in enumerate(self.of_charger):
            for c in mine:
                below[c].append(i)
        return below


def limits_of(tables: Tables) -> Limits:
    caps_mA = [limit_mA for row in tables.circuits for limit_mA in row.limit_mA]
    of_charger = []
    for row in tables.chargers:
        mine, c = [], row.circuit
        while c >= 0:
            mine += [3 * c + p for p in sorted(row.phases)]
            c = tables.circuits[c].parent
        of_charger.append(mine)
    return Limits(caps_mA, of_charger)
