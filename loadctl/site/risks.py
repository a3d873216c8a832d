"""What a site that passes its proof may still go through: warnings with what to lower or shorten.

Transition to the failsafe currents, power return, the tolerance of the control pilot, watchdogs
that reads feed, facts of device maps that nobody has verified. Upper bounds, in integers; no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hw.devices import FED_BY_ANY, FED_BY_READS, DeviceMap
from loadctl.bound import takeover_bounds
from loadctl.law.fuse import HOLDS_AND_OPERATES, MAGNETIC_FROM, fuse
from loadctl.site.problems import number_text
from loadctl.site.tree import Tree
from loadctl.slots import REFRESH_PART
from loadctl.tables import ChargerRow, CircuitRow, Tables
from loadctl.units import N_PHASES, PHASE_NAMES, A_from_mA, s_from_ns

PILOT_TOLERANCE_mA = 600  # IEC 61851-1 table A.5: one percentage point of duty cycle
WATCHDOG_PERIODS_MIN = 3  # fewer, and one lost message or a bus stall makes a box fall back


def find_risks(tables: Tables, maps: Mapping[str, DeviceMap], tree: Tree) -> list[str]:
    """Every warning beside the proof, one line each."""
    warnings = []
    for circuit_i, circuit in enumerate(tables.circuits):
        warnings += _transition(tables, tree, circuit_i, circuit)
        warnings += _power_return(tables, tree, circuit_i, circuit)
        warnings += _pilot_tolerance(tables, tree, circuit_i, circuit)
    warnings += _watchdogs(tables, maps)
    warnings += _late_takeovers(tables, maps)
    warnings += _accepted(tables)
    warnings += _doubts(maps)
    return warnings


def transition_mA(tables: Tables, tree: Tree, circuit_i: int, phase: int) -> int:
    """The most that one circuit phase can carry between the last scan and the last fallback.

    Grants were as large as the circuit allows while the building was quiet; now the building is at
    its worst and paused boxes have risen to their fallback. Whom to count as charging is the choice
    that gives most, by shares of a charger, which can only be above the true worst case.
    """
    room_mA = largest_grants_mA(tables, tree, circuit_i, phase)
    users = [
        tables.chargers[i]
        for i in tree.chargers_below[circuit_i]
        if phase in tables.chargers[i].phases and not tables.chargers[i].is_isolated
    ]
    load_mA = tree.worst_background_mA[circuit_i][phase]
    # One that charges takes max of the room, and adds max - fallback to what it is when paused.
    users.sort(key=lambda charger: charger.fallback_mA / charger.max_mA)
    for charger in users:
        load_mA += charger.fallback_mA
        taken_mA = min(room_mA, charger.max_mA)
        room_mA -= taken_mA
        gain_mA = max(0, charger.max_mA - charger.fallback_mA)
        load_mA += -(-gain_mA * taken_mA // charger.max_mA)
    return load_mA


def largest_grants_mA(tables: Tables, tree: Tree, circuit_i: int, phase: int) -> int:
    """The largest sum of setpoints that may ever stand below one circuit phase."""
    circuit = tables.circuits[circuit_i]
    own_mA = sum(
        charger.max_mA
        for charger in tables.chargers
        if charger.circuit == circuit_i and phase in charger.phases and not charger.is_isolated
    )
    below_mA = sum(largest_grants_mA(tables, tree, i, phase) for i in tree.children[circuit_i])
    if circuit.counts_export:
        return own_mA + below_mA  # what the building fed back while it was sunny has no bound here
    quiet_mA = 0 if circuit.is_dynamic else circuit.background_mA[phase]
    return max(0, min(circuit.limit_mA[phase] - circuit.margin_mA - quiet_mA, own_mA + below_mA))


def fuse_text(circuit: CircuitRow, load_mA: int) -> str:
    """A current beside the curve of the circuit's protective device."""
    if circuit.fuse_type is None:
        return "no fuse is given to judge it by"
    hours = fuse(circuit.fuse_type, circuit.fuse_rated_mA).conventional_h
    holds, operates = HOLDS_AND_OPERATES[circuit.fuse_type]
    share = load_mA * 1000 // circuit.fuse_rated_mA
    device = f"{circuit.fuse_type} {_A(circuit.fuse_rated_mA)}"
    if share <= holds:
        verdict = f"which holds {_percent(holds)} for {hours} h"
    elif share <= operates:
        verdict = f"between the {_percent(holds)} that it holds and the {_percent(operates)} that"
        verdict += f" operate it within {hours} h"
    elif share < MAGNETIC_FROM.get(circuit.fuse_type, share + 1):
        verdict = f"above the {_percent(operates)} that operate it within {hours} h"
    else:
        verdict = f"above {_percent(MAGNETIC_FROM[circuit.fuse_type])}, where it may trip at once"
    return f"{_percent(share)} of {device}, {verdict} (usual figures, not verified)"


def _transition(tables: Tables, tree: Tree, circuit_i: int, circuit: CircuitRow) -> list[str]:
    loads_mA = [transition_mA(tables, tree, circuit_i, phase) for phase in range(N_PHASES)]
    phase = _worst_phase(loads_mA, circuit)
    if loads_mA[phase] <= circuit.limit_mA[phase]:
        return []
    users = [tables.chargers[i] for i in tree.chargers_below[circuit_i]]
    users = [charger for charger in users if phase in charger.phases and not charger.is_isolated]
    slowest = max(users, key=lambda charger: _last_s(charger, tables))
    if slowest.watchdog_ns is None:
        how_long = f"until someone comes, for {slowest.name} has no watchdog"
        remedy = "lower max_A"
    else:
        how_long = f"for {number_text(_last_s(slowest, tables))} s"
        remedy = f"lower max_A, or shorten the watchdog time of {slowest.name}"
    return [
        f"circuit.{circuit.name} {PHASE_NAMES[phase]}: transition: without the controller up to"
        f" {_of_limit(loads_mA[phase], circuit, phase)} {how_long};"
        f" {fuse_text(circuit, loads_mA[phase])}; {remedy}"
    ]


def _power_return(tables: Tables, tree: Tree, circuit_i: int, circuit: CircuitRow) -> list[str]:
    """No map says at which current a box wakes up: its rating is what counts."""
    below = [tables.chargers[i] for i in tree.chargers_below[circuit_i]]
    loads_mA = [
        sum(c.rated_mA for c in below if phase in c.phases and not c.is_isolated)
        + tree.worst_background_mA[circuit_i][phase]
        for phase in range(N_PHASES)
    ]
    phase = _worst_phase(loads_mA, circuit)
    if loads_mA[phase] <= circuit.limit_mA[phase]:
        return []
    return [
        f"circuit.{circuit.name} {PHASE_NAMES[phase]}: power return: boxes may wake up at their"
        f" hardware rating, together up to {_of_limit(loads_mA[phase], circuit, phase)} until each"
        " is armed; lower the current that is set in the boxes, and say so in rated_A"
    ]


def _pilot_tolerance(tables: Tables, tree: Tree, circuit_i: int, circuit: CircuitRow) -> list[str]:
    below = [tables.chargers[i] for i in tree.chargers_below[circuit_i]]
    n_cars = max(
        sum(1 for c in below if phase in c.phases and not c.is_isolated)
        for phase in range(N_PHASES)
    )
    if n_cars * PILOT_TOLERANCE_mA <= circuit.margin_mA:
        return []
    cars = "1 car" if n_cars == 1 else f"{n_cars} cars"
    return [
        f"circuit.{circuit.name}.margin_A: {_A(circuit.margin_mA)} is below"
        f" {_A(n_cars * PILOT_TOLERANCE_mA)}, by which {cars} on one phase may exceed what they are"
        f" told (pilot tolerance, {_A(PILOT_TOLERANCE_mA)} a car)"
    ]


def _watchdogs(tables: Tables, maps: Mapping[str, DeviceMap]) -> list[str]:
    warnings = []
    fed_by_reads: dict[str, list[str]] = {}
    for charger in tables.chargers:
        if charger.is_isolated or charger.watchdog_ns is None:
            continue
        path = f"charger.{charger.name}"
        if charger.watchdog_fed_by in {FED_BY_ANY, FED_BY_READS}:
            fed_by_reads.setdefault(charger.model, []).append(charger.name)
        if charger.watchdog_ns < WATCHDOG_PERIODS_MIN * tables.site.period_ns:
            least_s = number_text(s_from_ns(WATCHDOG_PERIODS_MIN * tables.site.period_ns))
            own_s = number_text(s_from_ns(charger.watchdog_ns))
            warnings.append(
                f"{path}: its watchdog time, {own_s} s, is below {least_s} s,"
                f" {WATCHDOG_PERIODS_MIN} periods; shorten site.period_ms"
            )
        if charger.fallback_mA > charger.failsafe_mA:
            warnings.append(
                f"{path}.failsafe_A: {_A(charger.failsafe_mA)}, but by itself the box falls to"
                f" {_A(charger.fallback_mA)}; the proof counts that"
            )
        elif charger.fallback_mA < charger.min_mA and charger.never_pause:
            warnings.append(
                f"{path}.never_pause: by itself the box falls to {_A(charger.fallback_mA)},"
                f" below min_A, {_A(charger.min_mA)}"
            )
    for model, names in fed_by_reads.items():
        watchdog = maps[model].watchdog
        is_any = watchdog is not None and watchdog.fed_by == FED_BY_ANY
        what = "messages of any kind" if is_any else "reads"
        warnings.append(
            f"model {model}: {what} keep its watchdog quiet: it protects against a gateway that is"
            f" silent, not against one that still reads and no longer writes ({_names(names)})"
        )
    return warnings


def _late_takeovers(tables: Tables, maps: Mapping[str, DeviceMap]) -> list[str]:
    """Boxes whose watchdog may fire before the guard has noticed a hung scan and written."""
    warnings = []
    bounds = takeover_bounds(tables, dict(maps))
    for charger in tables.chargers:
        if charger.watchdog_ns is None or charger.is_isolated:
            continue
        unfed_ns = charger.watchdog_ns // REFRESH_PART + bounds[charger.bus].total_ns
        if unfed_ns >= charger.watchdog_ns:
            warnings.append(
                f"charger.{charger.name}: a third of its watchdog time and a takeover by the guard"
                f" are together {s_from_ns(unfed_ns):.1f} s, not below its watchdog time of"
                f" {s_from_ns(charger.watchdog_ns):g} s: after a hung scan it may fall to its"
                " fallback first; lower period_ms or missed_limit"
            )
    return warnings


def _accepted(tables: Tables) -> list[str]:
    """What the site file accepts, said once more where the answer is read."""
    warnings = []
    for charger in tables.chargers:
        if charger.is_isolated:
            continue
        if charger.watchdog_ns is None and charger.is_unprotected:
            warnings.append(
                f"charger.{charger.name}.unprotected: accepted: no watchdog, counts its rating,"
                f" {_A(charger.rated_mA)}"
            )
        if not charger.has_measured_current and charger.is_unmeasured_accepted:
            warnings.append(
                f"charger.{charger.name}.unmeasured: accepted: its draw counts as anything from 0 A"
                " to its reserve"
            )
    return warnings


def _doubts(maps: Mapping[str, DeviceMap]) -> list[str]:
    return [
        f"model {model}: check on a bench before it guards a fuse: {_names(device_map.doubts)}"
        for model, device_map in maps.items()
        if device_map.doubts
    ]


def _last_s(charger: ChargerRow, tables: Tables) -> float:
    """How long after the last message this charger may still draw what it was granted."""
    if charger.watchdog_ns is None:
        return float("inf")
    return s_from_ns(charger.watchdog_ns + charger.hold_ns + tables.tuning.car_follow_ns)


def _worst_phase(loads_mA: list[int], circuit: CircuitRow) -> int:
    return max(range(N_PHASES), key=lambda phase: loads_mA[phase] / circuit.limit_mA[phase])


def _of_limit(load_mA: int, circuit: CircuitRow, phase: int) -> str:
    share = load_mA * 1000 // circuit.limit_mA[phase]
    shown_mA = -(-load_mA // 100) * 100  # a bound: more digits than a tenth would only look exact
    return f"{_A(shown_mA)}, {_percent(share)} of the limit,"


def _A(current_mA: int) -> str:
    return f"{number_text(A_from_mA(current_mA))} A"


def _percent(thousandths: int) -> str:
    return f"{number_text(thousandths // 10)} %"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)
