"""What a site would settle at for given inputs: a snapshot in, the core's own answer out.

Owns the snapshot format and the shape of the answer. Opens no port, applies neither the failsafe
proof nor the bus plan, and decides nothing itself: the allocation is the core's. Commands only.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from hw.wire import Code
from loadctl._core import Core
from loadctl.reasons import binding_text, charger_reason_text
from loadctl.site.model import MOST_A, LoadA, Table, ThreeLoadsA, spread
from loadctl.site.problems import (
    Problems,
    read_toml,
    shown,
    unknown_key_text,
    unknown_name_text,
    validate,
)
from loadctl.tables import Phases, Tables
from loadctl.units import (
    N_PHASES,
    NS_PER_S,
    PHASE_NAMES,
    A_from_mA,
    A_list_from_mA,
    W_from_kW_floor,
    mA_from_A_ceil,
    mA_from_A_floor,
)

METER_AT_ns = (
    NS_PER_S  # the inputs are of one instant; draws count as sampled right after the meter
)
STATUS_AT_ns = METER_AT_ns + 1
RUN = 1  # mode of the core
WANTS = ("B", "C", "D")


TerminalsA = Annotated[
    list[LoadA], BeforeValidator(spread), Field(min_length=1, max_length=N_PHASES)
]


class MeterInput(Table):
    current_A: ThreeLoadsA


class CircuitInput(Table):
    """What came from outside; nothing in it: there is no limit from outside."""

    limit_A: ThreeLoadsA | None = None
    limit_kW: Annotated[float, Field(ge=0, le=MOST_A)] | None = None


class ChargerInput(Table):
    state: Literal["A", "B", "C", "D", "E", "F"] = "A"
    current_A: TerminalsA | None = None  # on the charger's terminals; None: not measured
    setpoint_A: Annotated[float, Field(ge=0, le=MOST_A)] | None = None


INPUTS: dict[str, type[Table]] = {
    "circuit": CircuitInput,
    "meter": MeterInput,
    "charger": ChargerInput,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    circuits: dict[str, CircuitInput]
    meters: dict[str, MeterInput]
    chargers: dict[str, ChargerInput]


def read_snapshot(path: Path, tables: Tables) -> Snapshot:
    """Read a snapshot for this site; ConfigError with a line for everything wrong in it."""
    _, raw, problems = read_toml(path)
    for key in raw:
        if key not in INPUTS:
            problems.add((key,), unknown_key_text(key, INPUTS))
    names = {
        "circuit": [circuit.name for circuit in tables.circuits],
        "meter": [meter.name for meter in tables.meters],
        "charger": [charger.name for charger in tables.chargers],
    }
    found = {kind: _inputs(kind, raw, names[kind], problems) for kind in INPUTS}
    for circuit in tables.circuits:
        if found["circuit"].get(circuit.name) is not None and not circuit.takes_external:
            text = "the site file gives it no external table: it takes no limit from outside"
            problems.add(("circuit", circuit.name), text)
    problems.raise_if_any()
    return Snapshot(found["circuit"], found["meter"], found["charger"])


def settled(tables: Tables, snapshot: Snapshot) -> dict[str, Any]:
    """The allocation that the scan would come to rest at, as `whatif --json` prints it.

    A meter that is not in the snapshot is never read: to the core its circuit is stale. A circuit
    that is not in it has not heard from outside: what the site file says for that counts.
    """
    core = Core(tables)
    core.attach(bytearray(core.plant_bytes))
    core.set_mode(RUN)
    for circuit_i, circuit in enumerate(tables.circuits):
        if circuit.name in snapshot.circuits:
            outside = snapshot.circuits[circuit.name]
            limit_mA = None if outside.limit_A is None else _allowed_mA(outside.limit_A)
            power_W = None if outside.limit_kW is None else W_from_kW_floor(outside.limit_kW)
            core.external_limit(circuit_i, limit_mA, power_W, None, 0)
    for meter_i, meter in enumerate(tables.meters):
        if meter.name in snapshot.meters:
            current_mA = _phases_mA(snapshot.meters[meter.name].current_A)
            core.meter_read(meter_i, Code.GOOD, current_mA, None, None, METER_AT_ns)
    wants = []
    for charger_i, charger in enumerate(tables.chargers):
        told = snapshot.chargers.get(charger.name, ChargerInput())
        draw_mA = _draw_mA(told)
        setpoint_mA = _setpoint_mA(told, draw_mA)
        core.charger_armed(charger_i, not charger.is_isolated, setpoint_mA)
        core.charger_status(charger_i, Code.GOOD, told.state, draw_mA, setpoint_mA, STATUS_AT_ns)
        wants.append(told.state in WANTS)
    core.settle(wants)
    return _answer(tables, core)


def answer_lines(answer: dict[str, Any]) -> list[str]:
    """The answer as two tables for a terminal."""
    width = max(
        len("charger"), len("circuit"), *map(len, answer["chargers"]), *map(len, answer["circuits"])
    )
    lines = [f"{'charger':<{width}}  {'grant':>9}  {'bound by':<20}  reason"]
    for name, charger in answer["chargers"].items():
        grant = f"{charger['grant_A']:g} A"
        line = f"{name:<{width}}  {grant:>9}  {charger['binding'] or '-':<20}  {charger['reason']}"
        lines.append(line)
    lines += [
        "",
        f"{'circuit':<{width}}      {'limit':>9}  {'building':>9}  {'left':>9}  {'granted':>9}",
    ]
    for name, circuit in answer["circuits"].items():
        for phase, phase_name in enumerate(PHASE_NAMES):
            cells = "  ".join(
                f"{circuit[key][phase]:>7g} A"
                for key in ("limit_A", "background_A", "headroom_A", "granted_A")
            )
            lines.append(f"{name if phase == 0 else '':<{width}}  {phase_name}  {cells}")
    return lines


def _inputs(kind: str, raw: dict[str, Any], names: list[str], problems: Problems) -> dict[str, Any]:
    """The valid tables of one kind, each by a name that the site knows."""
    tables = raw.get(kind, {})
    if not isinstance(tables, dict):
        problems.add((kind,), f"{shown(tables)} is no table; write [{kind}.NAME]")
        return {}
    inputs: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in names:
            problems.add((kind, name), unknown_name_text(kind, name, names))
            continue
        inputs[name] = validate(INPUTS[kind], table, (kind, name), problems, f"[{kind}.NAME]")
    return inputs


def _answer(tables: Tables, core: Core) -> dict[str, Any]:
    chargers: dict[str, Any] = {}
    for charger_i, charger in enumerate(tables.chargers):
        row = core.charger(charger_i)
        has_binding = bool(row["has_binding"])
        bound_by = tables.circuits[row["binding_circuit"]].name if has_binding else None
        chargers[charger.name] = {
            "grant_A": A_from_mA(row["grant_mA"]),
            "reason": charger_reason_text(row, tables),
            "binding": binding_text(bound_by, row["binding_kind"]),
        }
    circuits: dict[str, Any] = {}
    for circuit_i, circuit in enumerate(tables.circuits):
        row = core.circuit(circuit_i)
        circuits[circuit.name] = {
            f"{what}_A": A_list_from_mA(row[f"{what}_mA"])
            for what in ("limit", "background", "headroom", "granted")
        }
    return {"chargers": chargers, "circuits": circuits}


def _setpoint_mA(told: ChargerInput, draw_mA: Phases | None) -> int:
    """The setpoint that stands; a measured draw shows that at least this much was allowed."""
    if told.setpoint_A is not None:
        return mA_from_A_ceil(told.setpoint_A)
    return max(draw_mA or (0,))


def _draw_mA(told: ChargerInput) -> Phases | None:
    """The draw on terminals 1, 2, 3; the core counts those that have a wire. No car, no draw."""
    if told.current_A is None:
        return (0, 0, 0) if told.state == "A" else None
    missing_A = [0.0] * (N_PHASES - len(told.current_A))
    return _phases_mA([*told.current_A, *missing_A])


def _allowed_mA(values_A: list[float]) -> Phases:
    first_mA, second_mA, third_mA = (mA_from_A_floor(value_A) for value_A in values_A)
    return first_mA, second_mA, third_mA


def _phases_mA(values_A: list[float]) -> Phases:
    first_mA, second_mA, third_mA = (mA_from_A_ceil(value_A) for value_A in values_A)
    return first_mA, second_mA, third_mA
