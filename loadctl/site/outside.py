"""Limits from outside on paper: what each circuit does without a command, in words and numbers.

Arithmetic on plain rows, for `check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadctl.outside import currents_words
from loadctl.site.problems import number_text
from loadctl.site.tree import Tree
from loadctl.tables import ChargerRow, CircuitRow, Tables
from loadctl.units import N_PHASES, PHASE_NAMES, A_from_mA, A_list_from_mA, kW_from_W, s_from_ns

uW_PER_W = 1_000_000


def outside_lines(tables: Tables) -> list[str]:
    """One line for each circuit that takes limits from outside."""
    return [outside_text(row) for row in tables.circuits if row.takes_external]


def outside_text(row: CircuitRow) -> str:
    counts = f"without a command {loss_text(row)}"
    if row.loss_after_ns is None:
        lost = "its source may be silent for ever"
    else:
        lost = f"its source is lost after {s_from_ns(row.loss_after_ns):g} s"
    text = f"{row.name}: {counts}; {lost}"
    if row.guaranteed_W is None:
        return text
    least = f"{number_text(kW_from_W(row.guaranteed_W))} kW"
    return f"{text}; EnWG 14a: kW of the chargers alone, a command counts at least {least}"


def loss_text(row: CircuitRow) -> str:
    """What counts while no command does: "10 A and 4.2 kW"."""
    parts = []
    if row.loss_mA is not None:
        parts.append(f"{currents_words(A_list_from_mA(row.loss_mA))} A")
    if row.loss_W is not None:
        parts.append(f"{number_text(kW_from_W(row.loss_W))} kW")
    return " and ".join(parts)


def outside_dict(tables: Tables) -> dict[str, Any]:
    return {
        row.name: {
            "at_loss_A": None if row.loss_mA is None else A_list_from_mA(row.loss_mA),
            "at_loss_kW": None if row.loss_W is None else kW_from_W(row.loss_W),
            "timeout_s": None if row.loss_after_ns is None else s_from_ns(row.loss_after_ns),
            "guaranteed_kW": None if row.guaranteed_W is None else kW_from_W(row.guaranteed_W),
        }
        for row in tables.circuits
        if row.takes_external
    }


def outside_warnings(tables: Tables) -> list[str]:
    """Where boxes that are left alone fall to more than counts when the source is lost."""
    tree = Tree(tables)
    warnings = []
    for circuit_i, row in enumerate(tables.circuits):
        below = [tables.chargers[i] for i in tree.chargers_below[circuit_i]]
        below = [charger for charger in below if not charger.is_isolated]
        excess = excess_text(row, below, tables.site.voltage_mV)
        if excess:
            warnings.append(
                f"circuit.{row.name}.external: boxes that nobody talks to fall to {excess};"
                " no limit from outside reaches them then"
            )
    return warnings


def excess_text(row: CircuitRow, below: Sequence[ChargerRow], voltage_mV: int) -> str:
    """The first value at loss that the fallbacks pass; "" where they pass none."""
    for phase in range(N_PHASES) if row.loss_mA is not None else ():
        assert row.loss_mA is not None, "asked only where there is one"
        fallback_mA = sum(c.fallback_mA for c in below if phase in c.phases)
        if fallback_mA > row.loss_mA[phase]:
            least = number_text(A_from_mA(row.loss_mA[phase]))
            fallen = number_text(A_from_mA(fallback_mA))
            return f"{fallen} A on {PHASE_NAMES[phase]}, above at_loss_A, {least} A"
    if row.loss_W is not None:
        fallback_uW = sum(c.fallback_mA * len(c.phases) for c in below) * voltage_mV
        if fallback_uW > row.loss_W * uW_PER_W:
            least = number_text(kW_from_W(row.loss_W))
            fallen = number_text(kW_from_W(-(-fallback_uW // uW_PER_W)))
            return f"{fallen} kW, above at_loss_kW, {least} kW"
    return ""
