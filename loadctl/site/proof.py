"""The failsafe proof: with the controller gone and the building at its worst, every circuit holds.

Owns the sums and the refusals; what may happen on the way there is in `risks.py`. Arithmetic on
plain rows, integers only; no I/O. `check` prints it and `run` does not start without it.

    sum(max(failsafe, fallback), or the hardware rating where there is no watchdog)
        + declared worst background <= limit
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from hw.devices import DeviceMap
from loadctl.errors import CheckRefused
from loadctl.site.problems import number_text
from loadctl.site.risks import find_risks
from loadctl.site.tree import Tree
from loadctl.tables import ChargerRow, CircuitRow, Tables
from loadctl.units import N_PHASES, PHASE_NAMES

NAMED_IN_REMEDY_MAX = 3


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One sum of one circuit, in thousandths of `unit`: mA where it is A, W where it is kW."""

    circuit: str
    what: str  # "L1", "power", "L1 beyond L2"
    unit: str  # "A" or "kW"
    chargers_milli: int
    background_milli: int
    limit_milli: int
    remedy: str  # what to lower, should it not hold

    @property
    def spare_milli(self) -> int:
        return self.limit_milli - self.chargers_milli - self.background_milli

    @property
    def holds(self) -> bool:
        return self.spare_milli >= 0


@dataclass(frozen=True, slots=True)
class Proof:
    rows: tuple[ProofRow, ...]
    refusals: tuple[str, ...]  # one line each; empty when the proof holds
    warnings: tuple[str, ...]  # what to know beside it

    @property
    def holds(self) -> bool:
        return not self.refusals

    def require(self) -> None:
        """Raise CheckRefused with every line where the proof does not hold."""
        if self.refusals:
            raise CheckRefused(*self.refusals)


def prove(tables: Tables, maps: Mapping[str, DeviceMap]) -> Proof:
    """Sum every circuit for the worst that can be left standing without the controller."""
    tree = Tree(tables)
    rows = tuple(
        row
        for circuit_i, circuit in enumerate(tables.circuits)
        for row in _circuit_rows(tables, tree, circuit_i, circuit)
    )
    refusals = [
        *(_excess_text(row) for row in rows if not row.holds),
        *_unprotected(tables),
        *_unmeasured(tables),
    ]
    return Proof(rows, tuple(refusals), tuple(find_risks(tables, maps, tree)))


def standing_mA(charger: ChargerRow) -> int:
    """What a charger may draw on each of its phases when nobody has written to it for long."""
    if charger.is_isolated:
        return 0
    if charger.watchdog_ns is None:
        return charger.rated_mA
    return max(charger.failsafe_mA, charger.fallback_mA)


def proof_lines(proof: Proof) -> list[str]:
    """The proof as a table for a terminal."""
    width = max(len("circuit"), *(len(row.circuit) for row in proof.rows))
    what_width = max(len(row.what) for row in proof.rows)
    head = f"{'circuit':<{width}}  {'':<{what_width}}  {'chargers':>11}  {'background':>11}"
    lines = [f"{head}  {'limit':>11}  {'spare':>11}"]
    last = ""
    for row in proof.rows:
        name = "" if row.circuit == last else row.circuit
        last = row.circuit
        sums = (row.chargers_milli, row.background_milli, row.limit_milli, row.spare_milli)
        cells = "  ".join(f"{amount_text(milli, row.unit):>11}" for milli in sums)
        mark = "" if row.holds else "  DOES NOT HOLD"
        lines.append(f"{name:<{width}}  {row.what:<{what_width}}  {cells}{mark}")
    return lines


def amount_text(milli: int, unit: str) -> str:
    return f"{number_text(milli / 1000)} {unit}"


def _circuit_rows(
    tables: Tables, tree: Tree, circuit_i: int, circuit: CircuitRow
) -> list[ProofRow]:
    below = [tables.chargers[i] for i in tree.chargers_below[circuit_i]]
    background_mA = tree.worst_background_mA[circuit_i]
    rows = []
    for phase, phase_name in enumerate(PHASE_NAMES):
        users = [charger for charger in below if phase in charger.phases]
        chargers_mA = sum(standing_mA(charger) for charger in users)
        remedy = _remedy(users, has_background=background_mA[phase] > 0)
        amounts = (chargers_mA, background_mA[phase], circuit.limit_mA[phase])
        rows.append(ProofRow(circuit.name, phase_name, "A", *amounts, remedy))
    if circuit.limit_W is not None:
        voltage_mV = tables.site.voltage_mV
        chargers_W = _W(sum(standing_mA(c) * len(c.phases) for c in below), voltage_mV)
        background_W = _W(sum(background_mA), voltage_mV)
        remedy = _remedy(below, has_background=background_W > 0)
        amounts = (chargers_W, background_W, circuit.limit_W)
        rows.append(ProofRow(circuit.name, "power", "kW", *amounts, remedy))
    if circuit.unbalance_mA is not None:
        rows.append(_unbalance_row(circuit, below, circuit.unbalance_mA))
    return rows


def _unbalance_row(circuit: CircuitRow, below: list[ChargerRow], limit_mA: int) -> ProofRow:
    """The worst ordered pair of phases. Chargers only, so that it holds whoever stops."""
    rows = []
    for p, q in permutations(range(N_PHASES), 2):
        users = [c for c in below if p in c.phases and q not in c.phases]
        chargers_mA = sum(standing_mA(charger) for charger in users)
        what = f"{PHASE_NAMES[p]} beyond {PHASE_NAMES[q]}"
        remedy = _remedy(users, has_background=False)
        rows.append(ProofRow(circuit.name, what, "A", chargers_mA, 0, limit_mA, remedy))
    return min(rows, key=lambda row: row.spare_milli)


def _excess_text(row: ProofRow) -> str:
    sum_text = amount_text(row.chargers_milli + row.background_milli, row.unit)
    parts = f"chargers {amount_text(row.chargers_milli, row.unit)}"
    if row.background_milli:
        parts += f" + background {amount_text(row.background_milli, row.unit)}"
    limit = f"the limit of {amount_text(row.limit_milli, row.unit)}"
    excess = amount_text(-row.spare_milli, row.unit)
    return (
        f"circuit.{row.circuit} {row.what}: failsafe proof: {sum_text} ({parts}) is above {limit}"
        f" by {excess}; lower {row.remedy}"
    )


def _remedy(users: list[ChargerRow], *, has_background: bool) -> str:
    """What to lower, the largest first."""
    counted = sorted(
        (charger for charger in users if standing_mA(charger) > 0), key=standing_mA, reverse=True
    )
    named = [_contribution(charger) for charger in counted[:NAMED_IN_REMEDY_MAX]]
    if len(counted) > NAMED_IN_REMEDY_MAX:
        named.append(f"{len(counted) - NAMED_IN_REMEDY_MAX} more")
    parts = [", ".join(named)] if named else []
    if has_background:
        parts.append("background_A")
    return ", or ".join(parts) or "nothing"


def _contribution(charger: ChargerRow) -> str:
    standing = amount_text(standing_mA(charger), "A")
    if charger.watchdog_ns is None:
        return f"rated_A of {charger.name} ({standing}: no watchdog)"
    if charger.fallback_mA > charger.failsafe_mA:
        return f"the fallback of {charger.name} ({standing})"
    return f"failsafe_A of {charger.name} ({standing})"


def _unprotected(tables: Tables) -> list[str]:
    return [
        f"charger.{charger.name}.unprotected: {charger.model} has no watchdog: without the"
        " controller it keeps its last setpoint for ever, and counts"
        f" {amount_text(charger.rated_mA, 'A')};"
        ' write unprotected = "accept" to run it so'
        for charger in tables.chargers
        if charger.watchdog_ns is None and not charger.is_unprotected and not charger.is_isolated
    ]


def _unmeasured(tables: Tables) -> list[str]:
    """A dynamic circuit must see the draw of each charger, its own or that of a meter around it."""
    refusals = []
    for charger in tables.chargers:
        if charger.has_measured_current or charger.is_unmeasured_accepted or charger.is_isolated:
            continue
        circuit_i = charger.circuit
        while circuit_i >= 0:
            circuit = tables.circuits[circuit_i]
            if circuit.is_dynamic:
                refusals.append(
                    f"charger.{charger.name}.unmeasured: {charger.model} measures no current and"
                    f" circuit.{circuit.name} is dynamic; give it a circuit of its own with a"
                    ' meter, or write unmeasured = "accept"'
                )
                break
            if circuit.meter >= 0:
                break
            circuit_i = circuit.parent
    return refusals


def _W(current_mA: int, voltage_mV: int) -> int:
    """Rounded up: it is a load."""
    return -(-current_mA * voltage_mV // 1_000_000)
